"""ANSWER.md: per arena and task who chooses better, reinforcement learning or a gradient, by how much and how surely.

A function of the records. An arena is an agent whose setting `estimator` is all that differs between its rows; within
one, rows of the same task, of as many predictor passes and of the objective that all share are compared. Of each family
the row is taken that is best on the validation images at the end of training, so that nothing is chosen on the test
images that it is then compared on. What has no records is said to be not run yet, with the command that runs it.
"""

from __future__ import annotations

import itertools
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np

from glimpsebench import agents
from glimpsebench.bench import escape, store
from glimpsebench.bench.answer import published
from glimpsebench.bench.answer.ahead import (
    BUDGETS,
    SCORED,
    SURE,
    Differences,
    accuracies,
    differences,
    duels,
    judged,
    points,
    sentence,
    span,
)
from glimpsebench.bench.answer.arenas import (
    FLOOR,
    GRADIENT,
    RL,
    Arena,
    arena_of,
    arenas_of,
    at_seconds,
    common_seconds,
    curves_at,
    estimator_of,
    family_of,
    first,
    leaders,
    sensor_of,
    shows,
    validation,
)
from glimpsebench.bench.answer.published import PREFIX
from glimpsebench.bench.compare import pipe
from glimpsebench.bench.records import Record, read_all
from glimpsebench.bench.rows import SETTLED, Row
from glimpsebench.bench.stats import Difference, over_seeds, welch
from glimpsebench.bench.suites import read_suite, suite_names
from glimpsebench.envs.errors import UsageError

WORTH_AT = 0.05
"""The share of the image at which the first sentences say what learning is worth."""


def answer(arena: Arena, suite: str | None, found: Differences, among: int) -> str:
    """What the records of one arena say, in sentences, and the table that they are read from.

    Args:
        arena: with its rows.
        suite: that asks for its runs, if one does.
        found: who is ahead in it (`duels`).
        among: how many differences all arenas have.
    """
    best = {family: first(arena, family) for family in (RL, GRADIENT, FLOOR)}
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
        lines += [f"- {said}" for said in (alone(rl, gradient), alone(gradient, rl)) if said]
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


def alone(row: Row, other: Row) -> str:
    """What a row has at shares that the other does not reach, as its choices overlap or it stops before; "" if none."""
    at = [budget for budget in BUDGETS if budget in row.reached and budget not in other.reached]
    each = [
        f"{100 * budget:g} % ({cell} by the judge)"
        for budget, cell in zip(at, accuracies(row, "judge", at), strict=True)
    ]
    return f"{estimator_of(row)} alone reaches {'; '.join(each)}: there is nothing to compare." if each else ""


def _older(arena: Arena, suite: str | None) -> str:
    """What to say where a suite asks for other runs today than those that an arena has."""
    if suite is None:
        return ""
    plan = read_suite(suite)
    its_agents = {spec.agent for spec in plan.specs}
    mine = [record for row in arena.rows if row.about["name"] in its_agents for record in row.records]
    return ", by earlier code than today's, which would run some of them again" * store.is_outdated(plan, mine)


def equal_seconds(rows: Sequence[Row]) -> str:
    """Validation accuracy at the seconds that the fastest took, which all of them had; and how far the first two are
    apart."""
    seconds = common_seconds(rows)
    if not np.isfinite(seconds):
        return "At equal seconds: the records have no times.\n"
    parts, known = [], {}
    for row in rows:
        values_S = at_seconds(row, seconds)
        if values_S is None and validation(row):
            parts.append(f"{estimator_of(row)} not measured yet in every run")
        elif values_S is not None:
            known[estimator_of(row)] = values_S
            found = over_seeds(values_S)
            low, high = max(found.low, 0.0), min(found.high, 1.0)
            interval = f" ({points(low)} to {points(high)})" if np.isfinite(found.low) else ""
            parts.append(f"{estimator_of(row)} {points(found.mean)} %{interval}")
    if len(known) > 1 and all(len(values_S) > 1 for values_S in known.values()):
        one, other = [*known][:2]
        apart = welch(known[one], known[other])
        interval = f"{points(apart.mean)} points ({points(apart.low)} to {points(apart.high)}, over seeds)"
        parts.append(f"{one} − {other} {interval}")
    text = ", ".join(parts) or "no run had been measured by then"
    return (
        f"At equal seconds, {seconds:.1f} s of one core for the selector, "
        f"validation accuracy at {curves_at(rows)}: {text}.\n"
    )


