"""Rows: the runs that differ in the seed alone, and everything that tables say of them, from their records.

Shapes: S seeds, M members of the judge (one for own accuracies), F budgets, N images. A run that did not end well
counts as chance in every accuracy, and its row says so.
"""

from __future__ import annotations

import itertools
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple, get_args

import numpy as np
from numpy.typing import NDArray

from glimpsebench.agents.common.base import BUDGETS
from glimpsebench.bench import escape, hashes, metrics
from glimpsebench.bench.costs import costs_of
from glimpsebench.bench.records import Record, compact, digest
from glimpsebench.bench.schema import Level
from glimpsebench.bench.stats import NOTHING, Interval, interval, intervals
from glimpsebench.envs.errors import UsageError

Array = NDArray[Any]

SCORES = ("judge", "own")
SETTLED = 5  # seeds; a row with fewer is provisional


def answers(record: Record, by: str) -> Array | None:
    """Which images a run has right, by each member that answers for this score: boolean (M, F, N); None without any."""
    right_MFN = record.correct_MFN(by)
    return right_MFN if len(right_MFN) else None


def _mean(scores: Array) -> float:
    """Of right and wrong by counting, which is the same and fast."""
    return float(np.count_nonzero(scores) / scores.size if scores.dtype == bool else scores.mean())


