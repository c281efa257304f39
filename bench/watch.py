"""Watching agents look at one test image: what each had seen after each glimpse, and what it then believed.

A selection is read from a record, and carried out again by the trained agent, whose weights lie beside it. An agent of
one glimpse is shown budget by budget. Drawn as a moving picture (GIF) and as a strip of moments (PDF, PNG).
Shapes: T moments, H W image, K classes.
"""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from safetensors import SafetensorError

from glimpsebench.bench.compare import named, on_task
from glimpsebench.bench.figures import paper
from glimpsebench.bench.figures.gallery import RIGHT, WRONG
from glimpsebench.bench.figures.paper import Drawn, shortened
from glimpsebench.bench.plan import standings
from glimpsebench.bench.records import Record, read_all, rebuilt
from glimpsebench.bench.rollout import footprints_of, replay_steps
from glimpsebench.bench.rows import rows_of
from glimpsebench.bench.run import Spec
from glimpsebench.bench.suites import spec_of
from glimpsebench.envs import tasks
from glimpsebench.envs.errors import UsageError
from glimpsebench.envs.glimpse import Observation
from glimpsebench.envs.pictures import Box, box_of
from glimpsebench.envs.sensors import Mask
from glimpsebench.envs.tasks import Split

Array = NDArray[Any]

BUDGET = 0.2
"""At most so much of the image is shown, unless told."""
COLUMNS = 6
"""Moments of a strip."""
EACH = 5
"""Classes that are shown where all have no room."""
ALL = 12
"""Classes of short names that do."""
FRAME_MS, LAST_MS = 700, 2600
"""How long a moment of the moving picture stays, and the last."""
UNSEEN = (0.07, 0.1, 0.2, 0.82)
FIRST, LAST = np.array([1.0, 0.82, 0.0]), np.array([0.9, 0.12, 0.24])
BAR, TRUE = "#b9bfc9", "#0072b2"


@dataclass(frozen=True)
class Moment:
    """After a glimpse, or before the first.

    Attributes:
        mask_HW: what has been seen.
        boxes: (top, left, bottom, right) of each window so far.
        used: the share of the image, or of its values, that the budget has counted.
        belief_K: probabilities of the classes; None without a predictor.
    """

    mask_HW: Array
    boxes: tuple[Box, ...]
    used: float
    belief_K: Array | None


@dataclass(frozen=True)
class Watched:
    """An agent and one image.

    Attributes:
        label: how it is called.
        seed: of the run.
        image_CHW: uint8.
        label_of_image: the true class.
        class_names: of all classes.
        moments: in order, the first before any glimpse.
    """

    label: str
    seed: int
    image_CHW: Array
    label_of_image: int
    class_names: Sequence[str]
    moments: tuple[Moment, ...]

    @property
    def right(self) -> bool | None:
        """Whether what it believes most in the end is true; None without a predictor."""
        belief_K = self.moments[-1].belief_K
        return None if belief_K is None else int(belief_K.argmax()) == self.label_of_image


def run_of(root: Path, label: str, task: str, changes: Mapping[str, Sequence[Any]]) -> tuple[Record, str] | Spec:
    """The run to be watched, and how it is called; or, if none is in a results folder, which one to make.

    Args:
        root: the results folder.
        label: of a row there, or an agent's name.
        task: its name.
        changes: settings, for a run that is still to be made or that has these: `agent.NAME` or `task.NAME` → [value].

    Raises:
        UsageError: no such row or agent, task or setting.
    """
    if not changes and (root / "records").is_dir():
        rows = rows_of(read_all(root))
        with suppress(UsageError):
            for row in named(on_task(rows, task), label):
                for record in row.runs:
                    if all((record.folder / name).exists() for name in ("selections.npz", "weights.safetensors")):
                        return record, row.label
    entries = {"agent": label, "task": task} | {key: value for key, (value,) in changes.items()}
    spec = spec_of(entries)
    spec.make()
    (standing,) = standings([spec], root)
    if standing.record is not None and standing.done and (standing.record.folder / "weights.safetensors").exists():
        return standing.record, label
    return spec


def name_of(several: Sequence[Watched], task: str, image: int) -> str:
    """What the files are called: TASK-IMAGE-AGENT-AGENT…"""
    return paper.ending_of("-".join([task, str(image), *(one.label for one in several)])).removeprefix("-")[:100]


