"""cbam: soft attention in a classifier, per channel and then per position; what it attends to is shown.

CBAM: Woo, Park, Lee, Kweon, CBAM: Convolutional Block Attention Module, ECCV 2018, arXiv:1807.06521, and its released
code.

1. M_c = σ(MLP(mean over positions of F) + MLP(maximum)), one MLP D → D/r → D for both; F' = M_c ⊗ F (equation 2).
2. M_s = σ(batch norm(conv 7×7 of [maximum over channels of F'; mean])); F'' = M_s ⊗ F' (equation 3).
3. After each block of a classifier, which learns by cross-entropy from whole images.
4. A pixel is ranked by M_s ∂s/∂M_s of the first block, s the logit of the predicted class: how much the prediction
   owes to the attention to that position. `score=last` ranks by the last M_s itself. `attentive` has the classifier.

What differs from the source, and why: the paper classifies and chooses no pixels, point 4 is ours. Three plain blocks
stand in place of a ResNet, for small images; r = 4, since its 16 would leave one unit of 16 channels. `energy` is the
same classifier without attention, to compare with.

Track: open. Scores and cost: docs/methods/cbam.md.
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
    """M_c, equation 2: (B, D, Y, X) → (B, D, 1, 1)."""

    def __init__(self, features: int, reduction: int) -> None:
        super().__init__()
        hidden = max(features // reduction, 1)
        self.mlp = nn.Sequential(nn.Linear(features, hidden), nn.ReLU(), nn.Linear(hidden, features))

    def forward(self, features_BDYX: Tensor) -> Tensor:
        places = (2, 3)
        logits_BD = self.mlp(features_BDYX.mean(places)) + self.mlp(features_BDYX.amax(places))
        return torch.sigmoid(logits_BD)[:, :, None, None]


class SpatialAttention(nn.Module):
    """M_s, equation 3: (B, D, Y, X) → (B, 1, Y, X)."""

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
        attention: of each block: `both`, or `spatial` alone.
        reduction: r.
        score: what ranks the pixels: the `gradient` of the first spatial map, or the `last` map itself (`attentive`).
        selector_steps: of the classifier.
        batch, lr, width, predictor_init, predictor_steps, predictor_lr: as for every mask selector.
    """

    attention: Literal["both", "spatial"] = "both"
    reduction: Positive = 4
    score: Literal["gradient", "last"] = "gradient"

    def attentive_net(self) -> AttentiveNet:
        def channel(features: int) -> nn.Module:
            return ChannelAttention(features, self.reduction)

        return AttentiveNet(
            self.shape[0],
            self.classes,
            self.width,
            channel=channel if self.attention == "both" else None,
            spatial=lambda _: SpatialAttention(),
            score=self.score,
        )
