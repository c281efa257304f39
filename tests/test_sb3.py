"""Stable-Baselines3 sees in the native batch what it would see in many single envs."""

from __future__ import annotations

from collections import deque
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from gymnasium.vector import AutoresetMode
from numpy.typing import NDArray
from stable_baselines3 import PPO
from stable_baselines3.common.callbacks import EvalCallback
from stable_baselines3.common.evaluation import evaluate_policy
from stable_baselines3.common.monitor import Monitor
from stable_baselines3.common.vec_env import DummyVecEnv, SubprocVecEnv, VecMonitor, VecTransposeImage

from glimpsebench.envs.errors import UsageError
from glimpsebench.envs.glimpse import GlimpseEnv, GlimpseVectorEnv, Observation
from glimpsebench.envs.grid import GridFixations, VectorGridFixations
from glimpsebench.envs.sb3 import SmallImageExtractor, VecGlimpse
from glimpsebench.envs.sensors import Window
from glimpsebench.envs.tasks import Split

Array = NDArray[Any]


def some_split() -> Split:
    rng = np.random.default_rng(0)
    return Split(rng.integers(0, 256, (20, 1, 8, 8), dtype=np.uint8), rng.integers(0, 3, 20))


def some_logits(observation: Observation) -> Array:
    return observation["glimpses"].reshape(len(observation["left"]), -1)[:, :3]


def batch(num_envs: int = 4, mode: AutoresetMode = AutoresetMode.SAME_STEP, **settings: Any) -> GlimpseVectorEnv:
    usual: dict[str, Any] = {"sensor": Window(3), "glimpses": 4, "budget": 0.4}
    usual |= {"reward": "correct", "predictor": some_logits}
    return GlimpseVectorEnv(some_split(), num_envs, autoreset_mode=mode, **(usual | settings))


class Replayed(GlimpseEnv):
    """A single env whose images are given."""

    def __init__(self) -> None:
        super().__init__(
            some_split(), sensor=Window(3), glimpses=4, budget=0.4, reward="correct", predictor=some_logits
        )
        self.coming: deque[int] = deque()

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[Observation, dict[str, Any]]:
        del seed, options
        return super().reset(options={"index": [self.coming.popleft()]})


@pytest.mark.parametrize("grid", [False, True])
def test_it_is_the_dummy_vec_env_of_single_envs(grid: bool) -> None:
    native = batch()
    ours = VecGlimpse(VectorGridFixations(native, 3, 3) if grid else native)
    singles = [Replayed() for _ in range(4)]

    def monitored(single: Replayed) -> Monitor[Any, Any]:
        return Monitor(GridFixations(single, 3, 3) if grid else single)

    theirs = DummyVecEnv([partial(monitored, single) for single in singles])
    assert ours.observation_space == theirs.observation_space
    assert ours.action_space == theirs.action_space
    ours.seed(3)
    observation: Any = ours.reset()
    for single, index in zip(singles, native.state()["index"], strict=True):
        single.coming.append(int(index))
    their_observation: Any = theirs.reset()
    assert ours.reset_infos == theirs.reset_infos
    rng, episodes = np.random.default_rng(0), 0
    for _ in range(40):
        for name, value in observation.items():
            np.testing.assert_array_equal(value, their_observation[name])
        action = rng.integers(0, 9, 4) if grid else rng.uniform(-1, 1, (4, 2)).astype(np.float32)
        observation, reward, done, infos = ours.step(action)
        for env in done.nonzero()[0]:
            singles[env].coming.append(int(native.state()["index"][env]))
        their_observation, their_reward, their_done, their_infos = theirs.step(action)
        np.testing.assert_array_equal(reward, their_reward)
        assert reward.dtype == their_reward.dtype
        np.testing.assert_array_equal(done, their_done)
        for info, their_info, ended in zip(infos, their_infos, done, strict=True):
            if ended:
                episodes += 1
                last, their_last = info.pop("terminal_observation"), their_info.pop("terminal_observation")
                for name, value in last.items():
                    np.testing.assert_array_equal(value, their_last[name])
                del their_info["episode"]["t"]
            else:
                del their_info["TimeLimit.truncated"]
            assert info == their_info
    assert episodes > 30


