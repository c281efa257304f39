"""What actor-critic agents share: features extractors of observations, the rounds of training, PPO.

Stable-Baselines3 trains the policy on this project's env. Its actor's weights are then copied into the agent's own
net, and nothing of Stable-Baselines3 is kept. Shapes: B batch, T glimpse, n glimpses of the whole batch without the
empty slots, C H W image, D features, Q queries, V values of a token, K classes, A outputs of the policy.
"""

from __future__ import annotations

import copy
import math
from abc import abstractmethod
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

import numpy as np
import torch
from gymnasium.vector import AutoresetMode, VectorEnv
from numpy.typing import NDArray
from pydantic import Field
from stable_baselines3 import PPO
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.logger import Logger
from stable_baselines3.common.vec_env import VecEnv
from torch import Tensor, nn
from torch.nn import functional as F

from glimpsebench.agents.common.base import Diverged, Progress, report, resumable, tensors
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
from glimpsebench.envs.settings import renamed
from glimpsebench.envs.tasks import Split, Task

Array = NDArray[Any]
Schedule = Callable[[float], float]
Share = Annotated[float, Field(ge=0, le=1)]
Weight = Annotated[float, Field(ge=0)]

FREQUENCIES = 3
"""Of the Fourier features of a fixation."""
QUERIES = 4
"""Learned queries of the attention pooling over glimpses."""
LARGEST_WEIGHT = 1e9
"""A policy with a larger weight puts out infinities."""
CURVE_POINTS = 20
"""Of the learning curve among the findings."""
LOSSES = ("train/loss", "train/actor_loss", "train/critic_loss")
"""What Stable-Baselines3 logs of PPO's loss and of SAC's two, by its names."""
NO_LOG = 1 << 60
"""Rollouts or episodes between two log entries: never."""


def fourier_features(fixation_n2: Tensor) -> Tensor:
    """A fixation with its sines and cosines (…, 2 + 4·FREQUENCIES), so that places near each other differ."""
    angles = torch.cat([fixation_n2 * (math.pi / 2 * 2**octave) for octave in range(FREQUENCIES)], -1)
    return torch.cat([fixation_n2, angles.sin(), angles.cos()], -1)


class FeaturesExtractor(nn.Module):
    """An observation → features (B, D), as Stable-Baselines3 wants it.

    Attributes:
        features_dim: D.
    """

    features_dim: int


class GlimpseSetExtractor(FeaturesExtractor):
    """The set of glimpses so far → features: a token from each glimpse and its fixation, pooled by attention.

    The attention has learned queries. A learned token of the empty set is always there, so that no glimpse is a set
    too. Which slots are taken (B, T) is given to the last layer as it is.

    Args:
        values: numbers in one glimpse.
        horizon: T, slots for glimpses.
        features_dim: D.
    """

    def __init__(self, values: int, horizon: int, features_dim: int) -> None:
        super().__init__()
        d, half = features_dim, (features_dim + 1) // 2
        self.features_dim = d
        self.what = nn.Sequential(nn.Linear(values, half), nn.ReLU(), nn.Linear(half, d))
        self.where = nn.Linear(2 + 4 * FREQUENCIES, d)
        self.empty_token = nn.Parameter(torch.randn(d) / math.sqrt(d))
        self.scores_and_values = nn.Linear(d, QUERIES + half)
        self.out = nn.Linear(QUERIES * half + horizon, d)

    def forward(self, observation: dict[str, Tensor]) -> Tensor:
        valid_BT = observation["valid"]
        # Empty slots need no arithmetic. At test every row drops the same slots: what one row holds must not change
        # the last bits of another.
        taken_BT = valid_BT.bool() if self.training else (valid_BT.amax(0) > 0).expand_as(valid_BT)
        what_nD = self.what(observation["glimpses"][taken_BT].flatten(1))
        where_nD = self.where(fourier_features(observation["actions"][taken_BT]))
        score_BTQ, value_BTV = self.attend(F.relu(what_nD + where_nD), taken_BT)
        weight_BTQ = (score_BTQ - 1e6 * (1 - with_empty_token(valid_BT)[..., None])).softmax(1)
        pooled_BQV = weight_BTQ.transpose(1, 2) @ value_BTV
        return F.relu(self.out(torch.cat([pooled_BQV.flatten(1), valid_BT], 1)))

    def attend(self, token_nD: Tensor, taken_BT: Tensor) -> tuple[Tensor, Tensor]:
        """Each token's score for each query, and its values; the empty set's token comes first, T is one longer."""
        out_n = self.scores_and_values(torch.cat([self.empty_token[None], token_nD]))
        out_BT = out_n.new_zeros(*with_empty_token(taken_BT).shape, out_n.shape[1])
        out_BT[:, 0], out_BT[:, 1:][taken_BT] = out_n[0], out_n[1:]
        return out_BT[..., :QUERIES], F.relu(out_BT[..., QUERIES:])


