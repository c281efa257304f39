"""What all figures share: their size in print, their text, their legends, and the files that are written.

A figure is drawn at the width at which it is printed, so that a point is a point: `column` and `text` are those of a
two-column page. Fonts are embedded as TrueType, no text is smaller than `SMALLEST`, and no panel has more than eight
lines; what does not fit stands in a figure of its own. Same records, same bytes.
"""

from __future__ import annotations

import re
import textwrap
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
import seaborn as sns
from numpy.typing import NDArray

from glimpsebench.bench import latex
from glimpsebench.bench.rows import SETTLED, Row
from glimpsebench.bench.styles import Style
from glimpsebench.envs.errors import UsageError

Array = NDArray[Any]

WIDTHS = {"column": 3.25, "text": 6.75}
"""Inches: of a column and of the text of a two-column page, such as ICML's."""
LEAST_WIDTH, MOST_WIDTH = 2.0, 30.0
MOST_LINES = 8
"""In a panel."""
SMALLEST = 6.0
"""Points: of text."""
TEXT, SMALL = 7.5, 6.5
"""Points: of titles and axes, of ticks and legends."""
_BELOW = 27.0
"""Points from a panel to its legend: room for ticks and the name of the axis."""
_HANDLE = 7
"""Letters for which a legend's line and its gaps leave no room."""
STYLE: dict[Any, Any] = {
    **sns.axes_style("whitegrid"),
    **sns.plotting_context("paper"),
    "font.family": "DejaVu Sans",  # comes with Matplotlib, so that figures are the same everywhere
    "font.size": TEXT,
    "axes.titlesize": TEXT,
    "axes.labelsize": TEXT,
    "xtick.labelsize": SMALL,
    "ytick.labelsize": SMALL,
    "legend.fontsize": SMALL,
    "legend.frameon": False,
    "legend.handlelength": 2.6,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.linewidth": 0.6,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": "#e4e4e4",
    "grid.linewidth": 0.5,
    "xtick.major.width": 0.6,
    "ytick.major.width": 0.6,
    "lines.linewidth": 1.2,
    "lines.markersize": 3.6,
    "lines.markeredgewidth": 0.8,
    "pdf.fonttype": 42,  # TrueType
    "svg.hashsalt": "glimpsebench",
    "text.parse_math": False,  # dollars in a contender's settings are dollars
}
TICKS = (0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0)
"""Of the budgets, those that an axis names."""
TRACKS = {"gated": "Gated: seen = touched", "open": "Open: the selector reads the whole image"}
SCORED_BY = {"judge": "accuracy by the judge", "own": "accuracy by the own predictor"}
INTERVAL = {
    "judge": "95 % interval over images, seeds and members of the judge (crossed random effects), within [0, 1]",
    "own": "95 % interval over images and seeds (crossed random effects), within [0, 1]",
}


@dataclass(frozen=True)
class Drawn:
    """A figure, what is said below it, and the numbers in it.

    Attributes:
        name: of the files, without ending.
        figure: Matplotlib's.
        says: what is drawn, of how many images and seeds, with which interval and test.
        values: the numbers that are drawn, in sentences.
    """

    name: str
    figure: Any
    says: str
    values: str = ""

    @property
    def caption(self) -> str:
        return f"{self.says} {self.values}".rstrip()


def inches(width: str) -> float:
    """A width by its name or as a number of inches.

    Raises:
        UsageError: it is neither, or too small or large to be read.
    """
    if width in WIDTHS:
        return WIDTHS[width]
    if re.fullmatch(r"\d+(\.\d+)?", width) and LEAST_WIDTH <= float(width) <= MOST_WIDTH:
        return float(width)
    raise UsageError(
        f"--width {width}: write {', '.join(WIDTHS)} or inches from {LEAST_WIDTH:g} to {MOST_WIDTH:g}, such as 5.5"
    )


