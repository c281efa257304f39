"""Composed images: an object at a random place, on black, clutter, noise or a texture (photos and drawings: `scenes`).

Each task draws fresh training images every epoch and fixed ones for the other halves. Objects, clutter and
grounds of a half come from the same half of their image sets. The object mask is exact: the pixels that the
object itself set. Shapes: N images, h×w objects, H×W canvas; places are (row, column) of the top left corner.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray
from pydantic import Field

from glimpsebench.envs import datasets
from glimpsebench.envs.base import Shape, Split, Task, stream
from glimpsebench.envs.datasets import Half
from glimpsebench.envs.errors import UsageError

Array = NDArray[Any]
Side = Annotated[int, Field(ge=1, le=1024)]


def windows(images: Array, side: int) -> Array:
    """All side×side windows of (…, H, W), as a writeable view (…, H−side+1, W−side+1, side, side)."""
    return sliding_window_view(images, (side, side), axis=(-2, -1), writeable=True)


def stamp(canvas_NHW: Array, patches_Nhw: Array, places_N2: Array) -> None:
    """Add one square patch to each canvas, in place."""
    window = windows(canvas_NHW, patches_Nhw.shape[-1])
    window[np.arange(len(canvas_NHW)), places_N2[:, 0], places_N2[:, 1]] += patches_Nhw


def object_pixels(objects_Nhw: Array, places_N2: Array, shape: Shape) -> Array:
    """Where the placed objects are not black, in images of a shape: boolean (N, H, W)."""
    objects = np.zeros((len(objects_Nhw), *shape[1:]), np.uint8)
    stamp(objects, (objects_Nhw > 0).astype(np.uint8), places_N2)
    return objects.astype(bool)


def enlarged(images: Array, factor: int) -> Array:
    """Images (…, H, W) enlarged by an integer factor, bilinear between pixel centres, rounded to uint8."""
    if factor == 1:
        return images
    down, across = (_interpolation(length, factor) for length in images.shape[-2:])
    values = down @ images.astype(np.float32) @ across.T
    rounded: Array = (values + np.float32(0.5)).astype(np.uint8)
    return rounded


def _interpolation(length: int, factor: int) -> Array:
    at = ((np.arange(length * factor) + 0.5) / factor - 0.5).clip(0, length - 1)
    matrix: Array = np.maximum(0, 1 - np.abs(at[:, None] - np.arange(length)))
    return matrix.astype(np.float32)


def chunks(count: int, size: int = 2048) -> Iterator[slice]:
    """The rows 0 … count−1 in pieces, so that what is worked on stays small."""
    return (slice(start, min(start + size, count)) for start in range(0, count, size))


class Composed(Task):
    """What the composed tasks over an image set share: its classes and sizes, and exact masks."""

    base: str

    @property
    def has_objects(self) -> bool:
        return True

    @property
    def classes(self) -> int:
        return datasets.info(self.base).classes

    @property
    def sizes(self) -> Mapping[Half, int]:
        return datasets.info(self.base).sizes


@dataclass(frozen=True)
class Placed(Composed):
    """An object placed uniformly on a canvas, over crops of other objects as clutter.

    The recipe is that of the reference generator of cluttered MNIST (deepmind/mnist-cluttered): crops of
    random images of the same half are added at uniform places and the sums clipped, then the object is added
    and the sum clipped again.

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
    canvas: Side
    enlarge: Annotated[int, Field(ge=1, le=32)] = 1
    clutter: Annotated[int, Field(ge=0, le=250)] = 0  # 258 pieces could overflow 16 bits
    piece: Side = 8

    def __post_init__(self) -> None:
        side = datasets.info(self.base).shape[1] * self.enlarge
        if side > self.canvas:
            raise UsageError(f"task '{self.name}': objects of side {side} do not fit canvas={self.canvas}")
        if self.clutter and self.piece > side:
            raise UsageError(f"task '{self.name}': piece={self.piece} is larger than the objects ({side})")

    @property
    def summary(self) -> str:
        clutter = f" among {self.clutter} pieces of others" if self.clutter else " on black"
        return f"an image of {self.base} at a random place{clutter}"

    @property
    def shape(self) -> Shape:
        return (1, self.canvas, self.canvas)

    def render(self, half: Half, epoch: int) -> Split:
        base = datasets.load(self.base, half)
        objects_Nhw = enlarged(base.images_NCHW[:, 0], self.enlarge)
        count, side, _ = objects_Nhw.shape
        rng = stream(self, half, epoch)
        places_N2 = rng.integers(0, self.canvas - side + 1, (count, 2))
        sources_NP = rng.integers(0, count, (count, self.clutter))
        cuts_NP2 = rng.integers(0, max(side - self.piece, 0) + 1, (count, self.clutter, 2))
        drops_NP2 = rng.integers(0, max(self.canvas - self.piece, 0) + 1, (count, self.clutter, 2))

        images = np.empty((count, *self.shape), np.uint8)
        pieces = windows(objects_Nhw, min(self.piece, side))
        for rows in chunks(count):
            sums = np.zeros((len(images[rows]), self.canvas, self.canvas), np.uint16)
            for piece in range(self.clutter):
                cut = pieces[sources_NP[rows, piece], cuts_NP2[rows, piece, 0], cuts_NP2[rows, piece, 1]]
                stamp(sums, cut, drops_NP2[rows, piece])
            np.minimum(sums, 255, out=sums)
            stamp(sums, objects_Nhw[rows], places_N2[rows])
            np.minimum(sums, 255, out=images[rows, 0], casting="unsafe")

        return Split(images, base.labels_N, lambda: object_pixels(objects_Nhw, places_N2, self.shape))


