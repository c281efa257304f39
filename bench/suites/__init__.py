"""Suites: what to run. A suite is a TOML file: a title, matrices of runs, and the comparisons that are to be written.

    # Its question, and what it costs. `glimpse suites` prints the first sentence and the first one that names a time.
    title = "…"
    floors = true                # all floors of each task and the ceiling; false, or a list: of these agents alone
    [base]                       # what all runs share: agent, task, seed, agent.SETTING, task.SETTING
    [[matrix]]                   # the same keys; lists are multiplied out
    label = "without REINFORCE"  # in a matrix or the base: how tables and figures call its rows
    [[compare]]                  # name, b, a (every contender unless told), measure: a table beside the leaderboard
    [[claim]]                    # text, source, a, b, measure, budget, direction, matters, seeds (`claims.Claim`)
    [tune]                       # what `glimpse tune` searches (`bench.tune`); a sweep ignores it

A setting is `"agent.steps" = 60`, or `agent.steps = 60` where the same table does not say `agent = "…"` too, or stands
in a table `[base.agent]`: all mean the same.

Floors and the ceiling are added to each task of the suite unless a matrix has them, in the variants in which they stand
(`Agent.variants`), with the seeds of the base, or else of all runs on that task, and trained as the base says: its
`predictor_steps`, with them its `batch`, `lr` and `width`, which without are some agent's own, and the `size` of its
windows, which without a base are the defaults.

The files lie beside this module; `read_suite` takes a name of theirs or the path of one of your own.
"""

from __future__ import annotations

import itertools
import json
import math
import re
import tomllib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from glimpsebench import agents
from glimpsebench.bench.claims import Claim, arms_of, check_budgets, claim_of
from glimpsebench.bench.compare import ALL, MEASURES, Comparison, matching
from glimpsebench.bench.records import settings_of
from glimpsebench.bench.rows import Called, labels_of
from glimpsebench.bench.run import Spec
from glimpsebench.bench.suites.places import line_of
from glimpsebench.envs import settings as of_settings
from glimpsebench.envs.errors import UsageError, unknown

FOLDER = Path(__file__).parent
MOST_SEED = 2**32 - 1
"""The largest that NumPy's, PyTorch's and Stable-Baselines3's generators all take."""
MOST_RUNS = 100_000
"""In a suite: more are a slip."""
MOST_BYTES = 2**20
"""Of a suite's file."""

Table = Mapping[str, Any]


@dataclass(frozen=True)
class Suite:
    """A named list of runs, the comparisons that are to be written beside their leaderboard, and the claims about them.

    Attributes:
        notes: what of changes from the command line is not applied to which agents, or which comparisons and claims no
            longer fit.
    """

    name: str
    title: str
    specs: tuple[Spec, ...]
    comparisons: tuple[Comparison, ...] = ()
    claims: tuple[Claim, ...] = ()
    notes: tuple[str, ...] = ()


def suite_names() -> list[str]:
    """The suites that come with the package."""
    return sorted(path.stem for path in FOLDER.glob("*.toml"))


def own_suites() -> list[str]:
    """The suite files in the current folder."""
    found = [path for path in Path.cwd().glob("*.toml") if path.is_file() and path.stat().st_size <= MOST_BYTES]
    return sorted(path.name for path in found if "[[matrix]]" in path.read_text(errors="replace"))


def path_of(name: str) -> Path:
    """The file of a suite: of this name, or at this path.

    Raises:
        UsageError: there is none.
    """
    path = Path(name) if name.endswith(".toml") else FOLDER / f"{name}.toml"
    if path.is_file() and name not in ("", ".toml"):
        return path
    if name.endswith(".toml"):
        there = "\0" not in name and path.exists()
        raise UsageError(f"{path}: {'not a plain file' if there else 'no such suite file'}")
    raise unknown("suite", name, [*suite_names(), *own_suites()])


def about(name: str) -> tuple[str, str]:
    """What the head comment of a suite says of its question (its first sentence) and of its cost; '' where nothing."""
    lines = itertools.takewhile(lambda line: line.startswith("#"), path_of(name).read_text().splitlines())
    text = " ".join(line.removeprefix("#").strip() for line in lines if not line.startswith("#  "))
    sentences = re.split(r"(?<=[.?!:])\s+(?=[A-Z])", text)
    cost = next((each for each in sentences if re.search(r"\b(seconds|minutes?|hours?|days?)\b", each, re.I)), "")
    return sentences[0], "" if cost == sentences[0] else cost


