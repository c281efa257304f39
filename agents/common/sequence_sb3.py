"""Stable-Baselines3's learners in the arenas of one glimpse after another.

The policy is the arena's own network, which the library trains in place; predictor, images, objective, optimiser and
number of predictor passes are the arena's (common/duel.py, common/sequence.py). An env step is a choice and a pass of
the predictor: its reward is log p(label | canvas after it) less that before it, where an empty canvas counts as a
uniform prediction and is not read. γ is 0, so that a choice is paid for the canvas after it alone as in all of the
arena (`credit="next"`), or 1 (`credit="episode"`). The states are those of whole episodes, so that a pass costs fewer
labelled images than where each image stands in one state.

Shapes: B envs or transitions, A outputs of the policy, R rows and S columns of a map, K classes.
"""

from __future__ import annotations

import copy
import math
from abc import abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import numpy as np
import torch
from gymnasium.vector import AutoresetMode, VectorEnv
from numpy.typing import NDArray
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.distributions import DiagGaussianDistribution
from stable_baselines3.common.logger import Logger
from stable_baselines3.common.policies import ActorCriticPolicy, ContinuousCritic
from stable_baselines3.common.torch_layers import BaseFeaturesExtractor
from stable_baselines3.dqn.policies import DQNPolicy, QNetwork
from stable_baselines3.sac.policies import Actor, SACPolicy
from torch import Tensor, nn
from torch.nn import functional as F

from glimpsebench.agents.common.actor_critic import LOSSES, NO_LOG, FeaturesExtractor, Schedule, TrainingCallback
from glimpsebench.agents.common.base import Progress, report
from glimpsebench.agents.common.duel import DuelAgent
from glimpsebench.agents.common.nets import CanvasNet, Positive, predict_canvas
from glimpsebench.agents.common.sequence import GlimpsePolicy, SequenceAgent
from glimpsebench.envs.glimpse import GlimpseVectorEnv, Observation
from glimpsebench.envs.sb3 import VecGlimpse
from glimpsebench.envs.tasks import Task

Array = NDArray[Any]


class PaidReader:
    """The frozen predictor as the env pays by it: log-odds (B, K), and 0 for a canvas that shows nothing."""

    def __init__(self, net: CanvasNet, classes: int) -> None:
        self.net, self.classes = net, classes

    def __call__(self, view: Observation) -> Array:
        shown_B = np.asarray(view["mask"].any((1, 2, 3)))
        logits_BK = np.zeros((len(shown_B), self.classes), np.float32)
        if shown_B.any():
            logits_BK[shown_B] = predict_canvas(self.net, {name: value[shown_B] for name, value in view.items()})
        return logits_BK


class PolicyOutputs(FeaturesExtractor):
    """The arena's policy network as a features extractor: its outputs and the state's value side by side (B, A + 1).

    Args:
        finish: outputs and mask → outputs, such as those of cells that are revealed put out of reach.
    """

    def __init__(self, policy: GlimpsePolicy, outputs: int, finish: Callable[[Tensor, Tensor], Tensor]) -> None:
        super().__init__()
        self.features_dim, self.policy, self.finish = outputs + 1, policy, finish

    def forward(self, observation: dict[str, Tensor]) -> Tensor:
        outputs_BA, value_B = self.policy(observation["canvas"], observation["mask"])
        return torch.cat([self.finish(outputs_BA, observation["mask"]), value_B[:, None]], 1)


class Observed(FeaturesExtractor):
    """The observation itself, for a network that reads all of it."""

    features_dim = 1

    def forward(self, observation: dict[str, Tensor]) -> dict[str, Tensor]:
        return observation


class Columns(nn.Module):
    """The columns from `first` up to `last` of (B, D), in place of a layer of the library's."""

    def __init__(self, first: int | None, last: int | None) -> None:
        super().__init__()
        self.columns = slice(first, last)

    def forward(self, features_BD: Tensor) -> Tensor:
        return features_BD[:, self.columns]


class Constant(nn.Module):
    """One value for each of the policy's outputs (B, A), from features (B, A + 1)."""

    def __init__(self, value: float) -> None:
        super().__init__()
        self.value = value

    def forward(self, features_BD: Tensor) -> Tensor:
        return torch.full_like(features_BD[:, :-1], self.value)


class OwnActorCriticPolicy(ActorCriticPolicy):
    """PPO's policy without a layer of its own: what the features extractor gives is the distribution and the value."""

    def _build(self, lr_schedule: Schedule) -> None:
        super()._build(lr_schedule)
        self.action_net, self.value_net = Columns(None, -1), Columns(-1, None)  # type: ignore[assignment]
        if isinstance(self.action_dist, DiagGaussianDistribution):
            self.log_std.requires_grad_(False)  # the arena's deviation is fixed
        trained = [value for value in self.parameters() if value.requires_grad]
        self.optimizer = self.optimizer_class(trained, lr=lr_schedule(1), **self.optimizer_kwargs)  # type: ignore[call-arg]


