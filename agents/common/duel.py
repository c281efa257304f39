"""An arena's agent: everything but the learning signal of its selector is fixed, and that is a setting, `estimator`.

Selector network, predictor, data, optimiser and objective are the same for all estimators of an arena. The budget of
training is counted in predictor passes: one pass is one canvas read by the predictor. A method that draws several
selections of an image before each update spends several passes on it, and so has fewer steps. Two stages:

1. Selector: `passes` passes, whatever the estimator. The predictor is the task's reader: frozen, so that all estimators
   have one objective that does not move, or, with `predictor_learns`, trained by the cross-entropy of what it reads.
2. Predictor: anew from the reader, on the choices that the agent makes at test, as every agent's is.

Shapes: B batch, m samples of each image, C H W image, P cells, K classes.
"""

from __future__ import annotations

import copy
from abc import abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any, ClassVar, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F

from glimpsebench.agents.common.base import Diverged, Progress, report, resumable, tensor
from glimpsebench.agents.common.estimators import clipped_loss, reinforce_loss
from glimpsebench.agents.common.nets import CanvasNet, Positive, PredictorAgent, Rate, batches, conv, to_float
from glimpsebench.envs.tasks import Split, Task

Array = NDArray[Any]
Part = Annotated[float, Field(ge=0, le=1)]
Weight = Annotated[float, Field(ge=0)]
Reward = Literal["likelihood", "correct"]


class CellScorer(nn.Module):
    """Images, or canvases and masks → a score per cell, (B, C, H, W) → (B, P), P = rows · columns in raster order.

    Convolutions down to a quarter of the side, and the features' maximum over all positions added to each: a cell is
    scored in the light of the whole. Batch norm's statistics are those of a batch in training.
    """

    def __init__(self, channels: int, grid: tuple[int, int], width: int) -> None:
        super().__init__()
        w = width
        self.grid = grid
        self.local = nn.Sequential(conv(channels, w, 2), conv(w, 2 * w, 2), conv(2 * w, 2 * w))
        self.context = nn.Linear(2 * w, 2 * w)
        self.score = nn.Sequential(conv(2 * w, 2 * w), nn.Conv2d(2 * w, 1, 1))
        self.local.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    def forward(self, image_BCHW: Tensor) -> Tensor:
        x = self.local(image_BCHW.contiguous(memory_format=torch.channels_last))
        x = x + self.context(x.amax((2, 3)))[:, :, None, None]
        scores = self.score(x)
        if scores.shape[2:] != self.grid:
            scores = F.interpolate(scores, self.grid, mode="bilinear", align_corners=False)
        return scores.flatten(1)


class DuelNet(nn.Module):
    """Selector and predictor."""

    def __init__(self, selector: nn.Module, predictor: CanvasNet) -> None:
        super().__init__()
        self.selector, self.predictor = selector, predictor


def mean_position(scores_B1RC: Tensor) -> Tensor:
    """The mean position (x, y) under the softmax of a map over the frame, (B, 2) in (−1, 1): it cannot leave it."""
    rows, columns = scores_B1RC.shape[2:]
    weight_BRC = scores_B1RC.flatten(1).softmax(1).reshape(-1, rows, columns)
    y_R, x_C = ((2 * torch.arange(side) + 1) / side - 1 for side in (rows, columns))
    return torch.stack([(weight_BRC.sum(1) * x_C).sum(1), (weight_BRC.sum(2) * y_R).sum(1)], 1)


def entropy_of(scores_BP: Tensor) -> Tensor:
    """The mean entropy of the softmax of scores, nats."""
    log_p_BP = scores_BP.log_softmax(1)
    return -(log_p_BP.exp() * log_p_BP).sum(1).mean()


def cells_to_pixels(cells_BP: Tensor, grid: tuple[int, int], cell: int, sides: tuple[int, int]) -> Tensor:
    """A value per cell (B, P) → the same value at each of its pixels (B, 1, H, W)."""
    mask_B1HW = cells_BP.reshape(-1, 1, *grid).repeat_interleave(cell, 2).repeat_interleave(cell, 3)
    return mask_B1HW[:, :, : sides[0], : sides[1]]


