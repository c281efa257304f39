"""Methods as they were published, beside the best rows of the arenas: is an arena won against weak players only?"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple

from glimpsebench.bench import escape, store
from glimpsebench.bench.answer.ahead import SURE, accuracies, adjusted, judged, span, unadjusted
from glimpsebench.bench.answer.arenas import Arena, estimator_of, fights, leaders, shows
from glimpsebench.bench.compare import pipe
from glimpsebench.bench.records import Record
from glimpsebench.bench.rows import Row, rows_of
from glimpsebench.bench.stats import Difference
from glimpsebench.bench.suites import read_suite, suite_names

PREFIX = "duel-"
"""How the suites begin that an answer is made of."""


class Beside(NamedTuple):
    """The best row of an arena and, for each published method of its track, the best less the method at each budget by
    the judge; p-values adjusted for all of them (Holm)."""

    arena: Arena
    best: Row
    less: Mapping[str, tuple[Row, Mapping[float, Difference]]]


def methods(records: Iterable[Record]) -> list[Row]:
    """The rows that the duel's suites ask for and that fight in no arena: methods as they were published."""
    specs = [spec for name in suite_names() if name.startswith(PREFIX) for spec in read_suite(name).specs]
    found = rows_of(store.asked_by(specs, records))
    return [row for row in found if not row.about["reference"] and not fights(row.about)]


def beside(arenas: Sequence[Arena], rows: Iterable[Row]) -> Iterator[Beside]:
    """Each arena where somebody learns, with the methods of its track that met the same images and judge."""
    several = sorted(rows, key=lambda row: -row.above_chance("judge").mean())
    for arena in arenas:
        best = next(iter(leaders(arena)), None)
        others = [row for row in several if best and row.track == arena.track and _comparable(row, best)]
        if best is not None and others:
            found = adjusted([dict(judged(unadjusted(best, row))) for row in others])
            yield Beside(arena, best, {row.label: (row, each) for row, each in zip(others, found, strict=True)})


def _comparable(row: Row, other: Row) -> bool:
    """Whether two rows met the same test images and judge."""
    one, two = row.records[0].about, other.records[0].about
    return (one["task"]["test_sha256"], one["judge"]) == (two["task"]["test_sha256"], two["judge"])


def in_short(each: Iterable[Beside]) -> list[str]:
    """Which methods are surely ahead of the best of which arenas, and of which none is; nothing without a method."""
    ahead, none = [], []
    for arena, best, less in each:
        which = f"{arena.agent} on {escape.markdown(arena.task)} ({shows(best)})"
        sizes: dict[float, list[float]] = {}
        by: dict[str, list[str]] = {}
        for label, (row, found) in less.items():
            sure = {at: -one.mean for at, one in found.items() if one.p < SURE and one.mean < 0}
            if sure:
                by.setdefault(shows(row), []).append(escape.markdown(label))
            for at, size in sure.items():
                sizes.setdefault(at, []).append(size)
        if by:
            shares = f"{100 * min(sizes):g}" + f" to {100 * max(sizes):g}" * (len(sizes) > 1)
            names = "; ".join(f"by {shown}, {', '.join(labels)}" for shown, labels in by.items())
            points = span([size for some in sizes.values() for size in some])
            ahead.append(f"of {which} by {points} points at {shares} % of the image ({names})")
        else:
            none.append(f"of {which}")
    said = []
    if ahead:
        said.append(
            f"Published methods, at their own sensors and networks, are surely ahead of the best {'; '.join(ahead)}."
        )
    if none:
        said.append(f"No published method is surely ahead of the best {', '.join(none)}.")
    return said


def section(each: Iterable[Beside]) -> list[str]:
    """Part of the page; nothing without a method."""
    parts = []
    for arena, best, less in each:
        at = sorted({budget for _, found in less.values() for budget in found})
        head = ["method", "what a choice shows", "audit", "seeds", *(f"{100 * budget:g} %" for budget in at)]
        mine = f"{arena.agent}: {estimator_of(best)}"
        lines = [[mine, *_about(best), *accuracies(best, "judge", at)]]
        for label, (row, found) in less.items():
            cells = zip(accuracies(row, "judge", at), (found.get(budget) for budget in at), strict=True)
            lines.append([escape.markdown(label), *_about(row), *(_cell(*one) for one in cells)])
        where = f"{arena.agent} on {escape.markdown(arena.task)} ({arena.track})"
        parts.append(f"{where}, by the judge, in per cent:\n\n{pipe(head, lines, left=3)}")
    said = (
        "Methods as they were published, at their own sensors, networks, settings and training (docs/methods), beside "
        "the best row of each arena of their track. More than the learning signal differs, so this says whether an "
        "arena's best is a strong selector, and not why. *audit*: `encodes`, the mask of an open one says more of the "
        "class than its pixels show (docs/measurement.md). In brackets: the arena's best less the method, points; "
        "bold where it is sure, after Holm's correction for the table."
    )
    return [f"## Published methods on the same task\n\n{said}\n", *parts] if parts else []


def _about(row: Row) -> list[str]:
    return [shows(row), row.verdict or "not audited", str(len(row.records))]


def _cell(accuracy: str, difference: Difference | None) -> str:
    if difference is None:
        return accuracy
    sure = "**" if difference.p < SURE else ""
    return f"{accuracy} ({sure}{100 * difference.mean:+.1f}{sure})"
