"""What the mask selectors share: a network that scores every pixel, and the curve that follows from its scores.

A mask selector reads the whole image, scores its pixels, and the env reveals the k best of them. Its methods differ
in how the selector is trained and in nothing else: the two networks, the second stage of training and the two verbs
are these. Shapes: B batch, C H W image, P = H·W pixels, K classes.
"""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F

from glimpsebench.agents.common.base import Progress, tensors
from glimpsebench.agents.common.nets import (
    CanvasNet,
    Positive,
    PredictorAgent,
    Rate,
    best_pixels,
    conv,
    linear_decay,
    masked_canvas,
    optimise,
    predict_canvas,
    random_room,
    to_float,
    with_whole_images,
)
from glimpsebench.envs.glimpse import Kind, Observation
from glimpsebench.envs.sensors import Mask, Sensor
from glimpsebench.envs.settings import renamed
from glimpsebench.envs.tasks import Split, Task

Array = NDArray[Any]
Count = Annotated[int, Field(ge=0)]
Share = Annotated[float, Field(gt=0, lt=1)]
Weight = Annotated[float, Field(ge=0)]


class Scorer(nn.Module):
    """An encoder-decoder: (B, C, H, W) → scores (B, 1, H, W), bilinear between the values of a half-size map."""

    def __init__(self, channels: int, width: int) -> None:
        super().__init__()
        w = width
        self.fine = conv(channels, w, 2)
        self.coarse = nn.Sequential(conv(w, 2 * w, 2), conv(2 * w, 2 * w))
        self.from_fine, self.from_coarse = nn.Conv2d(w, 1, 1), nn.Conv2d(2 * w, 1, 1)

    def forward(self, image_BCHW: Tensor) -> Tensor:
        def to(size: torch.Size, scores: Tensor) -> Tensor:
            return F.interpolate(scores, size=size, mode="bilinear", align_corners=False)

        fine = self.fine(image_BCHW.contiguous(memory_format=torch.channels_last))
        coarse = to(fine.shape[2:], self.from_coarse(self.coarse(fine)))
        return to(image_BCHW.shape[2:], self.from_fine(fine) + coarse)


class MaskNet(nn.Module):
    """Selector and predictor."""

    def __init__(self, scorer: nn.Module, predictor: CanvasNet) -> None:
        super().__init__()
        self.scorer, self.predictor = scorer, predictor

    def classify_masked(self, image_BCHW: Tensor, mask_B1HW: Tensor) -> Tensor:
        """Logits (B, K) of image × mask. The mask may be soft; a product hands it a gradient."""
        logits: Tensor = self.predictor(image_BCHW * mask_B1HW, mask_B1HW)
        return logits


