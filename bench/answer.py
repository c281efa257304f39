"""ANSWER.md: per arena and task who chooses better, reinforcement learning or a gradient, by how much and how surely.

A function of the records. An arena is an agent whose setting `estimator` is all that differs between its rows; within
one, rows of the same task, of as many predictor passes and of the objective that all share are compared. Of each family
the row is taken that is best on the validation images at the end of training, so that nothing is chosen on the test
images that it is then compared on. What has no records is said to be not run yet, with the command that runs it.
"""

from __future__ import annotations

import itertools
import re
import sys
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from glimpsebench import agents
from glimpsebench.agents.common.duel import DuelAgent
from glimpsebench.bench import escape, store
from glimpsebench.bench.compare import pipe
from glimpsebench.bench.records import Record, read_all
from glimpsebench.bench.rows import SETTLED, Row, rows_of
from glimpsebench.bench.stats import Difference, Interval, crossed, holm, over_seeds
from glimpsebench.bench.suites import read_suite, suite_names
from glimpsebench.envs.errors import UsageError

Array = NDArray[Any]

BUDGETS = (0.01, 0.02, 0.05, 0.10, 0.20)
SURE = 0.05
SHARED_OBJECTIVE = "likelihood"
RL, GRADIENT, FLOOR = "reinforcement learning", "gradient", "floor"
SCORED = {"own": "own predictor", "judge": "judge"}
WORTH_AT = 0.05
"""The share of the image at which the first sentences say what learning is worth."""
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
        if fights(record.about["agent"]):
            by_agent[record.about["agent"]["name"]].append(record)  # each on its own: two arenas may use one label
    return arenas_among(row for some in by_agent.values() for row in rows_of(some))


def arenas_among(rows: Iterable[Row]) -> list[Arena]:
    """The same of rows, some of which may fight in none."""
    groups: dict[tuple[str, str, int], list[Row]] = defaultdict(list)
    for row in rows:
        if fights(row.about):
            groups[arena_of(str(row.about["name"])), row.task, int(settings_of(row)["passes"])].append(row)
    return [Arena(*key, tuple(some)) for key, some in sorted(groups.items())]


def fights(agent: Mapping[str, Any]) -> bool:
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


Key = TypeVar("Key")
Differences = Mapping[tuple[str, float], Difference]
"""By score and budget, where both rows have one."""


def differences(mine: Row, theirs: Row) -> Differences:
    """Of two rows, with p-values that are adjusted for there being so many (Holm)."""
    return adjusted([_differences(mine, theirs)])[0]


def duels(arenas: Sequence[Arena]) -> list[Differences]:
    """Of each arena, between the best row of either family: reinforcement learning less gradient, {} without one of
    them. The p-values are adjusted for all of these arenas' differences."""
    best = [[_first(arena, family) for family in (RL, GRADIENT)] for arena in arenas]
    return adjusted([_differences(rl, gradient) if rl and gradient else {} for rl, gradient in best])


def adjusted(several: Sequence[Mapping[Key, Difference]]) -> list[Mapping[Key, Difference]]:
    """With p-values for there being so many differences in all (Holm)."""
    p = iter(holm(np.array([each.p for found in several for each in found.values()])))
    return [{key: each._replace(p=float(next(p))) for key, each in found.items()} for found in several]


def _differences(mine: Row, theirs: Row) -> Differences:
    found: dict[tuple[str, float], Difference] = {}
    for by, budget in itertools.product(SCORED, BUDGETS):
        sides = [row.scores(by, budget) for row in (mine, theirs)]
        if sides[0] is not None and sides[1] is not None:
            found[by, budget] = crossed(sides[0], sides[1])
    return found


def points(value: float) -> str:
    return f"{100 * value:.1f}"


