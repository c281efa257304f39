"""realx: a selector trained against a predictor that was trained on random masks and frozen, so that it cannot cheat.

REAL-X: Jethani, Sudarshan, Aphinyanaphongs, Ranganath, Have We Learned to Explain?, AISTATS 2021, arXiv:2103.01890.
REBAR: Tucker, Mnih, Maddison, Lawson, Sohl-Dickstein 2017, arXiv:1703.07370.

1. The predictor f learns from image × r, r i.i.d. Bernoulli(½) per pixel, and is frozen: it never meets the selector,
   so that a mask which encodes the label in its shape tells it nothing.
2. The selector maximises E log f(label | image × s) − λ · mean(p), s ~ Bernoulli(p), p = σ(x), one score x per pixel.
3. REBAR: z = x + logit(u), s = 1[z > 0]; z̃ = x + logit(v), v uniform given s; with L = −log f(label | ·) the
   gradient is that of  [L(s) − L(σ(z̃/τ))]·log q(s) + L(σ(z/τ)) − L(σ(z̃/τ)), the bracket held constant: unbiased,
   with the relaxation as its control variate. τ = 0.1 and η = 1, as in the released code.

What differs from the source, and why:
* λ is fixed there. With `ascent` above 0 it follows the size by dual ascent, λ ← max(0, λ + ascent · (mean p −
  target)), so that all selectors of a suite can have one target. `ascent=0` is the paper's.
* The predictor is the one that all mask selectors share and reads the mask as a channel beside the masked image.
  `random_share=any` draws the Bernoulli rate of each image anew, so that the frozen predictor knows masks of the size
  that the selector ends at; the paper's is 0.5.
* Whole images are mixed with the random masks over the first half of f's training.
* After the selector the predictor is trained again (`predictor_init`), on the k best pixels at every budget (`masks`);
  the paper predicts with f. `test_predictor=random` trains it on random masks alone instead: the paper's judge, EVAL-X.

Track: open. Scores and cost: docs/methods/realx.md.
Command: glimpse run --agent realx --task digits-clutter
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from glimpsebench.agents.common.base import Progress
from glimpsebench.agents.common.masks import Array, DrawnMaskAgent, Share, Weight
from glimpsebench.agents.common.nets import Positive, Rate, optimise, to_float
from glimpsebench.envs.settings import renamed
from glimpsebench.envs.tasks import Split, Task


def rebar_latents(scores: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """A binary mask s ~ Bernoulli(σ(scores)) and its latents: z, with s = 1[z > 0], and z̃, a fresh z given s.

    z and z̃ have gradients, s has none.
    """

    def logit(uniform: Tensor) -> Tensor:
        uniform = uniform.clamp(1e-6, 1 - 1e-6)
        return uniform.log() - (1 - uniform).log()

    z = scores + logit(torch.rand_like(scores))
    mask = (z > 0).float()
    below, fresh = torch.sigmoid(-scores), torch.rand_like(scores)  # P(s = 0)
    given = torch.where(mask.bool(), below + fresh * (1 - below), fresh * below)
    return mask.detach(), z, scores + logit(given)


def rebar_surrogate(scores_BP: Tensor, mask_BP: Tensor, hard_B: Tensor, z_B: Tensor, given_B: Tensor) -> Tensor:
    """A number per row whose gradient is REBAR's estimate: equation 3.

    Args:
        scores_BP: the logits of the mask's distribution.
        mask_BP: s.
        hard_B: L(s).
        z_B: L(σ(z/τ)).
        given_B: L(σ(z̃/τ)).
    """
    log_prob_B = -F.binary_cross_entropy_with_logits(scores_BP, mask_BP, reduction="none").sum(1)
    return (hard_B - given_B).detach() * log_prob_B + z_B - given_B


@dataclass
class RealX(DrawnMaskAgent):
    """Reads the whole image, then shows its best pixels; learned against a frozen random-mask predictor.

    Settings:
        lam: λ, the price in nats of showing the whole image; where `ascent` is above 0, its first value.
        target: the mean inclusion probability that dual ascent aims at.
        ascent: the step size of dual ascent on λ; 0 keeps λ as it is.
        temperature: τ of the control variate.
        random_share: the Bernoulli rate of the random masks; `any` draws it anew for each image.
        pretrain_steps: of f on random masks, before the selector's.
        test_predictor: what the predictor of the test learns from: the `selected` pixels, as every mask selector's, or
            `random` masks alone (EVAL-X).
        selector_steps, batch, lr, width, predictor_init, predictor_steps, predictor_lr: as for every mask selector.
    """

    lam: Weight = 5.0
    target: Share = 0.05
    ascent: Weight = 1.0
    temperature: Rate = 0.1
    random_share: Share | Literal["any"] = renamed(0.5, "share")
    pretrain_steps: Positive = 300
    test_predictor: Literal["selected", "random"] = renamed("selected", "reader")

    version: ClassVar[int] = 3

    multiplier: float = field(default=0.0, init=False, repr=False, compare=False)
    """λ at this step of training."""

    @property
    def bernoulli_rate(self) -> float | None:
        """`random_share` as `random_canvases` takes it."""
        return None if self.random_share == "any" else self.random_share

    def fit_selector(self, task: Task, rng: np.random.Generator, progress: Progress[int]) -> None:
        net = self.nets
        self.multiplier = self.lam

        def loss_of(images: Array, labels_B: Tensor, step: int) -> Tensor:
            return self.selection_loss(to_float(images), labels_B, step)

        self.pretrain_predictor(task, self.pretrain_steps, self.bernoulli_rate, rng, progress)
        net.predictor.requires_grad_(False)
        common: dict[str, Any] = {"batch": self.batch, "lr": self.lr, "rng": rng, "progress": progress}
        optimise(net.scorer, task, loss_of, steps=self.selector_steps, stage="selector", **common)
        net.predictor.requires_grad_(True)

    def fit_predictor(self, task: Task, rng: np.random.Generator, progress: Progress[int]) -> None:
        if self.test_predictor == "selected":
            super().fit_predictor(task, rng, progress)
            return

        def canvases(images: Split) -> tuple[Tensor, Tensor]:
            return self.random_canvases(images.images_NCHW, self.bernoulli_rate)

        self.train_predictor(self.nets.predictor, task, canvases, rng, progress)

    def inclusion_probability(self, scores_B1HW: Tensor) -> Tensor:
        return torch.sigmoid(scores_B1HW)

    def selection_loss(self, image_BCHW: Tensor, labels_B: Tensor, step: int) -> Tensor:
        scores_B1HW = self.nets.scorer(image_BCHW)
        mask_B1HW, z_B1HW, given_B1HW = rebar_latents(scores_B1HW)

        def loss_under(some_B1HW: Tensor) -> Tensor:
            return F.cross_entropy(self.nets.classify_masked(image_BCHW, some_B1HW), labels_B, reduction="none")

        with torch.no_grad():
            hard_B = loss_under(mask_B1HW)
        z_B, given_B = (loss_under(torch.sigmoid(some / self.temperature)) for some in (z_B1HW, given_B1HW))
        rebar_B = rebar_surrogate(scores_B1HW.flatten(1), mask_B1HW.flatten(1), hard_B, z_B, given_B)
        size = self.inclusion_probability(scores_B1HW).mean()
        loss = rebar_B.mean() + self.multiplier * size
        self.multiplier = max(0.0, self.multiplier + self.ascent * (size.item() - self.target))
        return loss
