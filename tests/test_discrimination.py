"""TASKS.md: spread over noise, and pairs told apart, against records made by hand."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from glimpsebench.bench import discrimination
from glimpsebench.bench.records import Record
from glimpsebench.bench.rows import Row, rows_of
from test_leaderboard import floor, record

SEEDS = range(5)


def rows(accuracies: dict[str, float], seeds: range = SEEDS) -> list[Row]:
    return rows_of([record(name, seed, accuracy) for name, accuracy in accuracies.items() for seed in seeds])


def test_equal_methods_are_not_told_apart_and_their_spread_is_about_the_noise() -> None:
    ratios = []
    for trial in range(20):
        found = discrimination.powers(rows({f"{name}{trial}": 0.5 for name in "abcde"}), [0.1, 0.2])
        assert [one.apart for one in found.values()] == [0, 0]
        ratios += [one.ratio for one in found.values()]
    assert np.mean(ratios) == pytest.approx(1, abs=0.25)


def test_methods_that_differ_are_told_apart() -> None:
    found = discrimination.powers(rows({"a": 0.3, "b": 0.5, "c": 0.7}), [0.1, 0.2, 0.5])
    assert list(found) == [0.1, 0.2], "nobody reaches the other"
    at = found[0.1]
    assert (at.methods, at.apart, at.pairs) == (3, 3, 3)
    assert at.spread == pytest.approx(0.2, abs=0.03)  # the standard deviation of 0.3, 0.5, 0.7
    # Five seeds of 400 images each, all drawn on their own: √(p (1 − p) / 2,000), to which a few images are added.
    assert at.noise == pytest.approx(0.0105, rel=0.3)


def test_floors_single_seeds_and_an_arenas_random_choice_are_no_methods() -> None:
    learned = [record("a", seed) for seed in SEEDS]
    single = [record("single")]
    ended_ill = [record("b", seed) for seed in range(2)]
    ended_ill[1] = Record(Path("b-1"), {**ended_ill[1].about, "status": "failed"})
    chance = {"estimator": "random", "passes": 100}
    choosing = [record("subset", seed, settings=chance, changed={"estimator": "random"}) for seed in SEEDS]
    everything = rows_of([*learned, *single, *ended_ill, *choosing, *(floor("f", seed, 0.5) for seed in SEEDS)])
    assert [row.label for row in discrimination.methods_of(everything)] == ["a"]
    assert discrimination.powers(discrimination.methods_of(everything)) == {}
