"""sobel: a BagNet's cells, visited by how strong the edges in their windows are. Nothing about looking is learned.

Elsayed, Kornblith, Le, Saccader: Improving Accuracy of Hard Attention Models for Vision, NeurIPS 2019,
arXiv:1908.07644: its engineered policies `sobel_mean` and `sobel_var`.

1. Edge strength: the norm of the two Sobel derivatives of the grey image (mean of the channels; reflected at the
   border).
2. A window's score is the mean of the edge strength over it, or its unbiased variance; the highest first.
3. The prediction is the mean of the logits of the cells visited, each computed from its window alone, by the same
   BagNet as `ordered_logits` and `saccader`.

What differs from the source: the release weighs the channels as luminance, this one equally.

Track: open. Scores and cost: docs/methods/sobel.md.
Command: glimpse run --agent sobel --task digits-clutter
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import Tensor
from torch.nn import functional as F

from glimpsebench.agents.common.bagnet import BagNetAgent, top_cells

Statistic = Literal["mean", "var"]


def edge_strength(image_BCHW: Tensor) -> Tensor:
    """The Sobel magnitude of the grey image, (B, 1, H, W)."""
    across = torch.tensor([[-1.0, 0.0, 1.0], [-2.0, 0.0, 2.0], [-1.0, 0.0, 1.0]])
    kernels_2133 = torch.stack([across.T, across])[:, None]
    grey_B1HW = F.pad(image_BCHW.mean(1, keepdim=True), (1, 1, 1, 1), mode="reflect")
    return F.conv2d(grey_B1HW, kernels_2133).norm(dim=1, keepdim=True)


def window_scores(edges_B1HW: Tensor, side: int, stride: int, statistic: Statistic) -> Tensor:
    """The mean or the unbiased variance over each window of side × side pixels, (B, P)."""
    count = side * side
    mean_BP = F.avg_pool2d(edges_B1HW, side, stride).flatten(1)
    if statistic == "mean":
        return mean_BP
    square_BP = F.avg_pool2d(edges_B1HW.square(), side, stride).flatten(1)
    return (square_BP - mean_BP.square()) * (count / (count - 1))


@dataclass
class Sobel(BagNetAgent):
    """Visits the cells with the strongest edges.

    Settings:
        statistic: `mean` or variance (`var`) of the edge strength in a window.
        glimpses: how many cells it visits at most at test time.
        network: the BagNet, by the side of its receptive field: 5 pixels, one cell every 2; 9, every 4; 17, every 4;
            or 77, every 8, as published for images of 224×224.
        representation_loss: cross-entropy of the logits of each cell (`each_cell`) or of their mean (`mean_logits`).
        representation_steps, representation_lr: of the BagNet's training; by default as many steps as Saccader's.
        batch: images per step.
    """

    statistic: Statistic = "mean"

    version: ClassVar[int] = 2

    def scanpath(self, image_BCHW: Tensor, count: int) -> Tensor:
        return top_cells(window_scores(edge_strength(image_BCHW), *self.geometry, self.statistic), count)
