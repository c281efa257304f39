"""How fast the env steps, and whether that depends on the size of the images.

    OMP_NUM_THREADS=1 python benchmarks/env_steps.py --peer ../peer

measures, in one process and one thread, the best of interleaved repeats:

- env steps per second with the newest-glimpse observation, footprint and budget kept: 60×60 images, 12×12
  windows, 6 steps an episode, 64 and 1,024 envs;
- the peer, ap_gym's ImageClassificationVectorEnv, on the same images, its visitation display and its
  prefetching thread off. Install it where it disturbs nothing (aiohttp is missing from its requirements), or
  leave `--peer` out and its ratios are null:

      pip install --target ../peer ap_gym==0.7.1 aiohttp

- NumPy alone gathering the very windows that the env reads: no actions, no accounts, bytes instead of floats;
- canvas observations per second, 1,024 envs of 32×32 with 8×8 windows;
- the time of a step on images of 60², 512² and 4,096² pixels with the same number of envs and windows, once
  with image sets of the same size in memory and once with the same number of images, where the small ones
  lie in the cache and the large ones cannot;
- the memory of 1,024 envs over their image set.

In every case an episode is 6 steps and the step that begins the next one; only the 6 are counted. The last
line printed is JSON. Takes about two minutes and 1 GB.
"""

from __future__ import annotations

import argparse
import json
import platform
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.lib.stride_tricks import as_strided
from numpy.typing import NDArray

from glimpsebench.envs import GlimpseVectorEnv, Split, Window

Array = NDArray[Any]
Episode = Callable[[], None]

SIDE, WINDOW, STEPS, IMAGES = 60, 12, 6, 4096
SET_BYTES = 2**28


def best_seconds(episodes: dict[str, Episode], rounds: int, share: float = 0.1) -> dict[str, float]:
    """Seconds per episode of each, the best of `rounds` turns of `share` seconds: others use this machine too."""
    best = dict.fromkeys(episodes, float("inf"))
    for _ in range(rounds):
        for name, episode in episodes.items():
            episode()
            start, count = time.perf_counter(), 0
            while time.perf_counter() < start + share:
                episode()
                count += 1
            best[name] = min(best[name], (time.perf_counter() - start) / count)
    return best


def ours(
    images: Array, num_envs: int, observation: Any = "glimpse", window: int = WINDOW, budget: float = 0.25
) -> Episode:
    env = GlimpseVectorEnv(
        Split(images), num_envs, sensor=Window(window), observation=observation, glimpses=STEPS, budget=budget
    )
    env.reset(seed=0)
    actions = np.random.default_rng(1).uniform(-1, 1, (20, STEPS + 1, num_envs, 2)).astype(np.float32)
    turn = iter(range(2**62))

    def episode() -> None:
        for action in actions[next(turn) % len(actions)]:
            env.step(action)

    return episode


def gather(images: Array, num_envs: int) -> Episode:
    """The windows of `ours`, straight from the image set."""
    count, channels, height, width = images.shape
    steps = images.strides
    windows = as_strided(
        images,
        (count, height - WINDOW + 1, width - WINDOW + 1, channels, WINDOW, WINDOW),
        (steps[0], steps[2], steps[3], steps[1], steps[2], steps[3]),
    )
    rng = np.random.default_rng(1)
    index = rng.integers(0, count, (20, num_envs))
    row, column = (rng.integers(0, n - WINDOW + 1, (20, STEPS, num_envs)) for n in (height, width))
    turn = iter(range(2**62))

    def episode() -> None:
        now = next(turn) % 20
        for step in range(STEPS):
            windows[index[now], row[now, step], column[now, step]]

    return episode


