"""The environment: what it reveals, counts, ends and hands on, against brute force and Gymnasium's rules."""

from __future__ import annotations

import json
import pickle
import sys
import tracemalloc
import warnings
from collections import deque
from copy import deepcopy
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any, get_args

import gymnasium
import numpy as np
import pytest
import torch
from gymnasium.utils.env_checker import check_env
from gymnasium.vector import AutoresetMode, SyncVectorEnv
from numpy.typing import NDArray
from stable_baselines3.common.env_checker import check_env as check_env_for_sb3

import glimpsebench
from glimpsebench.envs import glimpse
from glimpsebench.envs.errors import UsageError
from glimpsebench.envs.glimpse import GlimpseEnv, GlimpseVectorEnv, Kind, Observation
from glimpsebench.envs.sensors import Crop, Mask, Sensor, Thumbnail, Window
from glimpsebench.envs.tasks import TASKS, Split

Array = NDArray[Any]

KINDS: tuple[Kind, ...] = get_args(Kind)
SENSORS = [
    Window(3),
    Window(4, border="zero"),
    Window(4, border="inside"),
    Window(2, scales=2),
    Crop(3),
    Mask(at_once=9),
    Mask(3, threshold=0.3),
    Thumbnail(),
]
every_sensor = pytest.mark.parametrize("sensor", SENSORS, ids=str)
every_kind = pytest.mark.parametrize("kind", KINDS)


def some_split(count: int = 20, shape: tuple[int, int, int] = (1, 8, 8), seed: int = 0) -> Split:
    rng = np.random.default_rng(seed)
    return Split(rng.integers(0, 256, (count, *shape), dtype=np.uint8), rng.integers(0, 4, count))


def some_logits(observation: Observation) -> Array:
    """A predictor of four classes: fixed, but sensitive to everything that it is shown."""
    flat = np.concatenate([v.reshape(len(v), -1) for _, v in sorted(observation.items())], 1)
    weight = np.sin(np.arange(flat.shape[1] * 4).reshape(-1, 4) * 1.7)
    # Summed row by row, so that a row's logits do not depend on how many rows there are.
    return np.array([(row[:, None] * weight).sum(0) for row in flat.astype(np.float64)]).reshape(-1, 4)


def some_logits_of_ten(observation: Observation) -> Array:
    """A cheap predictor of as many classes as any task has."""
    return np.tile(observation["left"].astype(np.float64), 10) * np.arange(10)


def some_actions(env: GlimpseVectorEnv, rng: np.random.Generator, reach: float = 1.0) -> Array:
    return rng.uniform(-reach, reach, env.action_space.shape or ()).astype(np.float32)


def assert_same(one: Any, other: Any) -> None:
    """Nested dictionaries of arrays are equal, bit for bit."""
    if isinstance(one, dict):
        assert one.keys() == other.keys()
        for name in one:
            assert_same(one[name], other[name])
    elif isinstance(one, (list, tuple)) or (isinstance(one, np.ndarray) and one.dtype == object):
        for part, same in zip(one, other, strict=True):
            assert_same(part, same)
    else:
        one, other = np.asarray(one), np.asarray(other)
        assert one.dtype == other.dtype
        np.testing.assert_array_equal(one, other)


# Gymnasium's rules


@cache
def small(name: str) -> Split:
    """A few validation images of a task, or noise of their shape where its image set is not here."""
    task, rng = TASKS[name], np.random.default_rng(0)
    try:
        images = task.val()
    except UsageError:
        return Split(rng.integers(0, 256, (50, *task.shape), dtype=np.uint8), rng.integers(0, task.classes, 50))
    labels = images.labels_N
    return Split(images.images_NCHW[:50], None if labels is None else labels[:50])


@pytest.fixture
def registered(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """The Gymnasium id of a task, whose images are a few of its validation images, for speed."""
    name: str = request.param
    split = small(name)
    monkeypatch.setattr(type(TASKS[name]), "render", lambda *_: split)
    monkeypatch.setattr(glimpse, "named", lambda *_: some_logits_of_ten)
    return f"GlimpseBench/{TASKS[name].id}"


every_id = pytest.mark.parametrize("registered", list(TASKS), indirect=True)


@every_id
def test_gymnasiums_checker_has_nothing_to_say(registered: str) -> None:
    for settings in ({}, {"sensor": Crop(4), "observation": "canvas"}, {"stop": True, "budget": 0.2}):
        env = gymnasium.make(registered, render_mode="rgb_array", **settings)
        check_env(env.unwrapped)


@every_id
@pytest.mark.parametrize("settings", [{}, {"sensor": "crop:4", "observation": "canvas", "first": "random"}], ids=str)
def test_the_tests_that_gymnasium_has_for_its_own_envs(registered: str, settings: dict[str, Any]) -> None:
    """Its tests/envs/test_envs.py: equal seeds, equal rollouts, and a pickled copy behaves alike."""
    one = gymnasium.make(registered, disable_env_checker=True, **settings)
    same = gymnasium.make(registered, disable_env_checker=True, **settings)
    assert_same(one.reset(seed=0), same.reset(seed=0))
    one.action_space.seed(0)
    for _ in range(50):
        action = one.action_space.sample()
        result, again = one.step(action), same.step(action)
        assert one.observation_space.contains(result[0])
        assert_same(result, again)
        if result[2] or result[3]:
            assert_same(one.reset(), same.reset())
    copy = pickle.loads(pickle.dumps(one))
    assert_same(one.reset(), copy.reset())
    action = one.action_space.sample()
    assert_same(one.step(action), copy.step(action))
    for env in (one, same, copy):
        env.close()


@every_id
def test_stable_baselines3s_checker_has_nothing_to_say_but_shapes(registered: str) -> None:
    """It wants vectors flat; beyond that it has no remark. Its extractors flatten by themselves."""
    check_env_for_sb3(gymnasium.wrappers.FlattenObservation(gymnasium.make(registered)))
    with warnings.catch_warnings(record=True) as remarks:
        warnings.simplefilter("always")
        check_env_for_sb3(gymnasium.make(registered))
    assert all("unconventional shape" in str(remark.message) for remark in remarks)


@every_id
def test_every_task_makes_a_vector_env_that_starts_and_steps(registered: str) -> None:
    many = gymnasium.make_vec(registered, num_envs=2, vectorization_mode="sync", sensor=Window(4))
    assert isinstance(many.unwrapped, SyncVectorEnv)
    env = gymnasium.make_vec(registered, num_envs=3, sensor=Window(4), render_mode="rgb_array")
    assert isinstance(env.unwrapped, GlimpseVectorEnv)
    assert env.single_observation_space == many.single_observation_space
    observation, info = env.reset(seed=0)
    assert observation in env.observation_space
    assert info["touched"].tolist() == [0, 0, 0]
    observation, *_ = env.step(env.action_space.sample())
    assert observation in env.observation_space
    frames: Any = env.render()
    assert {frame.dtype for frame in frames} == {np.dtype(np.uint8)}
    env.close()


@every_sensor
@every_kind
def test_what_is_returned_lies_in_the_promised_space(kind: Kind, sensor: Sensor) -> None:
    env = GlimpseVectorEnv(some_split(), 5, sensor=sensor, observation=kind, glimpses=4, budget=0.6)
    rng = np.random.default_rng(0)
    observation, _ = env.reset(seed=0)
    for _ in range(12):
        assert observation in env.observation_space
        assert {value.dtype for value in observation.values()} == {np.dtype(np.float32)}
        observation, reward, terminated, truncated, _ = env.step(some_actions(env, rng))
        assert [str(array.dtype) for array in (reward, terminated, truncated)] == ["float64", "bool", "bool"]
        assert not truncated.any()


class Replayed(GlimpseEnv):
    """An env whose images are given, so that it can repeat what a vector env drew."""

    def __init__(self, split: Split, **settings: Any) -> None:
        super().__init__(split, **settings)
        self.coming: deque[int] = deque()

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Observation, dict[str, Any]]:
        del options  # of the batch
        return super().reset(seed=seed, options={"index": [self.coming.popleft()]})


