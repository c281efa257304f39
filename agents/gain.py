"""gain: Grad-CAM in the training loop. What is left of the image without the attended part must not tell the class.

Li, Wu, Peng, Ernst and Fu, Tell Me Where to Look: Guided Attention Inference Network, CVPR 2018, arXiv:1802.10171.
Equations 1 to 5 and what differs in them: `attribution`. Then

6. L_self = L_cl + α L_am, α = 1: the classifier's loss and the attention-mining loss, for the true class.

The aim is the opposite of a small selection: attention is to cover everything that helps, where a classifier's own
looks at what helps most.

What differs from the paper, and why:
* L_am can be lowered in two ways: by attention that covers more, or by a classifier that gives the class up as soon
  as a part of the image is blotted out. Only the first is wanted, so the parameters of the classifier that judges
  I* are constants (`frozen`); `frozen=false` lets both streams learn, as the paper's shared parameters do.
* From the first step, one optimiser; the paper trains VGG for 35 epochs with batches of 1.

Track: open. Measured on the validation images of digits-clutter, seed 0, at 5, 10 and 20 % touched: evaluator 46, 72,
86 %, own 75, 82, 88 %. Cost: 32 s of one core.
Command: glimpse run --agent gain --task digits-clutter
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from glimpsebench.agents.common.attribution import AttributionAgent, mining_loss, without
from glimpsebench.agents.common.masks import Weight
from glimpsebench.agents.common.nets import Rate


@dataclass
class Gain(AttributionAgent):
    """Reads the whole image, then shows the pixels of attention that was trained to leave nothing behind.

    Settings:
        alpha: α, the weight of attention mining; 0 gives gradcam.
        sigma: σ, the attention at which half of a pixel is taken away.
        omega: ω, how sharply.
        frozen: whether attention mining leaves the classifier's judgement of the rest alone.
        pool, selector_steps, steps, batch, lr, width: as for every attribution selector.
    """

    alpha: Weight = 1.0
    sigma: Rate = 0.5
    omega: Rate = 10.0
    frozen: bool = True

    def selection_loss(self, image_BCHW: Tensor, labels_B: Tensor, step: int) -> Tensor:
        loss, attention_B1HW = self.explained(image_BCHW, labels_B)
        rest_BCHW = without(image_BCHW, attention_B1HW, self.sigma, self.omega)
        return loss + self.alpha * mining_loss(self.classifier, rest_BCHW, labels_B, self.frozen)
