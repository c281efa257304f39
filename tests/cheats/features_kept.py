"""Keeps what the selector made of the whole image, on itself, for its predictor."""

from dataclasses import dataclass

import numpy as np

from cheats.base import Array, Classifier, one_hot
from glimpsebench.envs.glimpse import Observation


@dataclass
class FeaturesKept(Classifier):
    def act(self, observation: Observation, rng: np.random.Generator) -> Array:
        vars(self)["kept"] = self.classes_of(observation["image"])
        return rng.uniform(-1, 1, (len(observation["image"]), *self.shape[1:])).astype(np.float32)

    def predict(self, view: Observation) -> Array:
        return one_hot(vars(self).get("kept", np.zeros(len(view["mask"]), int)))
