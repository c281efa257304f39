"""One run: fit → rollout → score → record."""

from __future__ import annotations

import functools
import hashlib
import json
import platform
import shutil
import subprocess
import sys
import time
import traceback
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

import glimpsebench
from glimpsebench import agents
from glimpsebench.agents.common.base import Agent, Diverged, Progress, checkpointed_by, reporting_to, training_on
from glimpsebench.bench import costs, judgements, judges, localisation, records
from glimpsebench.bench.arrays import predictions, smallest
from glimpsebench.bench.audit.recount import expected, recounted
from glimpsebench.bench.checkpoints import Checkpoints
from glimpsebench.bench.progress import Stages
from glimpsebench.bench.recorder import Recorder
from glimpsebench.bench.rollout import Episodes, footprints_of, rollout
from glimpsebench.envs import datasets, tasks
from glimpsebench.envs.errors import UsageError
from glimpsebench.envs.tasks import Split, Task

Array = NDArray[Any]

_SOFTWARE = ("numpy", "gymnasium", "stable-baselines3", "scipy", "scikit-learn")


@dataclass(frozen=True)
class Spec:
    """What to run. Values are checked when the agent and the task are made.

    Attributes:
        label: what its suite calls it; None if it gives no label. No part of what is asked, and in no record.
    """

    agent: str
    task: str
    seed: int = 0
    agent_settings: Mapping[str, Any] = field(default_factory=dict)
    task_settings: Mapping[str, Any] = field(default_factory=dict)
    label: str | None = field(default=None, compare=False)

    def make(self) -> tuple[Agent, Task]:
        """The agent and the task.

        Raises:
            UsageError: an unknown name or setting, or a value that does not fit.
        """
        return agents.make(self.agent, self.agent_settings), tasks.make(self.task, self.task_settings)

    def inputs(self) -> dict[str, Any]:
        """Everything that the result depends on, beside the machine: what a record is addressed by."""
        agent, task = self.make()
        return {
            "agent": self._asked_of(agent),
            "task": {"id": task.id, "settings": records.settings_of(task)},
            "seed": self.seed,
        }

    def about(self) -> dict[str, Any]:
        """The inputs, what else a record tells of the agent, and as `judge` today's judge of the task."""
        agent, task = self.make()
        return self.inputs() | {"agent": self.about_agent(agent), "judge": judges.name_of(task)}

    def about_agent(self, agent: Agent) -> dict[str, Any]:
        """What a record tells of the agent."""
        ours = self.agent in agents.names()
        return {
            **self._asked_of(agent),
            "changed": records.changed_of(agent),
            "track": agent.track,
            "reference": agent.reference,
            "currency": agent.currency,
            "given": agent.given,
            "supervision": agent.supervision,
            **({} if ours else {"file": str(sys.modules[type(agent).__module__].__file__)}),
        }

    def _asked_of(self, agent: Agent) -> dict[str, Any]:
        """What a result depends on of the agent."""
        return {
            "name": self.agent,
            "version": agent.version,
            "source": agents.source_hash(self.agent),
            "settings": records.settings_of(agent),
        }

    def folder(self, root: Path) -> Path:
        """Where the record of this run belongs."""
        inputs = self.inputs()
        return records.folder_of(root, inputs["task"]["id"], self.agent, records.digest(inputs))

    @functools.cached_property
    def row(self) -> str:
        """Equal for runs that differ in the seed alone, which is then all that what they ask for differs in, too."""
        parts = [self.agent, self.task, self.agent_settings, self.task_settings]
        return json.dumps(parts, sort_keys=True, default=repr)  # of values that are not checked yet

    def __str__(self) -> str:
        settings = [f"{name}={value}" for name, value in self.agent_settings.items()]
        settings += [f"task.{name}={value}" for name, value in self.task_settings.items()]
        extra = f" ({', '.join(settings)})" if settings else ""
        return f"{self.agent}{extra} on {self.task}, seed {self.seed}"