@dataclass(frozen=True)
class Rescaled(Composed):
    """An object of random size at a random place, on black or on noise.

    After DHAM: the object is resized (nearest) to a side of U(smallest, largest)·canvas pixels and replaces
    the ground where it is not black. The ground is black plus Gaussian noise.

    Attributes:
        base: the image set that objects come from.
        canvas: the side of the image, pixels.
        noise: standard deviation of the noise σ, in units of MNIST's own (0.3081 of the range from black to
            white), as DHAM's images are normalised; DHAM has 0.5.
        smallest, largest: bounds of the object's side, as a share of the canvas.

    Noise goes below black and images are uint8, so the range from −4σ to the larger of white and 4σ is mapped
    linearly to 0 … 255. At 0.5 black is level 97 and white 255; without noise levels are the set's own.
    """

    name: str
    version: int
    base: str
    canvas: Side = 120
    noise: Annotated[float, Field(ge=0, le=10)] = 0.0
    smallest: Annotated[float, Field(gt=0, le=1)] = 0.24
    largest: Annotated[float, Field(gt=0, le=1)] = 0.40

    unit: ClassVar[float] = 0.3081  # standard deviation of MNIST's pixels, of values in [0, 1]
    tail: ClassVar[float] = 4.0  # noise is cut off at ±4σ

    def __post_init__(self) -> None:
        if self.smallest > self.largest:
            raise UsageError(f"task '{self.name}': smallest={self.smallest} exceeds largest={self.largest}")
        if int(self.smallest * self.canvas) < 1:
            raise UsageError(f"task '{self.name}': smallest={self.smallest} is not a pixel of {self.canvas}")

    @property
    def summary(self) -> str:
        ground = "noise" if self.noise else "black"
        return f"an image of {self.base} of random size at a random place on {ground}"

    @property
    def shape(self) -> Shape:
        return (1, self.canvas, self.canvas)

    def levels(self, values: Array) -> Array:
        """Values (0 black, 1 white) as uint8 levels."""
        reach = self.tail * self.noise * self.unit
        rounded: Array = np.rint((values + reach) * (255 / (max(1.0, reach) + reach))).clip(0, 255)
        return rounded.astype(np.uint8)

    def render(self, half: Half, epoch: int) -> Split:
        base = datasets.load(self.base, half)
        count = len(base)
        rng = stream(self, half, epoch)
        sides_N = (rng.uniform(self.smallest, self.largest, count) * self.canvas).astype(np.int64)
        places_N2 = (rng.random((count, 2)) * (self.canvas - sides_N + 1)[:, None]).astype(np.int64)
        level_of = self.levels(np.arange(256) / 255)
        noise = self.levels(_normal_quantiles() * self.noise * self.unit)

        def draw(canvas_NHW: Array, rows: slice, table: Array) -> None:
            """Draw each object through a table of levels, where it is not black."""
            for side in np.unique(sides_N[rows]):
                of_side = (sides_N[rows] == side).nonzero()[0]
                nearest = np.rint(np.linspace(0, base.images_NCHW.shape[-1] - 1, side)).astype(np.int64)
                object_Nhw = base.images_NCHW[rows, 0][of_side[:, None, None], nearest[:, None], nearest]
                window, places = windows(canvas_NHW, side), places_N2[rows][of_side]
                at = (of_side, places[:, 0], places[:, 1])
                window[at] = np.where(object_Nhw > 0, table[object_Nhw], window[at])

        images = np.full((count, *self.shape), level_of[0], np.uint8)
        for rows in chunks(count, 512):
            ground = images[rows, 0]
            if self.noise:
                ground[:] = noise[rng.integers(0, len(noise), ground.shape, np.uint16)]
            draw(ground, rows, level_of)

        def find_objects() -> Array:
            objects = np.zeros((count, self.canvas, self.canvas), bool)
            for rows in chunks(count):
                draw(objects[rows], rows, np.arange(256) > 0)
            return objects

        return Split(images, base.labels_N, find_objects)


