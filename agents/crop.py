"""crop: an arena. One window of an image, its place and its size at once; what teaches the selector is a setting.

All estimators have one selector (image → the mean of a Gaussian over x, y and size with a fixed deviation), one
predictor, the same images, optimiser and number of predictor passes (common/duel.py), and maximise E log p(label | the
crop). The window is resampled bilinearly to g×g values, and the predictor reads these as a small image that is shown
whole. It begins as the task's reader, which has met no crops, and so is first trained on random ones, the same for all:
a policy that is paid by a predictor which cannot read yet learns to avoid it. a = μ + std · ε, clipped.

`reinforce`  `samples` windows, log p(a) times the reward less the mean of the image's others (Williams 1992; Kool, van
             Hoof, Welling 2019).
`ppo`        the same samples, as a bandit of one step: `epochs` updates of the clipped ratio (Schulman et al. 2017,
             arXiv:1707.06347).
`pathwise`   the gradient through the crop's sampling positions (Jaderberg et al. 2015, arXiv:1506.02025), which is what
             teaches `dham` (DOI 10.5281/zenodo.7684823), whose network, noise and training differ.
`random`     nothing is learned: a uniform place, and all of the size that the budget affords.

The size is a share, at least a quarter, of the largest window whose footprint fits in the budget; the place is moved
inside the image. Budgets up to `largest` are drawn in training, so that one selector gives a curve.

At test the mean. Track: open. Findings: `selector_passes`, `selector_images`, of stage 1.
Scores and cost: docs/methods/crop.md.
Command: glimpse run --agent crop --task digits-clutter --set agent.estimator=pathwise
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from glimpsebench.agents.common.base import Progress, tensor, tensors
from glimpsebench.agents.common.duel import DuelAgent, DuelNet, Part, mean_position, reward_of
from glimpsebench.agents.common.estimators import leave_one_out
from glimpsebench.agents.common.nets import WHOLE_SHARE, Positive, Rate, batches, conv, optimise_on, to_float
from glimpsebench.envs.glimpse import Kind, Observation
from glimpsebench.envs.sensors import Crop as CropSensor
from glimpsebench.envs.tasks import Split, Task

Array = NDArray[Any]

SMALLEST_SHARE = 0.25
"""Of the window that the budget affords."""


class WindowSelector(nn.Module):
    """An image → x, y and size, (B, 3) in (−1, 1): the mean position under a map's softmax, and from all features."""

    def __init__(self, channels: int, width: int) -> None:
        super().__init__()
        w = width
        self.local = nn.Sequential(conv(channels, w, 2), conv(w, 2 * w, 2), conv(2 * w, 2 * w))
        self.score, self.extent = nn.Conv2d(2 * w, 1, 3, 1, 1), nn.Linear(2 * w, 1)
        for value in self.extent.parameters():  # sizes begin in the middle: at an end, tanh has no slope
            nn.init.zeros_(value)

    def forward(self, image_BCHW: Tensor) -> Tensor:
        x = self.local(image_BCHW)
        return torch.cat([mean_position(self.score(x)), torch.tanh(self.extent(x.amax((2, 3))))], 1)