def test_seeds_and_options_hold_for_one_reset() -> None:
    env = VecGlimpse(batch(observation="image", view="glimpses"))
    env.seed(5)
    first = env.reset()["image"]
    other = env.reset()["image"]
    env.seed(5)
    np.testing.assert_array_equal(env.reset()["image"], first)
    assert (other != first).any()
    env.set_options([{"index": index} for index in (3, 1, 4, 1)])
    chosen = env.reset()["image"]
    np.testing.assert_array_equal(chosen, some_split().images_NCHW[[3, 1, 4, 1]] * np.float32(1 / 255))
    assert (env.reset()["image"] != chosen).any()


def test_attributes_and_methods_are_those_of_the_batch() -> None:
    env = VecGlimpse(batch(render_mode="rgb_array"))
    assert env.get_attr("render_mode") == ["rgb_array"] * 4
    assert env.get_attr("horizon", [0, 2]) == [4, 4]
    assert not env.has_attr("action_masks")
    env.reset()
    assert np.stack(env.env_method("masks")).shape == (4, 8, 8)
    assert len(env.env_method("masks", indices=1)) == 1
    frame = env.render()
    assert frame is not None
    assert frame.shape == (320, 320, 3)
    with pytest.raises(UsageError, match="each env"):
        env.env_method("state")
    env.set_attr("budget", 0.3)
    assert env.get_attr("budget") == [0.3] * 4
    with pytest.raises(UsageError, match="share"):
        env.set_attr("budget", 0.3, indices=[0])
    grid = VecGlimpse(VectorGridFixations(batch(), 3, 3))
    grid.reset()
    grid.step(np.arange(4))
    assert grid.has_attr("action_masks")
    masks = np.stack(grid.env_method("action_masks"))
    np.testing.assert_array_equal(~masks, np.eye(9, dtype=bool)[:4])
    assert list(VecGlimpse(batch()).get_images()) == [None] * 4


@pytest.mark.parametrize("mode", [AutoresetMode.NEXT_STEP, AutoresetMode.DISABLED])
def test_another_autoreset_would_shift_transitions_and_is_refused(mode: AutoresetMode) -> None:
    with pytest.raises(UsageError, match="SAME_STEP"):
        VecGlimpse(batch(mode=mode))


def test_ppo_learns_on_it_and_equal_seeds_give_equal_weights() -> None:
    def weights() -> dict[str, torch.Tensor]:
        model = PPO(
            "MultiInputPolicy", VecGlimpse(batch()), n_steps=16, batch_size=32, n_epochs=1, seed=0, device="cpu"
        )
        model.learn(128)
        assert len(model.ep_info_buffer or ()) > 10
        evaluate_policy(model, VecGlimpse(batch()), n_eval_episodes=6)
        state: dict[str, torch.Tensor] = model.policy.state_dict()
        return state

    one, other = weights(), weights()
    assert all(torch.equal(value, other[name]) for name, value in one.items())


def test_a_monitor_around_it_counts_the_same_episodes(tmp_path: Path) -> None:
    """SB3 warns where two count, or nobody does where somebody should; here warnings are errors."""
    own, theirs = VecGlimpse(batch()), VecGlimpse(batch(), monitor=False)
    monitored = VecMonitor(theirs, str(tmp_path / "log"))
    for env in (own, theirs):
        env.seed(0)
    own.reset(), monitored.reset()
    rng = np.random.default_rng(0)
    for _ in range(12):
        action = rng.uniform(-1, 1, (4, 2))
        _, _, done, infos = own.step(action)
        their_infos = monitored.step(action)[3]
        assert [("episode" in info) for info in infos] == done.tolist()
        for info, their_info in zip(infos, their_infos, strict=True):
            if "episode" in info:
                assert their_info["episode"]["l"] == info["episode"]["l"]
                assert their_info["episode"]["r"] == pytest.approx(info["episode"]["r"])
    monitored.close()
    assert len((tmp_path / "log.monitor.csv").read_text().splitlines()) > 10
    learner = PPO("MultiInputPolicy", VecGlimpse(batch()), n_steps=8, batch_size=16, n_epochs=1, device="cpu")
    evaluate_policy(learner, VecMonitor(VecGlimpse(batch(), monitor=False)), n_eval_episodes=4)
    with pytest.warns(UserWarning, match="not wrapped with a ``Monitor``"):
        evaluate_policy(learner, VecGlimpse(batch(), monitor=False), n_eval_episodes=4)


