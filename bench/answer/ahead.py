"""Who is ahead of whom by how much, and the sentences that say so.

What is sure is so after Holm's correction for all differences that are claimed together.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from typing import TypeVar

import numpy as np

from glimpsebench.agents.common import base
from glimpsebench.bench.answer.arenas import GRADIENT, RL, Arena, first
from glimpsebench.bench.rows import Row
from glimpsebench.bench.stats import Difference, crossed, holm

BUDGETS = tuple(budget for budget in base.BUDGETS if budget <= 0.2)
SURE = 0.05
SCORED = {"own": "own predictor", "judge": "judge"}

Key = TypeVar("Key")
Differences = Mapping[tuple[str, float], Difference]
"""By score and budget, where both rows have one."""


def differences(mine: Row, theirs: Row) -> Differences:
    """Of two rows, with p-values that are adjusted for there being so many (Holm)."""
    return adjusted([unadjusted(mine, theirs)])[0]


def duels(arenas: Sequence[Arena]) -> list[Differences]:
    """Of each arena, between the best row of either family: reinforcement learning less gradient, {} without one of
    them. The p-values are adjusted for all of these arenas' differences."""
    best = [[first(arena, family) for family in (RL, GRADIENT)] for arena in arenas]
    return adjusted([unadjusted(rl, gradient) if rl and gradient else {} for rl, gradient in best])


def adjusted(several: Sequence[Mapping[Key, Difference]]) -> list[Mapping[Key, Difference]]:
    """With p-values for there being so many differences in all (Holm)."""
    p = iter(holm(np.array([each.p for found in several for each in found.values()])))
    return [{key: each._replace(p=float(next(p))) for key, each in found.items()} for found in several]


def unadjusted(mine: Row, theirs: Row) -> Differences:
    """Of two rows, with p-values each for itself."""
    found: dict[tuple[str, float], Difference] = {}
    for by, budget in itertools.product(SCORED, BUDGETS):
        sides = [row.scores(by, budget) for row in (mine, theirs)]
        if sides[0] is not None and sides[1] is not None:
            found[by, budget] = crossed(sides[0], sides[1])
    return found


def points(value: float) -> str:
    """Per cent, or the difference of two accuracies."""
    return f"{100 * value:.1f}"


def sentence(one: str, other: str, found: Differences, by: str, among: int | None = None) -> str:
    """Who is ahead of whom by one score, budget by budget, as far as the intervals tell.

    Differences are the leader's less the other's; where neither is surely ahead, the first one's less the second's.

    Args:
        one: a row's name.
        other: the second's.
        found: first less second.
        by: the score.
        among: for how many differences the p-values are adjusted; by default for these.
    """
    among = among or len(found)
    at: dict[str, list[str]] = {one: [], other: [], "": []}
    for (score, budget), each in found.items():
        if score != by:
            continue
        winner = (one if each.mean > 0 else other) if each.p < SURE else ""
        mean, low, high = (each.mean, each.low, each.high) if winner != other else (-each.mean, -each.high, -each.low)
        least = "" if winner else f"; detectable: {points(each.detectable(among))}"
        at[winner].append(f"{100 * budget:g} % ({points(mean)} points, {points(low)} to {points(high)}{least})")
    parts = [f"{name} is ahead at {'; '.join(where)}" for name, where in at.items() if where and name]
    if at[""]:
        parts.append(f"neither is surely ahead at {'; '.join(at[''])}; differences are {one} − {other}")
    return f"By the {SCORED[by]}: {', and '.join(parts)}." if parts else f"By the {SCORED[by]}: nothing to compare."


def judged(found: Differences) -> list[tuple[float, Difference]]:
    """Budget and difference of those by the judge."""
    return [(budget, each) for (by, budget), each in found.items() if by == "judge"]


def span(values: Sequence[float]) -> str:
    """The smallest and the largest, in points."""
    low, high = points(min(values)), points(max(values))
    return low if low == high else f"{low} to {high}"


def accuracies(row: Row, by: str, budgets: Sequence[float]) -> list[str]:
    """A row's cells of a table: · where it does not reach the budget."""
    each = row.accuracy(by, budgets)
    return [f"{points(one.mean)} ± {points(one.reach)}" if one.mean == one.mean else "·" for one in each]
