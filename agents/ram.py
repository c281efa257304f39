"""ram: the Recurrent Attention Model, a recurrent network that learns where to look by REINFORCE.

Mnih, Heess, Graves, Kavukcuoglu, Recurrent Models of Visual Attention, NIPS 2014, arXiv:1406.6247.

1. Glimpse network: g_t = relu(W relu(W ρ_t) + W relu(W l_t)), "what" and "where", 128 + 128 → 256 units; ρ_t are the
   values that the sensor returns at the fixation l_t.
2. Core network: h_t = relu(W h_{t−1} + W g_t), 256 units.
3. Location network, the policy: l_{t+1} ~ N(tanh(f(h_t)), std²), clipped to the frame.
4. Hybrid loss: cross-entropy of a linear classifier on h_t, through core and glimpse network, and REINFORCE for the
   location network, with a learned linear baseline b_t(h_t) fitted by squared error. The reward of a step is 1 if that
   classifier is right, and it is in training whichever predictor is used at test. Fixations are constants to the
   glimpse network. The paper's text trains the location network alone by REINFORCE, so it and the baseline read h_t
   detached; its equation, log π differentiated through the core, is `reinforce_core=true`.

What differs from the paper, and why:
* Cross-entropy and reward are means over all steps, not those of the last alone: a policy is to be good at every
  budget, not after all glimpses alone (`loss_at=last` is the paper's).
* ±1 are the last places at which the finest window lies inside the image; in the paper it may leave it.
* The first fixation is the centre, not random (`first_fixation=random`).
* The location network has two layers and a tanh, as in the usual PyTorch port
  (kevinzakka/recurrent-visual-attention); the paper's is linear. std and the weight of REINFORCE are ours.
* AdamW (weight decay 0.01, gradients clipped at norm 5) on a one-cycle schedule instead of SGD with momentum.
* Predictions come from the canvas predictor that all agents share, trained afterwards on this policy's windows, so
  that agents differ in where they look; `predictor=core` takes the paper's classifier, which needs longer training.
* `standardize=true` brings pixels to mean 0 and standard deviation 1 first, as the ports do.

The networks, the loss and the training are in `common/recurrent.py`, shared with `ram_pathwise`.

Test time: the policy's mean, one rollout; with `rollouts` > 1 samples from the policy, whose windows all count as
touched. Track: gated.
Published test errors on 60×60, three 12×12 scales (NIPS proceedings): translated 1.22 % (six glimpses), cluttered
4.04 % (eight; random glimpses 14.4 %). The best re-implementations, eight glimpses: translated 0.94 % (slundqui/tfRAM),
cluttered 2.13 % (bentrevett/recurrent-attention-model). All of them: `envs/published.py`.
Scores, cost, what was tried and left out: docs/methods/ram.md
Command: glimpse run --agent ram --task digits-clutter
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from glimpsebench.agents.common.base import tensor
from glimpsebench.agents.common.nets import Positive, masked_canvas, to_float
from glimpsebench.agents.common.recurrent import GlimpseReader, RecurrentAgent
from glimpsebench.envs.sensors import UNSEEN, Sensor, Window

Array = NDArray[Any]


@dataclass
class RAM(RecurrentAgent):
    """Looks where a recurrent network points, given the glimpses so far; learns it by REINFORCE.

    Settings:
        size, scales: of the window: side of the finest scale in pixels (g), number of scales (S).
        reinforce_core: REINFORCE trains core and glimpse network as well, through the h_t that the location network
            reads. Then `reinforce` weighs it against the cross-entropy.
        The others: `RecurrentAgent`.
    """

    scales: Positive = 1
    reinforce_core: bool = False

    version: ClassVar[int] = 4

    def sensor(self) -> Sensor:
        return Window(self.size, self.scales, border="inside")

    def location_input(self, hidden_BU: Tensor) -> Tensor:
        return hidden_BU if self.reinforce_core else super().location_input(hidden_BU)

    def glimpse_reader(self, images: Array) -> GlimpseReader:
        sensor, index_B = self.sensor(), np.arange(len(images))
        read, room_B = sensor.reader(images), np.zeros(len(images))  # a window ignores the remaining budget

        def look(fixation_B2: Tensor) -> tuple[Tensor, Array]:
            aim = sensor.aim(fixation_B2.cpu().numpy(), self.shape, room_B)
            return tensor(read(index_B, aim)).flatten(1), aim

        return look

    def canvases(self, images: Array, aims: list[Array], prefix_B: Array) -> tuple[Tensor, Tensor]:
        sensor = self.sensor()
        footprint_BTHW = np.stack([sensor.footprint(aim, self.shape) for aim in aims], 1)
        mask_BHW = np.logical_or.accumulate(footprint_BTHW, axis=1)[np.arange(len(images)), prefix_B]
        mask_B1HW = tensor(mask_BHW)[:, None]
        if self.scales == 1:
            return masked_canvas(to_float(images), mask_B1HW), mask_B1HW
        # Coarse scales show block means, as the env paints them.
        read, index_B = sensor.reader(images), np.arange(len(images))
        canvas_BCHW = np.zeros(images.shape, np.float32)
        grain_BHW = np.full((len(images), *self.shape[1:]), UNSEEN, np.uint8)
        for step, aim in enumerate(aims):
            some = np.flatnonzero(prefix_B >= step)
            sensor.paint(canvas_BCHW, grain_BHW, some, read(index_B[some], aim[some]), aim[some])
        return tensor(canvas_BCHW), mask_B1HW
