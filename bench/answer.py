"""ANSWER.md: per arena and task who chooses better, reinforcement learning or a gradient, by how much and how surely.

A function of the records. An arena is an agent whose setting `estimator` is all that differs between its rows; within
one, rows of the same task, of as many predictor passes and of the objective that all share are compared. Of each family
the row is taken that is best on the validation images at the end of training, so that nothing is chosen on the test
images that it is then compared on. What has no records is said to be not run yet, with the command that runs it.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from glimpsebench import agents
from glimpsebench.agents.common.duel import DuelAgent
from glimpsebench.bench import escape, store
from glimpsebench.bench.compare import pipe
from glimpsebench.bench.records import Record, read_all
from glimpsebench.bench.rows import Row, rows_of
from glimpsebench.bench.stats import Difference, Interval, crossed, holm, over_seeds
from glimpsebench.bench.suites import read_suite, suite_names
from glimpsebench.envs.errors import UsageError

Array = NDArray[Any]

BUDGETS = (0.01, 0.02, 0.05, 0.10, 0.20)
SURE = 0.05
SHARED_OBJECTIVE = "likelihood"
RL, GRADIENT, FLOOR = "reinforcement learning", "gradient", "floor"
SCORED = {"own": "own predictor", "evaluator": "judge"}
SELECTOR = "selector"
"""The stage of a training curve that is of the choice; its steps are predictor passes."""
PREFIX = "duel-"
"""How the suites begin that an answer is made of."""


@dataclass(frozen=True)
class Arena:
    """The rows of one arena, named after its first agent, on one task, of as many predictor passes."""

    agent: str
    task: str
    passes: int
    rows: tuple[Row, ...]

    def family(self, family: str) -> list[Row]:
        """The rows of a family that maximise the objective which all share, the best on validation images first."""
        of_it = [row for row in self.rows if family_of(row) == family and shares_objective(row)]
        return sorted(of_it, key=lambda row: -last_validation(row))

    @property
    def track(self) -> str:
        return self.rows[0].track


def settings_of(row: Row) -> Mapping[str, Any]:
    found: Mapping[str, Any] = row.about["settings"]
    return found


def family_of(row: Row) -> str:
    """What the agent says of the estimator in these settings."""
    agent = agents.find(str(row.about["name"]))
    families: Mapping[str, str] = getattr(agent, "FAMILIES", {})
    return families.get(str(settings_of(row)["estimator"]), GRADIENT)


def shares_objective(row: Row) -> bool:
    return settings_of(row).get("reward", SHARED_OBJECTIVE) == SHARED_OBJECTIVE


def estimator_of(row: Row) -> str:
    """How the answer calls a row: as the duel's suites do, or by its estimator and what else is not the default."""
    if row.records[0].label is not None:
        return escape.markdown(row.label)
    changed = {key: value for key, value in row.about["changed"].items() if key not in ("estimator", "passes")}
    more = ", ".join(f"{key}={value}" for key, value in sorted(changed.items()))
    return escape.markdown(f"{settings_of(row)['estimator']}{f' ({more})' if more else ''}")


def arena_of(agent: str) -> str:
    """The agent whose arena it fights in: itself, or what it says, as one of another library's learners does."""
    return str(getattr(agents.find(agent), "arena", agent))


def arenas_of(records: Iterable[Record]) -> list[Arena]:
    """The arenas that these records fight in, by name, task and passes."""
    by_agent: dict[str, list[Record]] = defaultdict(list)
    for record in records:
        if _fights(record.about["agent"]):
            by_agent[record.about["agent"]["name"]].append(record)  # each on its own: two arenas may use one label
    return arenas_among(row for some in by_agent.values() for row in rows_of(some))


