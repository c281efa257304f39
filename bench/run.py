"""One run: fit → rollout → score → record."""

from __future__ import annotations

import hashlib
import platform
import sys
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

import glimpsebench
from glimpsebench import agents
from glimpsebench.agents.common.base import Agent, Diverged, Progress, training_on
from glimpsebench.bench import costs, localisation, records
from glimpsebench.bench.evaluators import Recipe, evaluator, identity
from glimpsebench.bench.progress import Stages
from glimpsebench.bench.rollout import Episodes, footprints_of, replay, rollout
from glimpsebench.envs import datasets, tasks
from glimpsebench.envs.errors import UsageError
from glimpsebench.envs.tasks import Split, Task

Array = NDArray[Any]

_SOFTWARE = ("numpy", "gymnasium", "stable-baselines3", "scipy", "scikit-learn")


@dataclass(frozen=True)
class Spec:
    """What to run. Values are checked when the agent and the task are made."""

    agent: str
    task: str
    seed: int = 0
    agent_settings: Mapping[str, Any] = field(default_factory=dict)
    task_settings: Mapping[str, Any] = field(default_factory=dict)

    def make(self) -> tuple[Agent, Task]:
        """The agent and the task.

        Raises:
            UsageError: an unknown name or setting, or a value that does not fit.
        """
        return agents.make(self.agent, self.agent_settings), tasks.make(self.task, self.task_settings)

    def inputs(self) -> dict[str, Any]:
        """Everything that the result depends on, beside the machine: what a record is addressed by."""
        about = self.about()
        return about | {"agent": {key: about["agent"][key] for key in ("name", "version", "source", "settings")}}

    def about(self) -> dict[str, Any]:
        """The inputs, and what else a record tells of the agent."""
        agent, task = self.make()
        return {
            "schema": records.SCHEMA,
            "agent": self.about_agent(agent),
            "task": {"id": task.id, "settings": records.settings_of(task)},
            "seed": self.seed,
            "evaluator": identity(task),
        }

    def about_agent(self, agent: Agent) -> dict[str, Any]:
        """What a record tells of the agent."""
        ours = self.agent in agents.names()
        return {
            "name": self.agent,
            "version": agent.version,
            "source": agents.source_hash(self.agent),
            "settings": records.settings_of(agent),
            "changed": records.changed_of(agent),
            "track": agent.track,
            "reference": agent.reference,
            "currency": agent.currency,
            "given": agent.given,
            "supervision": agent.supervision,
            **({} if ours else {"file": str(sys.modules[type(agent).__module__].__file__)}),
        }

    def folder(self, root: Path) -> Path:
        """Where the record of this run belongs."""
        inputs = self.inputs()
        return records.folder_of(root, inputs["task"]["id"], self.agent, records.digest(inputs))

    def __str__(self) -> str:
        settings = [f"{name}={value}" for name, value in self.agent_settings.items()]
        settings += [f"task.{name}={value}" for name, value in self.task_settings.items()]
        extra = f" ({', '.join(settings)})" if settings else ""
        return f"{self.agent}{extra} on {self.task}, seed {self.seed}"


@dataclass(frozen=True)
class Standing:
    """How a run stands in a results folder.

    Attributes:
        done: whether its record exists and is whole. Runs that failed or diverged are run again.
        why: why it is to be made although a run of the same settings and seed is recorded; None if there is none.
    """

    done: bool
    why: str | None = None


def standings(specs: Iterable[Spec], root: Path) -> list[Standing]:
    """How each of these runs stands. What runs have in common, and each record, is read once."""
    questions: dict[str, dict[str, Any]] = {}
    kept: dict[Path, list[records.Record]] = {}
    return [_standing(spec, root, questions, kept) for spec in specs]


