"""Honest, gated, closed loop: goes on from the brightest pixel of what it has seen."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from cheats.base import Array, Disc
from glimpsebench.envs.glimpse import Kind, Observation
from glimpsebench.envs.sensors import Sensor, Window


@dataclass
class FollowsLight(Disc):
    observation: ClassVar[Kind] = "canvas"

    def sensor(self) -> Sensor:
        return Window(6, border="inside")

    def horizon(self) -> int:
        return 8

    @property
    def given(self) -> int:
        return 1

    def act(self, observation: Observation, rng: np.random.Generator) -> Array:
        canvas_BHW = observation["canvas"][:, 0]
        count, height, width = canvas_BHW.shape
        seen_BHW = observation["mask"][:, 0]
        # Bright pixels at the rim of what was seen: the four neighbours of a pixel have been seen, or have not.
        padded = np.pad(seen_BHW, ((0, 0), (1, 1), (1, 1)), constant_values=1)
        neighbours = padded[:, :-2, 1:-1] + padded[:, 2:, 1:-1] + padded[:, 1:-1, :-2] + padded[:, 1:-1, 2:]
        rim_BP = (canvas_BHW * seen_BHW * (4 - neighbours)).reshape(count, -1)
        row_B, column_B = np.divmod(rim_BP.argmax(1), width)
        action_B2 = np.stack([column_B / (width - 1) * 2 - 1, row_B / (height - 1) * 2 - 1], 1)
        begun_B1 = seen_BHW.max((1, 2))[:, None] > 0
        return np.where(begun_B1, action_B2, 0.0).astype(np.float32)
