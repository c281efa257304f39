"""The duel's arenas: estimators against exact values, and what is equal for all estimators of an arena.

The objective of the small case is a table over all subsets, so that expectations and their gradients can be enumerated.
Where an estimate is random its tolerance is five standard errors of the same draws.
"""

from __future__ import annotations

import itertools
import runpy
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args, get_type_hints

import numpy as np
import pytest
import torch
from scipy.stats import norm
from torch import Tensor

from conftest import hurried
from glimpsebench import agents
from glimpsebench.agents.cell_sequence import CellSequence
from glimpsebench.agents.common import estimators
from glimpsebench.agents.common.duel import DuelAgent
from glimpsebench.agents.crop import WindowSelector
from glimpsebench.agents.window_sequence import WindowSequence
from glimpsebench.envs.tasks import Task

ROOT = Path(__file__).parents[1]
SCORES = torch.tensor([0.4, -0.8, 1.3, 0.1])
COUNT = 2
ARENAS = [name for name in agents.names() if issubclass(agents.find(name), DuelAgent)]


@pytest.mark.parametrize("seed", range(20))
def test_windows_of_every_seed_begin_in_the_middle_of_their_sizes(seed: int) -> None:
    torch.manual_seed(seed)
    images_BCHW = torch.rand(8, 1, 32, 32)
    begun_B = WindowSelector(1, 16)(images_BCHW)[:, 2]
    assert begun_B.abs().max() < 1e-6, "at an end of tanh there is no slope to leave it by"


def value(mask: Tensor) -> Tensor:
    """Some function of four cells, not additive, defined between 0 and 1 as well: (…, 4) → (…)."""
    a, b, c, d = mask.unbind(-1)
    return 2 * a - 1.5 * b * c + torch.sin(3 * a * c) + (b - 0.3) ** 3 + d * (a + 0.5 * b) - 0.7 * d


def log_prob_by_hand(scores_P: Tensor, order: tuple[int, ...]) -> Tensor:
    """log Π exp s_i / Σ of the cells that are still there, factor by factor."""
    total, left = torch.zeros(()), list(range(len(scores_P)))
    for cell in order:
        total = total + scores_P[cell] - scores_P[left].logsumexp(0)
        left.remove(cell)
    return total


def exact_gradient(scores_P: Tensor, count: int = COUNT) -> Tensor:
    """Of E value(subset of `count`) under Plackett–Luce, by enumeration of all ordered subsets."""
    scores_P = scores_P.clone().requires_grad_()
    expected = torch.zeros(())
    for order in itertools.permutations(range(len(scores_P)), count):
        mask = torch.zeros(len(scores_P)).index_fill(0, torch.tensor(order), 1.0)
        expected = expected + log_prob_by_hand(scores_P, order).exp() * value(mask)
    return torch.autograd.grad(expected, scores_P)[0]


def agrees(estimates_NP: Tensor, exact_P: Tensor) -> None:
    """The mean of independent estimates lies within five standard errors of the exact value."""
    error_P = estimates_NP.std(0) / len(estimates_NP) ** 0.5
    assert (error_P < 0.1 * exact_P.abs().max()).all(), "too few draws to tell"
    assert ((estimates_NP.mean(0) - exact_P).abs() < 5 * error_P).all()


def score_function_estimates(repeats: int, samples: int) -> Tensor:
    """Independent estimates (repeats, 4) of the gradient of the expected value, with leave-one-out baselines."""
    scores_BP = SCORES.repeat(repeats, 1).requires_grad_()
    counts_mB = torch.full((samples, repeats), COUNT)
    expanded_mBP = scores_BP.expand(samples, -1, -1)
    with torch.no_grad():
        order_mBP = estimators.best_first(expanded_mBP + estimators.gumbel_like(expanded_mBP))
    log_prob_mB = estimators.plackett_luce_log_prob(expanded_mBP, order_mBP, counts_mB)
    advantage_mB = estimators.leave_one_out(value(estimators.first_of(order_mBP, counts_mB)))
    loss = estimators.reinforce_loss(log_prob_mB, advantage_mB)
    return -repeats * torch.autograd.grad(loss, scores_BP)[0]


