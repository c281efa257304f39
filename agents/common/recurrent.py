"""What recurrent agents share: RAM's network and losses, its episode and the training of both networks.

They differ by their sensor and by which gradient reaches the fixations, so that a comparison of two of them
compares nothing else. Shapes: B batch, T step, C H W image, H (of a state) hidden units, V glimpse values, K classes.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Literal

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
from glimpsebench.envs.tasks import Task

Array = NDArray[Any]
Reward = Literal["correct", "likelihood"]
LossAt = Literal["all", "last"]
SAMPLED = 5000
"""Training images that tell the mean and deviation of their pixels."""
GlimpseReader = Callable[[Tensor], tuple[Tensor, Array]]
"""Fixations (B, 2) → glimpses (B, V) and the sensor's aims."""


class RAMNet(nn.Module):
    """Glimpse network, core, classifier, fixation policy and baseline, by the paper's names; a shared predictor.

    With `standardize` the glimpse network reads values less `mean_level`, over `deviation`.
    """

    mean_level: Tensor
    deviation: Tensor

    def __init__(
        self, glimpse_values: int, classes: int, shared: CanvasNet | None, hidden: int = 256, standardize: bool = False
    ) -> None:
        super().__init__()
        half = hidden // 2
        self.hidden = hidden
        if standardize:
            self.register_buffer("mean_level", torch.zeros(()))
            self.register_buffer("deviation", torch.ones(()))
        self.standardize = standardize
        self.what = nn.Sequential(nn.Linear(glimpse_values, half), nn.ReLU(), nn.Linear(half, hidden))
        self.where = nn.Sequential(nn.Linear(2, half), nn.ReLU(), nn.Linear(half, hidden))
        self.recur, self.inject = nn.Linear(hidden, hidden), nn.Linear(hidden, hidden)
        self.classifier = nn.Linear(hidden, classes)
        self.policy = nn.Sequential(nn.Linear(hidden, half), nn.ReLU(), nn.Linear(half, 2))
        self.baseline = nn.Linear(hidden, 1)
        self.shared = shared

    def forward(self, hidden_BH: Tensor | None, glimpse_BV: Tensor, fixation_B2: Tensor) -> Tensor:
        """One step of the core: h_{t−1}, ρ_t, l_t → h_t. Before the first glimpse h is 0: None saves its product."""
        if self.standardize:
            glimpse_BV = (glimpse_BV - self.mean_level) / self.deviation
        glimpse_BH = F.relu(self.what(glimpse_BV) + self.where(fixation_B2))
        recalled = self.recur.bias if hidden_BH is None else self.recur(hidden_BH)
        return F.relu(recalled + self.inject(glimpse_BH))

    def mean(self, hidden_BH: Tensor) -> Tensor:
        """The mean of the next fixation, (B, 2) in (−1, 1)."""
        return torch.tanh(self.policy(hidden_BH))


def losses(
    logits_BTK: Tensor,
    baselines_BT: Tensor,
    log_probs_BT: Tensor,
    labels_B: Tensor,
    weight: float,
    reward: Reward = "correct",
    loss_at: LossAt = "all",
) -> Tensor:
    """Cross-entropy + baseline's squared error + weight × REINFORCE.

    What is maximised is the mean reward of the steps: 1 if a step's prediction is right, or the label's
    log-likelihood. The draw at step t decides what is seen from step t+1 on. Its return is the mean reward of those
    steps, which a baseline need not know t to predict, and its weight is their share of all T; the last draw, which
    nothing depends on, has none. If `last` is told, the last prediction alone has a cross-entropy and a reward, which
    is then every draw's return, and all weights are 1.
    """
    steps = logits_BTK.shape[1]
    scored_BTK = logits_BTK if loss_at == "all" else logits_BTK[:, -1:]
    entropy = F.cross_entropy(scored_BTK.flatten(0, 1), labels_B.repeat_interleave(scored_BTK.shape[1]))
    if steps == 1:
        return entropy
    if reward == "correct":
        reward_BT = (logits_BTK.detach().argmax(2) == labels_B[:, None]).float()
    else:
        reward_BT = log_likelihoods(logits_BTK.detach(), labels_B)
    return_BT, weight_T = reward_BT[:, -1:].expand(-1, steps - 1), torch.ones(steps - 1)
    if loss_at == "all":
        later_T = torch.arange(steps - 1, 0, -1)
        return_BT, weight_T = reward_BT[:, 1:].flip(1).cumsum(1).flip(1) / later_T, later_T / steps
    advantage_BT = return_BT - baselines_BT[:, :-1]
    policy = -(weight_T * log_probs_BT[:, :-1] * advantage_BT.detach()).sum(1).mean()
    return entropy + advantage_BT.square().mean() + weight * policy


def log_likelihoods(logits_BTK: Tensor, labels_B: Tensor) -> Tensor:
    """log p(label) of each step's prediction, (B, T)."""
    index_BT1 = labels_B[:, None, None].expand(-1, logits_BTK.shape[1], 1)
    return logits_BTK.log_softmax(2).gather(2, index_BT1)[..., 0]


