"""Localisation, against masks small enough to count by hand."""

from __future__ import annotations

import doctest
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from glimpsebench.bench import localisation

# Three 3×4 images. Object: a 2×2 block; the top row; nothing.
OBJECTS = np.zeros((3, 3, 4), bool)
OBJECTS[0, :2, :2] = True
OBJECTS[1, 0] = True
# Selection: a 2×2 block that shares the pixel (1, 1); everything; nothing.
CHOSEN = np.zeros((3, 3, 4), bool)
CHOSEN[0, 1:, 1:3] = True
CHOSEN[1] = True


@pytest.mark.parametrize("selection", [CHOSEN, np.packbits(CHOSEN.reshape(3, -1), axis=1)])
def test_overlap_against_counts_by_hand(selection: NDArray[Any]) -> None:
    iou = localisation.intersection_over_union(selection, OBJECTS)
    np.testing.assert_allclose(iou, [1 / 7, 4 / 12, np.nan])
    np.testing.assert_allclose(localisation.share_on_object(selection, OBJECTS), [1 / 4, 4 / 12, np.nan])


def test_packed_and_plain_selections_are_told_apart_by_their_shape() -> None:
    np.testing.assert_array_equal(localisation.unpacked(np.packbits(CHOSEN.reshape(3, -1), axis=1), (3, 4)), CHOSEN)
    np.testing.assert_array_equal(localisation.unpacked(CHOSEN.reshape(3, 12), (3, 4)), CHOSEN)
    np.testing.assert_array_equal(localisation.unpacked(CHOSEN.astype(np.uint8), (3, 4)), CHOSEN)


def test_an_object_that_is_touched_exactly_scores_one_and_one_that_is_missed_zero() -> None:
    assert localisation.intersection_over_union(OBJECTS[:2], OBJECTS[:2]).tolist() == [1, 1]
    assert localisation.share_on_object(OBJECTS[:2], OBJECTS[:2]).tolist() == [1, 1]
    missed = ~OBJECTS[:2]
    assert localisation.intersection_over_union(missed, OBJECTS[:2]).tolist() == [0, 0]
    assert localisation.share_on_object(missed, OBJECTS[:2]).tolist() == [0, 0]


def test_the_pointing_game_reads_row_and_column() -> None:
    points = np.array([[1, 0], [2, 3], [0, 0]])
    assert localisation.pointing_game(points, OBJECTS).tolist() == [True, False, False]
    assert localisation.pointing_game(np.array([[0, 3], [0, 3], [0, 3]]), OBJECTS).tolist() == [
        False,
        True,
        False,
    ]


def test_the_pixel_of_a_fixation_is_where_the_window_sensor_centres_a_window() -> None:
    """Odd windows have a middle pixel: the sensor's own arithmetic must agree with it."""
    from glimpsebench.envs import Window

    rng = np.random.default_rng(0)
    fixations = rng.uniform(-0.6, 0.6, (200, 2)).astype(np.float32)  # away from the border, where it clamps
    corner = Window(size=3).aim(fixations, (1, 20, 30), np.zeros(200))
    np.testing.assert_array_equal(localisation.pixel_of(fixations, (20, 30)), corner + 1)


def test_fixations_on_the_border_and_outside_stay_inside() -> None:
    fixations = np.array([[1.0, -1.0], [-3.0, 3.0]])
    assert localisation.pixel_of(fixations, (5, 7)).tolist() == [[0, 6], [4, 0]]


def test_the_peak_is_the_first_of_equals() -> None:
    scores = np.zeros((2, 3, 4))
    scores[0, 2, 1] = scores[0, 2, 3] = 1
    assert localisation.peak_of(scores).tolist() == [[2, 1], [0, 0]]


def test_the_examples_in_the_docstrings_hold() -> None:
    assert doctest.testmod(localisation).failed == 0
