"""ram: the Recurrent Attention Model, a recurrent network that learns where to look by REINFORCE.

Mnih, Heess, Graves, Kavukcuoglu, Recurrent Models of Visual Attention, NeurIPS 2014, arXiv:1406.6247.

1. Glimpse network: g_t = relu(W relu(W ρ_t) + W relu(W l_t)), "what" and "where" (128 + 128 → 256).
2. Core: h_t = relu(W h_{t−1} + W g_t), 256 units.
3. Fixation policy: l_{t+1} ~ N(tanh(W h_t), std²), clipped to the image.
4. Loss: cross-entropy through core and glimpse network; REINFORCE for the policy alone, with a learned baseline
   b_t = W h_t fitted by squared error. The policy's and the baseline's input is detached: neither shapes h_t. Taken as
   the gradient of the whole network's log-probability, REINFORCE flows on into h_t: `reinforce_core=true`.

What differs from the paper, and why:
* Cross-entropy and reward are means over all steps, not those of the last alone: a curve of accuracy over budgets
  needs a prediction after every glimpse (`loss_at=last` is the paper's).
* ±1 are the last places at which the finest window lies inside the image; in the paper it may leave it.
* The first fixation is the centre, not random (`first=random`): a better start that knows nothing of the image.
* The policy's mean is a two-layer network (as in the usual PyTorch port, whose authors found it to matter).
* AdamW (weight decay 0.01, gradients clipped at norm 5) on a one-cycle schedule instead of SGD with momentum.
* Predictions come from the predictor that all agents share, trained afterwards on this policy's own windows, so
  that agents differ by their looking; `predictor=core` takes the paper's classifier, which needs far more
  training than the quick suite gives.
* `standardize=true` brings pixels to mean 0 and deviation 1 first, as the ports do. With it and `reinforce_core` the
  first look goes to the digit on 60×60, and without either hardly (validation images, 4,000 steps; see suite `ram-60`).

The network, its losses and its training are in `recurrent`, shared with `ram_pathwise`.

Test time: the policy's mean, one rollout; with `rollouts` > 1 draws from the policy, all of which count as touched.
Track: gated.
Expected on digits-clutter, six 8×8 windows: above uniform windows at every budget. Cost: about 40 s of one core.
On cluttered-mnist-60 (suite `ram-60`, test, seed 0), three scales of 12×12, after 1, 2 and 8 windows: 75.1, 92.5 and
95.2 %, random windows and the same network 76.8, 79.4 and 87.7 %; published: 94.8 and 85.6 % after eight. On
translated-mnist-60 98.3 % after six; published: 98.1. Cost, beside other jobs: 49 and 76 minutes.
On MNIST (suite `ram-mnist`, test, seeds 0 to 2), six windows of 8×8: 98.79 ± 0.16 %; published: 98.7 to 98.9. Cost,
beside other jobs: 24 to 29 minutes a seed.
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
    """Looks where what it has seen says that it pays to look.

    Settings:
        size, scales: of the window (g, S).
        glimpses: how many, in training and at test.
        first: where it starts, `center` or, as in the paper, `random`.
        std: of the Gaussian policy while training, in the frame's units.
        policy_steps, policy_batch, policy_lr: of the training of the recurrent network (steps 1 to 4).
        reinforce: the weight of the REINFORCE term. Nothing else trains the policy, and AdamW divides by the gradient's
            size, so only 0 makes a difference, unless `reinforce_core`.
        policy: `learned`, or `random`, which looks anywhere and learns the rest: the floor with the same network.
        loss_at: which steps have a cross-entropy and a reward: `all`, or the `last` alone, as in the paper.
        standardize: the glimpse network reads values less the mean of the training pixels, over their deviation.
        reinforce_core: REINFORCE trains core and glimpse network as well, through the h_t that the policy reads.
        rollouts: Monte-Carlo rollouts at test, of `glimpses` each. With more than one, fixations are drawn from the
            policy and `core` averages the rollouts' probabilities; the union of them all is what was touched.
        predictor: `shared`, the canvas network that the other agents have, trained on this policy's windows; or
            `core`, the paper's own classifier on h_t.
        steps, batch, lr, width: of the shared predictor, as for everyone.
    """

    scales: Positive = 1
    reinforce_core: bool = False

    version: ClassVar[int] = 2

    def sensor(self) -> Sensor:
        return Window(self.size, self.scales, border="inside")

    def policy_input(self, hidden_BH: Tensor) -> Tensor:
        return hidden_BH if self.reinforce_core else super().policy_input(hidden_BH)

    def glimpse_reader(self, images: Array) -> GlimpseReader:
        sensor, index_B, room_B = self.sensor(), np.arange(len(images)), np.zeros(len(images))
        read = sensor.reader(images)

        def look(fixation_B2: Tensor) -> tuple[Tensor, Array]:
            aim = sensor.aim(fixation_B2.cpu().numpy(), self.shape, room_B)
            return tensor(read(index_B, aim)).flatten(1), aim

        return look

    def canvases(self, images: Array, aims: list[Array], prefix_B: Array) -> tuple[Tensor, Tensor]:
        sensor = self.sensor()
        prints_BTHW = np.stack([sensor.footprint(aim, self.shape) for aim in aims], 1)
        mask_BHW = np.logical_or.accumulate(prints_BTHW, axis=1)[np.arange(len(images)), prefix_B]
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
