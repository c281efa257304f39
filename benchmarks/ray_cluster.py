"""Sweeps on a Ray cluster of two nodes on this machine, one of which is killed again and again, until 20 times.

Says whether every run is there once, with the bytes of the local pool. Skips, with a reason, where there is no Ray.

python benchmarks/ray_cluster.py [KILLS [SEEDS]]
"""

import os
import random
import sys
import tempfile
import threading
from pathlib import Path

os.environ |= {  # for a machine that is busy, and small
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_raylet_start_wait_time_s": "300",
    "RAY_enable_worker_prestart": "0",
}

from glimpsebench.bench import judges
from glimpsebench.bench.executors.local import Local
from glimpsebench.bench.executors.ray import Ray
from glimpsebench.bench.records import read_all
from glimpsebench.bench.run import Spec
from glimpsebench.bench.sweep import sweep
from glimpsebench.envs import tasks

FEW = {"predictor_steps": 2}
NODE = {"num_cpus": 1, "object_store_memory": 80 * 2**20}


def contents(root: Path) -> dict[str, bytes]:
    paths = [path for record in read_all(root) for path in record.folder.iterdir() if path.name != "timings.json"]
    return {str(path.relative_to(root)): path.read_bytes() for path in paths}


def main(kills: int = 20, seeds: int = 4) -> None:
    try:
        import ray
        from ray.cluster_utils import Cluster
    except ImportError as error:
        print(f"skipped: no Ray here ({error}); pip install 'glimpsebench[ray]'")
        return
    specs = [Spec(agent, "digits", seed, FEW) for agent in ("full", "center") for seed in range(seeds)]
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        os.environ["GLIMPSE_JUDGES"] = str(root / "judges")  # of a few steps, for both
        list(judges.train_all(tasks.make("digits"), judges.Recipe(steps=20, width=8), 20, None, lambda _: iter))
        print("local pool:", sweep(specs, root / "local", Local(2), quiet=True) or "all done", flush=True)
        wanted, rng = contents(root / "local"), random.Random(0)
        cluster = Cluster(initialize_head=True, head_node_args=NODE | {"include_dashboard": False})
        node, sweeps, killed, right = cluster.add_node(**NODE), 0, 0, True
        cluster.wait_for_nodes()
        ray.init(cluster.address, log_to_driver=False, logging_level="ERROR")
        while right and killed < kills:
            sweeps += 1
            store = root / f"ray-{sweeps}"
            at_work = threading.Thread(target=sweep, args=(specs, store, Ray(cluster.address), True))
            at_work.start()
            while at_work.is_alive():  # here, as Ray starts nodes in a main thread alone
                at_work.join(rng.uniform(1, 6))
                if at_work.is_alive() and killed < kills:
                    cluster.remove_node(node, allow_graceful=False)
                    killed += 1
                    node = cluster.add_node(**NODE)
            lost = (store / "sweep.log").read_text().count("\tlost\t")
            right = contents(store) == wanted
            print(
                f"{len(read_all(store))} of {len(specs)} runs there, {lost} were lost with a node and begun again; ",
                end="",
            )
            print(f"{killed} nodes killed so far; bytes {'' if right else 'NOT '}as of the local pool", flush=True)
        ray.shutdown()
        cluster.shutdown()
        sys.exit(not right)


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
