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
6. `target_entropy` L_mask = α (mean I − target)² + (1 − α) r · (the entropy of equation 3), r rising from 0 to 1
                    over the third quarter of training: first the size, then binary at that size. Its size term has the
                    weight β·α, that of equation 5 β.
7. The answer to the question adds γ · ‖pooled features of f(image × I)‖₁ to the loss, whatever its form:
   `feature_l1`.

A pixel at 0 has no gradient through a hard sigmoid, so the empty mask absorbs; a mask of small positive values is
cheap and the classifier can undo it. Hence what `fit` leaves in `findings`, over the validation images:
  mask_mean, mask_peak           the mean, and the largest value of an image
  mask_binary                    the share of values within 0.05 of 0 or 1
  mask_shown, mask_full          the shares of values above 0.05, and of 0.95 or more
  mask_empty                     the share of images without a value above 0.05
  mask_overlap                   the overlap of two images' masks, Σ min / Σ max: 1 if all are the same, 0 if empty
  soft_accuracy                  how often f is right under the soft mask
  each with _curve               the same over the selector's training, on some of these images
  collapsed, same_mask           1 if mask_empty is 0.5 or more; 1 if mask_overlap is 0.9 or more
A selector that collapsed still ranks pixels by x, and the table shows what that is worth.

What differs from the question: it is a whole mask selector here (`masks`): the env reveals the k best pixels of x.
The shared backbone pools by maximum. Its mask channel is all ones while the mask is soft, so that f sees the image
only through the product, as in the question.

Track: open. Scores and cost: docs/methods/mask_penalty.md; the losses compared: results/mask-penalty/study.md.
Command: glimpse run --agent mask_penalty --task digits-clutter --set agent.loss=target_budget
Study: glimpse sweep mask-penalty && glimpse study mask-penalty
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Annotated, ClassVar, Literal

import numpy as np
import torch
from pydantic import Field
from torch import Tensor
from torch.nn import functional as F

from glimpsebench.agents.common.base import Finding, Progress
from glimpsebench.agents.common.masks import Array, MaskAgent, Share, Weight
from glimpsebench.agents.common.nets import Rate, to_float
from glimpsebench.envs.settings import renamed
from glimpsebench.envs.tasks import Split, Task

Form = Literal["mse_zero", "entropy", "tilted", "target_budget", "target_entropy"]
CURVE_POINTS, CURVE_IMAGES = 40, 120


def mask_loss(mask: Tensor, form: Form, alpha: float, lam: float, target: float, rise: float = 1.0) -> Tensor:
    """Equations 2 to 6 of a mask with values in [0, 1]; `rise` is r of equation 6."""
    if form == "mse_zero":
        return (mask**2).mean()
    if form == "target_budget":
        return (mask.mean() - target) ** 2
    low, high = -mask * (mask + lam).log(), -(1 - mask) * (1 - mask + lam).log()
    if form == "target_entropy":
        return alpha * (mask.mean() - target) ** 2 + (1 - alpha) * rise * (low + high).mean()
    if form == "entropy":
        return (alpha * mask + (1 - alpha) * (low + high)).mean()
    return ((1 - alpha) * low + alpha * high).mean()


