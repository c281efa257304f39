"""The block of JSON that the whole page is made of: views of records, section by section.

A section is one task of one suite. Its numbers are those of `leaderboard.table`, rounded as leaderboard.csv has them;
what the CSV lacks comes from the same rows: which differences are claimed (`floors`), paired differences between any
two contenders (`stats.crossed`), training curves, and what was looked at (`looks`). Text in it is printable
(`escape.terminal`), and what stands for a row in CSV and LaTeX is escaped for these here, since the script has no
functions for that.
"""

from __future__ import annotations

import itertools
import json
import math
import shlex
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from glimpsebench.agents.common.base import BUDGETS
from glimpsebench.bench import costs, escape, leaderboard, reports
from glimpsebench.bench.floors import AgainstFloor, Floors, ceiling_of
from glimpsebench.bench.records import Record
from glimpsebench.bench.report import looks
from glimpsebench.bench.rows import SCORES, Row
from glimpsebench.bench.stats import Difference, all_crossed, holm
from glimpsebench.bench.styles import styles_of
from glimpsebench.envs.published import PUBLISHED

MOST_PAIRED = 24
"""Rows of a section that are compared with each other, the best first: their pairs grow with the square."""
MOST_POINTS = 40
"""Of a run's training curve, per stage and measure."""

Array = NDArray[Any]
Block = dict[str, Any]


@dataclass(frozen=True)
class View:
    """The records of one suite.

    Attributes:
        planned: how many runs the suite lists; None where that is not known.
        ablations: verdicts on claims: claim, source, verdict, why, effect, interval, seeds and command, as texts.
        own: those of the records that are not the suite's, but stand beside them.
        lacking: what is not there that it takes to say who is better; '' if nothing.
    """

    name: str
    title: str
    records: Sequence[Record]
    planned: int | None = None
    ablations: Sequence[Mapping[str, str]] = field(default=())
    own: Sequence[Record] = ()
    lacking: str = ""


def block(views: Iterable[View]) -> Block:
    """What the page shows of these views."""
    views = list(views)
    sections = [section for view in views for section in _sections(view)]
    looks.fill(sections)
    return {
        "suites": [
            {
                "name": escape.terminal(view.name),
                "title": escape.terminal(view.title),
                "records": len(view.records),
                "done": sum(record.done for record in view.records),
                "planned": view.planned,
                "lacking": escape.terminal(view.lacking),
            }
            for view in views
        ],
        "grid": list(BUDGETS),
        "costs": costs.NAMES,
        "sections": sections,
        "ablations": [
            {key: escape.terminal(str(value)) for key, value in claim.items()}
            for view in views
            for claim in view.ablations
        ],
    }


def rounded(value: float) -> float | str | None:
    """A number as the CSV has it; None for one that is not there, and `never` for ∞.

    >>> rounded(0.12345678), rounded(float("nan")), rounded(float("inf"))
    (0.123457, None, 'never')
    """
    if math.isnan(value):
        return None
    return "never" if math.isinf(value) else float(f"{value:.6f}")


_CONSTANT = {
    *("task", "track", "contender", "name", "version", "source", "supervision", "seeds", "failed", "note", "pointing"),
    *(f"{by}_{name}" for by in SCORES for name in ("acc95", "area", "area_low", "area_high")),
    *(f"{by}_sufficient_{name}" for by in SCORES for name in ("median", "p90")),
    *("area_from", "area_to", *costs.NAMES),
}
"""Columns of the long form that say the same at each of a row's budgets."""
_WHOLE = sorted(_CONSTANT - {"task", "track", "contender", "name", "version", "source", "supervision", "seeds", "note"})


def _sections(view: View) -> Iterator[Block]:
    rows = leaderboard.computed(view.records)
    for task in dict.fromkeys(row.task for row in rows):
        here = [row for row in rows if row.task == task]
        yield _section(view, here)


