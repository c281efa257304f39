"""Records: what one run (agent, its settings, task, seed) did, as JSON and NPZ, and nothing derived.

A record's folder is named by the hash of what was asked for, so the same question has one place, and it appears
by one rename, so it is whole or not there. Accuracies are not stored: tables recompute them from the per-image
arrays. Timings lie in a file of their own, because they alone differ between two equal runs. What a judge says of
a record lies beside it, one file for each judge (`judgements`), so that another judge asks for no other run.

    ROOT/records/TASK/AGENT/KEY/record.json     what was asked, and with what it was run (`schema`)
                                images.npz      per image: steps, touched, delivered, predictions, label (`arrays`)
                                judgement.NAME.npz  per image: which members of the judge NAME are right
                                selections.npz  per image: the actions, which alone grow with the image
                                weights.safetensors
                                weights.STAGE.safetensors  checkpoints, where the agent keeps any
                                curves.json     how training went (`curves`)
                                timings.json
                                SHA256SUMS      of all these but timings.json (`hashes`)

Tables and comparisons need the first three. Selections and weights, which show, replay and judge again what was looked
at, may be left out of a copy. Every reader of a record comes through `Record`, which refuses what is damaged or does
not agree with itself; nothing in a record imports a module.
"""

from __future__ import annotations

import ctypes
import dataclasses
import errno
import hashlib
import json
import os
import platform
import re
import shutil
import socket
import sys
import threading
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError

from glimpsebench import agents
from glimpsebench.agents.common.base import Agent
from glimpsebench.bench import arrays, escape, hashes, memory, metrics
from glimpsebench.bench.parallel import in_chunks
from glimpsebench.bench.schema import (
    SCHEMA,
    About,
    AboutAudit,
    AboutVerification,
    Curves,
    Timings,
    asked,
    parsed,
    read_json,
    read_plain,
    shown,
)
from glimpsebench.envs import tasks
from glimpsebench.envs.errors import UsageError
from glimpsebench.envs.settings import current
from glimpsebench.envs.tasks import Task

__all__ = ["SCHEMA", "Judgement", "Record", "asked", "canonical", "digest", "folder_of", "read_all", "rebuilt"]

Array = NDArray[Any]

AUDIT = "audit.json"
"""What an audit of a run found (`audit`), beside its record."""


def canonical(value: Any) -> str:
    """JSON with sorted keys and no NaN: equal values, equal bytes."""
    return json.dumps(value, sort_keys=True, allow_nan=False, indent=1) + "\n"


def compact(value: Any) -> str:
    """The same on one line, for long lists."""
    return json.dumps(value, sort_keys=True, allow_nan=False, separators=(",", ":")) + "\n"


def digest(value: Any) -> str:
    """The first 16 hex digits of the SHA-256 of the canonical JSON."""
    return digest_of(canonical(value))


def digest_of(text: str) -> str:
    """The same of JSON that is canonical."""
    return hashlib.sha256(text.encode()).hexdigest()[:16]


class Judgement(NamedTuple):
    """What a judge says of a record.

    Attributes:
        name: of the judge.
        correct_MFN: which of its members are right about each image at each budget; never where nothing was selected.
    """

    name: str
    correct_MFN: Array