@dataclass(frozen=True)
class OnTexture(Composed):
    """An object placed uniformly on a textured ground that gives its class away in training, and not elsewhere.

    A biased training set, in the manner of GAIN's second experiment (Li et al., CVPR 2018: boats on water). Each
    class has a texture, a random pattern of four by four squares that is repeated over the ground from a random
    offset; all have equally many bright squares. In training the ground has the texture of the label's class in a
    share `bias` of the images and that of a uniformly drawn class in the rest. In validation and test images it is
    always uniformly drawn, so that what is chosen on validation images is not biased.

    Attributes:
        base: the image set that objects come from.
        canvas: the side of the image, pixels.
        enlarge: the factor by which base images are enlarged first (bilinear).
        bias: the share of training images whose ground follows the label; 0 for an unbiased set.
        contrast: grey level of the texture's bright squares; the dark ones are black. The object replaces the
            ground where it is not black.
        square: the side of a texture's squares, pixels.
    """

    name: str
    version: int
    base: str
    canvas: Side = 32
    enlarge: Annotated[int, Field(ge=1, le=32)] = 2
    bias: Annotated[float, Field(ge=0, le=1)] = 0.98
    contrast: Annotated[int, Field(ge=0, le=255)] = 120
    square: Annotated[int, Field(ge=1, le=64)] = 2

    def __post_init__(self) -> None:
        side = datasets.info(self.base).shape[1] * self.enlarge
        if side > self.canvas:
            raise UsageError(f"task '{self.name}': objects of side {side} do not fit canvas={self.canvas}")

    @property
    def summary(self) -> str:
        return (
            f"an image of {self.base} at a random place on a texture that is its class's in {self.bias:.0%} of "
            "training images and a random one in the rest and in all of val and test"
        )

    @property
    def shape(self) -> Shape:
        return (1, self.canvas, self.canvas)

    def textures(self) -> Array:
        """Grey levels of each class's texture at every offset: uint8 (K, 4·square, 4·square, canvas, canvas)."""
        half_bright = np.tile(np.repeat(np.array([0, self.contrast], np.uint8), 8), (self.classes, 1))
        patterns = np.random.default_rng(0).permuted(half_bright, axis=1).reshape(-1, 4, 4)
        period, repeats = 4 * self.square, -(-self.canvas // (4 * self.square)) + 1
        tiled = np.tile(patterns.repeat(self.square, 1).repeat(self.square, 2), (1, repeats, repeats))
        return windows(tiled, self.canvas)[:, :period, :period]

    def render(self, half: Half, epoch: int) -> Split:
        base = datasets.load(self.base, half)
        objects_Nhw = enlarged(base.images_NCHW[:, 0], self.enlarge)
        count, side, _ = objects_Nhw.shape
        rng = stream(self, half, epoch)
        places_N2 = rng.integers(0, self.canvas - side + 1, (count, 2))
        biased_N = rng.random(count) < (self.bias if half == "train" else 0.0)
        texture_N = np.where(biased_N, base.labels_N, rng.integers(0, self.classes, count))
        offsets_N2 = rng.integers(0, 4 * self.square, (count, 2))

        textures, images = self.textures(), np.empty((count, *self.shape), np.uint8)
        for rows in chunks(count):
            images[rows, 0] = textures[texture_N[rows], offsets_N2[rows, 0], offsets_N2[rows, 1]]
            window = windows(images[rows, 0], side)
            at = (np.arange(len(images[rows])), places_N2[rows, 0], places_N2[rows, 1])
            window[at] = np.where(objects_Nhw[rows] > 0, objects_Nhw[rows], window[at])

        return Split(images, base.labels_N, lambda: object_pixels(objects_Nhw, places_N2, self.shape))


def _normal_quantiles() -> Array:
    """65,536 equally likely values of a standard normal variable, so that noise is one table look-up."""
    from scipy.special import ndtri

    quantiles: Array = ndtri((np.arange(1 << 16) + 0.5) / (1 << 16))
    return quantiles
