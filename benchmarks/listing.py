"""How long `glimpse sweep SUITE --list` takes for 1,000 and 10,000 runs of 100 and 1,000 rows, imports included.

python benchmarks/listing.py
"""

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

SUITE = """
[base]
task = "digits-clutter"
seed = {seeds}
[[matrix]]
agent = ["ram", "straight_through", "dham", "gdfs"]
"agent.batch" = {batches}
"""

with tempfile.TemporaryDirectory() as folder:
    for runs, rows in ((1_000, 100), (10_000, 1_000)):
        suite = Path(folder) / f"runs-{runs}.toml"
        suite.write_text(SUITE.format(seeds=list(range(runs // rows)), batches=list(range(16, 16 + rows // 4))))
        begun, cpu = time.perf_counter(), os.times()
        command = [sys.executable, "-m", "glimpsebench", "sweep", str(suite), "--list"]
        done = subprocess.run(command, cwd=folder, check=True, capture_output=True, text=True)
        core = sum(os.times()[2:4]) - sum(cpu[2:4])
        print(f"{done.stdout.splitlines()[0]}: {time.perf_counter() - begun:.1f} s, {core:.1f} s of a core")
