"""Padding: what `fit=pad` adds to an image is no part of it, so that no fraction, budget or floor counts it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from gymnasium.vector import AutoresetMode
from hypothesis import given
from hypothesis import settings as examples
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image

from conftest import Alone, hurried, judged_by
from glimpsebench.agents.common import nets
from glimpsebench.bench import leaderboard, run
from glimpsebench.bench.localisation import share_on_object
from glimpsebench.bench.records import Record
from glimpsebench.bench.rollout import footprints_of, replay, rollout
from glimpsebench.envs import GlimpseVectorEnv, tasks
from glimpsebench.envs.footprints import inside
from glimpsebench.envs.sensors import Crop, Mask, Sensor, Thumbnail, Window
from glimpsebench.envs.tasks import Split, Task

Array = NDArray[Any]

SIDE = 24
WIDE, TALL, WHOLE = (8, 0, 8, 24), (0, 9, 24, 6), (0, 0, 24, 24)
FLOORS: dict[str, dict[str, Any]] = {
    "windows": {"name": "uniform", "size": 4, "glimpses": 40},
    "pixels": {"name": "uniform", "kind": "mask"},
    "cells": {"name": "uniform", "kind": "mask", "cell": 5},  # the border of the box cuts cells
    "center": {"name": "center"},
    "raster": {"name": "raster", "size": 5},
    "full": {"name": "full"},
}


@pytest.fixture
def strips(tmp_path: Path) -> Task:
    """Wide, tall and square images of two grey levels, padded to squares."""
    rng = np.random.default_rng(0)
    for label, level in (("dark", 60), ("light", 180)):
        (tmp_path / "strips" / label).mkdir(parents=True)
        for number in range(40):
            height, width = ((20, 60), (60, 15), (30, 30))[number % 3]
            image = np.uint8(level + rng.integers(0, 40, (height, width)))
            Image.fromarray(image).save(tmp_path / "strips" / label / f"{number}.png")
    return tasks.make(f"folder:{tmp_path / 'strips'}", {"side": SIDE, "channels": 1})


def padded(*boxes: tuple[int, int, int, int]) -> Split:
    """An image for each box: bright in the box, black elsewhere."""
    boxes_N4 = np.array(boxes)
    images = np.where(inside(boxes_N4, (SIDE, SIDE)), 200, 0).astype(np.uint8)
    return Split(images[:, None], np.zeros(len(boxes), np.int64), boxes_N4=boxes_N4)


def test_a_padded_image_says_which_pixels_are_its_own(strips: Task) -> None:
    split = strips.train()
    assert split.boxes_N4 is not None
    assert {*map(tuple, split.boxes_N4.tolist())} == {WIDE, TALL, WHOLE}
    own_NHW = inside(split.boxes_N4, strips.shape[1:])
    np.testing.assert_array_equal(split.images_NCHW[:, 0] > 0, own_NHW)
    np.testing.assert_array_equal(split.own_pixels_N, own_NHW.sum((1, 2)))
    assert split.unlabelled.boxes_N4 is split.boxes_N4
    for fit in ("crop", "stretch"):
        assert tasks.make(f"folder:{strips.path}", {"side": SIDE, "fit": fit}).train().boxes_N4 is None  # type: ignore[attr-defined]


@examples(deadline=None, max_examples=60)
@given(
    sensor=st.sampled_from(
        [Window(5), Window(3, border="zero"), Window(4, border="own"), Window(2, scales=3), Crop(4), Mask(), Mask(5)]
    ),
    boxes=st.lists(
        st.tuples(st.integers(0, 12), st.integers(0, 12), st.integers(1, 12), st.integers(1, 12)),
        min_size=3,
        max_size=3,
    ),
    seed=st.integers(0, 999),
)
def test_only_an_images_own_pixels_are_counted(sensor: Sensor, boxes: list[Any], seed: int) -> None:
    """Against a bitmap, whatever the boxes; the budget is a share of each image's own pixels."""
    rng, split = np.random.default_rng(seed), padded(*boxes)
    env = GlimpseVectorEnv(split, 3, sensor=sensor, glimpses=6, budget=0.6, autoreset_mode=AutoresetMode.DISABLED)
    env.reset(options={"index": np.arange(3)})
    own_BHW, own_B = inside(np.array(boxes), (SIDE, SIDE)), split.own_pixels_N
    for _ in range(6):
        shape = env.action_space.shape
        assert shape is not None
        _, _, _, _, info = env.step(rng.uniform(-1, 1, shape).astype(np.float32))
        union_BHW = env.masks()
        assert not (union_BHW & ~own_BHW).any()
        np.testing.assert_array_equal(env.touched_pixels, union_BHW.sum((1, 2)))
        np.testing.assert_allclose(info["touched"], union_BHW.sum((1, 2)) / own_B)
        assert (info["touched"] <= 0.6).all()
    again = GlimpseVectorEnv(split, 3, sensor=sensor, glimpses=6, budget=0.6, autoreset_mode=AutoresetMode.DISABLED)
    again.restore(env.state())
    np.testing.assert_array_equal(again.cap, np.floor(0.6 * own_B + 1e-9))
    np.testing.assert_array_equal(again.masks(), env.masks())


