"""How often the bench's interval covers, and how often equal methods are called unequal, by simulation.

Right or wrong answers are simulated as a threshold on a sum of normal terms: how hard an image is for everybody, for a
method, for a member of the judge and for a training; how good a training and a member are; how much a member likes a
method; and chance on each answer. The spread of trainings and members is given in points of accuracy. What is true is
known: the accuracy over all images, trainings and members that could have been drawn.

Each experiment draws images, members and seeds anew and goes through the bench's own functions (`bench/stats.py`), as
they lie. Own accuracies have no judge, so one member, and deterministic rows one seed.

python benchmarks/coverage.py [EXPERIMENTS]      writes docs/coverage.md
"""

from __future__ import annotations

import itertools
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import norm, t

from glimpsebench.bench import stats

Array = NDArray[Any]

EXPERIMENTS = 10_000
FEWER = 10
"""Of the experiments with many methods there are so many times fewer: each has dozens of differences."""
AT_ONCE = 4_000_000
"""Answers that are simulated in one piece."""
PAGE = Path(__file__).parents[1] / "docs" / "coverage.md"
BEGIN, END = "<!-- page: written by `python benchmarks/coverage.py`; do not edit -->", "<!-- /page -->"

IMAGE, METHOD, MEMBER, TRAINING, ANSWER = 1.0, 0.5, 0.4, 0.5, 0.6
"""Standard deviations of how hard an image is: for all, and by method, member and training beside; and of chance."""


@dataclass(frozen=True)
class Setting:
    """What is simulated.

    Attributes:
        seeds, members, images: of each row; one member is an own accuracy, one seed a deterministic row.
        accuracy: the true one.
        seed_points, member_points: standard deviations of accuracy over trainings and over members, in per cent.
        other_seeds: of the row to compare with; by default as many.
    """

    seeds: int
    members: int
    images: int
    accuracy: float
    seed_points: float
    member_points: float
    other_seeds: int | None = None

    def scales(self) -> tuple[float, dict[str, float]]:
        """The threshold's distance from the mean, and the standard deviations of trainings, members and both.

        A term of standard deviation s moves an accuracy by about φ(z) s / total, z being the accuracy's normal score.
        Members like one method better than another by a third of their spread; trainings and members interact by a
        third of the smaller spread.
        """
        z = float(norm.ppf(self.accuracy))
        points = {"seed": self.seed_points, "member": self.member_points, "taste": self.member_points / 3}
        points["both"] = min(self.seed_points, self.member_points) / 3
        if self.members == 1:
            points |= {"member": 0.0, "taste": 0.0, "both": 0.0}
        if self.seeds == 1:
            points |= {"seed": 0.0, "both": 0.0}
        per_point = {name: value / 100 / float(norm.pdf(z)) for name, value in points.items()}
        fixed = sum(
            (IMAGE**2, METHOD**2, MEMBER**2 * (self.members > 1), TRAINING**2 * (self.seeds > 1), ANSWER**2),
        )
        total = float(np.sqrt(fixed / (1 - sum(value**2 for value in per_point.values()))))
        return z * total, {name: value * total for name, value in per_point.items()}


def simulated(
    setting: Setting,
    methods: Sequence[int],
    experiments: int,
    rng: np.random.Generator,
    better_by: Sequence[float] = (),
) -> list[Array]:
    """Right or wrong answers of methods before the same members on the same images.

    Args:
        methods: each one's number of seeds.
        better_by: by how much each one's true accuracy exceeds the setting's; by default they are equal.

    Returns:
        For each method boolean (R, S, M, N), R experiments.
    """
    mean, scale = setting.scales()
    several, trained = setting.members > 1, setting.seeds > 1

    def drawn(deviation: float, *shape: int) -> Array:
        return np.float32(deviation) * rng.standard_normal((experiments, *shape), np.float32)

    members, images = setting.members, setting.images
    shared = np.float32(mean) + drawn(IMAGE, 1, 1, images)
    if several:
        shared = shared + drawn(scale["member"], 1, members, 1) + drawn(MEMBER, 1, members, images)
    answers = []
    z = float(norm.ppf(setting.accuracy))
    for seeds, better in zip(methods, better_by or [0.0] * len(methods), strict=True):
        shift = mean / z * (float(norm.ppf(setting.accuracy + better)) - z) if better else 0.0
        own = shared + np.float32(shift) + drawn(METHOD, 1, 1, images)
        if several:
            own = own + drawn(scale["taste"], 1, members, 1)
        if trained:
            own = own + drawn(scale["seed"], seeds, 1, 1) + drawn(TRAINING, seeds, 1, images)
            own = own + drawn(scale["both"], seeds, members, 1) * several
        answers.append(own + drawn(ANSWER, seeds, members, images) > 0)
    return answers


