"""Reads the labels from other records on this machine."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from cheats.base import TEST, Array, Counter, Disc, one_hot
from glimpsebench.envs.glimpse import Observation

REPOSITORY = Path(__file__).parents[2]


@dataclass
class OtherRecords(Disc):
    def predict(self, view: Observation) -> Array:
        counter = vars(self).setdefault("counter", Counter())
        for path in sorted((REPOSITORY / "results").rglob("digits-clutter-v1/*/*/images.npz")):
            with np.load(path) as record:
                if len(record["labels"]) == TEST:
                    return one_hot(record["labels"][counter.rows(len(view["mask"]))])
        return super().predict(view)
