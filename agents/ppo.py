"""ppo: proximal policy optimisation points the window; the policy reads the set of glimpses so far.

PPO: Schulman, Wolski, Dhariwal, Radford, Klimov 2017, arXiv:1707.06347; its advantages: Schulman, Moritz, Levine,
Jordan, Abbeel 2015, arXiv:1506.02438. Masked actions: Huang, Ontañón 2020, arXiv:2006.14171. Pooling by learned
queries: Lee, Lee, Kim, Kosiorek, Choi, Teh, Set Transformer, 2019, arXiv:1810.00825. The learners are
Stable-Baselines3's PPO and sb3-contrib's MaskablePPO.

1. What has been seen is a set. Glimpse i, ρ_i at l_i, gives a token e_i = relu(what(ρ_i) + where(l_i)); "what" has two
   layers, "where" is linear in Fourier features of (x, y), three frequencies. e_0 is learned and always there.
2. Features extractor: z_q = Σ_i softmax_i(w_q · e_i) relu(V e_i) for four learned queries w_q;
   f = relu(W [z_1 … z_4; which of the T slots are taken]). Policy and value: two layers each on f.
3. Reward: r_t = log p(label | canvas_t) − log p(label | canvas_{t−1}) by a frozen predictor, or 1 at the end if it is
   right (`reward=correct`).
4. Advantage: Â_t = Σ_k (γλ)^k (r_{t+k} + γ V_{t+k+1} − V_{t+k}), λ = 0.95.
5. Loss: −min(ρ Â, clip(ρ, 1 − ε, 1 + ε) Â) + ½ (V − return)² − c · entropy, ρ the ratio of new to old policy.
6. `actions=continuous`: a Gaussian fixation with a learned std that does not depend on the state; its sample is clipped
   to the frame, its log-probability is that before clipping, as Stable-Baselines3 does. `actions=grid`: one of
   cells × cells places, the visited ones masked, in training and at test.

What differs from the source, and why:
* PPO learns where to look and nothing else. Predictor and features extractor are first trained with labels on random
  windows: in the published runs (APPLE, ICLR 2026) reinforcement learning without a supervised loss stayed near chance.
* Rounds of policy and predictor: a predictor that has met random windows only misjudges the policy's. Each
  predictor is new and trained as every agent's is; the last one on the policy's windows alone, as ram's is.
* The first fixation is the policy's too: a constant, since nothing has been seen.
* Learning rate falls linearly towards 0 in each round. Advantages are normalised per minibatch and gradients clipped
  at norm 0.5, as Stable-Baselines3 does by default.

`actions=grid` needs sb3-contrib: pip install 'glimpsebench[rl]'.

Test time: the Gaussian's mean, or the best cell. Track: gated. Findings: `return_curve`, the mean return in training.
Scores, cost, what was tried and left out: docs/methods/ppo.md
Command: glimpse run --agent ppo --task digits-clutter --set agent.actions=grid
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import numpy as np
from gymnasium.vector import VectorEnv
from numpy.typing import NDArray
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.vec_env import VecEnv
from torch import Tensor

from glimpsebench.agents.common.actor_critic import PPOAgent, Schedule
from glimpsebench.agents.common.base import Progress
from glimpsebench.agents.common.nets import Positive
from glimpsebench.envs.errors import UsageError
from glimpsebench.envs.glimpse import GlimpseVectorEnv, Observation
from glimpsebench.envs.grid import VectorGridFixations
from glimpsebench.envs.tasks import Task

Array = NDArray[Any]


def maskable() -> type[BaseAlgorithm]:
    """sb3-contrib's PPO over masked actions."""
    try:
        from sb3_contrib import MaskablePPO
    except ImportError:
        raise UsageError("agent 'ppo' with actions=grid needs sb3-contrib: pip install 'glimpsebench[rl]'") from None
    return MaskablePPO


@dataclass
class GlimpsePPO(PPOAgent):
    """Looks where a policy trained by proximal policy optimisation points, given the glimpses so far.

    Settings:
        actions: `continuous`, any fixation, or `grid`, a cell that has not been visited.
        cells: of a side of the grid; the fixations are the cells' middles.
        The others: `PPOAgent` and `ActorCriticAgent` (common/actor_critic.py).
    """

    actions: Literal["continuous", "grid"] = "continuous"
    cells: Positive = 8

    version: ClassVar[int] = 3

    @property
    def outputs(self) -> int:
        return 2 if self.actions == "continuous" else self.cells**2

    def fit(self, task: Task, seed: int, progress: Progress[int]) -> None:
        if self.actions == "grid":
            maskable()  # so that a missing package is an error before the predictor's training
        super().fit(task, seed, progress)

    def wrapped(self, env: GlimpseVectorEnv) -> VectorEnv[Any, Any, Any]:
        return env if self.actions == "continuous" else VectorGridFixations(env, self.cells, self.cells)

    def learner(self, env: VecEnv, seed: int, schedule: Schedule) -> BaseAlgorithm:
        if self.actions == "continuous":
            return super().learner(env, seed, schedule)
        kind: Any = maskable()
        learner: BaseAlgorithm = kind("MultiInputPolicy", env, **self.settings(seed, schedule))
        return learner

    def fixations(self, outputs_BA: Tensor, observation: Observation) -> Array:
        if self.actions == "continuous":
            return super().fixations(outputs_BA, observation)
        row_B, column_B = np.divmod(self.best_cells(outputs_BA.numpy(), observation), self.cells)
        fixation_B2: Array = (2 * np.stack([column_B, row_B], 1) + 1) / self.cells - 1
        return fixation_B2.astype(np.float32)

    def best_cells(self, scores_BA: Array, observation: Observation) -> Array:
        """The index, in raster order, of the best cell that has not been visited (B,); of all when all have been."""
        cell_BT2 = np.minimum((observation["actions"] + 1) / 2 * self.cells, self.cells - 1).astype(np.int64)
        env_K, step_K = observation["valid"].nonzero()
        visited_BA = np.zeros(scores_BA.shape, bool)
        visited_BA[env_K, (cell_BT2 @ [1, self.cells])[env_K, step_K]] = True
        best_B: Array = np.where(visited_BA & ~visited_BA.all(1, keepdims=True), -np.inf, scores_BA).argmax(1)
        return best_B
