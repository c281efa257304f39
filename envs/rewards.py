"""Rewards: what classifying pays, be it a predictor's logits or those that the action says.

Shapes: b envs, K classes.
"""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from glimpsebench.envs.errors import UsageError
from glimpsebench.envs.predictors import Predictor
from glimpsebench.envs.tasks import Split, Task

Array = NDArray[Any]
Reward = Literal["none", "correct", "information", "cross_entropy"]


def check(reward: str, predict: bool, predictor: Predictor | str | None, task: Task | Split) -> None:
    """Raise UsageError where a reward has nothing to come from."""
    if predict:
        if reward not in ("none", "correct", "cross_entropy"):
            raise UsageError(f"reward '{reward}' is a predictor's; with predict=True: 'correct' or 'cross_entropy'")
        if predictor is not None:
            raise UsageError("with predict=True the action predicts: a predictor has nothing to do, so predictor=None")
    elif reward == "cross_entropy":
        raise UsageError("reward 'cross_entropy' is of the action's prediction: it needs predict=True")
    elif reward != "none" and predictor is None:
        raise UsageError(
            f"reward '{reward}' needs a predictor: pass predictor='random-masks' or one of your own, or reward='none'"
        )
    elif isinstance(predictor, str) and isinstance(task, Split):
        raise UsageError(f"predictor '{predictor}' goes by the task's name, and these are only images: pass a function")


def log_likelihood(logits_bK: Array, labels_b: Array) -> Array:
    """log softmax(logits)[label], in nats (b,)."""
    shifted_bK = logits_bK - logits_bK.max(1, keepdims=True)
    likelihood_b: Array = shifted_bK[np.arange(len(shifted_bK)), labels_b] - np.log(np.exp(shifted_bK).sum(1))
    return likelihood_b


def of_prediction(reward: Reward, logits_bK: Array, labels_b: Array) -> tuple[Array, Array]:
    """What the action's own prediction is paid, float64 (b,), and whether its class is right, boolean (b,)."""
    right_b = logits_bK.argmax(1) == labels_b
    if reward == "cross_entropy":
        return log_likelihood(logits_bK, labels_b), right_b
    return right_b * float(reward == "correct"), right_b
