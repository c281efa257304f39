"""concrete_topk: L2X. k Concrete draws over the pixels, joined by their maximum, are a soft mask of at most k pixels.

Chen, Song, Wainwright, Jordan, Learning to Explain, ICML 2018, arXiv:1802.07814.

1. x = s(image), one score per pixel; C_j = softmax((x + g_j)/τ), j = 1 … k, g_j Gumbel noise (their equation 5).
2. V_i = max_j C_ji: a relaxed subset of at most k pixels.
3. Maximise E log q(label | image × V) over scorer and predictor (their equation 6); nothing else holds the size.

What differs from the source, and why:
* q predicts the label; theirs explains a given model and fits its output.
* The predictor is the one that all mask selectors share and sees V beside image × V.
* After training `masks` reveals the k best-scored pixels at every budget; theirs has one k.
* The predictor first learns on random masks of every size (`pretrain_steps`), as the model to explain is trained
  first in the paper: from a few soft pixels alone it learns too little to guide the scorer.
* With `phased` random pixels are shown beside V in the first half of the selector's training, fewer and fewer. Without
  them two of three seeds leave the object for good on cluttered-mnist-60 (suite `selectors-60`), where 2 % of the
  pixels, at random, tell a predictor next to nothing (19 % right); with them none does.
The subset is part of what the predictor reads, so that the label can be written into it; the evaluator's score says
whether the pixels themselves are telling.

Track: open. On digits-clutter (suite `selectors`, test, mean of seeds 0 to 5) at 5, 10 and 20 % touched: evaluator 51,
73, 87 %, own 79, 85, 89 %; with `phased` 67, 81, 92 and 84, 91, 92 %.
Cost: 42 s of one core; it grows with k.
Command: glimpse run --agent concrete_topk --task digits-clutter
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from glimpsebench.agents.base import Progress
from glimpsebench.agents.masks import MaskAgent, Share
from glimpsebench.agents.nets import Positive, Rate, phase
from glimpsebench.envs.settings import added
from glimpsebench.envs.tasks import Task


def concrete_subset(scores_BP: Tensor, count: int, temperature: float) -> Tensor:
    """Equations 1 and 2: a relaxed subset (B, P) of at most `count` pixels, values in [0, 1]."""
    batch, size = scores_BP.shape
    gumbel_BkP = -torch.empty(batch, count, size).exponential_().clamp(min=1e-20).log()
    return ((scores_BP[:, None] + gumbel_BkP) / temperature).softmax(-1).amax(1)


@dataclass
class ConcreteTopK(MaskAgent):
    """Reads the whole image, then shows its best pixels; learned with L2X's relaxed subsets.

    Settings:
        target: k, as a share of the pixels.
        temperature: τ.
        pretrain_steps: of the predictor on random masks, before both.
        phased: random pixels are shown beside the subset at first, of each image a share drawn anew, from at most all
            of them down to none at half of `selector_steps`.
        selector_steps, steps, batch, lr, width: as for every mask selector.
    """

    target: Share = 0.02
    temperature: Rate = 0.1
    pretrain_steps: Positive = 200
    phased: bool = added(False)

    def learn_to_choose(self, task: Task, rng: np.random.Generator, progress: Progress[int]) -> None:
        self.learn_at_random(task, self.pretrain_steps, None, rng, progress)
        super().learn_to_choose(task, rng, progress)

    def selection_loss(self, image_BCHW: Tensor, labels_B: Tensor, step: int) -> Tensor:
        scores_BP = self.nets.scorer(image_BCHW).flatten(1)
        count = max(1, int(self.target * scores_BP.shape[1]))
        mask_BP = concrete_subset(scores_BP, count, self.temperature)
        if self.phased:
            share_B1 = phase(step, self.selector_steps, rest=0.0) * torch.rand(len(mask_BP), 1)
            mask_BP = torch.maximum(mask_BP, (torch.rand_like(mask_BP) < share_B1).float())
        return F.cross_entropy(self.nets.under(image_BCHW, mask_BP.reshape(-1, 1, *self.shape[1:])), labels_B)