@dataclass(frozen=True)
class Record:
    """One run, read back from its folder.

    Attributes:
        folder: where it lies.
        about: the contents of record.json, an older one's by the names of now, and as `judge` the name of the judge
            whose judgement stands for it in tables; None if there is none.
        label: what the suite that is looked at calls it (`store.labelled`); None if it gives no label. It is in no
            file, so the same record may have another label in another suite.
        sums: what its list of its files' hashes says; None if it has none. They are checked as they are read.
    """

    folder: Path
    about: Mapping[str, Any]
    label: str | None = None
    sums: hashes.Sums | None = None

    @classmethod
    def read(cls, folder: Path, sound: set[str] | None = None) -> Record:
        """The record in a folder.

        Args:
            folder: where it lies.
            sound: the SHA-256 of each record.json that need not be looked at again (`memory.sound`); this one's comes
                to them.

        Raises:
            UsageError: it is not there, is damaged, or does not agree with itself.
        """
        path = folder / "record.json"
        content = read_plain(path)
        its_hash = hashlib.sha256(content).hexdigest()
        if sound is not None and its_hash in sound:
            about = json.loads(content)
        else:
            about = parsed(path, content, About)
            _check_key(path, about)
        sums = hashes.read(folder)
        hashes.check(folder, [path.name], sums, {path.name: its_hash})
        if sound is not None:
            sound.add(its_hash)
        names = judges_of(folder)
        return cls(
            folder,
            {name: value for name, value in about.items() if name != "evaluator"}
            | {"agent": _by_todays_names(about), "task": _task_by_todays_names(about["task"])}
            | {"judge": _todays(names, about, folder) if names else about.get("evaluator")},
            sums=sums,
        )

    @cached_property
    def arrays(self) -> dict[str, Array]:
        """The per-image arrays: steps, touched, delivered, seen, own (F, N), labels (N,), points (N, 2).

        Also confidence (F, N) in 255ths, of a predictor and but in records of an earlier version. Where images are
        padded, pixels (N,): how many each has without the padding. Where the task knows its objects, iou and on_object
        (F, N), and pointed (N,) of agents that choose a look.
        """
        path = self.folder / "images.npz"
        found = arrays.read_images(path, self.about)
        hashes.check(path.parent, [path.name], self.sums)
        return found

    @cached_property
    def judgement(self) -> Judgement | None:
        """What the judge of `about["judge"]` says; None if the record was not judged.

        Records of schemas 1 and 2 hold the predictions of an evaluator, a judge of one member.
        """
        name = self.about["judge"]
        if not self.done or name is None:
            return None
        path = self.folder / f"judgement.{name}.npz"
        if "evaluator" in self.arrays and not path.exists():
            return Judgement(name, (self.arrays["evaluator"] == self.arrays["labels"])[None])
        correct_MFN = arrays.read_judgement(path, self.arrays["steps"])
        hashes.check(path.parent, [path.name], self.sums)
        return Judgement(name, correct_MFN)

    @cached_property
    def timings(self) -> dict[str, Any]:
        """Seconds of `fit`, `validation`, `rollout` and `score`, as far as it came, and of the `curves`' points.

        {} for a copy without them.
        """
        path = self.folder / "timings.json"
        return read_json(path, Timings) if path.exists() else {}

    def selected(self, agent: Agent) -> Array:
        """What was looked at, as `rollout.Episodes.selection` has it.

        Args:
            agent: that of the record (`rebuilt`), whose sensor tells the form.

        Raises:
            UsageError: it was left out of this copy, or is not of this agent's sensor and the record's images.
        """
        path = self.folder / "selections.npz"
        found = arrays.read_selection(path, self.about, agent)
        hashes.check(path.parent, [path.name], self.sums)
        return found

    def load_weights(self, agent: Agent, task: Task) -> None:
        """Give an untrained agent (`rebuilt`) what this record's run has learned.

        Raises:
            UsageError: the file has changed since.
            OSError: it was left out of this copy.
        """
        path = self.folder / "weights.safetensors"
        hashes.check(path.parent, [path.name], self.sums)
        agent.load(path, task)

    @cached_property
    def curves(self) -> list[dict[str, Any]]:
        """How training went, stage by stage, as `curves.json` has it; [] for a record of an earlier version."""
        path = self.folder / "curves.json"
        if not path.exists():
            return []
        found: list[dict[str, Any]] = read_json(path, Curves)
        hashes.check(path.parent, [path.name], self.sums)
        return found

    @cached_property
    def curve_seconds(self) -> list[dict[str, list[float]]]:
        """The seconds of training at the points of `curves`; [] for a copy without them."""
        return self.timings.get("curves", [])

    @cached_property
    def audit(self) -> dict[str, Any] | None:
        """What an audit of this run found (`audit.audits.Audit`); None without one."""
        path = self.folder / AUDIT
        return read_json(path, AboutAudit) if path.exists() else None

    @cached_property
    def level(self) -> str | None:
        """How far `glimpse verify --keep` has followed it as it is now (`verify.LEVELS`); None if it has not."""
        path = self.folder / "verified.json"
        kept = read_json(path, AboutVerification) if path.exists() else None
        return str(kept["level"]) if kept and kept["record"] == hashes.of_record(self.folder) else None

    def forget(self) -> None:
        """Let go of what has been read of its files; it is read again when it is asked for."""
        for name in ("arrays", "judgement", "reached_F", "unchosen_F", "curves", "timings"):
            self.__dict__.pop(name, None)

    @property
    def done(self) -> bool:
        return bool(self.about["status"] == "done")

    @property
    def seed(self) -> int:
        return int(self.about["seed"])

    @property
    def task(self) -> str:
        return str(self.about["task"]["id"])

    @property
    def question(self) -> str:
        """The hash of what was asked, in the words of now: that of a `Spec` for which this record is the answer."""
        return digest(asked(self.about))

    @property
    def budgets(self) -> tuple[float, ...]:
        return tuple(self.about["budgets"])

    @property
    def name(self) -> str:
        """The contender's name: the agent's, with the settings that differ from its defaults."""
        agent = self.about["agent"]
        changed = ", ".join(f"{key}={value}" for key, value in sorted(agent["changed"].items()))
        return escape.terminal(f"{agent['name']} ({changed})" if changed else agent["name"])

    def fraction_FN(self, name: str) -> Array:
        """`touched` or `seen`, per pixel of each image without its padding; `delivered`, per value of it: (F, N)."""
        whole = np.prod(self.about["task"]["shape"][1:])
        fraction: Array = self.arrays[name] / (whole if name == "delivered" else self.arrays.get("pixels", whole))
        return fraction

    @property
    def fractions_FN(self) -> Array:
        """What the budget counts, as a fraction of the image: touched, or delivered for the low-res floor."""
        return self.fraction_FN(self.about["agent"]["currency"])

    @cached_property
    def reached_F(self) -> Array:
        return metrics.reached(self.fractions_FN, self.budgets)

    def correct_MFN(self, by: str) -> Array:
        """Which images are right at each budget, by each member of the judge (`judge`) or by the contender's `own`
        predictor, which has one member: boolean (M, F, N). No members where nobody was asked, or nothing predicted.
        """
        if by == "own":
            own: Array = self.arrays["own"]
            return (own == self.arrays["labels"])[None][: int((own >= 0).any())]
        return np.zeros((0, *self.arrays["own"].shape), bool) if self.judgement is None else self.judgement.correct_MFN

    def correct_FN(self, by: str) -> Array:
        """The share of the members that are right, (F, N): boolean where there is one, as with `own`."""
        correct_MFN = self.correct_MFN(by)
        if len(correct_MFN) > 1:
            share: Array = correct_MFN.mean(0)
            return share
        return np.asarray(correct_MFN.any(0))

    def answered_F(self, by: str) -> Array:
        """At which budgets every image has an answer: boolean (F,)."""
        return np.asarray((self.arrays["steps"] > 0).all(1) & (len(self.correct_MFN(by)) > 0))

    def accuracy(self, by: str) -> Array:
        """Top-1 accuracy at each budget (F,), the mean over members; NaN where not reached or nothing is predicted."""
        correct_MFN = self.correct_MFN(by)
        if not len(correct_MFN):
            return np.full(len(self.budgets), np.nan)
        return np.where(self.reached_F, correct_MFN.mean((0, 2)), np.nan)

    @cached_property
    def unchosen_F(self) -> Array:
        """The share of the images, at each budget (F,), that show only what is given without a choice."""
        steps_FN: Array = self.arrays["steps"]
        share: Array = ((steps_FN > 0) & (steps_FN <= self.about["agent"]["given"])).mean(1)
        return share


