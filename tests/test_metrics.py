"""Metrics against values worked by hand."""

from __future__ import annotations

import doctest

import numpy as np
import pytest

from glimpsebench.bench import metrics


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
    balanced = metrics.balanced_accuracy(predicted == labels, labels)
    assert balanced.tolist() == pytest.approx([(2 / 3 + 0 + 1 / 2) / 3, 1 / 3])


def test_an_area_is_of_the_budgets_that_are_reached_and_of_no_others() -> None:
    # Two equal steps in log f: (0 + 1)/2 and (1 + 1)/2, each of weight one half.
    assert metrics.area_under_curve(np.array([0.0, 1.0, 1.0]), [0.01, 0.1, 1.0]) == pytest.approx(0.75)
    # From 10 % on alone, and not as if the smaller budgets were at 0 or like the first.
    assert metrics.area_under_curve(np.array([np.nan, 0.0, 1.0]), [0.01, 0.1, 1.0]) == pytest.approx(0.5)
    # Unequal steps: log 2 and log 5 of log 10.
    by_hand = (0.5 * (0.2 + 0.6) * np.log(2) + 0.5 * (0.6 + 0.7) * np.log(5)) / np.log(10)
    assert metrics.area_under_curve(np.array([0.2, 0.6, 0.7]), [0.1, 0.2, 1.0]) == pytest.approx(by_hand)
    assert np.isnan(metrics.area_under_curve(np.array([np.nan, 1.0]), [0.1, 1.0]))


def test_a_dip_moves_acc95() -> None:
    budgets = [0.1, 0.2, 0.5]
    assert metrics.acc95(np.array([0.99, 0.90, 0.99]), budgets, ceiling=1.0) == 0.5
    assert np.isnan(metrics.acc95(np.array([0.99, 0.99, 0.5]), budgets, ceiling=1.0))


def test_a_fraction_is_sufficient_from_which_an_image_stays_right() -> None:
    right = np.array([[1, 1, 0, 0], [0, 1, 0, 1], [1, 1, 0, 1]], bool)
    enough = metrics.sufficient_fraction(np.stack([right, ~right]), [0.1, 0.2, 0.5])
    assert enough.tolist() == [[0.5, 0.1, np.inf, 0.2], [np.inf, np.inf, 0.1, np.inf]]


def test_a_quantile_is_one_of_the_values_and_never_between_one_and_never() -> None:
    values = np.array([0.1] * 6 + [0.2] * 3 + [np.inf])
    assert [metrics.quantile(values, q) for q in (0.5, 0.6, 0.9, 0.95)] == [0.1, 0.1, 0.2, np.inf]


def test_calibration_error_is_the_mean_gap_between_confidence_and_accuracy() -> None:
    confidence = np.array([0.55, 0.55, 0.95, 0.95, 1.0])
    right = np.array([1, 0, 1, 1, 0])
    # Bins of a tenth: (0.5, 0.6] has two, |0.55 − 0.5|; (0.9, 1] has three, |2.9/3 − 2/3|.
    assert metrics.calibration_error(confidence, right, 10) == pytest.approx((2 * 0.05 + 3 * 0.3) / 5)


def test_the_interquartile_mean_leaves_out_a_quarter_at_either_end() -> None:
    assert metrics.interquartile_mean(np.array([[9.0, 0.0], [2.0, 3.0], [4.0, 5.0], [-7.0, 100.0]])) == 3.5
    assert metrics.interquartile_mean(np.array([1.0, 2.0, 6.0])) == 3.0


def test_a_performance_profile_weighs_tasks_alike() -> None:
    profile = metrics.performance_profile(np.array([[0.1, 0.9], [0.5, 0.9], [0.9, 0.2]]), [0.0, 0.5, 0.95])
    assert profile.tolist() == pytest.approx([1.0, (1 / 3 + 2 / 3) / 2, 0.0])


def test_the_examples_in_the_docstrings_hold() -> None:
    assert doctest.testmod(metrics).failed == 0
