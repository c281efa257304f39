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


def balanced_accuracy(correct: Array, labels_N: Array) -> Array:
    """The mean over classes of the accuracy on each class's images: (…) of right or wrong (…, N).

    A guess of the most frequent class scores 1/K, however frequent that is.

    >>> float(balanced_accuracy(np.array([1, 1, 1, 0]), np.array([1, 1, 1, 0])))
    0.5
    """
    _, class_N, count_K = np.unique(labels_N, return_inverse=True, return_counts=True)
    means: Array = np.asarray(correct, float) @ (1 / count_K / len(count_K))[class_N]
    return means


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


def log_weights(budgets: Sequence[float]) -> Array:
    """What each budget counts in `area_under_curve`: (F,), sum 1. The trapezoid rule over the logarithm of budgets.

    >>> log_weights([0.01, 0.1, 1.0]).round(3).tolist()
    [0.25, 0.5, 0.25]
    """
    half_steps = np.diff(np.log(np.asarray(budgets, float))) / 2
    weights: Array = (np.append(half_steps, 0) + np.append(0, half_steps)) / (2 * half_steps.sum())
    return weights


def area_under_curve(accuracy_F: Array, budgets: Sequence[float]) -> float:
    """Mean accuracy over the logarithm of the fraction, from the smallest budget that is reached to the largest.

    Nothing is extrapolated: it is normalised by the span that the contender covers, so two areas are comparable if
    both cover the same budgets, and only then. NaN if fewer than two are reached.

    >>> area_under_curve(np.array([np.nan, 0.4, 0.6]), [0.01, 0.1, 1.0])
    0.5
    """
    reached_F = ~np.isnan(accuracy_F)
    if reached_F.sum() < 2:
        return float("nan")
    return float(accuracy_F[reached_F] @ log_weights(np.asarray(budgets, float)[reached_F].tolist()))


def acc95(accuracy_F: Array, budgets: Sequence[float], ceiling: float, share: float = 0.95) -> float:
    """ACC95: the smallest budget from which accuracy is and stays ≥ share × ceiling; NaN if there is none.

    Budgets that are not reached say nothing either way.

    >>> acc95(np.array([0.5, 0.96, np.nan, 0.97]), [0.01, 0.1, 0.2, 1.0], ceiling=1.0)
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


def sufficient_fraction(correct_FN: Array, budgets: Sequence[float]) -> Array:
    """For each image the smallest budget from which it is, and stays, right: (…, N) of (…, F, N); ∞ if it never is.

    Sufficient input subsets (Carter et al., AISTATS 2019), among those that the contender chose.

    >>> sufficient_fraction(np.array([[1, 0, 1], [0, 0, 1], [1, 0, 1]], bool), [0.1, 0.2, 0.5]).tolist()
    [0.5, inf, 0.1]
    """
    correct = np.asarray(correct_FN, bool)
    right = np.ones_like(correct[..., 0, :])
    stays = np.zeros(right.shape, np.min_scalar_type(len(budgets)))
    for at in reversed(range(len(budgets))):  # a few budgets, many images
        right &= correct[..., at, :]
        stays += right
    return np.array([np.inf, *np.asarray(budgets, float)[::-1]])[stays]


def quantile(values: Array, q: float) -> float:
    """The smallest of the values that a share q of them do not exceed; ∞ may be among them.

    >>> quantile(np.array([0.1, 0.2, np.inf]), 0.5), quantile(np.array([0.1, 0.2, np.inf]), 0.9)
    (0.2, inf)
    """
    return quantiles(values, [q])[0]


def quantiles(values: Array, each_q: Sequence[float]) -> list[float]:
    """Several of them in one go."""
    found: list[float] = np.quantile(np.ravel(values), each_q, method="inverted_cdf").tolist()
    return found


def calibration_error(confidence: Array, correct: Array, bins: int = 15) -> Array:
    """Expected calibration error (Guo et al., ICML 2017): |confidence − accuracy|, averaged over bins of confidence.

    Args:
        confidence: the probability that was given to the predicted class, in (0, 1]: (…, N).
        correct: whether that class was right.
        bins: of equal width.

    Returns:
        (…)

    >>> round(float(calibration_error(np.array([0.9, 0.9, 0.6, 0.6]), np.array([1, 1, 1, 0]))), 3)
    0.1
    """
    given = np.asarray(confidence, float)
    bin_RN = np.minimum(np.ceil(given * bins).astype(int), bins).reshape(-1, given.shape[-1])
    bin_RN += (bins + 1) * np.arange(len(bin_RN))[:, None]
    gaps = np.bincount(bin_RN.ravel(), (np.asarray(correct, float) - given).ravel(), (bins + 1) * len(bin_RN))
    error: Array = np.abs(gaps.reshape(len(bin_RN), -1)).sum(1).reshape(given.shape[:-1]) / given.shape[-1]
    return error


def interquartile_mean(scores: Array) -> float:
    """IQM: the mean of the middle half of all scores, runs and tasks together (Agarwal et al., NeurIPS 2021).

    A quarter of them, rounded down, is left out at either end.

    >>> interquartile_mean(np.array([[0.0, 0.5], [0.7, 1.0]]))
    0.6
    """
    ordered = np.sort(np.ravel(scores))
    cut = len(ordered) // 4
    return float(ordered[cut : len(ordered) - cut].mean())


def performance_profile(scores_RT: Array, levels: Sequence[float]) -> Array:
    """The share of runs that score above each level, averaged over tasks: (levels,) (Agarwal et al., NeurIPS 2021).

    Args:
        scores_RT: R runs of each of T tasks.
        levels: τ.

    >>> performance_profile(np.array([[0.2, 0.6], [0.4, 0.8]]), [0.3, 0.7]).tolist()
    [0.75, 0.25]
    """
    above: Array = np.stack([(np.asarray(scores_RT) > level).mean(0).mean() for level in levels])
    return above
