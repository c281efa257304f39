"""The leaderboard: tables as functions of the records and of nothing else.

Two tracks, never ranked in one list; floors and the ceiling stand beside them. Contenders are ranked by the
evaluator's mean accuracy over the budgets up to half of the image, chance where they do not reach one: their own
accuracy depends on predictors that differ, the evaluator does not. What is marked as better or worse is so against
the strongest floor of the task at that budget. Shapes: S seeds, F budgets, N images.
"""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from glimpsebench.agents.common.base import BUDGETS
from glimpsebench.bench import escape, metrics
from glimpsebench.bench.records import Record, canonical, read_all
from glimpsebench.bench.stats import Difference, Interval, crossed, holm, over_seeds
from glimpsebench.envs.errors import UsageError

if TYPE_CHECKING:
    import pandas as pd

Array = NDArray[Any]

SCORES = ("evaluator", "own")
SETTLED = 5  # seeds; a row with fewer is provisional
SKEWED = 1.5
"""A test split in which the largest class has more than so many times the images of the smallest."""
SHORTFALL = 0.9
"""What was touched is shown where its mean is below this share of the cap."""


@dataclass(frozen=True)
class Row:
    """One contender on one task: the runs that differ in the seed alone.

    They have the same settings of agent and task, agent version, source and evaluator (`rows_of`).
    """

    name: str
    task: str
    records: tuple[Record, ...]

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
    def note(self) -> str:
        """Runs that did not end well, few seeds, what it learned from beside labels, and on which other device."""
        notes = [f"{record.about['status']} (seed {record.seed})" for record in self.records if not record.done]
        if len(self.runs) < SETTLED:
            notes.append("provisional")
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

    def accuracy(
        self,
        by: str,
        budgets: Sequence[float] = BUDGETS,
        measure: Callable[[Array, Array, Array], Array] = metrics.accuracy,
    ) -> list[Interval]:
        """Over seeds, at each of these budgets. A run that did not end well counts as chance."""
        rows = [record.accuracy(by, measure) if record.done else None for record in self.records]
        reached = next((row for row in rows if row is not None), np.full(len(self.records[0].budgets), np.nan))
        filled = [np.where(np.isnan(reached), np.nan, self.chance) if row is None else row for row in rows]
        return [over_seeds(column) for column in self._at(filled, budgets)]

    def correct(self, by: str, budget: float) -> Array | None:
        """Which images are right at a budget, (S, N) over the runs that reach it; None if one does not."""
        if not self.runs or budget not in self.runs[0].budgets:
            return None
        at = self.runs[0].budgets.index(budget)
        if any(not (record.reached_F & record.answered_F(by))[at] for record in self.runs):
            return None
        return np.stack([record.correct_FN(by)[at] for record in self.runs])

    def with_failed(self, correct_SN: Array) -> Array:
        """Right or wrong (S, N, …) of the runs that ended well, and chance for those that did not."""
        failed = len(self.records) - len(self.runs)
        return np.concatenate([correct_SN, np.full((failed, *correct_SN.shape[1:]), self.chance)])

    def mean_fraction(self, name: str, budgets: Sequence[float] = BUDGETS) -> list[float]:
        """Mean `touched`, `delivered` or `seen` over images and seeds, at each of these budgets."""
        return self._mean(lambda record: record.fraction_FN(name).mean(1), budgets)

    def unchosen(self, budgets: Sequence[float] = BUDGETS) -> list[float]:
        """The share of the images that show only what was given without a choice, at each of these budgets."""
        return self._mean(lambda record: record.unchosen_F, budgets)

    def localisation(self, name: str, budgets: Sequence[float] = BUDGETS) -> list[float]:
        """Mean `iou` or `on_object` over images and seeds, at each of these budgets; [] without objects."""
        if not self.runs or any(name not in record.arrays for record in self.runs):
            return []
        return self._mean(lambda record: record.arrays[name].mean(1), budgets)

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
        hits_SN = self.pointed()
        return float("nan") if hits_SN is None else float(hits_SN.mean())

    @property
    def points(self) -> tuple[float, ...]:
        """The budgets beside the grid at which it enters."""
        return tuple(sorted({*self.records[0].budgets} - {*BUDGETS}))

    def _mean(self, value_F: Callable[[Record], Array], budgets: Sequence[float]) -> list[float]:
        """The mean over the runs of a value at each of these budgets; [] without a run."""
        rows = [np.where(record.reached_F, value_F(record), np.nan) for record in self.runs]
        return [float(column.mean()) for column in self._at(rows, budgets)] if rows else []

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
    groups: dict[str, list[Record]] = defaultdict(list)
    for record in records:
        groups[canonical(_what_makes_a_row(record.about))].append(record)
    for group in groups.values():
        first: dict[int, Record] = {}
        for record in group:
            if (other := first.setdefault(record.seed, record)) is not record:
                raise UsageError(
                    f"{record.name} on {record.task} has two runs of seed {record.seed}, {other.folder} and "
                    f"{record.folder}: remove one"
                )
    labels = labels_of([group[0].about for group in groups.values()])
    rows = [
        Row(name, task, tuple(sorted(group, key=lambda record: record.seed)))
        for (task, name), group in zip(labels, groups.values(), strict=True)
    ]
    return sorted(rows, key=lambda row: (row.task, row.track == "reference", row.track, -_rank(row), row.name))