def arenas_among(rows: Iterable[Row]) -> list[Arena]:
    """The same of rows, some of which may fight in none."""
    groups: dict[tuple[str, str, int], list[Row]] = defaultdict(list)
    for row in rows:
        if _fights(row.about):
            groups[arena_of(str(row.about["name"])), row.task, int(settings_of(row)["passes"])].append(row)
    return [Arena(*key, tuple(some)) for key, some in sorted(groups.items())]


def _fights(agent: Mapping[str, Any]) -> bool:
    """Whether an agent is one of those whose setting `estimator` is all that differs."""
    return {"estimator", "passes"} <= {*agent["settings"]}


def validation(row: Row) -> list[tuple[Array, Array, Array]]:
    """Of each run: passes, seconds and validation accuracy at the points of the selector's curve."""
    found = []
    for record in row.runs:
        seconds = record.curve_seconds or [{} for _ in record.curves]
        for stage, clock in zip(record.curves, seconds, strict=True):
            points = stage["measures"].get("accuracy")
            if stage["stage"] == SELECTOR and points:
                value = np.array([np.nan if each is None else each for each in points["value"]], float)
                at = np.array(clock.get("accuracy", [np.nan] * len(value)), float)
                found.append((np.array(points["step"], float), at, value))
    return found


def last_validation(row: Row) -> float:
    """Mean over runs of the last validation accuracy that their curves have, of whatever stage; −1 without curves."""
    last = []
    for record in row.runs:
        scored = [stage["measures"]["accuracy"] for stage in record.curves if stage["measures"].get("accuracy")]
        each = [curve["value"][-1] for curve in scored]
        last += [each[-1]] if each and each[-1] is not None else []
    return float(np.mean(last)) if last else -1.0


def at_seconds(row: Row, limit: float) -> Interval | None:
    """Validation accuracy that had been reached within so many seconds of training; None if a run has no such point."""
    values = []
    for _, seconds_P, value_P in validation(row):
        within = np.flatnonzero(seconds_P <= limit)
        if not len(within):
            return None
        values.append(value_P[within[-1]])
    return over_seeds(np.array(values)) if values else None


def at_passes(row: Row, limit: float) -> Interval | None:
    """The same within so many predictor passes."""
    values = []
    for passes_P, _, value_P in validation(row):
        within = np.flatnonzero(passes_P <= limit)
        if not len(within):
            return None
        values.append(value_P[within[-1]])
    return over_seeds(np.array(values)) if values else None


def common_seconds(rows: Sequence[Row]) -> float:
    """The seconds at which the fastest of these had ended its selector's training; NaN without times."""
    ends = [np.mean([seconds_P[-1] for _, seconds_P, _ in found]) for row in rows if (found := validation(row))]
    return float(min(ends, default=np.nan))


def differences(mine: Row, theirs: Row) -> dict[tuple[str, float], Difference]:
    """By score and budget, where both have one, with p-values that are adjusted for there being so many (Holm)."""
    found: dict[tuple[str, float], Difference] = {}
    for by in SCORED:
        for budget in BUDGETS:
            sides = [row.scores(by, budget) for row in (mine, theirs)]
            if sides[0] is not None and sides[1] is not None:
                found[by, budget] = crossed(sides[0], sides[1])
    if not found:
        return {}
    adjusted = holm(np.array([each.p for each in found.values()]))
    return {key: each._replace(p=float(p)) for (key, each), p in zip(found.items(), adjusted, strict=True)}


def points(value: float) -> str:
    return f"{100 * value:.1f}"


def sentence(first: str, second: str, found: Mapping[tuple[str, float], Difference], by: str) -> str:
    """Who is ahead of whom by one score, budget by budget, as far as the intervals tell.

    Differences are the leader's less the other's; where neither is surely ahead, the first one's less the second's.
    """
    ahead: dict[str, list[str]] = {first: [], second: [], "": []}
    for (score, budget), each in found.items():
        if score != by:
            continue
        winner = (first if each.mean > 0 else second) if each.p < SURE else ""
        mean, low, high = (each.mean, each.low, each.high) if winner != second else (-each.mean, -each.high, -each.low)
        ahead[winner].append(f"{100 * budget:g} % ({points(mean)} points, {points(low)} to {points(high)})")
    parts = [f"{name} is ahead at {'; '.join(at)}" for name, at in ahead.items() if at and name]
    if ahead[""]:
        parts.append(f"neither is surely ahead at {'; '.join(ahead[''])}; differences are {first} − {second}")
    return f"By the {SCORED[by]}: {', and '.join(parts)}." if parts else f"By the {SCORED[by]}: nothing to compare."