@dataclass
class Crop(DuelAgent):
    """Reads the whole image, then takes one window.

    Settings:
        estimator: what the selector learns by.
        size: g, samples a side of the crop.
        std: of the policy in training, in units of the frame [-1, 1].
        largest: the largest budget of which windows are drawn while the selector learns.
        predictor_steps: of either training of the predictor; more than elsewhere, as the reader has met no crops.
        The others: `DuelAgent` (common/duel.py).
    """

    estimator: Literal["reinforce", "ppo", "pathwise", "random"] = "reinforce"
    size: Positive = 16
    lr: Rate = 2e-3
    std: Rate = 0.2
    largest: Part = 0.3
    predictor_steps: Positive = 1_500

    version: ClassVar[int] = 2
    track: ClassVar[Literal["gated", "open"]] = "open"
    observation: ClassVar[Kind] = "image"
    curve_at: ClassVar[float] = 0.15

    @property
    def view(self) -> Kind:
        return "glimpse"

    def sensor(self) -> CropSensor:
        return CropSensor(self.size)

    def build(self) -> nn.Module:
        return DuelNet(WindowSelector(self.shape[0], self.width), self.new_predictor())

    def affordable(self, budget_B: Tensor) -> Tensor:
        """The largest scale whose footprint surely fits.

        n lines a side hold a span of n − 2 pixels, and g samples a side touch no more than 2g lines.
        """
        lines_B = torch.floor(torch.sqrt(budget_B * math.prod(self.shape[1:]) + 1e-6))
        span_B = (lines_B - 2) / (max(self.shape[1:]) * (1 - 1 / self.size))
        return torch.where(lines_B >= 2 * self.size, 1.0, span_B.clamp(0, 1))

    def action(self, choice_B3: Tensor, budget_B: Tensor) -> Tensor:
        """The sensor's action (x, y, z) of a choice in [-1, 1]³, within a budget; differentiable."""
        sensor, choice_B3 = self.sensor(), choice_B3.clamp(-1, 1)
        share_B = SMALLEST_SHARE + (1 - SMALLEST_SHARE) * (choice_B3[:, 2] + 1) / 2
        scale_B = (self.affordable(budget_B) * share_B).clamp(min=sensor.smallest)
        room_B1 = (1 - scale_B)[:, None]
        place_B2 = torch.maximum(torch.minimum(choice_B3[:, :2], room_B1), -room_B1)
        return torch.cat([place_B2, sensor.zoom_of(scale_B)[:, None].clamp(-1, 1)], 1)

    def read(self, image_BCHW: Tensor, action_B3: Tensor) -> Tensor:
        """The predictor's logits (B, K) of the crop, differentiable in the action."""
        return self.read_crop(self.sensor().crop(image_BCHW, action_B3))

    def read_crop(self, crop_BCgg: Tensor) -> Tensor:
        logits: Tensor = self.nets.predictor(crop_BCgg, torch.ones_like(crop_BCgg[:, :1]))
        return logits

    def drawn_budgets(self, count: int) -> Tensor:
        """A budget for each image, of the grid's up to `largest`."""
        admitted = torch.tensor([share for share in self.budgets if share <= self.largest + 1e-9] or [self.budgets[0]])
        return admitted[torch.randint(len(admitted), (count,))]

    def losses(self, image_BCHW: Tensor, labels_B: Tensor, done: float) -> Iterator[Tensor]:
        budget_B = self.drawn_budgets(len(image_BCHW))
        if self.estimator == "pathwise":
            mean_B3 = self.nets.selector(image_BCHW)
            action_B3 = self.action(mean_B3 + self.std * torch.randn_like(mean_B3), budget_B)
            yield F.cross_entropy(self.read(image_BCHW, action_B3), labels_B)
            return
        draws, labels_M = self.draws, labels_B.repeat(self.draws)
        with torch.no_grad():
            mean_mB3 = self.nets.selector(image_BCHW).expand(draws, -1, -1)
            choice_mB3 = mean_mB3 + self.std * torch.randn(mean_mB3.shape)
            action_M3 = self.action(choice_mB3.flatten(0, 1), budget_B.repeat(draws))
        with torch.set_grad_enabled(self.predictor_learns):
            logits_MK = self.read(image_BCHW.repeat(draws, 1, 1, 1), action_M3)
        reward_mB = reward_of(logits_MK.detach(), labels_M, self.reward).reshape(draws, -1)
        prediction_loss = F.cross_entropy(logits_MK, labels_M) if self.predictor_learns else logits_MK.new_zeros(())

        def log_prob_and_entropy() -> tuple[Tensor, Tensor]:
            distance_mB3 = (choice_mB3 - self.nets.selector(image_BCHW)) / self.std
            return -distance_mB3.square().sum(2) / 2, torch.zeros(())  # the deviation is fixed, and so the entropy

        for update, loss in enumerate(self.policy_losses(log_prob_and_entropy, leave_one_out(reward_mB))):
            yield loss + prediction_loss if update == 0 else loss

    def choices(self, image_BCHW: Tensor, rng: np.random.Generator, random: bool = False) -> Tensor:
        """What it chooses at test, or would if it chose at random, in [-1, 1]³."""
        if random or self.estimator == "random":
            uniform_B3 = rng.uniform(-1, 1, (len(image_BCHW), 3)).astype(np.float32)
            uniform_B3[:, 2] = 1
            return tensor(uniform_B3)
        choice_B3: Tensor = self.nets.selector(image_BCHW)
        return choice_B3

    def canvases(self, images: Split, rng: np.random.Generator, random: bool = False) -> tuple[Tensor, Tensor]:
        """Crops, which have a size of their own, of budgets of the whole grid, and masks of ones."""
        image_BCHW = to_float(images.images_NCHW)
        budget_B = tensor(rng.choice(np.array(self.budgets, np.float32), len(images)))
        action_B3 = self.action(self.choices(image_BCHW, rng, random), budget_B)
        whole_B1 = tensor(rng.random((len(images), 1)) < WHOLE_SHARE)
        action_B3 = torch.where(whole_B1, torch.tensor([0.0, 0.0, 1.0]), action_B3)
        crop_BCgg = self.sensor().crop(image_BCHW, action_B3)
        return crop_BCgg, torch.ones_like(crop_BCgg[:, :1])

    def begin_predictor(self, task: Task, rng: np.random.Generator, progress: Progress[int]) -> None:
        self.train_on_crops(task, rng, progress, random=True)

    def fit_predictor(self, task: Task, rng: np.random.Generator, progress: Progress[int]) -> None:
        self.train_on_crops(task, rng, progress, random=False)

    def train_on_crops(self, task: Task, rng: np.random.Generator, progress: Progress[int], random: bool) -> None:
        """Train the predictor, from the reader, on random crops or on those that the agent chooses."""
        # Not `train_predictor`, whose canvases are as large as the images.
        net, steps = self.nets, self.predictor_steps
        self.initialise(net.predictor, task)

        def loss_on(split: Split, rows_B: Array, step: int) -> Tensor:
            with torch.no_grad():
                crop_BCgg, _ = self.canvases(split.some(rows_B), rng, random)
            assert split.labels_N is not None
            return F.cross_entropy(self.read_crop(crop_BCgg), tensor(split.labels_N[rows_B]))

        stream = batches(task, steps, self.batch, rng)
        stage = "predictor, random crops" if random else "predictor"
        optimise_on(net.predictor, stream, loss_on, steps=steps, lr=self.predictor_lr, progress=progress, stage=stage)

    @torch.no_grad()
    def act(self, observation: Observation, rng: np.random.Generator) -> Array:
        seen = tensors(observation)
        action: Array = self.action(self.choices(seen["image"], rng), seen["left"][:, 0]).numpy()
        return action

    def validation_logits(self, images: Split, stage: str) -> tuple[Tensor | Array | None, str]:
        if stage != "predictor, random crops":
            return super().validation_logits(images, stage)
        crop_BCgg, _ = self.canvases(images, np.random.default_rng(0), random=True)
        return self.read_crop(crop_BCgg), "predictor on random crops of every size"

    @torch.no_grad()
    def predict(self, view: Observation) -> Array:
        logits: Array = self.read_crop(tensors(view)["glimpse"]).numpy()
        return logits