def test_plackett_luce_probabilities_are_the_products_and_sum_to_one() -> None:
    for count in (1, 2, 3, 4):
        total = 0.0
        for order in itertools.permutations(range(4)):
            scores_P = SCORES.clone().requires_grad_()
            ours = estimators.plackett_luce_log_prob(scores_P[None], torch.tensor([order]), torch.tensor([count]))[0]
            theirs = log_prob_by_hand(scores_P, order[:count])
            assert ours.item() == pytest.approx(theirs.item(), abs=1e-5)
            mine, exact = (torch.autograd.grad(each, scores_P, retain_graph=True)[0] for each in (ours, theirs))
            assert torch.allclose(mine, exact, atol=1e-5)
            total += ours.exp().item()
        orders_with_equal_beginning = len(list(itertools.permutations(range(4 - count))))
        assert total == pytest.approx(orders_with_equal_beginning, rel=1e-4)


def test_gumbel_keys_draw_from_plackett_luce() -> None:
    torch.manual_seed(0)
    drawn_NP = estimators.best_first(SCORES + estimators.gumbel_like(SCORES.expand(40_000, -1)))
    for order in itertools.permutations(range(4), COUNT):
        share = (drawn_NP[:, :COUNT] == torch.tensor(order)).all(1).float().mean().item()
        exact = log_prob_by_hand(SCORES, order).exp().item()
        assert abs(share - exact) < 5 * (exact * (1 - exact) / len(drawn_NP)) ** 0.5


@pytest.mark.parametrize("samples", [2, 4])
def test_reinforce_with_leave_one_out_is_unbiased(samples: int) -> None:
    torch.manual_seed(0)
    agrees(score_function_estimates(20_000, samples), exact_gradient(SCORES))


def test_one_sample_takes_its_baseline_from_other_images() -> None:
    advantage_mB = estimators.leave_one_out(torch.tensor([[1.0, 2.0, 6.0]]))
    assert torch.allclose(advantage_mB, torch.tensor([[1.0 - 4.0, 2.0 - 3.5, 6.0 - 1.5]]))


def test_ppos_first_update_is_reinforces_and_a_ratio_outside_the_clip_has_no_gradient() -> None:
    log_prob = torch.tensor([[-1.0, -2.0]], requires_grad=True)
    advantage = torch.tensor([[0.5, -1.0]])
    clipped = estimators.clipped_loss(log_prob, log_prob.detach(), advantage, 0.2)
    reinforce = estimators.reinforce_loss(log_prob, advantage)
    first, second = (torch.autograd.grad(each, log_prob)[0] for each in (clipped, reinforce))
    assert torch.allclose(first, second)
    outside = estimators.clipped_loss(log_prob, log_prob.detach() - torch.tensor([[0.5, -0.5]]), advantage, 0.2)
    assert (torch.autograd.grad(outside, log_prob)[0] == 0).all()


def test_relaxed_subsets_have_their_size_and_tend_to_the_best_cells() -> None:
    torch.manual_seed(0)
    keys_BP, counts_B = torch.randn(50, 8), torch.arange(50) % 8 + 1
    soft_BP = estimators.relaxed_subset(keys_BP, counts_B, 0.5)
    assert ((soft_BP >= 0) & (soft_BP <= 1)).all()
    assert (soft_BP.sum(1) <= counts_B + 1e-4).all()
    hard_BP = estimators.first_of(estimators.best_first(keys_BP), counts_B)
    assert torch.equal(hard_BP.sum(1).long(), counts_B)
    # Keys that are a temperature apart are not yet told from each other; these are many.
    apart_BP = keys_BP.argsort(1).argsort(1).float()
    assert torch.allclose(
        estimators.relaxed_subset(apart_BP, counts_B, 0.05),
        estimators.first_of(estimators.best_first(apart_BP), counts_B),
        atol=1e-3,
    )


def test_a_straight_through_subset_has_the_value_of_the_hard_and_the_slope_of_the_soft_one() -> None:
    scores_BP = SCORES[None].clone().requires_grad_()
    counts_B = torch.tensor([COUNT])
    soft_BP = estimators.sigmoid_subset(scores_BP, counts_B, 0.5)
    hard_BP = estimators.first_of(estimators.best_first(scores_BP), counts_B)
    both_BP = estimators.straight_through(hard_BP, soft_BP)
    assert torch.equal(both_BP.detach(), hard_BP)
    assert hard_BP.tolist() == [[1, 0, 1, 0]]
    assert torch.equal(soft_BP.detach().round(), hard_BP)
    weights = torch.tensor([1.0, 2.0, 3.0, 4.0])
    slopes = [
        torch.autograd.grad((each * weights).sum(), scores_BP, retain_graph=True)[0] for each in (both_BP, soft_BP)
    ]
    assert torch.equal(*slopes)


