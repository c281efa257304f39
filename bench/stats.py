"""Statistics: one interval for every score, over images, seeds and members of the judge.

A score is an array (S, M, N): what each of S seeds has on each of N test images by each of M members of the judge; an
own accuracy has one member, a score without a judge too. The three are crossed random factors: images are a sample of
images, members a sample of judges made by the same recipe, seeds a sample of trainings. So an interval speaks of the
method on other images of the kind, before another judge of the kind, trained anew; not of this judge's members and of
these networks. That is the setting of multi-reader multi-case studies (readers: members; cases: images; Obuchowski and
Rockette 1995; Gallas 2006), with trained networks as a third factor. Each side's components of variance are those of
the crossed analysis of variance, and a sum of them has Satterthwaite's degrees of freedom (Searle, Casella and
McCulloch, Variance Components, 1992). `benchmarks/coverage.py` simulates how often the interval covers.

Images right or wrong without exception would have an interval without width. What images contribute is therefore
taken with a few images added: to a row two that are right and two that are wrong for everybody (Agresti and Coull
1998), to a difference one in favour of either side (Bonett and Price 2012).
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]

SEEDS, MEMBERS, IMAGES = -3, -2, -1
"""The axes of scores."""
LEVEL = 0.95
POWER = 0.8


def _quantile(freedom: Array | float, q: float = (1 + LEVEL) / 2) -> Any:
    """Of Student's t, imported when it is asked for, which listing runs does not need; NaN without any freedom."""
    from scipy.special import stdtrit

    return stdtrit(freedom, q)


def _both_tails(value: Array | float, freedom: Array | float) -> Any:
    """The probability that Student's t lies as far from 0 as this."""
    from scipy.special import stdtr

    return 2 * stdtr(freedom, -np.abs(value))


class Interval(NamedTuple):
    """A mean and its 95 % interval; the interval is NaN where there is too little data for one."""

    mean: float
    low: float
    high: float

    @property
    def reach(self) -> float:
        """How far the interval reaches from the mean, on the farther side: what tables print after ±."""
        return max(self.high - self.mean, self.mean - self.low)


NOTHING = Interval(float("nan"), float("nan"), float("nan"))


class Difference(NamedTuple):
    """A difference of means, its 95 % interval, the p-value of there being none, and what the latter follows from.

    The p-value is for claims, after `holm`: it is a little stricter than the interval (`Estimate`).
    """

    mean: float
    low: float
    high: float
    p: float
    error: float = float("nan")
    """The standard error."""
    freedom: float = float("nan")
    """Of the p-value: degrees of freedom of Student's t."""

    def p_against(self, value: float) -> float:
        """The p-value of the true difference being this one.

        >>> round(Difference(0.1, 0.05, 0.15, 0.001, 0.02, 9.0).p_against(0.06), 3)
        0.077
        """
        distance = abs(self.mean - value)
        if self.error == 0:
            return float(distance == 0)
        return float(_both_tails(distance / self.error, self.freedom))

    def detectable(self, claims: int = 1) -> float:
        """The true difference of which such a comparison finds 80 %, if it is one of so many (Bonferroni).

        Holm's correction finds as many or more.
        """
        most, least = _quantile(self.freedom, POWER), _quantile(self.freedom, (1 - LEVEL) / 2 / claims)
        return float(self.error * (most - least))


class Estimate(NamedTuple):
    """Means (…) of scores or of differences, the variances of these means, and their degrees of freedom.

    Attributes:
        freedom: for intervals of differences: Satterthwaite's, with one less for every level, since their spreads are
            estimates.
        tail: for claims and for rows' intervals: the levels' degrees of freedom, each weighed by its share of the
            variance. Holm's correction looks far out in the tails, where Satterthwaite's are too many as soon as
            members or seeds matter; and so they are for rows near the ceiling, whose members are skewed.
        added_mean: the mean with the added images.
    """

    mean: Array
    variance: Array
    freedom: Array
    tail: Array
    added_mean: Array


def over_seeds(values_S: Array) -> Interval:
    """The mean over seeds with a t interval: for what has one value a seed.

    With few seeds the percentile bootstrap's intervals are far too short, the t interval's are not.

    >>> tuple(round(x, 3) for x in over_seeds(np.array([0.8, 0.9, 1.0])))
    (0.9, 0.652, 1.148)
    """
    values = np.asarray(values_S, float)
    mean = float(values.mean())
    if len(values) < 2 or np.isnan(values).any():
        return Interval(mean, float("nan"), float("nan"))
    half = float(_quantile(len(values) - 1) * values.std(ddof=1) / np.sqrt(len(values)))
    return Interval(mean, mean - half, mean + half)


