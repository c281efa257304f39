"""perturbed_topk: the k best pixels of noisy scores, on average; the noise makes the average differentiable.

Cordonnier, Mahendran, Dosovitskiy, Weissenborn, Uszkoreit, Unterthiner, Differentiable Patch Selection for Image
Recognition, CVPR 2021, arXiv:2104.03059; perturbed optimisers: Berthet et al. 2020, arXiv:2002.08676.

1. x = s(image), one score per pixel, brought to [0, 1] per image by its minimum and maximum, as in the paper.
2. Y(x) = E[top-k(x + σZ)], Z standard normal, top-k as an indicator of the k best (their equation 2, summed over
   the order of the k, which a mask does not need); forward the mean of n draws.
3. dY/dx = E[top-k(x + σZ) Zᵀ]/σ (their equation 3): the gradient g of the loss with respect to Y goes to x as
   Σₙ (gᵀ yₙ) zₙ / (nσ).
4. σ falls linearly to a tenth, so that the mask hardens (the paper lets it decay as well).

What differs from the source, and why:
* σ = 0.2 and n = 32 on 1024 pixels; a published port uses 0.05 and 1000 on far fewer patches. A pixel that lies
  several σ from the k-th score has no gradient: with a smaller σ an object that the untrained scorer puts at one end
  of [0, 1] can stay there. With more noise, fewer draws and a higher rate some seeds never find the object.
* The published code has two errors in its Jacobian (a transpose, and a dot product where an outer product belongs;
  its README says so). This one is written from the equation and tested against finite differences.
* The mean of gᵀy over the draws is subtracted, with n/(n − 1) for its own share: the same expectation, since
  E[Z] = 0, and much less variance, so that a few draws do.
* Pixels of the image itself, scored at full resolution; the paper picks patches after a low-resolution look.
* k falls from the whole image to its value over the first half of training; the predictor is first trained on random
  masks, and at first random pixels are added to the selection (`JointMaskAgent`). `masks` then reveals the k
  best-scored pixels at every budget; the paper has one k.

Track: open. Scores and cost: docs/methods/perturbed_topk.md.
Command: glimpse run --agent perturbed_topk --task digits-clutter
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any, ClassVar

import torch
from pydantic import Field
from torch import Tensor
from torch.nn import functional as F

from glimpsebench.agents.common.masks import JointMaskAgent, Share
from glimpsebench.agents.common.nets import Rate
from glimpsebench.envs.settings import renamed


class PerturbedTopK(torch.autograd.Function):
    """Equations 2 and 3 over given noise: (scores (B, P), noise (n, B, P), k, σ) → mean indicator (B, P)."""

    @staticmethod
    def forward(ctx: Any, scores_BP: Tensor, noise_nBP: Tensor, count: int, sigma: float) -> Tensor:
        best_nBk = torch.topk(scores_BP + sigma * noise_nBP, count, sorted=False).indices
        ctx.save_for_backward(best_nBk, noise_nBP)
        ctx.sigma = sigma
        ones = scores_BP.new_ones(()).expand(best_nBk.shape)
        return torch.zeros_like(noise_nBP).scatter_(2, best_nBk, ones).mean(0)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None, None, None]:
        best_nBk, noise_nBP = ctx.saved_tensors
        samples = len(noise_nBP)
        gain_nB = grads[0].expand_as(noise_nBP).gather(2, best_nBk).sum(2)  # gᵀ yₙ
        gain_nB = (gain_nB - gain_nB.mean(0)) / (samples - 1)
        return torch.einsum("nb,nbp->bp", gain_nB, noise_nBP) / ctx.sigma, None, None, None


def min_max_normalised(scores_BP: Tensor) -> Tensor:
    """Each row scaled to [0, 1] by its minimum and maximum; equal scores become 0."""
    # Not `aminmax`, of which PyTorch 2.11 has no derivative on a GPU.
    low, high = scores_BP.amin(1, keepdim=True), scores_BP.amax(1, keepdim=True)
    return (scores_BP - low) / (high - low).clamp(min=1e-5)


@dataclass
class Perturbed(JointMaskAgent):
    """Reads the whole image, then shows its best pixels; learned through noisy top-k.

    Settings:
        target: k, as a share of the pixels.
        samples: n, the noise vectors in each Monte-Carlo mean.
        sigma: of the noise at first, where scores span [0, 1].
        pretrain_steps, random_pixels: as for every selector that learns with its predictor.
        selector_steps, batch, lr, width, predictor_init, predictor_steps, predictor_lr: as for every mask selector.
    """

    target: Share = 0.05
    samples: Annotated[int, Field(ge=2)] = renamed(32, "draws")
    sigma: Rate = 0.2
    lr: Rate = 1e-2

    version: ClassVar[int] = 5

    def selection_loss(self, image_BCHW: Tensor, labels_B: Tensor, step: int) -> Tensor:
        scores_BP = min_max_normalised(self.nets.scorer(image_BCHW).flatten(1))
        count = max(1, int(self.annealed_target(self.target, step) * scores_BP.shape[1]))
        sigma = self.sigma * max(0.1, 1 - step / self.selector_steps)
        noise_nBP = torch.randn(self.samples, *scores_BP.shape)
        mask_BP: Tensor = PerturbedTopK.apply(scores_BP, noise_nBP, count, sigma)  # type: ignore[no-untyped-call]
        mask_B1HW = self.with_random_pixels(mask_BP.reshape(-1, 1, *self.shape[1:]), step)
        return F.cross_entropy(self.nets.classify_masked(image_BCHW, mask_B1HW), labels_B)
