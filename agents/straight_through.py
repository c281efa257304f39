"""straight_through: a network scores every pixel; a Gumbel-sigmoid mask with straight-through gradients trains it.

Binary Concrete / Gumbel-sigmoid: Maddison et al. 2017, arXiv:1611.00712, and Jang et al. 2017, arXiv:1611.01144;
the straight-through estimator: Bengio et al. 2013, arXiv:1308.3432; the target budget: Verelst and Tuytelaars,
Dynamic Convolutions, CVPR 2020, arXiv:1912.03203 (settings from its released code).

1. Scores x = s(image), one per pixel, from a small encoder-decoder that reads the whole image.
2. m_soft = σ((x + g₁ − g₂)/τ), g Gumbel noise, τ = 2/3; m = 1[m_soft ≥ ½] forward, the gradient of m_soft backward.
3. The predictor sees image × m and m; loss = cross-entropy + weight · (mean(m) − target)², the target annealed
   from the whole image down to its value over the first half of training.
4. Then the scores are frozen and the predictor trains on the k best pixels at every budget of the grid, so that
   one selector gives a whole curve: at test the env reveals the k best-scored pixels.

What differs from the sources: step 4 (they have one budget each), and that their mask gates layers, not pixels.
The straight-through gradient is biased, and a selector trained with its predictor may write the label into
the mask's shape: the evaluator's score says whether the pixels themselves are telling.

Track: open. Expected on digits-clutter: above uniform pixels at every budget below 30 %. Cost: 25 to 50 s of one core.
Command: glimpse run --agent straight_through --task digits-clutter
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from glimpsebench.agents.masks import DrawnMaskAgent, Share, Weight
from glimpsebench.agents.nets import Rate


def gumbel_mask(scores: Tensor, temperature: float) -> Tensor:
    """A binary mask drawn with probability σ(scores), with the gradient of its relaxation.

    The difference of two Gumbel draws is one logistic draw.
    """
    uniform = torch.rand_like(scores).clamp(1e-6, 1 - 1e-6)
    soft = torch.sigmoid((scores + uniform.log() - (1 - uniform).log()) / temperature)
    hard = (soft >= 0.5).float()
    return hard + soft - soft.detach()


@dataclass
class StraightThrough(DrawnMaskAgent):
    """Reads the whole image, then shows its best pixels.

    Settings:
        target: the share of pixels that training aims at.
        temperature: of the relaxation.
        weight: of the target's penalty.
        selector_steps, steps, batch, lr, width: as for every mask selector.
    """

    target: Share = 0.05
    temperature: Rate = 2 / 3
    weight: Weight = 100.0

    def odds(self, scores_B1HW: Tensor) -> Tensor:
        return torch.sigmoid(scores_B1HW)

    def selection_loss(self, image_BCHW: Tensor, labels_B: Tensor, step: int) -> Tensor:
        mask_B1HW = gumbel_mask(self.nets.scorer(image_BCHW), self.temperature)
        size = (mask_B1HW.mean() - self.annealed(self.target, step)) ** 2
        return F.cross_entropy(self.nets.under(image_BCHW, mask_B1HW), labels_B) + self.weight * size
