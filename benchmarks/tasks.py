"""How fast tasks make fresh training images: images per second on one core, as JSON on the last line.

python benchmarks/tasks.py [TASK ...]
"""

from __future__ import annotations

import json
import os
import sys
import time

from glimpsebench.envs import gallery, tasks

TARGETS = {"cluttered-mnist-60": 30_000}


def images_per_second(task: tasks.Task, seconds: float = 3.0) -> float:
    """The fastest of the epochs that fit in the time; the first, which opens files, does not count."""
    task.train(0)
    best, epoch, start = 0.0, 0, time.perf_counter()
    while epoch == 0 or time.perf_counter() - start < seconds:
        epoch += 1
        before = time.perf_counter()
        images = len(task.train(epoch))
        best = max(best, images / (time.perf_counter() - before))
    return best


def main() -> None:
    """Measure the named tasks, by default all that draw new images each epoch and are installed."""
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    chosen = [tasks.make(name) for name in sys.argv[1:]]
    chosen = chosen or [task for task in gallery.installed() if not isinstance(task, tasks.Plain)]
    found = {}
    for task in chosen:
        found[task.name] = round(images_per_second(task))
        target = f"  (target {TARGETS[task.name]:,})" if task.name in TARGETS else ""
        print(f"{task.name:22} {found[task.name]:>9,} images/s{target}", flush=True)
    print(json.dumps({"images_per_second": found, "targets": TARGETS}))


if __name__ == "__main__":
    main()
