"""The leaderboard: tables as functions of the records and of nothing else.

Two tracks, never ranked in one list; floors and the ceiling stand beside them. Contenders are ranked by the
evaluator's mean accuracy over the budgets up to half of the image, chance where they do not reach one: their own
accuracy depends on predictors that differ, the evaluator does not.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from glimpsebench.agents.common.base import BUDGETS
from glimpsebench.bench import metrics
from glimpsebench.bench.records import Record, read_all
from glimpsebench.bench.stats import Interval, over_seeds, paired
from glimpsebench.envs.errors import UsageError

Array = NDArray[Any]

SETTLED = 5  # seeds; a row with fewer is provisional
FLOOR, CEILING = "uniform", "full"


@dataclass(frozen=True)
class Row:
    """One contender on one task: the runs that differ in the seed alone."""

    name: str
    task: str
    records: tuple[Record, ...]

    @property
    def about(self) -> dict[str, Any]:
        about: dict[str, Any] = self.records[0].about["agent"]
        return about

    @property
    def runs(self) -> tuple[Record, ...]:
        """The runs that ended well."""
        return tuple(record for record in self.records if record.done)

    @property
    def note(self) -> str:
        """How far the row may be trusted: `provisional`, and runs that did not end well."""
        bad = [record for record in self.records if not record.done]
        notes = [f"{record.about['status']} (seed {record.seed})" for record in bad]
        if len(self.runs) < SETTLED:
            notes.append("provisional")
        return ", ".join(notes)

    def accuracy(self, by: str, budgets: Sequence[float] = BUDGETS) -> list[Interval]:
        """Over seeds, at each of these budgets. A run that did not end well counts as chance."""
        chance = 1 / self.records[0].about["task"]["classes"]
        rows = [record.accuracy(by) if record.done else None for record in self.records]
        reached = next((row for row in rows if row is not None), np.full(len(self.records[0].budgets), np.nan))
        filled = [np.where(np.isnan(reached), np.nan, chance) if row is None else row for row in rows]
        return [over_seeds(column) for column in self._spread(filled, budgets)]

    def correct(self, by: str, budget: float) -> Array | None:
        """Which images are right at a budget, (S, N) over the runs that reach it; None if one does not."""
        if not self.runs or budget not in self.runs[0].budgets:
            return None
        at = self.runs[0].budgets.index(budget)
        if any(not record.reached_F[at] or (record.arrays[by][at] < 0).any() for record in self.runs):
            return None
        return np.stack([record.correct_FN(by)[at] for record in self.runs])

    def mean_fraction(self, name: str, budgets: Sequence[float] = BUDGETS) -> list[float]:
        """Mean `touched`, `delivered` or `seen` over images and seeds, at each of these budgets."""
        rows = [np.where(record.reached_F, record.fraction_FN(name).mean(1), np.nan) for record in self.runs]
        return [float(column.mean()) for column in self._spread(rows, budgets)] if rows else []

    def localisation(self, name: str, budgets: Sequence[float] = BUDGETS) -> list[float]:
        """Mean `iou` or `on_object` over images and seeds, at each of these budgets; [] without objects."""
        if not self.runs or any(name not in record.arrays for record in self.runs):
            return []
        rows = [np.where(record.reached_F, record.arrays[name].mean(1), np.nan) for record in self.runs]
        return [float(column.mean()) for column in self._spread(rows, budgets)]

    @property
    def pointing(self) -> float:
        """How often the first look lies on the object; NaN without objects."""
        hits = [record.arrays["pointed"].mean() for record in self.runs if "pointed" in record.arrays]
        return float(np.mean(hits)) if hits else float("nan")

    @property
    def points(self) -> tuple[float, ...]:
        """The budgets beside the grid at which it enters."""
        return tuple(sorted({*self.records[0].budgets} - {*BUDGETS}))

    def _spread(self, rows: Iterable[Array], budgets: Sequence[float]) -> list[Array]:
        """Values at the contender's own budgets, at these: for each the values of all runs."""
        at = {budget: number for number, budget in enumerate(self.records[0].budgets)}
        stacked = np.stack(list(rows))
        nothing = np.full(len(stacked), np.nan)
        return [stacked[:, at[budget]] if budget in at else nothing for budget in budgets]


