"""What was found of records, kept from one command to the next: a table of thousands of them grows run by run.

Whether a record.json is one (`records`) is a function of its bytes and of this code, and a row's figures
(`rows.Row.figures`) are one of its records' files and of this code. Both are in the names under which they are kept, in
SQLite in the user's cache; so what has changed is looked at anew, and a record whose files are not as they were written
is refused as ever. Where the cache cannot be read or written, everything is.
"""

from __future__ import annotations

import functools
import hashlib
import json
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pydantic

from glimpsebench.bench.parallel import in_chunks
from glimpsebench.envs import datasets

if TYPE_CHECKING:
    from glimpsebench.bench.rows import Row

MOST_BYTES = 2**28
"""Of the file; a larger one is begun anew."""


@contextmanager
def sound() -> Iterator[set[str]]:
    """The SHA-256 of each record.json that was found to be sound; those that are added are kept at the end."""
    known: set[str] = set()
    with suppress(sqlite3.Error, OSError), closing(_opened()) as kept:
        known.update(name for (name,) in kept.execute("SELECT name FROM sound"))
    before = frozenset(known)
    yield known
    if new := known - before:
        with suppress(sqlite3.Error, OSError), closing(_opened()) as kept, kept:
            kept.executemany("INSERT OR IGNORE INTO sound VALUES (?)", ((name,) for name in new))


@contextmanager
def remembered(rows: Sequence[Row]) -> Iterator[None]:
    """Rows know the figures that were computed of the same records before; what is new is kept at the end.

    Raises:
        UsageError: a file of a record is not as it was written.
    """
    names = [row.identity for row in rows]
    with suppress(sqlite3.Error, OSError), closing(_opened()) as kept:
        for row, name in zip(rows, names, strict=True):
            found = kept.execute("SELECT figures FROM rows WHERE name = ?", (name,)).fetchone() if name else None
            row.figures.update(json.loads(found[0]) if found else {})
    in_chunks(_check, [row for row in rows if row.figures])
    before = [len(row.figures) for row in rows]
    yield
    with suppress(sqlite3.Error, OSError), closing(_opened()) as kept, kept:
        kept.executemany(
            "INSERT OR REPLACE INTO rows VALUES (?, ?)",
            (
                (name, json.dumps(row.figures))
                for row, name, count in zip(rows, names, before, strict=True)
                if name and len(row.figures) > count
            ),
        )


def _check(rows: Sequence[Row]) -> None:
    for row in rows:
        row.check()


def _opened() -> sqlite3.Connection:
    folder = datasets.cache_folder() / "rows"
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{_code()}.sqlite"
    for other in folder.glob("*.sqlite"):
        if other != path or other.stat().st_size > MOST_BYTES:
            other.unlink(missing_ok=True)
    kept = sqlite3.connect(path, timeout=5)
    kept.execute("CREATE TABLE IF NOT EXISTS rows (name TEXT PRIMARY KEY, figures TEXT)")
    kept.execute("CREATE TABLE IF NOT EXISTS sound (name TEXT PRIMARY KEY) WITHOUT ROWID")
    return kept


@functools.cache
def _code() -> str:
    """The hash of the code that checks records and computes figures."""
    here = sorted(Path(__file__).parent.glob("*.py"))
    content = b"\0".join(path.read_bytes() for path in here) + f"{np.__version__} {pydantic.VERSION}".encode()
    return hashlib.sha256(content).hexdigest()[:16]
