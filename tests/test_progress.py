"""Progress: the share of a run never falls and never stands at the end while something trains."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from conftest import Beacon, hurried
from glimpsebench.bench import judges, watching
from glimpsebench.bench.executors import Event
from glimpsebench.bench.judges import Training
from glimpsebench.bench.plan import Unit
from glimpsebench.bench.progress import TRAINED, Stage, Stages
from glimpsebench.bench.run import Spec, run
from glimpsebench.bench.watching import LOG, Board
from glimpsebench.envs.tasks import Task


def followed(agent: Any, loops: list[int], judge: int = 0) -> tuple[list[Stage], list[float]]:
    """What is told in these loops, after the training of a judge if there is one, and the share at the end of each."""
    told: list[Stage] = []
    stages, ends = Stages(told.append), []
    if judge:
        stages.networks("a task", [judge], agent)
        list(stages(range(judge)))
    stages.training(agent)
    for steps in loops:
        assert list(stages(range(steps))) == list(range(steps))
        ends.append(stages.share)
    return told, ends


def test_loops_that_the_settings_tell_of_move_the_bar_by_their_lengths() -> None:
    agent = hurried("realx", pretrain_steps=500, selector_steps=300, predictor_steps=1000)
    told, ends = followed(agent, [500, 300, 1000], judge=200)
    assert ends == pytest.approx([TRAINED * 0.35, TRAINED * 0.5, TRAINED])
    assert [stage.name for stage in told if stage.name.endswith(": 50 %")] == [
        "training judges and reader of a task: 50 %",
        *(f"stage {number}: 50 %" for number in (1, 2, 3)),
    ]


@pytest.mark.parametrize("rounds", [1, 3])
def test_loops_that_count_otherwise_and_stages_that_repeat_never_reach_the_end(rounds: int) -> None:
    agent = hurried("ppo", predictor_steps=15, extractor_steps=6, policy_steps=4000, rounds=rounds)
    loops = [15, 6, *[98, 15] * rounds]  # the policy's loop counts rollouts
    told, ends = followed(agent, loops)
    shares = [stage.share for stage in told]
    assert shares == sorted(shares)
    assert ends[-1] < TRAINED
    assert len({round(end, 6) for end in ends}) == len(loops), "each loop moves the bar"
    assert ends[1] < 0.05, "the policy's training is the longest"


def test_an_agent_whose_settings_tell_nothing_moves_the_bar_too() -> None:
    _, ends = followed(SimpleNamespace(__dataclass_fields__={}), [7, 7, 7])
    assert ends == sorted({*ends})
    assert 0 < ends[0] < ends[-1] < TRAINED


def test_a_loop_that_is_left_early_counts_as_over() -> None:
    stages = Stages()
    stages.training(hurried("dham", steps=10))
    for step in stages(range(10)):
        if step == 3:
            break
    assert stages.share == pytest.approx(TRAINED)


def test_a_run_says_what_it_is_at_and_names_whose_judges_it_trains(
    beacon: Task, root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GLIMPSE_JUDGES", str(tmp_path / "judges"))
    monkeypatch.setattr(judges, "OWN_RECIPE", judges.Recipe(members=2, steps=3, batch=8, width=2))
    told: list[Stage] = []
    run(
        Spec("hard_concrete", "beacon", 0, {f"{n}_steps": 2 for n in ("pretrain", "selector", "predictor")}),
        root,
        Stages(told.append),
    )
    names = list(dict.fromkeys(stage.name.partition(":")[0] for stage in told))
    assert names == [
        "training judges and reader of beacon-v1",
        "training",
        *(f"stage {number}" for number in (1, 2, 3)),
        "looking at the test images",
        "judging",
    ]
    shares = [stage.share for stage in told]
    assert shares == sorted(shares)
    assert shares[-1] < 1


def test_a_sweeps_bar_does_not_say_done_while_something_trains(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    training = Unit(Training(Beacon(), "reader", 9), tmp_path)
    board = Board([training, *(Unit(Spec("ram", "beacon", seed), tmp_path) for seed in range(300))], tmp_path / LOG)
    monkeypatch.setattr(watching, "_LOG_EVERY_S", -1.0)

    def shown() -> tuple[float, str]:
        board.show()
        return board.bar.n / 301, board.bar.desc

    board.tell(Event(0, "stage", Stage("training judges and reader of beacon-v1: 45 %", 0.45)))
    assert shown()[1] == "0/300 runs; training judges and reader of beacon-v1: 45 %"
    board.over(0, "done")
    for number in range(1, 301):
        board.tell(Event(number, "begun"))
    for number in range(1, 299):
        board.over(number, "done")
    board.over(299, "failed", "ValueError: boom\x1b")
    board.tell(Event(300, "stage", Stage("stage 2: 99 %", 0.95)))
    assert shown() == (0.99, "299/300 runs, 1 running, 1 failed; ram, seed 299: stage 2: 99 %")
    board.over(300, "done")
    assert shown() == (1.0, "300/300 runs, 1 failed")
    board.close()
    assert "ram on beacon, seed 298: failed: ValueError: boom\\x1b" in capsys.readouterr().err
    lines = [line.split("\t") for line in (tmp_path / LOG).read_text().splitlines()]
    assert len(lines) == 301, "a line for each"
    assert {line[2] for line in lines} == {"done", "failed"}
    assert all(len(line) == 6 for line in lines)