def _what_makes_a_row(about: Mapping[str, Any]) -> dict[str, Any]:
    agent, task = about["agent"], about["task"]
    return {
        "agent": {key: agent[key] for key in ("name", "settings", "version", "source")},
        "task": {key: task[key] for key in ("id", "settings")},
        "evaluator": about["evaluator"],
    }


def labels_of(abouts: Sequence[Mapping[str, Any]]) -> list[tuple[str, str]]:
    """How tables call each of several rows: its task and its name, from what its records say.

    A name has the settings that differ from the agent's defaults and, if others would be called the same, in brackets
    too what tells them apart: other settings (of which the default has changed) and version; if that does not do, the
    file of a contender from outside; if that does not do, the hash of its source.
    """
    tasks = _told_apart(
        [(about["task"]["id"], {}) for about in abouts],
        [[about["task"]["settings"] | {"evaluator": about["evaluator"]} for about in abouts]],
        lambda number: "",
    )
    agents = [about["agent"] for about in abouts]
    names = _told_apart(
        [(agent["name"], dict(sorted(agent["changed"].items()))) for agent in agents],
        [
            [agent["settings"] | {"version": agent["version"]} for agent in agents],
            [{"file": agent.get("file")} for agent in agents],
            [{"source": (agent["source"] or "unknown")[:8]} for agent in agents],
        ],
        lambda number: tasks[number],
    )
    return list(zip(tasks, names, strict=True))


def _told_apart(
    called: Sequence[tuple[str, Mapping[str, Any]]],
    stages: Sequence[Sequence[Mapping[str, Any]]],
    within: Callable[[int], str],
) -> list[str]:
    """Labels "name (key=value, …)". At each stage those of one label get the entries in which they differ.

    Args:
        called: for each its name and the entries that it has in any case.
        stages: for each stage and each of them, further entries.
        within: those of another value need not be told apart.
    """

    entries_of = [dict(entries) for _, entries in called]

    def label(number: int) -> str:
        name, entries = called[number][0], entries_of[number]
        text = f"{name} ({', '.join(f'{key}={value}' for key, value in entries.items())})" if entries else name
        return escape.terminal(text)

    for entries in stages:
        alike: dict[tuple[str, str], list[int]] = defaultdict(list)
        for number in range(len(called)):
            both = within(number), label(number)
            alike[both].append(number)
        for numbers in alike.values():
            keys = list(dict.fromkeys(key for number in numbers for key in entries[number]))
            for key in keys:
                values = [entries[number].get(key) for number in numbers]
                if any(value != values[0] for value in values):
                    for number in numbers:
                        entries_of[number][key] = entries[number].get(key)
    return [label(number) for number in range(len(called))]


