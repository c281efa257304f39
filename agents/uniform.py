"""uniform: the floor. Windows or pixels drawn uniformly at random, and a predictor trained on such draws.

Windows are uniform over the places inside the image, without its padding if it has any. If fixations were uniform over
the image, and windows moved back inside, more of them would lie at an edge, where there is less to see.

Any selector worth its name beats this at the same touched fraction, with the same kind of predictor. Scattered
pixels tell more of a small smooth image than a window of as many, so both kinds are floors; `cell` is for what
reveals square cells.

Scores and cost: docs/methods/uniform.md.
Command: glimpse run --agent uniform --task digits-clutter --set agent.kind=mask
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from glimpsebench.agents.common.base import tensor
from glimpsebench.agents.common.nets import (
    CanvasAgent,
    Positive,
    best_pixels,
    masked_canvas,
    random_room,
    to_float,
)
from glimpsebench.envs.glimpse import Kind, Observation
from glimpsebench.envs.sensors import Mask, Sensor, Window
from glimpsebench.envs.tasks import Split

Array = NDArray[Any]


@dataclass
class Uniform(CanvasAgent):
    """Chooses at random, whatever it has seen.

    Settings:
        kind: `window` draws fixations, `mask` draws pixels.
        cell: the side of the cells that `mask` draws.
        size: the side of a window, pixels.
        glimpses: how many windows it may take.
    """

    kind: Literal["window", "mask"] = "window"
    size: Positive = 6
    glimpses: Positive = 24
    cell: Positive = 1

    version: ClassVar[int] = 4
    reference: ClassVar[Literal["floor", "ceiling"] | None] = "floor"
    variants: ClassVar[tuple[Mapping[str, Any], ...]] = ({}, {"kind": "mask"}, {"kind": "mask", "cell": 4})
    observation: ClassVar[Kind] = "glimpse"

    def sensor(self) -> Sensor:
        return Window(self.size, border="own") if self.kind == "window" else Mask(self.cell)

    def horizon(self) -> int:
        return self.glimpses if self.kind == "window" else 1

    def canvases(self, images: Split, rng: np.random.Generator) -> tuple[Tensor, Tensor]:
        count, shape, sensor = len(images), images.images_NCHW.shape[1:], self.sensor()
        if isinstance(sensor, Mask):
            room_B = random_room(images, self.budgets, rng)
            return best_pixels(rng.random((count, *sensor.grid(shape))), images, room_B, sensor)
        fixations = rng.uniform(-1, 1, (count * self.glimpses, 2))
        boxes = None if images.boxes_N4 is None else images.boxes_N4.repeat(self.glimpses, 0)
        footprints = sensor.footprint(sensor.aim(fixations, shape, np.zeros(0), boxes), shape)
        before_last = rng.integers(1, self.glimpses + 1, (count, 1)) > np.arange(self.glimpses)
        mask = np.any(footprints.reshape(count, self.glimpses, *shape[1:]) & before_last[:, :, None, None], axis=1)
        mask_B1HW = tensor(mask)[:, None]
        return masked_canvas(to_float(images.images_NCHW), mask_B1HW), mask_B1HW

    def act(self, observation: Observation, rng: np.random.Generator) -> Array:
        shape = observation["action"].shape
        return rng.uniform(-1, 1, shape).astype(np.float32)
