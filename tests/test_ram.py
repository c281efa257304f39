"""What recurrent agents share: their losses against values worked by hand, and what training sees."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from scipy.stats import norm
from torch import nn

from conftest import hurried
from glimpsebench.agents.common.base import Agent
from glimpsebench.agents.common.recurrent import RAMNet, RecurrentAgent, Step, classification_loss, reinforce_loss
from glimpsebench.bench.rollout import rollout
from glimpsebench.envs import tasks
from glimpsebench.envs.glimpse import GlimpseVectorEnv
from glimpsebench.envs.tasks import Task


@pytest.mark.parametrize(("name", "settings"), [("ram", {}), ("ram", {"scales": 2}), ("ram_pathwise", {})])
def test_training_sees_what_the_env_shows(name: str, settings: dict[str, Any], beacon: Task) -> None:
    agent = hurried(name, size=5, glimpses=3, first_fixation="random", **settings)
    assert isinstance(agent, RecurrentAgent)
    torch.manual_seed(0)
    agent.prepare(beacon)
    images = tasks.test_split(beacon).images_NCHW[:6].copy()
    with torch.no_grad():
        steps = list(agent.episode(images, np.random.default_rng(0), 0.0))
    fixation = agent.first_fixations(6, np.random.default_rng(0))
    env = GlimpseVectorEnv(tasks.test_split(beacon).unlabelled, 6, sensor=agent.sensor(), glimpses=3)
    observation, _ = env.reset(options={"index": np.arange(6)})
    for step in steps:
        observation, *_ = env.step(agent.to_action(fixation))
        torch.testing.assert_close(agent._hidden_states(observation)[-1], step.hidden_BU, atol=1e-5, rtol=1e-4)
        fixation = step.sample_B2.clamp(-1, 1).numpy()
    canvas_BCHW, mask_B1HW = agent.canvases(images, [step.aim for step in steps], np.full(6, 2))
    shown = env.observe("canvas")
    assert np.array_equal(canvas_BCHW.numpy(), shown["canvas"])
    assert np.array_equal(mask_B1HW.numpy(), shown["mask"] > 0)


def gradients(agent: Agent, images: np.ndarray, labels_B: torch.Tensor) -> dict[str, torch.Tensor]:
    """The gradient of the recurrent network's loss, by parameter, at one draw of noise; no gradient is 0."""
    assert isinstance(agent, RecurrentAgent)
    assert isinstance(agent.net, RAMNet)
    torch.manual_seed(1)
    agent.net.zero_grad()
    agent.recurrent_loss(images, labels_B, np.random.default_rng(0)).backward()  # type: ignore[no-untyped-call]
    return {
        name: torch.zeros_like(value) if value.grad is None else value.grad.clone()
        for name, value in agent.net.named_parameters()
    }


@pytest.mark.parametrize("reinforce_core", [False, True])
def test_reinforce_shapes_the_core_only_if_asked(reinforce_core: bool, beacon: Task) -> None:
    images, labels_B, found = beacon.train().images_NCHW[:8], torch.zeros(8, dtype=torch.int64), []
    for weight in (1.0, 0.0):
        torch.manual_seed(0)
        agent = hurried("ram", size=5, glimpses=3, predictor="core", reinforce_core=reinforce_core, reinforce=weight)
        agent.prepare(beacon)
        found.append(gradients(agent, images, labels_B))
    with_it, without = found
    assert with_it["location.0.weight"].norm() > 0
    assert without["location.0.weight"].norm() == 0
    assert (not torch.equal(with_it["input_to_hidden.weight"], without["input_to_hidden.weight"])) == reinforce_core


@pytest.mark.parametrize("loss_at", ["all", "last"])
@pytest.mark.parametrize(
    ("name", "settings"), [("ram", {"reinforce_core": True}), ("ram_pathwise", {"estimator": "reinforce"})]
)
def test_a_policy_that_is_not_used_is_not_in_the_loss(
    name: str, settings: dict[str, Any], loss_at: str, beacon: Task
) -> None:
    torch.manual_seed(0)
    agent = hurried(name, size=5, glimpses=3, predictor="core", policy="random", loss_at=loss_at, **settings)
    agent.prepare(beacon)
    assert isinstance(agent, RecurrentAgent)
    assert isinstance(agent.net, RAMNet)
    images, labels_B = beacon.train().images_NCHW[:8], torch.arange(8) % 2
    found = gradients(agent, images, labels_B)
    torch.manual_seed(1)
    agent.net.zero_grad()
    steps = list(agent.episode(images, np.random.default_rng(0), agent.std))
    logits_BTK = torch.stack([agent.net.classifier(step.hidden_BU) for step in steps], 1)
    kept_BTK = logits_BTK if loss_at == "all" else logits_BTK[:, 2:]
    cross_entropy = -(kept_BTK.log_softmax(2) * torch.eye(2)[labels_B][:, None]).sum(2).mean()
    cross_entropy.backward()  # type: ignore[no-untyped-call]
    for part, value in agent.net.named_parameters():
        exact = torch.zeros_like(value) if value.grad is None else value.grad
        torch.testing.assert_close(found[part], exact, msg=part)
        assert (exact.norm() == 0) == part.startswith(("location", "baseline")), part