def questions(specs: Iterable[Spec]) -> Iterator[tuple[dict[str, Any], str]]:
    """What each of these runs asks (`Spec.inputs`), and the hash of that, by which its record is named.

    What the seeds of a row have in common is worked out once.
    """
    rows: dict[str, tuple[dict[str, Any], list[str]]] = {}
    for spec in specs:
        line = '\n "seed": {},'.format
        if spec.row not in rows:
            inputs = spec.inputs()
            rows[spec.row] = inputs, records.canonical(inputs).split(line(spec.seed))  # settings stand further in
        inputs, (before, after) = rows[spec.row]
        yield inputs | {"seed": spec.seed}, records.digest_of(before + line(spec.seed) + after)


def usable(device: str) -> None:
    """Check that a device is here.

    Raises:
        UsageError: it is not.
    """
    cards = [f"cuda:{number}" for number in range(torch.cuda.device_count())]
    names = ["cpu", *(["cuda", *cards] if cards else [])]
    if device not in names:
        raise UsageError(f"no device '{device}' here, only {', '.join(names)}; this PyTorch is {torch.__version__}")


def run(
    spec: Spec,
    root: Path,
    progress: Progress[int],
    device: str = "cpu",
    own_sensor: bool = False,
    allowed: Callable[[], bool] = lambda: True,
) -> records.Record:
    """Run it and write its record. A run that diverges or fails leaves a record that says so.

    Args:
        progress: `Stages`, which tell what the run is at, or what wraps each of its training loops.
        device: where an agent that is `accelerated` trains. Everything else is done on the CPU.
        own_sensor: whether the agent may bring a sensor of its own; it is audited by brute force.
        allowed: whether the record may be written; asked when it is there.

    Raises:
        UsageError: the specification is wrong, there is no such device, or the record cannot be written; nothing is.
    """
    torch.set_num_threads(1)  # one thread per run: more of them change the numbers
    agent, task = spec.make()
    usable(device)
    device = device if agent.accelerated else "cpu"
    test = tasks.test_split(task)
    task.remember()
    folder = spec.folder(root)
    about = _about(spec, agent, task, test, device)
    began = False
    clock = [time.perf_counter()]
    arrays: dict[str, Any] = {}
    speed: dict[str, float] = {}
    stages = progress if isinstance(progress, Stages) else Stages(around=progress)
    curves = Recorder(agent, task, stages)
    checkpoints = Checkpoints(root / "checkpoints" / folder.name, _same_run(about), agent, curves)
    try:
        torch.manual_seed(spec.seed)
        with datasets.test_split_closed():
            agent.prepare(task)
            before = expected(agent, task, own_sensor)
            trainable = agent.trainable
            if networks := judges.missing(task):
                stages.networks(task.id, [each.steps for each in networks], agent)
                for each in networks:
                    each.run(stages)
            stages.training(agent)
            began = True
            curves.begin()
            checkpoints.begin()
            clock[0] = time.perf_counter()
            with (
                training_on(device, agent),
                reporting_to(curves),
                checkpointed_by(checkpoints),
                costs.counted() as cost,
            ):
                agent.fit(task, spec.seed, curves)
            clock[0] -= checkpoints.regained
            clock.append(time.perf_counter())
            stages.now("looking at the test images")
            episodes = rollout(agent, test, spec.seed)
            clock.append(time.perf_counter())
            about["costs"] = cost | costs.flops(agent, test, spec.seed)
            speed = costs.milliseconds(agent, test, spec.seed)
        stages.now("judging")
        judgement = recounted(before, test, episodes)
        clock.append(time.perf_counter())
        arrays = _arrays(episodes, agent, test)
        about |= {"status": "done", "parameters": agent.parameters, "trainable": trainable}
        about["findings"] = _findings(agent)
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # the row must say what went wrong, whatever it was, `sys.exit` among them
        if isinstance(error, UsageError) and not began:
            raise
        status = "diverged" if isinstance(error, Diverged) else "failed"
        about |= {"status": status, "error": _said(error, spec.agent)}
        arrays = {}

    with records.replacing(folder, allowed) as temporary:
        (temporary / "record.json").write_text(records.canonical(about))
        seconds = dict(zip(("fit", "rollout", "score"), np.diff(clock).round(3).tolist(), strict=False))
        if "fit" in seconds:
            seconds |= {"fit": round(seconds["fit"] - curves.seconds, 3), "validation": round(curves.seconds, 3)}
        (temporary / "timings.json").write_text(records.compact({**seconds, **speed, "curves": curves.timings}))
        (temporary / "curves.json").write_text(records.compact(curves.curves))
        if arrays:
            np.savez_compressed(temporary / "images.npz", **arrays)
            np.savez_compressed(temporary / "selections.npz", selection=episodes.selection)
            judgements.write(judgement, temporary)
            agent.save(temporary / "weights.safetensors")
    checkpoints.remove()
    return records.Record.read(folder)