def table(arena: Arena) -> str:
    """Every row of an arena, the best by the judge first (a share that it does not reach counts as chance): accuracies
    by the judge and by its own predictor, what an audit of it found, and what it cost."""
    reached = [each for each in BUDGETS if any(each in row.reached for row in arena.rows)]
    rows = sorted(arena.rows, key=lambda row: -np.nan_to_num(row.means("judge", reached), nan=row.chance).mean())
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
        audit = row.verdict or "not audited"
        lines.append([estimator_of(row), audit, str(len(row.records)), parameters, *counts, seconds])
    costs = pipe(["estimator", "audit", "seeds", "parameters", "passes", "images", "training, s"], lines, left=2)
    return "\n".join([*parts, f"What an audit found, and what it cost, a run:\n\n{costs}"])


def gating(arenas: Sequence[Arena]) -> list[str]:
    """What it costs not to see the image while choosing: the best of an open and of a gated arena of one sensor."""
    found = []
    for gated, free in itertools.product(arenas, repeat=2):
        alike = gated.task == free.task and sensor_of(gated.rows[0]) == sensor_of(free.rows[0])
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


def in_short(arenas: Sequence[Arena], methods: Iterable[Row] = ()) -> list[str]:
    """The whole answer in a few sentences, by the judge: who is ahead where, what would have been seen, what learning
    is worth, and how strong the arenas' best are beside published methods."""
    each_found = duels(arenas)
    among = sum(map(len, each_found))
    fought = [(arena, found) for arena, found in zip(arenas, each_found, strict=True) if found]
    if not fought:
        return ["The duel has not been run yet."]
    ahead: dict[str, list[str]] = {RL: [], GRADIENT: []}
    detectable: list[float] = []
    learned: list[float] = []
    for arena, found in fought:
        for budget, each in judged(found):
            if each.p < SURE:
                size = f"{arena.agent}, {100 * budget:g} %, by {points(abs(each.mean))} points"
                ahead[RL if each.mean > 0 else GRADIENT].append(size)
            else:
                detectable.append(each.detectable(among))
        if floor := first(arena, FLOOR):
            learned += [
                each.mean for budget, each in judged(differences(leaders(arena)[0], floor)) if budget == WORTH_AT
            ]
    count = len(detectable) + sum(map(len, ahead.values()))
    where = ", ".join(f"{arena.agent} on {escape.markdown(arena.task)}" for arena, _ in fought)
    won = [f"{_PLURAL[family]} are surely ahead in {len(at)} ({'; '.join(at)})" for family, at in ahead.items() if at]
    said = [
        f"The best reinforcement learner of an arena against its best gradient, by the judge: of {count} comparisons, "
        f"in {len(fought)} arena{'s' * (len(fought) > 1)} ({where}) and at up to {len(BUDGETS)} shares of the image in "
        f"each, {', and '.join(won) or 'neither is surely ahead in any'}."
    ]
    if detectable:
        said.append(
            f"Where neither is, a true difference of {span(detectable)} points would have been found four times in "
            "five."
        )
    for arena, _ in fought:
        pair = leaders(arena)
        names = " against ".join(f"{estimator_of(one)} ({family_of(one)})" for one in pair)
        said += [
            f"In {arena.agent} on {escape.markdown(arena.task)}, {names}: {one}"
            for one in (alone(*pair), alone(*reversed(pair)))
            if one
        ]
    if learned:
        said.append(
            f"What learning to choose is worth: at {100 * WORTH_AT:g} % of the image the better of the two (on "
            f"validation images) is {span(learned)} points above a random choice, from arena to arena."
        )
    said += published.in_short(published.beside(arenas, methods))
    if few := [arena.agent for arena, _ in fought if min(len(row.records) for row in arena.rows) < SETTLED]:
        said.append(f"Provisional, with fewer than five seeds a row: {', '.join(few)}.")
    return said


_PLURAL = {RL: "reinforcement learners", GRADIENT: "gradients"}


