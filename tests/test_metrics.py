"""Metrics and statistics against values worked by hand, and the interval's coverage by simulation."""

from __future__ import annotations

import numpy as np
import pytest

from glimpsebench.bench import metrics, stats


def test_a_budget_is_reached_only_by_using_more_than_the_one_before() -> None:
    budgets = [0.1, 0.2, 0.5]
    touched = np.array([[0.0, 0.1], [0.2, 0.2], [0.2, 0.2]])
    assert metrics.reached(touched, budgets).tolist() == [False, True, False]


def test_accuracy_is_top_1() -> None:
    predicted = np.array([[3, 1, 0, 2], [3, 1, 2, 2]])
    assert metrics.accuracy(predicted, np.array([3, 1, 2, 2]), np.array([True, True])).tolist() == [0.75, 1.0]


def test_balanced_accuracy_is_the_mean_over_classes() -> None:
    labels = np.array([0, 0, 0, 1, 2, 2])
    predicted = np.array([[0, 0, 1, 0, 2, 1], [0, 0, 0, 0, 0, 0]])
    balanced = metrics.balanced_accuracy(predicted, labels, np.array([True, True]))
    assert balanced.tolist() == pytest.approx([(2 / 3 + 0 + 1 / 2) / 3, 1 / 3])
    assert np.isnan(metrics.balanced_accuracy(predicted, labels, np.array([False, True]))[0])


def test_area_needs_the_whole_grid() -> None:
    assert np.isnan(metrics.area_under_curve(np.array([0.5, np.nan, 1.0]), [0.01, 0.1, 1.0]))
    # Two equal steps in log f: (0 + 1)/2 and (1 + 1)/2, each of weight one half.
    assert metrics.area_under_curve(np.array([0.0, 1.0, 1.0]), [0.01, 0.1, 1.0]) == pytest.approx(0.75)


def test_a_dip_moves_the_smallest_sufficient_budget() -> None:
    budgets = [0.1, 0.2, 0.5]
    assert metrics.smallest_sufficient(np.array([0.99, 0.90, 0.99]), budgets, ceiling=1.0) == 0.5
    assert np.isnan(metrics.smallest_sufficient(np.array([0.99, 0.99, 0.5]), budgets, ceiling=1.0))


def test_paired_differences_by_hand() -> None:
    mine = np.array([[1, 1, 1, 0]])
    theirs = np.array([[0, 1, 0, 0]])
    interval = stats.crossed(mine, theirs)
    # Differences 1, 0, 1, 0: mean 0.5, standard deviation 0.57735, t(3) = 3.18245.
    assert interval.mean == 0.5
    assert interval.low == pytest.approx(0.5 - 3.18245 * 0.57735 / 2, abs=1e-4)


def test_paired_differences_are_signed_and_symmetric() -> None:
    rng = np.random.default_rng(0)
    a, b = rng.random((3, 400)) < 0.7, rng.random((2, 400)) < 0.6
    one, other = stats.crossed(a, b), stats.crossed(b, a)
    assert one.mean == pytest.approx(-other.mean)
    assert one.low == pytest.approx(-other.high)


@pytest.mark.parametrize("seeds", [3, 10])
def test_the_interval_over_seeds_covers_as_often_as_it_says(seeds: int) -> None:
    rng = np.random.default_rng(1)
    intervals = [stats.over_seeds(rng.normal(0.8, 0.05, seeds)) for _ in range(4000)]
    coverage = np.mean([interval.low <= 0.8 <= interval.high for interval in intervals])
    assert 0.94 < coverage < 0.96


def test_one_seed_has_no_interval() -> None:
    interval = stats.over_seeds(np.array([0.5]))
    assert interval.mean == 0.5
    assert np.isnan(interval.low)
