"""Sensors: what is returned, what is counted and what is shown agree, pixel by pixel, borders included."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from torch.nn import functional

from glimpsebench.envs.errors import UsageError
from glimpsebench.envs.sensors import UNSEEN, Crop, Mask, Sensor, Shape, Thumbnail, Window, k_best

Array = NDArray[Any]

SENSORS = [
    Window(1),
    Window(3),
    Window(4, border="zero"),
    Window(5, border="zero"),
    Window(2, scales=2),
    Window(3, scales=3),
    Window(2, scales=3, border="zero"),
    Window(4, border="inside"),
    Window(2, scales=2, border="inside"),
    Window(9),
    Window(9, border="inside"),
    Crop(1),
    Crop(2),
    Crop(5),
    Crop(4, smallest=0.5),
    Mask(),
    Mask(threshold=0.0),
    Mask(at_once=3),
    Mask(2),
    Mask(3, threshold=-0.2),
    Mask(4, at_once=1),
    Thumbnail(),
]
SHAPES: list[Shape] = [(1, 6, 6), (1, 7, 9), (3, 8, 5), (4, 4, 4), (1, 1, 1), (1, 1, 7), (2, 6, 1)]

every_sensor = pytest.mark.parametrize("sensor", SENSORS, ids=str)
every_shape = pytest.mark.parametrize("shape", SHAPES, ids=str)


def some_actions(sensor: Sensor, shape: Shape, count: int, seed: int = 0) -> Array:
    """Random actions, some of them pushed to the ends of their range."""
    rng = np.random.default_rng(seed)
    action = rng.uniform(-1, 1, (count, *sensor.action_space(shape).shape))
    ends = rng.random(action.shape) < 0.25
    action[ends] = np.sign(action[ends])
    return action.astype(np.float32)


def some_aims(sensor: Sensor, shape: Shape, count: int, seed: int = 0) -> Array:
    room = np.random.default_rng(seed).integers(0, shape[1] * shape[2] + 1, count)
    return sensor.aim(some_actions(sensor, shape, count, seed), shape, room)


def brute_force_footprint(sensor: Sensor, shape: Shape, aim: Array) -> Array:
    """The pixels that change what one aim returns when they alone change, from dark, bright or random."""
    _, height, width = shape
    rng = np.random.default_rng(0)
    changed = np.zeros((height, width), bool)
    for base in (np.zeros(shape), np.full(shape, 255), rng.integers(0, 256, shape)):
        images = np.repeat(base[None], 1 + height * width, axis=0).astype(np.uint8)
        for pixel, (row, column) in enumerate(itertools.product(range(height), range(width))):
            images[1 + pixel, :, row, column] = 255 - images[1 + pixel, :, row, column]
        glimpses = sensor.reader(images)(np.arange(len(images)), aim[None].repeat(len(images), 0))
        differs = (glimpses[1:] != glimpses[0]).reshape(height * width, -1).any(1)
        changed |= differs.reshape(height, width)
    return changed


@every_shape
@every_sensor
def test_the_footprint_is_what_a_finite_difference_finds(sensor: Sensor, shape: Shape) -> None:
    aims = some_aims(sensor, shape, 12)
    footprints = sensor.footprint(aims, shape)
    assert footprints.shape == (12, *shape[1:])
    for aim, footprint in zip(aims, footprints, strict=True):
        np.testing.assert_array_equal(footprint, brute_force_footprint(sensor, shape, aim))


@settings(deadline=None, max_examples=60)
@given(
    sensor=st.sampled_from([Window(3), Window(2, 2, "zero"), Crop(1), Crop(3, smallest=0.01)]),
    action=st.lists(st.floats(-1, 1, width=32), min_size=3, max_size=3),
    height=st.integers(1, 8),
    width=st.integers(1, 8),
)
def test_the_footprint_of_any_action_is_what_a_finite_difference_finds(
    sensor: Sensor, action: list[float], height: int, width: int
) -> None:
    shape = (1, height, width)
    values = np.array([action], np.float32)[:, : sensor.action_space(shape).shape[0]]
    aim = sensor.aim(values, shape, np.array([height * width]))
    np.testing.assert_array_equal(sensor.footprint(aim, shape)[0], brute_force_footprint(sensor, shape, aim[0]))


@every_shape
@every_sensor
def test_a_glimpse_has_the_promised_shape_type_and_range(sensor: Sensor, shape: Shape) -> None:
    images = np.random.default_rng(1).integers(0, 256, (5, *shape), dtype=np.uint8)
    images[0] = 255
    index = np.array([0, 4, 2, 2])
    aims = some_aims(sensor, shape, 4)
    glimpses = sensor.reader(images)(index, aims)
    assert glimpses.shape == (4, *sensor.glimpse_shape(shape))
    assert glimpses.dtype == np.float32
    assert glimpses.min() >= 0
    assert glimpses.max() <= 1
    assert sensor.delivered(aims, shape).shape == (4,)


@every_sensor
def test_images_are_never_copied_and_may_be_strided_or_read_only(sensor: Sensor) -> None:
    plain = np.random.default_rng(1).integers(0, 256, (6, 3, 8, 9), dtype=np.uint8)
    turned = plain.transpose(0, 2, 3, 1).copy().transpose(0, 3, 1, 2)  # channels last in memory
    fixed = plain.copy()
    fixed.setflags(write=False)
    aims = some_aims(sensor, (3, 8, 9), 4)
    index = np.array([4, 0, 2, 2])
    expected = sensor.reader(plain)(index, aims)
    for images in (turned, fixed, plain[::2].repeat(1, 0)):
        other = sensor.reader(images)(index // 2 if len(images) == 3 else index, aims)
        np.testing.assert_array_equal(other, expected)
    read = sensor.reader(plain)
    plain[:] = 255 - plain
    np.testing.assert_array_equal(read(index, aims), sensor.reader(plain)(index, aims))


def paint(sensor: Sensor, canvas: Array, grain: Array, glimpse: Array, aim: Array) -> None:
    """One glimpse on one canvas."""
    sensor.paint(canvas[None], grain[None], np.zeros(1, int), glimpse[None], aim[None])


@every_shape
@every_sensor
def test_canvases_painted_together_are_those_painted_one_by_one(sensor: Sensor, shape: Shape) -> None:
    images = np.random.default_rng(2).integers(1, 256, (4, *shape), dtype=np.uint8)
    together = np.zeros((6, *shape), np.float32), np.full((6, *shape[1:]), UNSEEN, np.uint8)
    alone = together[0].copy(), together[1].copy()
    rows = np.array([5, 0, 3, 2])  # not all canvases, and not in order
    for step in range(3):
        aims = some_aims(sensor, shape, 4 * (step + 1))[-4:]
        glimpses = sensor.reader(images)(np.arange(4), aims)
        sensor.paint(*together, rows, glimpses, aims)
        for row, glimpse, aim in zip(rows, glimpses, aims, strict=True):
            paint(sensor, alone[0][row], alone[1][row], glimpse, aim)
    for one, other in zip(together, alone, strict=True):
        np.testing.assert_array_equal(one, other)
    assert (together[1][[1, 4]] == UNSEEN).all()  # the others stay as they are


@every_shape
@every_sensor
def test_the_canvas_shows_the_union_of_footprints_and_nothing_else(sensor: Sensor, shape: Shape) -> None:
    image = np.random.default_rng(2).integers(1, 256, (1, *shape), dtype=np.uint8)
    aims = some_aims(sensor, shape, 6)
    glimpses = sensor.reader(image)(np.zeros(6, int), aims)
    canvas, grain = np.zeros(shape, np.float32), np.full(shape[1:], UNSEEN, np.uint8)
    for glimpse, aim in zip(glimpses, aims, strict=True):
        paint(sensor, canvas, grain, glimpse, aim)
    union = sensor.footprint(aims, shape).any(0)
    np.testing.assert_array_equal(grain != UNSEEN, union)
    assert not canvas[:, ~union].any()
    assert np.isin(canvas[:, union], glimpses).all()  # nothing is shown that was not delivered
    if isinstance(sensor, (Window, Mask)):
        finest = grain == 1
        np.testing.assert_array_equal(canvas[:, finest], image[0][:, finest] * np.float32(1 / 255))


@every_sensor
def test_a_coarser_glimpse_never_hides_a_finer_one(sensor: Sensor) -> None:
    shape = (1, 12, 12)
    image = np.random.default_rng(3).integers(0, 256, (1, *shape), dtype=np.uint8)
    aims = some_aims(sensor, shape, 8)
    glimpses = sensor.reader(image)(np.zeros(8, int), aims)
    canvas, grain = np.zeros(shape, np.float32), np.full(shape[1:], UNSEEN, np.uint8)
    for glimpse, aim in zip(glimpses, aims, strict=True):
        before, old = canvas.copy(), grain.copy()
        paint(sensor, canvas, grain, glimpse, aim)
        assert (grain <= old).all()
        alone, fresh = np.zeros(shape, np.float32), np.full(shape[1:], UNSEEN, np.uint8)
        paint(sensor, alone, fresh, glimpse, aim)
        kept = fresh > old
        np.testing.assert_array_equal(canvas[:, kept], before[:, kept])
        np.testing.assert_array_equal(canvas[:, ~kept], np.where(fresh == UNSEEN, before, alone)[:, ~kept])


# Window


def test_a_window_lies_where_its_fixation_says() -> None:
    image = np.arange(36, dtype=np.uint8).reshape(1, 1, 6, 6)
    window = Window(2)
    fixations = np.array([[-1, -1], [0, 0], [1, 1], [1, -1], [0, 0.3]], np.float32)
    glimpses = window.reader(image)(np.zeros(5, int), window.aim(fixations, (1, 6, 6), np.zeros(5)))
    expected = [[0, 1, 6, 7], [14, 15, 20, 21], [28, 29, 34, 35], [4, 5, 10, 11], [20, 21, 26, 27]]
    np.testing.assert_array_equal(np.rint(glimpses * 255).reshape(5, 4), expected)


def test_a_window_may_leave_the_image_and_sees_zeros_there() -> None:
    image = np.full((1, 1, 6, 6), 255, np.uint8)
    window = Window(4, border="zero")
    corner = window.aim(np.array([[-1.0, 1.0]], np.float32), (1, 6, 6), np.zeros(1))
    assert corner.tolist() == [[4, -2]]
    glimpse = window.reader(image)(np.zeros(1, int), corner)[0, 0]
    assert glimpse.tolist() == [[0, 0, 1, 1], [0, 0, 1, 1], [0, 0, 0, 0], [0, 0, 0, 0]]
    assert window.footprint(corner, (1, 6, 6)).sum() == 4


def test_every_place_inside_has_an_equal_share_of_the_frame() -> None:
    window, shape = Window(3, border="inside"), (1, 8, 6)
    middles = (2 * np.arange(24) + 1) / 24 - 1  # 4 of the 24 for each of 6 rows, 6 of them for each of 4 columns
    corners = window.aim(np.stack([middles, middles], 1), shape, np.zeros(24))
    assert corners[:, 0].tolist() == np.repeat(np.arange(6), 4).tolist()
    assert corners[:, 1].tolist() == np.repeat(np.arange(4), 6).tolist()


def test_a_retina_returns_the_window_and_the_means_of_larger_ones() -> None:
    image = np.zeros((1, 1, 8, 8), np.uint8)
    image[0, 0, 2:4, 2:4] = [[40, 80], [120, 160]]
    retina = Window(2, scales=3)
    corner = np.array([[2, 2]])
    glimpse = retina.reader(image)(np.zeros(1, int), corner)[0] * 255
    np.testing.assert_allclose(glimpse[0], [[40, 80], [120, 160]], rtol=1e-6)
    np.testing.assert_allclose(glimpse[1], [[10, 20], [30, 40]], rtol=1e-6)  # 4×4 from (1, 1)
    np.testing.assert_allclose(glimpse[2], [[2.5, 5], [7.5, 10]], rtol=1e-6)  # 8×8 from (−1, −1)
    assert retina.footprint(corner, (1, 8, 8)).sum() == 49
    assert retina.delivered(corner, (1, 8, 8)).tolist() == [12]


def test_a_coarse_block_hides_which_of_its_pixels_is_bright() -> None:
    """The canvas has the resolution of what was delivered: swapping two pixels of a block changes nothing."""
    image = np.random.default_rng(5).integers(0, 256, (1, 1, 16, 16), dtype=np.uint8)
    retina = Window(4, scales=2)
    aim = np.array([[6, 6]])
    other = image.copy()
    other[0, 0, 4, 4], other[0, 0, 5, 5] = image[0, 0, 5, 5], image[0, 0, 4, 4]
    canvases = []
    for one in (image, other):
        canvas, grain = np.zeros((1, 16, 16), np.float32), np.full((16, 16), UNSEEN, np.uint8)
        paint(retina, canvas, grain, retina.reader(one)(np.zeros(1, int), aim)[0], aim[0])
        canvases.append(canvas)
    np.testing.assert_array_equal(canvases[0], canvases[1])


@given(
    size=st.integers(1, 9),
    height=st.integers(1, 40),
    width=st.integers(1, 40),
    border=st.sampled_from(["clamp", "zero", "inside"]),
    data=st.data(),
)
@settings(deadline=None, max_examples=60)
def test_the_fixation_of_a_window_leads_back_to_it(
    size: int, height: int, width: int, border: Any, data: st.DataObject
) -> None:
    window, shape = Window(size, border=border), (1, height, width)
    fixation = data.draw(st.tuples(st.floats(-1, 1, width=32), st.floats(-1, 1, width=32)))
    aim = window.aim(np.array([fixation], np.float32), shape, np.zeros(1))
    if border != "zero" and min(height, width) >= size:
        assert (aim >= 0).all()
        assert (aim <= np.array([height - size, width - size])).all()
    centre = (aim + size / 2) / np.array([height, width])
    if (np.abs(centre * 2 - 1) <= 1).all():
        np.testing.assert_array_equal(window.aim(window.fixation(aim, shape), shape, np.zeros(1)), aim)


# Crop


def grid_sampled(images: torch.Tensor, action: torch.Tensor, crop: Crop) -> torch.Tensor:
    """The same crop by torch's affine_grid and grid_sample."""
    scale = crop.scale_of(action[:, 2])
    zero = torch.zeros_like(scale)
    rows = [torch.stack([scale, zero, action[:, 0]], 1), torch.stack([zero, scale, action[:, 1]], 1)]
    grid = functional.affine_grid(
        torch.stack(rows, 1), [len(images), images.shape[1], crop.size, crop.size], align_corners=False
    )
    return functional.grid_sample(images, grid, align_corners=False)