def assert_same_infos(ours: dict[str, Any], theirs: dict[str, Any]) -> None:
    """Wherever Gymnasium says something, so do we, and the same."""
    for name, value in theirs.items():
        if name.startswith("_"):
            assert (ours[name] >= value).all(), name
            continue
        marked = theirs[f"_{name}"]
        if name == "final_info":
            np.testing.assert_array_equal(ours[f"_{name}"], marked)
            assert_same_infos(ours[name], value)
        elif name == "final_obs":
            assert_same(ours[name], value)
        else:
            np.testing.assert_array_equal(ours[name][marked], value[marked], err_msg=name)


@pytest.mark.parametrize("mode", list(AutoresetMode))
@pytest.mark.parametrize(("reward", "kind"), [("none", "glimpse"), ("correct", "glimpses"), ("information", "canvas")])
@pytest.mark.parametrize("sensor", [Window(3), Crop(3)], ids=str)
def test_a_batch_is_gymnasiums_sync_vector_env_of_single_envs(
    mode: AutoresetMode, reward: str, kind: Kind, sensor: Sensor
) -> None:
    split, num_envs, rng = some_split(), 6, np.random.default_rng(1)
    settings: dict[str, Any] = {"sensor": sensor, "glimpses": 4, "budget": 0.6, "stop": True}
    settings |= {"reward": reward, "observation": kind}
    if reward != "none":
        settings |= {"predictor": some_logits, "view": "canvas"}
    ours = GlimpseVectorEnv(split, num_envs, autoreset_mode=mode, **settings)
    singles: list[Replayed] = []

    def make() -> Replayed:
        singles.append(Replayed(split, **settings))
        return singles[-1]

    theirs = SyncVectorEnv([make] * num_envs, autoreset_mode=mode)

    def repeat_draws(begun: Array) -> None:
        for env in begun.nonzero()[0]:
            singles[env].coming.append(int(ours.state()["index"][env]))

    observation, info = ours.reset(seed=3)
    repeat_draws(np.ones(num_envs, bool))
    their_observation, their_info = theirs.reset()
    assert_same(observation, their_observation)
    assert_same_infos(info, their_info)
    waiting, ends = np.zeros(num_envs, bool), 0
    for _ in range(40):
        actions = some_actions(ours, rng, reach=1.1)
        actions[:, -1] -= 0.8  # seldom stop
        observation, *rest, info = ours.step(actions)
        terminated = rest[1]
        ends += int(terminated.sum())
        repeat_draws(terminated if mode == AutoresetMode.SAME_STEP else waiting)
        their_observation, *their_rest, their_info = theirs.step(actions)
        assert_same(observation, their_observation)
        for one, other in zip(rest, their_rest, strict=True):
            np.testing.assert_array_equal(one, other)
        assert_same_infos(info, their_info)
        if mode == AutoresetMode.NEXT_STEP:
            waiting = terminated
        elif mode == AutoresetMode.DISABLED and terminated.any():
            observation, info = ours.reset(options={"reset_mask": terminated})
            repeat_draws(terminated)
            their_observation, their_info = theirs.reset(options={"reset_mask": terminated})
            assert_same(observation, their_observation)
            assert_same_infos(info, their_info)
    assert ends > 2 * num_envs


def test_with_autoreset_disabled_a_finished_env_stays_as_it_is() -> None:
    env = GlimpseVectorEnv(some_split(), 2, glimpses=1, autoreset_mode=AutoresetMode.DISABLED)
    env.reset(seed=0)
    env.step(np.zeros((2, 2)))
    before = env.masks()
    _, reward, terminated, _, info = env.step(np.ones((2, 2)))
    assert (reward.tolist(), terminated.tolist()) == ([0, 0], [True, True])
    assert info["num_glimpses"].tolist() == [1, 1]
    assert not info["refused"].any()
    np.testing.assert_array_equal(env.masks(), before)


@every_sensor
def test_the_same_seed_gives_the_same_rollout(sensor: Sensor) -> None:
    def rollout(seed: int) -> list[Any]:
        env = GlimpseVectorEnv("digits-clutter", 300, sensor=sensor, glimpses=2, autoreset_mode=AutoresetMode.SAME_STEP)
        rng = np.random.default_rng(0)
        seen: list[Any] = [env.reset(seed=seed)]
        for _ in range(10):  # more episodes than there are images, so it meets a second epoch
            seen.append(env.step(some_actions(env, rng)))
        assert env.epoch > 0
        return seen

    assert_same(rollout(5), rollout(5))
    assert (rollout(5)[0][0]["left"] == rollout(6)[0][0]["left"]).all()
    first, second = (GlimpseVectorEnv(some_split(), 9, observation="image") for _ in range(2))
    assert (first.reset(seed=5)[0]["image"] != second.reset(seed=6)[0]["image"]).any()


def test_seeding_again_returns_to_the_first_epoch_and_spares_envs_in_mid_episode() -> None:
    env = GlimpseVectorEnv("digits-clutter", 2000, glimpses=3, sensor=Window(4), observation="image")
    first, _ = env.reset(seed=0)
    later, _ = env.reset()
    assert env.epoch == 1
    some = np.arange(2000) < 7
    mixed, _ = env.reset(seed=0, options={"reset_mask": some})
    assert env.epoch == 0
    np.testing.assert_array_equal(mixed["image"][:7], first["image"][:7])
    np.testing.assert_array_equal(mixed["image"][7:], later["image"][7:])


