"""energy: a classifier without attention; the pixels are shown where its features are strong.

The same classifier as of `cbam` and `adcm`, to compare them with: its score needs no attention. A map of the features'
magnitude is what attention transfer compares (Zagoruyko, Komodakis, Paying More Attention to Attention, ICLR 2017,
arXiv:1612.03928, section 3.1: the sum over channels of |F|^p, p = 2).

1. Three blocks of 3×3 convolutions; their mean over positions is classified, with cross-entropy, from whole images.
2. A pixel's score: the product over the blocks of √(mean over channels of F²), brought to the image's size bilinearly.
3. The env reveals the k best pixels; the predictor learns on them.

What differs from the source: there the maps teach another network, here they rank pixels; the blocks' maps are
multiplied. `attentive` has the classifier.

Track: open. Scores and cost: docs/methods/energy.md.
Command: glimpse run --agent energy --task digits-clutter
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from glimpsebench.agents.common.attentive import AttentiveAgent, AttentiveNet


@dataclass
class Energy(AttentiveAgent):
    """Reads the whole image, then shows the pixels where the features of its classifier are strongest.

    Settings:
        score: `energy`, or the `gradient` of `cbam`, by a gate of ones where that has its spatial attention.
        selector_steps: of the classifier.
        batch, lr, width, predictor_init, predictor_steps, predictor_lr: as for every mask selector.
    """

    score: Literal["energy", "gradient"] = "energy"

    def attentive_net(self) -> AttentiveNet:
        return AttentiveNet(self.shape[0], self.classes, self.width, score=self.score)
