"""What actor-critic agents share: readers of what has been seen, the rounds of training, PPO.

Stable-Baselines3 trains the policy on this project's env. Its actor's weights are then copied into the agent's own
net, and nothing of Stable-Baselines3 is kept. Shapes: B batch, T step, n tokens that are there, C H W image, D
features, Q queries, V values of a token, K classes, A numbers that the policy puts out.
"""

from __future__ import annotations

import copy
import math
from abc import abstractmethod
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Annotated, Any, Literal

import numpy as np
import torch
from gymnasium.vector import AutoresetMode, VectorEnv
from numpy.typing import NDArray
from pydantic import Field
from stable_baselines3 import PPO
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.torch_layers import BaseFeaturesExtractor
from stable_baselines3.common.vec_env import VecEnv
from torch import Tensor, nn
from torch.nn import functional as F

from glimpsebench.agents.common.base import Diverged, Progress, tensors
from glimpsebench.agents.common.nets import (
    CanvasNet,
    Positive,
    PredictorAgent,
    Rate,
    optimise,
    predict_canvas,
)
from glimpsebench.envs.glimpse import GlimpseVectorEnv, Observation
from glimpsebench.envs.sb3 import VecGlimpse
from glimpsebench.envs.sensors import Sensor, Window
from glimpsebench.envs.tasks import Split, Task

Array = NDArray[Any]
Schedule = Callable[[float], float]
Share = Annotated[float, Field(ge=0, le=1)]
Weight = Annotated[float, Field(ge=0)]

FREQUENCIES = 3
"""A fixation is told with its sines and cosines at so many frequencies, so that near places differ."""
QUERIES = 4
LARGEST_WEIGHT = 1e9
"""A policy with such a weight puts out infinities."""
POINTS = 20
"""Of the learning curve among the findings."""
NO_LOG = 1 << 60
"""Rollouts or episodes between two log entries: never."""


def fourier_features(fixation_n2: Tensor) -> Tensor:
    """A fixation with its sines and cosines (…, 2 + 4·FREQUENCIES)."""
    angles = torch.cat([fixation_n2 * (math.pi / 2 * 2**octave) for octave in range(FREQUENCIES)], -1)
    return torch.cat([fixation_n2, angles.sin(), angles.cos()], -1)


class Reader(nn.Module):
    """An observation → features (B, D)."""

    features: int


class SetReader(Reader):
    """The set of glimpses so far → features: what + where of each, pooled by learned queries.

    A learned token stands beside the glimpses, so that the empty set can be read too.
    """

    def __init__(self, values: int, horizon: int, features: int) -> None:
        super().__init__()
        d, half = features, (features + 1) // 2
        self.features = d
        self.what = nn.Sequential(nn.Linear(values, half), nn.ReLU(), nn.Linear(half, d))
        self.where = nn.Linear(2 + 4 * FREQUENCIES, d)
        self.nothing = nn.Parameter(torch.randn(d) / math.sqrt(d))
        self.tell = nn.Linear(d, QUERIES + half)
        self.out = nn.Linear(QUERIES * half + horizon, d)

    def forward(self, seen: dict[str, Tensor]) -> Tensor:
        valid_BT = seen["valid"]
        # Empty slots need no arithmetic. At test all rows drop the same ones: no row may move another's last bits.
        some_BT = valid_BT.bool() if self.training else (valid_BT.amax(0) > 0).expand_as(valid_BT)
        what_nD, where_nD = (
            self.what(seen["glimpses"][some_BT].flatten(1)),
            self.where(fourier_features(seen["actions"][some_BT])),
        )
        score_BTQ, value_BTV = self.tokens(F.relu(what_nD + where_nD), some_BT)
        attention_BTQ = (score_BTQ - 1e6 * (1 - with_first(valid_BT)[..., None])).softmax(1)
        pooled_BQV = attention_BTQ.transpose(1, 2) @ value_BTV
        return F.relu(self.out(torch.cat([pooled_BQV.flatten(1), valid_BT], 1)))

    def tokens(self, token_nD: Tensor, some_BT: Tensor) -> tuple[Tensor, Tensor]:
        """Each query's score of each token, and what each token has to tell; the empty set's token comes first."""
        told_n = self.tell(torch.cat([self.nothing[None], token_nD]))
        told_BT = told_n.new_zeros(*with_first(some_BT).shape, told_n.shape[1])
        told_BT[:, 0], told_BT[:, 1:][some_BT] = told_n[0], told_n[1:]
        return told_BT[..., :QUERIES], F.relu(told_BT[..., QUERIES:])


def with_first(flags_BT: Tensor) -> Tensor:
    """The flags of the glimpses after that of the empty set's token, which is always there."""
    return torch.cat([torch.ones_like(flags_BT[:, :1]), flags_BT], 1)


