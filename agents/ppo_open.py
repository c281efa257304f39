"""ppo_open: ppo whose policy reads the whole image, to show what seeing everything is worth to the same learner.

Places under a softmax: Levine, Finn, Darrell, Abbeel 2016, arXiv:1504.00702. The rest: see ppo.

1. Reader: two strided convolutions and one more; each channel c gives (x̄_c, ȳ_c), the mean place under the softmax of
   its values over places, and its maximum; f = relu(W relu(U [x̄; ȳ; max] + E_t)), E_t learned for each number of
   glimpses taken.
2. Reward, advantage, loss, Gaussian policy, rounds and predictor: ppo's.

What differs from ppo, beside the observation:
* The policy sees neither its glimpses nor where it has looked, only how many it has taken: its fixations depend on
  the image and on that number.
* Half as many env steps.

Test time: the Gaussian's mean. Track: open.
Findings: `return_curve`, the mean return while training.
Measured on digits-clutter, seed 0, the 200 validation images, own accuracy at 10, 15, 20 and 30 % touched: 69, 86, 88,
88 %. Cost: 2 to 3 minutes of one core.
Command: glimpse run --agent ppo_open --task digits-clutter
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

from glimpsebench.agents.common.actor_critic import ImageReader, PPOAgent, Reader
from glimpsebench.agents.common.nets import Positive
from glimpsebench.envs.glimpse import Kind


@dataclass
class PPOOpen(PPOAgent):
    """Reads the whole image, then looks where a policy trained by proximal policy optimisation points.

    Settings: as for every actor-critic agent, and of PPO (see `actor_critic`).
    """

    policy_steps: Positive = 100_000

    track: ClassVar[Literal["gated", "open"]] = "open"
    observation: ClassVar[Kind] = "image"

    def reader(self) -> Reader:
        return ImageReader(self.shape[0], self.glimpses, self.features)