def sentence(first: str, second: str, found: Differences, by: str, among: int | None = None) -> str:
    """Who is ahead of whom by one score, budget by budget, as far as the intervals tell.

    Differences are the leader's less the other's; where neither is surely ahead, the first one's less the second's.

    Args:
        first: a row's name.
        second: the other's.
        found: first less second.
        by: the score.
        among: for how many differences the p-values are adjusted; by default for these.
    """
    among = among or len(found)
    ahead: dict[str, list[str]] = {first: [], second: [], "": []}
    for (score, budget), each in found.items():
        if score != by:
            continue
        winner = (first if each.mean > 0 else second) if each.p < SURE else ""
        mean, low, high = (each.mean, each.low, each.high) if winner != second else (-each.mean, -each.high, -each.low)
        least = "" if winner else f"; detectable: {points(each.detectable(among))}"
        ahead[winner].append(f"{100 * budget:g} % ({points(mean)} points, {points(low)} to {points(high)}{least})")
    parts = [f"{name} is ahead at {'; '.join(at)}" for name, at in ahead.items() if at and name]
    if ahead[""]:
        parts.append(f"neither is surely ahead at {'; '.join(ahead[''])}; differences are {first} − {second}")
    return f"By the {SCORED[by]}: {', and '.join(parts)}." if parts else f"By the {SCORED[by]}: nothing to compare."


def answer(arena: Arena, suite: str | None, found: Differences, among: int) -> str:
    """What the records of one arena say, in sentences, and the table that they are read from.

    Args:
        arena: with its rows.
        suite: that asks for its runs, if one does.
        found: who is ahead in it (`duels`).
        among: how many differences all arenas have.
    """
    best = {family: _first(arena, family) for family in (RL, GRADIENT, FLOOR)}
    rl, gradient, floor = best[RL], best[GRADIENT], best[FLOOR]
    seeds = [len(row.records) for row in arena.rows]
    counted = " to ".join(map(str, dict.fromkeys((min(seeds), max(seeds)))))
    few = "; *provisional*, as a row with fewer than five is" if min(seeds) < SETTLED else ""
    command = f"glimpse sweep {suite}" if suite else "glimpse sweep"
    lines = [
        f"## {escape.markdown(f'{arena.agent} on {arena.task}')} ({arena.track}, {arena.passes:,} passes)\n",
        f"Seeds a row: {counted}{few}. Made by `{command}`{_older(arena, suite)}.\n",
    ]
    if rl is not None and gradient is not None:
        names = estimator_of(rl), estimator_of(gradient)
        lines.append(
            f"Of reinforcement learning {names[0]} is the best on validation images, of the gradients {names[1]}. "
            "At equal predictor passes, on test images:\n"
        )
        lines += [f"- {sentence(*names, found, by, among)}" for by in SCORED]
        lines.append("\n" + equal_seconds([row for row in (rl, gradient, floor) if row is not None]))
    for family, row in ((RL, rl), (GRADIENT, gradient)):
        if row is not None and floor is not None:
            lines.append(f"\nWhat learning is worth, {family}, against {estimator_of(floor)}:\n")
            worth = differences(row, floor)
            lines += [f"- {sentence(estimator_of(row), estimator_of(floor), worth, by)}" for by in SCORED]
    missing = [family for family in (RL, GRADIENT, FLOOR) if best[family] is None]
    if missing:
        lines.append(f"\nNot run yet: {', '.join(missing)}.")
    return "\n".join([*lines, "", table(arena)])


def _older(arena: Arena, suite: str | None) -> str:
    """What to say where a suite asks for other runs today than those that an arena has."""
    if suite is None:
        return ""
    plan = read_suite(suite)
    its_agents = {spec.agent for spec in plan.specs}
    mine = [record for row in arena.rows if row.about["name"] in its_agents for record in row.records]
    return ", by earlier code than today's, which would run some of them again" * store.is_outdated(plan, mine)


