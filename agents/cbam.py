"""cbam: soft attention in a classifier, per channel and then per position; what it attends to is shown.

CBAM: Woo, Park, Lee, Kweon, CBAM: Convolutional Block Attention Module, ECCV 2018, arXiv:1807.06521, and its released
code.

1. M_c = σ(MLP(mean over positions of F) + MLP(maximum)), one MLP D → D/r → D for both; F' = M_c ⊗ F.
2. M_s = σ(batch norm(conv 7×7 of [maximum over channels of F'; mean])); F'' = M_s ⊗ F'.
3. After each block of a classifier, which learns by cross-entropy from whole images. `attentive` has the classifier,
   and how the maps become a score per pixel.

With `attention=none` it is the same classifier without attention. There is no M_s then: the score is `energy`.

What differs from the source, and why: three plain blocks in place of a ResNet, for small images; r = 4, since its 16
would leave one unit of 16 channels.

Track: open. On digits-clutter (suite `attention`, test, mean of seeds 0 to 5) in per cent at 5, 10 and 20 % touched,
evaluator / own: 56, 82, 95 / 74, 88, 93; without attention 57, 84, 95 / 73, 87, 93. The network on whole validation
images: 93; without attention 95. Cost: 32 s of one core.
Command: glimpse run --agent cbam --task digits-clutter
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from glimpsebench.agents.common.attentive import AttentiveAgent, AttentiveNet
from glimpsebench.agents.common.nets import Positive


class ChannelAttention(nn.Module):
    """Equation 1: (B, D, Y, X) → (B, D, 1, 1)."""

    def __init__(self, features: int, reduction: int) -> None:
        super().__init__()
        hidden = max(features // reduction, 1)
        self.mlp = nn.Sequential(nn.Linear(features, hidden), nn.ReLU(), nn.Linear(hidden, features))

    def forward(self, features_BDYX: Tensor) -> Tensor:
        places = (2, 3)
        logits_BD = self.mlp(features_BDYX.mean(places)) + self.mlp(features_BDYX.amax(places))
        return torch.sigmoid(logits_BD)[:, :, None, None]


class SpatialAttention(nn.Module):
    """Equation 2: (B, D, Y, X) → (B, 1, Y, X)."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.norm = nn.Conv2d(2, 1, 7, padding=3, bias=False), nn.BatchNorm2d(1)

    def forward(self, features_BDYX: Tensor) -> Tensor:
        pooled_B2YX = torch.cat([features_BDYX.amax(1, keepdim=True), features_BDYX.mean(1, keepdim=True)], 1)
        return torch.sigmoid(self.norm(self.conv(pooled_B2YX)))


@dataclass
class CBAM(AttentiveAgent):
    """Reads the whole image, then shows the pixels that its classifier attends to most.

    Settings:
        attention: which of the two the classifier has.
        reduction: r.
        score: what ranks the pixels, `spatial` or `energy`; without spatial attention there is only `energy`.
        selector_steps, steps, batch, lr, width: as for every mask selector.
    """

    attention: Literal["both", "channel", "spatial", "none"] = "both"
    reduction: Positive = 4

    def attentive_net(self) -> AttentiveNet:
        return AttentiveNet(
            self.shape[0],
            self.classes,
            self.width,
            self.score,
            channel=(lambda features: ChannelAttention(features, self.reduction))
            if self.attention in ("both", "channel")
            else None,
            spatial=(lambda _: SpatialAttention()) if self.attention in ("both", "spatial") else None,
        )