class AgainstFloor(NamedTuple):
    """A row less the strongest floor of its task at one budget, by one score."""

    floor: Row
    difference: Difference
    adjusted: float
    """The p-value after Holm's correction for all differences of the table."""
    seeds: int
    """Of the side that has fewer."""

    @property
    def sign(self) -> int:
        """1 above the floor, -1 below it, 0 undecided: by the adjusted p-value, and with one seed undecided."""
        decided = self.seeds > 1 and self.adjusted < 0.05
        return int(np.sign(self.difference.mean)) if decided else 0

    @property
    def sign_of_these_networks(self) -> int:
        """The same where one of the two has one seed: it speaks of the trained networks, not of the methods."""
        decided = self.seeds == 1 and self.adjusted < 0.05
        return int(np.sign(self.difference.mean)) if decided else 0


@dataclass(frozen=True)
class Floors:
    """The strongest floor of one task at each budget, and how its contenders compare with it, by one score.

    A thumbnail is left out of the choice: its budget counts values delivered, not pixels touched.

    Attributes:
        rows: of the task.
        by: `own` or `evaluator`.
    """

    rows: Sequence[Row]
    by: str

    def _scores(self, row: Row, budget: float) -> Array | None:
        correct_SN = row.correct(self.by, budget)
        return None if correct_SN is None else row.with_failed(correct_SN)

    @cached_property
    def strongest(self) -> dict[float, tuple[Row, float]]:
        """Budget → the floor of the best mean accuracy there, and that accuracy; no entry where no floor has one.

        With the whole image touched all show the same, so 100 % has none.
        """
        floors = [row for row in self.rows if row.about["reference"] == "floor" and row.about["currency"] == "touched"]
        found = {}
        for budget in BUDGETS[:-1]:
            reached = [(row, self._scores(row, budget)) for row in floors]
            means = [(row, float(scores.mean())) for row, scores in reached if scores is not None]
            if means:
                found[budget] = max(means, key=lambda pair: pair[1])
        return found

    @cached_property
    def against(self) -> dict[tuple[str, float], AgainstFloor]:
        """(A contender's name, budget) → its difference, where both reach the budget and met the same test images."""
        found: dict[tuple[str, float], tuple[Row, Difference, int]] = {}
        for row in self.rows:
            for budget, (floor, _) in self.strongest.items():
                mine, theirs = self._scores(row, budget), self._scores(floor, budget)
                same = row.records[0].about["task"]["test_sha256"] == floor.records[0].about["task"]["test_sha256"]
                if row.track == "reference" or mine is None or theirs is None or not same:
                    continue
                found[row.name, budget] = floor, crossed(mine, theirs), min(len(mine), len(theirs))
        adjusted = holm(np.array([difference.p for _, difference, _ in found.values()]))
        return {
            key: AgainstFloor(floor, difference, float(p), seeds)
            for (key, (floor, difference, seeds)), p in zip(found.items(), adjusted, strict=True)
        }


def ceiling_of(rows: Sequence[Row], task: str) -> Row | None:
    """The row of a task that sees the whole image; the one of most seeds if there are several."""
    ceilings = [row for row in rows if row.task == task and row.about["reference"] == "ceiling"]
    return max(ceilings, key=lambda row: len(row.records), default=None)


def _rank(row: Row) -> float:
    """The evaluator's mean accuracy up to half of the image; a budget that is not reached counts as chance."""
    values = [value.mean for value, budget in zip(row.accuracy("evaluator"), BUDGETS, strict=True) if budget <= 0.5]
    return float(np.mean([row.chance if np.isnan(value) else value for value in values]))


def table(rows: Sequence[Row]) -> pd.DataFrame:
    """The long form: one line per row and budget, with everything that is known about it."""
    import pandas as pd  # here, so that what makes no table does not wait for it

    lines: list[dict[str, Any]] = []
    for task in dict.fromkeys(row.task for row in rows):
        here = [row for row in rows if row.task == task]
        floors = {by: Floors(here, by) for by in SCORES}
        ceiling = ceiling_of(here, task)
        for row in here:
            lines += _lines(row, floors, ceiling)
    return pd.DataFrame(lines)


