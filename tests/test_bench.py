"""The spine: rollout, records, sweeps and tables, on the toy task."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from conftest import Beacon, hurried
from glimpsebench import agents
from glimpsebench.agents.common.base import BUDGETS
from glimpsebench.agents.full import Full
from glimpsebench.agents.raster import Raster
from glimpsebench.bench import figures, hashes, judges, leaderboard, records
from glimpsebench.bench.executors.local import Local
from glimpsebench.bench.plan import is_done
from glimpsebench.bench.records import Record
from glimpsebench.bench.rollout import footprints_of, replay, rollout
from glimpsebench.bench.run import Spec, run
from glimpsebench.bench.sweep import sweep
from glimpsebench.envs import tasks
from glimpsebench.envs.errors import UsageError
from glimpsebench.envs.sensors import Mask, Window
from glimpsebench.envs.settings import current, renamed
from glimpsebench.envs.tasks import Split, Task
from test_cli import glimpse

QUICK = {"predictor_steps": 2}


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.name != "timings.json"}


@pytest.mark.parametrize("name", ["uniform", "straight_through", "dham", "lowres"])
def test_the_same_run_twice_gives_the_same_bytes(name: str, beacon: Task, root: Path) -> None:
    settings = {"straight_through": QUICK | {"selector_steps": 2}, "dham": {"steps": 2}}.get(name, QUICK)
    first = run(Spec(name, "beacon", 0, settings), root / "a", iter)
    second = run(Spec(name, "beacon", 0, settings), root / "b", iter)
    assert first.done, first.about
    assert contents(first.folder) == contents(second.folder)
    assert {"record.json", "images.npz", "selections.npz"} <= set(contents(first.folder))


def test_a_setting_that_was_renamed_is_read_by_its_old_name_too() -> None:
    @dataclass
    class Now(Raster):
        eyelids: int = renamed(1, "lids")

    assert current(Now, {"lids": 2, "glimpses": 3}) == {"eyelids": 2, "glimpses": 3}
    assert current(Now, {"eyelids": 2}) == {"eyelids": 2}


MINE = """
from glimpsebench.agents.raster import Raster
from mine_parts import STRIDE
import mine_installed

class Mine(Raster):
    "Looks like a page."
    stride = STRIDE
"""


@pytest.fixture
def mine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A contender of one's own, which imports a module beside it and an installed one below it."""
    installed = tmp_path / ".venv" / "site-packages"
    installed.mkdir(parents=True)
    for name, text in (("mine", MINE), ("mine_parts", "STRIDE = 1\n"), (".venv/site-packages/mine_installed", "")):
        (tmp_path / f"{name}.py").write_text(text)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.syspath_prepend(str(installed))
    agents.source_hash.cache_clear()
    yield tmp_path
    agents.source_hash.cache_clear()
    for name in [name for name in sys.modules if name.startswith("mine")]:
        del sys.modules[name]


def edited(path: Path, old: str, new: str) -> str:
    """The hash of `mine` after an edit."""
    path.write_text(path.read_text().replace(old, new))
    agents.source_hash.cache_clear()
    return agents.source_hash("mine")


def test_the_source_of_a_contender_is_its_code_and_that_of_its_folder(mine: Path) -> None:
    before = agents.source_hash("mine")
    assert edited(mine / "mine.py", '    "Looks like a page."\n', '    "Something else."\n\n    # and why\n') == before
    assert edited(mine / ".venv" / "site-packages" / "mine_installed.py", "", "ONE = 1\n") == before
    after = edited(mine / "mine.py", "STRIDE\n\n", "STRIDE\nONE = 1\n")
    assert edited(mine / "mine.py", "stride = STRIDE", "stride = 2 * STRIDE") not in (before, after)
    assert edited(mine / "mine.py", "stride = 2 * STRIDE", "stride = STRIDE") == after
    assert edited(mine / "mine_parts.py", "1", "2") not in (before, after)
    assert agents.code_only('"why"; x = 1\n') == '"why"; x = 1', "code beside a text is code"


