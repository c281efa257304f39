"""The decoupled judge: what a contender's masks show, by a network that cannot read what they say.

The judge is fine-tuned briefly on this contender's masks, each paired with another image, so that the network is used
to masks of this kind and their shape tells it nothing of the class; some random masks keep it from forgetting others.
A predictor of the contender's own that is far better reads something else than the pixels. A contender whose masks are
honestly informative (they follow the object's outline) is a little better, too: how much is calibrated.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from functools import partial
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from torch.nn import functional as F

from glimpsebench.agents.common.nets import optimise, predict_canvas
from glimpsebench.bench.audit.declaration import Declaration, Stand
from glimpsebench.bench.judges.canvases import random_canvases
from glimpsebench.bench.rollout import Episodes, as_recorded, replay, unpacked
from glimpsebench.envs.sensors import UNSEEN
from glimpsebench.envs.tasks import Split, Task

Array = NDArray[Any]

MEMBERS = 1
"""Of the judge that are fine-tuned in an audit, which is to take no longer than training."""
STEPS, BATCH, RATE = 250, 64, 1e-3
"""Of fine-tuning: steps, images a step, the highest learning rate."""
OWN_SHARE = 0.7
"""Of the masks in a batch: the contender's; the others are random."""


def decoupled(
    networks: Sequence[nn.Module],
    says: Declaration,
    episodes: Episodes,
    images: Split,
    task: Task,
    steps: int = STEPS,
    seed: int = 0,
) -> Array:
    """The answers of a judge that is fine-tuned on a contender's masks, to its selections: (M, F, N), −1 for none.

    Args:
        networks: the judge's members: (canvas (B, C, H, W), mask (B, 1, H, W)) → logits. They stay as they are.
        says: of the contender.
        episodes: its selections on the test images; their masks are paired with training images.
        images: the test images.
        task: gives the training images.
    """
    masks, answers = _Masks(says, episodes, images), []
    for member, network in enumerate(networks):
        net = _fine_tuned(network, masks, task, steps, np.random.default_rng([seed, member]))
        judged = replay(Stand(says), images, episodes, partial(predict_canvas, net))
        answers.append(judged.predicted_FN)
    return np.stack(answers)


def _fine_tuned(network: nn.Module, masks: _Masks, task: Task, steps: int, rng: np.random.Generator) -> nn.Module:
    """A copy of a network that is used to these masks."""
    net = copy.deepcopy(network).requires_grad_(True)

    def loss_of(images_BCHW: Array, labels_B: torch.Tensor, step: int) -> torch.Tensor:
        net.eval()  # batch norm keeps its averages, which are those of every kind of canvas
        own = round(OWN_SHARE * len(images_BCHW))
        parts = zip(masks.canvases(images_BCHW[:own], rng), random_canvases(images_BCHW[own:], 0.0, rng), strict=True)
        canvas_BCHW, mask_B1HW = (torch.cat(part) for part in parts)
        return F.cross_entropy(net(canvas_BCHW, mask_B1HW.float()), labels_B)

    optimise(net, task, loss_of, steps=steps, batch=BATCH, lr=RATE, rng=rng, progress=iter)
    return net


class _Masks:
    """The masks of a contender's selections, to be laid over other images."""

    def __init__(self, says: Declaration, episodes: Episodes, images: Split) -> None:
        self.sensor, self.shape = as_recorded(says.sensor), says.shape
        self.boxes_N4, self.budgets = images.boxes_N4, says.budgets
        self.single = len(episodes.selection) == len(says.budgets)
        self.selection, self.steps_FN = episodes.selection, episodes.steps_FN
        self.some_FN2 = np.argwhere(episodes.steps_FN > 0)  # budget and image of each mask that shows something

    def canvases(self, images_BCHW: Array, rng: np.random.Generator) -> tuple[torch.Tensor, torch.Tensor]:
        """Canvases (B, C, H, W) and masks (B, 1, H, W, boolean): what a selection for some other image shows here."""
        count = len(images_BCHW)
        at_B, from_B = self.some_FN2[rng.integers(0, len(self.some_FN2), count)].T
        packed_BT = self.selection[at_B if self.single else 0, from_B]
        actions_BT, steps_B = unpacked(packed_BT, self.sensor, self.shape), self.steps_FN[at_B, from_B]
        room_B = np.floor(np.array(self.budgets)[at_B] * self.shape[1] * self.shape[2] + 1e-9).astype(np.int64)
        canvas_BCHW = np.zeros((count, *self.shape), np.float32)
        grain_BHW = np.full((count, *self.shape[1:]), UNSEEN, np.uint8)
        read = self.sensor.reader(images_BCHW)
        for step in range(int(steps_B.max())):
            rows = np.flatnonzero(steps_B > step)
            boxes_B4 = None if self.boxes_N4 is None else self.boxes_N4[from_B[rows]]
            aim = self.sensor.aim(actions_BT[rows, step], self.shape, room_B[rows], boxes_B4)
            self.sensor.paint(canvas_BCHW, grain_BHW, rows, read(rows, aim), aim)
        return torch.from_numpy(canvas_BCHW), torch.from_numpy(grain_BHW != UNSEEN)[:, None]
