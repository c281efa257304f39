"""Every agent in the folder, on the toy task: whatever is added there is tested here."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from conftest import Beacon, hurried
from glimpsebench import agents
from glimpsebench.agents.common.base import Agent, Diverged, tensor, training_on
from glimpsebench.agents.common.nets import to_float
from glimpsebench.agents.uniform import Uniform
from glimpsebench.bench.localisation import share_on_object
from glimpsebench.bench.rollout import footprints_of, replay, rollout
from glimpsebench.bench.stats import crossed
from glimpsebench.envs import datasets, tasks
from glimpsebench.envs.datasets import Half
from glimpsebench.envs.glimpse import GlimpseVectorEnv
from glimpsebench.envs.tasks import Split, Task

NAMES = agents.names()
SMALL_CELLS = {"network": "bagnet-5", "glimpses": 3}
LOOKS = {
    "size": 5,
    "rounds": 1,
    "extractor_steps": 150,
    "predictor_steps": 200,
    "features_dim": 64,
}  # an actor-critic's, in seconds
LEARNED: dict[str, dict[str, Any]] = {
    "adcm": {"selector_steps": 100, "predictor_steps": 150},
    "cbam": {"selector_steps": 100, "predictor_steps": 150, "batch": 64},
    "cell_sequence": {"passes": 20_000, "glimpses": 5, "predictor_learns": True},
    "cell_sequence_sb3": {"passes": 4_000, "glimpses": 5, "n_steps": 8},
    "concrete_topk": {},
    "crop": {"passes": 10_000, "size": 8},
    "dham": {},
    "energy": {"selector_steps": 100, "predictor_steps": 150},
    "gain": {"selector_steps": 100, "predictor_steps": 150},
    "gain_ext": {"selector_steps": 100, "predictor_steps": 150},
    "gdfs": {"glimpses": 5},
    "gradcam": {"selector_steps": 100, "predictor_steps": 150},
    "hard_concrete": {},
    "mask_penalty": {},
    "ordered_logits": SMALL_CELLS,
    "perturbed_topk": {},
    "ppo": LOOKS | {"policy_steps": 5_000, "glimpses": 5, "actions": "grid", "cells": 5},
    "ppo_open": LOOKS | {"policy_steps": 5_000, "glimpses": 3},
    "ram": {"size": 5, "glimpses": 5},
    "ram_pathwise": {"policy_batch": 64, "size": 5, "glimpses": 6},
    "realx": {},
    "sac": LOOKS
    | {"policy_steps": 4_000, "buffer_steps": 4_000, "glimpses": 4, "gradient_steps": 8, "policy_lr": 2e-3},
    "saccader": SMALL_CELLS | {"location_steps": 150, "joint_steps": 150},
    "sobel": SMALL_CELLS,
    "straight_through": {},
    "subset": {"passes": 10_000, "batch": 64},
    "window_sequence": {"passes": 10_000, "size": 5, "glimpses": 5},
    "window_sequence_sb3": {"passes": 4_000, "size": 5, "glimpses": 5, "n_steps": 8},
}
"""Learners, with the settings that let them learn the toy task in seconds; unless said, all their steps are 200, and
their batches 32 images."""
LATE = ("gdfs", "realx")
"""They take 300."""
CORNERED = ("cell_sequence_sb3", "ppo", "ram", "ram_pathwise", "sac", "window_sequence", "window_sequence_sb3")
"""They look for a beacon in a corner: of one that is anywhere, three random windows see too much to be beaten well."""
FEW = ("hard_concrete", "mask_penalty")
"""They rank the few pixels that their masks have, and the rest by nothing: where they look is told by 5 % touched."""

AROUND = ("adcm",)
"""They may show what lies around the beacon: nothing forces their attention onto an object (common/attentive.py), and
on this toy it depends on seed and processor whether it falls there. On digits it does (docs/methods/adcm.md)."""


@dataclass(frozen=True)
class Corner(Beacon):
    """The beacon in the upper left quarter, which has to be found once and for all."""

    name: str = "corner"

    def render(self, half: Half, epoch: int) -> Split:
        split = super().render(half, epoch)
        assert split.objects_NHW is not None
        objects_NHW = np.asarray(split.objects_NHW)
        corner_N2 = np.stack([objects_NHW.any(axis).argmax(1) for axis in (2, 1)], 1)

        def moved(one: np.ndarray) -> np.ndarray:
            shifts_N2 = corner_N2 % 3 - corner_N2
            return np.stack([np.roll(image, shift, (-2, -1)) for image, shift in zip(one, shifts_N2, strict=True)])

        return Split(moved(split.images_NCHW), split.labels_N, lambda: moved(objects_NHW))


def fitted(name: str, task: Task, seed: int = 0, **settings: object) -> Agent:
    agent = hurried(name, **settings)
    torch.manual_seed(seed)
    agent.prepare(task)
    agent.fit(task, seed, iter)
    return agent


def test_tensors_are_made_where_training_runs(beacon: Task) -> None:
    images = beacon.val().images_NCHW[:2]
    with torch.device("meta"):
        assert tensor(images.copy()).device.type == to_float(images).device.type == "meta"
    assert to_float(images).device.type == "cpu"


@pytest.mark.parametrize(("device", "error"), [("cpu", Diverged), ("meta", NotImplementedError)])
def test_networks_lie_where_training_runs_and_all_is_as_before_when_it_fails(
    device: str, error: type[Exception], beacon: Task
) -> None:
    agent = hurried("uniform")
    agent.prepare(beacon)
    net, before = agent.net, (torch.get_default_device(), torch.get_float32_matmul_precision())
    assert net is not None
    during: list[torch.device] = []

    def train() -> None:
        with training_on(device, agent):
            during.extend([torch.get_default_device(), *(weight.device for weight in net.parameters())])
            raise Diverged

    with pytest.raises(error):  # from "meta" no values come back
        train()
    assert {each.type for each in during} == {device}
    assert (torch.get_default_device(), torch.get_float32_matmul_precision()) == before


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")
def test_accelerated_agents_train_on_a_gpu_and_are_rolled_out_on_the_cpu(beacon: Task) -> None:
    for agent in map(hurried, NAMES):
        if agent.accelerated:
            agent.prepare(beacon)
            with training_on("cuda", agent):
                agent.fit(beacon, 0, iter)
            rollout(agent, tasks.test_split(beacon), seed=0)


@pytest.mark.parametrize("name", NAMES)
def test_actions_and_logits_have_the_promised_shapes_and_fit_leaves_no_temporary_files(
    name: str, beacon: Task, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    agent = fitted(name, beacon)
    assert not [path for path in tmp_path.iterdir() if not path.name.startswith("torchinductor_")]  # torch's own, once
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
    with datasets.test_split_closed():
        fitted(name, beacon)
    assert "test" not in asked


def looked(name: str, task: Task, settings: dict[str, Any], budget: float) -> tuple[np.ndarray, np.ndarray]:
    """A trained agent's test images: which it gets right with at most 30 % touched, and what it touched (N, H, W)."""
    torch.manual_seed(0)
    agent, images = agents.make(name, settings), tasks.test_split(task)
    agent.prepare(task)
    agent.fit(task, 0, iter)
    episodes = rollout(agent, images, seed=0)
    at, of = agent.budgets.index(0.3), agent.budgets.index(budget)
    selection = episodes.selection[0 if agent.horizon() > 1 else of]
    touched_NTHW = footprints_of(selection, episodes.steps_FN[of], budget, agent.sensor(), agent.shape)
    return episodes.predicted_FN[at] == images.labels_N, touched_NTHW.max(1)