class ImageReader(Reader):
    """The whole image and the number of glimpses taken → features.

    Each channel of a small convolutional network says where it is strongest (the mean place under a softmax over
    places) and how strong: a maximum alone would not tell where, and where is what a policy needs. Each step adds
    features of its own, so that the policy can move on.
    """

    def __init__(self, channels: int, horizon: int, features: int, width: int = 32) -> None:
        super().__init__()
        self.features, self.horizon = features, horizon
        self.layers = nn.Sequential(
            nn.Conv2d(channels, width // 2, 3, 2, 1),
            nn.ReLU(),
            nn.Conv2d(width // 2, width, 3, 2, 1),
            nn.ReLU(),
            nn.Conv2d(width, width, 3, 1, 1),
        )
        self.found = nn.Linear(3 * width, features)
        self.step = nn.Embedding(horizon + 1, features)
        self.out = nn.Linear(features, features)

    def forward(self, seen: dict[str, Tensor]) -> Tensor:
        map_BDHW = self.layers(seen["image"])
        weight_BDHW = map_BDHW.flatten(2).softmax(2).unflatten(2, map_BDHW.shape[2:])
        rows, columns = (torch.linspace(-1, 1, side) for side in map_BDHW.shape[2:])
        x_BD, y_BD = (weight_BDHW.sum(2) * columns).sum(2), (weight_BDHW.sum(3) * rows).sum(2)
        found_BD = self.found(torch.cat([x_BD, y_BD, map_BDHW.amax((2, 3))], 1))
        taken_B = (seen["step"][:, 0] * self.horizon).round().long()
        return F.relu(self.out(F.relu(found_BD + self.step(taken_B))))


class Extractor(BaseFeaturesExtractor):
    """A reader as Stable-Baselines3 wants it."""

    def __init__(self, observation_space: Any, reader: Reader) -> None:
        super().__init__(observation_space, reader.features)
        self.reader = copy.deepcopy(reader)

    def forward(self, observations: dict[str, Tensor]) -> Tensor:
        features: Tensor = self.reader(observations)
        return features


class ActorNet(nn.Module):
    """Reader and policy head, the readout that teaches the reader, and the predictor."""

    def __init__(self, reader: Reader, outputs: int, classes: int, predictor: CanvasNet) -> None:
        super().__init__()
        width = reader.features
        self.reader = reader
        self.head = nn.Sequential(nn.Linear(width, width), nn.ReLU(), nn.Linear(width, outputs))
        self.readout = nn.Linear(width, classes)
        self.predictor = predictor

    def forward(self, observation: Observation) -> Tensor:
        """What the policy puts out (B, A)."""
        outputs: Tensor = self.head(self.reader(tensors(observation)))
        return outputs


class Watch(BaseCallback):
    """Moves the bench's progress bar with each rollout, keeps the returns, notices a policy without bounds."""

    def __init__(self, bar: Iterator[int]) -> None:
        super().__init__()
        self.bar = bar
        self.returns: list[float] = []

    def _on_rollout_start(self) -> None:
        self.check()
        next(self.bar, None)

    def _on_rollout_end(self) -> None:
        self.returns.append(float(np.mean([episode["r"] for episode in self.model.ep_info_buffer or []])))

    def _on_step(self) -> bool:
        return True

    def check(self) -> None:
        if not all(
            bool((value.abs() < LARGEST_WEIGHT).all()) for value in self.model.policy.parameters()
        ):  # NaN is not less
            raise Diverged(f"the policy has lost all bounds after {self.num_timesteps} env steps of its round")


@dataclass
class ActorCriticAgent(PredictorAgent):
    """Looks where a policy trained by an actor-critic method points. Stages of `fit`:

    1. The predictor learns on random windows, then the reader, by a readout of its own, to tell the class from them.
    2. In rounds: the policy against the predictor, which is frozen; then a new predictor, on the policy's windows.

    Each predictor is trained as everyone's is; the last one, on the policy's windows alone, is the agent's.
    `fit` leaves `return_curve` in the findings: the mean return of 100 episodes, at 20 moments of all rounds together.

    Settings:
        size, scales: of the window (g, S).
        glimpses: how many, in training and at test.
        reward: `information`, the gain in the true class's log-likelihood with each glimpse, or `correct`, 1 at the
            end if the prediction is right; both by the predictor of the moment.
        rounds: of policy and predictor.
        reader_steps, reader_batch, reader_lr: of the reader's supervised training.
        policy_steps: env steps, in all rounds together; each round is filled up to whole rollouts.
        policy_lr: falls linearly towards 0 in each round.
        num_envs: stepped at once.
        gamma: the discount per glimpse.
        features: the width of reader, policy and critic (D).
        explore: the share of images with random windows in training a predictor between rounds.
        predictor_steps, batch, lr, width: of each predictor, as for everyone.
    """

    size: Positive = 8
    scales: Positive = 1
    glimpses: Positive = 6
    reward: Literal["information", "correct"] = "information"
    rounds: Positive = 2
    reader_steps: Positive = 600
    reader_batch: Positive = 128
    reader_lr: Rate = 2e-3
    policy_steps: Positive = 200_000
    policy_lr: Rate = 1e-3
    num_envs: Positive = 32
    gamma: Share = 0.9
    features: Positive = 128
    explore: Share = 0.5

    def sensor(self) -> Sensor:
        return Window(self.size, self.scales, border="inside")

    def horizon(self) -> int:
        return self.glimpses

    @property
    def nets(self) -> ActorNet:
        """The networks, made."""
        assert isinstance(self.net, ActorNet)
        return self.net

    @property
    def outputs(self) -> int:
        """A: how many numbers the policy puts out."""
        return 2

    def build(self) -> nn.Module:
        return ActorNet(self.reader(), self.outputs, self.classes, self.new_predictor())

    def reader(self) -> Reader:
        """An untrained reader of what `act` sees."""
        values = int(np.prod(self.sensor().glimpse_shape(self.shape)))
        return SetReader(values, self.glimpses, self.features)

    @abstractmethod
    def learner(self, env: VecEnv, seed: int, schedule: Schedule) -> BaseAlgorithm:
        """Stable-Baselines3's learner over the env, its readers' weights drawn anew."""

    @abstractmethod
    def actor(self, learner: BaseAlgorithm) -> tuple[Any, Iterable[Tensor]]:
        """The extractor of a learner's actor, and the parameters of the layers after it."""

    def rollout_steps(self) -> int:
        """Env steps between two updates."""
        return self.num_envs * self.glimpses

    @property
    def rollouts(self) -> int:
        """Of a round."""
        return math.ceil(self.policy_steps / self.rounds / self.rollout_steps())

    def rate(self, left: float) -> float:
        """The learning rate with this share of a round left: the first update has all of it, none has nothing.

        Stable-Baselines3 takes the share after a rollout, before the update on it, so that of the last would be 0.
        """
        return self.policy_lr * min(1.0, left + 1 / self.rollouts)

    def aimed(self, env: GlimpseVectorEnv) -> VectorEnv[Any, Any, Any]:
        """The env with the actions that the learner chooses among."""
        return env

    def fixations(self, outputs_BA: Tensor, observation: Observation) -> Array:
        """Where the policy looks, given what it puts out: float32 (B, 2)."""
        fixation_B2: Array = outputs_BA.clamp(-1, 1).numpy()
        return fixation_B2

    def fit(self, task: Task, seed: int, progress: Progress[int]) -> None:
        rng, net = np.random.default_rng(seed), self.nets
        self.fit_predictor(task, 1.0, rng, progress)
        self.fit_reader(task, rng, progress)
        env = GlimpseVectorEnv(
            task,
            self.num_envs,
            sensor=self.sensor(),
            observation=self.observation,
            glimpses=self.glimpses,
            reward=self.reward,
            predictor=self.predict,  # by the predictor of the moment
            view="canvas",
            autoreset_mode=AutoresetMode.SAME_STEP,
        )
        learner = self.learner(VecGlimpse(self.aimed(env)), seed, self.rate)
        for module in learner.policy.modules():
            if isinstance(module, Extractor):
                module.reader.load_state_dict(net.reader.state_dict())
        returns: list[float] = []
        for number in range(1, self.rounds + 1):
            returns += self.fit_policy(learner, progress)
            self.fit_predictor(task, self.explore if number < self.rounds else 0.0, rng, progress)
        self.findings = {
            "return_curve": [returns[math.ceil((k + 1) / POINTS * len(returns)) - 1] for k in range(POINTS)]
        }

    def fit_policy(self, learner: BaseAlgorithm, progress: Progress[int]) -> list[float]:
        """One round of the policy against the predictor as it is: the mean return of 100 episodes, rollout by rollout.

        `learn` begins new episodes, so that no reward compares two predictors.
        """
        watch = Watch(iter(progress(range(self.rollouts))))
        try:
            learner.learn(self.rollouts * self.rollout_steps(), watch, log_interval=NO_LOG)
        except ValueError:  # what torch's distributions and the env say of NaN
            watch.check()
            raise
        watch.check()
        next(watch.bar, None)  # so that the bar ends
        extractor, layers = self.actor(learner)
        self.nets.reader.load_state_dict(extractor.reader.state_dict())
        with torch.no_grad():
            for own, trained in zip(self.nets.head.parameters(), layers, strict=True):
                own.copy_(trained)
        return watch.returns

    def looked(self, images: Array, random_share: float, rng: np.random.Generator) -> GlimpseVectorEnv:
        """An env in which the policy, or for a share of the images chance, has taken a random number of glimpses."""
        count = len(images)
        env = GlimpseVectorEnv(
            Split(images),
            count,
            sensor=self.sensor(),
            observation=self.observation,
            glimpses=self.glimpses,
            stop=True,
            autoreset_mode=AutoresetMode.DISABLED,
        )
        observation, _ = env.reset(options={"index": np.arange(count)})
        at_random_B1 = rng.random((count, 1)) < random_share
        wanted_B = rng.integers(1, self.glimpses + 1, count)
        for step in range(int(wanted_B.max())):
            fixation_B2 = rng.uniform(-1, 1, (count, 2))
            if random_share < 1:
                fixation_B2 = np.where(at_random_B1, fixation_B2, self.act(observation, rng))
            stop_B = np.where(step < wanted_B, -1, 1)
            observation, *_ = env.step(np.column_stack([fixation_B2, stop_B]).astype(np.float32))
        return env

    def fit_predictor(self, task: Task, random_share: float, rng: np.random.Generator, progress: Progress[int]) -> None:
        """Train the predictor on random windows for a share of the images, and on the policy's."""

        def canvases(images: Array) -> tuple[Tensor, Tensor]:
            view = tensors(self.looked(images, random_share, rng).observe("canvas"))
            return view["canvas"], view["mask"]

        self.train_predictor(self.nets.predictor, task, canvases, rng, progress)

    def fit_reader(self, task: Task, rng: np.random.Generator, progress: Progress[int]) -> None:
        """Train the reader to tell the class: from rewards alone it learns slowly what a glimpse says."""
        net = self.nets

        def loss_of(images: Array, labels_B: Tensor, step: int) -> Tensor:
            seen = tensors(self.looked(images, 1.0, rng).observe(self.observation))
            return F.cross_entropy(net.readout(net.reader(seen)), labels_B)

        optimise(
            nn.ModuleList([net.reader, net.readout]),
            task,
            loss_of,
            steps=self.reader_steps,
            batch=self.reader_batch,
            lr=self.reader_lr,
            rng=rng,
            progress=progress,
        )

    @torch.no_grad()
    def act(self, observation: Observation, rng: np.random.Generator) -> Array:
        return self.fixations(self.nets(observation), observation)

    def predict(self, view: Observation) -> Array:
        return predict_canvas(self.nets.predictor, view)


@dataclass
class PPOAgent(ActorCriticAgent):
    """Looks where a policy trained by proximal policy optimisation points.

    Settings:
        episodes: of each env between two updates.
        epochs: over them in an update, in shuffled minibatches of as many steps as one episode of each env has.
        clip: how far an update may move the ratio of new to old policy from 1 (ε).
        entropy: the weight of the policy's entropy (c).
        std: of the Gaussian policy at the start, in the frame's units; it is learned.
        The others: as for every actor-critic agent.
    """

    episodes: Positive = 4
    epochs: Positive = 4
    clip: Rate = 0.2
    entropy: Weight = 0.003
    std: Rate = 0.4

    def rollout_steps(self) -> int:
        return self.episodes * self.num_envs * self.glimpses

    def learner(self, env: VecEnv, seed: int, schedule: Schedule) -> BaseAlgorithm:
        return PPO("MultiInputPolicy", env, **self.settings(seed, schedule, log_std_init=math.log(self.std)))

    def settings(self, seed: int, schedule: Schedule, **policy: Any) -> dict[str, Any]:
        """What both kinds of PPO are told; `policy` is for the policy alone."""
        return {
            "learning_rate": schedule,
            "n_steps": self.episodes * self.glimpses,
            "batch_size": self.num_envs * self.glimpses,
            "n_epochs": self.epochs,
            "gamma": self.gamma,
            "gae_lambda": 0.95,
            "clip_range": self.clip,
            "ent_coef": self.entropy,
            "seed": seed,
            "device": "cpu",
            "policy_kwargs": {
                "features_extractor_class": Extractor,
                "features_extractor_kwargs": {"reader": self.nets.reader},
                "net_arch": {"pi": [self.features], "vf": [self.features]},
                "activation_fn": nn.ReLU,
                **policy,
            },
        }

    def actor(self, learner: BaseAlgorithm) -> tuple[Any, Iterable[Tensor]]:
        policy: Any = learner.policy
        layers = [policy.mlp_extractor.policy_net, policy.action_net]
        return policy.features_extractor, [value for layer in layers for value in layer.parameters()]
