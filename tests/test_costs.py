"""Costs that the bench counts: operations against a count by hand, and what training drew and stepped."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from gymnasium.vector import AutoresetMode
from numpy.typing import NDArray

from conftest import Beacon, hurried
from glimpsebench.agents.common.base import Agent
from glimpsebench.agents.common.nets import READER_WIDTH, CanvasNet
from glimpsebench.bench import costs, leaderboard
from glimpsebench.bench.records import Record
from glimpsebench.bench.rollout import BATCH
from glimpsebench.bench.run import Spec, run
from glimpsebench.envs import tasks
from glimpsebench.envs.glimpse import GlimpseVectorEnv, Observation
from glimpsebench.envs.sensors import Window
from glimpsebench.envs.tasks import Task

Array = NDArray[Any]


def by_hand(channels: int, side: int, width: int, classes: int) -> int:
    """Of a `CanvasNet` on one image: two for each multiplication of a weight with an input, layer by layer."""
    w, total, size = width, 0, side
    for inputs, outputs, stride in (
        (channels + 1, w, 2),
        (w, w, 1),
        (w, 2 * w, 2),
        (2 * w, 2 * w, 1),
        (2 * w, 4 * w, 2),
    ):
        size = -(-size // stride)
        total += 2 * 9 * inputs * outputs * size**2
    return total + 2 * 4 * w * classes


def prepared(name: str, task: Task, **settings: Any) -> Agent:
    agent = hurried(name, **settings)
    agent.prepare(task)
    assert agent.net is not None
    agent.net.eval()
    return agent


def test_operations_are_those_of_a_count_by_hand_over_all_glimpses() -> None:
    task = Beacon()
    images = tasks.test_split(task)
    for name, glimpses in (("full", 1), ("uniform", 4)):
        agent = prepared(name, task, **({"glimpses": 4} if glimpses == 4 else {}))
        assert isinstance(agent.net, CanvasNet)
        found = costs.flops(agent, images)
        expected = glimpses * by_hand(1, 16, READER_WIDTH, 2)
        assert found["selector_flops"] == 0, "it chooses without a network"
        assert found["predictor_flops"] == pytest.approx(expected, rel=0.01)
        assert costs.flops(agent, images) == found


def test_a_selector_that_looks_at_an_image_again_and_again_pays_for_each_pass(monkeypatch: pytest.MonkeyPatch) -> None:
    task = Beacon()
    agent = prepared("uniform", task, glimpses=4)
    images, act = tasks.test_split(task), type(agent).act
    once = by_hand(1, 16, READER_WIDTH, 2)

    def deliberating(self: Any, observation: Observation, rng: np.random.Generator) -> Array:
        for _ in range(3):
            self.predict(
                {"canvas": np.zeros((BATCH, 1, 16, 16), np.float32), "mask": np.ones((BATCH, 1, 16, 16), np.float32)}
            )
        return act(self, observation, rng)

    monkeypatch.setattr(type(agent), "act", deliberating)
    found = costs.flops(agent, images)
    assert found["selector_flops"] == pytest.approx(4 * 3 * once, rel=0.01)
    assert found["predictor_flops"] == pytest.approx(4 * once, rel=0.01)


def test_times_are_of_each_network_apart() -> None:
    task = Beacon()
    found = costs.milliseconds(prepared("uniform", task, glimpses=2), tasks.test_split(task))
    assert set(found) == {"selector_ms", "predictor_ms"}
    assert found["predictor_ms"] > found["selector_ms"] > 0


def test_what_training_drew_and_stepped_is_counted() -> None:
    task = Beacon(count=40)
    with costs.counted() as used:
        task.train(0), task.train(1)
        task.val()
        env = GlimpseVectorEnv(
            task, 3, sensor=Window(5), glimpses=2, budget=1.0, half="train", autoreset_mode=AutoresetMode.DISABLED
        )
        env.reset(seed=0)
        for _ in range(4):  # episodes are over after two glimpses
            env.step(np.zeros((3, 2), np.float32))
    assert used == {"training_images": 3 * 40, "env_steps": 3 * 2}
    with costs.counted() as nothing:
        pass
    assert nothing == {"training_images": 0, "env_steps": 0}


@pytest.fixture
def made(beacon: Task, root: Path) -> Record:
    return run(Spec("uniform", "beacon", 0, {"predictor_steps": 9, "glimpses": 3, "batch": 64}), root, iter)


def test_a_record_tells_what_is_the_same_each_time_and_its_timings_the_rest(made: Record) -> None:
    # Nine batches of 64 need three epochs of 256 images.
    assert made.about["costs"]["training_images"] == 3 * 256
    assert made.about["costs"]["env_steps"] == 0
    assert made.about["costs"]["predictor_flops"] == pytest.approx(3 * by_hand(1, 16, READER_WIDTH, 2), rel=0.01)
    assert not [name for name in made.about["costs"] if name.endswith(("_ms", "seconds"))]
    assert json.loads((made.folder / "timings.json").read_text()).keys() >= {"fit", "selector_ms", "predictor_ms"}


def test_every_cost_stands_on_the_row(made: Record) -> None:
    rows = leaderboard.rows_of([made])
    (line, *_) = leaderboard.table(rows).to_dict("records")
    assert all(line[name] == rows[0].cost[name] for name in costs.NAMES)
    table = leaderboard.markdown(rows, "t").partition("### Cost")[2]
    assert "| contender | training, s | images drawn | env steps | parameters | selector, FLOPs |" in table
    assert f"| {made.about['parameters'] / 1000:.3g}k | 0 |" in table


def test_older_records_without_costs_show_what_they_have(made: Record) -> None:
    (made.folder / "timings.json").unlink()
    older = Record(made.folder, {key: value for key, value in made.about.items() if key != "costs"})
    assert costs.costs_of(older) == {"parameters": made.about["parameters"]}
    table = leaderboard.markdown(leaderboard.rows_of([older]), "t").partition("### Cost")[2]
    assert "| contender | parameters |" in table
    assert "FLOPs |" not in table
