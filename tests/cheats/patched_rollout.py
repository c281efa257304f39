"""Patches the rollout while it is fitted: the predictions that it hands back are the labels."""

import sys
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from cheats.base import Disc
from glimpsebench.agents.common.base import Progress
from glimpsebench.envs.tasks import Task


@dataclass
class PatchedRollout(Disc):
    def fit(self, task: Task, seed: int, progress: Progress[int]) -> None:
        super().fit(task, seed, progress)
        run: Any = sys.modules["glimpsebench.bench.run"]
        honest = run.rollout

        def rollout(agent: Any, images: Any, seed: int) -> Any:
            episodes = honest(agent, images, seed)
            return replace(episodes, predicted_FN=np.tile(images.labels_N, (len(episodes.steps_FN), 1)))

        run.rollout = rollout
