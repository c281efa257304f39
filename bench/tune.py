"""Tuning: the same number of validation trials for every entry of a suite's `[tune]` table, by random search.

    [tune]
    trials = 12                          # of each entry, no more and no fewer
    budgets = [0.02, 0.05, 0.1, 0.2]     # score: the mean own accuracy on validation images at these
    seed = 1000                          # of the first trial; trial n draws settings and trains with seed + n

    [[tune.entry]]
    agent = "subset"
    "agent.estimator" = "reinforce"
    [tune.entry.ranges]
    "agent.lr" = { low = 1e-3, high = 2e-2 }      # log-uniform
    "agent.samples" = [2, 4, 8]                   # one of these

An entry is trained on the base's task, as the base says, with what a trial draws. Settings that say how long training
lasts are no settings to search: they must be equal for all entries. A trial's record is a JSON file that is written
when the trial is over, so that the same command goes on where it was stopped; the test images are closed throughout.
"""

from __future__ import annotations

import functools
import json
import math
import multiprocessing
import re
import signal
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from glimpsebench import agents
from glimpsebench.agents.common.base import BUDGETS, Diverged
from glimpsebench.bench import escape, judges, records, suites
from glimpsebench.bench.rollout import rollout
from glimpsebench.bench.run import Spec
from glimpsebench.envs import datasets
from glimpsebench.envs.errors import UsageError, unknown

BUDGET_SETTING = re.compile(r"(^|_)(steps|passes|epochs|batch|width)$|^glimpses$")
"""Settings that say how long training lasts, how much it sees and how large a network is; `epochs` and
`gradient_steps` of an estimator over what it has seen already are ones to search, since they add no passes."""
SEARCHED = ("agent.epochs", "agent.gradient_steps")
Table = Mapping[str, Any]


@dataclass(frozen=True)
class Plan:
    """What a suite's `[tune]` table asks for.

    Attributes:
        entries: for each contender its flat settings, without those that are searched, and the ranges of these.
    """

    suite: str
    title: str
    trials: int
    budgets: tuple[float, ...]
    seed: int
    entries: tuple[tuple[dict[str, Any], dict[str, Any]], ...]

    def spec(self, entry: int, trial: int) -> Spec:
        """The run of a trial: its settings follow from the plan's seed, the entry and the trial alone."""
        fixed, ranges = self.entries[entry]
        rng = np.random.default_rng([self.seed, entry, trial])
        drawn = {key: draw(ranges[key], rng) for key in sorted(ranges)}
        return suites.spec_of({**fixed, **drawn, "seed": self.seed + trial})


@dataclass(frozen=True)
class Trial:
    """What came of one trial.

    Attributes:
        score: the mean own accuracy at the plan's budgets, 0 at one that is not reached; None if it diverged.
    """

    spec: Spec
    score: float | None
    seconds: float


def read_plan(name: str) -> Plan:
    """The `[tune]` table of the suite of this name or at this path, checked.

    Raises:
        UsageError: there is none, or something in it does not fit; the message names file, key and remedy.
    """
    path = suites.path_of(name)
    content = suites.content_of(path)
    try:
        return _plan(path.stem, content)
    except UsageError as error:
        raise UsageError(f"{path}: tune: {error}") from None


def _plan(name: str, content: Table) -> Plan:
    table = content.get("tune")
    if not isinstance(table, dict):
        raise UsageError("no [tune] table: write one with trials and [[tune.entry]] tables")
    keys = ("trials", "budgets", "seed", "entry")
    for key in table:
        if key not in keys:
            raise unknown("key", key, keys)
    trials, seed = table.get("trials"), table.get("seed", 1000)
    if not isinstance(trials, int) or isinstance(trials, bool) or trials < 1:
        raise UsageError(f"'trials' must be a whole number, 1 or more, not {trials!r}")
    if not isinstance(seed, int) or isinstance(seed, bool) or seed < 0:
        raise UsageError(f"'seed' must be a whole number, 0 or more, not {seed!r}")
    budgets = table.get("budgets", [0.02, 0.05, 0.1, 0.2])
    if not isinstance(budgets, list) or not budgets or any(each not in BUDGETS for each in budgets):
        raise UsageError(f"'budgets' must be a list of these: {', '.join(map(str, BUDGETS))}")
    base = suites.flat(content.get("base", {}))
    base.pop("seed", None)
    entries = table.get("entry", [])
    if not isinstance(entries, list) or not entries:
        raise UsageError("no [[tune.entry]]: write one for each contender that is to be tuned")
    read = tuple(_entry(number, base, entry) for number, entry in enumerate(entries, 1))
    plan = Plan(name, content.get("title", name), trials, tuple(budgets), seed, read)
    _check_equal(plan)
    return plan


