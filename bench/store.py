"""A store: a results folder that holds each record once, whatever suites ask for it. A suite is a view on it.

    ROOT/records/TASK/AGENT/KEY/    all records (`records`)
    ROOT/SUITE/                     the tables and figures of a suite's runs

A suite's folder that has records of its own, as earlier versions made them, is read as it is.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from glimpsebench.bench.records import Record, asked, digest, read_all
from glimpsebench.bench.suites import Suite, read_suite, suite_names


def asked_by(suite: Suite, records: Iterable[Record]) -> list[Record]:
    """Those that are of a suite's runs, also by an earlier version or source of their agents."""
    wanted = {whatever_the_code(spec.about()) for spec in suite.specs}
    return [record for record in records if whatever_the_code(record.about) in wanted]


def whatever_the_code(about: Mapping[str, Any]) -> str:
    """Equal for records of the same settings, task and seed, whatever version of the agent's code made them."""
    question = asked(about)
    return digest(question | {"agent": {name: question["agent"][name] for name in ("name", "settings")}})


def folders(results: Path) -> list[Path]:
    """The folders of tables in a results folder: those with records of their own and, in a store, those of suites."""
    known = {*suite_names()} if (results / "records").is_dir() else set()
    inner = sorted(path for path in results.iterdir() if path.is_dir()) if results.is_dir() else []
    return [path for path in inner if path.name in known or (path / "records").is_dir()]


def kept(folder: Path) -> list[Record]:
    """The records of which a folder holds the tables: its own, or those of its suite in the store that it lies in."""
    if (folder / "records").is_dir():
        return read_all(folder)
    return asked_by(read_suite(folder.name), read_all(folder.parent))
