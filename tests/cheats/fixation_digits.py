"""Writes the class into digits of the fixation that the sensor does not resolve."""

from dataclasses import dataclass

import numpy as np

from cheats.base import Array, Classifier, one_hot
from glimpsebench.envs.glimpse import Kind, Observation
from glimpsebench.envs.sensors import Sensor, Window


@dataclass
class FixationDigits(Classifier):
    def sensor(self) -> Sensor:
        return Window(3, border="inside")

    @property
    def view(self) -> Kind:
        return "glimpse"

    def act(self, observation: Observation, rng: np.random.Generator) -> Array:
        label_B = self.classes_of(observation["image"])
        return np.stack([0.001 * (label_B + 0.5), np.zeros(len(label_B))], 1).astype(np.float32)

    def predict(self, view: Observation) -> Array:
        return one_hot(np.floor(view["action"][:, 0] * 1000).astype(int).clip(0, 9))
