"""realx: a selector trained against a predictor that was trained on random masks and frozen, so that it cannot cheat.

REAL-X: Jethani, Sudarshan, Aphinyanaphongs, Ranganath, Have We Learned to Explain?, AISTATS 2021, arXiv:2103.01890.
REBAR: Tucker, Mnih, Maddison, Lawson, Sohl-Dickstein 2017, arXiv:1703.07370.

1. The predictor f learns from image × r, r i.i.d. Bernoulli(½) per pixel, and is frozen: it never meets the selector,
   so that a mask which writes the label into its shape tells it nothing.
2. The selector maximises E log f(label | image × s) − λ · mean(p), s ~ Bernoulli(p), p = σ(x), one score per pixel.
3. REBAR: z = x + logit(u), s = 1[z > 0]; z̃ = x + logit(v), v uniform given s; with L = −log f(label | ·) the
   gradient is that of  [L(s) − L(σ(z̃/τ))]·log q(s) + L(σ(z/τ)) − L(σ(z̃/τ)), the bracket held constant: unbiased,
   with the relaxation as its control variate. τ = 0.1 and η = 1, as in the released code.

What differs from the source, and why:
* The predictor is the one that all mask selectors share and sees the mask beside the masked image. From halves of an
  image (`share=0.5`, the paper's) it does not learn what a few pixels mean; `share=any` draws the share anew for
  each image, so that the frozen predictor knows masks of the size that the selector ends at.
* Whole images among the random masks, phased out over the first half of that training (`with_whole_images`): without
  them this predictor learns nothing on digits-clutter in 300 steps.
* After the selector is trained `masks` trains the predictor on, on the k best pixels at every budget; the paper
  predicts with the frozen one. `reader=random` predicts with a network of its own, trained on random masks alone:
  the paper's judge, EVAL-X. The bench's evaluator is as separate, but must read every sensor's glimpses.
* The selector starts at p = ½, where the frozen predictor was trained.

Track: open. Measured on digits-clutter, seed 0, at 5, 10 and 20 % touched: evaluator 54, 88, 95 %, own 74, 89, 93 %;
mean p at the end of training 10 %. Cost: 30 s of one core. MNIST (suite `realx-mnist`, test, seed 0) at 3.95 %: 94.8 %
by a network that has seen random masks alone (published: 94.04 % at 4.04 %), 89.6 % by the bench's evaluator, which
also reads windows, crops and thumbnails. Cost: 8 minutes.
Command: glimpse run --agent realx --task digits-clutter
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from glimpsebench.agents.common.base import Progress
from glimpsebench.agents.common.masks import Array, DrawnMaskAgent, Share, Weight
from glimpsebench.agents.common.nets import CanvasNet, Positive, Rate, optimise, to_float
from glimpsebench.envs.tasks import Task


def draws(scores: Tensor) -> tuple[Tensor, Tensor, Tensor]:
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


def surrogate(scores_BP: Tensor, mask_BP: Tensor, hard_B: Tensor, z_B: Tensor, given_B: Tensor) -> Tensor:
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
        lam: λ, the price of the whole image in nats.
        temperature: τ of the control variate.
        share: of the pixels that random masks show; `any` draws it anew for each image.
        pretrain_steps: of the predictor on random masks, before the selector's.
        reader: who predicts at test: the predictor, `taught` on the k best pixels, or another network that has seen
            `random` masks alone (EVAL-X).
        selector_steps, steps, batch, lr, width: as for every mask selector.
    """

    lam: Weight = 5.0
    temperature: Rate = 0.1
    share: Share | Literal["any"] = 0.5
    pretrain_steps: Positive = 300
    reader: Literal["taught", "random"] = "taught"

    @property
    def shown(self) -> float | None:
        """`share` as `pretrain_predictor` takes it."""
        return None if self.share == "any" else self.share

    def fit_selector(self, task: Task, rng: np.random.Generator, progress: Progress[int]) -> None:
        net = self.nets

        def by_rebar(images: Array, labels_B: Tensor, step: int) -> Tensor:
            return self.selection_loss(to_float(images), labels_B, step)

        self.pretrain_predictor(task, self.pretrain_steps, self.shown, rng, progress)
        net.predictor.requires_grad_(False)
        optimise(
            net.scorer,
            task,
            by_rebar,
            steps=self.selector_steps,
            batch=self.batch,
            lr=self.lr,
            rng=rng,
            progress=progress,
        )
        net.predictor.requires_grad_(True)

    def fit_predictor(self, task: Task, rng: np.random.Generator, progress: Progress[int]) -> None:
        if self.reader == "taught":
            super().fit_predictor(task, rng, progress)
            return
        net = self.nets
        net.predictor = CanvasNet(self.shape[0], self.classes, self.width)
        self.pretrain_predictor(task, self.predictor_steps, self.shown, rng, progress)

    def odds(self, scores_B1HW: Tensor) -> Tensor:
        return torch.sigmoid(scores_B1HW)

    def selection_loss(self, image_BCHW: Tensor, labels_B: Tensor, step: int) -> Tensor:
        scores_B1HW = self.nets.scorer(image_BCHW)
        mask_B1HW, z_B1HW, given_B1HW = draws(scores_B1HW)

        def loss_under(some_B1HW: Tensor) -> Tensor:
            return F.cross_entropy(self.nets.under(image_BCHW, some_B1HW), labels_B, reduction="none")

        with torch.no_grad():
            hard_B = loss_under(mask_B1HW)
        z_B, given_B = (loss_under(torch.sigmoid(some / self.temperature)) for some in (z_B1HW, given_B1HW))
        rebar_B = surrogate(scores_B1HW.flatten(1), mask_B1HW.flatten(1), hard_B, z_B, given_B)
        return rebar_B.mean() + self.lam * self.odds(scores_B1HW).mean()
