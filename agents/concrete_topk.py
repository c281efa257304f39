"""concrete_topk: L2X. k Concrete draws over the pixels, joined by their maximum, are a soft mask of at most k pixels.

Chen, Song, Wainwright, Jordan, Learning to Explain, ICML 2018, arXiv:1802.07814.

1. x = s(image), one score per pixel; C_j = softmax((x + g_j)/τ), j = 1 … k, g_j Gumbel noise (their equation 5).
2. V_i = max_j C_ji: a relaxed subset of at most k pixels.
3. Maximise E log q(label | image × V) over scorer and predictor (their equation 6); nothing else holds the size.

What differs from the source, and why:
* q predicts the label; theirs explains a given model and fits its output.
* The predictor is the one that all mask selectors share and sees V beside image × V.
* After training `masks` reveals the k best-scored pixels at every budget; theirs has one k.
* The predictor is first trained on random masks of every size, as the model to explain is trained first in the paper,
  and in the first half of the selector's training random pixels are added to V, fewer and fewer (`JointMaskAgent`).
The mask is part of what the predictor reads, so that the label can be encoded in it; the judge, which never meets
the selector, says whether the pixels themselves are enough.

Track: open. Scores and cost, which grows with k: docs/methods/concrete_topk.md.
Command: glimpse run --agent concrete_topk --task digits-clutter
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor
from torch.nn import functional as F

from glimpsebench.agents.common.masks import JointMaskAgent, Share
from glimpsebench.agents.common.nets import Rate


def concrete_subset(scores_BP: Tensor, count: int, temperature: float) -> Tensor:
    """Equations 1 and 2: a relaxed subset (B, P) of at most `count` pixels, values in [0, 1]."""
    batch, size = scores_BP.shape
    gumbel_BkP = -torch.empty(batch, count, size).exponential_().clamp(min=1e-20).log()
    return ((scores_BP[:, None] + gumbel_BkP) / temperature).softmax(-1).amax(1)


@dataclass
class ConcreteTopK(JointMaskAgent):
    """Reads the whole image, then shows its best pixels; learned with L2X's relaxed subsets.

    Settings:
        target: k, as a share of the pixels.
        temperature: τ.
        pretrain_steps, random_pixels: as for every selector that learns with its predictor.
        selector_steps, batch, lr, width, predictor_init, predictor_steps, predictor_lr: as for every mask selector.
    """

    target: Share = 0.05
    temperature: Rate = 0.1

    version: ClassVar[int] = 4

    def selection_loss(self, image_BCHW: Tensor, labels_B: Tensor, step: int) -> Tensor:
        scores_BP = self.nets.scorer(image_BCHW).flatten(1)
        count = max(1, int(self.target * scores_BP.shape[1]))
        mask_BP = concrete_subset(scores_BP, count, self.temperature)
        mask_B1HW = self.with_random_pixels(mask_BP.reshape(-1, 1, *self.shape[1:]), step)
        return F.cross_entropy(self.nets.classify_masked(image_BCHW, mask_B1HW), labels_B)