def equal_seconds(rows: Sequence[Row]) -> str:
    """Validation accuracy at the seconds that the fastest took, which all of them had."""
    seconds = common_seconds(rows)
    if not np.isfinite(seconds):
        return "At equal seconds: the records have no times.\n"
    parts = []
    for row in rows:
        found = at_seconds(row, seconds)
        if found is None and validation(row):
            parts.append(f"{estimator_of(row)} not measured yet in every run")
        elif found is not None:
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
    """Every row of an arena, the best by the judge first: its accuracies by the judge and by its own predictor, then
    what it cost."""
    rows = sorted(arena.rows, key=lambda row: -row.above_chance("judge").mean())
    reached = [each for each in BUDGETS if any(each in row.reached for row in rows)]
    head = ["estimator", "family", *(f"{100 * budget:g} %" for budget in reached)]
    parts = []
    for by in reversed(SCORED):
        lines = [[estimator_of(row), family_of(row), *accuracies(row, by, reached)] for row in rows]
        parts.append(f"Accuracy by the {SCORED[by]}, in per cent:\n\n{pipe(head, lines, left=2)}")
    lines = []
    for row in rows:
        found = row.runs[0].about["findings"] if row.runs else {}
        counts = [f"{found[name]:,.0f}" if name in found else "·" for name in ("selector_passes", "selector_images")]
        seconds = f"{row.cost['training_seconds']:.0f}" if "training_seconds" in row.cost else "·"
        parameters = f"{row.cost.get('parameters', float('nan')):,.0f}"
        lines.append([estimator_of(row), str(len(row.records)), parameters, *counts, seconds])
    costs = pipe(["estimator", "seeds", "parameters", "passes", "images", "training, s"], lines)
    return "\n".join([*parts, f"What it cost, a run:\n\n{costs}"])


def accuracies(row: Row, by: str, budgets: Sequence[float]) -> list[str]:
    each = row.accuracy(by, budgets)
    return [f"{points(one.mean)} ± {points(one.reach)}" if np.isfinite(one.mean) else "·" for one in each]


def leaders(arena: Arena) -> list[Row]:
    """The best row of either family that learns, as far as there is one; the better one on validation images first."""
    best = [row for family in (RL, GRADIENT) for row in arena.family(family)[:1]]
    return sorted(best, key=lambda row: -last_validation(row))


def sensor_of(arena: Arena) -> str:
    """What its rows point, however many parts an action has."""
    return re.sub(r", at_once=\w+", "", str(arena.rows[0].about["sensor"]))


def gating(arenas: Sequence[Arena]) -> list[str]:
    """What it costs not to see the image while choosing: the best of an open and of a gated arena of one sensor."""
    found = []
    for gated, free in itertools.product(arenas, repeat=2):
        alike = gated.task == free.task and sensor_of(gated) == sensor_of(free)
        if alike and (gated.track, free.track) == ("gated", "open") and leaders(gated) and leaders(free):
            sides = leaders(free)[0], leaders(gated)[0]
            names = [f"{estimator_of(row)} ({row.track})" for row in sides]
            compared = differences(*sides)
            task = escape.markdown(gated.task)
            effort = "; ".join(f"{arena.agent}: {_effort(arena)}" for arena in (free, gated))
            found.append(f"On {task}, the best of {free.agent} against the best of {gated.agent} ({effort}):\n")
            found += [f"- {sentence(names[0], names[1], compared, by)}" for by in SCORED]
    return ["## What gating costs\n", *found, ""] if found else []


def _effort(arena: Arena) -> str:
    seeds = min(len(row.records) for row in arena.rows)
    return f"{arena.passes:,} passes, {seeds} seeds{', provisional' if seeds < SETTLED else ''}"


def sensing(arenas: Sequence[Arena]) -> list[str]:
    """What the sensor is worth where nobody learns to choose: the random rows of the arenas on each task."""
    tables = []
    for task in dict.fromkeys(arena.task for arena in arenas):
        floors = [(arena, row) for arena in arenas if arena.task == task for row in arena.family(FLOOR)[:1]]
        if len(floors) > 1:
            floors.sort(key=lambda pair: -pair[1].above_chance("judge").mean())
            reached = [budget for budget in BUDGETS if any(budget in row.reached for _, row in floors)]
            head = ["arena", "what is drawn", *(f"{100 * budget:g} %" for budget in reached)]
            lines = [[arena.agent, estimator_of(row), *accuracies(row, "judge", reached)] for arena, row in floors]
            tables.append(f"On {escape.markdown(task)}, by the judge, in per cent:\n\n{pipe(head, lines, left=2)}")
    said = "Choices drawn at random, in each arena with its own predictor, trained on them in the same way."
    heading = f"## What the sensor is worth\n\n{said}\n"
    return [heading, *tables] if tables else []