def _section(view: View, rows: Sequence[Row]) -> Block:
    floors = {by: Floors(rows, by) for by in SCORES}
    lines: dict[str, list[dict[str, Any]]] = {row.label: [] for row in rows}
    for line in leaderboard.table(rows).to_dict("records"):
        lines[str(line["contender"])].append({str(key): value for key, value in line.items()})
    budgets = sorted({*BUDGETS, *(float(line["budget"]) for each in lines.values() for line in each)})
    about = rows[0].records[0].about["task"]
    names = [row.label for row in rows]
    ceiling = ceiling_of(rows, rows[0].task)
    drawn = styles(rows)
    own = {record.folder for record in view.own}
    return {
        "suite": escape.terminal(view.name),
        "title": escape.terminal(view.title),
        "task": escape.terminal(rows[0].task),
        "images": about["test_images"],
        "classes": about["classes"],
        "chance": rounded(rows[0].chance),
        "judge": rows[0].records[0].about["judge"],
        "budgets": budgets,
        "ceiling": None if ceiling is None else names.index(ceiling.label),
        "floors": {
            by: [
                {"row": names.index(best.floor.label), "accuracy": rounded(best.accuracy)} if best else None
                for best in (each.strongest.get(budget) for budget in budgets)
            ]
            for by, each in floors.items()
        },
        "rows": [
            _row(row, lines[row.label], budgets, floors, names) | style for row, style in zip(rows, drawn, strict=True)
        ],
        "beside": [escape.terminal(row.label) for row in rows if row.records[0].folder in own],
        "pairs": pairs(rows, budgets),
        "published": _published(str(about["settings"].get("name"))),
        "looks": looks.section(rows),
    }


def _row(
    row: Row,
    lines: Sequence[Mapping[str, Any]],
    budgets: Sequence[float],
    floors: Mapping[str, Floors],
    names: Sequence[str],
) -> Block:
    about = row.about
    at = {budgets.index(float(line["budget"])): line for line in lines}
    columns = [key for key in (lines[0] if lines else {}) if key not in _CONSTANT and key != "budget"]
    values: dict[str, list[Any]] = {}
    for column in columns:
        each = [at[n][column] if n in at else math.nan for n in range(len(budgets))]
        if column.endswith("_floor") and not column.endswith("above_floor"):
            values[column] = [names.index(value) if isinstance(value, str) and value else None for value in each]
        else:
            values[column] = [rounded(float(value)) for value in each]
    if any(record.audit for record in row.runs):
        values["decoupled"] = [_decoupled(row, budget) for budget in budgets]
    against = {by: [each.against.get((row.label, budget)) for budget in budgets] for by, each in floors.items()}
    first = lines[0] if lines else {}
    return {
        "name": escape.terminal(row.label),
        "csv": {
            "name": escape.csv(row.label),
            "note": escape.csv(row.note),
            "supervision": escape.csv(about["supervision"]),
        },
        "latex": escape.latex(row.label),
        "agent": escape.terminal(about["name"]),
        "track": row.track,
        "reference": about["reference"],
        "currency": about["currency"],
        "version": about["version"],
        "source": about["source"],
        "supervision": escape.terminal(about["supervision"]),
        "sensor": escape.terminal(str(about.get("sensor", ""))),
        "seeds": [record.seed for record in row.records],
        "failed": len(row.records) - len(row.runs),
        "verdict": row.verdict,
        "note": row.note,
        "software": escape.terminal(", ".join(f"{k} {v}" for k, v in row.records[0].about["software"].items())),
        "settings": [
            [escape.terminal(key), escape.terminal(json.dumps(value)), key in about["changed"]]
            for key, value in sorted(about["settings"].items())
        ],
        "command": escape.terminal(shlex.join(reports.command(row))),
        "whole": {key: rounded(float(first[key])) for key in _WHOLE if key in first},
        "at": values,
        "sign": {by: [_sign(one) for one in each] for by, each in against.items()},
        "training": [_training(record) for record in row.records if record.curves],
    }


def _decoupled(row: Row, budget: float) -> float | str | None:
    """The decoupled judge's accuracy, mean over the runs that were audited."""
    told = [
        float(record.audit["decoupled"][record.budgets.index(budget)])
        for record in row.runs
        if record.audit
        and budget in record.budgets
        and len(record.audit["decoupled"]) == len(record.budgets)
        and record.audit["decoupled"][record.budgets.index(budget)] is not None
    ]
    return rounded(float(np.mean(told))) if told else None


