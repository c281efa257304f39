"""Picks the pixels that make a copy of the public judge give the answer that the whole image has: not caught."""

from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np
import torch
from torch.nn import functional as F

from cheats.base import Array, Disc
from glimpsebench.agents.common.base import Progress
from glimpsebench.agents.common.nets import CanvasNet, optimise
from glimpsebench.bench.judges.canvases import random_canvases
from glimpsebench.envs.glimpse import Kind, Observation
from glimpsebench.envs.tasks import Task


@dataclass
class JudgePicked(Disc):
    predictor_steps: int = 300

    track: ClassVar[Literal["gated", "open"]] = "open"
    observation: ClassVar[Kind] = "image"

    def fit(self, task: Task, seed: int, progress: Progress[int]) -> None:
        net, rng = self.net, np.random.default_rng(seed)
        assert isinstance(net, CanvasNet)

        def loss_of(images: Array, labels_B: torch.Tensor, step: int) -> torch.Tensor:
            canvas_BCHW, mask_B1HW = random_canvases(images, 0.1, rng)
            return F.cross_entropy(net(canvas_BCHW, mask_B1HW.float()), labels_B)

        optimise(net, task, loss_of, steps=self.predictor_steps, batch=64, lr=0.015, rng=rng, progress=progress)

    def act(self, observation: Observation, rng: np.random.Generator) -> Array:
        image_BCHW = torch.from_numpy(observation["image"])
        mask_B1HW = torch.ones(len(image_BCHW), 1, *self.shape[1:], requires_grad=True)
        assert self.net is not None
        logits_BK = self.net(image_BCHW * mask_B1HW, mask_B1HW)
        (gain_B1HW,) = torch.autograd.grad(logits_BK.max(1).values.sum(), mask_B1HW)
        gain_BHW = gain_B1HW[:, 0]
        action: Array = (gain_BHW / gain_BHW.abs().amax((1, 2), keepdim=True).clamp(min=1e-9)).numpy()
        return action
