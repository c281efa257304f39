"""ordered_logits: a BagNet's cells, visited by their logit for the class that the whole image is taken for.

Elsayed, Kornblith, Le, Saccader: Improving Accuracy of Hard Attention Models for Vision, NeurIPS 2019,
arXiv:1908.07644: its engineered policy, and the target of Saccader's second stage.

1. A BagNet gives class logits per cell; the class is the argmax of their mean (the prediction, not the label).
2. Cells are visited in descending order of that class's logit.
3. The prediction is the mean of the logits of the cells visited, each computed from its window alone.

The difference between it and `saccader` is what a learned order adds to the same BagNet. It has decided on a class
before it looks, so its own prediction tends to be that of the whole image, and its cells lie close together.

Track: open. Scores and cost: docs/methods/ordered_logits.md.
Command: glimpse run --agent ordered_logits --task digits-clutter
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from glimpsebench.agents.common.bagnet import BagNetAgent, ordered_logits, per_cell


@dataclass
class OrderedLogits(BagNetAgent):
    """Visits the cells whose logits for the predicted class are the highest.

    Settings:
        glimpses: how many cells it visits at most at test time.
        network: the BagNet, by the side of its receptive field: 5 pixels, one cell every 2; 9, every 4; 17, every 4;
            or 77, every 8, as published for images of 224×224.
        representation_loss: cross-entropy of the logits of each cell (`each_cell`) or of their mean (`mean_logits`).
        representation_steps, representation_lr: of the BagNet's training; by default as many steps as Saccader's.
        batch: images per step.
    """

    version: ClassVar[int] = 2

    def scanpath(self, image_BCHW: Tensor, count: int) -> Tensor:
        return ordered_logits(per_cell(self.bagnet(image_BCHW)[2]), count)
