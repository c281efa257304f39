"""Statistics: intervals over seeds and paired differences over test images. S seeds, N images."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]


def _t() -> Any:
    """Student's t, imported when it is asked for: it takes half a second, which listing runs does not need."""
    from scipy.stats import t

    return t


class Interval(NamedTuple):
    """A mean and its 95 % interval; the interval is NaN where there is too little data for one."""

    mean: float
    low: float
    high: float


def over_seeds(values_S: Array) -> Interval:
    """The mean over seeds with a t interval.

    With few seeds the percentile bootstrap's intervals are far too short, the t interval's are not.

    >>> tuple(round(x, 3) for x in over_seeds(np.array([0.8, 0.9, 1.0])))
    (0.9, 0.652, 1.148)
    """
    values = np.asarray(values_S, float)
    mean = float(values.mean())
    if len(values) < 2 or np.isnan(values).any():
        return Interval(mean, float("nan"), float("nan"))
    half = float(_t().ppf(0.975, len(values) - 1) * values.std(ddof=1) / np.sqrt(len(values)))
    return Interval(mean, mean - half, mean + half)


class Difference(NamedTuple):
    """A difference of means, its 95 % interval, and the p-value of there being none."""

    mean: float
    low: float
    high: float
    p: float


def welch(values_S: Array, other_S: Array) -> Difference:
    """The difference between the means of two samples with a 95 % interval (Welch's t), such as one value a seed.

    Args:
        values_S: two values or more.
        other_S: those to compare with; as many or not.

    >>> tuple(round(x, 3) for x in welch(np.array([2.0, 3.0, 4.0]), np.array([0.9, 1.0, 1.1])))
    (2.0, -0.45, 4.45, 0.073)
    """
    sides = [np.asarray(side, float) for side in (values_S, other_S)]
    mean = float(sides[0].mean() - sides[1].mean())
    return _difference(mean, [(side.var(ddof=1) / len(side), len(side) - 1) for side in sides])


def _difference(mean: float, parts: Sequence[tuple[float, int]]) -> Difference:
    """A mean whose variance has these parts, each with its degrees of freedom; together they have Satterthwaite's."""
    variance = float(sum(part for part, _ in parts))
    if variance == 0:
        return Difference(mean, mean, mean, float(mean == 0))
    freedom = variance**2 / sum(part**2 / free for part, free in parts)
    half = float(_t().ppf(0.975, freedom)) * variance**0.5
    return Difference(mean, mean - half, mean + half, float(2 * _t().sf(abs(mean) / variance**0.5, freedom)))


def crossed(scores_SN: Array, other_SN: Array) -> Difference:
    """The difference between two methods on the same test images, with an interval over images and seeds.

    Images are paired: each contributes the difference of its two mean scores over seeds. Seeds are not: the same
    number means something else to another method, so each side adds the variance of its own seeds' means, less what
    chance on single images explains of it (that part is in the images' variance already). Degrees of freedom are
    Satterthwaite's. A side with one seed adds nothing: the interval then speaks of that one trained network.

    In simulated comparisons it covers the difference about as often as it says from 3 seeds on, which a test holds,
    and a little too seldom with 2.

    Args:
        scores_SN: each seed's score on each image, such as right or wrong; the numbers of seeds may differ.
        other_SN: the same for the method to compare with.
    """
    sides = [np.asarray(side, float) for side in (scores_SN, other_SN)]
    difference_N = sides[0].mean(0) - sides[1].mean(0)
    images, mean = len(difference_N), float(difference_N.mean())
    parts = [(difference_N.var(ddof=1) / images, images - 1)]
    for side in sides:
        seeds = len(side)
        if seeds > 1:
            means_S = side.mean(1)
            rest_SN = side - side.mean(0) - means_S[:, None] + means_S.mean()
            noise = (rest_SN**2).sum() / ((seeds - 1) * (images - 1)) / (seeds * images)
            parts.append((max(means_S.var(ddof=1) / seeds - noise, 0.0), seeds - 1))
    return _difference(mean, parts)


def holm(p_M: Array) -> Array:
    """p-values adjusted for there being M of them (Holm): below α only with a family-wise error of at most α.

    >>> holm(np.array([0.01, 0.04, 0.03])).tolist()
    [0.03, 0.06, 0.06]
    """
    order = np.argsort(p_M)
    stepped = np.maximum.accumulate(np.asarray(p_M)[order] * np.arange(len(p_M), 0, -1))
    adjusted = np.empty(len(p_M))
    adjusted[order] = np.minimum(stepped, 1.0)
    return adjusted
