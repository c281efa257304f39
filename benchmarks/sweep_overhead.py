"""What a sweep costs beside its runs: 1,000 runs that do nothing, and listing 10,000.

python benchmarks/sweep_overhead.py [RUNS]
"""

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

from sweep_tiny import template, tiny_sweep

SUITE = "floors = false\n[base]\nagent = 'raster'\ntask = 'digits'\nseed = {seeds}\n"


def main(runs: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        text = template(Path(folder) / "template")
        began, cpu = time.perf_counter(), os.times()
        tiny_sweep(1, Path(folder) / "warm", text, 0.0, 2)
        start = time.perf_counter() - began
        began, cpu = time.perf_counter(), os.times()
        tiny_sweep(runs, Path(folder) / "store", text, 0.0, 2)
        seconds, now = time.perf_counter() - began, os.times()
        busy = sum(now[:4]) - sum(cpu[:4])
        print(f"{runs:,} runs that do nothing, 2 workers: {1000 * (seconds - start) / runs:.1f} ms a run; ", end="")
        print(f"{1000 * busy / runs:.1f} ms of a core a run, with the start of the workers")
        suite = Path(folder) / "many.toml"
        suite.write_text(SUITE.format(seeds=list(range(10_000))))
        began, cpu = time.perf_counter(), os.times()
        command = [sys.executable, "-m", "glimpsebench", "sweep", str(suite), "--list", "--root", f"{folder}/store"]
        done = subprocess.run(command, check=True, capture_output=True, text=True)
        core = sum(os.times()[2:4]) - sum(cpu[2:4])
        print(f"{done.stdout.splitlines()[0]}: listed in {time.perf_counter() - began:.1f} s, {core:.1f} s of a core")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 1000)