def fail(spec: Spec, root: Path, why: str, device: str = "cpu") -> records.Record:
    """Write the record of a run that could not write it itself, as its process was ended."""
    agent, task = spec.make()
    about = _about(spec, agent, task, tasks.test_split(task), device if agent.accelerated else "cpu")
    folder = spec.folder(root)
    with records.replacing(folder) as temporary:
        (temporary / "record.json").write_text(records.canonical(about | {"status": "failed", "error": why}))
        (temporary / "timings.json").write_text(records.compact({}))
        (temporary / "curves.json").write_text(records.compact([]))
    shutil.rmtree(root / "checkpoints" / folder.name, ignore_errors=True)
    return records.Record.read(folder)


_LONGEST_ERROR = 10_000


def _said(error: BaseException, agent: str) -> str:
    """What an exception says, which may be anything, and the last place in the contender's own files on its way."""
    try:
        text = f"{type(error).__name__}: {error}"
    except Exception:
        text = f"{type(error).__name__}: it cannot say what"
    place = _place(error, agent)
    return text.encode(errors="replace").decode()[: _LONGEST_ERROR - len(place)] + place


def _place(error: BaseException, agent: str) -> str:
    """` (mine.py, line 7, in fit)`: the innermost frame in an agent's files; '' where there is none."""
    files = {path.resolve() for path in agents.sources(agent)}
    home = Path(str(sys.modules[agents.find(agent).__module__].__file__)).resolve().parent
    for frame in reversed(traceback.extract_tb(error.__traceback__)):
        if (path := Path(frame.filename).resolve()) in files:
            return f" ({path.relative_to(home)}, line {frame.lineno}, in {frame.name})"
    return ""


def _findings(agent: Agent) -> dict[str, Any]:
    """What it measured about itself, as plain numbers.

    Raises:
        ValueError: something is no finite number or list of such, or has no name that fits in a table.
    """
    found: dict[str, Any] = {}
    for name, value in agent.findings.items():
        numbers = np.asarray(value)
        if numbers.dtype.kind not in "biuf" or numbers.ndim > 1 or not np.isfinite(numbers).all():
            raise ValueError(f"finding {name!r} must be a finite number or a list of such, not {str(value)[:200]}")
        if not isinstance(name, str) or not name.isprintable() or not 0 < len(name) <= 100:
            raise ValueError(f"finding {name!r}: its name must be printable text of at most 100 characters")
        found[name] = numbers.astype(float).tolist()
    return found


def _arrays(episodes: Episodes, agent: Agent, test: Split) -> dict[str, Array]:
    """What a record keeps of each image (`arrays`)."""
    assert test.labels_N is not None
    found = {
        "steps": smallest(episodes.steps_FN),
        "touched": smallest(episodes.touched_FN),
        "delivered": smallest(episodes.delivered_FN),
        "own": episodes.predicted_FN.astype(predictions(agent.classes)),
        "labels": smallest(np.asarray(test.labels_N)),
        "points": smallest(episodes.points_N2),
    }
    if (episodes.predicted_FN >= 0).any():
        found["confidence"] = episodes.confidence_FN
    if test.boxes_N4 is not None:
        found["pixels"] = smallest(test.own_pixels_N)
    if test.objects_NHW is not None:
        found |= localised(episodes, agent, np.asarray(test.objects_NHW), test.boxes_N4)
    return found


