"""What keeps a run's training curve: loss and validation accuracy over its training.

The agent tells how training goes (`agents.common.base.report`), and the accuracy on validation images is measured on a
copy of it, so that a run has the same weights with and without a curve. `curves.json` has, for each loop of `fit`:

    stage      what it trained
    scored     what the accuracy is of, in words: it need not be the same in each stage
    measures   name → {"step": […], "images": […], "value": […]}: `accuracy`, and the means since the point before of
               `loss` and whatever else is told. Steps count within the stage, labelled images that were passed
               through from the beginning of the run. A value that is not finite is null.

The seconds of these points, of training alone, are in `timings.json`, as all that differs between two equal runs.
"""

from __future__ import annotations

import copy
import math
import time
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
import torch

from glimpsebench.agents.common.base import Agent, Progress
from glimpsebench.envs.base import USE
from glimpsebench.envs.tasks import Split, Task

VALIDATION_IMAGES = 500
"""On how many the accuracy is measured, at most."""
ACCURACIES, LEAST_APART = 15, 125
"""How many accuracies a stage has at most, and how many steps apart they are at least: so they cost little time."""
MEANS = 50
"""How many means of its losses a stage has at most."""


@dataclass
class _Points:
    """A measure over one stage."""

    step: list[int] = field(default_factory=list)
    images: list[int] = field(default_factory=list)
    value: list[float | None] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)


@dataclass
class _Stage:
    """One loop of `fit` so far."""

    name: str
    length: int
    began: float
    items: int = 0
    steps: int = 0
    scored: str = ""
    measured: int = 0  # the step of the last accuracy
    waiting: dict[str, list[float]] = field(default_factory=dict)
    points: dict[str, _Points] = field(default_factory=dict)

    @property
    def all_steps(self) -> float:
        """How many steps it will have, when its items have as many each as they had so far."""
        return self.length * self.steps / max(1, self.items)


