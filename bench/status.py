"""How a sweep goes, as anybody can see who can read its folder: from records, leases and the log."""

from __future__ import annotations

import time
from pathlib import Path

from glimpsebench.bench import escape, leases
from glimpsebench.bench.plan import standings
from glimpsebench.bench.suites import Suite
from glimpsebench.bench.watching import LOG

_LINES = 5


def status(suite: Suite, root: Path) -> tuple[list[str], int]:
    """Lines for the terminal, and how many of a suite's runs have failed."""
    stands = standings(suite.specs, root)
    at_work = {one.name: one for one in leases.held(root)}
    running, failed, left = [], [], 0
    for spec, stand in zip(suite.specs, stands, strict=True):
        key = spec.folder(root).name if at_work else ""
        if key in at_work:
            running.append(f"  running {_since(at_work[key])}: {spec}")
        elif stand.failed and stand.record is not None:
            failed.append(f"  {stand.record.about['status']}: {spec}: {stand.record.about['error']}")
        left += stand.record is None and key not in at_work
    done = sum(stand.done for stand in stands)
    counts = f"{done} done, {len(running)} running, {len(failed)} failed, {left} to do"
    lines = [f"suite {suite.name}: {len(suite.specs)} runs, {counts}, in {root}", *running, *failed]
    try:
        last = (root / LOG).read_text(errors="replace").splitlines()[-_LINES:]
    except OSError:
        last = []
    lines += [f"last in {root / LOG}:", *(f"  {' '.join(line.split(chr(9)))}" for line in last)] if last else []
    return [escape.terminal(line) for line in lines], len(failed)


def _since(held: leases.Held) -> str:
    minutes, seconds = divmod(max(0, int(time.time() - held.taken)), 60)
    where = "" if held.owner is None else f" on {held.owner.host.split()[0]} (process {held.owner.pid})"
    return f"for {minutes}:{seconds:02} min{where}"
