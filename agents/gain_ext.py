"""gain_ext: gain, with the attention of some training images drawn by their object masks.

Li, Wu, Peng, Ernst and Fu, Tell Me Where to Look: Guided Attention Inference Network, CVPR 2018, arXiv:1802.10171.
Equations 1 to 6: `attribution` and `gain`. Then, H the object's pixels,

7. L_e = mean of (A − H)² over the pixels of an image, for the true class.
8. L_ext = L_cl + α L_am + ω_e L_e, ω_e = 10 (the paper's second ω, not that of equation 4).

What differs from the paper, and why:
* Which training images have pixel labels is drawn once per run, by their place in the split: a placed task renders
  the same source images anew in every epoch, and they keep their place. The images of a smaller share are among
  those of a larger one.
* L_e is the mean over the images of a batch that have a mask (0 if none has), so that rare masks are not also weak.
  The paper's batches are single images.
* `frozen`, as in `gain`.

Track: open, and taught with object masks that no other contender sees. Measured on the validation images of
digits-clutter, seed 0, all with masks, at 5, 10 and 20 % touched: evaluator 61, 83, 96 %, own 77, 88, 92 %. Cost: 29 s
of one core.
Command: glimpse run --agent gain_ext --task digits-clutter --set agent.share=0.1
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import numpy as np
from pydantic import Field
from torch import Tensor
from torch.nn import functional as F

from glimpsebench.agents.common.attribution import AttributionAgent, mining_loss, without
from glimpsebench.agents.common.base import Progress, tensor
from glimpsebench.agents.common.masks import Array, Weight
from glimpsebench.agents.common.nets import Rate, batches, optimise_on, to_float
from glimpsebench.envs.errors import UsageError
from glimpsebench.envs.tasks import Split, Task


def drawn(count: int, share: float, rng: np.random.Generator) -> Array:
    """Which of `count` training images have a pixel label: boolean (count,). `rng` gives nothing else away by it."""
    order = rng.spawn(1)[0].permutation(count)
    chosen: Array = np.isin(np.arange(count), order[: round(share * count)])
    return chosen


def objects(split: Split, task: Task) -> Array:
    """The object masks of a split, (N, H, W)."""
    if split.objects_NHW is None:
        raise UsageError(
            f"task '{task.name}' has no object masks, from which agent 'gain_ext' learns: set its share=0, or take a "
            "task that has them, such as mnist-on-cifar"
        )
    return split.objects_NHW


@dataclass
class GainExt(AttributionAgent):
    """Reads the whole image, then shows the pixels of attention that was mined and, in part, drawn by object masks.

    Settings:
        share: of the training images whose object masks are used; 0 gives gain.
        pixel_weight: ω_e, the weight of the external loss.
        alpha, sigma, omega, frozen: as for gain.
        pool, selector_steps, steps, batch, lr, width: as for every attribution selector.
    """

    share: Annotated[float, Field(ge=0, le=1)] = 1.0
    pixel_weight: Weight = 10.0
    alpha: Weight = 1.0
    sigma: Rate = 0.5
    omega: Rate = 10.0
    frozen: bool = True

    @property
    def supervision(self) -> str:
        return "labels, object masks" if self.share else "labels"

    def self_guided(self, image_BCHW: Tensor, labels_B: Tensor) -> tuple[Tensor, Tensor]:
        """Equation 6, and A of the true class."""
        loss, attention_B1HW = self.explained(image_BCHW, labels_B)
        rest_BCHW = without(image_BCHW, attention_B1HW, self.sigma, self.omega)
        return loss + self.alpha * mining_loss(self.classifier, rest_BCHW, labels_B, self.frozen), attention_B1HW

    def selection_loss(self, image_BCHW: Tensor, labels_B: Tensor, step: int) -> Tensor:
        return self.self_guided(image_BCHW, labels_B)[0]

    def fit_selector(self, task: Task, rng: np.random.Generator, progress: Progress[int]) -> None:
        labelled_N = drawn(task.sizes["train"], self.share, rng)

        def loss_on(split: Split, rows_B: Array, step: int) -> Tensor:
            assert split.labels_N is not None
            image_BCHW, labels_B = to_float(split.images_NCHW[rows_B]), tensor(split.labels_N[rows_B])
            loss, attention_B1HW = self.self_guided(image_BCHW, labels_B)
            known_B = labelled_N[rows_B]
            if known_B.any():
                object_BHW = tensor(objects(split, task)[rows_B[known_B]]).float()
                loss = loss + self.pixel_weight * F.mse_loss(attention_B1HW[tensor(known_B), 0], object_BHW)
            return loss

        stream = batches(task, self.selector_steps, self.batch, rng)
        optimise_on(self.classifier, stream, loss_on, steps=self.selector_steps, lr=self.lr, progress=progress)
        self.findings |= self.measured(task.val())