def at_a_glance(arenas: Sequence[Arena]) -> list[str]:
    """A table: of each arena the best of either family, their difference and a random choice, by the judge."""
    lines = []
    for arena, found in zip(arenas, duels(arenas), strict=True):
        rl, gradient, floor = (first(arena, family) for family in (RL, GRADIENT, FLOOR))
        if rl is None or gradient is None:
            continue
        which = [f"{arena.agent} on {escape.markdown(arena.task)}", f"{arena.track}, {shows(rl)}", "", ""]
        less = dict(judged(found))
        both = ((rl, RL), (gradient, GRADIENT))
        block = [[f"{estimator_of(row)} ({family})", *accuracies(row, "judge", BUDGETS)] for row, family in both]
        block.append(["difference", *(_difference(less[at]) if at in less else "·" for at in BUDGETS)])
        if floor is not None:
            block.append([estimator_of(floor), *accuracies(floor, "judge", BUDGETS)])
        lines += [[name, *cells] for name, cells in zip(which, block, strict=False)]
    if not lines:
        return []
    head = ["arena", "who", *(f"{100 * budget:g} %" for budget in BUDGETS)]
    said = (
        "Accuracy by the judge, in per cent, of the best of either family on validation images; *difference*: "
        "reinforcement learning less gradient, points, bold where it is sure."
    )
    return [f"## At a glance\n\n{said}\n", pipe(head, lines, left=2)]


def _difference(each: Difference) -> str:
    sure = "**" if each.p < SURE else ""
    reach = max(each.high - each.mean, each.mean - each.low)
    return f"{sure}{100 * each.mean:+.1f} ± {points(reach)}{sure}"


WORDS = """## Words

- *arena*: a contest in which all rows have the same task, sensor, networks, training images, optimiser and number of
  canvases read; they differ in the estimator alone. Each is an agent of this package, by whose name it is called.
- *estimator*: by what a row's selector learns; its family is reinforcement learning (the reward of choices that were
  drawn) or gradient (the derivative of the loss, through a relaxed or straight-through choice); a mixture of both
  counts for neither.
- *gated*: the choice sees only what has been revealed before; *open*: it sees the whole image, and is judged by what it
  hands on.
- *passes*: canvases that the predictor has read for the selector's training, as many whole steps as fit in the same
  number for all rows of an arena that learn; *images*: those that they were drawn of, fewer for who compares several
  choices of one image.
- *bound*: the gain of every possible next choice is enumerated, which takes so many passes of each image that at equal
  passes others may be better.
- *same predictor*: of a row that learns no choice: the predictor is trained like that of the others.
- *own*: accuracy by the predictor that was trained with the choices; *judge*: by classifiers that no agent has met.
- *±* and *a to b*: 95 % intervals over images, seeds and members of the judge; at equal seconds, over seeds alone.
- *ahead* and *sure*: after Holm's correction for all differences that are tested together, so that if nobody were
  better, any of them would be called sure at most five times in a hundred. Tested together are: reinforcement learning
  against gradient in all arenas, at all shares, by both scores; and else the differences of one list or table.
- *detectable*: so large must a true difference be to be found four times in five.
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
    arenas, methods = arenas_of(records), published.methods(records)
    wanted = asked()
    have = {(arena.agent, arena.rows[0].records[0].task) for arena in arenas}
    parts = [
        "# Who chooses better, reinforcement learning or a gradient?\n",
        "".join(f"- {said}\n" for said in in_short(arenas, methods)),
        "Written by `glimpse answer` from the records, and by nobody else. In an arena everything but the learning "
        "signal is the same: task, sensor, selector network, predictor, training set, optimiser and the number of "
        "canvases that the predictor reads. Words are explained at the end. Points are differences of accuracies in "
        "per cent.\n",
        *at_a_glance(arenas),
    ]
    each_found = duels(arenas)
    among = sum(map(len, each_found))
    for arena, found in zip(arenas, each_found, strict=True):
        suite = wanted.get((arena.agent, arena.rows[0].records[0].task))
        parts.append(answer(arena, suite, found, among))
    parts += [*gating(arenas), *sensing(arenas), *published.section(published.beside(arenas, methods))]
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
