"""Plans: of the runs that a suite lists, which are to be done.

A run is one unit of work, addressed by the hash of its resolved settings and its contender's source. Whether it is done
is told by its record alone.
"""

from __future__ import annotations

import functools
import json
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from glimpsebench.bench import hashes, judges, leases, records
from glimpsebench.bench.judges import Training
from glimpsebench.bench.progress import Stages
from glimpsebench.bench.run import Spec, fail, questions, run
from glimpsebench.envs.errors import UsageError


@dataclass(frozen=True)
class Standing:
    """How a run stands in a results folder.

    Attributes:
        record: the one that answers it, also of an earlier schema; None if there is none.
        why: why it is to be made although a run of the same settings and seed is recorded; None if there is none.
        damaged: the folder of a record that answers it and cannot be used.
    """

    record: records.Record | None = None
    why: str | None = None
    damaged: Path | None = None

    @property
    def done(self) -> bool:
        """Whether its record exists and is whole."""
        return self.record is not None and self.record.done

    @property
    def failed(self) -> bool:
        """Whether its record says that it failed or diverged."""
        return self.record is not None and not self.record.done

    @property
    def word(self) -> str:
        return "done" if self.done else "failed" if self.failed else "to do"


def standings(specs: Iterable[Spec], root: Path, thorough: bool = False) -> list[Standing]:
    """How each of these runs stands. What runs have in common, and each record, is read once.

    Args:
        thorough: whether all files of a record are read, to find out if they are as they were written.
    """
    specs = list(specs)
    shelves: dict[tuple[str, str], _Shelf] = {}
    found = []
    for spec, (inputs, key) in zip(specs, questions(specs), strict=True):
        place = inputs["task"]["id"], spec.agent
        if place not in shelves:
            shelves[place] = _Shelf(records.folder_of(root, *place, key).parent)
        found.append(_standing(spec, inputs, key, shelves[place], thorough))
    return found


class _Shelf:
    """The records of one agent on one task in a results folder, each read once."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.names = {path.name for path in folder.iterdir()} if folder.is_dir() else set()

    @functools.cached_property
    def done(self) -> dict[str, list[records.Record]]:
        """Those that are done and can be read, by what was asked of whatever version of the code."""
        found = defaultdict(list)
        for path in sorted(self.folder.glob("*/record.json")):
            with suppress(UsageError):
                record = records.Record.read(path.parent)
                if record.done:
                    found[_whatever_the_code(record.about)].append(record)
        return found


def _whatever_the_code(question: Mapping[str, Any]) -> str:
    agent, task = question["agent"], question["task"]
    parts = [agent["name"], agent["settings"], task["id"], task["settings"], question["seed"]]
    return json.dumps(parts, sort_keys=True)


def _standing(spec: Spec, inputs: dict[str, Any], key: str, shelf: _Shelf, thorough: bool) -> Standing:
    if key in shelf.names:
        folder = shelf.folder / key
        try:
            return Standing(_whole(folder) if thorough else records.Record.read(folder))
        except UsageError as error:
            return Standing(None, f"{spec}: {error}; runs again", folder)
    for record in shelf.done.get(_whatever_the_code(inputs), ()) if shelf.names else ():
        about = record.about
        if record.question == key:
            return Standing(record)
        if about["agent"]["version"] != inputs["agent"]["version"]:
            why = f"its version has changed from {about['agent']['version']} to {inputs['agent']['version']}"
        elif about["agent"]["source"] is None:
            why = "its source may have changed, of which an older version kept no hash,"
        else:
            why = "its source has changed"
        return Standing(None, f"{spec}: {why} since the record of {record.folder}; runs again")
    return Standing()


def _whole(folder: Path) -> records.Record:
    """The record in a folder, all of whose files are as they were written.

    Raises:
        UsageError: they are not.
    """
    if problem := hashes.damaged(folder):
        raise UsageError(f"{folder / problem}")
    record = records.Record.read(folder)
    if record.done and not (folder / hashes.NAME).exists():  # of an earlier version
        assert record.arrays
        assert record.judgement is None or record.judgement.name
    return record


def is_done(spec: Spec, root: Path) -> bool:
    """Whether this run's record exists and is whole."""
    return standings([spec], root)[0].done


