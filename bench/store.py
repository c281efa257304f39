"""The store: a results folder that holds each record once, whatever suites ask for it. A suite is a view on it.

    ROOT/records/TASK/AGENT/KEY/    all records (`records`)
    ROOT/SUITE/                     the tables and figures of a suite's runs
    ROOT/SUITE/records.txt          of which records, in a store that is published (`publish`)

Commands take a suite, a task or a folder, in one store or several (`view`). A suite's folder that has records of its
own, as earlier versions made them, is read as it is until `sweep` or `publish` brings them into the store.
"""

from __future__ import annotations

import functools
import os
import re
import shutil
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

from glimpsebench import agents
from glimpsebench.bench import compare, hashes
from glimpsebench.bench.records import AUDIT, Record, asked, compact, is_at_hand, read_all, replacing, settings_of
from glimpsebench.bench.rows import Row, rows_of
from glimpsebench.bench.run import Spec, questions
from glimpsebench.bench.suites import Suite, read_suite, suite_names
from glimpsebench.envs import tasks
from glimpsebench.envs.errors import UsageError

LIST = "records.txt"
_LISTED = re.compile(r"\w[\w.-]*-v\d+/[\w.]+/[0-9a-f]{16}")


class View(NamedTuple):
    """Some of a store's records.

    Attributes:
        records: in the order of their paths.
        folder: where their tables and figures belong.
        title: of their tables.
        own: those of `records` that are no runs of the suite, but contenders' from outside the package.
    """

    records: list[Record]
    folder: Path
    title: str
    own: Sequence[Record] = ()


def view(root: Path | Sequence[Path], of: str | None = None, own: Sequence[str] | None = ()) -> View:
    """The records of a suite, a task or a folder.

    Args:
        root: the store, or several. Of a run, whatever code made it, those of the first one count that has any, and
            tables belong into the first.
        of: a suite's name or its TOML file; a task's name or id; or a folder, with records or with a suite's tables.
            By default all that the store has.
        own: which contenders from outside the package stand beside a suite's rows, of those with records on its tasks:
            labels or agents' names. None for all, and for all that is in a root that is the suite's own folder.

    Raises:
        UsageError: there is nothing of that name, or a record is damaged.
    """
    roots = [root] if isinstance(root, Path) else list(root)
    if of is not None and is_suite(of):
        suite = read_suite(of)
        found = _first(_of_suite(suite, root, own is None) for root in roots)
        beside = [] if own is not None and not own else _beside(suite, found, roots, own)
        return View([*found, *beside], roots[0] / suite.name, suite.title, beside)
    if own:
        raise UsageError(f"--own {own[0]}: it stands beside a suite's rows, so name the suite")
    if of is None:
        return View(_first(_as_named(root, read_all(root)) for root in roots), roots[0], "Leaderboard")
    folder = Path(of)
    if (folder / "records").is_dir():
        return View(kept(folder), folder, "Leaderboard")
    if _has_tables(folder):
        return View(kept(folder), folder, read_suite(folder.name).title)
    ids = _tasks_called(roots, of)
    return View(_first(read_all(root, _of_tasks(root, ids)) for root in roots), roots[0] / ids[0], ids[0])


def _of_suite(suite: Suite, root: Path, whole: bool) -> list[Record]:
    """The records of a suite in a store; if `whole`, all of a root that is the suite's own folder."""
    is_its_folder = root.name == suite.name and (root / "records").is_dir()
    return kept(root) if whole and is_its_folder else of_suite(suite, root)


def _first(stores: Iterable[Iterable[Record]]) -> list[Record]:
    """The records of several stores: of each run those of the first store that has any."""
    each = [list(records) for records in stores]
    if len(each) == 1:
        return each[0]
    found: dict[str, tuple[int, list[Record]]] = {}
    for number, records in enumerate(each):
        for record in records:
            first, some = found.setdefault(run_of(record), (number, []))
            if first == number:
                some.append(record)
    return [record for _, some in found.values() for record in some]