def rows_of(records: Iterable[Record]) -> list[Row]:
    """Records grouped into rows, best first within each track; the floors and the ceiling come last."""
    records = list(records)
    groups: dict[tuple[str, str], list[Record]] = defaultdict(list)
    for record in records:
        agent, task = record.about["agent"], record.about["task"]
        evaluated = task["settings"] | {"evaluator": record.about["evaluator"]}
        same_task = [other.about for other in records if other.task == record.task]
        on = _with_differences(
            record.task, evaluated, [a["task"]["settings"] | {"evaluator": a["evaluator"]} for a in same_task]
        )
        same_name = [
            other.about["agent"] for other in records if other.name == record.name and other.task == record.task
        ]
        versions = [{"version": other["version"]} for other in same_name]
        groups[on, _with_differences(record.name, {"version": agent["version"]}, versions)].append(record)
    rows = [
        Row(name, task, tuple(sorted(group, key=lambda record: record.seed))) for (task, name), group in groups.items()
    ]
    return sorted(rows, key=lambda row: (row.task, row.about["reference"], row.about["track"], -_rank(row), row.name))


def _with_differences(name: str, mine: Mapping[str, Any], all_of_that_name: Sequence[Mapping[str, Any]]) -> str:
    """The name, with the entries in which those that share it differ: what is not the same stands in two rows."""
    differing = [key for key in mine if any(other.get(key) != mine[key] for other in all_of_that_name)]
    return f"{name} ({', '.join(f'{key}={mine[key]}' for key in differing)})" if differing else name


def _reference(rows: Sequence[Row], task: str, agent: str) -> Row | None:
    """The row of a floor or ceiling at its default settings."""
    return next((r for r in rows if r.task == task and r.about["name"] == agent and not r.about["changed"]), None)


def _rank(row: Row) -> float:
    """The evaluator's mean accuracy up to half of the image; a budget that is not reached counts as chance."""
    chance = 1 / row.records[0].about["task"]["classes"]
    values = [value.mean for value, budget in zip(row.accuracy("evaluator"), BUDGETS, strict=True) if budget <= 0.5]
    return float(np.mean([chance if np.isnan(value) else value for value in values]))


def table(rows: Sequence[Row]) -> pd.DataFrame:
    """The long form: one line per row and budget, with everything that is known about it."""
    lines = []
    for row in rows:
        floor, ceiling = _reference(rows, row.task, FLOOR), _reference(rows, row.task, CEILING)
        budgets = sorted({*BUDGETS, *row.points})
        own, judged = row.accuracy("own", budgets), row.accuracy("evaluator", budgets)
        fractions = {name: row.mean_fraction(name, budgets) for name in ("touched", "delivered", "seen")}
        overlaps = {name: row.localisation(name, budgets) for name in ("iou", "on_object")}
        for at, budget in enumerate(budgets):
            if np.isnan(judged[at].mean) and np.isnan(own[at].mean):
                continue
            above = _above(row, floor, budget)
            lines.append(
                {
                    "task": row.task,
                    "track": "reference" if row.about["reference"] else row.about["track"],
                    "contender": row.name,
                    "version": row.about["version"],
                    "budget": budget,
                    "seeds": len(row.records),
                    **_columns("own", own[at]),
                    **_columns("evaluator", judged[at]),
                    **_columns("own_above_uniform", above),
                    **{name: values[at] for name, values in fractions.items() if values},
                    **{name: values[at] for name, values in overlaps.items() if values},
                    "pointing": row.pointing,
                    "evaluator_acc95": _acc95(row, ceiling),
                    "evaluator_area": metrics.area_under_curve(
                        np.array([value.mean for value in row.accuracy("evaluator")]), BUDGETS
                    ),
                    "note": row.note,
                }
            )
    return pd.DataFrame(lines)


def _columns(name: str, value: Interval) -> dict[str, float]:
    return {name: value.mean, f"{name}_low": value.low, f"{name}_high": value.high}


def _above(row: Row, floor: Row | None, budget: float) -> Interval:
    """Own accuracy minus that of uniform windows at the same budget, paired over test images."""
    mine = row.correct("own", budget)
    theirs = floor.correct("own", budget) if floor is not None else None
    if mine is None or theirs is None or row is floor:
        return Interval(float("nan"), float("nan"), float("nan"))
    return paired(mine, theirs)