@pytest.mark.parametrize("shape", [(1, 7, 7), (3, 5, 9)])
@pytest.mark.parametrize("crop", [Crop(1), Crop(4), Crop(6, smallest=0.3)], ids=str)
def test_a_crop_and_its_gradients_are_those_of_an_affine_grid(crop: Crop, shape: Shape) -> None:
    rng = torch.Generator().manual_seed(0)
    images = torch.rand(8, *shape, generator=rng, dtype=torch.float64, requires_grad=True)
    action = (torch.rand(8, 3, generator=rng, dtype=torch.float64) * 2 - 1).requires_grad_()
    ours, theirs = crop.crop(images, action), grid_sampled(images, action, crop)
    torch.testing.assert_close(ours, theirs)
    weight = torch.rand(ours.shape, generator=rng, dtype=torch.float64)
    for one, other in zip(
        torch.autograd.grad((ours * weight).sum(), [images, action]),
        torch.autograd.grad((theirs * weight).sum(), [images, action]),
        strict=True,
    ):
        torch.testing.assert_close(one, other)


def test_a_crop_has_the_gradients_that_finite_differences_find() -> None:
    rng = torch.Generator().manual_seed(1)
    images = torch.rand(3, 2, 6, 7, generator=rng, dtype=torch.float64, requires_grad=True)
    action = torch.tensor([[0.13, -0.31, 0.2], [0.71, 0.07, -0.3], [-0.9, 0.9, -0.77]], dtype=torch.float64)
    crop = Crop(3)
    assert torch.autograd.gradcheck(crop.crop, (images, action.requires_grad_()), eps=1e-7)