# What is revealed and counted


@pytest.mark.parametrize("late", [False, True])
@pytest.mark.parametrize("mode", list(AutoresetMode))
@every_sensor
def test_touched_canvas_and_masks_equal_a_brute_force_bitmap(sensor: Sensor, mode: AutoresetMode, late: bool) -> None:
    """`late` asks for the canvas and the glimpses only in mid-episode: they are recalled, and the same."""
    split, num_envs, rng = some_split(30, (2, 9, 7)), 16, np.random.default_rng(2)
    env = GlimpseVectorEnv(
        split, num_envs, sensor=sensor, glimpses=5, budget=0.7, observation="glimpse", autoreset_mode=mode
    )
    env.reset(seed=0)
    union = np.zeros((num_envs, 9, 7), bool)
    delivered = np.zeros(num_envs, int)
    for step in range(25):
        action = some_actions(env, rng)
        room, was_done = env.cap - union.sum((1, 2)), env.done
        aim = sensor.aim(action, env.shape, room)
        observation, _, terminated, _, info = env.step(action)
        assert_same(observation, env.observe("glimpse"))
        ended = terminated & ~was_done
        grown = union | sensor.footprint(aim, env.shape)
        fits = (grown.sum((1, 2)) <= env.cap) & ~was_done
        union = np.where(fits[:, None, None], grown, union)
        delivered += sensor.delivered(aim, env.shape) * fits
        last = info
        if mode == AutoresetMode.SAME_STEP and ended.any():
            last = {**info, **{k: np.where(ended, v, info[k]) for k, v in info["final_info"].items()}}
        elif mode == AutoresetMode.NEXT_STEP:
            union[was_done], delivered[was_done] = False, 0
        np.testing.assert_array_equal(last["touched"], union.mean((1, 2)))
        np.testing.assert_array_equal(last["delivered"], delivered / 63)
        assert (last["touched"] <= 0.7).all()
        np.testing.assert_array_equal(last["refused"], ~fits & ~was_done)
        if mode == AutoresetMode.SAME_STEP:
            union[ended], delivered[ended] = False, 0
        elif mode == AutoresetMode.DISABLED and terminated.all():
            env.reset()
            union[:], delivered[:] = False, 0
        np.testing.assert_array_equal(env.touched_pixels, union.sum((1, 2)))
        np.testing.assert_array_equal(env.delivered_values, delivered)
        np.testing.assert_array_equal(env.masks(), union)
        if not late or step % 7 == 3:
            canvas = env.observe("canvas")
            np.testing.assert_array_equal(canvas["mask"][:, 0], union)
            assert not (canvas["canvas"] * ~union[:, None]).any()
            glimpses = env.observe("glimpses")
            np.testing.assert_array_equal(glimpses["valid"].sum(1), env.scanpaths[1].sum(1))


@every_sensor
def test_the_four_observations_tell_the_same_story(sensor: Sensor) -> None:
    env = GlimpseVectorEnv(some_split(), 7, sensor=sensor, glimpses=4, autoreset_mode=AutoresetMode.DISABLED)
    rng = np.random.default_rng(0)
    env.reset(seed=0)
    image = env.observe("image")["image"]
    for _ in range(4):
        env.step(some_actions(env, rng))
        newest, every, canvas = env.observe("glimpse"), env.observe("glimpses"), env.observe("canvas")
        count = every["valid"].sum(1).astype(int)
        rows = np.arange(7)
        shown = newest["glimpse"].reshape(7, -1).any(1)
        np.testing.assert_array_equal(newest["glimpse"][shown], every["glimpses"][rows, count - 1][shown])
        np.testing.assert_array_equal(newest["action"], every["actions"][rows, count - 1])
        assert not every["glimpses"][every["valid"] == 0].any()
        assert not every["actions"][every["valid"] == 0].any()
        if isinstance(sensor, Mask) or (isinstance(sensor, Window) and sensor.scales == 1):
            np.testing.assert_array_equal(canvas["canvas"], np.where(canvas["mask"] > 0, image, 0))


def test_observations_are_the_callers_to_keep_and_to_change() -> None:
    env = GlimpseVectorEnv(some_split(), 4, sensor=Window(3), glimpses=2)
    rng = np.random.default_rng(0)
    kept = []
    env.reset(seed=0)
    for _ in range(7):
        action = some_actions(env, rng)
        env.step(action)
        action[:] = 9
        observations = {kind: env.observe(kind) for kind in KINDS}
        kept.append((observations, {k: {n: v.copy() for n, v in o.items()} for k, o in observations.items()}))
    for observations, copies in kept:
        assert_same(observations, copies)
    for observation in kept[-1][0].values():
        for value in observation.values():
            value[:] = -1
    assert_same({kind: env.observe(kind) for kind in KINDS}, kept[-1][1])


def test_an_action_over_the_budget_is_refused_and_returns_nothing() -> None:
    env = GlimpseVectorEnv(
        some_split(), 2, sensor=Window(4), budget=0.3, glimpses=5, autoreset_mode=AutoresetMode.DISABLED
    )
    assert env.cap.tolist() == [19, 19]
    env.reset(seed=0)
    _, _, terminated, _, info = env.step(np.array([[-1, -1], [-1, -1]]))
    assert info["touched"].tolist() == [0.25, 0.25]
    assert not terminated.any()
    observation, _, terminated, _, info = env.step(np.array([[1, 1], [-1, -1]]))
    assert terminated.tolist() == [True, False]
    assert info["refused"].tolist() == [True, False]
    assert info["touched"].tolist() == [0.25, 0.25]
    assert observation["valid"].sum(1).tolist() == [1, 2]
    assert not env.observe("glimpse")["glimpse"][0].any()
    assert env.masks().sum((1, 2)).tolist() == [16, 16]


def test_a_budget_that_is_used_up_ends_the_episode() -> None:
    env = GlimpseVectorEnv(some_split(), 1, sensor=Window(4), budget=0.25, glimpses=5)
    env.reset(seed=0)
    _, _, terminated, _, info = env.step(np.zeros((1, 2)))
    assert terminated.all()
    assert not info["refused"].any()


def test_a_budget_of_delivered_values_bounds_what_a_thumbnail_returns() -> None:
    env = GlimpseVectorEnv(some_split(), 1, sensor=Thumbnail(), budget=0.25, currency="delivered", glimpses=1)
    env.reset(seed=0)
    _, _, _, _, info = env.step(np.zeros((1, 1)))
    assert (info["touched"][0], info["delivered"][0]) == (1.0, 0.25)