def _lines(row: Row, floors: Mapping[str, Floors], ceiling: Row | None) -> Iterable[dict[str, Any]]:
    budgets = sorted({*BUDGETS, *row.points})
    scores = {by: row.accuracy(by, budgets) for by in SCORES}
    balanced = {by: row.accuracy(by, budgets, metrics.balanced_accuracy) for by in SCORES}
    fractions = {name: row.mean_fraction(name, budgets) for name in ("touched", "delivered", "seen")}
    fractions["unchosen"] = row.unchosen(budgets)
    overlaps = {name: row.localisation(name, budgets) for name in ("iou", "on_object")}
    for at, budget in enumerate(budgets):
        if all(np.isnan(values[at].mean) for values in scores.values()):
            continue
        line = {
            "task": row.task,
            "track": row.track,
            "contender": row.name,
            "version": row.about["version"],
            "source": row.about["source"],
            "supervision": row.about["supervision"],
            "budget": budget,
            "seeds": len(row.records),
        }
        for by in ("own", "evaluator"):
            line |= _columns(by, scores[by][at]) | {f"{by}_balanced": balanced[by][at].mean}
        for by in ("own", "evaluator"):
            above = floors[by].against.get((row.name, budget))
            line |= {
                f"{by}_floor": above.floor.name if above else "",
                **_columns(f"{by}_above_floor", above.difference if above else _NOTHING),
                f"{by}_above_floor_p": above.adjusted if above else float("nan"),
            }
        yield line | {
            **{name: values[at] for name, values in (fractions | overlaps).items() if values},
            "pointing": row.pointing,
            "evaluator_acc95": _acc95(row, ceiling),
            "evaluator_area": metrics.area_under_curve(
                np.array([value.mean for value in row.accuracy("evaluator")]), BUDGETS
            ),
            "note": row.note,
        }


_NOTHING = Interval(float("nan"), float("nan"), float("nan"))


def _columns(name: str, value: Interval | Difference) -> dict[str, float]:
    return {name: value.mean, f"{name}_low": value.low, f"{name}_high": value.high}


def _acc95(row: Row, ceiling: Row | None) -> float:
    """The smallest budget with 95 % of the evaluator's accuracy on the whole image, to stay."""
    if ceiling is None:
        return float("nan")
    top = ceiling.accuracy("evaluator")[-1].mean
    return metrics.smallest_sufficient(np.array([value.mean for value in row.accuracy("evaluator")]), BUDGETS, top)


MARKS = ("▲", "▼")
"""What the terminal shows where the Markdown has bold and italics."""

_HEADINGS = {"gated": "Gated track: seen = touched", "open": "Open track: the selector reads the whole image"}

_LEGEND = """
Top-1 accuracy in per cent on the test images, mean over seeds. A column is a cap: at most this share of an image is
touched. *evaluator*: the bench's classifier, trained on random masks, on what was selected. *own*: the contender's
predictor. *touched*: the mean share that was, where that is less than 0.9 of the cap.

Each is compared with the strongest floor of the task at that cap, by the same score (listed below the floors).
**Bold**: above it, *italic*: below it, over images and seeds (two-way random effects), after Holm's correction for all
differences of a task by that score. ¹: would be bold or italic, but one of the two has one seed, which cannot stand for
a method.

·: budget not reached. °: more than half of the images show only what is given without a choice, such as a first window
at the centre. †: by values delivered; it touches the whole image. *provisional*: fewer than 5 seeds.
"""


