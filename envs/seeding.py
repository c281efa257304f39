"""The random numbers of each env, from its own seed and the number of its episode alone.

So a batch draws what its envs would draw one by one, and needs no generator for each of them.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]


def draw(seeds_B: Array, episodes_B: Array, number: int) -> Array:
    """The `number`-th random number of these episodes: uint64 (B,), uniform.

    SplitMix64 (Steele, Lea and Flood, OOPSLA 2014) of a counter.

    Args:
        seeds_B: uint64.
        episodes_B: int64, how many episodes were begun with this seed before.
        number: 0 or more.
    """
    x = seeds_B * np.uint64(0x9E3779B97F4A7C15) + episodes_B.astype(np.uint64)
    return _mixed(_mixed(x) + np.uint64((number + 1) * 0xD1B54A32D192ED03 % 2**64))


def _mixed(x: Array) -> Array:
    """SplitMix64's mixing function of uint64 values."""
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return x ^ (x >> np.uint64(31))
