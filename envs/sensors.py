"""Sensors: an action goes in; values and the exact set of source pixels behind them come out.

A sensor works in two steps. `aim` turns a batch of actions into integers or sampling positions on the pixel
grid (the *aim*), once and for all; `read`, `footprint` and `paint` then follow from the aim alone, so what
was returned, what is counted and what is shown on the canvas cannot disagree.

| sensor      | action of one env                      | glimpse          | footprint                        |
|-------------|----------------------------------------|------------------|----------------------------------|
| `Window`    | fixation (x, y)                        | S·C × g × g      | the largest window, inside part  |
| `Crop`      | (x, y, z); z sets the scale            | C × g × g        | bilinear neighbours of weight > 0|
| `Mask`      | a score per cell                       | C × H × W        | the best cells that fit          |
| `Thumbnail` | nothing to choose                      | C × H × W        | the whole image                  |

Shapes: N images, B envs, T steps, S scales, C H W image, g glimpse side. Images are uint8; every value that
is returned is float32 in [0, 1]. Fixations are (x, y) in [-1, 1], x to the right, y down, centre 0; aims are
(row, column). Footprints never count what lies outside the image. Nor does the env count padding: boxes (B, 4) say
where each image has its own pixels (top, left, height, width). A sensor may look at padding, which shows one level.
"""

from __future__ import annotations

import math
import warnings
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar, Literal, get_args

import numpy as np
import torch
from gymnasium import spaces
from numpy.lib.stride_tricks import as_strided
from numpy.typing import NDArray
from torch import Tensor

from glimpsebench.envs.errors import UsageError, unknown
from glimpsebench.envs.footprints import Bitmaps, Footprints, Lattices, Squares
from glimpsebench.envs.settings import names, validated

Array = NDArray[Any]
Shape = tuple[int, int, int]
Reader = Callable[[Array, Array], Array]

Border = Literal["clamp", "zero", "inside", "own"]

UNSEEN = 255  # the grain of a pixel that nothing has shown yet


class Sensor(ABC):
    """What an agent can point. Subclasses are frozen dataclasses: their fields are their settings.

    Class attributes:
        fixates: an action looks at one place, which a picture can frame and a scanpath can visit.
    """

    fixates: ClassVar[bool] = True

    @abstractmethod
    def action_space(self, shape: Shape) -> spaces.Box:
        """The action of one env over images of `shape` (C, H, W)."""

    @abstractmethod
    def glimpse_shape(self, shape: Shape) -> tuple[int, ...]:
        """The shape of what one action returns."""

    @abstractmethod
    def aim(self, action: Array, shape: Shape, room_B: Array, boxes_B4: Array | None = None) -> Array:
        """Where a batch of valid actions (B, …) looks.

        Args:
            action: in the action space.
            shape: (C, H, W) of the images.
            room_B: pixels (or values) left to spend.
            boxes_B4: where each image has its own pixels; None: everywhere.
        """

    @abstractmethod
    def reader(self, images_NCHW: Array) -> Reader:
        """A function (index_B, aim) → glimpses (B, *glimpse_shape), fresh float32, of a shared image set."""

    @abstractmethod
    def footprint(self, aim: Array, shape: Shape) -> Array:
        """The footprint of each aim as a boolean array (B, H, W)."""

    @abstractmethod
    def footprints(self, num_envs: int, horizon: int, shape: Shape) -> Footprints:
        """An empty account of the union of footprints of each env."""

    @abstractmethod
    def delivered(self, aim: Array, shape: Shape) -> Array:
        """Values that each aim returns, per channel (B,): compare with H·W."""

    @abstractmethod
    def executed_action(self, action: Array, aim: Array, shape: Shape) -> Array:
        """The action as it was carried out, in the action space; a mask's is 1 where it revealed, else 0."""

    @abstractmethod
    def paint(self, canvas_NCHW: Array, grain_NHW: Array, rows_B: Array, glimpse: Array, aim: Array) -> None:
        """Show a batch of glimpses at the resolution at which they were delivered, in place.

        Args:
            canvas_NCHW: float32, the canvases of N envs.
            grain_NHW: uint8, per pixel, how many source pixels a side share one shown value; `UNSEEN` where none was
                shown. A coarser glimpse never overwrites a finer one.
            rows_B: the canvas that each glimpse is shown on, int64, all different.
            glimpse: (B, …) as `reader` returns them.
            aim: (B, …).
        """