def answer(arena: Arena, command: str) -> str:
    """What the records of one arena say, in sentences, and the table that they are read from."""
    best = {family: next(iter(arena.family(family)), None) for family in (RL, GRADIENT, FLOOR)}
    rl, gradient, floor = best[RL], best[GRADIENT], best[FLOOR]
    seeds = sorted({len(row.records) for row in arena.rows})
    lines = [
        f"## {escape.markdown(f'{arena.agent} on {arena.task}')} ({arena.track}, {arena.passes:,} passes)\n",
        f"Seeds a row: {' to '.join(map(str, dict.fromkeys((seeds[0], seeds[-1]))))}. Made by `{command}`.\n",
    ]
    if rl is not None and gradient is not None:
        names = estimator_of(rl), estimator_of(gradient)
        found = differences(rl, gradient)
        lines.append(
            f"Of reinforcement learning {names[0]} is the best on validation images, of the gradients {names[1]}. "
            "At equal predictor passes, test images. Intervals are of 95 %; to be ahead asks for Holm's correction, "
            "too:\n"
        )
        lines += [f"- {sentence(*names, found, by)}" for by in SCORED]
        lines.append("\n" + equal_seconds([row for row in (rl, gradient, floor) if row is not None]))
    for family, row in ((RL, rl), (GRADIENT, gradient)):
        if row is not None and floor is not None:
            lines.append(f"\nWhat learning is worth, {family}, against {estimator_of(floor)}:\n")
            found = differences(row, floor)
            lines += [f"- {sentence(estimator_of(row), estimator_of(floor), found, by)}" for by in SCORED]
    missing = [family for family in (RL, GRADIENT, FLOOR) if best[family] is None]
    if missing:
        lines.append(f"\nNot run yet: {', '.join(missing)}.")
    return "\n".join([*lines, "", table(arena)])


def equal_seconds(rows: Sequence[Row]) -> str:
    """Validation accuracy at the seconds that the fastest took, which all of them had."""
    seconds = common_seconds(rows)
    if not np.isfinite(seconds):
        return "At equal seconds: the records have no times.\n"
    parts = []
    for row in rows:
        found = at_seconds(row, seconds)
        if found is not None and validation(row):
            low, high = max(found.low, 0.0), min(found.high, 1.0)
            interval = f" ({points(low)} to {points(high)})" if np.isfinite(found.low) else ""
            parts.append(f"{estimator_of(row)} {points(found.mean)} %{interval}")
    text = ", ".join(parts) or "no run had been measured by then"
    return (
        f"At equal seconds, {seconds:.1f} s of one core for the selector, "
        f"validation accuracy at {curves_at(rows)}: {text}.\n"
    )


def curves_at(rows: Sequence[Row]) -> str:
    """The part of the image at which the learning curves of an arena's rows are measured."""
    agent = agents.find(str(rows[0].about["name"]))
    return f"{100 * agent.curve_at:g} % of the image" if issubclass(agent, DuelAgent) else "the curves' budget"