def test_the_perturbed_gradient_is_that_of_the_expected_mask() -> None:
    torch.manual_seed(0)
    sigma, repeats, weights = 0.7, 20_000, torch.tensor([0.3, -1.0, 2.0, 0.5])
    scores_BP = SCORES.repeat(repeats, 1).requires_grad_()
    mask_BP = estimators.PerturbedSubset.apply(  # type: ignore[no-untyped-call]
        scores_BP, torch.randn(8, repeats, 4), torch.ones(repeats, dtype=torch.long), sigma
    )
    estimates_BP = torch.autograd.grad((mask_BP * weights).sum(), scores_BP)[0]

    def best_probability(scores_P: np.ndarray) -> np.ndarray:
        """P(cell i is the best of s + σZ), by quadrature."""
        z = np.linspace(-12, 12, 8001)
        density = norm.pdf(z[:, None], scores_P, sigma)
        below = norm.cdf(z[:, None], scores_P, sigma)
        rest = np.stack([np.delete(below, i, 1).prod(1) for i in range(4)], 1)
        return (density * rest).sum(0) * (z[1] - z[0])

    step, at = 1e-3, SCORES.numpy().astype(float)
    exact = [
        (best_probability(at + step * one) - best_probability(at - step * one)) @ weights.numpy() / (2 * step)
        for one in np.eye(4)
    ]
    agrees(estimates_BP, torch.tensor(np.array(exact), dtype=torch.float32))


def test_hard_concrete_gates_are_open_as_many_as_wanted_on_average() -> None:
    torch.manual_seed(0)
    scores_BP, counts_B = SCORES.expand(40_000, -1), torch.full((40_000,), COUNT)
    open_BP = (estimators.hard_concrete_subset(scores_BP, counts_B) > 0).float()
    sizes_B = open_BP.sum(1)
    assert abs(sizes_B.mean().item() - COUNT) < 5 * sizes_B.std().item() / len(sizes_B) ** 0.5


def test_the_offset_to_a_size_has_the_slope_of_the_implicit_function() -> None:
    logits_BP, counts_B = torch.randn(3, 5, dtype=torch.float64).requires_grad_(), torch.tensor([1, 2, 4])
    offset_B1 = estimators.size_offset(logits_BP, counts_B)
    assert torch.allclose(torch.sigmoid(logits_BP + offset_B1).sum(1), counts_B.double(), atol=1e-6)
    slope_BP = torch.autograd.grad(offset_B1.sum(), logits_BP)[0]
    for cell in range(5):
        moved_BP = logits_BP.detach().clone()
        moved_BP[:, cell] += 1e-4
        numeric_B = (estimators.size_offset(moved_BP, counts_B) - offset_B1.detach())[:, 0] / 1e-4
        assert torch.allclose(slope_BP[:, cell], numeric_B, atol=1e-3)


def estimators_of(name: str) -> list[str]:
    """The choices of an arena's setting `estimator`."""
    return list(get_args(get_type_hints(agents.find(name))["estimator"]))


def in_its_first_stage(name: str, estimator: str, task: Task, **settings: Any) -> tuple[int, int]:
    """The passes that a selector's stage reports, and those that the predictor has counted itself."""
    agent = hurried(name, estimator=estimator, **settings)
    assert isinstance(agent, DuelAgent)
    torch.manual_seed(0)
    agent.prepare(task)
    counted = []
    agent.nets.predictor.register_forward_hook(lambda _, inputs, __: counted.append(len(inputs[0])))
    spent, _ = agent.fit_selector(task, np.random.default_rng(0), iter)
    return spent, sum(counted)


@pytest.mark.parametrize("name", ARENAS)
def test_all_estimators_of_an_arena_have_as_many_parameters(name: str, beacon: Task) -> None:
    def parameters(estimator: str) -> tuple[int, int]:
        agent = hurried(name, estimator=estimator)
        agent.prepare(beacon)
        return agent.parameters, agent.trainable

    assert len({parameters(each) for each in estimators_of(name)}) == 1


@pytest.mark.parametrize("name", ARENAS)
def test_all_estimators_of_an_arena_spend_the_passes_that_their_predictor_counts(name: str, beacon: Task) -> None:
    passes, spent_by = 512, {}
    for each in estimators_of(name):
        if each != "random":
            spent, counted = in_its_first_stage(name, each, beacon, passes=passes)
            assert spent == counted, each
            spent_by[each] = spent
    assert min(spent_by.values()) > 0.98 * passes, spent_by
    assert max(spent_by.values()) <= passes, spent_by