def read_suite(name: str, changes: Mapping[str, Sequence[Any]] | None = None) -> Suite:
    """The suite of this name, or in the TOML file at this path; every run in it is checked.

    Args:
        name: a name here, or a path that ends in `.toml`.
        changes: values that take the place of what the file says: `seed`, `task.SETTING`, `agent.SETTING` (of the
            agents that have it) → one or more, which are multiplied out.

    Raises:
        UsageError: no such suite, not TOML, an unknown key, agent, task or setting, or a value that does not fit.
    """
    path = path_of(name)
    try:
        return _suite(path, content_of(path), changes or {})
    except (UsageError, RecursionError) as error:
        message = str(error) if isinstance(error, UsageError) else "nested too deeply"
        raise UsageError(
            f"{path}:{line_of(path.read_text(errors='replace')[:MOST_BYTES], message)}: {message}"
        ) from None


def content_of(path: Path) -> dict[str, Any]:
    """What a suite file says, unchecked; UsageError if it is not TOML."""
    text = ""
    try:
        if (size := path.stat().st_size) > MOST_BYTES:
            raise ValueError(f"{size:,} bytes, and {MOST_BYTES:,} are the most")
        text = path.read_text()
        return tomllib.loads(text)
    except (OSError, ValueError) as error:
        both = re.search(r"^\s*(agent|task)\s*\.", text, re.M) and "overwrite" in str(error)
        remedy = '; beside agent = "…" in one table, quote a setting: "agent.lr" = 0.01' if both else ""
        raise UsageError(f"not a suite file: {error}{remedy}") from None


def _suite(path: Path, content: Table, changes: Mapping[str, Sequence[Any]]) -> Suite:
    for key in content:
        if key not in _KEYS:
            raise unknown("key", key, _KEYS)
    matrices, comparisons = content.get("matrix", [{}]), content.get("compare", [])
    if not isinstance(content.get("base", {}), dict) or not _are_tables(matrices) or not _are_tables(comparisons):
        raise UsageError("'base' must be a table, 'matrix' and 'compare' arrays of tables ([[matrix]], [[compare]])")
    title = content.get("title", path.stem)
    if not isinstance(title, str) or not title.strip() or not title.isprintable():
        raise UsageError(f"'title' must be text in one line, not {title!r}")
    base = _at("base", flat, content.get("base", {}))
    if not matrices or ("matrix" not in content and not {"agent", "task"} <= base.keys()):
        raise UsageError('no runs: write [[matrix]] and below it agent = "ram" and task = "digits"')
    specs: dict[tuple[str, int], Spec] = {}
    applied: dict[str, set[str]] = {key: set() for key in changes}
    for number, matrix in enumerate(matrices, 1):
        where = f"matrix {number}" if "matrix" in content else "base"
        for spec in _at(where, lambda table: list(_changed({**base, **flat(table)}, changes, applied)), matrix):
            run = spec.row, spec.seed
            specs[run] = _at(where, lambda spec, run=run: _labelled(specs.get(run), spec), spec)
        if len(specs) > MOST_RUNS:
            raise UsageError(f"{where}: more than {MOST_RUNS:,} runs in all")
    for key, names in applied.items():
        if not names:
            known = {name for spec in specs.values() for name in of_settings.names(agents.find(spec.agent))}
            raise unknown("setting of the suite's agents", key.partition(".")[2], known)
    base = {**base, **{key: list(values) for key, values in changes.items()}}
    floors = _at("floors", lambda wanted: floors_for(list(specs.values()), base, wanted), content.get("floors", True))
    for spec in floors:
        specs.setdefault((spec.row, spec.seed), spec)
    wanted: list[Comparison] = []
    notes = []
    for key in changes:
        whose, _, setting = key.partition(".")
        without = {spec.agent for spec in specs.values() if setting not in spec.agent_settings}
        if whose == "agent" and without:
            notes.append(f"{key}: not applied to {', '.join(sorted(without))}")
    rows = _rows(specs.values()) if comparisons else []
    labels = labels_of([spec.about() for spec in rows], [spec.label for spec in rows])
    for number, table in enumerate(comparisons, 1):
        where = f"compare {number}"
        found = _at(where, lambda table: list(comparisons_of(table)), table)
        try:
            _at(where, lambda found: _check(found, labels), found)
        except UsageError as error:
            if not changes:
                raise
            notes.append(f"left out: {error}")
            continue
        for each in found:
            if any(each.file.lower() == other.file.lower() for other in wanted):
                raise UsageError(f"{where}: '{each.file}' is written twice: give one of them another name")
            wanted.append(each)
    claims, lost = _claims(content.get("claim", []), list(specs.values()), bool(changes))
    return Suite(path.stem, title, tuple(specs.values()), tuple(wanted), tuple(claims), (*notes, *lost))


