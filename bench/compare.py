"""Claims of the kind "A beats B": paired differences between rows of the leaderboard, from their records.

Each image counts with its scores averaged over a contender's seeds, and the difference is taken image by image. The
interval is over images and seeds (`stats.crossed`), so it speaks of the methods. The leaderboard compares every
contender with the strongest floor in the same way.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from glimpsebench import agents
from glimpsebench.agents.common.base import BUDGETS
from glimpsebench.bench import escape
from glimpsebench.bench.records import settings_of
from glimpsebench.bench.rows import SCORES, Row, shown
from glimpsebench.bench.stats import Difference, crossed, holm, welch
from glimpsebench.envs.errors import UsageError, unknown

Array = NDArray[Any]

FINDINGS, AREA = "findings", "area"
MEASURES = ("own", "judge", "iou", "on_object", "pointed", FINDINGS)
ALL = "all"

_NOTE = """
Per cent on the same test images. Each image counts with its scores averaged over a contender's seeds; a run that did
not end well counts as chance in accuracies and is left out of the rest. ±: 95 % interval over images, seeds and, of the
judge, members. Bold: it excludes zero. ★: the difference stands after Holm's correction for all differences of the
table. ¹: a side has one seed, so its interval leaves out that seeds differ, and it has no ★. ·: a budget that one of
the two does not reach. *area*: under accuracy over log-fraction, where both reach the same budgets. *detectable*: the
true difference that would be found with 80 % power, by the first step of Holm's correction. †: by values delivered.
"""


_FINDINGS_NOTE = """
What both measured about themselves while they trained, on validation images, as their files in agents/ explain: the
difference of the means over seeds. ±: 95 % interval over seeds (Welch's t). Bold: it excludes zero. ★: it does so after
Holm's correction for all differences of the table. *detectable*: the true difference that would be found with 80 %
power, by the first step of Holm's correction. Runs that did not end well are left out.
"""


@dataclass(frozen=True)
class Comparison:
    """One that a suite asks for: `NAME-MEASURE.md` beside its leaderboard.

    Attributes:
        name: of the file.
        b: the row to compare with.
        a: a row, or `all`.
        measure: one of `MEASURES`.
    """

    name: str
    b: str
    a: str = ALL
    measure: str = "judge"

    @property
    def file(self) -> str:
        return f"{self.name}-{self.measure}.md"

    def text(self, rows: Sequence[Row]) -> str:
        """The file's contents."""
        return markdown(rows, self.a, self.b, self.measure)


def write(comparisons: Iterable[Comparison], rows: Sequence[Row], root: Path) -> tuple[list[Path], list[str]]:
    """Write them to a results folder: the paths, and a line for each that lacks a row or a common budget."""
    paths, skipped = [], []
    for comparison in comparisons:
        try:
            text = comparison.text(rows)
        except UsageError as error:
            skipped.append(f"{comparison.file} left out: {error}")
            continue
        paths.append(root / comparison.file)
        paths[-1].write_text(text)
    return paths, skipped


class Claim(NamedTuple):
    """The means of two rows at one budget, and their difference."""

    at: str
    mine: float
    theirs: float
    difference: Difference
    seeds: int
    """Of the side that has fewer."""


def claims(mine: Row, theirs: Row, measure: str) -> list[Claim]:
    """One for each budget at which both have the measure; `pointed` is of the first look by choice alone.

    Of `findings` one for each that both measured, given two seeds or more on either side.
    """
    if measure == FINDINGS:
        values = [findings_of(row) for row in (mine, theirs)]
        both = [name for name in values[0] if name in values[1] and min(len(one[name]) for one in values) > 1]
        return [_finding(name, *(one[name] for one in values)) for name in both]
    images = {record.about["task"]["test_sha256"] for row in (mine, theirs) for record in row.records}
    if len(images) > 1:
        raise UsageError(f"{mine.label} and {theirs.label} were scored on different test images of {mine.task}")
    found = []
    for at, budget in _points(measure).items():
        a, b = scores(mine, measure, budget), scores(theirs, measure, budget)
        if a is not None and b is not None:
            found.append(_claim(at, a, b))
    if measure in SCORES and mine.covered == theirs.covered:
        a, b = mine.area_scores(measure), theirs.area_scores(measure)
        if a is not None and b is not None:
            found.append(_claim(AREA, a, b))
    return found


def _claim(at: str, a_SMN: Array, b_SMN: Array) -> Claim:
    seeds = min(len(a_SMN), len(b_SMN))
    return Claim(at, float(a_SMN.mean()), float(b_SMN.mean()), crossed(a_SMN, b_SMN), seeds)


def findings_of(row: Row) -> dict[str, Array]:
    """The numbers that a row's runs found about themselves, one a seed (S,), by name."""
    found = [record.about["findings"] for record in row.runs]
    names = [name for name in found[0] if all(isinstance(each.get(name), float) for each in found)] if found else []
    return {name: np.array([each[name] for each in found]) for name in sorted(names)}


def _finding(name: str, mine_S: Array, theirs_S: Array) -> Claim:
    seeds = min(len(mine_S), len(theirs_S))
    return Claim(name, float(mine_S.mean()), float(theirs_S.mean()), welch(mine_S, theirs_S), seeds)


def _points(measure: str) -> dict[str, float]:
    """What is compared: a column's name → the budget."""
    return {"first look": 0.0} if measure == "pointed" else {f"{100 * budget:g} %": budget for budget in BUDGETS}


def scores(row: Row, measure: str, budget: float) -> Array | None:
    """Per seed, member and image, (S, M, N); None unless every run reaches the budget and has this measure."""
    if measure in SCORES:
        return row.scores(measure, budget)
    if measure == "pointed":
        pointed_SN = row.pointed()
        return None if pointed_SN is None else pointed_SN[:, None]
    if not row.runs or any(measure not in record.arrays for record in row.runs):
        return None
    if budget not in row.reached:
        return None
    at = row.runs[0].budgets.index(budget)
    return np.stack([record.arrays[measure][at] for record in row.runs])[:, None]


def named(rows: Sequence[Row], label: str) -> list[Row]:
    """The rows with this label, one per task. Spaces and the order of settings do not matter, nor the leaderboard's †.

    What is no label may be a row's name, with all settings that differ from the defaults, be it from those of the
    record's time or from today's; or the agent's name alone, if all of its rows have one label.
    """
    try:
        found = matching(rows, label)
    except UsageError:
        todays = {row.label for row in rows if _parts(_by_todays_defaults(row)) == _parts(label)}
        if len(todays) != 1:
            raise
        (found,) = todays
    return [row for row in rows if row.label == found]


def _by_todays_defaults(row: Row) -> str:
    """A row's name from the settings that differ from the agent's defaults now."""
    name, settings = row.about["name"], row.about["settings"]
    if name not in agents.names():
        return row.name
    defaults = settings_of(agents.make(name))
    changed = {key: value for key, value in settings.items() if key in defaults and defaults[key] != value}
    return f"{name} ({', '.join(f'{key}={value}' for key, value in changed.items())})" if changed else name


def _parts(label: str) -> list[str]:
    """A label's words and its settings, in an order that does not depend on theirs."""
    return sorted(re.split("[(),]", label.replace(" ", "").rstrip("†")))


class Named(Protocol):
    """What has a label and a long name: a row, or what a suite says of one (`rows.Called`)."""

    @property
    def label(self) -> str: ...

    @property
    def name(self) -> str: ...


def matching(rows: Collection[Named], label: str) -> str:
    """The label that is meant (`named`).

    Raises:
        UsageError: there is none, or there are several.
    """
    if found := [row.label for row in rows if _parts(row.label) == _parts(label)]:
        return found[0]
    meant = {row.label for row in rows if _parts(row.name) == _parts(label)}
    if not meant:
        meant = {row.label for row in rows if any(each.startswith(f"{label} (") for each in (row.label, row.name))}
    if len(meant) == 1:
        return meant.pop()
    if meant:
        raise UsageError(f"several contenders are '{label}', say which: {', '.join(sorted(meant))}")
    raise unknown("contender", label, {row.label for row in rows}, sorted({row.name for row in rows}))


def on_task(rows: Sequence[Row], task: str | None) -> list[Row]:
    """The rows on this task, named as on the leaderboard, or without settings or version; all for None."""
    if task is None:
        return list(rows)
    found = [row for row in rows if task in _names(row)]
    if not found:
        raise unknown("task", task, {row.task for row in rows})
    return found


def _names(row: Row) -> set[str]:
    about = row.records[0].about["task"]
    return {row.task, about["id"], about["id"].removesuffix(f"-v{about['settings'].get('version')}")}


def markdown(rows: Sequence[Row], label: str, other: str, measure: str, task: str | None = None) -> str:
    """A contender, or every one, against another, on each task where both are.

    Args:
        rows: of the leaderboard.
        label: the contender as the leaderboard prints it, or `all`.
        other: the one to compare with.
        measure: one of `MEASURES`.
        task: only this one.
    """
    if measure not in MEASURES:
        raise unknown("measure", measure, MEASURES)
    rows = on_task(rows, task)
    contenders = rows if label == ALL else named(rows, label)
    references = named(rows, other)
    title = f"{'every contender' if label == ALL else contenders[0].label} against {references[0].label}, by {measure}"
    parts = [f"# {escape.markdown(title)}\n{_FINDINGS_NOTE if measure == FINDINGS else _NOTE}"]
    for theirs in references:
        found = [(row, claims(row, theirs, measure)) for row in contenders if row.task == theirs.task]
        found = [(row, some) for row, some in found if some and not (label == ALL and row is theirs)]
        if not found:
            continue
        differences = [claim.difference for _, some in found for claim in some]
        adjusted = iter(holm(np.array([difference.p for difference in differences])).tolist())
        write_cell = finding_cell if measure == FINDINGS else cell
        cells = [
            {claim.at: write_cell(claim.difference, next(adjusted), claim.seeds) for claim in some} for _, some in found
        ]
        who = [theirs] if label == ALL else [found[0][0], theirs]
        seeds = "; ".join(f"{shown(row)}: {_seeds(row)}" for row in who)
        images = theirs.records[0].about["task"]["test_images"]
        table = (
            _wide(found, cells, measure, len(differences))
            if label == ALL
            else _long(found[0], theirs, cells[0], measure)
        )
        parts.append(f"\n## {escape.markdown(theirs.task)}\n\n{seeds}; {images} test images.\n\n{table}")
    if len(parts) == 1:
        raise UsageError(f"{title}: no task and budget at which both have that")
    return "".join(parts)


def _long(found: tuple[Row, list[Claim]], theirs: Row, cells: dict[str, str], measure: str) -> str:
    """Two rows: a line per budget or finding."""
    mine, some = found
    if measure == FINDINGS:
        head, values = "finding", [[f"{claim.mine:.3g}", f"{claim.theirs:.3g}"] for claim in some]
    else:
        head, values = "at most", [[f"{100 * claim.mine:.1f}", f"{100 * claim.theirs:.1f}"] for claim in some]
    lines = [
        [claim.at, *pair, cells[claim.at], _size(claim.difference.detectable(len(some)), measure)]
        for claim, pair in zip(some, values, strict=True)
    ]
    return pipe([head, shown(mine), shown(theirs), "difference", "detectable"], lines)


def _size(value: float, measure: str) -> str:
    return f"{value:.2g}" if measure == FINDINGS else f"{100 * value:.1f}"


def _wide(
    found: Sequence[tuple[Row, list[Claim]]], cells: Sequence[dict[str, str]], measure: str, differences: int
) -> str:
    """Many rows: a line for each, with the difference at each budget, and the median of what is detectable."""
    possible = [*({} if measure == FINDINGS else _points(measure)), *(at for line in cells for at in line)]
    possible = list(dict.fromkeys(possible))
    points = [at for at in possible if any(at in line for line in cells)]
    lines = [
        [shown(row), row.track, *(line.get(at, "·") for at in points), _seeds(row)]
        for (row, _), line in zip(found, cells, strict=True)
    ]
    smallest = {
        at: np.median([c.difference.detectable(differences) for _, some in found for c in some if c.at == at])
        for at in points
    }
    lines.append(["detectable", "", *(_size(float(smallest[at]), measure) for at in points), ""])
    return pipe(["contender", "track", *points, "seeds"], lines)


def _seeds(row: Row) -> str:
    return f"{len(row.records)} seed{'s' * (len(row.records) > 1)}" + (
        f", {escape.markdown(row.note)}" if row.note else ""
    )


def cell(difference: Difference, adjusted: float, seeds: int) -> str:
    """A difference and half the width of its interval, in per cent, with the marks that the note explains.

    >>> cell(Difference(0.1, 0.05, 0.15, 0.001), 0.002, 3)
    '**+10.0 ± 5.0** ★'
    """
    text = f"{100 * difference.mean:+.1f} ± {50 * (difference.high - difference.low):.1f}"
    return _marked(text, difference, adjusted, seeds)


def finding_cell(difference: Difference, adjusted: float, seeds: int) -> str:
    """The same of a finding, in its own unit.

    >>> finding_cell(Difference(0.1, 0.05, 0.15, 0.001), 0.06, 3)
    '**+0.1 ± 0.05**'
    """
    text = f"{difference.mean:+.3g} ± {(difference.high - difference.low) / 2:.2g}"
    return _marked(text, difference, adjusted, seeds)


def _marked(text: str, difference: Difference, adjusted: float, seeds: int) -> str:
    if difference.low > 0 or difference.high < 0:
        text = f"**{text}**" + " ★" * (adjusted < 0.05 and seeds > 1)
    return text + "¹" * (seeds < 2)


def pipe(head: Sequence[str], lines: Iterable[Sequence[str]], left: int = 1) -> str:
    """A Markdown table: so many columns to the left, the others to the right."""
    rows = [head, [*["---"] * left, *["---:"] * (len(head) - left)], *lines]
    return "".join(f"| {' | '.join(text.replace('|', chr(92) + '|') for text in row)} |\n" for row in rows)