@dataclass(frozen=True)
class Row:
    """One contender on one task: the runs that differ in the seed alone.

    They have the same settings of agent and task, agent version, source and judge (`rows_of`).

    Attributes:
        label: how tables, figures and pages call it, one of a kind on its task: the suite's label or, without one, the
            agent's name; with what sets it apart from the rows beside it, where there are others of this name.
        task: the task's name, with settings if there are several of this name.
        records: its runs.
        name: the agent's with all settings that differ from its defaults; `compare` accepts it too.
    """

    label: str
    task: str
    records: tuple[Record, ...]
    name: str = ""

    @property
    def about(self) -> dict[str, Any]:
        about: dict[str, Any] = self.records[0].about["agent"]
        return about

    @cached_property
    def runs(self) -> tuple[Record, ...]:
        """The runs that ended well."""
        return tuple(record for record in self.records if record.done)

    @property
    def track(self) -> str:
        """`gated` and `open` are not ranked in one list; references are in neither."""
        return "reference" if self.about["reference"] else str(self.about["track"])

    @property
    def chance(self) -> float:
        return 1 / float(self.records[0].about["task"]["classes"])

    @property
    def verdict(self) -> str | None:
        """The worst that audits of its runs found: `gated` or `open`, `encodes`, `leaks`; None without an audit."""
        found = [record.audit["verdict"] for record in self.runs if record.audit]
        return max(found, key=("gated", "open", "encodes", "leaks").index, default=None)

    @property
    def level(self) -> str | None:
        """How far all of its runs were followed by `verify`; None where one was not, and all of it is but claimed."""
        found = [record.level for record in self.runs]
        return None if None in found else min(filter(None, found), key=get_args(Level).index, default=None)

    @cached_property
    def note(self) -> str:
        """Runs that did not end well, few seeds, what an audit and `verify` found, what it learned from beside labels,
        and on which other device."""
        notes = [f"{record.about['status']} (seed {record.seed})" for record in self.records if not record.done]
        if len(self.runs) < SETTLED:
            notes.append("provisional")
        if not self.about["reference"]:
            notes.append(self.verdict or "not audited")
        if self.level:
            notes.append(self.level)
        if self.about["supervision"] != "labels":
            notes.append(escape.terminal(f"learns from {self.about['supervision']}"))
        devices: dict[str, list[str]] = defaultdict(list)
        for record in self.records:
            devices[record.about["machine"]["device"]].append(str(record.seed))
        for device, seeds in devices.items():
            if device != "cpu":
                which = f"seed{'s' * (len(seeds) > 1)} {', '.join(seeds)} " if len(devices) > 1 else ""
                notes.append(escape.terminal(f"{which}trained on {device}"))
        return ", ".join(notes)

    @property
    def labels_N(self) -> Array | None:
        """The test labels; None if no run ended well."""
        return self.runs[0].arrays["labels"] if self.runs else None

    @cached_property
    def figures(self) -> dict[str, Any]:
        """What was computed of its arrays, by name: values that JSON has, so that `memory` can keep them."""
        return {}

    @cached_property
    def identity(self) -> str | None:
        """The hash of what its figures follow from, as far as the lists of its files' hashes tell (`check`); None where
        a record has no list."""
        parts: list[Any] = []
        for record in self.records:
            if record.sums is None:
                return None
            parts += [record.sums.hash, record.about["judge"]]
            with suppress(OSError):  # a copy without them
                times = (record.folder / "timings.json").stat()  # which no list names
                parts += [times.st_size, times.st_mtime_ns]
        return digest(parts)

    def check(self) -> None:
        """Whether the files that figures are computed of are still as the lists say: reading them checks it too.

        Raises:
            UsageError: one is not.
        """
        for record in self.runs:
            files = ["images.npz", f"judgement.{record.about['judge']}.npz"]
            hashes.check(record.folder, files, record.sums)

    def figure(self, name: str, compute: Callable[[], Any]) -> Any:
        """What a name stands for, computed where that is not known yet."""
        if name not in self.figures:
            self.figures[name] = compute()
        return self.figures[name]

    def _at_budgets(
        self, name: str, asked: Sequence[float], compute: Callable[[Sequence[float]], Sequence[Any]]
    ) -> list[Any]:
        """A figure's values at these budgets, of which all that tables may ask for are computed in one go.

        None of them ([]) where there is no such figure of the row.
        """
        known = self.figures.get(name)
        if known is None or not {*asked} <= {*known[0]}:
            every = sorted({*BUDGETS, *self.points, *asked})
            known = self.figures[name] = [every, list(compute(every))]
        if known[0] == [*asked]:
            return list(known[1])
        at = dict(zip(*known, strict=True)) if known[1] else {}
        return [at[budget] for budget in asked] if at else []

    def compute(self) -> None:
        """All figures that tables have of it alone, while its arrays are at hand."""
        by_score: list[Callable[[str], Any]] = [self.accuracy, self.means, self.balanced, self.above_chance]
        by_score += [self.area, self.sufficient]
        for figure, by in itertools.product(by_score, SCORES):
            figure(by)
        for name in ("touched", "delivered", "seen"):
            self.mean_fraction(name)
        for name in ("iou", "on_object"):
            self.localisation(name)
        for each in (self.unchosen, self.touched, self.calibration, lambda: (self.pointing, self.cost)):
            each()

    def forget(self) -> None:
        """Let go of the arrays, which figures were computed of; they are read again when they are asked for."""
        self._scores.clear()
        for record in self.records:
            record.forget()

    @property
    def reached(self) -> tuple[float, ...]:
        """The budgets that every run reaches which ended well, ascending."""
        return tuple(self.figure("reached", self._reached))

    def _reached(self) -> list[float]:
        if not self.runs:
            return []
        reached_F = np.logical_and.reduce([record.reached_F for record in self.runs])
        return [budget for budget, reached in zip(self.runs[0].budgets, reached_F, strict=True) if reached]

    @property
    def covered(self) -> tuple[float, ...]:
        """Those of the grid among them."""
        return tuple(budget for budget in self.reached if budget in BUDGETS)

    def scores(self, by: str, budget: float) -> Array | None:
        """Right or wrong, (S, M, N), of every seed at a budget; None if a run does not reach it or has no such score.

        Of a run that did not end well every image counts 1/K.
        """
        right = self._answers(by)
        if right is None or budget not in self.reached:
            return None
        at = self.runs[0].budgets.index(budget)
        if not self._answered_F(by)[at]:
            return None
        return self.with_failed(right[:, :, at])

    def _answers(self, by: str) -> Array | None:
        """(S, M, F, N) of the runs that ended well; None if one of them has none by this score."""
        if ("right", by) not in self._scores:
            each = [answers(record, by) for record in self.runs]
            known = [one for one in each if one is not None]
            self._scores["right", by] = np.stack(known) if known and len(known) == len(each) else None
        return self._scores["right", by]

    def _answered_F(self, by: str) -> Array:
        """At which budgets every image has an answer in every run that ended well: boolean (F,)."""
        if ("answered", by) not in self._scores:
            self._scores["answered", by] = np.logical_and.reduce([record.answered_F(by) for record in self.runs])
        found = self._scores["answered", by]
        assert found is not None
        return found

    @cached_property
    def _scores(self) -> dict[tuple[str, str], Array | None]:
        return {}

    def with_failed(self, right: Array) -> Array:
        """Right or wrong (S, …) of the runs that ended well, and chance for those that did not."""
        failed = len(self.records) - len(self.runs)
        return np.concatenate([right, np.full((failed, *right.shape[1:]), self.chance)]) if failed else right

    def accuracy(self, by: str, budgets: Sequence[float] = BUDGETS) -> list[Interval]:
        """At each of these budgets, with its interval over images, seeds and members; NaN where it is not reached."""

        def compute(every: Sequence[float]) -> list[Interval]:
            each = [self.scores(by, budget) for budget in every]
            found = iter(intervals([one for one in each if one is not None]))
            return [NOTHING if one is None else next(found) for one in each]

        return [Interval(*each) for each in self._at_budgets(f"accuracy {by}", budgets, compute)]

    def means(self, by: str, budgets: Sequence[float] = BUDGETS) -> list[float]:
        """The accuracies alone."""

        def compute(every: Sequence[float]) -> list[float]:
            each = [self.scores(by, budget) for budget in every]
            return [float("nan") if one is None else _mean(one) for one in each]

        found: list[float] = self._at_budgets(f"means {by}", budgets, compute)
        return found

    def balanced(self, by: str, budgets: Sequence[float] = BUDGETS) -> list[float]:
        """The means over classes of the accuracy on each class's images."""

        def compute(every: Sequence[float]) -> list[float]:
            each = {budget: one for budget in every if (one := self.scores(by, budget)) is not None}
            known = self.labels_N
            if not each or known is None:
                return [float("nan")] * len(every)
            means = metrics.balanced_accuracy(np.stack([*each.values()]).mean((1, 2)), known)
            found = dict(zip(each, means.tolist(), strict=True))
            return [found.get(budget, float("nan")) for budget in every]

        found: list[float] = self._at_budgets(f"balanced {by}", budgets, compute)
        return found

    def above_chance(self, by: str) -> Array:
        """Each seed's mean accuracy over the budgets up to half of the image, (S,), from chance (0) to all right (1).

        A budget that is not reached counts as chance, as does a seed that did not end well.
        """

        def compute() -> list[float]:
            each = [self.scores(by, budget) for budget in BUDGETS if budget <= 0.5]
            chance = np.full(len(self.records), self.chance)
            mean_S: Array = np.mean([chance if one is None else one.mean((1, 2)) for one in each], axis=0)
            return list(map(float, (mean_S - self.chance) / (1 - self.chance)))

        return np.array(self.figure(f"above chance {by}", compute))

    def area_scores(self, by: str) -> Array | None:
        """What each image adds to the area under accuracy over log-fraction, (S, M, N): its mean is the area.

        From the smallest budget of the grid that is reached to the largest (`covered`); None with fewer than two.
        """
        if len(self.covered) < 2 or self._answers(by) is None:
            return None
        weights = metrics.log_weights(self.covered)
        each = [self.scores(by, budget) for budget in self.covered]
        return sum(weight * one for weight, one in zip(weights, each, strict=True) if one is not None)

    def area(self, by: str) -> Interval:
        """The area under accuracy over log-fraction (`metrics.area_under_curve`); NaN without two budgets."""

        def compute() -> Interval:
            scores_SMN = self.area_scores(by)
            return NOTHING if scores_SMN is None else interval(scores_SMN)

        return Interval(*self.figure(f"area {by}", compute))

    def sufficient(self, by: str) -> tuple[float, float]:
        """Median and 90th percentile, over images, runs and members, of the smallest sufficient fraction; ∞ is never.

        Over the grid's budgets that are reached; NaN if none is. Runs that did not end well are left out.
        """

        def compute() -> tuple[float, float]:
            right = self._answers(by)
            if right is None or not self.covered:
                return float("nan"), float("nan")
            at = [self.runs[0].budgets.index(budget) for budget in self.covered]
            enough = metrics.sufficient_fraction(right[:, :, at], self.covered)
            median, late = metrics.quantiles(enough, [0.5, 0.9])
            return median, late

        median, late = self.figure(f"sufficient {by}", compute)
        return median, late

    def calibration(self, budgets: Sequence[float] = BUDGETS) -> list[float]:
        """The expected calibration error of its own predictor, mean over runs; [] if records have no confidences."""

        def error(record: Record) -> Array:
            return metrics.calibration_error(record.arrays["confidence"] / 255, record.correct_FN("own"))

        return self._mean("calibration", error, budgets, ["confidence"])

    def acc95(self, by: str, ceiling: Row | None) -> float:
        """The smallest budget with 95 % of the ceiling's accuracy on the whole image, to stay; NaN if not reached."""
        if ceiling is None:
            return float("nan")
        return metrics.acc95(np.array(self.means(by)), BUDGETS, ceiling.means(by)[-1])

    def touched(self, budgets: Sequence[float] = BUDGETS) -> list[tuple[float, float, float]]:
        """Mean, 95th percentile and maximum over images and runs of the touched fraction; [] without runs."""

        def compute(every: Sequence[float]) -> list[tuple[float, float, float]]:
            if not self.runs:
                return []
            every_SFN = np.stack([record.fraction_FN("touched") for record in self.runs])
            found = []
            for budget in every:
                if budget in self.reached:
                    at_SN = every_SFN[:, self.runs[0].budgets.index(budget)]
                    found.append((float(at_SN.mean()), metrics.quantile(at_SN, 0.95), float(at_SN.max())))
                else:
                    found.append((float("nan"),) * 3)
            return found

        return [(mean, late, most) for mean, late, most in self._at_budgets("touched", budgets, compute)]

    @property
    def cost(self) -> dict[str, float]:
        """What a run cost, mean over runs, as far as records tell: some of `costs.NAMES` → a number."""

        def compute() -> dict[str, float]:
            told: dict[str, list[float]] = defaultdict(list)
            for record in self.runs:
                for name, value in costs_of(record).items():
                    told[name].append(value)
            return {name: float(np.mean(values)) for name, values in told.items()}

        found: dict[str, float] = self.figure("cost", compute)
        return found

    def mean_fraction(self, name: str, budgets: Sequence[float] = BUDGETS) -> list[float]:
        """Mean `touched`, `delivered` or `seen` over images and seeds, at each of these budgets."""
        return self._mean(f"mean {name}", lambda record: record.fraction_FN(name).mean(1), budgets)

    def unchosen(self, budgets: Sequence[float] = BUDGETS) -> list[float]:
        """The share of the images that show only what was given without a choice, at each of these budgets."""
        return self._mean("unchosen", lambda record: record.unchosen_F, budgets)

    def localisation(self, name: str, budgets: Sequence[float] = BUDGETS) -> list[float]:
        """Mean `iou` or `on_object` over images and seeds, at each of these budgets; [] without objects."""
        return self._mean(f"mean {name}", lambda record: record.arrays[name].mean(1), budgets, [name])

    def pointed(self) -> Array | None:
        """Whether the first look by choice lies on the object, (S, N); None without objects or without such a look.

        The ceiling and a thumbnail look nowhere, and older records have the first look, be it given or chosen.
        """
        nowhere = self.about["reference"] == "ceiling" or self.about["currency"] == "delivered"
        given = any(record.about["schema"] < 2 and record.about["agent"]["given"] for record in self.runs)
        if not self.runs or nowhere or given or any("pointed" not in record.arrays for record in self.runs):
            return None
        return np.stack([record.arrays["pointed"] for record in self.runs])

    @property
    def pointing(self) -> float:
        """How often the first look by choice lies on the object; NaN without."""

        def compute() -> float:
            hits_SN = self.pointed()
            return float("nan") if hits_SN is None else float(hits_SN.mean())

        return float(self.figure("pointing", compute))

    @property
    def points(self) -> tuple[float, ...]:
        """The budgets beside the grid at which it enters."""
        return tuple(sorted({*self.records[0].budgets} - {*BUDGETS}))

    def _mean(
        self, name: str, value_F: Callable[[Record], Array], budgets: Sequence[float], of: Sequence[str] = ()
    ) -> list[float]:
        """The mean over the runs of a value at each of these budgets; [] without a run, or if one lacks an array."""

        def compute(every: Sequence[float]) -> list[float]:
            if any(each not in record.arrays for each in of for record in self.runs):
                return []
            rows = [np.where(record.reached_F, value_F(record), np.nan) for record in self.runs]
            return [float(column.mean()) for column in self._at(rows, every)] if rows else []

        found: list[float] = self._at_budgets(name, budgets, compute)
        return found

    def _at(self, rows: Iterable[Array], budgets: Sequence[float]) -> list[Array]:
        """Values at the contender's own budgets, at these: for each the values of all runs."""
        at = {budget: number for number, budget in enumerate(self.records[0].budgets)}
        stacked = np.stack(list(rows))
        nothing = np.full(len(stacked), np.nan)
        return [stacked[:, at[budget]] if budget in at else nothing for budget in budgets]