def welch(values_S: Array, other_S: Array) -> Difference:
    """The difference between the means of two samples with a 95 % interval (Welch's t), such as one value a seed.

    Args:
        values_S: two values or more.
        other_S: those to compare with; as many or not.

    >>> tuple(round(x, 3) for x in welch(np.array([2.0, 3.0, 4.0]), np.array([0.9, 1.0, 1.1]))[:4])
    (2.0, -0.45, 4.45, 0.073)
    """
    sides = [np.asarray(side, float) for side in (values_S, other_S)]
    parts = [side.var(ddof=1) / len(side) for side in sides]
    variance = sum(parts)
    squares = sum(part**2 / (len(side) - 1) for part, side in zip(parts, sides, strict=True))
    mean = float(sides[0].mean() - sides[1].mean())
    freedom = float(variance**2 / squares) if squares else 1.0
    return _difference(mean, float(variance), freedom, freedom)


def _difference(mean: float, variance: float, freedom: float, tail: float) -> Difference:
    (found,) = _differences(*(np.array([value]) for value in (mean, variance, freedom, tail)))
    return found


def _differences(mean_D: Array, variance_D: Array, freedom_D: Array, tail_D: Array) -> list[Difference]:
    """Without a variance there is no width, and a difference is certain."""
    wide_D = variance_D > 0
    error_D = np.sqrt(np.where(wide_D, variance_D, 1.0))
    half_D = _quantile(freedom_D) * error_D
    p_D = np.where(wide_D, _both_tails(mean_D / error_D, tail_D), mean_D == 0)
    half_D, error_D = np.where(wide_D, half_D, 0.0), np.where(wide_D, error_D, 0.0)
    columns = (mean_D, mean_D - half_D, mean_D + half_D, p_D, error_D, tail_D)
    return [Difference(*values) for values in zip(*(column.tolist() for column in columns), strict=True)]


def mean_squares(values: Array, factors: int) -> dict[tuple[int, ...], tuple[Array, int]]:
    """The crossed analysis of variance, one value a cell: effect → its mean square (…) and degrees of freedom.

    Args:
        values: (…, I, J, …), the last axes being the factors.
        factors: how many of them. Those with one level have no effect.

    Returns:
        Effects are named by their axes from the end: (-2, -1) is the interaction of the last two factors.

    >>> squares = mean_squares(np.array([[0.0, 1.0, 2.0], [1.0, 2.0, 6.0]]), 2)
    >>> {effect: (float(square), freedom) for effect, (square, freedom) in squares.items()}
    {(-2,): (6.0, 1), (-1,): (6.5, 2), (-2, -1): (1.5, 2)}
    """
    axes = [axis for axis in range(-factors, 0) if values.shape[axis] > 1]
    cells, everything = math.prod(values.shape[-factors:]), tuple(range(-factors, 0))
    sums, squares = _sums(values, axes), dict[tuple[int, ...], Array]()
    found: dict[tuple[int, ...], tuple[Array, int]] = {}
    for size in range(len(axes) + 1):
        for effect in itertools.combinations(axes, size):
            levels = math.prod(values.shape[axis] for axis in effect)
            total = sums[effect] if sums[effect].dtype == bool else np.square(sums[effect], dtype=float)
            below = [squares[part] for k in range(size) for part in itertools.combinations(effect, k)]
            squares[effect] = np.maximum(total.sum(everything) * (levels / cells) - sum(below), 0.0)
            if effect:
                freedom = math.prod(values.shape[axis] - 1 for axis in effect)
                found[effect] = squares[effect] / freedom, freedom
    return found


def _sums(values: Array, axes: Sequence[int]) -> dict[tuple[int, ...], Array]:
    """For each effect of these axes the sums of values over all others, which stay as axes of one level."""
    found = {tuple(axes): values}
    for size in reversed(range(len(axes))):
        for effect in itertools.combinations(axes, size):
            larger = [one for one in found if len(one) == size + 1 and {*effect} <= {*one}]
            of = min(larger, key=lambda one: found[one].size)
            (over,) = {*of} - {*effect}
            found[effect] = _summed(found[of], over)
    return found


def _summed(values: Array, axis: int) -> Array:
    """The sum over an axis, which stays as one of one level: of right and wrong as whole numbers, which is fast."""
    if values.dtype != bool:
        whole: Array = values.sum(axis, dtype=float if values.dtype.kind == "f" else np.int64, keepdims=True)
        return whole
    if axis == IMAGES:
        return np.count_nonzero(values, axis, keepdims=True)
    small = values.shape[axis] < 256
    counted: Array = values.view(np.uint8).sum(axis, dtype=np.uint8 if small else np.int64, keepdims=True)
    return counted


