"""A sweep of 24 short runs whose processes are killed at random moments, until it has been killed 100 times.

Each time either the sweep, one of its workers, or all of them get SIGKILL; whoever was killed is started again. Then 2
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

sys.path.insert(0, str(Path(__file__).parent))

from sweep_tiny import DONE, template, tiny_sweep

from glimpsebench.bench import hashes
from glimpsebench.bench.records import Record

RUNS = 24


def started(root: Path, text: Path, seconds: float, workers: int = 2) -> subprocess.Popen[bytes]:
    command = [sys.executable, __file__, "--sweep", str(root), str(text), str(seconds), str(workers)]
    return subprocess.Popen(command, start_new_session=True, stderr=subprocess.DEVNULL)


def children(pid: int) -> list[int]:
    with suppress(OSError):
        return [int(one) for one in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    return []


def tree(root: Path) -> dict[str, str]:
    """Of each file of each record its hash."""
    paths = sorted(path for path in (root / "records").rglob("*") if path.is_file())
    return {str(path.relative_to(root)): hashlib.sha256(path.read_bytes()).hexdigest() for path in paths}


def report(root: Path, wanted: dict[str, str], what: str) -> None:
    found = tree(root)
    folders = sorted((root / "records").glob("*/*/[!.]*"))
    unreadable = sum(hashes.damaged(folder) is not None or not Record.read(folder).done for folder in folders)
    times = Counter(line.split()[0] for line in (root / DONE).read_text().splitlines())
    twice = sum(count > 1 for count in times.values())
    left = [*(root / "records").glob("*/*/.*"), *(root / "claims").glob("*")]
    print(
        f"{what}: {RUNS - len(folders)} of {RUNS} runs lost, {twice} completed twice, {unreadable} unreadable, "
        f"{len(left)} left behind, files {'the same' if found == wanted else 'NOT the same'}",
        flush=True,
    )


def main(kills: int) -> None:
    rng = random.Random(0)
    with tempfile.TemporaryDirectory() as folder:
        here = Path(folder)
        text = here / "template.json"
        text.write_text(template(here / "template"))
        for workers in (1, 2, 4):
            tiny_sweep(RUNS, here / f"whole-{workers}", text.read_text(), 0.0, workers)
        wanted = tree(here / "whole-1")
        print(f"1, 2 and 4 workers: same bytes: {all(tree(here / f'whole-{n}') == wanted for n in (2, 4))}", flush=True)
        root, killed = here / "store", Counter[str]()
        while killed.total() < kills or len(tree(root)) < len(wanted):
            sweep = started(root, text, 0.3)
            while sweep.poll() is None and killed.total() < kills:
                time.sleep(rng.uniform(0.5, 4))
                whom = rng.choice(["sweep", "worker", "all"])
                pids = children(sweep.pid)
                victims = {
                    "sweep": [sweep.pid],
                    "worker": rng.sample(pids, min(1, len(pids))),
                    "all": [sweep.pid, *pids],
                }
                for pid in victims[whom]:
                    with suppress(ProcessLookupError):
                        os.kill(pid, signal.SIGKILL)
                killed[whom] += 1
                if whom != "worker":
                    break
                if len(tree(root)) == len(wanted) and killed.total() < kills:  # begin again, to be killed more often
                    break
            sweep.wait() if killed.total() >= kills else sweep.kill()
            sweep.wait()
            if len(tree(root)) == len(wanted) and killed.total() < kills:
                report(root, wanted, f"after {killed.total()} kills")
                root = here / f"store-{killed.total()}"
        report(root, wanted, f"after {json.dumps(killed)} kills")
        for count in (2, 8):
            root = here / f"at-once-{count}"
            sweeps = [started(root, text, 0.05, 1) for _ in range(count)]
            for sweep in sweeps:
                sweep.wait()
            report(root, wanted, f"{count} sweeps at once")


if __name__ == "__main__":
    if sys.argv[1:2] == ["--sweep"]:
        place, content, seconds, workers = sys.argv[2:]
        tiny_sweep(RUNS, Path(place), Path(content).read_text(), float(seconds), int(workers))
    else:
        main(int(sys.argv[1]) if len(sys.argv) > 1 else 100)
