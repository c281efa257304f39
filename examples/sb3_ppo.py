"""Train PPO of Stable-Baselines3 to look at digits among clutter, and see whether it learns.

    python examples/sb3_ppo.py

The reward of a glimpse is what it tells about the class: the gain in the log-likelihood of the true class under a
network that reads any canvas of the task. That network is trained first, once, and kept in your cache. Returns begin
below 0, since clutter misleads it.
"""

import argparse

import numpy as np
from stable_baselines3 import PPO
from stable_baselines3.common.callbacks import BaseCallback

from glimpsebench.envs.sb3 import make


class Returns(BaseCallback):
    """Keeps the return of every episode, in order."""

    def __init__(self) -> None:
        super().__init__()
        self.returns: list[float] = []

    def _on_step(self) -> bool:
        self.returns += [info["episode"]["r"] for info in self.locals["infos"] if "episode" in info]
        return True


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--task", default="digits-clutter")
    options.add_argument("--steps", type=int, default=40_000, help="env steps")
    chosen = options.parse_args()

    env = make(chosen.task, num_envs=64, sensor={"kind": "window", "size": 8, "border": "inside"}, glimpses=4)
    learner = PPO(
        "MultiInputPolicy", env, learning_rate=1e-3, n_steps=16, batch_size=256, n_epochs=4, gamma=0.9, seed=0,
        policy_kwargs={"log_std_init": -1.0}, device="cpu",
    )  # fmt: skip
    seen = Returns()
    learner.learn(chosen.steps, seen, progress_bar=False)
    tenth = max(1, len(seen.returns) // 10)
    first, last = seen.returns[:tenth], seen.returns[-tenth:]
    error = np.sqrt(np.var(first) / tenth + np.var(last) / tenth)
    gain = np.mean(last) - np.mean(first)
    print(f"{len(seen.returns)} episodes; mean return: first tenth {np.mean(first):.2f}, last {np.mean(last):.2f} nats")
    print(f"last tenth minus first: {gain:+.2f} ± {1.96 * error:.2f} (95 %)")


if __name__ == "__main__":
    main()
