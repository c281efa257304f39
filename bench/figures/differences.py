"""By how much each contender is above or below the strongest floor, budget by budget."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import matplotlib as mpl
import numpy as np

from glimpsebench.agents.common.base import BUDGETS
from glimpsebench.bench.figures import paper
from glimpsebench.bench.figures.paper import Drawn
from glimpsebench.bench.floors import Floors
from glimpsebench.bench.rows import Row
from glimpsebench.bench.styles import Style

BY = "judge"


def draw(rows: Sequence[Row], styles: Mapping[str, Style], width: float) -> Iterator[Drawn]:
    """One task: the paired difference of each contender from the strongest floor at each budget, by the judge, with its
    interval; filled where it is claimed. Each track in a panel of its own."""
    floors = Floors(rows, BY)
    compared = {label for label, _ in floors.against}
    groups = {
        track: paper.most([row for row in rows if row.track == track and row.label in compared], paper.MOST_LINES - 1)
        for track in paper.TRACKS
    }
    for page in range(max(map(len, groups.values()))):
        panels = {track: found[page] for track, found in groups.items() if len(found) > page}
        yield _figure(f"differences{f'-{page + 1}' * (page > 0)}", panels, floors, styles, width)


def _figure(
    name: str, panels: Mapping[str, Sequence[Row]], floors: Floors, styles: Mapping[str, Style], width: float
) -> Drawn:
    figure, axes = paper.grid(len(panels), width)
    said = []
    with mpl.rc_context(paper.STYLE):
        for axis, (track, panel) in zip(axes, panels.items(), strict=True):
            axis.axhline(0, color="#222222", lw=0.8, zorder=1)
            budgets = [budget for budget in BUDGETS if any((row.label, budget) in floors.against for row in panel)]
            step = 0.7 / max(len(panel), 1)
            for number, row in enumerate(panel):
                style = styles[row.label]
                axis.plot([], [], style.marker, ls="", color=style.colour, label=row.label)
                cells = []
                for place, budget in enumerate(budgets):
                    one = floors.against.get((row.label, budget))
                    if one is None:
                        continue
                    at = place + step * (number - (len(panel) - 1) / 2)
                    mean, low, high = (100 * value for value in one.difference[:3])
                    ends = [[mean - max(low, -100)], [min(high, 100) - mean]]
                    face = style.colour if one.sign else "white"
                    axis.errorbar(at, mean, ends, fmt=style.marker, color=style.colour, mfc=face, lw=0.9, zorder=3)
                    cells.append(f"{100 * budget:g} %: {mean:+.1f} ± {(high - low) / 2:.1f}{' ★' if one.sign else ''}")
                said.append(f"{row.label}: {', '.join(cells)}.")
            axis.set_title(paper.TRACKS[track])
            axis.set_xticks(range(len(budgets)), [f"{100 * budget:g}" for budget in budgets])
            axis.set_xlim(-0.6, len(budgets) - 0.4)
            axis.set_xlabel("at most this share of the image, %")
            axis.set_ylabel("less the strongest floor, points")
            axis.grid(axis="x", visible=False)
            low, high = axis.get_ylim()
            axis.set_ylim(max(low, -102), min(high, 102))
        paper.legends(figure, axes)
    shown = [row for panel in panels.values() for row in panel]
    detectable = [floors.detectable(shown, budget) for budget in BUDGETS]
    typical = float(np.nanmedian(detectable)) if not np.isnan(detectable).all() else float("nan")
    says = (
        "Paired differences in accuracy by the judge from the strongest floor at each budget, on "
        f"{paper.of_what(shown)} The judge has {paper.members(shown)} members. Bars: 95 % interval over images, seeds "
        "and members (crossed random effects). Filled and ★: the difference stands after Holm's correction for all "
        "differences of the task by this score (α = 0.05), with two seeds or more on either side. Detectable with 80 % "
        f"power, median: {paper.per_cent(typical)} points."
    )
    return Drawn(name, figure, says, " ".join(said))
