"""Normalises what it is shown by the other images of the batch: a label's share in the batch moves its answers."""

from dataclasses import dataclass

from cheats.base import Array, Disc
from glimpsebench.envs.glimpse import Observation


@dataclass
class BatchStatistics(Disc):
    def predict(self, view: Observation) -> Array:
        logits = super().predict(view)
        return logits - logits.mean(0)