def judges_of(folder: Path) -> list[str]:
    """The names of the judges whose judgements lie beside a record."""
    with os.scandir(folder) as files:
        names = [re.fullmatch(r"judgement\.([0-9a-f]{16})\.npz", file.name) for file in files]
    return sorted(name[1] for name in names if name)


def _todays(names: list[str], about: Mapping[str, Any], folder: Path) -> str:
    """Of several judges of a record, that of its task today."""
    if len(names) == 1:
        return names[0]

    from glimpsebench.bench import judges  # here, as judges are made with what this module offers

    with suppress(UsageError):  # a task that this version does not have
        if (today := judges.name_of(task_of(about))) in names:
            return today
    raise UsageError(f"{folder}: judged by {', '.join(names)}, none of them today's judge: leave one of these files")


def _check_key(path: Path, about: Mapping[str, Any]) -> None:
    """Whether a record's key is the hash of what it says was asked; schema 1 left some settings out of that."""
    question = asked({**about, "agent": {"source": None, **about["agent"]}})
    if about["schema"] == 2:
        question |= {"schema": 2, "evaluator": about["evaluator"]}
    if about["schema"] > 1 and about["key"] != (key := digest(question)):
        raise UsageError(f"{path}: key: {about['key']} is not the hash of what was asked, which is {key}")


def task_of(about: Mapping[str, Any]) -> Task:
    """The task that a record names.

    Raises:
        UsageError: this version cannot make it.
    """
    settings = about["task"]["settings"]
    return tasks.make(about["task"]["id"], {key: value for key, value in settings.items() if key not in tasks.IDENTITY})


