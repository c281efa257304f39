"""Slurm, by submitit: each unit is a job of an array, on machines that share the results folder.

Whether a run is done is told by its record alone: without accounting, Slurm calls a job that was killed complete. What
it is asked is only which jobs are still in its queue.
"""

from __future__ import annotations

import getpass
import math
import os
import shutil
import subprocess
import time
from collections.abc import Generator, Sequence
from typing import Any

from glimpsebench.bench.executors import Event, Stop
from glimpsebench.bench.plan import Unit
from glimpsebench.bench.progress import Stages
from glimpsebench.envs.errors import UsageError

_TICK_S = float(os.environ.get("GLIMPSE_SLURM_LOOK_SECONDS", 10.0))
"""Between two looks at the queue, which all users of a cluster share."""
_GRACE = 3
"""So many looks long a record may be missing after its job has left the queue: shared folders show files late."""


class Slurm:
    """Runs units as jobs of a Slurm cluster; it decides how many at a time.

    Args:
        partition: where; by default the cluster's own default.
        time_limit: seconds that a run may take; longer ones are ended.
    """

    here = False

    def __init__(self, partition: str | None = None, time_limit: float | None = None) -> None:
        try:
            import submitit
        except ImportError:
            raise UsageError("--executor slurm needs submitit: pip install 'glimpsebench[slurm]'") from None
        if not shutil.which("sbatch"):
            raise UsageError("--executor slurm: no sbatch here; run it on a machine that submits Slurm's jobs")
        self.submitit: Any = submitit
        self.partition, self.time_limit = partition, time_limit

    def __call__(self, units: Sequence[Unit], stop: Stop) -> Generator[Event | None]:
        if not units:
            return
        jobs = self._submitted(units)
        begun, missing = dict[int, float](), dict[int, int]()
        try:
            while jobs:
                queue = _queue()
                if stop.asked and (pending := [one for one in jobs.values() if queue.get(one) == "PENDING"]):
                    subprocess.run(["scancel", *pending], check=False)
                for number, job in list(jobs.items()):
                    if queue.get(job) == "RUNNING" and number not in begun:
                        begun[number] = time.monotonic()
                        yield Event(number, "begun")
                    missing[number] = 0 if job in queue else missing.get(number, 0) + 1
                    late = number in begun and time.monotonic() - begun[number] > (self.time_limit or math.inf)
                    event = None
                    if units[number].settled:
                        event = Event(number, "over")
                    elif late:
                        subprocess.run(["scancel", job], check=False)
                        event = Event(number, "died", None, f"time limit: not done within {self.time_limit:g} s")
                    elif missing[number] > _GRACE:
                        died = Event(number, "died", None, f"its job {job} left no record")
                        event = Event(number, "stopped") if stop.asked else died
                    if event is not None:
                        del jobs[number]
                        yield event
                yield None
                time.sleep(_TICK_S)
        finally:
            if jobs:
                subprocess.run(["scancel", *jobs.values()], check=False)

    def _submitted(self, units: Sequence[Unit]) -> dict[int, str]:
        """The jobs' ids in the queue, by the numbers of the units."""
        folder = units[0].root.absolute() / "slurm"
        try:
            executor = self.submitit.AutoExecutor(folder, cluster="slurm")
            minutes = 60 * 24 if self.time_limit is None else 2 + math.ceil(self.time_limit / 60)
            gpus = {} if units[0].device == "cpu" else {"gpus_per_node": 1}
            partition = {} if self.partition is None else {"slurm_partition": self.partition}
            executor.update_parameters(
                name="glimpse", cpus_per_task=1, timeout_min=minutes, slurm_use_srun=False, **gpus, **partition
            )
            where = os.getcwd()  # noqa: PTH109 - as text
            with executor.batch():
                jobs = [executor.submit(_perform, unit, str(unit.root.absolute()), where) for unit in units]
        except Exception as error:  # sbatch says no
            raise UsageError(f"Slurm takes no jobs: {' '.join(str(error).split())[:500]}") from None
        return {number: str(job.job_id) for number, job in enumerate(jobs)}


def _queue() -> dict[str, str]:
    """The user's jobs in the queue: id → state."""
    command = ["squeue", "--noheader", "--array", "--user", getpass.getuser(), "--format", "%i %T"]
    text = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    found = {}
    for line in text.splitlines():
        job, _, state = line.strip().partition(" ")
        found[job] = state
    return found


def _perform(unit: Unit, root: str, where: str) -> None:
    """A job. One whose machine died and that begins again waits until the dead one's lease is free."""
    import dataclasses
    import sys
    from pathlib import Path

    sys.path.insert(0, where)
    whole = dataclasses.replace(unit, root=Path(root))
    while not whole.settled and not whole.perform(Stages()):
        time.sleep(_TICK_S)