def grid(panels: int, width: float, height: float = 2.1, least: float = 2.6, **sharing: Any) -> tuple[Any, list[Any]]:
    """A figure of so many panels, as many beside one another as have room, and their axes in reading order.

    Args:
        panels: how many.
        width: of the figure, inches.
        height: of a panel, inches.
        least: the least width of a panel, inches.
        sharing: `sharex`, `sharey`.
    """
    from matplotlib.figure import Figure

    columns = max(1, min(panels, int(width / least)))
    rows = -(-panels // columns)
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(width, height * rows), layout="constrained")
        axes = figure.subplots(rows, columns, squeeze=False, **sharing).ravel()
    for axis in axes[panels:]:
        axis.remove()
    return figure, list(axes[:panels])


def save(drawn: Drawn, folder: Path, ending: str = "", in_latex: bool = False) -> list[Path]:
    """Write NAME.pdf, NAME.png and NAME.txt, the caption; return their paths. No dates: same figure, same bytes.

    Args:
        in_latex: also NAME.tex, for LaTeX's `\\caption`: without the values, which would fill a column.
    """
    stem = folder / f"{drawn.name}{ending}"
    kinds = ("pdf", "png", "txt", *(["tex"] if in_latex else []))
    paths = [stem.with_name(f"{stem.name}.{kind}") for kind in kinds]  # the stem may hold dots
    with mpl.rc_context(STYLE):
        drawn.figure.draw_without_rendering()
        drawn.figure.set_layout_engine("none")  # laid out once, the same for both files
        drawn.figure.savefig(paths[0], metadata={"CreationDate": None})
        drawn.figure.savefig(paths[1], dpi=200)
    for path, caption in zip(paths[2:], (drawn.caption, latex.prose(drawn.says)), strict=False):
        path.write_text(wrapped_caption(caption))
    return paths


def wrapped_caption(caption: str) -> str:
    """As the file beside a figure has it."""
    return "\n".join(textwrap.wrap(caption, 100, break_on_hyphens=False, break_long_words=False)) + "\n"


def ending_of(task: str) -> str:
    """What a file's name ends in if it is of one of several tasks.

    A task's name may hold settings: as file names they get no spaces, commas, slashes or brackets.
    """
    return "-" + re.sub(r"[^\w.=-]+", "-", task).strip("-")


def look(style: Style) -> dict[str, Any]:
    """A style by the names of Matplotlib's `plot`."""
    return {"color": style.colour, "marker": style.marker, "linestyle": (0, style.dash) if style.dash else "-"}


def fractions(axis: Any, least: float) -> None:
    """Make the x axis one of fractions of the image from `least` on, logarithmic."""
    axis.set_xscale("log")
    ticks = [tick for tick in TICKS if tick >= least * 0.99]
    axis.set_xticks(ticks, [f"{100 * tick:g}" for tick in ticks])
    axis.minorticks_off()
    axis.set_xlim(least * 0.85, 1.18)
    axis.set_xlabel("share of the image used, %")


def accuracies(axis: Any, by: str) -> None:
    """Make the y axis one of accuracies, all of [0, 1]."""
    shares(axis)
    axis.set_ylim(0, 1.02)
    axis.set_ylabel(f"{SCORED_BY[by]}, %")


def shares(axis: Any) -> None:
    """Make the y axis one of per cent, all of [0, 1]."""
    axis.set_ylim(-0.02, 1.02)
    axis.set_yticks([0, 0.2, 0.4, 0.6, 0.8, 1.0], ["0", "20", "40", "60", "80", "100"])