@dataclass
class MaskAgent(PredictorAgent):
    """Reads the whole image, then shows its best pixels. A method says by which loss the scores are learned.

    Settings:
        selector_steps: of the selector's training, which comes first; `selection_loss` is its loss.
        lr, batch, width: of the selector; the batch also of the predictor.
        predictor_init, predictor_steps, predictor_lr: of the predictor's training, which comes second, on the k best
            pixels of the frozen scores at every budget of the grid, so that one selector gives a whole curve.
        extra_budgets: shares of the pixels to be scored at, beside the grid's.
    """

    selector_steps: Positive = 400
    lr: Rate = 1.5e-2
    extra_budgets: tuple[Share, ...] = renamed((), "points")

    track: ClassVar[Literal["gated", "open"]] = "open"
    observation: ClassVar[Kind] = "image"
    accelerated: ClassVar[bool] = True

    @property
    def budgets(self) -> tuple[float, ...]:
        return tuple(sorted({*self.levels, *self.extra_budgets}))

    @abstractmethod
    def selection_loss(self, image_BCHW: Tensor, labels_B: Tensor, step: int) -> Tensor:
        """The selector's loss on one batch (float images in [0, 1]) at a step of `selector_steps`."""

    def sensor(self) -> Sensor:
        return Mask()

    def build(self) -> nn.Module:
        return MaskNet(Scorer(self.shape[0], self.width), self.new_predictor())

    @property
    def nets(self) -> MaskNet:
        """The networks, made."""
        assert isinstance(self.net, MaskNet)
        return self.net

    def annealed_target(self, target: float, step: int) -> float:
        """The mask size of a step: from the whole image down to `target` over the first half of `selector_steps`."""
        return max(target, linear_decay(step, self.selector_steps, rest=0.0))

    def fit(self, task: Task, seed: int, progress: Progress[int]) -> None:
        rng = np.random.default_rng(seed)
        self.fit_selector(task, rng, progress)
        self.fit_predictor(task, rng, progress)

    def fit_selector(self, task: Task, rng: np.random.Generator, progress: Progress[int]) -> None:
        """Train the networks on `selection_loss`: the selector, and the predictor where the loss reads it."""

        def loss_of(images: Array, labels_B: Tensor, step: int) -> Tensor:
            return self.selection_loss(to_float(images), labels_B, step)

        optimise(
            self.nets,
            task,
            loss_of,
            steps=self.selector_steps,
            batch=self.batch,
            lr=self.lr,
            rng=rng,
            progress=progress,
            stage="selector",
        )

    def random_canvases(self, images: Array, share: float | None) -> tuple[Tensor, Tensor]:
        """Canvases and masks (B, 1, H, W) of i.i.d. Bernoulli(`share`) pixels; None draws the share of each image."""
        count = len(images)
        share_B111 = torch.rand(count, 1, 1, 1) if share is None else torch.full((count, 1, 1, 1), share)
        mask_B1HW = torch.rand(count, 1, *self.shape[1:]) < share_B111
        return masked_canvas(to_float(images), mask_B1HW), mask_B1HW

    def pretrain_predictor(
        self, task: Task, steps: int, share: float | None, rng: np.random.Generator, progress: Progress[int]
    ) -> None:
        """Train the predictor alone on `random_canvases`, whole images phased out over the first half."""
        net = self.nets

        def loss_of(images: Array, labels_B: Tensor, step: int) -> Tensor:
            whole = linear_decay(step, steps, rest=0.0)
            canvas_BCHW, mask_B1HW = with_whole_images(
                *self.random_canvases(images, share), to_float(images), whole, rng
            )
            return F.cross_entropy(net.predictor(canvas_BCHW, mask_B1HW.float()), labels_B)

        common: dict[str, Any] = {"batch": self.batch, "lr": self.lr, "rng": rng, "progress": progress}
        optimise(net.predictor, task, loss_of, steps=steps, stage="pretraining", **common)

    def fit_predictor(self, task: Task, rng: np.random.Generator, progress: Progress[int]) -> None:
        """Freeze the scores and train the predictor on their k best pixels, k drawn from the budgets."""
        net = self.nets
        net.scorer.requires_grad_(False)

        def canvases(images: Split) -> tuple[Tensor, Tensor]:
            with torch.no_grad():
                scores_BHW = net.scorer(to_float(images.images_NCHW))[:, 0].cpu().numpy()
            return best_pixels(scores_BHW, images, random_room(images, self.budgets, rng))

        self.train_predictor(net.predictor, task, canvases, rng, progress)

    def validation_logits(self, images: Split, stage: str) -> tuple[Tensor | Array | None, str]:
        if stage != "pretraining":
            return super().validation_logits(images, stage)
        canvas_BCHW, mask_B1HW = self.random_canvases(images.images_NCHW, None)
        return self.nets.predictor(canvas_BCHW, mask_B1HW.float()), "predictor on random masks of every size"

    @torch.no_grad()
    def act(self, observation: Observation, rng: np.random.Generator) -> Array:
        scores_BHW = self.nets.scorer(tensors(observation)["image"])[:, 0]
        largest = scores_BHW.abs().amax((1, 2), keepdim=True).clamp(min=1e-6)
        action: Array = (scores_BHW / largest).numpy()  # the env wants [−1, 1]; only the order matters
        return action

    def predict(self, view: Observation) -> Array:
        return predict_canvas(self.nets.predictor, view)


@dataclass
class JointMaskAgent(MaskAgent):
    """A mask selector that learns together with the predictor that reads its masks.

    The selector may encode the label in the mask's place or shape, and the predictor decode it, so that the object
    is never shown: the scores leave the object's pixels before the predictor has learned to classify them, and then
    no gradient brings them back. Two things let the predictor learn from pixels first; neither is a term of the loss:

    1. It has learned on random masks of every size (`pretrain_predictor`).
    2. Random pixels are shown beside the selection (`with_random_pixels`), fewer and fewer over the first half.

    The suite `selectors-60` compares `concrete_topk` and `hard_concrete` with and without the two. `straight_through`,
    whose masks are binary in training too, does without them.

    Settings:
        pretrain_steps: how long point 1 lasts; 0 leaves it out.
        random_pixels: whether point 2 is done.
    """

    pretrain_steps: Count = 200
    random_pixels: bool = renamed(True, "phased")

    def fit_selector(self, task: Task, rng: np.random.Generator, progress: Progress[int]) -> None:
        if self.pretrain_steps:
            self.pretrain_predictor(task, self.pretrain_steps, None, rng, progress)
        super().fit_selector(task, rng, progress)

    def with_random_pixels(self, mask_B1HW: Tensor, step: int) -> Tensor:
        """The mask, and random pixels: of each image a share drawn anew, up to a limit that falls from 1 to 0."""
        if not self.random_pixels:
            return mask_B1HW
        share_B111 = linear_decay(step, self.selector_steps, rest=0.0) * torch.rand(len(mask_B1HW), 1, 1, 1)
        # For soft masks: `maximum` halves the gradient of a tie, and a straight-through mask ties with the 0 beside it.
        return torch.maximum(mask_B1HW, (torch.rand_like(mask_B1HW) < share_B111).float())


@dataclass
class DrawnMaskAgent(MaskAgent):
    """A mask selector whose masks are binary in training, so that a size can be compared with its target.

    `fit` leaves `expected_size` in the findings, to be compared with the target: the mean of
    `inclusion_probability` over the validation images.
    """

    @abstractmethod
    def inclusion_probability(self, scores_B1HW: Tensor) -> Tensor:
        """The probability with which training shows each pixel."""

    def fit(self, task: Task, seed: int, progress: Progress[int]) -> None:
        super().fit(task, seed, progress)
        with torch.no_grad():
            parts = [some for some in np.array_split(task.val().images_NCHW, 20) if len(some)]
            shown = [self.inclusion_probability(self.nets.scorer(to_float(some))).flatten() for some in parts]
        self.findings |= {"expected_size": float(torch.cat(shown).mean())}
