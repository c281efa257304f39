"""The exact number of source pixels behind what an env has returned: the union of footprints, env by env.

A bitmap per env would cost H·W; windows and crops have structure that makes the union's growth cheap at any
image size. Each class answers one question, `grow`: how many new pixels would these aims touch? `keep` then
remembers the aims that were revealed. All of them agree with a brute-force bitmap (tests/test_footprints.py).

Shapes: B envs, T steps, g rows of a square, R and L lines of a lattice.

Boxes are (top, left, height, width), pixels: the part of an image that is no padding, and all that is counted.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]
Envs = Array | slice  # which envs: their numbers, or the slice of all of them
Steps = Array | int  # at which step of its episode each of them is, or all of them are


def inside(boxes_B4: Array, size: tuple[int, int]) -> Array:
    """The pixels in each box: boolean (B, H, W)."""
    rows_BH, columns_BW = _lines_inside(boxes_B4, *(np.arange(n)[None] for n in size))
    return rows_BH[:, :, None] & columns_BW[:, None, :]


def _lines_inside(boxes_B4: Array, rows_BR: Array, columns_BL: Array) -> tuple[Array, Array]:
    """Which of these rows, and of these columns, pass through each box: boolean."""
    top, left, height, width = boxes_B4.T[:, :, None]
    return (rows_BR >= top) & (rows_BR < top + height), (columns_BL >= left) & (columns_BL < left + width)


class Footprints(ABC):
    """The union of footprints of each of B envs.

    Attributes:
        boxes_B4: the box in each env's image outside which nothing is counted, int64; None counts everything.
    """

    boxes_B4: Array | None = None

    @abstractmethod
    def grow(self, aim: Array) -> Array:
        """Pixels (B,) int64 that each env's aim would add to its union."""

    @abstractmethod
    def keep(self, aim: Array, envs: Envs, steps: Steps) -> None:
        """Add the aims of these envs, which are at these steps, to their unions; `aim` holds all B."""

    @abstractmethod
    def clear(self, envs: Envs) -> None:
        """Empty the unions of these envs."""


class Squares(Footprints):
    """Unions of equal squares, at a cost that depends neither on H×W nor on where they lie.

    Two equal squares that overlap share a corner of the newer one, so in each of its rows an earlier square
    covers a stretch from the left end or one from the right end. What the union covers of a row is therefore
    the longest stretch from the left and the longest from the right, and what lies outside the image is
    simply covered from the start.

    Args:
        num_envs: B.
        horizon: T, the most squares in a union.
        size: (H, W) of the image.
        side: g, the squares' side, pixels.
        offset: how far a square's corner lies above and left of its aim (row, column).
        always_inside: no square can leave the image (saves counting what lies outside).
    """

    def __init__(
        self,
        num_envs: int,
        horizon: int,
        size: tuple[int, int],
        *,
        side: int,
        offset: int = 0,
        always_inside: bool = False,
    ) -> None:
        self.size, self.side, self.offset, self.always_inside = size, side, offset, always_inside
        # A square that does not exist is far away: it overlaps nothing.
        self.far = -4 * side
        # Narrow arithmetic is the fast one; no distance between two aims is larger than this.
        self.kind = np.min_scalar_type(-max(size) - 8 * side)
        self.aims_2TB = np.full((2, horizon, num_envs), self.far, self.kind)
        self.taken = 0  # no env has more squares than this
        self.rows_g1 = np.arange(side, dtype=self.kind)[:, None]
        self.ends_211 = np.array([-1, 1], self.kind)[:, None, None]

    def grow(self, aim: Array) -> Array:
        side = self.side
        always_inside = self.always_inside and self.boxes_B4 is None
        if self.taken == 0 and always_inside:
            return np.full(len(aim), side * side)
        aim_2B = aim.T.astype(self.kind)
        shift_2TB = self.aims_2TB[:, : self.taken] - aim_2B[:, None]
        np.maximum(shift_2TB, -side, out=shift_2TB)
        np.minimum(shift_2TB, side, out=shift_2TB)
        down_TB, across_TB = shift_2TB
        # Which rows of the new square an earlier one covers. Read as unsigned, a row above the earlier square
        # is a huge number, so that one comparison does for both ends.
        row_TgB = self.rows_g1 - down_TB[:, None]
        covers_TgB = row_TgB.view(f"u{row_TgB.itemsize}") < side
        # How far it reaches into them from their left end, or from their right end.
        away_2TB = across_TB * self.ends_211
        reach_2TB = np.where(away_2TB >= 0, side - away_2TB, 0)
        stretch_2gB = (covers_TgB * reach_2TB[:, :, None]).max(1, initial=0)
        if not always_inside:
            self._cover_outside(aim_2B, stretch_2gB)
        # Where the two stretches meet or overlap, they cover the row.
        covered_gB = np.minimum(stretch_2gB[0] + stretch_2gB[1], side)
        new_B: Array = side * side - covered_gB.sum(0, dtype=np.int64)
        return new_B

    def _cover_outside(self, aim_2B: Array, stretch_2gB: Array) -> None:
        """Lengthen the stretches to what lies outside the image, or its box, in place."""
        whole = np.array([[0, 0, *self.size]])
        top, left, height, width = (whole if self.boxes_B4 is None else self.boxes_B4).T.astype(self.kind)
        side = self.side
        top_B, first_B = aim_2B - self.offset
        beyond_2B = np.stack([left - first_B, first_B + side - left - width]).clip(0, side)
        np.maximum(stretch_2gB, beyond_2B[:, None], out=stretch_2gB)
        row_gB = top_B + self.rows_g1
        stretch_2gB[0, (row_gB < top) | (row_gB >= top + height)] = side

    def keep(self, aim: Array, envs: Envs, steps: Steps) -> None:
        for axis in (0, 1):
            self.aims_2TB[axis, steps, envs] = aim[envs, axis]
        self.taken = min(self.taken + 1, self.aims_2TB.shape[1])

    def clear(self, envs: Envs) -> None:
        self.aims_2TB[..., envs] = self.far
        if isinstance(envs, slice):
            self.taken = 0


