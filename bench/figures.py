"""Figures as functions of the records: the curve of accuracy against fraction, and what each contender looked at."""

from __future__ import annotations

import re
import sys
import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
import pandas as pd
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from glimpsebench.agents.common.base import BUDGETS, Agent
from glimpsebench.bench.records import Record, rebuilt
from glimpsebench.bench.rollout import footprints_of
from glimpsebench.bench.rows import Row, rows_of
from glimpsebench.envs import tasks
from glimpsebench.envs.errors import UsageError
from glimpsebench.envs.pictures import box_of, picture, sheet
from glimpsebench.envs.sensors import Mask
from glimpsebench.envs.tasks import Task

Array = NDArray[Any]

STYLE: dict[Any, Any] = {
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "svg.hashsalt": "glimpsebench",
    "text.parse_math": False,  # dollars in a contender's settings are dollars
}
MARKERS = "osD^vP"
LONG = 45
"""Characters of a label that still stands beside a figure."""
_HEADING = 24  # pixels above a gallery for the names of the classes


def curve_data(rows: Sequence[Row]) -> pd.DataFrame:
    """One line per run and budget that all runs of its row reach: where on the x axis, and how accurate."""
    lines = []
    for row in rows:
        for record in row.runs:
            fractions = record.fractions_FN.mean(1)
            scores = {by: record.accuracy(by) for by in ("evaluator", "own")}
            for at in [at for at, budget in enumerate(record.budgets) if budget in row.reached]:
                for by, values in scores.items():
                    lines.append(
                        {
                            "contender": row.label,
                            "track": row.track,
                            "seed": record.seed,
                            "score": by,
                            "budget": record.budgets[at],
                            "fraction": fractions[at],
                            "accuracy": values[at],
                        }
                    )
    return pd.DataFrame(lines)


def curve(rows: Sequence[Row], stem: Path) -> list[Path]:
    """Accuracy against fraction of the image used, log scale, one task: STEM.pdf and STEM.png.

    Lines are means over seeds with their 95 % intervals over images, seeds and members (`stats`); gated contenders are
    solid, open ones dashed, floors dotted, and the ceiling is a grey line across.
    """
    mpl.use("Agg")
    import matplotlib.pyplot as plt
    import seaborn as sns

    data = curve_data(rows)
    # Seeds differ a little in what they use; the mean over seeds stands at their mean fraction.
    data["fraction"] = data.groupby(["contender", "score", "budget"])["fraction"].transform("mean")
    ceilings = {row.label for row in rows if row.about["reference"] == "ceiling"}
    names = [row.label for row in rows if row.runs and row.label not in ceilings]
    styles = styled(names)
    dashes = {
        name: {"gated": (1, 0), "open": (4, 1.5), "reference": (1, 1.5)}[track]
        for name, track in data.groupby("contender")["track"].first().items()
    }
    with mpl.rc_context(STYLE):
        figure, axes = plt.subplots(1, 2, figsize=(9.5, 4), sharey=True, layout="constrained")
        for axis, by, title in zip(
            axes, ("evaluator", "own"), ("Judged by the evaluator", "By its own predictor"), strict=True
        ):
            part = data[data["score"] == by].dropna(subset="accuracy")
            lines = part[~part["contender"].isin(ceilings)]
            if len(lines):
                sns.lineplot(
                    lines,
                    x="fraction",
                    y="accuracy",
                    hue="contender",
                    hue_order=names,
                    style="contender",
                    dashes=dashes,
                    palette={name: colour for name, (colour, _) in styles.items()},
                    markers={name: marker for name, (_, marker) in styles.items()},
                    errorbar=None,
                    markersize=4,
                    legend=by == "own",
                    ax=axis,
                )
            for row in [row for row in rows if row.label in styles]:
                at = lines[lines["contender"] == row.label].groupby("budget")["fraction"].first()
                intervals = np.array(row.accuracy(by, at.index.tolist()))
                if len(intervals):
                    _, low, high = intervals.T.tolist()
                    colour, alpha = styles[row.label][0], shade(len(names))
                    axis.fill_between(at.tolist(), low, high, color=colour, alpha=alpha, lw=0)
            ceiling = part[part["contender"].isin(ceilings)]["accuracy"]
            if len(ceiling):
                axis.axhline(ceiling.mean(), color="0.6", lw=1, zorder=0)
                axis.text(0.0085, ceiling.mean() + 0.01, "full image", color="0.4", fontsize=8)
            axis.set(xscale="log", xlabel="fraction of the image used", ylabel="top-1 accuracy", title=title)
            axis.set_ylim(0, 1.05)
            axis.set_xticks(BUDGETS, [f"{100 * budget:g} %" for budget in BUDGETS], rotation=45)
            axis.minorticks_off()
        if names:
            outside(axes[1], *axes[1].get_legend_handles_labels())
        paths = [stem.with_name(f"{stem.name}.{kind}") for kind in ("pdf", "png")]  # the stem may hold dots
        # No dates in the files: same records, same bytes.
        figure.savefig(paths[0], metadata={"CreationDate": None})
        figure.savefig(paths[1], dpi=160)
        plt.close(figure)
    return paths