def _paint_blocks(
    canvas_NCHW: Array, grain_NHW: Array, rows_B: Array, corner_B2: Array, block_BChw: Array, grain: int
) -> None:
    """Paint the parts of equal blocks that lie inside the canvas, where nothing finer has been shown."""
    height, width = canvas_NCHW.shape[2:]
    row_Bh = corner_B2[:, :1] + np.arange(block_BChw.shape[2])
    column_Bw = corner_B2[:, 1:] + np.arange(block_BChw.shape[3])
    env, row, column = np.nonzero(
        ((row_Bh >= 0) & (row_Bh < height))[:, :, None] & ((column_Bw >= 0) & (column_Bw < width))[:, None, :]
    )
    where = rows_B[env], row_Bh[env, row], column_Bw[env, column]
    coarser = grain_NHW[where] >= grain
    canvas, y, x = (index[coarser] for index in where)
    grain_NHW[canvas, y, x] = grain
    for channel in range(canvas_NCHW.shape[1]):
        canvas_NCHW[canvas, channel, y, x] = block_BChw[env[coarser], channel, row[coarser], column[coarser]]


def _paint_inside(canvas_NCHW: Array, grain_NHW: Array, rows_B: Array, corner_B2: Array, block_BCgg: Array) -> None:
    """`_paint_blocks` of the finest grain, for blocks that lie inside: whole rows at once, which is much faster."""
    top_B, left_B = corner_B2.T
    side = block_BCgg.shape[2]
    _windows(canvas_NCHW, side, side, writeable=True)[rows_B, top_B, left_B] = _rows_of(block_BCgg)
    _windows(grain_NHW[:, None], side, side, writeable=True)[rows_B, top_B, left_B] = (
        np.ones(1, np.uint8).repeat(side).view(f"V{side}")
    )


def _rows_of(block_BChw: Array) -> Array:
    """A block's rows of pixels as single items, as `_windows` has them."""
    block = np.ascontiguousarray(block_BChw)
    return block.view(f"V{block.shape[3] * block.itemsize}")[..., 0]


def _repeat(block_BChw: Array, times: int) -> Array:
    return block_BChw.repeat(times, axis=2).repeat(times, axis=3)


