"""window_sequence_sb3: the arena window_sequence, its policy trained by Stable-Baselines3's PPO or SAC.

Sensor, policy network, predictor, images, objective, optimiser and number of predictor passes are those of
window_sequence (agents/window_sequence.py); its estimators and these stand in one table. μ(s) is the policy's fixation,
r = log p(label | canvas after the choice) − log p(label | canvas before).

`ppo`   l = μ + std · ε, clipped ratio, a learned value of the state, advantages normalised in each minibatch (Schulman
        et al. 2017, arXiv:1707.06347).
`sac`   l = tanh(atanh μ + std · ε), the gradient of the lesser of two critics' Q(s, l) through l; critics by replayed
        transitions (Haarnoja et al. 2018, arXiv:1812.05905).

What differs from the sources, and why:
* The deviation is fixed, as for all of the arena, and so `sac`'s temperature has nothing to set; it is `entropy`.
* γ = 0, as all of the arena pay a choice for the canvas after it alone; nothing is bootstrapped then.
  `credit="episode"`: γ = 1.
* A critic is a map over the frame, by a network like the policy's, read at l: worth depends on place sharply. It is
  training's alone and no part of the contender's parameters.
* States are those of whole episodes under the policy that learns, not one of each image.

At test fixations are drawn as in training. Track: gated. Findings: `selector_passes`, `selector_images`, of stage 1.
Scores and cost: docs/methods/window_sequence_sb3.md
Command: glimpse run --agent window_sequence_sb3 --task digits-clutter --set agent.estimator=sac
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from stable_baselines3 import PPO, SAC
from stable_baselines3.common.base_class import BaseAlgorithm
from torch import Tensor

from glimpsebench.agents.common.sequence import GlimpsePolicy
from glimpsebench.agents.common.sequence_sb3 import LibraryAgent, OwnActorCriticPolicy, OwnSACPolicy
from glimpsebench.agents.window_sequence import WindowSequence
from glimpsebench.envs.glimpse import Observation
from glimpsebench.envs.sb3 import VecGlimpse

Array = NDArray[Any]

INSIDE = 1 - 1e-4
"""The largest fixation whose atanh is taken."""


@dataclass
class WindowSequenceSB3(LibraryAgent, WindowSequence):
    """Looks at window after window.

    Settings:
        estimator: the learner.
        The others: `LibraryAgent` (common/sequence_sb3.py) and `WindowSequence`.
    """

    estimator: Literal["ppo", "sac"] = "ppo"  # type: ignore[assignment]

    arena: ClassVar[str] = "window_sequence"

    @property
    def outputs(self) -> int:
        return 2

    def finish(self, outputs_BA: Tensor, mask_B1HW: Tensor) -> Tensor:
        return outputs_BA.clamp(-INSIDE, INSIDE).atanh() if self.estimator == "sac" else outputs_BA

    def sample(self, outputs_BA: Tensor, mask_B1HW: Tensor) -> Tensor:
        drawn_BA = super().sample(self.finish(outputs_BA, mask_B1HW), mask_B1HW)
        return drawn_BA.tanh() if self.estimator == "sac" else drawn_BA

    def critic_network(self) -> GlimpsePolicy:
        """An untrained map of values, a quarter of the image's sides."""
        channels, height, width = self.shape
        return GlimpsePolicy(channels, (height, width), self.width, (math.ceil(height / 4), math.ceil(width / 4)))

    def learner(self, env: VecGlimpse, settings: dict[str, Any]) -> BaseAlgorithm:
        if self.estimator == "ppo":
            settings["policy_kwargs"] |= {"ortho_init": False, "log_std_init": math.log(self.std)}
            return PPO(OwnActorCriticPolicy, env, **settings, **self.ppo())
        settings["policy_kwargs"] |= {"std": self.std, "critic_network": self.critic_network}
        return SAC(OwnSACPolicy, env, **settings, **self.replay(), tau=0.01, ent_coef=self.entropy)

    @torch.no_grad()
    def act(self, observation: Observation, rng: np.random.Generator) -> Array:
        if self.estimator == "ppo":
            return super().act(observation, rng)
        u_B2 = self.finish(*self.chosen(observation)).numpy()
        fixation_B2: Array = np.tanh(u_B2 + self.std * rng.standard_normal(u_B2.shape, np.float32))
        return fixation_B2
