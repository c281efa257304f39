"""What was interrupted and goes on ends as if it had not been: every agent, bit for bit."""

from __future__ import annotations

import hashlib
import itertools
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
import torch
from torch import Tensor

from conftest import Alone, judged_by
from glimpsebench import agents
from glimpsebench.agents.common.base import Agent, Progress, checkpointed_by, reporting_to
from glimpsebench.agents.uniform import Uniform
from glimpsebench.bench import checkpoints, judges, recorder
from glimpsebench.bench import run as runner
from glimpsebench.bench.checkpoints import Checkpoints, Damaged, read, write
from glimpsebench.bench.recorder import Recorder
from glimpsebench.bench.run import Spec, run
from glimpsebench.envs.base import USE
from glimpsebench.envs.errors import UsageError
from glimpsebench.envs.tasks import Task

STEPS = 9
LOOKS = {"policy_steps": 72, "num_envs": 4, "glimpses": 2, "size": 5, "features_dim": 8, "extractor_batch": 16}
"""An actor-critic's: several rollouts in each round."""
ENVS = {"envs": 4, "n_steps": 4, "gradient_steps": 1}
CASES: dict[str, tuple[str, dict[str, Any]]] = {name: (name, {}) for name in agents.names()} | {
    "ppo": ("ppo", LOOKS | {"episodes": 1}),
    "ppo, grid": ("ppo", LOOKS | {"episodes": 1, "actions": "grid", "cells": 4}),
    "ppo_open": ("ppo_open", LOOKS | {"episodes": 1}),
    "sac": ("sac", LOOKS | {"warmup_steps": 12, "buffer_steps": 60, "policy_batch": 8, "gradient_steps": 2}),
    "cell_sequence_sb3": ("cell_sequence_sb3", ENVS),
    "cell_sequence_sb3, dqn": ("cell_sequence_sb3", ENVS | {"estimator": "dqn", "buffer_size": 60}),
    "window_sequence_sb3": ("window_sequence_sb3", ENVS),
    "window_sequence_sb3, sac": ("window_sequence_sb3", ENVS | {"estimator": "sac", "buffer_size": 60}),
    "gdfs, queue": ("gdfs", {"cells_per_loss": 2, "glimpses": 6}),
    "ram, random": ("ram", {"first_fixation": "random", "standardize": True, "predictor": "core"}),
    "random weights": ("center", {"predictor_init": "random"}),
}
"""Every agent and, by other names, settings whose training keeps other things from step to step."""


class Killed(KeyboardInterrupt):
    """As by SIGKILL: nothing in the training may catch it."""


@dataclass
class Killer:
    """A progress wrapper that ends the process, as it were, before one of the items of all loops together."""

    before: float = np.inf
    items: int = 0

    def __call__(self, loop: Iterable[int]) -> Iterator[int]:
        for item in loop:
            if self.items == self.before:
                raise Killed
            self.items += 1
            yield item


@dataclass
class Outcome:
    """What a training came to."""

    tensors: dict[str, Tensor]
    findings: dict[str, Any]
    curves: list[dict[str, Any]]
    images: int
    env_steps: int
    said: list[str]

    def equals(self, other: Outcome) -> bool:
        same = self.tensors.keys() == other.tensors.keys()
        same = same and all(torch.equal(value, other.tensors[name]) for name, value in self.tensors.items())
        rest, others = ((one.findings, one.curves, one.images, one.env_steps) for one in (self, other))
        return same and rest == others


def few_steps(case: str) -> tuple[str, dict[str, Any]]:
    """The agent of a case and its settings."""
    name, settings = CASES[case]
    fields = agents.find(name).__dataclass_fields__
    few: dict[str, Any] = {field: STEPS for field in fields if field.endswith("steps")}
    few |= {field: value for field, value in {"batch": 16, "passes": 64 * STEPS}.items() if field in fields}
    return name, few | settings


def center() -> Agent:
    """A floor, untrained: where any agent will do."""
    return agents.make(*few_steps("center"))


