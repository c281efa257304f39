"""A sweep on a Ray cluster of two nodes on this machine, one of which is killed again and again.

Says whether every run is there once, with the bytes of the local pool. Skips, with a reason, where there is no Ray.

python benchmarks/ray_cluster.py [KILLS [SEEDS]]
"""

import os
import sys
import tempfile
import threading
import time
from pathlib import Path

os.environ |= {"RAY_USAGE_STATS_ENABLED": "0", "RAY_raylet_start_wait_time_s": "300"}  # of a machine that is busy

from glimpsebench.bench.executors.local import Local
from glimpsebench.bench.executors.ray import Ray
from glimpsebench.bench.records import read_all
from glimpsebench.bench.run import Spec
from glimpsebench.bench.sweep import sweep

FEW = {"predictor_steps": 2}


def contents(root: Path) -> dict[str, bytes]:
    paths = [path for record in read_all(root) for path in record.folder.iterdir() if path.name != "timings.json"]
    return {str(path.relative_to(root)): path.read_bytes() for path in paths}


def main(kills: int = 20, seeds: int = 2) -> None:
    try:
        from ray.cluster_utils import Cluster
    except ImportError as error:
        print(f"skipped: no Ray here ({error}); pip install 'glimpsebench[ray]'")
        return
    specs = [Spec(agent, "digits", seed, FEW) for agent in ("full", "center", "raster") for seed in range(seeds)]
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        print("local pool:", sweep(specs, root / "local", Local(1), quiet=True) or "all done", flush=True)
        cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1})
        nodes, over, killed = [cluster.add_node(num_cpus=1)], threading.Event(), []

        def kill() -> None:
            while len(killed) < kills and not over.wait(8):
                cluster.remove_node(nodes.pop(), allow_graceful=False)
                killed.append(time.time())
                nodes.append(cluster.add_node(num_cpus=1))

        killer = threading.Thread(target=kill, daemon=True)
        try:
            cluster.wait_for_nodes()
            killer.start()
            print("Ray:", sweep(specs, root / "ray", Ray(cluster.address), quiet=True) or "all done", flush=True)
        finally:
            over.set()
            killer.join()
            cluster.shutdown()
        same = contents(root / "local") == contents(root / "ray")
        print(f"{len(read_all(root / 'ray'))} of {len(specs)} runs there after {len(killed)} killed nodes; ", end="")
        print(f"bytes {'as of the local pool' if same else 'NOT as of the local pool'}")
        sys.exit(not same)


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
