"""gain_ext: gain with external supervision: the objects of some training images are known and draw the attention.

Li, Wu, Peng, Ernst and Fu, Tell Me Where to Look: Guided Attention Inference Network, CVPR 2018, arXiv:1802.10171.
Equations 1 to 8 (L_ext = L_cl + α L_am + ω L_e), and what differs in them: `common/attribution.py`. H in L_e is the
object's mask, or (`supervision_from=boxes`) the smallest box around it.

What differs from the paper, and why:
* Which training images have supervision is drawn once per run, by their place in the split: a composed task renders
  the same source images anew in every epoch, and they keep their place. The images of a smaller share are among
  those of a larger one.
* L_e is the mean over the images of a batch that have supervision (0 if none has), so that a small share is not also
  a weak loss. The paper's batches are single images.
* `mining_trains`, as in `gain`.

Track: open, and taught with object masks that other contenders do not see. Scores and cost: docs/methods/gain_ext.md.
Command: glimpse run --agent gain_ext --task digits-clutter --set agent.supervised_share=0.1
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any, Literal

import numpy as np
from pydantic import Field
from torch import Tensor

from glimpsebench.agents.common.attribution import GuidedAgent, external_loss
from glimpsebench.agents.common.base import Progress, tensor
from glimpsebench.agents.common.masks import Array, Weight
from glimpsebench.agents.common.nets import batches, optimise_on, to_float
from glimpsebench.envs.errors import UsageError
from glimpsebench.envs.settings import renamed
from glimpsebench.envs.tasks import Split, Task


def supervised_images(count: int, share: float, rng: np.random.Generator) -> Array:
    """Which of `count` training images have supervision: boolean (count,). The later draws of `rng` stay the same."""
    order = rng.spawn(1)[0].permutation(count)
    chosen: Array = np.isin(np.arange(count), order[: round(share * count)])
    return chosen


def object_masks(split: Split, task: Task) -> Array:
    """The object masks of a split, (N, H, W)."""
    if split.objects_NHW is None:
        raise UsageError(
            f"task '{task.name}' has no object masks, from which agent 'gain_ext' learns: set its supervised_share=0, "
            "or take a task that has them, such as digits-clutter"
        )
    return split.objects_NHW


def bounding_boxes(mask_BHW: Array) -> Array:
    """The smallest box around each mask, as a mask."""

    def span(line_BL: Array) -> Array:
        """From the first True to the last."""
        backwards_BL = np.maximum.accumulate(line_BL[:, ::-1], 1)[:, ::-1]
        return np.logical_and(np.maximum.accumulate(line_BL, 1), backwards_BL)

    rows_BH1, columns_B1W = span(np.any(mask_BHW, 2))[:, :, None], span(np.any(mask_BHW, 1))[:, None, :]
    return np.logical_and(rows_BH1, columns_B1W)


@dataclass
class GainExt(GuidedAgent):
    """Reads the whole image, then shows the pixels of attention that was mined and, for some images, supervised.

    Settings:
        supervised_share: of the training images whose objects are known; 0 gives gain.
        supervision_from: what is known of them, the object's mask or its bounding box.
        external_weight: ω of equation 8, the weight of external supervision.
        mining_weight, mining_trains, threshold, sharpness: of attention mining, as `GuidedAgent` says.
        pool, loss, selector_steps, batch, lr, width, predictor_init, predictor_steps, predictor_lr: as for every
            attribution selector.
    """

    supervised_share: Annotated[float, Field(ge=0, le=1)] = renamed(1.0, "share")
    supervision_from: Literal["masks", "boxes"] = "masks"
    external_weight: Weight = renamed(10.0, "pixel_weight")

    @property
    def supervision(self) -> str:
        kind = {"masks": "object masks", "boxes": "bounding boxes"}[self.supervision_from]
        return f"labels, {kind}" if self.supervised_share else "labels"

    def fit_selector(self, task: Task, rng: np.random.Generator, progress: Progress[int]) -> None:
        supervised_N = supervised_images(task.sizes["train"], self.supervised_share, rng)

        def loss_on(split: Split, rows_B: Array, step: int) -> Tensor:
            assert split.labels_N is not None
            image_BCHW, labels_B = to_float(split.images_NCHW[rows_B]), tensor(split.labels_N[rows_B])
            loss, attention_P1HW, image_P = self.self_guidance(image_BCHW, self.one_hot(labels_B))
            if supervised_N[rows_B].any():
                # One label per image, so the pairs are the images, in their order.
                known_B = tensor(supervised_N[rows_B])
                object_BHW = object_masks(split, task)[rows_B[supervised_N[rows_B]]]
                if self.supervision_from == "boxes":
                    object_BHW = bounding_boxes(object_BHW)
                target_BHW = tensor(object_BHW).float()
                loss = loss + self.external_weight * external_loss(
                    attention_P1HW[known_B], target_BHW, image_P[known_B]
                )
            return loss

        stream = batches(task, self.selector_steps, self.batch, rng)
        common: dict[str, Any] = {"steps": self.selector_steps, "lr": self.lr, "progress": progress}
        optimise_on(self.classifier, stream, loss_on, stage="selector", **common)
        self.findings |= self.validated(task.val())
