"""What the contenders of an arena of one glimpse after another share: what a choice is, and how a policy makes it.

Shapes: B batch, C H W image, P cells, A numbers of a choice.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from glimpsebench.agents.common.base import tensor
from glimpsebench.agents.common.duel import cells_to_pixels, entropy_of
from glimpsebench.agents.common.estimators import HIDDEN, gumbel_like
from glimpsebench.agents.common.nets import Positive, Rate
from glimpsebench.agents.common.sequence import SequenceAgent
from glimpsebench.envs.glimpse import Observation
from glimpsebench.envs.sensors import Mask, Window

Array = NDArray[Any]


@dataclass
class CellArena(SequenceAgent):
    """Reveals cell after cell: the policy is the softmax of a score per hidden cell, at test the best one.

    Settings:
        cell: the side of a cell, pixels.
        The others: `SequenceAgent` (common/sequence.py) and `DuelAgent` (common/duel.py).
    """

    cell: Positive = 4
    glimpses: Positive = 13

    def sensor(self) -> Mask:
        return Mask(self.cell, at_once=1)

    @property
    def grid(self) -> tuple[int, int]:
        return self.sensor().grid(self.shape)

    def horizon(self) -> int:
        return min(self.glimpses, self.grid[0] * self.grid[1])

    def build(self) -> nn.Module:
        return self.new_net(self.grid)

    def pixels(self, cells_BP: Tensor) -> Tensor:
        """A value per cell → at each of its pixels (B, 1, H, W)."""
        return cells_to_pixels(cells_BP, self.grid, self.cell, (self.shape[1], self.shape[2]))

    def hidden_scores(self, outputs_BP: Tensor, mask_B1HW: Tensor) -> Tensor:
        """The scores, those of revealed cells so low that they are never drawn."""
        revealed_BP = mask_B1HW[:, 0, :: self.cell, :: self.cell].flatten(1)
        return torch.where(revealed_BP > 0, HIDDEN, outputs_BP)

    def sample(self, outputs_BA: Tensor, mask_B1HW: Tensor) -> Tensor:
        if self.estimator == "random":
            outputs_BA = torch.zeros_like(outputs_BA)
        return (self.hidden_scores(outputs_BA, mask_B1HW) + gumbel_like(outputs_BA)).argmax(1)

    def at_test(self, outputs_BA: Tensor, mask_B1HW: Tensor) -> Tensor:
        return self.hidden_scores(outputs_BA, mask_B1HW).argmax(1)

    def log_prob(self, outputs_BA: Tensor, mask_B1HW: Tensor, choice_B: Tensor) -> Tensor:
        return self.hidden_scores(outputs_BA, mask_B1HW).log_softmax(1).gather(1, choice_B[:, None])[:, 0]

    def policy_entropy(self, outputs_BA: Tensor, mask_B1HW: Tensor) -> Tensor:
        return entropy_of(self.hidden_scores(outputs_BA, mask_B1HW))

    def footprint(self, choice_B: Tensor) -> Tensor:
        return self.pixels(F.one_hot(choice_B, self.grid[0] * self.grid[1]).float())

    @torch.no_grad()
    def act(self, observation: Observation, rng: np.random.Generator) -> Array:
        if self.estimator == "random":
            hidden = 1 - observation["mask"][:, 0, :: self.cell, :: self.cell]
            action: Array = (hidden * (0.01 + 0.99 * rng.random(hidden.shape))).astype(np.float32)
            return action
        outputs_BP, mask_B1HW = self.chosen(observation)
        best_BP = F.one_hot(self.at_test(outputs_BP, mask_B1HW), outputs_BP.shape[1]).float()
        action = best_BP.reshape(-1, *self.grid).numpy()
        return action


@dataclass
class WindowArena(SequenceAgent):
    """Looks at window after window: the policy is a Gaussian around a fixation, at test as in training.

    Settings:
        size: the side of the window, pixels.
        std: of the policy, in units of the frame [-1, 1].
        The others: `SequenceAgent` (common/sequence.py) and `DuelAgent` (common/duel.py).
    """

    size: Positive = 6
    std: Rate = 0.25

    curve_at: ClassVar[float] = 0.2

    def sensor(self) -> Window:
        return Window(self.size, border="inside")

    def build(self) -> nn.Module:
        return self.new_net(None)

    def sample(self, outputs_BA: Tensor, mask_B1HW: Tensor) -> Tensor:
        if self.estimator == "random":
            return 2 * torch.rand_like(outputs_BA) - 1
        return (outputs_BA + self.std * torch.randn_like(outputs_BA)).detach()

    def at_test(self, outputs_BA: Tensor, mask_B1HW: Tensor) -> Tensor:
        return self.sample(outputs_BA, mask_B1HW)

    def log_prob(self, outputs_BA: Tensor, mask_B1HW: Tensor, choice_B: Tensor) -> Tensor:
        return -((choice_B - outputs_BA) / self.std).square().sum(1) / 2

    def policy_entropy(self, outputs_BA: Tensor, mask_B1HW: Tensor) -> Tensor:
        return torch.zeros(())  # of a Gaussian whose deviation is fixed

    def footprint(self, choice_B: Tensor) -> Tensor:
        sensor = self.sensor()
        fixation_B2 = choice_B.detach().clamp(-1, 1).cpu().numpy()
        aim_B2 = sensor.aim(fixation_B2, self.shape, np.zeros(len(fixation_B2)))
        return tensor(sensor.footprint(aim_B2, self.shape))[:, None].float()

    @torch.no_grad()
    def act(self, observation: Observation, rng: np.random.Generator) -> Array:
        if self.estimator == "random":
            uniform: Array = rng.uniform(-1, 1, (len(observation["mask"]), 2)).astype(np.float32)
            return uniform
        mean_B2: Array = self.chosen(observation)[0].numpy()
        return np.clip(mean_B2 + self.std * rng.standard_normal(mean_B2.shape, np.float32), -1, 1)
