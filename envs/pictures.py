"""Pictures for people: an image with what was seen of it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]
Box = tuple[int, int, int, int]

_FIRST, _LAST = np.array([255, 210, 0]), np.array([230, 30, 60])  # the scanpath runs from yellow to red


_LEVELS = " .:-=+*#%@"


def as_text(image_CHW: Array, mask_HW: Array, columns: int = 64) -> str:
    """The seen part of an image in characters, dark to bright; `·` where nothing was seen.

    >>> print(as_text(np.array([[[0, 255], [255, 0]]], np.uint8), np.array([[True, True], [True, False]])))
     @
    @·
    """
    step = -(-image_CHW.shape[2] // columns)
    grey_HW = image_CHW.mean(0)[::step, ::step]
    level_HW = (grey_HW * (len(_LEVELS) - 1) / 255 + 0.5).astype(int)
    rows = zip(level_HW, mask_HW[::step, ::step], strict=True)
    return "\n".join("".join(_LEVELS[n] if seen else "·" for n, seen in zip(*row, strict=True)) for row in rows)


def picture(image_CHW: Array, mask_HW: Array, boxes: Sequence[Box], side: int = 160) -> Array:
    """The image enlarged, the unseen part dimmed, each glimpse framed, a path from each to the next.

    Frames and path run from yellow (first) to red (last).

    Args:
        image_CHW: uint8; one channel is grey, three are RGB, of others the mean is shown.
        mask_HW: boolean, what was seen.
        boxes: (top, left, bottom, right) of each glimpse, in order.
        side: the least length of the longer side of the result, pixels.

    Returns:
        uint8 (height, width, 3).
    """
    channels, height, width = image_CHW.shape
    rgb = image_CHW if channels == 3 else image_CHW.mean(0, keepdims=True).repeat(3, 0)
    shade = np.where(mask_HW, 1.0, 0.35)
    tint = np.where(mask_HW, 0, 40)[..., None] * np.array([0.2, 0.5, 1.0])
    frame = (rgb.transpose(1, 2, 0) * shade[..., None] + tint).clip(0, 255).astype(np.uint8)
    factor = max(1, -(-side // max(height, width)))
    frame = frame.repeat(factor, 0).repeat(factor, 1)
    seen = [box for box in boxes if box[2] > box[0]]
    colours = [_FIRST + (_LAST - _FIRST) * (n / max(len(seen) - 1, 1)) for n in range(len(seen))]
    for (top, left, bottom, right), colour in zip(seen, colours, strict=True):
        y0, x0, y1, x1 = top * factor, left * factor, bottom * factor - 1, right * factor - 1
        frame[y0 : y1 + 1, [x0, x1]] = colour
        frame[[y0, y1], x0 : x1 + 1] = colour
    centres = [((y0 + y1) * factor // 2, (x0 + x1) * factor // 2) for y0, x0, y1, x1 in seen]
    for start, end, colour in zip(centres, centres[1:], colours[1:], strict=False):
        rows, columns = np.linspace(start, end, 2 * max(frame.shape)).round().astype(int).T
        frame[rows, columns] = colour
    return frame


def box_of(print_HW: Array) -> Box:
    """The bounding box (top, left, bottom, right) of a footprint; all 0 for an empty one."""
    rows, columns = np.flatnonzero(print_HW.any(1)), np.flatnonzero(print_HW.any(0))
    if not len(rows):
        return 0, 0, 0, 0
    return int(rows[0]), int(columns[0]), int(rows[-1]) + 1, int(columns[-1]) + 1


def sheet(pictures: Sequence[Array], columns: int, gap: int = 4) -> Array:
    """Pictures of any sizes on one white page, `columns` to a row: uint8 (height, width, 3)."""
    height = max(p.shape[0] for p in pictures) + gap
    width = max(p.shape[1] for p in pictures) + gap
    rows = -(-len(pictures) // columns)
    page = np.full((rows * height + gap, columns * width + gap, 3), 255, np.uint8)
    for number, one in enumerate(pictures):
        top, left = gap + number // columns * height, gap + number % columns * width
        page[top : top + one.shape[0], left : left + one.shape[1]] = one
    return page
