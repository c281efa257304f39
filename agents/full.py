"""full: the ceiling. The whole image, to the predictor that the other agents share.

Scores and cost: docs/methods/full.md.
Command: glimpse run --agent full --task digits-clutter
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from glimpsebench.agents.common.nets import CanvasAgent, to_float
from glimpsebench.envs.glimpse import Kind, Observation
from glimpsebench.envs.sensors import Mask, Sensor
from glimpsebench.envs.tasks import Split

Array = NDArray[Any]


@dataclass
class Full(CanvasAgent):
    """Sees everything."""

    version: ClassVar[int] = 3
    reference: ClassVar[Literal["floor", "ceiling"] | None] = "ceiling"
    observation: ClassVar[Kind] = "glimpse"
    levels: ClassVar[tuple[float, ...]] = (1.0,)

    def sensor(self) -> Sensor:
        return Mask()

    def canvases(self, images: Split, rng: np.random.Generator) -> tuple[Tensor, Tensor]:
        count, _, height, width = images.images_NCHW.shape
        return to_float(images.images_NCHW), torch.ones(count, 1, height, width, dtype=torch.bool)

    def act(self, observation: Observation, rng: np.random.Generator) -> Array:
        return np.zeros_like(observation["action"])
