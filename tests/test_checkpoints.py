"""What was interrupted and goes on ends as if it had not been: every agent, bit for bit."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

from glimpsebench import agents
from glimpsebench.agents.common.base import Agent, Progress, checkpointed_by, reporting_to
from glimpsebench.bench import judges
from glimpsebench.bench.checkpoints import Checkpoints
from glimpsebench.bench.recorder import Recorder
from glimpsebench.envs.base import USE
from glimpsebench.envs.tasks import Task

Array = NDArray[Any]

STEPS = 9
LOOKS = {"policy_steps": 72, "num_envs": 4, "glimpses": 2, "size": 5, "features_dim": 8, "extractor_batch": 16}
"""An actor-critic's: several rollouts in each round."""
CASES: dict[str, tuple[str, Mapping[str, Any]]] = {name: (name, {}) for name in agents.names()} | {
    "ppo": ("ppo", LOOKS | {"episodes": 1}),
    "ppo, grid": ("ppo", LOOKS | {"episodes": 1, "actions": "grid", "cells": 4}),
    "ppo_open": ("ppo_open", LOOKS | {"episodes": 1}),
    "sac": ("sac", LOOKS | {"warmup_steps": 12, "buffer_steps": 60, "policy_batch": 8, "gradient_steps": 2}),
    "gdfs, queue": ("gdfs", {"cells_per_loss": 2, "glimpses": 6}),
    "ram, random": ("ram", {"first_fixation": "random", "standardize": True, "predictor": "core"}),
    "random weights": ("center", {"predictor_init": "random"}),
}
"""Every agent and, by other names, settings whose training keeps other things from step to step."""


class Killed(BaseException):
    """As by SIGKILL: nothing in the training may catch it."""


@dataclass
class Killer:
    """A progress wrapper that ends the process, as it were, before one of the items of all loops together."""

    before: float = np.inf
    items: int = 0

    def __call__(self, loop: Iterable[int]) -> Iterator[int]:
        for item in loop:
            if self.items == self.before:
                raise Killed
            self.items += 1
            yield item


@dataclass
class Outcome:
    """What a training came to."""

    tensors: dict[str, Tensor]
    findings: dict[str, Any]
    curves: list[dict[str, Any]]
    images: int
    env_steps: int
    said: list[str]

    def equals(self, other: Outcome) -> bool:
        same = self.tensors.keys() == other.tensors.keys()
        same = same and all(torch.equal(value, other.tensors[name]) for name, value in self.tensors.items())
        rest, others = ((one.findings, one.curves, one.images, one.env_steps) for one in (self, other))
        return same and rest == others


def few_steps(name: str) -> dict[str, Any]:
    fields = agents.find(name).__dataclass_fields__
    few: dict[str, Any] = {field: STEPS for field in fields if field.endswith("steps")}
    return few | ({"batch": 16} if "batch" in fields else {})


def train(agent: Agent, task: Task, folder: Path, progress: Progress[int] = iter) -> Outcome:
    """As the bench trains, with checkpoints in a folder."""
    torch.manual_seed(0)
    agent.prepare(task)
    curves, said = Recorder(agent, task, progress), list[str]()
    images, steps = USE.images, USE.steps
    kept = Checkpoints(folder, "this run", agent, curves, said.append)
    with reporting_to(curves), checkpointed_by(kept):
        agent.fit(task, 0, curves)
    assert agent.net is not None
    states = {"": agent.net.state_dict(), **agent.checkpoints}
    tensors = {f"{stage}/{name}": value for stage, state in states.items() for name, value in state.items()}
    return Outcome(tensors, agent.findings, curves.curves, USE.images - images, USE.steps - steps, said)


@pytest.fixture
def task(beacon: Task) -> Task:
    """The toy task, its judge and reader trained, as the bench sees to before a run."""
    for network in judges.missing(beacon):
        network.run(iter)
    return beacon


@pytest.fixture(autouse=True)
def often(monkeypatch: pytest.MonkeyPatch) -> None:
    """A checkpoint before every second step, so that some steps are done again and some are not."""
    turn = itertools.count()
    monkeypatch.setattr(Checkpoints, "_due", lambda _: next(turn) % 2 == 0)


def interrupted_and_resumed(make: Callable[[], Agent], task: Task, folder: Path, cuts: int) -> None:
    """Train without interruption, and with one at each of so many places; all must be equal."""
    whole = Killer()
    expected = train(make(), task, folder / "whole", whole)
    for cut in range(1, cuts + 1):
        killer, again = Killer(whole.items * cut // (cuts + 1)), folder / str(cut)
        with pytest.raises(Killed):
            train(make(), task, again, killer)
        # A new process has other states of the global generators.
        np.random.seed(cut)
        outcome = train(make(), task, again)
        assert any("goes on from" in line for line in outcome.said)
        assert outcome.equals(expected)


@pytest.mark.parametrize("case", CASES)
def test_an_interrupted_training_ends_as_if_it_had_not_been(case: str, task: Task, tmp_path: Path) -> None:
    name, settings = CASES[case]
    interrupted_and_resumed(lambda: agents.make(name, few_steps(name) | settings), task, tmp_path, cuts=1)


@pytest.mark.slow
@pytest.mark.parametrize("case", CASES)
def test_wherever_a_training_is_interrupted(case: str, task: Task, tmp_path: Path) -> None:
    name, settings = CASES[case]
    interrupted_and_resumed(lambda: agents.make(name, few_steps(name) | settings), task, tmp_path, cuts=3)