def terms(name: str, agent: str, changes: Mapping[str, Sequence[Any]] | None = None) -> list[Spec]:
    """The runs of one more contender under a suite's terms: its tasks and seeds, and of its base the settings that
    the contender has.

    Args:
        name: the suite's.
        agent: the contender's.
        changes: as of `read_suite`; those of the agent need not be settings of the suite's own agents.

    Raises:
        UsageError: no such suite, agent or setting, or a value that does not fit.
    """
    path, changes = path_of(name), dict(changes or {})
    suite = read_suite(name, {key: values for key, values in changes.items() if key.startswith("task.")})
    known = of_settings.names(agents.find(agent))
    base = flat(content_of(path).get("base", {}))
    own = {key: value for key, value in base.items() if key.removeprefix("agent.") in known and key[:6] == "agent."}
    own |= {key: list(values) for key, values in changes.items() if key.startswith("agent.")}
    found: list[Spec] = []
    for task, settings in dict.fromkeys((spec.task, json.dumps(spec.task_settings)) for spec in suite.specs):
        seeds = sorted({spec.seed for spec in suite.specs if spec.task == task})
        table = {"agent": agent, "task": task, "seed": changes.get("seed", base.get("seed", seeds)), **own}
        found += expand({**table, **{f"task.{key}": [value] for key, value in json.loads(settings).items()}})
    for spec in found:
        _at(str(path), lambda spec: spec.make(), spec)
    return found


def _claims(tables: Any, specs: Sequence[Spec], changed: bool) -> tuple[list[Claim], list[str]]:
    """The claims of a suite of these runs; of a changed suite, also a note on each whose arms are gone."""
    claims, notes = [], []
    tables = [tables] if isinstance(tables, dict) else tables
    if not _are_tables(tables):
        raise UsageError("'claim' must be a table or an array of tables ([[claim]])")
    arms = arms_of(specs) if tables else []
    for number, table in enumerate(tables, 1):
        where = f"claim {number}"
        claim = _at(where, claim_of, table)
        try:
            _at(where, lambda claim: check_budgets(claim, arms), claim)
        except UsageError as error:
            if not changed:
                raise
            notes.append(f"left out: {error}")
            continue
        claims.append(claim)
    return claims, notes


_KEYS = ("title", "floors", "base", "matrix", "compare", "claim", "tune")
_TRAINING = ("predictor_init", "predictor_steps", "predictor_lr", "batch", "lr", "width")


def _at(where: str, read: Any, value: Any) -> Any:
    """What `read` makes of a value; its errors name the place."""
    try:
        return read(value)
    except UsageError as error:
        raise UsageError(f"{where}: {error}") from None


def _rows(specs: Iterable[Spec]) -> list[Spec]:
    """A run of each row, the last: what runs that differ in the seed alone have in common is looked at once."""
    return list({spec.row: spec for spec in specs}.values())


def flat(table: Table) -> dict[str, Any]:
    """A table with its nested ones as flat keys: what TOML makes of `agent.steps = 60` is `"agent.steps" = 60`.

    >>> flat({"agent": {"steps": 60}, "task": "digits", "agent.lr": 0.1})
    {'agent.steps': 60, 'task': 'digits', 'agent.lr': 0.1}
    """
    entries: dict[str, Any] = {}
    for key, value in table.items():
        nested = key in ("agent", "task") and isinstance(value, dict)
        for name, inner in (
            {f"{key}.{name}": inner for name, inner in value.items()}.items() if nested else [(key, value)]
        ):
            if name in entries:
                raise UsageError(f"'{name}' is said twice")
            if inner == []:
                raise UsageError(f"'{name}' is an empty list, so there is nothing to run")
            entries[name] = inner
    return entries


def _changed(table: Table, changes: Mapping[str, Sequence[Any]], applied: dict[str, set[str]]) -> Iterator[Spec]:
    """The checked runs of a matrix, with changes where they apply; `applied` is told to which agents they did."""
    for agent in _listed(table.get("agent")) if changes else [table.get("agent")]:
        entries = {**table, "agent": agent} if changes and agent is not None else dict(table)
        known = of_settings.names(agents.find(agent)) if changes and isinstance(agent, str) else []
        for key, values in changes.items():
            if not key.startswith("agent.") or key.removeprefix("agent.") in known:
                entries[key] = list(values)
                applied[key].add(str(agent))
        if (count := math.prod(len(_listed(value)) for value in entries.values())) > MOST_RUNS:
            raise UsageError(f"its lists multiply to {count:,} runs, and {MOST_RUNS:,} are the most")
        runs = list(expand(entries))
        for spec in _rows(runs):
            spec.make()
        yield from runs


def _labelled(earlier: Spec | None, spec: Spec) -> Spec:
    """A run that may have been asked for before, with the label of either."""
    if earlier is None or earlier.label == spec.label:
        return spec
    if earlier.label and spec.label:
        raise UsageError(f"{spec}: called '{earlier.label}' before and '{spec.label}' here: leave one label")
    return earlier if earlier.label else spec


