"""Reads the labels through the stack frames of who calls it."""

import sys
from dataclasses import dataclass

import numpy as np

from cheats.base import Array, Disc, one_hot
from glimpsebench.envs.glimpse import Observation


@dataclass
class LabelFrames(Disc):
    def predict(self, view: Observation) -> Array:
        frame, rows, labels = sys._getframe(), None, None
        while frame := frame.f_back:  # type: ignore[assignment]
            rows = frame.f_locals.get("index_B") if rows is None else rows
            labels = getattr(frame.f_locals.get("images"), "labels_N", None) if labels is None else labels
            if rows is not None and labels is not None:
                return one_hot(np.asarray(labels)[rows])
        return super().predict(view)
