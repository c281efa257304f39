"""Training curves, as functions of the records (`recorder` has what they hold): drawn, told, and asked about chance."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
from numpy.typing import NDArray

from glimpsebench.bench.compare import pipe
from glimpsebench.bench.figures import paper
from glimpsebench.bench.figures.paper import Drawn, ending_of
from glimpsebench.bench.records import Record
from glimpsebench.bench.rows import Row, shown
from glimpsebench.bench.styles import Style, styles_of
from glimpsebench.bench.terminal import sparkline
from glimpsebench.envs.errors import UsageError

Array = NDArray[Any]

SURE = 0.01
"""How seldom a learner that has learned nothing passes for one that has."""


def at_chance(record: Record, rooted: str = "") -> str | None:
    """What to say of a learner that does no better than chance after training; None if there is nothing to say.

    Its own accuracy on the test images, at the largest budget that it reaches, is compared with the share of the
    largest class, which needs no image, by a one-sided binomial test.

    Args:
        rooted: how a command is told of the store, if that is another than by default.
    """
    agent = record.about["agent"]
    if not record.done or agent["reference"] or not record.reached_F.any():
        return None
    at = int(np.flatnonzero(record.reached_F)[-1])
    predicted_N, labels_N = record.arrays["own"][at], record.arrays["labels"]
    right, chance = int((predicted_N == labels_N).sum()), float(np.bincount(labels_N).max() / len(labels_N))
    if (predicted_N < 0).all() or chance == 1 or _p_of_luck(right, len(labels_N), chance) < SURE:
        return None
    levers = [f"agent.{name}" for name in agent["settings"] if re.search("(^|_)(lr|steps|reward)$", name)]
    return (
        f"{record.name} on {record.task}, seed {record.seed}: no better than chance after training: at "
        f"{100 * record.budgets[at]:g} % its own accuracy is {100 * right / len(labels_N):.1f} %, and the share of the "
        f"largest class {100 * chance:.1f} %\n  glimpse curves {record.task}{rooted} shows whether its loss falls"
        f"{'; settings to look at: ' * bool(levers)}{', '.join(levers)}"
    )


def _p_of_luck(right: int, count: int, chance: float) -> float:
    from scipy.stats import binom  # here, since it takes half a second

    return float(binom.sf(right - 1, count, chance))


@dataclass(frozen=True)
class Line:
    """A measure of one run over its stages.

    Attributes:
        images: labelled images that were passed through, (points,).
        value: NaN after each stage, so that no line joins what is not the same, (points,).
    """

    images: Array
    value: Array


OWN = "own prediction"
"""How `scored` begins where the accuracy is of what the agent would predict at test."""


def line_of(record: Record, measures: Sequence[str], own: bool | None = None) -> Line | None:
    """The first of these measures that a stage has, stage after stage; None if no stage has any.

    Args:
        own: only the stages whose accuracy is of the agent's own prediction, or only those where it is not.
    """
    images: list[float] = []
    values: list[float] = []
    for stage in record.curves:
        name = next((name for name in measures if stage["measures"].get(name)), None)
        if name is not None and own in (None, stage["scored"].startswith(OWN)):
            points = stage["measures"][name]
            images += [*points["images"], points["images"][-1]]
            values += [*(math.nan if value is None else value for value in points["value"]), math.nan]
    return Line(np.array(images, float), np.array(values, float)) if images else None


PANELS = {"loss": ("loss", "critic_loss"), "validation accuracy": ("accuracy",)}
"""What is drawn: the name of each panel, and the measures that may stand in it."""


def drawable(rows: Sequence[Row]) -> list[Row]:
    """The rows of which some run has a curve.

    Raises:
        UsageError: there is none.
    """
    found = [row for row in rows if any(record.curves for record in row.records)]
    if not found:
        raise UsageError("no training curves here: they are of runs of this version; --again runs older ones again")
    return found


def draw(rows: Sequence[Row], styles: Mapping[str, Style], width: float) -> Iterator[Drawn]:
    """Loss and validation accuracy of the contenders of one task, so many to a figure as a panel may have lines.

    Against the labelled images that were passed through: a thin line for each seed, and their mean where there are
    several. A line ends with its stage, and is dotted where the accuracy is not of the agent's own prediction.
    """
    pages = paper.most(rows, paper.MOST_LINES)
    for page, some in enumerate(pages):
        yield picture(some, styles, width, f"training{f'-{page + 1}' * (len(pages) > 1)}")


def picture(rows: Sequence[Row], styles: Mapping[str, Style], width: float, name: str = "training") -> Drawn:
    """One of these figures."""
    from matplotlib.ticker import LogLocator, MaxNLocator, NullFormatter

    figure, axes = paper.grid(len(PANELS), width)
    with mpl.rc_context(paper.STYLE):
        for axis, (title, measures) in zip(axes, PANELS.items(), strict=True):
            losses, least = title == "loss", math.inf
            for row in rows:
                style = styles[row.label]
                axis.plot([], [], label=row.label, **paper.look(style))
                for own in (None,) if losses else (True, False):
                    found = [line_of(record, measures, own) for record in row.records]
                    lines = [line for line in found if line is not None]
                    way: Any = (0, (1.0, 1.2)) if own is False else "-"
                    for line in lines[: len(lines) if len(lines) > 1 else 0]:
                        axis.plot(line.images, line.value, color=style.colour, ls=way, lw=0.4, alpha=0.5)
                    if mean := _mean(lines):
                        axis.plot(mean.images, mean.value, color=style.colour, ls=way, **_marked(mean, style))
                        least = min(least, float(np.min(mean.value[np.isfinite(mean.value)], initial=math.inf)))
            note = "" if losses else "\n(dotted: not of the agent's own prediction)"
            axis.set(xlabel="labelled images passed through, thousands", title=f"{title}{note}")
            axis.set_xlim(left=0)
            axis.xaxis.set_major_locator(MaxNLocator(5))
            axis.xaxis.set_major_formatter(lambda value, _: f"{value / 1000:g}")
            if losses:
                axis.set_yscale("log" if least > 0 else "symlog")
                if least > 0:  # losses may differ by less than a power of ten
                    axis.yaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 3.0, 5.0, 7.0)))
                axis.yaxis.set_major_formatter(lambda value, _: f"{value:g}")  # no mathematics: `parse_math` is off
                axis.yaxis.set_minor_formatter(NullFormatter())
            else:
                axis.set_ylim(0, 1.02)
        paper.legends(figure, axes)
    caption = (
        f"Training of contenders on {paper.of_what(rows)} Against the labelled images passed through: the training "
        "loss, and the accuracy on validation images. Thin lines: seeds; thick: their mean, where as many points were "
        "taken; without interval and test. A line breaks between stages of training, whose losses differ in kind."
    )
    return Drawn(name, figure, caption)


def _marked(line: Line, style: Style) -> dict[str, Any]:
    """A few markers along a line."""
    return {"marker": style.marker, "markevery": max(1, len(line.images) // 6), "ms": 3, "lw": 1.2}


def _mean(lines: Sequence[Line]) -> Line | None:
    """Over the seeds that have as many points as the longest: a run that diverged ends early."""
    longest = max((len(line.images) for line in lines), default=0)
    whole = [line for line in lines if len(line.images) == longest]
    return Line(whole[0].images, np.mean([line.value for line in whole], axis=0)) if whole else None


def write(rows: Sequence[Row], root: Path) -> list[Path]:
    """Draw `training.pdf` and `.png`, for each task where there are several, numbered where there are many rows."""
    paths: list[Path] = []
    styles, names = styles_of(rows), list(dict.fromkeys(row.task for row in rows))
    for task in names:
        ending = "" if len(names) == 1 else paper.ending_of(task)
        for drawn in draw([row for row in rows if row.task == task], styles, paper.WIDTHS["text"]):
            paths += paper.save(drawn, root, ending)
    return paths


def markdown(rows: Sequence[Row]) -> str:
    """Per task, contender and stage: how loss and accuracy of the first seed went, and from where to where."""
    parts = ["# Training curves\n"]
    for task in dict.fromkeys(row.task for row in rows):
        lines: list[list[str]] = []
        scored: dict[str, dict[str, list[str]]] = {}
        for row in rows:
            if row.task != task:
                continue
            record = next(record for record in row.records if record.curves)
            for number, stage in enumerate(record.curves):
                measures, name = stage["measures"], stage["stage"]
                loss = next((measures[each] for each in PANELS["loss"] if each in measures), None)
                cells = [*_summary(loss, 1), *_summary(measures.get("accuracy"), 100)]
                lines.append([shown(row) if number == 0 else "", name, *cells])
                stages = scored.setdefault(stage["scored"] or "nothing", {}).setdefault(shown(row), [])
                stages += [] if name in stages else [name]
        head = ["contender", "stage", "loss", "from, to", "accuracy", "from, to (%)"]
        parts.append(f"## {task}\n\n{pipe(head, lines)}")
        parts.append("Of each contender's first seed. The accuracy, on validation images, is of:\n")
        for what, of in scored.items():
            whose = "; ".join(f"{label}: {', '.join(names)}" for label, names in of.items())
            parts.append(f"- {what} ({whose})")
        parts.append("")
    return "\n".join(parts)


def _summary(points: dict[str, list[Any]] | None, factor: float) -> list[str]:
    values = [value for value in points["value"] if value is not None] if points else []
    if not values:
        return ["·", "·"]
    return [sparkline(values), f"{factor * values[0]:.3g}, {factor * values[-1]:.3g}"]


def write_tensorboard(rows: Sequence[Row], folder: Path) -> Path:
    """All curves as TensorBoard's event files, one run a folder: TASK/CONTENDER/seed-N.

    Steps are the labelled images passed through, and times the seconds of training.

    Raises:
        UsageError: TensorBoard is not installed.
    """
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        raise UsageError("--tensorboard needs TensorBoard: pip install 'glimpsebench[tensorboard]'") from None
    for row in rows:
        for record in row.records:
            name = ending_of(shown(row)).removeprefix("-")
            writer: Any = SummaryWriter(folder / ending_of(row.task).removeprefix("-") / name / f"seed-{record.seed}")
            for number, (stage, seconds) in enumerate(zip(record.curves, record.curve_seconds, strict=True), 1):
                for measure, points in stage["measures"].items():
                    for images, value, second in zip(points["images"], points["value"], seconds[measure], strict=True):
                        if value is not None:
                            tag = f"{measure}/{number} {stage['stage']}"
                            writer.add_scalar(tag, value, images, walltime=second)
            writer.close()
    return folder