def _standing(
    spec: Spec, root: Path, questions: dict[str, dict[str, Any]], kept: dict[Path, list[records.Record]]
) -> Standing:
    row = records.canonical([spec.agent, spec.agent_settings, spec.task, spec.task_settings])
    if row not in questions:
        questions[row] = spec.inputs()
    inputs = questions[row] | {"seed": spec.seed}
    folder = records.folder_of(root, inputs["task"]["id"], spec.agent, records.digest(inputs))
    if (folder / "record.json").exists():
        return Standing(records.Record.read(folder).done)
    if folder.parent not in kept:
        paths = sorted(folder.parent.glob("*/record.json"))
        kept[folder.parent] = [records.Record.read(path.parent) for path in paths]
    for record in kept[folder.parent]:
        about = record.about
        same_agent = all(about["agent"][key] == inputs["agent"][key] for key in ("name", "settings"))
        same_task = all(about["task"][key] == inputs["task"][key] for key in ("id", "settings"))
        if not (same_agent and same_task and about["seed"] == spec.seed and about["status"] == "done"):
            continue
        if about["agent"]["version"] != inputs["agent"]["version"]:
            why = f"its version has changed from {about['agent']['version']} to {inputs['agent']['version']}"
        elif about["evaluator"] != inputs["evaluator"]:
            why = "the evaluator has changed"
        elif about["agent"]["source"] is None:
            why = "its source may have changed, of which an older version kept no hash,"
        else:
            why = "its source has changed"
        return Standing(False, f"{spec}: {why} since the record of {record.folder}; runs again")
    return Standing(False)


def is_done(spec: Spec, root: Path) -> bool:
    """Whether this run's record exists and is whole."""
    return standings([spec], root)[0].done


def has_evaluator(task: Task, root: Path) -> bool:
    """Whether a results folder has the task's evaluator, so that none needs to be trained."""
    return (root / "evaluators" / f"{task.id}-{identity(task)}.safetensors").exists()


def usable(device: str) -> None:
    """Check that a device is here.

    Raises:
        UsageError: it is not.
    """
    cards = [f"cuda:{number}" for number in range(torch.cuda.device_count())]
    names = ["cpu", *(["cuda", *cards] if cards else [])]
    if device not in names:
        raise UsageError(f"no device '{device}' here, only {', '.join(names)}; this PyTorch is {torch.__version__}")


def run(spec: Spec, root: Path, progress: Progress[int], device: str = "cpu") -> records.Record:
    """Run it and write its record. A run that diverges or fails leaves a record that says so.

    Args:
        progress: `Stages`, which tell what the run is at, or what wraps each of its training loops.
        device: where an agent that is `accelerated` trains. Everything else is done on the CPU.

    Raises:
        UsageError: the specification is wrong, or there is no such device; nothing is written.
    """
    torch.set_num_threads(1)  # one thread per run: more of them change the numbers
    agent, task = spec.make()
    usable(device)
    device = device if agent.accelerated else "cpu"
    test = tasks.test_split(task)
    task.remember()
    folder = spec.folder(root)
    about = spec.inputs() | _about(spec, agent, task, test, device) | {"key": folder.name}
    clock = [time.perf_counter()]
    arrays: dict[str, Any] = {}
    speed: dict[str, float] = {}
    stages = progress if isinstance(progress, Stages) else Stages(around=progress)
    try:
        torch.manual_seed(spec.seed)
        with datasets.test_split_closed():
            agent.prepare(task)
            trainable = agent.trainable
            stages.training(agent, 0 if has_evaluator(task, root) else Recipe().steps)
            with training_on(device, agent), costs.counted() as cost:
                agent.fit(task, spec.seed, stages)
            clock.append(time.perf_counter())
            stages.now("looking at the test images")
            episodes = rollout(agent, test, spec.seed)
            clock.append(time.perf_counter())
            about["costs"] = cost | costs.flops(agent, test, spec.seed)
            speed = costs.milliseconds(agent, test, spec.seed)
        stages.judging(task.id)
        judge = evaluator(task, root, stages)
        stages.now("scoring")
        judged = replay(agent, test, episodes, judge)
        clock.append(time.perf_counter())
        pixels_N = test.own_pixels_N
        seen = episodes.touched_FN if agent.track == "gated" else np.broadcast_to(pixels_N, episodes.touched_FN.shape)
        arrays = {
            "steps": episodes.steps_FN,
            "touched": episodes.touched_FN,
            "delivered": episodes.delivered_FN,
            "seen": seen.astype(np.int32),
            "own": episodes.predicted_FN,
            "evaluator": judged.predicted_FN,
            "labels": np.asarray(test.labels_N, np.int16),
            "points": np.ascontiguousarray(episodes.points_N2, np.int16),  # the file also tells the order in memory
        }
        if test.boxes_N4 is not None:
            arrays["pixels"] = pixels_N.astype(np.int32)
        if test.objects_NHW is not None:
            arrays |= localised(episodes, agent, np.asarray(test.objects_NHW), test.boxes_N4)
        about |= {"status": "done", "parameters": agent.parameters, "trainable": trainable, "findings": agent.findings}
    except (KeyboardInterrupt, UsageError):
        raise
    except Exception as error:  # the row must say what went wrong, whatever it was
        status = "diverged" if isinstance(error, Diverged) else "failed"
        about |= {"status": status, "error": f"{type(error).__name__}: {error}"}

    with records.replacing(folder) as temporary:
        (temporary / "record.json").write_text(records.canonical(about))
        seconds = dict(zip(("fit", "rollout", "score"), np.diff(clock).round(3).tolist(), strict=False))
        (temporary / "timings.json").write_text(records.canonical(seconds | speed))
        if arrays:
            np.savez_compressed(temporary / "images.npz", **arrays)
            np.savez_compressed(temporary / "selections.npz", selection=episodes.selection)
            agent.save(temporary / "weights.safetensors")
    return records.Record.read(folder)


