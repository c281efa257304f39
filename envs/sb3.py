"""Stable-Baselines3's `VecEnv` over the native batch: what PPO and its kin step instead of many single envs.

env = VecGlimpse(GlimpseVectorEnv("digits", 64, autoreset_mode=AutoresetMode.SAME_STEP))
PPO("MultiInputPolicy", env).learn(100_000)
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from gymnasium.vector import AutoresetMode, VectorEnv
from numpy.typing import NDArray
from stable_baselines3.common.monitor import Monitor
from stable_baselines3.common.vec_env import VecEnv
from stable_baselines3.common.vec_env.base_vec_env import VecEnvIndices

from glimpsebench.envs.errors import UsageError
from glimpsebench.envs.glimpse import GlimpseVectorEnv, Observation

Array = NDArray[Any]


class VecGlimpse(VecEnv):
    """A `GlimpseVectorEnv`, bare or as `VectorGridFixations`, as Stable-Baselines3 steps it.

    An env that ends begins anew in the same step. The infos of that step are the ended episode's, with
    `terminal_observation`, `TimeLimit.truncated` (always False) and what `Monitor` would say of the `episode`:
    return `r` and length `l`, but no time, so that equal seeds give equal infos.

    The envs share one generator: `seed(n)` seeds it with n. `set_options([{"index": i}, …])` chooses images.

    Args:
        env: made with `autoreset_mode=AutoresetMode.SAME_STEP`.
    """

    def __init__(self, env: VectorEnv[Observation, Array, Array]) -> None:
        batch = env.unwrapped
        if not isinstance(batch, GlimpseVectorEnv) or batch.autoreset_mode != AutoresetMode.SAME_STEP:
            raise UsageError(f"{env} must be a GlimpseVectorEnv with autoreset_mode=AutoresetMode.SAME_STEP")
        self.env = env
        self.actions = np.zeros(0)
        self.returns = np.zeros(env.num_envs)
        self.lengths = np.zeros(env.num_envs, np.int64)
        super().__init__(env.num_envs, env.single_observation_space, env.single_action_space)

    def reset(self) -> Observation:
        chosen = [options["index"] for options in self._options if "index" in options]
        options = {"index": np.array(chosen).reshape(-1)} if chosen else None
        observation, info = self.env.reset(seed=self._seeds[0], options=options)
        self._reset_seeds()
        self._reset_options()
        self.reset_infos = _rows(info)
        self.returns[:], self.lengths[:] = 0, 0
        return observation

    def step_async(self, actions: Array) -> None:
        self.actions = actions

    def step_wait(self) -> tuple[Observation, Array, Array, list[dict[str, Any]]]:
        observation, reward, done, _, info = self.env.step(self.actions)
        self.returns += reward
        self.lengths += 1
        infos = _rows(info)
        if done.any():
            last = _rows(info["final_info"])
            for env in done.nonzero()[0]:
                infos[env] = last[env] | {
                    "terminal_observation": info["final_obs"][env],
                    "TimeLimit.truncated": False,
                    "episode": {"r": float(self.returns[env]), "l": int(self.lengths[env])},
                }
            self.returns[done], self.lengths[done] = 0, 0
        return observation, reward.astype(np.float32), done, infos

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
        """True of `Monitor`, whose part the episode infos play."""
        return [wrapper_class is Monitor for _ in self._get_indices(indices)]


def _rows(info: dict[str, Any]) -> list[dict[str, Any]]:
    """A batch's info as one plain dictionary for each env."""
    names = [name for name in info if not name.startswith(("_", "final_"))]
    columns = [info[name].tolist() for name in names]
    return [dict(zip(names, row, strict=True)) for row in zip(*columns, strict=True)]