@cache
def floor(task: Task) -> tuple[np.ndarray, np.ndarray]:
    """The same of random windows."""
    return looked("uniform", task, {"predictor_steps": 300, "size": 5}, 0.3)


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(LEARNED))
def test_a_learned_selector_beats_uniform_and_looks_at_the_beacon(name: str) -> None:
    task = (Corner if name in CORNERED else Beacon)(most_tests=1024)
    objects = np.asarray(tasks.test_split(task).objects_NHW)
    fields = agents.find(name).__dataclass_fields__
    steps = 300 if name in LATE else 200
    short = {field: steps for field in fields if field.endswith("steps")}
    short |= ({"batch": 32} if "batch" in fields else {}) | LEARNED[name]
    learned, touched = looked(name, task, short, 0.05 if name in FEW else 0.3)
    by_chance, touched_by_chance = floor(task)
    assert touched.any((1, 2)).all()
    assert crossed(learned[None, None], by_chance[None, None]).low > 0
    if name in AROUND:
        return
    # Few pixels are compared with as many random ones, not with windows, which lie at the edge more seldom.
    on_object = objects.mean((1, 2)) if name in FEW else share_on_object(touched_by_chance, objects)
    assert crossed(share_on_object(touched, objects)[None, None], on_object[None, None]).low > 0


def test_uniform_cells_are_whole_in_training_and_at_test(beacon: Task) -> None:
    agent, images = hurried("uniform", kind="mask", cell=4), tasks.test_split(beacon)
    assert isinstance(agent, Uniform)
    agent.prepare(beacon)
    _, learned_B1HW = agent.canvases(images, np.random.default_rng(0))
    agent.fit(beacon, 0, iter)
    episodes, of = rollout(agent, images, seed=0), agent.budgets.index(0.3)
    shown_BHW = footprints_of(episodes.selection[of], episodes.steps_FN[of], 0.3, agent.sensor(), agent.shape).max(1)
    for mask_BHW in (learned_B1HW[:, 0].numpy(), shown_BHW):
        side = agent.shape[1]
        cells = mask_BHW.reshape(len(mask_BHW), side // 4, 4, side // 4, 4)
        assert (cells == cells[:, :, :1, :, :1]).all()
        assert len({mask.tobytes() for mask in mask_BHW}) > len(mask_BHW) / 4, "drawn anew for each image"
    assert (shown_BHW.mean((1, 2)) == 0.25).all(), "four of sixteen cells fit in 0.3"