def markdown(rows: Sequence[Row], title: str) -> str:
    """The leaderboard for people: per task and track, evaluator's and own accuracy at each budget."""
    parts = [f"# {title}\n"]
    if not rows:
        return parts[0] + "\nNo records yet.\n"
    parts += [_LEGEND, made_by(rows)]
    for task in dict.fromkeys(row.task for row in rows):
        here = [row for row in rows if row.task == task]
        floors = {by: Floors(here, by) for by in SCORES}
        parts.append(f"\n## {escape.markdown(task)}\n")
        for track, heading in _HEADINGS.items():
            parts.append(f"\n### {heading}\n\n{_accuracies([row for row in here if row.track == track], floors)}")
        references = [row for row in here if row.track == "reference"]
        parts.append(f"\n### Floors and ceiling\n\n{_accuracies(references, floors)}{_strongest(floors)}")
        parts.append(_beside_the_grid(here))
        parts.append(_localisation(here))
        parts.append(_findings(here))
        parts.append(_classes(here))
        first = next((record for row in here for record in row.runs), None)
        if first is not None:
            parts.append(
                f"\n{first.about['task']['test_images']} test images; evaluator {first.about['evaluator']}. "
                "ACC95: the smallest budget from which the evaluator stays at 95 % of its accuracy on the\n"
                "whole image.\n"
            )
    return "".join(parts)


def made_by(rows: Sequence[Row]) -> str:
    """Which of these rows older code has made, as far as their records tell; nothing if none."""
    old = [row for row in rows if any(record.about["schema"] < 2 for record in row.records)]
    if not old:
        return ""
    versions = sorted({record.about["software"]["glimpsebench"] for row in old for record in row.records})
    what = "All" if len(old) == len(rows) else f"{len(old)} of {len(rows)}"
    return (
        f"\n{what} rows were made by an earlier version of GlimpseBench ({', '.join(versions)}), whose records do not "
        "tell the contenders' code.\n"
    )


def is_skewed(labels_N: Array) -> bool:
    """Whether one class has more than `SKEWED` times the images of another."""
    counts = np.unique(labels_N, return_counts=True)[1]
    return bool(counts.max() > SKEWED * counts.min())


def _labels(rows: Sequence[Row]) -> Array | None:
    """The test labels (N,) of a task's rows; None if no run ended well."""
    return next((record.arrays["labels"] for row in rows for record in row.runs), None)


def _accuracies(rows: Sequence[Row], floors: Mapping[str, Floors]) -> str:
    """A table of a task's rows: two or three lines for each, more where the classes are of unequal size."""
    if not rows:
        return "No entries yet.\n"
    labels_N = _labels(floors["own"].rows)
    skewed = labels_N is not None and is_skewed(labels_N)
    ceiling = ceiling_of(floors["own"].rows, rows[0].task)
    head = ["contender", "score by", *(f"{100 * budget:g} %" for budget in BUDGETS), "ACC95", "seeds", "note"]
    lines = [_row(head), _row(["---"] * 2 + ["---:"] * (len(BUDGETS) + 2) + ["---"])]
    for row in rows:
        acc95, unchosen = _acc95(row, ceiling), row.unchosen() or [0.0] * len(BUDGETS)
        block = [("evaluator", _marked(row, floors["evaluator"])), ("own", _marked(row, floors["own"]))]
        if skewed:
            for at, by in ((1, "evaluator"), (3, "own")):
                values = row.accuracy(by, measure=metrics.balanced_accuracy)
                block.insert(at, (f"{by}, balanced", [_cell(value.mean) for value in values]))
        if row.track != "reference":
            block = [
                (name, [f"{cell}°" if share > 0.5 else cell for cell, share in zip(cells, unchosen, strict=True)])
                for name, cells in block
            ]
        if any(touched := _shortfall(row)):
            block.append(("touched", touched))
        tail = [f"{100 * acc95:g} %" if acc95 == acc95 else "·", str(len(row.records)), escape.markdown(row.note)]
        for number, (name, cells) in enumerate(block):
            lines.append(_row([shown(row) if number == 0 else "", name, *cells, *(tail if number == 0 else [""] * 3)]))
    if skewed and labels_N is not None and rows[0].track == "reference":
        share = _cell(float(np.unique(labels_N, return_counts=True)[1].max() / len(labels_N)))
        lines.append(_row(["majority class", "", *[share] * len(BUDGETS), "", "", ""]))
    return "\n".join(lines) + "\n"


