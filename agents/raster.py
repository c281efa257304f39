"""raster: the floor of a blind scan. Windows side by side, from the top left, row by row.

It never looks twice at the same place, which uniform windows do, but it starts in a corner.

Scores and cost: docs/methods/raster.md.
Command: glimpse run --agent raster --task digits-clutter
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from glimpsebench.agents.common.base import tensor
from glimpsebench.agents.common.nets import CanvasAgent, Positive, masked_canvas, to_float
from glimpsebench.envs.glimpse import Kind, Observation
from glimpsebench.envs.sensors import Sensor, Window
from glimpsebench.envs.tasks import Split

Array = NDArray[Any]


@dataclass
class Raster(CanvasAgent):
    """Reads the image like a page.

    Settings:
        size: the side of a window, pixels.
    """

    size: Positive = 6

    version: ClassVar[int] = 3
    reference: ClassVar[Literal["floor", "ceiling"] | None] = "floor"
    observation: ClassVar[Kind] = "glimpses"

    def sensor(self) -> Sensor:
        return Window(self.size)

    def horizon(self) -> int:
        return len(self.path())

    def path(self) -> Array:
        """The fixations (T, 2) of the scan: as few windows as cover every pixel, the last ones overlapping."""
        starts = [np.minimum(np.arange(0, n, self.size), max(n - self.size, 0)) for n in self.shape[1:]]
        corners = np.array([(top, left) for top in starts[0] for left in starts[1]])
        return Window(self.size).fixation(corners, self.shape)

    def canvases(self, images: Split, rng: np.random.Generator) -> tuple[Tensor, Tensor]:
        window, shape = Window(self.size), images.images_NCHW.shape[1:]
        path = self.path()
        footprint_THW = window.footprint(window.aim(path, shape, np.zeros(0)), shape)
        prefixes_THW = np.logical_or.accumulate(footprint_THW)
        mask = prefixes_THW[rng.integers(0, len(path), len(images))]
        mask_B1HW = tensor(mask)[:, None]
        return masked_canvas(to_float(images.images_NCHW), mask_B1HW), mask_B1HW

    def act(self, observation: Observation, rng: np.random.Generator) -> Array:
        step = observation["valid"].sum(1).astype(int)
        return self.path()[step]
