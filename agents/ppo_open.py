"""ppo_open: ppo whose policy reads the whole image, to show what seeing everything is worth to the same learner.

Spatial softmax: Levine, Finn, Darrell, Abbeel 2016, arXiv:1504.00702. The rest: see ppo.

1. Features extractor: two strided convolutions and one more; each channel c gives (x̄_c, ȳ_c), the mean position under
   the softmax of its values over positions, and its maximum; f = relu(W relu(U [x̄; ȳ; max] + E_t)), E_t learned for
   each number of glimpses taken.
2. Reward, advantage, loss, Gaussian policy, rounds and predictor: ppo's.

What differs from ppo, beside the observation:
* The policy sees neither its glimpses nor where it has looked, only how many it has taken: its fixations depend on
  the image and on that number.
* Half as many env steps.

Test time: the Gaussian's mean. Track: open. Findings: `return_curve`, the mean return in training.
Scores, cost, what was tried and left out: docs/methods/ppo_open.md
Command: glimpse run --agent ppo_open --task digits-clutter
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

from glimpsebench.agents.common.actor_critic import FeaturesExtractor, ImageExtractor, PPOAgent
from glimpsebench.agents.common.nets import Positive
from glimpsebench.envs.glimpse import Kind


@dataclass
class ImagePPO(PPOAgent):
    """Reads the whole image, then looks where a policy trained by proximal policy optimisation points.

    Settings: `PPOAgent` and `ActorCriticAgent` (common/actor_critic.py).
    """

    policy_steps: Positive = 100_000

    version: ClassVar[int] = 3
    track: ClassVar[Literal["gated", "open"]] = "open"
    observation: ClassVar[Kind] = "image"

    def extractor(self) -> FeaturesExtractor:
        return ImageExtractor(self.shape[0], self.glimpses, self.features_dim)