def test_a_learner_is_not_left_without_a_reward_in_silence() -> None:
    settings: dict[str, Any] = {"autoreset_mode": AutoresetMode.SAME_STEP}
    with pytest.raises(UsageError, match="train on zeros"):
        VecGlimpse(GlimpseVectorEnv(some_split(), 2, **settings))
    VecGlimpse(GlimpseVectorEnv(some_split(), 2, reward="none", **settings))


def test_images_are_chosen_for_all_envs_or_for_none() -> None:
    env = VecGlimpse(batch(3, observation="image"))
    env.set_options([{"index": 4}, {"index": 0}, {"index": 19}])
    observation: Any = env.reset()
    np.testing.assert_array_equal(observation["image"], some_split().images_NCHW[[4, 0, 19]] * np.float32(1 / 255))
    env.set_options({"index": 7})
    observation = env.reset()
    np.testing.assert_array_equal(observation["image"], some_split().images_NCHW[[7, 7, 7]] * np.float32(1 / 255))
    env.set_options([{"index": 4}, {}, {}])
    with pytest.raises(UsageError, match="1 of 3"):
        env.reset()


def test_success_reaches_the_evaluation_callback(tmp_path: Any) -> None:
    env = VecGlimpse(batch(2))
    callback = EvalCallback(VecGlimpse(batch(2)), n_eval_episodes=4, eval_freq=8, verbose=0, log_path=str(tmp_path))
    PPO("MultiInputPolicy", env, n_steps=8, batch_size=16, n_epochs=1, device="cpu").learn(16, callback)
    assert len(callback._is_success_buffer) == 4


@pytest.mark.parametrize("kind", ["canvas", "image"])
def test_a_convolutional_policy_reads_small_pictures_and_is_evaluated_on_them(kind: Any) -> None:
    env, other = (VecGlimpse(batch(2, observation=kind, image_format="uint8_HWC", view="glimpses")) for _ in range(2))
    extractor = {"features_extractor_class": SmallImageExtractor, "features_extractor_kwargs": {"features_dim": 32}}
    learner = PPO("MultiInputPolicy", env, n_steps=8, batch_size=16, n_epochs=1, policy_kwargs=extractor, device="cpu")
    learner.learn(16, EvalCallback(VecTransposeImage(other), n_eval_episodes=2, eval_freq=8, verbose=0))
    picture = learner.policy.features_extractor.convolutions[0].weight  # type: ignore[union-attr, index]
    assert picture.shape[1] == {"canvas": 2, "image": 1}[kind]
    assert picture.grad is not None


@pytest.mark.parametrize("stop", [False, True])
def test_a_grid_of_fixations_may_come_with_a_choice_of_class(stop: bool) -> None:
    native = GlimpseVectorEnv(
        some_split(), 2, sensor=Window(3), stop=stop, predict=True, reward="correct",
        autoreset_mode=AutoresetMode.SAME_STEP,
    )  # fmt: skip
    env = VectorGridFixations(native, 2, 2)
    env.reset(seed=0)
    assert env.single_action_space.nvec.tolist() == [4 + stop, 3]  # type: ignore[attr-defined]
    labels = np.asarray(some_split().labels_N)[native.state()["index"]]
    _, reward, *_ = env.step(np.stack([[0, 3], labels], 1))
    assert reward.tolist() == [1, 1]
    assert env.action_masks()[0].tolist() == [False, True, True, True] + [True] * stop + [True] * 3
    PPO("MultiInputPolicy", VecGlimpse(env), n_steps=8, batch_size=16, n_epochs=1, device="cpu").learn(16)


@pytest.mark.slow
def test_subprocesses_take_the_env() -> None:
    env = SubprocVecEnv([partial(GlimpseEnv, "digits", reward="none", sensor="window:2")] * 2, start_method="spawn")
    try:
        observation: Any = env.reset()
        assert observation["valid"].shape == (2, 6)
        assert [one.sensor.size for one in env.get_attr("batch")] == [2, 2]
    finally:
        env.close()


def test_a_truncated_episode_ends_as_one() -> None:
    env = VecGlimpse(batch(2, budget=1.0, max_episode_steps=2))
    env.reset()
    ends = []
    for _ in range(4):
        *_, done, infos = env.step(np.zeros((2, 2), np.float32))
        ends.append((done.tolist(), [info.get("TimeLimit.truncated") for info in infos]))
    no, yes = ([False, False], [None, None]), ([True, True], [True, True])
    assert ends == [no, yes, no, yes]
