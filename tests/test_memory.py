"""Figures of rows that are kept from one command to the next, and when they are computed anew."""

from __future__ import annotations

import json
import os
import shutil
import sqlite3
import sys
import threading
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from conftest import Alone, Beacon, judged_by
from glimpsebench.bench import hashes, judgements, leaderboard, memory, parallel, records
from glimpsebench.bench.records import Judgement, Record, read_all
from glimpsebench.bench.run import Spec, run
from glimpsebench.envs import datasets, tasks
from glimpsebench.envs.errors import UsageError
from glimpsebench.envs.tasks import Task

JUDGE = Alone("0" * 16, lambda view: np.asarray(view["canvas"]).mean((1, 2, 3))[:, None] * [0, 1])
FEW = {"ram": {"policy_steps": 2, "glimpses": 2}, "uniform": {"glimpses": 3}, "full": {}}


def add(root: Path, agent: str, seed: int) -> None:
    assert run(Spec(agent, "beacon", seed, {"predictor_steps": 2, **FEW[agent]}), root, iter).done


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store with a contender, a floor and the ceiling."""
    root = tmp_path_factory.mktemp("made")
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(tasks.TASKS, "beacon", Beacon())
        judged_by(patch, JUDGE)
        for agent in FEW:
            for seed in range(2):
                add(root, agent, seed)
    return root


@pytest.fixture
def store(made: Path, beacon: Task, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of it, and a cache of its own."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    judged_by(monkeypatch, JUDGE)
    return Path(shutil.copytree(made, tmp_path / "store"))


def kept() -> tuple[Path, int]:
    """The file of what is kept, and how many rows it has."""
    (path,) = (datasets.cache_folder() / "rows").glob("*.sqlite")
    with closing(sqlite3.connect(path)) as opened:
        return path, opened.execute("SELECT COUNT(*) FROM rows").fetchone()[0]


def written(root: Path) -> list[bytes]:
    return [path.read_bytes() for path in leaderboard.write(read_all(root), root, "Test")]


def never(*_: Any) -> Any:
    raise AssertionError("computed again")


def test_what_is_known_is_not_computed_again_and_the_tables_are_the_same(
    store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(memory, "remembered", never)
        before = [leaderboard.markdown(leaderboard.rows_of(read_all(store)), "Test")]
        before.append(leaderboard.table(leaderboard.rows_of(read_all(store))).to_csv(index=False))
    first = written(store)
    assert first[0].decode() == before[0]
    monkeypatch.setattr(leaderboard.Row, "scores", never)
    monkeypatch.setattr(Record, "fraction_FN", never)
    assert written(store) == first


def test_a_sound_record_is_not_looked_at_again_and_a_changed_one_is(
    store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = read_all(store)
    with monkeypatch.context() as patch:
        patch.setattr(records, "parsed", never)
        assert [one.about for one in read_all(store)] == [one.about for one in first]
    path = first[0].folder / "record.json"
    before = path.read_text()
    path.write_text(before.replace(f'"seed": {first[0].seed}', '"seed": 7'))
    hashes.write(path.parent)  # as a forger would
    for _ in range(2):  # what was refused does not become known
        with pytest.raises(UsageError, match=r"key: .* is not the hash of what was asked"):
            read_all(store)
    path.write_text(before)
    with pytest.raises(UsageError, match="not as it was written"):  # sound, and not what the list beside it tells of
        read_all(store)


def test_another_judgement_other_seconds_and_another_run_are_computed(store: Path) -> None:
    first = written(store)
    record = next(one for one in read_all(store) if one.about["agent"]["name"] == "ram")
    assert record.judgement is not None
    wrong = np.zeros_like(record.judgement.correct_MFN)
    judgements.write(Judgement(record.judgement.name, wrong), record.folder)
    second = written(store)
    assert second != first
    times = record.folder / "timings.json"
    times.write_text(json.dumps(json.loads(times.read_text()) | {"fit": 1000}))
    third = written(store)
    assert third[1] != second[1]
    add(store, "ram", 2)
    assert written(store)[1] != third[1]


def test_a_known_row_whose_file_was_changed_since_is_refused(store: Path) -> None:
    written(store)
    record = read_all(store)[0]
    path = record.folder / "images.npz"
    path.write_bytes(path.read_bytes()[:-1] + b"x")
    with pytest.raises(UsageError, match=r"images\.npz: not as it was written"):
        written(store)
    path.unlink()
    with pytest.raises(UsageError, match=r"images\.npz: missing"):
        written(store)


def test_a_floor_that_became_another_one_is_compared_with_anew(store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = leaderboard.table(leaderboard.computed(read_all(store)))
    add(store, "uniform", 2)
    again = leaderboard.table(leaderboard.computed(read_all(store)))
    plain = leaderboard.table(leaderboard.rows_of(read_all(store)))
    columns = ["contender", "budget", "own_above_floor", "own_above_floor_low"]
    assert again[columns].equals(plain[columns])
    assert not again[columns].equals(first[columns])


@pytest.mark.parametrize("content", [b"no database", b""])
def test_a_cache_that_cannot_be_used_is_done_without(store: Path, content: bytes) -> None:
    first = written(store)
    path, _ = kept()
    path.write_bytes(content)
    assert written(store) == first
    path.unlink(missing_ok=True)
    path.parent.rmdir()
    path.parent.write_text("a file")
    assert written(store) == first


def test_what_other_code_kept_goes(store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    written(store)
    monkeypatch.setattr(memory, "_code", lambda: "f" * 16)
    written(store)
    path, rows = kept()
    assert (path.stem, rows) == ("f" * 16, 3)


def test_records_without_hashes_are_not_kept(store: Path) -> None:
    for record in read_all(store):
        (record.folder / hashes.NAME).unlink()
    assert written(store) == written(store)
    assert kept()[1] == 0


@pytest.mark.skipif(sys.platform != "linux", reason="processes are forked on Linux alone")
def test_what_several_processes_find_is_what_one_finds(store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    alone = written(store)
    kept()[0].unlink()
    by: set[int] = set()
    chunk = parallel.in_chunks

    def noted(function: Callable[[Any], Any], items: Any) -> Any:
        found = chunk(lambda some: (function(some), os.getpid()), items)
        by.update(process for _, process in found)
        return [values for values, _ in found]

    monkeypatch.setattr(os, "sched_getaffinity", lambda process: {0, 1, 2})
    monkeypatch.setattr(threading, "active_count", lambda: 1)  # whatever other tests have left behind
    monkeypatch.setattr(parallel, "LEAST", 1)
    for module in (records, memory, leaderboard):
        monkeypatch.setattr(module, "in_chunks", noted)
    assert written(store) == alone
    assert len(by - {os.getpid()}) > 1
    assert written(store) == alone  # of what was kept
    damaged = sorted((store / "records").glob("*/uniform/*/images.npz"))[0]
    damaged.write_bytes(damaged.read_bytes()[:-1])
    with pytest.raises(UsageError, match="not as it was written"):
        written(store)
