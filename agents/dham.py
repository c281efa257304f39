"""dham: a differentiable hard attention module. The spread of a softmax map sets one window's place and size.

Tolga Ok, Differentiable Hard Attention Module, DOI 10.5281/zenodo.7684823 (no paper; equations from its code).

1. a = a few 5×5 convolutions of the whole image, down to one map; p = softmax of a over positions.
2. Place: t = Σ p u, u the position in [−1, 1]².
3. Size, L2: s = κ Σ p ‖u − t‖₂; L1: s = κ Σ p ‖u − t‖₁. The distances are detached: s learns through p alone.
4. The window at t with half-width s is sampled bilinearly to g×g and classified: the predictor is the shared
   backbone, which reads these g×g values and nothing else. Cross-entropy only, all of it differentiable.

The author's two claims have suites: noisier images ask for "deeper or wider" convolutions (`dham-noise`; the
published pair is 1 → 48 → 1 channels, unpadded, stride 1, g = 28 on images of 120 pixels), and the module, being
convolutional, takes images of any size, in training and at test (`dham-sizes`). `dham-parts` compares both norms and
one convolution with two.

What differs from the source, and why:
* The window lies in the image by the mapping: s → tanh s (above the sensor's smallest scale), which is s where s is
  small, and t → a smooth minimum of t and the room 1 − s. In the source s may exceed 1 and the window may leave, where
  it samples the border's pixels; a clamp of s at 1 would leave it without a gradient above.
* The attention standardises its input by the training images' mean and deviation, a channel each, as the source's
  data loader does. Without it the few ReLUs of a narrow module may all die on a grey ground, and the map stays flat.
* Its module would take a crop for each of several maps, and its networks have one map; so has this.
* The convolutions are padded with the border's own values (a rim of zeros is an edge on a grey ground), and u is
  where a cell's receptive field is centred. The source stretches an unpadded map over the frame; on 32 pixels,
  where such a map lacks more than a third of the frame, its windows miss what they aim at.
* A stride of the first convolution, since a map of every pixel of a large image is slow on a processor.
* Half-pixel grids instead of its (u+1)·X/2, which has no symmetric border and weight 0 on exact integers.
* A budget: at budget f the size is cut so that the window's footprint fits. With `cut_in_training` training draws
  the cut at random from the grid, so that one network gives a curve; without it s is free, as in the source.
* Optional: area_weight · (mean s² − target_area)², s before the cut. Nothing in the source asks for small windows.
* AdamW on a one-cycle schedule, more than one epoch, and the shared backbone on the crop.

`fit` leaves findings of the validation images: `own_area`, the mean of s², s before the cut, and `own_at_SIDE`, own
accuracy on images of other sizes (`tested_canvases`).

Track: open. Scores and cost: docs/methods/dham.md.
Command: glimpse run --agent dham --task digits-clutter
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from glimpsebench.agents.common.base import Agent, Progress, tensor, tensors
from glimpsebench.agents.common.masks import Share, Weight
from glimpsebench.agents.common.nets import Backbone, Positive, Rate, linear_decay, optimise, to_float
from glimpsebench.envs.base import changed
from glimpsebench.envs.glimpse import Kind, Observation
from glimpsebench.envs.sensors import Crop
from glimpsebench.envs.settings import renamed
from glimpsebench.envs.tasks import Task

Array = NDArray[Any]


class DHAMNet(nn.Module):
    """Attention convolutions and the classifier of the crop."""

    def __init__(self, channels: int, classes: int, layers: int, hidden: int, stride: int, width: int) -> None:
        super().__init__()
        # Without `affine`: the mean and the deviation of the training images, and nothing to learn.
        parts: list[nn.Module] = [nn.BatchNorm2d(channels, affine=False)]
        for layer in range(layers):
            inputs = hidden if layer else channels
            outputs = hidden if layer < layers - 1 else 1
            step = 1 if layer else stride
            parts += [nn.Conv2d(inputs, outputs, 5, step, 2, padding_mode="replicate"), nn.ReLU()]
        self.attention = nn.Sequential(*parts[:-1], nn.BatchNorm2d(1))
        self.attention.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # twice as fast
        self.stride = stride
        self.backbone = Backbone(channels, width)
        self.head = nn.Linear(self.backbone.features, classes)

    def place_and_spread(self, image_BCHW: Tensor, norm: str, factor: float) -> tuple[Tensor, Tensor]:
        """Equations 1 to 3: t (B, 2) as (x, y) and s (B,)."""
        map_BYX = self.attention(image_BCHW.contiguous(memory_format=torch.channels_last))[:, 0]
        y, x = (
            (2 * self.stride * torch.arange(cells) + 1) / side - 1  # the centres of the receptive fields
            for cells, side in zip(map_BYX.shape[1:], image_BCHW.shape[2:], strict=True)
        )
        return place_and_spread(map_BYX, x, y, norm, factor)

    def classify(self, crop_BCgg: Tensor) -> Tensor:
        logits: Tensor = self.head(self.backbone(crop_BCgg))
        return logits


def place_and_spread(map_BYX: Tensor, x_X: Tensor, y_Y: Tensor, norm: str, factor: float) -> tuple[Tensor, Tensor]:
    """Equations 2 and 3 of a map whose cells lie at (x, y): t (B, 2) as (x, y), s (B,)."""
    probability_BP = map_BYX.flatten(1).softmax(1)
    grid_P2 = torch.stack(torch.meshgrid(y_Y, x_X, indexing="ij")[::-1], -1).reshape(-1, 2)
    place_B2 = probability_BP @ grid_P2
    offsets_BP2 = (grid_P2 - place_B2[:, None]).detach()
    distance_BP = offsets_BP2.norm(dim=2) if norm == "L2" else offsets_BP2.abs().sum(2)
    return place_B2, factor * (probability_BP * distance_BP).sum(1)


def half_width(spread_B: Tensor, smallest: float) -> Tensor:
    """The window's half-width, in (smallest, 1): rises with the spread everywhere, and is near it where it is small."""
    return smallest + (1 - smallest) * torch.tanh(spread_B)


