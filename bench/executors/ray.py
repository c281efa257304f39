"""Ray: units as tasks of a cluster. Its machines need no folder in common: what a run wrote comes home as bytes.

This process holds the leases and commits the records, so a machine that dies, even in the middle of sending, costs the
runs that it was at and nothing else.
"""

from __future__ import annotations

import tempfile
import time
from collections import deque
from collections.abc import Generator, Sequence
from pathlib import Path
from typing import Any

from glimpsebench.bench import hashes, leases, records
from glimpsebench.bench.executors import Event, Stop
from glimpsebench.bench.plan import Unit
from glimpsebench.bench.run import Spec, run
from glimpsebench.envs.errors import UsageError

_TICK_S, _NOTICED_S = 0.5, 10.0
"""Between two looks; and within what time a cluster notices that a node has died."""


class Ray:
    """Runs units on a Ray cluster, as many at a time as it has CPUs.

    Args:
        address: of the cluster; `local` starts one here.
        time_limit: seconds that a run may take; longer ones are ended.
    """

    here = False

    def __init__(self, address: str, time_limit: float | None = None) -> None:
        try:
            import ray
        except ImportError:
            raise UsageError("--executor ray needs Ray: pip install 'glimpsebench[ray]'") from None
        self.ray: Any = ray
        self.address, self.time_limit = address, time_limit

    def __call__(self, units: Sequence[Unit], stop: Stop) -> Generator[Event | None]:
        if not self.ray.is_initialized():
            try:
                self.ray.init(self.address, log_to_driver=False, logging_level="ERROR")
            except Exception as error:
                why = " ".join(str(error).split())
                raise UsageError(
                    f"--address {self.address}: no Ray cluster there ({why}); `ray start --head`"
                ) from None
        waiting, flying = deque(enumerate(units)), dict[Any, tuple[int, leases.Lease, float, set[str]]]()
        try:
            while (waiting and not stop.asked) or flying:
                while waiting and not stop.asked and len(flying) < self._slots():
                    number, unit = waiting.popleft()
                    if (lease := leases.take(unit.root, unit.folder.name)) is None:
                        yield Event(number, "held")
                        continue
                    if unit.settled:
                        lease.release()
                        yield Event(number, "over")
                        continue
                    gpus = 0 if unit.device == "cpu" else 1
                    task = self.ray.remote(num_cpus=1, num_gpus=gpus, max_retries=0)(_performed)
                    flying[task.remote(unit.spec, unit.device)] = number, lease, time.monotonic(), self._nodes()
                    yield Event(number, "begun")
                done, _ = self.ray.wait(list(flying), timeout=_TICK_S) if flying else ([], [])
                for reference in done:
                    number, lease, _, nodes = flying.pop(reference)
                    try:
                        yield self._result(reference, number, units[number], lease, nodes)
                    finally:
                        lease.release()
                for reference, (number, lease, began, _) in list(flying.items()):
                    if self.time_limit is not None and time.monotonic() - began > self.time_limit:
                        del flying[reference]
                        self.ray.cancel(reference, force=True)
                        lease.release()
                        yield Event(number, "died", None, f"time limit: not done within {self.time_limit:g} s")
                yield None
        finally:
            for reference, (_, lease, _, _) in flying.items():
                self.ray.cancel(reference, force=True)
                lease.release()

    def _slots(self) -> int:
        return max(1, int(self.ray.cluster_resources().get("CPU", 1)))

    def _nodes(self) -> set[str]:
        return {node["NodeID"] for node in self.ray.nodes() if node["Alive"]}

    def _result(self, reference: Any, number: int, unit: Unit, lease: leases.Lease, nodes: set[str]) -> Event:
        """Bring a record home, or tell what became of its run.

        Args:
            nodes: those that were alive when it began.
        """
        errors = self.ray.exceptions
        try:
            key, files = self.ray.get(reference)
        except errors.RayTaskError as error:
            return Event(number, "died", None, " ".join(str(error.cause).split())[:500])
        except errors.NodeDiedError:
            return Event(number, "lost", None, "its node died")
        except errors.RayError as error:  # of its process, or of its machine, with what it was to send
            until = time.monotonic() + _NOTICED_S
            while time.monotonic() < until:
                if nodes - self._nodes():
                    return Event(number, "lost", None, "its node died")
                time.sleep(_TICK_S)
            return Event(number, "died", None, f"its process ended ({type(error).__name__})")
        if key != unit.folder.name:
            return Event(number, "died", None, "its node has another version of the code")
        try:
            with records.replacing(unit.folder, lambda: lease.ours) as temporary:
                for name, content in files.items():
                    (temporary / name).write_bytes(content)
                if problem := hashes.damaged(temporary):
                    return Event(number, "died", None, f"{problem} where it was sent from")
        except UsageError as error:
            return Event(number, "broken", None, str(error))
        return Event(number, "over")


def _performed(spec: Spec, device: str) -> tuple[str, dict[str, bytes]]:
    """A run on a node: the key of its record, and the record's files."""
    with tempfile.TemporaryDirectory() as folder:
        record = run(spec, Path(folder), iter, device)
        return record.folder.name, {path.name: path.read_bytes() for path in record.folder.iterdir()}