class Recorder:
    """A `Progress` that keeps the curve of one run, and what `report` is told for it (`reporting_to`).

    Args:
        agent: being trained; it is read and never changed.
        task: whose validation images are looked at.
        around: wraps each loop too.

    Attributes:
        seconds: what measuring took, which is no part of the training.
        passing_over: the items of this loop were done before an interruption, so that there is nothing to measure.
    """

    def __init__(self, agent: Agent, task: Task, around: Progress[int] = iter) -> None:
        self.agent, self.task, self.around = agent, task, around
        self.seconds, self.passing_over = 0.0, False
        self._images, self._began = 0, time.perf_counter()
        self._validation: Split | None = None
        self._stages: list[_Stage] = []

    def begin(self) -> None:
        """Training begins now, not when this was made."""
        self._began = time.perf_counter()

    def __call__(self, loop: Iterable[int]) -> Iterator[int]:
        items = list(loop)
        stage = _Stage(f"stage {len(self._stages) + 1}", len(items), self._now)
        self._stages.append(stage)
        try:
            for item in self.around(items):
                yield item
                if not self.passing_over:
                    stage.items += 1
                    self._after(stage)
        finally:
            self._keep_means(stage)

    def report(self, stage: str, *, images: int, steps: int, **measures: float) -> None:
        """What `agents.common.base.report` passes on, from within a loop."""
        if not self._stages:
            return
        here = self._stages[-1]
        here.name = stage
        here.steps += steps
        self._images += images
        for name, value in measures.items():
            here.waiting.setdefault(name, []).append(float(value))

    @property
    def _now(self) -> float:
        return time.perf_counter() - self._began - self.seconds

    def _after(self, stage: _Stage) -> None:
        """One item of a loop is done."""
        stage.steps = max(stage.steps, stage.items)  # a loop that reports nothing has a step an item
        if stage.items % math.ceil(stage.length / MEANS) == 0:
            self._keep_means(stage)
        apart = max(LEAST_APART, stage.all_steps / ACCURACIES)
        if stage.items == stage.length or stage.steps - stage.measured >= apart:
            stage.measured = stage.steps
            self._measure(stage)

    def _keep_means(self, stage: _Stage) -> None:
        for name, values in stage.waiting.items():
            self._keep(stage, name, float(np.mean(values)))
        stage.waiting = {}

    def _keep(self, stage: _Stage, name: str, value: float) -> None:
        points = stage.points.setdefault(name, _Points())
        points.step.append(stage.steps)
        points.images.append(self._images)
        points.value.append(float(f"{value:.5g}") if math.isfinite(value) else None)
        points.seconds.append(round(self._now, 3))

    def _measure(self, stage: _Stage) -> None:
        began, steps = time.perf_counter(), USE.steps
        accuracy, stage.scored = self._accuracy(stage.name)
        USE.steps = steps  # which are those of the training
        self.seconds += time.perf_counter() - began
        if accuracy is not None:
            self._keep(stage, "accuracy", accuracy)

    def _accuracy(self, stage: str) -> tuple[float | None, str]:
        """The accuracy on validation images now, and of what. It leaves no trace in the training.

        Networks are copied, so that neither batch norm statistics nor a mode can change, and to the CPU, where agents
        look; the copy draws from torch's generator as it is put back afterwards, always the same numbers.
        """
        agent = copy.copy(self.agent)
        with torch.device("cpu"), torch.random.fork_rng(devices=[]), torch.no_grad():
            torch.set_rng_state(torch.Generator().manual_seed(0).get_state())  # of the CPU alone
            if self.agent.net is not None:
                agent.net = copy.deepcopy(self.agent.net).to("cpu").eval()
            images = self._validation = self._validation or _some_of(self.task.val())
            try:
                logits_BK, scored = agent.validation_logits(images, stage)
            except Exception as error:  # somebody's agent that cannot act before it is trained: that is no failed run
                return None, f"not measured: {type(error).__name__}: {error}"
            if logits_BK is None:
                return None, "no predictor"
            predicted_B = np.asarray(logits_BK).argmax(1)
        return float((predicted_B == images.labels_N).mean()), scored

    def state_dict(self) -> dict[str, Any]:
        """The curve so far, for a checkpoint."""
        stages = [asdict(stage) for stage in self._stages]
        return {"images": self._images, "seconds": self.seconds, "now": self._now, "stages": stages}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on with the curve of a checkpoint, from within the loop that it was written in."""
        self._images, self.seconds = state_dict["images"], state_dict["seconds"]
        self._began = time.perf_counter() - self.seconds - state_dict["now"]
        for stage, kept in zip(self._stages, state_dict["stages"], strict=True):  # in place: a loop holds its stage
            vars(stage).update(kept)
            stage.points = {name: _Points(**points) for name, points in kept["points"].items()}

    @property
    def curves(self) -> list[dict[str, Any]]:
        """For `curves.json`."""
        return [
            {
                "stage": stage.name,
                "scored": stage.scored,
                "measures": {
                    name: {"step": points.step, "images": points.images, "value": points.value}
                    for name, points in stage.points.items()
                },
            }
            for stage in self._stages
        ]

    @property
    def timings(self) -> list[dict[str, list[float]]]:
        """For `timings.json`: the seconds of training at each point, stage by stage as in `curves`."""
        return [{name: points.seconds for name, points in stage.points.items()} for stage in self._stages]


def _some_of(split: Split) -> Split:
    """Some images of a split, evenly spread over it: it may be ordered by class."""
    rows = np.unique(np.linspace(0, len(split) - 1, VALIDATION_IMAGES).astype(int))
    assert split.labels_N is not None
    boxes_N4 = None if split.boxes_N4 is None else split.boxes_N4[rows]
    return Split(split.images_NCHW[rows], split.labels_N[rows], boxes_N4=boxes_N4)