def moved_inside(place_B2: Tensor, scale_B: Tensor) -> Tensor:
    """The centre of a window of half-width s that lies in the image: near t in the middle, below 1 − s everywhere.

    |t| → (|t|⁻⁴ + (1 − s)⁻⁴)^(−1/4), a smooth minimum of |t| and 1 − s; the sign stays.
    """
    room_B1 = (1 - scale_B).clamp(min=1e-3)[:, None]
    return place_B2 / (1 + (place_B2 / room_B1) ** 4) ** 0.25


@dataclass
class DHAM(Agent):
    """Reads the whole image, then takes one window of the size that it wants or can afford.

    Settings:
        size: g, samples a side of the crop.
        attention_layers: how many 5×5 convolutions make the map.
        attention_channels: between them, where there are two or more.
        attention_stride: of the first of them: the map has a cell for every so many pixels.
        norm: the distance of equation 3.
        scale_factor: κ of equation 3.
        cut_in_training: training cuts the size at random, as the budgets of the grid do at test. Without it the size
            is free in both, so that the curve is one point.
        target_area: the share of the image that s² aims at; None leaves it free.
        area_weight: of that penalty.
        train_canvas: trains on the same task with images of so many pixels a side instead of the tested ones; for
            tasks with a setting `canvas`.
        tested_canvases: sides of images of the same task on which own accuracy is measured too, for the findings.
        steps, batch, lr, width: of the joint training and of the predictor's backbone.
    """

    size: Positive = 16
    attention_layers: Positive = renamed(2, "layers")
    attention_channels: Positive = renamed(24, "hidden")
    attention_stride: Positive = renamed(2, "stride")
    norm: Literal["L1", "L2"] = "L2"
    scale_factor: Rate = 1.0
    cut_in_training: bool = renamed(True, "budgeted")
    target_area: Share | None = None
    area_weight: Weight = renamed(100.0, "weight")
    train_canvas: Positive | None = None
    tested_canvases: tuple[Positive, ...] = ()
    steps: Positive = 800
    batch: Positive = 64
    lr: Rate = 1e-2
    width: Positive = 16

    track: ClassVar[Literal["gated", "open"]] = "open"
    version: ClassVar[int] = 3
    observation: ClassVar[Kind] = "image"
    accelerated: ClassVar[bool] = True

    @property
    def view(self) -> Kind:
        return "glimpse"

    @property
    def budgets(self) -> tuple[float, ...]:
        return self.levels if self.cut_in_training else (1.0,)

    def sensor(self) -> Crop:
        return Crop(self.size)

    def build(self) -> nn.Module:
        layers, between, stride = self.attention_layers, self.attention_channels, self.attention_stride
        return DHAMNet(self.shape[0], self.classes, layers, between, stride, self.width)

    @property
    def nets(self) -> DHAMNet:
        """The networks, made."""
        assert isinstance(self.net, DHAMNet)
        return self.net

    def wanted(self, image_BCHW: Tensor) -> tuple[Tensor, Tensor]:
        """The place t (B, 2) and the half-width (B,) that the attention asks for."""
        place_B2, spread_B = self.nets.place_and_spread(image_BCHW, self.norm, self.scale_factor)
        return place_B2, half_width(spread_B, self.sensor().smallest)

    def aim(self, place_B2: Tensor, wanted_B: Tensor, budget_B: Tensor, sides: Sequence[int]) -> Tensor:
        """The action (x, y, z) in each image of these sides: the size cut to the budget, the window moved inside."""
        crop = self.sensor()
        scale_B = torch.minimum(wanted_B, self.affordable(budget_B, sides).clamp(min=crop.smallest))
        return torch.cat([moved_inside(place_B2, scale_B), crop.zoom_of(scale_B)[:, None]], 1)

    def affordable(self, budget_B: Tensor, sides: Sequence[int]) -> Tensor:
        """The largest scale whose footprint in an image of these sides surely fits.

        n lines a side hold a span of n − 2 pixels, and g samples a side touch no more than 2g lines, however far
        apart they lie.
        """
        lines_B = torch.floor(torch.sqrt(budget_B * math.prod(sides) + 1e-6))
        span_B = (lines_B - 2) / (max(sides) * (1 - 1 / self.size))
        return torch.where(lines_B >= 2 * self.size, 1.0, span_B.clamp(0, 1))

    def fit(self, task: Task, seed: int, progress: Progress[int]) -> None:
        rng, net, crop = np.random.default_rng(seed), self.nets, self.sensor()
        trained_on = task if self.train_canvas is None else changed(task, {"canvas": self.train_canvas})

        def loss_of(images: Array, labels_B: Tensor, step: int) -> Tensor:
            image_BCHW = to_float(images)
            budget_B = rng.choice(np.array(self.budgets, np.float32), len(images))
            budget_B[rng.random(len(images)) < linear_decay(step, self.steps)] = 1  # first the window of its own size
            place_B2, wanted_B = self.wanted(image_BCHW)
            action_B3 = self.aim(place_B2, wanted_B, tensor(budget_B), image_BCHW.shape[2:])
            loss = F.cross_entropy(net.classify(crop.crop(image_BCHW, action_B3)), labels_B)
            if self.target_area is not None:
                loss = loss + self.area_weight * ((wanted_B**2).mean() - self.target_area) ** 2
            return loss

        optimise(net, trained_on, loss_of, steps=self.steps, batch=self.batch, lr=self.lr, rng=rng, progress=progress)
        self.findings = {"own_area": self.validated(task)[0]}
        for canvas in self.tested_canvases:
            self.findings[f"own_at_{canvas}"] = self.validated(changed(task, {"canvas": canvas}))[1]

    @torch.no_grad()
    def validated(self, task: Task) -> tuple[float, float]:
        """On a task's validation images, each with a window of the size that it wants: the mean of s², own accuracy."""
        split, crop = task.val(), self.sensor()
        assert split.labels_N is not None
        areas, right = [], []
        for rows in np.array_split(np.arange(len(split)), min(len(split), 50)):
            image_BCHW = to_float(split.images_NCHW[rows])
            place_B2, wanted_B = self.wanted(image_BCHW)
            action_B3 = self.aim(place_B2, wanted_B, torch.ones(len(rows)), image_BCHW.shape[2:])
            logits_BK = self.nets.classify(crop.crop(image_BCHW, action_B3))
            areas.append(wanted_B**2)
            right.append(logits_BK.argmax(1) == tensor(split.labels_N[rows]))
        return float(torch.cat(areas).mean()), float(torch.cat(right).float().mean())

    @torch.no_grad()
    def act(self, observation: Observation, rng: np.random.Generator) -> Array:
        seen = tensors(observation)
        action: Array = self.aim(*self.wanted(seen["image"]), seen["left"][:, 0], self.shape[1:]).numpy()
        return action

    @torch.no_grad()
    def predict(self, view: Observation) -> Array:
        logits: Array = self.nets.classify(tensors(view)["glimpse"]).numpy()
        return logits
