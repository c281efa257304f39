"""An ablation's panels: the effect of each of a suite's claims, what would bear it out, and the verdict."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import matplotlib as mpl
import numpy as np

from glimpsebench.bench import ablate, escape
from glimpsebench.bench.claims import Claim, Outcome, Verdict
from glimpsebench.bench.figures import paper
from glimpsebench.bench.figures.paper import Drawn

LOOKS: Mapping[Outcome, tuple[str, str]] = {
    "supported": ("o", "#0072b2"),
    "refuted": ("s", "#d55e00"),
    "undecided": ("D", "#4d4d4d"),
    "not tested": ("x", "#a0a0a0"),
}
"""The marker and colour of each verdict."""
CLAIMED = "#d9ead9"
POINTS = "difference, points"
"""The panel of all effects on accuracies and overlaps, whose unit is one; a finding's has its own."""
_LINE = 0.36
"""Inches: of a claim."""
_LETTERS = 22
"""Of a line of what is compared, for each inch and a half that is left of the panel."""


def draw(verdicts: Sequence[Verdict], width: float) -> Iterator[Drawn]:
    """A suite's claims, so many to a figure as a panel may have lines, by the unit of their effects."""
    for page, start in enumerate(range(0, len(verdicts), paper.MOST_LINES)):
        some = dict(enumerate(verdicts[start : start + paper.MOST_LINES], start + 1))
        yield _figure(f"claims{f'-{page + 1}' * (page > 0)}", some, width)


def _figure(name: str, verdicts: Mapping[int, Verdict], width: float) -> Drawn:
    from matplotlib.figure import Figure

    panels: dict[str, dict[int, Verdict]] = {}
    for number, verdict in verdicts.items():
        panels.setdefault(_unit(verdict.claim), {})[number] = verdict
    heights = [len(panel) for panel in panels.values()]
    with mpl.rc_context(paper.STYLE):
        size = (width, 0.6 * len(panels) + _LINE * sum(heights))
        figure = Figure(figsize=size, layout="constrained")
        axes = figure.subplots(len(panels), 1, squeeze=False, height_ratios=heights).ravel()
        for axis, (unit, panel) in zip(axes, panels.items(), strict=True):
            _panel(axis, list(panel.items()), int(_LETTERS * width / 3.25))
            axis.set_xlabel(unit)
    return Drawn(name, figure, _caption(verdicts))


def _unit(claim: Claim) -> str:
    return f"difference in {claim.finding}" if claim.finding else POINTS


def _panel(axis: Any, panel: Sequence[tuple[int, Verdict]], letters: int) -> None:
    """One claim below the other, each with the effects that would bear it out shaded."""
    axis.axvline(0, color="#222222", lw=0.8, zorder=1)
    spans = []
    for place, (_, verdict) in enumerate(panel):
        marker, colour = LOOKS[verdict.outcome]
        factor = _factor(verdict.claim)
        effect = [factor * value for value in verdict.effect[:3]]
        if np.isfinite(effect[0]):
            mean, low, high = effect
            ends = [[mean - low], [high - mean]] if np.isfinite(low) else None
            axis.errorbar(mean, place, xerr=ends, fmt=marker, color=colour, lw=1.1, ms=4, zorder=3)
        spans.append([factor * end for end in verdict.claim.region])
    low, high = _ends(axis, spans)
    for place, ((_, verdict), span) in enumerate(zip(panel, spans, strict=True)):
        left, right = max(span[0], low), min(span[1], high)
        axis.fill_betweenx([place - 0.4, place + 0.4], left, right, color=CLAIMED, lw=0, zorder=0)
        axis.annotate(verdict.outcome, (1, place), (3, 0), ("axes fraction", "data"), "offset points", va="center")
        axis.texts[-1].set_fontsize(paper.SMALL)
    axis.set_xlim(low, high)
    axis.set_ylim(len(panel) - 0.5, -0.5)
    names = [_compared(number, verdict.claim, letters) for number, verdict in panel]
    axis.set_yticks(range(len(panel)), names, fontsize=paper.SMALL)
    axis.grid(axis="y", visible=False)


def _ends(axis: Any, spans: Sequence[Sequence[float]]) -> tuple[float, float]:
    """From where to where a panel goes: over all effects, and beyond every end of what is claimed."""
    low, high = axis.get_xlim()
    inner = [end for span in spans for end in span if np.isfinite(end)]
    low, high = min([low, *inner]), max([high, *inner])
    room = 0.08 * (high - low)
    return low - room, high + room


def _factor(claim: Claim) -> float:
    return 1.0 if claim.finding else 100.0


def _compared(number: int, claim: Claim, letters: int) -> str:
    """What is compared, as far as there is room; the caption has the whole."""
    b = claim.b if isinstance(claim.b, str) else f"{claim.b:g}"
    what = "" if claim.finding else f", {ablate.titled(ablate.points_of(claim)[0])}"
    where = "" if claim.task is None else f", {claim.task}"
    return paper.wrapped(escape.terminal(f"{number}. {claim.a} less {b}{what}{where}"), letters)


def _caption(verdicts: Mapping[int, Verdict]) -> str:
    said = []
    for number, verdict in verdicts.items():
        claim, effect = verdict.claim, verdict.effect
        ends = [ablate.number(claim.measure, end, "+") for end in (effect.low, effect.high)]
        between = "" if np.isnan(effect.low) else f" ({' to '.join(ends)})"
        p = "" if np.isnan(effect.p) else f", adjusted p {effect.p:.2g}"
        said.append(
            f"{number}. {claim.text.rstrip('.')} ({claim.source}): {verdict.outcome}; {ablate.compared(claim)}: "
            f"{ablate.number(claim.measure, effect.mean, '+')}{between}, claimed {ablate.claimed(claim)}{p}; "
            f"seeds: {verdict.seeds or '·'} of {claim.seeds}; {verdict.why}."
        )
    return (
        "What the suite claims and what its records say. Marks: the effect on a measure, what the first arm has of it "
        "less what the second has, in points of accuracy or overlap, or in a finding's own unit; bars: 95 % interval "
        "over images, seeds and members of the judge, of findings over seeds. Shaded: the effects that bear a claim "
        "out, from the smallest that matters on. Supported or refuted: a test against the nearest end of these effects "
        "rejects after Holm's correction for all claims of the suite that are tested (two-sided, α = 0.05). "
        f"{escape.terminal(' '.join(said))}"
    )
