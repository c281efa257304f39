"""center: the floor of a fixed look. The pixels nearest to the centre, as many as the budget allows.

On centred sets such as MNIST this is a strong floor; on placed tasks it is a weak one. Nothing depends on the
image, so it costs no selection at all.

Scores and cost: docs/methods/center.md.
Command: glimpse run --agent center --task digits-clutter
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from glimpsebench.agents.common.nets import CanvasAgent, best_pixels, random_room
from glimpsebench.envs.glimpse import Kind, Observation
from glimpsebench.envs.sensors import Mask, Sensor
from glimpsebench.envs.tasks import Split

Array = NDArray[Any]


def centrality(height: int, width: int) -> Array:
    """A score in [-1, 1] for every pixel (H, W), highest at the centre: minus the distance in the frame."""
    y, x = ((2 * np.arange(n) + 1) / n - 1 for n in (height, width))
    score: Array = 1 - np.sqrt(y[:, None] ** 2 + x**2) * np.sqrt(2)
    return score.astype(np.float32)


@dataclass
class Center(CanvasAgent):
    """Looks at a disc around the centre."""

    version: ClassVar[int] = 3
    reference: ClassVar[Literal["floor", "ceiling"] | None] = "floor"
    observation: ClassVar[Kind] = "glimpse"

    def sensor(self) -> Sensor:
        return Mask()

    def canvases(self, images: Split, rng: np.random.Generator) -> tuple[Tensor, Tensor]:
        size = images.images_NCHW.shape[2:]
        scores_BHW = np.broadcast_to(centrality(*size), (len(images), *size))
        return best_pixels(scores_BHW, images, random_room(images, self.budgets, rng))

    def act(self, observation: Observation, rng: np.random.Generator) -> Array:
        count, height, width = observation["action"].shape
        return np.broadcast_to(centrality(height, width), (count, height, width))
