"""Making a record's run again, and how close that comes to it.

The promise: the same command on the same machine with the same software leaves the same bytes, but for the timings.
Elsewhere training may come out otherwise, within what seeds differ by anyway.
"""

from __future__ import annotations

import json
import shlex
import tempfile
from pathlib import Path
from typing import NamedTuple

import numpy as np

from glimpsebench import agents
from glimpsebench.bench import hashes, records
from glimpsebench.bench.progress import Stages
from glimpsebench.bench.records import Record
from glimpsebench.bench.run import Spec, environment, run
from glimpsebench.bench.schema import shown
from glimpsebench.envs import tasks


class Reproduction(NamedTuple):
    """What is to be made again.

    Attributes:
        record: the one that is there.
        spec: what it asks for.
        lines: the command, and where this environment differs from the recorded one.
        alike: whether it does not differ, so that the same bytes are promised.
    """

    record: Record
    spec: Spec
    lines: list[str]
    alike: bool


def prepare(folder: Path) -> Reproduction:
    """What a record asks for, and whether this environment is the one that it was made in.

    Raises:
        UsageError: it is damaged, or this version cannot make its agent and task.
    """
    record = Record.read(folder)
    records.rebuilt(record)  # imports nothing because a record says so
    about = record.about
    task = {key: value for key, value in about["task"]["settings"].items() if key not in tasks.IDENTITY}
    spec = Spec(about["agent"]["name"], about["task"]["id"], record.seed, about["agent"]["settings"], task)
    lines = [command(record), *_differences(record, spec)]
    if problem := hashes.damaged(folder):
        lines.append(f"damaged: {folder / problem}")
    return Reproduction(record, spec, lines, len(lines) == 1)


def command(record: Record) -> str:
    """The command that asks for the same, to be pasted into a shell."""
    about = record.about
    task = about["task"]
    _, made = Spec(about["agent"]["name"], task["id"]).make()
    usual = records.settings_of(made)
    changed = {f"agent.{key}": value for key, value in sorted(about["agent"]["changed"].items())}
    changed |= {f"task.{key}": value for key, value in task["settings"].items() if usual.get(key) != value}
    words = ["glimpse", "run", "--agent", about["agent"]["name"], "--task", task["id"], "--seed", str(record.seed)]
    for name, value in changed.items():
        if name.removeprefix("task.") not in tasks.IDENTITY:
            words += ["--set", f"{name}={json.dumps(value)}"]
    if about["machine"]["device"] != "cpu":
        words += ["--device", "cuda"]
    return shlex.join(words)


def _differences(record: Record, spec: Spec) -> list[str]:
    """Where this environment is not the recorded one, a line each."""
    about, now = record.about, environment(record.about["machine"]["device"])
    then = {**about["software"], **about["machine"]}
    agent = about["agent"]
    then |= {"agent's version": agent["version"], "agent's source": agent["source"]}
    now |= {"agent's version": agents.find(spec.agent).version, "agent's source": agents.source_hash(spec.agent)}
    return [
        f"{name}: {shown(then.get(name, 'none'))} then, {shown(now.get(name, 'none'))} now"
        for name in dict.fromkeys([*then, *now])
        if then.get(name) != now.get(name)
    ]


def compare(found: Reproduction, stages: Stages) -> tuple[list[str], bool]:
    """Run it in a folder of its own, and say how close it came; and whether all that is promised holds."""
    device = "cpu" if found.record.about["machine"]["device"] == "cpu" else "cuda"
    with tempfile.TemporaryDirectory() as folder:
        made = run(found.spec, Path(folder), stages, device)
        lines = [_closeness(found.record, made)]
        same, other = _files(found.record.folder, made.folder)
    lines.append(f"byte for byte the same: {', '.join(same) or 'nothing'}; not: {', '.join(other) or 'nothing'}")
    if other and not found.alike:
        lines.append("the environment is another, for which no equal bytes are promised")
    return lines, (not other or not found.alike) and made.about["status"] == found.record.about["status"]


def _closeness(then: Record, now: Record) -> str:
    if not (then.done and now.done):
        return f"{then.about['status']} then, {now.about['status']} now: {now.about['error'] or 'no error'}"
    own = float((then.arrays["own"] == now.arrays["own"]).mean())
    gap = np.abs(then.accuracy("own") - now.accuracy("own"))
    apart = f"{100 * np.nanmax(gap):.2f} points at most" if np.isfinite(gap).any() else "no accuracy"
    touched = float((then.arrays["touched"] == now.arrays["touched"]).mean())
    return (
        f"same predictions: {100 * own:.2f} %; same pixels touched: {100 * touched:.2f} %; own accuracy: {apart} apart"
    )


def _files(then: Path, now: Path) -> tuple[list[str], list[str]]:
    """The files that are the same, and those that differ; what only one of them has is left out."""
    same: list[str] = []
    other: list[str] = []
    for path in sorted(now.iterdir()):
        if path.name in ("timings.json", hashes.NAME) or not (then / path.name).exists():
            continue
        (same if path.read_bytes() == (then / path.name).read_bytes() else other).append(path.name)
    return same, other
