"""Statistics: intervals over seeds and paired differences over test images. S seeds, N images."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import stats

Array = NDArray[Any]


class Interval(NamedTuple):
    """A mean and its 95 % interval; the interval is NaN where there is too little data for one."""

    mean: float
    low: float
    high: float


def over_seeds(values_S: Array) -> Interval:
    """The mean over seeds with a t interval.

    The percentile bootstrap covers only 76 % at 3 seeds and 91 % at 10; the t interval covers 95 % (shared
    measurements, section 2), so single-task rows use it.

    >>> tuple(round(x, 3) for x in over_seeds(np.array([0.8, 0.9, 1.0])))
    (0.9, 0.652, 1.148)
    """
    values = np.asarray(values_S, float)
    mean = float(values.mean())
    if len(values) < 2 or np.isnan(values).any():
        return Interval(mean, float("nan"), float("nan"))
    half = float(stats.t.ppf(0.975, len(values) - 1) * values.std(ddof=1) / np.sqrt(len(values)))
    return Interval(mean, mean - half, mean + half)


def paired(correct_SN: Array, other_SN: Array) -> Interval:
    """The difference in accuracy between two contenders on the same test images, with a 95 % interval.

    Each image contributes the difference of its two mean scores over seeds; the interval is t over images. It
    speaks of these trained networks on new images; the spread over seeds is `over_seeds`.

    Args:
        correct_SN: whether each seed got each image right (boolean or 0/1); the numbers of seeds may differ.
        other_SN: the same for the contender to compare with.
    """
    difference_N = np.asarray(correct_SN, float).mean(0) - np.asarray(other_SN, float).mean(0)
    mean = float(difference_N.mean())
    half = float(stats.t.ppf(0.975, len(difference_N) - 1) * difference_N.std(ddof=1) / np.sqrt(len(difference_N)))
    return Interval(mean, mean - half, mean + half)
