"""cells: the floors of the agents that visit cells. A BagNet's cells in a random order, or from the centre outwards.

Elsayed, Kornblith, Le, Saccader: Improving Accuracy and Interpretability of Image Classification with Hard
Attention, NeurIPS 2019, arXiv:1908.07644: its policies `random` and `center`.

1. `uniform`: the next cell is drawn uniformly from those not visited yet. `center`: the nearest to the middle of the
   grid, in raster order among equals.
2. The prediction is the mean of the logits of the cells visited, each computed from its window alone, by the same
   BagNet as `ordered_logits` and `saccader`.

Nothing of the image decides where it looks, so both are floors of either track.

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

from glimpsebench.agents.common.bagnet import BagNetAgent, best_first
from glimpsebench.envs.glimpse import Kind, Observation

Array = NDArray[Any]


@dataclass
class Cells(BagNetAgent):
    """Visits cells in an order that does not depend on the image.

    Settings:
        order: `uniform`, at random, or `center`, from the middle outwards.
        glimpses: how many cells it visits at most at test time.
        blocks, widths, strides, wide, stem, expansion: of the BagNet.
        loss: of the representation network: `every` cell must tell the class, or the `mean` of their logits.
        steps, batch, lr: of the representation network's training.
    """

    order: Literal["uniform", "center"] = "uniform"

    track: ClassVar[Literal["gated", "open"]] = "gated"
    reference: ClassVar[Literal["floor", "ceiling"] | None] = "floor"
    variants: ClassVar[tuple[Mapping[str, Any], ...]] = ()  # beside a BagNet's agents alone, in suites that name it
    observation: ClassVar[Kind] = "glimpses"

    def visits(self, image_BCHW: Tensor, count: int) -> Tensor:
        """The order of `center`, the same for every image."""
        row_Y, column_X = (torch.arange(cells) - (cells - 1) / 2 for cells in self.grid)
        eccentricity_P = (row_Y[:, None] ** 2 + column_X**2).flatten()
        return best_first(-eccentricity_P.expand(len(image_BCHW), -1), count)

    def act(self, observation: Observation, rng: np.random.Generator) -> Array:
        valid_BT = observation["valid"]
        if self.order == "center":
            step_B = valid_BT.sum(1).astype(int).clip(max=self.horizon() - 1)
            cell_B = self.visits(torch.empty(1), self.horizon())[0].numpy()[step_B]
        else:
            rows, columns = self.grid
            fixations_P2 = self.sensor().fixation(self.corners(np.arange(rows * columns)), self.shape)
            apart_BTP = np.abs(observation["actions"][:, :, None] - fixations_P2).max(3)
            visited_BP = ((apart_BTP < 1e-5) & (valid_BT[:, :, None] > 0)).any(1)
            cell_B = (rng.random(visited_BP.shape) - 2 * visited_BP).argmax(1)
        return self.sensor().fixation(self.corners(cell_B), self.shape)
