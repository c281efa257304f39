"""Sweeps: of a list of runs (`suites`), what is missing (`plan`) is carried out (`executors`) until nothing is.

A sweep that was interrupted, or started twice at once, ends with the same records, each made once.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from types import FrameType

from glimpsebench.bench import leases, records
from glimpsebench.bench.executors import Executor, Stop
from glimpsebench.bench.judges import Training
from glimpsebench.bench.plan import Unit, standings, trainings, units
from glimpsebench.bench.run import Spec, usable
from glimpsebench.bench.watching import LOG, Board
from glimpsebench.envs.errors import UsageError

DEATHS = 2
"""A run that ended so many of its processes is not tried again."""
LOSSES = 20
"""As many machines may be lost under one run."""
_LOOK_AGAIN_S = 2.0


def sweep(
    specs: Sequence[Spec],
    root: Path,
    executor: Executor,
    quiet: bool = False,
    device: str = "cpu",
    again: bool = False,
    retry_failed: bool = False,
) -> list[str]:
    """Run what has no record yet, training on `device` where agents can.

    Args:
        specs: all runs.
        root: where their records belong. Other sweeps may be at work there too: no run is done twice.
        executor: how they are carried out.
        again: run all of them; a record stays until its successor is whole.
        retry_failed: run those again whose record says that they failed or diverged.

    Returns:
        One line for each run that has diverged or failed, now or earlier; their records say so too.

    Raises:
        UsageError: there is no such device, or something cannot be written.
        KeyboardInterrupt: the user has stopped it. Finished records stay, unfinished ones leave nothing.
    """
    if executor.here:
        usable(device)
    records.remove_unfinished(root)
    leases.remove_free(root)
    wanted, lines = units(specs, root, device, again, retry_failed)
    # The workers' libraries read these when they are loaded: one thread each, and (with glibc) no giving back of
    # freed memory between training steps, which costs a tenth of the time in page faults.
    os.environ |= {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
    os.environ |= {"MALLOC_MMAP_THRESHOLD_": "1073741824", "MALLOC_TRIM_THRESHOLD_": "4294967296"}
    networks, more = trainings(wanted) if executor.here else ([], [])
    work = [*networks, *wanted]
    board = Board(work, root / LOG, quiet or not work)
    try:
        with _stopped_by_the_user() as stop:
            for line in [*lines, *more]:
                board.say(line)
            left = _carry_out(work, executor, board, stop)
    finally:
        board.close()
        records.remove_unfinished(root)
    if left:
        raise KeyboardInterrupt
    return [
        f"{spec}: {stands.record.about['status']}: {stands.record.about['error']}"
        for spec, stands in zip(specs, standings(specs, root), strict=True)
        if stands.record is not None and stands.failed
    ]


def _carry_out(work: Sequence[Unit], executor: Executor, board: Board, stop: Stop) -> list[int]:
    """In rounds: what has no result after one, as its worker died or somebody else was at it, is in the next.

    Returns the numbers of those that are left, as the user has asked to stop.
    """
    left, deaths, losses = list(range(len(work))), Counter[int](), Counter[int]()
    while left and not stop.asked:
        free = [number for number in left if not _is_held(work[number])]
        board.note = "" if free else "another sweep is at the rest"
        board.show()
        whys: dict[int, str] = {}
        with closing(executor([work[number] for number in free], stop)) as events:
            for event in events:
                if event is not None:
                    number = free[event.number]
                    board.tell(event._replace(number=number))
                    if event.kind == "broken":
                        raise UsageError(f"{event.why}; what is recorded stays, and the same command goes on from here")
                    if event.kind == "over":
                        left = _without_settled(left, [number], work, board)
                    deaths[number] += event.kind == "died" or (event.kind == "over" and number in left)
                    losses[number] += event.kind == "lost"
                    whys[number] = event.why or "it left no record"
                board.show()
        for number in list(left):
            unit, late = work[number], whys.get(number, "").startswith("time limit")
            if not (late or deaths[number] >= DEATHS or losses[number] >= LOSSES):
                continue
            if isinstance(unit.spec, Training):  # the runs that need it will say what is wrong
                left.remove(number)
                board.over(number, "failed", whys[number])
            else:
                unit.fail(whys[number] if deaths[number] < DEATHS else f"{whys[number]}, {deaths[number]} times")
        left = _without_settled(left, left, work, board)
        if left and not free and not stop.asked:
            time.sleep(_LOOK_AGAIN_S)
    board.show()
    return left


def _is_held(unit: Unit) -> bool:
    return isinstance(unit.spec, Spec) and leases.holder(unit.root, unit.folder.name) is not None


def _without_settled(left: Sequence[int], numbers: Sequence[int], work: Sequence[Unit], board: Board) -> list[int]:
    """Those that are left without these units whose results are there, as the board is told."""
    settled = {number for number in numbers if work[number].settled}
    for number in sorted(settled):
        about = {} if isinstance(work[number].spec, Training) else records.Record.read(work[number].folder).about
        board.over(number, about.get("status", "done"), about.get("error") or "")
    return [number for number in left if number not in settled]


@contextmanager
def _stopped_by_the_user() -> Iterator[Stop]:
    """Within, the first Ctrl-C asks to stop, and the second stops at once, as SIGTERM does."""
    stop = Stop()

    def interrupted(number: int, frame: FrameType | None) -> None:
        if stop.asked or number == signal.SIGTERM:
            raise KeyboardInterrupt
        stop.asked = True
        print("\nstopping: runs at work are finished or saved; Ctrl-C again stops at once", file=sys.stderr)

    if threading.current_thread() is not threading.main_thread():
        yield stop
        return
    before = {number: signal.signal(number, interrupted) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
