"""`glimpse tune`: as many trials for every entry, none that sees a test image, resumed where it was stopped."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from glimpsebench.agents.common.duel import DuelAgent
from glimpsebench.bench import tune
from glimpsebench.bench.run import Spec
from glimpsebench.bench.suites import read_suite, suite_names
from glimpsebench.envs.datasets import Half
from glimpsebench.envs.errors import UsageError
from glimpsebench.envs.tasks import Task
from test_cli import glimpse

BASE = '[base]\ntask = "beacon"\n"agent.predictor_steps" = 2\n"agent.passes" = 128\n'
TUNE = "[tune]\ntrials = 2\nbudgets = [0.1, 0.2]\n"
REINFORCE = """
[[tune.entry]]
agent = "subset"
"agent.estimator" = "reinforce"
[tune.entry.ranges]
"agent.lr" = { low = 1e-4, high = 1e-1 }
"agent.samples" = [2, 4]
"""
RELAXED = """
[[tune.entry]]
agent = "subset"
"agent.estimator" = "relaxed"
[tune.entry.ranges]
"agent.lr" = { low = 1e-4, high = 1e-1 }
"""


@pytest.fixture
def suite(beacon: Task, tmp_path: Path) -> Path:
    path = tmp_path / "toy.toml"
    path.write_text(BASE + TUNE + REINFORCE + RELAXED)
    return path


def test_every_entry_has_as_many_trials_and_its_settings_lie_in_their_ranges(suite: Path, tmp_path: Path) -> None:
    plan = tune.read_plan(str(suite))
    found = tune.tune(plan, tmp_path / "trials")
    assert [len(trials) for trials in found] == [2, 2]
    for trials, estimator in zip(found, ("reinforce", "relaxed"), strict=True):
        for number, trial in enumerate(trials):
            assert trial.spec.agent_settings["estimator"] == estimator
            assert 1e-4 <= trial.spec.agent_settings["lr"] <= 1e-1
            assert trial.spec.seed == 1000 + number
    assert {trial.spec.agent_settings["samples"] for trial in found[0]} <= {2, 4}
    assert len({trial.spec.agent_settings["lr"] for trials in found for trial in trials}) == 4, "drawn anew each time"


def test_what_is_recorded_is_not_run_again_and_an_interrupted_search_has_tried_all_equally(
    suite: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan, folder = tune.read_plan(str(suite)), tmp_path / "trials"
    run, ran = tune._run, list[str]()

    def stopping(spec: Any, budgets: Any) -> dict[str, Any]:
        if len(ran) == 2:
            raise KeyboardInterrupt
        ran.append(spec.agent_settings["estimator"])
        return run(spec, budgets)

    monkeypatch.setattr(tune, "_run", stopping)
    with pytest.raises(KeyboardInterrupt):
        tune.tune(plan, folder)
    assert ran == ["reinforce", "relaxed"]
    before = {path: path.read_bytes() for path in folder.iterdir()}
    assert len(before) == 2
    ran.clear()
    found = tune.tune(plan, folder)
    assert len(ran) == 2
    assert all(path.read_bytes() == content for path, content in before.items())
    monkeypatch.setattr(tune, "_run", lambda *_: pytest.fail("all are recorded"))
    assert tune.tune(plan, folder) == found


def test_several_processes_try_what_one_would(tmp_path: Path) -> None:
    path = tmp_path / "two.toml"
    path.write_text((BASE + TUNE + RELAXED).replace("beacon", "digits-clutter"))
    plan = tune.read_plan(str(path))
    bar = list[Any]()

    def around(todo: Sequence[Any]) -> Iterator[Any]:
        for each in todo:
            yield each
            bar.append(each)

    alone, together = tune.tune(plan, tmp_path / "one"), tune.tune(plan, tmp_path / "two", around, workers=2)
    assert [[(one.spec, one.score) for one in trials] for trials in together] == [
        [(one.spec, one.score) for one in trials] for trials in alone
    ]
    assert len(bar) == 2


def test_no_trial_meets_the_test_split_and_its_score_is_of_validation_images(
    suite: Path, beacon: Task, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []
    render = type(beacon).render

    def watched(self: Any, half: Half, epoch: int) -> Any:
        asked.append(half)
        return render(self, half, epoch)

    plan = tune.read_plan(str(suite))
    tune.tune(plan, tmp_path / "warm")  # which trains the task's reader
    monkeypatch.setattr(type(beacon), "render", watched)
    tune.tune(plan, tmp_path / "trials")
    assert "val" in asked
    assert "test" not in asked
    for path in (tmp_path / "trials").iterdir():
        about = json.loads(path.read_text())
        assert about["split"] == "validation"
        assert about["score"] == pytest.approx(np.mean([about["accuracies"]["0.1"], about["accuracies"]["0.2"]]))


def test_the_winners_are_a_suite_with_the_best_settings(suite: Path, tmp_path: Path) -> None:
    plan = tune.read_plan(str(suite))
    found = [
        [tune.Trial(plan.spec(entry, trial), score, 1.0) for trial, score in enumerate(scores)]
        for entry, scores in enumerate([(0.2, 0.7), (0.5, None)])
    ]
    written = tmp_path / "toy-tuned.toml"
    written.write_text(tune.winners(plan, found, range(3)))
    specs = read_suite(str(written), {}).specs
    mine = {spec.agent_settings["estimator"]: spec.agent_settings for spec in specs if spec.agent == "subset"}
    assert mine["reinforce"] == plan.spec(0, 1).agent_settings
    assert mine["relaxed"] == plan.spec(1, 0).agent_settings
    assert {spec.seed for spec in specs} == {0, 1, 2}
    with pytest.raises(UsageError, match=r"all trials of .* diverged"):
        tune.winners(plan, [found[0], [tune.Trial(plan.spec(1, 0), None, 1.0)]], range(3))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (BASE, r"no \[tune\] table"),
        (BASE + TUNE, r"no \[\[tune.entry\]\]"),
        (BASE + TUNE.replace("2", "0", 1) + REINFORCE, "'trials' must be a whole number"),
        (BASE + TUNE + "budget = 1\n" + REINFORCE, "unknown key 'budget': did you mean 'budgets'"),
        (BASE + TUNE.replace("0.1", "0.11") + REINFORCE, "'budgets' must be a list of these"),
        (BASE + TUNE + REINFORCE.replace('"agent.samples"', '"agent.predictor_lr2"'), "unknown setting"),
        (BASE + TUNE + REINFORCE.replace("low = 1e-4, high", "low = 0, high"), "log-uniform"),
        (BASE + TUNE + REINFORCE + '"agent.selector_batch" = [8, 16]\n', "part of the budget, which is equal for all"),
        (BASE + TUNE + REINFORCE + '"task.canvas" = [8, 16]\n', "only settings of the agent"),
        (BASE + TUNE + REINFORCE + '"agent.estimator" = ["ppo"]\n', "is set and searched"),
        (
            BASE + TUNE + REINFORCE + RELAXED.replace("[tune.entry.r", '"agent.passes" = 99\n[tune.entry.r'),
            "differs between",
        ),
    ],
)
def test_a_plan_that_is_wrong_is_refused_with_its_remedy(text: str, message: str, beacon: Task, tmp_path: Path) -> None:
    path = tmp_path / "toy.toml"
    path.write_text(text)
    with pytest.raises(UsageError, match=message):
        tune.read_plan(str(path))


def test_entries_of_unequal_budgets_are_refused(beacon: Task, tmp_path: Path) -> None:
    path = tmp_path / "toy.toml"
    base = BASE.replace('"agent.passes" = 128\n', "")
    more = RELAXED.replace("[tune.entry.r", '"agent.passes" = 256\n[tune.entry.r')
    path.write_text(base + TUNE + REINFORCE + more)
    with pytest.raises(UsageError, match=r"'agent.passes' differs between entries \(20000, 256\): set it in \[base\]"):
        tune.read_plan(str(path))


def test_the_command_lists_runs_and_writes_the_suite(
    suite: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code, out, _ = glimpse("tune", str(suite), "--root", str(tmp_path / "here"), "--list", capsys=capsys)
    assert code == 0
    assert out.count("to do") == 4
    code, out, _ = glimpse(
        *("tune", str(suite), "--root", str(tmp_path / "here"), "--trials", "1", "--seeds", "0,1"),
        *("--workers", "1"),  # no other process knows the toy task
        capsys=capsys,
    )
    assert code == 0, out
    assert "validation accuracy" in out
    assert {spec.seed for spec in read_suite(str(tmp_path / "here" / "toy" / "toy-tuned.toml")).specs} == {0, 1}


DUELS = [name for name in suite_names() if name.startswith("duel-") and name != "duel-published"]
"""The arenas'; what was published fights in none."""


@pytest.mark.parametrize("suite", DUELS)
def test_the_duels_suites_tune_every_estimator_that_learns_and_is_no_bound(suite: str) -> None:
    plan, specs = tune.read_plan(suite), read_suite(suite).specs
    tuned = [fixed["agent.estimator"] for fixed, _ in plan.entries]
    agents = [agent for agent, _ in map(Spec.make, specs) if isinstance(agent, DuelAgent)]
    learn = {agent.estimator for agent in agents if agent.family not in ("bound", "floor")}
    assert sorted(tuned) == sorted(learn)
    assert {"agent.lr"} <= set.intersection(*({*ranges} for _, ranges in plan.entries))
    assert len({agent.passes for agent in agents}) == 1
    assert {spec.seed for spec in specs} == set(range(10))
