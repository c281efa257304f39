"""Random canvases: what judges and readers learn from, and what their cards are measured on.

A canvas of every kind that a sensor can leave, at every budget: the kind and the budget are drawn for each image, so
that all kinds are mixed within a batch. None of it comes from a contender; maps that follow the image's own brightness
and edges, with smooth noise over them, stand for the score maps of real selectors.

Shapes: B batch, C H W image. Images are uint8; canvases float32 in [0, 1], 0 where nothing was shown; masks boolean.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from glimpsebench.agents.common.nets import masked_canvas, to_float
from glimpsebench.envs.footprints import inside
from glimpsebench.envs.sensors import UNSEEN, Crop, Sensor, Shape, Thumbnail, Window, k_best

Array = NDArray[Any]
Canvases = tuple[Tensor, Tensor]
"""Canvases (B, C, H, W) and masks (B, 1, H, W)."""

SMALLEST = 0.007
"""The least budget that is drawn: a little below the least of the grid."""


def random_budgets(count: int, rng: np.random.Generator) -> Array:
    """Touched fractions, (count,): uniform in their logarithm, from `SMALLEST` to the whole image."""
    return np.exp(rng.uniform(np.log(SMALLEST), 0, count))


def best_pixels(score_BHW: Tensor, budget_B: Array) -> Tensor:
    """Masks (B, H, W) of the best-scored share of pixels (or cells), one at least."""
    flat_BP = score_BHW.reshape(len(score_BHW), -1).numpy()
    counts_B = np.maximum(1, np.floor(budget_B * flat_BP.shape[1] + 1e-9).astype(int))
    return torch.from_numpy(k_best(flat_BP, counts_B)).reshape(score_BHW.shape)


def smooth_noise(count: int, size: tuple[int, int], rng: np.random.Generator) -> Tensor:
    """Normal noise (count, H, W) that is smooth at a scale drawn for all."""
    coarse = int(rng.integers(2, 14))
    noise = torch.from_numpy(rng.standard_normal((count, 1, coarse, coarse), np.float32))
    return F.interpolate(noise, size=size, mode="bilinear", align_corners=False)[:, 0]


def uniform_noise(*shape: int, rng: np.random.Generator) -> Tensor:
    return torch.from_numpy(rng.random(shape, np.float32))


def pixels(image_BCHW: Tensor, budget_B: Array, rng: np.random.Generator) -> Tensor:
    """Scattered pixels."""
    return best_pixels(uniform_noise(*image_BCHW[:, 0].shape, rng=rng), budget_B)


def cells(image_BCHW: Tensor, budget_B: Array, rng: np.random.Generator) -> Tensor:
    """Scattered cells of a grid, all of one side."""
    count, height, width = image_BCHW[:, 0].shape
    side = int(rng.integers(2, max(3, min(height, width) // 4) + 1))
    chosen = best_pixels(uniform_noise(count, -(-height // side), -(-width // side), rng=rng), budget_B)
    return chosen.repeat_interleave(side, 1).repeat_interleave(side, 2)[:, :height, :width]


def blobs(image_BCHW: Tensor, budget_B: Array, rng: np.random.Generator) -> Tensor:
    """The best pixels of smooth noise."""
    return best_pixels(smooth_noise(len(image_BCHW), (image_BCHW.shape[2], image_BCHW.shape[3]), rng), budget_B)


def score_maps(image_BCHW: Tensor, budget_B: Array, rng: np.random.Generator) -> Tensor:
    """The best pixels of maps as selectors make them: brightness or edges, blurred or not, with smooth noise."""
    map_B1HW = image_BCHW.mean(1, keepdim=True)
    if rng.random() < 0.75:
        map_B1HW = blurred(map_B1HW, int(rng.choice([3, 5, 9])))
    if rng.random() < 0.4:
        across = F.pad(map_B1HW.diff(dim=3), (0, 1, 0, 0))
        down = F.pad(map_B1HW.diff(dim=2), (0, 0, 0, 1))
        map_B1HW = blurred((across**2 + down**2).sqrt(), int(rng.choice([1, 5])))
    map_BHW = map_B1HW[:, 0] / (map_B1HW.flatten(1).std(1)[:, None, None] + 1e-6)
    sign = -1 if rng.random() < 0.15 else 1
    weight_B11 = torch.from_numpy(np.exp(rng.uniform(-2.5, 1.5, (len(map_BHW), 1, 1))).astype(np.float32))
    map_BHW = sign * map_BHW + weight_B11 * smooth_noise(len(map_BHW), (map_BHW.shape[1], map_BHW.shape[2]), rng)
    if rng.random() < 0.3:
        map_BHW = map_BHW + torch.from_numpy(rng.standard_normal(map_BHW.shape, np.float32)) / 2
    return best_pixels(map_BHW, budget_B)


def blurred(map_B1HW: Tensor, side: int) -> Tensor:
    return F.avg_pool2d(map_B1HW, side, 1, side // 2) if side > 1 else map_B1HW


def discs(image_BCHW: Tensor, budget_B: Array, rng: np.random.Generator) -> Tensor:
    """The pixels nearest to one place, which is the centre in four of ten images."""
    count, height, width = image_BCHW[:, 0].shape
    place_B2 = rng.uniform(-1, 1, (count, 2)) * (rng.random((count, 1)) >= 0.4)
    y, x = torch.linspace(-1, 1, height)[:, None], torch.linspace(-1, 1, width)
    y_B11, x_B11 = (torch.from_numpy(place_B2[:, axis, None, None].astype(np.float32)) for axis in (0, 1))
    return best_pixels(-((y - y_B11) ** 2 + (x - x_B11) ** 2), budget_B)


def windows(image_BCHW: Tensor, budget_B: Array, rng: np.random.Generator) -> Tensor:
    """Unions of windows of one side within each budget, one window at least: wide or close about one place."""
    shape: Shape = (image_BCHW.shape[1], image_BCHW.shape[2], image_BCHW.shape[3])
    count, least = len(image_BCHW), min(shape[1:])
    side = int(rng.integers(2, max(3, least // 3) + 1))
    window, most = Window(side), int(np.clip(shape[1] * shape[2] / side**2, 4, 40))
    rng.uniform(-1, 1, (count, most, 2))  # unused: without it the same seed would not make the shipped judges again
    middle_B12 = rng.uniform(-1, 1, (count, 1, 2)) * (rng.random((count, 1, 1)) < 0.7)
    spread_B11 = np.exp(rng.uniform(-2, 1, (count, 1, 1)))
    fixation_BT2 = np.clip(middle_B12 + spread_B11 * rng.standard_normal((count, most, 2)), -1, 1)
    footprints = window.footprint(window.aim(fixation_BT2.reshape(-1, 2), shape, np.zeros(0)), shape)
    union_BTHW = np.logical_or.accumulate(footprints.reshape(count, most, *shape[1:]), axis=1)
    within_BT = union_BTHW.mean((2, 3)) <= np.maximum(budget_B, side * side / (shape[1] * shape[2]))[:, None]
    return torch.from_numpy(union_BTHW[np.arange(count), np.maximum(within_BT.sum(1) - 1, 0)])


MASKS: dict[str, Callable[[Tensor, Array, np.random.Generator], Tensor]] = {
    "pixels": pixels,
    "cells": cells,
    "blobs": blobs,
    "score maps": score_maps,
    "discs": discs,
    "windows": windows,
}
"""Kinds that show pixels as they are: (images (B, C, H, W), budgets (B,), rng) → masks (B, H, W)."""


def painted(images_BCHW: Array, sensor: Sensor, action: Array, budget_B: Array) -> Canvases:
    """What a sensor that resamples leaves on a canvas after one glimpse, painted as the env paints it."""
    count, shape = len(images_BCHW), images_BCHW.shape[1:]
    aim = sensor.aim(action, shape, np.floor(budget_B * shape[1] * shape[2]))
    canvas = np.zeros((count, *shape), np.float32)
    grain = np.full((count, *shape[1:]), UNSEEN, np.uint8)
    sensor.paint(canvas, grain, np.arange(count), sensor.reader(images_BCHW)(np.arange(count), aim), aim)
    return torch.from_numpy(canvas), torch.from_numpy(grain != UNSEEN)[:, None]


def crops(images_BCHW: Array, budget_B: Array, rng: np.random.Generator) -> Canvases:
    """One resampled crop at a random place, its scale by the budget."""
    scale = torch.from_numpy(np.sqrt(budget_B))
    action = np.column_stack([rng.uniform(-1, 1, (len(budget_B), 2)), Crop().zoom_of(scale).numpy()])
    return painted(images_BCHW, Crop(int(rng.integers(6, 25))), action, budget_B)


def thumbnails(images_BCHW: Array, budget_B: Array, rng: np.random.Generator) -> Canvases:
    """The whole image at the resolution that the budget of values allows."""
    return painted(images_BCHW, Thumbnail(), np.zeros((len(budget_B), 1)), budget_B)


def retinas(images_BCHW: Array, budget_B: Array, rng: np.random.Generator) -> Canvases:
    """One window of two or three scales at a random place; its size does not follow the budget."""
    least = min(images_BCHW.shape[2:])
    window = Window(int(rng.integers(2, max(3, least // 4) + 1)), int(rng.integers(2, 4)))
    return painted(images_BCHW, window, rng.uniform(-1, 1, (len(budget_B), 2)), budget_B)


PAINTED: dict[str, Callable[[Array, Array, np.random.Generator], Canvases]] = {
    "crops": crops,
    "thumbnails": thumbnails,
    "retinas": retinas,
}
"""Kinds that show resampled values: (images uint8 (B, C, H, W), budgets (B,), rng) → canvases and masks."""

SHARES = {
    "pixels": 0.14,
    "cells": 0.12,
    "blobs": 0.12,
    "score maps": 0.2,
    "discs": 0.06,
    "windows": 0.16,
    "crops": 0.1,
    "thumbnails": 0.05,
    "retinas": 0.05,
}
"""How often each kind is drawn."""


def of_kind(kind: str, images_BCHW: Array, budget_B: Array, rng: np.random.Generator) -> Canvases:
    """Canvases of one kind."""
    if kind in PAINTED:
        return PAINTED[kind](images_BCHW, budget_B, rng)
    image_BCHW = to_float(images_BCHW)
    mask_B1HW = MASKS[kind](image_BCHW, budget_B, rng)[:, None]
    return masked_canvas(image_BCHW, mask_B1HW), mask_B1HW


def random_canvases(
    images_BCHW: Array, whole: float, rng: np.random.Generator, boxes_B4: Array | None = None
) -> Canvases:
    """Canvases of random kinds at random budgets; a share `whole` of them shows the whole image.

    Args:
        boxes_B4: where padded images have their own pixels (`Split.boxes_N4`): nothing is shown beside these.
    """
    count = len(images_BCHW)
    budget_B = random_budgets(count, rng)
    kinds = list(SHARES)
    kind_B = rng.choice(len(kinds), count, p=list(SHARES.values()))
    canvas_BCHW = to_float(images_BCHW)
    mask_B1HW = torch.ones(count, 1, *images_BCHW.shape[2:], dtype=torch.bool)
    whole_B = rng.random(count) < whole
    for number, kind in enumerate(kinds):
        rows = np.flatnonzero((kind_B == number) & ~whole_B)
        if len(rows):
            canvas_BCHW[rows], mask_B1HW[rows] = of_kind(kind, images_BCHW[rows], budget_B[rows], rng)
    if boxes_B4 is not None:
        mask_B1HW &= torch.from_numpy(inside(boxes_B4, images_BCHW.shape[2:]))[:, None]
        canvas_BCHW = masked_canvas(canvas_BCHW, mask_B1HW)
    return canvas_BCHW, mask_B1HW