def localised(episodes: Episodes, agent: Agent, objects_NHW: Array, boxes_N4: Array | None = None) -> dict[str, Array]:
    """How selection and object agree: `iou` and `on_object` (F, N), NaN where nothing was selected; `pointed` (N,).

    `pointed` is of the first look by choice, and missing where an agent has none.
    """
    overlaps: dict[str, list[Array]] = {"iou": [], "on_object": []}
    single = len(episodes.selection) == len(agent.budgets)
    for at, budget in enumerate(agent.budgets):
        selection = episodes.selection[at if single else 0]
        prints_NTHW = footprints_of(selection, episodes.steps_FN[at], budget, agent.sensor(), agent.shape, boxes_N4)
        chosen = np.asarray(prints_NTHW.any(1))
        overlaps["iou"].append(localisation.intersection_over_union(chosen, objects_NHW))
        overlaps["on_object"].append(localisation.share_on_object(chosen, objects_NHW))
    found = {name: np.stack(rows).astype(np.float32) for name, rows in overlaps.items()}
    if agent.horizon() > agent.given:
        found["pointed"] = localisation.pointing_game(episodes.points_N2, objects_NHW)
    return found


def _about(spec: Spec, agent: Agent, task: Task, test: Split, device: str) -> dict[str, Any]:
    """What a reader of the record needs to know beside what was asked."""
    assert test.labels_N is not None
    content = hashlib.sha256(test.images_NCHW.tobytes() + np.asarray(test.labels_N, np.int64).tobytes())
    return {
        "agent": spec.about_agent(agent) | {"sensor": repr(agent.sensor())},
        "task": {
            "id": task.id,
            "settings": records.settings_of(task),
            "shape": task.shape,
            "classes": task.classes,
            "test_images": len(test),
            "test_sha256": content.hexdigest(),
        },
        "budgets": agent.budgets,
        "software": {"glimpsebench": glimpsebench.__version__, "python": platform.python_version()}
        | {"torch": torch.__version__}  # names the build, which the installed version does not
        | {name: version(name) for name in _SOFTWARE},
        "machine": {"device": _device(device), "threads": torch.get_num_threads(), "processor": _processor()},
    }


def _device(device: str) -> str:
    return torch.cuda.get_device_name(device) if device.startswith("cuda") else device


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    return next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), "unknown")