def peers(images: Array, num_envs: int) -> Episode:
    # Imported here, because it is not required.
    from ap_gym.envs.image import ImageClassificationDataset, ImagePerceptionConfig  # type: ignore[import-not-found]
    from ap_gym.envs.image_classification import (  # type: ignore[import-not-found]
        ImageClassificationVectorEnv,
    )

    class Images(ImageClassificationDataset):  # type: ignore[misc]
        def _get_num_classes(self) -> int:
            return 10

        def _get_num_channels(self) -> int:
            return 1

        def _get_length(self) -> int:
            return len(images)

        def _get_data_point_batch(self, idx: Array) -> tuple[Array, Array]:
            return images[idx, 0, :, :, None], idx % 10

    env = ImageClassificationVectorEnv(
        num_envs,
        ImagePerceptionConfig(
            Images(),
            sensor_size=(WINDOW, WINDOW),
            step_limit=STEPS,
            display_visitation=False,
            prefetch=False,
        ),
    )
    env.reset(seed=0)
    action = {
        "action": np.random.default_rng(1).uniform(-1, 1, (num_envs, 2)).astype(np.float32),
        "prediction": np.zeros((num_envs, 10), np.float32),
    }

    def episode() -> None:
        for _ in range(STEPS + 1):
            env.step(action)

    return episode


def some_images(count: int, side: int) -> Array:
    return np.random.default_rng(0).integers(0, 256, (count, 1, side, side), dtype=np.uint8)


def resident() -> int:
    """Bytes of this process that are in memory."""
    status = dict(line.split(":") for line in Path("/proc/self/status").read_text().splitlines())
    return int(status["VmRSS"].split()[0]) * 1024


def memory() -> float:
    """What 1,024 envs over an image set, and the set, take, in units of the set."""
    before = resident()
    images = some_images(2 * SET_BYTES // 512**2, 512)
    for observation in ("glimpse", "glimpses"):
        episode = ours(images, 1024, observation)
        for _ in range(5):
            episode()
    return (resident() - before) / images.nbytes


def sizes(observation: str, same_bytes: bool, rounds: int) -> dict[str, float]:
    """Microseconds per step of 1,024 envs, by the images' side."""
    episodes = {}
    for side in (60, 512, 4096):
        count = SET_BYTES // side**2 if same_bytes else SET_BYTES // 4096**2
        episodes[str(side)] = ours(some_images(count, side), 1024, observation)
    seconds = best_seconds(episodes, rounds, 0.3)
    return {side: 1e6 * value / STEPS for side, value in seconds.items()}


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    options.add_argument("--peer", type=Path, help="the folder that ap_gym was installed into")
    options.add_argument("--rounds", type=int, default=10, help="turns of each measurement")
    chosen = options.parse_args()
    if chosen.peer is not None:
        sys.path.append(str(chosen.peer))  # last, so that its copy of NumPy is not the one imported

    result: dict[str, Any] = {
        "machine": platform.machine(),
        "python": platform.python_version(),
        "numpy": np.__version__,
        "memory": round(memory(), 3),
    }
    images = some_images(IMAGES, SIDE)
    for num_envs in (64, 1024):
        episodes = {"ours": ours(images, num_envs), "gather": gather(images, num_envs)}
        if chosen.peer is not None:
            episodes["peer"] = peers(images, num_envs)
        seconds = best_seconds(episodes, chosen.rounds)
        rate = {name: STEPS * num_envs / value for name, value in seconds.items()}
        result[f"{num_envs} envs"] = {
            **{f"{name}, steps/s": round(value) for name, value in rate.items()},
            "ours / peer": round(rate["ours"] / rate["peer"], 1) if "peer" in rate else None,
            "ours / gather": round(rate["ours"] / rate["gather"], 3),
        }
        print(f"{num_envs} envs: {result[f'{num_envs} envs']}")
    canvas = best_seconds({"canvas": ours(some_images(IMAGES, 32), 1024, "canvas", 8, 1.0)}, chosen.rounds)["canvas"]
    result["canvas, 1024 envs of 32×32, steps/s"] = round(STEPS * 1024 / canvas)
    print(f"canvas: {result['canvas, 1024 envs of 32×32, steps/s']} steps/s")
    for observation in ("glimpse", "glimpses"):
        for same_bytes in (True, False):
            microseconds = sizes(observation, same_bytes, chosen.rounds)
            name = f"{observation}, same {'bytes' if same_bytes else 'number'}"
            slowest, fastest = max(microseconds.values()), min(microseconds.values())
            result[name] = {
                "µs/step": {side: round(value) for side, value in microseconds.items()},
                "slowest / fastest": round(slowest / fastest, 2),
            }
            print(f"{name}: {result[name]}")
    print(json.dumps(result, ensure_ascii=False))


if __name__ == "__main__":
    main()
