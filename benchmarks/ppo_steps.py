"""How much of Stable-Baselines3's PPO is the env: the native batch against as many single envs.

    OMP_NUM_THREADS=1 python benchmarks/ppo_steps.py

PPO learns where to look on digits-clutter (32×32, 8×8 windows, 6 glimpses) with 64 envs and the `information`
reward, for which a small predictor classifies at every step what has been seen. The policy is SB3's
MultiInputPolicy with the extractor below over the `glimpses` observation (every glimpse with its fixation
through one layer, then the mean of those taken); the predictor is the same net with ten outputs, frozen, since
only the time matters here. PPO's settings are usual ones: 64 steps, 4 epochs, minibatches of 512.

Both learn in one process and one thread, by turns; the best of several turns counts. "env and predictor" is
the time inside the env's step, the predictor included, as a share of `learn`. The last line printed is JSON.
Takes about a minute.
"""

from __future__ import annotations

import argparse
import json
import time
from typing import Any

import numpy as np
import stable_baselines3
import torch
from gymnasium.vector import AutoresetMode
from numpy.typing import NDArray
from stable_baselines3 import PPO
from stable_baselines3.common.monitor import Monitor
from stable_baselines3.common.torch_layers import BaseFeaturesExtractor
from stable_baselines3.common.vec_env import DummyVecEnv, VecEnv
from torch import Tensor, nn

from glimpsebench.envs import GlimpseEnv, GlimpseVectorEnv, Window
from glimpsebench.envs.glimpse import Observation
from glimpsebench.envs.sb3 import VecGlimpse

TASK, NUM_ENVS, GLIMPSES, SIZE, WIDTH = "digits-clutter", 64, 6, 8, 64
N_STEPS = 64


class MeanOfGlimpses(BaseFeaturesExtractor):
    """Every glimpse with its fixation through one layer, then the mean of those taken."""

    def __init__(self, observation_space: Any) -> None:
        super().__init__(observation_space, WIDTH)
        self.layer = nn.Sequential(nn.Linear(SIZE**2 + 2, WIDTH), nn.ReLU())

    def forward(self, observation: dict[str, Tensor]) -> Tensor:
        valid_BT1 = observation["valid"][..., None]
        glimpse_BTV = torch.cat([observation["glimpses"].flatten(2), observation["actions"]], -1)
        sum_BW = (self.layer(glimpse_BTV) * valid_BT1).sum(1)
        mean_BW: Tensor = sum_BW / valid_BT1.sum(1).clamp(min=1)
        return mean_BW


def predictor(space: Any) -> Any:
    net = nn.Sequential(MeanOfGlimpses(space), nn.Linear(WIDTH, 10))

    @torch.inference_mode()
    def predict(observation: Observation) -> NDArray[Any]:
        logits: NDArray[Any] = net({k: torch.from_numpy(v) for k, v in observation.items()}).numpy()
        return logits

    return predict


def settings() -> dict[str, Any]:
    shared: dict[str, Any] = {"sensor": Window(SIZE), "glimpses": GLIMPSES}
    space = GlimpseVectorEnv(TASK, **shared).single_observation_space
    return shared | {"reward": "information", "predictor": predictor(space)}


def native() -> VecEnv:
    return VecGlimpse(GlimpseVectorEnv(TASK, NUM_ENVS, autoreset_mode=AutoresetMode.SAME_STEP, **settings()))


def singles() -> VecEnv:
    chosen = settings()
    return DummyVecEnv([lambda: Monitor(GlimpseEnv(TASK, **chosen)) for _ in range(NUM_ENVS)])


class Timed:
    """PPO over an env, with the time that its steps take."""

    def __init__(self, env: VecEnv) -> None:
        self.inside = 0.0
        step = env.step_wait

        def step_wait() -> Any:
            start = time.perf_counter()
            result = step()
            self.inside += time.perf_counter() - start
            return result

        env.step_wait = step_wait  # type: ignore[method-assign]
        self.model = PPO(
            "MultiInputPolicy",
            env,
            n_steps=N_STEPS,
            batch_size=512,
            n_epochs=4,
            seed=0,
            device="cpu",
            policy_kwargs={"features_extractor_class": MeanOfGlimpses},
        )

    def learn(self, rollouts: int) -> tuple[float, float]:
        """Steps per second of `learn`, and the share of its time that was inside the env."""
        self.inside = 0.0
        start = time.perf_counter()
        self.model.learn(rollouts * N_STEPS * NUM_ENVS, reset_num_timesteps=False)
        seconds = time.perf_counter() - start
        return rollouts * N_STEPS * NUM_ENVS / seconds, self.inside / seconds


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    options.add_argument("--turns", type=int, default=5)
    options.add_argument("--rollouts", type=int, default=3, help="rollouts of 64 steps in a turn")
    chosen = options.parse_args()
    torch.set_num_threads(1)
    contenders = {"native": Timed(native()), "singles": Timed(singles())}
    runs: dict[str, list[tuple[float, float]]] = {name: [] for name in contenders}
    for timed in contenders.values():
        timed.learn(1)
    for _ in range(chosen.turns):
        for name, timed in contenders.items():
            runs[name].append(timed.learn(chosen.rollouts))
    best = {name: max(values) for name, values in runs.items()}
    print(
        json.dumps(
            {
                "torch": torch.__version__,
                "stable_baselines3": stable_baselines3.__version__,
                "numpy": np.__version__,
                **{f"{name}, steps/s": round(rate) for name, (rate, _) in best.items()},
                "native / singles": round(best["native"][0] / best["singles"][0], 2),
                **{f"{name}, env and predictor": round(share, 3) for name, (_, share) in best.items()},
            }
        )
    )


if __name__ == "__main__":
    main()
