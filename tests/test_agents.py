"""Every agent in the folder, on the toy task: whatever is added there is tested here."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from conftest import hurried
from glimpsebench import agents
from glimpsebench.agents.base import Agent
from glimpsebench.bench.rollout import replay, rollout
from glimpsebench.bench.stats import paired
from glimpsebench.envs import datasets, tasks
from glimpsebench.envs.glimpse import GlimpseVectorEnv
from glimpsebench.envs.tasks import Task

NAMES = agents.names()
SMALL_CELLS = {"blocks": (1,), "widths": (32,), "strides": (2,), "wide": (1,), "glimpses": 3}  # 5×5, every 2 pixels
LOOKS = {"size": 5, "rounds": 1, "reader_steps": 150, "steps": 200, "features": 64}  # an actor-critic's, in seconds
LEARNED: dict[str, dict[str, Any]] = {
    "adcm": {"selector_steps": 100, "steps": 150},
    "cbam": {"selector_steps": 100, "steps": 150},
    "concrete_topk": {},
    "dham": {},
    "gain": {"selector_steps": 100, "steps": 150},
    "gain_ext": {"selector_steps": 100, "steps": 150},
    "gdfs": {"glimpses": 5},
    "gradcam": {"selector_steps": 100, "steps": 150},
    "hard_concrete": {},
    "mask_penalty": {},
    "ordered_logits": SMALL_CELLS,
    "perturbed_topk": {},
    "ppo": LOOKS | {"policy_steps": 10_000, "glimpses": 5, "actions": "grid", "cells": 5},
    "ppo_open": LOOKS | {"policy_steps": 5_000, "glimpses": 3},
    "ram": {"policy_steps": 600, "size": 5, "glimpses": 5},
    "ram_pathwise": {"policy_steps": 600, "policy_batch": 64, "steps": 400, "size": 5, "glimpses": 6},
    "realx": {},
    "sac": LOOKS | {"policy_steps": 5_000, "buffer_steps": 5_000, "glimpses": 4, "updates": 8, "policy_lr": 2e-3},
    "saccader": SMALL_CELLS | {"location_steps": 150, "joint_steps": 150},
    "sobel": SMALL_CELLS,
    "straight_through": {},
}
"""Learners, with the settings that let them learn the toy task in seconds; all their steps are 300 unless said."""


def fitted(name: str, task: Task, seed: int = 0, **settings: object) -> Agent:
    agent = hurried(name, **settings)
    torch.manual_seed(seed)
    agent.prepare(task)
    agent.fit(task, seed, iter)
    return agent


@pytest.mark.parametrize("name", NAMES)
def test_actions_and_logits_have_the_promised_shapes(name: str, beacon: Task) -> None:
    agent = fitted(name, beacon)
    env = GlimpseVectorEnv(
        tasks.test_split(beacon).unlabelled,
        5,
        sensor=agent.sensor(),
        observation=agent.observation,
        glimpses=agent.horizon(),
        budget=agent.budgets[-1],
        currency=agent.currency,
    )
    observation, _ = env.reset(seed=0)
    action = agent.act(observation, np.random.default_rng(0))
    assert action.shape == env.action_space.shape
    assert np.abs(action).max() <= 1, "the env would clip this"
    env.step(action)
    logits = agent.predict(env.observe(agent.view))
    assert logits is None or (logits.shape == (5, beacon.classes) and np.isfinite(logits).all())


@pytest.mark.parametrize("name", NAMES)
def test_the_same_seed_gives_the_same_episodes(name: str, beacon: Task) -> None:
    images = tasks.test_split(beacon)
    first, second = (rollout(fitted(name, beacon), images, seed=0) for _ in range(2))
    assert np.array_equal(first.selection, second.selection)
    assert np.array_equal(first.predicted_FN, second.predicted_FN)


@pytest.mark.parametrize("name", NAMES)
def test_no_budget_is_exceeded_and_use_never_falls(name: str, beacon: Task) -> None:
    agent = fitted(name, beacon)
    episodes = rollout(agent, tasks.test_split(beacon), seed=0)
    spent = episodes.touched_FN if agent.currency == "touched" else episodes.delivered_FN
    caps = np.floor(np.array(agent.budgets) * 256 + 1e-9)
    assert (spent <= caps[:, None]).all()
    assert (np.diff(spent, axis=0) >= 0).all()


@pytest.mark.parametrize("name", NAMES)
def test_what_was_selected_can_be_flown_again(name: str, beacon: Task) -> None:
    agent = fitted(name, beacon)
    images = tasks.test_split(beacon)
    episodes = rollout(agent, images, seed=0)
    again = replay(agent, images, episodes, lambda view: np.zeros((len(view["mask"]), beacon.classes)))
    assert np.array_equal(again.selection, episodes.selection)
    assert np.array_equal(again.delivered_FN, episodes.delivered_FN)


@pytest.mark.parametrize("name", NAMES)
def test_saved_weights_give_the_same_episodes(name: str, beacon: Task, tmp_path: Path) -> None:
    agent = fitted(name, beacon)
    agent.save(tmp_path / "weights.safetensors")
    again = hurried(name)
    if agent.net is not None:
        again.load(tmp_path / "weights.safetensors", beacon)
    else:
        again.prepare(beacon)
    first, second = (rollout(one, tasks.test_split(beacon), seed=0) for one in (agent, again))
    assert np.array_equal(first.selection, second.selection)
    assert np.array_equal(first.predicted_FN, second.predicted_FN)


@pytest.mark.parametrize("name", NAMES)
def test_a_row_does_not_depend_on_the_other_rows(name: str, beacon: Task) -> None:
    agent = fitted(name, beacon)
    images = tasks.test_split(beacon)

    def first_choice(index: list[int]) -> np.ndarray:
        env = GlimpseVectorEnv(
            images.unlabelled,
            4,
            sensor=agent.sensor(),
            observation=agent.observation,
            glimpses=agent.horizon(),
        )
        observation, _ = env.reset(seed=0, options={"index": np.array(index)})
        return agent.act(observation, np.random.default_rng(0))[0]

    assert np.array_equal(first_choice([7, 1, 2, 3]), first_choice([7, 60, 61, 62]))


@pytest.mark.parametrize("name", NAMES)
def test_gated_agents_never_ask_for_the_image(name: str) -> None:
    kind = agents.find(name)
    if kind.track == "gated":
        assert kind.observation != "image"
        assert agents.make(name).view != "image"


@pytest.mark.parametrize("name", NAMES)
def test_fit_cannot_reach_the_test_split(name: str, beacon: Task, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []
    render = type(beacon).render

    def watched(self: Task, half: str, epoch: int) -> object:
        asked.append(half)
        return render(self, half, epoch)  # type: ignore[arg-type]

    monkeypatch.setattr(type(beacon), "render", watched)
    with datasets.sealed():
        fitted(name, beacon)
    assert "test" not in asked


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(LEARNED))
def test_a_learned_selector_beats_uniform_on_the_beacon(name: str, beacon: Task) -> None:
    images = tasks.test_split(beacon)

    def correct(one: str, settings: dict[str, Any]) -> tuple[Agent, np.ndarray, np.ndarray]:
        torch.manual_seed(0)
        agent = agents.make(one, settings)
        agent.prepare(beacon)
        agent.fit(beacon, 0, iter)
        episodes = rollout(agent, images, seed=0)
        return agent, episodes.predicted_FN == images.labels_N, episodes.touched_FN

    fields = agents.find(name).__dataclass_fields__
    short = {field: 300 for field in fields if field.endswith("steps")} | LEARNED[name]
    agent, learned, touched = correct(name, short)
    _, floor, _ = correct("uniform", {"steps": 300, "size": 5})
    at = agent.budgets.index(0.3)
    assert touched[at].min() > 0
    assert paired(learned[None, at], floor[None, at]).low > 0
