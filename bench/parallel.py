"""Much of a kind, done by as many processes as there are cores: tables of thousands of records are read that way.

The processes are forked where the work begins, so they have what this one has read, and only what they find is sent
back. Where a process cannot be forked safely (no Linux, or threads of Python are running) or may not be (in a worker),
or there is little to do, all is done here.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
import warnings
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import current_process, get_context
from typing import Any, TypeVar

T = TypeVar("T")
R = TypeVar("R")

LEAST = 500
"""With fewer items no process is begun."""
_CHUNKS = 8
"""For each process, as some chunks take longer."""

_work: tuple[Callable[[Any], Any], Sequence[Any]] | None = None
"""What forked processes find to do: a function and the chunks."""


def in_chunks(function: Callable[[Sequence[T]], R], items: Sequence[T]) -> list[R]:
    """What a function makes of chunks of the items, in their order; the items of all chunks are all items.

    Args:
        function: of a chunk; its value must pickle. What it changes beside may be lost.
        items: of which nothing is sent.

    Raises:
        Exception: what the function raises.
    """
    global _work
    cores = len(os.sched_getaffinity(0)) if sys.platform == "linux" else 1
    may_fork = threading.active_count() == 1 and not current_process().daemon and _work is None
    if cores == 1 or len(items) < LEAST or not may_fork:
        return [function(items)]
    size = -(-len(items) // (_CHUNKS * cores))
    chunks = [items[start : start + size] for start in range(0, len(items), size)]
    _work = function, chunks
    try:
        with warnings.catch_warnings():
            # Of threads that libraries have: they are in no call while this one forks.
            warnings.filterwarnings("ignore", message=".*multi-threaded, use of fork", category=DeprecationWarning)
            with ProcessPoolExecutor(
                cores, get_context("fork"), signal.signal, (signal.SIGINT, signal.SIG_IGN)
            ) as pool:
                return list(pool.map(_chunk, range(len(chunks))))
    finally:
        _work = None


def _chunk(number: int) -> Any:
    assert _work is not None
    function, chunks = _work
    return function(chunks[number])
