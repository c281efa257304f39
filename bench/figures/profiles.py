"""Contenders over several tasks: performance profiles and interquartile means (Agarwal et al., NeurIPS 2021)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import matplotlib as mpl
import numpy as np
from numpy.typing import NDArray

from glimpsebench.bench import metrics
from glimpsebench.bench.figures import paper
from glimpsebench.bench.figures.paper import Drawn
from glimpsebench.bench.leaderboard import over_tasks
from glimpsebench.bench.rows import Row
from glimpsebench.bench.stats import stratified_bootstrap
from glimpsebench.bench.styles import Style

Array = NDArray[Any]

MOST_LETTERS = 22
"""Of a label beside its mean; the legend has the whole."""
LEVELS = np.linspace(0, 1, 101)


def draw(rows: Sequence[Row], styles: Mapping[str, Style], width: float) -> Iterator[Drawn]:
    """All tasks: for each track the share of runs above each score, and the interquartile mean with its interval.

    Of contenders on as many tasks as the widest; nothing where none is on two.
    """
    found = over_tasks(rows)
    for track, title in paper.TRACKS.items():
        here = {label: scores for label, (one, scores) in found.items() if one[0].track == track}
        widest = max((scores.shape[1] for scores in here.values()), default=0)
        labels = [label for label, scores in here.items() if scores.shape[1] == widest]
        ranked = sorted(labels, key=lambda label: -metrics.interquartile_mean(here[label]))
        for page, start in enumerate(range(0, len(ranked), paper.MOST_LINES)):
            some = {label: here[label] for label in ranked[start : start + paper.MOST_LINES]}
            yield _figure(f"profiles-{track}{f'-{page + 1}' * (page > 0)}", title, some, styles, width)


def _figure(name: str, title: str, found: Mapping[str, Array], styles: Mapping[str, Style], width: float) -> Drawn:
    figure, (left, right) = paper.grid(2, width)
    said = []
    with mpl.rc_context(paper.STYLE):
        for place, (label, scores_RT) in enumerate(found.items()):
            style = styles[label]
            profile = metrics.performance_profile(scores_RT, LEVELS.tolist())
            left.step(LEVELS, profile, where="post", label=label, markevery=(10 + 2 * place, 20), **paper.look(style))
            middle = stratified_bootstrap(scores_RT, metrics.interquartile_mean)
            low, high = max(middle.low, 0.0), min(middle.high, 1.0)
            ends = [[max(middle.mean - low, 0.0)], [max(high - middle.mean, 0.0)]]
            right.errorbar(middle.mean, place, xerr=ends, fmt=style.marker, color=style.colour, lw=1)
            said.append(f"{label} {paper.per_cent(middle.mean)} ± {paper.per_cent(middle.reach)}")
        left.set(xlabel="score τ, from chance (0) to all right (1)", ylabel="share of runs above", title=title)
        left.set(xlim=(0, 1), ylim=(0, 1.02))
        right.set(xlabel="interquartile mean of the scores", title="IQM", ylim=(len(found) - 0.5, -0.5), xlim=(0, 1))
        right.set_yticks(range(len(found)), [paper.shortened(label, MOST_LETTERS) for label in found])
        paper.legends(figure, [left])
    tasks, seeds = next(iter(found.values())).shape[1], {len(scores) for scores in found.values()}
    says = (
        f"Performance profiles and interquartile means over {tasks} tasks, {'/'.join(map(str, sorted(seeds)))} seeds "
        "on each. A run's score is its mean accuracy by the judge over the budgets up to half of the image, from "
        "chance (0) to all right (100); a budget that is not reached counts as chance. Bars: 95 % percentile bootstrap "
        "over runs within tasks, which speaks of these tasks and is too short with few seeds."
    )
    return Drawn(name, figure, says, f"IQM: {'; '.join(said)}.")
