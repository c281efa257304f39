"""Floors and ceiling: what a task's contenders are compared with, and which differences are claimed.

A contender is compared with the strongest floor of its task at a budget; claims are made after Holm's correction for
all differences of the task by that score.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from glimpsebench.agents.common.base import BUDGETS
from glimpsebench.bench.records import digest
from glimpsebench.bench.rows import Row
from glimpsebench.bench.stats import Difference, all_crossed, holm

Array = NDArray[Any]


class AgainstFloor(NamedTuple):
    """A row less the strongest floor of its task at one budget, by one score."""

    floor: Row
    difference: Difference
    adjusted: float
    """The p-value after Holm's correction for all differences of the table."""
    seeds: int
    """Of the side that has fewer."""

    @property
    def sign(self) -> int:
        """1 above the floor, -1 below it, 0 undecided: by the adjusted p-value, and with one seed undecided."""
        decided = self.seeds > 1 and self.adjusted < 0.05
        return int(np.sign(self.difference.mean)) if decided else 0

    @property
    def sign_of_these_networks(self) -> int:
        """The same where one of the two has one seed: it speaks of the trained networks, not of the methods."""
        decided = self.seeds == 1 and self.adjusted < 0.05
        return int(np.sign(self.difference.mean)) if decided else 0


class Strongest(NamedTuple):
    """The strongest floor at a budget, its mean accuracy, and how many floors it is the best of."""

    floor: Row
    accuracy: float
    among: int


@dataclass(frozen=True)
class Floors:
    """The strongest floor of one task at each budget, and how its contenders compare with it, by one score.

    A thumbnail is left out of the choice: its budget counts values delivered, not pixels touched.

    Attributes:
        rows: of the task.
        by: `own` or `judge`.
    """

    rows: Sequence[Row]
    by: str

    @cached_property
    def strongest(self) -> dict[float, Strongest]:
        """Budget → the floor of the best mean accuracy there; no entry where no floor has one.

        With the whole image touched all show the same, so 100 % has none.
        """
        floors = [row for row in self.rows if row.about["reference"] == "floor" and row.about["currency"] == "touched"]
        found = {}
        for budget in BUDGETS[:-1]:
            means = [(mean, row) for row in floors if not np.isnan(mean := row.means(self.by, [budget])[0])]
            if means:
                best, floor = min(means, key=lambda pair: (-pair[0], pair[1].label))  # in whatever order rows come
                found[budget] = Strongest(floor, best, len(means))
        return found

    @cached_property
    def against(self) -> dict[tuple[str, float], AgainstFloor]:
        """(A contender's name, budget) → its difference, where both reach the budget and met the same test images."""
        found: dict[tuple[str, float], tuple[Row, Difference, int]] = {}
        p: list[float] = []
        for row in self.rows:
            for budget, difference, seeds in self.differences(row):
                floor, _, among = self.strongest[budget]
                found[row.label, budget] = floor, difference, seeds
                # The best of several is a little too good by chance: to be below it counts after Bonferroni's
                # correction for the choice.
                p.append(difference.p if difference.mean > 0 else min(1.0, difference.p * among))
        return {
            key: AgainstFloor(floor, difference, float(adjusted), seeds)
            for (key, (floor, difference, seeds)), adjusted in zip(found.items(), holm(np.array(p)), strict=True)
        }

    def differences(self, row: Row) -> list[tuple[float, Difference, int]]:
        """A contender's difference at each budget, and how many seeds the side of fewer has."""
        if self._name is None:
            return self._differences(row)
        found = row.figure(f"above floor {self.by} {self._name}", lambda: self._differences(row))
        return [(budget, Difference(*difference), seeds) for budget, difference, seeds in found]

    @cached_property
    def _name(self) -> str | None:
        """By which a row's figures are kept: of the strongest floors' records; None if one cannot be named."""
        each = [(budget, one.floor.identity) for budget, one in self.strongest.items()]
        return None if any(identity is None for _, identity in each) else digest(each)

    def _differences(self, row: Row) -> list[tuple[float, Difference, int]]:
        """Those of floors with as many seeds are computed in one go."""
        pairs: dict[tuple[int, ...], list[tuple[float, Array, Array]]] = defaultdict(list)
        for budget, (floor, _, _) in self.strongest.items() if row.track != "reference" else ():
            mine, theirs = row.scores(self.by, budget), floor.scores(self.by, budget)
            same = row.records[0].about["task"]["test_sha256"] == floor.records[0].about["task"]["test_sha256"]
            if mine is not None and theirs is not None and same:
                pairs[theirs.shape].append((budget, mine, theirs))
        found = []
        for some in pairs.values():
            each = all_crossed([(mine, theirs) for _, mine, theirs in some])
            found += [(budget, one, min(len(a), len(b))) for (budget, a, b), one in zip(some, each, strict=True)]
        return sorted(found, key=lambda one: one[0])

    def detectable(self, rows: Sequence[Row], budget: float) -> float:
        """The true difference from the strongest floor that 80 % of such tables would claim: median of these rows.

        At the level with which Holm's correction begins; NaN if none of them is compared there.
        """
        found = [self.against.get((row.label, budget)) for row in rows]
        each = [one.difference.detectable(len(self.against)) for one in found if one is not None and one.seeds > 1]
        return float(np.median(each)) if each else float("nan")


def ceiling_of(rows: Sequence[Row], task: str) -> Row | None:
    """The row of a task that sees the whole image; the one of most seeds if there are several."""
    ceilings = [row for row in rows if row.task == task and row.about["reference"] == "ceiling"]
    return max(ceilings, key=lambda row: len(row.records), default=None)
