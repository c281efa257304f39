"""The gradient estimators of the mask selectors against answers that are known exactly, or by brute force.

Each test has a fixed seed. Where an estimate is random its tolerance is five standard errors, measured on the same
draws, so that a bias of more than that fails.
"""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
from scipy.stats import norm
from torch import Tensor

from glimpsebench.agents.concrete_topk import concrete_subset
from glimpsebench.agents.gdfs import relaxed_choice
from glimpsebench.agents.hard_concrete import gates, open_probability
from glimpsebench.agents.mask_penalty import mask_loss
from glimpsebench.agents.perturbed_topk import PerturbedTopK
from glimpsebench.agents.realx import rebar_latents, rebar_surrogate
from glimpsebench.agents.straight_through import gumbel_mask, topk_mask
from glimpsebench.envs.sensors import k_best

SCORES = torch.tensor([0.4, -0.8, 1.3])


def agrees(estimates_NP: Tensor, exact_P: Tensor) -> None:
    """The mean of independent estimates lies within five standard errors of the exact value."""
    error_P = estimates_NP.std(0) / len(estimates_NP) ** 0.5
    assert (error_P < 0.05 * exact_P.abs().max()).all(), "too few draws to tell"
    assert ((estimates_NP.mean(0) - exact_P).abs() < 5 * error_P).all()


def objective(mask: Tensor) -> Tensor:
    """Some function of three pixels, not additive, defined between 0 and 1 as well: (…, 3) → (…)."""
    a, b, c = mask.unbind(-1)
    return 2 * a - 1.5 * b * c + torch.sin(3 * a * c) + (b - 0.3) ** 3


def exact_gradient(scores: Tensor) -> Tensor:
    """d/d scores of E objective(s), s ~ Bernoulli(σ(scores)), by enumeration of all masks."""
    scores = scores.clone().requires_grad_()
    probability = torch.sigmoid(scores)
    total = torch.zeros(())
    for bits in itertools.product((0.0, 1.0), repeat=len(scores)):
        mask = torch.tensor(bits)
        total = total + torch.where(mask > 0, probability, 1 - probability).prod() * objective(mask)
    return torch.autograd.grad(total, scores)[0]


def test_rebar_is_unbiased() -> None:
    torch.manual_seed(0)
    scores_NP = SCORES.repeat(200_000, 1).requires_grad_()
    mask, z, given = rebar_latents(scores_NP)
    soft, soft_given = torch.sigmoid(z / 0.1), torch.sigmoid(given / 0.1)
    rebar_N = rebar_surrogate(scores_NP, mask, objective(mask), objective(soft), objective(soft_given))
    (estimates_NP,) = torch.autograd.grad(rebar_N.sum(), scores_NP)
    agrees(estimates_NP, exact_gradient(SCORES))


def test_rebars_control_variate_lowers_the_variance() -> None:
    torch.manual_seed(0)
    scores_NP = SCORES.repeat(20_000, 1).requires_grad_()
    mask, z, given = rebar_latents(scores_NP)
    losses = objective(mask), *(objective(torch.sigmoid(some)) for some in (z, given))
    nothing = torch.zeros(len(mask))
    (rebar,) = torch.autograd.grad(rebar_surrogate(scores_NP, mask, *losses).sum(), scores_NP, retain_graph=True)
    (plain,) = torch.autograd.grad(rebar_surrogate(scores_NP, mask, losses[0], nothing, nothing).sum(), scores_NP)
    assert rebar.var(0).sum() < 0.8 * plain.var(0).sum()  # at τ = 1; below τ = ½ it raises it on this objective


def test_rebars_second_latent_agrees_with_the_mask() -> None:
    torch.manual_seed(0)
    mask, z, given = rebar_latents(SCORES.repeat(20_000, 1))
    assert torch.equal(z > 0, mask.bool())
    assert torch.equal(given > 0, mask.bool())
    # Given the mask it is a fresh draw: both latents have the same distribution.
    torch.testing.assert_close(given.mean(0), z.mean(0), atol=0.08, rtol=0)  # 6 standard errors of the difference


def test_the_size_of_hard_concrete_gates_is_what_the_closed_form_says() -> None:
    torch.manual_seed(0)
    log_alpha = torch.tensor([-3.0, -0.5, 0.0, 2.0])
    open_NP = (gates(log_alpha.repeat(100_000, 1)) > 0).float()
    agrees(open_NP, open_probability(log_alpha))


def test_hard_concrete_gates_reach_both_ends() -> None:
    torch.manual_seed(0)
    values = gates(torch.zeros(10_000))
    assert values.min() == 0
    assert values.max() == 1
    assert ((values > 0) & (values < 1)).any()


