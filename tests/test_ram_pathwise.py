"""ram_pathwise: its windows, its gradients, and that both estimators estimate the same thing."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from conftest import hurried
from glimpsebench.agents.ram_pathwise import RAMPathwise
from glimpsebench.agents.recurrent import RAMNet, log_likelihoods
from glimpsebench.bench.rollout import rollout
from glimpsebench.envs import tasks
from glimpsebench.envs.tasks import Task


def prepared(task: Task, **settings: object) -> RAMPathwise:
    agent = hurried("ram_pathwise", **settings)
    assert isinstance(agent, RAMPathwise)
    torch.manual_seed(0)
    agent.prepare(task)
    return agent


def policy_gradient(agent: RAMPathwise, images: np.ndarray, labels: np.ndarray) -> torch.Tensor:
    """The gradient of the training loss that reaches the policy, as one vector."""
    net = agent.net
    assert isinstance(net, RAMNet)
    torch.manual_seed(1)
    net.zero_grad()
    agent.policy_loss(images, torch.from_numpy(labels), np.random.default_rng(0)).backward()  # type: ignore[no-untyped-call]
    return torch.cat(
        [(p.grad if p.grad is not None else torch.zeros_like(p)).flatten() for p in net.policy.parameters()]
    )


def test_one_window_touches_as_many_pixels_as_it_has_neighbours(beacon: Task) -> None:
    agent = prepared(beacon, size=5, glimpses=1)
    touched = rollout(agent, tasks.test_split(beacon), seed=0).touched_FN[-1]
    assert (touched <= 36).all()
    corners = np.array([[-1, -1], [1, 1], [-1, 1]], np.float32)
    prints = agent.sensor().footprint(
        agent.sensor().aim(agent.action_of(corners), agent.shape, np.zeros(3)), agent.shape
    )
    assert (prints.sum((1, 2)) >= 25).all(), "a window at the frame's edge lies inside the image"


def test_the_estimator_decides_what_reaches_the_policy(beacon: Task) -> None:
    split = beacon.train(0)
    images, labels = split.images_NCHW[:16], np.asarray(split.labels_N[:16])  # type: ignore[index]

    def gradient(**settings: object) -> torch.Tensor:
        return policy_gradient(prepared(beacon, size=5, glimpses=3, **settings), images, labels)

    pathwise, reinforce = gradient(), gradient(estimator="reinforce")
    assert pathwise.norm() > 0
    assert reinforce.norm() > 0
    assert gradient(estimator="reinforce", reinforce=0.0).norm() == 0
    torch.testing.assert_close(gradient(reinforce=9.0), pathwise)
    torch.testing.assert_close(gradient(estimator="mixed", mix=1.0), pathwise)
    torch.testing.assert_close(gradient(estimator="mixed", mix=0.0), reinforce)


def test_both_estimators_have_the_same_mean(beacon: Task) -> None:
    # One image, one draw each in many copies; the loss is the cross-entropy after the second glimpse.
    agent = prepared(beacon, size=5, glimpses=2, std=0.3)
    net, copies = agent.net, 10_000
    assert isinstance(net, RAMNet)
    images = np.repeat(beacon.train(0).images_NCHW[:1], copies, axis=0)
    labels_B = torch.zeros(copies, dtype=torch.int64)
    (_, _, mean_B2, drawn_B2), (hidden_BH, *_) = agent.episode(images, np.random.default_rng(0), agent.std)
    mean_B2.retain_grad()
    reward_B = log_likelihoods(10 * net.classifier(hidden_BH)[:, None], labels_B)[:, 0]
    reward_B.sum().backward()  # type: ignore[no-untyped-call]
    assert mean_B2.grad is not None
    pathwise_B2 = mean_B2.grad
    with torch.no_grad():
        score_B2 = (drawn_B2 - mean_B2) / agent.std**2
        reinforce_B2 = (reward_B - reward_B.mean())[:, None] * score_B2
    error_2 = ((pathwise_B2.var(0) + reinforce_B2.var(0)) / copies).sqrt()
    difference_2 = (pathwise_B2.mean(0) - reinforce_B2.mean(0)).abs()
    assert (difference_2 < 4 * error_2).all()
    assert (pathwise_B2.mean(0).abs() > 4 * error_2).any(), "there is something to estimate"


@pytest.mark.parametrize("estimator", ["pathwise", "reinforce", "mixed"])
@pytest.mark.parametrize("shape_core", [False, True])
def test_every_estimator_trains(beacon: Task, estimator: str, shape_core: bool) -> None:
    agent = prepared(beacon, size=5, estimator=estimator, shape_core=shape_core, reward="likelihood")
    agent.fit(beacon, 0, iter)
    assert agent.net is not None
    assert all(bool(torch.isfinite(value).all()) for value in agent.net.state_dict().values())
