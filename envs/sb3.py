"""Stable-Baselines3's `VecEnv` over the native batch, and a features extractor for small images.

    learner = PPO("MultiInputPolicy", make("digits-clutter", 64))
    learner.learn(100_000, EvalCallback(make("digits-clutter", 64, half="val")))

What Stable-Baselines3 warns of, and what then to do:

- "already wrapped with a `Monitor`": `VecMonitor` around it, which is needed for its log file alone, wants
  `monitor=False` here.
- "not of the same type": an `EvalCallback` where the learner has put `VecTransposeImage` around the env that it trains
  on, as it does around `uint8_HWC` images; put it around the other one: `EvalCallback(VecTransposeImage(env))`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from gymnasium import spaces
from gymnasium.vector import AutoresetMode, VectorEnv
from numpy.typing import NDArray
from stable_baselines3.common.monitor import Monitor
from stable_baselines3.common.torch_layers import BaseFeaturesExtractor
from stable_baselines3.common.vec_env import VecEnv
from stable_baselines3.common.vec_env.base_vec_env import VecEnvIndices
from torch import nn

from glimpsebench.envs.errors import UsageError
from glimpsebench.envs.glimpse import GlimpseVectorEnv, Observation

Array = NDArray[Any]


class VecGlimpse(VecEnv):
    """A `GlimpseVectorEnv`, bare or as `VectorGridFixations`, as Stable-Baselines3 steps it.

    An env that ends begins anew in the same step. The infos of that step are the ended episode's, with
    `terminal_observation`, `TimeLimit.truncated` and, with `monitor`, what `Monitor` would say of the `episode`:
    return `r` and length `l`, but no time, so that equal seeds give equal infos.

    `seed(n)` seeds the envs with n, n + 1, …; `set_options([{"index": i}, …])` chooses images.

    Args:
        env: made with `autoreset_mode=AutoresetMode.SAME_STEP` and a `reward`, if only `"none"`.
        monitor: it plays the part of `Monitor`, as `evaluate_policy` and the logs want somebody to; False leaves that
            to a `VecMonitor` around it.
    """

    def __init__(self, env: VectorEnv[Observation, Array, Array], monitor: bool = True) -> None:
        batch = env.unwrapped
        if not isinstance(batch, GlimpseVectorEnv) or batch.autoreset_mode != AutoresetMode.SAME_STEP:
            raise UsageError(f"{env} must be a GlimpseVectorEnv with autoreset_mode=AutoresetMode.SAME_STEP")
        if not batch.reward_given:
            raise UsageError(
                "this env has no reward, and a learner would train on zeros: make it with reward='information' and "
                "predictor='random-masks', with predict=True and reward='correct', or with reward='none' if you mean it"
            )
        self.env, self.batch, self.monitor = env, batch, monitor
        self.actions = np.zeros(0)
        self.returns = np.zeros(env.num_envs)
        self.lengths = np.zeros(env.num_envs, np.int64)
        super().__init__(env.num_envs, env.single_observation_space, env.single_action_space)

    def reset(self) -> Observation:
        chosen = [options["index"] for options in self._options if "index" in options]
        if len(chosen) not in (0, self.num_envs):
            raise UsageError(f"set_options: 'index' for {len(chosen)} of {self.num_envs} envs; give all one, or none")
        seeds: Any = list(self._seeds)
        options = {"index": np.array(chosen).reshape(-1)} if chosen else None
        observation, info = self.env.reset(seed=seeds, options=options)
        self._reset_seeds()
        self._reset_options()
        self.reset_infos = _rows(info)
        self.returns[:], self.lengths[:] = 0, 0
        return observation

    def step_async(self, actions: Array) -> None:
        self.actions = actions

    def step_wait(self) -> tuple[Observation, Array, Array, list[dict[str, Any]]]:
        observation, reward, terminated, truncated, info = self.env.step(self.actions)
        done = terminated | truncated
        self.returns += reward
        self.lengths += 1
        infos = _rows(info)
        if done.any():
            last = _rows(info["final_info"])
            for env in done.nonzero()[0]:
                infos[env] = last[env] | {
                    "terminal_observation": info["final_obs"][env],
                    "TimeLimit.truncated": bool(truncated[env]),
                }
                if self.monitor:
                    infos[env]["episode"] = {"r": float(self.returns[env]), "l": int(self.lengths[env])}
            self.returns[done], self.lengths[done] = 0, 0
        return observation, reward.astype(np.float32), done, infos

    def state(self) -> dict[str, Any]:
        """Everything that the future depends on between two steps, as `GlimpseVectorEnv.state` has it."""
        return {"batch": self.batch.state(), "returns": self.returns.copy(), "lengths": self.lengths.copy()}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Continue from a `state` bit for bit. The env must have been made with the same arguments."""
        self.batch.restore(state["batch"])
        self.returns[:], self.lengths[:] = state["returns"], state["lengths"]

    def close(self) -> None:
        self.env.close()

    def get_images(self) -> Sequence[Array | None]:
        frames: Any = self.env.render()
        return [None] * self.num_envs if frames is None else frames

    def get_attr(self, attr_name: str, indices: VecEnvIndices = None) -> list[Any]:
        """The batch's attribute, once for each env: they share it."""
        value = getattr(self.env, attr_name)
        return [value for _ in self._get_indices(indices)]

    def set_attr(self, attr_name: str, value: Any, indices: VecEnvIndices = None) -> None:
        if indices is not None:
            raise UsageError(f"cannot set '{attr_name}' of some envs: they share their attributes")
        setattr(self.env, attr_name, value)

    def env_method(
        self, method_name: str, *method_args: Any, indices: VecEnvIndices = None, **method_kwargs: Any
    ) -> list[Any]:
        """Each env's row of what the batch's method returns: for `action_masks`, `masks` and `render`."""
        results = getattr(self.env, method_name)(*method_args, **method_kwargs)
        if not isinstance(results, (np.ndarray, tuple)) or len(results) != self.num_envs:
            raise UsageError(f"'{method_name}' has no result for each env: call it on the batch, `.env`")
        return [results[env] for env in self._get_indices(indices)]

    def env_is_wrapped(self, wrapper_class: type[Any], indices: VecEnvIndices = None) -> list[bool]:
        """True of `Monitor` where the episode infos play its part."""
        return [self.monitor and wrapper_class is Monitor for _ in self._get_indices(indices)]