@dataclass(frozen=True)
class Window(Sensor):
    """A g×g window at a fixation; with S scales a retina of windows g, 2g, 4g …, each averaged down to g×g.

    Args:
        size: g, the side of the finest window, pixels.
        scales: S. The footprint is that of the largest window: an averaged pixel is a used pixel.
        border: how a fixation is a place. `clamp`: ±1 are the image's edges, and a window that would leave is moved
            back, so that all fixations near an edge are one place. `zero`: the same without moving back; it may
            leave, up to half, and 0 is returned there. `inside`: ±1 are the last places inside the image, and all
            places have an equal share of [-1, 1], so that uniform fixations are uniform places. `own`: the same
            inside the image's own pixels, where it is padded. The finest window alone is meant; coarser windows see
            0 outside.

    >>> actions = np.array([[-1.0, -1.0], [0.0, 0.0], [0.5, 0.5], [1.0, 1.0]])
    >>> Window(size=2).aim(actions, (1, 6, 6), np.zeros(4)).tolist()
    [[0, 0], [2, 2], [4, 4], [4, 4]]
    >>> Window(size=2, border="inside").aim(actions, (1, 6, 6), np.zeros(4)).tolist()
    [[0, 0], [2, 2], [3, 3], [4, 4]]
    """

    size: int = 8
    scales: int = 1
    border: Border = "clamp"

    def __post_init__(self) -> None:
        if self.size < 1 or not 1 <= self.scales <= 8:
            raise UsageError(f"{self}: size must be at least 1 and scales in [1, 8]")
        if self.border not in get_args(Border):
            raise unknown("border", self.border, get_args(Border))

    @property
    def span(self) -> int:
        """The side of the largest window, pixels."""
        return self.size << (self.scales - 1)

    def _corner(self, aim: Array, scale: int) -> Array:
        return aim - ((self.size << scale) - self.size) // 2

    def action_space(self, shape: Shape) -> spaces.Box:
        return spaces.Box(-1.0, 1.0, (2,), np.float32)

    def glimpse_shape(self, shape: Shape) -> tuple[int, ...]:
        return (self.scales * shape[0], self.size, self.size)

    def aim(self, action: Array, shape: Shape, room_B: Array, boxes_B4: Array | None = None) -> Array:
        """The top left corner (row, column) of the finest window: int64 (B, 2)."""
        # Rows and columns apart, because short inner axes are slow.
        height_width_21 = np.array(shape[1:])[:, None]
        from_0_2B = np.add(action.T[::-1], 1.0, order="C")
        if self.border == "own" and boxes_B4 is not None:
            first_2B, size_2B = boxes_B4.T[:2], boxes_B4.T[2:]
            places_2B = np.maximum(size_2B - self.size + 1, 1)
            corner_2B = first_2B + np.minimum(np.floor(from_0_2B * (places_2B / 2)).astype(np.int64), places_2B - 1)
        elif self._counts_places:
            corner_2B = np.floor(from_0_2B * (self._places(shape)[:, None] / 2)).astype(np.int64)
        else:
            corner_2B = np.floor(from_0_2B * (height_width_21 / 2) + (0.5 - self.size / 2)).astype(np.int64)
        if self.border != "zero":
            np.minimum(corner_2B, height_width_21 - self.size, out=corner_2B)
            np.maximum(corner_2B, 0, out=corner_2B)
        return corner_2B.T

    def fixation(self, aim: Array, shape: Shape) -> Array:
        """The fixation (x, y), of those that look at the window with this corner, in the middle: float32 (B, 2)."""
        if self._counts_places:
            middle = (aim + 0.5) / self._places(shape) * 2 - 1
        else:
            middle = (aim + self.size / 2) / np.array(shape[1:]) * 2 - 1
        fixation: Array = np.clip(middle[:, ::-1], -1, 1).astype(np.float32)
        return fixation

    @property
    def _counts_places(self) -> bool:
        """Whether a fixation says which of the places inside, not which point of the image."""
        return self.border in ("inside", "own")

    def _places(self, shape: Shape) -> Array:
        """How many rows and columns the corner of a window inside the image may have (2,)."""
        return np.maximum(np.array(shape[1:]) - self.size + 1, 1)

    def reader(self, images_NCHW: Array) -> Reader:
        shape: Shape = images_NCHW.shape[1:]
        cuts = [_Cut(images_NCHW, self.size << scale) for scale in range(self.scales)]

        def read(index_B: Array, aim: Array) -> Array:
            if self.scales == 1:
                return np.multiply(cuts[0](index_B, aim), np.float32(1 / 255), dtype=np.float32)
            glimpse = np.empty((len(index_B), *self.glimpse_shape(shape)), np.float32)
            for scale, cut in enumerate(cuts):
                sums = _block_sums(cut(index_B, self._corner(aim, scale)), 1 << scale)
                here = glimpse[:, scale * shape[0] : (scale + 1) * shape[0]]
                np.multiply(sums, np.float32(1 / 255) / 4**scale, out=here)
            return glimpse

        return read

    def footprint(self, aim: Array, shape: Shape) -> Array:
        corner = self._corner(aim, self.scales - 1)
        rows, columns = np.arange(shape[1]), np.arange(shape[2])
        in_rows = (rows >= corner[:, :1]) & (rows < corner[:, :1] + self.span)
        in_columns = (columns >= corner[:, 1:]) & (columns < corner[:, 1:] + self.span)
        return in_rows[:, :, None] & in_columns[:, None, :]

    def footprints(self, num_envs: int, horizon: int, shape: Shape) -> Footprints:
        offset = (self.span - self.size) // 2
        inside = self.border != "zero" and self.scales == 1 and min(shape[1:]) >= self.size
        return Squares(num_envs, horizon, shape[1:], side=self.span, offset=offset, always_inside=inside)

    def delivered(self, aim: Array, shape: Shape) -> Array:
        return np.full(len(aim), self.scales * self.size**2)

    def executed_action(self, action: Array, aim: Array, shape: Shape) -> Array:
        return action

    def paint(self, canvas_NCHW: Array, grain_NHW: Array, rows_B: Array, glimpse: Array, aim: Array) -> None:
        channels, height, width = canvas_NCHW.shape[1:]
        if self.scales == 1 and self.border != "zero" and min(height, width) >= self.size:
            _paint_inside(canvas_NCHW, grain_NHW, rows_B, aim, glimpse)
            return
        for scale in range(self.scales):
            block = _repeat(glimpse[:, scale * channels : (scale + 1) * channels], 1 << scale)
            _paint_blocks(canvas_NCHW, grain_NHW, rows_B, self._corner(aim, scale), block, 1 << scale)


