"""The network at test is the one that was trained: what eval mode gets right, training mode gets right too."""

from __future__ import annotations

import runpy
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from conftest import Beacon
from glimpsebench import agents
from glimpsebench.agents.common.attentive import AttentiveAgent
from glimpsebench.agents.common.base import Agent

EVAL_MODE: dict[str, Any] = runpy.run_path(str(Path(__file__).parents[1] / "benchmarks" / "eval_mode.py"))
SMALL: dict[str, dict[str, Any]] = {
    "cell_sequence_sb3": {"n_steps": 8},
    "ppo": {"policy_steps": 200},
    "ppo_open": {"policy_steps": 200},
    "sac": {"policy_steps": 200, "buffer_steps": 200},
    "window_sequence_sb3": {"n_steps": 8},
} | {name: {"network": "bagnet-5"} for name in ("ordered_logits", "saccader", "sobel")}


def trained(name: str, settings: dict[str, Any]) -> Agent:
    """An agent after as many steps as batch norm needs to know its statistics."""
    fields = agents.find(name).__dataclass_fields__
    steps: dict[str, Any] = {field: 60 for field in fields if field.endswith("steps")}
    if "predictor_init" in fields:  # from the reader its batch norm keeps its averages, so that the modes are one
        steps |= {"predictor_init": "random", "predictor_lr": 1.5e-2}
    steps |= {"passes": 2_000} if "passes" in fields else {}
    agent = agents.make(name, steps | SMALL.get(name, {}) | settings)
    torch.manual_seed(0)
    agent.prepare(Beacon())
    agent.fit(Beacon(), 0, iter)
    return agent


@pytest.mark.slow
@pytest.mark.parametrize("name", agents.names())
def test_accuracy_in_eval_mode_is_that_of_training_mode(name: str) -> None:
    for row in EVAL_MODE["compared"](name, trained(name, {}), Beacon(count=500).val()):
        assert abs(row.difference) <= 3 + row.noise, row.network  # per cent; `noise` is two standard errors


@pytest.mark.parametrize("guided", [True, False])
def test_dropout_of_attention_leaves_the_accuracy_of_eval_mode(guided: bool) -> None:
    agent, val = agents.make("adcm", {"keep": 0.67, "guided": guided, "selector_steps": 60}), Beacon().val()
    assert isinstance(agent, AttentiveAgent)
    torch.manual_seed(0)
    agent.prepare(Beacon())
    agent.fit_selector(Beacon(), np.random.default_rng(0), iter)
    classify = EVAL_MODE["classifier_of"](agent)
    eval_NK, train_NK = classify(val.images_NCHW), EVAL_MODE["in_training"](agent.net, classify, val.images_NCHW)
    assert abs((eval_NK.argmax(1) == val.labels_N).mean() - (train_NK.argmax(1) == val.labels_N).mean()) <= 0.03


def test_training_mode_leaves_no_trace() -> None:
    net = nn.Sequential(nn.BatchNorm1d(3), nn.Dropout(0.5)).eval()
    before = {name: value.clone() for name, value in net.state_dict().items()}
    with EVAL_MODE["training_mode"](net):
        assert net.training
        net(torch.rand(8, 3))
    assert not any(module.training for module in net.modules())
    assert all(torch.equal(value, before[name]) for name, value in net.state_dict().items())


def test_the_page_names_what_is_not_within_a_point() -> None:
    rows = [EVAL_MODE["Row"]("some", "predictor", np.arange(100) < right, np.arange(100) < 50) for right in (50, 70)]
    first, second = map(EVAL_MODE["line_of"], rows)
    assert "explained" not in first
    assert "not explained" in second
    assert "+20.0 ± 8.0" in second
