"""TASKS.md: how well tasks tell methods apart, suite by suite and budget by budget, from the records.

The discriminating power of a task, for the methods of a suite, is the spread of their accuracies over their noise, the
signal-to-noise ratio of a benchmark (Heineman et al. 2025, arXiv:2508.13144). Spread is the standard deviation of the
methods' accuracies. Noise is what one of them would have without any difference between methods: the standard error of
the difference of two, root mean square over pairs, divided by √2; over images, seeds and members (`stats`). A ratio
near 1 is noise alone. Pairs are told apart where their difference holds after Holm's correction for all pairs and
budgets of the suite's track.

Methods are rows that learn where to look, of one track, with two seeds or more. Floors, the ceiling, and an arena's
random choice are none.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

import numpy as np

from glimpsebench.agents.common.base import BUDGETS
from glimpsebench.bench import escape, store
from glimpsebench.bench.answer.arenas import FLOOR, family_of, fights
from glimpsebench.bench.compare import pipe
from glimpsebench.bench.floors import ceiling_of
from glimpsebench.bench.records import task_of
from glimpsebench.bench.rows import Row, rows_of
from glimpsebench.bench.stats import LEVEL, Difference, crossed, holm
from glimpsebench.bench.suites import suite_names
from glimpsebench.envs.errors import UsageError

PAGE = "TASKS.md"
SCORE = "judge"
CHOSEN_AT = tuple(budget for budget in BUDGETS if budget <= 0.5)
"""Where there is something to choose."""


class Power(NamedTuple):
    """How far the methods of a suite are apart at a budget.

    Attributes:
        methods: that reach it, two or more.
        spread: the standard deviation of their accuracies.
        noise: the standard error of one of them, as the differences of pairs have it.
        apart: how many pairs surely differ.
        pairs: of so many.
    """

    methods: int
    spread: float
    noise: float
    apart: int
    pairs: int

    @property
    def ratio(self) -> float:
        return self.spread / self.noise


def methods_of(rows: Iterable[Row]) -> list[Row]:
    """Those that learn where to look, with two seeds or more that ended well."""
    return [row for row in rows if row.track != "reference" and len(row.runs) > 1 and not _is_floor(row)]


def _is_floor(row: Row) -> bool:
    return fights(row.about) and family_of(row) == FLOOR


def powers(methods: Sequence[Row], budgets: Sequence[float] = CHOSEN_AT) -> dict[float, Power]:
    """Budget → how far methods on one task are apart there by the judge; no entry where fewer than two of them are."""
    reaching: dict[float, list[Row]] = {}
    differences: dict[float, list[Difference]] = {}
    for budget in budgets:
        scores = [(row, one) for row in methods if (one := row.scores(SCORE, budget)) is not None]
        if len(scores) > 1:
            reaching[budget] = [row for row, _ in scores]
            differences[budget] = [crossed(one, other) for (_, one), (_, other) in itertools.combinations(scores, 2)]
    sure = iter(holm(np.array([one.p for each in differences.values() for one in each])) < 1 - LEVEL)
    found = {}
    for budget, each in differences.items():
        means = [row.means(SCORE, [budget])[0] for row in reaching[budget]]
        noise = float(np.sqrt(np.mean([one.error**2 for one in each]) / 2))
        apart = sum(bool(next(sure)) for _ in each)
        found[budget] = Power(len(means), float(np.std(means, ddof=1)), noise, apart, len(each))
    return found


class Compared(NamedTuple):
    """The methods of one track of a suite on one task, and how far they are apart."""

    suite: str
    track: str
    methods: list[Row]
    powers: dict[float, Power]


def page(results: Path) -> str:
    """The page of a folder of suites' tables, whose records lie in its store."""
    by_task: dict[str, list[Compared]] = {}
    whole: dict[str, Row] = {}
    for name in suite_names():
        if not (results / name).is_dir():
            continue
        rows = rows_of(store.kept(results / name))
        for task in dict.fromkeys(row.task for row in rows):
            here = [row for row in rows if row.task == task]
            if (ceiling := ceiling_of(here, task)) and ceiling.scores(SCORE, 1.0) is not None:
                whole[task] = max(ceiling, whole.get(task, ceiling), key=lambda row: len(row.runs))
            for track in ("gated", "open"):
                methods = methods_of(row for row in here if row.track == track)
                if found := powers(methods):
                    by_task.setdefault(task, []).append(Compared(name, track, methods, found))
    lines = [
        "# How well do tasks tell methods apart?",
        "",
        "Written by `glimpse retabulate` from the records, and by nobody else; accuracies are those by the judge."
        " Per suite and track, over the methods that learn where to look and have two seeds or more, without "
        "floors and random choices. *Spread*: the standard deviation of their accuracies, points. *Noise*: the "
        "standard error of one of them over images, seeds and the judge's members, points. *Spread / noise*: the "
        "discriminating power; near 1 all is noise. *Told apart*: pairs whose difference holds after Holm's "
        "correction for all pairs and budgets of a suite's track. Methods of a suite may differ in sensor and "
        "networks too, as its leaderboard says; in the `duel-` suites the learning signal alone differs.",
        "",
    ]
    for task in sorted(by_task):
        lines += [f"## {task}", "", _described(by_task[task], whole.get(task)), "", _best(by_task[task]), ""]
        lines += [pipe(["suite", "track", "", *(f"{100 * each:g} %" for each in CHOSEN_AT)], _table(by_task[task]), 3)]
    return "\n".join(lines).rstrip("\n") + "\n"


def _described(found: Sequence[Compared], ceiling: Row | None) -> str:
    what = found[0].methods[0].task
    with suppress(UsageError):  # another version's task
        what = task_of(found[0].methods[0].runs[0].about).describe()
    if ceiling is None:
        return f"{escape.markdown(what)}."
    return f"{escape.markdown(what)}; whole images {100 * ceiling.means(SCORE, [1.0])[0]:.1f} % by the judge."


def _best(found: Sequence[Compared]) -> str:
    several = [each for each in found if len(each.methods) > 2] or found  # two alone may happen to be far apart
    pairs = [(each, budget) for each in several for budget in each.powers]
    each, budget = max(pairs, key=lambda pair: pair[0].powers[pair[1]].ratio)
    power = each.powers[budget]
    return (
        f"Told apart best at {100 * budget:g} % in `{each.suite}`, {each.track}: a spread of {_points(power.spread)} "
        f"points, {power.ratio:.1f} times the noise, and pairs that surely differ: {_apart(power)}."
    )


def _table(found: Sequence[Compared]) -> Iterator[list[str]]:
    for suite, track, methods, powers in found:
        at = [powers.get(budget) for budget in CHOSEN_AT]
        fewest, most = (few(len(row.runs) for row in methods) for few in (min, max))
        of = f"{track}, {len(methods)} methods, {fewest if fewest == most else f'{fewest} to {most}'} seeds"
        yield [f"`{suite}`", of, "spread", *(_points(one.spread) if one else "·" for one in at)]
        yield ["", "", "noise", *(_points(one.noise) if one else "·" for one in at)]
        yield ["", "", "spread / noise", *(f"{one.ratio:.1f}" if one else "·" for one in at)]
        yield ["", "", "told apart", *(_apart(one) if one else "·" for one in at)]


def _apart(power: Power) -> str:
    return f"{power.apart} of {power.pairs}"


def _points(share: float) -> str:
    return f"{100 * share:.1f}"
