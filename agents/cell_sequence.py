"""cell_sequence: an arena. Cells are revealed one after another; what teaches the policy the next one is a setting.

All estimators have one policy network (canvas and mask → a score per cell), one predictor (the task's reader), the same
images, optimiser and number of predictor passes (common/duel.py), and learn the next cell from states that the policy
itself has reached (common/sequence.py). π = softmax(s) over the hidden cells, g Gumbel noise, L(c) = log p(label | what
is revealed and c).

`reinforce`          `samples` cells from each state, L(c) less the mean of the others (Kool, van Hoof, Welling 2019).
`reinforce_learned`  one cell, L(c) less a learned value of the state (Mnih et al. 2014, arXiv:1406.6247).
`ppo`                `reinforce`'s samples, `epochs` updates of the clipped ratio (Schulman et al. 2017,
                     arXiv:1707.06347).
`straight_through`   the best cell of s + g forward, the gradient of softmax((s + g)/τ) backward (Jang et al. 2017,
                     arXiv:1611.01144).
`relaxed`            softmax((s + g)/τ) itself (Maddison et al. 2017, arXiv:1611.00712), as in Covert et al. 2023,
                     arXiv:2301.00557, whose `gdfs` differs by network, predictor and training.
`expected_gain`      Σ_c π(c) L(c), all cells enumerated: a pass for each. What is left to gain by a better estimator.
`random`             nothing is learned, and cells are drawn uniformly.

What differs from the sources, and why:
* A choice is paid for the canvas after it alone, since straight-through and relaxed gradients of later glimpses would
  need a chain of soft canvases; `credit="episode"` pays score functions for later canvases too.
* `ppo` is written here: with one choice an episode is a bandit of one step, which needs no bootstrapped value.
* τ falls geometrically to `last_temperature`.

At test the best hidden cell is revealed. Track: gated. Findings: `selector_passes`, `selector_images`, of stage 1.
Scores and cost: docs/methods/cell_sequence.md.
Command: glimpse run --agent cell_sequence --task digits-clutter --set agent.estimator=relaxed
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional as F

from glimpsebench.agents.common.arenas import CellArena
from glimpsebench.agents.common.duel import log_likelihood
from glimpsebench.agents.common.estimators import gumbel_like, straight_through
from glimpsebench.agents.common.nets import Rate


@dataclass
class CellSequence(CellArena):
    """Reveals cell after cell.

    Settings:
        estimator: what the policy learns by.
        temperature, last_temperature: τ of `straight_through` and `relaxed` at the first and at the last step.
        The others: `CellArena` (common/arenas.py).
    """

    estimator: Literal[
        "reinforce", "reinforce_learned", "ppo", "straight_through", "relaxed", "expected_gain", "random"
    ] = "reinforce"
    temperature: Rate = 1.0
    last_temperature: Rate = 0.3

    @property
    def passes_per_image(self) -> int:
        return self.grid[0] * self.grid[1] if self.estimator == "expected_gain" else self.draws

    def gradient_loss(self, image_BCHW: Tensor, labels_B: Tensor, mask_B1HW: Tensor, done: float) -> Tensor:
        scores_BP = self.hidden_scores(self.policy(image_BCHW, mask_B1HW)[0], mask_B1HW)
        if self.estimator == "expected_gain":
            return self.expected_loss(image_BCHW, labels_B, mask_B1HW, scores_BP)
        temperature = self.temperature * (self.last_temperature / self.temperature) ** done
        keys_BP = scores_BP + gumbel_like(scores_BP)
        choice_BP = (keys_BP / temperature).softmax(1)
        if self.estimator == "straight_through":
            choice_BP = straight_through(F.one_hot(keys_BP.argmax(1), keys_BP.shape[1]).float(), choice_BP)
        shown_B1HW = mask_B1HW + (1 - mask_B1HW) * self.pixels(choice_BP)
        return F.cross_entropy(self.read(image_BCHW, shown_B1HW), labels_B)

    def expected_loss(self, image_BCHW: Tensor, labels_B: Tensor, mask_B1HW: Tensor, scores_BP: Tensor) -> Tensor:
        """−Σ_c π(c) L(c), by reading the canvas with each of the cells."""
        cells = scores_BP.shape[1]
        each_B1HW = self.pixels(torch.eye(cells)).repeat(len(image_BCHW), 1, 1, 1)
        shown = torch.maximum(mask_B1HW.repeat_interleave(cells, 0), each_B1HW)
        with torch.set_grad_enabled(self.predictor_learns):
            logits = self.read(image_BCHW.repeat_interleave(cells, 0), shown)
        gain_BP = log_likelihood(logits, labels_B.repeat_interleave(cells)).reshape(-1, cells)
        return -(scores_BP.softmax(1) * gain_BP).sum(1).mean()
