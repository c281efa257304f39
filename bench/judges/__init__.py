"""Judges: per task a frozen ensemble of classifiers that read any canvas, and a reader of the same make.

No agent trains or meets the judges; they score every selection, so that selections are compared apart from the
contenders' predictors. The reader is for the contenders: where a predictor begins, and where a reward may come from.
It is none of the judges.

Those of the named tasks are trained once and shipped with the package (`shipped/TASK/`); what is not shipped is trained
once per machine into the user's cache, which all results share. Nothing is ever trained twice on one machine.

    judge-0.safetensors … judge-3.safetensors, reader.safetensors
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from tqdm import tqdm

from glimpsebench.agents.common.base import Progress
from glimpsebench.agents.common.nets import predict_canvas
from glimpsebench.bench.judges.networks import fused
from glimpsebench.bench.judges.training import (
    READER_SEED,
    Recipe,
    Role,
    hash_of,
    is_whole,
    load,
    metadata,
    new_network,
    train,
)
from glimpsebench.bench.records import digest, settings_of
from glimpsebench.envs import datasets, tasks
from glimpsebench.envs.glimpse import Observation
from glimpsebench.envs.tasks import Task

__all__ = ["Judge", "Reader", "Recipe", "judge", "metadata", "missing", "name_of", "reader_state"]

Array = NDArray[Any]

SHIPPED = Path(__file__).parent / "shipped"
VERSION = 1
"""Of what judges see and how they are built; another is another judge."""


def cache_folder() -> Path:
    """Where this machine's own judges lie: GLIMPSE_JUDGES, or `judges` in the user's cache."""
    if chosen := os.environ.get("GLIMPSE_JUDGES"):
        return Path(chosen).expanduser()
    return datasets.cache_folder() / f"judges-v{VERSION}"


def folder_of(task: Task) -> Path:
    """Where the networks of a task lie, or will: shipped if they are, otherwise in the cache.

    A task by other settings than its own is another task.
    """
    known = tasks.TASKS.get(task.name)
    asked = settings_of(task)
    usual = known is not None and asked == settings_of(known)
    name = task.id if usual else f"{task.id}-{digest(asked)}"
    shipped = SHIPPED / name
    return shipped if shipped.is_dir() else cache_folder() / name


OWN_RECIPE = Recipe(**json.loads(os.environ.get("GLIMPSE_JUDGE_RECIPE", "{}")))
"""Of tasks whose networks are not shipped: minutes on a core; `glimpse judge train` takes longer ones. The environment
variable has other values of `Recipe`, as JSON, for this process and those that it starts."""


def recipe_of(task: Task) -> Recipe:
    """How the networks of a task are trained where they are not shipped; large canvases begin with a stride."""
    side = min(task.shape[1:])
    return dataclasses.replace(OWN_RECIPE, stride=1 if side < 48 else 2 if side < 128 else 4)


def files(task: Task, recipe: Recipe) -> dict[str, tuple[Role, int, Path]]:
    """The networks of a task by name: role, seed, file."""
    folder = folder_of(task)
    members = len([*folder.glob("judge-*.safetensors")]) if is_shipped(task) else recipe.members
    found: dict[str, tuple[Role, int, Path]] = {
        f"judge-{seed}": ("judge", seed, folder / f"judge-{seed}.safetensors") for seed in range(members)
    }
    return found | {"reader": ("reader", READER_SEED, folder / "reader.safetensors")}


def is_shipped(task: Task) -> bool:
    """Whether the networks of a task are part of the package."""
    return folder_of(task).parent == SHIPPED


def missing(task: Task) -> list[Training]:
    """The networks of a task that are not here, and would be trained when they are needed; the reader first."""
    recipe = recipe_of(task)
    found = files(task, recipe)
    names = ["reader", *(name for name in found if name != "reader")]
    return [Training(task, name, recipe.steps) for name in names if not found[name][2].exists()]


def set_aside_damaged(task: Task) -> list[Path]:
    """Move what was trained here, and was cut or changed since, out of the way; the places where it is kept."""
    found = {} if is_shipped(task) else files(task, recipe_of(task))
    kept = []
    for _, _, path in found.values():
        if path.exists() and not is_whole(path):
            kept.append(path.rename(path.with_suffix(f".damaged-{time.time_ns()}")))
            hash_of(path).unlink(missing_ok=True)
    return kept


@dataclass(frozen=True)
class Training:
    """A network that is to be trained: of which task, its name, and how many steps that takes."""

    task: Task
    name: str
    steps: int

    def run(self, progress: Progress[int]) -> None:
        """Train it, unless it is here by now."""
        recipe = recipe_of(self.task)
        role, seed, path = files(self.task, recipe)[self.name]
        _ensure(path, role, self.task, seed, recipe, progress)


class Judge:
    """A frozen ensemble of classifiers of one task: canvases to logits.

    Args:
        nets: the members.
        name: the hash of their weights.
    """

    def __init__(self, nets: list[nn.Module], name: str) -> None:
        self.nets, self.name = nets, name
        self._fast = [fused(net) for net in nets]

    @property
    def members(self) -> int:
        return len(self.nets)

    def __call__(self, view: Observation) -> Array:
        """A view of kind `canvas` → logits (M, B, K), float32."""
        return np.stack([predict_canvas(net, view) for net in self._fast])


def judge(task: Task, progress: Progress[int]) -> Judge:
    """The judge of a task; networks that are not here are trained now."""
    recipe = recipe_of(task)
    for role, seed, path in files(task, recipe).values():
        if role == "judge":
            _ensure(path, role, task, seed, recipe, progress)
    return of_files(member_files(task), task)


def of_files(paths: Sequence[Path], task: Task) -> Judge:
    """The judge whose members are in these files."""
    return Judge([read(path, task) for path in paths], _hash(paths))


def member_files(task: Task) -> list[Path]:
    """Where the members of a task's judge lie, or will."""
    return [path for role, _, path in files(task, recipe_of(task)).values() if role == "judge"]


