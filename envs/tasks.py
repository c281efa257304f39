"""The named tasks. A task is frozen data: its images follow from its name, version and settings alone.

Placed tasks draw fresh training images each epoch (`train(epoch)`) and fixed ones for `val()` and the test
split. Anything that could move a score bumps the task's version. The test split is not a method: it is
`test_split(task)`, the bench's, and closed while an agent is at work (`datasets.test_split_closed`).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from glimpsebench.envs import datasets
from glimpsebench.envs.base import IDENTITY, Shape, Split, Task, changed
from glimpsebench.envs.datasets import Half
from glimpsebench.envs.errors import UsageError, unknown
from glimpsebench.envs.placed import OnTexture, Placed, Rescaled
from glimpsebench.envs.scenes import CircleSquare, Needle, OnPhotos

__all__ = ["IDENTITY", "TASKS", "Half", "Plain", "Shape", "Split", "Task", "make", "names", "test_split"]


def test_split(task: Task) -> Split:
    """The test images of a task. For the bench; raises PermissionError while an agent is at work."""
    return task.render("test", 0)


@dataclass(frozen=True)
class Plain(Task):
    """An image set as it is."""

    name: str
    version: int
    base: str

    @property
    def shape(self) -> Shape:
        return datasets.info(self.base).shape

    @property
    def classes(self) -> int:
        return datasets.info(self.base).classes

    @property
    def sizes(self) -> Mapping[Half, int]:
        return datasets.info(self.base).sizes

    @property
    def summary(self) -> str:
        return f"{self.base} as it is"

    def render(self, half: Half, epoch: int) -> Split:
        images = datasets.load(self.base, half)
        return Split(images.images_NCHW, images.labels_N)


TASKS: dict[str, Task] = {
    task.name: task
    for task in [
        Plain("digits", 1, base="digits"),
        Placed("digits-clutter", 1, base="digits", canvas=32, enlarge=2, clutter=4, piece=6),
        OnTexture("digits-biased", 1, base="digits"),
        Needle("needle", 1, base="digits"),
        CircleSquare("circle-square", 1),
        Plain("mnist", 1, base="mnist"),
        Placed("translated-mnist-60", 1, base="mnist", canvas=60),
        Placed("cluttered-mnist-60", 1, base="mnist", canvas=60, clutter=4),
        Placed("cluttered-mnist-100", 1, base="mnist", canvas=100, clutter=8),
        Rescaled("dham-120", 1, base="mnist"),
        Rescaled("dham-120-noisy", 1, base="mnist", noise=0.5),
        Plain("fashion-mnist", 1, base="fashion-mnist"),
        Plain("cifar10", 1, base="cifar10"),
        OnPhotos("mnist-on-cifar", 1, base="mnist", grounds="cifar10"),
        OnPhotos("digits-on-cifar", 1, base="digits", grounds="cifar10", enlarge=1, enlarge_object=2),
    ]
}
"""The named tasks, at their current versions and published settings."""


_OWN_ID = re.compile(r"(folder|npz|voc)-.+-[0-9a-f]{8}-v\d+")


def names() -> list[str]:
    """The named tasks. `make` also takes your own data: `folder:PATH`, `npz:PATH` and `voc:PATH`."""
    return list(TASKS)


def make(name: str, settings: Mapping[str, Any] | None = None) -> Task:
    """The task of this name, with settings changed. It reads no images: rendering does.

    Args:
        name: `digits`, or `digits-v1` to insist on a version; or your own data, as KIND:PATH or by the id that its
            records have (see `folders`).
        settings: field name → value.

    Raises:
        UsageError: unknown task or setting, a value out of range, or no data at that path.
    """
    if ":" in name or _OWN_ID.fullmatch(name):
        from glimpsebench.envs import folders  # here, so that importing the tasks does not import Pillow

        return (folders.make if ":" in name else folders.recalled)(name, settings or {})
    base = name.rsplit("-v", 1)[0] if name.rsplit("-v", 1)[-1].isdigit() else name
    if base not in TASKS:
        raise unknown("task", name, TASKS)
    task = TASKS[base]
    if base != name and task.id != name:
        raise UsageError(f"task '{name}': this version of the code has {task.id}; ask for '{task.id}'")
    return changed(task, settings or {})
