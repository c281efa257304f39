"""The duel's panels: of each arena, in which estimators alone differ, what they reach, by when and at which cost."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import matplotlib as mpl
import numpy as np
from numpy.typing import NDArray

from glimpsebench.bench import escape
from glimpsebench.bench.answer.ahead import BUDGETS, differences, sentence
from glimpsebench.bench.answer.arenas import (
    GRADIENT,
    RL,
    Arena,
    arenas_among,
    at_passes,
    at_seconds,
    common_seconds,
    first,
    validation,
)
from glimpsebench.bench.figures import curves, paper
from glimpsebench.bench.figures.paper import Drawn
from glimpsebench.bench.rows import Row
from glimpsebench.bench.stats import Interval, over_seeds
from glimpsebench.bench.styles import Style

Array = NDArray[Any]

BY = "judge"


def draw(rows: Sequence[Row], styles: Mapping[str, Style], width: float) -> Iterator[Drawn]:
    """One task: a figure for each arena, of eight estimators at most; the rest in further ones."""
    fought = arenas_among([row for row in rows if row.runs])
    for arena in fought:
        alone = [one.agent for one in fought].count(arena.agent) == 1
        name = f"duel-{arena.agent}" + ("" if alone else f"-{arena.passes}")
        for page, some in enumerate(paper.most(arena.rows, paper.MOST_LINES)):
            yield _figure(f"{name}{f'-{page + 1}' * (page > 0)}", arena, some, styles, width)


def _figure(name: str, arena: Arena, rows: Sequence[Row], styles: Mapping[str, Style], width: float) -> Drawn:
    seconds, passes = common_seconds(arena.rows), common_passes(arena.rows)
    figure, (fraction, by_passes, by_seconds, at) = paper.grid(4, width)
    with mpl.rc_context(paper.STYLE):
        for row in rows:
            curves.line(fraction, row, BY, styles[row.label])
        fraction.set_title("Test images")
        paper.fractions(fraction, paper.least_budget(rows))
        paper.accuracies(fraction, BY)
        _training(by_passes, rows, styles, lambda found: found[0], passes)
        by_passes.set(xlabel="predictor passes", title="Validation images, by passes")
        by_passes.xaxis.set_major_formatter(lambda value, _: f"{value / 1000:g}k" if value else "0")
        _training(by_seconds, rows, styles, lambda found: found[1], seconds)
        by_seconds.set(xlabel="seconds of the selector's training", title="Validation images, by seconds")
        _equal(at, rows, styles, passes, seconds)
        paper.shared_legend(figure, fraction)
    return Drawn(name, figure, _says(arena, rows, passes, seconds), _values(rows, passes, seconds))


def common_passes(rows: Sequence[Row]) -> float:
    """The predictor passes that all of these had when the one with the fewest ended; NaN without curves."""
    ends = [min(passes_P[-1] for passes_P, _, _ in found) for row in rows if (found := validation(row))]
    return float(min(ends, default=np.nan))


def _training(
    axis: Any,
    rows: Sequence[Row],
    styles: Mapping[str, Style],
    x_of: Callable[[tuple[Array, Array, Array]], Array],
    until: float,
) -> None:
    """Mean validation accuracy of the selector's stage, and where all are compared."""
    from matplotlib.ticker import MaxNLocator

    for row in rows:
        found = validation(row)
        if not found or len({len(one[2]) for one in found}) > 1:
            continue
        x, y = (np.mean([each(one) for one in found], axis=0) for each in (x_of, lambda one: one[2]))
        axis.plot(x, y, markevery=max(1, len(x) // 6), **paper.look(styles[row.label]) | {"ms": 3, "lw": 1.0})
    if np.isfinite(until):
        axis.axvline(until, color="#222222", lw=0.8, ls=(0, (1.0, 1.2)), zorder=0)
    axis.set_xlim(left=0)
    axis.xaxis.set_major_locator(MaxNLocator(5))
    paper.shares(axis)
    axis.set_ylabel("validation accuracy, %")


def _equal(axis: Any, rows: Sequence[Row], styles: Mapping[str, Style], passes: float, seconds: float) -> None:
    """Validation accuracy at equal passes, filled, and at equal seconds, hollow, with intervals."""
    compared = [row for row in rows if validation(row)]
    for place, row in enumerate(compared):
        style = styles[row.label]
        for found, up, face in (
            (_over_seeds(at_passes(row, passes)), -0.16, style.colour),
            (_over_seeds(at_seconds(row, seconds)), 0.16, "white"),
        ):
            if found is not None and np.isfinite(found.mean):
                low, high = max(found.low, 0.0), min(found.high, 1.0)
                ends = [[found.mean - low], [high - found.mean]] if np.isfinite(found.low) else None
                axis.errorbar(found.mean, place + up, xerr=ends, fmt=style.marker, color=style.colour, mfc=face, lw=0.9)
    axis.set_yticks(range(len(compared)), [paper.wrapped(row.label, 18, 2) for row in compared])
    axis.set_ylim(len(compared) - 0.4, -0.6)
    axis.xaxis.set_major_formatter(lambda value, _: f"{100 * value:g}")
    axis.xaxis.get_major_locator().set_params(nbins=6)
    axis.set(xlabel="validation accuracy, %", title="At equal passes ● and seconds ○")


def _says(arena: Arena, rows: Sequence[Row], passes: float, seconds: float) -> str:
    best = [first(arena, family) for family in (RL, GRADIENT)]
    verdict = ""
    if best[0] is not None and best[1] is not None:
        found = differences(best[0], best[1])
        said = sentence(best[0].label, best[1].label, found, BY)
        verdict = (
            f" Of each family the best on validation images, paired, with Holm's correction for all budgets and scores "
            f"(α = 0.05): {said}"
        )
    return escape.terminal(
        f"Estimators of the learning signal in the arena {arena.agent}, which differ in nothing else, on "
        f"{paper.of_what(rows)} {arena.passes:,} predictor passes each. First panel: {paper.SCORED_BY[BY]} against "
        f"the share of the image used; shaded: {paper.INTERVAL[BY]}; the judge has {paper.members(rows)} members."
        f"{verdict} Others: validation accuracy while the selector is trained, means over seeds; bars: 95 % t interval "
        f"over seeds, no test; dotted: {_thousands(passes)} passes and {seconds:.1f} s, which all of them had."
    )


def _values(rows: Sequence[Row], passes: float, seconds: float) -> str:
    parts = [f"{row.label}, by the judge: {_at_budgets(row)}." for row in rows]
    for what, reached in (
        ("passes", [(row, _over_seeds(at_passes(row, passes))) for row in rows]),
        ("seconds", [(row, _over_seeds(at_seconds(row, seconds))) for row in rows]),
    ):
        values = "; ".join(f"{row.label} {_reach(one)}" for row, one in reached if one is not None)
        parts.append(f"At equal {what}, validation: {values or 'nothing that was measured by then'}.")
    return escape.terminal(" ".join(parts))


def _over_seeds(values_S: Array | None) -> Interval | None:
    return None if values_S is None else over_seeds(values_S)


def _thousands(value: float) -> str:
    return f"{value:,.0f}" if np.isfinite(value) else "·"


def _at_budgets(row: Row) -> str:
    values = zip(BUDGETS, row.accuracy(BY, BUDGETS), strict=True)
    return ", ".join(f"{100 * budget:g} %: {_reach(one)}" for budget, one in values if np.isfinite(one.mean)) or "none"


def _reach(value: Interval) -> str:
    reach = "" if np.isnan(value.low) else f" ± {paper.per_cent(value.reach)}"
    return f"{paper.per_cent(value.mean)}{reach}"