def shared_legend(figure: Any, axis: Any) -> None:
    """One legend below all panels, of the labels of one of them; the figure grows by its lines."""
    handles, labels = axis.get_legend_handles_labels()
    letters = int((figure.get_figwidth() - 0.3) / 0.058)  # of the small text
    lines = [textwrap.fill(label, letters - _HANDLE) for label in labels]
    longest = max(len(part) for line in lines for part in line.splitlines())
    columns = max(1, min(len(lines), letters // (longest + _HANDLE)))
    figure.legend(handles, lines, loc="outside lower center", ncols=columns, columnspacing=1.2, labelspacing=0.3)
    deep = -(-len(lines) // columns) + sum(line.count("\n") for line in lines)
    figure.set_figheight(figure.get_figheight() + (deep + 1) * SMALL * 1.5 / 72)


def legends(figure: Any, axes: Sequence[Any]) -> None:
    """A legend below each panel, in as many columns as its labels leave room for; a long label goes on below itself.

    The figure grows by the lines of the legends, so that the panels keep their height.
    """
    from matplotlib.transforms import ScaledTranslation, blended_transform_factory

    layout = axes[0].get_subplotspec().get_gridspec()
    width = figure.get_figwidth() / layout.ncols
    below = ScaledTranslation(0, -_BELOW / 72, figure.dpi_scale_trans)
    most_lines = [0] * layout.nrows
    for axis in axes:
        handles, labels = axis.get_legend_handles_labels()
        if not handles:
            continue
        letters = int((width - 0.3) / 0.058)  # of the small text
        lines = [textwrap.fill(label, letters - _HANDLE) for label in labels]
        longest = max(len(part) for line in lines for part in line.splitlines())
        columns = max(1, min(len(lines), letters // (longest + _HANDLE)))
        axis.legend(
            handles,
            lines,
            loc="upper center",
            bbox_to_anchor=((axis.get_subplotspec().colspan.start + 0.5) / layout.ncols, 0),
            bbox_transform=blended_transform_factory(figure.transFigure, axis.transAxes) + below,
            ncols=columns,
            columnspacing=1.2,
            labelspacing=0.3,
            borderaxespad=0,
        )
        row = axis.get_subplotspec().rowspan.start
        deep = -(-len(lines) // columns) + sum(line.count("\n") for line in lines)
        most_lines[row] = max(most_lines[row], deep)
    figure.set_figheight(figure.get_figheight() + sum(most_lines) * SMALL * 1.5 / 72)


def name_of(row: Row) -> str:
    """A row's label as figures have it, with the tables' † where values delivered are counted."""
    return row.label + "†" * (row.about["currency"] == "delivered")


DELIVERED = " †: by values delivered; it touches the whole image."


def most(rows: Sequence[Row], lines: int) -> list[list[Row]]:
    """Rows in groups of at most so many, in their order."""
    return [list(rows[start : start + lines]) for start in range(0, len(rows), lines)]


def dots(row: Row) -> bool:
    """Whether its seeds are so few that each is shown."""
    return 1 < len(row.runs) <= SETTLED


def of_what(rows: Sequence[Row]) -> str:
    """Task, test images and seeds, for a caption."""
    about = rows[0].records[0].about["task"]
    delivered = DELIVERED if any(row.about["currency"] == "delivered" for row in rows) else ""
    return f"{rows[0].task}, {about['test_images']} test images. Seeds: {seeds_of(rows)}.{delivered}"


def seeds_of(rows: Iterable[Row]) -> str:
    """`3 each`, or how many each has."""
    count: Mapping[str, int] = {name_of(row): len(row.records) for row in rows}
    if len(set(count.values())) == 1:
        return f"{next(iter(count.values()))} each" if len(count) > 1 else str(next(iter(count.values())))
    return ", ".join(f"{label} {number}" for label, number in count.items())


def members(rows: Sequence[Row]) -> int:
    """How many the judge has."""
    return next((record.judgement.correct_MFN.shape[0] for row in rows for record in row.runs if record.judgement), 0)


def per_cent(value: float) -> str:
    """As tables round it."""
    return "·" if np.isnan(value) else f"{100 * value:.1f}"


def least_budget(rows: Iterable[Row]) -> float:
    """The smallest fraction that any of these is drawn at."""
    return min((min(row.mean_fraction(row.about["currency"], row.covered)) for row in rows if row.covered), default=0.1)


def shortened(text: str, letters: int) -> str:
    """As much of a name as has room, with a full stop for the rest.

    >>> shortened("automobile", 6)
    'autom.'
    """
    return text if len(text) <= letters else f"{text[: max(letters - 1, 0)]}."


def wrapped(text: str, letters: int, lines: int = 3) -> str:
    """A name on so many lines at most, the last of which is shortened if that is too few.

    >>> wrapped("gain (mining_trains=attention only)", 14, 2)
    'gain\\n(mining_train.'
    """
    first, rest = textwrap.wrap(text, letters, break_long_words=False, break_on_hyphens=False), list[str]()
    if len(first) > lines:
        first, rest = first[: lines - 1], first[lines - 1 :]
    return "\n".join(shortened(line, letters) for line in [*first, *([" ".join(rest)] if rest else [])])
