"""cells: the floors of the agents that visit cells. A BagNet's cells in a random order, or from the centre outwards.

Elsayed, Kornblith, Le, Saccader: Improving Accuracy of Hard Attention Models for Vision, NeurIPS 2019,
arXiv:1908.07644, names the policies `random` and `center`. The orders here are ours: in the
released code `random` draws each cell anew, so that cells repeat, and `center` returns cell 0 at every step.

1. `uniform`: the next cell is drawn uniformly from those not visited yet. `center`: the nearest to the middle of the
   grid, in raster order among equals.
2. The prediction is the mean of the logits of the cells visited, each computed from its window alone, by the same
   BagNet as `ordered_logits` and `saccader`.

Nothing of the image decides where it looks, so both are floors of either track.

Scores and cost: docs/methods/cells.md.
Command: glimpse run --agent cells --task digits-clutter --set agent.order=center
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from glimpsebench.agents.common.bagnet import BagNetAgent, top_cells
from glimpsebench.envs.glimpse import Kind, Observation

Array = NDArray[Any]


@dataclass
class Cells(BagNetAgent):
    """Visits cells in an order that does not depend on the image.

    Settings:
        order: `uniform`, at random without repeats, or `center`, from the middle outwards.
        glimpses: how many cells it visits at most at test time.
        network: the BagNet, by the side of its receptive field: 5 pixels, one cell every 2; 9, every 4; 17, every 4;
            or 77, every 8, as published for images of 224×224.
        representation_loss: cross-entropy of the logits of each cell (`each_cell`) or of their mean (`mean_logits`).
        representation_steps, representation_lr: of the BagNet's training; by default as many steps as Saccader's.
        batch: images per step.
    """

    order: Literal["uniform", "center"] = "uniform"

    track: ClassVar[Literal["gated", "open"]] = "gated"
    version: ClassVar[int] = 2
    reference: ClassVar[Literal["floor", "ceiling"] | None] = "floor"
    variants: ClassVar[tuple[Mapping[str, Any], ...]] = ()  # beside a BagNet's agents alone, in suites that name it
    observation: ClassVar[Kind] = "glimpses"

    def scanpath(self, image_BCHW: Tensor, count: int) -> Tensor:
        """The order of `center`, the same for every image."""
        row_Y, column_X = (torch.arange(cells) - (cells - 1) / 2 for cells in self.grid)
        squared_distance_P = (row_Y[:, None] ** 2 + column_X**2).flatten()
        return top_cells(-squared_distance_P.expand(len(image_BCHW), -1), count)

    def act(self, observation: Observation, rng: np.random.Generator) -> Array:
        valid_BT = observation["valid"]
        if self.order == "center":
            step_B = valid_BT.sum(1).astype(int).clip(max=self.horizon() - 1)
            cell_B = self.scanpath(torch.empty(1), self.horizon())[0].numpy()[step_B]
        else:
            rows, columns = self.grid
            fixations_P2 = self.sensor().fixation(self.top_left(np.arange(rows * columns)), self.shape)
            distance_BTP = np.abs(observation["actions"][:, :, None] - fixations_P2).max(3)
            visited_BP = ((distance_BTP < 1e-5) & (valid_BT[:, :, None] > 0)).any(1)
            # Visited cells lose 2 of numbers in [0, 1), so that the greatest is of another cell while there is one.
            cell_B = (rng.random(visited_BP.shape) - 2 * visited_BP).argmax(1)
        return self.sensor().fixation(self.top_left(cell_B), self.shape)
