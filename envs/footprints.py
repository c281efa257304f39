"""The exact number of source pixels behind what an env has returned: the union of footprints, env by env.

A bitmap per env would cost H·W; windows and crops have structure that makes the union's growth cheap at any
image size. Each class answers one question, `grow`: how many new pixels would these aims touch? `keep` then
remembers the aims that were revealed. All of them agree with a brute-force bitmap (tests/test_sensors.py).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]


class Footprints(ABC):
    """The union of footprints of each of B envs."""

    @abstractmethod
    def grow(self, aim: Array) -> Array:
        """Pixels (B,) that each env's aim would add to its union."""

    @abstractmethod
    def keep(self, aim: Array, revealed_B: Array, step_B: Array) -> None:
        """Add the aims of the envs in `revealed_B` (boolean), which are at `step_B`, to their unions."""

    @abstractmethod
    def clear(self, envs_B: Array) -> None:
        """Empty the unions of the envs in `envs_B` (boolean)."""


class Squares(Footprints):
    """Unions of equal squares, by the overlap of the new square with each earlier one.

    A row of the new square is one machine word; an earlier square at distance (dy, dx) covers the same columns
    of every row that it meets, so it is one table look-up for its rows and one for its columns. The union is
    an `or` over the earlier squares, its size a popcount: no step depends on H×W.

    Args:
        side: the squares' side, pixels.
        offset: how far the square's corner lies above and left of the aim.
        always_inside: no square can leave the image (saves the clipping).
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
        self.words = -(-side // 64)
        # Far away: an earlier square that does not exist overlaps nothing.
        self.far = np.int64(-(10**9))
        self.corners_BT2 = np.full((num_envs, horizon, 2), self.far)
        self.taken = 0
        shift = np.arange(-side, side + 1)
        cell = np.arange(side)
        # meets[side + d, i]: does line i of the new square lie in an earlier one that starts d lines after it?
        meets = (cell >= shift[:, None]) & (cell < shift[:, None] + side)
        self.meets = meets
        self.column_bits = _pack(meets, self.words)
        self.row_words = np.where(meets, np.uint64(2**64 - 1), np.uint64(0))

    def grow(self, aim: Array) -> Array:
        side = self.side
        if self.taken == 0 and self.always_inside:
            return np.full(len(aim), side * side)
        shift_BT2 = self.corners_BT2[:, : self.taken] - aim[:, None]
        np.maximum(shift_BT2, -side, out=shift_BT2)
        np.minimum(shift_BT2, side, out=shift_BT2)
        shift_BT2 += side
        rows_BTg = self.row_words[shift_BT2[..., 0]]
        columns_BTw = self.column_bits[shift_BT2[..., 1]]
        added = np.zeros(len(aim), np.int64)
        for word in range(self.words):
            covered_Bg = np.bitwise_or.reduce(rows_BTg & columns_BTw[:, :, word, None], axis=1)
            if self.always_inside:
                added -= np.bitwise_count(covered_Bg).sum(1, dtype=np.int64)
            else:
                rows_Bg, columns_Bw = self._inside(aim)
                own_Bg = np.where(rows_Bg, columns_Bw[:, word, None], np.uint64(0))
                added += np.bitwise_count(own_Bg & ~covered_Bg).sum(1, dtype=np.int64)
        return added + side * side if self.always_inside else added

    def _inside(self, aim: Array) -> tuple[Array, Array]:
        """Which rows (B, g, boolean) and columns (B, words, bits) of the new squares lie in the image."""
        corner = aim - self.offset
        cell = np.arange(self.side)
        rows = corner[:, :1] + cell
        columns = corner[:, 1:] + cell
        in_columns = (columns >= 0) & (columns < self.size[1])
        return (rows >= 0) & (rows < self.size[0]), _pack(in_columns, self.words)

    def keep(self, aim: Array, revealed_B: Array, step_B: Array) -> None:
        envs = revealed_B.nonzero()[0]
        if len(envs):
            self.corners_BT2[envs, step_B[envs]] = aim[envs]
            self.taken = max(self.taken, int(step_B[envs].max()) + 1)

    def clear(self, envs_B: Array) -> None:
        self.corners_BT2[envs_B] = self.far
        if envs_B.all():
            self.taken = 0


def _pack(bits: Array, words: int) -> Array:
    """Booleans (…, n ≤ 64·words) as unsigned words (…, words), lowest bit first."""
    padded = np.zeros((*bits.shape[:-1], words * 64), np.uint64)
    padded[..., : bits.shape[-1]] = bits
    split = padded.reshape(*bits.shape[:-1], words, 64)
    packed: Array = np.bitwise_or.reduce(split << np.arange(64, dtype=np.uint64), axis=-1)
    return packed


class Lattices(Footprints):
    """Unions of lattices (rows × columns, each a short list of indices), as bilinear sampling touches them."""

    def __init__(
        self, num_envs: int, horizon: int, lines: int, lattice: Callable[[Array], tuple[Array, Array]]
    ) -> None:
        self.lattice = lattice
        self.rows_BTR = np.full((num_envs, horizon, lines), -1)
        self.columns_BTR = np.full((num_envs, horizon, lines), -1)
        self.taken = 0

    def grow(self, aim: Array) -> Array:
        rows_BR, columns_BR = (_distinct(line) for line in self.lattice(aim))
        new = (rows_BR >= 0)[:, :, None] & (columns_BR >= 0)[:, None, :]
        for step in range(self.taken):
            row_met = (rows_BR[:, :, None] == self.rows_BTR[:, step, None, :]).any(-1)
            column_met = (columns_BR[:, :, None] == self.columns_BTR[:, step, None, :]).any(-1)
            new &= ~(row_met[:, :, None] & column_met[:, None, :])
        added: Array = new.sum((1, 2))
        return added

    def keep(self, aim: Array, revealed_B: Array, step_B: Array) -> None:
        envs = revealed_B.nonzero()[0]
        if len(envs):
            rows, columns = self.lattice(aim[envs])
            self.rows_BTR[envs, step_B[envs]], self.columns_BTR[envs, step_B[envs]] = rows, columns
            self.taken = max(self.taken, int(step_B[envs].max()) + 1)

    def clear(self, envs_B: Array) -> None:
        self.rows_BTR[envs_B] = -1
        self.columns_BTR[envs_B] = -1
        if envs_B.all():
            self.taken = 0


def _distinct(lines_BR: Array) -> Array:
    """Each row sorted, repeats replaced by −1."""
    ordered = np.sort(lines_BR, axis=1)
    ordered[:, 1:][ordered[:, 1:] == ordered[:, :-1].copy()] = -1
    return ordered


class Bitmaps(Footprints):
    """Unions of arbitrary pixel sets, one boolean image per env."""

    def __init__(
        self, num_envs: int, size: tuple[int, int], make: Callable[[Array], Array] = lambda aim: aim
    ) -> None:
        self.make = make
        self.union_BHW = np.zeros((num_envs, *size), bool)

    def grow(self, aim: Array) -> Array:
        added: Array = (self.make(aim) & ~self.union_BHW).sum((1, 2))
        return added

    def keep(self, aim: Array, revealed_B: Array, step_B: Array) -> None:
        self.union_BHW[revealed_B] |= self.make(aim)[revealed_B]

    def clear(self, envs_B: Array) -> None:
        self.union_BHW[envs_B] = False
