"""Accuracy against the share of the image that is used: the main figure of a task."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import matplotlib as mpl
import numpy as np

from glimpsebench.agents.common.base import BUDGETS
from glimpsebench.bench.figures import paper
from glimpsebench.bench.figures.paper import Drawn
from glimpsebench.bench.floors import Floors, ceiling_of
from glimpsebench.bench.rows import SCORES, Row
from glimpsebench.bench.styles import Style

BESIDE = 2
"""Lines of a panel that are no contender's: the strongest floor and the ceiling."""
FLOOR = "strongest floor"
GREY = "#4d4d4d"


def draw(rows: Sequence[Row], styles: Mapping[str, Style], width: float) -> Iterator[Drawn]:
    """One task: the best contenders of each track in a panel of its own, by the judge and by their own predictors; then
    the other contenders, and the floors.

    Args:
        rows: of the task, best first.
        styles: of their labels.
        width: of the figures, inches.
    """
    tracks = {track: [row for row in rows if row.track == track and row.runs] for track in paper.TRACKS}
    groups = {track: paper.most(found, paper.MOST_LINES - BESIDE) for track, found in tracks.items()}
    floors = [row for row in rows if row.about["reference"] == "floor" and row.runs]
    for by in SCORES:
        end = "" if by == "judge" else "-own"
        if not any(groups.values()):  # a suite of floors has a curve too
            panels = {"Floors": floors[: paper.MOST_LINES - 1]}
            yield _figure(f"curve{end}", panels, rows, styles, width, by, strongest=False)
        for page in range(max(map(len, groups.values()))):
            panels = {paper.TRACKS[track]: found[page] for track, found in groups.items() if len(found) > page}
            yield _figure(f"curve{end}{f'-{page + 1}' * (page > 0)}", panels, rows, styles, width, by)
        for page, some in enumerate(paper.most(floors, paper.MOST_LINES - 1)):
            name = f"floors{end}{f'-{page + 1}' * (page > 0)}"
            yield _figure(name, {"Floors": some}, rows, styles, width, by, strongest=False)


def _figure(
    name: str,
    panels: Mapping[str, Sequence[Row]],
    rows: Sequence[Row],
    styles: Mapping[str, Style],
    width: float,
    by: str,
    strongest: bool = True,
) -> Drawn:
    shown = [row for panel in panels.values() for row in panel]
    floors, ceiling = Floors(rows, by), ceiling_of(rows, rows[0].task)
    least = min(paper.least_budget(shown), min(floors.strongest, default=1.0) if strongest else 1.0)
    figure, axes = paper.grid(len(panels), width)
    with mpl.rc_context(paper.STYLE):
        for axis, (title, panel) in zip(axes, panels.items(), strict=True):
            for row in panel:
                line(axis, row, by, styles[row.label])
            if strongest:
                _strongest(axis, floors)
            if ceiling is not None and not np.isnan(top := ceiling.means(by)[-1]):
                axis.axhline(top, color="#999999", lw=0.8, dashes=(6, 2), zorder=0, label="whole image")
            axis.set_title(title)
            paper.fractions(axis, least)
            paper.accuracies(axis, by)
        paper.legends(figure, axes)
    return Drawn(name, figure, _says(shown or rows, by), _values(shown or rows, floors, ceiling, by, strongest))


def line(axis: Any, row: Row, by: str, style: Style) -> None:
    """A contender's mean with its interval, and its seeds where there are few."""
    budgets = [budget for budget in row.covered if row.scores(by, budget) is not None]
    if not budgets:
        return
    x = row.mean_fraction(row.about["currency"], budgets)
    mean, low, high = np.array(row.accuracy(by, budgets)).T
    axis.plot(x, mean, label=paper.name_of(row), **paper.look(style), zorder=3)
    axis.fill_between(x, low, high, color=style.colour, alpha=0.14, lw=0)
    if paper.dots(row):
        for record in row.runs:
            at = [record.budgets.index(budget) for budget in budgets]
            each = record.fractions_FN.mean(1)[at], record.accuracy(by)[at]
            axis.plot(*each, ".", color=style.colour, ms=1.6, mew=0, alpha=0.8, zorder=2)


def _strongest(axis: Any, floors: Floors) -> None:
    """The best floor at each budget, as one line."""
    found = floors.strongest
    if found:
        x = [one.floor.mean_fraction("touched", [budget])[0] for budget, one in found.items()]
        _, low, high = np.array([one.floor.accuracy(floors.by, [budget])[0] for budget, one in found.items()]).T
        mean = [one.accuracy for one in found.values()]
        axis.plot(x, mean, color=GREY, linestyle=(0, (1.0, 1.2)), lw=1.4, label=FLOOR, zorder=2)
        axis.fill_between(x, low, high, color=GREY, alpha=0.1, lw=0)


def _says(rows: Sequence[Row], by: str) -> str:
    judge = f"The judge has {paper.members(rows)} members. " if by == "judge" else ""
    few = "Small dots: single seeds. " if any(paper.dots(row) for row in rows) else ""
    return (
        f"{paper.SCORED_BY[by].capitalize()} against the share of the image that is used, on {paper.of_what(rows)} "
        f"{judge}Lines: means over seeds; shaded: {paper.INTERVAL[by]}. {few}A line ends where a contender uses no "
        "more of it."
    )


def _values(rows: Sequence[Row], floors: Floors, ceiling: Row | None, by: str, strongest: bool) -> str:
    parts = []
    if strongest and floors.strongest:
        best = "; ".join(
            f"{100 * budget:g} %: {one.floor.label} {paper.per_cent(one.accuracy)}"
            for budget, one in floors.strongest.items()
        )
        parts.append(f"Strongest floor at each budget: {best}.")
    if ceiling is not None:
        parts.append(f"Whole image: {paper.per_cent(ceiling.means(by)[-1])}.")
    for row in rows:
        values = [
            f"{100 * budget:g} %: {paper.per_cent(value.mean)} ± {paper.per_cent(value.reach)}"
            for budget, value in zip(BUDGETS, row.accuracy(by), strict=True)
            if not np.isnan(value.mean)
        ]
        parts.append(f"{paper.name_of(row)}: {', '.join(values) or 'no such accuracy'}.")
    return " ".join(parts)