def rows_of(records: Iterable[Record]) -> list[Row]:
    """Records grouped into rows, best first within each track; the floors and the ceiling come last.

    Raises:
        UsageError: two runs of one seed in a row.
    """
    return ordered(grouped(records))


def grouped(records: Iterable[Record]) -> list[Row]:
    """Records grouped into rows, in the order of the first record of each.

    Raises:
        UsageError: two runs of one seed in a row.
    """
    groups: dict[str, list[Record]] = defaultdict(list)
    for record in records:
        groups[compact(_what_makes_a_row(record.about))].append(record)
    for group in groups.values():
        first: dict[int, Record] = {}
        for record in group:
            if (other := first.setdefault(record.seed, record)) is not record:
                raise UsageError(
                    f"{record.name} on {record.task} has two runs of seed {record.seed}, {other.folder} and "
                    f"{record.folder}: remove one"
                )
    called = labels_of([group[0].about for group in groups.values()], [group[0].label for group in groups.values()])
    return [
        Row(label, task, tuple(sorted(group, key=lambda record: record.seed)), name)
        for (task, label, name), group in zip(called, groups.values(), strict=True)
    ]


def ordered(rows: Iterable[Row]) -> list[Row]:
    """Rows by task and track, best first; the floors and the ceiling come last."""
    return sorted(
        rows,
        key=lambda row: (
            row.task,
            row.track == "reference",
            row.track,
            row.verdict == "leaks",  # which has no rank
            -row.above_chance("judge").mean(),
            row.label,
        ),
    )