def _beside(suite: Suite, found: Sequence[Record], roots: Sequence[Path], labels: Sequence[str] | None) -> list[Record]:
    """What contenders from outside the package have on a suite's tasks, beside the records found for it.

    Args:
        labels: only of those that are called so there; None for all.
    """
    ids, runs, ours = {task_id(spec) for spec in suite.specs}, {run_of(one) for one in found}, {*agents.names()}
    all_own = _first(
        read_all(root, [folder for folder in _of_tasks(root, ids) if folder.parent.name not in ours]) for root in roots
    )
    all_own = [one for one in all_own if run_of(one) not in runs]
    if labels is None:
        return all_own
    own = {one.folder for one in all_own}
    rows = [row for row in rows_of([*found, *all_own]) if row.records[0].folder in own]
    wanted: list[Row] = []
    for label in labels:
        wanted += [row for row in rows if row.about["name"] == label] or compare.named(rows, label)
    return [one for row in rows if any(row is each for each in wanted) for one in row.records]


def places(root: Path, of: str) -> list[Path]:
    """Where the records of a suite or a task lie, of any settings and in any state; or the path itself, which has some.

    Raises:
        UsageError: there is nothing of that name.
    """
    path = Path(of)
    if is_suite(of) or _has_tables(path):
        suite, root = (read_suite(of), root) if is_suite(of) else (read_suite(path.name), path.parent)
        own = root / suite.name
        if (own / "records").is_dir():
            return [own]
        if (own / LIST).is_file():
            return [root / "records" / one for one in listed(own)]
        runs = {(task_id(spec), spec.agent) for spec in suite.specs}
        return sorted(one for task, agent in runs for one in (root / "records" / task / agent).glob("[!.]*"))
    if path.exists():
        return [path]
    return sorted(one for task in _tasks_called([root], of) for one in (root / "records" / task).glob("*/[!.]*"))


def _has_tables(folder: Path) -> bool:
    """Whether a folder has the tables of a suite whose records are in the store that it lies in."""
    known = folder.is_dir() and folder.name in suite_names() and (folder.parent / "records").is_dir()
    return known and not (folder / "records").is_dir()


def is_suite(name: str) -> bool:
    return name in suite_names() or name.endswith(".toml")


def _tasks_called(roots: Sequence[Path], name: str) -> list[str]:
    """The ids of the tasks of this name, or with this id, of which one of these stores has records; one or more."""
    there = sorted({path.name for root in roots for path in (root / "records").glob("*") if path.is_dir()})
    wanted = tasks.make(name).id if ":" in name else name
    if found := [one for one in there if wanted in (one, one.rpartition("-v")[0])]:
        return found
    known = f"of the tasks {', '.join(there)}" if there else "of no task"
    where = " and ".join(map(str, roots))
    raise UsageError(f"'{name}' is no suite, no folder with records, and {where} has records {known}")


def of_suite(suite: Suite, root: Path) -> list[Record]:
    """The records of a suite in a store, with its labels: its own, as earlier versions kept them; those of its list; or
    its runs'."""
    own = root / suite.name
    if (own / "records").is_dir():
        return labelled(suite, read_all(own))
    if (own / LIST).is_file():
        return labelled(suite, read_all(root, [root / "records" / one for one in listed(own)]))
    of_tasks = _of_tasks(root, {task_id(spec) for spec in suite.specs})
    return labelled(suite, asked_by(suite.specs, read_all(root, of_tasks)))


def asked_by(specs: Iterable[Spec], records: Iterable[Record]) -> list[Record]:
    """Those of these runs. Of a run that today's code has not made, also those that earlier versions made of it.

    A record is of a run if it has the same settings, by the names of now and with today's defaults for those that did
    not exist then.
    """
    wanted = {_whatever_the_code(question): key for question, key in questions(specs)}
    found: dict[str, list[Record]] = defaultdict(list)
    for record in records:
        if (run := run_of(record)) in wanted:
            found[run].append(record)
    for run, several in found.items():
        found[run] = [one for one in several if one.question == wanted[run]] or several
    return sorted((one for several in found.values() for one in several), key=lambda one: one.folder)


