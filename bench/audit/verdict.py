"""Figures, their limits, and what follows from them.

A figure is a share of the images or a difference of accuracies, in [−1, 1]; above its limit it is a sign against the
contender, of a leak (it used what it was not shown) or of encoding (its mask says what its pixels do not show).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

Verdict = Literal["gated", "open", "encodes", "leaks"]


@dataclass(frozen=True)
class Check:
    """One figure: of what it is a sign above which limit, and what it says; a limit of 1 only reports."""

    sign: Literal["leaks", "encodes"]
    limit: float
    says: str


SLACK = 0.08
"""Of differences of accuracies on the same few hundred images. Provisional, as `ENCODES` is: set by controls and cheats
of one seed, before judges were shipped; `benchmarks/cheats.py` is to calibrate both."""
ENCODES = 0.25
"""Of the largest difference, over budgets, between the own predictor and the decoupled judge."""

CHECKS: dict[str, Check] = {
    "record_own": Check("leaks", SLACK, "own accuracy on record above that of the clean run, mean of the budgets"),
    "record_judge": Check("leaks", SLACK, "judged accuracy on record above that of the clean run, mean of the budgets"),
    "record_touched": Check("leaks", 0.02, "of the image, touched in the clean run beyond what is on record, mean"),
    "asked_again": Check("leaks", 0.0, "of the images have other logits when the same is asked again"),
    "other_rows": Check("leaks", 0.0, "of the images have other logits in another order, among other images"),
    "outside": Check("leaks", 0.0, "of the images show something else when pixels outside the mask change"),
    "placed_anew": Check("leaks", SLACK, "own accuracy on the test images above that on the same objects placed anew"),
    "noise": Check("encodes", SLACK, "own accuracy lost to one grey level of noise under the same mask"),
    "rounded": Check("encodes", SLACK, "own accuracy lost when fixations are rounded to what the sensor resolves"),
    "own_less_decoupled": Check("encodes", ENCODES, "own accuracy above the decoupled judge's, largest of budgets"),
    "order": Check("encodes", 1.0, "own accuracy lost when the same glimpses come in another order"),
    "kept_when_swapped": Check("encodes", 1.0, "of the answers stay when the mask shows an image of another class"),
    "judge_less_decoupled": Check("encodes", 1.0, "the judge's accuracy above the decoupled one's, largest of budgets"),
}
"""In the order in which they are shown."""


def signs(figures: Mapping[str, float]) -> list[str]:
    """The names of the figures above their limits."""
    return [name for name, check in CHECKS.items() if figures.get(name, 0.0) > check.limit]


def verdict(figures: Mapping[str, float], track: Literal["gated", "open"]) -> Verdict:
    """What the figures come to: the worst that they are a sign of, else the contender's track."""
    found = {CHECKS[name].sign for name in signs(figures)}
    return "leaks" if "leaks" in found else "encodes" if "encodes" in found else track
