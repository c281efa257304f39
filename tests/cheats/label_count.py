"""Looks at as many different places as the class says, again and again at the last, and counts them."""

from dataclasses import dataclass

import numpy as np

from cheats.base import Array, Classifier, one_hot
from glimpsebench.envs.glimpse import Observation
from glimpsebench.envs.sensors import Sensor, Window


@dataclass
class LabelCount(Classifier):
    def sensor(self) -> Sensor:
        return Window(2, border="inside")

    def horizon(self) -> int:
        return 10

    def act(self, observation: Observation, rng: np.random.Generator) -> Array:
        step_B = np.rint(observation["step"][:, 0] * self.horizon()).astype(int)
        number_B = np.minimum(step_B, self.classes_of(observation["image"]))
        return np.stack([number_B / 5 - 0.9, np.zeros_like(number_B)], 1).astype(np.float32)

    def predict(self, view: Observation) -> Array:
        return one_hot(np.rint(view["mask"].sum((1, 2, 3)) / 4).astype(int).clip(1, 10) - 1)