def test_a_budget_below_one_glimpse_shows_nothing() -> None:
    env = GlimpseVectorEnv(some_split(), 3, sensor=Window(4), budget=0.01)
    env.reset(seed=0)
    observation, _, terminated, _, info = env.step(np.zeros((3, 2)))
    assert terminated.all()
    assert info["refused"].all()
    assert not observation["glimpses"].any()


def test_stopping_ends_the_episode_without_a_look() -> None:
    env = GlimpseVectorEnv(
        some_split(), 3, sensor=Window(3), stop=True, reward="correct", predictor=some_logits,
        autoreset_mode=AutoresetMode.DISABLED,
    )  # fmt: skip
    assert env.single_action_space.shape == (3,)
    env.reset(seed=0)
    env.step(np.array([[0, 0, -1], [0, 0, 0], [0.5, 0.5, -0.1]]))
    before = env.masks()
    _, reward, terminated, _, info = env.step(np.array([[1, 1, 0.1], [1, 1, 1], [1, 1, 0]]))
    assert terminated.tolist() == [True, True, False]
    assert not info["refused"].any()
    assert info["num_glimpses"].tolist() == [1, 1, 2]
    np.testing.assert_array_equal(env.masks()[:2], before[:2])
    labels = np.array(env.task.labels_N)[env.state()["index"]]  # type: ignore[union-attr]
    right = some_logits(env.observe("glimpses")).argmax(1) == labels
    assert reward.tolist() == (right & terminated).tolist()


def test_a_mask_has_no_room_for_a_stop() -> None:
    with pytest.raises(UsageError, match="threshold"):
        GlimpseVectorEnv(some_split(), sensor=Mask(), stop=True)


# Rewards and labels


def test_information_adds_up_to_the_gain_in_log_likelihood() -> None:
    split = some_split()
    assert split.labels_N is not None
    env = GlimpseVectorEnv(
        split, 8, sensor=Window(3), glimpses=4, budget=0.4, reward="information", predictor=some_logits,
        view="canvas", autoreset_mode=AutoresetMode.DISABLED,
    )  # fmt: skip

    def log_likelihood() -> Array:
        logits = some_logits(env.observe("canvas"))
        assert split.labels_N is not None
        probability = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
        truth: Array = probability[np.arange(8), split.labels_N[env.state()["index"]]]
        return np.asarray(np.log(truth))

    env.reset(seed=0)
    before, total, rng = log_likelihood(), np.zeros(8), np.random.default_rng(0)
    for _ in range(6):
        _, reward, *_ = env.step(some_actions(env, rng))
        total += reward
    np.testing.assert_allclose(total, log_likelihood() - before, atol=1e-9)


@pytest.mark.parametrize("reward", ["none", "correct", "information"])
def test_permuting_the_labels_changes_no_observation_and_no_info(reward: Any) -> None:
    split, rng = some_split(), np.random.default_rng(0)
    assert split.labels_N is not None
    other = Split(split.images_NCHW, rng.permutation(split.labels_N))
    rewards = []
    for kind in KINDS:
        envs = [
            GlimpseVectorEnv(
                one, 6, sensor=Window(3), observation=kind, glimpses=3, budget=0.4, reward=reward,
                predictor=some_logits, autoreset_mode=AutoresetMode.SAME_STEP, render_mode="rgb_array",
            )
            for one in (split, other)
        ]  # fmt: skip
        assert_same(*(env.reset(seed=0) for env in envs))
        for _ in range(12):
            action = some_actions(envs[0], rng, reach=1.5)
            one, one_reward, *one_ends, one_info = envs[0].step(action)
            two, two_reward, *two_ends, two_info = envs[1].step(action)
            rewards.append((one_reward != two_reward).any())
            assert_same([one, one_ends], [two, two_ends])
            for info in (one_info, two_info):  # at the end it says whether the class was right
                for part in (info, info.get("final_info", {})):
                    part.pop("is_success", None)
            assert_same(one_info, two_info)
            assert_same(*(env.render() for env in envs))
    assert any(rewards) == (reward != "none")


def test_without_labels_there_is_everything_but_a_reward() -> None:
    split = some_split().unlabelled
    env = GlimpseVectorEnv(split, 2)
    env.reset(seed=0)
    assert env.step(np.zeros((2, 2)))[1].tolist() == [0, 0]
    with pytest.raises(UsageError, match="labels"):
        GlimpseVectorEnv(split, 2, reward="correct", predictor=some_logits)


# Mistakes


@pytest.mark.parametrize(
    "action",
    [
        np.full((3, 2), np.nan),
        np.array([[0, 0], [0, np.nan], [0, 0]]),
        np.zeros((2, 2)),
        np.zeros((3, 3)),
        np.zeros(2),
        np.zeros((3, 2), complex),
        np.zeros((3, 2), object),
        np.array([["0", "0"]] * 3),
        None,
    ],
    ids=str,
)
def test_an_action_that_is_no_action_raises_and_changes_nothing(action: Any) -> None:
    env = GlimpseVectorEnv(some_split(), 3)
    env.reset(seed=0)
    before = env.state()
    with pytest.raises(ValueError, match="actions must"):
        env.step(action)
    assert_same(env.state(), before)


def test_an_action_out_of_range_is_clipped_and_flagged() -> None:
    env = GlimpseVectorEnv(some_split(), 5, sensor=Window(2))
    env.reset(seed=0)
    action = np.array([[0, 0], [3, -0.5], [-np.inf, np.inf], [1e300, 0], [1, -1]])
    observation, _, _, _, info = env.step(action)
    assert info["clipped"].tolist() == [False, True, True, True, False]
    assert observation["actions"][:, 0].tolist() == [[0, 0], [1, -0.5], [-1, 1], [1, 0], [1, -1]]
    _, _, _, _, info = env.step(np.zeros((5, 2), int))
    assert not info["clipped"].any()


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"observation": "glimps"}, "did you mean 'glimpse"),
        ({"reward": "corect", "predictor": some_logits}, "did you mean 'correct'"),
        ({"reward": "correct"}, "needs a predictor"),
        ({"budget": 0.0}, "budget"),
        ({"budget": 1.5}, "budget"),
        ({"glimpses": 0}, "glimpses"),
        ({"num_envs": 0}, "num_envs"),
        ({"render_mode": "human"}, "render_mode"),
        ({"currency": "seen"}, "currency"),
        ({"view": "glance"}, "view"),
    ],
)
def test_settings_that_make_no_sense_are_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        GlimpseVectorEnv(some_split(), **settings)


