"""Finds the labels among the objects that the garbage collector tracks."""

import gc
from dataclasses import dataclass

import numpy as np

from cheats.base import TEST, Array, Counter, Disc, one_hot
from glimpsebench.envs.glimpse import Observation
from glimpsebench.envs.tasks import Split


@dataclass
class LabelGc(Disc):
    def predict(self, view: Observation) -> Array:
        counter = vars(self).setdefault("counter", Counter())
        for split in gc.get_objects():
            if type(split) is Split and len(split) == TEST and split.labels_N is not None:
                return one_hot(np.asarray(split.labels_N)[counter.rows(len(view["mask"]))])
        return super().predict(view)
