"""subset: an arena. k cells of the image are shown at once; what teaches the selector to choose them is a setting.

All estimators have one selector (a score per cell), one predictor (the task's reader), the same images, optimiser and
number of predictor passes (common/duel.py), and maximise E log p(label | the k cells). Their functions are in
common/estimators.py. s are the scores, g Gumbel noise, k drawn for each image from the budgets up to `largest`.

`reinforce`         ordered subsets of Plackett–Luce with scores s, log p(subset) times the reward less the mean reward
                    of the image's other samples: Kool, van Hoof, Welling 2019; 2020, arXiv:2002.06043.
`ppo`               the same samples, as a bandit of one step: `epochs` updates of the clipped ratio (Schulman et al.
                    2017, arXiv:1707.06347, equation 7). The predictor reads each sample once, whatever follows.
`straight_through`  the k best of s + g forward, the gradient of a sigmoid around the cut-off backward.
`relaxed`           k softmaxes of (s + g)/τ, each without what the last took: Xie, Ermon 2019, arXiv:1901.10517.
`perturbed`         the mean over noise of the indicator of the k best: Cordonnier et al. 2021, arXiv:2104.03059.
`hard_concrete`     independent gates, exactly 0 or 1 with positive probability: Louizos et al. 2018, arXiv:1712.01312.
`random`            nothing is learned, and cells are drawn uniformly.

What differs from the sources, and why:
* Their networks, data and training differ as much as their gradients; here nothing but the gradient does.
* Stable-Baselines3 has no distribution over ordered subsets, so that `ppo` is written here; a bandit of one step needs
  no return and no bootstrapped value, and its baseline is that of `reinforce`.
* `hard_concrete` has no penalty on the size: its scores are shifted so that k gates are open on average.
* k is drawn anew for each image, one selector for all budgets; with `annealing` it falls from all cells at first.
* τ falls geometrically to `last_temperature`.

At test the best-scored cells are shown. Track: open. Findings: `selector_passes`, `selector_images`, what stage 1 used.
Scores and cost: docs/methods/subset.md.
Command: glimpse run --agent subset --task digits-clutter --set agent.estimator=relaxed
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from glimpsebench.agents.common.base import tensors
from glimpsebench.agents.common.duel import CellScorer, DuelAgent, DuelNet, Part, cells_to_pixels, entropy_of, reward_of
from glimpsebench.agents.common.estimators import (
    best_first,
    first_of,
    gumbel_like,
    hard_concrete_subset,
    leave_one_out,
    perturbed_subset,
    plackett_luce_log_prob,
    relaxed_subset,
    sigmoid_subset,
    straight_through,
)
from glimpsebench.agents.common.nets import Positive, Rate, best_pixels, predict_canvas, random_room, to_float
from glimpsebench.envs.glimpse import Kind, Observation
from glimpsebench.envs.sensors import Mask
from glimpsebench.envs.tasks import Split

Array = NDArray[Any]


@dataclass
class Subset(DuelAgent):
    """Reads the whole image, then shows its best cells.

    Settings:
        estimator: what the selector learns by.
        cell: the side of a cell, pixels; 1 for pixels.
        largest: the largest share of the image that is shown while the selector learns.
        annealing: over this share of the selector's steps k falls from all cells to its value; 0: not at all.
        temperature, last_temperature: τ of `straight_through` and `relaxed` at the first and at the last step.
        sigma: the noise of `perturbed`, where an image's scores have deviation 1.
        noise_draws: of `perturbed`, in each mean.
        The others: `DuelAgent` (common/duel.py).
    """

    estimator: Literal["reinforce", "ppo", "straight_through", "relaxed", "perturbed", "hard_concrete", "random"] = (
        "reinforce"
    )
    cell: Positive = 4
    largest: Part = 0.2
    annealing: Part = 0.0
    temperature: Rate = 1.0
    last_temperature: Rate = 0.3
    sigma: Rate = 0.5
    noise_draws: Positive = 16

    track: ClassVar[Literal["gated", "open"]] = "open"
    observation: ClassVar[Kind] = "image"

    def sensor(self) -> Mask:
        return Mask(self.cell)

    @property
    def grid(self) -> tuple[int, int]:
        return self.sensor().grid(self.shape)

    def build(self) -> nn.Module:
        return DuelNet(CellScorer(self.shape[0], self.grid, self.width), self.new_predictor())

    def counts(self, batch: int, done: float) -> Tensor:
        """k of each image, int64 (B,): at least one, drawn from the budgets that `largest` admits."""
        cells = self.grid[0] * self.grid[1]
        admitted = [int(share * cells + 1e-9) for share in self.budgets if share <= self.largest + 1e-9]
        choices = torch.tensor(sorted({max(1, min(count, cells)) for count in admitted}) or [1])
        count_B = choices[torch.randint(len(choices), (batch,))]
        if done < self.annealing:
            count_B = count_B + ((cells - count_B) * (1 - done / self.annealing)).long()
        return count_B

    def read(self, image_BCHW: Tensor, cells_BP: Tensor) -> Tensor:
        """The predictor's logits (B, K) for images of which these cells are shown; a mask may be soft."""
        mask_B1HW = cells_to_pixels(cells_BP, self.grid, self.cell, image_BCHW.shape[2:])  # type: ignore[arg-type]
        logits: Tensor = self.nets.predictor(image_BCHW * mask_B1HW, mask_B1HW)
        return logits

    def losses(self, image_BCHW: Tensor, labels_B: Tensor, done: float) -> Iterator[Tensor]:
        counts_B = self.counts(len(image_BCHW), done)
        if self.estimator in self.SAMPLING:
            yield from self.score_function_losses(image_BCHW, labels_B, counts_B)
        else:
            scores_BP = self.nets.selector(image_BCHW)
            shown_BP = self.relaxation(scores_BP, counts_B, done)
            yield F.cross_entropy(self.read(image_BCHW, shown_BP), labels_B)

    def relaxation(self, scores_BP: Tensor, counts_B: Tensor, done: float) -> Tensor:
        """What a gradient estimator shows, (B, P) in [0, 1], with its gradient to the scores."""
        temperature = self.temperature * (self.last_temperature / self.temperature) ** done
        if self.estimator == "perturbed":
            return perturbed_subset(scores_BP, counts_B, self.noise_draws, self.sigma)
        if self.estimator == "hard_concrete":
            return hard_concrete_subset(scores_BP, counts_B)
        keys_BP = scores_BP + gumbel_like(scores_BP)
        if self.estimator == "relaxed":
            return relaxed_subset(keys_BP, counts_B, temperature)
        hard_BP = first_of(best_first(keys_BP), counts_B)
        return straight_through(hard_BP, sigmoid_subset(keys_BP, counts_B, temperature))

    def score_function_losses(self, image_BCHW: Tensor, labels_B: Tensor, counts_B: Tensor) -> Iterator[Tensor]:
        """The losses of `reinforce` (one) and `ppo` (`epochs`), over `samples` ordered subsets of each image."""
        draws, batch = self.draws, len(image_BCHW)
        with torch.no_grad():
            expanded_mBP = self.nets.selector(image_BCHW).expand(draws, -1, -1)
            order_mBP = best_first(expanded_mBP + gumbel_like(expanded_mBP))
            counts_mB = counts_B.expand(draws, -1)
            shown_MP = first_of(order_mBP, counts_mB).flatten(0, 1)
        repeated_MCHW, labels_M = image_BCHW.repeat(draws, 1, 1, 1), labels_B.repeat(draws)
        with torch.set_grad_enabled(self.predictor_learns):
            logits_MK = self.read(repeated_MCHW, shown_MP)
        reward_mB = reward_of(logits_MK.detach(), labels_M, self.reward).reshape(draws, batch)
        advantage_mB = leave_one_out(reward_mB)
        prediction_loss = F.cross_entropy(logits_MK, labels_M) if self.predictor_learns else logits_MK.new_zeros(())

        def log_prob_and_entropy() -> tuple[Tensor, Tensor]:
            scores_BP = self.nets.selector(image_BCHW)
            log_prob_mB = plackett_luce_log_prob(scores_BP.expand(draws, -1, -1), order_mBP, counts_mB)
            return log_prob_mB, entropy_of(scores_BP)

        for update, loss in enumerate(self.policy_losses(log_prob_and_entropy, advantage_mB)):
            yield loss + prediction_loss if update == 0 else loss

    def canvases(self, images: Split, rng: np.random.Generator) -> tuple[Tensor, Tensor]:
        if self.estimator == "random":
            scores = rng.random((len(images), *self.grid))
        else:
            scores = self.nets.selector(to_float(images.images_NCHW)).reshape(-1, *self.grid).cpu().numpy()
        return best_pixels(scores, images, random_room(images, self.budgets, rng), self.sensor())

    @torch.no_grad()
    def act(self, observation: Observation, rng: np.random.Generator) -> Array:
        if self.estimator == "random":
            return rng.random((len(observation["image"]), *self.grid), np.float32)
        scores_BP = self.nets.selector(tensors(observation)["image"])
        largest_B1 = scores_BP.abs().amax(1, keepdim=True).clamp(min=1e-6)
        action: Array = (scores_BP / largest_B1).reshape(-1, *self.grid).numpy()  # only the order matters
        return action

    def predict(self, view: Observation) -> Array:
        return predict_canvas(self.nets.predictor, view)
