"""A task of which not everything is there: the halves that `fit` may have, or nothing but the shape."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from glimpsebench.envs.base import Shape, Split, Task
from glimpsebench.envs.datasets import Half

SEEN: tuple[Half, ...] = ("train", "val")
"""The halves that `fit` may have."""


@dataclass(frozen=True)
class Halves(Task):
    """A task of images that lie in a folder, of some halves; those that do not are not there.

    Attributes:
        size: (C, H, W).
        folder: holds HALF.npz; without one the task has no images, only a shape.
    """

    name: str
    version: int
    size: Shape
    number: int
    folder: str = ""

    @property
    def shape(self) -> Shape:
        return self.size

    @property
    def classes(self) -> int:
        return self.number

    @property
    def class_names(self) -> tuple[str, ...]:
        return tuple(map(str, range(self.number)))

    @property
    def sizes(self) -> Mapping[Half, int]:
        return {half: len(self.render(half, 0)) for half in SEEN}

    @property
    def summary(self) -> str:
        return "images of an audit"

    def render(self, half: Half, epoch: int) -> Split:
        path = Path(self.folder) / f"{half}.npz"
        if not self.folder or not path.is_file():
            raise PermissionError(f"the {half} images are not here")
        with np.load(path, allow_pickle=False) as kept:
            objects = kept["objects"] if "objects" in kept.files else None
            return Split(
                kept["images"], kept["labels"], None if objects is None else lambda: objects, kept.get("boxes")
            )
