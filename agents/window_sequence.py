"""window_sequence: an arena. Windows one after another; what teaches the policy the next fixation is a setting.

All estimators have one policy network (canvas and mask → the mean of a Gaussian over fixations with a fixed deviation),
one predictor (the task's reader), the same images, optimiser and number of predictor passes (common/duel.py), and learn
the next fixation from states that the policy itself has reached (common/sequence.py). l = μ + std · ε, clipped to the
frame; L(l) = log p(label | what is revealed and the window at l).

`reinforce`          `samples` fixations from each state, L(l) less the mean of the others (Williams 1992; Kool, van
                     Hoof, Welling 2019); the log-probability is that before clipping.
`reinforce_learned`  one fixation, L(l) less a learned value of the state (Mnih et al. 2014, arXiv:1406.6247).
`ppo`                `reinforce`'s samples, `epochs` updates of the clipped ratio (Schulman et al. 2017,
                     arXiv:1707.06347).
`pathwise`           the gradient of L through the window's place: each edge pixel counts by the share of it that an
                     unrounded window covers, which is bilinear resampling of the outline (Jaderberg et al. 2015,
                     arXiv:1506.02025). Forward the window has whole pixels, as at test.
`mixed`              `mix` of `pathwise` and the rest of `reinforce`, of the same samples.
`random`             nothing is learned, and fixations are drawn uniformly.

What differs from `ram_pathwise`, where the gradients meet a recurrent network that reads glimpses: here the predictor
reads the canvas, whose pixels do not move with the window, so that what passes the gradient is the outline. It reaches
one pixel far in either. A choice is paid for the canvas after it alone; with `credit="episode"` all choices so far are,
by score functions.

At test fixations are drawn as in training: a mean that has been looked at shows nothing new. Track: gated. Findings:
`selector_passes`, `selector_images`, of stage 1.
Scores and cost: docs/methods/window_sequence.md.
Command: glimpse run --agent window_sequence --task digits-clutter --set agent.estimator=pathwise
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional as F

from glimpsebench.agents.common.arenas import WindowArena
from glimpsebench.agents.common.duel import Part, reward_of
from glimpsebench.agents.common.estimators import leave_one_out, reinforce_loss, straight_through


@dataclass
class WindowSequence(WindowArena):
    """Looks at window after window.

    Settings:
        estimator: what the policy learns by.
        mix: the share of the pathwise gradient in `mixed`.
        The others: `WindowArena` (common/arenas.py).
    """

    estimator: Literal["reinforce", "reinforce_learned", "ppo", "pathwise", "mixed", "random"] = "reinforce"
    mix: Part = 0.5

    def outline(self, fixation_B2: Tensor) -> Tensor:
        """The share of each pixel that the unrounded window at a fixation covers (B, 1, H, W), differentiable."""
        covered = []
        for axis, side in enumerate(self.shape[1:]):
            places = max(side - self.size + 1, 1)
            # A fixation in the middle of a place's share of [−1, 1] is that place exactly, as in `Window`.
            corner_B1 = (fixation_B2[:, 1 - axis, None].clamp(-1, 1) + 1) * (places / 2) - 0.5
            pixel = torch.arange(side)
            covered.append(torch.minimum(pixel + 1 - corner_B1, corner_B1 + self.size - pixel).clamp(0, 1))
        return (covered[0][:, :, None] * covered[1][:, None])[:, None]

    def shown_with_gradient(self, mask_B1HW: Tensor, fixation_B2: Tensor) -> Tensor:
        """The mask with the window at a fixation: of whole pixels, with the gradient of its outline."""
        window_B1HW = straight_through(self.footprint(fixation_B2), self.outline(fixation_B2))
        return mask_B1HW + (1 - mask_B1HW) * window_B1HW

    def gradient_loss(self, image_BCHW: Tensor, labels_B: Tensor, mask_B1HW: Tensor, done: float) -> Tensor:
        mean_B2, _ = self.policy(image_BCHW, mask_B1HW)
        shown_B1HW = self.shown_with_gradient(mask_B1HW, mean_B2 + self.std * torch.randn_like(mean_B2))
        return F.cross_entropy(self.read(image_BCHW, shown_B1HW), labels_B)

    def score_function_losses(
        self, image_BCHW: Tensor, labels_B: Tensor, mask_B1HW: Tensor, choices_B: Tensor
    ) -> Iterator[Tensor]:
        if self.estimator != "mixed":
            yield from super().score_function_losses(image_BCHW, labels_B, mask_B1HW, choices_B)
            return
        draws, batch = self.draws, len(image_BCHW)
        mean_B2, _ = self.policy(image_BCHW, mask_B1HW)
        mean_M2 = mean_B2.repeat(draws, 1)
        fixation_M2 = mean_M2 + self.std * torch.randn_like(mean_M2)
        shown = self.shown_with_gradient(mask_B1HW.repeat(draws, 1, 1, 1), fixation_M2)
        labels_M = labels_B.repeat(draws)
        logits_MK = self.read(image_BCHW.repeat(draws, 1, 1, 1), shown)
        reward_mB = reward_of(logits_MK.detach(), labels_M, self.reward).reshape(draws, batch)
        log_prob_mB = self.log_prob(mean_M2, shown, fixation_M2.detach()).reshape(draws, batch)
        reinforce = reinforce_loss(log_prob_mB, leave_one_out(reward_mB))
        yield self.mix * F.cross_entropy(logits_MK, labels_M) + (1 - self.mix) * reinforce
