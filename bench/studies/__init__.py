"""Studies: one question each, with a suite of runs. A file here turns the suite's records into a table and pictures.

File `mask_penalty.py` is the study `mask-penalty` of the suite `mask-penalty`. It defines one function,
`write(records, root) -> list[Path]`: the table, Markdown first, and the pictures. A study may name the agents that
it is about.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Sequence
from pathlib import Path

from glimpsebench.bench.records import Record
from glimpsebench.envs.errors import unknown

Write = Callable[[Sequence[Record], Path], list[Path]]


def names() -> list[str]:
    """The studies in this folder."""
    files = Path(__file__).parent.glob("*.py")
    return sorted(path.stem.replace("_", "-") for path in files if path.stem != "__init__")


def find(name: str) -> Write:
    """What writes the study of this name.

    Raises:
        UsageError: there is no such study.
    """
    if name not in names():
        raise unknown("study", name, names())
    write: Write = importlib.import_module(f"{__name__}.{name.replace('-', '_')}").write
    return write
