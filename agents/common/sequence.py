"""Arenas of one glimpse after another: the next choice from the pixels that the earlier ones have revealed.

What has been revealed is a mask of pixels, and the canvas is the image under it. The objective is the mean over
t = 1 … T of E log p(label | canvas after t glimpses). In a step each image of a batch stands after a number of glimpses
that is drawn uniformly, which the policy as it is has chosen; the estimators differ by how they learn the next choice
from what the predictor makes of the canvas with it. So all of them are greedy by default, as in Covert et al.,
ICML 2023, arXiv:2301.00557; `credit="episode"` is what only score functions can do at no cost: all choices up to the
t-th are sampled and paid for it.

Shapes: B batch, m samples of each image, M = m·B, C H W image, P cells, T glimpses, A numbers of a choice.
"""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from glimpsebench.agents.common.base import tensors
from glimpsebench.agents.common.duel import DuelAgent, DuelNet, mean_position, reward_of
from glimpsebench.agents.common.estimators import leave_one_out
from glimpsebench.agents.common.nets import Positive, Rate, masked_canvas, predict_canvas, to_float
from glimpsebench.envs.glimpse import Kind, Observation
from glimpsebench.envs.tasks import Split

Array = NDArray[Any]


class GlimpsePolicy(nn.Module):
    """Canvas and mask → what the policy puts out (B, A), and the value of the state (B,).

    Convolutions down to a quarter of the side, a learned embedding of each position and the features' maximum over all
    of them. Features are normalised within each image, since states of a batch differ in how much they show.

    Args:
        channels: C of the image.
        sides: (H, W) of the image.
        width: channels of the first convolution.
        grid: the cells that get a score each, A = P; None: a fixation, A = 2, the mean position under the softmax of
            the scores.
    """

    def __init__(self, channels: int, sides: tuple[int, int], width: int, grid: tuple[int, int] | None) -> None:
        super().__init__()
        w = width

        def block(inputs: int, outputs: int, stride: int) -> list[nn.Module]:
            return [nn.Conv2d(inputs, outputs, 3, stride, 1), nn.GroupNorm(1, outputs), nn.ReLU()]

        self.grid = grid
        self.local = nn.Sequential(*block(channels + 1, w, 2), *block(w, 2 * w, 2))
        rows, columns = (math.ceil(math.ceil(side / 2) / 2) for side in sides)
        self.position = nn.Parameter(torch.zeros(2 * w, rows, columns))
        self.neighbours = nn.Sequential(*block(2 * w, 2 * w, 1))
        self.context = nn.Linear(2 * w, 2 * w)
        self.out = nn.Sequential(*block(2 * w, 2 * w, 1))
        self.score = nn.Conv2d(2 * w, 1, 1)
        self.value = nn.Linear(2 * w, 1)

    def forward(self, canvas_BCHW: Tensor, mask_B1HW: Tensor) -> tuple[Tensor, Tensor]:
        x = self.neighbours(self.local(torch.cat([canvas_BCHW, mask_B1HW], 1)) + self.position)
        x = self.out(x + self.context(x.amax((2, 3)))[:, :, None, None])
        largest = x.amax((2, 3))
        value_B = self.value(largest.detach())[:, 0]
        scores = self.score(x)
        if self.grid is None:
            return mean_position(scores), value_B
        if scores.shape[2:] != self.grid:
            scores = F.interpolate(scores, self.grid, mode="bilinear", align_corners=False)
        return scores.flatten(1), value_B