def watched(record: Record, label: str, image: int, budget: float = BUDGET) -> Watched:
    """What a run did with a test image.

    Args:
        record: of the run, with selections and weights beside it.
        label: how the agent is called.
        image: the number of the test image.
        budget: the largest share of the image that is shown; if the run reaches none so small, its smallest.

    Raises:
        UsageError: no such image, or selections or weights that are missing or not the record's.
    """
    torch.set_num_threads(1)
    task, agent = rebuilt(record)
    test = tasks.test_split(task)
    if not 0 <= image < len(test):
        raise UsageError(f"--image {image}: {task.id} has test images 0 to {len(test) - 1}")
    selection, arrays = record.selected(agent), record.arrays
    path = record.folder / "weights.safetensors"
    try:
        record.load_weights(agent, task)
    except (OSError, RuntimeError, SafetensorError):
        raise UsageError(f"{path}: not here or of another version: run it again with another --root") from None
    boxes_N4 = None if test.boxes_N4 is None else test.boxes_N4[image : image + 1]
    one = Split(test.images_NCHW[image : image + 1], boxes_N4=boxes_N4)
    single = len(selection) == len(record.budgets) and agent.horizon() == 1
    reached = np.flatnonzero(record.reached_F).tolist()
    passes = [at for at in reached if record.budgets[at] <= budget + 1e-9] or reached[:1]
    if not passes:
        raise UsageError(f"{label} on {task.id}: its run ended without a look")
    moments = [Moment(np.zeros(task.shape[1:], bool), (), 0.0, None)]
    for at in passes if single else passes[-1:]:
        chosen = selection[at if single else 0, image : image + 1]
        steps_N = arrays["steps"][at, image : image + 1]
        beliefs: list[Array] = []

        def predict(view: Observation, beliefs: list[Array] = beliefs) -> Array | None:
            logits = agent.predict(view)
            if logits is not None:
                odds_K = np.exp(logits[0] - logits[0].max())
                beliefs.append(odds_K / odds_K.sum())
            return logits

        replay_steps(agent, one, chosen, steps_N, agent.view, predict, record.budgets[at])
        sensor = agent.sensor()
        looks = footprints_of(chosen, steps_N, record.budgets[at], sensor, task.shape, boxes_N4)[0]
        for step in range(int(steps_N[0])):
            mask_HW = np.asarray(looks[: step + 1].any(0))
            frames = () if isinstance(sensor, Mask) else tuple(box_of(each) for each in looks[: step + 1])
            last = step == int(steps_N[0]) - 1
            used = float(record.fractions_FN[at, image]) if last else mask_HW.sum() / one.own_pixels_N[0]
            moments.append(Moment(mask_HW, frames, float(used), beliefs[step] if beliefs else None))
    classes = task.classes
    if moments[-1].belief_K is not None:
        moments[0] = Moment(moments[0].mask_HW, (), 0.0, np.full(classes, 1 / classes))
    known = int(arrays["labels"][image])
    return Watched(label, record.seed, test.images_NCHW[image], known, task.class_names, tuple(moments))


def strip(several: Sequence[Watched], width: float, name: str) -> Drawn:
    """A row for each agent: moments from the first glimpse to the last, as many as have room, with beliefs below."""
    from matplotlib.figure import Figure

    columns = max(2, min(COLUMNS, int((width - 0.9) / 0.9), max(len(one.moments) - 1 for one in several)))
    left, gap = 1.02, 0.09
    cell = (width - left - 0.05) / columns
    side = cell - gap
    bars, words = 0.42, 0.17
    row = side + bars + words + 0.16
    height = row * len(several) + 0.05
    with mpl.rc_context(paper.STYLE):
        figure = Figure(figsize=(width, height))
        for number, one in enumerate(several):
            top = height - 0.05 - row * number
            mark, colour = RIGHT if one.right else WRONG
            called = textwrap.fill(one.label, 16)
            figure.text(0.04 / width, (top - side / 2) / height, called, va="center", fontsize=paper.TEXT)
            if one.right is not None:
                said = f"{mark} {shortened(one.class_names[_best(one.moments[-1])], 11)}"
                lines = called.count("\n") + 1
                where = (top - side / 2 - 0.075 * lines - 0.09) / height
                figure.text(0.04 / width, where, said, va="center", color=colour, fontsize=paper.TEXT)
            for column, moment in enumerate(_some(one.moments[1:], columns)):
                x = left + cell * column
                picture = figure.add_axes(_box(x, top - side, side, side, width, height))
                _draw(picture, one, moment, numbers=side > 0.7)
                at = (x + side / 2) / width, (top - side - 0.09) / height
                figure.text(*at, f"{100 * moment.used:.1f} %", ha="center", va="center", fontsize=paper.SMALL)
                if moment.belief_K is not None:
                    low = top - side - words - bars
                    _believe(figure.add_axes(_box(x, low + 0.09, side, bars - 0.06, width, height)), one, moment)
    return Drawn(name, figure, caption(several))