class SmallImageExtractor(BaseFeaturesExtractor):
    """Features of observations with small pictures: three 3×3 convolutions over canvas and mask or the image.

    SB3's own `NatureCNN` needs images of 36 pixels a side; this one takes any. Entries that are no pictures are
    appended flat. For envs made with `image_format="uint8_HWC"` and `observation="canvas"` or `"image"`:

        PPO("MultiInputPolicy", env, policy_kwargs={"features_extractor_class": SmallImageExtractor})

    Args:
        observation_space: of the env, after SB3 has put the channels first.
        features_dim: how many features it gives.
        width: channels of the first convolution; the others have twice as many.
    """

    def __init__(self, observation_space: spaces.Dict, features_dim: int = 128, width: int = 16) -> None:
        super().__init__(observation_space, features_dim)
        shapes = {name: space.shape or () for name, space in observation_space.items()}
        self.pictures = [name for name, shape in shapes.items() if len(shape) == 3]
        self.others = [name for name, shape in shapes.items() if len(shape) != 3]
        channels = sum(shapes[name][0] for name in self.pictures)
        self.convolutions = nn.Sequential(
            *(nn.Conv2d(channels, width, 3, 2, 1), nn.ReLU()),
            *(nn.Conv2d(width, 2 * width, 3, 2, 1), nn.ReLU()),
            *(nn.Conv2d(2 * width, 2 * width, 3, 1, 1), nn.ReLU(), nn.Flatten()),
        )
        with torch.no_grad():
            example = torch.zeros(1, channels, *shapes[self.pictures[0]][1:])
            flat = self.convolutions(example).shape[1] + sum(int(np.prod(shapes[name])) for name in self.others)
        self.head = nn.Sequential(nn.Linear(flat, features_dim), nn.ReLU())

    def forward(self, observations: dict[str, torch.Tensor]) -> torch.Tensor:
        picture_BCHW = torch.cat([observations[name] for name in self.pictures], 1)
        others = [observations[name].flatten(1) for name in self.others]
        features: torch.Tensor = self.head(torch.cat([self.convolutions(picture_BCHW), *others], 1))
        return features


def make(task: str, num_envs: int = 64, monitor: bool = True, **settings: Any) -> VecGlimpse:
    """A batch for Stable-Baselines3 over a named task; rewarded for information gained, unless told otherwise."""
    usual: dict[str, Any] = (
        {"reward": "information", "predictor": "random-masks"} if not settings.get("predict") else {}
    )
    env = GlimpseVectorEnv(task, num_envs, autoreset_mode=AutoresetMode.SAME_STEP, **(usual | settings))
    return VecGlimpse(env, monitor)


def _rows(info: dict[str, Any]) -> list[dict[str, Any]]:
    """A batch's info as one plain dictionary for each env."""
    names = [name for name in info if not name.startswith(("_", "final_"))]
    columns = [info[name].tolist() for name in names]
    return [dict(zip(names, row, strict=True)) for row in zip(*columns, strict=True)]
