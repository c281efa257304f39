"""mask_penalty: a soft mask times the image, pushed to be small and binary by a penalty; too much of it leaves nothing.

"Custom loss function inducing sparsity", stats.stackexchange.com/q/384355. The question shows its two formulas as
images only, so the exact formula is not known. Its text fixes a mask I from a hard sigmoid, cross-entropy with
weight 1, a mask loss with weight β, α in [0, 1] for more sparsity, a small λ for stability, and reports that the
mask "tends to zero out". The forms here are ours:

1. I = clip(x/6 + ½, 0, 1), x = s(image), one score per pixel; logits = f(image × I); L = CE + β·L_mask.
2. `mse_zero`       L_mask = mean I²: the plain pull to zero.
3. `entropy` (F1)   L_mask = mean[α I + (1 − α)(−I log(I + λ) − (1 − I) log(1 − I + λ))].
4. `tilted` (F2)    L_mask = −mean[(1 − α) I log(I + λ) + α (1 − I) log(1 − I + λ)]: 0 at both ends.
5. `target_budget`  L_mask = (mean I − target)², the target annealed from the whole image (a remedy: Verelst and
                    Tuytelaars, arXiv:1912.03203).
6. The answer to the question adds γ · ‖pooled features of f(image × I)‖₁ to the loss: `gap`.

A pixel at 0 has no gradient through a hard sigmoid, so the empty mask absorbs; a mask of small positive values is
cheap and the classifier can undo it. Hence the numbers that `fit` leaves in `findings`, over the validation images:
`mask_mean`; `mask_binary`, the share of values within 0.05 of 0 or 1; `mask_empty`, the share of images whose mask
nowhere exceeds 0.05. A selector that collapsed still ranks pixels by x, and the table shows what that is worth.

What differs from the question: it is a whole mask selector here (`masks`): the env reveals the k best pixels of x.
The shared backbone pools by maximum. Its mask channel is all ones while the mask is soft, so that f sees the image
only through the product, as in the question.

Track: open. Measured on digits-clutter, seed 0, in per cent at 5, 10 and 20 % touched, evaluator / own; then
mask_binary, mask_mean, mask_empty:
  entropy        β 1, α .5    61, 79, 92 / 87, 90, 91    .92 .015 0
  entropy        β 10, α .9   67, 78, 88 / 80, 87, 88    .97 .005 .04
  entropy        β 100, α 1   10, 12, 10 /  9, 11, 11    1.0 .000 1    (collapsed: the mask is empty)
  tilted         β 1, α .5    66, 78, 92 / 89, 89, 92    .91 .021 0
  mse_zero       β 1          60, 79, 89 / 88, 93, 92    .83 .035 0
  target_budget  β 100        64, 80, 94 / 79, 92, 95    .79 .052 0
  gap alone      γ .01, β 0   28, 32, 33 / 43, 45, 46    .42 .126 0
Cost: 21 to 34 s of one core.
Command: glimpse run --agent mask_penalty --task digits-clutter --set agent.loss=target_budget
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

import numpy as np
import torch
from pydantic import Field
from torch import Tensor
from torch.nn import functional as F

from glimpsebench.agents.base import Progress
from glimpsebench.agents.masks import MaskAgent, Share, Weight
from glimpsebench.agents.nets import Rate, pixels
from glimpsebench.envs.tasks import Task

Form = Literal["mse_zero", "entropy", "tilted", "target_budget"]


def mask_loss(mask: Tensor, form: Form, alpha: float, lam: float, target: float) -> Tensor:
    """Equations 2 to 5 of a mask with values in [0, 1]."""
    if form == "mse_zero":
        return (mask**2).mean()
    if form == "target_budget":
        return (mask.mean() - target) ** 2
    low, high = -mask * (mask + lam).log(), -(1 - mask) * (1 - mask + lam).log()
    if form == "entropy":
        return (alpha * mask + (1 - alpha) * (low + high)).mean()
    return ((1 - alpha) * low + alpha * high).mean()


@dataclass
class MaskPenalty(MaskAgent):
    """Reads the whole image, then shows its best pixels; learned with a soft mask.

    Settings:
        loss: the form of the mask's loss.
        beta: its weight.
        alpha: more of it favours small masks over binary ones (`entropy`, `tilted`).
        lam: λ inside the logarithms.
        target: the share of pixels that `target_budget` aims at.
        gap: γ, the weight of the pooled features' L1 norm.
        selector_steps, steps, batch, lr, width: as for every mask selector.
    """

    loss: Form = "entropy"
    beta: Weight = 1.0
    alpha: Annotated[float, Field(ge=0, le=1)] = 0.5
    lam: Rate = 1e-3
    target: Share = 0.05
    gap: Weight = 0.0

    def selection_loss(self, image_BCHW: Tensor, labels_B: Tensor, step: int) -> Tensor:
        net = self.nets
        mask_B1HW = F.hardsigmoid(net.scorer(image_BCHW))
        product_BCHW = torch.cat([image_BCHW * mask_B1HW, torch.ones_like(mask_B1HW)], 1)
        features_BD = net.predictor.backbone(product_BCHW)
        penalty = mask_loss(mask_B1HW, self.loss, self.alpha, self.lam, self.annealed(self.target, step))
        norm = features_BD.abs().sum(1).mean()
        return F.cross_entropy(net.predictor.head(features_BD), labels_B) + self.beta * penalty + self.gap * norm

    def learn_to_choose(self, task: Task, rng: np.random.Generator, progress: Progress[int]) -> None:
        super().learn_to_choose(task, rng, progress)
        self.findings = self.measured(pixels(task.val().images_NCHW))

    @torch.no_grad()
    def measured(self, image_BCHW: Tensor) -> dict[str, float]:
        """How large and how binary the soft masks of these images are, and how many are empty."""
        masks = [F.hardsigmoid(self.nets.scorer(some)).flatten(1) for some in torch.split(image_BCHW, 250)]
        mask_BP = torch.cat(masks)
        return {
            "mask_mean": mask_BP.mean().item(),
            "mask_binary": ((mask_BP - 0.5).abs() >= 0.45).float().mean().item(),
            "mask_empty": (mask_BP.amax(1) <= 0.05).float().mean().item(),
        }
