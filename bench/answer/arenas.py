"""Arenas: the rows that differ in the learning signal alone, their families, and how far their learning had come when.

Shapes: P points of a learning curve.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from glimpsebench import agents
from glimpsebench.agents.common.duel import DuelAgent
from glimpsebench.bench import escape
from glimpsebench.bench.records import Record
from glimpsebench.bench.rows import Row, rows_of

Array = NDArray[Any]

SHARED_OBJECTIVE = "likelihood"
RL, GRADIENT, FLOOR = "reinforcement learning", "gradient", "floor"
SELECTOR = "selector"
"""The stage of a training curve that is of the choice; its steps are predictor passes."""


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


def at_seconds(row: Row, limit: float) -> Array | None:
    """Each run's validation accuracy that had been reached within so many seconds of training; None if one has none."""
    return _reached([(seconds_P, value_P) for _, seconds_P, value_P in validation(row)], limit)


def at_passes(row: Row, limit: float) -> Array | None:
    """The same within so many predictor passes."""
    return _reached([(passes_P, value_P) for passes_P, _, value_P in validation(row)], limit)


def _reached(curves: Sequence[tuple[Array, Array]], limit: float) -> Array | None:
    values = []
    for at_P, value_P in curves:
        within = np.flatnonzero(at_P <= limit)
        if not len(within):
            return None
        values.append(value_P[within[-1]])
    return np.array(values) if values else None


def common_seconds(rows: Sequence[Row]) -> float:
    """The seconds at which the fastest of these had ended its selector's training; NaN without times."""
    ends = [np.mean([seconds_P[-1] for _, seconds_P, _ in found]) for row in rows if (found := validation(row))]
    return float(min(ends, default=np.nan))


def leaders(arena: Arena) -> list[Row]:
    """The best row of either family that learns, as far as there is one; the better one on validation images first."""
    best = [row for family in (RL, GRADIENT) for row in arena.family(family)[:1]]
    return sorted(best, key=lambda row: -last_validation(row))


def first(arena: Arena, family: str) -> Row | None:
    """The best row of a family on validation images; None without any."""
    return next(iter(arena.family(family)), None)


def curves_at(rows: Sequence[Row]) -> str:
    """The part of the image at which the learning curves of an arena's rows are measured."""
    agent = agents.find(str(rows[0].about["name"]))
    return f"{100 * agent.curve_at:g} % of the image" if issubclass(agent, DuelAgent) else "the curves' budget"


def sensor_of(row: Row) -> str:
    """What a row points, whether its parts are chosen at once or one after another."""
    return re.sub(r", at_once=\w+", "", str(row.about["sensor"]))


def shows(row: Row) -> str:
    """The same in words: what one choice shows."""
    sensor = sensor_of(row)
    if found := re.match(r"Mask\(cell=(\d+)", sensor):
        return "single pixels" if found[1] == "1" else f"{found[1]}×{found[1]} cells"
    if found := re.match(r"Window\(size=(\d+), scales=1,", sensor):
        return f"{found[1]}×{found[1]} windows"
    return "a window of any size" if sensor.startswith("Crop(") else escape.markdown(sensor)
