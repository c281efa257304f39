"""Pareto fronts: the most accuracy for the least of the image, and for the least computation."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import matplotlib as mpl
import numpy as np

from glimpsebench.bench.figures import paper
from glimpsebench.bench.figures.paper import Drawn
from glimpsebench.bench.rows import Row
from glimpsebench.bench.styles import Style

BY = "judge"


class Point(NamedTuple):
    """What a contender pays and gets at a budget."""

    row: Row
    budget: float
    cost: float
    accuracy: float


def draw(rows: Sequence[Row], styles: Mapping[str, Style], width: float) -> Iterator[Drawn]:
    """One task: for each track, accuracy by the judge against the share of the image used, and against the operations
    of an episode at test, at the largest budget that is reached."""
    for name, points_of, axis_of in (
        ("front-fraction", _at_budgets, "share of the image used, %"),
        ("front-flops", _whole, "floating-point operations per image"),
    ):
        found = {track: [p for row in rows if row.track == track for p in points_of(row)] for track in paper.TRACKS}
        found = {track: points for track, points in found.items() if points}
        if found:
            yield _figure(name, found, axis_of, styles, width)


def _at_budgets(row: Row) -> list[Point]:
    if not row.covered:
        return []
    used = row.mean_fraction(row.about["currency"], row.covered)
    values = zip(row.covered, used, row.means(BY, row.covered), strict=True)
    return [Point(row, budget, share, mean) for budget, share, mean in values if not np.isnan(mean)]


def _whole(row: Row) -> list[Point]:
    flops = [row.cost.get(f"{part}_flops") for part in ("selector", "predictor")]
    points = _at_budgets(row)[-1:]
    known = [value for value in flops if value is not None]
    return (
        [point._replace(cost=float(np.sum(known))) for point in points]
        if len(known) == len(flops) and any(known)
        else []
    )


def front(points: Sequence[Point]) -> list[Point]:
    """Those that no other beats: more accurate at no more cost. In ascending order of both.

    >>> row: Any = None
    >>> some = [Point(row, 0, 1.0, 0.5), Point(row, 0, 2.0, 0.4), Point(row, 0, 3.0, 0.6), Point(row, 0, 1.0, 0.3)]
    >>> [(point.cost, point.accuracy) for point in front(some)]
    [(1.0, 0.5), (3.0, 0.6)]
    """
    best: list[Point] = []
    for point in sorted(points, key=lambda point: (point.cost, -point.accuracy)):
        if not best or point.accuracy > best[-1].accuracy:
            best.append(point)
    return best


def _figure(
    name: str, found: Mapping[str, Sequence[Point]], cost: str, styles: Mapping[str, Style], width: float
) -> Drawn:
    from matplotlib.ticker import LogLocator

    figure, axes = paper.grid(len(found), width)
    fraction = name.endswith("fraction")
    shown: list[Row] = []
    said = []
    costs = [point.cost for points in found.values() for point in points]
    least, largest = min(costs), max(costs)
    with mpl.rc_context(paper.STYLE):
        for axis, (track, points) in zip(axes, found.items(), strict=True):
            best = front(points)
            on = {id(point.row): point.row for point in best}
            ranked = {id(point.row): point.row for point in points}
            panel = [*on.values(), *(row for key, row in ranked.items() if key not in on)][: paper.MOST_LINES - 1]
            axis.step(
                [point.cost for point in best],
                [point.accuracy for point in best],
                where="post",
                color="#222222",
                lw=0.9,
                zorder=1,
                label="front",
            )
            for row in [row for row in ranked.values() if row in panel]:
                style = styles[row.label]
                mine = [point for point in points if point.row is row]
                _marks(axis, [point for point in mine if point in best], style, filled=True, label=paper.name_of(row))
                _marks(axis, [point for point in mine if point not in best], style, filled=False)
            axis.set_title(paper.TRACKS[track])
            if fraction:
                paper.fractions(axis, least)
            else:
                axis.set_xscale("log")
                axis.set_xlim(least / 1.5, largest * 1.5)
                axis.xaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
                axis.xaxis.set_major_formatter(lambda value, _: _short(value))
                axis.minorticks_off()
                axis.set_xlabel(cost)
            paper.accuracies(axis, BY)
            shown += panel
            at = "used" if fraction else "operations"
            listed = ", ".join(
                f"{paper.name_of(point.row)} {paper.per_cent(point.accuracy)} at "
                f"{f'{100 * point.cost:.1f} %' if fraction else _short(point.cost)} {at}"
                for point in best
            )
            said.append(f"On the front of the {track} track: {listed}.")
        paper.legends(figure, axes)
    what = (
        "the share of the image that is used, a mark for each budget"
        if fraction
        else "the floating-point operations of selector and predictor in an episode, at the largest budget reached"
    )
    says = (
        f"Accuracy by the judge against {what}, on {paper.of_what(shown)} Means over seeds and over the judge's "
        f"{paper.members(shown)} members, without intervals and tests. Filled: on the front, which no contender of the "
        "track beats at no more cost."
    )
    return Drawn(name, figure, says, " ".join(said))


def _marks(axis: Any, points: Sequence[Point], style: Style, filled: bool, label: str = "") -> None:
    x, y = [point.cost for point in points], [point.accuracy for point in points]
    face = style.colour if filled else "white"
    axis.plot(x, y, style.marker, ls="", color=style.colour, mfc=face, zorder=3 if filled else 2)
    if label:
        axis.plot([], [], style.marker, ls="", color=style.colour, label=label)


def _short(value: float) -> str:
    """
    >>> _short(1.3e6), _short(2e3), _short(5.0)
    ('1.3M', '2k', '5')
    """
    for size, letter in ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k")):
        if value >= size:
            return f"{value / size:.3g}{letter}"
    return f"{value:g}"
