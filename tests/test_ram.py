"""What recurrent agents share: their losses against values worked by hand, and what training sees."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from conftest import hurried
from glimpsebench.agents.recurrent import RecurrentAgent, losses
from glimpsebench.envs import tasks
from glimpsebench.envs.glimpse import GlimpseVectorEnv
from glimpsebench.envs.tasks import Task


@pytest.mark.parametrize(("name", "settings"), [("ram", {}), ("ram", {"scales": 2}), ("ram_pathwise", {})])
def test_training_sees_what_the_env_shows(name: str, settings: dict[str, Any], beacon: Task) -> None:
    agent = hurried(name, size=5, glimpses=3, first="random", **settings)
    assert isinstance(agent, RecurrentAgent)
    torch.manual_seed(0)
    agent.prepare(beacon)
    images = tasks.test_split(beacon).images_NCHW[:6].copy()
    with torch.no_grad():
        steps = list(agent.episode(images, np.random.default_rng(0), 0.0))
    fixation = agent.start(6, np.random.default_rng(0))
    env = GlimpseVectorEnv(tasks.test_split(beacon).unlabelled, 6, sensor=agent.sensor(), glimpses=3)
    observation, _ = env.reset(options={"index": np.arange(6)})
    for hidden_BH, _, _, drawn_B2 in steps:
        observation, *_ = env.step(agent.action_of(fixation))
        torch.testing.assert_close(agent._hidden(observation), hidden_BH, atol=1e-5, rtol=1e-4)
        fixation = drawn_B2.clamp(-1, 1).numpy()
    canvas_BCHW, mask_B1HW = agent.canvases(images, [aim for _, aim, _, _ in steps], np.full(6, 2))
    shown = env.observe("canvas")
    assert np.array_equal(canvas_BCHW.numpy(), shown["canvas"])
    assert np.array_equal(mask_B1HW.numpy(), shown["mask"] > 0)


def test_the_gradient_of_a_fixation_is_that_of_the_mean_reward() -> None:
    # Two classes, label 0; right at steps 2 and 3, wrong at step 1: returns are 1 and 1. Of the mean of three
    # rewards, the first draw decides two thirds and the second one third.
    logits = torch.tensor([[[-9.0, 9.0], [9.0, -9.0], [9.0, -9.0]]])
    baselines = torch.tensor([[0.5, 0.25, 7.0]], requires_grad=True)
    log_probs = torch.tensor([[-1.0, -2.0, -3.0]], requires_grad=True)
    loss = losses(logits, baselines, log_probs, torch.tensor([0]), weight=1.0)
    loss.backward()  # type: ignore[no-untyped-call]
    # −weight × advantage per draw that something depends on: advantages are 0.5 and 0.75.
    assert log_probs.grad is not None
    assert baselines.grad is not None
    torch.testing.assert_close(log_probs.grad, torch.tensor([[-1 / 3, -0.25, 0.0]]))
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
    torch.testing.assert_close(log_probs.grad, torch.tensor([[0.5, 0.25, 0.0]]))
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
