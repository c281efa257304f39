"""RAM's losses against values worked by hand."""

from __future__ import annotations

import torch

from glimpsebench.agents.recurrent import losses


def test_the_return_of_a_fixation_is_the_mean_reward_of_the_steps_after_it() -> None:
    # Two classes, label 0; right at steps 2 and 3, wrong at step 1: returns are 1 and 1, then 1.
    logits = torch.tensor([[[-9.0, 9.0], [9.0, -9.0], [9.0, -9.0]]])
    baselines = torch.tensor([[0.5, 0.25, 7.0]], requires_grad=True)
    log_probs = torch.tensor([[-1.0, -2.0, -3.0]], requires_grad=True)
    loss = losses(logits, baselines, log_probs, torch.tensor([0]), weight=1.0)
    loss.backward()  # type: ignore[no-untyped-call]
    # −advantage/2 per draw that something depends on: advantages are 0.5 and 0.75.
    assert log_probs.grad is not None
    assert baselines.grad is not None
    torch.testing.assert_close(log_probs.grad, torch.tensor([[-0.25, -0.375, 0.0]]))
    # d/db of the mean of (R − b)²: −2(R − b)/2; the advantage in the policy's term is detached.
    torch.testing.assert_close(baselines.grad, torch.tensor([[-0.5, -0.75, 0.0]]))


def test_told_the_last_alone_every_fixation_returns_the_last_reward() -> None:
    # As above, but the last prediction is wrong: all returns are 0, and only its logits have a gradient.
    logits = torch.tensor([[[9.0, -9.0], [9.0, -9.0], [0.0, 2.0]]], requires_grad=True)
    baselines = torch.tensor([[0.5, 0.25, 7.0]])
    log_probs = torch.tensor([[-1.0, -2.0, -3.0]], requires_grad=True)
    loss = losses(logits, baselines, log_probs, torch.tensor([0]), weight=1.0, told="last")
    loss.backward()  # type: ignore[no-untyped-call]
    assert log_probs.grad is not None
    assert logits.grad is not None
    torch.testing.assert_close(log_probs.grad, torch.tensor([[0.25, 0.125, 0.0]]))
    wrong = torch.tensor([0.0, 2.0]).softmax(0)[1].item()
    torch.testing.assert_close(logits.grad, torch.tensor([[[0.0, 0.0], [0.0, 0.0], [-wrong, wrong]]]))


def test_reinforce_is_unbiased_on_a_small_case() -> None:
    # E over draws u ~ N(m, s²) of (d log p/dm) · r(u), r(u) = u, is 1: compare with the mean of many draws.
    torch.manual_seed(0)
    std, mean = 0.5, torch.tensor(0.3, requires_grad=True)
    draws = (mean + std * torch.randn(200_000)).detach()
    log_probs = -((draws - mean) ** 2) / (2 * std**2)
    (log_probs * (draws - 0.3)).mean().backward()  # type: ignore[no-untyped-call]
    assert mean.grad is not None
    assert abs(mean.grad.item() - 1) < 0.02
