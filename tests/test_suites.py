"""Suites in a small form: what they ask for can be trained and looks at images, in seconds."""

from __future__ import annotations

import pytest

from conftest import hurried
from glimpsebench.bench.records import canonical
from glimpsebench.bench.rollout import rollout
from glimpsebench.bench.suites import read_suite
from glimpsebench.envs import tasks
from glimpsebench.envs.tasks import Split, Task

SUITES = ["attention", "dham-noise", "dham-parts", "dham-sizes", "gain", "gain-bias", "mask-penalty"]
"""Those of single methods, but for Saccader's, which test_saccader.py runs."""
SMALL = {"batch": 4, "size": 5, "attention_stride": 1, "selector_steps": 2, "width": 4}
OTHER_SIZES = {"train_canvas", "tested_canvases"}
"""Settings for tasks whose canvas has a size of its own."""


@pytest.mark.parametrize("suite", SUITES)
def test_a_suite_runs_in_a_small_form(suite: str, beacon: Task) -> None:
    split = tasks.test_split(beacon)
    images = Split(split.images_NCHW[:4], None)
    asked = {canonical([s.agent, s.agent_settings]): (s.agent, s.agent_settings) for s in read_suite(suite).specs}
    for name, settings in asked.values():
        plain = {key: value for key, value in settings.items() if key not in OTHER_SIZES}
        few = {key: 2 for key in plain if key.endswith("steps")}
        agent = hurried(
            name, **plain | few | {key: value for key, value in SMALL.items() if key in plain | {"batch": 4}}
        )
        agent.prepare(beacon)
        agent.fit(beacon, 0, iter)
        predicted_FN = rollout(agent, images, seed=0).predicted_FN
        assert (predicted_FN >= 0).any(), (name, settings)
