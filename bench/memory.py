"""What was computed of rows, kept from one command to the next: a table of thousands of records grows run by run.

A row's figures (`rows.Row.figures`) are a function of its records' files and of this code. Both are in the name under
which they are kept, in SQLite in the user's cache; so what has changed is computed anew, and a record whose files are
not as they were written is refused as ever. Where the cache cannot be read or written, everything is computed.
"""

from __future__ import annotations

import functools
import hashlib
import json
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from pathlib import Path

import numpy as np

from glimpsebench.bench.rows import Row
from glimpsebench.envs import datasets

MOST_BYTES = 2**28
"""Of the file; a larger one is begun anew."""


@contextmanager
def remembered(rows: Sequence[Row]) -> Iterator[None]:
    """Rows know the figures that were computed of the same records before; what is new is kept at the end."""
    names = [row.identity for row in rows]
    with suppress(sqlite3.Error, OSError), closing(_opened()) as kept:
        for row, name in zip(rows, names, strict=True):
            found = kept.execute("SELECT figures FROM rows WHERE name = ?", (name,)).fetchone() if name else None
            row.figures.update(json.loads(found[0]) if found else {})
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


def _opened() -> sqlite3.Connection:
    folder = datasets.cache_folder() / "rows"
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{_code()}.sqlite"
    for other in folder.glob("*.sqlite"):
        if other != path or other.stat().st_size > MOST_BYTES:
            other.unlink(missing_ok=True)
    kept = sqlite3.connect(path, timeout=5)
    kept.execute("CREATE TABLE IF NOT EXISTS rows (name TEXT PRIMARY KEY, figures TEXT)")
    return kept


@functools.cache
def _code() -> str:
    """The hash of the code that computes figures."""
    here = sorted(Path(__file__).parent.glob("*.py"))
    content = b"\0".join(path.read_bytes() for path in here) + np.__version__.encode()
    return hashlib.sha256(content).hexdigest()[:16]
