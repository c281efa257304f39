"""straight_through: a network scores every pixel; a binary mask with straight-through gradients trains it.

Binary Concrete / Gumbel-sigmoid: Maddison et al. 2017, arXiv:1611.00712, and Jang et al. 2017, arXiv:1611.01144;
the straight-through estimator: Bengio et al. 2013, arXiv:1308.3432; the target budget: Verelst and Tuytelaars,
Dynamic Convolutions, CVPR 2020, arXiv:1912.03203; the k best forward, a
straight-through gradient backward: Ramanujan et al., edge-popup, CVPR 2020, arXiv:1911.13299.

1. Scores x = s(image), one per pixel, from a small encoder-decoder that reads the whole image.
2. m_soft = σ((x + g₁ − g₂)/τ), g Gumbel noise, τ = 2/3; m = 1[m_soft ≥ ½] forward, the gradient of m_soft backward.
3. The predictor sees image × m and m; loss = cross-entropy + weight · (mean(m) − target)², the mean over the batch's
   images and pixels, the target annealed from the whole image down to its value over the first half of training.
   `topk` replaces 2 and the penalty: m = 1[x_i among the k best] forward, k annealed as the target is, the gradient
   of m_soft = σ((x − t)/τ) backward, t midway between the k-th and the (k + 1)-th score and held constant.
4. Then the scorer is frozen and the predictor is trained anew on the k best pixels at every budget of the grid, so
   that one selector gives a whole curve: at test the env reveals the k best-scored pixels.

What differs from the sources: step 4 (they have one budget each), and that their masks gate positions of feature maps
or weights, not pixels. The weight, and the annealing of one target, are ours. Edge-popup's gradient is the identity;
the sigmoid around the cut-off is ours: it rounds to the mask that is shown, and its gradient is largest for the pixels
that a small change would swap. t is a constant because ∂t/∂x is ½ at the two scores beside the cut-off, which would
then receive minus half the sum of all pixels' gradients. `topk` has no noise, so that scores far below the cut-off have
almost no gradient; the finding `expected_size` is k by construction.
The straight-through gradient is biased, and a selector trained with its predictor may encode the label in the mask's
shape: the bench's judge, which never meets the selector, tells whether the pixels themselves are enough.

Track: open. Scores and cost: docs/methods/straight_through.md.
Command: glimpse run --agent straight_through --task digits-clutter
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import Tensor
from torch.nn import functional as F

from glimpsebench.agents.common.masks import DrawnMaskAgent, Share, Weight
from glimpsebench.agents.common.nets import Rate
from glimpsebench.envs.settings import renamed


def gumbel_mask(scores: Tensor, temperature: float) -> Tensor:
    """A binary mask drawn with probability σ(scores), with the gradient of its relaxation.

    The difference of two Gumbel draws is one logistic draw.
    """
    uniform = torch.rand_like(scores).clamp(1e-6, 1 - 1e-6)
    soft = torch.sigmoid((scores + uniform.log() - (1 - uniform).log()) / temperature)
    hard = (soft >= 0.5).float()
    return hard + (soft - soft.detach())  # so grouped it is exactly binary


def topk_mask(scores_BP: Tensor, count: int, temperature: float) -> Tensor:
    """The `count` best of each row as a binary mask (B, P), with the gradient of a sigmoid around the cut-off.

    Without a next score (`count` = P) the cut-off is the lowest score.
    """
    best = torch.topk(scores_BP.detach(), min(count + 1, scores_BP.shape[1]))
    cutoff_B1 = (best.values[:, count - 1 : count] + best.values[:, -1:]) / 2
    soft_BP = torch.sigmoid((scores_BP - cutoff_B1) / temperature)
    hard_BP = torch.zeros_like(scores_BP).scatter(1, best.indices[:, :count], 1.0)  # exactly k among equals, too
    return hard_BP + (soft_BP - soft_BP.detach())


@dataclass
class StraightThrough(DrawnMaskAgent):
    """Reads the whole image, then shows its best pixels.

    Settings:
        estimator: masks are drawn for each pixel on its own (`gumbel`), or the k best (`topk`).
        target: the share of pixels that training aims at; of `topk`, k.
        temperature: of the relaxation.
        size_weight: of the penalty on the mask's size; `topk` has none.
        selector_steps, batch, lr, width, predictor_init, predictor_steps, predictor_lr: as for every mask selector.
    """

    estimator: Literal["gumbel", "topk"] = renamed("gumbel", "mask")
    target: Share = 0.05
    temperature: Rate = 2 / 3
    size_weight: Weight = renamed(100.0, "weight")

    version: ClassVar[int] = 3

    def inclusion_probability(self, scores_B1HW: Tensor) -> Tensor:
        return self.topk_share(scores_B1HW, self.target) if self.estimator == "topk" else torch.sigmoid(scores_B1HW)

    def topk_share(self, scores_B1HW: Tensor, share: float) -> Tensor:
        """`topk_mask`, k given as a share of the pixels: (B, 1, H, W)."""
        scores_BP = scores_B1HW.flatten(1)
        count = max(1, int(share * scores_BP.shape[1]))
        return topk_mask(scores_BP, count, self.temperature).reshape(scores_B1HW.shape)

    def selection_loss(self, image_BCHW: Tensor, labels_B: Tensor, step: int) -> Tensor:
        scores_B1HW, target = self.nets.scorer(image_BCHW), self.annealed_target(self.target, step)
        if self.estimator == "topk":
            mask_B1HW = self.topk_share(scores_B1HW, target)
            return F.cross_entropy(self.nets.classify_masked(image_BCHW, mask_B1HW), labels_B)
        mask_B1HW = gumbel_mask(scores_B1HW, self.temperature)
        penalty = self.size_weight * (mask_B1HW.mean() - target) ** 2
        return F.cross_entropy(self.nets.classify_masked(image_BCHW, mask_B1HW), labels_B) + penalty