def rebuilt(record: Record) -> tuple[Task, Agent]:
    """The task and the agent of a record, untrained.

    Raises:
        UsageError: this version cannot make them; or the agent is from outside and has not been imported, which a
            record alone, perhaps somebody else's, does not cause.
    """
    name = record.about["agent"]["name"]
    if not is_at_hand(name):
        raise UsageError(f"a record names the module {name}, which is not imported for that: add --import {name}")
    task = task_of(record.about)
    agent = agents.make(name, record.about["agent"]["settings"])
    agent.shape, agent.classes = task.shape, task.classes
    return task, agent


def is_at_hand(name: str) -> bool:
    """Whether an agent is this package's or has been imported, which a record alone, perhaps somebody else's, does not
    cause."""
    return name in agents.names() or name in sys.modules


def _by_todays_names(about: Mapping[str, Any]) -> dict[str, Any]:
    """What a record tells of the agent, by the names of now. Of code it imports this package's agents alone."""
    agent = dict(about["agent"])
    with suppress(UsageError):  # a module that is no agent's
        kind = agents.find(agent["name"]) if is_at_hand(agent["name"]) else None
        agent |= {name: current(kind, agent[name]) for name in ("settings", "changed") if kind}
    if about["schema"] == 1:
        if agent["reference"] is True:
            agent["reference"] = "ceiling" if about["budgets"] == [1.0] else "floor"
        agent |= {"reference": agent["reference"] or None, "source": None, "given": 0, "supervision": "labels"}
        with suppress(UsageError):  # another version's settings
            if agent["name"] in agents.names():
                made = agents.make(agent["name"], agent["settings"])
                agent |= {"given": made.given, "supervision": made.supervision}
    return agent


def _task_by_todays_names(task: Mapping[str, Any]) -> dict[str, Any]:
    name = task["id"].rpartition("-v")[0]
    settings = current(type(tasks.TASKS[name]), task["settings"]) if name in tasks.TASKS else task["settings"]
    return {**task, "settings": settings}


def folder_of(root: Path, task_id: str, agent: str, key: str) -> Path:
    return Path(root, "records", task_id, agent, key)


def read_all(root: Path, folders: Iterable[Path] | None = None) -> list[Record]:
    """The records under a results folder, in the order of their paths.

    A run that did not end well has nothing to be judged: it stands with the others of its task.

    Args:
        root: the results folder.
        folders: of the records there that are wanted; by default all.

    Raises:
        UsageError: one of them is damaged, or lies in the folder of another.
    """
    if folders is None:
        folders = [path.parent for path in (root / "records").glob("*/*/*/record.json")]
    with memory.sound() as sound:

        def some(folders: Sequence[Path]) -> tuple[list[Record], set[str]]:
            known = {*sound}
            return [Record.read(folder, known) for folder in folders], known - sound

        found = []
        for records, new in in_chunks(some, sorted(folders)):
            found += records
            sound |= new
    for record in found:
        if record.folder != folder_of(root, record.task, record.about["agent"]["name"], record.about["key"]):
            raise UsageError(f"{record.folder / 'record.json'}: key: the folder is not that of its task, agent and key")
    check_alike(found)
    judges: dict[str, Counter[str]] = defaultdict(Counter)
    for record in found:
        if record.about["judge"] is not None:
            judges[_same_task(record)][record.about["judge"]] += 1
    for number, record in enumerate(found):
        if not record.done and record.about["judge"] is None and (names := judges[_same_task(record)]):
            judge = names.most_common(1)[0][0]
            found[number] = dataclasses.replace(record, about={**record.about, "judge": judge})
    return found


def _same_task(record: Record) -> str:
    return compact([record.about["task"][key] for key in ("id", "settings")])


_OF_IMAGES = ("shape", "classes", "test_images")
_OF_AGENT = ("track", "reference", "currency", "given", "supervision")


def check_alike(records: Iterable[Record]) -> None:
    """What follows from the same code, settings and images is the same in all records that name these.

    Raises:
        UsageError: it is not, naming one of two records and the field.
    """
    first: dict[str, tuple[Record, dict[str, Any]]] = {}
    for record in records:
        task, agent = record.about["task"], record.about["agent"]
        images = {f"task.{name}": task[name] for name in _OF_IMAGES}
        kind = {f"agent.{name}": agent[name] for name in _OF_AGENT} | {"budgets": record.about["budgets"]}
        row = compact(asked(record.about) | {"seed": None})
        for what, values in ((compact([_same_task(record), task["test_sha256"]]), images), (row, kind)):
            other, theirs = first.setdefault(what, (record, values))
            for name, value in values.items():
                if theirs[name] != value:
                    where, there = record.folder / "record.json", other.folder / "record.json"
                    raise UsageError(f"{where}: {name}: {shown(value, 60)}, and {there} has {shown(theirs[name], 60)}")


