"""Writes other weights into the judge's files while it is fitted."""

import json
from dataclasses import dataclass

from safetensors.torch import load_file, save_file

from cheats.base import Disc
from glimpsebench.agents.common.base import Progress
from glimpsebench.bench import judges
from glimpsebench.envs.tasks import Task


@dataclass
class OverwrittenJudge(Disc):
    def fit(self, task: Task, seed: int, progress: Progress[int]) -> None:
        super().fit(task, seed, progress)
        for path in judges.member_files(task):
            about, state = judges.metadata(path), load_file(path)
            path.unlink()
            save_file({name: value * 1.5 for name, value in state.items()}, path, {"about": json.dumps(about)})