def estimate(scores_SMN: Array, other_SMN: Array | None = None) -> Estimate:
    """The mean of a row's scores, or the difference of two rows', with its variance: the base of every interval.

    Two rows share members and images, which are paired; seeds are not: the same number means something else to another
    method. With D the (difference of the) means over seeds, (M, N), and MS the mean squares of its members, of its
    images and of their interaction,

        Var = MS_images / MN + max(0, MS_members − MS_members×images) / MN + Σ over rows of what their seeds add,
        seeds add: max(0, MS_seeds − MS_seeds×members − MS_seeds×images + MS_seeds×members×images) / SMN.

    The subtracted part is what chance on single members and images explains of a level's spread; it is in the other
    terms already. A level with one member, or one seed, adds nothing: the interval then speaks of that one.

    Args:
        scores_SMN: (…, S, M, N), in [0, 1]; axes before them are repetitions, such as simulated experiments.
        other_SMN: of the row to compare with: the same members and images, as many seeds or not.
    """
    sides = [_right_or_float(one) for one in (scores_SMN, other_SMN) if one is not None]
    means = [_summed(side, SEEDS).squeeze(SEEDS) / side.shape[SEEDS] for side in sides]
    levels = means[0] if other_SMN is None else means[0] - means[1]
    added = _added(levels, alone=other_SMN is None)
    padded = np.concatenate([levels, np.broadcast_to(added, (*levels.shape[:-1], added.shape[-1]))], IMAGES)
    squares = mean_squares(padded, 2)
    nothing = np.zeros(levels.shape[:-2]), 1
    parts = [[squares[IMAGES,]], [squares.get((MEMBERS,), nothing), squares.get((MEMBERS, IMAGES), nothing)]]
    sizes = [padded.shape[MEMBERS] * padded.shape[IMAGES]] * 2
    for side in sides:
        of_seeds = mean_squares(side, 3)
        effects = [(SEEDS,), (SEEDS, MEMBERS), (SEEDS, IMAGES), (SEEDS, MEMBERS, IMAGES)]
        parts.append([of_seeds.get(effect, nothing) for effect in effects])
        sizes.append(int(np.prod(side.shape[-3:])))
    variance = squared = shares = np.zeros(levels.shape[:-2])
    fewest = np.full(levels.shape[:-2], np.inf)
    for terms, size in zip(parts, sizes, strict=True):
        total = sum(sign * square for sign, (square, _) in zip((1, -1, -1, 1), terms, strict=False)) / size
        there = total > 1e-15
        variance = variance + np.where(there, total, 0.0)
        of_terms = sum(np.square(square / size) / max(freedom - 1, 0.5) for square, freedom in terms)
        squared = squared + np.where(there, of_terms, 0.0)
        shares = shares + terms[0][0] / size / terms[0][1]
        fewest = np.where(there, np.minimum(fewest, terms[0][1]), fewest)
    # Subtracted terms can take the formulas below the degrees of freedom of the smallest level.
    freedom, tail = np.maximum(variance**2 / squared, fewest), np.maximum(variance / shares, fewest)
    return Estimate(levels.mean((MEMBERS, IMAGES)), variance, freedom, tail, padded.mean((MEMBERS, IMAGES)))


def _right_or_float(scores: Array) -> Array:
    return np.ascontiguousarray(scores) if scores.dtype == bool else np.asarray(scores, float)


def _added(levels_MN: Array, alone: bool) -> Array:
    """The images that are added so that no interval is without width (see the top): (…, 1, 2 or 4).

    To a difference, one for either side, as large as those images' that differ are in root mean square; 1 if none does.
    """
    if alone:
        return np.array([[1.0, 1.0, 0.0, 0.0]])
    squares_N = np.square(levels_MN.mean(MEMBERS, keepdims=True))
    differ = (squares_N > 1e-12).sum(IMAGES, keepdims=True)
    size = np.sqrt(np.where(differ > 0, squares_N.sum(IMAGES, keepdims=True) / np.maximum(differ, 1), 1.0))
    return np.concatenate([size, -size], IMAGES)


def interval(scores_SMN: Array) -> Interval:
    """The mean of a row's scores with its interval over images, seeds and members (`bounds`); never of width 0.

    Args:
        scores_SMN: in [0, 1], such as right or wrong.

    >>> tuple(round(x, 3) for x in interval(np.ones((1, 1, 500))))
    (1.0, 0.992, 1.0)
    """
    return intervals([scores_SMN])[0]


