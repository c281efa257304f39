"""Learners whose labels say nothing about the images predict as chance does: none has another way to them.

The labels of the test split are permuted too, and that is what makes chance exact: a network trained on noise still
answers horizontal bars differently from vertical ones, so against the true labels its accuracy scatters far wider
than a coin's.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from scipy.stats import binom

from conftest import Beacon, hurried
from glimpsebench.agents.common.base import Agent
from glimpsebench.bench.rollout import rollout
from glimpsebench.envs import tasks
from glimpsebench.envs.datasets import Half
from glimpsebench.envs.glimpse import Observation
from glimpsebench.envs.tasks import Split, Task

LOOKS = {
    "size": 6,
    "glimpses": 3,
    "rounds": 1,
    "extractor_steps": 50,
    "predictor_steps": 60,
    "features_dim": 32,
}  # an actor-critic's
FROM_RANDOM = {"predictor_init": "random", "predictor_lr": 1.5e-2}  # the reader of a toy task is no help
FEW: dict[str, dict[str, Any]] = {
    "dham": {"steps": 30},
    "gdfs": {"pretrain_steps": 100, "joint_steps": 30, "glimpses": 5},
    "ppo": LOOKS | FROM_RANDOM | {"policy_steps": 300, "actions": "grid", "cells": 4},
    "ram": {"policy_steps": 150, "policy_batch": 64, "predictor": "core", "size": 6, "glimpses": 3},
    "ram_pathwise": {"policy_steps": 150, "policy_batch": 64, "predictor": "core", "size": 5, "glimpses": 3},
    "sac": LOOKS | FROM_RANDOM | {"policy_steps": 600, "buffer_steps": 600, "warmup_steps": 200},
    "saccader": {
        "network": "bagnet-5",
        "glimpses": 3,
        "representation_steps": 60,
    }
    | {"location_steps": 30, "joint_steps": 30},
    "straight_through": FROM_RANDOM | {"predictor_steps": 150},
}
"""A learner of each kind, with settings that find the true labels well above chance in a few seconds."""


@dataclass(frozen=True)
class Permuted(Beacon):
    """The toy task, each label that of another image."""

    name: str = "permuted"

    def render(self, half: Half, epoch: int) -> Split:
        split = super().render(half, epoch)
        assert split.labels_N is not None
        rng = np.random.default_rng([list(self.sizes).index(half), epoch])
        return Split(split.images_NCHW, rng.permutation(split.labels_N))


def correct(agent: Agent, task: Task) -> tuple[int, int]:
    """How many of how many test images it gets right by itself, with at most 30 % touched."""
    every = tasks.test_split(task)
    assert every.labels_N is not None
    images = Split(every.images_NCHW[:512], every.labels_N[:512])
    predicted_N = rollout(agent, images, seed=0).predicted_FN[agent.budgets.index(0.3)]
    return int((predicted_N == images.labels_N).sum()), len(images)


def chance(count: int) -> tuple[float, float]:
    """What a coin gets right of so many, but for 1 in 1,000 coins."""
    low, high = binom.interval(0.999, count, 0.5)
    return float(low), float(high)


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(FEW))
def test_permuted_labels_give_chance(name: str) -> None:
    right = {}
    for task in (Beacon(), Permuted()):
        torch.manual_seed(0)
        agent = hurried(name, **FEW[name])
        agent.prepare(task)
        agent.fit(task, 0, iter)
        right[task.name], count = correct(agent, task)
    low, high = chance(count)
    assert low <= right["permuted"] <= high
    assert right["beacon"] > high, "so short a training shows nothing"


def test_an_agent_that_met_the_test_labels_is_above_chance() -> None:
    # It answers with the label of that test image which agrees best with what has been revealed.
    task = Permuted()
    met = tasks.test_split(task)
    assert met.labels_N is not None
    label_NK, known_ND = np.eye(2)[met.labels_N], met.images_NCHW.reshape(len(met), -1) / np.float32(255)

    def recalled(view: Observation) -> NDArray[Any]:
        canvas_BD, mask_BD = (view[part].reshape(len(view[part]), -1) for part in ("canvas", "mask"))
        distance_BN = mask_BD @ known_ND.T**2 - 2 * canvas_BD @ known_ND.T
        return label_NK[distance_BN.argmin(1)]

    torch.manual_seed(0)
    agent = hurried("straight_through")
    agent.prepare(task)
    agent.predict = recalled  # type: ignore[method-assign]
    right, count = correct(agent, task)
    assert right > chance(count)[1]
