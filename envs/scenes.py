"""Composed images of three more kinds: an object on a photo, drawn shapes, and a search on a canvas of any size.

`placed` says what they share.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from glimpsebench.envs import datasets
from glimpsebench.envs.base import Shape, Split, Task, stream
from glimpsebench.envs.datasets import Half
from glimpsebench.envs.errors import UsageError
from glimpsebench.envs.placed import Composed, Placed, Side, chunks, enlarged, object_pixels, windows

Array = NDArray[Any]


@dataclass(frozen=True)
class OnPhotos(Composed):
    """An object placed uniformly on a photo, in one ink: synthetic composition.

    The object's grey values are the opacity of the ink, so strokes keep their smooth edges. The ink is white
    or black, or magenta where neither stands out from the photo everywhere. The label is the object's.

    Attributes:
        base: the image set that objects come from.
        grounds: the image set of the photos, one drawn for each image from the same half.
        enlarge: the factor by which photos are enlarged (bilinear).
        enlarge_object: the factor by which objects are.
    """

    name: str
    version: int
    base: str
    grounds: str
    enlarge: Annotated[int, Field(ge=1, le=32)] = 2
    enlarge_object: Annotated[int, Field(ge=1, le=32)] = 1

    def __post_init__(self) -> None:
        side, (_, *space) = datasets.info(self.base).shape[1] * self.enlarge_object, self.shape
        if side > min(space):
            raise UsageError(f"task '{self.name}': objects of side {side} do not fit enlarge={self.enlarge}")

    @property
    def summary(self) -> str:
        return f"an image of {self.base} in ink on a photo of {self.grounds} (synthetic composition)"

    @property
    def shape(self) -> Shape:
        channels, height, width = datasets.info(self.grounds).shape
        return (channels, height * self.enlarge, width * self.enlarge)

    def render(self, half: Half, epoch: int) -> Split:
        base, photos = datasets.load(self.base, half), datasets.load(self.grounds, half)
        objects_Nhw = enlarged(base.images_NCHW[:, 0], self.enlarge_object)
        count, side = len(base), objects_Nhw.shape[-1]
        rng = stream(self, half, epoch)
        chosen_N = rng.integers(0, len(photos), count)
        places_N2 = rng.integers(0, np.array(self.shape[1:]) - side + 1, (count, 2))

        images = np.empty((count, *self.shape), np.uint8)
        for rows in chunks(count, 256):
            images[rows] = enlarged(photos.images_NCHW[chosen_N[rows]], self.enlarge)
            window = windows(images[rows], side)
            at = (np.arange(len(images[rows])), slice(None), places_N2[rows, 0], places_N2[rows, 1])
            under = window[at].astype(np.float32)
            opacity = objects_Nhw[rows, None].astype(np.float32) / 255
            ink = self._ink(under, opacity)
            window[at] = np.rint(under + (ink - under) * opacity)

        return Split(images, base.labels_N, lambda: object_pixels(objects_Nhw, places_N2, self.shape))

    def _ink(self, under_NChw: Array, opacity_N1hw: Array) -> Array:
        """The ink for each stroke over what is under it: float32 (N, C, 1, 1)."""
        channels = self.shape[0]
        inks = np.array([(1, 1, 1), (0, 0, 0), (1, 0, 1)], np.float32)[:, :channels, None, None] * 255
        scores = []
        for ink, favour in zip(inks, (1.0, 1.0, 0.96), strict=True):  # magenta only where it is needed
            contrast = np.sqrt(np.square(under_NChw - ink).mean(1, keepdims=True)) / 255
            # Beyond 0.3 is plain enough: more contrast here must not make up for too little there.
            scores.append(favour * (np.minimum(contrast, 0.3) * opacity_N1hw).sum((1, 2, 3)))
        chosen: Array = inks[np.argmax(scores, axis=0)]
        return chosen


@dataclass(frozen=True)
class Needle(Composed):
    """An object of one size among clutter of one density, on canvases of any size: how hard is the search?

    The images are those of `Placed`, with as many pieces of clutter as the canvas has squares of 32 pixels a side,
    times `density`.

    Attributes:
        base: the image set that objects and clutter come from.
        canvas: the side of the image, pixels.
        enlarge: the factor by which base images are enlarged first (bilinear).
        density: pieces of clutter in 32×32 pixels, on average.
        piece: the side of a piece, pixels.
    """

    name: str
    version: int
    base: str
    canvas: Side = 64
    enlarge: Annotated[int, Field(ge=1, le=32)] = 2
    density: Annotated[float, Field(ge=0, le=64)] = 4.0
    piece: Side = 6

    most_pieces: ClassVar[int] = 256  # a few more could overflow the 16 bits of their sums

    def __post_init__(self) -> None:
        if self.pieces > self.most_pieces:
            raise UsageError(
                f"task '{self.name}': canvas={self.canvas} with density={self.density:g} has {self.pieces} pieces of "
                f"clutter, and {self.most_pieces} are the most"
            )
        self._placed()

    @property
    def pieces(self) -> int:
        """Of clutter in one image."""
        return round(self.density * (self.canvas / 32) ** 2)

    def _placed(self) -> Placed:
        return Placed(self.name, self.version, self.base, self.canvas, self.enlarge, self.pieces, self.piece)

    @property
    def summary(self) -> str:
        return f"an image of {self.base} at a random place among {self.pieces} pieces of others, of constant density"

    @property
    def shape(self) -> Shape:
        return (1, self.canvas, self.canvas)

    def render(self, half: Half, epoch: int) -> Split:
        return self._placed().render(half, epoch)


@dataclass(frozen=True)
class CircleSquare(Task):
    """A white square (label 0) or circle (1) on a noisy ground that brightens towards it.

    After CircleSquare of ap_gym: the centre is any pixel, so the border may cut the object off. There the
    ground has no noise, which leaves 1,568 images, the same in training and test; noise keeps the halves
    apart.

    Attributes:
        side: the side of the image, pixels.
        extent: the object's: a square of extent + 1 pixels a side, a circle of that diameter.
        gradient: the ground darkens with the distance from the object's centre, from 0.7 there (1 in ap_gym)
            towards black; else it is 0.35 everywhere.
        noise: standard deviation of the ground, of a range of 1 from black to white.
    """

    name: str
    version: int
    side: Side = 28
    extent: Annotated[int, Field(ge=2, le=1024)] = 8
    gradient: bool = True
    noise: Annotated[float, Field(ge=0, le=1)] = 0.1

    sizes: ClassVar[Mapping[Half, int]] = {"train": 10_000, "val": 1_000, "test": 2_000}
    class_names: ClassVar[tuple[str, ...]] = ("square", "circle")

    @property
    def summary(self) -> str:
        return "a circle or a square on a noisy ground"

    @property
    def has_objects(self) -> bool:
        return True

    @property
    def shape(self) -> Shape:
        return (1, self.side, self.side)

    @property
    def classes(self) -> int:
        return 2

    def render(self, half: Half, epoch: int) -> Split:
        datasets.check_half(half)
        count = self.sizes[half]
        rng = stream(self, half, epoch)
        labels_N = rng.integers(0, 2, count)
        centres_N2 = rng.integers(0, self.side, (count, 2))
        away = np.abs(centres_N2[:, :, None] - np.arange(self.side)).astype(np.float32)
        rows_NH1, columns_N1W = away[:, 0, :, None], away[:, 1, None, :]
        distance_NHW = np.sqrt(rows_NH1**2 + columns_N1W**2)
        square_NHW = np.maximum(rows_NH1, columns_N1W) <= self.extent / 2
        objects_NHW = np.where(labels_N[:, None, None] == 1, distance_NHW <= self.extent / 2, square_NHW)

        fall = distance_NHW / (self.side * np.sqrt(2)) if self.gradient else np.float32(0.5)
        ground = 0.7 * (1 - fall) + self.noise * rng.standard_normal(objects_NHW.shape, np.float32)
        values = np.where(objects_NHW, 255, np.rint(ground * 255).clip(0, 255)).astype(np.uint8)
        return Split(values[:, None], labels_N, lambda: objects_NHW)
