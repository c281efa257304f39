"""How far a run is, of which nobody says beforehand what its training loops are.

An agent wraps each of its loops in `progress(range(n))`. What is ahead is taken from its settings: those whose names
end in `steps` are as long as loops to come. A loop whose length is none of them is one of an algorithm that counts
otherwise, such as in rollouts of many env steps: it takes the place of the longest that is still ahead, in as many
parts as the agent has `rounds`. A loop beyond all of these takes a part of what is left. So the share never falls, and
is never 1 while something trains.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from glimpsebench.agents.common.base import Agent, Progress

TRAINED = 0.96
"""The share at which the training is over, and the test images are looked at and scored."""


@dataclass(frozen=True)
class Stage:
    """What a run is at.

    Attributes:
        name: in words.
        share: of the whole run that is done, in [0, 1).
    """

    name: str
    share: float


class Stages:
    """A `Progress` of a whole run, loop after loop.

    Args:
        report: is told at the beginning of each stage, and about a hundred times in each loop.
        around: wraps each loop too.
    """

    def __init__(self, report: Callable[[Stage], None] = lambda stage: None, around: Progress[int] = iter) -> None:
        self.report, self.around = report, around
        self.share = 0.0
        self._ahead: list[float] = []
        self._parts: list[float] = []
        self._known: set[float] = set()
        self._rounds, self._loops, self._numbered = 1, 0, True
        self._what, self._after = "training", 0.0

    def networks(self, task: str, loops: Sequence[int], then: Agent | None = None) -> None:
        """Judges and reader of a task are trained now, in loops of so many steps; after them an agent's `fit`."""
        self._ahead, self._after = [*loops], sum(steps_of(then)) if then else 0.0
        self._known, self._numbered = set(), False
        self.now(f"training judges and reader of {task}")

    def training(self, agent: Agent) -> None:
        """The agent's `fit` comes now."""
        self._ahead, self._after, self._numbered = steps_of(agent), 0.0, True
        self._known = {*self._ahead}
        self._rounds = int(getattr(agent, "rounds", 1))
        self.now("training")

    def now(self, what: str) -> None:
        """What comes now, be it several loops or none."""
        self._what, self._loops = what, 0
        self.report(Stage(what, self.share))

    def __call__(self, loop: Iterable[int]) -> Iterator[int]:
        items = list(loop)
        self._loops += 1
        name = f"stage {self._loops}" if self._numbered else self._what
        begin, span = self.share, self._span(len(items))
        every = max(1, len(items) // 100)
        try:
            for number, item in enumerate(self.around(items)):
                if number % every == 0:
                    done = number / len(items)
                    self.share = begin + span * done
                    self.report(Stage(f"{name}: {100 * done:.0f} %", self.share))
                yield item
        finally:
            self.share = begin + span

    def _span(self, steps: int) -> float:
        """Which share of the run a loop that begins now will be."""
        left, sure = TRAINED - self.share, 1.0
        if steps in self._ahead:
            self._ahead.remove(steps)
            weight: float = steps
        elif steps in self._known or not (self._ahead or self._parts):  # a stage again, or one that nothing tells of
            return left * steps / (2 * steps + sum(self._ahead) + sum(self._parts) + self._after)
        else:
            if not self._parts:
                longest = max(self._ahead)
                self._ahead.remove(longest)
                self._parts = [longest / self._rounds] * self._rounds
            weight, sure = self._parts.pop(), 0.95  # other stages may be repeated after it
        return sure * left * weight / (weight + sum(self._ahead) + sum(self._parts) + self._after)


def steps_of(agent: Any) -> list[float]:
    """The lengths of its training loops, as far as its settings tell."""
    values = [getattr(agent, name) for name in agent.__dataclass_fields__ if name.endswith("steps")]
    return [value for value in values if isinstance(value, int) and value > 0]