def uniform_fixations(count: int, rng: np.random.Generator) -> Array:
    """Fixations (B, 2) drawn uniformly."""
    return rng.uniform(-1, 1, (count, 2)).astype(np.float32)


@dataclass
class RecurrentAgent(PredictorAgent):
    """Looks where what it has seen says that it pays to look.

    Settings:
        size: of the window.
        glimpses: how many, in training and at test.
        first: where it starts, `center` or, as in the paper, `random`.
        std: of the Gaussian policy while training, in the frame's units.
        policy_steps, policy_batch, policy_lr: of the training of the recurrent network.
        reinforce: the weight of the REINFORCE term. Where nothing else trains the policy, and its optimiser divides by
            the gradient's size, only 0 makes a difference.
        policy: `learned`, or `random`, which looks anywhere and learns the rest: the floor with the same network.
        loss_at: which steps have a cross-entropy and a reward: `all`, or the `last` alone, as in the paper.
        standardize: the glimpse network reads values less the mean of the training pixels, over their deviation.
        rollouts: Monte-Carlo rollouts at test, of `glimpses` each. With more than one, fixations are drawn from the
            policy and `core` averages the rollouts' probabilities; the union of them all is what was touched.
        predictor: `shared`, the canvas network that the other agents have, trained on this policy's windows; or
            `core`, the paper's own classifier on h_t.
        predictor_steps, batch, lr, width: of the shared predictor, as for everyone.
    """

    size: Positive = 8
    glimpses: Positive = 6
    rollouts: Positive = 1
    first: Literal["center", "random"] = "center"
    std: Annotated[float, Field(gt=0)] = 0.25
    policy_steps: Positive = 1100
    policy_batch: Positive = 128
    policy_lr: Rate = 2e-3
    reinforce: Annotated[float, Field(ge=0)] = 0.1
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
        return int(self.first == "center")

    @property
    def spread(self) -> float:
        """The std of the policy at test: one rollout follows the mean, several would all be that one."""
        return self.std if self.rollouts > 1 else 0.0

    def build(self) -> nn.Module:
        shared = self.new_predictor() if self.predictor == "shared" else None
        values = int(np.prod(self.sensor().glimpse_shape(self.shape)))
        return RAMNet(values, self.classes, shared, standardize=self.standardize)

    @abstractmethod
    def glimpse_reader(self, images: Array) -> GlimpseReader:
        """What the sensor reads of a batch of images (uint8 BCHW) at given fixations."""

    @abstractmethod
    def canvases(self, images: Array, aims: list[Array], prefix_B: Array) -> tuple[Tensor, Tensor]:
        """Canvases and masks (B, 1, H, W, boolean) after the glimpses 0 … prefix of each image."""

    def policy_loss(self, images: Array, labels_B: Tensor, rng: np.random.Generator) -> Tensor:
        """The recurrent network's loss on one batch."""
        net = self.net
        assert isinstance(net, RAMNet)
        logits, baselines, means, draws = [], [], [], []
        for hidden_BH, _, mean_B2, drawn_B2 in self.episode(images, rng, self.std):
            logits.append(net.classifier(hidden_BH))
            baselines.append(net.baseline(hidden_BH.detach())[:, 0])
            means.append(mean_B2)
            draws.append(drawn_B2.detach())
        # Nothing depends on the last draw, so nothing flows back from it: that saves a backward pass of zeros.
        baselines[-1], means[-1] = baselines[-1].detach(), means[-1].detach()
        log_probs_BT = -((torch.stack(draws, 1) - torch.stack(means, 1)) ** 2).sum(2) / (2 * self.std**2)
        return self.loss_of(torch.stack(logits, 1), torch.stack(baselines, 1), log_probs_BT, labels_B)

    def loss_of(self, logits_BTK: Tensor, baselines_BT: Tensor, log_probs_BT: Tensor, labels_B: Tensor) -> Tensor:
        """The losses of one batch of episodes, put together."""
        return losses(logits_BTK, baselines_BT, log_probs_BT, labels_B, self.reinforce, loss_at=self.loss_at)

    def fit(self, task: Task, seed: int, progress: Progress[int]) -> None:
        rng, net = np.random.default_rng(seed), self.net
        assert isinstance(net, RAMNet)

        def policy_loss(images: Array, labels_B: Tensor, step: int) -> Tensor:
            return self.policy_loss(images, labels_B, rng)

        def canvases(images: Array) -> tuple[Tensor, Tensor]:
            with torch.no_grad():
                episodes = [self.episode(images, rng, self.spread) for _ in range(self.rollouts)]
                aims = [aim for episode in episodes for _, aim, _, _ in episode]
            return self.canvases(images, aims, rng.integers(0, self.horizon(), len(images)))

        if self.standardize:
            deviation, mean = torch.std_mean(to_float(task.train().images_NCHW[:SAMPLED]))
            net.mean_level.copy_(mean)
            net.deviation.copy_(deviation.clamp(min=1e-6))
        common: dict[str, Any] = {"rng": rng, "progress": progress}
        shared, net.shared = net.shared, None
        optimise(net, task, policy_loss, steps=self.policy_steps, batch=self.policy_batch, lr=self.policy_lr, **common)
        if shared is not None:
            net.shared = shared
            self.train_predictor(shared, task, canvases, **common)

    def episode(
        self, images: Array, rng: np.random.Generator, std: float
    ) -> Iterator[tuple[Tensor, Array, Tensor, Tensor]]:
        """The glimpses of one batch: at each step h_t, the aim, and the mean and draw of the next fixation."""
        net, look, count = self.net, self.glimpse_reader(images), len(images)
        assert isinstance(net, RAMNet)
        hidden_BH: Tensor | None = None
        fixation_B2 = tensor(self.start(count, rng))
        for _ in range(self.glimpses):
            glimpse_BV, aim = look(fixation_B2)
            hidden_BH = net(hidden_BH, glimpse_BV, fixation_B2)
            mean_B2 = net.mean(self.policy_input(hidden_BH))
            drawn_B2 = self.draw(hidden_BH, mean_B2, std * torch.randn_like(mean_B2))
            yield hidden_BH, aim, mean_B2, drawn_B2
            fixation_B2 = drawn_B2.clamp(-1, 1)
            if self.policy == "random":
                fixation_B2 = tensor(uniform_fixations(count, rng))

    def policy_input(self, hidden_BH: Tensor) -> Tensor:
        """h_t as the policy reads it: without a gradient, so that the policy does not shape what tells it."""
        return hidden_BH.detach()

    def draw(self, hidden_BH: Tensor, mean_B2: Tensor, noise_B2: Tensor) -> Tensor:
        """The draw with as much gradient as its estimator lets through: none for REINFORCE."""
        return (mean_B2 + noise_B2).detach()

    def start(self, count: int, rng: np.random.Generator) -> Array:
        """The first fixations (B, 2), which see nothing yet."""
        drawn = uniform_fixations(count, rng)
        return drawn if self.first == "random" else np.zeros_like(drawn)

    def action_of(self, fixation_B2: Array) -> Array:
        """Fixations as the sensor's actions."""
        return fixation_B2

    def fixation_of(self, action: Tensor) -> Tensor:
        """The inverse of `action_of`: (B, 2)."""
        return action

    def _hidden(self, observation: Observation) -> list[Tensor]:
        """The core's state at the end of each rollout so far, the newest last, recomputed from all glimpses.

        No state hides between calls. A rollout that an image has not begun repeats its state of the one before.
        """
        net, seen = self.net, tensors(observation)
        assert isinstance(net, RAMNet)
        ends = [torch.zeros(len(seen["valid"]), net.hidden)]
        for step in range(int(seen["valid"].sum(1).max())):
            before_BH = ends[-1]
            if step and step % self.glimpses == 0:
                ends.append(before_BH)
                before_BH = torch.zeros_like(before_BH)
            fixation_B2 = self.fixation_of(seen["actions"][:, step])
            after_BH = net(before_BH, seen["glimpses"][:, step].flatten(1), fixation_B2)
            ends[-1] = torch.where(seen["valid"][:, step, None] > 0, after_BH, ends[-1])
        return ends

    @torch.no_grad()
    def act(self, observation: Observation, rng: np.random.Generator) -> Array:
        assert isinstance(self.net, RAMNet)
        valid_BT = observation["valid"]
        first = self.start(len(valid_BT), rng)
        if self.policy == "random":
            later = uniform_fixations(len(valid_BT), rng)
        else:
            later = self.net.mean(self._hidden(observation)[-1]).numpy()
            if self.spread:
                later = np.clip(later + self.spread * rng.standard_normal(later.shape, np.float32), -1, 1)
        begins_B1 = valid_BT.sum(1, keepdims=True) % self.glimpses == 0
        return self.action_of(np.where(begins_B1, first, later))

    @torch.no_grad()
    def predict(self, view: Observation) -> Array:
        assert isinstance(self.net, RAMNet)
        if self.net.shared is not None:
            return predict_canvas(self.net.shared, view)
        logits_BRK = torch.stack([self.net.classifier(end_BH) for end_BH in self._hidden(view)], 1)
        if self.rollouts > 1:
            begun_B1 = tensor(np.ceil(view["valid"].sum(1, keepdims=True) / self.glimpses).clip(1))
            weight_BR = (torch.arange(logits_BRK.shape[1]) < begun_B1) / begun_B1
            logits_BRK = (logits_BRK.softmax(2) * weight_BR[..., None]).sum(1, keepdim=True).log()
        logits: Array = logits_BRK[:, 0].numpy()
        return logits