def train(agent: Agent, task: Task, folder: Path, progress: Progress[int] = iter) -> Outcome:
    """As the bench trains, with checkpoints in a folder."""
    torch.manual_seed(0)
    agent.prepare(task)
    curves, said = Recorder(agent, task, progress), list[str]()
    images, steps = USE.images, USE.steps
    kept = Checkpoints(folder, "this run", agent, curves, said.append)
    with reporting_to(curves), checkpointed_by(kept):
        agent.fit(task, 0, curves)
    assert agent.net is not None
    states = {"": agent.net.state_dict(), **agent.checkpoints}
    tensors = {f"{stage}/{name}": value for stage, state in states.items() for name, value in state.items()}
    return Outcome(tensors, agent.findings, curves.curves, USE.images - images, USE.steps - steps, said)


@pytest.fixture
def task(beacon: Task) -> Task:
    """The toy task, its judge and reader trained, as the bench sees to before a run."""
    for network in judges.missing(beacon):
        network.run(iter)
    return beacon


@pytest.fixture(autouse=True)
def often(monkeypatch: pytest.MonkeyPatch) -> None:
    """A checkpoint before every second step, so that some steps are done again and some are not."""
    turn = itertools.count()
    monkeypatch.setattr(Checkpoints, "_due", lambda _: next(turn) % 2 == 0)
    monkeypatch.setattr(recorder, "VALIDATION_IMAGES", 32)


def interrupted_and_resumed(make: Callable[[], Agent], task: Task, folder: Path, *cuts: float) -> None:
    """Train without interruption, and with one at each of these shares of all steps; all must be equal."""
    whole = Killer()
    expected = train(make(), task, folder / "whole", whole)
    for number, cut in enumerate(cuts):
        killer, again = Killer(int(whole.items * cut)), folder / str(number)
        with pytest.raises(Killed):
            train(make(), task, again, killer)
        # A new process has other states of the global generators.
        np.random.seed(number)  # noqa: NPY002
        outcome = train(make(), task, again)
        assert any("goes on from" in line for line in outcome.said)
        assert outcome.equals(expected)


@pytest.mark.parametrize("case", CASES)
def test_an_interrupted_training_ends_as_if_it_had_not_been(case: str, task: Task, tmp_path: Path) -> None:
    interrupted_and_resumed(lambda: agents.make(*few_steps(case)), task, tmp_path, 0.625)


def test_a_learner_that_explores_goes_on_exploring(task: Task, tmp_path: Path) -> None:
    interrupted_and_resumed(lambda: agents.make(*few_steps("cell_sequence_sb3, dqn")), task, tmp_path, 0.25)


@pytest.mark.long
@pytest.mark.parametrize("case", CASES)
def test_wherever_a_training_is_interrupted(case: str, task: Task, tmp_path: Path) -> None:
    interrupted_and_resumed(lambda: agents.make(*few_steps(case)), task, tmp_path, 0.25, 0.5, 0.75)


CENTER = Spec("center", "beacon", 0, {"predictor_steps": STEPS, "batch": 16})


def files(folder: Path) -> dict[str, bytes]:
    """A record's files, without the timings."""
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.name != "timings.json"}


@pytest.fixture
def unjudged(monkeypatch: pytest.MonkeyPatch) -> None:
    """A judge that costs nothing."""
    judged_by(monkeypatch, Alone("0" * 16, lambda view: np.zeros((len(view["canvas"]), 2))))


def test_an_interrupted_run_has_the_same_record_and_leaves_nothing(task: Task, root: Path, unjudged: None) -> None:
    expected = run(CENTER, root / "whole", iter)

    def slow_and_cut(loop: Iterable[int]) -> Iterator[int]:
        for item in Killer(6)(loop):
            time.sleep(0.3 if item == 0 else 0)
            yield item

    with pytest.raises(Killed):
        run(CENTER, root, slow_and_cut)
    key = CENTER.folder(root).name
    assert [path.name for path in (root / "checkpoints" / key).iterdir()] == ["0.checkpoint"]
    assert not CENTER.folder(root).exists()
    record = run(CENTER, root, iter)
    assert record.timings["fit"] > 0.3, "the seconds of all parts count"
    assert files(record.folder) == files(expected.folder)
    assert not (root / "checkpoints").exists()