def task_id(spec: Spec) -> str:
    return str(tasks.make(spec.task, spec.task_settings).id)


def run_of(record: Record) -> str:
    """Equal for records of the same settings, task and seed, whatever version of the agent's code made them."""
    return _whatever_the_code(_resolved(record.about))


def _whatever_the_code(question: Mapping[str, Any]) -> str:
    agent = {name: question["agent"][name] for name in ("name", "settings")}
    return compact({"agent": agent, "task": question["task"], "seed": question["seed"]})


def _resolved(about: Mapping[str, Any]) -> dict[str, Any]:
    """What a record asked, with today's defaults for settings that did not exist then."""
    question = asked(about)
    for whose, name in (("agent", about["agent"]["name"]), ("task", about["task"]["id"].rpartition("-v")[0])):
        question[whose]["settings"] = {**_defaults(whose, name), **question[whose]["settings"]}
    return question


@functools.cache
def _defaults(whose: str, name: str) -> Mapping[str, Any]:
    """Today's settings of an agent or a named task that nobody has changed; {} of what is not imported."""
    if whose == "task":
        return settings_of(tasks.TASKS[name]) if name in tasks.TASKS else {}
    with suppress(UsageError):  # a module that is no agent's
        return settings_of(agents.make(name)) if is_at_hand(name) else {}
    return {}


def _of_tasks(root: Path, ids: Iterable[str]) -> list[Path]:
    """The record folders of these tasks in a store."""
    return sorted(path.parent for one in ids for path in (root / "records" / one).glob("*/*/record.json"))


def is_outdated(suite: Suite, kept: Iterable[Record]) -> bool:
    """Whether the suite asks for other runs today: other settings, versions, or contenders' source."""
    return not {record.question for record in kept} <= {spec.folder(Path()).name for spec in suite.specs}


def listed(folder: Path) -> list[str]:
    """The records of which a published folder has the tables: TASK/AGENT/KEY each.

    Raises:
        UsageError: the list has something else in it.
    """
    lines = (folder / LIST).read_text(errors="replace").split("\n")
    if bad := [line for line in lines if line and not _LISTED.fullmatch(line)]:
        raise UsageError(f"{folder / LIST}: {bad[0][:60]!r} is no TASK/AGENT/KEY")
    return [line for line in lines if line]


def labelled(suite: Suite, records: Iterable[Record]) -> list[Record]:
    """All of the records, with the suite's labels where they answer an entry that has one.

    A record answers an entry if all settings are the same, or if those are that differ from the defaults: an entry
    stays what it is when a default has changed since.
    """
    labels: dict[str, str] = {}
    for spec in suite.specs:
        if spec.label is not None:
            labels |= dict.fromkeys(_what_an_entry_says(spec.about()), spec.label)
    return [
        replace(record, label=next((labels[key] for key in _what_an_entry_says(record.about) if key in labels), None))
        if labels
        else record
        for record in records
    ]


def _as_named(folder: Path, records: list[Record]) -> list[Record]:
    """With the labels of the suite whose name the folder bears, if there is one."""
    return labelled(read_suite(folder.name), records) if folder.name in suite_names() else records


def _what_an_entry_says(about: Mapping[str, Any]) -> list[str]:
    agent, task = about["agent"], about["task"]
    same = [agent["name"], task["id"], task["settings"]]
    return [compact([*same, which, agent[which]]) for which in ("settings", "changed")]


def folders(results: Path) -> list[Path]:
    """The folders of tables in a results folder: those with records of their own or a list of them, and, in a store,
    those of suites."""
    known = {*suite_names()} if (results / "records").is_dir() else set()
    inner = sorted(path for path in results.iterdir() if path.is_dir()) if results.is_dir() else []
    return [path for path in inner if path.name in known or (path / "records").is_dir() or (path / LIST).is_file()]