Stamp = tuple[int, int, int] | None


@dataclass(frozen=True)
class Unit:
    """One unit of work: a run whose record belongs in a results folder, or the training of a judge or a reader.

    Attributes:
        before: what its record was when the plan was made, which may be to be replaced; None without one.
    """

    spec: Spec | Training
    root: Path
    device: str = "cpu"
    before: Stamp = None

    @functools.cached_property
    def folder(self) -> Path:
        """Of its record."""
        assert isinstance(self.spec, Spec)
        return self.spec.folder(self.root)

    @property
    def settled(self) -> bool:
        """Whether its result is there."""
        if isinstance(self.spec, Training):
            return self.spec.name not in {each.name for each in judges.missing(self.spec.task)}
        return stamp(self.folder) not in (None, self.before)

    def perform(self, stages: Stages) -> bool:
        """Do it, unless somebody else does or has done it. False: somebody else is at it now.

        Raises:
            UsageError: it cannot be written, or cannot be asked for.
        """
        if isinstance(self.spec, Training):
            stages.networks(self.spec.task.id, [self.spec.steps])
            self.spec.run(stages)
            return True
        with leases.leased(self.root, self.folder.name) as lease:
            if lease is not None and not self.settled:
                run(self.spec, self.root, stages, self.device, allowed=lambda: lease.ours)
            return lease is not None

    def fail(self, why: str) -> None:
        """Leave a record that says that it failed, and why, unless there is one by now."""
        assert isinstance(self.spec, Spec)
        with leases.leased(self.root, self.folder.name) as lease:
            if lease is not None and not self.settled:
                fail(self.spec, self.root, why, self.device)

    def __str__(self) -> str:
        return f"{self.spec.name} of {self.spec.task.id}" if isinstance(self.spec, Training) else str(self.spec)


def stamp(folder: Path) -> Stamp:
    """What changes when a record is replaced."""
    try:
        stat = (folder / "record.json").stat()
    except OSError:
        return None
    return stat.st_ino, stat.st_mtime_ns, stat.st_size


def units(
    specs: Sequence[Spec], root: Path, device: str = "cpu", again: bool = False, retry_failed: bool = False
) -> tuple[list[Unit], list[str]]:
    """What is to be done of these runs; and a line for each record that was damaged and has been set aside.

    Args:
        again: all of them; a record stays until its successor is whole.
        retry_failed: also those whose record says that they failed or diverged.
    """
    wanted, lines = [], []
    for spec, stands in zip(specs, standings(specs, root, thorough=True), strict=True):
        if stands.damaged is not None:
            place = records.set_aside(root, stands.damaged)
            lines.append(f"{stands.why}; the damaged record is kept in {place}")
        if again or stands.record is None or (retry_failed and stands.failed):
            wanted.append(Unit(spec, root, device, stamp(spec.folder(root))))
    return wanted, lines


def trainings(wanted: Iterable[Unit]) -> tuple[list[Unit], list[str]]:
    """The networks of these runs' tasks that are not here; and a line for each that was damaged and is set aside."""
    of = {records.canonical([u.spec.task, u.spec.task_settings]): u for u in wanted if isinstance(u.spec, Spec)}
    found, lines = [], []
    for unit in of.values():
        if isinstance(unit.spec, Spec):
            task = unit.spec.make()[1]
            lines += [f"{task.id}: a network was damaged, and is kept as {it}" for it in judges.set_aside_damaged(task)]
            found += [Unit(each, unit.root, unit.device) for each in judges.missing(task)]
    return found, lines
