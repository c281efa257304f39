"""A store: a results folder that holds each record once, whatever suites ask for it. A suite is a view on it.

    ROOT/records/TASK/AGENT/KEY/    all records (`records`)
    ROOT/SUITE/                     the tables and figures of a suite's runs

A suite's folder that has records of its own, as earlier versions made them, is read as it is.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from glimpsebench.bench.records import Record, asked, digest, read_all
from glimpsebench.bench.suites import Suite, read_suite, suite_names


def asked_by(suite: Suite, records: Iterable[Record]) -> list[Record]:
    """Those that are of a suite's runs, also by an earlier version or source of their agents, with its labels."""
    wanted = {_whatever_the_code(spec.about()) for spec in suite.specs}
    return labelled(suite, [record for record in records if _whatever_the_code(record.about) in wanted])


def _whatever_the_code(about: Mapping[str, Any]) -> str:
    question = asked(about)
    return digest(question | {"agent": {name: question["agent"][name] for name in ("name", "settings")}})


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


def _what_an_entry_says(about: Mapping[str, Any]) -> list[str]:
    agent, task = about["agent"], about["task"]
    same = [agent["name"], task["id"], task["settings"]]
    return [digest([*same, which, agent[which]]) for which in ("settings", "changed")]


def folders(results: Path) -> list[Path]:
    """The folders of tables in a results folder: those with records of their own and, in a store, those of suites."""
    known = {*suite_names()} if (results / "records").is_dir() else set()
    inner = sorted(path for path in results.iterdir() if path.is_dir()) if results.is_dir() else []
    return [path for path in inner if path.name in known or (path / "records").is_dir()]


def kept(folder: Path) -> list[Record]:
    """The records of which a folder holds the tables: its own, or those of its suite in the store that it lies in; with
    the labels of the suite whose name the folder bears."""
    if (folder / "records").is_dir():
        own = read_all(folder)
        return labelled(read_suite(folder.name), own) if folder.name in suite_names() else own
    return asked_by(read_suite(folder.name), read_all(folder.parent))
