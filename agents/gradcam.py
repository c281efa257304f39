"""gradcam: a classifier and its Grad-CAM map; nothing tells the map where to be. The companion of gain and gain_ext.

Selvaraju, Cogswell, Das, Vedantam, Parikh, Batra, Grad-CAM: Visual Explanations from Deep Networks via Gradient-based
Localization, ICCV 2017, arXiv:1610.02391.

1. The classifier learns from whole images: L = L_cl (cross-entropy, or the multi-label soft margin).
2. The map of a class (equations 1 and 2 of `common/attribution.py`): the mean gradient of the class's logit weighs the
   features, ReLU.
3. The env reveals the k best pixels of the map of the predicted class.

What differs from the source, and why: a small classifier in place of a large one, whose map has one value per
4×4 pixels; the rest stands in `common/attribution.py`. A method to explain a classifier is asked here to choose pixels
for another one.

Track: open. Scores and cost: docs/methods/gradcam.md.
Command: glimpse run --agent gradcam --task digits-clutter
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from glimpsebench.agents.common.attribution import AttributionAgent, classification_loss


@dataclass
class GradCam(AttributionAgent):
    """Reads the whole image, then shows the pixels of the predicted class's Grad-CAM map.

    Settings:
        pool, loss, selector_steps, batch, lr, width, predictor_init, predictor_steps, predictor_lr: as for every
            attribution selector.
    """

    def selection_loss(self, image_BCHW: Tensor, labels_B: Tensor, step: int) -> Tensor:
        return classification_loss(self.classifier(image_BCHW), self.one_hot(labels_B), self.loss)
