"""Of the gated track, with a predictor that is shown the whole image."""

from dataclasses import dataclass

from cheats.base import Disc
from glimpsebench.envs.glimpse import Kind


@dataclass
class GatedView(Disc):
    @property
    def view(self) -> Kind:
        return "image"
