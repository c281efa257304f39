"""What the contenders of this corpus share: a disc at the centre, and a predictor that is trained for a moment."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional as F

from glimpsebench.agents.center import Center
from glimpsebench.agents.common.base import Agent, Progress
from glimpsebench.agents.common.nets import Backbone, Positive, Rate, optimise, to_float
from glimpsebench.envs.glimpse import Kind, Observation
from glimpsebench.envs.sensors import Mask, Sensor
from glimpsebench.envs.tasks import Task

Array = NDArray[Any]
BATCH, TEST = 250, 500


@dataclass
class Disc(Center):
    """The floor of a fixed look, entered as a contender."""

    predictor_init: Literal["reader", "random"] = "random"
    predictor_steps: Positive = 100
    predictor_lr: Rate = 1.5e-2
    reference: ClassVar[Literal["floor", "ceiling"] | None] = None


def one_hot(labels_B: Array, classes: int = 10) -> Array:
    """Logits (B, K) of answers."""
    return np.eye(classes, dtype=np.float32)[labels_B]


class Counter:
    """Which test images a call is about, for a predictor that is asked batch after batch.

    Calls of another size are not about them: such as those that validate the training.
    """

    def __init__(self) -> None:
        self.calls = 0

    def rows(self, count: int) -> Array:
        if count != BATCH:
            return np.arange(count)
        start = self.calls % (TEST // BATCH) * BATCH
        self.calls += 1
        return np.arange(start, start + BATCH)


@dataclass
class Classifier(Agent):
    """An open contender that classifies the whole image, to write its answer into what it shows."""

    steps: Positive = 150

    track: ClassVar[Literal["gated", "open"]] = "open"
    observation: ClassVar[Kind] = "image"

    def build(self) -> torch.nn.Module:
        backbone = Backbone(self.shape[0], 16)
        return torch.nn.Sequential(backbone, torch.nn.Linear(backbone.features, self.classes))

    def fit(self, task: Task, seed: int, progress: Progress[int]) -> None:
        net = self.net
        assert net is not None

        def loss_of(images: Array, labels_B: torch.Tensor, step: int) -> torch.Tensor:
            return F.cross_entropy(net(to_float(images)), labels_B)

        rng = np.random.default_rng(seed)
        optimise(net, task, loss_of, steps=self.steps, batch=64, lr=1.5e-2, rng=rng, progress=progress)

    @torch.no_grad()
    def classes_of(self, image_BCHW: Array) -> Array:
        """The class of each image (B,)."""
        assert self.net is not None
        answer: Array = self.net(torch.from_numpy(image_BCHW)).argmax(1).numpy()
        return answer

    def sensor(self) -> Sensor:
        return Mask()

    def predict(self, view: Observation) -> Array | None:
        raise NotImplementedError
