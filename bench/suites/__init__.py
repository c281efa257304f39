"""Suites: what to run. A suite is a TOML file: a title, matrices of runs, and the comparisons that are to be written.

The files lie beside this module; `read_suite` takes a name of theirs or the path of one of your own.
"""

from __future__ import annotations

import itertools
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from glimpsebench.bench.compare import ALL, MEASURES, Comparison
from glimpsebench.bench.run import Spec
from glimpsebench.envs.errors import UsageError, unknown

FOLDER = Path(__file__).parent


@dataclass(frozen=True)
class Suite:
    """A named list of runs, and the comparisons that are to be written beside their leaderboard."""

    name: str
    title: str
    specs: tuple[Spec, ...]
    comparisons: tuple[Comparison, ...] = ()


def suite_names() -> list[str]:
    """The suites that come with the package."""
    return sorted(path.stem for path in FOLDER.glob("*.toml"))


def read_suite(name: str) -> Suite:
    """The suite of this name, or in the TOML file at this path; every run in it is checked.

    Raises:
        UsageError: no such suite, not TOML, an unknown key, agent, task or setting, or a value that does not fit.
    """
    path = Path(name) if name.endswith(".toml") else FOLDER / f"{name}.toml"
    if not path.exists():
        if name.endswith(".toml"):
            raise UsageError(f"{path}: no such suite file")
        raise unknown("suite", name, suite_names())
    try:
        content = tomllib.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise UsageError(f"{path}: not a suite file: {error}") from None
    for key in content:
        if key not in _KEYS:
            raise UsageError(f"{path}: {unknown('key', key, _KEYS)}")
    matrices, comparisons = content.get("matrix", [{}]), content.get("compare", [])
    if not isinstance(content.get("base", {}), dict) or not _are_tables(matrices) or not _are_tables(comparisons):
        raise UsageError(
            f"{path}: 'base' must be a table, 'matrix' and 'compare' arrays of tables ([[matrix]], [[compare]])"
        )
    specs: list[Spec] = []
    for number, matrix in enumerate(matrices, 1):
        try:
            for spec in expand({**content.get("base", {}), **matrix}):
                spec.make()
                if spec not in specs:
                    specs.append(spec)
        except UsageError as error:
            raise UsageError(f"{path}: matrix {number}: {error}") from None
    wanted: list[Comparison] = []
    for number, table in enumerate(comparisons, 1):
        try:
            wanted += comparisons_of(table)
        except UsageError as error:
            raise UsageError(f"{path}: compare {number}: {error}") from None
    return Suite(path.stem, str(content.get("title", path.stem)), tuple(specs), tuple(wanted))


_KEYS = ("title", "base", "matrix", "compare")


def _are_tables(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(entry, dict) for entry in value)


def comparisons_of(table: Mapping[str, Any]) -> Iterator[Comparison]:
    """A suite's `[[compare]]` table: `name`, `b`, `a` (every contender unless told) and one or more of `measure`.

    >>> [each.file for each in comparisons_of({"name": "against-x", "b": "x", "measure": ["own", "iou"]})]
    ['against-x-own.md', 'against-x-iou.md']
    """
    keys = ("name", "a", "b", "measure")
    for key in table:
        if key not in keys:
            raise unknown("key", key, keys)
    for key in ("name", "b"):
        if not isinstance(table.get(key), str):
            raise UsageError(f"a comparison needs '{key}', a text")
    measures = table.get("measure", "evaluator")
    for measure in measures if isinstance(measures, list) else [measures]:
        if measure not in MEASURES:
            raise unknown("measure", str(measure), MEASURES)
        yield Comparison(table["name"], table["b"], str(table.get("a", ALL)), measure)


def expand(table: Mapping[str, Any]) -> Iterator[Spec]:
    """The product of a table's lists, as specifications; the last keys vary fastest.

    >>> [str(spec) for spec in expand({"agent": ["ram", "full"], "task": "digits", "seed": 3})]
    ['ram on digits, seed 3', 'full on digits, seed 3']
    """
    axes = [value if isinstance(value, list) else [value] for value in table.values()]
    for values in itertools.product(*axes):
        yield spec_of(dict(zip(table, values, strict=True)))


def spec_of(entries: Mapping[str, Any]) -> Spec:
    """A specification from flat entries: `agent`, `task`, `seed`, `agent.SETTING`, `task.SETTING`."""
    plain: dict[str, Any] = {}
    settings: dict[str, dict[str, Any]] = {"agent": {}, "task": {}}
    for key, value in entries.items():
        whose, _, setting = key.partition(".")
        if key in ("agent", "task", "seed"):
            plain[key] = value
        elif whose in settings and setting:
            settings[whose][setting] = value
        else:
            raise unknown("key", key, ("agent", "task", "seed", f"agent.{key}", f"task.{key}"))
    for key, kind in (("agent", str), ("task", str), ("seed", int)):
        if key in plain and (not isinstance(plain[key], kind) or isinstance(plain[key], bool)):
            raise UsageError(f"'{key}' must be {'a whole number' if kind is int else 'text'}, not {plain[key]!r}")
        if key not in plain and key != "seed":
            raise UsageError(f"a run needs '{key}'")
    if plain.get("seed", 0) < 0:
        raise UsageError(f"'seed' must be 0 or more, not {plain['seed']}")
    return Spec(**plain, agent_settings=settings["agent"], task_settings=settings["task"])
