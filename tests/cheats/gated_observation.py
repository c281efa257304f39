"""Of the gated track, with a selector that is shown the whole image."""

from dataclasses import dataclass
from typing import ClassVar

from cheats.base import Disc
from glimpsebench.envs.glimpse import Kind


@dataclass
class GatedObservation(Disc):
    observation: ClassVar[Kind] = "image"
