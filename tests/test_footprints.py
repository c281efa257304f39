"""Footprints: every way of counting the union agrees with a bitmap, step by step, env by env."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from glimpsebench.envs.footprints import Footprints, Squares
from glimpsebench.envs.sensors import Crop, Mask, Sensor, Shape, Thumbnail, Window

Array = NDArray[Any]

SENSORS = [
    Window(1),
    Window(3),
    Window(4, border="zero"),
    Window(4, border="inside"),
    Window(2, scales=3),
    Window(3, scales=2, border="zero"),
    Window(12),
    Crop(1),
    Crop(4),
    Mask(),
    Mask(3, at_once=2),
    Thumbnail(),
]


class Bitmap:
    """The union as a set of pixels: what `Footprints` must agree with."""

    def __init__(self, num_envs: int, shape: Shape) -> None:
        self.union_BHW = np.zeros((num_envs, *shape[1:]), bool)
        self.count_B = np.zeros(num_envs, int)

    def check(self, footprints: Footprints, aim: Array, print_BHW: Array, rng: np.random.Generator) -> None:
        """Let both grow by one step of some envs, then empty some."""
        expected = (print_BHW & ~self.union_BHW).sum((1, 2))
        np.testing.assert_array_equal(footprints.grow(aim), expected)
        together = (self.count_B == self.count_B[0]).all() and rng.random() < 0.5
        envs = np.arange(len(aim)) if together else (rng.random(len(aim)) < 0.7).nonzero()[0]
        if together:
            footprints.keep(aim, slice(None), int(self.count_B[0]))
        else:
            footprints.keep(aim, envs, self.count_B[envs])
        self.union_BHW[envs] |= print_BHW[envs]
        self.count_B[envs] += 1
        if rng.random() < 0.1:
            footprints.clear(slice(None))
            self.union_BHW[:], self.count_B[:] = False, 0
        else:
            gone = ((self.count_B >= 5) | (rng.random(len(aim)) < 0.1)).nonzero()[0]
            footprints.clear(gone)
            self.union_BHW[gone], self.count_B[gone] = False, 0


@settings(deadline=None, max_examples=80)
@given(
    sensor=st.sampled_from(SENSORS),
    height=st.integers(1, 14),
    width=st.integers(1, 14),
    num_envs=st.integers(1, 5),
    seed=st.integers(0, 9999),
)
def test_growth_is_that_of_a_bitmap(sensor: Sensor, height: int, width: int, num_envs: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    shape = (1, height, width)
    footprints, bitmap = sensor.footprints(num_envs, 5, shape), Bitmap(num_envs, shape)
    for _ in range(12):
        action = rng.uniform(-1.2, 1.2, (num_envs, *sensor.action_space(shape).shape)).clip(-1, 1)
        room = rng.integers(0, height * width + 1, num_envs)
        aim = sensor.aim(action.astype(np.float32), shape, room)
        bitmap.check(footprints, aim, sensor.footprint(aim, shape), rng)


@pytest.mark.parametrize("side", [1, 2, 7, 63, 64, 65, 127, 130])
@pytest.mark.parametrize("inside", [True, False])
def test_squares_of_any_side_are_counted_exactly(side: int, inside: bool) -> None:
    """Sides around 64 and 128 are where the arithmetic changes its width."""
    rng = np.random.default_rng(side)
    height, width = side + 20, side + 33
    offset = 0 if inside else side // 3
    squares = Squares(4, 5, (height, width), side=side, offset=offset, always_inside=inside)
    bitmap = Bitmap(4, (1, height, width))
    low, high = (0, [21, 34]) if inside else (-side - 3, [height + side, width + side])
    rows, columns = np.arange(height), np.arange(width)
    for _ in range(15):
        aim = rng.integers(low, high, (4, 2))
        corner = aim - offset
        in_rows = (rows >= corner[:, :1]) & (rows < corner[:, :1] + side)
        in_columns = (columns >= corner[:, 1:]) & (columns < corner[:, 1:] + side)
        bitmap.check(squares, aim, in_rows[:, :, None] & in_columns[:, None, :], rng)


def test_two_squares_that_meet_in_a_corner() -> None:
    squares = Squares(1, 3, (6, 6), side=3)
    first, second = np.array([[1, 1]]), np.array([[2, 3]])
    assert squares.grow(first).tolist() == [9]
    squares.keep(first, slice(None), 0)
    assert squares.grow(first).tolist() == [0]
    assert squares.grow(second).tolist() == [7]
    squares.keep(second, slice(None), 1)
    assert squares.grow(np.array([[4, 4]])).tolist() == [2]  # of the 2×2 inside the image one row is new
    squares.clear(slice(None))
    assert squares.grow(np.array([[4, 4]])).tolist() == [4]
