"""PPO and SAC: features extractors, the policy that is kept against Stable-Baselines3's, masks, ends good and bad."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
import pytest
import torch
from gymnasium.vector import AutoresetMode
from torch import Tensor, nn

from conftest import hurried
from glimpsebench import agents
from glimpsebench.agents.common.actor_critic import (
    ActorCriticAgent,
    GlimpseSetExtractor,
    ImageExtractor,
    fourier_features,
)
from glimpsebench.agents.common.base import Diverged
from glimpsebench.agents.ppo import GlimpsePPO
from glimpsebench.agents.sac import FourierCritic
from glimpsebench.envs.errors import UsageError
from glimpsebench.envs.glimpse import GlimpseVectorEnv, Observation
from glimpsebench.envs.grid import VectorGridFixations
from glimpsebench.envs.sb3 import VecGlimpse
from glimpsebench.envs.settings import current
from glimpsebench.envs.tasks import Task

EVERY: list[tuple[str, dict[str, Any]]] = [("ppo", {}), ("ppo", {"actions": "grid"}), ("sac", {}), ("ppo_open", {})]


def made(name: str, settings: dict[str, Any], task: Task) -> ActorCriticAgent:
    """An agent whose training takes a few steps, prepared."""
    agent = hurried(name, size=4, glimpses=3, num_envs=4, **settings)
    assert isinstance(agent, ActorCriticAgent)
    torch.manual_seed(0)
    agent.prepare(task)
    return agent


def some_set(rows: int = 5, slots: int = 4) -> dict[str, Tensor]:
    """Sets of 0, 1, … glimpses; the empty slots hold noise too."""
    valid_BT = (torch.arange(slots) < torch.arange(rows)[:, None]).float()
    return {
        "glimpses": torch.rand(rows, slots, 1, 3, 3),
        "actions": torch.rand(rows, slots, 2) * 2 - 1,
        "valid": valid_BT,
    }


def some_extractor() -> GlimpseSetExtractor:
    torch.manual_seed(0)
    return GlimpseSetExtractor(9, 4, 16)


def test_an_empty_slot_tells_nothing() -> None:
    extractor, seen = some_extractor(), some_set()
    there_BT = seen["valid"].bool()
    other = {
        "glimpses": torch.where(there_BT[..., None, None, None], seen["glimpses"], 7.0),
        "actions": torch.where(there_BT[..., None], seen["actions"], -0.3),
        "valid": seen["valid"],
    }
    for training in (True, False):
        extractor.train(training)
        torch.testing.assert_close(extractor(seen), extractor(other))


def test_a_set_has_no_order_and_reads_the_same_while_training() -> None:
    extractor, seen = some_extractor(), some_set()
    features_BD = extractor.eval()(seen)
    turned = seen | {name: seen[name][:, [1, 0, 2, 3]] for name in ("glimpses", "actions")}
    several = seen["valid"].sum(1) >= 2
    torch.testing.assert_close(extractor(turned)[several], features_BD[several])
    torch.testing.assert_close(extractor.train()(seen), features_BD)
    assert (features_BD[several] - features_BD[:1]).abs().max() > 1e-3, "the glimpses must matter"


def test_spatial_softmax_gives_the_position_and_the_height_of_a_peak() -> None:
    extractor = ImageExtractor(1, 3, 16)
    extractor.layers = nn.Sequential()  # its map is then the image itself
    image_BDHW = torch.zeros(1, 32, 5, 5)
    image_BDHW[0, 0, 0, 4] = image_BDHW[0, 1, 3, 1] = 50
    keypoints: list[Tensor] = []
    extractor.keypoints.register_forward_pre_hook(lambda _, inputs: keypoints.append(inputs[0]))
    extractor({"image": image_BDHW, "step": torch.zeros(1, 1)})
    x_D, y_D, most_D = keypoints[0][0].chunk(3)
    torch.testing.assert_close(
        torch.stack([x_D, y_D, most_D])[:, :3].T, torch.tensor([[1.0, -1, 50], [-0.5, 0.5, 50], [0, 0, 0]])
    )


def test_the_open_policys_fixation_depends_on_the_step(beacon: Task) -> None:
    agent = made("ppo_open", {}, beacon)
    image = np.zeros((3, 1, 16, 16), np.float32)
    step = np.array([[0], [1 / 3], [2 / 3]], np.float32)
    assert len(np.unique(agent.act({"image": image, "step": step}, np.random.default_rng(0)), axis=0)) == 3


@pytest.mark.parametrize("steps", [20, 96, 200])
@pytest.mark.parametrize("name", ["ppo", "sac"])
def test_the_learning_rate_falls_and_no_update_is_lost(
    name: str, steps: int, beacon: Task, monkeypatch: pytest.MonkeyPatch
) -> None:
    agent = made(name, {"policy_steps": steps, "rounds": 1, "policy_lr": 1.0}, beacon)
    schedule, rates = agent.learning_rate, list[float]()

    def kept(progress_remaining: float) -> float:
        rates.append(schedule(progress_remaining))
        return rates[-1]

    monkeypatch.setattr(agent, "learning_rate", kept)
    agent.fit(beacon, 0, iter)
    assert rates[0] == 1
    assert rates == sorted(rates, reverse=True)
    assert rates[-1] == pytest.approx(1 / agent.rollouts_per_round)


@pytest.mark.parametrize(("name", "settings"), EVERY)
def test_the_policy_that_is_kept_is_the_one_that_was_trained(
    name: str,
    settings: dict[str, Any],
    beacon: Task,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    agent = made(name, settings | {"policy_steps": 96, "rounds": 1}, beacon)
    learner_of, learners = agent.learner, []

    def kept(*args: Any) -> Any:
        learners.append(learner_of(*args))
        return learners[0]

    monkeypatch.setattr(agent, "learner", kept)
    before = [value.clone() for value in agent.nets.policy_head.parameters()]
    agent.fit(beacon, 0, iter)
    env: Any = GlimpseVectorEnv(
        beacon,
        6,
        sensor=agent.sensor(),
        observation=agent.observation,
        glimpses=3,
        autoreset_mode=AutoresetMode.DISABLED,
    )
    observation, _ = env.reset(seed=0)
    grid = VectorGridFixations(env, 8, 8)
    for _ in range(3):
        masks: Any = {"action_masks": grid.action_masks()} if settings else {}
        wanted, _ = learners[0].predict(observation, deterministic=True, **masks)
        wanted = grid.actions(wanted) if settings else wanted
        action = agent.act(observation, np.random.default_rng(0))
        np.testing.assert_allclose(action, wanted, atol=1e-5)
        observation, *_ = env.step(action)
    assert any(not torch.equal(a, b) for a, b in zip(before, agent.nets.policy_head.parameters(), strict=True))
    assert np.shape(agent.findings["return_curve"]) == (20,)
    assert capfd.readouterr() == ("", ""), "nothing is printed"


def test_the_same_seed_gives_the_same_weights_of_a_masked_policy(beacon: Task) -> None:
    def weights(seed: int) -> dict[str, Tensor]:
        agent = made("ppo", {"actions": "grid", "policy_steps": 96}, beacon)
        agent.fit(beacon, seed, iter)
        return agent.nets.state_dict()

    first, again, other = weights(0), weights(0), weights(1)
    assert all(torch.equal(first[key], again[key]) for key in first)
    assert not torch.equal(first["policy_head.2.weight"], other["policy_head.2.weight"])


def test_no_cell_is_visited_twice_and_the_best_is_chosen(beacon: Task) -> None:
    agent = made("ppo", {"actions": "grid", "cells": 2}, beacon)
    assert isinstance(agent, GlimpsePPO)
    scores = np.array([[0.1, 0.4, 0.2, 0.3]] * 2, np.float32)
    middles = np.array([[0.5, -0.5], [0.5, 0.5], [-0.5, 0.5], [-0.5, -0.5]], np.float32)  # of cells 1, 3, 2, 0
    seen: Observation = {"actions": np.zeros((2, 4, 2), np.float32), "valid": np.zeros((2, 4), np.float32)}
    for step, cell in enumerate((1, 3, 2, 0)):
        assert agent.best_cells(scores, seen).tolist() == [cell, 1]  # the second row never looks
        np.testing.assert_array_equal(agent.fixations(torch.from_numpy(scores), seen)[0], middles[step])
        seen["actions"][0, step], seen["valid"][0, step] = middles[step], 1
    assert agent.best_cells(scores, seen)[0] == 1, "when all have been visited, any will do"


def test_the_windows_for_the_predictor_are_the_policys(beacon: Task, monkeypatch: pytest.MonkeyPatch) -> None:
    agent, rng = made("ppo", {}, beacon), np.random.default_rng(0)
    monkeypatch.setattr(agent, "act", lambda seen, _: np.full((len(seen["valid"]), 2), -1, np.float32))
    images = beacon.train(0).some(np.arange(100))
    corner = np.zeros((16, 16), bool)
    corner[:4, :4] = True
    env = agent.env_after_glimpses(images, 0.0, rng)
    assert (env.masks() == corner).all()
    assert {*env.scanpaths[1].sum(1)} == {1, 2, 3}
    share = (agent.env_after_glimpses(images, 0.4, rng).masks() == corner).all((1, 2)).mean()
    assert 0.45 < share < 0.75


def test_the_critic_hands_the_actor_the_whole_gradient(beacon: Task) -> None:
    agent = made("sac", {}, beacon)
    env = VecGlimpse(
        GlimpseVectorEnv(
            beacon, 4, sensor=agent.sensor(), glimpses=3, reward="none", autoreset_mode=AutoresetMode.SAME_STEP
        )
    )
    critic = agent.learner(env, 0, lambda _: 1e-3).policy.critic
    assert isinstance(critic, FourierCritic)
    seen: Any = {name: torch.from_numpy(value) for name, value in env.reset().items()}
    action = torch.full((4, 2), 0.3, requires_grad=True)
    critic(seen, action)[0].sum().backward()
    assert action.grad is not None
    again = action.detach().requires_grad_()
    critic.q_networks[0](torch.cat([critic.features_extractor(seen), fourier_features(again)], 1)).sum().backward()
    torch.testing.assert_close(action.grad, again.grad)
    critic.zero_grad()
    critic(seen, action.detach())[0].sum().backward()
    extractor: Any = critic.features_extractor
    assert all(value.grad is not None for value in extractor.what.parameters())


@pytest.mark.parametrize("name", ["ppo", "sac"])
def test_a_policy_that_is_not_finite_has_diverged(name: str, beacon: Task) -> None:
    agent = made(name, {"policy_steps": 200, "policy_lr": 1e30}, beacon)
    with pytest.raises(Diverged):
        agent.fit(beacon, 0, iter)


@pytest.mark.parametrize("name", ["ppo", "sac"])
def test_every_bar_ends_and_an_interrupt_gets_through(name: str, beacon: Task) -> None:
    bars: list[list[int]] = []

    def counting(loop: Iterable[int]) -> Iterator[int]:
        items = list(loop)
        bars.append([len(items), 0])
        for item in items:
            bars[-1][1] += 1
            yield item

    made(name, {"policy_steps": 200}, beacon).fit(beacon, 0, counting)
    assert len(bars) == 6
    assert all(of == done for of, done in bars)

    def interrupted(loop: Iterable[int]) -> Iterator[int]:
        items = list(loop)
        yield items[0]
        if len(items) != 2:  # the policy's
            raise KeyboardInterrupt
        yield from items[1:]

    with pytest.raises(KeyboardInterrupt):
        made(name, {"policy_steps": 200}, beacon).fit(beacon, 0, interrupted)


def test_what_is_missing_is_named_before_any_training(beacon: Task, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "sb3_contrib", None)
    agent = made("ppo", {"actions": "grid"}, beacon)
    with pytest.raises(UsageError, match=r"glimpsebench\[rl\]"):
        agent.fit(beacon, 0, lambda loop: pytest.fail("trained"))


def test_the_reward_setting_reaches_the_env(beacon: Task) -> None:
    agent = made("ppo", {"reward": "correct"}, beacon)
    agent.fit(beacon, 0, iter)
    assert 0.2 < np.mean(agent.findings["return_curve"]) <= 1


@pytest.mark.parametrize(
    ("name", "before", "now"),
    [
        (
            "ppo",
            {"features": 64, "explore": 0.3, "clip": 0.1},
            {"features_dim": 64, "random_share": 0.3, "clip_range": 0.1},
        ),
        ("ppo", {"entropy": 0.1, "std": 0.2, "epochs": 3}, {"ent_coef": 0.1, "initial_std": 0.2, "n_epochs": 3}),
        (
            "sac",
            {"updates": 8, "reader_steps": 5, "steps": 7},
            {"gradient_steps": 8, "extractor_steps": 5, "predictor_steps": 7},
        ),
        (
            "ram",
            {"first": "random", "told": "last", "std": 0.2},
            {"first_fixation": "random", "loss_at": "last", "std": 0.2},
        ),
        ("ram_pathwise", {"shape_core": True, "standard": True}, {"pathwise_core": True, "standardize": True}),
    ],
)
def test_settings_of_earlier_records_are_read_by_their_names_of_now(
    name: str, before: dict[str, Any], now: dict[str, Any]
) -> None:
    assert current(agents.find(name), before) == now
