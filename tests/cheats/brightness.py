"""Honest, open: shows the brightest pixels."""

from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np
from torch import Tensor

from cheats.base import Array, Disc
from glimpsebench.agents.common.nets import best_pixels, random_room
from glimpsebench.envs.glimpse import Kind, Observation
from glimpsebench.envs.tasks import Split


@dataclass
class Brightness(Disc):
    track: ClassVar[Literal["gated", "open"]] = "open"
    observation: ClassVar[Kind] = "image"

    def canvases(self, images: Split, rng: np.random.Generator) -> tuple[Tensor, Tensor]:
        scores_BHW = images.images_NCHW[:, 0].astype(np.float32)
        return best_pixels(scores_BHW, images, random_room(images, self.budgets, rng))

    def act(self, observation: Observation, rng: np.random.Generator) -> Array:
        brightness: Array = observation["image"][:, 0]
        return brightness