class OwnQNetwork(QNetwork):
    """DQN's network without a layer of its own: a cell's score is its value."""

    def __init__(self, *arguments: Any, **settings: Any) -> None:
        super().__init__(*arguments, **settings)
        self.q_net = nn.Sequential(Columns(None, -1))


class OwnDQNPolicy(DQNPolicy):
    """DQN's policy over that network."""

    def make_q_net(self) -> QNetwork:
        return OwnQNetwork(**self._update_features_extractor(self.net_args, features_extractor=None))


class OwnActor(Actor):
    """SAC's actor without a layer of its own: tanh(u), u ~ N(output, a fixed deviation)."""

    def __init__(self, *arguments: Any, std: float, **settings: Any) -> None:
        super().__init__(*arguments, **settings)
        self.mu, self.log_std = Columns(None, -1), Constant(math.log(std))  # type: ignore[assignment]


class MapCritic(ContinuousCritic):
    """Q(s, a): a map over the frame by a network like the policy's, read at the fixation a by bilinear interpolation.

    Args:
        network: makes an untrained one, of a grid.
    """

    def __init__(self, *, network: Callable[[], GlimpsePolicy], **settings: Any) -> None:
        super().__init__(**settings)
        self.q_networks = [network() for _ in self.q_networks]
        for number, each in enumerate(self.q_networks):
            self.add_module(f"qf{number}", each)

    def forward(self, obs: Any, actions: Tensor) -> tuple[Tensor, ...]:
        return tuple(self.value(network, obs, actions) for network in self.q_networks)

    @staticmethod
    def value(network: Any, obs: Mapping[str, Tensor], fixation_B2: Tensor) -> Tensor:
        """Q of one network (B, 1)."""
        map_BRS = network(obs["canvas"].float(), obs["mask"].float())[0].reshape(-1, *network.grid)
        at_B112 = fixation_B2[:, None, None]
        return F.grid_sample(map_BRS[:, None], at_B112, padding_mode="border", align_corners=False)[:, 0, 0]


class OwnSACPolicy(SACPolicy):
    """SAC's policy of that actor and that critic.

    Args:
        std: of the actor.
        critic_network: makes an untrained map of values.
    """

    def __init__(
        self, *arguments: Any, std: float, critic_network: Callable[[], GlimpsePolicy], **settings: Any
    ) -> None:
        self.std, self.critic_network = std, critic_network
        super().__init__(*arguments, **settings)

    def make_actor(self, features_extractor: BaseFeaturesExtractor | None = None) -> Actor:
        return OwnActor(std=self.std, **self._update_features_extractor(self.actor_kwargs, features_extractor))

    def make_critic(self, features_extractor: BaseFeaturesExtractor | None = None) -> ContinuousCritic:
        observed: Any = Observed()
        return MapCritic(network=self.critic_network, **self._update_features_extractor(self.critic_kwargs, observed))


class SelectorCallback(TrainingCallback):
    """Reports the library's rollouts as the arena's first stage, whose steps are predictor passes."""

    def advance(self) -> None:
        if self.num_timesteps == self.reported:
            return
        self.check_weights()
        logged = self.model.logger.name_to_value
        losses = {name.removeprefix("train/"): logged[name] for name in LOSSES if name in logged}
        report("selector", images=self.episodes, steps=self.num_timesteps - self.reported, **losses)
        self.reported = self.num_timesteps
        next(self.rollouts, None)

    def _on_rollout_end(self) -> None:
        """No returns are kept: rollouts are shorter than episodes."""


def one_cycle(done: float) -> float:
    """The arena's schedule: the learning rate's factor when a share of the training is done.

    As `torch.optim.lr_scheduler.OneCycleLR`: a cosine from 1/25 to 1 over the first 0.3, then to 4e-6.
    """
    start, end, rise = 1 / 25, 1 / 25e4, 0.3
    first, last, share = (start, 1.0, done / rise) if done < rise else (1.0, end, (done - rise) / (1 - rise))
    return last + (first - last) * (1 + math.cos(math.pi * min(share, 1.0))) / 2


