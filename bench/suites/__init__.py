"""Suites: what to run. A suite is a TOML file: a title, matrices of runs, and the comparisons that are to be written.

    title = "…"
    floors = true                # all floors of each task and the ceiling; false, or a list: of these agents alone
    [base]                       # what all runs share: agent, task, seed, agent.SETTING, task.SETTING
    [[matrix]]                   # the same keys; lists are multiplied out
    [[compare]]                  # name, b, a (every contender unless told), measure: a table beside the leaderboard

Floors and the ceiling are added to each task of the suite unless a matrix has them, in the variants in which they stand
(`Agent.variants`), with the seeds of the base, or else of all runs on that task, and trained as the base says: its
`predictor_steps`, with them its `batch`, `lr` and `width`, which without are some agent's own, and the `size` of its
windows, which without a base are the defaults.

The files lie beside this module; `read_suite` takes a name of theirs or the path of one of your own.
"""

from __future__ import annotations

import itertools
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from glimpsebench import agents
from glimpsebench.bench.compare import ALL, MEASURES, Comparison, matching
from glimpsebench.bench.leaderboard import labels_of
from glimpsebench.bench.records import canonical, settings_of
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
    try:
        specs += floors_for(specs, content.get("base", {}), content.get("floors", True))
    except UsageError as error:
        raise UsageError(f"{path}: floors: {error}") from None
    wanted: list[Comparison] = []
    labels = labels_of([spec.about() for spec in specs])
    for number, table in enumerate(comparisons, 1):
        try:
            for comparison in comparisons_of(table):
                for label in {comparison.a, comparison.b} - {ALL}:
                    matching({name for _, name in labels}, label)
                wanted.append(comparison)
        except UsageError as error:
            raise UsageError(f"{path}: compare {number}: {error}") from None
    return Suite(path.stem, str(content.get("title", path.stem)), tuple(specs), tuple(wanted))


_KEYS = ("title", "floors", "base", "matrix", "compare")
_TRAINING = ("predictor_steps", "batch", "lr", "width")


def floors_for(specs: Sequence[Spec], base: Mapping[str, Any], wanted: bool | Sequence[str]) -> list[Spec]:
    """The runs of floors and ceiling that a suite of these runs has beside them.

    Args:
        specs: the runs of its matrices.
        base: its base, from which come seeds, training and window size.
        wanted: all, none, or those of these agents.
    """
    references = [name for name in agents.names() if agents.find(name).reference]
    if not isinstance(wanted, bool):
        if not isinstance(wanted, list) or not all(isinstance(name, str) for name in wanted):
            raise UsageError("true, false, or a list of agents")
        for name in wanted:
            if name not in references:
                raise unknown("floor", name, references)
        references = [name for name in references if name in wanted]
    names = [*(_TRAINING if "agent.predictor_steps" in base else ()), "size"]
    shared = {name: base[f"agent.{name}"] for name in names if f"agent.{name}" in base}
    added: list[Spec] = []
    for task, settings in {canonical([s.task, s.task_settings]): (s.task, s.task_settings) for s in specs}.values():
        here = [spec for spec in specs if (spec.task, spec.task_settings) == (task, settings)]
        seeds = base.get("seed", sorted({spec.seed for spec in here}))
        for name in references if wanted else []:
            known = settings_of(agents.make(name))
            listed = [settings_of(spec.make()[0]) for spec in here if spec.agent == name]
            varied = {key for variant in agents.find(name).variants for key in variant}
            for variant in agents.find(name).variants:
                if any(all(one[key] == {**known, **variant}[key] for key in varied) for one in listed):
                    continue
                own = {**{key: value for key, value in shared.items() if key in known}, **variant}
                added += expand(
                    {"agent": name, "task": task, "seed": seeds}
                    | {f"agent.{key}": value for key, value in own.items()}
                    | {f"task.{key}": [value] for key, value in settings.items()}
                )
    return added if wanted else []


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