def test_a_look_at_padding_costs_nothing_and_shows_nothing() -> None:
    env = GlimpseVectorEnv(padded(WIDE), 1, sensor=Window(6), glimpses=3, autoreset_mode=AutoresetMode.DISABLED)
    env.reset(options={"index": [0]})
    observation, _, _, _, info = env.step(np.array([[0, -1]]))
    assert info["touched"].tolist() == [0]
    assert not observation["glimpses"].any()
    assert observation["left"].tolist() == [[1]]
    _, _, _, _, info = env.step(np.array([[0, 0]]))
    assert info["touched"].tolist() == [36 / (8 * 24)]


def test_random_windows_lie_on_the_images_own_pixels() -> None:
    boxes = np.array([WIDE, TALL, WHOLE]).repeat(2000, 0)
    window, rng = Window(6, border="own"), np.random.default_rng(0)
    corner = window.aim(rng.uniform(-1, 1, (6000, 2)), (1, SIDE, SIDE), np.zeros(6000), boxes)
    prints_BHW = window.footprint(corner, (1, SIDE, SIDE))
    assert not (prints_BHW & ~inside(boxes, (SIDE, SIDE))).any()
    for box, places in zip((WIDE, TALL, WHOLE), (3 * 19, 19 * 1, 19 * 19), strict=True):
        found, count = np.unique(corner[(boxes == box).all(1)], axis=0, return_counts=True)
        assert len(found) > 0.95 * places
        assert count.max() < 4 * 2000 / places, "every place is as likely"
    last = window.aim(np.ones((1, 2)), (1, SIDE, SIDE), np.zeros(1), np.array([WIDE]))
    assert last.tolist() == [[8 + 8 - 6, 24 - 6]]


@pytest.mark.parametrize("floor", FLOORS)
def test_no_floor_spends_its_budget_on_padding(floor: str, strips: Task) -> None:
    agent = hurried(**FLOORS[floor])
    agent.prepare(strips)
    agent.fit(strips, 0, iter)
    images = tasks.test_split(strips)
    episodes = rollout(agent, images, seed=0)
    fractions_FN = episodes.touched_FN / images.own_pixels_N
    budgets = np.array(agent.budgets)
    assert (fractions_FN <= budgets[:, None]).all()
    if floor == "windows":
        assert (fractions_FN[agent.budgets.index(0.5)] > 0.5 - 16 / (6 * 24)).all(), "as many as fit"
        assert (episodes.touched_FN[episodes.steps_FN == 1] == 16).all(), "whole windows, on narrow images too"
    else:
        assert (fractions_FN[-1] == 1).all(), "of the whole image every pixel"
    if floor in ("pixels", "center"):
        np.testing.assert_array_equal(episodes.touched_FN, np.floor(np.outer(budgets, images.own_pixels_N) + 1e-9))
    single = len(episodes.selection) == len(budgets)
    for at, budget in enumerate(agent.budgets):
        prints_NTHW = footprints_of(
            episodes.selection[at if single else 0],
            episodes.steps_FN[at],
            budget,
            agent.sensor(),
            agent.shape,
            images.boxes_N4,
        )
        np.testing.assert_array_equal(prints_NTHW.any(1).sum((1, 2)), episodes.touched_FN[at])
    replay(agent, images, episodes, agent.predict)  # raises if it touched anything else


MASKED: dict[str, dict[str, Any]] = {
    "windows": {"name": "uniform", "size": 4, "glimpses": 6},
    "pixels": {"name": "uniform", "kind": "mask"},
    "cells": {"name": "uniform", "kind": "mask", "cell": 5},
    "center": {"name": "center"},
    "scores": {"name": "straight_through"},
}


