"""dham: a differentiable hard attention module. The spread of a softmax map sets one window's place and size.

Tolga Ok, Differentiable Hard Attention Module, DOI 10.5281/zenodo.7684823 (no paper; equations from its code).

1. a = attention convolutions of the whole image, one map per channel; p = softmax over positions.
2. Place: t = Σ p u, u the position in [−1, 1]².
3. Size, L2: s = κ Σ p ‖u − t‖₂; L1: s = κ Σ p ‖u − t‖₁. The distances are detached: s learns through p alone.
4. The window at t with half-width s is sampled bilinearly to g×g and classified. Cross-entropy only, all of it
   differentiable.

What differs from the source, and why:
* With several channels the windows are averaged (place and size), since the sensor here takes one.
* Half-pixel grids instead of its (u+1)·X/2, which has no symmetric border and weight 0 on exact integers.
* A budget: at budget f the size is cut so that the window's footprint fits; training draws the cut at random from
  the grid, so that one network gives a curve. κ starts the window at 0.77 of the frame for a flat map.
* AdamW on a one-cycle schedule, more than one epoch, and the shared backbone on the crop.

Track: open. Expected on digits-clutter: above uniform windows. Cost: about 20 s of one core.
Command: glimpse run --agent dham --task digits-clutter
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from glimpsebench.agents.base import Agent, Progress, tensors
from glimpsebench.agents.nets import Backbone, Positive, Rate, optimise, phase, pixels
from glimpsebench.envs.glimpse import Kind, Observation
from glimpsebench.envs.sensors import Crop
from glimpsebench.envs.tasks import Task

Array = NDArray[Any]


class DHAMNet(nn.Module):
    """Attention maps and the classifier of the crop."""

    def __init__(self, channels: int, classes: int, maps: int, hidden: int, width: int) -> None:
        super().__init__()
        self.attention = nn.Sequential(
            nn.Conv2d(channels, hidden, 5, 2), nn.ReLU(), nn.Conv2d(hidden, maps, 5), nn.BatchNorm2d(maps)
        )
        self.backbone = Backbone(channels, width)
        self.head = nn.Linear(self.backbone.features, classes)

    def classify(self, crop_BCgg: Tensor) -> Tensor:
        logits: Tensor = self.head(self.backbone(crop_BCgg))
        return logits


def place_and_scale(maps_BAYX: Tensor, norm: str, factor: float) -> tuple[Tensor, Tensor]:
    """Equations 2 and 3: t (B, A, 2) as (x, y), s (B, A)."""
    probability = maps_BAYX.flatten(2).softmax(-1)
    y, x = (torch.linspace(-1, 1, n) for n in maps_BAYX.shape[2:])
    grid_P2 = torch.stack(torch.meshgrid(y, x, indexing="ij")[::-1], -1).reshape(-1, 2)
    place_BA2 = probability @ grid_P2
    offsets = (grid_P2 - place_BA2[:, :, None]).detach()
    distance_BAP = offsets.norm(dim=-1) if norm == "L2" else offsets.abs().sum(-1)
    return place_BA2, factor * (probability * distance_BAP).sum(-1)


@dataclass
class DHAM(Agent):
    """Reads the whole image, then takes one window of the size that it wants or can afford.

    Settings:
        size: g, samples a side of the crop.
        maps, hidden: attention channels, and channels of the layer before them.
        norm: the distance of equation 3.
        scale_factor: κ.
        steps, batch, lr, width: of the optimiser and the backbone.
    """

    size: Positive = 16
    maps: Positive = 1
    hidden: Positive = 24
    norm: Literal["L1", "L2"] = "L2"
    scale_factor: Rate = 1.0
    steps: Positive = 800
    batch: Positive = 64
    lr: Rate = 1e-2
    width: Positive = 16

    track: ClassVar[Literal["gated", "open"]] = "open"
    observation: ClassVar[Kind] = "image"

    @property
    def view(self) -> Kind:
        return "glimpse"

    def sensor(self) -> Crop:
        return Crop(self.size)

    def build(self) -> nn.Module:
        return DHAMNet(self.shape[0], self.classes, self.maps, self.hidden, self.width)

    def aim(self, image_BCHW: Tensor, budget_B: Tensor) -> Tensor:
        """The action (x, y, z) for each image, the size cut to what its budget affords."""
        assert isinstance(self.net, DHAMNet)
        place_BA2, scale_BA = place_and_scale(self.net.attention(image_BCHW), self.norm, self.scale_factor)
        scale_B = torch.minimum(scale_BA.mean(1), self.affordable(budget_B))
        crop = self.sensor()
        return torch.cat([place_BA2.mean(1), crop.zoom_of(scale_B.clamp(min=crop.smallest))[:, None]], 1)

    def affordable(self, budget_B: Tensor) -> Tensor:
        """The largest scale whose footprint surely fits: n lines a side hold a span of n − 2 pixels."""
        _, height, width = self.shape
        lines = torch.floor(torch.sqrt(budget_B * height * width + 1e-6))
        return ((lines - 2) / (max(height, width) * (1 - 1 / self.size))).clamp(0, 1)

    def fit(self, task: Task, seed: int, progress: Progress[int]) -> None:
        rng, net, crop = np.random.default_rng(seed), self.net, self.sensor()
        assert isinstance(net, DHAMNet)

        def loss_of(images: Array, labels_B: Tensor, step: int) -> Tensor:
            image_BCHW = pixels(images)
            budget_B = rng.choice(np.array(self.budgets, np.float32), len(images))
            budget_B[rng.random(len(images)) < phase(step, self.steps)] = 1  # first the window of its own size
            glimpse_BCgg = crop.crop(image_BCHW, self.aim(image_BCHW, torch.from_numpy(budget_B)))
            return F.cross_entropy(net.classify(glimpse_BCgg), labels_B)

        optimise(net, task, loss_of, steps=self.steps, batch=self.batch, lr=self.lr, rng=rng, progress=progress)

    @torch.no_grad()
    def act(self, observation: Observation, rng: np.random.Generator) -> Array:
        seen = tensors(observation)
        action: Array = self.aim(seen["image"], seen["left"][:, 0]).numpy()
        return action

    @torch.no_grad()
    def predict(self, view: Observation) -> Array:
        assert isinstance(self.net, DHAMNet)
        logits: Array = self.net.classify(tensors(view)["glimpse"]).numpy()
        return logits