def name_of(task: Task) -> str | None:
    """The name of a task's judge; None if one of its networks is not here yet."""
    paths = member_files(task)
    return _hash(paths) if all(path.exists() for path in paths) else None


def _hash(paths: Sequence[Path]) -> str:
    """The first 16 hex digits of the SHA-256 of some files' contents."""
    content = hashlib.sha256()
    for path in paths:
        content.update(path.read_bytes())
    return content.hexdigest()[:16]


def train_all(
    task: Task,
    recipe: Recipe,
    reader_steps: int,
    into: Path | None,
    bar: Callable[[str], Progress[int]],
    device: str = "cpu",
) -> Iterator[tuple[str, Path, bool]]:
    """Train what is missing of a task's networks, the reader first; each one's name, file, and whether it was missing.

    Args:
        into: the folder; by default where they are looked for.
        bar: a network's name → what wraps its training loop.
    """
    networks = files(task, recipe)
    for name in ["reader", *(each for each in networks if each != "reader")]:
        role, seed, path = networks[name]
        path = path if into is None else into / path.name
        missing = not path.exists()
        own = dataclasses.replace(recipe, steps=reader_steps if role == "reader" else recipe.steps)
        _ensure(path, role, task, seed, own, bar(f"{task.id}: {name}"), device)
        yield name, path, missing


def read(path: Path, task: Task) -> nn.Module:
    """The network in a file, frozen.

    Raises:
        UsageError: the file is damaged, or of another network.
    """
    about = metadata(path)
    role: Role = "reader" if about.get("role") == "reader" else "judge"
    recipe = Recipe(width=about.get("width", 1), stride=about.get("stride", 1))
    return load(path, new_network(role, task, recipe)).requires_grad_(False)


def reader_path(task: Task, progress: Progress[int] | None = None) -> Path:
    """The file of the task's reader, trained now if it is not here, with a bar that says so."""

    def bar(steps: Iterable[int]) -> Iterator[int]:
        return iter(tqdm(steps, f"training a reader of {task.id}, once", leave=False, disable=None))

    recipe = recipe_of(task)
    role, seed, path = files(task, recipe)["reader"]
    _ensure(path, role, task, seed, recipe, progress or bar)
    return path


class Reader:
    """The reader of a task, as an env's predictor: canvases to logits."""

    def __init__(self, task: Task) -> None:
        self.net = read(reader_path(task), task)

    def __call__(self, view: Observation) -> Array:
        """A view of kind `canvas` → logits (B, K), float32."""
        return predict_canvas(self.net, view)


def reader_state(task: Task) -> dict[str, torch.Tensor]:
    """The weights of the task's reader: `agents.common.nets.CanvasNet` begins from them."""
    return read(reader_path(task), task).state_dict()


def _ensure(
    path: Path, role: Role, task: Task, seed: int, recipe: Recipe, progress: Progress[int], device: str = "cpu"
) -> None:
    """Train a network unless it is here. Of several processes that ask at once, one trains and the others wait."""
    path.parent.mkdir(parents=True, exist_ok=True)
    claim = path.with_suffix(".claim")
    while not path.exists():
        if _claimed(claim):
            time.sleep(0.2)
            continue
        try:
            if not path.exists():
                train(path, role, task, seed, recipe, progress, device)
        finally:
            claim.unlink(missing_ok=True)


def _claimed(claim: Path) -> bool:
    """Whether another living process is at it; if not, the claim is ours now.

    The link appears with its content, so a claim always names its owner. Should two processes clear away the same
    dead one's, both train and both leave the same bytes.
    """
    mine = claim.with_suffix(f".{os.getpid()}")
    mine.write_text(str(os.getpid()))
    try:
        claim.hardlink_to(mine)
        return False
    except FileExistsError:
        try:
            os.kill(int(claim.read_text()), 0)
        except FileNotFoundError:
            pass
        except (ProcessLookupError, ValueError):
            claim.unlink(missing_ok=True)  # its owner was killed
        return True
    finally:
        mine.unlink(missing_ok=True)
