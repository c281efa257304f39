"""How long `glimpse sweep SUITE --list` takes for 1,000 and 3,000 runs, imports included.

python benchmarks/listing.py
"""

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
"agent.lr" = {rates}
"""

with tempfile.TemporaryDirectory() as folder:
    for runs in (1_000, 3_000):
        suite = Path(folder) / f"runs-{runs}.toml"
        suite.write_text(SUITE.format(seeds=list(range(runs // 100)), rates=[0.001 * (n + 1) for n in range(25)]))
        begun = time.perf_counter()
        command = [sys.executable, "-m", "glimpsebench", "sweep", str(suite), "--list"]
        done = subprocess.run(command, cwd=folder, check=True, capture_output=True, text=True)
        print(f"{done.stdout.splitlines()[0]}: {time.perf_counter() - begun:.1f} s")