@dataclass
class MaskPenalty(MaskAgent):
    """Reads the whole image, then shows its best pixels; learned with a soft mask.

    Settings:
        loss: the form of the mask's loss.
        beta: its weight.
        alpha: more of it favours small masks, or the wanted size, over binary ones (`entropy`, `tilted`,
            `target_entropy`).
        lam: λ inside the logarithms.
        target: the share of pixels that `target_budget` and `target_entropy` aim at.
        feature_l1: γ, the weight of the pooled features' L1 norm.
        selector_steps, batch, lr, width, predictor_init, predictor_steps, predictor_lr: as for every mask selector.
    """

    loss: Form = "entropy"
    beta: Weight = 1.0
    alpha: Annotated[float, Field(ge=0, le=1)] = 0.5
    lam: Rate = 1e-3
    target: Share = 0.05
    feature_l1: Weight = renamed(0.0, "gap")

    version: ClassVar[int] = 3

    points: list[dict[str, float]] = field(default_factory=list, init=False, repr=False, compare=False)
    """Of the curves among the findings."""

    def selection_loss(self, image_BCHW: Tensor, labels_B: Tensor, step: int) -> Tensor:
        net = self.nets
        mask_B1HW = self.soft_mask(image_BCHW)
        product_BCHW = torch.cat([image_BCHW * mask_B1HW, torch.ones_like(mask_B1HW)], 1)
        features_BD = net.predictor.backbone(product_BCHW)
        target, rise = self.annealed_target(self.target, step), min(max(4 * step / self.selector_steps - 2, 0.0), 1.0)
        penalty = mask_loss(mask_B1HW, self.loss, self.alpha, self.lam, target, rise)
        norm = features_BD.abs().sum(1).mean()
        return F.cross_entropy(net.predictor.head(features_BD), labels_B) + self.beta * penalty + self.feature_l1 * norm

    def fit_selector(self, task: Task, rng: np.random.Generator, progress: Progress[int]) -> None:
        val = task.val()
        image_BCHW, labels_B = to_float(val.images_NCHW), torch.tensor(np.asarray(val.labels_N))
        first = slice(CURVE_IMAGES)
        moments = set(np.linspace(0, self.selector_steps, CURVE_POINTS + 1).round().astype(int).tolist())
        self.points = []

        def watched(steps: Iterable[int]) -> Iterator[int]:
            """Pass the steps on; between them, measure without a trace on weights or random numbers."""
            for step in progress(steps):
                if step in moments:
                    self.nets.eval()
                    self.points.append(self.measured(image_BCHW[first], labels_B[first]))
                    self.nets.train()
                yield step

        super().fit_selector(task, rng, watched)
        self.points.append(self.measured(image_BCHW[first], labels_B[first]))
        final = self.measured(image_BCHW, labels_B)
        curves: dict[str, Finding] = {f"{name}_curve": [point[name] for point in self.points] for name in final}
        collapsed, same_mask = final["mask_empty"] >= 0.5, final["mask_overlap"] >= 0.9
        self.findings = curves | final | {"collapsed": float(collapsed), "same_mask": float(same_mask)}

    def soft_mask(self, image_BCHW: Tensor) -> Tensor:
        """Equation 1: (B, 1, H, W) in [0, 1]."""
        return F.hardsigmoid(self.nets.scorer(image_BCHW))

    def soft_logits(self, image_BCHW: Tensor, mask_B1HW: Tensor) -> Tensor:
        """Class logits (B, K) under a soft mask."""
        logits_BK: Tensor = self.nets.predictor(image_BCHW * mask_B1HW, torch.ones_like(mask_B1HW))
        return logits_BK

    def validation_logits(self, images: Split, stage: str) -> tuple[Tensor | Array | None, str]:
        if stage != "selector":
            return super().validation_logits(images, stage)
        image_BCHW = to_float(images.images_NCHW)
        return self.soft_logits(image_BCHW, self.soft_mask(image_BCHW)), "predictor under the soft mask"

    @torch.no_grad()
    def measured(self, image_BCHW: Tensor, labels_B: Tensor) -> dict[str, float]:
        """The numbers of the module's docstring, on these images."""
        masks, logits = [], []
        for some_BCHW in torch.split(image_BCHW, 250):
            masks.append(self.soft_mask(some_BCHW))
            logits.append(self.soft_logits(some_BCHW, masks[-1]))
        mask_BP = torch.cat(masks).flatten(1)
        next_BP = mask_BP.roll(1, 0)  # of the next image, and the first of the last
        overlap_B = torch.minimum(mask_BP, next_BP).sum(1) / torch.maximum(mask_BP, next_BP).sum(1).clamp(min=1e-6)
        return {
            "mask_mean": mask_BP.mean().item(),
            "mask_binary": ((mask_BP - 0.5).abs() >= 0.45).float().mean().item(),
            "mask_empty": (mask_BP.amax(1) <= 0.05).float().mean().item(),
            "mask_shown": (mask_BP > 0.05).float().mean().item(),
            "mask_full": (mask_BP >= 0.95).float().mean().item(),
            "mask_peak": mask_BP.amax(1).mean().item(),
            "mask_overlap": overlap_B.mean().item(),
            "soft_accuracy": (torch.cat(logits).argmax(1) == labels_B).float().mean().item(),
        }
