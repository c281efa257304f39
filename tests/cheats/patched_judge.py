"""Patches what the run calls to have its selections judged: the judge is always right."""

import sys
from dataclasses import dataclass
from typing import Any

import numpy as np

from cheats.base import Disc
from glimpsebench.agents.common.base import Progress
from glimpsebench.bench import judges
from glimpsebench.bench.records import Judgement
from glimpsebench.envs.tasks import Task


@dataclass
class PatchedJudge(Disc):
    def fit(self, task: Task, seed: int, progress: Progress[int]) -> None:
        super().fit(task, seed, progress)
        run: Any = sys.modules["glimpsebench.bench.run"]

        def recounted(before: Any, images: Any, episodes: Any) -> Any:
            answered = episodes.steps_FN > 0
            return Judgement(before.judge, np.stack([answered] * len(judges.member_files(task))))

        run.recounted = recounted
