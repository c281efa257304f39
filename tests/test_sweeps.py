"""Sweeps: nothing is lost, done twice or silently wrong, whatever happens to processes, files and contenders."""

from __future__ import annotations

import ctypes
import json
import os
import platform
import re
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from glimpsebench.agents.raster import Raster
from glimpsebench.bench import hashes, judges, leases, plan, records, reproduce, status
from glimpsebench.bench import sweep as sweeps
from glimpsebench.bench.executors import Event, Stop
from glimpsebench.bench.executors.local import Local
from glimpsebench.bench.executors.ray import Ray
from glimpsebench.bench.judges import training
from glimpsebench.bench.leases import Owner
from glimpsebench.bench.plan import Unit, standings, units
from glimpsebench.bench.progress import Stages
from glimpsebench.bench.records import Record
from glimpsebench.bench.run import Spec, fail, run
from glimpsebench.bench.suites import Suite
from glimpsebench.bench.sweep import sweep
from glimpsebench.envs.errors import UsageError
from glimpsebench.envs.tasks import Task

FEW, SMALL = {"predictor_steps": 2, "size": 8}, {"count": 16}
Array = np.ndarray[Any, Any]


short_and_long = pytest.mark.parametrize("count", [20, pytest.param(200, marks=pytest.mark.long)])
"""So many damages of each file: half of them cut it somewhere, half flip a bit."""


def damaged(content: bytes, count: int) -> Iterator[bytes]:
    """A file's content, damaged in so many ways."""
    rng = np.random.default_rng(0)
    for number in range(count):
        changed = bytearray(content)
        if number % 2:
            changed[rng.integers(len(changed))] ^= 1 << int(rng.integers(8))
        else:
            del changed[rng.integers(len(changed)) :]
        yield bytes(changed)


def specs(count: int) -> list[Spec]:
    return [Spec("raster", "beacon", seed, FEW, SMALL) for seed in range(count)]


# --- leases ---


def test_a_lease_is_held_by_one_and_leaves_nothing(root: Path) -> None:
    with leases.leased(root, "a") as mine:
        assert mine is not None
        assert mine.ours
        assert leases.take(root, "a") is None
        assert [one.name for one in leases.held(root)] == ["a"]
        with leases.leased(root, "b") as other:
            assert other is not None
    assert not (root / "claims").exists()


def left_behind(root: Path, owner: Owner, age: float) -> Path:
    """The lease of another process."""
    (root / "claims").mkdir(parents=True, exist_ok=True)
    path = root / "claims" / "a.0"
    path.write_text(json.dumps(vars(owner) | {"taken": 0}))
    os.utime(path, (time.time() - age,) * 2)
    return path


ME = leases.this_process()


@pytest.mark.parametrize(
    ("owner", "age", "free"),
    [
        (ME, 1e6, False),  # alive, though it was asleep
        (Owner(ME.host, ME.pid, "1"), 0, True),  # its number came again
        (Owner(ME.host, 2**22 + 1, ""), 0, True),
        (Owner("elsewhere", ME.pid, ME.began), leases.LEASE_S / 2, False),
        (Owner("elsewhere", ME.pid, ME.began), 2 * leases.LEASE_S, True),
    ],
)
def test_a_lease_is_taken_over_when_its_owner_has_ended(owner: Owner, age: float, free: bool, root: Path) -> None:
    left_behind(root, owner, age)
    with leases.leased(root, "a") as mine:
        assert (mine is not None) == free
    assert (root / "claims").exists() != free


def test_a_lease_whose_file_is_empty_is_free_when_nobody_touches_it(root: Path) -> None:
    path = left_behind(root, ME, 0)
    path.write_text("")
    assert leases.take(root, "a") is None
    os.utime(path, (0, 0))
    leases.remove_free(root)
    assert not (root / "claims").exists()


def test_an_owner_that_was_taken_for_dead_may_not_commit(root: Path, beacon: Task) -> None:
    (spec,) = specs(1)
    slept = leases.take(root, "a")
    assert slept is not None
    left_behind(root, Owner("elsewhere", 1, ""), 2 * leases.LEASE_S)
    with leases.leased(root, "a") as other:
        assert other is not None
        with pytest.raises(UsageError, match="no such file"):
            run(spec, root, iter, allowed=lambda: slept.ours)
        assert not list((root / "records").glob("*/*/*"))
    slept.release()


