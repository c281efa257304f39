"""Localisation: did the selection land on the object that the label names? Functions over per-image arrays.

Only tasks that know their objects have these. Shapes: N images, H×W; selections are boolean (N, H, W) or the
same packed by `numpy.packbits` per image (N, ⌈HW/8⌉). Fixations are (x, y) in [-1, 1], y down.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]


def unpacked(selection: Array, shape: tuple[int, int]) -> Array:
    """Selections as boolean (N, H, W), whether they come packed or not.

    >>> unpacked(np.array([[0b10010000]], np.uint8), (2, 2)).tolist()
    [[[True, False], [False, True]]]
    """
    if selection.dtype == np.uint8 and selection.ndim == 2:
        bits = np.unpackbits(selection, axis=1, count=shape[0] * shape[1])
        return bits.reshape(-1, *shape).astype(bool)
    return selection.astype(bool).reshape(-1, *shape)


def overlap(selection: Array, objects_NHW: Array) -> Array:
    """How many of the selected pixels lie on the object: int64 (N,).

    >>> overlap(np.array([[[1, 1, 0]]], bool), np.array([[[0, 1, 1]]], bool)).tolist()
    [1]
    """
    count_N: Array = (unpacked(selection, objects_NHW.shape[1:]) & objects_NHW).sum((1, 2))
    return count_N


def intersection_over_union(selection: Array, objects_NHW: Array) -> Array:
    """IoU of selection and object, in [0, 1] (N,); NaN where both are empty.

    >>> intersection_over_union(np.array([[[1, 1, 0]]], bool), np.array([[[0, 1, 0]]], bool)).tolist()
    [0.5]
    """
    chosen = unpacked(selection, objects_NHW.shape[1:])
    return ratio(overlap(chosen, objects_NHW), (chosen | objects_NHW).sum((1, 2)))


def share_on_object(selection: Array, objects_NHW: Array) -> Array:
    """The share of the touched pixels that lie on the object, in [0, 1] (N,); NaN where nothing is touched.

    By chance it is the object's share of the image, `objects_NHW.mean((1, 2))`.

    >>> share_on_object(np.array([[[1, 1, 1, 1]]], bool), np.array([[[0, 1, 0, 0]]], bool)).tolist()
    [0.25]
    """
    chosen = unpacked(selection, objects_NHW.shape[1:])
    return ratio(overlap(chosen, objects_NHW), chosen.sum((1, 2)))


def pointing_game(points_N2: Array, objects_NHW: Array) -> Array:
    """Whether each point, a pixel (row, column), lies on the object: boolean (N,); its mean is the score.

    Points come from `pixel_of` (the first fixation) or `peak_of` (the best-scored pixel).

    >>> pointing_game(np.array([[0, 1]]), np.array([[[0, 1], [0, 0]]], bool)).tolist()
    [True]
    """
    hit: Array = objects_NHW[np.arange(len(objects_NHW)), points_N2[:, 0], points_N2[:, 1]].astype(bool)
    return hit


def pixel_of(fixation_N2: Array, shape: tuple[int, int]) -> Array:
    """The pixel (row, column) under each fixation (x, y): int64 (N, 2), inside the image.

    >>> pixel_of(np.array([[-1.0, -1.0], [0.0, 0.5], [1.0, 1.0]]), (4, 6)).tolist()
    [[0, 0], [3, 3], [3, 5]]
    """
    size = np.array(shape)
    pixel: Array = np.floor((fixation_N2[:, ::-1] + 1) / 2 * size).astype(np.int64).clip(0, size - 1)
    return pixel


def peak_of(scores_NHW: Array) -> Array:
    """The pixel (row, column) of the highest score, the first in raster order among equals: int64 (N, 2).

    >>> peak_of(np.array([[[0, 2], [5, 5]]])).tolist()
    [[1, 0]]
    """
    count, _, width = scores_NHW.shape
    flat = scores_NHW.reshape(count, -1).argmax(1)
    return np.stack([flat // width, flat % width], axis=1)


def ratio(part: Array, whole: Array) -> Array:
    """part / whole, NaN where whole is 0.

    >>> ratio(np.array([1, 0]), np.array([2, 0])).tolist()
    [0.5, nan]
    """
    found: Array = np.divide(part, whole, out=np.full(part.shape, np.nan), where=whole > 0)
    return found
