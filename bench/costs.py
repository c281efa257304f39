"""What a contender costs, counted by the bench and not by the agent.

At test, per image, for the selector (`act`) and the predictor (`predict`) apart: floating-point operations as PyTorch's
own counter has them (`torch.utils.flop_counter`: two for a multiplication and its addition, in convolutions and matrix
products, backward passes among them), and milliseconds of one core. Both are of a whole episode at the largest budget:
every glimpse, and every pass over it that the agent makes. In training: images that `fit` drew (whole epochs, as it
asked the task for them), env steps, parameters and seconds.

Operations and counts are the same in every run of a seed and stand in the record; times stand beside it.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any

import numpy as np
from gymnasium.vector import AutoresetMode
from numpy.typing import NDArray

from glimpsebench.agents.common.base import Agent
from glimpsebench.bench.records import Record
from glimpsebench.bench.rollout import BATCH
from glimpsebench.envs.base import USE, Split
from glimpsebench.envs.glimpse import GlimpseVectorEnv

Array = NDArray[Any]

NAMES = {
    "training_seconds": "training, s",
    "training_images": "images drawn",
    "env_steps": "env steps",
    "parameters": "parameters",
    "selector_flops": "selector, FLOPs",
    "predictor_flops": "predictor, FLOPs",
    "selector_ms": "selector, ms",
    "predictor_ms": "predictor, ms",
}
"""What is known of each cost, by the names of the CSV, and what tables call it. At test, all are per image."""
Around = Callable[[str], AbstractContextManager[Any]]
"""What is entered around each call: `selector` or `predictor`."""


@contextmanager
def counted() -> Iterator[dict[str, int]]:
    """Within, training images drawn and env steps are counted: `training_images`, `env_steps`, filled in at the end."""
    images, steps, found = USE.images, USE.steps, dict[str, int]()
    yield found
    found |= {"training_images": USE.images - images, "env_steps": USE.steps - steps}


def flops(agent: Agent, images: Split, seed: int = 0) -> dict[str, int]:
    """Floating-point operations per image: `selector_flops`, `predictor_flops`."""
    from torch.utils.flop_counter import FlopCounterMode

    operations = {"selector": 0, "predictor": 0}

    @contextmanager
    def counter(who: str) -> Iterator[None]:
        with FlopCounterMode(display=False) as counting:
            yield
        operations[who] += counting.get_total_flops()

    count = _look(agent, images, seed, counter)
    return {f"{who}_flops": round(number / count) for who, number in operations.items()}


def milliseconds(agent: Agent, images: Split, seed: int = 0) -> dict[str, float]:
    """Milliseconds per image on as many threads as PyTorch has: `selector_ms`, `predictor_ms`."""
    spent = {"selector": 0.0, "predictor": 0.0}

    @contextmanager
    def clock(who: str) -> Iterator[None]:
        started = time.perf_counter()
        yield
        spent[who] += time.perf_counter() - started

    count = _look(agent, images, seed, clock)
    return {f"{who}_ms": round(1000 * seconds / count, 4) for who, seconds in spent.items()}


def _look(agent: Agent, images: Split, seed: int, around: Around) -> int:
    """One episode of a batch of images at the largest budget, with something around each call; how many images.

    The batch is as large as at test, filled up with the last image.
    """
    count, rng = BATCH, np.random.default_rng([seed, 3])
    env = GlimpseVectorEnv(
        images.unlabelled,
        count,
        sensor=agent.sensor(),
        observation=agent.observation,
        glimpses=agent.horizon(),
        budget=max(agent.budgets),
        currency=agent.currency,
        autoreset_mode=AutoresetMode.DISABLED,
    )
    observation, _ = env.reset(options={"index": np.minimum(np.arange(count), len(images) - 1)})
    for _ in range(agent.horizon()):
        with around("selector"):
            action = agent.act(observation, rng)
        observation, *_ = env.step(action)
        view = env.observe(agent.view)
        with around("predictor"):
            agent.predict(view)
    return count


def costs_of(record: Record) -> dict[str, float]:
    """What a record and the timings beside it tell of its costs: some of `NAMES`, fewer in older ones."""
    about = record.about
    told = {**about.get("costs", {}), **({"parameters": about["parameters"]} if "parameters" in about else {})}
    timings = record.timings
    told |= {"training_seconds": timings["fit"]} if "fit" in timings else {}
    told |= {name: timings[name] for name in ("selector_ms", "predictor_ms") if name in timings}
    return {name: float(told[name]) for name in NAMES if name in told}