def _what_makes_a_row(about: Mapping[str, Any]) -> dict[str, Any]:
    agent, task = about["agent"], about["task"]
    return {
        "agent": {key: agent[key] for key in ("name", "settings", "version", "source")},
        "task": {key: task[key] for key in ("id", "settings")},
        "judge": about["judge"],
    }


class Called(NamedTuple):
    """How tables call a row.

    Attributes:
        task: its name, with settings if there are several of this name.
        label: one of a kind on its task (`Row.label`).
        name: the agent's with all settings that differ from its defaults (`Row.name`).
    """

    task: str
    label: str
    name: str


def labels_of(abouts: Sequence[Mapping[str, Any]], labels: Sequence[str | None] = ()) -> list[Called]:
    """How tables call each of several rows, from what its records say.

    A label is the suite's or, without one, the agent's name. In brackets it has what tells it apart: of the settings
    that differ from the agent's defaults, those that are not the same in all rows of the agent or, if the label is the
    suite's, in all rows of one task that have it. If that does not do: other settings (of which the default has
    changed) and version; then the file of a contender from outside; then the hash of its source.

    Args:
        abouts: of each row, as records have it.
        labels: what the suite calls them, None for those that it gives no label; by default none has one.
    """
    given = list(labels) or [None] * len(abouts)
    tasks = _told_apart(
        [(about["task"]["id"], {}) for about in abouts],
        [[about["task"]["settings"] for about in abouts], [{"judge": about["judge"]} for about in abouts]],
    )
    agents = [about["agent"] for about in abouts]
    stages = [
        [agent["settings"] | {"version": agent["version"]} for agent in agents],
        [{"file": agent.get("file")} for agent in agents],
        [{"source": (agent["source"] or "unknown")[:8]} for agent in agents],
    ]
    names = _told_apart([(agent["name"], dict(sorted(agent["changed"].items()))) for agent in agents], stages, tasks)
    mine = [{"agent": agent["name"], **dict(sorted(agent["changed"].items()))} for agent in agents]
    among: dict[tuple[str, ...], list[dict[str, Any]]] = defaultdict(list)
    for label, task, entries in zip(given, tasks, mine, strict=True):
        among[entries["agent"],].append(entries)
        if label is not None:
            among[label, task].append(entries)
    differing = {group: _differing(several) for group, several in among.items()}
    called = []
    for label, task, entries in zip(given, tasks, mine, strict=True):
        keys = differing[(entries["agent"],) if label is None else (label, task)]
        called.append((label or entries["agent"], {key: entries[key] for key in entries if key in keys}))
    short = _told_apart(called, stages, tasks)
    return [Called(*each) for each in zip(tasks, short, names, strict=True)]