def test_an_edited_contender_runs_again_says_so_and_has_a_row_of_its_own(
    mine: Path, beacon: Task, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["run", "--agent", "mine", "--task", "beacon", "--set", "agent.predictor_steps=2", "--root", "here"]
    assert "changed" not in glimpse(*words, capsys=capsys)[1]
    assert "its record is here already" in glimpse(*words, capsys=capsys)[1]
    edited(mine / "mine_parts.py", "1", "2")
    (mine / "s.toml").write_text("floors=false\n[base]\ntask='beacon'\nagent='mine'\n'agent.predictor_steps'=2\n")
    _, out, _ = glimpse("sweep", "s.toml", "--root", "here", "--list", capsys=capsys)
    (old,) = (mine / "here" / "records" / "beacon-v1" / "mine").iterdir()
    assert f"its source has changed since the record of {old.relative_to(mine)}; runs again" in " ".join(out.split())
    code, out, _ = glimpse(*words, capsys=capsys)
    assert (code, "its source has changed since the record of" in " ".join(out.split())) == (0, True)
    made = records.read_all(mine / "here")
    assert len({record.about["agent"]["source"] for record in made}) == 2
    rows = leaderboard.rows_of(made)
    assert {len(row.records) for row in rows} == {1}
    assert all(re.fullmatch(r"mine \(source=\w{8}\)", row.label) for row in rows)
    assert made[0].about["agent"]["file"] == str(mine / "mine.py")


def test_a_record_imports_no_module_that_it_names(mine: Path, beacon: Task, root: Path) -> None:
    record = run(Spec("mine", "beacon", 0, QUICK), root, iter)
    for name in [name for name in sys.modules if name.startswith("mine")]:
        del sys.modules[name]
    (again,) = records.read_all(root)
    leaderboard.write([again], root, "A title")
    assert not list(figures.gallery.draw(leaderboard.rows_of([again]), 6.75))
    with pytest.raises(UsageError, match=r"add --import mine$"):
        records.rebuilt(again)
    assert "mine" not in sys.modules
    agents.find("mine")
    assert type(records.rebuilt(record)[1]).__name__ == "Mine"


def test_records_of_the_first_schema_are_read_by_the_names_of_now(beacon: Task, root: Path) -> None:
    record = run(Spec("ram", "beacon", 0, QUICK | {"policy_steps": 2, "loss_at": "last"}), root, iter)
    path = record.folder / "record.json"
    about = json.loads(path.read_text())
    for part in ("settings", "changed"):
        about["agent"][part]["told"] = about["agent"][part].pop("loss_at")
    for key in ("source", "given", "supervision"):
        del about["agent"][key]
    about |= {"schema": 1, "evaluator": "0" * 16, "agent": about["agent"] | {"reference": False}}
    path.write_text(json.dumps(about))
    hashes.write(path.parent)
    old = Record.read(record.folder).about["agent"]
    assert old["changed"] == record.about["agent"]["changed"]
    assert old["settings"] == record.about["agent"]["settings"]
    assert (old["source"], old["given"], old["supervision"], old["reference"]) == (None, 1, "labels", None)


@pytest.mark.parametrize(("budgets", "reference"), [([1.0], "ceiling"), ([0.1, 1.0], "floor")])
def test_the_first_schema_has_floors_and_a_ceiling(
    budgets: list[float], reference: str, beacon: Task, root: Path
) -> None:
    made = run(Spec("full", "beacon", 0, QUICK), root, iter)
    about = json.loads((made.folder / "record.json").read_text())
    agent = about["agent"] | {"name": "somebody.elses", "reference": True, "settings": {}, "changed": {}}
    about |= {"schema": 1, "budgets": budgets, "agent": agent, "evaluator": "0" * 16}
    (made.folder / "record.json").write_text(json.dumps(about))
    hashes.write(made.folder)
    assert Record.read(made.folder).about["agent"]["reference"] == reference


def test_frozen_networks_are_counted(beacon: Task, root: Path) -> None:
    record = run(Spec("straight_through", "beacon", 0, QUICK | {"selector_steps": 2}), root, iter)
    agent = agents.make("straight_through")
    agent.prepare(beacon)
    assert agent.net is not None
    every = sum(weight.numel() for weight in agent.net.parameters())
    assert record.about["parameters"] == record.about["trainable"] == every
    next(agent.net.parameters()).requires_grad_(False)
    assert agent.trainable < agent.parameters == every


@pytest.mark.parametrize(("first", "given"), [("center", 1), ("random", 0)])
def test_the_pointing_game_is_played_with_the_first_look_by_choice(first: str, given: int, beacon: Task) -> None:
    agent = agents.make("ram", {"first_fixation": first, "size": 5, "glimpses": 3})
    agent.prepare(beacon)
    assert agent.given == given
    episodes = rollout(agent, tasks.test_split(beacon), seed=0)
    corner = agent.sensor().aim(episodes.selection[0, :, given], agent.shape, np.zeros(0))
    np.testing.assert_array_equal(episodes.points_N2, np.clip(corner + 2, 0, 15))


def test_an_agent_that_chooses_no_look_does_not_play_the_pointing_game(beacon: Task, root: Path) -> None:
    few = QUICK | {"policy_steps": 2, "size": 5}
    assert "pointed" not in run(Spec("ram", "beacon", 0, few | {"glimpses": 1}), root, iter).arrays
    assert "pointed" in run(Spec("ram", "beacon", 0, few | {"glimpses": 2}), root, iter).arrays


def test_a_prefix_is_the_longest_that_stays_within_the_budget(beacon: Task) -> None:
    agent = Raster(size=4, predictor_steps=2)
    agent.prepare(beacon)
    agent.net = agent.net.eval() if agent.net is not None else None
    episodes = rollout(agent, tasks.test_split(beacon), seed=0)
    # Windows of 16 of 256 pixels, side by side: 6.25 % each.
    expected = [0, 0, 0, 1, 2, 3, 4, 8, 16]
    assert episodes.steps_FN[:, 0].tolist() == expected
    assert episodes.touched_FN[:, 0].tolist() == [16 * steps for steps in expected]
    assert (episodes.predicted_FN[:3] == -1).all()


def test_a_replay_touches_what_the_agent_touched_and_shows_only_that(beacon: Task) -> None:
    agent = Raster(size=5, predictor_steps=2)
    agent.prepare(beacon)
    images = tasks.test_split(beacon)
    episodes = rollout(agent, images, seed=0)
    seen = []

    def judge(view: dict[str, np.ndarray]) -> np.ndarray:
        seen.append(view)
        assert (view["canvas"][np.broadcast_to(view["mask"] == 0, view["canvas"].shape)] == 0).all()
        return np.zeros((len(view["canvas"]), 2))

    again = replay(agent, images, episodes, judge)
    assert np.array_equal(again.touched_FN, episodes.touched_FN)
    assert np.array_equal(again.selection, episodes.selection)
    assert seen[0]["mask"][0].sum() == 25


@pytest.mark.parametrize("name", ["raster", "sobel"])
def test_a_replay_asks_where_a_budget_ends_and_nowhere_else(
    name: str, beacon: Task, monkeypatch: pytest.MonkeyPatch
) -> None:
    agent = hurried(name)
    agent.prepare(beacon)
    monkeypatch.setattr(agent, "predict", lambda view: None)
    test = tasks.test_split(beacon)
    episodes = rollout(agent, test, 0)
    asked: list[int] = []

    def predict(view: Any) -> Any:
        asked.append(len(view["mask"]))
        logits_BK = np.stack([view["mask"].sum((1, 2, 3)), np.full(len(view["mask"]), 100)], 1)
        return np.stack([logits_BK, -logits_BK], 1)  # two at once

    again = replay(agent, test, episodes, predict)
    shown_FN = episodes.touched_FN > 100
    some_FN = episodes.steps_FN > 0
    np.testing.assert_array_equal(again.predicted_FN[..., 0], np.where(some_FN, np.where(shown_FN, 0, 1), -1))
    np.testing.assert_array_equal(again.predicted_FN[..., 1], np.where(some_FN, np.where(shown_FN, 1, 0), -1))
    ends = sum(len({*column} - {0}) for column in episodes.steps_FN.T) if name == "raster" else some_FN.sum()
    assert ends <= sum(asked) <= 1.1 * ends + 9


def test_the_last_batch_does_not_depend_on_how_it_is_filled(beacon: Task) -> None:
    images = tasks.test_split(beacon)
    agent = Raster(size=5, predictor_steps=2)
    agent.prepare(beacon)
    assert agent.net is not None
    agent.net.eval()
    whole = rollout(agent, images, seed=0)
    part = rollout(agent, Split(images.images_NCHW[:253]), seed=0)
    assert np.array_equal(whole.predicted_FN[:, :253], part.predicted_FN)


def test_only_accelerated_agents_train_on_the_device(beacon: Task, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys.modules[run.__module__], "usable", lambda device: None)
    spec = Spec("full", "beacon", 0, QUICK)
    record = run(spec, root / "a", iter, "meta")  # where no tensor has values
    assert (record.about["status"], record.about["machine"]["device"]) == ("failed", "meta")
    monkeypatch.setattr(Full, "accelerated", False)
    record = run(spec, root / "b", iter, "meta")
    assert (record.about["status"], record.about["machine"]["device"]) == ("done", "cpu")


def test_a_run_that_diverges_is_a_row_that_says_so(beacon: Task, root: Path) -> None:
    record = run(Spec("full", "beacon", 0, QUICK | {"predictor_lr": 1e30}), root, iter)
    assert record.about["status"] == "diverged"
    assert not is_done(Spec("full", "beacon", 0, QUICK | {"predictor_lr": 1e30}), root)
    text = leaderboard.markdown(leaderboard.rows_of([record]), "t")
    assert "diverged (seed 0)" in text
    row = leaderboard.rows_of([record])[0]
    assert all(np.isnan(value.mean) for value in row.accuracy("own")), "it never reached a budget"


def test_a_seed_that_fails_counts_as_chance(beacon: Task, root: Path) -> None:
    good = run(Spec("full", "beacon", 0, QUICK), root, iter)
    about = dict(good.about) | {"seed": 1, "status": "failed", "error": "x"}
    row = leaderboard.rows_of([good, Record(root, about)])[0]
    assert row.accuracy("own")[-1].mean == pytest.approx((good.accuracy("own")[-1] + 0.5) / 2)
    assert "failed (seed 1)" in row.note


def test_failures_inside_fit_leave_a_record_and_interrupts_leave_nothing(
    beacon: Task, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object) -> None:
        raise ValueError("boom")

    monkeypatch.setattr(Full, "fit", broken)
    record = run(Spec("full", "beacon"), root, iter)
    assert record.about["error"] == "ValueError: boom"

    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(Full, "fit", interrupted)
    with pytest.raises(KeyboardInterrupt):
        run(Spec("full", "beacon", 1), root, iter)
    assert len(records.read_all(root)) == 1
    assert not list(root.glob("records/*/*/.*"))


def test_tables_and_figures_are_functions_of_the_records(beacon: Task, root: Path) -> None:
    specs = [Spec(name, "beacon", seed, QUICK) for name in ("full", "uniform", "center") for seed in (0, 1)]
    for spec in specs:
        run(spec, root, iter)
    first = [path.read_bytes() for path in leaderboard.write(records.read_all(root), root, "Toy")]
    pictures = [path.read_bytes() for path in figures.write(records.read_all(root), root)]
    assert first == [path.read_bytes() for path in leaderboard.write(records.read_all(root), root, "Toy")]
    assert pictures == [path.read_bytes() for path in figures.write(records.read_all(root), root)]
    # Tasks that differ in a setting have pictures of their own, under names that need no quotes.
    settings = Spec("full", "beacon", 0, QUICK, {"count": 40})
    named = [path.name for path in figures.write([*records.read_all(root), run(settings, root / "other", iter)], root)]
    for count in (40, 256):
        assert any(re.fullmatch(rf"curve-beacon-v1-count={count}\.png", name) for name in named)
    # One number by hand: the judge's accuracy of `full` on everything.
    record = next(r for r in records.read_all(root) if r.name.startswith("full"))
    assert record.accuracy("own")[0] == (record.arrays["own"][0] == record.arrays["labels"]).mean()
    assert record.accuracy("judge")[0] == record.correct_MFN("judge").mean()
    assert record.arrays["labels"].tolist() == np.asarray(tasks.test_split(Beacon()).labels_N).tolist()


def test_points_beside_the_grid_and_findings_stand_in_the_tables(beacon: Task, root: Path) -> None:
    few = {"selector_steps": 2, "predictor_steps": 2, "extra_budgets": [0.03]}
    records = [run(Spec("straight_through", "beacon", seed, few), root, iter) for seed in (0, 1)]
    records.append(run(Spec("uniform", "beacon", 0, {"predictor_steps": 2}), root, iter))
    rows = leaderboard.rows_of(records)
    at = records[0].budgets.index(0.03)
    own = np.mean([record.accuracy("own")[at] for record in records[:2]])
    lines = leaderboard.table(rows)
    (line,) = lines[lines["budget"] == 0.03].to_dict("records")
    assert line["own"] == pytest.approx(own)
    assert line["touched"] == pytest.approx(7 / 256), "seven pixels of 256 are the most that 3 % affords"
    section = leaderboard.markdown(rows, "A title").split("### Points beside the grid")[1].split("###")[0]
    assert f"| 3 % | {700 / 256:.2f} |" in section
    assert f"| {100 * own:.2f} ± " in section
    sizes = [record.about["findings"]["expected_size"] for record in records[:2]]
    section = leaderboard.markdown(rows, "A title").split("### Findings")[1]
    assert f"| {np.mean(sizes):.3g} ({min(sizes):.3g} to {max(sizes):.3g}) |" in section
    nothing = leaderboard.markdown(leaderboard.rows_of(records[2:]), "A title")
    assert "beside the grid" not in nothing
    assert "Findings" not in nothing


def test_a_record_that_is_cut_short_is_named(root: Path) -> None:
    folder = root / "records" / "t" / "a" / "k"
    folder.mkdir(parents=True)
    (folder / "record.json").write_text('{"schema": 1, "sta')
    with pytest.raises(UsageError, match=r"record\.json"):
        records.read_all(root)


def test_what_a_record_is_addressed_by(beacon: Task, root: Path) -> None:
    plain = Spec("uniform", "beacon").folder(root)
    assert Spec("uniform", "beacon", 0, {"kind": "window"}).folder(root) == plain, "a default, said aloud"
    assert Spec("uniform", "beacon", 0, {"kind": "mask"}).folder(root) != plain
    assert Spec("uniform", "beacon", 1).folder(root) != plain
    assert Spec("uniform", "beacon", 0, {}, {"count": 9}).folder(root) != plain


def test_budgets_are_the_published_grid() -> None:
    assert BUDGETS == (0.01, 0.02, 0.05, 0.1, 0.15, 0.2, 0.3, 0.5, 1.0)


def test_canonical_json_refuses_nan() -> None:
    with pytest.raises(ValueError):
        records.canonical({"x": float("nan")})
    assert json.loads(records.canonical({"b": 1, "a": [2.5]})) == {"a": [2.5], "b": 1}


@pytest.mark.slow
def test_a_sweep_is_the_same_with_one_worker_and_two_and_has_nothing_to_do_twice(root: Path) -> None:
    specs = [Spec(name, "digits", 0, QUICK) for name in ("full", "center", "lowres")]
    judges.judge(tasks.make("digits"), iter)  # the workers have another recipe
    judges.reader_path(tasks.make("digits"))
    assert sweep(specs, root / "1", Local(1), quiet=True) == []
    assert sweep(specs, root / "2", Local(2), quiet=True) == []
    one, two = ({r.name: contents(r.folder) for r in records.read_all(root / w)} for w in "12")
    assert one == two
    before = sorted(path.stat().st_mtime_ns for path in root.rglob("*"))
    assert sweep(specs, root / "2", Local(2), quiet=True) == []
    assert sorted(path.stat().st_mtime_ns for path in root.rglob("*")) == before


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="looks for processes in /proc")
def test_workers_end_with_a_sweep_that_is_killed(tmp_path: Path) -> None:
    suite = tmp_path / "long.toml"
    suite.write_text('[base]\nagent = "full"\ntask = "digits"\n"agent.predictor_steps" = 1_000_000\n')
    command = [sys.executable, "-m", "glimpsebench", "sweep", str(suite), "--workers", "1", "--root", str(tmp_path)]
    # A session of its own, so that whatever is left of it can be found, and ended if the test fails.
    sweeping = subprocess.Popen(command, start_new_session=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    def workers() -> int:
        count = 0
        for folder in Path("/proc").glob("[0-9]*"):
            with suppress(OSError):
                session = (folder / "stat").read_text().rpartition(")")[2].split()[3]
                count += session == str(sweeping.pid) and b"spawn_main" in (folder / "cmdline").read_bytes()
        return count

    def within(seconds: int, count: int) -> bool:
        until = time.monotonic() + seconds
        while workers() != count and time.monotonic() < until:
            time.sleep(0.2)
        return workers() == count

    try:
        assert within(60, 1)
        time.sleep(5)  # it is past its imports
        sweeping.kill()
        sweeping.wait()
        assert within(20, 0)
    finally:
        with suppress(ProcessLookupError):
            os.killpg(sweeping.pid, signal.SIGKILL)


def test_footprints_of_selections_that_ended_early_are_empty() -> None:
    for sensor, selection in ((Mask(at_once=1), np.zeros((2, 3, 32), np.uint8)), (Window(4), np.zeros((2, 3, 2)))):
        none = footprints_of(selection, np.zeros(2, int), 0.1, sensor, (1, 16, 16))
        assert none.shape == (2, 3, 16, 16)
        assert not none.any()


def test_what_differs_in_task_settings_version_or_judge_stands_in_two_rows(beacon: Task, root: Path) -> None:
    record = run(Spec("full", "beacon", 0, QUICK), root, iter)
    about = dict(record.about)
    others = [
        about | {"task": about["task"] | {"settings": about["task"]["settings"] | {"count": 9}}},
        about | {"agent": about["agent"] | {"version": 99}},
        about | {"judge": "another"},
    ]
    shutil.copy(record.folder / f"judgement.{about['judge']}.npz", record.folder / "judgement.another.npz")
    another_seed = Record(record.folder, about | {"seed": 1})
    assert len(leaderboard.rows_of([record, another_seed])) == 1
    for other in others:
        rows = leaderboard.rows_of([record, Record(record.folder, other)])
        assert len({(row.task, row.label) for row in rows}) == 2
