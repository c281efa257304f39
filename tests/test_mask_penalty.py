"""What `mask_penalty` measures about its masks while it trains, and its losses."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch

from conftest import Beacon, hurried
from glimpsebench import agents
from glimpsebench.agents.common.masks import MaskAgent
from glimpsebench.agents.common.nets import to_float
from glimpsebench.agents.mask_penalty import CURVE_POINTS, MaskPenalty, mask_loss
from glimpsebench.bench.records import canonical
from glimpsebench.envs.tasks import Task

FEW = Beacon(count=32)


def fitted(task: Task, **settings: object) -> MaskPenalty:
    agent = hurried("mask_penalty", **settings)
    assert isinstance(agent, MaskPenalty)
    torch.manual_seed(0)
    agent.prepare(task)
    agent.fit(task, 0, iter)
    return agent


def test_measuring_leaves_no_trace_on_the_weights(monkeypatch: pytest.MonkeyPatch) -> None:
    measured = fitted(FEW, selector_steps=5, batch=16).nets.state_dict()
    monkeypatch.setattr(MaskPenalty, "fit_selector", MaskAgent.fit_selector)
    plain = fitted(FEW, selector_steps=5, batch=16)
    assert not plain.findings
    assert all(torch.equal(value, measured[name]) for name, value in plain.nets.state_dict().items())


@pytest.mark.parametrize(("steps", "points"), [(2, 3), (60, CURVE_POINTS + 1)])
def test_a_curve_runs_from_the_untrained_mask_to_the_last_step(steps: int, points: int) -> None:
    agent = fitted(FEW, selector_steps=steps, batch=8)
    curve = agent.findings["mask_mean_curve"]
    assert isinstance(curve, list)
    assert len(curve) == points
    assert curve[-1] == agent.findings["mask_mean"], "all of its few images are among those of the curve"
    assert 0.3 < curve[0] < 0.7, "before the first step the scores lie around zero"
    json.loads(canonical(agent.findings))


@pytest.mark.parametrize(("bias", "empty", "full", "overlap"), [(-100.0, 1, 0, 0), (100.0, 0, 1, 1)])
def test_an_empty_and_a_full_mask_are_measured_as_such(bias: float, empty: float, full: float, overlap: float) -> None:
    agent = agents.make("mask_penalty")
    assert isinstance(agent, MaskPenalty)
    agent.prepare(FEW)
    final = [module for module in agent.nets.scorer.modules() if isinstance(module, torch.nn.Conv2d)][-1]
    assert final.bias is not None
    torch.nn.init.constant_(final.bias, bias)
    val = FEW.val()
    agent.nets.eval()
    found = agent.measured(to_float(val.images_NCHW), torch.tensor(np.asarray(val.labels_N)))
    assert (found["mask_empty"], found["mask_full"], found["mask_shown"]) == (empty, full, full)
    assert found["mask_binary"] == 1
    assert found["mask_overlap"] == pytest.approx(overlap)
    assert found["mask_mean"] == found["mask_peak"] == full


def test_target_entropy_on_values_worked_by_hand() -> None:
    mask, one = torch.tensor([0.5, 1.0]), np.log(2) / 2  # the entropy of these two values, on average
    assert mask_loss(mask, "target_entropy", 1.0, 1e-6, 0.25) == pytest.approx(0.25)
    assert mask_loss(mask, "target_entropy", 0.2, 1e-6, 0.75) == pytest.approx(0.8 * one, abs=1e-5)
    assert mask_loss(mask, "target_entropy", 0.2, 1e-6, 0.75, rise=0.5) == pytest.approx(0.4 * one, abs=1e-5)
