"""cell_sequence_sb3: the arena cell_sequence, its policy trained by Stable-Baselines3's PPO or DQN.

Sensor, policy network, predictor, images, objective, optimiser and number of predictor passes are those of
cell_sequence (agents/cell_sequence.py); its estimators and these stand in one table. π = softmax(s) or the best of s,
s the policy's score of each hidden cell, r = log p(label | canvas after the choice) − log p(label | canvas before).

`ppo`   clipped ratio, a learned value of the state, advantages normalised in each minibatch (Schulman et al. 2017,
        arXiv:1707.06347).
`dqn`   s is the value of a cell; Huber loss of s(c) − r over replayed transitions, ε-greedy among the hidden cells
        (Mnih et al. 2015).

What differs from the sources, and why:
* γ = 0, as all of the arena pay a choice for the canvas after it alone; DQN then bootstraps nothing, and its target
  network has no part in it. `credit="episode"`: γ = 1.
* States are those of whole episodes under the policy that learns, not one of each image.
* Each env explores by itself; ε falls from 1 to `last_exploration` in the first half.

At test the best hidden cell is revealed. Track: gated. Findings: `selector_passes`, `selector_images`, of stage 1.
Scores and cost: docs/methods/cell_sequence_sb3.md
Command: glimpse run --agent cell_sequence_sb3 --task digits-clutter --set agent.estimator=dqn
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import numpy as np
from gymnasium import spaces
from gymnasium.vector import VectorActionWrapper, VectorEnv
from gymnasium.vector.utils import batch_space
from numpy.typing import NDArray
from stable_baselines3 import DQN, PPO
from stable_baselines3.common.base_class import BaseAlgorithm
from torch import Tensor

from glimpsebench.agents.cell_sequence import CellSequence
from glimpsebench.agents.common.duel import Part
from glimpsebench.agents.common.nets import Positive
from glimpsebench.agents.common.sequence_sb3 import LibraryAgent, OwnActorCriticPolicy, OwnDQNPolicy
from glimpsebench.envs.glimpse import GlimpseVectorEnv
from glimpsebench.envs.sb3 import VecGlimpse

Array = NDArray[Any]


class CellChoices(VectorActionWrapper):
    """The env with a discrete action: the number of a cell, in raster order."""

    def __init__(self, env: GlimpseVectorEnv, grid: tuple[int, int]) -> None:
        super().__init__(env)
        self.grid = grid
        self.single_action_space: Any = spaces.Discrete(grid[0] * grid[1])
        self.action_space: Any = batch_space(self.single_action_space, env.num_envs)

    def actions(self, actions: Array) -> Array:
        scores_BP = np.eye(self.grid[0] * self.grid[1], dtype=np.float32)[actions]
        return scores_BP.reshape(-1, *self.grid)


class HiddenCellDQN(DQN):
    """DQN whose exploration is among the cells that are hidden, for each env by itself."""

    cell: int
    """The side of a cell, pixels."""

    def predict(
        self, observation: Any, state: Any = None, episode_start: Any = None, deterministic: bool = False
    ) -> tuple[Array, Any]:
        best_B, state = super().predict(observation, state, episode_start, deterministic=True)
        if deterministic:
            return best_B, state
        hidden_BP = 1 - observation["mask"][:, 0, :: self.cell, :: self.cell].reshape(len(best_B), -1)
        rng = self.action_space.np_random
        random_B = (hidden_BP * rng.random(hidden_BP.shape)).argmax(1)
        return np.where(rng.random(len(best_B)) < self.exploration_rate, random_B, best_B), state


@dataclass
class CellSequenceSB3(LibraryAgent, CellSequence):
    """Reveals cell after cell.

    Settings:
        estimator: the learner.
        last_exploration: ε of `dqn` in the second half.
        The others: `LibraryAgent` (common/sequence_sb3.py) and `CellSequence`.
    """

    estimator: Literal["ppo", "dqn"] = "ppo"  # type: ignore[assignment]
    glimpses: Positive = 13
    last_exploration: Part = 0.1

    arena: ClassVar[str] = "cell_sequence"

    @property
    def outputs(self) -> int:
        return self.grid[0] * self.grid[1]

    def finish(self, outputs_BA: Tensor, mask_B1HW: Tensor) -> Tensor:
        return self.hidden_scores(outputs_BA, mask_B1HW)

    def wrapped(self, env: GlimpseVectorEnv) -> VectorEnv[Any, Any, Any]:
        return CellChoices(env, self.grid)

    def learner(self, env: VecGlimpse, settings: dict[str, Any]) -> BaseAlgorithm:
        if self.estimator == "ppo":
            settings["policy_kwargs"]["ortho_init"] = False
            return PPO(OwnActorCriticPolicy, env, **settings, **self.ppo())
        learner = HiddenCellDQN(
            OwnDQNPolicy,
            env,
            **settings,
            **self.replay(),
            exploration_fraction=0.5,
            exploration_final_eps=self.last_exploration,
            max_grad_norm=5.0,
        )
        learner.cell = self.cell
        return learner