@pytest.mark.parametrize("name", ARENAS)
def test_no_estimator_changes_a_reader_that_is_frozen_and_each_moves_its_selector(name: str, beacon: Task) -> None:
    for each in estimators_of(name):
        if each == "random":
            continue
        agent = hurried(name, estimator=each, passes=512, predictor_learns=False)
        assert isinstance(agent, DuelAgent)
        agent.prepare(beacon)
        before = {part: value.clone() for part, value in agent.nets.state_dict().items()}
        agent.fit_selector(beacon, np.random.default_rng(0), iter)
        after = agent.nets.state_dict()
        changed = {part for part, value in before.items() if not torch.equal(value, after[part])}
        assert not {part for part in changed if part.startswith("predictor")}, each
        assert {part for part in changed if part.startswith("selector")}, each


def cell_gradients(estimator: str, repeats: int, task: Task, monkeypatch: pytest.MonkeyPatch) -> tuple[Tensor, Tensor]:
    """Estimates (repeats, P) of the gradient of the loss to the policy's scores, and which cells are revealed (P,).

    Every image is in one state, and a predictor of two classes has the logits (some function of the mask, 0).
    """
    agent = hurried("cell_sequence", estimator=estimator)
    assert isinstance(agent, CellSequence)
    agent.prepare(task)
    cells = agent.grid[0] * agent.grid[1]
    worth_P = torch.linspace(-2, 2, cells)[torch.randperm(cells, generator=torch.Generator().manual_seed(3))]
    scores_BP = torch.linspace(-1, 1, cells).repeat(repeats, 1).requires_grad_()

    def policy(image_BCHW: Tensor, mask_B1HW: Tensor) -> tuple[Tensor, Tensor]:
        outputs_BP = scores_BP.repeat(len(image_BCHW) // repeats, 1)
        return outputs_BP, torch.full((len(outputs_BP),), -0.7)

    def read(image_BCHW: Tensor, mask_B1HW: Tensor) -> Tensor:
        shown_BP = mask_B1HW[:, 0, :: agent.cell, :: agent.cell].flatten(1)
        logit_B = (shown_BP * worth_P).sum(1) * (1 - 0.3 * shown_BP[:, 0])
        return torch.stack([logit_B, torch.zeros_like(logit_B)], 1)

    monkeypatch.setattr(agent, "policy", policy)
    monkeypatch.setattr(agent, "read", read)
    revealed_P = torch.zeros(cells)
    revealed_P[[0, 5]] = 1
    image_BCHW, mask_B1HW = torch.zeros(repeats, *agent.shape), agent.pixels(revealed_P.expand(repeats, -1))
    labels_B = torch.zeros(repeats, dtype=torch.long)
    if estimator in agent.SCORE_FUNCTIONS:
        (loss,) = agent.score_function_losses(image_BCHW, labels_B, mask_B1HW, torch.ones(repeats, dtype=torch.long))
    else:
        loss = agent.gradient_loss(image_BCHW, labels_B, mask_B1HW, 1.0)
    return repeats * torch.autograd.grad(loss, scores_BP)[0], revealed_P


@pytest.mark.parametrize("estimator", ["reinforce", "reinforce_learned"])
def test_the_next_cells_score_functions_are_unbiased_for_the_expected_gain(
    estimator: str, beacon: Task, monkeypatch: pytest.MonkeyPatch
) -> None:
    torch.manual_seed(0)
    exact_BP, revealed_P = cell_gradients("expected_gain", 1, beacon, monkeypatch)
    estimates_BP, _ = cell_gradients(estimator, 20_000, beacon, monkeypatch)
    agrees(estimates_BP[:, revealed_P == 0], exact_BP[0, revealed_P == 0])
    assert (estimates_BP[:, revealed_P > 0] == 0).all(), "a revealed cell cannot be chosen"
    assert exact_BP.abs().max() > 0.01


@pytest.mark.parametrize("estimator", ["straight_through", "relaxed"])
def test_gradients_of_the_next_cell_point_uphill_and_leave_revealed_cells_alone(
    estimator: str, beacon: Task, monkeypatch: pytest.MonkeyPatch
) -> None:
    torch.manual_seed(0)
    exact_BP, revealed_P = cell_gradients("expected_gain", 1, beacon, monkeypatch)
    estimates_BP, _ = cell_gradients(estimator, 5_000, beacon, monkeypatch)
    assert torch.cosine_similarity(estimates_BP.mean(0), exact_BP[0], dim=0) > 0.8, "biased, but not that much"
    assert (estimates_BP[:, revealed_P > 0].abs() < 1e-6).all()


def window_agent(task: Task, **settings: Any) -> WindowSequence:
    agent = hurried("window_sequence", **settings)
    assert isinstance(agent, WindowSequence)
    agent.prepare(task)
    return agent


def test_a_windows_outline_is_its_footprint_at_the_middle_of_a_place_and_a_mixture_between(beacon: Task) -> None:
    agent = window_agent(beacon, size=5)
    places = 16 - 5 + 1
    middles_B2 = torch.tensor(
        [[(2 * x + 1) / places - 1, (2 * y + 1) / places - 1] for x, y in [(0, 3), (7, 11), (4, 4)]]
    )
    assert torch.allclose(agent.outline(middles_B2), agent.footprint(middles_B2), atol=1e-5)
    between_B2 = middles_B2 + torch.tensor([0.3, -0.2]) * 2 / places
    assert torch.allclose(agent.outline(between_B2[1:]).sum((1, 2, 3)), torch.tensor(25.0), atol=1e-3)
    assert torch.equal(agent.footprint(between_B2), agent.footprint(middles_B2))


def test_the_pathwise_gradient_is_that_of_the_outline(beacon: Task) -> None:
    torch.manual_seed(0)
    agent = window_agent(beacon, size=5)
    fixation_B2 = torch.tensor([[0.13, -0.37]], requires_grad=True)
    weight = torch.randn(1, 1, 16, 16)
    shown = agent.shown_with_gradient(torch.zeros(1, 1, 16, 16), fixation_B2)
    assert torch.equal(shown.detach(), agent.footprint(fixation_B2))
    slope_B2 = torch.autograd.grad((shown * weight).sum(), fixation_B2)[0]
    for axis in range(2):
        step = torch.zeros(1, 2).index_fill(1, torch.tensor([axis]), 1e-3)
        ahead, behind = ((agent.outline(fixation_B2.detach() + s * step) * weight).sum() for s in (1, -1))
        assert slope_B2[0, axis].item() == pytest.approx((ahead - behind).item() / 2e-3, rel=1e-2, abs=1e-3)


def test_an_episodes_credit_counts_every_choice_so_far(beacon: Task, monkeypatch: pytest.MonkeyPatch) -> None:
    agent = window_agent(beacon, estimator="reinforce", credit="episode", glimpses=3)
    image_BCHW, labels_B = torch.rand(6, *agent.shape), torch.arange(6) % 2
    begun: list[tuple[float, Tensor]] = []

    def watched(image: Tensor, labels: Tensor, mask: Tensor, choices: Tensor) -> Iterator[Tensor]:
        begun.append((float(mask.sum()), choices))
        yield torch.zeros(())

    monkeypatch.setattr(agent, "score_function_losses", watched)
    for _ in range(20):
        next(iter(agent.losses(image_BCHW, labels_B, 0.0)))
    assert all(shown == 0 for shown, _ in begun), "from the empty canvas on"
    assert {int(count) for _, choices in begun for count in choices} == {1, 2, 3}
    agent.credit = "next"
    begun.clear()
    for _ in range(20):
        next(iter(agent.losses(image_BCHW, labels_B, 0.0)))
    assert {int(count) for _, choices in begun for count in choices} == {1}
    assert any(shown > 0 for shown, _ in begun)


BIAS: dict[str, Any] = runpy.run_path(str(ROOT / "benchmarks" / "gradient_bias.py"))


def test_estimators_that_promise_it_are_unbiased_at_every_moment_and_relaxed_ones_are_told() -> None:
    for scores_P in BIAS["moments"]().values():
        for name, (promised, _) in BIAS["ESTIMATORS"].items():
            found = BIAS["measured"](name, scores_P, 4_000)
            assert found["unbiased"] or not promised, name
            assert not found["unbiased"] or promised or name.startswith("relaxed"), name
    page = (ROOT / "docs" / "gradient-bias.md").read_text()
    assert BIAS["BEGIN"] in page
    assert all(page.count(f"| {name} |") == len(BIAS["MOMENTS"]) for name in BIAS["ESTIMATORS"])
