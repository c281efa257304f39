"""The processes in which a contender's code runs during an audit, and what they have: nothing more than it needs.

A room is a folder with the contender's source, and the process that works in it. `fit` has the training and
validation images beside it: files written for this room, in a cache of its own, of sets whose test half is absent.
`act` and `predict` have weights and settings alone. Where the machine allows it the process cannot leave its folder
(`processes.enclosed`); `limits` says what is not caught elsewhere.
"""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

import glimpsebench
from glimpsebench import agents
from glimpsebench.agents.common.base import Agent, training_on
from glimpsebench.bench import judges
from glimpsebench.bench.audit.declaration import Declaration, Stand, declared
from glimpsebench.bench.audit.halves import SEEN, Halves
from glimpsebench.bench.audit.processes import Failure, Message, Process, can_enclose, enclosed, serve
from glimpsebench.bench.run import Spec, run
from glimpsebench.envs import datasets, tasks
from glimpsebench.envs.base import Task
from glimpsebench.envs.glimpse import Observation

Array = NDArray[Any]

READER = "reader.safetensors"
"""The file from which a predictor may begin (`judges`)."""


def limits() -> str:
    """What the rooms on this machine do not catch; empty if they are enclosed."""
    if can_enclose():
        return ""
    return (
        "no namespaces here: a contender that opens files by their absolute path finds other records and the image "
        "sets of this machine, among them scikit-learn's digits, and act can leave files for predict"
    )


class Subject:
    """A contender that is audited: what is known of it without importing it here.

    Attributes:
        inputs: what its record is addressed by (`Spec.inputs`).
        says: its declaration.
        source: the files of its code, where it is none of the package's: path in the room → content.
    """

    def __init__(self, spec: Spec) -> None:
        """Ask another process, which imports it.

        Raises:
            Failure: it cannot be made, or breaks a rule.
        """
        self.spec = spec
        self._asked = {
            "agent": spec.agent,
            "task": spec.task,
            "seed": spec.seed,
            "agent_settings": dict(spec.agent_settings),
            "task_settings": dict(spec.task_settings),
        }
        about = self._outside("describe", self._asked)
        self.inputs: dict[str, Any] = about["inputs"]
        self.says = Declaration.from_data(about["says"])
        self.source: dict[str, str] = {str(path): str(text) for path, text in about["source"].items()}
        for path in map(Path, self.source):
            if path.is_absolute() or ".." in path.parts:
                raise Failure(f"its source is in no folder of its own: {path}")

    def _outside(self, what: str, about: dict[str, Any]) -> dict[str, Any]:
        """Ask a process that is like this one, but that it may import the contender."""
        environment = dict(os.environ) | {"PYTHONPATH": os.pathsep.join(map(str, [package_root(), *sys.path]))}
        with Process(__name__, environment) as process:
            return process.ask(what, about)[0]

    def run(self, root: Path) -> None:
        """Make its run, as `glimpse run` does; whatever comes of it is on record."""
        self._outside("run", {**self._asked, "root": str(root.resolve())})

    @contextmanager
    def room(self, furnish: Callable[[Path], None] = lambda folder: None) -> Iterator[Room]:
        """A new process in a new folder, which `furnish` puts something into first."""
        with ExitStack() as stack:
            folder, place = (Path(stack.enter_context(tempfile.TemporaryDirectory())).resolve() for _ in range(2))
            for path, text in self.source.items():
                (folder / "code" / path).parent.mkdir(parents=True, exist_ok=True)
                (folder / "code" / path).write_text(text)
            furnish(folder)
            environment = {
                "PATH": os.environ.get("PATH", ""),
                "PYTHONPATH": os.pathsep.join([str(folder / "code"), str(package_root())]),
                "HOME": str(folder),
                "XDG_CACHE_HOME": str(folder / "cache"),
                "GLIMPSE_DATA": str(folder / "data"),
                "GLIMPSE_JUDGES": str(folder / "judges"),
            } | dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS"), "1")
            environment |= {name: os.environ[name] for name in ("GLIMPSE_JUDGE_RECIPE",) if name in os.environ}
            before = enclosed(folder, place) if can_enclose() else ["env", f"--chdir={folder}"]
            yield Room(stack.enter_context(Process(__name__, environment, before)), folder)

    @contextmanager
    def fitted(self, task: Task) -> Iterator[Path]:
        """A folder with the weights of a contender that was fitted without the test images.

        Raises:
            Failure: it could not be.
        """
        with self.room(lambda folder: _write_halves(task, folder)) as room:
            by_name = {} if task.name in tasks.TASKS else {"kept": _about(task)}
            room.process.ask("fit", {**self._asked, **by_name})
            yield room.folder

    @contextmanager
    def looking(self, task: Task, weights: Path) -> Iterator[Remote]:
        """The fitted contender, as two processes with its weights: one acts, the other predicts."""

        def furnish(folder: Path) -> None:
            for file in weights.glob("weights*.safetensors"):
                if not file.is_symlink():  # which could name any file of this machine
                    shutil.copy(file, folder)

        with self.room(furnish) as actor, self.room(furnish) as predictor:
            for room in (actor, predictor):
                room.process.ask("load", {**self._asked, "kept": _about(task)})
            yield Remote(self.says, actor.process, predictor.process)


@dataclass(frozen=True)
class Room:
    """A process and its folder."""

    process: Process
    folder: Path


