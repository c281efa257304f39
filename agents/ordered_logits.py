"""ordered_logits: a BagNet's cells, visited by their logit for the class that the whole image is taken for.

Elsayed, Kornblith, Le, Saccader: Improving Accuracy and Interpretability of Image Classification with Hard
Attention, NeurIPS 2019, arXiv:1908.07644: its engineered policy, and the target of Saccader's second stage.

1. A BagNet gives class logits per cell; the class is the argmax of their mean (the prediction, not the label).
2. Cells are visited in descending order of that class's logit.
3. The prediction is the mean of the logits of the cells visited, each computed from its window alone.

It asks how much a learned order adds to a trained representation. Since it has decided on a class before it looks,
its own prediction tends to be that of the whole image, and its cells cluster.

Track: open. On digits-clutter, seed 0: 92 % right after one window of 9×9, 95 % after six; the bench's evaluator, which
did not choose them, says 81 and 96 %. Cost: 24 s of one core.
Command: glimpse run --agent ordered_logits --task digits-clutter
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from glimpsebench.agents.common.bagnet import BagNetAgent, cells_of, ordered_logits


@dataclass
class OrderedLogits(BagNetAgent):
    """Visits the cells that speak loudest for the predicted class.

    Settings:
        glimpses: how many cells it visits at most at test time.
        blocks, widths, strides, wide, stem, expansion: of the BagNet.
        loss: of the representation network: `every` cell must tell the class, or the `mean` of their logits.
        representation_steps, batch, lr: of the representation network's training.
    """

    def visits(self, image_BCHW: Tensor, count: int) -> Tensor:
        return ordered_logits(cells_of(self.bagnet(image_BCHW)[2]), count)