def shown(row: Row) -> str:
    """The name as tables print it, in Markdown."""
    return escape.markdown(row.name) + ("†" if row.about["currency"] == "delivered" else "")


def _marked(row: Row, floors: Floors) -> list[str]:
    """A row's accuracies at each budget, with how they stand to the strongest floor."""
    cells = []
    for value, budget in zip(row.accuracy(floors.by), BUDGETS, strict=True):
        cell, against = _cell(value.mean), floors.against.get((row.name, budget))
        if against is not None:
            cell = {1: f"**{cell}**", -1: f"*{cell}*", 0: cell}[against.sign]
            cell += "¹" * (against.sign_of_these_networks != 0)
        cells.append(cell)
    return cells


def _shortfall(row: Row) -> list[str]:
    """What was touched on average at each budget, where that is well below the cap; elsewhere nothing."""
    touched = row.mean_fraction("touched") or [float("nan")] * len(BUDGETS)
    return [_cell(mean) if mean < SHORTFALL * cap else "" for mean, cap in zip(touched, BUDGETS, strict=True)]


def _strongest(floors: Mapping[str, Floors]) -> str:
    """Which floor is the strongest at each budget, by each score; nothing without floors."""
    lines = []
    for budget in BUDGETS:
        best = [each.strongest.get(budget) for each in floors.values()]
        if any(best):
            cells = [
                part
                for pair in best
                for part in ((escape.markdown(pair[0].name), _cell(pair[1])) if pair else ("·", "·"))
            ]
            lines.append(_row([f"{100 * budget:g} %", *cells]))
    if not lines:
        return "\nNo floor to compare with.\n"
    head = [_row(["at most", *(part for by in floors for part in (f"strongest floor by {by}", "accuracy"))])]
    return "\n" + "\n".join([*head, _row(["---:", *["---", "---:"] * len(floors)]), *lines]) + "\n"


def _classes(rows: Sequence[Row]) -> str:
    """How many test images each class has, where the classes are of unequal size; else nothing."""
    labels_N = _labels(rows)
    if labels_N is None or not is_skewed(labels_N):
        return ""
    classes, counts = np.unique(labels_N, return_counts=True)
    lines = [_row(["class", *map(str, classes)]), _row(["---", *["---:"] * len(classes)])]
    return (
        "\n### Classes\n\nTest images of each class. *balanced*: the mean over classes of the accuracy on each; the\n"
        "majority class alone has 1 by the number of classes there.\n\n"
        + "\n".join([*lines, _row(["images", *map(str, counts)])])
        + "\n"
    )


def _beside_the_grid(rows: Sequence[Row]) -> str:
    """What contenders reach at the points that they add to the grid; nothing if none does."""
    lines = []
    for row in rows:
        touched = row.mean_fraction("touched", row.points) or [float("nan")] * len(row.points)
        judged, own = row.accuracy("evaluator", row.points), row.accuracy("own", row.points)
        for point, *values in zip(row.points, touched, [v.mean for v in judged], [v.mean for v in own], strict=True):
            lines.append(
                _row(
                    [
                        escape.markdown(row.name),
                        f"{100 * point:g} %",
                        *(f"{100 * v:.2f}" if v == v else "·" for v in values),
                    ]
                )
            )
    if not lines:
        return ""
    head = [_row(["contender", "budget", "touched", "evaluator", "own"]), _row(["---", *["---:"] * 4])]
    return "\n### Points beside the grid\n\n" + "\n".join([*head, *lines]) + "\n"


def _localisation(rows: Sequence[Row]) -> str:
    """Where the touched pixels lie, for tasks that know their objects; nothing for others."""
    known = [row for row in rows if row.localisation("iou")]
    if not known:
        return ""
    head = ["contender", "pointing", *(f"{100 * budget:g} %" for budget in BUDGETS), "best IoU"]
    lines = [_row(head), _row(["---", *["---:"] * (len(head) - 1)])]
    for row in known:
        ious = [value for value in row.localisation("iou") if not np.isnan(value)]
        shares = [_cell(value) for value in row.localisation("on_object")]
        lines.append(
            _row([escape.markdown(row.name), _cell(row.pointing), *shares, f"{max(ious):.2f}" if ious else "·"])
        )
    body = "\n".join(lines)
    return (
        "\n### Where they look\n\n"
        "Share of the touched pixels that lie on the object, in per cent, at each budget. *pointing*: how often the\n"
        "first look that is chosen lies on it. *best IoU*: of touched pixels and object, over the budgets.\n\n"
        f"{body}\n"
    )