@pytest.mark.parametrize(
    "images",
    [np.zeros((3, 1, 4, 4)), np.zeros((3, 4, 4), np.uint8), np.zeros((0, 1, 4, 4), np.uint8)],
    ids=["float", "no channels", "empty"],
)
def test_images_of_the_wrong_kind_are_refused(images: Array) -> None:
    with pytest.raises(UsageError, match="images must be uint8"):
        GlimpseVectorEnv(Split(images))


@pytest.mark.parametrize(
    "options",
    [
        {"index": [0, 1]},
        {"index": [0, 1, 20]},
        {"index": [0, 1, -1]},
        {"index": [0.5, 1, 2]},
        {"reset_mask": np.ones(2, bool)},
        {"reset_mask": np.ones(3)},
        {"reset_mask": np.array([True, True, False]), "index": [1]},
    ],
    ids=str,
)
def test_options_that_make_no_sense_are_refused(options: dict[str, Any]) -> None:
    env = GlimpseVectorEnv(some_split(), 3)
    with pytest.raises(ValueError, match="options"):
        env.reset(options=options)


def test_each_env_draws_by_its_own_seed() -> None:
    """A seed s is s, s + 1, …; an env's episodes do not depend on its neighbours, nor on how many it has."""
    env = GlimpseVectorEnv(some_split(), 3, glimpses=1)
    single = GlimpseEnv(some_split(), glimpses=1)

    def drawn(seeds: Any) -> list[list[int]]:
        env.reset(seed=seeds)
        index = [env.state()["index"].tolist()]
        for _ in range(8):
            env.step(np.zeros((3, 2)))
            index.append(env.state()["index"].tolist())
        return index

    first = drawn(5)
    assert drawn([5, 6, 7]) == first
    assert [row[::-1] for row in drawn([7, 6, 5])] == first
    single.reset(seed=6)
    episodes = [int(single.batch.state()["index"][0])]
    for _ in range(4):
        single.reset()
        episodes.append(int(single.batch.state()["index"][0]))
    assert episodes == [row[1] for row in first[::2]]
    assert len({tuple(row) for row in first}) > 3
    goes_on = env.reset(seed=[None, 6, None])
    del goes_on
    assert env.state()["episodes"].tolist() == [6, 1, 6]
    with pytest.raises(ValueError, match="one for each of the 3 envs"):
        env.reset(seed=[1, 2])


def test_options_choose_images_and_envs() -> None:
    split = some_split()
    env = GlimpseVectorEnv(split, 3, observation="image")
    observation, _ = env.reset(options={"index": [4, 0, 19]})
    np.testing.assert_array_equal(observation["image"], split.images_NCHW[[4, 0, 19]] * np.float32(1 / 255))
    some = np.array([False, True, True])
    observation, _ = env.reset(options={"index": [7, 8], "reset_mask": some})
    assert env.state()["index"].tolist() == [4, 7, 8]
    observation, _ = env.reset(options={"index": [9, 5, 6], "reset_mask": some})
    assert env.state()["index"].tolist() == [4, 5, 6]


# Odd images


@pytest.mark.parametrize(
    "shape",
    [(1, 1, 1), (1, 1, 9), (3, 9, 1), (4, 5, 8), (2, 3, 3)],
    ids=lambda shape: "×".join(map(str, shape)),
)
@pytest.mark.parametrize("sensor", [*SENSORS, Window(12), Window(12, scales=2, border="zero")], ids=str)
def test_odd_images_have_a_defined_result(sensor: Sensor, shape: tuple[int, int, int]) -> None:
    env = GlimpseVectorEnv(
        some_split(4, shape), 5, sensor=sensor, glimpses=3, render_mode="rgb_array",
        autoreset_mode=AutoresetMode.SAME_STEP,
    )  # fmt: skip
    rng = np.random.default_rng(0)
    env.reset(seed=0)
    for _ in range(8):
        env.step(some_actions(env, rng))
        for kind in KINDS:
            single = env.observation_space_of(kind)
            for row in range(5):
                assert single.contains({name: value[row] for name, value in env.observe(kind).items()})
        np.testing.assert_array_equal(env.touched_pixels, env.masks().sum((1, 2)))
        frames = env.render()
        assert frames is not None
        assert {(str(frame.dtype), frame.shape[2]) for frame in frames} == {("uint8", 3)}


# State


@pytest.mark.parametrize(("kind", "through"), [("glimpse", "json"), ("canvas", "npz")])
@every_sensor
def test_a_restored_env_continues_bit_for_bit(sensor: Sensor, kind: Kind, through: str, tmp_path: Path) -> None:
    def make() -> GlimpseVectorEnv:
        return GlimpseVectorEnv(
            "digits-clutter", 300, sensor=sensor, observation=kind, glimpses=3, budget=0.5,
            reward="information", predictor=few_logits, view="glimpse",
            autoreset_mode=AutoresetMode.SAME_STEP,
        )  # fmt: skip

    def few_logits(observation: Observation) -> Array:
        flat = observation["glimpse"].reshape(len(observation["left"]), -1)
        return np.tile(flat * 9, 2)[:, :10]

    env, rng = make(), np.random.default_rng(0)
    env.reset(seed=0)
    for _ in range(14):
        env.step(some_actions(env, rng))
    env.reset(options={"reset_mask": rng.random(300) < 0.3})
    env.step(some_actions(env, rng))
    assert env.epoch > 0
    if sensor != Thumbnail():  # which sees everything at once
        assert 0 < env.scanpaths[1].mean() < 1
    state: Any = env.state()
    if through == "json":
        plain = {k: v.tolist() if isinstance(v, np.ndarray) else v for k, v in state.items()}
        state = json.loads(json.dumps(plain))
    else:
        np.savez(tmp_path / "state.npz", **state)
        state = dict(np.load(tmp_path / "state.npz"))
    other = make()
    other.reset(seed=99)
    other.step(some_actions(env, rng))
    other.restore(state)
    assert_same(other.state(), env.state())
    for one in KINDS:
        assert_same(env.observe(one), other.observe(one))
    np.testing.assert_array_equal(env.masks(), other.masks())
    for _ in range(9):
        action = some_actions(env, rng)
        assert_same(env.step(action), other.step(action))


# Size


def test_thousands_of_envs_share_their_images_and_grow_with_the_glimpse_alone() -> None:
    images = np.zeros((100, 1, 1024, 1024), np.uint8)
    tracemalloc.start()
    try:
        env = GlimpseVectorEnv(Split(images), 4096, sensor=Window(4), glimpses=3)
        rng = np.random.default_rng(0)
        env.reset(seed=0)
        for _ in range(5):
            env.step(some_actions(env, rng))
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < images.nbytes / 10