def _block_sums(images_BCHW: Array, side: int) -> Array:
    """The sum of each side×side block, uint32. Adding whole slices is much faster than reducing short axes."""
    down = images_BCHW[:, :, ::side].astype(np.uint32)
    for line in range(1, side):
        down += images_BCHW[:, :, line::side]
    across = down[..., ::side].copy()
    for line in range(1, side):
        across += down[..., line::side]
    return across


class _Cut:
    """Cuts side×side windows out of a shared image set, zero outside, without copying the set."""

    def __init__(self, images_NCHW: Array, side: int) -> None:
        height, width = images_NCHW.shape[2:]
        self.side, self.height, self.width = side, min(side, height), min(side, width)
        self.last = np.array([height - self.height, width - self.width])
        self.windows = _windows(images_NCHW, self.height, self.width)

    def __call__(self, index_B: Array, corner_B2: Array) -> Array:
        """The windows (B, C, side, side), uint8, with these corners (row, column)."""
        inside_B2 = np.minimum(np.maximum(corner_B2, 0), self.last)
        cut = _taken(self.windows, index_B, inside_B2)
        if self.height < self.side or self.width < self.side:
            return self._shifted(cut, corner_B2 - inside_B2)
        leaves_B2 = corner_B2 != inside_B2
        if leaves_B2.any():
            leaves_B = leaves_B2.any(1)
            cut[leaves_B] = self._shifted(cut[leaves_B], (corner_B2 - inside_B2)[leaves_B])
        return cut

    def _shifted(self, cut_BChw: Array, beyond_B2: Array) -> Array:
        """Windows that lie `beyond` those of `cut` by so many rows and columns: cut again, from a wide border."""
        count, channels, height, width = cut_BChw.shape
        side = self.side
        padded = np.zeros((count, channels, 3 * side, 3 * side), np.uint8)
        padded[:, :, side : side + height, side : side + width] = cut_BChw
        return _taken(_windows(padded, side, side), np.arange(count), side + beyond_B2)


def _windows(images_NCHW: Array, height: int, width: int, writeable: bool = False) -> Array:
    """All height×width windows of each image, as a view (N, H−height+1, W−width+1, C, height) of pixel rows.

    Indexing it copies a row at a time, which is several times faster than a pixel at a time. Where the pixels
    of a row are not neighbours in memory, the view has single pixels, and one axis more.
    """
    count, channels, rows, columns = images_NCHW.shape
    places = (count, rows - height + 1, columns - width + 1, channels, height)
    steps = [images_NCHW.strides[axis] for axis in (0, 2, 3, 1, 2)]
    if images_NCHW.strides[3] == images_NCHW.itemsize:
        row = images_NCHW[0, 0, 0, :width].view(f"V{width * images_NCHW.itemsize}")
        return as_strided(row, places, steps, writeable=writeable)
    return as_strided(images_NCHW, (*places, width), (*steps, images_NCHW.strides[3]), writeable=writeable)


def _taken(windows: Array, index_B: Array, corner_B2: Array) -> Array:
    """One window of each image in `index_B`: uint8 (B, C, height, width)."""
    taken = windows[index_B, corner_B2[:, 0], corner_B2[:, 1]]
    return taken.view(np.uint8).reshape(*taken.shape[:3], -1)


