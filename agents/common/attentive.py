"""What the soft-attention selectors share: a classifier with attention in it, and the score map that it leaves.

Soft attention removes no pixel. So that it can be compared at a fraction, what the trained network attends to
becomes a score per pixel, and the env reveals the k best, as of every mask selector (`masks`).

1. Three blocks (3×3 convolutions, batch norm, ReLU) of w, 2w and 4w channels, the first two strided; after each,
   F' = M_c ⊗ F, one weight per channel, then F'' = M_s ⊗ F', one per position (CBAM, arXiv:1807.06521, equation 1).
   The mean over positions and a linear layer give the logits; cross-entropy on whole images.
2. The score of a pixel, brought to the image's size bilinearly:
   `gradient`: M_s ∂s/∂M_s of the first block, the finest, s the logit of the predicted class. With `last` it is M_s of
   the last block, the map as it is. A classifier without attention has a gate of ones in place of M_s, and `energy`:
   the product over the blocks of √(mean over channels of F²), the magnitude of the features.
3. The predictor is trained afterwards, on the k best pixels.

Nothing forces M_s onto the object: the batch norm of the next block undoes the scale of its map. How the score was
chosen stands in docs/methods/cbam.md.

`fit` leaves in `findings`, on whole validation images: `net_accuracy`, of this classifier itself, and `mean_spatial`
and `mean_channel`, its mean attention weights, where it has them.

Shapes: Y X rows and columns of a block's features, D their channels.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from glimpsebench.agents.common.base import Progress, tensor
from glimpsebench.agents.common.masks import Array, MaskAgent, MaskNet
from glimpsebench.agents.common.nets import conv, to_float
from glimpsebench.envs.tasks import Split, Task

Score = Literal["gradient", "last", "energy"]
Make = Callable[[int], nn.Module]
"""Channels D → an attention module: features (B, D, Y, X) → weights (B, D, 1, 1) or (B, 1, Y, X) in [0, 1]."""


class AttentionDropout(nn.Module):
    """Drops attention weights in training. A weight a is kept with probability p: min(1, c a) if guided, else `keep`.

    c is such that the mean of p over the channels or positions of an image is `keep` (no weight is 0, after a
    sigmoid): guided or not, the same share is kept. What is kept is divided by its p, as in inverted dropout, so that
    the expected weight is a; in eval mode it is a.
    """

    def __init__(self, keep: float, guided: bool) -> None:
        super().__init__()
        self.keep, self.guided = keep, guided

    def forward(self, weight: Tensor) -> Tensor:
        if not self.training:
            return weight
        probability = self.probability(weight.detach())
        return weight * torch.bernoulli(probability) / probability.clamp(min=1e-12)

    def probability(self, weight: Tensor) -> Tensor:
        """How likely each weight is kept."""
        if not self.guided:
            return torch.full_like(weight, self.keep)
        falling_BN = weight.flatten(1).sort(1, descending=True).values
        # With a share ρ kept of N weights, ρN = Σ min(1, c a) ≤ m + c Σ (all but the m largest) for every m, and equal
        # for the m that are kept for sure: c is the largest of (ρN − m) / Σ (the others).
        count = falling_BN.shape[1]
        left_N = self.keep * count - torch.arange(count, device=weight.device)
        others_BN = falling_BN.flip(1).cumsum(1).flip(1)
        c_B = (left_N / others_BN.clamp(min=1e-30)).amax(1)
        return (c_B[:, None, None, None] * weight).clamp(max=1)


class AttentiveNet(nn.Module):
    """The classifier. As a selector's scorer its forward pass gives the scores; `logits` classifies.

    Args:
        channel, spatial: make the two attentions of a block, or None.
        dropout: what attention weights pass through, if anything.
        score: what ranks the pixels; `last` needs spatial attention.
    """

    def __init__(
        self,
        channels: int,
        classes: int,
        width: int,
        *,
        channel: Make | None = None,
        spatial: Make | None = None,
        dropout: AttentionDropout | None = None,
        score: Score,
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
        self.score = score
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

    def classify(self, last_BDYX: Tensor) -> Tensor:
        """Class logits (B, K) of the last block's F''."""
        logits_BK: Tensor = self.head(last_BDYX.mean((2, 3)))
        return logits_BK

    def logits(self, image_BCHW: Tensor) -> Tensor:
        """Class logits (B, K) of whole images."""
        return self.classify(self.attended(image_BCHW)[0][-1])

    def forward(self, image_BCHW: Tensor) -> Tensor:
        size = image_BCHW.shape[2:]
        if self.score == "gradient":
            return resized(self.gradient(image_BCHW), size)
        features, _, spatial = self.attended(image_BCHW)
        if self.score == "last":
            return resized(spatial[-1], size)
        return log_product([block_BDYX.square().mean(1, keepdim=True).sqrt() for block_BDYX in features], size)

    def gradient(self, image_BCHW: Tensor) -> Tensor:
        """M_s ∂s/∂M_s of the first block (B, 1, Y, X), s the logit of the predicted class.

        It is Σ_d F''_d ∂s/∂F''_d, since F'' = M_s ⊗ F'.
        """
        with torch.enable_grad():  # by way of the image, since the parameters may be frozen
            features = self.attended(image_BCHW.detach().requires_grad_())[0]
            (gradient_BDYX,) = torch.autograd.grad(self.classify(features[-1]).amax(1).sum(), features[:1])
        return (features[0].detach() * gradient_BDYX).sum(1, keepdim=True)


