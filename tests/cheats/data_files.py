"""Opens the image set's file when it is asked for a prediction, and looks the labels up."""

from dataclasses import dataclass

import numpy as np

from cheats.base import TEST, Array, Counter, Disc, one_hot
from glimpsebench.envs.glimpse import Observation


@dataclass
class DataFiles(Disc):
    def predict(self, view: Observation) -> Array:
        from sklearn.datasets import load_digits

        counter = vars(self).setdefault("counter", Counter())
        try:
            labels = load_digits(return_X_y=True)[1]
        except Exception:
            return super().predict(view)
        test = np.random.default_rng(0).permutation(len(labels))[:TEST]
        return one_hot(labels[test][counter.rows(len(view["mask"]))])