def kept(folder: Path) -> list[Record]:
    """The records of which a folder holds the tables: its own, or those of its suite in the store that it lies in; with
    the labels of the suite whose name the folder bears."""
    if (folder / "records").is_dir():
        return _as_named(folder, read_all(folder))
    return of_suite(read_suite(folder.name), folder.parent)


def adopt(root: Path, name: str) -> int:
    """Move the records of a suite's own folder, as earlier versions kept them, into the store; return how many.

    From then on the folder has the tables of what the suite asks for, whatever it once listed.
    """
    own = root / name
    (own / LIST).unlink(missing_ok=True)
    paths = sorted((own / "records").glob("*/*/*/record.json"))
    for path in paths:
        home = root / path.parent.relative_to(own)
        if not (home / "record.json").exists():
            home.parent.mkdir(parents=True, exist_ok=True)
            path.parent.rename(home)
    shutil.rmtree(own / "records", ignore_errors=True)
    return len(paths)


def _has_the_same(folder: Path, record: Record) -> bool:
    """Whether a folder has the same run, whole, by the same judge."""
    try:
        there = Record.read(folder)
    except UsageError:  # nothing, or something damaged
        return False
    same = all(there.about[name] == record.about[name] for name in ("status", "judge"))
    return same and hashes.damaged(folder) is None


def _did_the_same(folder: Path, record: Record) -> bool:
    """Whether a run that is published did on every image what this record's run did: whose audit is one of either."""
    there = hashes.read(folder)
    images = [sums.files.get("images.npz") for sums in (there, record.sums) if sums]
    return len(images) == 2 and images[0] == images[1] is not None


_LEFT_OUT = ("selections.npz", "weights*.safetensors")
"""Of records that are published: large, and no table needs them."""


def publish(name: str, root: Path, into: Path) -> int:
    """Copy a suite's records, tables and figures into a store that others read; return how many records.

    Selections and weights are left out. What the suite's folder there had before goes, and so do the records that no
    folder there lists any more. Other suites' records stay, and what suites have in common is there once: a run that is
    there already stays as it is (delete its folder to replace it), since another processor's differs in a few images,
    and other tables are of it; an audit of a run that did the same on every image comes to it. So tables are to be
    written again from what is there (`retabulate`).

    Args:
        name: the suite's name or file.
        root: the store it was run in; `into` itself, to bring in the records of a suite's own folder there.
        into: the other store.

    Raises:
        UsageError: no records of this suite.
    """
    suite = read_suite(name)
    records, tables, place = of_suite(suite, root), root / suite.name, into / suite.name
    if not records:
        raise UsageError(f"{root}: no records of the suite {suite.name}; `glimpse sweep {name}` makes them")
    before = {*listed(place)} if (place / LIST).is_file() else set()
    now = []
    for record in records:
        own = "/".join(record.folder.parts[-3:])
        now.append(own)
        if (home := into / "records" / own) != record.folder and not _has_the_same(home, record):
            with replacing(home) as temporary:
                shutil.copytree(record.folder, temporary, dirs_exist_ok=True, ignore=shutil.ignore_patterns(*_LEFT_OUT))
        elif home != record.folder and record.audit and _did_the_same(home, record):
            shutil.copy2(record.folder / AUDIT, home)
    if place != tables:
        shutil.rmtree(place, ignore_errors=True)
        place.mkdir(parents=True)
        for path in sorted(tables.glob("*")):
            if path.is_file() and path.name != LIST:
                shutil.copy2(path, place)
        if (tables / "trials").is_dir():  # what `glimpse tune` chose the settings by
            shutil.copytree(tables / "trials", place / "trials")
    shutil.rmtree(place / "records", ignore_errors=True)
    place.mkdir(parents=True, exist_ok=True)
    temporary = place / f".{LIST}.{os.getpid()}"
    temporary.write_text("".join(f"{one}\n" for one in sorted(now)))
    temporary.replace(place / LIST)
    still = {one for folder in folders(into) if (folder / LIST).is_file() for one in listed(folder)}
    for one in before - still:
        shutil.rmtree(into / "records" / one, ignore_errors=True)
    return len(now)
