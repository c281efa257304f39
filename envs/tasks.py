"""Tasks: frozen data. A task's images, labels and splits follow from its name, version and settings alone.

Placed tasks draw fresh training images each epoch (`train(epoch)`) and fixed ones for `val()` and the test
split. Anything that could move a score bumps the task's version. The test split is not a method: it is
`test_split(task)`, the bench's, and closed while an agent is at work (`datasets.sealed`).
"""

from __future__ import annotations

import dataclasses
import zlib
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar

import numpy as np
from numpy.lib.stride_tricks import as_strided
from numpy.typing import NDArray

from glimpsebench.envs import datasets
from glimpsebench.envs.datasets import Half, ImageSet
from glimpsebench.envs.errors import UsageError, unknown
from glimpsebench.envs.settings import validated

Array = NDArray[Any]
Shape = tuple[int, int, int]


@dataclass(frozen=True, eq=False)
class Split:
    """Images of one half of a task.

    Attributes:
        images_NCHW: uint8, shared and never written to.
        labels_N: int64 in [0, classes), or None where the bench withholds them.
        find_objects: makes `objects_NHW` when it is first asked for, or None if the task knows no objects.
    """

    images_NCHW: Array
    labels_N: Array | None = None
    find_objects: Callable[[], Array] | None = None

    def __len__(self) -> int:
        return len(self.images_NCHW)

    @cached_property
    def objects_NHW(self) -> Array | None:
        """The pixels of the object that the label names: boolean (N, H, W), or None."""
        return None if self.find_objects is None else self.find_objects()

    @property
    def unlabelled(self) -> Split:
        """The same images without labels and objects, as an env at test time gets them."""
        return Split(self.images_NCHW)


class Task(ABC):
    """A named classification task. Subclasses are frozen dataclasses; their fields are the task's settings."""

    name: str
    version: int

    @property
    def id(self) -> str:
        return f"{self.name}-v{self.version}"

    @property
    @abstractmethod
    def shape(self) -> Shape:
        """(C, H, W) of every image."""

    @property
    @abstractmethod
    def classes(self) -> int:
        """K; labels are 0 … K−1."""

    @abstractmethod
    def render(self, half: Half, epoch: int) -> Split:
        """The images of one half; `epoch` matters to training images only."""

    def train(self, epoch: int = 0) -> Split:
        """The training images of one epoch: placed tasks place them anew in each."""
        return self.render("train", epoch)

    def val(self) -> Split:
        """The validation images: the only ones on which to choose anything."""
        return self.render("val", 0)

    def describe(self) -> str:
        """One line for `glimpse tasks`."""
        return (type(self).__doc__ or "").split("\n")[0]


def test_split(task: Task) -> Split:
    """The test images of a task. For the bench; raises PermissionError while an agent is at work."""
    return task.render("test", 0)


def _stream(task: Task, half: Half, epoch: int) -> np.random.Generator:
    """The random numbers of one half and epoch, from the task's id and nothing else."""
    return np.random.default_rng([zlib.crc32(task.id.encode()), zlib.crc32(half.encode()), epoch])


@dataclass(frozen=True)
class Plain(Task):
    """An image set as it is."""

    name: str
    version: int
    base: str

    @property
    def shape(self) -> Shape:
        return datasets.info(self.base).shape

    @property
    def classes(self) -> int:
        return datasets.info(self.base).classes

    def render(self, half: Half, epoch: int) -> Split:
        images = datasets.load(self.base, half)
        return Split(images.images_NCHW, images.labels_N)


