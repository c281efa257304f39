"""lowres: the floor of looking at everything badly. The whole image as block means, a value per block.

At budget f it is given as many values as a window agent may touch pixels. It touches everything, so its place on
the curve is by values delivered, and it is never ranked: it says how much of a task is coarse shape.

Scores and cost: docs/methods/lowres.md.
Command: glimpse run --agent lowres --task digits-clutter
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from glimpsebench.agents.common.base import tensor
from glimpsebench.agents.common.nets import CanvasAgent
from glimpsebench.envs.glimpse import Currency, Kind, Observation
from glimpsebench.envs.sensors import Sensor, Thumbnail
from glimpsebench.envs.tasks import Split

Array = NDArray[Any]


@dataclass
class LowRes(CanvasAgent):
    """Takes a thumbnail."""

    version: ClassVar[int] = 3
    reference: ClassVar[Literal["floor", "ceiling"] | None] = "floor"
    observation: ClassVar[Kind] = "glimpse"
    currency: ClassVar[Currency] = "delivered"

    def sensor(self) -> Sensor:
        return Thumbnail()

    def canvases(self, images: Split, rng: np.random.Generator) -> tuple[Tensor, Tensor]:
        count, shape = len(images), images.images_NCHW.shape[1:]
        room_B = np.floor(rng.choice(self.budgets, count) * shape[1] * shape[2])
        thumbnail = Thumbnail()
        aim = thumbnail.aim(np.zeros((count, 1)), shape, room_B)
        values = thumbnail.reader(images.images_NCHW)(np.arange(count), aim)
        return tensor(values), torch.ones(count, 1, *shape[1:], dtype=torch.bool)

    def act(self, observation: Observation, rng: np.random.Generator) -> Array:
        return np.zeros((len(observation["left"]), 1), np.float32)