def test_what_a_crop_reads_in_the_env_is_what_fit_computes() -> None:
    crop, shape = Crop(5), (3, 9, 8)
    images = np.random.default_rng(4).integers(0, 256, (6, *shape), dtype=np.uint8)
    action = some_actions(crop, shape, 6)
    read = crop.reader(images)(np.arange(6), crop.aim(action, shape, np.zeros(6)))
    computed = crop.crop(torch.from_numpy(images / np.float32(255)), torch.from_numpy(action))
    np.testing.assert_allclose(read, computed.numpy(), atol=1e-6)


def test_a_crop_of_everything_at_full_resolution_is_the_image() -> None:
    image = np.random.default_rng(4).integers(0, 256, (1, 1, 8, 8), dtype=np.uint8)
    crop = Crop(8)
    aim = crop.aim(np.array([[0, 0, 1]], np.float32), (1, 8, 8), np.zeros(1))
    np.testing.assert_allclose(crop.reader(image)(np.zeros(1, int), aim), image / 255, atol=1e-6)
    assert crop.footprint(aim, (1, 8, 8)).all()


def test_zoom_and_scale_are_inverse() -> None:
    crop = Crop(8, smallest=0.1)
    zoom = torch.linspace(-1, 1, 9, dtype=torch.float64)
    scale = crop.scale_of(zoom)
    torch.testing.assert_close(scale[[0, -1]], torch.tensor([0.1, 1.0], dtype=torch.float64))
    torch.testing.assert_close(crop.zoom_of(scale), zoom)


