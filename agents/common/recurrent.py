"""RAM's networks, hybrid loss, episode and training, for the agents that are built on them.

Names are those of Mnih et al. 2014 (arXiv:1406.6247): a glimpse network reads the sensor's values and the fixation, a
core network is recurrent over glimpses, a location network gives the policy's mean, and a classification network and a
baseline read the core's state. The agents differ by their sensor and by which gradient reaches the fixations.

Shapes: B batch, T step (one glimpse each), S = T − 1, C H W image, U hidden units, V values of a glimpse,
K classes.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Literal, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F

from glimpsebench.agents.common.base import Progress, tensor, tensors
from glimpsebench.agents.common.nets import (
    CanvasNet,
    Positive,
    PredictorAgent,
    Rate,
    optimise,
    predict_canvas,
    to_float,
)
from glimpsebench.envs.glimpse import Kind, Observation
from glimpsebench.envs.settings import renamed
from glimpsebench.envs.tasks import Split, Task

Array = NDArray[Any]
Reward = Literal["correct", "likelihood"]
LossAt = Literal["all", "last"]
STATISTICS_IMAGES = 5000
"""Training images from which the mean and standard deviation of the pixels are taken."""
GlimpseReader = Callable[[Tensor], tuple[Tensor, Array]]
"""Fixations (B, 2) → glimpses (B, V) and the sensor's aims, which are the places in pixels (`Sensor.aim`)."""


class Step(NamedTuple):
    """One step of a batch of episodes: what follows from its glimpse.

    Attributes:
        hidden_BU: the core's state h_t.
        aim: where the glimpse was taken, as the sensor has it.
        mean_B2: the mean of the policy for the next fixation.
        sample_B2: the sample from the policy; clipped to [-1, 1] it is the next fixation.
    """

    hidden_BU: Tensor
    aim: Array
    mean_B2: Tensor
    sample_B2: Tensor


class RAMNet(nn.Module):
    """RAM's five networks, and the canvas predictor that all agents share.

    Glimpse network: g_t = relu(what(ρ_t) + where(l_t)). Core network: h_t = relu(W_hh h_{t−1} + W_ih g_t). Classifier
    (the paper's action network), location network and baseline read h_t.

    Args:
        glimpse_values: V, numbers in one glimpse.
        classes: K.
        shared: the canvas predictor, or None where the classifier on h_t is the agent's predictor.
        hidden: units of g_t and h_t; "what", "where" and location network have a layer of half as many.
        standardize: glimpses are standardised by `pixel_mean` and `pixel_std` before the glimpse network.
    """

    pixel_mean: Tensor
    pixel_std: Tensor

    def __init__(
        self, glimpse_values: int, classes: int, shared: CanvasNet | None, hidden: int = 256, standardize: bool = False
    ) -> None:
        super().__init__()
        half = hidden // 2
        self.hidden = hidden
        if standardize:
            self.register_buffer("pixel_mean", torch.zeros(()))
            self.register_buffer("pixel_std", torch.ones(()))
        self.standardize = standardize
        self.what = nn.Sequential(nn.Linear(glimpse_values, half), nn.ReLU(), nn.Linear(half, hidden))
        self.where = nn.Sequential(nn.Linear(2, half), nn.ReLU(), nn.Linear(half, hidden))
        self.hidden_to_hidden, self.input_to_hidden = nn.Linear(hidden, hidden), nn.Linear(hidden, hidden)
        self.classifier = nn.Linear(hidden, classes)
        self.location = nn.Sequential(nn.Linear(hidden, half), nn.ReLU(), nn.Linear(half, 2))
        self.baseline = nn.Linear(hidden, 1)
        self.shared = shared

    def forward(self, hidden_BU: Tensor | None, glimpse_BV: Tensor, fixation_B2: Tensor) -> Tensor:
        """Glimpse network and core: h_{t−1}, ρ_t, l_t → h_t. None is h_0 = 0, whose matrix product is left out."""
        if self.standardize:
            glimpse_BV = (glimpse_BV - self.pixel_mean) / self.pixel_std
        glimpse_BU = F.relu(self.what(glimpse_BV) + self.where(fixation_B2))
        recurrent_BU = self.hidden_to_hidden.bias if hidden_BU is None else self.hidden_to_hidden(hidden_BU)
        return F.relu(recurrent_BU + self.input_to_hidden(glimpse_BU))

    def location_mean(self, hidden_BU: Tensor) -> Tensor:
        """The mean of the policy for the next fixation, (B, 2) in (−1, 1)."""
        return torch.tanh(self.location(hidden_BU))


