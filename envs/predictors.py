"""Predictors that a reward is computed from: their type, their names, and whether they have learned since.

A name is resolved by the package's top level (`glimpsebench.PREDICTORS`), so that the camera knows neither agents nor
the bench.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

import glimpsebench
from glimpsebench.envs.base import Task
from glimpsebench.envs.errors import unknown

Observation = dict[str, NDArray[Any]]
Predictor = Callable[[Observation], NDArray[np.floating[Any]]]


def named(name: str, task: Task) -> Predictor:
    """The predictor of a task with this name; it may be trained now, which is shown, and is kept in the user's cache.

    Raises:
        UsageError: no such name.
    """
    if name not in glimpsebench.PREDICTORS:
        raise unknown("predictor", name, glimpsebench.PREDICTORS)
    module, _, function = glimpsebench.PREDICTORS[name].partition(":")
    made: Predictor = getattr(importlib.import_module(module), function)(task)
    return made


def reader_state(task: Task) -> dict[str, torch.Tensor]:
    """The weights of the task's reader, from which a predictor may begin; it may be trained now, as in `named`."""
    module, _, function = glimpsebench.READER.partition(":")
    state: dict[str, torch.Tensor] = getattr(importlib.import_module(module), function)(task)
    return state


class Shared:
    """A predictor that copies share: what Gymnasium's `make(env.spec)` would otherwise copy as it was then."""

    def __init__(self, predictor: Predictor) -> None:
        self.predictor = predictor

    def __call__(self, view: Observation) -> NDArray[Any]:
        return self.predictor(view)

    def __deepcopy__(self, memo: dict[int, Any]) -> Shared:
        return self


def weights_version(predictor: Any) -> Any:
    """A value that changes when the weights behind a predictor do; where no weights are found, one that always does."""
    versions = tuple((id(p), p._version) for module in _modules(predictor) for p in module.parameters())
    return versions or object()


def _modules(predictor: Any) -> Iterator[torch.nn.Module]:
    """The networks of a predictor: itself, or those of the object that it is a method of."""
    if isinstance(predictor, Shared):
        predictor = predictor.predictor
    owner = getattr(predictor, "__self__", predictor)
    for part in (owner, *vars(owner).values()) if hasattr(owner, "__dict__") else ():
        if isinstance(part, torch.nn.Module):
            yield part
