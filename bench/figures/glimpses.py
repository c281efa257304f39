"""Accuracy after each glimpse."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

import matplotlib as mpl
import numpy as np

from glimpsebench.bench.figures import paper
from glimpsebench.bench.figures.paper import Drawn
from glimpsebench.bench.rows import SCORES
from glimpsebench.bench.styles import Style

if TYPE_CHECKING:
    from glimpsebench.bench.by_glimpse import Replayed


def draw(results: Sequence[Replayed], styles: Mapping[str, Style], width: float) -> Iterator[Drawn]:
    """One task: by the judge and by the own predictor, each in a panel, eight contenders to a figure."""
    for page, start in enumerate(range(0, len(results), paper.MOST_LINES)):
        some = results[start : start + paper.MOST_LINES]
        yield _figure(f"by_glimpse{f'-{page + 1}' * (page > 0)}", some, styles, width)


def _figure(name: str, results: Sequence[Replayed], styles: Mapping[str, Style], width: float) -> Drawn:
    figure, axes = paper.grid(2, width)
    rows = [one.row for one in results]
    said = []
    with mpl.rc_context(paper.STYLE):
        for axis, by in zip(axes, SCORES, strict=True):
            for one in results:
                if not (values := one.accuracy(by)):
                    continue
                style, (mean, low, high) = styles[one.row.label], np.array(values).T
                glimpses = np.arange(1, len(mean) + 1)
                axis.plot(glimpses, mean, label=one.row.label, markevery=max(1, len(mean) // 8), **paper.look(style))
                axis.fill_between(glimpses, low, high, color=style.colour, alpha=0.14, lw=0)
                last = values[-1]
                value = f"{paper.per_cent(last.mean)} ± {paper.per_cent(last.reach)}"
                said.append(f"{one.row.label}, {by} after {len(mean)}: {value}")
            axis.set_xlabel("glimpses")
            axis.set_title({"judge": "Judge", "own": "Own predictor"}[by])
            axis.xaxis.get_major_locator().set_params(integer=True)
            paper.accuracies(axis, by)
        paper.legends(figure, axes)
    says = (
        f"Accuracy after each glimpse, on {paper.of_what(rows)} Lines: means over seeds; shaded: "
        f"{paper.INTERVAL['judge']}. An episode that ended early keeps its last prediction."
    )
    return Drawn(name, figure, says, f"{'; '.join(said)}.")