def with_empty_token(flags_BT: Tensor) -> Tensor:
    """Flags of the glimpses, after that of the empty set's token, which is always 1."""
    return torch.cat([torch.ones_like(flags_BT[:, :1]), flags_BT], 1)


class ImageExtractor(FeaturesExtractor):
    """The whole image and the number of glimpses taken → features.

    Spatial softmax (Levine et al. 2016): each channel of a small convolutional network gives the mean position under
    the softmax of its values over positions, and its maximum. The number of glimpses has a learned embedding, so that
    the policy can move on.

    Args:
        channels: C of the image.
        horizon: T, the most glimpses.
        features_dim: D.
        width: channels of the convolutional network.
    """

    def __init__(self, channels: int, horizon: int, features_dim: int, width: int = 32) -> None:
        super().__init__()
        self.features_dim, self.horizon = features_dim, horizon
        self.layers = nn.Sequential(
            nn.Conv2d(channels, width // 2, 3, 2, 1),
            nn.ReLU(),
            nn.Conv2d(width // 2, width, 3, 2, 1),
            nn.ReLU(),
            nn.Conv2d(width, width, 3, 1, 1),
        )
        self.keypoints = nn.Linear(3 * width, features_dim)
        self.step_embedding = nn.Embedding(horizon + 1, features_dim)
        self.out = nn.Linear(features_dim, features_dim)

    def forward(self, observation: dict[str, Tensor]) -> Tensor:
        map_BDHW = self.layers(observation["image"])
        weight_BDHW = map_BDHW.flatten(2).softmax(2).unflatten(2, map_BDHW.shape[2:])
        rows, columns = (torch.linspace(-1, 1, side) for side in map_BDHW.shape[2:])
        x_BD, y_BD = (weight_BDHW.sum(2) * columns).sum(2), (weight_BDHW.sum(3) * rows).sum(2)
        keypoint_BD = self.keypoints(torch.cat([x_BD, y_BD, map_BDHW.amax((2, 3))], 1))
        step_B = (observation["step"][:, 0] * self.horizon).round().long()
        return F.relu(self.out(F.relu(keypoint_BD + self.step_embedding(step_B))))


class ActorNet(nn.Module):
    """Features extractor, policy head, the classifier that pretrains the extractor, and the canvas predictor."""

    def __init__(self, extractor: FeaturesExtractor, outputs: int, classes: int, predictor: CanvasNet) -> None:
        super().__init__()
        width = extractor.features_dim
        self.extractor = extractor
        self.policy_head = nn.Sequential(nn.Linear(width, width), nn.ReLU(), nn.Linear(width, outputs))
        self.classifier = nn.Linear(width, classes)
        self.predictor = predictor

    def forward(self, observation: Observation) -> Tensor:
        """What the policy puts out (B, A): the mean of a fixation, or a score per cell."""
        outputs: Tensor = self.policy_head(self.extractor(tensors(observation)))
        return outputs


class LearnerState:
    """What the rest of `learn` depends on, between two rollouts, as tensors, arrays and numbers.

    The rollout buffer of an on-policy learner is empty then. Of a replay buffer the filled part is kept.
    """

    ATTRIBUTES = (
        "num_timesteps",
        "_n_updates",
        "_episode_num",
        "_current_progress_remaining",
        "_last_obs",
        "_last_episode_starts",
        "exploration_rate",
        "_n_calls",
    )
    """What has changed of a learner's attributes; the last two are DQN's."""
    REPLAYED = ("observations", "next_observations", "actions", "rewards", "dones", "timeouts")

    def __init__(self, learner: BaseAlgorithm) -> None:
        self.learner = learner

    @property
    def env(self) -> VecGlimpse:
        """What the learner trains on."""
        env = self.learner.get_env()
        assert isinstance(env, VecGlimpse)
        return env

    @property
    def variables(self) -> dict[str, Tensor]:
        """Tensors that are learned and belong to no module, such as SAC's temperature."""
        return {name: getattr(self.learner, name) for name in self.learner._get_torch_save_params()[1]}

    @property
    def replay_buffer(self) -> Any:
        """The replay buffer, or None."""
        return getattr(self.learner, "replay_buffer", None)

    def state_dict(self) -> dict[str, Any]:
        """The state, over the learner's own memory."""
        learner, buffer = self.learner, self.replay_buffer
        state = {
            "parameters": learner.get_parameters(),
            "variables": self.variables,
            "attributes": {name: getattr(learner, name) for name in self.ATTRIBUTES if hasattr(learner, name)},
            "episodes": list(learner.ep_info_buffer or []),
            "action_space": learner.action_space.np_random.bit_generator.state,
            "env": self.env.state(),
        }
        if buffer is not None:
            state["replay_buffer"] = {"pos": buffer.pos, "full": buffer.full, "filled": self.filled()}
        return state

    def filled(self) -> dict[str, Any]:
        """The filled part of the replay buffer: arrays (rows, envs, …), or dictionaries of them."""
        buffer = self.replay_buffer

        def rows(values: Any) -> Any:
            return {k: rows(v) for k, v in values.items()} if isinstance(values, dict) else values[: buffer.size()]

        return {name: rows(getattr(buffer, name)) for name in self.REPLAYED}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Put it back."""
        learner, buffer = self.learner, self.replay_buffer
        learner.set_parameters(state_dict["parameters"])
        with torch.no_grad():
            for name, value in self.variables.items():
                value.copy_(state_dict["variables"][name])
        for name, value in state_dict["attributes"].items():
            setattr(learner, name, value)
        assert learner.ep_info_buffer is not None
        learner.ep_info_buffer.clear()
        learner.ep_info_buffer.extend(state_dict["episodes"])
        learner.action_space.np_random.bit_generator.state = state_dict["action_space"]
        self.env.restore(state_dict["env"])
        if buffer is not None:
            kept = state_dict["replay_buffer"]
            buffer.pos, buffer.full = kept["pos"], kept["full"]
            for name, values in self.filled().items():
                for key in values if isinstance(values, dict) else (...,):
                    (values[key])[:] = kept["filled"][name][key]


class TrainingCallback(BaseCallback):
    """Goes on in the bench's loop with each rollout, keeps the mean returns, notices a policy that diverges.

    Args:
        progress_bar: of as many items as there are rollouts.
        episodes: in a rollout.
    """

    def __init__(self, progress_bar: Iterator[int], episodes: int) -> None:
        super().__init__()
        self.rollouts, self.episodes = progress_bar, episodes
        self.returns: list[float] = []
        self.reported = 0

    def _on_training_start(self) -> None:
        self.rollouts = resumable(self.rollouts, learner=LearnerState(self.model), callback=self)
        next(self.rollouts, None)  # from a checkpoint, some rollouts or all are done

    def _on_rollout_start(self) -> None:
        self.advance()

    def advance(self) -> None:
        """A rollout and its update are over, or the first is to come; called once more after the last."""
        if self.num_timesteps == self.reported:
            return
        self.check_weights()
        logged, steps = self.model.logger.name_to_value, self.num_timesteps - self.reported
        losses = {name.removeprefix("train/"): logged[name] for name in LOSSES if name in logged}
        report("policy", images=self.episodes, steps=steps, mean_return=self.returns[-1], **losses)
        self.reported = self.num_timesteps
        next(self.rollouts, None)

    def state_dict(self) -> dict[str, Any]:
        """What it has counted and kept."""
        return {name: getattr(self, name) for name in ("returns", "reported", "num_timesteps")}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Put it back."""
        vars(self).update(state_dict)

    def _on_rollout_end(self) -> None:
        self.returns.append(float(np.mean([episode["r"] for episode in self.model.ep_info_buffer or []])))

    def _on_step(self) -> bool:
        return True

    def check_weights(self) -> None:
        """Raise `Diverged` if a weight of the policy is huge or NaN, which is not less than anything."""
        for weight in self.model.policy.parameters():
            if not bool((weight.abs() < LARGEST_WEIGHT).all()):
                raise Diverged(f"the policy's weights diverged within {self.num_timesteps} env steps of this round")


@dataclass
class ActorCriticAgent(PredictorAgent):
    """Looks where a policy trained by an actor-critic method points. Stages of `fit`:

    1. The predictor learns on canvases of random windows. Then the features extractor learns to classify such sets of
       windows, through a linear classifier that is not used afterwards.
    2. In rounds: the policy, rewarded by the predictor, which is frozen; then a new predictor, on the policy's windows.

    Each predictor is trained as every agent's is; the last one, on the policy's windows alone, is the agent's.
    `fit` leaves `return_curve` in the findings: the mean return of 100 episodes, at 20 moments of all rounds together.

    Settings:
        size, scales: of the window: side of the finest scale in pixels (g), number of scales (S).
        glimpses: how many, in training and at test (T).
        reward: `information`, the gain in the true class's log-likelihood with each glimpse, or `correct`, 1 at the
            end if the prediction is right; both by the predictor of the round.
        rounds: of policy and predictor.
        extractor_steps, extractor_batch, extractor_lr: of the features extractor's supervised training.
        policy_steps: env steps, in all rounds together; each round is filled up to whole rollouts.
        policy_lr: learning rate; falls linearly towards 0 in each round.
        num_envs: stepped at once.
        gamma: the discount per glimpse.
        features_dim: width of features extractor, policy and critic (D).
        random_share: of the images on which a predictor is trained between rounds, those with random windows in place
            of the policy's.
        predictor_init, predictor_steps, predictor_lr, batch, width: of each predictor, as for every agent.
    """

    size: Positive = 8
    scales: Positive = 1
    glimpses: Positive = 6
    reward: Literal["information", "correct"] = "information"
    rounds: Positive = 2
    extractor_steps: Positive = renamed(600, "reader_steps")
    extractor_batch: Positive = renamed(128, "reader_batch")
    extractor_lr: Rate = renamed(2e-3, "reader_lr")
    policy_steps: Positive = 200_000
    policy_lr: Rate = 1e-3
    num_envs: Positive = 32
    gamma: Share = 0.9
    features_dim: Positive = renamed(128, "features")
    random_share: Share = renamed(0.5, "explore")

    in_training: BaseAlgorithm | None = field(default=None, init=False, repr=False, compare=False)
    """Stable-Baselines3's algorithm while it learns."""

    def sensor(self) -> Sensor:
        return Window(self.size, self.scales, border="inside")

    def horizon(self) -> int:
        return self.glimpses

    @property
    def nets(self) -> ActorNet:
        """`net`, with its type."""
        assert isinstance(self.net, ActorNet)
        return self.net

    @property
    def outputs(self) -> int:
        """A, the number of the policy's outputs."""
        return 2

    def build(self) -> nn.Module:
        return ActorNet(self.extractor(), self.outputs, self.classes, self.new_predictor())

    def extractor(self) -> FeaturesExtractor:
        """An untrained features extractor of what `act` sees."""
        values = int(np.prod(self.sensor().glimpse_shape(self.shape)))
        return GlimpseSetExtractor(values, self.glimpses, self.features_dim)

    def copied_extractor(self, observation_space: Any) -> FeaturesExtractor:
        """A features extractor for Stable-Baselines3, which trains it apart from the agent's own."""
        return copy.deepcopy(self.nets.extractor)

    @abstractmethod
    def learner(self, env: VecEnv, seed: int, schedule: Schedule) -> BaseAlgorithm:
        """Stable-Baselines3's algorithm over the env; `fit` then sets the weights of its features extractors."""

    @abstractmethod
    def actor(self, learner: BaseAlgorithm) -> tuple[Any, Iterable[Tensor]]:
        """The trained actor: its features extractor, and the parameters of the layers after it, in order."""

    def rollout_steps(self) -> int:
        """Env steps between two updates."""
        return self.num_envs * self.glimpses

    @property
    def rollouts_per_round(self) -> int:
        return math.ceil(self.policy_steps / self.rounds / self.rollout_steps())

    def learning_rate(self, progress_remaining: float) -> float:
        """A schedule as Stable-Baselines3 has it: the share of a round that is left → the learning rate.

        Stable-Baselines3 takes that share after a rollout, before the update on it, so that a plain linear schedule
        would give the last update a rate of 0. Here the first update has the whole rate and the last one a little.
        """
        return self.policy_lr * min(1.0, progress_remaining + 1 / self.rollouts_per_round)

    def wrapped(self, env: GlimpseVectorEnv) -> VectorEnv[Any, Any, Any]:
        """The env with the learner's action space."""
        return env

    def fixations(self, outputs_BA: Tensor, observation: Observation) -> Array:
        """The deterministic policy's fixations, from its outputs: float32 (B, 2)."""
        fixation_B2: Array = outputs_BA.clamp(-1, 1).numpy()
        return fixation_B2

    def fit(self, task: Task, seed: int, progress: Progress[int]) -> None:
        rng, net = np.random.default_rng(seed), self.nets
        self.fit_predictor(task, 1.0, rng, progress)
        self.fit_extractor(task, rng, progress)
        env = GlimpseVectorEnv(
            task,
            self.num_envs,
            sensor=self.sensor(),
            observation=self.observation,
            glimpses=self.glimpses,
            reward=self.reward,
            predictor=self.predict,  # by the predictor of the round
            view="canvas",
            autoreset_mode=AutoresetMode.SAME_STEP,
        )
        learner = self.learner(VecGlimpse(self.wrapped(env)), seed, self.learning_rate)
        for module in learner.policy.modules():
            if isinstance(module, FeaturesExtractor):  # Stable-Baselines3 has initialised it anew
                module.load_state_dict(net.extractor.state_dict())
        returns: list[float] = []
        for number in range(1, self.rounds + 1):
            returns += self.fit_policy(learner, progress)
            self.fit_predictor(task, self.random_share if number < self.rounds else 0.0, rng, progress)
        self.findings = {
            "return_curve": [returns[math.ceil((k + 1) / CURVE_POINTS * len(returns)) - 1] for k in range(CURVE_POINTS)]
        }

    def fit_policy(self, learner: BaseAlgorithm, progress: Progress[int]) -> list[float]:
        """One round of the policy against the predictor as it is: the mean return of 100 episodes, rollout by rollout.

        `learn` begins new episodes, so that no reward compares two predictors.
        """
        rollouts = iter(progress(range(self.rollouts_per_round)))
        callback = TrainingCallback(rollouts, self.rollout_steps() // self.glimpses)
        self.in_training = learner
        learner.set_logger(Logger(None, []))  # a new one a round; Stable-Baselines3's own leaves a folder in /tmp
        try:
            learner.learn(self.rollouts_per_round * self.rollout_steps(), callback, log_interval=NO_LOG)
        except ValueError:  # how torch's distributions and the env refuse NaN
            callback.check_weights()
            raise
        else:
            callback.advance()  # so that the loop ends
        finally:
            self.in_training = None
        self.take_over(learner)
        return callback.returns

    def take_over(self, learner: BaseAlgorithm) -> None:
        """Copy the actor's weights into the agent's own net."""
        extractor, parameters = self.actor(learner)
        self.nets.extractor.load_state_dict(extractor.state_dict())
        with torch.no_grad():
            for own, trained in zip(self.nets.policy_head.parameters(), parameters, strict=True):
                own.copy_(trained)

    def env_after_glimpses(self, images: Split, random_share: float, rng: np.random.Generator) -> GlimpseVectorEnv:
        """An env with one episode an image, each of a random number of glimpses, 1 to T.

        Fixations are the policy's, or uniform for a random share of the images.
        """
        count = len(images)
        env = GlimpseVectorEnv(
            images,
            count,
            sensor=self.sensor(),
            observation=self.observation,
            glimpses=self.glimpses,
            stop=True,
            autoreset_mode=AutoresetMode.DISABLED,
        )
        observation, _ = env.reset(options={"index": np.arange(count)})
        random_B1 = rng.random((count, 1)) < random_share
        glimpses_B = rng.integers(1, self.glimpses + 1, count)
        for step in range(int(glimpses_B.max())):
            fixation_B2 = rng.uniform(-1, 1, (count, 2))
            if random_share < 1:
                fixation_B2 = np.where(random_B1, fixation_B2, self.act(observation, rng))
            stop_B = np.where(step < glimpses_B, -1, 1)
            observation, *_ = env.step(np.column_stack([fixation_B2, stop_B]).astype(np.float32))
        return env

    def fit_predictor(self, task: Task, random_share: float, rng: np.random.Generator, progress: Progress[int]) -> None:
        """Train the predictor on random windows for a share of the images, and on the policy's."""

        def canvases(images: Split) -> tuple[Tensor, Tensor]:
            view = tensors(self.env_after_glimpses(images, random_share, rng).observe("canvas"))
            return view["canvas"], view["mask"]

        stage = "predictor" if random_share < 1 else "predictor, random windows"
        self.train_predictor(self.nets.predictor, task, canvases, rng, progress, stage)

    def fit_extractor(self, task: Task, rng: np.random.Generator, progress: Progress[int]) -> None:
        """Pretrain the features extractor with labels, on random windows: rewards alone teach it slowly."""
        net = self.nets

        def loss_of(images: Array, labels_B: Tensor, step: int) -> Tensor:
            seen = tensors(self.env_after_glimpses(Split(images), 1.0, rng).observe(self.observation))
            return F.cross_entropy(net.classifier(net.extractor(seen)), labels_B)

        optimise(
            nn.ModuleList([net.extractor, net.classifier]),
            task,
            loss_of,
            steps=self.extractor_steps,
            batch=self.extractor_batch,
            lr=self.extractor_lr,
            rng=rng,
            progress=progress,
            stage="extractor",
        )

    def validation_logits(self, images: Split, stage: str) -> tuple[Tensor | Array | None, str]:
        if self.in_training is not None:
            self.take_over(self.in_training)  # into the copy's net: the env of the training watches the agent's own
        if stage not in ("extractor", "predictor, random windows"):
            return super().validation_logits(images, stage)
        env = self.env_after_glimpses(images.unlabelled, 1.0, np.random.default_rng(0))
        if stage == "extractor":
            features_BD = self.nets.extractor(tensors(env.observe(self.observation)))
            return self.nets.classifier(features_BD), "classifier on the features of random windows"
        return self.predict(env.observe("canvas")), "predictor on random windows"

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
        n_epochs: over them in an update, in shuffled minibatches of as many steps as one episode of each env has.
        clip_range: ε, how far an update may move the ratio of new to old policy from 1.
        ent_coef: c, the weight of the policy's entropy.
        initial_std: of the Gaussian policy, in units of the frame [-1, 1]; it is learned.
        The others: `ActorCriticAgent`.
    """

    episodes: Positive = 4
    n_epochs: Positive = renamed(4, "epochs")
    clip_range: Rate = renamed(0.2, "clip")
    ent_coef: Weight = renamed(0.003, "entropy")
    initial_std: Rate = renamed(0.4, "std")

    def rollout_steps(self) -> int:
        return self.episodes * self.num_envs * self.glimpses

    def learner(self, env: VecEnv, seed: int, schedule: Schedule) -> BaseAlgorithm:
        return PPO("MultiInputPolicy", env, **self.settings(seed, schedule, log_std_init=math.log(self.initial_std)))

    def settings(self, seed: int, schedule: Schedule, **policy: Any) -> dict[str, Any]:
        """The arguments of both kinds of PPO; `policy` are those of the policy alone."""
        return {
            "learning_rate": schedule,
            "n_steps": self.episodes * self.glimpses,
            "batch_size": self.num_envs * self.glimpses,
            "n_epochs": self.n_epochs,
            "gamma": self.gamma,
            "gae_lambda": 0.95,
            "clip_range": self.clip_range,
            "ent_coef": self.ent_coef,
            "seed": seed,
            "device": "cpu",
            "policy_kwargs": {
                "features_extractor_class": self.copied_extractor,
                "net_arch": {"pi": [self.features_dim], "vf": [self.features_dim]},
                "activation_fn": nn.ReLU,
                **policy,
            },
        }

    def actor(self, learner: BaseAlgorithm) -> tuple[Any, Iterable[Tensor]]:
        policy: Any = learner.policy
        layers = [policy.mlp_extractor.policy_net, policy.action_net]
        return policy.features_extractor, [value for layer in layers for value in layer.parameters()]