def test_the_relaxed_gates_have_the_gradient_of_their_own_mean() -> None:
    # The gate is a path-wise derivative: common noise and finite differences must agree.
    torch.manual_seed(0)
    scores_NP = SCORES.repeat(100_000, 1).double().requires_grad_()

    def mean_of(scores: Tensor) -> Tensor:
        torch.manual_seed(1)
        return objective(gates(scores)).mean()

    (slope,) = torch.autograd.grad(mean_of(scores_NP), scores_NP)
    for pixel in range(3):
        shift = torch.zeros(3, dtype=torch.float64)
        shift[pixel] = 1e-4
        difference = (mean_of(scores_NP + shift) - mean_of(scores_NP - shift)) / 2e-4
        # Of 100,000 draws a few cross a kink between the two: 0.1 % is theirs.
        torch.testing.assert_close(slope.sum(0)[pixel], difference, rtol=1e-3, atol=1e-3)


def test_the_straight_through_mask_is_binary_with_the_right_probability_and_gradient() -> None:
    torch.manual_seed(0)
    scores_NP = SCORES.repeat(50_000, 1).requires_grad_()
    mask_NP = gumbel_mask(scores_NP, 2 / 3)
    assert ((mask_NP - mask_NP.round()).abs() < 1e-6).all(), "binary up to the rounding of 1 + soft − soft"
    agrees(mask_NP.detach().round(), torch.sigmoid(SCORES))
    (slope,) = torch.autograd.grad(mask_NP.sum(), scores_NP)
    # σ'(·)/τ of the soft value, which lies on the same side of one half as the mask.
    assert (slope >= 0).all()
    assert (slope > 0.01).float().mean() > 0.9
    assert (slope <= 0.25 * 1.5 + 1e-6).all()


@pytest.mark.parametrize("count", [1, 7, 49, 50])
def test_the_straight_through_top_k_is_the_envs_k_best(count: int) -> None:
    torch.manual_seed(0)
    scores_BP = torch.randn(64, 50)
    best_BP = torch.from_numpy(k_best(scores_BP.numpy(), np.full(64, count)))
    assert torch.equal(topk_mask(scores_BP, count, 0.3), best_BP.float())
    assert (topk_mask(torch.zeros(64, 50), count, 0.3).sum(1) == count).all(), "equal scores"


def test_the_straight_through_top_k_has_the_gradient_of_a_sigmoid_around_the_cut_off() -> None:
    # k = 2: the cut-off is ½, midway between 1 and 0, so that (x − ½)/τ = 3, −1, 1, −3. σ'(±1) = 0.19661193,
    # σ'(±3) = 0.04517666; divided by τ = ½ and times the weights of the sum.
    scores = torch.tensor([[2.0, 0.0, 1.0, -1.0]], requires_grad=True)
    mask = topk_mask(scores, 2, 0.5)
    assert mask.tolist() == [[1.0, 0.0, 1.0, 0.0]]
    (slope,) = torch.autograd.grad((mask * torch.tensor([1.0, 10.0, -1.0, 2.0])).sum(), scores)
    torch.testing.assert_close(slope, torch.tensor([[0.09035332, 3.9322386, -0.39322387, 0.18070664]]))

    # All of them: the cut-off is the lowest score, and σ'(0) = ¼.
    pair = torch.tensor([[1.0, 0.0]], requires_grad=True)
    (slope,) = torch.autograd.grad(topk_mask(pair, 2, 1.0).sum(), pair)
    torch.testing.assert_close(slope, torch.tensor([[0.19661193, 0.25]]))


def test_a_concrete_subset_selects_as_often_as_draws_without_the_relaxation() -> None:
    # As τ → 0 each of k draws is pixel i with probability p_i: it is in the union with 1 − (1 − p_i)^k.
    torch.manual_seed(0)
    subset_NP = concrete_subset(SCORES.repeat(20_000, 1), 2, 1e-3)
    agrees(subset_NP, 1 - (1 - SCORES.softmax(0)) ** 2)
    assert subset_NP.sum(1).max() <= 2 + 1e-4


def test_the_concrete_relaxations_have_the_gradient_of_their_own_mean() -> None:
    def subset(scores: Tensor) -> Tensor:
        torch.manual_seed(2)
        return concrete_subset(scores, 2, 0.7)

    def choice(scores: Tensor) -> Tensor:
        torch.manual_seed(2)
        return relaxed_choice(scores, torch.tensor([[0.0, 1.0, 0.0]]).expand_as(scores), 0.7)

    scores = SCORES.repeat(4, 1).double().requires_grad_()
    assert torch.autograd.gradcheck(subset, (scores,))
    assert torch.autograd.gradcheck(choice, (scores,))
    assert (choice(scores)[:, 1] == 0).all(), "a revealed cell was chosen again"


