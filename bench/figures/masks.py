"""How masks come to be small: their size and form over the training of the selector, and their size at its end.

Both are what contenders measured about themselves for their records (`findings`), by these names; a contender of
anybody's that records them is drawn.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import matplotlib as mpl
import numpy as np
from numpy.typing import NDArray

from glimpsebench.bench.compare import findings_of
from glimpsebench.bench.figures import paper
from glimpsebench.bench.figures.paper import Drawn
from glimpsebench.bench.rows import Row
from glimpsebench.bench.stats import over_seeds
from glimpsebench.bench.styles import Style

Array = NDArray[Any]

PANELS = {
    "mask_mean": "mean of the mask",
    "mask_binary": "values near 0 or 1",
    "mask_empty": "images with an empty mask",
    "mask_overlap": "overlap of two images' masks",
}
"""A finding, all shares → what its panel is called; over training it is NAME_curve."""
SIZES = {
    "mask_mean": "mean of the soft mask",
    "expected_size": "expected size of the mask",
    "own_area": "area of the crop",
    "attention_half": "attention above half of its largest value",
}
"""Findings that are a share of the image, the first that a contender has counts → what they are of."""


def draw(rows: Sequence[Row], styles: Mapping[str, Style], width: float) -> Iterator[Drawn]:
    """One task: of the contenders that recorded how their masks changed, `masks`; of those that have a size of their
    own, `mask-sizes`. Nothing where no contender has either."""
    learned = [row for row in rows if row.runs and row.track != "reference"]
    for name, draw_some, drawable in (
        ("masks", _dynamics, [row for row in learned if any(curves_of(row, one) is not None for one in PANELS)]),
        ("mask-sizes", _sizes, [row for row in learned if size_of(row) is not None]),
    ):
        for page, some in enumerate(paper.most(drawable, paper.MOST_LINES)):
            yield draw_some(f"{name}{f'-{page + 1}' * (page > 0)}", some, styles, width)


def curves_of(row: Row, finding: str) -> Array | None:
    """A finding over training, of each run that ended well, (S, points); None if one of them lacks it."""
    each = [record.about["findings"].get(f"{finding}_curve") for record in row.runs]
    known = [one for one in each if isinstance(one, list)]
    if len(known) < len(each) or len({len(one) for one in known}) != 1:
        return None
    return np.array(known, float)


def size_of(row: Row) -> tuple[str, Array] | None:
    """Which finding tells the size of its masks at the end of training, and of each run how much; None without one."""
    found = findings_of(row)
    return next(((name, found[name]) for name in SIZES if name in found), None)


def _dynamics(name: str, rows: Sequence[Row], styles: Mapping[str, Style], width: float) -> Drawn:
    figure, axes = paper.grid(len(PANELS), width, height=1.6)
    said = []
    with mpl.rc_context(paper.STYLE):
        for axis, (finding, title) in zip(axes, PANELS.items(), strict=True):
            for row in rows:
                values_SP = curves_of(row, finding)
                axis.plot([], [], label=row.label, **paper.look(styles[row.label]))
                if values_SP is not None:
                    _line(axis, values_SP, styles[row.label])
            axis.set(title=f"{title}, %", xlabel="the selector's training, %")
            axis.set_xlim(0, 100)
            paper.shares(axis)
        paper.shared_legend(figure, axes[0])
    for row in rows:
        ends = [(PANELS[one], curve[:, -1]) for one in PANELS if (curve := curves_of(row, one)) is not None]
        said.append(f"{row.label}: {', '.join(f'{title} {_per_cent(values)}' for title, values in ends)}.")
    says = (
        f"How the masks of contenders on {paper.of_what(rows)} change while their selectors are trained, over "
        "validation images, at moments that are equally far apart: the mean of the soft mask, the share of its values "
        "within 0.05 of 0 or 1, the share of images without a value above 0.05, and how far the masks of two images "
        "overlap (1: all the same). Thin lines: seeds; thick: their mean. No test."
    )
    values = f"At the end, in per cent, with a 95 % t interval over seeds: {' '.join(said)}"
    return Drawn(name, figure, says, values)


def _line(axis: Any, values_SP: Array, style: Style) -> None:
    share = 100 * np.linspace(0, 1, values_SP.shape[1])
    for values in values_SP if len(values_SP) > 1 else ():
        axis.plot(share, values, color=style.colour, lw=0.4, alpha=0.4)
    axis.plot(share, values_SP.mean(0), markevery=max(1, len(share) // 6), **paper.look(style) | {"ms": 3, "lw": 1.2})


def _sizes(name: str, rows: Sequence[Row], styles: Mapping[str, Style], width: float) -> Drawn:
    figure, (axis,) = paper.grid(1, width, height=0.55 + 0.32 * len(rows))
    said, measured = [], dict[str, None]()
    with mpl.rc_context(paper.STYLE):
        for place, row in enumerate(rows):
            style, (finding, values) = styles[row.label], size_of(row) or ("", np.array([np.nan]))
            middle = over_seeds(values)
            low, high = max(middle.low, 0.0), min(middle.high, 1.0)
            axis.plot(values, [place] * len(values), ".", color=style.colour, ms=2.5, mew=0, alpha=0.8)
            ends = [[max(middle.mean - low, 0.0)], [max(high - middle.mean, 0.0)]] if np.isfinite(low) else None
            axis.errorbar(middle.mean, place, xerr=ends, fmt=style.marker, color=style.colour, mfc="white", lw=1)
            measured[f"{finding}, {SIZES.get(finding, '')}"] = None
            said.append(f"{row.label}: {_per_cent(values)}")
        axis.set_yticks(
            range(len(rows)), [paper.wrapped(row.label, int(6 * width)) for row in rows], fontsize=paper.SMALL
        )
        axis.set(ylim=(len(rows) - 0.5, -0.5), xlabel="size of the masks, share of the image, %")
        axis.set_xlim(0, min(axis.get_xlim()[1], 1.02))
        axis.xaxis.set_major_formatter(lambda value, _: f"{100 * value:g}")
    says = (
        f"How large contenders' own masks are at the end of training, on {paper.of_what(rows)} Over validation images: "
        f"{'; '.join(measured)}. Dots: seeds; marks: means with a 95 % t interval over seeds, "
        "within [0, 1]. No test; of how sizes came about, `masks` has what was recorded, if anything was."
    )
    return Drawn(name, figure, says, f"In per cent: {'; '.join(said)}.")


def _per_cent(values: Array) -> str:
    """Mean and reach over seeds, as ablation.md has findings but in per cent."""
    middle = over_seeds(values)
    reach = (middle.high - middle.low) / 2
    return paper.per_cent(middle.mean) + (f" ± {paper.per_cent(reach)}" if np.isfinite(reach) else "")
