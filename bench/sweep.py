"""Sweeps: of a list of runs, run those that have no record yet, some at a time.

The unit of work is one run, addressed by its content and committed by one rename, so a sweep that was
interrupted, or started twice, ends with the same records.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from contextlib import suppress
from multiprocessing import connection
from pathlib import Path
from typing import Any

from tqdm import tqdm

from glimpsebench.bench import judges, records
from glimpsebench.bench.judges import Training
from glimpsebench.bench.progress import Stage, Stages
from glimpsebench.bench.records import canonical
from glimpsebench.bench.run import Spec, run, standings, usable

_queue: Any = None


def _start(queue: Any) -> None:
    """Begin a worker: Ctrl-C is the parent's business, and a worker does not outlive it."""
    global _queue
    _queue = queue
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_the_parent, daemon=True).start()


def _end_with_the_parent() -> None:
    """A sweep that is killed cannot stop its workers, which would go on through the runs that they were handed."""
    parent = multiprocessing.parent_process()
    assert parent is not None
    connection.wait([parent.sentinel])
    os._exit(1)


def _work(number: int, spec: Spec | Training, root: Path, device: str) -> str:
    """One unit of work: a run, or the training of a judge or a reader. Returns what went wrong, if anything."""

    def report(stage: Stage) -> None:
        _queue.put((number, stage))

    stages = Stages(report)
    if isinstance(spec, Training):
        stages.networks(spec.task.id, [spec.steps])
        spec.run(stages)
        return ""
    record = run(spec, root, stages, device)
    return "" if record.done else f"{spec}: {record.about['status']}: {record.about['error']}"


def sweep(
    specs: Sequence[Spec], root: Path, workers: int, quiet: bool = False, device: str = "cpu", again: bool = False
) -> list[str]:
    """Run what has no record yet, `workers` at a time with one thread each, training on `device` where agents can.

    Args:
        again: run all of them; a record stays until its successor is whole.

    Returns:
        One line for each run that diverged or failed; their records say so too.

    Raises:
        UsageError: there is no such device.
        KeyboardInterrupt: after the workers were stopped. Finished records stay, unfinished ones leave nothing.
    """
    usable(device)
    records.remove_unfinished(root)
    work: list[Spec | Training] = [
        spec for spec, stands in zip(specs, standings(specs, root), strict=True) if again or not stands.done
    ]
    if not work:
        return []
    on = {canonical([spec.task, spec.task_settings]): spec for spec in work if isinstance(spec, Spec)}
    work[:0] = [each for spec in on.values() for each in judges.missing(spec.make()[1])]
    # The workers' libraries read these when they are loaded: one thread each, and (with glibc) no giving back of
    # freed memory between training steps, which costs a tenth of the time in page faults.
    os.environ |= {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
    os.environ |= {"MALLOC_MMAP_THRESHOLD_": "1073741824", "MALLOC_TRIM_THRESHOLD_": "4294967296"}
    context = multiprocessing.get_context("spawn")
    queue = context.Queue()
    failures = []
    # An error on a GPU can spoil a process for good, so there each run has its own.
    runs_each = None if device == "cpu" else 1
    pool = ProcessPoolExecutor(workers, context, _start, (queue,), max_tasks_per_child=runs_each)
    try:
        with tqdm(total=len(work), disable=quiet, bar_format=BAR, dynamic_ncols=True) as bar:
            futures = {pool.submit(_work, n, spec, root, device): n for n, spec in enumerate(work)}
            for failure in _watch(futures, work, queue, bar):
                failures.append(failure)
                bar.write(failure)
    except BaseException:
        for process in list((pool._processes or {}).values()):
            process.terminate()
        raise
    finally:
        pool.shutdown(wait=True, cancel_futures=True)
        records.remove_unfinished(root)
    return failures


_LOG_EVERY_S = 15.0  # in a log file a line now and then is enough
BAR = "{percentage:3.0f} % |{bar:8}| {elapsed}<{remaining} {desc}"


def _watch(futures: Mapping[Future[str], int], work: Sequence[Spec | Training], queue: Any, bar: Any) -> Iterator[str]:
    """Move the bar as the workers report; yield the lines of runs that went wrong.

    Until the last one ends it stands at 99 % at most, and says what is going on.
    """
    shares, stages = dict.fromkeys(futures.values(), 0.0), dict[int, Stage]()
    waiting, shown = set(futures), time.monotonic()
    while waiting:
        finished, waiting = wait(waiting, timeout=0.5, return_when=FIRST_COMPLETED)
        with suppress(Exception):  # the queue is only for show
            while not queue.empty():
                number, stage = queue.get_nowait()
                shares[number], stages[number] = max(shares[number], stage.share), stage
        for future in finished:
            shares[futures[future]] = 1.0
            if failure := future.result():
                yield failure
        bar.n = min(sum(shares.values()), 0.99 * len(work)) if waiting else len(work)
        bar.desc = _described(work, {number for number, share in shares.items() if share == 1}, stages)
        if sys.stderr.isatty() or time.monotonic() > shown + _LOG_EVERY_S:
            shown = time.monotonic()
            bar.refresh()


def _described(work: Sequence[Spec | Training], done: set[int], stages: Mapping[int, Stage]) -> str:
    """How many runs are done, and what is going on: a judge's training, or else the first run that is not done."""
    runs = [number for number, each in enumerate(work) if isinstance(each, Spec)]
    text = f"{len(done & {*runs})}/{len(runs)} runs"
    for number in sorted(stages.keys() - done):
        each, what = work[number], stages[number].name
        return f"{text}; {what}" if isinstance(each, Training) else f"{text}; {each.agent}, seed {each.seed}: {what}"
    return text
