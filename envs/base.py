"""What a task is: frozen data whose images, labels and splits follow from its name, version and settings."""

from __future__ import annotations

import dataclasses
import zlib
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from glimpsebench.envs import datasets, settings
from glimpsebench.envs.datasets import Half
from glimpsebench.envs.published import PUBLISHED, Published

Array = NDArray[Any]
Shape = tuple[int, int, int]

IDENTITY = ("name", "version", "base", "grounds")
"""Fields that make a task what it is: they are not settings."""


@dataclass
class Use:
    """What this process has used so far, for the bench to tell what training took.

    Attributes:
        images: training images drawn, whole epochs.
        steps: env steps taken, of each env of a batch.
    """

    images: int = 0
    steps: int = 0


USE = Use()


@dataclass(frozen=True, eq=False)
class Split:
    """Images of one half of a task.

    Attributes:
        images_NCHW: uint8, shared and never written to.
        labels_N: int64 in [0, classes), or None where the bench withholds them.
        find_objects: makes `objects_NHW` when it is first asked for, or None if the task knows no objects.
        boxes_N4: where each image has its own pixels: int64 (top, left, height, width); all others are padding, which
            no fraction counts. None: every pixel is the image's own.
    """

    images_NCHW: Array
    labels_N: Array | None = None
    find_objects: Callable[[], Array] | None = None
    boxes_N4: Array | None = None

    def __len__(self) -> int:
        return len(self.images_NCHW)

    @cached_property
    def objects_NHW(self) -> Array | None:
        """The pixels of the object that the label names: boolean (N, H, W), or None."""
        return None if self.find_objects is None else self.find_objects()

    @property
    def unlabelled(self) -> Split:
        """The same images without labels and objects, as an env at test time gets them."""
        return Split(self.images_NCHW, boxes_N4=self.boxes_N4)

    def some(self, rows_N: Array) -> Split:
        """These of the images, without labels and objects, as a selector meets them while it trains."""
        return Split(self.images_NCHW[rows_N], boxes_N4=None if self.boxes_N4 is None else self.boxes_N4[rows_N])

    @property
    def own_pixels_N(self) -> Array:
        """How many pixels each image has, without padding: int64 (N,)."""
        if self.boxes_N4 is None:
            return np.full(len(self), self.images_NCHW.shape[2] * self.images_NCHW.shape[3])
        pixels_N: Array = self.boxes_N4[:, 2] * self.boxes_N4[:, 3]
        return pixels_N


class Task(ABC):
    """A named classification task. Subclasses are frozen dataclasses; their fields are its settings."""

    name: str
    version: int

    @property
    def id(self) -> str:
        """NAME-vN: what a record calls the task. Equal ids and settings, equal images."""
        return f"{self.name}-v{self.version}"

    @property
    @abstractmethod
    def shape(self) -> Shape:
        """(C, H, W) of every image."""

    @property
    @abstractmethod
    def classes(self) -> int:
        """K; labels are 0 … K−1."""

    @property
    @abstractmethod
    def sizes(self) -> Mapping[Half, int]:
        """How many images each half has."""

    @property
    def sets(self) -> tuple[str, ...]:
        """The image sets that it is made of, all of which must be installed."""
        return tuple(str(getattr(self, name)) for name in ("base", "grounds") if hasattr(self, name))

    @property
    def class_names(self) -> tuple[str, ...]:
        """What each label stands for, for people: names where the image set has them, else the numbers."""
        named = datasets.info(self.sets[0]).class_names if self.sets else ()
        return named or tuple(map(str, range(self.classes)))

    @property
    @abstractmethod
    def summary(self) -> str:
        """What the images show, in a phrase."""

    @property
    def has_objects(self) -> bool:
        """Whether its splits know the pixels of the object that the label names."""
        return False

    @abstractmethod
    def render(self, half: Half, epoch: int) -> Split:
        """The images of one half; `epoch` matters to training images only.

        Raises:
            UsageError: no such half, or the task's image set is not installed.
            PermissionError: the test half, while an agent is at work.
        """

    def train(self, epoch: int = 0) -> Split:
        """The training images of one epoch: placed tasks place them anew in each."""
        drawn = self.render("train", epoch)
        USE.images += len(drawn)
        return drawn

    def val(self) -> Split:
        """The validation images: the only ones on which to choose anything."""
        return self.render("val", 0)

    def remember(self) -> None:
        """Note on this machine where the images of this id are, if that is not known by the id alone (own data)."""

    @property
    def published(self) -> tuple[Published, ...]:
        """How others looked at this task, and what they reported."""
        return PUBLISHED.get(self.name, ())

    def describe(self) -> str:
        """What it is, in one line."""
        channels, height, width = self.shape
        kind = {1: "grey", 3: "RGB"}.get(channels, f"{channels} channels")
        return f"{self.summary}; {height}×{width} {kind}, {self.classes} classes"

    def card(self) -> str:
        """Everything to know before using it, a fact a line; `glimpse tasks NAME` prints it."""
        sizes = ", ".join(f"{size:,} {half}" for half, size in self.sizes.items())
        values = ", ".join(f"{name}={getattr(self, name)}" for name in settings.names(type(self), fixed=IDENTITY))
        lines = [
            f"{self.id}: {self.describe()}",
            f"images: {sizes}",
            f"object masks: {'exact' if self.has_objects else 'none'}",
            f"settings: {values or 'none'}",
        ]
        return "\n".join([*lines, *(line for paper in self.published for line in paper.lines())])


def stream(task: Task, half: Half, epoch: int) -> np.random.Generator:
    """The random numbers of one half (of training images also one epoch), from the task's id alone."""
    turn = epoch if half == "train" else 0
    return np.random.default_rng([zlib.crc32(task.id.encode()), zlib.crc32(half.encode()), turn])


def changed(task: Task, values: Mapping[str, Any]) -> Task:
    """The task with settings changed.

    Raises:
        UsageError: an unknown setting, or a value of the wrong type or out of its range.
    """
    checked = settings.validated(type(task), values, f"task '{task.name}'", fixed=IDENTITY)
    return dataclasses.replace(task, **checked)  # type: ignore[type-var]
