"""Gradient estimators of a hidden choice, as small functions over tensors, for the agents that differ in nothing else.

The choices are subsets of k of P cells and single cells. Scores s (B, P) give the distribution of all of them:

    Plackett–Luce   p(o_1 … o_k) = Π_i exp s_{o_i} / Σ_{j not among o_1 … o_{i−1}} exp s_j

which is the order of the k best of s + g, g standard Gumbel noise (Yellott 1977; Kool, van Hoof, Welling, Stochastic
Beams, ICML 2019, arXiv:1903.06059). k may differ from row to row, so that it is given as counts (B,).

Shapes: B batch, m samples of each image, P cells.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

HIDDEN = -1e9
"""The score of a cell that cannot be chosen."""
GAMMA, ZETA, BETA = -0.1, 1.1, 2 / 3
"""Of the hard concrete distribution, as in its paper."""


def gumbel_like(scores: Tensor) -> Tensor:
    """Standard Gumbel noise of this shape."""
    return -torch.empty_like(scores).exponential_().clamp(min=1e-20).log()


def best_first(keys_BP: Tensor) -> Tensor:
    """The indices of the cells from the highest key to the lowest, int64 (B, P)."""
    return keys_BP.argsort(dim=-1, descending=True, stable=True)


def first_of(order_BP: Tensor, counts_B: Tensor) -> Tensor:
    """The first `counts` cells of an order as a binary mask, float (B, P)."""
    shown_BP = (torch.arange(order_BP.shape[-1]) < counts_B[..., None]).float()
    return torch.zeros_like(shown_BP).scatter(-1, order_BP, shown_BP)


def plackett_luce_log_prob(scores_BP: Tensor, order_BP: Tensor, counts_B: Tensor) -> Tensor:
    """log p(o_1 … o_k) of the first `counts` cells of an order, (B,), differentiable in the scores."""
    in_order_BP = scores_BP.gather(-1, order_BP)
    left_BP = in_order_BP.flip(-1).logcumsumexp(-1).flip(-1)  # log Σ exp of the cells that are still there
    chosen_BP = torch.arange(order_BP.shape[-1]) < counts_B[..., None]
    return torch.where(chosen_BP, in_order_BP - left_BP, torch.zeros(())).sum(-1)


def leave_one_out(reward_mB: Tensor) -> Tensor:
    """Each sample's reward less the mean of the image's other samples (m, B).

    Kool, van Hoof, Welling, Buy 4 REINFORCE Samples, Get a Baseline for Free, 2019. The other samples are independent
    of the one, so that the estimate stays unbiased. A single sample has no others: then less the mean over the batch's
    other images.
    """
    if len(reward_mB) == 1:
        return leave_one_out(reward_mB.T).T if reward_mB.shape[1] > 1 else reward_mB
    return (reward_mB - reward_mB.mean(0)) * (len(reward_mB) / (len(reward_mB) - 1))


def reinforce_loss(log_prob_mB: Tensor, advantage_mB: Tensor) -> Tensor:
    """A scalar whose gradient is that of −E[reward] by the score function (Williams 1992): −mean log p · A."""
    return -(log_prob_mB * advantage_mB.detach()).mean()


def clipped_loss(log_prob_mB: Tensor, old_log_prob_mB: Tensor, advantage_mB: Tensor, clip: float) -> Tensor:
    """The clipped surrogate −mean min(ρ A, clip(ρ) A) of PPO (Schulman et al. 2017, arXiv:1707.06347, equation 7)."""
    ratio_mB = (log_prob_mB - old_log_prob_mB.detach()).clamp(-20, 20).exp()
    advantage_mB = advantage_mB.detach()
    return -torch.minimum(ratio_mB * advantage_mB, ratio_mB.clamp(1 - clip, 1 + clip) * advantage_mB).mean()


def relaxed_subset(keys_BP: Tensor, counts_B: Tensor, temperature: float) -> Tensor:
    """k softmaxes, each without what the ones before took: Σ_j a^j, a relaxed subset of size k (B, P), in [0, 1].

    α^1 = keys, a^j = softmax(α^j / τ), α^{j+1} = α^j + log(1 − a^j) (Xie, Ermon, Reparameterizable Subset Sampling
    via Continuous Relaxations, IJCAI 2019, arXiv:1901.10517). Of s + g it tends to a Plackett–Luce draw as τ → 0,
    and with k = 1 it is the Concrete distribution.
    """
    logits_BP, taken_BP = keys_BP / temperature, torch.zeros_like(keys_BP)
    for step in range(int(counts_B.max())):
        one_BP = logits_BP.softmax(-1)
        taken_BP = taken_BP + one_BP * (step < counts_B[..., None])
        # The one that was surely taken would be −∞, and its gradient infinite.
        logits_BP = logits_BP + torch.log1p(-one_BP.clamp(max=1 - 1e-6)) / temperature
    return taken_BP.clamp(0, 1)


def sigmoid_subset(keys_BP: Tensor, counts_B: Tensor, temperature: float) -> Tensor:
    """σ((keys − t)/τ), t midway between the k-th and the (k + 1)-th key and held constant: a relaxed subset (B, P)."""
    ordered_BP = keys_BP.detach().sort(-1, descending=True).values
    last_B1 = ordered_BP.gather(-1, (counts_B[..., None] - 1).clamp(min=0))
    next_B1 = ordered_BP.gather(-1, counts_B[..., None].clamp(max=keys_BP.shape[-1] - 1))
    return torch.sigmoid((keys_BP - (last_B1 + next_B1) / 2) / temperature)


def straight_through(hard: Tensor, soft: Tensor) -> Tensor:
    """The value of the first with the gradient of the second (Bengio et al. 2013, arXiv:1308.3432)."""
    return hard + (soft - soft.detach())


class PerturbedSubset(torch.autograd.Function):
    """Y(s) = E[top-k(s + σZ)], Z standard normal, by n draws (Berthet et al. 2020, arXiv:2002.08676).

    (scores (B, P), noise (n, B, P), counts (B,), σ) → the mean mask (B, P). Backward, their equation for the Jacobian
    with the mean over the draws as a baseline: Σ_n (gᵀy_n − mean) z_n / ((n − 1) σ).
    """

    @staticmethod
    def forward(ctx: Any, scores_BP: Tensor, noise_nBP: Tensor, counts_B: Tensor, sigma: float) -> Tensor:
        mask_nBP = first_of(best_first(scores_BP + sigma * noise_nBP), counts_B.expand(len(noise_nBP), -1))
        ctx.save_for_backward(mask_nBP, noise_nBP)
        ctx.sigma = sigma
        return mask_nBP.mean(0)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None, None, None]:
        mask_nBP, noise_nBP = ctx.saved_tensors
        gain_nB = (mask_nBP * grads[0]).sum(2)
        gain_nB = (gain_nB - gain_nB.mean(0)) / (len(noise_nBP) - 1)
        return torch.einsum("nb,nbp->bp", gain_nB, noise_nBP) / ctx.sigma, None, None, None


def perturbed_subset(scores_BP: Tensor, counts_B: Tensor, samples: int, sigma: float) -> Tensor:
    """`PerturbedSubset` of so many draws, of scores scaled to deviation 1 in each row, as σ is relative to them."""
    spread_B1 = scores_BP.std(-1, keepdim=True).clamp(min=1e-5)
    noise_nBP = torch.randn(samples, *scores_BP.shape)
    mask_BP: Tensor = PerturbedSubset.apply(scores_BP / spread_B1, noise_nBP, counts_B, sigma)  # type: ignore[no-untyped-call]
    return mask_BP


def hard_concrete_subset(scores_BP: Tensor, counts_B: Tensor) -> Tensor:
    """Hard concrete gates z (B, P) (Louizos, Welling, Kingma, ICLR 2018, arXiv:1712.01312) whose expected number is k.

    log α = s + c. The paper pays for open gates by a penalty; here c is the number for which the expected size, its
    equation 12, is k in each row, so that the loss is that of the other estimators. c depends on s, and its gradient is
    that of the implicit function.
    """
    shift = BETA * math.log(-GAMMA / ZETA)
    log_alpha_BP = scores_BP + size_offset(scores_BP - shift, counts_B)
    uniform_BP = torch.rand_like(scores_BP).clamp(1e-6, 1 - 1e-6)
    soft_BP = torch.sigmoid((uniform_BP.log() - (1 - uniform_BP).log() + log_alpha_BP) / BETA)
    return (soft_BP * (ZETA - GAMMA) + GAMMA).clamp(0, 1)


def size_offset(logits_BP: Tensor, counts_B: Tensor) -> Tensor:
    """c (B, 1) with Σ_i σ(x_i + c) = k; differentiable: dc/dx_i = −σ'_i / Σ_j σ'_j."""
    with torch.no_grad():
        wanted_B1 = counts_B[..., None].clamp(max=logits_BP.shape[-1] - 1e-3).float()
        low_B1 = -logits_BP.amax(-1, keepdim=True) - 20
        high_B1 = -logits_BP.amin(-1, keepdim=True) + 20
        for _ in range(40):
            middle_B1 = (low_B1 + high_B1) / 2
            above_B1 = torch.sigmoid(logits_BP + middle_B1).sum(-1, keepdim=True) > wanted_B1
            low_B1, high_B1 = torch.where(above_B1, low_B1, middle_B1), torch.where(above_B1, middle_B1, high_B1)
        offset_B1 = (low_B1 + high_B1) / 2
        open_BP = torch.sigmoid(logits_BP + offset_B1)
        slope_BP = open_BP * (1 - open_BP)
        weight_BP = slope_BP / slope_BP.sum(-1, keepdim=True).clamp(min=1e-9)
    moved_B1 = (weight_BP * logits_BP).sum(-1, keepdim=True)
    return offset_B1 - (moved_B1 - moved_B1.detach())