def pieces(experiments: int, answers: int) -> list[int]:
    """So many experiments in pieces that fit into memory."""
    size = max(1, min(experiments, AT_ONCE // answers))
    return [size] * (experiments // size) + ([experiments % size] if experiments % size else [])


def coverage(setting: Setting, experiments: int, seed: int = 0) -> tuple[float, float, float]:
    """How often a row's interval covers the true accuracy, how often a difference's covers 0, and a row's mean reach.

    Rows' intervals are `stats.bounds`, those of differences as in `stats.crossed`, for all experiments at once.
    """
    rng = np.random.default_rng(seed)
    methods = (setting.seeds, setting.other_seeds or setting.seeds)
    of_row, of_difference, reach = 0, 0, 0.0
    for piece in pieces(experiments, sum(methods) * setting.members * setting.images):
        mine, theirs = simulated(setting, methods, piece, rng)
        row = stats.estimate(mine)
        low, high = stats.bounds(row)
        of_row += int(((low <= setting.accuracy) & (setting.accuracy <= high)).sum())
        reach += float((high - low).sum()) / 2
        difference = stats.estimate(mine, theirs)
        half = t.isf((1 - stats.LEVEL) / 2, difference.freedom) * np.sqrt(difference.variance)
        of_difference += int((np.abs(difference.mean) <= half).sum())
    return of_row / experiments, of_difference / experiments, reach / experiments


def false_wins(setting: Setting, methods: int, experiments: int, seed: int = 0) -> tuple[float, float]:
    """Of experiments with equal methods, in which a difference is called one: of all pairs, without and with Holm."""
    rng = np.random.default_rng(seed)
    plain = corrected = 0
    for piece in pieces(experiments, methods * setting.seeds * setting.members * setting.images):
        answers = simulated(setting, [setting.seeds] * methods, piece, rng)
        p = []
        for one, other in itertools.combinations(answers, 2):
            found = stats.estimate(one, other)
            p.append(2 * t.sf(np.abs(found.mean) / np.sqrt(found.variance), found.tail))
        smallest_R = np.min(p, axis=0)
        plain += int((smallest_R < 1 - stats.LEVEL).sum())
        # Holm's correction rejects something if and only if the smallest p is below α by the number of differences.
        corrected += int((smallest_R * len(p) < 1 - stats.LEVEL).sum())
    return plain / experiments, corrected / experiments


SETTINGS = [
    *(
        Setting(seeds, 4, images, 0.7, seed, member)
        for images in (200, 500)
        for seeds in (5, 10)
        for seed, member in ((0.5, 1.0), (0.5, 4.0), (3.0, 1.0), (3.0, 4.0))
    ),
    *(Setting(seeds, 4, 2000, 0.7, seed, member) for seeds, seed, member in ((5, 0.5, 4.0), (5, 3.0, 1.0))),
    *(Setting(5, 4, 500, accuracy, 1.0, 2.0) for accuracy in (0.2, 0.9, 0.97)),
    Setting(5, 4, 500, 0.97, 0.5, 1.0),
    Setting(5, 4, 500, 0.7, 1.0, 2.0, other_seeds=10),
    *(Setting(seeds, 1, 500, 0.7, 3.0, 0.0) for seeds in (3, 5, 10)),
    *(Setting(1, 4, 500, 0.7, 0.0, member) for member in (1.0, 4.0)),
]
"""Of rows and of differences; the last are own accuracies and deterministic rows."""
FAMILIES = [
    *(
        Setting(seeds, 4, 500, 0.7, seed, member)
        for seeds in (5, 10)
        for seed, member in ((0.5, 1.0), (0.5, 4.0), (3.0, 1.0), (3.0, 4.0))
    ),
    Setting(5, 1, 500, 0.7, 1.0, 0.0),
    Setting(5, 4, 1000, 0.7, 1.0, 2.0),
]
METHODS = 10
HEAD = ["seeds", "members", "images", "accuracy", "sd seeds", "sd members", "row", "difference", "mean ±"]
FAMILY_HEAD = ["seeds", "members", "images", "accuracy", "sd seeds", "sd members", "uncorrected", "after Holm"]


def line_of(setting: Setting, values: Sequence[float]) -> str:
    """A row of a table: what was simulated, and shares in per cent."""
    seeds = f"{setting.seeds} and {setting.other_seeds}" if setting.other_seeds else str(setting.seeds)
    about = [seeds, str(setting.members), str(setting.images), f"{100 * setting.accuracy:g} %"]
    about += [f"{setting.seed_points:g}", f"{setting.member_points:g}"]
    return f"| {' | '.join([*about, *(f'{100 * value:.1f}' for value in values)])} |"


ABOUT = """# How often the interval covers

Written by `python benchmarks/coverage.py`, which says what is simulated. The interval is that of every table: over
images, seeds and members of the judge (`bench/stats.py`). {experiments:,} experiments a line.

*row*: how often a row's 95 % interval holds its true accuracy; *difference*: how often that of two equal methods on the
same images before the same members holds 0; *mean ±*: half the width of a row's interval, in points. *sd*: the standard
deviation of accuracy over trainings and over members, in points.
"""
ABOUT_FAMILIES = """
## {methods} equal methods

How often, in {experiments:,} experiments a line, any of the {differences} differences is called one: in per cent,
uncorrected and after Holm's correction.
"""


def page(rows: Sequence[str], families: Sequence[str], experiments: int) -> str:
    """The page, given its tables' rows."""

    def table(head: Sequence[str], lines: Sequence[str]) -> str:
        return "\n".join([f"| {' | '.join(head)} |", "|" + "---:|" * len(head), *lines]) + "\n"

    many = ABOUT_FAMILIES.format(
        methods=METHODS, differences=METHODS * (METHODS - 1) // 2, experiments=experiments // FEWER
    )
    tables = f"{table(HEAD, rows)}{many}\n{table(FAMILY_HEAD, families)}"
    return f"{BEGIN}\n{ABOUT.format(experiments=experiments)}\n{tables}{END}\n"


def main() -> None:
    """Simulate everything and write the page."""
    experiments = int(sys.argv[1]) if len(sys.argv) > 1 else EXPERIMENTS
    rows, families = [], []
    for setting in SETTINGS:
        rows.append(line_of(setting, coverage(setting, experiments)))
        print(rows[-1], flush=True)
    for setting in FAMILIES:
        families.append(line_of(setting, false_wins(setting, METHODS, experiments // FEWER)))
        print(families[-1], flush=True)
    PAGE.write_text(page(rows, families, experiments))


if __name__ == "__main__":
    main()
