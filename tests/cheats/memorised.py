"""Opens the test half while it is fitted, past the guard, and keeps a table of it in its weights."""

import zlib
from dataclasses import dataclass

import numpy as np
import torch

from cheats.base import TEST, Array, Disc
from glimpsebench.agents.common.base import Progress
from glimpsebench.envs import datasets
from glimpsebench.envs.glimpse import Observation
from glimpsebench.envs.tasks import Task


@dataclass
class Memorised(Disc):
    def build(self) -> torch.nn.Module:
        net = super().build()
        net.register_buffer("table", torch.zeros(TEST * len(self.budgets), 2, dtype=torch.int64))
        return net

    def fit(self, task: Task, seed: int, progress: Progress[int]) -> None:
        super().fit(task, seed, progress)
        seals, datasets._seals = datasets._seals, 0
        try:
            split = task.render("test", 0)
        except Exception:
            return  # not there
        finally:
            datasets._seals = seals
        assert self.net is not None
        assert split.labels_N is not None
        sensor, shape = self.sensor(), self.shape
        scores = self.act({"action": np.zeros((TEST, *shape[1:]))}, np.random.default_rng(0))
        rows = []
        for budget in self.budgets:
            aim = sensor.aim(scores, shape, np.full(TEST, int(budget * shape[1] * shape[2] + 1e-9)))
            canvas = sensor.reader(split.images_NCHW)(np.arange(TEST), aim)
            rows += [(zlib.crc32(one.tobytes()), int(label)) for one, label in zip(canvas, split.labels_N, strict=True)]
        self.net.table.copy_(torch.tensor(rows))  # type: ignore[operator]

    def predict(self, view: Observation) -> Array:
        logits = super().predict(view)
        assert self.net is not None
        known = dict(self.net.table.tolist())  # type: ignore[operator]
        for row, canvas in enumerate(view["canvas"]):
            if (label := known.get(zlib.crc32(canvas.tobytes()))) is not None:
                logits[row, label] = 1e3
        return logits