def styled(names: Sequence[str]) -> dict[str, tuple[Any, str]]:
    """A colour and a marker for each name, no two alike up to sixty: ten colours that colour-blind readers tell apart,
    then the same with the next marker."""
    import seaborn as sns

    colours = sns.color_palette("colorblind")
    return {
        name: (colours[n % len(colours)], MARKERS[n // len(colours) % len(MARKERS)]) for n, name in enumerate(names)
    }


def shade(lines: int) -> float:
    """How dark intervals are, so that many of them still let the lines be seen."""
    return 0.2 if lines <= 10 else 0.07


def outside(axis: Any, handles: Sequence[Any], labels: Sequence[str]) -> None:
    """The legend right of a figure's last axis, or, where a label is so long that no room would be left, below it.

    The figure grows by the lines of a legend below.
    """
    if max(map(len, labels), default=0) <= LONG:
        axis.legend(handles, labels, bbox_to_anchor=(1.02, 1), loc="upper left", frameon=False, title=None)
        return
    if axis.get_legend():
        axis.get_legend().remove()
    figure = axis.figure
    lines = [textwrap.fill(label, 3 * LONG) for label in labels]
    figure.set_figheight(figure.get_figheight() + 0.2 * sum(line.count("\n") + 1 for line in lines))
    figure.legend(handles, lines, loc="outside lower left", frameon=False, fontsize=8)


def gallery(rows: Sequence[Row], path: Path, budget: float = 0.2, images: int = 8) -> Path | None:
    """What each contender's first seed looked at in the first test images at a budget, one row each.

    Above each image stands its class; the frame is green where the contender's own predictor is right, else red.
    Contenders that do not reach the budget are shown at the largest smaller one that they reach, or else at the
    smallest that they reach. None if there is nothing to show.
    """
    strips: list[Array] = []
    labels, classes = [], []
    for row in rows:
        if not row.runs or not row.runs[0].reached_F.any():
            continue
        record = row.runs[0]
        try:
            task, agent = rebuilt(record)
            selection = record.selected(agent)
        except UsageError as error:  # somebody's own images or module, not at hand here; or a copy without selections
            print(f"no pictures of {row.label} on {row.task}: {error}", file=sys.stderr)
            continue
        within = [n for n in np.flatnonzero(record.reached_F) if record.budgets[n] <= budget + 1e-9]
        at = int(within[-1] if within else np.flatnonzero(record.reached_F)[0])
        passed = selection[at if len(selection) == len(record.budgets) else 0, :images]
        strips += _looks(record, at, passed, task, agent)
        classes = [task.class_names[label] for label in record.arrays["labels"][:images]]
        labels.append(textwrap.fill(f"{row.label}, {100 * record.budgets[at]:g} %", LONG))
    if not strips:
        return None
    page = sheet(strips, len(classes))
    height, width, font = page.shape[0] // len(labels), page.shape[1] // len(classes), ImageFont.load_default(15)
    margin = 16 + int(max(font.getlength(line) for label in labels for line in label.splitlines()))
    framed = np.full((page.shape[0] + _HEADING, page.shape[1] + margin, 3), 255, np.uint8)
    framed[_HEADING:, margin:] = page
    drawing = Image.fromarray(framed)
    pen = ImageDraw.Draw(drawing)
    for number, label in enumerate(labels):
        where = (8, _HEADING + number * height + height // 2)
        pen.text(where, label, fill=(0, 0, 0), font=font, anchor="lm")
    for number, name in enumerate(classes):
        where = (margin + number * width + width // 2, _HEADING // 2)
        pen.text(where, _shortened(name, width - 4, font), fill=(0, 0, 0), font=font, anchor="mm")
    drawing.save(path)
    return path


def _shortened(text: str, width: int, font: Any) -> str:
    """As much of a name as has room, with a full stop for the rest."""
    if font.getlength(text) <= width:
        return text
    return next(short for n in range(len(text) - 1, -1, -1) if font.getlength(short := f"{text[:n]}.") <= width)


def _looks(record: Record, at: int, selection: Array, task: Task, agent: Agent) -> list[Array]:
    """Pictures of the first images with their selections at one budget, framed green if right, red if wrong."""
    sensor, shape = agent.sensor(), task.shape
    test = tasks.test_split(task)
    arrays, budget = record.arrays, record.budgets[at]
    own_N4 = None if test.boxes_N4 is None else test.boxes_N4[: len(selection)]
    footprints = footprints_of(selection, arrays["steps"][at, : len(selection)], budget, sensor, shape, own_N4)
    looks = []
    for image, steps in enumerate(footprints):
        boxes = [] if isinstance(sensor, Mask) else [box_of(one) for one in steps]
        look = picture(test.images_NCHW[image], np.asarray(steps.any(0)), boxes, side=96)
        right = arrays["own"][at, image] == arrays["labels"][image]
        looks.append(np.pad(look, ((3, 3), (3, 3), (0, 0))))
        looks[-1][[0, 1, 2, -3, -2, -1]] = looks[-1][:, [0, 1, 2, -3, -2, -1]] = 0
        colour = np.array([40, 160, 60] if right else [210, 50, 50], np.uint8)
        for edge in (slice(0, 3), slice(-3, None)):
            looks[-1][edge] = colour
            looks[-1][:, edge] = colour
    return looks


def write(records: Sequence[Record], root: Path) -> list[Path]:
    """Draw curve.pdf, curve.png and gallery.png, per task where there are several; return their paths."""
    paths = []
    rows = rows_of(records)
    names = list(dict.fromkeys(row.task for row in rows))
    for task in names:
        here = [row for row in rows if row.task == task and row.runs]
        if here:
            ending = "" if len(names) == 1 else ending_of(task)
            paths += curve(here, root / f"curve{ending}")
            seen = gallery(here, root / f"gallery{ending}.png")
            paths += [] if seen is None else [seen]
    return paths


def ending_of(task: str) -> str:
    """What a file's name ends in if it is of one of several tasks.

    A task's name may hold settings: as file names they get no spaces, commas, slashes or brackets.
    """
    return "-" + re.sub(r"[^\w.=-]+", "-", task).strip("-")