# Mask


@given(
    height=st.integers(1, 11),
    width=st.integers(1, 11),
    cell=st.integers(1, 6),
    room=st.integers(0, 130),
    levels=st.integers(1, 6),
    seed=st.integers(0, 99),
)
@settings(deadline=None, max_examples=150)
def test_a_mask_holds_the_best_cells_that_fit(
    height: int, width: int, cell: int, room: int, levels: int, seed: int
) -> None:
    mask, shape = Mask(cell), (1, height, width)
    rows, columns = mask.grid(shape)
    score = np.random.default_rng(seed).integers(0, levels, (1, rows, columns)).astype(np.float32)
    revealed = mask.aim(score, shape, np.array([room]))[0]
    # By hand: from the best down, raster order among equals, until one does not fit.
    expected, left = np.zeros((height, width), bool), room
    cells = itertools.product(range(rows), range(columns))
    for row, column in sorted(cells, key=lambda at: -score[0, at[0], at[1]]):
        block = np.s_[row * cell : (row + 1) * cell, column * cell : (column + 1) * cell]
        if expected[block].size > left:
            break
        left -= expected[block].size
        expected[block] = True
    np.testing.assert_array_equal(revealed, expected)


def test_a_mask_with_a_threshold_may_be_smaller_than_the_budget() -> None:
    scores = np.array([[[0.9, -0.5], [0.1, 0.2]]], np.float32)
    assert Mask(threshold=0.1).aim(scores, (1, 2, 2), np.array([4])).astype(int).tolist() == [[[1, 0], [0, 1]]]
    assert Mask(threshold=0.1).aim(scores, (1, 2, 2), np.array([1])).sum() == 1
    assert Mask(at_once=1).aim(scores, (1, 2, 2), np.array([4])).astype(int).tolist() == [[[1, 0], [0, 0]]]