def _entry(number: int, base: Table, entry: Table) -> tuple[dict[str, Any], dict[str, Any]]:
    if not isinstance(entry, dict):
        raise UsageError(f"entry {number} must be a table")
    ranges = entry.get("ranges", {})
    fixed = {**base, **suites.flat({key: value for key, value in entry.items() if key != "ranges"})}
    if not isinstance(ranges, dict):
        raise UsageError(f"entry {number}: 'ranges' must be a table of settings")
    ranges = suites.flat(ranges)
    for key, value in fixed.items():
        if isinstance(value, list):
            raise UsageError(f"entry {number}: '{key}' is a list: give it one value here, or search it under 'ranges'")
    for key, wanted in ranges.items():
        if not key.startswith("agent."):
            raise UsageError(f"entry {number}: '{key}' cannot be searched: only settings of the agent, agent.NAME")
        if BUDGET_SETTING.search(key.removeprefix("agent.")) and key not in SEARCHED:
            raise UsageError(f"entry {number}: '{key}' is part of the budget, which is equal for all: set it in [base]")
        if key in fixed:
            raise UsageError(f"entry {number}: '{key}' is set and searched: leave one out")
        _check_range(f"entry {number}: '{key}'", wanted)
        for value in wanted if isinstance(wanted, list) else (wanted["low"], wanted["high"]):
            suites.spec_of({**fixed, key: value}).make()
    suites.spec_of(fixed).make()
    return fixed, ranges


def _check_range(what: str, wanted: Any) -> None:
    if isinstance(wanted, list) and wanted:
        return
    if isinstance(wanted, dict) and {*wanted} <= {"low", "high", "scale"} and {"low", "high"} <= {*wanted}:
        low, high, scale = wanted["low"], wanted["high"], wanted.get("scale", "log")
        numbers = all(isinstance(each, int | float) and not isinstance(each, bool) for each in (low, high))
        if numbers and low < high and (scale == "linear" or (scale == "log" and low > 0)):
            return
    raise UsageError(f'{what}: a list of values, or {{ low = …, high = … }}, log-uniform unless scale = "linear"')


def _check_equal(plan: Plan) -> None:
    """Every entry has the same budget: whatever says how long it trains is equal."""
    budgets: dict[str, set[str]] = {}
    for fixed, _ in plan.entries:
        agent, _task = suites.spec_of(fixed).make()
        for key, value in records.settings_of(agent).items():
            if BUDGET_SETTING.search(key) and f"agent.{key}" not in SEARCHED:
                budgets.setdefault(key, set()).add(json.dumps(value))
    for key, values in budgets.items():
        if len(values) > 1:
            raise UsageError(f"'agent.{key}' differs between entries ({', '.join(sorted(values))}): set it in [base]")


def draw(wanted: Any, rng: np.random.Generator) -> Any:
    """A value from a list, or between `low` and `high`, log-uniform unless `scale` is linear; three digits of it.

    >>> draw([2], np.random.default_rng(0)), draw({"low": 1.0, "high": 1.001}, np.random.default_rng(0))
    (2, 1.0)
    """
    if isinstance(wanted, list):
        return wanted[int(rng.integers(len(wanted)))]
    low, high = float(wanted["low"]), float(wanted["high"])
    if wanted.get("scale", "log") == "linear":
        return float(f"{rng.uniform(low, high):.3g}")
    return float(f"{math.exp(rng.uniform(math.log(low), math.log(high))):.3g}")


def path_of(folder: Path, plan: Plan, spec: Spec) -> Path:
    """Where the record of a trial belongs: it is addressed by all that its score depends on."""
    asked = {"run": records.asked(spec.about()), "budgets": plan.budgets, "split": "validation"}
    return folder / f"{records.digest(asked)}.json"


def tune(
    plan: Plan, folder: Path, around: Callable[[Sequence[Any]], Iterable[Any]] = iter, workers: int = 1
) -> list[list[Trial]]:
    """Run the trials that have no record yet, and return those of each entry, in the plan's order.

    Args:
        plan: what is tried.
        folder: of the trials' records.
        around: wraps the list of trials, for a progress bar.
        workers: trials at a time, each in a process of its own; one runs here.

    Raises:
        UsageError: such a process was killed.
    """
    folder.mkdir(parents=True, exist_ok=True)
    # Trial by trial, so that a search that is stopped has tried all entries equally often.
    specs = [plan.spec(entry, trial) for trial in range(plan.trials) for entry in range(len(plan.entries))]
    for _, task in (spec.make() for spec in specs[: len(plan.entries)]):
        for each in judges.missing(task):
            each.run(iter)
    with _mapping(workers) as mapped:
        keep = functools.partial(_keep, plan, folder)
        for _ in zip(around(specs), mapped(keep, specs), strict=True):
            pass
    found: list[list[Trial]] = [[] for _ in plan.entries]
    for number, spec in enumerate(specs):
        about = json.loads(path_of(folder, plan, spec).read_text())
        found[number % len(found)].append(Trial(spec, about["score"], about["seconds"]))
    return found


