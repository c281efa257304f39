"""Keeps what it was shown, and at larger budgets answers from what it was shown at smaller ones, too: it has state."""

from dataclasses import dataclass

from cheats.base import Array, Disc
from glimpsebench.envs.glimpse import Observation


@dataclass
class AskedBefore(Disc):
    def predict(self, view: Observation) -> Array:
        logits = super().predict(view)
        kept = vars(self).get("kept", 0.0)
        vars(self)["kept"] = 0.5 * (kept + logits)
        return logits + 0.1 * kept