def published(records: Iterable[Record]) -> list[Row]:
    """The rows that the duel's suites ask for and that fight in no arena: methods as they were published."""
    specs = [spec for name in suite_names() if name.startswith(PREFIX) for spec in read_suite(name).specs]
    found = rows_of(store.asked_by(specs, records))
    return [row for row in found if not row.about["reference"] and not fights(row.about)]


def beside(arenas: Sequence[Arena], rows: Iterable[Row]) -> list[str]:
    """Published methods, and how far the best row of each arena of their track is from them.

    Args:
        arenas: of the duel.
        rows: of published methods.
    """
    parts, several = [], sorted(rows, key=lambda row: -row.above_chance("judge").mean())
    for arena in arenas:
        best = next(iter(leaders(arena)), None)
        others = [row for row in several if best and row.track == arena.track and _comparable(row, best)]
        if best is None or not others:
            continue
        found = adjusted([dict(_judged(_differences(best, row))) for row in others])
        at = sorted({budget for one in found for budget in one})
        head = ["method", "seeds", *(f"{100 * budget:g} %" for budget in at)]
        lines = [[f"{arena.agent}: {estimator_of(best)}", str(len(best.records)), *accuracies(best, "judge", at)]]
        for row, differ in zip(others, found, strict=True):
            each = zip(accuracies(row, "judge", at), (differ.get(budget) for budget in at), strict=True)
            lines.append([escape.markdown(row.label), str(len(row.records)), *(_beside(*cell) for cell in each)])
        task = escape.markdown(arena.task)
        parts.append(f"{arena.agent} on {task} ({arena.track}), by the judge, in per cent:\n\n{pipe(head, lines)}")
    said = (
        "Methods as they were published, at their own sensors, networks, settings and training (docs/methods), beside "
        "the best row of each arena of their track. More than the learning signal differs, so this says whether an "
        "arena's best is a strong selector, and not why. In brackets: the arena's best less the method, points; "
        "bold where it is sure, after Holm's correction for the table."
    )
    return [f"## Published methods on the same task\n\n{said}\n", *parts] if parts else []


def _comparable(row: Row, other: Row) -> bool:
    """Whether two rows met the same test images and judge."""
    one, two = row.records[0].about, other.records[0].about
    return (one["task"]["test_sha256"], one["judge"]) == (two["task"]["test_sha256"], two["judge"])


def _beside(accuracy: str, difference: Difference | None) -> str:
    if difference is None:
        return accuracy
    sure = "**" if difference.p < SURE else ""
    return f"{accuracy} ({sure}{100 * difference.mean:+.1f}{sure})"


def in_short(arenas: Sequence[Arena]) -> str:
    """The whole answer in a few sentences, by the judge: who is ahead where, what would have been seen, what learning
    is worth."""
    each_found = duels(arenas)
    among = sum(map(len, each_found))
    fought = [(arena, found) for arena, found in zip(arenas, each_found, strict=True) if found]
    if not fought:
        return "The duel has not been run yet."
    ahead: dict[str, list[str]] = {RL: [], GRADIENT: []}
    detectable: list[float] = []
    learned: list[float] = []
    for arena, found in fought:
        for budget, each in _judged(found):
            if each.p < SURE:
                where = f"{arena.agent}, {100 * budget:g} %, by {points(abs(each.mean))} points"
                ahead[RL if each.mean > 0 else GRADIENT].append(where)
            else:
                detectable.append(each.detectable(among))
        if floor := _first(arena, FLOOR):
            learned += [
                each.mean for budget, each in _judged(differences(leaders(arena)[0], floor)) if budget == WORTH_AT
            ]
    shares = len(detectable) + sum(map(len, ahead.values()))
    names = ", ".join(f"{arena.agent} on {escape.markdown(arena.task)}" for arena, _ in fought)
    said = [f"{_PLURAL[family]} are surely ahead at {len(at)} ({'; '.join(at)})" for family, at in ahead.items() if at]
    text = f"By the judge, at {shares} shares of the image in {len(fought)} arena{'s' * (len(fought) > 1)} ({names}), "
    text += f"{', and '.join(said) or 'neither reinforcement learners nor gradients are surely ahead'}."
    if detectable:
        span = _span(detectable)
        text += f" Where neither is, a difference of {span} points would have been found four times in five."
    if learned:
        at = f"{100 * WORTH_AT:g} % of the image"
        text += f" At {at} the better one is worth {_span(learned)} points over a random choice."
    if few := [arena.agent for arena, _ in fought if min(len(row.records) for row in arena.rows) < SETTLED]:
        text += f" Provisional, with fewer than five seeds a row: {', '.join(few)}."
    return text


