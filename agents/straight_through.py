"""straight_through: a network scores every pixel; a Gumbel-sigmoid mask with straight-through gradients trains it.

Binary Concrete / Gumbel-sigmoid: Maddison et al. 2017, arXiv:1611.00712, and Jang et al. 2017, arXiv:1611.01144;
the straight-through estimator: Bengio et al. 2013, arXiv:1308.3432; the target budget: Verelst and Tuytelaars,
Dynamic Convolutions, CVPR 2020, arXiv:1912.03203 (settings from its released code).

1. Scores x = s(image), one per pixel, from a small encoder-decoder that reads the whole image.
2. m_soft = σ((x + g₁ − g₂)/τ), g Gumbel noise, τ = 2/3; m = 1[m_soft ≥ ½] forward, the gradient of m_soft backward.
3. The predictor sees image × m and m; loss = cross-entropy + weight · (mean(m) − target)², the target annealed
   from the whole image down to its value over the first half of training.
4. Then the scores are frozen and the predictor trains on the k best pixels at every budget of the grid, so that
   one selector gives a whole curve: at test the env reveals the k best-scored pixels.

What differs from the sources: step 4 (they have one budget each), and that their mask gates layers, not pixels.
The straight-through gradient is biased, and a selector trained with its predictor may write the label into
the mask's shape: the evaluator's score says whether the pixels themselves are telling.

Track: open. Expected on digits-clutter: above uniform pixels at every budget below 30 %. Cost: 25 to 50 s of one core.
Command: glimpse run --agent straight_through --task digits-clutter
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F

from glimpsebench.agents.base import Agent, Progress, tensors
from glimpsebench.agents.nets import CanvasNet, Positive, Rate, conv, optimise, phase, pixels, shown
from glimpsebench.envs.glimpse import Kind, Observation
from glimpsebench.envs.sensors import Mask, Sensor, k_best
from glimpsebench.envs.tasks import Task

Array = NDArray[Any]
Share = Annotated[float, Field(gt=0, lt=1)]


class Scorer(nn.Module):
    """An encoder-decoder: (B, C, H, W) → scores (B, 1, H, W), bilinear between the values of a half-size map."""

    def __init__(self, channels: int, width: int) -> None:
        super().__init__()
        w = width
        self.fine = conv(channels, w, 2)
        self.coarse = nn.Sequential(conv(w, 2 * w, 2), conv(2 * w, 2 * w))
        self.from_fine, self.from_coarse = nn.Conv2d(w, 1, 1), nn.Conv2d(2 * w, 1, 1)

    def forward(self, image_BCHW: Tensor) -> Tensor:
        def to(size: torch.Size, scores: Tensor) -> Tensor:
            return F.interpolate(scores, size=size, mode="bilinear", align_corners=False)

        fine = self.fine(image_BCHW.contiguous(memory_format=torch.channels_last))
        coarse = to(fine.shape[2:], self.from_coarse(self.coarse(fine)))
        return to(image_BCHW.shape[2:], self.from_fine(fine) + coarse)


class STNet(nn.Module):
    """Selector and predictor."""

    def __init__(self, channels: int, classes: int, width: int) -> None:
        super().__init__()
        self.scorer = Scorer(channels, width)
        self.predictor = CanvasNet(channels, classes, width)


def gumbel_mask(scores: Tensor, temperature: float) -> Tensor:
    """A binary mask drawn with probability σ(scores), with the gradient of its relaxation.

    The difference of two Gumbel draws is one logistic draw.
    """
    uniform = torch.rand_like(scores).clamp(1e-6, 1 - 1e-6)
    soft = torch.sigmoid((scores + uniform.log() - (1 - uniform).log()) / temperature)
    hard = (soft >= 0.5).float()
    return hard + soft - soft.detach()


@dataclass
class StraightThrough(Agent):
    """Reads the whole image, then shows its best pixels.

    Settings:
        target: the share of pixels that training aims at.
        temperature: of the relaxation.
        weight: of the target's penalty.
        steps, batch, lr, width: as for every predictor; `selector_steps` come first.
    """

    target: Share = 0.05
    temperature: Rate = 2 / 3
    weight: Annotated[float, Field(ge=0)] = 100.0
    selector_steps: Positive = 600
    steps: Positive = 600
    batch: Positive = 64
    lr: Rate = 1e-2
    width: Positive = 16

    track: ClassVar[Literal["gated", "open"]] = "open"
    observation: ClassVar[Kind] = "image"

    def sensor(self) -> Sensor:
        return Mask()

    def build(self) -> nn.Module:
        return STNet(self.shape[0], self.classes, self.width)

    def fit(self, task: Task, seed: int, progress: Progress[int]) -> None:
        rng, net = np.random.default_rng(seed), self.net
        assert isinstance(net, STNet)

        def jointly(images: Array, labels_B: Tensor, step: int) -> Tensor:
            image_BCHW = pixels(images)
            mask_B1HW = gumbel_mask(net.scorer(image_BCHW), self.temperature)
            target = max(self.target, phase(step, self.selector_steps, rest=0.0))
            size = (mask_B1HW.mean() - target) ** 2
            logits_BK = net.predictor(image_BCHW * mask_B1HW, mask_B1HW)
            return F.cross_entropy(logits_BK, labels_B) + self.weight * size

        def predictor_alone(images: Array, labels_B: Tensor, step: int) -> Tensor:
            image_BCHW = pixels(images)
            with torch.no_grad():
                scores_BP = net.scorer(image_BCHW).flatten(1).numpy()
            sizes = np.floor(rng.choice(self.budgets, len(images)) * scores_BP.shape[1]).astype(int)
            mask_B1HW = torch.from_numpy(k_best(scores_BP, sizes)).reshape(-1, 1, *self.shape[1:])
            return F.cross_entropy(net.predictor(shown(image_BCHW, mask_B1HW), mask_B1HW.float()), labels_B)

        common: dict[str, Any] = {"batch": self.batch, "rng": rng, "progress": progress}
        optimise(net, task, jointly, steps=self.selector_steps, lr=self.lr, **common)
        net.scorer.requires_grad_(False)
        optimise(net.predictor, task, predictor_alone, steps=self.steps, lr=self.lr, **common)

    @torch.no_grad()
    def act(self, observation: Observation, rng: np.random.Generator) -> Array:
        assert isinstance(self.net, STNet)
        scores_BHW = self.net.scorer(tensors(observation)["image"])[:, 0]
        largest = scores_BHW.abs().amax((1, 2), keepdim=True).clamp(min=1e-6)
        action: Array = (scores_BHW / largest).numpy()  # the env wants [−1, 1]; only the order matters
        return action

    @torch.no_grad()
    def predict(self, view: Observation) -> Array:
        assert isinstance(self.net, STNet)
        seen = tensors(view)
        logits: Array = self.net.predictor(seen["canvas"], seen["mask"]).numpy()
        return logits
