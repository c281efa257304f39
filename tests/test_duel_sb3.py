"""Stable-Baselines3's learners in the duel's arenas: the arena's network and objective, nothing of their own."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest
import torch
from gymnasium.vector import AutoresetMode
from torch import Tensor, nn

from conftest import hurried
from glimpsebench import agents
from glimpsebench.agents.cell_sequence_sb3 import CellChoices, CellSequenceSB3
from glimpsebench.agents.common.sequence_sb3 import LibraryAgent, MapCritic, PaidReader, one_cycle
from glimpsebench.agents.window_sequence_sb3 import WindowSequenceSB3
from glimpsebench.bench.answer import arenas
from glimpsebench.envs.glimpse import GlimpseVectorEnv
from glimpsebench.envs.sb3 import VecGlimpse
from glimpsebench.envs.sensors import Mask
from glimpsebench.envs.tasks import Task

LEARNERS = [
    ("cell_sequence_sb3", "ppo"),
    ("cell_sequence_sb3", "dqn"),
    ("window_sequence_sb3", "ppo"),
    ("window_sequence_sb3", "sac"),
]


def prepared(name: str, task: Task, **settings: Any) -> LibraryAgent:
    agent = hurried(name, **settings)
    assert isinstance(agent, LibraryAgent)
    torch.manual_seed(0)
    agent.prepare(task)
    return agent


@pytest.mark.parametrize("name", ["cell_sequence_sb3", "window_sequence_sb3"])
def test_a_librarys_learner_fights_in_its_arena_with_the_arenas_networks(name: str, beacon: Task) -> None:
    agent = prepared(name, beacon)
    other = hurried(arenas.arena_of(name))
    other.prepare(beacon)
    assert arenas.arena_of(name) == name.removesuffix("_sb3")
    assert agent.parameters == other.parameters
    assert agent.net is not None
    assert other.net is not None
    assert {key: value.shape for key, value in agent.net.state_dict().items()} == {
        key: value.shape for key, value in other.net.state_dict().items()
    }
    assert agent.sensor() == other.sensor()
    usual, its_arena = agents.make(name), agents.make(arenas.arena_of(name))
    shared = {each.name for each in dataclasses.fields(usual)} & {each.name for each in dataclasses.fields(its_arena)}
    assert {"passes", "glimpses", "lr", "selector_batch", "predictor_steps"} <= shared
    for field in shared - {"estimator"}:
        assert getattr(usual, field) == getattr(its_arena, field), field
    assert {agent.FAMILIES[each] for each in ("ppo", "dqn", "sac")} == {"reinforcement learning"}


@pytest.mark.parametrize(("name", "estimator"), LEARNERS)
def test_the_librarys_policy_is_the_agents_own_network(name: str, estimator: str, beacon: Task) -> None:
    """What the library would do at a deterministic step is what the agent's network says, bit for bit, and follows it
    when its weights change."""
    agent = prepared(name, beacon, estimator=estimator, gradient_steps=1)
    learners: list[Any] = []
    make = agent.learner
    agent.learner = lambda env, settings: learners.append(make(env, settings)) or learners[-1]  # type: ignore[method-assign, func-returns-value]
    agent.passes = 64
    agent.fit_selector(beacon, np.random.default_rng(0), iter)
    (learner,) = learners
    observation = learner.get_env().reset()
    for _ in range(2):
        outputs_BA, mask_B1HW = agent.chosen(observation)
        chosen, _ = learner.predict(observation, deterministic=True)
        if isinstance(agent, CellSequenceSB3):
            assert np.array_equal(chosen, agent.at_test(outputs_BA, mask_B1HW).numpy())
        else:
            assert np.allclose(chosen, outputs_BA.detach().clamp(-1, 1).numpy(), atol=1e-5)
        with torch.no_grad():
            for weight in agent.nets.selector.parameters():
                weight.add_(0.1 * torch.randn_like(weight))


def test_an_env_step_is_paid_what_the_reader_gains_and_an_empty_canvas_is_not_read(beacon: Task) -> None:
    agent = prepared("cell_sequence_sb3", beacon)
    assert isinstance(agent, CellSequenceSB3)
    read: list[int] = []
    agent.nets.predictor.register_forward_hook(lambda _, inputs, __: read.append(len(inputs[0])))
    env = GlimpseVectorEnv(
        beacon,
        5,
        sensor=Mask(4, at_once=1),
        observation="canvas",
        glimpses=3,
        reward="information",
        predictor=PaidReader(agent.nets.predictor, beacon.classes),
        view="canvas",
    )
    choices = CellChoices(env, agent.grid)
    observation, _ = choices.reset(seed=0)
    assert read == []
    before_B = np.full(5, -np.log(beacon.classes))
    for step in range(2):
        cells_B = np.arange(5) + 5 * step
        observation, reward_B, *_ = choices.step(cells_B)
        shown = observation["mask"][:, 0, ::4, ::4].reshape(5, -1)
        assert (shown[np.arange(5), cells_B] == 1).all()
        assert read == [5] * (step + 1)
        canvas, mask = (torch.as_tensor(observation[key], dtype=torch.float32) for key in ("canvas", "mask"))
        with torch.no_grad():
            log_p = agent.nets.predictor(canvas, mask).log_softmax(1)[torch.arange(5), torch.from_numpy(env._labels())]
        assert np.allclose(reward_B, log_p.numpy() - before_B, atol=1e-4)
        before_B = log_p.numpy()
        read.pop()


def test_exploration_is_among_hidden_cells_and_each_env_explores_by_itself(beacon: Task) -> None:
    agent = prepared("cell_sequence_sb3", beacon, estimator="dqn")
    assert isinstance(agent, CellSequenceSB3)
    env = GlimpseVectorEnv(beacon, 200, sensor=agent.sensor(), observation="canvas", glimpses=9, reward="none")
    env.reset(seed=0)
    first_BRC = np.zeros((200, *agent.grid), np.float32)
    first_BRC[np.arange(200), np.arange(200) % 4, 1] = 1
    observation, *_ = env.step(first_BRC)
    settings = {
        "learning_rate": 1e-3,
        "policy_kwargs": {"features_extractor_class": agent.extractors(), "net_arch": []},
    }
    same_step = GlimpseVectorEnv(
        beacon,
        2,
        sensor=agent.sensor(),
        observation="canvas",
        glimpses=9,
        reward="none",
        autoreset_mode=AutoresetMode.SAME_STEP,
    )
    learner: Any = agent.learner(VecGlimpse(agent.wrapped(same_step)), settings)
    best_B, _ = learner.predict(observation, deterministic=True)
    for rate in (1.0, 0.5):
        learner.exploration_rate = rate
        cells_B, _ = learner.predict(observation)
        assert (observation["mask"][:, 0, ::4, ::4].reshape(200, -1)[np.arange(200), cells_B] == 0).all()
        assert abs((cells_B != best_B).mean() - rate * 14 / 15) < 0.15


def test_the_schedule_is_torchs_one_cycle() -> None:
    parameter = nn.Parameter(torch.zeros(1))
    optimiser = torch.optim.SGD([parameter], 0.1)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, 0.1, total_steps=2001)
    for step in range(2001):
        assert optimiser.param_groups[0]["lr"] == pytest.approx(0.1 * one_cycle(step / 2000), rel=0.01, abs=1e-4)
        optimiser.step()
        if step < 2000:
            schedule.step()


def test_a_critics_map_is_read_where_the_fixation_is() -> None:
    class Map(nn.Module):
        grid = (2, 3)

        def forward(self, canvas_BCHW: Tensor, mask_B1HW: Tensor) -> tuple[Tensor, Tensor]:
            return torch.arange(6.0).expand(len(canvas_BCHW), -1), torch.zeros(len(canvas_BCHW))

    seen = {"canvas": torch.zeros(4, 1, 8, 12), "mask": torch.zeros(4, 1, 8, 12)}
    at_B2 = torch.tensor([[-2 / 3, -0.5], [0.0, -0.5], [2 / 3, 0.5], [1 / 3, 0.5]])
    assert torch.allclose(MapCritic.value(Map(), seen, at_B2), torch.tensor([[0.0], [1.0], [5.0], [4.5]]), atol=1e-5)


@pytest.mark.parametrize("name", ["cell_sequence_sb3", "window_sequence_sb3"])
def test_credit_is_the_discount(name: str) -> None:
    for credit, gamma in (("next", 0.0), ("episode", 1.0)):
        agent = agents.make(name, {"credit": credit})
        assert isinstance(agent, LibraryAgent)
        assert agent.gamma == gamma


def test_sac_acts_as_it_explored(beacon: Task) -> None:
    agent = prepared("window_sequence_sb3", beacon, estimator="sac", std=0.3)
    assert isinstance(agent, WindowSequenceSB3)
    outputs_BA, mask = torch.tensor([[0.6, -0.2]]).repeat(20_000, 1), torch.zeros(20_000, 1, 1, 1)
    drawn_BA = agent.sample(outputs_BA, mask)
    u_BA = drawn_BA.double().atanh() - outputs_BA.double().atanh()
    assert torch.allclose(u_BA.mean(0), torch.zeros(2, dtype=torch.float64), atol=0.02)
    assert torch.allclose(u_BA.std(0), torch.full((2,), 0.3, dtype=torch.float64), atol=0.02)