def _acc95(row: Row, ceiling: Row | None) -> float:
    """The smallest budget with 95 % of the evaluator's accuracy on the whole image, to stay."""
    if ceiling is None:
        return float("nan")
    top = ceiling.accuracy("evaluator")[-1].mean
    return metrics.smallest_sufficient(np.array([value.mean for value in row.accuracy("evaluator")]), BUDGETS, top)


_HEADINGS = {"gated": "Gated track: seen = touched", "open": "Open track: the selector reads the whole image"}


def markdown(rows: Sequence[Row], title: str) -> str:
    """The leaderboard for people: per task and track, evaluator's and own accuracy at each budget."""
    parts = [f"# {title}\n"]
    if not rows:
        return parts[0] + "\nNo records yet.\n"
    parts.append(
        "Top-1 accuracy in per cent on the test images, mean over seeds, at most the given share of the image\n"
        "touched. *evaluator*: the bench's classifier, trained on random masks, on what was selected. *own*: the\n"
        "contender's predictor. Bold: above uniform windows at the same budget (own accuracy, paired over images,\n"
        "95 % interval above zero). ·: budget not reached. †: by values delivered; it touches the whole image.\n"
    )
    for task in dict.fromkeys(row.task for row in rows):
        here = [row for row in rows if row.task == task]
        parts.append(f"\n## {task}\n")
        for track, heading in _HEADINGS.items():
            ranked = [row for row in here if not row.about["reference"] and row.about["track"] == track]
            parts.append(f"\n### {heading}\n\n{_pipe(ranked, here)}")
        parts.append(f"\n### Floors and ceiling\n\n{_pipe([r for r in here if r.about['reference']], here)}")
        parts.append(_beside_the_grid(here))
        parts.append(_localisation(here))
        parts.append(_findings(here))
        first = next((record for row in here for record in row.runs), None)
        if first is not None:
            parts.append(
                f"\n{first.about['task']['test_images']} test images; evaluator {first.about['evaluator']}. "
                "ACC95: the smallest budget from which the evaluator stays at 95 % of its accuracy on the\n"
                "whole image.\n"
            )
    return "".join(parts)


def _pipe(rows: Sequence[Row], all_rows: Sequence[Row]) -> str:
    if not rows:
        return "No entries yet.\n"
    floor, ceiling = _reference(all_rows, rows[0].task, FLOOR), _reference(all_rows, rows[0].task, CEILING)
    head = ["contender", "score by", *(f"{100 * budget:g} %" for budget in BUDGETS), "ACC95", "seeds", "note"]
    lines = [_row(head), _row(["---"] * 2 + ["---:"] * (len(BUDGETS) + 2) + ["---"])]
    for row in rows:
        mark = "†" if row.about["currency"] == "delivered" else ""
        acc95 = _acc95(row, ceiling)
        tail = [f"{100 * acc95:g} %" if acc95 == acc95 else "·", str(len(row.records)), row.note]
        judged = [_cell(value.mean) for value in row.accuracy("evaluator")]
        lines.append(_row([row.name + mark, "evaluator", *judged, *tail]))
        own = [_cell(value.mean) for value in row.accuracy("own")]
        better = [_above(row, floor, budget).low > 0 for budget in BUDGETS]
        own = [f"**{cell}**" if bold else cell for cell, bold in zip(own, better, strict=True)]
        lines.append(_row(["", "own", *own, "", "", ""]))
    return "\n".join(lines) + "\n"


def _beside_the_grid(rows: Sequence[Row]) -> str:
    """What contenders reach at the points that they add to the grid; nothing if none does."""
    lines = []
    for row in rows:
        touched = row.mean_fraction("touched", row.points) or [float("nan")] * len(row.points)
        judged, own = row.accuracy("evaluator", row.points), row.accuracy("own", row.points)
        for point, *values in zip(row.points, touched, [v.mean for v in judged], [v.mean for v in own], strict=True):
            lines.append(_row([row.name, f"{100 * point:g} %", *(f"{100 * v:.2f}" if v == v else "·" for v in values)]))
    if not lines:
        return ""
    head = [_row(["contender", "budget", "touched", "evaluator", "own"]), _row(["---", *["---:"] * 4])]
    return "\n### Points beside the grid\n\n" + "\n".join([*head, *lines]) + "\n"