@dataclass
class LibraryAgent(SequenceAgent):
    """An arena's agent whose policy a learner of Stable-Baselines3 trains.

    Settings:
        envs: stepped at once.
        n_steps: of each env between two updates.
        gradient_steps, buffer_size: of the learners that replay: updates after so many steps, of `selector_batch`
            transitions each, and how many transitions they keep.
        The others: `SequenceAgent` (common/sequence.py) and `DuelAgent` (common/duel.py). `epochs`, `clip`: of `ppo`.
    """

    envs: Positive = 16
    n_steps: Positive = 8
    gradient_steps: Positive = 4
    buffer_size: Positive = 10_000
    predictor_learns: Literal[False] = False
    reward: Literal["likelihood"] = "likelihood"  # what the env pays: another would be taken and not used

    accelerated: ClassVar[bool] = False
    SAMPLING: ClassVar[tuple[str, ...]] = ()
    FAMILIES: ClassVar[Mapping[str, str]] = dict(DuelAgent.FAMILIES) | {
        "dqn": "reinforcement learning",
        "sac": "reinforcement learning",
    }

    @abstractmethod
    def learner(self, env: VecGlimpse, settings: dict[str, Any]) -> BaseAlgorithm:
        """The library's algorithm; `settings` are those that all have, `policy_kwargs` among them."""

    def wrapped(self, env: GlimpseVectorEnv) -> VectorEnv[Any, Any, Any]:
        """The env with the learner's action space."""
        return env

    @abstractmethod
    def finish(self, outputs_BA: Tensor, mask_B1HW: Tensor) -> Tensor:
        """What the library takes for the policy's outputs."""

    @property
    @abstractmethod
    def outputs(self) -> int:
        """A, the number of the policy's outputs."""

    def gradient_loss(self, image_BCHW: Tensor, labels_B: Tensor, mask_B1HW: Tensor, done: float) -> Tensor:
        raise AssertionError("the losses are the library's")

    @property
    def gamma(self) -> float:
        return 1.0 if self.credit == "episode" else 0.0

    @property
    def rollout_passes(self) -> int:
        """Env steps, and so predictor passes, between two updates."""
        return self.envs * self.n_steps

    @property
    def rollouts(self) -> int:
        """How many whole rollouts the passes pay for."""
        return max(1, self.passes // self.rollout_passes)

    def learning_rate(self, progress_remaining: float) -> float:
        """The library's schedule: the share of the training that is left → the learning rate."""
        return self.lr * one_cycle(1 - progress_remaining)

    def extractors(self) -> Callable[[Any], PolicyOutputs]:
        """Makes features extractors: the first one of the agent's own policy, later ones (targets) of copies."""
        selector: Any = self.nets.selector
        own = iter([selector])

        def make(observation_space: Any) -> PolicyOutputs:
            policy = next(own, None) or copy.deepcopy(selector)
            return PolicyOutputs(policy, self.outputs, self.finish)

        return make

    def fit_selector(self, task: Task, rng: np.random.Generator, progress: Progress[int]) -> tuple[int, int]:
        """Stage 1, by the library."""
        self.nets.predictor.requires_grad_(False).eval()
        env = GlimpseVectorEnv(
            task,
            self.envs,
            sensor=self.sensor(),
            observation=self.observation,
            glimpses=self.horizon(),
            reward="information",
            predictor=PaidReader(self.nets.predictor, self.classes),
            view="canvas",
            autoreset_mode=AutoresetMode.SAME_STEP,
        )
        settings: dict[str, Any] = {
            "learning_rate": self.learning_rate,
            "gamma": self.gamma,
            "seed": int(rng.integers(2**31)),
            "device": "cpu",
            "policy_kwargs": {
                "features_extractor_class": self.extractors(),
                "net_arch": [],
                "optimizer_class": torch.optim.AdamW,
                "optimizer_kwargs": {"weight_decay": 0.01},
            },
        }
        learner = self.learner(VecGlimpse(self.wrapped(env)), settings)
        learner.set_logger(Logger(None, []))  # or it leaves an empty folder among the temporary ones
        images = self.rollout_passes // self.horizon()
        callback = SelectorCallback(iter(progress(range(self.rollouts))), images)
        try:
            learner.learn(self.rollouts * self.rollout_passes, callback, log_interval=NO_LOG)
        except ValueError:  # how torch's distributions and the env refuse NaN
            callback.check_weights()
            raise
        callback.advance()  # so that the loop ends
        self.nets.eval()
        episodes = self.envs * math.ceil(self.rollouts * self.n_steps / self.horizon())
        return learner.num_timesteps, episodes

    def replay(self) -> dict[str, Any]:
        """The arguments of the learners that replay."""
        return {
            "buffer_size": self.buffer_size,
            "learning_starts": 0,
            "batch_size": self.selector_batch,
            "train_freq": self.n_steps,
            "gradient_steps": self.gradient_steps,
        }

    def ppo(self) -> dict[str, Any]:
        """The arguments of PPO."""
        return {
            "n_steps": self.n_steps,
            "batch_size": math.gcd(self.selector_batch, self.rollout_passes),
            "n_epochs": self.epochs,
            "clip_range": self.clip,
            "ent_coef": self.entropy,
            "max_grad_norm": 5.0,
        }