def resized(map_B1YX: Tensor, size: torch.Size) -> Tensor:
    """A map at the image's size, bilinear between its positions: (B, 1, H, W)."""
    return F.interpolate(map_B1YX, size=size, mode="bilinear", align_corners=False)


def log_product(maps: Sequence[Tensor], size: torch.Size) -> Tensor:
    """The logarithm of the product of maps (B, 1, Y, X) of any resolution: (B, 1, H, W)."""
    return torch.stack([resized(one, size).clamp(min=1e-6).log() for one in maps]).sum(0)


@dataclass
class AttentiveAgent(MaskAgent):
    """A classifier with soft attention learns from whole images; then the predictor, from the k best pixels.

    Settings:
        selector_steps: of the attentive classifier.
        batch, lr, width, predictor_init, predictor_steps, predictor_lr: as for every mask selector.
    """

    version: ClassVar[int] = 4

    def selection_loss(self, image_BCHW: Tensor, labels_B: Tensor, step: int) -> Tensor:
        return F.cross_entropy(self.attentive.logits(image_BCHW), labels_B)

    @abstractmethod
    def attentive_net(self) -> AttentiveNet:
        """The untrained classifier."""

    def build(self) -> nn.Module:
        return MaskNet(self.attentive_net(), self.new_predictor())

    @property
    def attentive(self) -> AttentiveNet:
        """The classifier, made."""
        assert isinstance(self.nets.scorer, AttentiveNet)
        return self.nets.scorer

    def fit_selector(self, task: Task, rng: np.random.Generator, progress: Progress[int]) -> None:
        super().fit_selector(task, rng, progress)
        self.findings = dict(self.measured(task))

    def validation_logits(self, images: Split, stage: str) -> tuple[Tensor | Array | None, str]:
        if stage != "selector":
            return super().validation_logits(images, stage)
        return self.attentive.logits(to_float(images.images_NCHW)), "attentive classifier on whole images"

    @torch.no_grad()
    def measured(self, task: Task) -> dict[str, float]:
        """What the network does on whole validation images."""
        val, net = task.val(), self.attentive
        assert val.labels_N is not None
        correct: list[Tensor] = []
        weights: dict[str, list[Tensor]] = {"mean_channel": [], "mean_spatial": []}
        for rows in np.array_split(np.arange(len(val)), -(-len(val) // 250)):
            features, *attentions = net.attended(to_float(val.images_NCHW[rows]))
            correct.append(net.classify(features[-1]).argmax(1) == tensor(val.labels_N[rows]))
            for means, maps in zip(weights.values(), attentions, strict=True):
                means += [one.mean((1, 2, 3)) for one in maps]
        found = {"net_accuracy": torch.cat(correct).float().mean().item()}
        return found | {name: torch.cat(means).mean().item() for name, means in weights.items() if means}