@dataclass(frozen=True)
class Placed(Task):
    """An object placed uniformly on a canvas, over crops of other objects as clutter.

    The recipe is that of the reference generator of cluttered MNIST (methods.md A2.2): crops of random images
    of the same half are added at uniform places, sums are clipped, then the object itself is added and clipped.

    Attributes:
        base: the image set that objects and clutter come from.
        canvas: the side of the image, pixels.
        enlarge: the factor by which base images are enlarged first (bilinear).
        clutter: pieces of clutter per image.
        piece: the side of a piece, pixels.
    """

    name: str
    version: int
    base: str
    canvas: int
    enlarge: int = 1
    clutter: int = 0
    piece: int = 8

    chunk: ClassVar[int] = 2048  # images rendered at a time, so that a chunk's working copy stays small

    @property
    def shape(self) -> Shape:
        return (1, self.canvas, self.canvas)

    @property
    def classes(self) -> int:
        return datasets.info(self.base).classes

    def render(self, half: Half, epoch: int) -> Split:
        base = datasets.load(self.base, half)
        objects_Nhw = enlarged(base.images_NCHW[:, 0], self.enlarge)
        count, side, _ = objects_Nhw.shape
        rng = _stream(self, half, epoch)
        places_N2 = rng.integers(0, self.canvas - side + 1, (count, 2))
        sources_NP = rng.integers(0, count, (count, self.clutter))
        cuts_NP2 = rng.integers(0, side - self.piece + 1, (count, self.clutter, 2))
        drops_NP2 = rng.integers(0, self.canvas - self.piece + 1, (count, self.clutter, 2))

        images = np.empty((count, 1, self.canvas, self.canvas), np.uint8)
        pieces = _windows(objects_Nhw, self.piece)
        for start in range(0, count, self.chunk):
            rows = slice(start, start + self.chunk)
            sums = np.zeros((len(images[rows]), self.canvas, self.canvas), np.uint16)
            for piece in range(self.clutter):
                cut = pieces[sources_NP[rows, piece], cuts_NP2[rows, piece, 0], cuts_NP2[rows, piece, 1]]
                stamp(sums, cut, drops_NP2[rows, piece])
            np.minimum(sums, 255, out=sums)
            stamp(sums, objects_Nhw[rows], places_N2[rows])
            np.minimum(sums, 255, out=images[rows, 0], casting="unsafe")

        def find_objects() -> Array:
            objects = np.zeros((count, self.canvas, self.canvas), np.uint8)
            stamp(objects, (objects_Nhw > 0).astype(np.uint8), places_N2)
            return objects.astype(bool)

        return Split(images, base.labels_N, find_objects)


def _windows(images_NHW: Array, side: int) -> Array:
    """All side×side windows of an array, as a view (N, H−side+1, W−side+1, side, side)."""
    count, height, width = images_NHW.shape
    steps = images_NHW.strides
    return as_strided(
        images_NHW, (count, height - side + 1, width - side + 1, side, side), (*steps, steps[1], steps[2])
    )


def stamp(canvas_NHW: Array, patches_Nhw: Array, places_N2: Array) -> None:
    """Add one patch to each canvas, in place, with its top left corner at (row, column)."""
    windows = _windows(canvas_NHW, patches_Nhw.shape[-1])
    windows[np.arange(len(canvas_NHW)), places_N2[:, 0], places_N2[:, 1]] += patches_Nhw


def enlarged(images_NHW: Array, factor: int) -> Array:
    """Images enlarged by an integer factor, bilinear between pixel centres, rounded to uint8."""
    if factor == 1:
        return images_NHW
    height, width = images_NHW.shape[1:]
    down, across = (_interpolation(length, factor) for length in (height, width))
    values = down @ images_NHW.astype(np.float64) @ across.T
    rounded: Array = np.floor(values + 0.5).astype(np.uint8)
    return rounded


def _interpolation(length: int, factor: int) -> Array:
    at = ((np.arange(length * factor) + 0.5) / factor - 0.5).clip(0, length - 1)
    matrix: Array = np.maximum(0, 1 - np.abs(at[:, None] - np.arange(length)))
    return matrix


TASKS: dict[str, Task] = {
    task.name: task
    for task in [
        Plain("digits", 1, base="digits"),
        Placed("digits-clutter", 1, base="digits", canvas=32, enlarge=2, clutter=4, piece=6),
    ]
}
"""The named tasks, at their current versions and published settings."""

IDENTITY = ("name", "version", "base")  # fields that make a task what it is: not settings


def names() -> list[str]:
    return list(TASKS)


def make(name: str, settings: Mapping[str, Any] | None = None) -> Task:
    """The task of this name (`digits`, or `digits-v1` to insist on a version), with settings changed.

    Raises:
        UsageError: unknown task or setting.
    """
    base = name.rsplit("-v", 1)[0] if name.rsplit("-v", 1)[-1].isdigit() else name
    if base not in TASKS:
        raise unknown("task", name, TASKS)
    task = TASKS[base]
    if base != name and task.id != name:
        raise UsageError(f"task '{name}': this version of the code has {task.id}; ask for '{task.id}'")
    changes = validated(type(task), settings or {}, f"task '{base}'", fixed=IDENTITY)
    return dataclasses.replace(task, **changes)  # type: ignore[type-var]