def log_likelihood(logits_BK: Tensor, labels_B: Tensor) -> Tensor:
    """log p(label) in nats, (B,)."""
    return logits_BK.log_softmax(1).gather(1, labels_B[:, None])[:, 0]


def reward_of(logits_BK: Tensor, labels_B: Tensor, reward: Reward) -> Tensor:
    """What a score-function estimator maximises: the label's log-likelihood, or 1 where the class is right; (B,)."""
    if reward == "correct":
        return (logits_BK.argmax(1) == labels_B).float()
    return log_likelihood(logits_BK, labels_B)


@dataclass
class DuelAgent(PredictorAgent):
    """An agent of an arena.

    Settings:
        estimator: what the selector learns by.
        passes: of the predictor while the selector learns: canvases that it reads; no estimator has more or fewer.
        samples: selections drawn of each image in a step, by the estimators that compare some; the others draw one.
        selector_batch: passes in a step, so that a step of several samples has as many fewer images.
        lr: the selector's, on a one-cycle schedule.
        reward: of the score-function estimators: the label's log-`likelihood`, which is what all others maximise, or 1
            where the class is `correct`.
        entropy: weight of the policy's entropy in their loss.
        epochs, clip: of `ppo`: updates from one batch of selections, and how far the ratio of the new to the old
            probability may move from 1.
        predictor_learns: in the selector's stage too.
        predictor_init, predictor_steps, predictor_lr, batch: of the predictor, as for every agent; `width`: of the
            selector.
    """

    estimator: str = "random"
    passes: Positive = 20_000
    samples: Positive = 4
    selector_batch: Positive = 64
    lr: Rate = 5e-3
    reward: Reward = "likelihood"
    entropy: Weight = 0.0
    epochs: Positive = 4
    clip: Rate = 0.2
    predictor_learns: bool = False

    accelerated: ClassVar[bool] = True
    SAMPLING: ClassVar[tuple[str, ...]] = ("reinforce", "ppo")
    """The estimators that draw `samples` selections of each image."""
    curve_at: ClassVar[float] = 0.05
    """The budget at which the training curve has its validation accuracy."""

    FAMILIES: ClassVar[Mapping[str, str]] = {
        "reinforce": "reinforcement learning",
        "reinforce_learned": "reinforcement learning",
        "ppo": "reinforcement learning",
        "mixed": "both",
        "expected_gain": "bound",
        "random": "floor",
    }
    """What kind of estimator each is; all others are of the gradient of what is shown."""

    measured_at: float | None = field(default=None, init=False, repr=False, compare=False)
    """The only budget, while a curve's accuracy is measured."""

    @property
    def nets(self) -> DuelNet:
        """The networks, made."""
        assert isinstance(self.net, DuelNet)
        return self.net

    @property
    def budgets(self) -> tuple[float, ...]:
        return self.levels if self.measured_at is None else (self.measured_at,)

    def validation_logits(self, images: Split, stage: str) -> tuple[Tensor | Array | None, str]:
        one = copy.copy(self)
        one.measured_at = self.curve_at
        return super(DuelAgent, one).validation_logits(images, stage)

    @property
    def family(self) -> str:
        """Whether its estimator is `reinforcement learning`, a `gradient`, `both`, a `bound` or a `floor`."""
        return self.FAMILIES.get(self.estimator, "gradient")

    @property
    def draws(self) -> int:
        """m, how many selections of an image are compared."""
        return self.samples if self.estimator in self.SAMPLING else 1

    @property
    def passes_per_image(self) -> int:
        """Canvases of an image that the predictor reads in one step."""
        return self.draws

    @property
    def images_per_step(self) -> int:
        """So many that a step has `selector_batch` passes, or one image where that alone has more."""
        return max(1, self.selector_batch // self.passes_per_image)

    @property
    def steps_within_passes(self) -> int:
        """How many whole steps the passes pay for."""
        return max(1, self.passes // (self.images_per_step * self.passes_per_image))

    @abstractmethod
    def losses(self, image_BCHW: Tensor, labels_B: Tensor, done: float) -> Iterator[Tensor]:
        """The losses of one batch (float images in [0, 1]), an update after each; `done`: the share of all steps."""

    def policy_losses(
        self, log_prob_and_entropy: Callable[[], tuple[Tensor, Tensor]], advantage_mB: Tensor
    ) -> Iterator[Tensor]:
        """The losses of `ppo` (`epochs`, over advantages of deviation 1) or else of REINFORCE (one).

        Args:
            log_prob_and_entropy: of the same samples by the policy as it is: log p (m, B), and its mean entropy.
        """
        old_mB: Tensor | None = None
        for _ in range(self.epochs if self.estimator == "ppo" else 1):
            log_prob_mB, entropy = log_prob_and_entropy()
            if self.estimator == "ppo":
                old_mB = log_prob_mB.detach() if old_mB is None else old_mB
                loss = clipped_loss(log_prob_mB, old_mB, advantage_mB / advantage_mB.std().clamp(min=1e-6), self.clip)
            else:
                loss = reinforce_loss(log_prob_mB, advantage_mB)
            yield loss - self.entropy * entropy

    @abstractmethod
    def canvases(self, images: Split, rng: np.random.Generator) -> tuple[Tensor, Tensor]:
        """Canvases (B, C, H, W) and masks (B, 1, H, W, boolean) as the agent at test would be shown, budgets mixed."""

    def fit(self, task: Task, seed: int, progress: Progress[int]) -> None:
        rng, net = np.random.default_rng(seed), self.nets
        spent = images = 0
        if self.estimator != "random":
            self.begin_predictor(task, rng, progress)
            spent, images = self.fit_selector(task, rng, progress)
        net.selector.requires_grad_(False)
        net.selector.eval()
        net.predictor.requires_grad_(True)
        self.fit_predictor(task, rng, progress)
        self.findings |= {"selector_passes": float(spent), "selector_images": float(images)}

    def begin_predictor(self, task: Task, rng: np.random.Generator, progress: Progress[int]) -> None:
        """The predictor as the selector's stage begins with it, the same for all estimators."""
        self.initialise(self.nets.predictor, task)

    def fit_selector(self, task: Task, rng: np.random.Generator, progress: Progress[int]) -> tuple[int, int]:
        """Stage 1: the predictor passes that it took, and the labelled images."""
        net, steps, count = self.nets, self.steps_within_passes, self.images_per_step
        net.predictor.requires_grad_(self.predictor_learns)
        groups: list[dict[str, Any]] = [{"params": list(net.selector.parameters()), "lr": self.lr}]
        if self.predictor_learns:
            groups.append({"params": list(net.predictor.parameters()), "lr": self.predictor_lr})
        optimiser = torch.optim.AdamW(groups, weight_decay=0.01, fused=True)
        schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, [g["lr"] for g in groups], total_steps=steps)
        net.train()
        net.predictor.train(self.predictor_learns)
        stream = batches(task, steps, count, rng)
        parts: dict[str, Any] = {"net": net, "optimiser": optimiser, "schedule": schedule, "stream": stream}
        for step in resumable(progress(range(steps)), **parts):
            split, rows_B = next(stream)
            assert split.labels_N is not None
            image_BCHW, labels_B = to_float(split.images_NCHW[rows_B]), tensor(split.labels_N[rows_B])
            values = [self.update(optimiser, groups, loss) for loss in self.losses(image_BCHW, labels_B, step / steps)]
            schedule.step()
            passes = len(rows_B) * self.passes_per_image
            report("selector", images=len(rows_B), steps=passes, loss=values[0])  # so that the curve's steps are passes
        net.eval()
        images = steps * min(count, task.sizes["train"])
        return images * self.passes_per_image, images

    @staticmethod
    def update(optimiser: torch.optim.Optimizer, groups: Iterable[dict[str, Any]], loss: Tensor) -> float:
        """One step down a loss, gradients clipped at norm 5 for each network; the loss."""
        if not torch.isfinite(loss):
            raise Diverged(f"the selector's loss is {loss.item()}")
        optimiser.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        for group in groups:
            nn.utils.clip_grad_norm_(group["params"], 5.0)
        optimiser.step()
        return loss.item()

    def fit_predictor(self, task: Task, rng: np.random.Generator, progress: Progress[int]) -> None:
        """Stage 2."""

        def canvases(images: Split) -> tuple[Tensor, Tensor]:
            with torch.no_grad():
                return self.canvases(images, rng)

        self.train_predictor(self.nets.predictor, task, canvases, rng, progress)