class Remote(Stand):
    """A contender whose code runs elsewhere. Its two verbs are messages; it brings its own random numbers."""

    def __init__(self, says: Declaration, actor: Process, predictor: Process) -> None:
        super().__init__(says)
        self._actor, self._predictor = actor, predictor

    def act(self, observation: Observation, rng: np.random.Generator) -> Array:
        return self._answer(self._actor, "act", observation, self.sensor().action_space(self.shape).shape)

    def predict(self, view: Observation) -> Array | None:
        about, arrays = self._predictor.ask("predict", {}, view)
        if about.get("none"):
            return None
        return _checked(arrays.get("answer"), (len(view["left"]), self.classes), "logits")

    def _answer(self, process: Process, verb: str, observation: Observation, shape: tuple[int, ...]) -> Array:
        _, arrays = process.ask(verb, {}, observation)
        return _checked(arrays.get("answer"), (len(observation["left"]), *shape), "actions")


def _checked(answer: Array | None, shape: tuple[int, ...], what: str) -> Array:
    if answer is None or answer.shape != shape or not np.isfinite(answer).all():
        raise Failure(f"its {what} are not finite numbers of shape {shape}")
    return answer


def package_root() -> Path:
    """The folder that holds this package."""
    return Path(glimpsebench.__file__).parents[1]


def _about(task: Task) -> dict[str, Any]:
    return {"name": task.name, "version": task.version, "size": task.shape, "number": task.classes}


def _write_halves(task: Task, folder: Path) -> None:
    """What `fit` may have: halves of the image sets that a named task is made of, or of its own images; the reader."""
    if (reader := judges.folder_of(task) / READER).is_file():
        shutil.copy(reader, folder)
    if task.name in tasks.TASKS:
        for name in task.sets:
            (folder / "data" / name).mkdir(parents=True)
            for half in SEEN:
                images = datasets.load(name, half)
                np.save(folder / "data" / name / f"{half}_images.npy", images.images_NCHW)
                np.save(folder / "data" / name / f"{half}_labels.npy", images.labels_N)
        return
    (folder / "data").mkdir()
    for half in SEEN:
        split = task.render(half, 0)
        beside = {"objects": split.objects_NHW, "boxes": split.boxes_N4}
        kept = {name: array for name, array in beside.items() if array is not None}
        np.savez(folder / "data" / f"{half}.npz", images=split.images_NCHW, labels=split.labels_N, **kept)  # type: ignore[arg-type]


class _Inside:
    """What the process in a room does."""

    agent: Agent
    rng: np.random.Generator

    @staticmethod
    def _made(about: dict[str, Any]) -> tuple[Spec, Agent, Task]:
        kept = about.pop("kept", None)
        spec = Spec(**about)
        if kept is None:
            return spec, *spec.make()
        folder = str(Path("data").resolve()) if Path("data").is_dir() else ""
        task = Halves(kept["name"], kept["version"], tuple(kept["size"]), kept["number"], folder)
        return spec, agents.make(spec.agent, spec.agent_settings), task

    def describe(self, about: dict[str, Any], _: dict[str, Array]) -> Message:
        spec, agent, task = self._made(about)
        agent.prepare(task)
        return {"inputs": spec.inputs(), "says": declared(agent).as_data(), "source": _source(spec.agent)}, {}

    def run(self, about: dict[str, Any], _: dict[str, Array]) -> Message:
        root = Path(about.pop("root"))
        run(Spec(**about), root, iter)
        return {}, {}

    def fit(self, about: dict[str, Any], _: dict[str, Array]) -> Message:
        torch.set_num_threads(1)  # as in a run
        spec, agent, task = self._made(about)
        if Path(READER).is_file() and not (place := judges.folder_of(task)).exists():
            place.mkdir(parents=True)
            shutil.move(READER, place)
        torch.manual_seed(spec.seed)
        with datasets.test_split_closed():
            agent.prepare(task)
            with training_on("cpu", agent):
                agent.fit(task, spec.seed, iter)
        agent.save(Path("weights.safetensors").resolve())
        return {}, {}

    def load(self, about: dict[str, Any], _: dict[str, Array]) -> Message:
        torch.set_num_threads(1)
        spec, self.agent, task = self._made(about)
        weights = Path("weights.safetensors").resolve()
        if weights.is_file():
            self.agent.load(weights, task)
        else:
            self.agent.prepare(task)
        self.rng = np.random.default_rng([spec.seed, 2])  # as in a rollout
        return {}, {}

    def act(self, _: dict[str, Any], observation: dict[str, Array]) -> Message:
        return {}, {"answer": self.agent.act(observation, self.rng)}

    def predict(self, _: dict[str, Any], view: dict[str, Array]) -> Message:
        logits = self.agent.predict(view)
        return ({"none": True}, {}) if logits is None else ({}, {"answer": logits})


def _source(agent: str) -> dict[str, str]:
    """The files of a contender's code and the packages above it: path below the folder it is imported from → text."""
    if agent in agents.names():
        return {}
    module = sys.modules[agents.find(agent).__module__]
    file = Path(str(module.__file__))
    top = file.parents[len(module.__name__.split(".")) - 1 + (file.name == "__init__.py")]
    files = set(agents.sources(agent))
    files |= {folder / "__init__.py" for folder in file.parents if folder != top and folder.is_relative_to(top)}
    return {str(path.relative_to(top)): path.read_text() for path in sorted(files) if path.is_file()}


if __name__ == "__main__":
    inside = _Inside()
    serve({name: getattr(inside, name) for name in ("describe", "run", "fit", "load", "act", "predict")})