_PLURAL = {RL: "reinforcement learners", GRADIENT: "gradients"}


def _judged(found: Differences) -> list[tuple[float, Difference]]:
    return [(budget, each) for (by, budget), each in found.items() if by == "judge"]


def _first(arena: Arena, family: str) -> Row | None:
    return next(iter(arena.family(family)), None)


def _span(values: Sequence[float]) -> str:
    low, high = points(min(values)), points(max(values))
    return low if low == high else f"{low} to {high}"


WORDS = """## Words

- *arena*: an agent whose setting `estimator` is all that differs between its rows.
- *estimator*: the learning signal, of the family of reinforcement learning or of gradients.
- *gated*: the choice sees only what has been revealed before; *open*: it sees the whole image, and is judged by what it
  hands on.
- *passes*: canvases that the predictor has read for the selector's training, as many whole steps as fit in the same
  number for all rows of an arena that learn; *images*: those that they were drawn of, fewer for who compares several
  choices of one image.
- *bound*: the gain of every possible next choice is enumerated, which takes so many passes of each image that at equal
  passes others may be better.
- *same predictor*: of a row that learns no choice: the predictor is trained like that of the others.
- *own*: accuracy by the predictor that was trained with the choices; *judge*: by classifiers that no agent has met.
- *±* and *a to b*: 95 % intervals over images, seeds and members of the judge. *ahead*: after Holm's correction, too:
  between reinforcement learning and gradients for all their differences in all arenas, else for those of the two rows.
  *detectable*: so large must a true difference be to be found four times in five.
- *best*: on validation images at the end of training; nothing is chosen on test images.
"""


def _described(agent: str) -> str:
    """An arena in a line: what its file says first."""
    says = (sys.modules[agents.find(agent).__module__].__doc__ or "").partition(". ")[2]
    return f"- `{agent}`: {says[0].lower()}{says[1:].partition(';')[0]}.\n" if says else ""


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
    records = [*records]
    arenas = arenas_of(records)
    wanted = asked()
    have = {(arena.agent, arena.rows[0].records[0].task) for arena in arenas}
    parts = [
        "# Who chooses better, reinforcement learning or a gradient?\n",
        f"**{in_short(arenas)}**\n",
        "Written by `glimpse answer` from the records, and by nobody else. In an arena everything but the learning "
        "signal is the same: task, sensor, selector network, predictor, training set, optimiser and the number of "
        "canvases that the predictor reads. Words are explained at the end. Points are differences of accuracies in "
        "per cent.\n",
    ]
    each_found = duels(arenas)
    among = sum(map(len, each_found))
    for arena, found in zip(arenas, each_found, strict=True):
        suite = wanted.get((arena.agent, arena.rows[0].records[0].task))
        parts.append(answer(arena, suite, found, among))
    parts += [*gating(arenas), *sensing(arenas), *beside(arenas, published(records))]
    missing = [(agent, task, suite) for (agent, task), suite in wanted.items() if (agent, task) not in have]
    if missing:
        parts.append("## Not run yet\n")
        parts += [f"- {agent} on {task}: `glimpse sweep {suite}`" for agent, task, suite in missing]
        parts.append("")
    parts.append(WORDS + "".join(map(_described, sorted({agent for agent, _ in [*have, *wanted]}))))
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
