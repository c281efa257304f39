"""A sweep of 24 real runs, and of the judges that they need, whose processes are killed until 100 have been.

Each time the sweep, a worker, or all of them get SIGKILL while runs are at work; whoever was killed is started
again. A run that ends two workers of one sweep becomes a failed row, by design; such rows are retried here. Then 2
and 8 sweeps are started at once in one store. Says what was lost, done twice, unreadable or left behind, and whether
the files are those of a sweep that nobody interrupted.

python benchmarks/sweep_torture.py [KILLS]
"""

import hashlib
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from contextlib import suppress
from pathlib import Path
from typing import Any

from glimpsebench.bench import checkpoints, hashes, judges, leases, plan
from glimpsebench.bench.executors.local import Local
from glimpsebench.bench.records import Record
from glimpsebench.bench.run import Spec, run
from glimpsebench.bench.sweep import sweep

FEW: dict[str, dict[str, Any]] = {
    "raster": {"predictor_steps": 60},
    "center": {"predictor_steps": 60},
    "dham": {"steps": 30},
    "straight_through": {"selector_steps": 30, "predictor_steps": 30},
}
SPECS = [Spec(agent, "digits", seed, settings) for agent, settings in FEW.items() for seed in range(6)]
DONE = "executed.log"
WORDS = ("sweep", "worker", "all")


def counted(spec: Spec, root: Path, *words: Any, **more: Any) -> Record:
    """A run, and a line that says that it was carried out."""
    record = run(spec, root, *words, **more)
    with (root / DONE).open("a") as file:
        file.write(f"{record.about['status']} {record.folder.name}\n")
    return record


if sys.argv[1:2] == ["--sweep"]:  # in its workers, too, which import this file
    judges.OWN_RECIPE = judges.Recipe(members=2, steps=40, batch=64, width=8)
    checkpoints.SECONDS = 0.1
    plan.run = counted


def started(root: Path, workers: int = 2) -> subprocess.Popen[bytes]:
    """A sweep in a process of its own; each store has judges of its own, so that these are trained under fire, too."""
    command = [sys.executable, __file__, "--sweep", str(root), str(workers)]
    own = {"GLIMPSE_JUDGES": str(root / "judges")}
    return subprocess.Popen(command, start_new_session=True, stderr=subprocess.DEVNULL, env=os.environ | own)


def children(pid: int) -> list[int]:
    with suppress(OSError):
        return [int(one) for one in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    return []


def at_work(root: Path) -> bool:
    """Whether somebody alive is at a run, or at a judge's training."""
    if leases.held(root):
        return True
    with suppress(OSError):
        return any(Path(f"/proc/{claim.read_text()}").exists() for claim in (root / "judges").glob("*/*.claim"))
    return False


def kill(pid: int, whom: str, rng: random.Random) -> None:
    workers = children(pid)
    victims = {"sweep": [pid], "worker": rng.sample(workers, min(1, len(workers))), "all": [pid, *workers]}
    for victim in victims[whom]:
        with suppress(ProcessLookupError):
            os.kill(victim, signal.SIGKILL)


def tree(root: Path) -> dict[str, str]:
    """Of each file of each record its hash, without that which says how long it took."""
    paths = sorted(path for path in (root / "records").rglob("*") if path.is_file() and path.name != "timings.json")
    return {str(path.relative_to(root)): hashlib.sha256(path.read_bytes()).hexdigest() for path in paths}


def done(root: Path) -> int:
    return sum('"status": "done"' in path.read_text() for path in (root / "records").glob("*/*/[!.]*/record.json"))


def report(root: Path, wanted: dict[str, str], what: str) -> None:
    found = tree(root)
    folders = sorted((root / "records").glob("*/*/[!.]*"))
    unreadable = sum(hashes.damaged(folder) is not None or not Record.read(folder).done for folder in folders)
    times = Counter(line for line in (root / DONE).read_text().splitlines() if line.startswith("done"))
    left = [
        *(root / "records").glob("*/*/.*"),
        *(root / "claims").glob("*"),
        *(root / "checkpoints").glob("*/*"),
        *(path for path in (root / "judges").rglob("*.*") if path.suffix not in (".safetensors", ".sha256", ".json")),
    ]
    print(
        f"{what}: {len(SPECS) - len(folders)} of {len(SPECS)} runs lost, "
        f"{sum(count > 1 for count in times.values())} completed twice, {unreadable} unreadable, "
        f"{len(left)} left behind {sorted({path.name for path in left})[:3] or ''}, "
        f"files {'the same' if found == wanted else 'NOT the same'}",
        flush=True,
    )


def tortured(here: Path, wanted: dict[str, str], kills: int) -> None:
    """Sweeps in one store after another, until so many kills were survived."""
    rng, killed, failed, ended = random.Random(0), Counter[str](), 0, 0
    while killed.total() < kills:
        root, before = here / f"after-{killed.total()}", killed.total()
        while done(root) < len(SPECS):
            process, whom = started(root), "nobody"
            while process.poll() is None:
                if killed.total() < kills and at_work(root):
                    time.sleep(rng.expovariate(1 / 4))
                    if process.poll() is None and at_work(root):
                        whom = rng.choice(WORDS)
                        kill(process.pid, whom, rng)
                        killed[whom] += 1
                        if whom != "worker":
                            process.wait()
                time.sleep(0.05)
            ended += whom == "worker" and process.returncode != 0
        log = (root / "sweep.log").read_text()
        failed += log.count("\tfailed\t")
        report(root, wanted, f"{killed.total() - before} kills, {killed.total()} in all")
    print(f"{json.dumps(killed)} killed; {failed} runs had ended two workers and were retried; ", end="")
    print(f"{ended} sweeps ended by the death of a worker", flush=True)


def main(kills: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        here = Path(folder)
        started(here / "whole-1", 1).wait()
        wanted = tree(here / "whole-1")
        tortured(here, wanted, kills)
        for workers in (2, 4):
            started(here / f"whole-{workers}", workers).wait()
            report(here / f"whole-{workers}", wanted, f"{workers} workers")
        for count in (2, 8):
            root = here / f"at-once-{count}"
            for process in [started(root, 1) for _ in range(count)]:
                process.wait()
            report(root, wanted, f"{count} sweeps at once")


if __name__ == "__main__":
    if sys.argv[1:2] == ["--sweep"]:
        for failure in sweep(SPECS, Path(sys.argv[2]), Local(int(sys.argv[3])), quiet=True, retry_failed=True):
            print(failure, flush=True)
    else:
        main(int(sys.argv[1]) if len(sys.argv) > 1 else 100)
