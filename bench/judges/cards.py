"""Judge cards: how well the networks of a task read every kind of canvas, on its test images.

Nothing is chosen by a card. Kinds are those that the judges learned from (`canvases.SHARES`), drawn anew; with the
share of the image that each budget allows. Shapes: M members, N images, K classes.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.special import softmax

from glimpsebench.agents.common.base import BUDGETS, Progress
from glimpsebench.agents.common.nets import to_float
from glimpsebench.bench import judges
from glimpsebench.bench.judges.canvases import SHARES, of_kind
from glimpsebench.bench.judges.training import cost_of, metadata
from glimpsebench.bench.metrics import calibration_error
from glimpsebench.envs import tasks
from glimpsebench.envs.tasks import Split, Task

Array = NDArray[Any]

IMAGES = 2_000
"""Test images of a card, at most."""
BATCH = 250
BEGIN, END = "<!-- page: written by `glimpse judge cards`; do not edit -->", "<!-- /page -->"


@dataclass(frozen=True)
class Cell:
    """What the networks make of one kind of canvas at one budget.

    Attributes:
        kind: of canvas, or `whole image`.
        budget: share of the image.
        accuracy_M: of each judge.
        reader: the reader's accuracy.
        calibration: expected calibration error of the members' mean probabilities.
    """

    kind: str
    budget: float
    accuracy_M: Array
    reader: float
    calibration: float


def cells(task: Task, progress: Progress[int]) -> Iterator[Cell]:
    """The cells of a task's card; networks that are not here are trained first."""
    judge, reader = judges.judge(task, progress), judges.Reader(task)
    test = tasks.test_split(task)
    yield _cell(judge, reader, test, "whole image", 1.0)
    for kind in SHARES:
        for budget in BUDGETS[:-1]:
            yield _cell(judge, reader, test, kind, budget)


def _cell(judge: judges.Judge, reader: judges.Reader, test: Split, kind: str, budget: float) -> Cell:
    assert test.labels_N is not None
    rng = np.random.default_rng(0)
    logits_MNK, reader_NK = [], []
    count = min(len(test), IMAGES)
    for start in range(0, count, BATCH):
        images = test.images_NCHW[start : min(start + BATCH, count)]
        if kind == "whole image":
            canvas, mask = to_float(images), torch.ones(len(images), 1, *images.shape[2:])
        else:
            canvas, mask = of_kind(kind, images, np.full(len(images), budget), rng)
        view = {"canvas": canvas.numpy(), "mask": mask.float().numpy()}
        logits_MNK.append(judge(view))
        reader_NK.append(reader(view))
    labels_N = np.asarray(test.labels_N)[:count]
    all_MNK = np.concatenate(logits_MNK, 1)
    mean_NK = softmax(all_MNK, 2).mean(0)
    return Cell(
        kind,
        budget,
        (all_MNK.argmax(2) == labels_N).mean(1),
        float((np.concatenate(reader_NK).argmax(1) == labels_N).mean()),
        float(calibration_error(mean_NK.max(1), mean_NK.argmax(1) == labels_N)),
    )


def page(task: Task, found: list[Cell]) -> str:
    """The card as Markdown."""
    files = judges.files(task, judges.recipe_of(task))
    abouts = {name: metadata(path) for name, (_, _, path) in files.items()}
    networks = {name: judges.read(path, task) for name, (_, _, path) in files.items()}
    lines = [
        BEGIN,
        f"# Judge and reader of {task.id}",
        "",
        f"{task.describe()}. {'Shipped' if judges.is_shipped(task) else 'Trained on this machine'}; what judges and",
        "readers are: `docs/measurement.md`. Written by `glimpse judge cards`.",
        "",
        "| network | parameters | steps | batch | rate | width | seconds | trained on |",
        "|---|---:|---:|---:|---:|---:|---:|---|",
    ]
    for name, about in abouts.items():
        cost = cost_of(files[name][2])
        parameters = sum(value.numel() for value in networks[name].parameters())
        lines.append(
            f"| {name} | {parameters:,} | {about['steps']:,} | {about['batch']} | {about['lr']:g} | {about['width']} "
            f"| {cost.get('seconds', 0):,.0f} | {cost.get('machine', '')} |"
        )
    whole, *rest = found
    by_kind: dict[str, list[Cell]] = {}
    for cell in rest:
        by_kind.setdefault(cell.kind, []).append(cell)
    spread = [100 * _spread(cell) for cell in found]
    head = ["| canvas | " + " | ".join(f"{100 * budget:g} %" for budget in BUDGETS[:-1]) + " |"]
    head += ["|---|" + "---:|" * (len(BUDGETS) - 1)]
    lines += [
        "",
        f"Accuracy on {min(task.sizes['test'], IMAGES):,} test images, per cent: mean over the judges ± their standard",
        "deviation; in brackets the reader's.",
        "",
        *head,
        *(f"| {kind} | " + " | ".join(map(_accuracy, row)) + " |" for kind, row in by_kind.items()),
        "",
        f"Whole image: {_accuracy(whole)}, calibration error {100 * whole.calibration:.1f} points.",
        f"The judges' standard deviation is {np.mean(spread):.1f} points on average, {max(spread):.1f} at most.",
        "",
        "Expected calibration error of the judges' mean probabilities, in points:",
        "",
        *head,
    ]
    for kind, row in by_kind.items():
        lines.append(f"| {kind} | " + " | ".join(f"{100 * cell.calibration:.1f}" for cell in row) + " |")
    return "\n".join([*lines, END]) + "\n"


def _spread(cell: Cell) -> float:
    """The standard deviation over the judges; 0 of one."""
    return float(cell.accuracy_M.std(ddof=1)) if len(cell.accuracy_M) > 1 else 0.0


def _accuracy(cell: Cell) -> str:
    spread = f" ± {100 * _spread(cell):.1f}" if len(cell.accuracy_M) > 1 else ""
    return f"{100 * cell.accuracy_M.mean():.1f}{spread} ({100 * cell.reader:.1f})"
