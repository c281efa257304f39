"""Watching a sweep: one bar for all of its runs, and a line for each in a log.

The bar says how many runs are done, are at work and have failed, and what the first of those at work is at. It stands
at 99 % at most until the last one ends.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from tqdm import tqdm

from glimpsebench.bench import escape
from glimpsebench.bench.executors import Event
from glimpsebench.bench.plan import Unit
from glimpsebench.bench.progress import Stage
from glimpsebench.bench.run import Spec

BAR = "{percentage:3.0f} % |{bar:8}| {elapsed}<{remaining} {desc}"
LOG = "sweep.log"
_LOG_EVERY_S = 15.0  # in a log file a line of the bar now and then is enough


class Board:
    """Shows how a sweep goes.

    Args:
        units: all that it will do.
        log: the file that gets a line for each of them.
        quiet: whether there is no bar.
    """

    def __init__(self, units: Sequence[Unit], log: Path, quiet: bool = False) -> None:
        self.units, self.log = units, log
        self.bar: Any = tqdm(total=len(units), disable=quiet, bar_format=BAR, dynamic_ncols=True)
        self.failed: set[int] = set()
        self._began: dict[int, float] = {}
        self._stages: dict[int, Stage] = {}
        self._shares: dict[int, float] = dict.fromkeys(range(len(units)), 0.0)
        self._over: set[int] = set()
        self._shown = time.monotonic()
        self.note = ""

    def tell(self, event: Event) -> None:
        """What becomes of a unit, by its number here."""
        if event.kind == "begun":
            self._began[event.number] = time.monotonic()
        elif event.kind == "stage" and event.stage is not None:
            self._shares[event.number] = max(self._shares[event.number], event.stage.share)
            self._stages[event.number] = event.stage
        else:
            self._stages.pop(event.number, None)
            self._began.setdefault(event.number, time.monotonic())
            if event.kind != "over":
                self._write(event.number, event.kind, event.why)
                self._began.pop(event.number)

    def over(self, number: int, word: str, why: str = "") -> None:
        """A unit's result is there: `done`, `failed` or `diverged`."""
        self._over.add(number)
        self._shares[number] = 1.0
        if word != "done":
            self.failed.add(number)
            if isinstance(self.units[number].spec, Spec):
                self.say(f"{self.units[number]}: {word}: {why}")
        self._write(number, word, why)

    def say(self, line: str) -> None:
        """A line above the bar."""
        self.bar.write(escape.terminal(line), file=sys.stderr)

    def show(self) -> None:
        """Move the bar."""
        self.bar.n = min(sum(self._shares.values()), 0.99 * len(self.units))
        if len(self._over) == len(self.units):
            self.bar.n = len(self.units)
        self.bar.desc = self.described()
        if sys.stderr.isatty() or time.monotonic() > self._shown + _LOG_EVERY_S or self.bar.n == len(self.units):
            self._shown = time.monotonic()
            self.bar.refresh()

    def described(self) -> str:
        """Runs that are done, at work and failed, and what is going on: a judge's training, or else the first run."""
        runs = {number for number, unit in enumerate(self.units) if isinstance(unit.spec, Spec)}
        text = f"{len(self._over & runs)}/{len(runs)} runs"
        if working := (self._began.keys() - self._over) & runs:
            text += f", {len(working)} running"
        if self.failed & runs:
            text += f", {len(self.failed & runs)} failed"
        if self.note:
            return f"{text}; {self.note}"
        for number in sorted(self._stages.keys() - self._over):
            spec, what = self.units[number].spec, self._stages[number].name
            return f"{text}; {spec.agent}, seed {spec.seed}: {what}" if isinstance(spec, Spec) else f"{text}; {what}"
        return text

    def close(self) -> None:
        self.bar.close()

    def _write(self, number: int, word: str, why: str) -> None:
        """A line of the log, by one write, so that lines of several sweeps do not mix."""
        began = self._began.get(number)
        seconds = f"{time.monotonic() - began:.1f} s" if began else "-"
        parts = (time.strftime("%Y-%m-%dT%H:%M:%S"), str(os.getpid()), word, seconds, str(self.units[number]), why)
        line = "\t".join(" ".join(escape.terminal(part).split()) for part in parts)
        with suppress(OSError):
            self.log.parent.mkdir(parents=True, exist_ok=True)
            with self.log.open("a") as file:
                file.write(line + "\n")
