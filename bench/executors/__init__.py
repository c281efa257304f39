"""Executors: how units of work are carried out, in processes here, on a Ray cluster or by Slurm.

An executor is asked to run units, each once, and tells what becomes of them. Nothing else is its business: what is done
is told by the results that are there afterwards, and `sweep` decides what is asked for again.
"""

from __future__ import annotations

from collections.abc import Generator, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple, Protocol

from glimpsebench.bench.plan import Unit
from glimpsebench.bench.progress import Stage
from glimpsebench.envs.errors import unknown


class Event(NamedTuple):
    """What becomes of a unit.

    Attributes:
        number: of the unit, in the order in which they were given.
        kind: `begun`; `stage`, it is at this one; and as its last one `over`, `held` (somebody else is at it),
            `stopped` (as was asked), `died` (with its worker), `lost` (with its machine, which is no fault of its own),
            or `broken` (results cannot be written).
        why: in a few words.
    """

    number: int
    kind: Literal["begun", "stage", "over", "held", "stopped", "died", "lost", "broken"]
    stage: Stage | None = None
    why: str = ""


@dataclass
class Stop:
    """Whether the user has asked to stop: nothing new begins, and what runs ends as soon as nothing is lost by it."""

    asked: bool = False


class Executor(Protocol):
    """Runs units.

    Attributes:
        here: whether it runs them on this machine, where trained judges are kept for all runs.
    """

    here: bool

    def __call__(self, units: Sequence[Unit], stop: Stop) -> Generator[Event | None]:
        """Run these units, each once at most; None whenever some time has passed.

        A caller who closes the iterator ends all that runs.
        """


def make(name: str, workers: int, time_limit: float | None, address: str, partition: str | None) -> Executor:
    """The executor of this name.

    Raises:
        UsageError: there is none, or what it needs is not installed.
    """
    if name == "local":
        from glimpsebench.bench.executors.local import Local

        return Local(workers, time_limit)
    if name == "ray":
        from glimpsebench.bench.executors.ray import Ray

        return Ray(address, time_limit)
    if name == "slurm":
        from glimpsebench.bench.executors.slurm import Slurm

        return Slurm(partition, time_limit)
    raise unknown("executor", name, ("local", "ray", "slurm"))