def test_standardised_values_have_the_pixels_mean_and_deviation(beacon: Task) -> None:
    torch.manual_seed(0)
    agent = hurried("ram", size=16, glimpses=1, standardize=True, predictor="core")
    agent.prepare(beacon)
    agent.fit(beacon, 0, iter)
    assert isinstance(agent.net, RAMNet)
    assert isinstance(agent, RecurrentAgent)
    images = beacon.train().images_NCHW
    read: list[torch.Tensor] = []
    agent.net.what.register_forward_pre_hook(lambda _, inputs: read.append(inputs[0]))
    with torch.no_grad():
        list(agent.episode(images, np.random.default_rng(0), 0.0))  # one window is the whole image
    torch.testing.assert_close(read[0].mean(), torch.tensor(0.0), atol=1e-4, rtol=0)
    torch.testing.assert_close(read[0].std(), torch.tensor(1.0), atol=1e-4, rtol=0)


def test_rollouts_begin_afresh_are_averaged_and_their_union_is_counted(beacon: Task) -> None:
    settings: dict[str, Any] = {"size": 5, "glimpses": 3, "first_fixation": "random", "predictor": "core"}
    torch.manual_seed(0)
    one, two = hurried("ram", **settings), hurried("ram", rollouts=2, **settings)
    for agent in (one, two):
        agent.prepare(beacon)
    assert one.net is not None
    assert two.net is not None
    two.net.load_state_dict(one.net.state_dict())
    images = tasks.test_split(beacon)

    episodes = rollout(two, images, seed=0)
    actions_NT2, steps_N, sensor = episodes.selection[0], episodes.steps_FN[-1], two.sensor()
    assert (steps_N == 6).all()
    assert (actions_NT2[:, 1:3] != actions_NT2[:, 4:6]).any()  # drawn from the policy, not its mean twice
    prints = [sensor.footprint(sensor.aim(actions_NT2[:, t], two.shape, steps_N), two.shape) for t in range(6)]
    assert np.array_equal(episodes.touched_FN[-1], np.any(prints, 0).sum((1, 2)))

    def after(agent: Agent, taken: range) -> np.ndarray:
        split = images.unlabelled
        env = GlimpseVectorEnv(split, 9, sensor=sensor, glimpses=agent.horizon(), observation="glimpses")
        observation, _ = env.reset(options={"index": np.arange(9)})
        for step in taken:
            observation, *_ = env.step(actions_NT2[:9, step])
        logits = agent.predict(observation)
        assert logits is not None
        return np.exp(logits) / np.exp(logits).sum(1, keepdims=True)

    first, second, both = after(one, range(3)), after(one, range(3, 6)), after(two, range(6))
    np.testing.assert_allclose(both, (first + second) / 2, rtol=1e-5)
    np.testing.assert_allclose(after(two, range(3)), first, rtol=1e-5)  # the second has not begun


def test_the_gradient_of_a_fixation_is_that_of_the_mean_reward() -> None:
    # Two classes, label 0; right at steps 2 and 3, wrong at step 1: returns are 1 and 1. Of the mean of three
    # rewards, the first draw decides two thirds and the second one third.
    logits = torch.tensor([[[-9.0, 9.0], [9.0, -9.0], [9.0, -9.0]]])
    baselines = torch.tensor([[0.5, 0.25]], requires_grad=True)
    log_probs = torch.tensor([[-1.0, -2.0]], requires_grad=True)
    reinforce_loss(logits, baselines, log_probs, torch.tensor([0]), weight=2.0).backward()  # type: ignore[no-untyped-call]
    # −weight × share × advantage; advantages are 0.5 and 0.75.
    assert log_probs.grad is not None
    assert baselines.grad is not None
    torch.testing.assert_close(log_probs.grad, -2.0 * torch.tensor([[1 / 3, 0.25]]))
    # d/db of the mean of (R − b)²: −2(R − b)/2; the advantage in the policy's term is detached.
    torch.testing.assert_close(baselines.grad, torch.tensor([[-0.5, -0.75]]))


def test_the_baseline_does_not_train_the_core(beacon: Task) -> None:
    images, labels_B, found = beacon.train().images_NCHW[:8], torch.zeros(8, dtype=torch.int64), []
    for bias in (0.0, 3.0):
        torch.manual_seed(0)
        agent = hurried("ram", size=5, glimpses=3, predictor="core", reinforce=0.0, reinforce_core=True)
        agent.prepare(beacon)
        assert isinstance(agent.net, RAMNet)
        agent.net.baseline.bias.data.fill_(bias)
        found.append(gradients(agent, images, labels_B))
    assert not torch.equal(found[0]["baseline.weight"], found[1]["baseline.weight"])
    assert all(torch.equal(found[0][name], found[1][name]) for name in found[0] if not name.startswith("baseline"))