@pytest.mark.parametrize("kind", ["glimpse", "glimpses"])
@pytest.mark.parametrize("sensor", [Window(5, scales=2), Crop(6)], ids=str)
def test_an_observation_is_as_large_whatever_the_image(kind: Kind, sensor: Sensor) -> None:
    small, large = (
        GlimpseVectorEnv(some_split(2, (1, side, side)), sensor=sensor, observation=kind) for side in (9, 99)
    )
    assert small.single_observation_space == large.single_observation_space


# Pictures


def test_a_rendered_frame_shows_the_image_the_mask_and_the_path() -> None:
    images = np.full((1, 1, 8, 8), 200, np.uint8)
    env = GlimpseVectorEnv(Split(images), 1, sensor=Window(2), glimpses=3, render_mode="rgb_array")
    env.reset(seed=0)
    blank = env.render()
    env.step(np.array([[-1, -1]]))
    env.step(np.array([[1, 1]]))
    frames = env.render()
    assert frames is not None
    assert blank is not None
    frame = frames[0]
    assert frame.shape == (160, 160, 3)
    assert (blank[0] == blank[0][0, 0]).all()  # all of it unseen
    assert (frame[5, 5] == 200).all()  # seen
    assert (frame[80, 20] == blank[0][80, 20]).all()  # unseen
    assert (frame[0, 0] == [255, 210, 0]).all()  # the first window's frame
    assert (frame[159, 159] == [230, 30, 60]).all()  # the last one's
    assert (frame[80, 80] != blank[0][80, 80]).any()  # the path between their centres
    assert GlimpseVectorEnv(Split(images), 1).render() is None


# Endurance


def endure(sensor: Sensor, num_envs: int, steps: int, mode: AutoresetMode, currency: Any = "touched") -> None:
    """Random steps, some of them nonsense, on small images of an odd shape; everything is counted twice."""
    rng = np.random.default_rng(0)
    env = GlimpseVectorEnv(
        some_split(64, (1, 11, 7)), num_envs, sensor=sensor, observation="glimpse", glimpses=4, budget=0.6,
        currency=currency, autoreset_mode=mode,
    )  # fmt: skip
    env.reset(seed=0)
    union = np.zeros((num_envs, 11, 7), bool)
    spent = np.zeros(num_envs, int)
    for step in range(steps):
        action = some_actions(env, rng, reach=1.3)
        if step % 5 == 0:
            missing = action.copy()
            missing.flat[rng.integers(action.size)] = np.nan
            for nonsense in (missing, action[:, :-1], action[1:]):
                with pytest.raises(ValueError, match="actions must"):
                    env.step(nonsense)
        was_done = env.done
        aim = sensor.aim(action.clip(-1, 1), env.shape, env.cap - spent)
        _, _, terminated, _, info = env.step(action)
        grown = union | sensor.footprint(aim, env.shape)
        cost = (grown.sum((1, 2)) - union.sum((1, 2))) if currency == "touched" else sensor.delivered(aim, env.shape)
        fits = (spent + cost <= env.cap) & ~was_done
        union = np.where(fits[:, None, None], grown, union)
        spent = np.where(fits, spent + cost, spent)
        begun = was_done
        if mode == AutoresetMode.SAME_STEP:
            begun = terminated
            np.testing.assert_array_equal(
                info["final_info"]["touched"][terminated] if terminated.any() else [],
                union.mean((1, 2))[terminated],
            )
        elif mode == AutoresetMode.DISABLED:
            begun = terminated & (rng.random(num_envs) < 0.5)
            env.reset(options={"reset_mask": begun})
        union[begun], spent[begun] = False, 0
        np.testing.assert_array_equal(env.touched_pixels, union.sum((1, 2)))


ENDURANCE = [
    (Window(3), AutoresetMode.NEXT_STEP, "touched"),
    (Window(4, border="zero"), AutoresetMode.SAME_STEP, "touched"),
    (Window(2, scales=2), AutoresetMode.DISABLED, "touched"),
    (Crop(3), AutoresetMode.SAME_STEP, "touched"),
    (Mask(2, at_once=4), AutoresetMode.DISABLED, "touched"),
    (Thumbnail(), AutoresetMode.NEXT_STEP, "delivered"),
]


@pytest.mark.parametrize(("sensor", "mode", "currency"), ENDURANCE, ids=str)
def test_random_and_senseless_steps_break_nothing(sensor: Sensor, mode: AutoresetMode, currency: str) -> None:
    endure(sensor, 50, 60, mode, currency)


@pytest.mark.slow
def test_a_million_random_steps_break_nothing() -> None:
    for sensor, mode, currency in ENDURANCE:
        endure(sensor, 3000, 56, mode, currency)


# A reward without any object of the user's


def test_a_registered_env_has_a_reward_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def named(name: str, task: Any) -> Any:
        asked.append((name, task.name))
        return some_logits_of_ten

    monkeypatch.setattr(glimpse, "named", named)
    env = gymnasium.make("GlimpseBench/digits-v1")
    assert asked == []  # nothing is trained before it is needed
    env.reset(seed=0)
    rewards = [env.step(np.zeros(2, np.float32))[1] for _ in range(2)]
    assert asked == [("random-masks", "digits")]
    assert any(rewards)


def test_a_name_is_resolved_by_what_the_package_says(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(glimpsebench.PREDICTORS, "constant", "tests_of_names:constant")
    module = ModuleType("tests_of_names")
    module.constant = lambda task: lambda view: np.full((len(view["left"]), task.classes), 0.5)  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "tests_of_names", module)
    env = GlimpseEnv("digits", reward="information", predictor="constant")
    env.reset(seed=0)
    assert env.step(np.zeros(2, np.float32))[1] == 0
    with pytest.raises(UsageError, match="did you mean 'random-masks'"):
        GlimpseEnv("digits", reward="information", predictor="random-mask").reset()
    with pytest.raises(UsageError, match="only images"):
        GlimpseEnv(some_split(), reward="correct", predictor="random-masks")


def test_one_default_window_does_not_show_a_whole_digit() -> None:
    env = GlimpseEnv("digits")
    env.reset(seed=0)
    assert env.step(np.zeros(2, np.float32))[4]["touched"] < 0.1


