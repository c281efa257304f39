"""Discrete fixations: the middle of a cell is looked at, and a visited cell is masked."""

from __future__ import annotations

from typing import Any

import gymnasium
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env
from gymnasium.vector import AutoresetMode
from stable_baselines3.common.env_checker import check_env as check_env_for_sb3

from glimpsebench.envs.errors import UsageError
from glimpsebench.envs.glimpse import GlimpseEnv, GlimpseVectorEnv
from glimpsebench.envs.grid import GridFixations, VectorGridFixations
from glimpsebench.envs.sensors import Crop, Mask, Window
from glimpsebench.envs.tasks import Split


def some_split() -> Split:
    return Split(np.random.default_rng(0).integers(0, 256, (20, 1, 6, 9), dtype=np.uint8))


def make(num_envs: int = 4, **settings: Any) -> VectorGridFixations:
    env = GlimpseVectorEnv(some_split(), num_envs, sensor=Window(3), **settings)
    return VectorGridFixations(env, rows=2, columns=3)


def test_each_cell_is_looked_at_in_its_middle() -> None:
    env = make(6)
    env.reset(seed=0)
    env.step(np.arange(6))
    batch = env.unwrapped
    assert isinstance(batch, GlimpseVectorEnv)
    for cell, mask in enumerate(batch.masks()):
        row, column = divmod(cell, 3)
        assert mask[row * 3 : row * 3 + 3, column * 3 : column * 3 + 3].all()
        assert mask.sum() == 9


@pytest.mark.parametrize("stop", [False, True])
def test_visited_cells_are_masked_until_the_episode_ends(stop: bool) -> None:
    env = make(3, glimpses=4, stop=stop, autoreset_mode=AutoresetMode.SAME_STEP)
    env.reset(seed=0)
    rng = np.random.default_rng(0)
    visited: list[set[int]] = [set(), set(), set()]
    for _ in range(20):
        masks = env.action_masks()
        assert masks.shape == (3, 6 + stop)
        for mask, cells in zip(masks, visited, strict=True):
            assert set(np.flatnonzero(~mask)) == cells
        action = np.array([rng.choice(np.flatnonzero(mask)) for mask in masks])
        _, _, terminated, _, _ = env.step(action)
        for number, cells in enumerate(visited):
            cells.add(int(action[number]))
            if terminated[number]:
                cells.clear()


def test_when_every_cell_is_visited_all_are_allowed_again() -> None:
    env = VectorGridFixations(GlimpseVectorEnv(some_split(), 2, sensor=Window(2), glimpses=3), 1, 1)
    env.reset(seed=0)
    env.step(np.zeros(2, int))
    assert env.action_masks().tolist() == [[True], [True]]


def test_the_single_env_is_a_row_of_the_batch() -> None:
    batch = make(1, glimpses=3, autoreset_mode=AutoresetMode.DISABLED)
    single = GridFixations(GlimpseEnv(some_split(), sensor=Window(3), glimpses=3), 2, 3)
    batch.reset(options={"index": [7]})
    single.reset(options={"index": [7]})
    for cell in (4, 0, 4):
        observation, _, terminated, _, _ = batch.step(np.array([cell]))
        one, _, done, _, _ = single.step(np.int64(cell))
        for name, value in observation.items():
            np.testing.assert_array_equal(one[name], value[0])
        assert done == terminated[0]
        np.testing.assert_array_equal(single.action_masks(), batch.action_masks()[0])


def test_the_checkers_have_nothing_to_say() -> None:
    env = gymnasium.make("GlimpseBench/digits-v1", sensor=Window(2), stop=True)
    check_env_for_sb3(gymnasium.wrappers.FlattenObservation(GridFixations(env, 3, 3)))
    with pytest.warns(UserWarning, match="different from the unwrapped version"):  # it wants no wrapper
        check_env(GridFixations(env, 3, 3), skip_render_check=True)


@pytest.mark.parametrize(
    "action",
    [np.array([0, 1, 2, 6]), np.array([0, -1, 2, 3]), np.zeros(4), np.zeros((4, 1), int), np.zeros(3, int)],
)
def test_a_number_that_is_no_cell_raises(action: Any) -> None:
    env = make()
    env.reset(seed=0)
    with pytest.raises(ValueError, match="actions must"):
        env.step(action)


def test_a_grid_needs_fixations() -> None:
    for sensor in (Mask(), Crop()):
        with pytest.raises(UsageError, match="x, y"):
            GridFixations(GlimpseEnv(some_split(), sensor=sensor), 2, 2)
    with pytest.raises(UsageError, match="at least one cell"):
        GridFixations(GlimpseEnv(some_split()), 0, 2)
