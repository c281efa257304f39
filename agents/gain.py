"""gain: Grad-CAM in the training loop. The image without the attended part must not tell the class.

Li, Wu, Peng, Ernst and Fu, Tell Me Where to Look: Guided Attention Inference Network, CVPR 2018, arXiv:1802.10171.
Equations 1 to 6 (self-guidance: L_self = L_cl + α L_am), and what differs in them: `common/attribution.py`.

The aim is the opposite of a small selection: attention is to cover everything that helps, where a classifier's own
looks at what helps most.

L_am can fall in two ways: by attention that covers more, or by a classifier that gives the class up as soon as a part
of the image is erased. The paper's two streams share their weights, so both happen (`mining_trains=everything`); with
`mining_trains="attention only"`, which is ours, only the first can. The suite `gain` runs both.

What differs from the paper, and why: from the first step, one optimiser; the paper trains VGG for 35 epochs with
batches of 1.

Track: open. Scores and cost: docs/methods/gain.md.
Command: glimpse run --agent gain --task digits-clutter
"""

from __future__ import annotations

from dataclasses import dataclass

from glimpsebench.agents.common.attribution import GuidedAgent


@dataclass
class Gain(GuidedAgent):
    """Reads the whole image, then shows the pixels of attention that was trained to leave nothing behind.

    Settings:
        mining_weight, mining_trains, threshold, sharpness: of attention mining, as `GuidedAgent` says.
        pool, loss, selector_steps, batch, lr, width, predictor_init, predictor_steps, predictor_lr: as for every
            attribution selector.
    """