@contextmanager
def _mapping(workers: int) -> Iterator[Callable[..., Iterable[None]]]:
    """`map`, in so many processes. What they are at when a search is stopped they finish and record."""
    if workers == 1:
        yield map
        return
    pool = ProcessPoolExecutor(
        workers, multiprocessing.get_context("spawn"), signal.signal, (signal.SIGINT, signal.SIG_IGN)
    )
    try:
        yield pool.map
    except BrokenProcessPool:
        raise UsageError(
            "a trial's process was killed, perhaps for memory: the same command goes on, --workers 1 takes less"
        ) from None
    finally:
        pool.shutdown(cancel_futures=True)


def _keep(plan: Plan, folder: Path, spec: Spec) -> None:
    """Record a trial that has no record."""
    path = path_of(folder, plan, spec)
    if not path.exists():
        _write(path, _run(spec, plan.budgets))


def _run(spec: Spec, budgets: Sequence[float]) -> dict[str, Any]:
    """Train and look at the validation images, and at no others."""
    torch.set_num_threads(1)
    agent, task = spec.make()
    torch.manual_seed(spec.seed)
    began = time.perf_counter()
    accuracies: dict[str, float] = {}
    status, score = "done", None
    with datasets.test_split_closed():
        try:
            agent.prepare(task)
            agent.fit(task, spec.seed, iter)
            images = task.val()
            episodes = rollout(agent, images, spec.seed)
            right_F = (episodes.predicted_FN == np.asarray(images.labels_N)).mean(1)
            accuracies = {f"{budget:g}": float(value) for budget, value in zip(agent.budgets, right_F, strict=True)}
            score = float(np.mean([accuracies.get(f"{budget:g}", 0.0) for budget in budgets]))
        except Diverged as error:
            status = f"diverged: {error}"
    return {
        "agent": spec.agent,
        "settings": dict(spec.agent_settings),
        "task": spec.task,
        "task_settings": dict(spec.task_settings),
        "seed": spec.seed,
        "source": agents.source_hash(spec.agent),
        "split": "validation",
        "status": status,
        "score": score,
        "accuracies": accuracies,
        "findings": agent.findings,
        "seconds": round(time.perf_counter() - began, 3),
    }


def _write(path: Path, about: Mapping[str, Any]) -> None:
    temporary = path.with_suffix(".part")
    temporary.write_text(records.canonical(about))
    temporary.replace(path)


def best(trials: Sequence[Trial]) -> Trial | None:
    """The one with the highest score, the first among equals; None if all diverged."""
    ended = [trial for trial in trials if trial.score is not None]
    return max(ended, key=lambda trial: trial.score or 0.0, default=None)


def winners(plan: Plan, found: Sequence[Sequence[Trial]], seeds: Sequence[int]) -> str:
    """A suite file of each entry's best settings.

    Raises:
        UsageError: all trials of an entry diverged.
    """
    lines = [
        f"# What {plan.trials} validation trials of each entry chose: written by `glimpse tune {plan.suite}`.",
        "",
        f"title = {_toml(f'{plan.title}, tuned')}",
        "",
        "[base]",
        f"seed = {list(seeds)}",
    ]
    for (fixed, _), trials in zip(plan.entries, found, strict=True):
        chosen = best(trials)
        if chosen is None:
            raise UsageError(f"all trials of {fixed} diverged: narrow its ranges")
        spec = chosen.spec
        lines += ["", "[[matrix]]", f"agent = {_toml(spec.agent)}", f"task = {_toml(spec.task)}"]
        lines += [f"{_toml(f'agent.{key}')} = {_toml(value)}" for key, value in spec.agent_settings.items()]
        lines += [f"{_toml(f'task.{key}')} = {_toml(value)}" for key, value in spec.task_settings.items()]
    return "\n".join(lines) + "\n"


def _toml(value: Any) -> str:
    """A value as TOML: JSON is, for text, numbers and booleans."""
    return json.dumps(value)


def table(plan: Plan, found: Sequence[Sequence[Trial]]) -> list[list[str]]:
    """Per entry: its name, how many trials it had, their scores' range, and the best one's settings."""
    rows = []
    for (fixed, ranges), trials in zip(plan.entries, found, strict=True):
        own = ", ".join(f"{k.partition('.')[2]}={v}" for k, v in fixed.items() if k.startswith("agent."))
        scores, chosen = [100 * trial.score for trial in trials if trial.score is not None], best(trials)
        drawn = {} if chosen is None else {key.partition(".")[2]: None for key in ranges}
        settings = ", ".join(f"{key}={chosen.spec.agent_settings[key]}" for key in drawn) if chosen else "all diverged"
        span = f"{min(scores):.1f} to {max(scores):.1f}" if scores else "·"
        name = f"{fixed['agent']} ({own})" if own else str(fixed["agent"])
        rows.append([escape.terminal(name), str(len(trials)), span, escape.terminal(settings)])
    return rows