@dataclass(frozen=True)
class Crop(Sensor):
    """A window of any size, resampled bilinearly to g×g: differentiable in (x, y, scale).

    The window spans `scale` times the image's height and width around (x, y); the g samples a side lie at the
    centres of g equal cells (x_source = scale·u + x with u = (2j+1)/g − 1, the transform of STN and DHAM).
    Outside the image every value is 0.

    Args:
        size: g, samples a side.
        smallest: the least scale. An action holds (x, y, z) in [-1, 1], as learners prefer; z = −1 is the
            smallest scale and z = 1 the whole image (`scale_of`, `zoom_of`).
    """

    size: int = 16
    smallest: float = 0.02

    def __post_init__(self) -> None:
        if self.size < 1 or not 0 < self.smallest < 1:
            raise UsageError(f"{self}: size must be at least 1 and smallest in (0, 1)")

    def action_space(self, shape: Shape) -> spaces.Box:
        return spaces.Box(-1.0, 1.0, (3,), np.float32)

    def scale_of(self, zoom: Tensor) -> Tensor:
        """z in [-1, 1] → scale in [smallest, 1]."""
        return self.smallest + (zoom + 1) * ((1 - self.smallest) / 2)

    def zoom_of(self, scale: Tensor) -> Tensor:
        """The inverse of `scale_of`."""
        return (scale - self.smallest) * (2 / (1 - self.smallest)) - 1

    def glimpse_shape(self, shape: Shape) -> tuple[int, ...]:
        return (shape[0], self.size, self.size)

    def positions(self, action_B3: Tensor, shape: Shape) -> Tensor:
        """Where the samples lie, pixels, (B, 2, g): rows, then columns. Differentiable."""
        cells_g = (2 * torch.arange(self.size).to(action_B3) + 1) / self.size - 1
        frame_B2g = action_B3[:, [1, 0], None] + self.scale_of(action_B3[:, 2, None, None]) * cells_g
        height_width = torch.tensor(shape[1:]).to(action_B3)[:, None]
        return ((frame_B2g + 1) * height_width - 1) / 2

    def crop(self, images_BCHW: Tensor, action_B3: Tensor) -> Tensor:
        """What `read` returns, with gradients to images and actions: the call for `fit`."""
        count, channels, height, width = images_BCHW.shape
        index_B = torch.arange(count, device=images_BCHW.device)
        return bilinear(images_BCHW, index_B, self.positions(action_B3, (channels, height, width)))

    def aim(self, action: Array, shape: Shape, room_B: Array, boxes_B4: Array | None = None) -> Array:
        """The sampling positions, float32 (B, 2, g)."""
        positions: Array = self.positions(torch.from_numpy(np.float32(action)), shape).numpy()
        return positions

    def reader(self, images_NCHW: Array) -> Reader:
        images = _as_tensor(images_NCHW)

        def read(index_B: Array, aim: Array) -> Array:
            values = bilinear(images, torch.from_numpy(np.asarray(index_B)), torch.from_numpy(aim)) / 255
            glimpse: Array = values.clamp(max=1).numpy()  # the four weights may add up to 1 + 1e-7
            return glimpse

        return read

    def lattice(self, aim: Array, shape: Shape) -> tuple[Array, Array]:
        """Rows (B, 2g) and columns (B, 2g) of the source pixels that count, −1 where a neighbour does not."""
        near_B2g = np.floor(aim).astype(np.int64)
        both_B2L = np.concatenate([near_B2g, near_B2g + 1], -1)
        counts_B2L = (both_B2L >= 0) & (both_B2L < np.array(shape[1:])[:, None])
        counts_B2L[..., self.size :] &= aim > near_B2g  # else the far neighbour has no weight
        rows_BL, columns_BL = np.where(counts_B2L, both_B2L, -1).transpose(1, 0, 2)
        return rows_BL, columns_BL

    def footprint(self, aim: Array, shape: Shape) -> Array:
        rows_BR, columns_BR = self.lattice(aim, shape)
        in_rows: Array = (rows_BR[:, None, :] == np.arange(shape[1])[:, None]).any(-1)
        in_columns: Array = (columns_BR[:, None, :] == np.arange(shape[2])[:, None]).any(-1)
        return in_rows[:, :, None] & in_columns[:, None, :]

    def footprints(self, num_envs: int, horizon: int, shape: Shape) -> Footprints:
        return Lattices(num_envs, horizon, 2 * self.size, partial(self.lattice, shape=shape))

    def delivered(self, aim: Array, shape: Shape) -> Array:
        return np.full(len(aim), self.size**2)

    def executed_action(self, action: Array, aim: Array, shape: Shape) -> Array:
        return action

    def paint(self, canvas_NCHW: Array, grain_NHW: Array, rows_B: Array, glimpse: Array, aim: Array) -> None:
        shape: Shape = canvas_NCHW.shape[1:]
        spacing_B = (
            np.abs(np.diff(aim, axis=2)).max((1, 2), initial=0) if self.size > 1 else np.full(len(aim), max(shape[1:]))
        )
        grain_B = np.ceil(spacing_B - 1e-3).clip(1, UNSEEN - 1).astype(np.uint8)
        env, row, column = np.nonzero(self.footprint(aim, shape) & (grain_NHW[rows_B] >= grain_B[:, None, None]))
        # A pixel shows the sample nearest to it: no more than was delivered.
        near_row_BH = np.abs(np.arange(shape[1])[:, None] - aim[:, 0, None]).argmin(2)
        near_column_BW = np.abs(np.arange(shape[2])[:, None] - aim[:, 1, None]).argmin(2)
        grain_NHW[rows_B[env], row, column] = grain_B[env]
        for channel in range(shape[0]):
            values = glimpse[env, channel, near_row_BH[env, row], near_column_BW[env, column]]
            canvas_NCHW[rows_B[env], channel, row, column] = values