def _differing(several: Sequence[Mapping[str, Any]]) -> set[str]:
    """The keys whose values are not the same in all of them."""
    keys = {key for one in several for key in one}
    return {key for key in keys if any(one.get(key) != several[0].get(key) for one in several)}


def _told_apart(
    called: Sequence[tuple[str, Mapping[str, Any]]],
    stages: Sequence[Sequence[Mapping[str, Any]]],
    within: Sequence[str] = (),
) -> list[str]:
    """Labels "name (key=value, …)". At each stage those of one label get the entries in which they differ.

    Args:
        called: for each its name and the entries that it has in any case.
        stages: for each stage and each of them, further entries.
        within: those of another value need not be told apart; by default all must be.
    """
    entries_of = [dict(entries) for _, entries in called]

    def label(number: int) -> str:
        name, entries = called[number][0], entries_of[number]
        text = f"{name} ({', '.join(f'{key}={value}' for key, value in entries.items())})" if entries else name
        return escape.terminal(text)

    for entries in stages:
        alike: dict[tuple[str, str], list[int]] = defaultdict(list)
        for number in range(len(called)):
            alike[within[number] if within else "", label(number)].append(number)
        for numbers in alike.values():
            keys = list(dict.fromkeys(key for number in numbers for key in entries[number]))
            for key in keys:
                values = [entries[number].get(key) for number in numbers]
                if any(value != values[0] for value in values):
                    for number in numbers:
                        entries_of[number][key] = entries[number].get(key)
    return [label(number) for number in range(len(called))]


def shown(row: Row) -> str:
    """The label as tables print it, in Markdown."""
    return escape.markdown(row.label) + ("†" if row.about["currency"] == "delivered" else "")