@dataclass
class SequenceAgent(DuelAgent):
    """Looks at one place after another, given what it has seen.

    Settings:
        glimpses: how many it takes at most (T).
        credit: what a score function's reward after a glimpse is of: the `next` choice alone, as for all others, or all
            choices of the `episode` so far.
        The others: `DuelAgent` (common/duel.py).
    """

    passes: Positive = 40_000
    glimpses: Positive = 8
    credit: Literal["next", "episode"] = "next"
    lr: Rate = 3e-3

    track: ClassVar[Literal["gated", "open"]] = "gated"
    observation: ClassVar[Kind] = "canvas"
    SAMPLING: ClassVar[tuple[str, ...]] = ("reinforce", "ppo", "mixed")
    SCORE_FUNCTIONS: ClassVar[tuple[str, ...]] = ("reinforce", "reinforce_learned", "ppo", "mixed")

    def horizon(self) -> int:
        return self.glimpses

    def new_net(self, grid: tuple[int, int] | None) -> DuelNet:
        """Policy and predictor, untrained."""
        channels, *sides = self.shape
        return DuelNet(GlimpsePolicy(channels, (sides[0], sides[1]), self.width, grid), self.new_predictor())

    @abstractmethod
    def sample(self, outputs_BA: Tensor, mask_B1HW: Tensor) -> Tensor:
        """A choice drawn from the policy (B, …), without gradient; with `random` one that depends on nothing."""

    @abstractmethod
    def at_test(self, outputs_BA: Tensor, mask_B1HW: Tensor) -> Tensor:
        """The choice at test, of the same kind."""

    @abstractmethod
    def log_prob(self, outputs_BA: Tensor, mask_B1HW: Tensor, choice_B: Tensor) -> Tensor:
        """log π(choice) (B,), up to a constant."""

    @abstractmethod
    def policy_entropy(self, outputs_BA: Tensor, mask_B1HW: Tensor) -> Tensor:
        """The policy's mean entropy, up to a constant."""

    @abstractmethod
    def footprint(self, choice_B: Tensor) -> Tensor:
        """The pixels that a choice reveals: (B, 1, H, W), 0 or 1."""

    @abstractmethod
    def gradient_loss(self, image_BCHW: Tensor, labels_B: Tensor, mask_B1HW: Tensor, done: float) -> Tensor:
        """The loss of an estimator that differentiates what is shown, for the next choice from these states."""

    def policy(self, image_BCHW: Tensor, mask_B1HW: Tensor) -> tuple[Tensor, Tensor]:
        """The policy's outputs and the state's value; it sees nothing of the image that the mask hides."""
        outputs: tuple[Tensor, Tensor] = self.nets.selector(image_BCHW * mask_B1HW, mask_B1HW)
        return outputs

    def read(self, image_BCHW: Tensor, mask_B1HW: Tensor) -> Tensor:
        """The predictor's logits (B, K); a mask may be soft."""
        logits: Tensor = self.nets.predictor(image_BCHW * mask_B1HW, mask_B1HW)
        return logits

    @torch.no_grad()
    def after(self, image_BCHW: Tensor, steps_B: Tensor, sampled: bool) -> Tensor:
        """The masks (B, 1, H, W) after so many glimpses of each image, drawn from the policy or the best."""
        mask_B1HW = torch.zeros(len(image_BCHW), 1, *image_BCHW.shape[2:])
        for step in range(int(steps_B.max())):
            outputs_BA, _ = self.policy(image_BCHW, mask_B1HW)
            choose = self.sample if sampled or self.estimator == "random" else self.at_test
            choice_B = choose(outputs_BA, mask_B1HW)
            shown_B1HW = torch.maximum(mask_B1HW, self.footprint(choice_B))
            mask_B1HW = torch.where((step < steps_B)[:, None, None, None], shown_B1HW, mask_B1HW)
        return mask_B1HW

    def losses(self, image_BCHW: Tensor, labels_B: Tensor, done: float) -> Iterator[Tensor]:
        before_B = torch.randint(self.glimpses, (len(image_BCHW),))
        if self.estimator not in self.SCORE_FUNCTIONS:
            yield self.gradient_loss(image_BCHW, labels_B, self.after(image_BCHW, before_B, True), done)
            return
        given_B = torch.zeros_like(before_B) if self.credit == "episode" else before_B
        mask_B1HW = self.after(image_BCHW, given_B, True)
        yield from self.score_function_losses(image_BCHW, labels_B, mask_B1HW, before_B + 1 - given_B)

    def score_function_losses(
        self, image_BCHW: Tensor, labels_B: Tensor, mask_B1HW: Tensor, choices_B: Tensor
    ) -> Iterator[Tensor]:
        """The losses for so many choices of each image, from these states on."""
        draws, batch = self.draws, len(image_BCHW)
        image_MCHW, labels_M, choices_M = (
            image_BCHW.repeat(draws, 1, 1, 1),
            labels_B.repeat(draws),
            choices_B.repeat(draws),
        )
        seen_M1HW = mask_B1HW.repeat(draws, 1, 1, 1)
        trace: list[tuple[Tensor, Tensor, Tensor]] = []
        with torch.no_grad():
            for step in range(int(choices_B.max())):
                taken_M = step < choices_M
                choice_M = self.sample(self.policy(image_MCHW, seen_M1HW)[0], seen_M1HW)
                trace.append((seen_M1HW, choice_M, taken_M))
                shown_M1HW = torch.maximum(seen_M1HW, self.footprint(choice_M))
                seen_M1HW = torch.where(taken_M[:, None, None, None], shown_M1HW, seen_M1HW)
        with torch.set_grad_enabled(self.predictor_learns):
            logits_MK = self.read(image_MCHW, seen_M1HW)
        reward_mB = reward_of(logits_MK.detach(), labels_M, self.reward).reshape(draws, batch)
        other_loss = F.cross_entropy(logits_MK, labels_M) if self.predictor_learns else logits_MK.new_zeros(())
        if self.estimator == "reinforce_learned":
            advantage_mB = reward_mB - self.policy(image_BCHW, mask_B1HW)[1]
            other_loss = other_loss + advantage_mB.square().mean()
        else:
            advantage_mB = leave_one_out(reward_mB)

        def log_prob_and_entropy() -> tuple[Tensor, Tensor]:
            total_M, entropy = torch.zeros(len(image_MCHW)), torch.zeros(())
            for seen, choice, taken in trace:
                outputs_MA, _ = self.policy(image_MCHW, seen)
                log_prob_M = self.log_prob(outputs_MA, seen, choice)
                total_M = total_M + torch.where(taken, log_prob_M, torch.zeros(()))
                entropy = entropy + self.policy_entropy(outputs_MA, seen) / len(trace)
            return total_M.reshape(draws, batch), entropy

        for update, loss in enumerate(self.policy_losses(log_prob_and_entropy, advantage_mB)):
            yield loss + other_loss if update == 0 else loss

    def canvases(self, images: Split, rng: np.random.Generator) -> tuple[Tensor, Tensor]:
        image_BCHW = to_float(images.images_NCHW)
        mask_B1HW = self.after(image_BCHW, torch.randint(1, self.glimpses + 1, (len(image_BCHW),)), False) > 0
        return masked_canvas(image_BCHW, mask_B1HW), mask_B1HW

    def chosen(self, observation: Observation) -> tuple[Tensor, Tensor]:
        """What the policy puts out for an observation, and the mask."""
        seen = tensors(observation)
        return self.policy(seen["canvas"], seen["mask"])[0], seen["mask"]

    def predict(self, view: Observation) -> Array:
        return predict_canvas(self.nets.predictor, view)