def test_with_a_loss_at_the_last_glimpse_alone_its_reward_is_every_fixations_return() -> None:
    # As above, but the last prediction is wrong: all returns are 0, and only its logits have a gradient.
    logits = torch.tensor([[[9.0, -9.0], [9.0, -9.0], [0.0, 2.0]]], requires_grad=True)
    baselines = torch.tensor([[0.5, 0.25]])
    log_probs = torch.tensor([[-1.0, -2.0]], requires_grad=True)
    labels = torch.tensor([0])
    loss = classification_loss(logits, labels, "last")
    loss = loss + reinforce_loss(logits, baselines, log_probs, labels, weight=1.0, loss_at="last")
    loss.backward()  # type: ignore[no-untyped-call]
    assert log_probs.grad is not None
    assert logits.grad is not None
    torch.testing.assert_close(log_probs.grad, torch.tensor([[0.5, 0.25]]))
    wrong = torch.tensor([0.0, 2.0]).softmax(0)[1].item()
    torch.testing.assert_close(logits.grad, torch.tensor([[[0.0, 0.0], [0.0, 0.0], [-wrong, wrong]]]))


@pytest.mark.parametrize("loss_at", ["all", "last"])
def test_reinforce_is_unbiased_on_a_small_case(loss_at: str, beacon: Task) -> None:
    # Draws are (x, y) ~ N(m, s²). Step 1 is wrong, step 2 is right if x of the first draw exceeds 0.1, step 3 if that
    # and y of the second add up to more than 0.5: what a reward's mean gains with a draw's m is a normal density.
    std, copies = 0.5, 100_000
    agent = hurried("ram", glimpses=3, std=std, reinforce=1.0, loss_at=loss_at)
    assert isinstance(agent, RecurrentAgent)
    torch.manual_seed(0)
    agent.prepare(beacon)
    assert isinstance(agent.net, RAMNet)
    agent.net.classifier, agent.net.baseline = nn.Identity(), nn.Linear(2, 1)  # type: ignore[assignment]
    means = [torch.tensor(mean).repeat(copies, 1).requires_grad_() for mean in ([0.3, -0.2], [0.4, 0.1], [0.0, 0.0])]
    draws = [(mean + std * torch.randn_like(mean)).detach() for mean in means]
    first_B, both_B = draws[0][:, 0], draws[0][:, 0] + draws[1][:, 1]
    rights = [torch.zeros(copies), (first_B > 0.1).float(), (both_B > 0.5).float()]
    hiddens = [torch.stack([right_B, 1 - right_B], 1) for right_B in rights]  # which are the logits
    episode = [Step(hidden, np.empty(0), mean, draw) for hidden, mean, draw in zip(hiddens, means, draws, strict=True)]
    agent.episode = lambda *_: iter(episode)  # type: ignore[method-assign]
    labels_B = torch.zeros(copies, dtype=torch.int64)
    agent.recurrent_loss(np.empty(0), labels_B, np.random.default_rng(0)).backward()  # type: ignore[no-untyped-call]

    second = norm.pdf(0.1, 0.3, std) if loss_at == "all" else 0.0
    third = norm.pdf(0.5, 0.3 + 0.1, std * 2**0.5)
    share = 1 / 3 if loss_at == "all" else 1.0  # of a step's reward in what is maximised
    for mean_B2, exact in zip(means, ([share * (second + third), 0.0], [0.0, share * third]), strict=False):
        assert mean_B2.grad is not None
        each_B2 = -copies * mean_B2.grad
        error_2 = each_B2.std(0) / copies**0.5
        assert ((each_B2.mean(0) - torch.tensor(exact)).abs() < 4 * error_2).all()
        assert max(exact) > 20 * error_2.max(), "there is something to estimate"
    assert means[-1].grad is None


@pytest.mark.parametrize("settings", [{"reinforce": 0.0}, {"policy": "random"}], ids=str)
def test_weight_decay_does_not_move_a_location_network_that_no_loss_trains(
    settings: dict[str, Any], beacon: Task
) -> None:
    agent = hurried("ram", glimpses=2, policy_steps=3, **settings)
    agent.prepare(beacon)
    assert isinstance(agent.net, RAMNet)
    before = [value.clone() for value in agent.net.location.parameters()]
    agent.fit(beacon, 0, iter)
    for one, other in zip(before, agent.net.location.parameters(), strict=True):
        torch.testing.assert_close(one, other, atol=0, rtol=0)
    assert all(value.requires_grad for value in agent.net.location.parameters())
