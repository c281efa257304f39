"""The judges' network: larger than the contenders' predictors, and of another build.

Shapes: B batch, C H W image, K classes.
"""

from __future__ import annotations

import copy
import itertools

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.fusion import fuse_conv_bn_eval

from glimpsebench.agents.common.nets import conv


class Residual(nn.Module):
    """Two 3×3 convolutions beside the identity: (B, channels, H, W) → the same."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.first = conv(channels, channels)
        self.second = nn.Sequential(nn.Conv2d(channels, channels, 3, 1, 1, bias=False), nn.BatchNorm2d(channels))

    def forward(self, features_BCHW: Tensor) -> Tensor:
        return F.relu(features_BCHW + self.second(self.first(features_BCHW)))


class JudgeNet(nn.Module):
    """Class logits from a canvas and its mask: a residual network at a half and a quarter of the resolution.

    Maximum and mean over positions are read together: the one says whether a part is there, the other how much.

    Args:
        channels, classes: C and K.
        width: channels at half the resolution; at a quarter there are twice as many.
        stride: of one more convolution before it, for large canvases.
    """

    def __init__(self, channels: int, classes: int, width: int, stride: int = 1) -> None:
        super().__init__()
        w, before = width, max(1, width // 2)
        self.layers = nn.Sequential(
            *([conv(channels + 1, before, stride)] if stride > 1 else []),
            conv(before if stride > 1 else channels + 1, w, 2),
            Residual(w),
            conv(w, 2 * w, 2),
            Residual(2 * w),
            Residual(2 * w),
        )
        self.head = nn.Linear(4 * w, classes)
        self.layers.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    def forward(self, canvas_BCHW: Tensor, mask_B1HW: Tensor) -> Tensor:
        seen_BCHW = torch.cat([canvas_BCHW, mask_B1HW], 1).contiguous(memory_format=torch.channels_last)
        features_BCHW = self.layers(seen_BCHW)
        pooled_BF = torch.cat([features_BCHW.amax((2, 3)), features_BCHW.mean((2, 3))], 1)
        logits: Tensor = self.head(pooled_BF)
        return logits


def fused(net: nn.Module) -> nn.Module:
    """A copy, for eval mode, whose convolutions do the batch norm that follows them: the same logits but for rounding,
    a tenth sooner."""
    net = copy.deepcopy(net)
    for layers in [one for one in net.modules() if isinstance(one, nn.Sequential)]:
        for at, (layer, following) in enumerate(itertools.pairwise([*layers])):
            if isinstance(layer, nn.Conv2d) and isinstance(following, nn.BatchNorm2d):
                layers[at], layers[at + 1] = fuse_conv_bn_eval(layer, following), nn.Identity()
    return net.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