def test_each_row_has_its_own_count_of_best() -> None:
    scores = np.tile(np.array([3.0, 1.0, 2.0, 2.0]), (4, 1))
    expected = [[0, 0, 0, 0], [1, 0, 0, 0], [1, 0, 1, 0], [1, 1, 1, 1]]
    assert k_best(scores, np.array([0, 1, 2, 9])).astype(int).tolist() == expected


def test_nothing_outside_the_mask_reaches_the_glimpse() -> None:
    image = np.full((1, 1, 3, 3), 255, np.uint8)
    mask = Mask()
    aim = mask.aim(np.array([[[1, 0, 0], [0, 1, 0], [0, 0, 0]]], np.float32), (1, 3, 3), np.array([2]))
    glimpse = mask.reader(image)(np.zeros(1, int), aim)[0, 0]
    assert glimpse.tolist() == [[1, 0, 0], [0, 1, 0], [0, 0, 0]]


# Thumbnail


def test_a_thumbnail_shows_block_means_with_as_many_values_as_fit() -> None:
    image = np.arange(16, dtype=np.uint8).reshape(1, 1, 4, 4)
    thumbnail = Thumbnail()
    rest = np.zeros((1, 1), np.float32)
    aim = thumbnail.aim(rest, (1, 4, 4), np.array([5]))
    assert aim.tolist() == [[2, 2]]
    assert thumbnail.delivered(aim, (1, 4, 4)).tolist() == [4]
    glimpse = thumbnail.reader(image)(np.zeros(1, int), aim)[0, 0] * 255
    np.testing.assert_allclose(glimpse, np.repeat(np.repeat([[2.5, 4.5], [10.5, 12.5]], 2, 0), 2, 1), rtol=1e-5)


@given(height=st.integers(1, 12), width=st.integers(1, 12), room=st.integers(1, 150))
@settings(deadline=None, max_examples=60)
def test_a_thumbnail_never_delivers_more_than_the_room(height: int, width: int, room: int) -> None:
    aim = Thumbnail().aim(np.zeros((1, 1)), (1, height, width), np.array([room]))
    assert 1 <= Thumbnail().delivered(aim, (1, height, width))[0] <= room


# Settings


@pytest.mark.parametrize(
    "make",
    [
        lambda: Window(0),
        lambda: Window(4, scales=0),
        lambda: Window(4, scales=9),
        lambda: Window(4, border="mirror"),  # type: ignore[arg-type]
        lambda: Crop(0),
        lambda: Crop(4, smallest=0.0),
        lambda: Mask(0),
        lambda: Mask(at_once=0),
    ],
)
def test_settings_that_make_no_sense_are_refused(make: Any) -> None:
    with pytest.raises(UsageError):
        make()
