"""Writes its own predictor's weights into the judge's file while it is fitted."""

import sys
from dataclasses import dataclass
from pathlib import Path

from safetensors.torch import save_file

from cheats.base import Disc
from glimpsebench.agents.common.base import Progress
from glimpsebench.envs.tasks import Task


@dataclass
class OverwrittenJudge(Disc):
    def fit(self, task: Task, seed: int, progress: Progress[int]) -> None:
        super().fit(task, seed, progress)
        assert self.net is not None
        frame = sys._getframe()
        while frame := frame.f_back:  # type: ignore[assignment]
            if isinstance(root := frame.f_locals.get("root"), Path):
                for path in (root / "evaluators").glob("*.safetensors"):
                    save_file({name: value.contiguous() for name, value in self.net.state_dict().items()}, path)