def test_of_many_that_take_over_at_once_one_succeeds(root: Path) -> None:
    for _ in range(20):
        left_behind(root, Owner(ME.host, 2**22 + 1, ""), 0)
        barrier = threading.Barrier(8)
        taken: list[Any] = []

        def race(barrier: threading.Barrier = barrier, taken: list[Any] = taken) -> None:
            barrier.wait()
            taken.append(leases.take(root, "a"))

        threads = [threading.Thread(target=race) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        (mine,) = [one for one in taken if one is not None]
        mine.release()


# --- commits ---


@pytest.mark.parametrize("commits", [300, pytest.param(10_000, marks=pytest.mark.long)])
def test_two_committers_leave_neither_errors_nor_gaps(commits: int, root: Path) -> None:
    folder, errors, over = root / "records" / "t-v1" / "a" / "key", [], threading.Event()

    def commit(text: str) -> None:
        try:
            for _ in range(commits // 2):
                with records.replacing(folder) as temporary:
                    (temporary / "record.json").write_text(text)
        except Exception as error:
            errors.append(error)

    with records.replacing(folder) as temporary:
        (temporary / "record.json").write_text("0")
    threads = [threading.Thread(target=commit, args=(text,)) for text in "12"]
    for thread in threads:
        thread.start()

    def watch() -> None:
        while not over.is_set():
            try:
                assert (folder / "record.json").read_text() in "012"
            except Exception as error:
                errors.append(error)

    watching = threading.Thread(target=watch)
    watching.start()
    for thread in threads:
        thread.join()
    over.set()
    watching.join()
    assert not errors
    assert sorted(path.name for path in folder.parent.iterdir()) == ["key"]
    assert hashes.damaged(folder) is None


def test_without_an_exchange_by_the_system_folders_change_places_too(root: Path, monkeypatch: Any) -> None:
    monkeypatch.setattr(ctypes, "CDLL", lambda *_, **__: None)
    for text in "12":
        with records.replacing(root / "key") as temporary:
            (temporary / "record.json").write_text(text)
    assert (root / "key" / "record.json").read_text() == "2"
    assert [path.name for path in root.iterdir()] == ["key"]


def test_what_killed_processes_left_is_removed_and_what_others_are_at_is_not(root: Path) -> None:
    agent = root / "records" / "t-v1" / "a"
    names = [f".k.{host}.{pid}.7" for host in (socket.gethostname(), "elsewhere") for pid in (2**22 + 1, os.getpid())]
    for name in names:
        (agent / name).mkdir(parents=True)
    records.remove_unfinished(root)
    assert {path.name for path in agent.iterdir()} == {*names[1:]}


@pytest.fixture
def made(beacon: Task, root: Path) -> Record:
    return run(specs(1)[0], root, iter)


@short_and_long
def test_cut_and_changed_files_are_noticed_set_aside_and_made_again(count: int, made: Record, root: Path) -> None:
    (spec,) = specs(1)
    whole = {path.name: path.read_bytes() for path in sorted(made.folder.iterdir())}
    assert units([spec], root) == ([], [])
    for name, content in whole.items():
        if name == "timings.json":
            continue
        for number, changed in enumerate(damaged(content, count)):
            (made.folder / name).write_bytes(changed)
            assert standings([spec], root, thorough=True)[0].damaged == made.folder, (name, number)
        (made.folder / name).write_bytes(content)
    (made.folder / "images.npz").write_bytes(whole["images.npz"][:-9])
    wanted, (line,) = units([spec], root)
    kept = root / "damaged" / made.folder.relative_to(root / "records").with_suffix(".0")
    assert line.endswith(f"the damaged record is kept in {kept}")
    assert "images.npz: not as it was written; runs again" in line
    assert (kept / "record.json").exists()
    assert wanted[0].perform(Stages())
    assert {path.name: path.read_bytes() for path in made.folder.iterdir() if path.name != "timings.json"} == {
        name: content for name, content in whole.items() if name != "timings.json"
    }


@short_and_long
def test_no_reader_makes_numbers_of_cut_and_changed_files(count: int, made: Record, beacon: Task) -> None:
    agent = records.rebuilt(made)[1]
    readers: dict[str, Callable[[Record], Any]] = {
        "record.json": lambda record: record.about,
        "images.npz": lambda record: record.arrays,
        f"judgement.{made.about['judge']}.npz": lambda record: record.judgement,
        "curves.json": lambda record: record.curves,
        "selections.npz": lambda record: record.selected(agent),
        "weights.safetensors": lambda record: record.load_weights(agent, beacon),
    }
    assert {path.name for path in made.folder.iterdir()} == {*readers, "timings.json", hashes.NAME}
    for name, read in readers.items():
        content = (made.folder / name).read_bytes()
        for changed in damaged(content, count):
            (made.folder / name).write_bytes(changed)
            with pytest.raises(UsageError, match=re.escape(name)):
                read(Record.read(made.folder))
        (made.folder / name).write_bytes(content)
        read(Record.read(made.folder))


def test_a_copy_without_its_large_files_is_not_damaged_and_records_without_hashes_are_read(
    made: Record, root: Path
) -> None:
    for name in ("selections.npz", "weights.safetensors"):
        (made.folder / name).unlink()
    assert standings(specs(1), root, thorough=True)[0].done
    (made.folder / hashes.NAME).unlink()
    assert standings(specs(1), root, thorough=True)[0].done
    (made.folder / "images.npz").write_bytes(b"PK")
    assert standings(specs(1), root, thorough=True)[0].damaged
    assert standings(specs(1), root)[0].done, "without reading all files"


@short_and_long
def test_cut_and_changed_networks_are_noticed_and_set_aside(
    count: int, beacon: Task, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GLIMPSE_JUDGES", str(tmp_path))
    monkeypatch.setattr(judges, "OWN_RECIPE", judges.Recipe(members=1, steps=1, batch=8, width=2))
    reader = judges.reader_path(beacon, iter)
    content = reader.read_bytes()
    assert judges.set_aside_damaged(beacon) == []
    listed = training.hash_of(reader).read_text()
    for changed in damaged(content, count):
        reader.write_bytes(changed)
        training.hash_of(reader).write_text(listed)
        (kept,) = judges.set_aside_damaged(beacon)
        assert kept.read_bytes() == changed
        assert not reader.exists()
    wanted, lines = plan.trainings(units(specs(1), tmp_path)[0])
    assert [str(unit) for unit in wanted] == ["reader of beacon-v1", "judge-0 of beacon-v1"]
    assert lines == []


# --- contenders that go wrong ---


class Unspeakable(BaseException):
    def __str__(self) -> str:
        raise ValueError


def raising(error: BaseException) -> Callable[..., None]:
    def fit(*_: Any) -> None:
        raise error

    return fit


@pytest.mark.parametrize(
    ("error", "says"),
    [
        (SystemExit(3), "SystemExit: 3"),
        (UsageError("mine"), "UsageError: mine"),
        (Unspeakable(), "Unspeakable: it cannot say what"),
        (MemoryError(), "MemoryError: "),
        (ValueError("x" * 10**6 + "\ud800"), "ValueError: xxx"),
        (GeneratorExit("\x1b"), "GeneratorExit: "),
    ],
)
def test_whatever_a_contender_raises_is_one_failed_row(
    error: BaseException, says: str, beacon: Task, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Raster, "fit", raising(error))
    record = run(specs(1)[0], root, iter)
    assert record.about["status"] == "failed"
    assert record.about["error"].startswith(says)
    assert Record.read(record.folder).about == record.about


FAILING = '''"""fails: in a helper of its own, by way of NumPy."""

from dataclasses import dataclass

import numpy as np

from glimpsebench.agents import center


def helper():
    return np.concatenate([])


@dataclass
class Fails(center.Center):
    where: str = "fit"

    def fit(self, task, seed, progress):
        if self.where == "fit":
            helper()
        super().fit(task, seed, progress)

    def act(self, observation, rng):
        raise RuntimeError("two\\nlines")
'''


@pytest.mark.parametrize(
    ("where", "says"),
    [
        ("fit", r"ValueError: need at least one array .* \(fails_here\.py, line 11, in helper\)"),
        ("act", r"RuntimeError: two\nlines \(fails_here\.py, line 24, in act\)"),
    ],
)
def test_a_failed_row_says_where_in_the_contenders_own_file(
    where: str, says: str, beacon: Task, root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "fails_here.py").write_text(FAILING)
    monkeypatch.syspath_prepend(str(tmp_path))
    record = run(Spec("fails_here", "beacon", 0, {"where": where, "predictor_steps": 1}), root, iter)
    assert record.about["status"] == "failed"
    assert re.fullmatch(says, record.about["error"]), record.about["error"]


@pytest.mark.parametrize("value", [float("nan"), [1.0, float("inf")], "text", None, [[1.0]], object()])
def test_findings_that_are_no_finite_numbers_are_a_failed_row(
    value: Any, beacon: Task, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Raster, "fit", lambda self, *_: self.findings.update({"mine": value}))
    record = run(specs(1)[0], root, iter)
    assert "finding 'mine' must be a finite number or a list of such" in record.about["error"]


def of(shape: tuple[int, ...], value: Any = 0.0, dtype: Any = np.float32) -> Callable[..., Array]:
    return lambda *_: np.full(shape, value, dtype)


@pytest.mark.parametrize(
    ("method", "answers", "says"),
    [
        ("predict", of((250, 2), np.nan), "predict: logits that are not finite"),
        ("predict", of((250, 2), np.inf), "predict: logits that are not finite"),
        ("predict", of((250, 3)), "not logits of shape (250, 2)"),
        ("predict", of((250,)), "not logits of shape (250, 2)"),
        ("predict", of((250, 2), "a", object), "predict: object of shape"),
        ("act", of((250, 2), np.nan), ""),
        ("act", of((3, 2)), ""),
        ("act", of((250, 2), "a", object), ""),
        ("act", lambda *_: None, ""),
    ],
)
def test_answers_of_another_form_are_a_failed_row(
    method: str, answers: Any, says: str, beacon: Task, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Raster, "fit", lambda *_: None)
    monkeypatch.setattr(Raster, method, answers)
    record = run(specs(1)[0], root, iter)
    assert record.about["status"] == "failed"
    assert says in record.about["error"]


# --- disks ---


def test_at_whichever_write_a_disk_is_full_what_was_there_stays_and_a_rerun_ends(
    made: Record, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = {path.name: path.read_bytes() for path in made.folder.iterdir()}
    (spec,) = specs(1)
    writes = {"left": 0}

    def counted(function: Any) -> Any:
        def write(*args: Any, **keys: Any) -> Any:
            writes["left"] -= 1
            if writes["left"] < 0:
                raise OSError(28, "No space left on device", str(made.folder))
            return function(*args, **keys)

        return write

    for owner, name in ((Path, "write_text"), (Path, "mkdir"), (Path, "rename"), (np, "savez_compressed")):
        monkeypatch.setattr(owner, name, counted(getattr(owner, name)))
    monkeypatch.setattr(Raster, "save", counted(Raster.save))
    said = []
    for left in range(50):
        writes["left"] = left
        try:
            run(spec, root, iter)
            break
        except UsageError as error:
            said.append(str(error))
        writes["left"] = 99
        assert {path.name: path.read_bytes() for path in made.folder.iterdir()} == before
        assert [path.name for path in made.folder.parent.iterdir()] == [made.folder.name]
    assert all("cannot be written (No space left on device)" in line for line in said)
    assert 6 < len(said) < 49
    assert hashes.damaged(made.folder) is None


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_that_cannot_be_written_to_is_one_line(made: Record, root: Path) -> None:
    root.chmod(0o500)
    with pytest.raises(UsageError, match="cannot be written"):
        leases.take(root, "a")
    root.chmod(0o700)


# --- rounds ---

Act = Callable[[int], Sequence[Event]]


@dataclass
class Acted:
    """An executor of the tests' own, which does in this process what it is told for each unit."""

    act: Callable[[Unit, int], str]
    here: bool = True
    asked: int = 0

    def __call__(self, units: Sequence[Unit], stop: Stop) -> Generator[Event | None]:
        for number, unit in enumerate(units):
            if stop.asked:
                return
            self.asked += 1
            yield Event(number, "begun")
            kind, _, why = self.act(unit, self.asked).partition(": ")
            yield Event(number, kind, None, why)  # type: ignore[arg-type]
            yield None


def performed(unit: Unit, _: int = 0) -> str:
    return "over" if unit.perform(Stages()) else "held"


@pytest.fixture
def short(beacon: Task, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Runs that do nothing but leave a record; the seeds of those that were done."""
    seeds: list[int] = []

    def done(spec: Spec, root: Path, stages: Any, device: str = "cpu", allowed: Any = None) -> Record:
        seeds.append(spec.seed)
        record = fail(spec, root, "x", device)
        text = (
            (record.folder / "record.json")
            .read_text()
            .replace('"failed"', '"done"')
            .replace('"error": "x"', '"error": null')
        )
        (record.folder / "record.json").write_text(text)
        hashes.write(record.folder)
        return Record.read(record.folder)

    monkeypatch.setattr(plan, "run", done)
    monkeypatch.setattr(plan, "_whole", Record.read)  # they have no images
    monkeypatch.setattr(sweeps, "trainings", lambda *_: ([], []))
    monkeypatch.setattr(sweeps, "_LOOK_AGAIN_S", 0.01)
    return seeds


def test_a_run_whose_worker_dies_is_tried_again_and_one_that_kills_it_twice_has_failed(
    short: list[int], root: Path
) -> None:
    def act(unit: Unit, asked: int) -> str:
        assert isinstance(unit.spec, Spec)
        dies = unit.spec.seed == 1 or (unit.spec.seed == 0 and asked == 1)
        return "died: its process ended by signal 9" if dies else performed(unit)

    (failure,) = sweep(specs(3), root, Acted(act), quiet=True)
    assert failure.endswith("seed 1: failed: its process ended by signal 9, 2 times")
    assert short == [2, 0]
    executor = Acted(performed)
    assert sweep(specs(3), root, executor, quiet=True) == [failure], "it stays so, and is said again"
    assert executor.asked == 0
    assert sweep(specs(3), root, executor, quiet=True, retry_failed=True) == []
    assert (executor.asked, short) == (1, [2, 0, 1])
    assert not (root / "claims").exists()


def test_a_run_over_its_time_has_failed_and_lost_machines_are_no_fault_of_a_run(short: list[int], root: Path) -> None:
    def act(unit: Unit, asked: int) -> str:
        assert isinstance(unit.spec, Spec)
        if unit.spec.seed == 0:
            return "died: time limit: not done within 1 s"
        return "lost: its node died" if asked < 12 else performed(unit)

    (failure,) = sweep(specs(2), root, Acted(act), quiet=True)
    assert failure.endswith("seed 0: failed: time limit: not done within 1 s")
    assert short == [1]


class RayError(Exception): ...


class NodeDiedError(RayError): ...


class RayTaskError(RayError): ...


@pytest.mark.parametrize(
    ("error", "alive", "kind"),
    [(NodeDiedError(), "ab", "lost"), (RayError(), "a", "lost"), (RayError(), "ab", "died")],
)
def test_on_ray_a_run_is_at_fault_only_where_its_node_lives_on(
    error: RayError, alive: str, kind: str, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def get(_: Any) -> None:
        raise error

    kinds = SimpleNamespace(RayError=RayError, NodeDiedError=NodeDiedError, RayTaskError=RayTaskError)
    executor = Ray.__new__(Ray)  # there may be no Ray here
    executor.ray = SimpleNamespace(
        exceptions=kinds, get=get, nodes=lambda: [{"NodeID": node, "Alive": node in alive} for node in "ab"]
    )
    monkeypatch.setattr("glimpsebench.bench.executors.ray._NOTICED_S", 0.01)
    event = executor._result(None, 3, Unit(specs(1)[0], root), None, {"a", "b"})  # type: ignore[arg-type]
    assert (event.number, event.kind) == (3, kind)


def test_a_network_that_cannot_be_trained_does_not_end_the_sweep(
    short: list[int], root: Path, beacon: Task, monkeypatch: pytest.MonkeyPatch
) -> None:
    network = Unit(judges.Training(beacon, "reader", 9), root)
    monkeypatch.setattr(sweeps, "trainings", lambda *_: ([network], []))
    monkeypatch.setattr(
        Unit, "settled", property(lambda unit: unit is not network and plan.stamp(unit.folder) is not None)
    )
    executor = Acted(lambda unit, _: "died: signal 9" if isinstance(unit.spec, judges.Training) else performed(unit))
    assert sweep(specs(1), root, executor, quiet=True) == []
    assert short == [0]
    assert executor.asked == 3


def test_a_run_that_leaves_no_record_is_not_asked_for_for_ever(short: list[int], root: Path) -> None:
    (failure,) = sweep(specs(1), root, Acted(lambda *_: "over"), quiet=True)
    assert "it left no record" in failure


def test_what_somebody_else_is_at_is_waited_for_and_not_done_twice(short: list[int], root: Path) -> None:
    first, second = specs(2)
    theirs = leases.take(root, first.folder(root).name)
    assert theirs is not None

    def act(unit: Unit, asked: int) -> str:
        vars(plan)["run"](first, root, Stages())
        theirs.release()
        return performed(unit)

    executor = Acted(act)
    assert sweep([first, second], root, executor, quiet=True) == []
    assert (executor.asked, short) == (1, [0, 1])


def test_results_that_cannot_be_written_end_the_sweep_in_a_line(short: list[int], root: Path) -> None:
    def act(unit: Unit, asked: int) -> str:
        return performed(unit) if asked == 1 else "broken: x/y: cannot be written (No space left on device)"

    with pytest.raises(UsageError, match=r"x/y: cannot be written .*; what is recorded stays, and the same command"):
        sweep(specs(3), root, Acted(act), quiet=True)
    assert sweep(specs(3), root, Acted(performed), quiet=True) == []
    assert short == [0, 1, 2]


def test_ctrl_c_once_lets_what_runs_end_and_twice_ends_it(
    short: list[int], root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def once(unit: Unit, asked: int) -> str:
        os.kill(os.getpid(), signal.SIGINT)
        return performed(unit)

    with pytest.raises(KeyboardInterrupt):
        sweep(specs(3), root, Acted(once), quiet=True)
    assert short == [0]
    assert "Ctrl-C again stops at once" in capsys.readouterr().err

    def twice(unit: Unit, asked: int) -> str:
        os.kill(os.getpid(), signal.SIGINT)
        os.kill(os.getpid(), signal.SIGINT)
        return performed(unit)

    with pytest.raises(KeyboardInterrupt):
        sweep(specs(3), root, Acted(twice), quiet=True)
    assert short == [0]


def test_status_says_what_is_done_running_and_failed(short: list[int], root: Path) -> None:
    fail(specs(4)[3], root, "boom\x1b")
    executor = Acted(performed)
    sweep(specs(1), root, executor, quiet=True)
    with leases.leased(root, specs(2)[1].folder(root).name):
        lines, failed = status.status(Suite("mine", "t", tuple(specs(4))), root)
    assert lines[0] == f"suite mine: 4 runs, 1 done, 1 running, 1 failed, 1 to do, in {root}"
    assert f"(process {os.getpid()}): {specs(2)[1]}" in lines[1]
    assert lines[2] == f"  failed: {specs(4)[3]}: boom\\x1b"
    assert "done" in lines[-1]
    assert failed == 1


# --- processes ---


@dataclass(frozen=True)
class Mischief(Unit):
    """A unit that leaves a mark each time that it is tried, and then goes wrong in some way."""

    what: str = "nothing"

    @property
    def marks(self) -> Path:
        return self.root / self.what

    def perform(self, stages: Stages) -> bool:
        with self.marks.open("a") as file:
            file.write("x")
        if self.what == "kills":
            os.kill(os.getpid(), 9)
        if self.what == "hangs":
            subprocess.Popen([sys.executable, "-c", f"import time; time.sleep(99)  # {self.root}"])
            time.sleep(99)
        if self.what == "exits":
            os._exit(0)
        return True


@pytest.mark.long
def test_a_worker_that_dies_costs_its_run_and_nothing_else(tmp_path: Path) -> None:
    work = [Mischief(Spec("a", "b"), tmp_path, what=what) for what in ("kills", "nothing", "hangs", "exits", "also")]
    events = [event for event in Local(1, time_limit=9)(work, Stop()) if event is not None]
    last = {work[event.number].what: (event.kind, event.why) for event in events if event.kind != "begun"}
    assert last == {
        "kills": ("died", "its process ended by signal 9"),
        "nothing": ("over", ""),
        "hangs": ("died", "time limit: not done within 9 s"),
        "exits": ("died", "its process ended by exit code 0"),
        "also": ("over", ""),
    }
    assert all(unit.marks.read_text() == "x" for unit in work)
    lines = [path.read_bytes() for path in Path("/proc").glob("[0-9]*/cmdline") if path.exists()]
    assert not [line for line in lines if str(tmp_path).encode() in line], "what it had started has ended too"


def test_a_record_is_reproduced_byte_for_byte(made: Record, root: Path) -> None:
    found = reproduce.prepare(made.folder)
    assert found.lines == [
        "glimpse run --agent raster --task beacon-v1 --seed 0 --set agent.predictor_steps=2 --set agent.size=8 "
        "--set task.count=16"
    ]
    lines, same = reproduce.compare(found, Stages())
    assert same, lines
    assert (
        lines[0] == "same predictions: 100.00 %; same pixels touched: 100.00 %; own accuracy: 0.00 points at most apart"
    )
    assert lines[1].endswith("not: nothing")
    path = made.folder / "record.json"
    path.write_text(path.read_text().replace(platform.python_version(), "3.0.0"))
    with pytest.raises(UsageError, match=r"record\.json: not as it was written"):
        reproduce.prepare(made.folder)
    hashes.write(made.folder)
    assert reproduce.prepare(made.folder).lines[1:] == [f"python: 3.0.0 then, {platform.python_version()} now"]
    shutil.rmtree(root)