def localised(episodes: Episodes, agent: Agent, objects_NHW: Array, boxes_N4: Array | None = None) -> dict[str, Array]:
    """How selection and object agree, in pixels: `inside` (F, N) of what is touched, `objects` (N,) of the object.

    `pointed` (N,) is of the first look by choice, and missing where an agent has none.
    """
    inside_FN = np.zeros(episodes.steps_FN.shape, np.int64)
    single = len(episodes.selection) == len(agent.budgets)
    for at, budget in enumerate(agent.budgets):
        selection = episodes.selection[at if single else 0]
        prints_NTHW = footprints_of(selection, episodes.steps_FN[at], budget, agent.sensor(), agent.shape, boxes_N4)
        inside_FN[at] = localisation.overlap(np.asarray(prints_NTHW.any(1)), objects_NHW)
    found = {"inside": smallest(inside_FN), "objects": smallest(objects_NHW.sum((1, 2)))}
    if agent.horizon() > agent.given:
        found["pointed"] = localisation.pointing_game(episodes.points_N2, objects_NHW)
    return found


def _about(spec: Spec, agent: Agent, task: Task, test: Split, device: str) -> dict[str, Any]:
    """What was asked, and what else a reader of the record needs to know."""
    return spec.inputs() | {
        "schema": records.SCHEMA,
        "key": records.digest(spec.inputs()),
        "agent": spec.about_agent(agent) | {"sensor": repr(agent.sensor())},
        "task": {
            "id": task.id,
            "settings": records.settings_of(task),
            "shape": task.shape,
            "classes": task.classes,
            "test_images": len(test),
            "test_sha256": content_hash(test),
        },
        "budgets": agent.budgets,
        "software": _software(),
        "machine": _machine(device),
    }


def environment(device: str) -> dict[str, Any]:
    """What a record made now would say of software and machine."""
    return _software() | _machine(device)


def _software() -> dict[str, str]:
    return (
        {"glimpsebench": glimpsebench.__version__, "python": platform.python_version()}
        | ({"commit": commit} if (commit := _commit()) else {})
        | {"torch": torch.__version__}  # names the build, which the installed version does not
        | {name: version(name) for name in _SOFTWARE}
    )


def _machine(device: str) -> dict[str, Any]:
    return {"device": _device(device), "threads": torch.get_num_threads(), "processor": records.processor()}


def _same_run(about: Mapping[str, Any]) -> str:
    """What must be equal for a run to go on from a checkpoint: with anything else, other numbers would come of it."""
    software = {name: version for name, version in about["software"].items() if name != "commit"}
    return records.canonical({"key": about["key"], "software": software, "machine": about["machine"]})


def content_hash(test: Split) -> str:
    """The SHA-256 of test images and labels."""
    content = hashlib.sha256(np.ascontiguousarray(test.images_NCHW).data)
    content.update(np.asarray(test.labels_N, np.int64).tobytes())
    return content.hexdigest()


@functools.cache
def _commit() -> str:
    """Which commit this code is of, with `-dirty` where it differs from it; '' where it is not a checkout's."""
    top = Path(__file__).resolve().parents[1]
    parts = [name for name in ("agents", "bench", "envs", "src") if (top / name).is_dir()]

    def git(*words: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(["git", "-C", str(top), *words], capture_output=True, text=True, timeout=60)

    try:
        if git("ls-files", "--error-unmatch", "bench/run.py").returncode:
            return ""
        clean = git("diff", "--quiet", "HEAD", "--", *parts).returncode == 0
        return git("rev-parse", "--short=12", "HEAD").stdout.strip() + "-dirty" * (not clean)
    except (OSError, subprocess.SubprocessError):  # no git here
        return ""


def _device(device: str) -> str:
    return torch.cuda.get_device_name(device) if device.startswith("cuda") else device
