"""What each contender looked at, in the same test images."""

from __future__ import annotations

import sys
import textwrap
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import matplotlib as mpl
import numpy as np
from numpy.typing import NDArray

from glimpsebench.agents.common.base import Agent
from glimpsebench.bench.figures import paper
from glimpsebench.bench.figures.paper import Drawn
from glimpsebench.bench.records import Record, rebuilt
from glimpsebench.bench.rollout import footprints_of
from glimpsebench.bench.rows import Row
from glimpsebench.envs import tasks
from glimpsebench.envs.errors import UsageError
from glimpsebench.envs.pictures import box_of, picture
from glimpsebench.envs.sensors import Mask
from glimpsebench.envs.tasks import Task

Array = NDArray[Any]

BUDGET = 0.2
SIDE = 96
"""Pixels of a picture."""
RIGHT, WRONG = ("✓", "#0072b2"), ("✗", "#d55e00")
_LABEL, _HEAD, _GAP, _MARGIN = 1.15, 0.2, 0.05, 0.04  # inches
_LETTERS = 17  # of a label's line


class Strip(NamedTuple):
    """One contender's first seed.

    Attributes:
        row: the contender.
        budget: at which it is shown.
        looks: a picture for each image.
        right: whether its own predictor is right about it; None if it has none.
        classes: the names of the images' classes.
    """

    row: Row
    budget: float
    looks: list[Array]
    right: list[bool] | None
    classes: list[str]


def draw(rows: Sequence[Row], width: float, budget: float = BUDGET) -> Iterator[Drawn]:
    """One task: of each contender the first seed, at a budget, or at the largest smaller one that it reaches, or else
    at the smallest that it reaches. Nothing if no selections are at hand."""
    images = max(1, min(8, int((width - _LABEL) / 0.62)))
    strips = [strip for row in rows if (strip := _strip(row, budget, images)) is not None]
    for page, start in enumerate(range(0, len(strips), paper.MOST_LINES)):
        yield _figure(f"gallery{f'-{page + 1}' * (page > 0)}", strips[start : start + paper.MOST_LINES], width)


def _strip(row: Row, budget: float, images: int) -> Strip | None:
    if not row.runs or not row.runs[0].reached_F.any():
        return None
    record = row.runs[0]
    try:
        task, agent = rebuilt(record)
        selection = record.selected(agent)
    except UsageError as error:  # somebody's own images or module, not at hand here; or a copy without selections
        print(f"no pictures of {row.label} on {row.task}: {error}", file=sys.stderr)
        return None
    within = [n for n in np.flatnonzero(record.reached_F) if record.budgets[n] <= budget + 1e-9]
    at = int(within[-1] if within else np.flatnonzero(record.reached_F)[0])
    passed = selection[at if len(selection) == len(record.budgets) else 0, :images]
    own, labels = record.arrays["own"][at, :images], record.arrays["labels"][:images]
    right = (own == labels).tolist() if (own >= 0).any() else None
    classes = [task.class_names[label] for label in labels]
    return Strip(row, record.budgets[at], looks(record, at, passed, task, agent), right, classes)


def looks(record: Record, at: int, selection: Array, task: Task, agent: Agent) -> list[Array]:
    """Pictures of the first images with their selections at one budget."""
    sensor, shape = agent.sensor(), task.shape
    test = tasks.test_split(task)
    own_N4 = None if test.boxes_N4 is None else test.boxes_N4[: len(selection)]
    steps_N = record.arrays["steps"][at, : len(selection)]
    footprints = footprints_of(selection, steps_N, record.budgets[at], sensor, shape, own_N4)
    found = []
    for image, steps in enumerate(footprints):
        boxes = [] if isinstance(sensor, Mask) else [box_of(one) for one in steps]
        found.append(picture(test.images_NCHW[image], np.asarray(steps.any(0)), boxes, side=SIDE))
    return found


def _figure(name: str, strips: Sequence[Strip], width: float) -> Drawn:
    from matplotlib.figure import Figure

    images = len(strips[0].looks)
    cell = (width - _LABEL - 2 * _MARGIN) / images
    shape = strips[0].looks[0].shape
    tall = (cell - _GAP) * shape[0] / shape[1] + _GAP
    height = _HEAD + tall * len(strips) + 2 * _MARGIN
    with mpl.rc_context(paper.STYLE):
        figure = Figure(figsize=(width, height))
        for number, strip in enumerate(strips):
            top = height - _MARGIN - _HEAD - tall * number
            label = textwrap.fill(f"{paper.name_of(strip.row)}, {100 * strip.budget:g} %", _LETTERS)
            figure.text(_MARGIN / width, (top - tall / 2) / height, label, fontsize=paper.SMALL, va="center")
            for image, look in enumerate(strip.looks):
                left = _MARGIN + _LABEL + cell * image
                where = (left / width, (top - tall + _GAP) / height, (cell - _GAP) / width, (tall - _GAP) / height)
                axis = figure.add_axes(where)
                axis.imshow(look, interpolation="nearest", aspect="auto")
                axis.set(xticks=[], yticks=[])
                axis.spines[:].set_visible(False)
                if strip.right is not None:
                    mark, colour = RIGHT if strip.right[image] else WRONG
                    box = {"facecolor": "white", "edgecolor": "none", "pad": 0.8}
                    axis.text(0.97, 0.95, mark, color=colour, fontsize=paper.SMALL, ha="right", va="top", bbox=box)
                    axis.texts[-1].set_transform(axis.transAxes)
        for image, name_of_class in enumerate(strips[0].classes):
            at = (_MARGIN + _LABEL + cell * image + (cell - _GAP) / 2) / width
            short = paper.shortened(name_of_class, int(cell / 0.06))
            figure.text(at, (height - _MARGIN - _HEAD / 2) / height, short, ha="center", va="center")
    rows = [strip.row for strip in strips]
    right = "; ".join(
        f"{strip.row.label} {sum(strip.right)} of {len(strip.right)}" for strip in strips if strip.right is not None
    )
    caption = (
        f"What was looked at in the first {images} test images of {rows[0].task}, by each contender's run of seed "
        f"{'/'.join(sorted({str(row.runs[0].seed) for row in rows}))}, at the share of the image that its name says. "
        "Above each image its class; the part that was not looked at is dimmed; windows are framed and joined from the "
        f"first (yellow) to the last (red). {RIGHT[0]} right and {WRONG[0]} wrong by the contender's own predictor; "
        f"right here: {right}. Examples, not a sample for statistics: no interval, no test."
    )
    return Drawn(name, figure, caption)
