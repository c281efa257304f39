"""sac: soft actor-critic, off-policy, points the window; the policy reads the set of glimpses so far.

Haarnoja, Zhou, Abbeel, Levine 2018, arXiv:1801.01290; Haarnoja, Zhou, Hartikainen, Tucker, Ha, Tan, Kumar, Zhu,
Gupta, Abbeel, Levine 2018, arXiv:1812.05905. The learner is Stable-Baselines3's SAC.

1. Features extractor f(s) over the set of glimpses, reward and rounds with the predictor: ppo's. Actor, critic and the
   critic's target have an extractor each.
2. Policy: a = tanh(u), u ~ N(μ(f), σ(f)²), a fixation inside the image.
3. Critic: Q_i(s, a) = MLP_i([f(s); φ(a)]), i = 1, 2; φ(a) are the Fourier features of a, three frequencies, as the
   extractor has them of past fixations. Target: r + γ (min_i Q̄_i(s', a') − α log π(a' | s')).
4. Actor: α log π(a | s) − min_i Q_i(s, a). Temperature: α follows the wanted entropy (`target_entropy`).
5. Q̄ ← Q̄ + τ (Q − Q̄) after each update, τ = 0.01.

What differs from the source, and why:
* Q of a raw (x, y) is too smooth to say that nothing is gained from a place seen before, hence φ(a).
* α starts at 0.01, not 1: a glimpse is worth tenths of a nat or less.
* The features extractors start from the supervised training of ppo's.
* The replay buffer of one round is kept for the next, with the rewards of the predictor of its time.
* Learning rate falls linearly towards 0 in each round, and each round begins with `warmup_steps` random fixations.

Test time: tanh of the mean. Track: gated. Findings: `return_curve`, the mean return in training.
Scores, cost, what was tried and left out: docs/methods/sac.md
Command: glimpse run --agent sac --task digits-clutter
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from numpy.typing import NDArray
from stable_baselines3 import SAC
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.policies import ContinuousCritic
from stable_baselines3.common.torch_layers import BaseFeaturesExtractor
from stable_baselines3.common.vec_env import VecEnv
from stable_baselines3.sac.policies import SACPolicy
from torch import Tensor, nn

from glimpsebench.agents.common.actor_critic import FREQUENCIES, ActorCriticAgent, Schedule, fourier_features
from glimpsebench.agents.common.nets import Positive, Rate
from glimpsebench.envs.glimpse import Observation
from glimpsebench.envs.settings import renamed

Array = NDArray[Any]


class FourierCritic(ContinuousCritic):
    """Stable-Baselines3's critic, with the action as Fourier features."""

    def __init__(self, *, features_dim: int, **settings: Any) -> None:
        super().__init__(features_dim=features_dim + 4 * FREQUENCIES, **settings)

    def forward(self, obs: Any, actions: Tensor) -> tuple[Tensor, ...]:
        # The actor's loss needs the gradient to the action alone; the extractor's would be thrown away.
        with torch.set_grad_enabled(torch.is_grad_enabled() and not actions.requires_grad):
            features_BD = self.extract_features(obs, self.features_extractor)
        input_BF = torch.cat([features_BD, fourier_features(actions)], 1)
        return tuple(network(input_BF) for network in self.q_networks)


class FourierSACPolicy(SACPolicy):
    """SAC's actor with that critic."""

    def make_critic(self, features_extractor: BaseFeaturesExtractor | None = None) -> ContinuousCritic:
        return FourierCritic(**self._update_features_extractor(self.critic_kwargs, features_extractor))


@dataclass
class GlimpseSAC(ActorCriticAgent):
    """Looks where a policy trained by soft actor-critic points, given the glimpses so far.

    Settings:
        gradient_steps: updates each time that every env has run one episode.
        policy_batch: transitions in an update.
        buffer_steps: size of the replay buffer, transitions.
        warmup_steps: random transitions at the start of each round, before the first update.
        temperature: α at the start; it is learned.
        target_entropy: of a fixation, nats; log 4 = 1.39 is uniform.
        The others: `ActorCriticAgent` (common/actor_critic.py).
    """

    policy_steps: Positive = 60_000
    num_envs: Positive = 16
    gradient_steps: Positive = renamed(6, "updates")
    policy_batch: Positive = 128
    buffer_steps: Positive = 60_000
    warmup_steps: Positive = 2_000
    temperature: Rate = 0.01
    target_entropy: float = -2.0

    version: ClassVar[int] = 3

    def learner(self, env: VecEnv, seed: int, schedule: Schedule) -> BaseAlgorithm:
        return SAC(
            FourierSACPolicy,
            env,
            learning_rate=schedule,
            buffer_size=self.buffer_steps,
            learning_starts=self.warmup_steps,
            batch_size=self.policy_batch,
            tau=0.01,
            gamma=self.gamma,
            train_freq=self.glimpses,
            gradient_steps=self.gradient_steps,
            ent_coef=f"auto_{self.temperature}",
            target_entropy=self.target_entropy,
            seed=seed,
            device="cpu",
            policy_kwargs={
                "features_extractor_class": self.copied_extractor,
                "net_arch": [self.features_dim],
                "activation_fn": nn.ReLU,
            },
        )

    def actor(self, learner: BaseAlgorithm) -> tuple[Any, Iterable[Tensor]]:
        actor: Any = learner.policy.actor
        return actor.features_extractor, [*actor.latent_pi.parameters(), *actor.mu.parameters()]

    def fixations(self, outputs_BA: Tensor, observation: Observation) -> Array:
        fixation_B2: Array = outputs_BA.tanh().numpy()
        return fixation_B2
