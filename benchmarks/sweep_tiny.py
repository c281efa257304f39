"""Runs that do next to nothing, for what is measured of sweeps themselves (`sweep_overhead`, `sweep_torture`)."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from glimpsebench.bench import leases, records
from glimpsebench.bench import sweep as sweeps
from glimpsebench.bench.executors.local import Local
from glimpsebench.bench.plan import Unit, stamp, standings
from glimpsebench.bench.progress import Stages
from glimpsebench.bench.run import Spec, fail

DONE = "executed.log"


@dataclass(frozen=True)
class Tiny(Unit):
    """A unit that leaves a record made of a template, and a line in a log."""

    template: str = ""
    key: str = ""
    seconds: float = 0.0

    @property
    def folder(self) -> Path:
        assert isinstance(self.spec, Spec)
        return records.folder_of(self.root, "digits-v1", self.spec.agent, self.key)

    def perform(self, stages: Stages) -> bool:
        assert isinstance(self.spec, Spec)
        with leases.leased(self.root, self.key) as lease:
            if lease is not None and not self.settled:
                time.sleep(self.seconds)
                about = json.loads(self.template) | {"seed": self.spec.seed, "key": self.key}
                with records.replacing(self.folder, lambda: lease.ours) as temporary:
                    (temporary / "record.json").write_text(records.canonical(about))
                    for name in ("images.npz", "selections.npz", "weights.safetensors"):
                        (temporary / name).write_bytes(f"{name} {self.spec.seed} ".encode() * 2000)
                        time.sleep(self.seconds / 10)
                with (self.root / DONE).open("a") as file:
                    file.write(f"{self.spec.seed} {os.getpid()}\n")
            return lease is not None


def template(folder: Path) -> str:
    """The contents of some record that is done."""
    about = dict(fail(Spec("raster", "digits", 0), folder, "x").about) | {"status": "done", "error": None}
    del about["judge"]
    return records.canonical(about)


def tiny_units(count: int, root: Path, text: str, seconds: float) -> list[Tiny]:
    asked = records.asked(json.loads(text))
    specs = [Spec("raster", "digits", seed) for seed in range(count)]
    keys = [records.digest(asked | {"seed": spec.seed}) for spec in specs]
    made = [Tiny(spec, root, "cpu", None, text, key, seconds) for spec, key in zip(specs, keys, strict=True)]
    return [unit for unit in made if stamp(unit.folder) is None]


def tiny_sweep(count: int, root: Path, text: str, seconds: float, workers: int, quiet: bool = True) -> Sequence[str]:
    """A sweep of such runs, by all that a sweep is."""
    sweeps.units = lambda *_: (tiny_units(count, root, text, seconds), [])  # type: ignore[assignment]
    sweeps.trainings = lambda _: ([], [])  # type: ignore[assignment]
    specs = [Spec("raster", "digits", seed) for seed in range(count)]
    return sweeps.sweep(specs, root, Local(workers), quiet)


__all__ = ["DONE", "Tiny", "standings", "template", "tiny_sweep", "tiny_units"]
