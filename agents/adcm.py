"""adcm: soft attention whose weights are dropped in training, the small ones more often; what it attends to is shown.

ADCM, attention dropout convolutional module: Liu, Du, Wang, Ge, Neurocomputing 2020, known here from a summary only
(e-com-net.com/article/1279505999429910528.htm): no text of the paper and no code was found. The summary gives

1. CAD: maximum, average and stochastic pooling of F over positions → fully connected → channel attention a; a dropout
   keeps channels of high attention and drops those of low.
2. PAD: 1×1 convolution to 3 channels → 3×3 convolution → sigmoid, a per position; the same dropout.

It is a regulariser of soft attention, not hard attention. Not published, and chosen here:

3. A weight a is kept with probability p = min(1, c a), c such that a share ρ of an image's weights is kept; unguided
   (`guided=false`), p = ρ whatever a is. So both drop the same share, and differ in which. The obvious
   min(1, ρ a / mean(a)) keeps less than ρ where attention is uneven.
4. What is kept is divided by its p, as in inverted dropout: the expected weight is a, which is what it is at test. A
   division by ρ, as dropout has it elsewhere, holds only where p = ρ: guided, the network at test is not the trained
   one, and the statistics of its batch norms do not fit.
5. The fully connected layer is one, from the three pooled vectors side by side, with a sigmoid. Stochastic pooling
   draws a position with probability proportional to its activation, and at test takes the mean over that (Zeiler and
   Fergus 2013, arXiv:1301.3557).
6. Both modules follow each block, CAD first. The classifier, and how its maps become a score per pixel, are those of
   `attentive`, as for `cbam`.

Track: open. Scores and cost: docs/methods/adcm.md.
Command: glimpse run --agent adcm --task digits-clutter
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import Tensor, nn

from glimpsebench.agents.common.attentive import AttentionDropout, AttentiveAgent, AttentiveNet
from glimpsebench.agents.common.masks import Share


def stochastic_pool(features_BDYX: Tensor, sample: bool) -> Tensor:
    """One value per channel, (B, D): drawn in proportion to itself, or the mean over such draws."""
    values_BDP = features_BDYX.flatten(2)
    weight_BDP = values_BDP.detach().clamp(min=0) + 1e-12  # so that a channel that is off draws uniformly
    if not sample:
        return (values_BDP * weight_BDP).sum(2) / weight_BDP.sum(2)
    drawn = weight_BDP.flatten(0, 1).multinomial(1).view(*values_BDP.shape[:2], 1)
    return values_BDP.gather(2, drawn)[:, :, 0]


class ChannelAttention(nn.Module):
    """CAD without its dropout: (B, D, Y, X) → (B, D, 1, 1)."""

    def __init__(self, features: int) -> None:
        super().__init__()
        self.connected = nn.Linear(3 * features, features)

    def forward(self, features_BDYX: Tensor) -> Tensor:
        places = (2, 3)
        stochastic_BD = stochastic_pool(features_BDYX, self.training)
        pooled_BE = torch.cat([features_BDYX.amax(places), features_BDYX.mean(places), stochastic_BD], 1)
        return torch.sigmoid(self.connected(pooled_BE))[:, :, None, None]


def position_attention(features: int) -> nn.Module:
    """PAD without its dropout: (B, D, Y, X) → (B, 1, Y, X)."""
    return nn.Sequential(nn.Conv2d(features, 3, 1), nn.Conv2d(3, 1, 3, padding=1), nn.Sigmoid())


@dataclass
class ADCM(AttentiveAgent):
    """Reads the whole image, then shows the pixels that its classifier attends to most.

    Settings:
        keep: ρ, the share of attention weights kept in training.
        guided: keep high attention rather than any.
        score: what ranks the pixels: the `gradient` of the first spatial map, or the `last` map itself (`attentive`).
        selector_steps: of the classifier.
        batch, lr, width, predictor_init, predictor_steps, predictor_lr: as for every mask selector.
    """

    keep: Share = 0.9
    guided: bool = True
    score: Literal["gradient", "last"] = "gradient"

    version: ClassVar[int] = 5

    def attentive_net(self) -> AttentiveNet:
        return AttentiveNet(
            self.shape[0],
            self.classes,
            self.width,
            channel=ChannelAttention,
            spatial=position_attention,
            dropout=AttentionDropout(self.keep, self.guided),
            score=self.score,
        )