def _listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


def floors_for(specs: Sequence[Spec], base: Table, wanted: bool | Sequence[str]) -> list[Spec]:
    """The runs of floors and ceiling that a suite of these runs has beside them.

    Args:
        specs: the runs of its matrices.
        base: its base, flat, from which come seeds, training and window size.
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
    tasks = {json.dumps([s.task, s.task_settings], sort_keys=True): (s.task, s.task_settings) for s in _rows(specs)}
    for task, settings in tasks.values():
        here = [spec for spec in specs if (spec.task, spec.task_settings) == (task, settings)]
        seeds = base.get("seed", sorted({spec.seed for spec in here}))
        for name in references if wanted else []:
            known = settings_of(agents.make(name))
            listed = [settings_of(spec.make()[0]) for spec in _rows(here) if spec.agent == name]
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
    for spec in _rows(added):
        spec.make()
    return added


def _are_tables(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(entry, dict) for entry in value)


def comparisons_of(table: Table) -> Iterator[Comparison]:
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
    name, a = table["name"], table.get("a", ALL)
    if not re.fullmatch(r"\w[\w .+-]{0,99}", name):
        raise UsageError(f"'name' is of a file: letters, digits, spaces and _ . + - alone, not {name!r}")
    if not isinstance(a, str):
        raise UsageError(f"'a' must be text, a row or 'all', not {a!r}")
    measures = _listed(table.get("measure", "judge"))
    if not measures:
        raise UsageError(f"'measure' is an empty list: write one or more of {', '.join(MEASURES)}")
    for measure in measures:
        if measure not in MEASURES:
            raise unknown("measure", str(measure), MEASURES)
        yield Comparison(name, table["b"], a, measure)


def _check(comparisons: Sequence[Comparison], rows: Sequence[Called]) -> None:
    """Whether the rows of comparisons are among these, on one task both."""
    for each in comparisons:
        a, b = "" if each.a == ALL else matching(rows, each.a), matching(rows, each.b)
        if a == b:
            raise UsageError(f"'{a}' is to be compared with itself")
        if a and not {row.task for row in rows if row.label == a} & {row.task for row in rows if row.label == b}:
            raise UsageError(f"'{a}' and '{b}' have no task in common")


MOST_LABEL = 40
"""Characters: a longer label leaves no room beside a table or a figure."""


def _check_label(label: Any, agent: str) -> None:
    if label is None:
        return
    if isinstance(label, list):
        raise UsageError("'label' is one for all rows of a matrix: where they differ, each gets what sets it apart")
    if not isinstance(label, str) or not label.strip() or not label.isprintable() or len(label) > MOST_LABEL:
        raise UsageError(f"'label' must be text in one line, at most {MOST_LABEL} characters, not {label!r}")
    if label == ALL or (label != agent and label in agents.names()):
        what = "every contender in a comparison" if label == ALL else "another agent"
        raise UsageError(f"'label' cannot be {label!r}, which means {what}")


def expand(table: Table) -> Iterator[Spec]:
    """The product of a table's lists, as specifications; the last keys vary fastest.

    >>> [str(spec) for spec in expand({"agent": ["ram", "full"], "task": "digits", "seed": 3})]
    ['ram on digits, seed 3', 'full on digits, seed 3']
    """
    lists = [[value] if key == "label" else _listed(value) for key, value in table.items()]
    for values in itertools.product(*lists):
        yield spec_of(dict(zip(table, values, strict=True)))


def spec_of(entries: Table) -> Spec:
    """A specification from flat entries: `agent`, `task`, `seed`, `label`, `agent.SETTING`, `task.SETTING`."""
    plain: dict[str, Any] = {}
    settings: dict[str, dict[str, Any]] = {"agent": {}, "task": {}}
    for key, value in entries.items():
        whose, _, setting = key.partition(".")
        if key in ("agent", "task", "seed", "label"):
            plain[key] = value
        elif whose in settings and setting:
            settings[whose][setting] = value
        else:
            raise unknown("key", key, ("agent", "task", "seed", "label", f"agent.{key}", f"task.{key}"))
    for key, kind in (("agent", str), ("task", str), ("seed", int)):
        if key in plain and (not isinstance(plain[key], kind) or isinstance(plain[key], bool)):
            raise UsageError(f"'{key}' must be {'a whole number' if kind is int else 'text'}, not {plain[key]!r}")
        if key not in plain and key != "seed":
            raise UsageError(f"a run needs '{key}'")
    if not 0 <= plain.get("seed", 0) <= MOST_SEED:
        raise UsageError(f"'seed' must be 0 or more and at most {MOST_SEED}, not {plain['seed']}")
    _check_label(plain.get("label"), plain["agent"])
    return Spec(**plain, agent_settings=settings["agent"], task_settings=settings["task"])