def classification_loss(logits_BTK: Tensor, labels_B: Tensor, loss_at: LossAt) -> Tensor:
    """Mean cross-entropy of the predictions after every glimpse, or after the last alone."""
    scored_BTK = logits_BTK if loss_at == "all" else logits_BTK[:, -1:]
    return F.cross_entropy(scored_BTK.flatten(0, 1), labels_B.repeat_interleave(scored_BTK.shape[1]))


def reinforce_loss(
    logits_BTK: Tensor,
    baselines_BS: Tensor,
    log_probs_BS: Tensor,
    labels_B: Tensor,
    weight: float,
    reward: Reward = "correct",
    loss_at: LossAt = "all",
) -> Tensor:
    """Squared error of the baseline − weight × REINFORCE's surrogate, Σ_t log π(sample_t) (R_t − b_t).

    Samples, baselines and log-probabilities are those of the first S = T − 1 steps: nothing depends on the last sample.
    What is maximised is the mean over all T steps of the reward: 1 if a step's prediction is right (`correct`), or the
    log-likelihood of the label (`likelihood`). The sample of step t decides what is seen from step t+1 on. Its return
    R_t is the mean reward of those steps, which the baseline can predict without knowing t, and its term is weighted
    by their share of T. With `loss_at="last"` the last step alone is rewarded: its reward is every sample's return,
    and all weights are 1.
    """
    steps = logits_BTK.shape[1]
    if reward == "correct":
        reward_BT = (logits_BTK.detach().argmax(2) == labels_B[:, None]).float()
    else:
        reward_BT = log_likelihoods(logits_BTK.detach(), labels_B)
    return_BS, weight_S = reward_BT[:, -1:].expand(-1, steps - 1), torch.ones(steps - 1)
    if loss_at == "all":
        later_S = torch.arange(steps - 1, 0, -1)
        return_BS, weight_S = reward_BT[:, 1:].flip(1).cumsum(1).flip(1) / later_S, later_S / steps
    advantage_BS = return_BS - baselines_BS
    surrogate_B = (weight_S * log_probs_BS * advantage_BS.detach()).sum(1)
    return advantage_BS.square().mean() - weight * surrogate_B.mean()


def log_likelihoods(logits_BTK: Tensor, labels_B: Tensor) -> Tensor:
    """log p(label) by each step's prediction, (B, T)."""
    index_BT1 = labels_B[:, None, None].expand(-1, logits_BTK.shape[1], 1)
    return logits_BTK.log_softmax(2).gather(2, index_BT1)[..., 0]


def uniform_fixations(count: int, rng: np.random.Generator) -> Array:
    """Fixations (B, 2) drawn uniformly from [-1, 1]²."""
    return rng.uniform(-1, 1, (count, 2)).astype(np.float32)