def _sign(against: AgainstFloor | None) -> int | None:
    """1 above the strongest floor, -1 below, 0 undecided; ±2 where that speaks of these networks alone (one seed)."""
    if against is None:
        return None
    return against.sign or 2 * against.sign_of_these_networks


def pairs(rows: Sequence[Row], budgets: Sequence[float]) -> Block:
    """Paired differences between any two rows: by score and budget, [row, row, mean, low, high, sign].

    The sign is that of a difference which stands after Holm's correction for all differences of that table, and 0 of
    any other and of those with a side of one seed.
    """
    some = [n for n, row in enumerate(rows) if row.runs and row.about["reference"] != "ceiling"][:MOST_PAIRED]
    found: Block = {"rows": some}
    for by in SCORES:
        found[by] = []
        for budget in budgets:
            scores = {n: one for n in some if (one := rows[n].scores(by, budget)) is not None}
            both = _differences(rows, scores)
            adjusted: list[float] = holm(np.array([d.p for *_, d in both])).tolist() if both else []
            signs = [
                int(np.sign(d.mean)) if p < 0.05 and min(len(scores[a]), len(scores[b])) > 1 else 0
                for (a, b, d), p in zip(both, adjusted, strict=True)
            ]
            found[by].append(
                [
                    [a, b, rounded(d.mean), rounded(d.low), rounded(d.high), sign]
                    for (a, b, d), sign in zip(both, signs, strict=True)
                ]
            )
    return found


def _differences(rows: Sequence[Row], scores: Mapping[int, Array]) -> list[tuple[int, int, Difference]]:
    """Of each two of these that met the same test images and members, the former less the latter."""
    images = {n: rows[n].records[0].about["task"]["test_sha256"] for n in scores}
    alike: dict[tuple[Any, ...], list[tuple[int, int]]] = defaultdict(list)
    for a, b in itertools.combinations(scores, 2):
        if images[a] == images[b] and scores[a].shape[1:] == scores[b].shape[1:]:
            alike[a, scores[b].shape].append((a, b))  # of one row with those of as many seeds, in one go
    found = []
    for some in alike.values():
        each = all_crossed([(scores[a], scores[b]) for a, b in some])
        found += [(a, b, one) for (a, b), one in zip(some, each, strict=True)]
    return sorted(found, key=lambda one: one[:2])


def _training(record: Record) -> Block:
    """How one run's training went: stage by stage, loss and validation accuracy over images passed through in all."""
    stages = []
    for stage in record.curves:
        told: Block = {"stage": escape.terminal(stage["stage"]), "scored": escape.terminal(stage["scored"])}
        for name, among in (("loss", ("loss", "critic_loss")), ("accuracy", ("accuracy",))):
            points = next((stage["measures"][one] for one in among if stage["measures"].get(one)), None)
            if points is None:
                continue
            images = [float(value) for value in points["images"]]
            keep = np.unique(np.linspace(0, len(images) - 1, min(len(images), MOST_POINTS)).round().astype(int))
            told[name] = [
                [round(images[n]) for n in keep],
                [None if points["value"][n] is None else float(f"{points['value'][n]:.4g}") for n in keep],
            ]
        stages.append(told)
    return {"seed": record.seed, "stages": stages}


def _published(task: str) -> list[Block]:
    """What others reported on a task, as far as it can stand in the chart."""
    return [
        {"source": paper.source, "look": paper.look, **point._asdict()}
        for paper in PUBLISHED.get(task, ())
        for point in paper.points
    ]


WIDTH = 2
"""Of the chart's lines, pixels."""


def styles(rows: Sequence[Row]) -> list[Block]:
    """How each row is drawn, as in figures (`bench.styles`); lengths of dashes and gaps in pixels."""
    of = styles_of(rows)
    return [
        {
            "colour": style.colour,
            "marker": style.marker,
            "dash": " ".join(f"{WIDTH * length:g}" for length in style.dash),
        }
        for style in (of[row.label] for row in rows)
    ]
