"""A toy task that every agent can run on: small, quick to learn, and with a known place to look."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

os.environ["OMP_NUM_THREADS"] = "1"
os.environ["GLIMPSE_JUDGE_RECIPE"] = '{"members": 2, "steps": 60, "batch": 64}'  # in processes that tests start, too
torch.set_num_threads(1)

from glimpsebench import agents  # noqa: E402
from glimpsebench.agents.common.base import Agent  # noqa: E402
from glimpsebench.bench import judgements, judges, store  # noqa: E402
from glimpsebench.bench import run as runner  # noqa: E402
from glimpsebench.bench.audit.declaration import Stand  # noqa: E402
from glimpsebench.bench.audit.recount import Expected  # noqa: E402
from glimpsebench.bench.records import Judgement  # noqa: E402
from glimpsebench.bench.rollout import Episodes  # noqa: E402
from glimpsebench.envs import own, tasks  # noqa: E402
from glimpsebench.envs.datasets import Half  # noqa: E402
from glimpsebench.envs.tasks import Split, Task  # noqa: E402


@dataclass(frozen=True)
class Beacon(Task):
    """Two classes on 16×16: a bright square with a horizontal or a vertical bar, anywhere on black."""

    name: str = "beacon"
    version: int = 1
    count: int = 256
    most_tests: int = 320  # more than one batch

    @property
    def shape(self) -> tuple[int, int, int]:
        return (1, 16, 16)

    @property
    def classes(self) -> int:
        return 2

    @property
    def sizes(self) -> dict[Half, int]:
        return {"train": self.count, "val": self.count, "test": min(4 * self.count, self.most_tests)}

    @property
    def summary(self) -> str:
        return "a bright square with a bar"

    def render(self, half: Half, epoch: int) -> Split:
        rng = np.random.default_rng([("train", "val", "test").index(half), epoch])
        count = self.sizes[half]
        labels = rng.integers(0, 2, count)
        images = np.zeros((count, 1, 16, 16), np.uint8)
        objects = np.zeros((count, 16, 16), bool)
        for image, mask, label, (y, x) in zip(images, objects, labels, rng.integers(0, 11, (count, 2)), strict=True):
            image[0, y : y + 6, x : x + 6] = 90
            bar = (slice(y + 2, y + 4), slice(x, x + 6)) if label else (slice(y, y + 6), slice(x + 2, x + 4))
            image[0][bar] = 255
            mask[y : y + 6, x : x + 6] = True
        for shared in (images, labels, objects):  # as the arrays of some real sets are
            shared.setflags(write=False)
        return Split(images, labels, lambda: objects)


@pytest.fixture
def beacon(monkeypatch: pytest.MonkeyPatch) -> Task:
    """The toy task, also known by its name."""
    task = Beacon()
    monkeypatch.setitem(tasks.TASKS, "beacon", task)
    store._defaults.cache_clear()  # of another task that had this name
    return task


def hurried(name: str, **settings: Any) -> Agent:
    """An agent whose training takes a few steps: to test what it does, not how well."""
    kind = agents.find(name)
    few = {field: 2 for field in kind.__dataclass_fields__ if field.endswith("steps")}
    few |= {"passes": 128} if "passes" in kind.__dataclass_fields__ else {}
    return agents.make(name, few | settings)


@pytest.fixture(autouse=True)
def own_data_is_forgotten(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where tests keep their images is not noted in the user's cache."""
    monkeypatch.setattr(own, "memory_folder", lambda: tmp_path / "own-data")


@pytest.fixture(scope="session", autouse=True)
def judges_apart(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Judges and readers of tasks without shipped ones are trained once per session, and not kept."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GLIMPSE_JUDGES", str(tmp_path_factory.getbasetemp() / "judges"))
        yield


@dataclass(frozen=True)
class Alone:
    """A judge of one member: of a function from views to logits (B, K)."""

    name: str
    predict: Callable[[Any], Any]
    members: int = 1

    def __call__(self, view: Any) -> Any:
        return self.predict(view)[None]


def judged_by(patch: pytest.MonkeyPatch, judge: Alone) -> None:
    """Every task has this judge from now on."""
    patch.setattr(judges, "judge", lambda *_: judge)
    patch.setattr(judges, "name_of", lambda _: judge.name)
    patch.setattr(judges, "missing", lambda _: [])

    def recounted(before: Expected, images: Split, episodes: Episodes) -> Judgement:
        return judgements.judged(Stand(before.says), images, episodes, judge)

    patch.setattr(runner, "recounted", recounted)  # no other process has this judge


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "results"