@pytest.mark.parametrize("case", MASKED)
def test_predictors_learn_on_canvases_as_the_test_makes_them(
    case: str, strips: Task, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Budgets in training are shares of each image's own pixels too, and windows lie on these."""
    boxes: list[Array] = []
    masks: list[Array] = []
    some, with_whole_images = Split.some, nets.with_whole_images

    def recorded_some(split: Split, rows_B: Array) -> Split:
        batch = some(split, rows_B)
        boxes.append(np.asarray(batch.boxes_N4))
        return batch

    def recorded_canvases(canvas: Any, mask_B1HW: Any, *others: Any) -> Any:
        masks.append(mask_B1HW[:, 0].numpy())
        return with_whole_images(canvas, mask_B1HW, *others)

    monkeypatch.setattr(Split, "some", recorded_some)
    monkeypatch.setattr(nets, "with_whole_images", recorded_canvases)
    agent = hurried(**MASKED[case])
    agent.prepare(strips)
    agent.fit(strips, 0, iter)
    boxes_N4, mask_NHW = np.concatenate(boxes), np.concatenate(masks)
    own_NHW = inside(boxes_N4, (SIDE, SIDE))
    assert len({*map(tuple, boxes_N4.tolist())}) == 3
    if case == "windows":
        assert not (mask_NHW & ~own_NHW).any()
        return
    touched_N, own_N = (mask_NHW & own_NHW).sum((1, 2)), own_NHW.sum((1, 2))
    room_FN = np.floor(np.outer(agent.budgets, own_N) + 1e-9)
    slack = 24 if case == "cells" else 0  # of a cell that no longer fits
    fits_FN = (touched_N <= room_FN) & (touched_N >= room_FN - slack)
    assert fits_FN.any(0).all()
    assert fits_FN.any(1).all()


@pytest.mark.parametrize("case", [case for case in MASKED if case != "scores"])
def test_without_padding_canvases_are_what_they_were(case: str) -> None:
    agent = hurried(**MASKED[case])
    assert isinstance(agent, nets.CanvasAgent)
    images_NCHW = np.random.default_rng(0).integers(0, 256, (30, 1, SIDE, SIDE), dtype=np.uint8)
    plain, boxed = (
        agent.canvases(Split(images_NCHW, boxes_N4=boxes_N4), np.random.default_rng(1))
        for boxes_N4 in (None, np.tile(WHOLE, (30, 1)))
    )
    for part, other in zip(plain, boxed, strict=True):
        assert torch.equal(part, other)


def test_values_that_are_delivered_are_counted_with_the_paddings() -> None:
    env = GlimpseVectorEnv(padded(WIDE), 1, sensor=Thumbnail(), budget=0.5, currency="delivered", glimpses=1)
    env.reset(seed=0)
    _, _, _, _, info = env.step(np.zeros((1, 1)))
    assert 0.4 < info["delivered"][0] <= 0.5
    assert info["touched"].tolist() == [1]


def test_records_hold_the_pixels_that_fractions_are_of(strips: Task, root: Path, monkeypatch: Any) -> None:
    judged_by(monkeypatch, Alone("0" * 16, lambda view: np.zeros((len(view["canvas"]), 2))))
    monkeypatch.setattr("glimpsebench.bench.run.tasks.make", lambda *_: strips)
    few = {"predictor_steps": 2}
    centre = run.run(run.Spec("center", "strips", 0, few), root, iter)
    assert centre.done, centre.about
    test = tasks.test_split(strips)
    np.testing.assert_array_equal(centre.arrays["pixels"], test.own_pixels_N)
    np.testing.assert_array_equal(centre.fractions_FN, centre.arrays["touched"] / test.own_pixels_N)
    assert centre.reached_F.all()
    row = leaderboard.rows_of([Record.read(centre.folder)])[0]
    np.testing.assert_allclose(row.mean_fraction("touched"), centre.budgets, atol=0.01)
    assert row.mean_fraction("touched")[-1] == 1


def test_the_share_on_the_object_is_of_own_pixels() -> None:
    """A mask that reveals padding beside the object loses nothing by it."""
    split, sensor = padded(WIDE), Mask()
    action = np.zeros((1, 1, SIDE, SIDE))
    action[0, 0, 6:12] = 1
    packed = np.packbits(action.reshape(1, 1, -1) > 0, axis=-1)
    shown = np.asarray(footprints_of(packed, np.ones(1, int), 0.5, sensor, (1, SIDE, SIDE), split.boxes_N4).any(1))
    assert shown.sum() == 4 * SIDE
    object_NHW = np.zeros((1, SIDE, SIDE), bool)
    object_NHW[0, 8:12] = True
    assert share_on_object(shown, object_NHW).tolist() == [1]
