"""What `glimpse verify` found, for people and for programs; and how a row can be challenged."""

from __future__ import annotations

import hashlib
import json
import shlex
from collections import Counter, defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from glimpsebench.bench import escape
from glimpsebench.bench.leaderboard import Row
from glimpsebench.bench.records import settings_of
from glimpsebench.bench.terminal import columned, width
from glimpsebench.bench.verify import LEVELS, Checked, code
from glimpsebench.envs import tasks


def challenge(row: Row) -> list[str]:
    """What somebody else must run to lower a row or to confirm it, as lines for a shell."""
    record = row.records[0]
    agent, software = record.about["agent"], record.about["software"]
    code = f"version {agent['version']}, source {agent['source'] or 'unknown'}, GlimpseBench {software['glimpsebench']}"
    commit = f", commit {software['commit']}" if "commit" in software else ""
    return [
        escape.terminal(f"# {row.label} on {record.task}: {code}{commit}"),
        "# The same runs, from the same code; more seeds beside them lower a row that was lucky:",
        shlex.join([*command(row), "--root", "challenge"]),
        "# What they looked at, counted and judged again, and the same places with their values blanked:",
        "glimpse verify challenge --judge",
        "# Beside this row:",
        "glimpse leaderboard --root challenge",
    ]


def command(row: Row) -> list[str]:
    """The words of the command that makes a row's runs, from code such as made them."""
    record = row.records[0]
    agent, task = record.about["agent"], record.about["task"]
    settings = {f"agent.{name}": value for name, value in agent["changed"].items()}
    named = next((each for each in tasks.TASKS.values() if each.id == record.task), None)
    usual = {} if named is None else settings_of(named)
    settings |= {
        f"task.{name}": value
        for name, value in task["settings"].items()
        if name not in tasks.IDENTITY and (name not in usual or usual[name] != value)
    }
    seeds = ",".join(str(one.seed) for one in row.records)
    words = ["glimpse", "run", "--agent", agent["name"], "--task", record.task, "--seeds", seeds]
    for name, value in settings.items():
        words += ["--set", f"{name}={json.dumps(value)}"]
    return words


def summary(checked: Sequence[Checked]) -> tuple[list[str], list[list[str]]]:
    """The head and the lines of a table: of each row its levels."""
    rows: dict[tuple[str, str], list[Checked]] = defaultdict(list)
    for one in checked:
        if one.record is not None and not one.refused:
            rows[one.record.task, one.record.name].append(one)
    lines = []
    for (task, name), row in rows.items():
        levels = [f"{level} {count}" for level in LEVELS if (count := sum(one.level == level for one in row))]
        lines.append([name, task, str(len(row)), ", ".join(levels), str(sum(bool(one.doubts) for one in row) or "")])
    return ["contender", "task", "records", "level", "doubted"], lines


def text(checked: Sequence[Checked]) -> list[str]:
    """The report for people: a line for each row, then one for each refusal, doubt, and reason to go no further."""
    refused = [one for one in checked if one.refused]
    lines = []
    if len(refused) < len(checked):
        lines += [*columned(*summary(checked), width(), right=[False, False, True, False, True]), ""]
    lines += [f"refused: {escape.terminal(one.refused)}" for one in refused]
    lines += [f"doubt: {one.folder}: {escape.terminal(doubt)}" for one in checked for doubt in one.doubts]
    lines += [f"{one.folder}: {one.lead}" for one in checked if one.lead is not None]
    notes = Counter(note for one in checked for note in one.notes)
    lines += [f"no further, {count} records: {escape.terminal(note)}" for note, count in notes.items()]
    doubted = sum(bool(one.doubts) for one in checked)
    return [*lines, f"{len(checked)} records: {len(refused)} refused, {doubted} doubted"]


def as_json(checked: Sequence[Checked]) -> dict[str, Any]:
    """The same as data."""
    return {
        "code": code(checked),
        "records": [
            {
                "folder": str(one.folder),
                "task": one.record.task if one.record else None,
                "contender": one.record.name if one.record else None,
                "seed": one.record.seed if one.record else None,
                "sha256": _hash(one.folder),
                "level": one.level or None,
                "refused": one.refused or None,
                "doubts": one.doubts,
                "notes": one.notes,
                "lead": one.lead._asdict() if one.lead else None,
            }
            for one in checked
        ],
    }


def _hash(folder: Path) -> str | None:
    """Of record.json and images.npz, so that a report is of these and no others; None where one cannot be read."""
    try:
        parts = [path.read_bytes() for name in ("record.json", "images.npz") if (path := folder / name).is_file()]
    except OSError:
        return None
    return hashlib.sha256(b"".join(parts)).hexdigest()
