"""Honest, open: shows the brightest pixels."""

from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np
from torch import Tensor

from cheats.base import Array, Disc
from glimpsebench.agents.common.base import tensor
from glimpsebench.agents.common.nets import masked_canvas, to_float
from glimpsebench.envs.glimpse import Kind, Observation
from glimpsebench.envs.sensors import k_best


@dataclass
class Brightness(Disc):
    track: ClassVar[Literal["gated", "open"]] = "open"
    observation: ClassVar[Kind] = "image"

    def canvases(self, images_BCHW: Array, rng: np.random.Generator) -> tuple[Tensor, Tensor]:
        count, (_, height, width) = len(images_BCHW), self.shape
        sizes_B = np.floor(rng.choice(self.budgets, count) * height * width).astype(int)
        scores_BP = images_BCHW[:, 0].reshape(count, -1).astype(np.float32)
        mask_B1HW = tensor(k_best(scores_BP, sizes_B).reshape(count, 1, height, width))
        return masked_canvas(to_float(images_BCHW), mask_B1HW), mask_B1HW

    def act(self, observation: Observation, rng: np.random.Generator) -> Array:
        brightness: Array = observation["image"][:, 0]
        return brightness