@contextmanager
def replacing(folder: Path, allowed: Callable[[], bool] = lambda: True) -> Iterator[Path]:
    """A temporary folder that becomes `folder` when the block ends well, and vanishes otherwise.

    It does so by one rename, which gives the place of what was there before to what is new, so that whoever reads finds
    one of them, whole. It gets a list of the hashes of its files.

    Args:
        folder: a record's.
        allowed: asked just before; if not, nothing is replaced.

    Raises:
        UsageError: something cannot be written, as on a full disk; what was there stays.
    """
    temporary = folder.parent / f".{folder.name}.{socket.gethostname()}.{os.getpid()}.{threading.get_ident()}"
    try:
        shutil.rmtree(temporary, ignore_errors=True)
        temporary.mkdir(parents=True)
        yield temporary
        hashes.write(temporary)
        if allowed():
            _move_to(temporary, folder)
    except (OSError, SafetensorError) as error:
        why = getattr(error, "strerror", None) or " ".join(str(error).split())
        raise UsageError(f"{getattr(error, 'filename', None) or folder}: cannot be written ({why})") from None
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
        with suppress(OSError):
            folder.parent.rmdir()  # leave no empty folder behind a failure


def _move_to(temporary: Path, folder: Path) -> None:
    """Give a folder the place of another one, or of none; the other one then has the temporary place."""
    for _ in range(1000):
        try:
            temporary.rename(folder)
            return
        except OSError as error:
            if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
                raise
        try:
            exchange(temporary, folder)
            return
        except FileNotFoundError:  # somebody else has moved it away since
            continue
    raise OSError(errno.EBUSY, os.strerror(errno.EBUSY), str(folder))


def exchange(one: Path, other: Path) -> None:
    """Let two folders change their places, at once where the system can (Linux, macOS).

    Raises:
        FileNotFoundError: one of them is not there.
    """
    for name, before, flag in (("renameat2", (-100, -100), 2), ("renamex_np", (), 2)):  # AT_FDCWD; RENAME_EXCHANGE
        function = getattr(ctypes.CDLL(None, use_errno=True), name, None)
        if function is None:
            continue
        places = (os.fsencode(one), os.fsencode(other))
        arguments = (before[0], places[0], before[1], places[1], flag) if before else (*places, flag)
        if function(*arguments) == 0:
            return
        if (number := ctypes.get_errno()) not in (errno.ENOSYS, errno.EINVAL, errno.ENOTSUP):
            raise OSError(number, os.strerror(number), str(other))
        break
    aside = one.with_name(f"{one.name}.old")  # the file system cannot: for a moment nothing is there
    other.rename(aside)
    one.rename(other)
    aside.rename(one)


_FORGOTTEN_S = 86_400.0
"""Seconds after which a temporary folder of another machine belongs to nobody."""


def remove_unfinished(root: Path) -> None:
    """Remove what killed processes of this machine left half-written, and what others left long ago."""
    for temporary in (root / "records").glob("*/*/.*.*"):
        host, _, rest = temporary.name[1:].partition(".")[2].rpartition(".")[0].rpartition(".")
        try:
            if host == socket.gethostname():
                os.kill(int(rest), 0)
            elif time.time() - temporary.stat().st_mtime < _FORGOTTEN_S:
                continue
            else:
                raise ProcessLookupError
        except (ValueError, ProcessLookupError, FileNotFoundError):
            shutil.rmtree(temporary, ignore_errors=True)
            with suppress(OSError):
                temporary.parent.rmdir()
        except OSError:  # of a process of somebody else
            continue


def set_aside(root: Path, folder: Path) -> Path:
    """Move a damaged record to ROOT/damaged, where nothing looks for records, and return its new place."""
    number = 0
    while (place := root / "damaged" / folder.relative_to(root / "records").with_suffix(f".{number}")).exists():
        number += 1
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        folder.rename(place)
    except OSError as error:
        raise UsageError(f"{folder}: damaged, and cannot be set aside ({error.strerror})") from None
    return place


def processor() -> str:
    """The name of this machine's processor."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    return next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), "unknown")


def settings_of(agent: Any) -> dict[str, Any]:
    """All settings of an agent or task, as JSON values."""
    values = {f.name: getattr(agent, f.name) for f in dataclasses.fields(agent) if f.init}
    plain: dict[str, Any] = json.loads(json.dumps(values))
    return plain


def changed_of(agent: Any) -> dict[str, Any]:
    """The settings that differ from their defaults."""
    fresh = {f.name: f.default for f in dataclasses.fields(agent) if f.init}
    return {name: value for name, value in settings_of(agent).items() if value != json.loads(json.dumps(fresh[name]))}
