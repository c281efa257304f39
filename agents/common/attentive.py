"""What the soft-attention selectors share: a classifier with attention in it, and the score map that it leaves.

Soft attention removes no pixel. So that it can be compared at a fraction, what the trained network attends to
becomes a score per pixel, and the env reveals the k best, as of every mask selector (`masks`).

1. Three blocks (3×3 convolutions, batch norm, ReLU) of w, 2w and 4w channels, the first two strided; after each,
   F' = M_c ⊗ F, one weight per channel, then F'' = M_s ⊗ F', one per position. The mean over positions, a linear
   head, cross-entropy on whole images.
2. A pixel's score, brought to the image's size bilinearly. `energy`: the product over the blocks of √(mean over
   channels of F''²), the magnitude of what gets through. `spatial`: M_s of the last block, which weighs what enters
   the mean.

`energy` is the default. Nothing forces M_s onto the object: the batch norm after an earlier block undoes its scale, and
with dropout the last map tells little. On digits-clutter (suite `attention`, test, mean of seeds 0 to 5) the evaluator
is right on the k best pixels, at 5, 10 and 20 % in per cent (random pixels: 28, 49, 71):
                                  energy         spatial
  cbam                          56, 82, 95      49, 79, 92
  cbam without attention        57, 84, 95
  adcm                          59, 83, 92      29, 51, 77

`fit` leaves in `findings`, on whole validation images: `net_accuracy`, of this network itself, and `mean_spatial` and
`mean_channel`, its mean weights, where it has them.

Shapes: Y X rows and columns of a block's features, D their channels.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from glimpsebench.agents.common.base import Progress, tensor
from glimpsebench.agents.common.masks import MaskAgent, MaskNet
from glimpsebench.agents.common.nets import conv, to_float
from glimpsebench.envs.tasks import Task

Score = Literal["spatial", "energy"]
Make = Callable[[int], nn.Module]
"""Channels D → an attention module: features (B, D, Y, X) → weights (B, D, 1, 1) or (B, 1, Y, X) in [0, 1]."""


class Dropout(nn.Module):
    """Drops attention weights in training, small ones more often: p = min(1, c a), or p = ρ if not guided.

    c is such that the mean of p over the channels or positions of an image is ρ (no weight is 0, after a sigmoid):
    guided or not, the same share is kept. A weight a becomes a · keep / ρ, keep ~ Bernoulli(p), and stays a at test.
    """

    def __init__(self, rate: float, guided: bool) -> None:
        super().__init__()
        self.rate, self.guided = rate, guided

    def forward(self, weight: Tensor) -> Tensor:
        if not self.training:
            return weight
        return weight * torch.bernoulli(self.probability(weight.detach())) / self.rate

    def probability(self, weight: Tensor) -> Tensor:
        """How likely each weight is kept."""
        if not self.guided:
            return torch.full_like(weight, self.rate)
        falling_BN = weight.flatten(1).sort(1, descending=True).values
        # ρN = Σ min(1, c a) ≤ m + c Σ (all but the m largest) for every m, and equal for the m that are kept for sure:
        # c is the largest of (ρN − m) / Σ (the others).
        count = falling_BN.shape[1]
        left_N = self.rate * count - torch.arange(count, device=weight.device)
        others_BN = falling_BN.flip(1).cumsum(1).flip(1)
        c_B = (left_N / others_BN.clamp(min=1e-30)).amax(1)
        return (c_B[:, None, None, None] * weight).clamp(max=1)


class AttentiveNet(nn.Module):
    """The classifier. As a selector's scorer its forward pass gives the scores; `logits` classifies.

    Args:
        channel, spatial: make the two attentions of a block, or None.
        dropout: what attention weights pass through, if anything.
    """

    def __init__(
        self,
        channels: int,
        classes: int,
        width: int,
        score: Score,
        channel: Make | None = None,
        spatial: Make | None = None,
        dropout: Dropout | None = None,
    ) -> None:
        super().__init__()
        widths = (width, 2 * width, 4 * width)
        w = width
        self.blocks = nn.ModuleList(
            [
                nn.Sequential(conv(channels, w, 2), conv(w, w)),
                nn.Sequential(conv(w, 2 * w, 2), conv(2 * w, 2 * w)),
                conv(2 * w, 4 * w),
            ]
        )
        self.channel = nn.ModuleList(channel(features) for features in widths if channel)
        self.spatial = nn.ModuleList(spatial(features) for features in widths if spatial)
        self.dropout = dropout or nn.Identity()
        self.head = nn.Linear(widths[-1], classes)
        self.score: Score = score if spatial else "energy"
        self.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    def attended(self, image_BCHW: Tensor) -> tuple[list[Tensor], list[Tensor], list[Tensor]]:
        """Of each block: F'' (B, D, Y, X), and M_c (B, D, 1, 1) and M_s (B, 1, Y, X) where there are any."""
        features = [image_BCHW.contiguous(memory_format=torch.channels_last)]
        channel: list[Tensor] = []
        spatial: list[Tensor] = []
        for number, block in enumerate(self.blocks):
            block_BDYX = block(features[-1])
            for attentions, weights in ((self.channel, channel), (self.spatial, spatial)):
                if attentions:
                    weights.append(attentions[number](block_BDYX))
                    block_BDYX = self.dropout(weights[-1]) * block_BDYX
            features.append(block_BDYX)
        return features[1:], channel, spatial

    def logits(self, image_BCHW: Tensor) -> Tensor:
        """Class logits (B, K) of whole images."""
        logits_BK: Tensor = self.head(self.attended(image_BCHW)[0][-1].mean((2, 3)))
        return logits_BK

    def forward(self, image_BCHW: Tensor) -> Tensor:
        features, _, spatial = self.attended(image_BCHW)
        energies = [block_BDYX.square().mean(1, keepdim=True).sqrt() for block_BDYX in features]
        return product(spatial[-1:] if self.score == "spatial" else energies, image_BCHW.shape[2:])


def product(maps: list[Tensor], size: torch.Size) -> Tensor:
    """The logarithm of the product of maps (B, 1, Y, X) of any resolution: (B, 1, H, W)."""
    logs = [F.interpolate(some, size=size, mode="bilinear", align_corners=False).clamp(min=1e-6).log() for some in maps]
    return torch.stack(logs).sum(0)


@dataclass
class AttentiveAgent(MaskAgent):
    """A classifier with soft attention learns from whole images; then the predictor, from the k best pixels.

    Settings:
        score: what ranks the pixels.
        selector_steps: of the attentive classifier.
        steps, batch, lr, width: as for every mask selector.
    """

    score: Score = "energy"

    version: ClassVar[int] = 2

    def selection_loss(self, image_BCHW: Tensor, labels_B: Tensor, step: int) -> Tensor:
        return F.cross_entropy(self.attentive.logits(image_BCHW), labels_B)

    @abstractmethod
    def attentive_net(self) -> AttentiveNet:
        """The untrained classifier."""

    def build(self) -> nn.Module:
        return MaskNet(self.shape[0], self.classes, self.width, scorer=self.attentive_net())

    @property
    def attentive(self) -> AttentiveNet:
        """The classifier, made."""
        assert isinstance(self.nets.scorer, AttentiveNet)
        return self.nets.scorer

    def fit_selector(self, task: Task, rng: np.random.Generator, progress: Progress[int]) -> None:
        super().fit_selector(task, rng, progress)
        self.findings = dict(self.measured(task))

    @torch.no_grad()
    def measured(self, task: Task) -> dict[str, float]:
        """What the network does on whole validation images."""
        val, net = task.val(), self.attentive
        assert val.labels_N is not None
        correct: list[Tensor] = []
        weights: dict[str, list[Tensor]] = {"mean_channel": [], "mean_spatial": []}
        for rows in np.array_split(np.arange(len(val)), -(-len(val) // 250)):
            features, *attentions = net.attended(to_float(val.images_NCHW[rows]))
            correct.append(net.head(features[-1].mean((2, 3))).argmax(1) == tensor(val.labels_N[rows]))
            for means, maps in zip(weights.values(), attentions, strict=True):
                means += [one.mean((1, 2, 3)) for one in maps]
        found = {"net_accuracy": torch.cat(correct).float().mean().item()}
        return found | {name: torch.cat(means).mean().item() for name, means in weights.items() if means}