@dataclass
class RecurrentAgent(PredictorAgent):
    """Looks where a recurrent network points, given the glimpses so far.

    Settings:
        size: side of the window, pixels (g).
        glimpses: how many, in training and at test (T).
        first_fixation: the image's `center` or, as in the paper, `random`.
        std: standard deviation of the Gaussian policy in training, in units of the frame [-1, 1].
        policy_steps, policy_batch, policy_lr: training of the recurrent network: steps, images a batch, learning rate.
        reinforce: weight of the REINFORCE term. Where nothing else trains the location network it hardly matters how
            large it is, because AdamW divides by the gradient's size; with 0 the location network stays as it began.
        reward: what REINFORCE maximises: `correct`, 0 or 1, or `likelihood`, the log-likelihood of the label.
        policy: `learned`, or `random`: uniform fixations in training and at test, for the floor with the same network.
        loss_at: the glimpses after which the prediction has a loss and a reward: `all`, or, as in the paper, `last`.
        standardize: the glimpse network reads values less the mean of the training pixels, over their std.
        rollouts: Monte-Carlo rollouts at test, of `glimpses` each. With more than one, fixations are sampled from the
            policy. `core` averages the classifier's probabilities over rollouts, `shared` reads one canvas of all
            their windows; all windows together count as touched.
        predictor: `shared`, the canvas network that all agents have, trained on this policy's windows; or `core`, the
            paper's own classifier on h_t.
        predictor_init, predictor_steps, predictor_lr, batch, width: of the shared predictor, as for every agent.
    """

    size: Positive = 8
    glimpses: Positive = 6
    rollouts: Positive = 1
    first_fixation: Literal["center", "random"] = renamed("center", "first")
    std: Annotated[float, Field(gt=0)] = 0.25
    policy_steps: Positive = 1100
    policy_batch: Positive = 128
    policy_lr: Rate = 2e-3
    reinforce: Annotated[float, Field(ge=0)] = 0.1
    reward: Reward = "correct"
    policy: Literal["learned", "random"] = "learned"
    loss_at: LossAt = renamed("all", "told")
    standardize: bool = renamed(False, "standard")
    predictor: Literal["shared", "core"] = "shared"

    observation: ClassVar[Kind] = "glimpses"
    accelerated: ClassVar[bool] = True

    @property
    def view(self) -> Kind:
        return "canvas" if self.predictor == "shared" else "glimpses"

    def horizon(self) -> int:
        return self.glimpses * self.rollouts

    @property
    def given(self) -> int:
        return int(self.first_fixation == "center")

    @property
    def test_std(self) -> float:
        """The policy's std at test: 0 for a single rollout; several would all be equal without noise."""
        return self.std if self.rollouts > 1 else 0.0

    @property
    def reinforce_weight(self) -> float:
        """The weight of the REINFORCE term in the loss."""
        return self.reinforce

    @property
    def trains_location(self) -> bool:
        """Whether the loss has a gradient for the location network."""
        return self.policy == "learned" and self.reinforce_weight > 0

    def build(self) -> nn.Module:
        shared = self.new_predictor() if self.predictor == "shared" else None
        values = int(np.prod(self.sensor().glimpse_shape(self.shape)))
        return RAMNet(values, self.classes, shared, standardize=self.standardize)

    @abstractmethod
    def glimpse_reader(self, images: Array) -> GlimpseReader:
        """A function that reads glimpses of a batch of images (uint8 BCHW)."""

    @abstractmethod
    def canvases(self, images: Array, aims: list[Array], prefix_B: Array) -> tuple[Tensor, Tensor]:
        """Canvases and masks (B, 1, H, W, boolean) after the glimpses 0 … prefix of each image."""

    def recurrent_loss(self, images: Array, labels_B: Tensor, rng: np.random.Generator) -> Tensor:
        """The recurrent network's loss on one batch: the paper's hybrid of cross-entropy and REINFORCE.

        Fixations that were not sampled from the policy say nothing of it: with `policy="random"` their
        log-probabilities, and the baseline that only they need, are no part of the loss.

        The log-probability is that of the sample before it is clipped to the frame, as is usual (Stable-Baselines3's
        PPO, the PyTorch ports of RAM): clipping is then a part of the environment, and the estimate stays unbiased.
        """
        net = self.net
        assert isinstance(net, RAMNet)
        steps = list(self.episode(images, rng, self.std))
        logits_BTK = torch.stack([net.classifier(step.hidden_BU) for step in steps], 1)
        loss = classification_loss(logits_BTK, labels_B, self.loss_at)
        scored = steps[:-1]  # nothing depends on the last sample
        if self.policy == "random" or not scored:
            return loss
        baselines_BS = torch.stack([net.baseline(step.hidden_BU.detach())[:, 0] for step in scored], 1)
        distances_BS2 = torch.stack([step.sample_B2.detach() - step.mean_B2 for step in scored], 1) / self.std
        log_probs_BS = -distances_BS2.square().sum(2) / 2  # up to a constant
        return loss + reinforce_loss(
            logits_BTK, baselines_BS, log_probs_BS, labels_B, self.reinforce_weight, self.reward, self.loss_at
        )

    def fit(self, task: Task, seed: int, progress: Progress[int]) -> None:
        rng, net = np.random.default_rng(seed), self.net
        assert isinstance(net, RAMNet)

        def recurrent_loss(images: Array, labels_B: Tensor, step: int) -> Tensor:
            return self.recurrent_loss(images, labels_B, rng)

        def canvases(batch: Split) -> tuple[Tensor, Tensor]:
            images = batch.images_NCHW
            with torch.no_grad():
                episodes = [self.episode(images, rng, self.test_std) for _ in range(self.rollouts)]
                aims = [aim for episode in episodes for _, aim, _, _ in episode]
            return self.canvases(images, aims, rng.integers(0, self.horizon(), len(images)))

        if self.standardize:
            std, mean = torch.std_mean(to_float(task.train().images_NCHW[:STATISTICS_IMAGES]))
            net.pixel_mean.copy_(mean)
            net.pixel_std.copy_(std.clamp(min=1e-6))
        common: dict[str, Any] = {"rng": rng, "progress": progress}
        shared, net.shared = net.shared, None  # each is trained by an optimiser of its own
        # Where no gradient can reach the location network, weight decay alone must not move it either.
        net.location.requires_grad_(self.trains_location)
        steps, batch, lr = self.policy_steps, self.policy_batch, self.policy_lr
        optimise(net, task, recurrent_loss, steps=steps, batch=batch, lr=lr, stage="policy", **common)
        net.location.requires_grad_(True)
        if shared is not None:
            net.shared = shared
            self.train_predictor(shared, task, canvases, **common)

    def validation_logits(self, images: Split, stage: str) -> tuple[Tensor | Array | None, str]:
        if stage != "policy":
            return super().validation_logits(images, stage)
        assert isinstance(self.net, RAMNet)
        *_, last = self.episode(images.images_NCHW, np.random.default_rng(0), 0.0)
        return self.net.classifier(last.hidden_BU), "core network's classifier after the last glimpse"

    def episode(self, images: Array, rng: np.random.Generator, std: float) -> Iterator[Step]:
        """The `glimpses` steps of one batch of images, with a policy of this std."""
        net, look, count = self.net, self.glimpse_reader(images), len(images)
        assert isinstance(net, RAMNet)
        hidden_BU: Tensor | None = None
        fixation_B2 = tensor(self.first_fixations(count, rng))
        for _ in range(self.glimpses):
            glimpse_BV, aim = look(fixation_B2)
            hidden_BU = net(hidden_BU, glimpse_BV, fixation_B2)
            if self.policy == "random":
                sample_B2 = tensor(uniform_fixations(count, rng))
                mean_B2 = torch.zeros_like(sample_B2)
            else:
                mean_B2 = net.location_mean(self.location_input(hidden_BU))
                sample_B2 = self.sample(hidden_BU, mean_B2, std * torch.randn_like(mean_B2))
            yield Step(hidden_BU, aim, mean_B2, sample_B2)
            fixation_B2 = sample_B2.clamp(-1, 1)

    def location_input(self, hidden_BU: Tensor) -> Tensor:
        """h_t as the location network reads it: detached, so that REINFORCE trains that network alone."""
        return hidden_BU.detach()

    def sample(self, hidden_BU: Tensor, mean_B2: Tensor, noise_B2: Tensor) -> Tensor:
        """The sample from the policy, with as much gradient as the estimator lets through: none for REINFORCE."""
        return (mean_B2 + noise_B2).detach()

    def first_fixations(self, count: int, rng: np.random.Generator) -> Array:
        """The first fixations (B, 2), which depend on nothing."""
        uniform_B2 = uniform_fixations(count, rng)
        return uniform_B2 if self.first_fixation == "random" else np.zeros_like(uniform_B2)

    def to_action(self, fixation_B2: Array) -> Array:
        """Fixations as the sensor's actions."""
        return fixation_B2

    def to_fixation(self, action: Tensor) -> Tensor:
        """The inverse of `to_action`: (B, 2)."""
        return action

    def _hidden_states(self, observation: Observation) -> list[Tensor]:
        """The core's state after the last glimpse of each rollout so far, the newest rollout last.

        Recomputed from all glimpses, so that no state is kept between calls. Where an image has not begun a rollout,
        the state is that of its last one.
        """
        net, seen = self.net, tensors(observation)
        assert isinstance(net, RAMNet)
        states = [torch.zeros(len(seen["valid"]), net.hidden)]
        for step in range(int(seen["valid"].sum(1).max())):
            before_BU = states[-1]
            if step and step % self.glimpses == 0:
                states.append(before_BU)
                before_BU = torch.zeros_like(before_BU)
            fixation_B2 = self.to_fixation(seen["actions"][:, step])
            after_BU = net(before_BU, seen["glimpses"][:, step].flatten(1), fixation_B2)
            states[-1] = torch.where(seen["valid"][:, step, None] > 0, after_BU, states[-1])
        return states

    @torch.no_grad()
    def act(self, observation: Observation, rng: np.random.Generator) -> Array:
        assert isinstance(self.net, RAMNet)
        valid_BT = observation["valid"]
        first_B2 = self.first_fixations(len(valid_BT), rng)
        if self.policy == "random":
            later_B2 = uniform_fixations(len(valid_BT), rng)
        else:
            later_B2 = self.net.location_mean(self._hidden_states(observation)[-1]).numpy()
            if self.test_std:
                later_B2 = np.clip(later_B2 + self.test_std * rng.standard_normal(later_B2.shape, np.float32), -1, 1)
        begins_B1 = valid_BT.sum(1, keepdims=True) % self.glimpses == 0
        return self.to_action(np.where(begins_B1, first_B2, later_B2))

    @torch.no_grad()
    def predict(self, view: Observation) -> Array:
        assert isinstance(self.net, RAMNet)
        if self.net.shared is not None:
            return predict_canvas(self.net.shared, view)
        logits_BRK = torch.stack([self.net.classifier(hidden_BU) for hidden_BU in self._hidden_states(view)], 1)
        if self.rollouts > 1:
            begun_B1 = tensor(np.ceil(view["valid"].sum(1, keepdims=True) / self.glimpses).clip(1))
            weight_BR = (torch.arange(logits_BRK.shape[1]) < begun_B1) / begun_B1
            logits_BRK = (logits_BRK.softmax(2) * weight_BR[..., None]).sum(1, keepdim=True).log()
        logits: Array = logits_BRK[:, 0].numpy()
        return logits