def caption(several: Sequence[Watched]) -> str:
    """What strip and moving picture show, in numbers."""
    first = several[0]
    truth = first.class_names[first.label_of_image]
    said = [
        f"{one.label} (seed {one.seed}) after {100 * one.moments[-1].used:.1f} % of the image"
        + ("" if one.right is None else f": {one.class_names[_best(one.moments[-1])]}, {_probability(one)} %")
        for one in several
    ]
    return (
        f"Looking at one test image, a {truth}. Below each moment the share of the image used so far, and what the "
        "contender's own predictor believes (blue: the true class). Windows are numbered in their order, from yellow "
        f"to red; what was not seen is dark. In the end: {'; '.join(said)}. One image of one run each: an example, "
        "without interval or test."
    )


def _probability(one: Watched) -> str:
    belief_K = one.moments[-1].belief_K
    return "" if belief_K is None else f"{100 * belief_K.max():.0f}"


def frames(several: Sequence[Watched]) -> Iterator[Array]:
    """The moving picture's frames, uint8 (height, width, 3): the agents side by side, each in its own time."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    side, gap, head, bars = 1.75, 0.16, 0.34, 0.7
    width, height = len(several) * (side + gap) + gap, side + head + bars + 0.5
    for at in range(max(len(one.moments) for one in several)):
        with mpl.rc_context(paper.STYLE):
            figure = Figure(figsize=(width, height), dpi=120)
            for number, one in enumerate(several):
                moment = one.moments[min(at, len(one.moments) - 1)]
                x, ended = gap + number * (side + gap), at >= len(one.moments) - 1
                middle = (x + side / 2) / width
                figure.text(middle, 1 - 0.17 / height, shortened(one.label, 24), ha="center", va="center", fontsize=9.5)
                picture = figure.add_axes(_box(x, height - head - side, side, side, width, height))
                _draw(picture, one, moment, numbers=True)
                gauge = figure.add_axes(_box(x, height - head - side - 0.14, side, 0.07, width, height))
                gauge.barh([0], [1], color="#e6e8ec", height=1)
                gauge.barh([0], [moment.used], color=TRUE, height=1)
                gauge.set(xlim=(0, 1), ylim=(-0.5, 0.5))
                gauge.axis("off")
                low = height - head - side - 0.26
                used = f"{100 * moment.used:.1f} % of the image"
                figure.text(x / width, low / height, used, va="center", fontsize=8, color="#333333")
                if ended and one.right is not None:
                    mark, colour = RIGHT if one.right else WRONG
                    figure.text(
                        (x + side) / width, low / height, mark, va="center", ha="right", fontsize=13, color=colour
                    )
                if moment.belief_K is not None:
                    _believe(figure.add_axes(_box(x, 0.18, side, bars - 0.04, width, height)), one, moment, large=True)
            canvas: Any = FigureCanvasAgg(figure)
            canvas.draw()
        yield np.asarray(canvas.buffer_rgba())[..., :3].copy()


def write(several: Sequence[Watched], folder: Path, name: str, width: float) -> list[Path]:
    """Write NAME.gif, and the strip as NAME.pdf, NAME.png and NAME.txt; return their paths."""
    pictures = [Image.fromarray(frame) for frame in frames(several)]
    # One palette for all frames, that of the last, so that nothing flickers.
    palette = pictures[-1].quantize(255)
    coloured = [picture.quantize(palette=palette, dither=Image.Dither.NONE) for picture in pictures]
    path = folder / f"{name}.gif"
    times = [FRAME_MS] * (len(coloured) - 1) + [LAST_MS]
    coloured[0].save(path, save_all=True, append_images=coloured[1:], duration=times, loop=0, optimize=False)
    return [path, *paper.save(strip(several, width, name), folder)]


def _box(
    x: float, y: float, wide: float, high: float, width: float, height: float
) -> tuple[float, float, float, float]:
    """A place in inches as a share of the figure."""
    return x / width, y / height, wide / width, high / height


def _best(moment: Moment) -> int:
    return -1 if moment.belief_K is None else int(moment.belief_K.argmax())


def _some(moments: Sequence[Moment], count: int) -> list[Moment]:
    """So many of them, evenly, the last among them."""
    at = np.unique(np.linspace(0, len(moments) - 1, min(count, len(moments))).round().astype(int))
    return [moments[number] for number in at]


def _draw(axis: Any, one: Watched, moment: Moment, numbers: bool) -> None:
    """The image, dark where it has not been seen, with its windows and the way from each to the next."""
    channels, height, width = one.image_CHW.shape
    rgb = one.image_CHW if channels == 3 else one.image_CHW.mean(0, keepdims=True).repeat(3, 0).astype(np.uint8)
    extent = (0, width, height, 0)
    axis.imshow(rgb.transpose(1, 2, 0), interpolation="nearest", extent=extent)
    veil = np.zeros((height, width, 4))
    veil[~moment.mask_HW] = UNSEEN
    axis.imshow(veil, interpolation="nearest", extent=extent)
    axis.set(xticks=[], yticks=[], xlim=(0, width), ylim=(height, 0))
    axis.spines[:].set_visible(False)
    axis.grid(visible=False)
    boxes = [box for box in moment.boxes if box[2] > box[0]]
    total = max(max((len(each.boxes) for each in one.moments), default=1) - 1, 1)
    for number, (top, left, bottom, right) in enumerate(boxes):
        colour = FIRST + (LAST - FIRST) * min(number / total, 1)
        newest = number == len(boxes) - 1
        x, y = [left, right, right, left, left], [top, top, bottom, bottom, top]
        axis.plot(x, y, color=colour, lw=1.5 if newest else 0.8, alpha=1 if newest else 0.75, solid_joinstyle="miter")
        if number:
            before = boxes[number - 1]
            way = [(before[1] + before[3]) / 2, (left + right) / 2], [(before[0] + before[2]) / 2, (top + bottom) / 2]
            axis.plot(*way, color=colour, lw=0.7, alpha=0.9)
        if numbers and newest and len(boxes) > 1:
            outline = {"facecolor": colour, "edgecolor": "none", "pad": 0.9}
            axis.text(left, top, str(number + 1), fontsize=6, color="black", va="center", ha="center", bbox=outline)


def _believe(axis: Any, one: Watched, moment: Moment, large: bool = False) -> None:
    """Bars of what is believed: of all classes, or of those that are believed most."""
    belief_K = moment.belief_K
    assert belief_K is not None
    size = 7.5 if large else paper.SMALLEST
    classes = range(len(belief_K))
    if len(belief_K) <= ALL and max(map(len, one.class_names)) <= 2:
        colours = [TRUE if number == one.label_of_image else BAR for number in classes]
        axis.bar(classes, belief_K, color=colours, width=0.8)
        axis.set(ylim=(0, 1), xlim=(-0.6, len(belief_K) - 0.4), yticks=[])
        axis.set_xticks(classes, one.class_names, fontsize=size)
        axis.tick_params(length=0, pad=1)
        if belief_K.max() > belief_K.min():
            axis.get_xticklabels()[int(belief_K.argmax())].set_fontweight("bold")
    else:
        shown = np.argsort(-belief_K, kind="stable")[: EACH if large else 2]
        colours = [TRUE if number == one.label_of_image else BAR for number in shown]
        axis.barh(range(len(shown)), belief_K[shown], color=colours, height=0.8, alpha=0.6)
        axis.set(xlim=(0, 1), ylim=(len(shown) - 0.4, -0.6), xticks=[], yticks=[])
        for place, number in enumerate(shown):
            text = shortened(one.class_names[number], 24 if large else 12)
            axis.text(0.02, place, text, fontsize=size, va="center")
    axis.grid(visible=False)
    axis.spines[["left"]].set_visible(False)
    axis.spines["bottom"].set_color("#999999")
