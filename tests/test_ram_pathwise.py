"""ram_pathwise: its windows, its gradients, and that both estimators estimate the same thing."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from conftest import hurried
from glimpsebench.agents.common.recurrent import RAMNet, Step, log_likelihoods
from glimpsebench.agents.ram_pathwise import RAMPathwise
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
    agent.recurrent_loss(images, torch.from_numpy(labels), np.random.default_rng(0)).backward()  # type: ignore[no-untyped-call]
    return torch.cat(
        [(p.grad if p.grad is not None else torch.zeros_like(p)).flatten() for p in net.location.parameters()]
    )


def test_one_window_touches_as_many_pixels_as_it_has_neighbours(beacon: Task) -> None:
    agent = prepared(beacon, size=5, glimpses=1)
    touched = rollout(agent, tasks.test_split(beacon), seed=0).touched_FN[-1]
    assert (touched <= 36).all()
    corners = np.array([[-1, -1], [1, 1], [-1, 1]], np.float32)
    prints = agent.sensor().footprint(
        agent.sensor().aim(agent.to_action(corners), agent.shape, np.zeros(3)), agent.shape
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


@pytest.mark.parametrize("core", [False, True])
def test_both_estimators_have_the_same_mean(core: bool, beacon: Task) -> None:
    # One image in many copies, one draw each, on which the second glimpse's cross-entropy depends. The gradient is that
    # to the mean of the draw or, where it flows on into the core, to the state that the mean is made from.
    copies, labels_B = 5_000, torch.zeros(5_000, dtype=torch.int64)
    images = np.repeat(beacon.train(0).images_NCHW[:1], copies, axis=0)

    def each(estimator: str) -> torch.Tensor:
        """The gradient of each copy's loss (B, 2); that to the state along the two directions that move the mean."""
        settings: dict[str, object] = {"size": 5, "glimpses": 2, "std": 0.3, "reinforce": 1.0, "reward": "likelihood"}
        agent, steps = prepared(beacon, estimator=estimator, pathwise_core=core, **settings), list[Step]()
        assert isinstance(agent.net, RAMNet)
        if core:
            agent.location_input = lambda hidden_BU: hidden_BU  # type: ignore[method-assign]
        with torch.no_grad():
            agent.net.classifier.weight *= 10  # an untrained one has too little to say
            list(agent.net.location.parameters())[2].mul_(10)
            _, second = agent.episode(images, np.random.default_rng(0), agent.std)
            reward_B1 = log_likelihoods(agent.net.classifier(second.hidden_BU)[:, None], labels_B)
            agent.net.baseline.weight.zero_()
            agent.net.baseline.bias.copy_(reward_B1.mean(0))  # without it REINFORCE varies too much
        episode = agent.episode

        def kept(*inputs: Any) -> Any:
            for step in episode(*inputs):
                step.mean_B2.retain_grad()
                step.hidden_BU.retain_grad()
                steps.append(step)
                yield step

        agent.episode = kept  # type: ignore[assignment,method-assign]
        agent.recurrent_loss(images, labels_B, np.random.default_rng(0)).backward()  # type: ignore[no-untyped-call]
        first = steps[0]
        gradient = first.hidden_BU.grad if core else first.mean_B2.grad
        assert gradient is not None
        if core:
            state_H = first.hidden_BU[0].detach().requires_grad_()
            mean_2 = agent.net.location_mean(state_H)
            jacobian_2H = torch.stack([torch.autograd.grad(one, state_H, retain_graph=True)[0] for one in mean_2])
            gradient = gradient @ (jacobian_2H / jacobian_2H.norm(dim=1, keepdim=True)).T
        return copies * gradient

    pathwise_B2, reinforce_B2 = each("pathwise"), each("reinforce")
    error_2 = ((pathwise_B2.var(0) + reinforce_B2.var(0)) / copies).sqrt()
    difference_2 = (pathwise_B2.mean(0) - reinforce_B2.mean(0)).abs()
    assert (difference_2 < 4 * error_2).all()
    assert (pathwise_B2.mean(0).abs() > 4 * error_2).any(), "there is something to estimate"


@pytest.mark.parametrize("estimator", ["pathwise", "reinforce", "mixed"])
@pytest.mark.parametrize("pathwise_core", [False, True])
def test_every_estimator_trains(beacon: Task, estimator: str, pathwise_core: bool) -> None:
    agent = prepared(beacon, size=5, estimator=estimator, pathwise_core=pathwise_core, reward="likelihood")
    agent.fit(beacon, 0, iter)
    assert agent.net is not None
    assert all(bool(torch.isfinite(value).all()) for value in agent.net.state_dict().values())


@pytest.mark.parametrize("estimator", ["pathwise", "reinforce", "mixed"])
def test_every_estimator_trains_the_location_network(estimator: str, beacon: Task) -> None:
    agent = hurried("ram_pathwise", glimpses=3, policy_steps=3, estimator=estimator)
    agent.prepare(beacon)
    assert isinstance(agent.net, RAMNet)
    before = [value.clone() for value in agent.net.location.parameters()]
    agent.fit(beacon, 0, iter)
    moved = [not torch.equal(one, now) for one, now in zip(before, agent.net.location.parameters(), strict=True)]
    assert all(moved)
