"""Metrics: plain functions over per-image arrays. S seeds, F budgets, N images.

`accuracy` is top-1, argmax equal to the label; nothing else bears that name. A budget that a contender does not
reach has no value (NaN): curves are never extrapolated.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]


def accuracy(predicted_FN: Array, labels_N: Array, reached_F: Array) -> Array:
    """Top-1 accuracy at each budget, in [0, 1]; NaN where the budget is not reached.

    >>> accuracy(np.array([[1, 2], [1, 1]]), np.array([1, 1]), np.array([False, True])).tolist()
    [nan, 1.0]
    """
    correct_FN: Array = predicted_FN == labels_N
    return np.where(reached_F, correct_FN.mean(1), np.nan)


def balanced_accuracy(predicted_FN: Array, labels_N: Array, reached_F: Array) -> Array:
    """The mean over classes of the accuracy on each class's images, at each budget; NaN where it is not reached.

    A guess of the most frequent class scores 1/K, however frequent that is.

    >>> balanced_accuracy(np.array([[1, 1, 1, 1]]), np.array([1, 1, 1, 0]), np.array([True])).tolist()
    [0.5]
    """
    correct_FN: Array = predicted_FN == labels_N
    by_class = [correct_FN[:, labels_N == label].mean(1) for label in np.unique(labels_N)]
    return np.where(reached_F, np.mean(by_class, axis=0), np.nan)


def reached(touched_FN: Array, budgets: Sequence[float]) -> Array:
    """Which budgets a contender uses: boolean (F,).

    A budget is reached if every image has something to show for it and the mean use lies above the next smaller
    point of the grid; otherwise its value would repeat what a smaller budget already bought.

    Args:
        touched_FN: what each image used at each budget, as a fraction of the image.
        budgets: ascending fractions.
    """
    floor_F = np.array([0.0, *budgets[:-1]])
    mean_F = touched_FN.mean(1)
    return (touched_FN.min(1) > 0) & (mean_F > floor_F + 1e-12)


def area_under_curve(accuracy_F: Array, budgets: Sequence[float]) -> float:
    """Mean accuracy over log-fraction, by trapezoids over the whole grid; NaN unless every budget is reached.

    >>> area_under_curve(np.array([0.5, 0.5, 0.5]), [0.01, 0.1, 1.0])
    0.5
    """
    log_f = np.log(np.asarray(budgets, float))
    return float(np.trapezoid(accuracy_F, log_f) / (log_f[-1] - log_f[0]))


def smallest_sufficient(accuracy_F: Array, budgets: Sequence[float], ceiling: float, share: float = 0.95) -> float:
    """ACC95: the smallest budget from which accuracy is and stays ≥ share × ceiling; NaN if there is none.

    Budgets that are not reached say nothing either way.

    >>> smallest_sufficient(np.array([0.5, 0.96, np.nan, 0.97]), [0.01, 0.1, 0.2, 1.0], ceiling=1.0)
    0.1
    """
    best = float("nan")
    for value, budget in reversed(list(zip(accuracy_F, budgets, strict=True))):
        if np.isnan(value):
            continue
        if value < share * ceiling:
            break
        best = float(budget)
    return best
