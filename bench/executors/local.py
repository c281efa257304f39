"""The local pool: processes of this machine, one thread each. One that dies costs the run that it was at, nothing else.

Each leads a process group, which ends with it, and ends itself when the sweep does."""

from __future__ import annotations

import math
import multiprocessing
import os
import signal
import threading
import time
from collections import deque
from collections.abc import Generator, Iterator, Sequence
from contextlib import suppress
from multiprocessing import connection
from multiprocessing.context import SpawnProcess
from pathlib import Path
from typing import Any

from glimpsebench.bench.checkpoints import STOP
from glimpsebench.bench.executors import Event, Stop
from glimpsebench.bench.plan import Unit
from glimpsebench.bench.progress import Stages
from glimpsebench.bench.run import Spec
from glimpsebench.envs.errors import UsageError


class Local:
    """Runs units in processes here.

    Args:
        workers: how many at a time.
        time_limit: seconds that a run may take; longer ones are ended.
    """

    here = True

    def __init__(self, workers: int = 2, time_limit: float | None = None) -> None:
        self.workers, self.time_limit = workers, time_limit

    def __call__(self, units: Sequence[Unit], stop: Stop) -> Generator[Event | None]:
        waiting = deque(range(len(units)))
        pool: list[_Worker] = []
        try:
            while (waiting and not stop.asked) or any(worker.number is not None for worker in pool):
                while waiting and not stop.asked:
                    worker = next((each for each in pool if each.number is None), None)
                    if worker is None:
                        if len(pool) == self.workers:
                            break
                        pool.append(worker := _Worker())
                    worker.begin(number := waiting.popleft(), units[number])
                    yield Event(number, "begun")
                for worker in pool if stop.asked else ():
                    worker.process.terminate()  # which it takes as a request
                connection.wait([worker.pipe for worker in pool], 0.5)
                for worker in list(pool):
                    yield from worker.events(self.time_limit)
                    if worker.ended:
                        pool.remove(worker)
                yield None
        finally:
            for worker in pool:
                worker.end()


class _Worker:
    """A process, and the unit that it is at."""

    def __init__(self) -> None:
        self.pipe, theirs = multiprocessing.Pipe()
        self.process = SpawnProcess(target=_serve, args=(theirs,))
        self.number: int | None = None
        self.unit, self._began = Unit(Spec("", ""), Path()), math.inf
        self._ready = self.ended = False
        self.process.start()
        theirs.close()

    def begin(self, number: int, unit: Unit) -> None:
        self.number, self.unit = number, unit
        self._began = time.monotonic() if self._ready else math.inf  # its imports are no part of the run
        with suppress(OSError):  # it has died, as will be seen
            self.pipe.send(unit)

    def events(self, time_limit: float | None) -> Iterator[Event]:
        """What it has told since, and whether it has died or is over its time."""
        try:
            while not self.ended and self.pipe.poll():
                kind, stage, why = self.pipe.recv()
                if kind == "ready":
                    self._ready, self._began = True, time.monotonic()
                elif self.number is not None:
                    number = self.number
                    if kind != "stage":
                        self.number = None
                        if self.unit.device != "cpu":  # an error on a GPU can spoil a process for good
                            self.end()
                    yield Event(number, kind, stage, why)
        except (OSError, EOFError):
            self.process.join(1)
            self.end()
            if self.number is not None:
                code = self.process.exitcode or 0
                how = f"signal {-code}" if code < 0 else f"exit code {code}"
                yield Event(self.number, "died", None, f"its process ended by {how}")
        limit = time_limit if isinstance(self.unit.spec, Spec) and time_limit is not None else math.inf
        if not self.ended and self.number is not None and time.monotonic() - self._began > limit:
            self.end()
            yield Event(self.number, "died", None, f"time limit: not done within {time_limit:g} s")

    def end(self) -> None:
        """End it and whatever it has started."""
        self.ended = True
        assert self.process.pid
        with suppress(OSError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.kill()
        self.process.join()


def _serve(pipe: Any) -> None:
    """A worker's life: units come, and what becomes of them goes back."""
    os.setpgid(0, 0)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, lambda *_: STOP.set())  # it saves or finishes what it is at, and gets nothing new
    threading.Thread(target=_end_with_the_sweep, daemon=True).start()
    pipe.send(("ready", None, ""))
    while True:
        try:
            unit = pipe.recv()
        except (OSError, EOFError):
            return
        try:
            stages = Stages(lambda stage: pipe.send(("stage", stage, "")))
            pipe.send(("over" if unit.perform(stages) else "held", None, ""))
        except KeyboardInterrupt:
            pipe.send(("stopped", None, ""))
        except UsageError as error:
            pipe.send(("broken", None, str(error)))
        except BaseException as error:
            pipe.send(("died", None, " ".join(f"{type(error).__name__}: {error}".split())))


def _end_with_the_sweep() -> None:
    """A sweep that is killed cannot end its workers."""
    parent = multiprocessing.parent_process()
    assert parent is not None
    connection.wait([parent.sentinel])
    os.killpg(0, signal.SIGKILL)