class Lattices(Footprints):
    """Unions of lattices (rows × columns, each a short list of indices), as bilinear sampling touches them.

    Args:
        num_envs: B.
        horizon: T, the most lattices in a union.
        lines: the most rows, and the most columns, of one lattice.
        lattice: aim → rows (B, lines) and columns (B, lines); −1 stands for no line, repeats are allowed.
    """

    def __init__(
        self, num_envs: int, horizon: int, lines: int, lattice: Callable[[Array], tuple[Array, Array]]
    ) -> None:
        self.lattice = lattice
        self.rows_TBR = np.full((horizon, num_envs, lines), -1)
        self.columns_TBL = np.full((horizon, num_envs, lines), -1)
        self.taken = 0

    def grow(self, aim: Array) -> Array:
        rows_BR, columns_BL = (_distinct(line) for line in self.lattice(aim))
        new_BRL = (rows_BR >= 0)[:, :, None] & (columns_BL >= 0)[:, None, :]
        if self.boxes_B4 is not None:
            row_counts_BR, column_counts_BL = _lines_inside(self.boxes_B4, rows_BR, columns_BL)
            new_BRL &= row_counts_BR[:, :, None] & column_counts_BL[:, None, :]
        for old_rows_BR, old_columns_BL in zip(self.rows_TBR[: self.taken], self.columns_TBL, strict=False):
            row_met = (rows_BR[:, :, None] == old_rows_BR[:, None, :]).any(-1)
            column_met = (columns_BL[:, :, None] == old_columns_BL[:, None, :]).any(-1)
            new_BRL &= ~(row_met[:, :, None] & column_met[:, None, :])
        new_B: Array = new_BRL.sum((1, 2))
        return new_B

    def keep(self, aim: Array, envs: Envs, steps: Steps) -> None:
        self.rows_TBR[steps, envs], self.columns_TBL[steps, envs] = self.lattice(aim[envs])
        self.taken = min(self.taken + 1, len(self.rows_TBR))

    def clear(self, envs: Envs) -> None:
        self.rows_TBR[:, envs] = -1
        self.columns_TBL[:, envs] = -1
        if isinstance(envs, slice):
            self.taken = 0


def _distinct(lines_BR: Array) -> Array:
    """Each row sorted, repeats replaced by −1."""
    ordered = np.sort(lines_BR, axis=1)
    ordered[:, 1:][ordered[:, 1:] == ordered[:, :-1].copy()] = -1
    return ordered


class Bitmaps(Footprints):
    """Unions of arbitrary pixel sets, one boolean image per env.

    Args:
        num_envs: B.
        size: (H, W) of the image.
        make: aim → the pixels that it touches, boolean (B, H, W).
    """

    def __init__(self, num_envs: int, size: tuple[int, int], make: Callable[[Array], Array] = np.asarray) -> None:
        self.make = make
        self.union_BHW = np.zeros((num_envs, *size), bool)

    def grow(self, aim: Array) -> Array:
        new_BHW = self.make(aim) & ~self.union_BHW
        if self.boxes_B4 is not None:
            new_BHW &= inside(self.boxes_B4, self.union_BHW.shape[1:])
        new_B: Array = new_BHW.sum((1, 2))
        return new_B

    def keep(self, aim: Array, envs: Envs, steps: Steps) -> None:
        self.union_BHW[envs] |= self.make(aim[envs])

    def clear(self, envs: Envs) -> None:
        self.union_BHW[envs] = False