class Scores(torch.nn.Module):
    """A predictor with one weight."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.ones(4))

    def predict(self, view: Observation) -> Array:
        seen_B = torch.from_numpy(view["mask"]).mean((1, 2, 3))
        logits: Array = (seen_B[:, None] * self.weight * torch.arange(4)).detach().numpy()
        return logits


@pytest.mark.parametrize("wrapped", [False, True])
def test_an_update_of_the_predictor_in_mid_episode_pays_nothing(wrapped: bool) -> None:
    scores = Scores()
    predictor = (lambda view: scores.predict(view)) if wrapped else scores.predict
    env = GlimpseVectorEnv(
        some_split(), 3, sensor=Window(2), reward="information", predictor=predictor, view="canvas", stop=True
    )
    env.reset(seed=0)
    env.step(np.array([[0.0, 0, -1]] * 3))
    with torch.no_grad():
        scores.weight.mul_(50)
    _, reward, terminated, *_ = env.step(np.array([[0.0, 0, 1]] * 3))  # stops, so that nothing new is seen
    assert terminated.all()
    np.testing.assert_allclose(reward, 0, atol=1e-9)


def test_an_env_made_from_anothers_spec_shares_its_predictor() -> None:
    scores = Scores()
    settings: dict[str, Any] = {"reward": "correct", "predictor": scores.predict, "view": "canvas"}
    env = gymnasium.make("GlimpseBench/digits-v1", **settings)
    assert env.spec is not None
    again: Any = gymnasium.make(env.spec).unwrapped
    assert again.batch.predictor.predictor.__self__ is scores
    assert deepcopy(env.unwrapped).batch.predictor is env.unwrapped.batch.predictor  # type: ignore[attr-defined]


# Prediction as a part of the action


def said(env: GlimpseVectorEnv, fixation: Array, class_B: Array) -> Array:
    """Actions that look there and predict these classes."""
    logits = np.where(np.arange(env.classes) == class_B[:, None], 3.0, 0.0)
    return np.concatenate([fixation, logits], 1).astype(np.float32)


def test_with_predict_the_action_names_the_class_and_the_last_step_only_predicts() -> None:
    split = some_split()
    assert split.labels_N is not None
    env = GlimpseVectorEnv(
        split, 3, sensor=Window(2), glimpses=2, predict=True, reward="correct", glimpse_cost=0.1, pixel_cost=1.0,
        autoreset_mode=AutoresetMode.DISABLED,
    )  # fmt: skip
    assert env.single_action_space.shape == (2 + 4,)
    _, info = env.reset(seed=0)
    assert info["target"].tolist() == [-1, -1, -1]
    labels = split.labels_N[env.state()["index"]]
    wrong = (labels + 1) % 4
    _, reward, terminated, _, info = env.step(said(env, np.full((3, 2), -1.0), labels))
    np.testing.assert_allclose(reward, 1 - 0.1 - 4 / 64)
    assert info["target"].tolist() == labels.tolist()
    _, reward, terminated, _, info = env.step(said(env, np.full((3, 2), 1.0), wrong))
    np.testing.assert_allclose(reward, -0.1 - 4 / 64)
    assert not terminated.any()
    assert not info["is_success"].any()
    said_last = np.where([True, False, True], labels, wrong)
    _, reward, terminated, _, info = env.step(said(env, np.zeros((3, 2)), said_last))
    assert reward.tolist() == [1, 0, 1]
    assert terminated.all()
    assert info["is_success"].tolist() == [True, False, True]
    assert info["num_glimpses"].tolist() == [2, 2, 2]
    assert info["touched"].tolist() == [8 / 64] * 3


def test_the_reward_of_a_prediction_may_be_its_log_likelihood() -> None:
    env = GlimpseVectorEnv(some_split(), 2, predict=True, reward="cross_entropy")
    env.reset(seed=0)
    labels = np.asarray(some_split().labels_N)[env.state()["index"]]
    _, reward, *_ = env.step(said(env, np.zeros((2, 2)), labels))
    np.testing.assert_allclose(reward, 3 - np.log(np.exp(3) + 3))
    for settings in ({"reward": "information"}, {"predictor": some_logits}, {"sensor": Mask()}):
        with pytest.raises(UsageError, match="predict="):
            GlimpseVectorEnv(some_split(), predict=True, **settings)


@pytest.mark.parametrize("reward", ["correct", "information"])
def test_a_predictors_success_is_told_when_the_episode_ends(reward: Any) -> None:
    split = some_split()
    env = GlimpseEnv(split, sensor=Window(2), glimpses=2, reward=reward, predictor=some_logits, view="canvas")
    _, info = env.reset(seed=1)
    assert not info["is_success"]
    assert not env.step(np.zeros(2))[4]["is_success"]
    info = env.step(np.ones(2))[4]
    label = np.asarray(split.labels_N)[env.batch.state()["index"][0]]
    assert info["is_success"] == (some_logits(env.batch.observe("canvas")).argmax() == label)
    assert {type(value) for value in info.values()} <= {np.bool_, np.float64, np.int64}


@pytest.mark.parametrize("mode", list(AutoresetMode))
def test_a_first_fixation_may_be_random(mode: AutoresetMode) -> None:
    env = GlimpseVectorEnv(
        some_split(), 50, sensor=Window(2, border="inside"), glimpses=2, first="random", observation="glimpse",
        autoreset_mode=mode,
    )  # fmt: skip
    observation, info = env.reset(seed=0)
    assert info["num_glimpses"].tolist() == [1] * 50
    first = observation["action"]
    assert abs(first.mean()) < 0.2
    assert len(np.unique(first)) > 90
    again, _ = env.reset(seed=0)
    assert_same(observation, again)
    observation, _, terminated, _, info = env.step(np.zeros((50, 2)))
    assert terminated.all()
    if mode == AutoresetMode.SAME_STEP:
        assert info["num_glimpses"].tolist() == [1] * 50
        assert (observation["action"] != 0).any()
    assert_same(observation, env.observe("glimpse"))


# Being handed on


@every_sensor
def test_a_pickled_or_copied_env_goes_on_alike_and_is_small(sensor: Sensor) -> None:
    env = GlimpseVectorEnv(
        "digits-clutter", 40, sensor=sensor, observation="canvas", glimpses=3, reward="correct", predictor=some_logits
    )
    env.reset(seed=0)
    rng = np.random.default_rng(0)
    env.step(some_actions(env, rng))
    data = pickle.dumps(env)
    own = sum(np.asarray(value).nbytes for value in env.state().values()) + 40 * 32 * 32  # a bitmap of what is touched
    assert len(data) < own + 30_000  # no image set, no canvas, no bounds of spaces
    others = [pickle.loads(data), deepcopy(env)]
    assert others[1]._worlds[0] is env._worlds[0]
    for _ in range(7):
        action = some_actions(env, rng)
        result = env.step(action)
        for other in others:
            assert_same(result, other.step(action))


@pytest.mark.slow
def test_processes_take_the_env_and_tell_its_attributes() -> None:
    settings: dict[str, Any] = {"sensor": "window:4", "reward": "none"}
    spawn = {"context": "spawn"}
    id_ = "GlimpseBench/digits-v1"
    theirs: Any = gymnasium.make_vec(id_, 2, vectorization_mode="async", vector_kwargs=spawn, **settings)
    ours: Any = gymnasium.make_vec(id_, 2, vectorization_mode="sync", **settings)
    try:
        assert_same(theirs.reset(seed=3)[0], ours.reset(seed=3)[0])
        for action in np.random.default_rng(0).uniform(-1, 1, (7, 2, 2)).astype(np.float32):
            for part, other in zip(theirs.step(action)[:4], ours.step(action)[:4], strict=True):
                assert_same(part, other)
        assert [batch.sensor.size for batch in theirs.get_attr("batch")] == [4, 4]
    finally:
        theirs.close()


def test_an_env_is_the_same_from_its_spec_as_json() -> None:
    for given in (Crop(5), "crop:5", {"kind": "crop", "size": 5}):
        env = gymnasium.make("GlimpseBench/digits-v1", sensor=given, reward="none", glimpses=3)
        assert env.spec is not None
        again: Any = gymnasium.make(gymnasium.envs.registration.EnvSpec.from_json(env.spec.to_json()))
        assert again.unwrapped.batch.sensor == Crop(5)
        assert again.observation_space == env.observation_space
    with pytest.raises(UsageError, match="did you mean 'window'"):
        GlimpseEnv("digits", sensor="windw:3")
    with pytest.raises(UsageError, match="did you mean 'size'"):
        GlimpseEnv("digits", sensor={"kind": "window", "siz": 3})


def test_a_batch_has_the_episodes_of_gymnasiums_sync_vector_env_by_the_same_seed() -> None:
    settings: dict[str, Any] = {"observation": "image", "glimpses": 1, "reward": "none"}
    ours = gymnasium.make_vec("GlimpseBench/digits-v1", 4, **settings)
    theirs = gymnasium.make_vec("GlimpseBench/digits-v1", 4, vectorization_mode="sync", **settings)
    assert_same(ours.reset(seed=3)[0], theirs.reset(seed=3)[0])
    for _ in range(6):
        action = ours.action_space.sample()
        assert_same(ours.step(action)[0], theirs.step(action)[0])


def test_a_limit_of_steps_truncates() -> None:
    env: Any = gymnasium.make_vec("GlimpseBench/digits-v1", 2, max_episode_steps=2, reward="none")
    env.reset(seed=0)
    ends = [[part.tolist() for part in env.step(np.zeros((2, 2), np.float32))[2:4]] for _ in range(3)]
    no, yes = [False, False], [True, True]
    assert ends == [[no, no], [no, yes], [no, no]]


def test_the_test_images_are_not_for_whoever_asks() -> None:
    with pytest.raises(UsageError, match="half"):
        GlimpseEnv("digits", half="test")


@pytest.mark.parametrize(
    ("settings", "ended"), [({"glimpses": 1}, (True, False)), ({"max_episode_steps": 1}, (False, True))]
)
def test_a_step_of_a_finished_env_is_told_and_how_it_ended(settings: dict[str, Any], ended: tuple[bool, bool]) -> None:
    env = GlimpseEnv(some_split(), **settings)
    env.reset(seed=0)
    for idle in (False, True, True):
        *_, terminated, truncated, info = env.step(np.zeros(2))
        assert ((terminated, truncated), bool(info["idle"])) == (ended, idle)
    env.reset()
    assert not env.step(np.zeros(2))[4]["idle"]


def test_an_env_that_is_stepped_on_says_of_each_episode_how_it_ended() -> None:
    env = GlimpseVectorEnv(
        some_split(), 2, glimpses=3, stop=True, max_episode_steps=2, autoreset_mode=AutoresetMode.DISABLED
    )
    env.reset(seed=0)
    stops_one = np.array([[0, 0, 1], [0, 0, -1]], np.float32)
    both_look = np.array([[0, 0, -1], [0, 0, -1]], np.float32)
    ends = [[part.tolist() for part in env.step(action)[2:4]] for action in (stops_one, both_look, both_look)]
    assert ends == [[[True, False], [False, False]], [[True, False], [False, True]], [[True, False], [False, True]]]


def test_one_image_can_be_chosen_for_a_single_env() -> None:
    env = GlimpseEnv(some_split(), observation="image")
    observation, _ = env.reset(options={"index": 5})
    np.testing.assert_array_equal(observation["image"], some_split().images_NCHW[5] * np.float32(1 / 255))


@pytest.mark.parametrize("kind", ["glimpse", "glimpses", "canvas", "image"])
def test_no_info_has_the_name_of_an_observation(kind: Kind) -> None:
    """TorchRL puts both into one dictionary."""
    env = GlimpseEnv(some_split(), observation=kind, predict=True, reward="correct")
    observation, info = env.reset(seed=0)
    assert not observation.keys() & info.keys()


def test_pictures_for_convolutional_policies_are_bytes_with_the_channels_last() -> None:
    split = some_split(shape=(3, 6, 9))
    env = GlimpseVectorEnv(split, 2, sensor=Window(3), observation="canvas", image_format="uint8_HWC")
    env.reset(seed=0)
    observation, *_ = env.step(np.zeros((2, 2)))
    assert observation in env.observation_space
    assert observation["canvas"].shape == (2, 6, 9, 3)
    assert observation["canvas"].dtype == np.uint8
    image = split.images_NCHW[env.state()["index"]].transpose(0, 2, 3, 1)
    np.testing.assert_array_equal(env.observe("image")["image"], image)
    np.testing.assert_array_equal(observation["canvas"], np.where(observation["mask"] > 0, image, 0))


def test_a_frame_can_be_text() -> None:
    env = GlimpseEnv(Split(np.full((1, 1, 4, 4), 255, np.uint8)), sensor=Window(2), render_mode="ansi")
    env.reset(seed=0)
    env.step(np.array([-1.0, -1.0]))
    assert env.render() == "@@··\n@@··\n····\n····"


@pytest.mark.parametrize("mode", [AutoresetMode.NEXT_STEP, AutoresetMode.SAME_STEP])
def test_a_random_first_look_of_some_envs_leaves_the_newest_glimpse_of_the_others(mode: AutoresetMode) -> None:
    split = Split(np.full((3, 1, 8, 8), 200, np.uint8))
    env = GlimpseVectorEnv(
        split, 2, sensor=Window(2), glimpses=9, stop=True, first="random", observation="glimpse", autoreset_mode=mode
    )
    env.reset(seed=0)
    for _ in range(2):  # the first env stops, and begins again in this step or the next
        observation, *_ = env.step(np.array([[0, 0, 1], [0.5, 0.5, -1]], np.float32))
    assert observation["glimpse"][1].all()
    assert_same(observation, env.observe("glimpse"))
    env.reset(options={"reset_mask": np.array([True, False])})
    assert env.observe("glimpse")["glimpse"][1].all()