@pytest.mark.parametrize("count", [1, 2])
def test_the_jacobian_of_perturbed_top_k(count: int) -> None:
    # Against finite differences of the Monte-Carlo mean with common noise.
    torch.manual_seed(0)
    draws_in_all, groups, sigma, step = 400_000, 100, 0.5, 0.05
    scores = torch.tensor([[0.2, 0.0, -0.3, 0.4]], dtype=torch.float64)
    weights = torch.tensor([[1.0, -2.0, 0.5, 3.0]], dtype=torch.float64)
    noise = torch.randn(draws_in_all, 1, 4, dtype=torch.float64)

    def mean_of(scores: Tensor) -> Tensor:
        return (PerturbedTopK.apply(scores, noise, count, sigma) * weights).sum()  # type: ignore[no-untyped-call]

    shifts = step * torch.eye(4, dtype=torch.float64)
    exact = torch.stack([(mean_of(scores + s) - mean_of(scores - s)) / (2 * step) for s in shifts])

    # In groups of few draws, as in training: each group's gradient is one unbiased estimate.
    rows = scores.repeat(groups, 1).requires_grad_()
    grouped = noise.reshape(-1, groups, 4)
    values = PerturbedTopK.apply(rows, grouped, count, sigma)  # type: ignore[no-untyped-call]
    (estimates,) = torch.autograd.grad((values * weights).sum(), rows)
    error = estimates.std(0) / groups**0.5
    # Five standard errors, and 1 % for the curvature within a finite step and the noise of the differences.
    assert ((estimates.mean(0) - exact).abs() < 5 * error + 0.01 * exact.abs().max()).all()
    assert (error < 0.05 * exact.abs().max()).all(), "too few draws to tell"


def test_perturbed_top_k_is_the_exact_probability_of_two_pixels() -> None:
    # Of two pixels the first is best with probability Φ((a − b)/(σ√2)), whose derivative is a normal density.
    torch.manual_seed(0)
    scores, sigma = torch.tensor([[0.3, 0.0]], dtype=torch.float64).repeat(200, 1).requires_grad_(), 0.5
    noise = torch.randn(2000, 200, 2, dtype=torch.float64)
    values = PerturbedTopK.apply(scores, noise, 1, sigma)  # type: ignore[no-untyped-call]
    spread = sigma * 2**0.5
    first = torch.tensor(norm.cdf(0.3 / spread))
    agrees(values.detach(), torch.stack([first, 1 - first]))
    (slope,) = torch.autograd.grad(values[:, 0].sum(), scores)
    density = torch.tensor(norm.pdf(0.3 / spread) / spread)
    agrees(slope, torch.stack([density, -density]))


def test_the_mask_losses_on_values_worked_by_hand() -> None:
    ends, half = torch.tensor([0.0, 1.0]), torch.tensor([0.5])
    one = torch.log(torch.tensor(2.0)).item()
    for form in ("entropy", "tilted"):  # entropy is 0 at the ends and log 2 in the middle
        assert mask_loss(ends, form, 0.0, 1e-6, 0.0).abs() < 1e-5
    assert mask_loss(half, "entropy", 0.0, 1e-6, 0.0) == pytest.approx(one, abs=1e-5)
    assert mask_loss(half, "tilted", 0.3, 1e-6, 0.0) == pytest.approx(0.5 * one, abs=1e-5)
    assert mask_loss(ends, "entropy", 1.0, 1e-6, 0.0) == pytest.approx(0.5)  # α = 1: the mean alone
    assert mask_loss(torch.tensor([0.5, 1.0]), "mse_zero", 0.5, 1e-3, 0.0) == pytest.approx(0.625)
    assert mask_loss(torch.tensor([0.5, 1.0]), "target_budget", 0.5, 1e-3, 0.25) == pytest.approx(0.25)


def test_a_pixel_at_zero_has_no_gradient_through_the_hard_sigmoid() -> None:
    scores = torch.tensor([-4.0, 0.0], requires_grad=True)
    torch.nn.functional.hardsigmoid(scores).sum().backward()  # type: ignore[no-untyped-call]
    assert scores.grad is not None
    assert scores.grad.tolist() == [0.0, pytest.approx(1 / 6)]