def intervals(each_SMN: Sequence[Array]) -> list[Interval]:
    """Those of several scores of one shape, such as a row's at several budgets, in one go."""
    if not len(each_SMN):
        return []
    found = estimate(np.stack(each_SMN))
    return [Interval(*values) for values in zip(*(part.tolist() for part in (found.mean, *bounds(found))), strict=True)]


def bounds(found: Estimate) -> tuple[Array, Array]:
    """The 95 % interval of rows' means: Wilson's (1927) score interval, which is within [0, 1] and leans towards 1/2.

    The number of trials is that of independent images which would have the estimated variance, and Student's t stands
    for the normal quantile, as for proportions in surveys (Korn and Graubard 1998).
    """
    quantile, p = _quantile(found.tail), found.mean
    images = found.added_mean * (1 - found.added_mean) / found.variance
    weight = quantile**2 / images
    centre = (p + weight / 2) / (1 + weight)
    half = quantile / (1 + weight) * np.sqrt((p * (1 - p) + weight / 4) / images)
    # At 0 and 1 the bound is the mean itself, but for rounding.
    return np.maximum(np.minimum(centre - half, p), 0.0), np.minimum(np.maximum(centre + half, p), 1.0)


def crossed(scores_SMN: Array, other_SMN: Array) -> Difference:
    """The difference between two rows on the same test images before the same members, with its interval (`estimate`).

    Args:
        scores_SMN: in [0, 1], such as right or wrong.
        other_SMN: the same for the row to compare with; the numbers of seeds may differ.
    """
    return all_crossed([(scores_SMN, other_SMN)])[0]


def all_crossed(pairs: Sequence[tuple[Array, Array]]) -> list[Difference]:
    """Those of several pairs in one go: the first rows' scores of one shape, and the second ones'."""
    if not len(pairs):
        return []
    found = estimate(*(np.stack(side) for side in zip(*pairs, strict=True)))
    return _differences(found.mean, found.variance, found.freedom, found.tail)


def against(scores_SMN: Array, value: float) -> Difference:
    """How far the mean of a row's scores is from a number, with its interval (`estimate`)."""
    mean, variance, freedom, tail, _ = map(float, estimate(scores_SMN))
    return _difference(mean - value, variance, freedom, tail)


def against_seeds(values_S: Array, value: float) -> Difference:
    """How far the mean of what has one value a seed is from a number, with a t interval.

    >>> tuple(round(x, 3) for x in against_seeds(np.array([0.8, 0.9, 1.0]), 0.7)[:4])
    (0.2, -0.048, 0.448, 0.074)
    """
    values = np.asarray(values_S, float)
    freedom = len(values) - 1.0
    return _difference(float(values.mean() - value), float(values.var(ddof=1) / len(values)), freedom, freedom)


def apart(one: Difference, other: Difference) -> Difference:
    """One difference less another that is independent of it, such as on another task's images by other trainings.

    >>> both = Difference(0.1, 0.0, 0.2, 0.05, 0.05, 10.0), Difference(0.04, 0.0, 0.08, 0.05, 0.02, 10.0)
    >>> tuple(round(x, 3) for x in apart(*both))
    (0.06, -0.056, 0.176, 0.285, 0.054, 13.12)
    """
    parts = [(each.error**2, each.freedom) for each in (one, other)]
    variance = sum(part for part, _ in parts)
    squares = sum(part**2 / freedom for part, freedom in parts)
    freedom = variance**2 / squares if squares else 1.0
    return _difference(one.mean - other.mean, variance, freedom, freedom)


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


def stratified_bootstrap(
    scores_RT: Array, statistic: Callable[[Array], float], repetitions: int = 1000, seed: int = 0
) -> Interval:
    """A statistic over runs and tasks with its 95 % percentile interval, runs drawn anew within each task.

    As in Agarwal et al. (NeurIPS 2021). It speaks of these tasks, and with few runs it is too short: for a single task
    `interval` is to be used.

    Args:
        scores_RT: R runs of each of T tasks.
        statistic: of such an array.

    >>> found = stratified_bootstrap(np.array([[0.2, 0.4], [0.4, 0.6]]), lambda scores: float(scores.mean()))
    >>> tuple(round(x, 3) for x in found)
    (0.4, 0.3, 0.5)
    """
    scores, rng = np.asarray(scores_RT, float), np.random.default_rng(seed)
    drawn = rng.integers(0, len(scores), (repetitions, *scores.shape))
    values = [statistic(np.take_along_axis(scores, rows, 0)) for rows in drawn]
    low, high = np.quantile(values, [(1 - LEVEL) / 2, (1 + LEVEL) / 2]).tolist()
    return Interval(statistic(scores), low, high)