def table(arena: Arena) -> str:
    """Every row of an arena: what it cost, and its accuracies at each budget by own predictor and judge."""
    head = ["estimator", "family", "parameters", "passes", "images", "training, s", "by"]
    head += [f"{100 * budget:g} %" for budget in BUDGETS]
    lines = []
    for row in sorted(arena.rows, key=lambda row: (family_of(row), estimator_of(row))):
        found = row.runs[0].about["findings"] if row.runs else {}
        costs = [f"{row.cost.get('parameters', float('nan')):,.0f}"]
        costs += [f"{found[name]:,.0f}" if name in found else "·" for name in ("selector_passes", "selector_images")]
        costs.append(f"{row.cost['training_seconds']:.0f}" if "training_seconds" in row.cost else "·")
        for number, by in enumerate(SCORED):
            each = row.accuracy(by, BUDGETS)
            cells = [f"{points(one.mean)} ± {points(one.reach)}" if np.isfinite(one.mean) else "·" for one in each]
            first = [estimator_of(row), family_of(row), *costs] if number == 0 else [""] * 6
            lines.append([*first, "judge" if by == "evaluator" else by, *cells])
    return pipe(head, lines)


def asked() -> dict[tuple[str, str], str]:
    """The agents and tasks that the duel's suites ask for → the suite of each."""
    found: dict[tuple[str, str], str] = {}
    for name in suite_names():
        if name.startswith(PREFIX):
            for spec in read_suite(name).specs:
                agent, task = spec.make()
                if {"estimator", "passes"} <= {*vars(agent)}:
                    found.setdefault((arena_of(spec.agent), task.id), name)
    return found


def markdown(records: Iterable[Record]) -> str:
    """The whole page."""
    arenas = arenas_of(records)
    wanted = asked()
    have = {(arena.agent, arena.rows[0].records[0].task) for arena in arenas}
    parts = [
        "# Who chooses better, reinforcement learning or a gradient?\n",
        "Written by `glimpse answer` from the records, and by nobody else. In an arena everything but the learning "
        "signal is the same: task, sensor, selector network, predictor, training set, optimiser and the number of "
        "canvases that the predictor reads (*passes*); who compares several choices of an image sees fewer images for "
        "them. *own*: by the agent's predictor; *judge*: by classifiers that no agent "
        "has met. Points are differences of accuracies in per cent.\n",
    ]
    for arena in arenas:
        suite = wanted.get((arena.agent, arena.rows[0].records[0].task))
        parts.append(answer(arena, f"glimpse sweep {suite}" if suite else "glimpse sweep"))
    missing = [(agent, task, suite) for (agent, task), suite in wanted.items() if (agent, task) not in have]
    if missing:
        parts.append("## Not run yet\n")
        parts += [f"- {agent} on {task}: `glimpse sweep {suite}`" for agent, task, suite in missing]
    return "\n".join(parts).rstrip() + "\n"


def records_in(root: Path) -> list[Record]:
    """The records of a results folder, or of the duel's suites in a folder of results folders; each once.

    Raises:
        UsageError: there is no such folder.
    """
    if not root.is_dir():
        raise UsageError(f"{root}: no such folder; --root names one with records, such as runs")
    folders = [root, *sorted(root.glob(f"{PREFIX}*"))]
    found = {str(one.about["key"]): one for folder in folders for one in read_all(folder)}
    for name in suite_names():
        if name.startswith(PREFIX):
            of_suite = store.labelled(read_suite(name), found.values())
            found |= {str(one.about["key"]): one for one in of_suite if one.label is not None}
    return list(found.values())


def headlines(records: Iterable[Record]) -> list[str]:
    """Of each arena in which both families fought: by the judge, who is ahead at which budget."""
    found = []
    for arena in arenas_of(records):
        rl, gradient = (next(iter(arena.family(family)), None) for family in (RL, GRADIENT))
        if rl is not None and gradient is not None:
            names = estimator_of(rl), estimator_of(gradient)
            seeds = min(len(row.records) for row in (rl, gradient))
            found.append(
                f"**{arena.agent}**, {arena.track} track, {seeds} seeds, reinforcement learning by {names[0]} against "
                f"gradients by {names[1]}: {sentence(*names, differences(rl, gradient), 'evaluator')}"
            )
    return found
