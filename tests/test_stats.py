"""Intervals and differences: against values worked by hand, and how often they cover, by a short simulation."""

from __future__ import annotations

import doctest
import importlib.util
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.stats import ttest_1samp

from glimpsebench.bench import stats
from glimpsebench.bench.stats import crossed, estimate, holm, interval, mean_squares

Array = NDArray[Any]
SCRIPT = Path(__file__).parents[1] / "benchmarks" / "coverage.py"


@pytest.fixture(scope="module")
def coverage() -> Any:
    """The script that simulates."""
    spec = importlib.util.spec_from_file_location("coverage_of_intervals", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def answers(rng: np.random.Generator, seeds: int, members: int, images: int, *, seed: float, member: float) -> Array:
    """Scores (S, M, N) that are normal, with these standard deviations of seeds and members; images have 1."""
    levels = rng.normal(0, seed, (seeds, 1, 1)) + rng.normal(0, member, (members, 1)) + rng.normal(0, 1, images)
    return levels + rng.normal(0, 0.5, (seeds, members, images))


def test_mean_squares_are_those_of_the_textbook() -> None:
    """Three factors, against sums of squares written out for each effect."""
    x = np.random.default_rng(0).normal(size=(2, 3, 4))
    found = mean_squares(x, 3)
    grand, a, b, c = x.mean(), x.mean((1, 2)), x.mean((0, 2)), x.mean((0, 1))
    ab, ac, bc = x.mean(2), x.mean(1), x.mean(0)
    by_hand = {
        (-3,): (12 * ((a - grand) ** 2).sum(), 1),
        (-2,): (8 * ((b - grand) ** 2).sum(), 2),
        (-1,): (6 * ((c - grand) ** 2).sum(), 3),
        (-3, -2): (4 * ((ab - a[:, None] - b + grand) ** 2).sum(), 2),
        (-3, -1): (3 * ((ac - a[:, None] - c + grand) ** 2).sum(), 3),
        (-2, -1): (2 * ((bc - b[:, None] - c + grand) ** 2).sum(), 6),
    }
    rest = ((x - grand) ** 2).sum() - sum(square for square, _ in by_hand.values())
    by_hand[-3, -2, -1] = rest, 6
    assert found.keys() == by_hand.keys()
    for effect, (square, freedom) in by_hand.items():
        assert found[effect][0] == pytest.approx(square / freedom)
        assert found[effect][1] == freedom


@pytest.mark.parametrize("against", [False, True])
def test_the_variance_of_a_mean_is_estimated_without_bias(against: bool) -> None:
    """Averaged over experiments it is what the means really vary by, whatever level the variance comes from."""
    rng = np.random.default_rng(0)
    for seed, member in ((0.5, 0.2), (0.2, 0.5), (0.3, 0.5)):
        rows = np.stack([answers(rng, 5, 4, 200, seed=seed, member=member) for _ in range(800)])
        if not against:
            assert estimate(rows).variance.mean() == pytest.approx(rows.mean((1, 2, 3)).var(), rel=0.15)
            continue
        # The same members and images, other seeds.
        shared = rng.normal(0, 1, (800, 1, 1, 200)) + rng.normal(0, member, (800, 1, 4, 1))
        mine, other = (
            shared + rng.normal(0, seed, (800, seeds, 1, 1)) + rng.normal(0, 0.5, (800, seeds, 4, 200))
            for seeds in (5, 3)
        )
        found = estimate(mine, other)
        assert found.variance.mean() == pytest.approx(found.mean.var(), rel=0.15)


def test_rows_are_compared_on_the_same_images_and_before_the_same_members() -> None:
    """What images and members have in common for both cancels; what seeds have does not."""
    rng = np.random.default_rng(0)
    shared = rng.normal(0, 1, 300) + rng.normal(0, 1, (4, 1))
    same = [shared + rng.normal(0, 0.1, (5, 4, 300)) for _ in range(2)]
    assert crossed(*same).error < 0.02 < 0.5 < float(estimate(same[0]).variance) ** 0.5
    seeds = [shared + rng.normal(0, 0.5, (5, 1, 1)) + rng.normal(0, 0.1, (5, 4, 300)) for _ in range(2)]
    assert crossed(*seeds).error > 0.15


def test_a_difference_is_signed_and_symmetric() -> None:
    rng = np.random.default_rng(0)
    a, b = rng.random((3, 4, 400)) < 0.7, rng.random((2, 4, 400)) < 0.6
    one, other = crossed(a, b), crossed(b, a)
    assert (one.mean, one.low, one.p) == pytest.approx((-other.mean, -other.high, other.p))


def test_one_seed_before_one_judge_is_a_paired_test_over_images_with_two_more() -> None:
    rng = np.random.default_rng(0)
    a, b = rng.random((2, 1, 1, 300)) < 0.7
    difference_N = (a.astype(float) - b).ravel()
    by_scipy = ttest_1samp([*difference_N, 1, -1], 0).confidence_interval(0.95)
    found = crossed(a, b)
    assert found.mean == pytest.approx(difference_N.mean())
    assert found.high - found.low == pytest.approx(by_scipy.high - by_scipy.low, rel=1e-3)


@pytest.mark.parametrize("right", [0.0, 1.0])
@pytest.mark.parametrize("images", [200, 500, 10_000])
def test_all_right_or_all_wrong_has_about_the_interval_of_the_rule_of_three(right: float, images: int) -> None:
    found = interval(np.full((5, 4, images), right))
    assert found.mean == right
    assert 0 <= found.low < found.high <= 1
    # Clopper and Pearson's two-sided bound is 3.7 / N; the one-sided rule of three is 3 / N.
    assert 3 / images < found.reach < 5 / images


def test_equal_answers_have_a_difference_of_nothing_with_a_width() -> None:
    same = np.tile(np.arange(500) % 2, (3, 1, 1))
    found = crossed(same, same)
    assert (found.mean, found.p) == (0, 1)
    assert 0.002 < found.high < 0.02


def test_a_deterministic_row_has_images_and_members_as_levels() -> None:
    rng = np.random.default_rng(0)
    once = rng.random((1, 4, 500)) < np.array([0.5, 0.6, 0.7, 0.8])[:, None]
    alone, thrice = interval(once), interval(np.tile(once, (3, 1, 1)))
    assert alone[:] == pytest.approx(thrice[:])
    assert alone.reach > 2 * interval(once[:, :1]).reach, "members that differ widen it"


def test_what_is_detectable_is_found_four_times_in_five() -> None:
    rng = np.random.default_rng(0)
    rows = [rng.normal(0.5, 0.2, (2, 6, 1, 300)) for _ in range(300)]
    size = float(np.mean([crossed(a, b).detectable() for a, b in rows]))
    found = [crossed(a + size, b).p < 0.05 for a, b in rows]
    assert 0.7 < np.mean(found) < 0.9
    assert crossed(*rows[0]).detectable(50) > crossed(*rows[0]).detectable()


@pytest.mark.parametrize("seeds", [3, 10])
def test_the_interval_over_seeds_alone_covers_as_often_as_it_says(seeds: int) -> None:
    rng = np.random.default_rng(1)
    intervals = [stats.over_seeds(rng.normal(0.8, 0.05, seeds)) for _ in range(4000)]
    assert 0.94 < np.mean([found.low <= 0.8 <= found.high for found in intervals]) < 0.96


def test_one_seed_alone_has_no_interval_over_seeds() -> None:
    found = stats.over_seeds(np.array([0.5]))
    assert found.mean == 0.5
    assert np.isnan(found.low)


@pytest.mark.parametrize(
    "setting",
    [(5, 4, 200, 0.7, 3.0, 4.0), (10, 4, 200, 0.9, 0.5, 1.0), (5, 1, 200, 0.7, 3.0, 0.0), (1, 4, 300, 0.7, 0, 2.0)],
)
def test_intervals_of_rows_and_of_differences_cover_what_they_say(coverage: Any, setting: tuple[Any, ...]) -> None:
    row, difference, _ = coverage.coverage(coverage.Setting(*setting), 1000)
    assert 0.93 <= row <= 0.975
    assert 0.93 <= difference <= 0.98


def test_equal_methods_are_seldom_called_unequal(coverage: Any) -> None:
    plain, corrected = coverage.false_wins(coverage.Setting(5, 4, 200, 0.7, 1.0, 2.0), 10, 150)
    assert plain > 0.4, "of 45 comparisons some are below 5 % by chance"
    assert corrected <= 0.08


def test_the_committed_simulation_is_complete_and_within_bounds(coverage: Any) -> None:
    page = coverage.PAGE.read_text()
    experiments = int(page.partition(" experiments a line")[0].split()[-1].replace(",", ""))
    noise = 0 if experiments >= coverage.EXPERIMENTS else 250 * (0.05 * 0.95 / experiments) ** 0.5
    lines = [line.split("|")[1:-1] for line in page.splitlines() if line.startswith("| ")]
    cells = [[cell.strip() for cell in line] for line in lines]
    rows = [cell for cell in cells if cell[0][0].isdecimal() and len(cell) == len(coverage.HEAD)]
    assert len(rows) == len(coverage.SETTINGS)
    for cell, setting in zip(rows, coverage.SETTINGS, strict=True):
        covers = [float(value) for value in cell[-3:-1]]
        assert min(covers) >= 93 - noise, cell
        # There, and with 3 seeds, a difference is wider than it must be.
        assert max(covers) <= 97.5 + noise or setting.accuracy > 0.9 or setting.seeds < 5, cell
    families = [cell for cell in cells if cell[0][0].isdecimal() and len(cell) == len(coverage.FAMILY_HEAD)]
    assert len(families) == len(coverage.FAMILIES)
    assert all(float(cell[-1]) <= 5 for cell in families)


def test_holm_against_its_definition() -> None:
    p = np.array([0.001, 0.04, 0.012, 0.5, 0.013])
    # Sorted: .001·5, .012·4, .013·3 (no less than .048), .04·2, .5·1.
    assert holm(p) == pytest.approx([0.005, 0.08, 0.048, 0.5, 0.048])
    assert holm(np.array([0.6, 0.9])).tolist() == [1.0, 1.0]
    assert len(holm(np.array([]))) == 0


def test_the_examples_in_the_docstrings_hold() -> None:
    assert doctest.testmod(stats).failed == 0
