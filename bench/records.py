"""Records: one run (agent, its settings, task, seed) with its results, as JSON and NPZ, and nothing derived.

A record's folder is named by the hash of what was asked for, so the same question has one place, and it appears
by one rename, so it is whole or not there. Accuracies are not stored: tables recompute them from the per-image
arrays. Timings lie in a file of their own, because they alone differ between two equal runs.

    ROOT/records/TASK/AGENT/KEY/record.json     what was asked, and with what it was run
                                images.npz      per image: steps, touched, delivered, predictions, label
                                selections.npz  per image: the actions, which alone grow with the image
                                weights.safetensors
                                weights.STAGE.safetensors  checkpoints, where the agent keeps any
                                curves.json     how training went (`curves`)
                                timings.json

Tables and comparisons need the first two. Selections and weights, which show and replay what was looked at, may be
left out of a copy.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import platform
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from glimpsebench import agents
from glimpsebench.bench import metrics
from glimpsebench.envs.errors import UsageError
from glimpsebench.envs.settings import current

Array = NDArray[Any]

SCHEMA = 2
"""Of the records that this version writes. It reads those of schema 1 too, which do not tell the contender's source."""


def canonical(value: Any) -> str:
    """JSON with sorted keys and no NaN: equal values, equal bytes."""
    return json.dumps(value, sort_keys=True, allow_nan=False, indent=1) + "\n"


def compact(value: Any) -> str:
    """The same on one line, for long lists."""
    return json.dumps(value, sort_keys=True, allow_nan=False, separators=(",", ":")) + "\n"


def digest(value: Any) -> str:
    """The first 16 hex digits of the SHA-256 of the canonical JSON."""
    return hashlib.sha256(canonical(value).encode()).hexdigest()[:16]


@dataclass(frozen=True)
class Record:
    """One run, read back from its folder.

    Attributes:
        folder: where it lies.
        about: the contents of record.json, an older one's by the names of now.
    """

    folder: Path
    about: Mapping[str, Any]

    @classmethod
    def read(cls, folder: Path) -> Record:
        path = folder / "record.json"
        try:
            about = json.loads(path.read_text())
        except (OSError, ValueError) as error:
            raise UsageError(f"{path}: not a readable record ({error}); delete its folder to run it again") from None
        if about.get("schema") not in (1, SCHEMA):
            raise UsageError(f"{path}: schema {about.get('schema')}, and this version reads 1 and {SCHEMA}")
        return cls(folder, about | {"agent": _by_todays_names(about)})

    @cached_property
    def arrays(self) -> dict[str, Array]:
        """The per-image arrays: steps, touched, delivered, seen, own, evaluator (F, N), labels (N,).

        Where images are padded, also pixels (N,): how many each has without the padding.
        """
        with np.load(self.folder / "images.npz", allow_pickle=False) as stored:
            return {name: stored[name] for name in stored.files}

    @property
    def selection(self) -> Array:
        """What was looked at, as in `rollout.Episodes`.

        Raises:
            UsageError: it was left out of this copy.
        """
        path = self.folder / "selections.npz"
        try:
            with np.load(path, allow_pickle=False) as stored:
                selection: Array = stored["selection"]
        except FileNotFoundError:
            raise UsageError(f"{path}: left out of this copy; run the suite again to have it") from None
        return selection

    @cached_property
    def curves(self) -> list[dict[str, Any]]:
        """How training went, stage by stage, as `curves.json` has it; [] for a record of an earlier version."""
        return self._beside("curves.json", [])

    @cached_property
    def curve_seconds(self) -> list[dict[str, list[float]]]:
        """The seconds of training at the points of `curves`; [] for a copy without them."""
        return self._beside("timings.json", {}).get("curves", [])

    def _beside(self, name: str, otherwise: Any) -> Any:
        try:
            return json.loads((self.folder / name).read_text())
        except FileNotFoundError:
            return otherwise
        except (OSError, ValueError) as error:
            raise UsageError(
                f"{self.folder / name}: not readable ({error}); delete its folder to run it again"
            ) from None

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
    def budgets(self) -> tuple[float, ...]:
        return tuple(self.about["budgets"])

    @property
    def name(self) -> str:
        """The contender's name: the agent's, with the settings that differ from its defaults."""
        agent = self.about["agent"]
        changed = ", ".join(f"{key}={value}" for key, value in sorted(agent["changed"].items()))
        return f"{agent['name']} ({changed})" if changed else str(agent["name"])

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

    def correct_FN(self, by: str) -> Array:
        """Which images are right at each budget, `own` or `evaluator`: boolean (F, N)."""
        correct: Array = self.arrays[by] == self.arrays["labels"]
        return correct

    def accuracy(self, by: str, measure: Callable[[Array, Array, Array], Array] = metrics.accuracy) -> Array:
        """Top-1 accuracy at each budget (F,), or another measure; NaN where not reached or nothing is predicted."""
        if (self.arrays[by] < 0).all():
            return np.full(len(self.budgets), np.nan)
        return measure(self.arrays[by], self.arrays["labels"], self.reached_F)

    @cached_property
    def unchosen_F(self) -> Array:
        """The share of the images, at each budget (F,), that show only what is given without a choice."""
        steps_FN: Array = self.arrays["steps"]
        share: Array = ((steps_FN > 0) & (steps_FN <= self.about["agent"]["given"])).mean(1)
        return share


def _by_todays_names(about: Mapping[str, Any]) -> dict[str, Any]:
    """What a record tells of the agent, by the names of now. Of code it imports this package's agents alone."""
    agent = dict(about["agent"])
    if agent["name"] in agents.names():
        kind = agents.find(agent["name"])
        agent |= {name: current(kind, agent[name]) for name in ("settings", "changed")}
    if about["schema"] == 1:
        if agent["reference"] is True:
            agent["reference"] = "ceiling" if about["budgets"] == [1.0] else "floor"
        agent |= {"reference": agent["reference"] or None, "source": None, "given": 0, "supervision": "labels"}
        with suppress(UsageError):  # another version's settings
            if agent["name"] in agents.names():
                made = agents.make(agent["name"], agent["settings"])
                agent |= {"given": made.given, "supervision": made.supervision}
    return agent


def folder_of(root: Path, task_id: str, agent: str, key: str) -> Path:
    return root / "records" / task_id / agent / key


def read_all(root: Path) -> list[Record]:
    """All records under a results folder, in the order of their paths."""
    return [Record.read(path.parent) for path in sorted((root / "records").glob("*/*/*/record.json"))]


@contextmanager
def replacing(folder: Path) -> Iterator[Path]:
    """A temporary folder that becomes `folder` by one rename when the block ends well, and vanishes otherwise."""
    temporary = folder.parent / f".{folder.name}.{os.getpid()}"
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.mkdir(parents=True)
    try:
        yield temporary
        shutil.rmtree(folder, ignore_errors=True)
        temporary.rename(folder)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
        with suppress(OSError):
            folder.parent.rmdir()  # leave no empty folder behind a failure


def remove_unfinished(root: Path) -> None:
    """Remove what killed processes left half-written."""
    for temporary in (root / "records").glob("*/*/.*.*"):
        try:
            os.kill(int(temporary.name.rsplit(".", 1)[-1]), 0)
        except (ValueError, ProcessLookupError):
            shutil.rmtree(temporary, ignore_errors=True)


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