def make(sensor: Sensor | str | Mapping[str, Any] | None, shape: Shape) -> Sensor:
    """A sensor from plain data, which fits into JSON.

    Args:
        sensor: a sensor; `{"kind": "window", "size": 8}`; `"window"` or `"window:8"`, whose number is the first
            setting; or None for windows of 8×8, or of a third of the shorter side where that is less.
        shape: (C, H, W) of the images.

    Raises:
        UsageError: an unknown kind or setting, or a value that does not fit.

    >>> make("crop:16", (1, 32, 32)), make({"kind": "mask", "cell": 4}, (1, 32, 32)), make(None, (1, 8, 8))
    (Crop(size=16, smallest=0.02), Mask(cell=4, threshold=None, at_once=None), Window(size=2, scales=1, border='clamp'))
    """
    if isinstance(sensor, Sensor):
        return sensor
    if sensor is None:
        return Window(max(1, min(8, min(shape[1:]) // 3)))
    entries = dict(sensor) if isinstance(sensor, Mapping) else {}
    if isinstance(sensor, str):
        name, _, first = sensor.partition(":")
        entries = {"kind": name}
        if first and name in KINDS:
            entries[names(KINDS[name])[0]] = first
    kind = entries.pop("kind", None)
    if kind not in KINDS:
        raise unknown("kind of sensor", str(kind), KINDS)
    return KINDS[kind](**validated(KINDS[kind], entries, f"sensor '{kind}'"))


def as_data(sensor: Sensor) -> dict[str, Any]:
    """What `make` makes this sensor of again; a sensor of a kind of its own cannot be had from data.

    >>> as_data(Crop(16))
    {'kind': 'crop', 'size': 16, 'smallest': 0.02}
    """
    kind = next((name for name, kind in KINDS.items() if type(sensor) is kind), None)
    if kind is None:
        raise UsageError(f"{sensor}: only {', '.join(KINDS)} can be written as plain data")
    return {"kind": kind} | {name: getattr(sensor, name) for name in names(type(sensor))}


def _as_tensor(images: Array) -> Tensor:
    """A tensor over the same memory. A read-only image set stays so: nothing here writes to it."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="The given NumPy array is not writable")
        return torch.from_numpy(images)


def _neighbours(position: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """The two integer neighbours of each position and the weight of the far one, in [0, 1)."""
    near = position.detach().floor()
    return near.long(), near.long() + 1, position - near


def bilinear(images_NCHW: Tensor, index_B: Tensor, positions_B2g: Tensor) -> Tensor:
    """Bilinear samples on a grid of rows × columns, 0 outside: (B, C, g, g), in the images' units.

    Only the four neighbours of each sample are read, so the cost does not depend on H×W.
    """
    _, channels, height, width = images_NCHW.shape
    out: Tensor | None = None
    index = index_B[:, None, None, None]
    every = torch.arange(channels, device=images_NCHW.device)[None, :, None, None]
    rows, columns = _neighbours(positions_B2g[:, 0]), _neighbours(positions_B2g[:, 1])
    for far_row in (0, 1):
        row_weight = rows[2] if far_row else 1 - rows[2]
        row = rows[far_row]
        row_weight = row_weight * ((row >= 0) & (row < height))
        for far_column in (0, 1):
            column_weight = columns[2] if far_column else 1 - columns[2]
            column = columns[far_column]
            column_weight = column_weight * ((column >= 0) & (column < width))
            row_at = row.clamp(0, height - 1)[:, None, :, None]
            column_at = column.clamp(0, width - 1)[:, None, None, :]
            corner = images_NCHW[index, every, row_at, column_at]
            term = (row_weight[:, :, None] * column_weight[:, None, :])[:, None] * corner
            out = term if out is None else out + term
    assert out is not None
    return out


@dataclass(frozen=True)
class Mask(Sensor):
    """The best-scored pixels (or k×k cells), as many as still fit in the budget.

    Ties go to the first in raster order. Cells are taken from the best down until one does not fit. Padding is revealed
    like all else, and costs nothing.

    Args:
        cell: k, the side of a cell, pixels; the action holds one score per cell. Where k does not divide the
            image's sides, the last cells are cut off at the border and cost what is left of them.
        threshold: when set, only cells with a higher score are revealed, so that the mask may be smaller than
            the budget; without it a mask fills the budget exactly.
        at_once: the most cells that one action reveals; none means all that fit.
    """

    cell: int = 1
    threshold: float | None = None
    at_once: int | None = None

    fixates: ClassVar[bool] = False

    def __post_init__(self) -> None:
        if self.cell < 1 or (self.at_once is not None and self.at_once < 1):
            raise UsageError(f"{self}: cell and at_once must be at least 1")

    def grid(self, shape: Shape) -> tuple[int, int]:
        """Cells (rows, columns); the last ones may hang over the border."""
        return -(-shape[1] // self.cell), -(-shape[2] // self.cell)

    def action_space(self, shape: Shape) -> spaces.Box:
        return spaces.Box(-1.0, 1.0, self.grid(shape), np.float32)

    def glimpse_shape(self, shape: Shape) -> tuple[int, ...]:
        return shape

    def aim(self, action: Array, shape: Shape, room_B: Array, boxes_B4: Array | None = None) -> Array:
        """The revealed pixels: boolean (B, H, W)."""
        scores_BP = action.reshape(len(action), math.prod(action.shape[1:]))
        cells_B = self._fitting(scores_BP, shape, room_B, boxes_B4)
        if self.at_once is not None:
            cells_B = np.minimum(cells_B, self.at_once)
        if self.threshold is not None:
            cells_B = np.minimum(cells_B, (scores_BP > self.threshold).sum(1))
        best = k_best(scores_BP, cells_B).reshape(action.shape)
        if self.cell > 1:
            best = best.repeat(self.cell, axis=1).repeat(self.cell, axis=2)
        return np.ascontiguousarray(best[:, : shape[1], : shape[2]])

    def _fitting(self, scores_BP: Array, shape: Shape, room_B: Array, boxes_B4: Array | None) -> Array:
        """How many cells (B,), from the best down, fit in the room."""
        rows, columns = self.grid(shape)
        if boxes_B4 is None:
            if rows * self.cell == shape[1] and columns * self.cell == shape[2]:
                return np.maximum(room_B, 0) // self.cell**2
            boxes_B4 = np.array([[0, 0, *shape[1:]]])
        heights_BR = self._overlaps(rows, boxes_B4[:, 0], boxes_B4[:, 2])
        widths_BC = self._overlaps(columns, boxes_B4[:, 1], boxes_B4[:, 3])
        pixels_BP = np.broadcast_to(
            (heights_BR[:, :, None] * widths_BC[:, None]).reshape(-1, rows * columns), scores_BP.shape
        )
        best_first_BP = np.argsort(-scores_BP, axis=1, kind="stable")
        fitting: Array = (np.take_along_axis(pixels_BP, best_first_BP, 1).cumsum(1) <= room_B[:, None]).sum(1)
        return fitting

    def _overlaps(self, cells: int, first_B: Array, length_B: Array) -> Array:
        """How many of `length` pixels from `first` lie in each cell along one axis: (B, cells)."""
        start, first, end = self.cell * np.arange(cells), first_B[:, None], (first_B + length_B)[:, None]
        overlaps: Array = np.maximum(np.minimum(start + self.cell, end) - np.maximum(start, first), 0)
        return overlaps

    def reader(self, images_NCHW: Array) -> Reader:
        def read(index_B: Array, aim: Array) -> Array:
            # where, not a product: nothing outside the mask reaches the agent, not even as NaN.
            return np.where(aim[:, None], images_NCHW[index_B] * np.float32(1 / 255), np.float32(0))

        return read

    def footprint(self, aim: Array, shape: Shape) -> Array:
        return aim

    def footprints(self, num_envs: int, horizon: int, shape: Shape) -> Footprints:
        return Bitmaps(num_envs, shape[1:])

    def delivered(self, aim: Array, shape: Shape) -> Array:
        delivered: Array = aim.sum((1, 2))
        return delivered

    def executed_action(self, action: Array, aim: Array, shape: Shape) -> Array:
        if self.cell > 1:
            aim = aim[:, :: self.cell, :: self.cell]
        return aim.astype(np.float32)

    def paint(self, canvas_NCHW: Array, grain_NHW: Array, rows_B: Array, glimpse: Array, aim: Array) -> None:
        canvas_NCHW[rows_B] = np.where(aim[:, None], glimpse, canvas_NCHW[rows_B])
        grain_NHW[rows_B] = np.where(aim, np.uint8(1), grain_NHW[rows_B])


def k_best(scores_BP: Array, count_B: Array) -> Array:
    """The `count_B` highest of each row, as booleans (B, P); among equals the first.

    >>> k_best(np.array([[1.0, 3.0, 3.0, 3.0]]), np.array([2])).astype(int).tolist()
    [[0, 1, 1, 0]]
    """
    scores = np.asarray(scores_BP)
    count_B = np.clip(count_B, 0, scores.shape[1])
    best = np.zeros(scores.shape, bool)
    for count in np.unique(count_B):
        rows = count_B == count
        if count == 0:
            continue
        some = scores[rows]
        last = np.partition(some, scores.shape[1] - count, axis=1)[:, scores.shape[1] - count][:, None]
        above, tied = some > last, some == last
        spare = count - above.sum(1, keepdims=True)
        if (tied.sum(1, keepdims=True) > spare).any():
            tied &= tied.cumsum(1) <= spare
        best[rows] = above | tied
    return best


@dataclass(frozen=True)
class Thumbnail(Sensor):
    """The whole image as block means, with as many values as the room allows: the low-resolution floor.

    It touches everything, so it only makes sense under a budget of delivered values. The glimpse shows each
    block's mean on all of its pixels. The action (one number) is ignored.
    """

    fixates: ClassVar[bool] = False

    def action_space(self, shape: Shape) -> spaces.Box:
        return spaces.Box(-1.0, 1.0, (1,), np.float32)

    def glimpse_shape(self, shape: Shape) -> tuple[int, ...]:
        return shape

    def aim(self, action: Array, shape: Shape, room_B: Array, boxes_B4: Array | None = None) -> Array:
        """Blocks (rows, columns) of each thumbnail: int64 (B, 2), in the image's aspect as far as it goes."""
        _, height, width = shape
        room_B = np.maximum(room_B, 1)
        rows = np.floor(np.sqrt(room_B * height / width) + 1e-9).clip(1, np.minimum(room_B, height))
        columns = np.floor(room_B / rows).clip(1, width)
        columns = np.minimum(columns, np.ceil(rows * width / height))
        return np.stack([rows, columns], 1).astype(np.int64)

    def reader(self, images_NCHW: Array) -> Reader:
        shape: Shape = images_NCHW.shape[1:]

        def read(index_B: Array, aim: Array) -> Array:
            glimpse = np.empty((len(index_B), *shape), np.float32)
            for blocks in np.unique(aim, axis=0):
                here = (aim == blocks).all(1)
                down, across = (_block_mean(n, k) for n, k in zip(shape[1:], blocks, strict=True))
                glimpse[here] = down @ (images_NCHW[index_B[here]] * np.float32(1 / 255)) @ across.T
            return np.minimum(glimpse, 1, out=glimpse)

        return read

    def footprint(self, aim: Array, shape: Shape) -> Array:
        return np.ones((len(aim), *shape[1:]), bool)

    def footprints(self, num_envs: int, horizon: int, shape: Shape) -> Footprints:
        return Bitmaps(num_envs, shape[1:], make=partial(self.footprint, shape=shape))

    def delivered(self, aim: Array, shape: Shape) -> Array:
        delivered: Array = aim.prod(1)
        return delivered

    def executed_action(self, action: Array, aim: Array, shape: Shape) -> Array:
        return action

    def paint(self, canvas_NCHW: Array, grain_NHW: Array, rows_B: Array, glimpse: Array, aim: Array) -> None:
        grain_B = (-(-np.array(grain_NHW.shape[1:]) // aim)).max(1).clip(max=UNSEEN - 1).astype(np.uint8)[:, None, None]
        coarser_BHW = grain_NHW[rows_B] >= grain_B
        canvas_NCHW[rows_B] = np.where(coarser_BHW[:, None], glimpse, canvas_NCHW[rows_B])
        grain_NHW[rows_B] = np.where(coarser_BHW, grain_B, grain_NHW[rows_B])


KINDS: dict[str, type[Sensor]] = {"window": Window, "crop": Crop, "mask": Mask, "thumbnail": Thumbnail}
"""The kinds of sensor by name, as plain data has them."""


def _block_mean(length: int, blocks: int) -> Array:
    """The matrix (length, length) that replaces each entry by the mean of its block."""
    block = np.arange(length) * blocks // length
    same = (block[:, None] == block).astype(np.float32)
    mean: Array = same / same.sum(1, keepdims=True)
    return mean
