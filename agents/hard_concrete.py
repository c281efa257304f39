"""hard_concrete: gates that are exactly 0 or 1 with positive probability, and an expected size in closed form.

Louizos, Welling, Kingma, Learning Sparse Neural Networks through L0 Regularization, ICLR 2018, arXiv:1712.01312.

1. s = σ((log u − log(1 − u) + log α)/β), u uniform (their equation 10); log α = x, one score per pixel of the image.
2. z = clip(s(ζ − γ) + γ, 0, 1), γ = −0.1, ζ = 1.1, β = 2/3 (equation 11): stretched, then cut off.
3. E‖z‖₀ = Σ σ(log α − β log(−γ/ζ)) (equation 12): the size, differentiable and without noise.
4. The predictor sees image × z and z; loss = cross-entropy + a constraint on the mean size q = E‖z‖₀/P:
   `squared`     weight · (q − target)²;
   `lagrangian`  λ(q − target) + weight · (q − target)², λ raised by `ascent` · (q − target) after every step
                 (Wang, Wohlwend, Lei 2020, arXiv:1910.04732, for hard concrete gates);
   `price`       weight · q: the paper's own, which has no target.
   The target is annealed from the whole image down to its value over the first half of training.

What differs from the source: the gates hide pixels and their scores come from a network over the image (the paper
learns one gate per weight); `masks` then reveals the k best-scored pixels at every budget, where the paper's test
gate is clip(σ(log α)(ζ − γ) + γ): the same order. The predictor is first trained on random masks, and in the first
half of the selector's training random pixels are added to the selection (`JointMaskAgent`). A selector trained with its
predictor may encode the label in the mask's shape; the judge, which never meets the selector, says whether the
pixels themselves are enough.

Track: open. Scores and cost: docs/methods/hard_concrete.md.
Command: glimpse run --agent hard_concrete --task digits-clutter
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import ClassVar, Literal

import torch
from torch import Tensor
from torch.nn import functional as F

from glimpsebench.agents.common.masks import DrawnMaskAgent, JointMaskAgent, Share, Weight

GAMMA, ZETA, BETA = -0.1, 1.1, 2 / 3


def gates(log_alpha: Tensor) -> Tensor:
    """Equations 1 and 2: a draw of z, in [0, 1]."""
    uniform = torch.rand_like(log_alpha).clamp(1e-6, 1 - 1e-6)
    soft = torch.sigmoid((uniform.log() - (1 - uniform).log() + log_alpha) / BETA)
    return (soft * (ZETA - GAMMA) + GAMMA).clamp(0, 1)


def open_probability(log_alpha: Tensor) -> Tensor:
    """Equation 3, per gate: the probability that z > 0."""
    return torch.sigmoid(log_alpha - BETA * math.log(-GAMMA / ZETA))


@dataclass
class HardConcrete(JointMaskAgent, DrawnMaskAgent):
    """Reads the whole image, then shows its best pixels; learned with hard concrete gates.

    Settings:
        constraint: on the expected size.
        target: the share of open gates that training aims at.
        weight: of the squared deviation, or of the size itself under `price`.
        ascent: how fast the multiplier of `lagrangian` follows the deviation.
        pretrain_steps, random_pixels: as for every selector that learns with its predictor.
        selector_steps, batch, lr, width, predictor_init, predictor_steps, predictor_lr: as for every mask selector.
    """

    constraint: Literal["squared", "lagrangian", "price"] = "lagrangian"
    target: Share = 0.05
    weight: Weight = 20.0
    ascent: Weight = 2.0

    version: ClassVar[int] = 4

    multiplier: float = field(default=0.0, init=False, repr=False, compare=False)

    def inclusion_probability(self, scores_B1HW: Tensor) -> Tensor:
        return open_probability(scores_B1HW)

    def selection_loss(self, image_BCHW: Tensor, labels_B: Tensor, step: int) -> Tensor:
        log_alpha_B1HW = self.nets.scorer(image_BCHW)
        size = self.inclusion_probability(log_alpha_B1HW).mean()
        excess = size - self.annealed_target(self.target, step)
        penalty = self.weight * (size if self.constraint == "price" else excess**2)
        if self.constraint == "lagrangian":
            self.multiplier = 0.0 if step == 0 else self.multiplier
            penalty = penalty + self.multiplier * excess
            self.multiplier += self.ascent * excess.item()
        mask_B1HW = self.with_random_pixels(gates(log_alpha_B1HW), step)
        return F.cross_entropy(self.nets.classify_masked(image_BCHW, mask_B1HW), labels_B) + penalty