def test_networks_that_a_run_trained_before_it_are_no_part_of_it_however_it_is_cut(
    task: Task, root: Path, unjudged: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = run(CENTER, root / "whole", iter)
    clock, passed = time.perf_counter, [0.0]

    class Network:
        """A judge's, of which training takes long and draws images, as it seems."""

        steps = 1

        def run(self, _: Any) -> None:
            task.train()
            passed[0] += 1000

    monkeypatch.setattr(time, "perf_counter", lambda: clock() + passed[0])
    with monkeypatch.context() as patch:
        patch.setattr(judges, "missing", lambda _: [Network()])
        with pytest.raises(Killed):
            run(CENTER, root, Killer(6))
    record = run(CENTER, root, iter)
    assert files(record.folder) == files(expected.folder)
    assert record.timings["fit"] < 500
    assert max(record.curve_seconds[0]["loss"]) < 500


@pytest.mark.parametrize("change", ["settings", "seed", "libraries"])
def test_no_other_run_goes_on_from_a_checkpoint(
    change: str, task: Task, root: Path, unjudged: None, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    with pytest.raises(Killed):
        run(CENTER, root, Killer(6))
    monkeypatch.setattr(runner, "_SOFTWARE", (*runner._SOFTWARE, *(["pydantic"] if change == "libraries" else [])))
    settings = {**CENTER.agent_settings, **({"batch": 17} if change == "settings" else {})}
    other, count = Spec("center", "beacon", int(change == "seed"), settings), Killer()
    run(other, root, count)
    assert count.items == STEPS
    said = capsys.readouterr().err
    assert "goes on from" not in said
    assert ("of another version, library or machine; training begins anew" in said) == (change == "libraries")


def center_cut_at_6(task: Task, folder: Path) -> Path:
    """The checkpoint of a training that was cut."""
    with pytest.raises(Killed):
        train(center(), task, folder, Killer(6))
    return folder / "0.checkpoint"


def test_every_cut_and_every_flipped_bit_is_noticed(task: Task, tmp_path: Path) -> None:
    path, rng = tmp_path / "0.checkpoint", np.random.default_rng(0)
    write(path, "this run", 3, {"value": torch.arange(1000.0), "more": [1, (2.5, None)]})
    content = path.read_bytes()
    lengths, bits = rng.integers(0, len(content), 100), rng.integers(0, 8 * len(content), 100)
    changed = [content[:length] for length in lengths]
    for bit in bits:
        flipped = bytearray(content)
        flipped[bit // 8] ^= 1 << bit % 8
        changed.append(bytes(flipped))
    for other in changed:
        path.write_bytes(other)
        with pytest.raises(Damaged, match=r"0\.checkpoint is damaged"):
            read(path, "this run")
    path.write_bytes(content)
    assert read(path, "this run")[0] == 3


def test_a_damaged_checkpoint_is_said_and_training_begins_anew(task: Task, tmp_path: Path) -> None:
    expected = train(center(), task, tmp_path / "whole")
    path = center_cut_at_6(task, tmp_path / "cut")
    path.write_bytes(path.read_bytes()[:-1])
    outcome = train(center(), task, tmp_path / "cut")
    assert outcome.said == [f"{path} is damaged; training begins anew"]
    assert outcome.equals(expected)


def test_a_whole_file_that_is_no_checkpoint_is_not_used(tmp_path: Path) -> None:
    for content in (b"", b"\x02" + bytes(7) + b"{}", b"\xff" * 8 + b"[[[["):
        path = tmp_path / "0.checkpoint"
        path.write_bytes(content + hashlib.sha256(content).digest())
        with pytest.raises(Damaged, match="is no checkpoint"):
            read(path, "this run")


def test_values_come_back_as_they_were(tmp_path: Path) -> None:
    channels_last = torch.rand(2, 3, 4, 5).to(memory_format=torch.channels_last)
    state: dict[str, Any] = {
        "channels_last": channels_last,
        "twice": [channels_last, channels_last],
        "empty": torch.empty(0, 3),
        "scalar": torch.tensor(2.5, dtype=torch.float64),
        "array": np.arange(6, dtype=np.uint64).reshape(2, 3).T,
        "keys": {0: (1, 2.5, None, "é"), "nan": [float("nan"), float("inf"), 2**127 + 1, 0.1 + 0.2, True]},
        "number": np.int64(7),
    }
    write(tmp_path / "0.checkpoint", "this run", 3, state)
    step, again = read(tmp_path / "0.checkpoint", "this run")
    assert step == 3
    assert torch.equal(again["channels_last"], channels_last)
    assert again["channels_last"].stride() == again["twice"][1].stride() == channels_last.stride()
    assert again["empty"].shape == (0, 3)
    assert torch.equal(again["scalar"], state["scalar"])
    assert again["scalar"].dtype == torch.float64
    assert again["array"].dtype == np.uint64
    assert np.array_equal(again["array"], state["array"])
    assert repr(again["keys"]) == repr(state["keys"])
    assert again["number"] == 7
    assert (tmp_path / "0.checkpoint").stat().st_size < 2 * 4 * 120 + 2000, "shared memory is there once"


@pytest.mark.parametrize("broken", ["save_file", "file_digest", "replace"])
def test_a_full_disk_ends_no_training(broken: str, task: Task, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    expected = train(center(), task, tmp_path / "whole")

    def full(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    owner: Any = {"save_file": checkpoints, "file_digest": hashlib, "replace": Path}[broken]
    monkeypatch.setattr(owner, broken, full)
    outcome = train(center(), task, tmp_path / "full")
    assert outcome.equals(expected)
    assert "no checkpoint was written: [Errno 28] No space left on device" in outcome.said
    assert not list((tmp_path / "full").iterdir())


def test_a_training_that_is_told_to_stop_loses_no_step(task: Task, tmp_path: Path) -> None:
    expected, taken = train(center(), task, tmp_path / "whole"), []

    def stopped_at_5(loop: Iterable[int]) -> Iterator[int]:
        for item in loop:
            if item == 5:
                checkpoints.STOP.set()
            taken.append(item)
            yield item

    try:
        with pytest.raises(KeyboardInterrupt):
            train(center(), task, tmp_path / "stopped", stopped_at_5)
    finally:
        checkpoints.STOP.clear()
    outcome = train(center(), task, tmp_path / "stopped")
    assert taken[-1] == 5
    assert f"training goes on from step 5 of its loop 1, from {tmp_path / 'stopped'}" in outcome.said
    assert outcome.equals(expected)


@dataclass
class Outside(Uniform):
    """Somebody's own agent, of which nothing is known."""


@dataclass
class Inside(Uniform):
    """Somebody's own agent that says that its loops can be taken up."""

    checkpointed = True


def test_a_contender_from_elsewhere_says_that_it_may_go_on(task: Task, tmp_path: Path) -> None:
    for kind, kept in ((Outside, False), (Inside, True)):
        folder = tmp_path / kind.__name__
        with pytest.raises(Killed):
            train(kind(predictor_steps=STEPS, batch=16), task, folder, Killer(6))
        assert folder.exists() == kept


def test_how_often_is_an_environment_variable(monkeypatch: pytest.MonkeyPatch, task: Task, tmp_path: Path) -> None:
    assert checkpoints.seconds() == checkpoints.SECONDS
    for told in ("often", "-1", "nan"):
        monkeypatch.setenv("GLIMPSE_CHECKPOINT_SECONDS", told)
        with pytest.raises(UsageError, match=f"GLIMPSE_CHECKPOINT_SECONDS is '{told}'"):
            checkpoints.seconds()
    monkeypatch.setenv("GLIMPSE_CHECKPOINT_SECONDS", "inf")
    with pytest.raises(Killed):
        train(center(), task, tmp_path / "never", Killer(6))
    assert not (tmp_path / "never").exists()


def test_large_checkpoints_are_written_more_seldom(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, beacon: Task
) -> None:
    monkeypatch.undo()
    agent = agents.make("center")
    kept = Checkpoints(tmp_path, "this run", agent, Recorder(agent, beacon))
    now = kept.written
    monkeypatch.setattr(time, "perf_counter", lambda: now)
    found = []
    for took, after in ((0.1, 59), (0.1, 61), (10, 61), (10, 501)):
        kept.took, kept.written = took, now - after
        found.append(kept._due())
    assert found == [False, True, False, True]


class Poisoned(Recorder):
    """Before one item of all loops together, every weight becomes NaN."""

    before: ClassVar[int] = 0

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self.items = 0

    def __call__(self, loop: Iterable[int]) -> Iterator[int]:
        for item in super().__call__(loop):
            if self.items == self.before:
                learner = getattr(self.agent, "in_training", None)
                for net in [self.agent.net, *([learner.policy] if learner else [])]:
                    assert net is not None
                    for weight in net.parameters():
                        weight.data.fill_(float("nan"))
            self.items += 1
            yield item


def diverges(case: str, before: int, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With NaN from this item on there is one record, which says so."""
    name, settings = few_steps(case)
    monkeypatch.setattr(runner, "Recorder", Poisoned)
    monkeypatch.setattr(Poisoned, "before", before)
    record = run(Spec(name, "beacon", 0, settings), root, iter)
    # Some networks draw from what their weights say, or look there, which torch and the env refuse before a loss.
    refused = "RuntimeError: probability tensor contains either `inf`, `nan`|ValueError: .*NaN"
    error = record.about["error"]
    assert record.about["status"] == ("failed" if re.match(refused, error) else "diverged"), error
    assert re.search(f"loss is nan|weights diverged|{refused}", error)
    for path in record.folder.glob("*.json"):
        json.loads(path.read_text(), parse_constant=pytest.fail)
    assert not (root / "checkpoints").exists()


@pytest.mark.filterwarnings("ignore:invalid value encountered in cast")
@pytest.mark.parametrize("case", CASES)
def test_a_loss_that_is_not_finite_is_a_row(
    case: str, task: Task, root: Path, unjudged: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    diverges(case, 0, root, monkeypatch)


@pytest.mark.long
@pytest.mark.filterwarnings("ignore:invalid value encountered in cast")
@pytest.mark.parametrize("case", CASES)
def test_a_loss_that_is_not_finite_is_a_row_at_any_step(
    case: str, task: Task, root: Path, unjudged: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    counted = Killer()
    train(agents.make(*few_steps(case)), task, root, counted)
    for before in (1, counted.items // 2, counted.items - 1):
        diverges(case, before, root / str(before), monkeypatch)


def times(root: Path) -> list[int]:
    """When the checkpoints of a results folder were written."""
    return [path.stat().st_mtime_ns for path in sorted(root.glob("checkpoints/*/*.checkpoint"))]


@pytest.mark.long
def test_a_run_that_was_killed_for_good_goes_on(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "glimpsebench", "run", "--agent", "center", "--task", "digits-clutter"]
    command += ["--set", "agent.predictor_steps=200", "--root"]
    often = os.environ | {"GLIMPSE_CHECKPOINT_SECONDS": "0"}
    folders: list[Path] = []
    for root in (tmp_path / "whole", tmp_path / "killed"):
        kills = 0
        while root.name == "killed" and kills < 3:
            with subprocess.Popen([*command, str(root)], env=often, stdout=subprocess.DEVNULL) as process:
                written = times(root)
                while times(root) == written:
                    assert process.poll() is None
                    time.sleep(0.01)
                time.sleep(0.1 * kills)
                os.kill(process.pid, signal.SIGKILL)
            kills += 1
            assert not list(root.glob("records/*/*/*/record.json"))
        done = subprocess.run([*command, str(root)], env=often, capture_output=True, text=True, check=True)
        assert ("goes on from" in done.stderr) == (root.name == "killed")
        folders += root.glob("records/*/*/*")
        assert not (root / "checkpoints").exists()
    assert files(folders[0]) == files(folders[1])