def _findings(rows: Sequence[Row]) -> str:
    """What agents measured while they trained, a table for those that measured the same; nothing if none did."""
    groups: dict[tuple[str, ...], list[str]] = {}
    for row in rows:
        found = [record.about["findings"] for record in row.runs]
        keys = tuple(sorted(key for key, value in found[0].items() if isinstance(value, float))) if found else ()
        if keys:
            cells = [_spread([each[key] for each in found]) for key in keys]
            groups.setdefault(keys, []).append(_row([escape.markdown(row.name), *cells]))
    if not groups:
        return ""
    tables = [
        "\n".join(
            [_row(["contender", *map(escape.markdown, keys)]), _row(["---", *["---:"] * len(keys)]), *groups[keys]]
        )
        for keys in groups
    ]
    body = "\n\n".join(tables)
    return (
        "\n### Findings\n\n"
        "What contenders measured while they trained, as their files in `agents/` explain: mean over seeds, and\n"
        f"lowest to highest.\n\n{body}\n"
    )


def _spread(values: Sequence[float]) -> str:
    mean, low, high = (f"{value:.3g}" for value in (np.mean(values), min(values), max(values)))
    return mean if low == high else f"{mean} ({low} to {high})"


def _row(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def _cell(value: float) -> str:
    return "·" if np.isnan(value) else f"{100 * value:.1f}"


def summary(record: Record) -> tuple[list[str], list[list[str]]]:
    """One run's accuracies: the head and the lines of a table."""
    head = ["budget", *(f"{100 * budget:g} %" for budget in record.budgets)]
    return head, [[by, *map(_cell, record.accuracy(by))] for by in SCORES]


BEGIN, _END = "<!-- leaderboard:", "<!-- /leaderboard -->"


def insert(page: Path, root: Path, title: str, shown_as: str = "") -> None:
    """Replace what stands between a page's leaderboard markers by the tables and the curve of a results folder.

    Args:
        page: a Markdown file with the two markers.
        root: the results folder.
        title: the heading.
        shown_as: the folder's path in the link to the curve; by default `root` as it was given.
    """
    try:
        text = page.read_text()
    except UnicodeDecodeError:
        raise UsageError(f"{page}: not a text file") from None
    begin, end = text.find(BEGIN), text.find(_END)
    if begin < 0 or end < begin:
        raise UsageError(f"{page}: no markers '{BEGIN} … -->' and '{_END}' to write between")
    begin = text.index("-->", begin) + len("-->")
    tables = markdown(rows_of(read_all(root)), title).replace("\n#", "\n##").replace("# ", "## ", 1)
    curve = f"![accuracy against fraction]({shown_as or root.as_posix()}/curve.png)"
    whole = page.resolve()
    temporary = whole.with_name(f".{whole.name}.{os.getpid()}")
    try:  # a full disk leaves the page as it was
        temporary.write_text(f"{text[:begin]}\n\n{tables}\n{curve}\n\n{text[end:]}")
        temporary.replace(whole)
    finally:
        temporary.unlink(missing_ok=True)


def write(records: Sequence[Record], root: Path, title: str) -> list[Path]:
    """Write leaderboard.md and leaderboard.csv; return their paths."""
    rows = rows_of(records)
    paths = [root / "leaderboard.md", root / "leaderboard.csv"]
    paths[0].write_text(markdown(rows, title))
    frame = table(rows).map(lambda value: escape.csv(value) if isinstance(value, str) else value)
    paths[1].write_text(frame.to_csv(index=False, float_format="%.6f", lineterminator="\n"))
    return paths