def _localisation(rows: Sequence[Row]) -> str:
    """Where the touched pixels lie, for tasks that know their objects; nothing for others."""
    known = [row for row in rows if row.localisation("iou")]
    if not known:
        return ""
    head = ["contender", "pointing", *(f"{100 * budget:g} %" for budget in BUDGETS), "best IoU"]
    lines = [_row(head), _row(["---", *["---:"] * (len(head) - 1)])]
    for row in known:
        ious = [value for value in row.localisation("iou") if not np.isnan(value)]
        shares = [_cell(value) for value in row.localisation("on_object")]
        lines.append(_row([row.name, _cell(row.pointing), *shares, f"{max(ious):.2f}" if ious else "·"]))
    body = "\n".join(lines)
    return (
        "\n### Where they look\n\n"
        "Share of the touched pixels that lie on the object, in per cent, at each budget. *pointing*: how often the\n"
        "first look lies on it. *best IoU*: of touched pixels and object, over the budgets.\n\n"
        f"{body}\n"
    )


def _findings(rows: Sequence[Row]) -> str:
    """What agents measured while they trained, a table for those that measured the same; nothing if none did."""
    groups: dict[tuple[str, ...], list[str]] = {}
    for row in rows:
        found = [record.about["findings"] for record in row.runs]
        keys = tuple(sorted(key for key, value in found[0].items() if isinstance(value, float))) if found else ()
        if keys:
            cells = [_spread([each[key] for each in found]) for key in keys]
            groups.setdefault(keys, []).append(_row([row.name, *cells]))
    if not groups:
        return ""
    tables = [
        "\n".join([_row(["contender", *keys]), _row(["---", *["---:"] * len(keys)]), *groups[keys]]) for keys in groups
    ]
    body = "\n\n".join(tables)
    return (
        "\n### Findings\n\n"
        "What contenders measured while they trained, as their files in `agents/` explain: mean over seeds, and\n"
        f"lowest to highest.\n\n{body}\n"
    )


def _spread(values: Sequence[float]) -> str:
    mean, low, high = (f"{value:.3g}" for value in (np.mean(values), min(values), max(values)))
    return mean if low == high else f"{mean} ({low} to {high})"


def _row(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def _cell(value: float) -> str:
    return "·" if np.isnan(value) else f"{100 * value:.1f}"


def summary(record: Record) -> str:
    """One run's accuracies for the terminal."""
    head = f"{'budget':>10}" + "".join(f"{100 * budget:>7g}%" for budget in record.budgets)
    lines = [
        f"{by:>10}" + "".join(f"{_cell(value):>8}" for value in record.accuracy(by)) for by in ("evaluator", "own")
    ]
    return "\n".join([head, *lines])


_BEGIN, _END = "<!-- leaderboard:", "<!-- /leaderboard -->"


def insert(page: Path, root: Path, title: str, shown_as: str = "") -> None:
    """Replace what stands between a page's leaderboard markers by the tables and the curve of a results folder.

    Args:
        page: a Markdown file with the two markers.
        root: the results folder.
        title: the heading.
        shown_as: the folder's path in the link to the curve; by default `root` as it was given.
    """
    text = page.read_text()
    begin, end = text.find(_BEGIN), text.find(_END)
    if begin < 0 or end < begin:
        raise UsageError(f"{page}: no markers '{_BEGIN} … -->' and '{_END}' to write between")
    begin = text.index("-->", begin) + len("-->")
    tables = markdown(rows_of(read_all(root)), title).replace("\n#", "\n##").replace("# ", "## ", 1)
    curve = f"![accuracy against fraction]({shown_as or root.as_posix()}/curve.png)"
    page.write_text(f"{text[:begin]}\n\n{tables}\n{curve}\n\n{text[end:]}")


def write(records: Sequence[Record], root: Path, title: str) -> list[Path]:
    """Write leaderboard.md and leaderboard.csv; return their paths."""
    rows = rows_of(records)
    paths = [root / "leaderboard.md", root / "leaderboard.csv"]
    paths[0].write_text(markdown(rows, title))
    paths[1].write_text(table(rows).to_csv(index=False, float_format="%.6f", lineterminator="\n"))
    return paths
