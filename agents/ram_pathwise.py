"""ram_pathwise: RAM's network and episode, with gradients through a bilinear window instead of (or beside) REINFORCE.

The network, the episode and the loss are those of Mnih et al. 2014 (arXiv:1406.6247; see `ram`); the window is the
sampler of Spatial Transformer Networks (Jaderberg et al. 2015, arXiv:1506.02025, equations 3 to 7) at a fixed scale,
and the policy's noise is reparametrised (Kingma and Welling 2014, arXiv:1312.6114, section 2.4).

1. m_t = tanh(f(h_t)), l_{t+1} = m_t + std · ε, ε ~ N(0, 1), clipped to the frame, as in ram.
2. ρ_{t+1} = bilinear samples, one pixel apart, of the size×size window at l_{t+1}.
3. `estimator=pathwise`: the gradient of the location network is dL/dl · dl/dm, L the cross-entropy of all steps.
   `reinforce`: l is a constant, and the location network is trained by (R_t − b_t) d log π(l_{t+1} | h_t), as in ram.
   `mixed`: l passes on `mix` of its gradient, and REINFORCE has weight (1 − mix) · `reinforce`.

With `estimator` alone changed, two runs share network, sensor, noise, data, optimiser and predictor: what differs is
the gradient estimator. By default REINFORCE maximises another objective than the pathwise gradient: the share of right
predictions. `reward=likelihood` gives both the cross-entropy. `pathwise_core=true` lets the pathwise gradient flow on
into h_t and so through earlier fixations, whose effect REINFORCE counts anyway: then, with `reinforce=1`, both estimate
one gradient of the location network without bias (benchmarks/gradient_variance.py). `mixed` is no such estimate: a
sample far back passes on `mix` more than once.

What differs from ram beside the estimator:
* The sensor is `Crop` at a fixed scale, whose samples lie between pixels. Four pixels have a part in each sample, so a
  window of 7×7 samples has a footprint of 8×8 pixels, as ram's window of 8×8 whole pixels has: hence the size of 7.
* ram's fixation is rounded to a whole pixel, this one's is not: values change continuously with it, which the pathwise
  gradient needs. Bilinear gradients reach one pixel far. Images are not blurred here; the policy's noise smooths.

Track: gated.
Scores, cost, what was tried and left out: docs/methods/ram_pathwise.md
Command: glimpse run --agent ram_pathwise --task digits-clutter --set agent.estimator=reinforce
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field
from torch import Tensor

from glimpsebench.agents.common.base import tensor
from glimpsebench.agents.common.nets import Positive, to_float
from glimpsebench.agents.common.recurrent import GlimpseReader, RAMNet, RecurrentAgent
from glimpsebench.envs.sensors import Crop
from glimpsebench.envs.settings import renamed

Array = NDArray[Any]


@dataclass
class RAMPathwise(RecurrentAgent):
    """Looks where a recurrent network points, given the glimpses so far; learns it by the gradient of the glimpse.

    Settings:
        size: g, of the window: g×g samples, one pixel apart.
        estimator: what trains the location network: `pathwise`, `reinforce` or `mixed`.
        mix: the share of the pathwise gradient where the estimator is `mixed`.
        pathwise_core: the pathwise gradient of a fixation flows on into h_t; without, it ends at the location network.
        The others: `RecurrentAgent`.
    """

    size: Positive = 7
    estimator: Literal["pathwise", "reinforce", "mixed"] = "pathwise"
    mix: Annotated[float, Field(ge=0, le=1)] = 0.5
    pathwise_core: bool = renamed(False, "shape_core")

    version: ClassVar[int] = 4

    def sensor(self) -> Crop:
        return Crop(self.size, smallest=1e-3)

    @property
    def scale(self) -> float:
        """The crop's scale at which samples lie one pixel apart along the image's longer side."""
        return min(1.0, max(1e-3, self.size / max(self.shape[1:])))

    @property
    def pathwise_weight(self) -> float:
        """The factor on the gradient that a fixation passes on."""
        return {"pathwise": 1.0, "reinforce": 0.0, "mixed": self.mix}[self.estimator]

    @property
    def reinforce_weight(self) -> float:
        return (1 - self.pathwise_weight) * self.reinforce

    @property
    def trains_location(self) -> bool:
        return self.policy == "learned" and self.pathwise_weight + self.reinforce_weight > 0

    def crop_actions(self, fixation_B2: Tensor) -> Tensor:
        """The sensor's actions (B, 3) for fixations in the frame whose windows lie inside the image."""
        crop, count = self.sensor(), len(fixation_B2)
        zoom_B1 = crop.zoom_of(torch.full((count, 1), self.scale)).clamp(-1, 1)
        return torch.cat([(1 - self.scale) * fixation_B2, zoom_B1], 1)

    def to_action(self, fixation_B2: Array) -> Array:
        action: Array = self.crop_actions(tensor(fixation_B2)).numpy()
        return action

    def to_fixation(self, action: Tensor) -> Tensor:
        return action[:, :2] / max(1 - self.scale, 1e-6)

    def glimpse_reader(self, images: Array) -> GlimpseReader:
        crop, image_BCHW = self.sensor(), to_float(images)

        def look(fixation_B2: Tensor) -> tuple[Tensor, Array]:
            action_B3 = self.crop_actions(fixation_B2)
            aim: Array = crop.positions(action_B3.detach(), self.shape).cpu().numpy()
            return crop.crop(image_BCHW, action_B3).flatten(1), aim

        return look

    def canvases(self, images: Array, aims: list[Array], prefix_B: Array) -> tuple[Tensor, Tensor]:
        # What the env would paint: samples between pixels, each on the pixels that it is nearest to.
        crop, index_B = self.sensor(), np.arange(len(images))
        read, index_B11 = crop.reader(images), index_B[:, None, None]
        canvas_BCHW = np.zeros(images.shape, np.float32)
        mask_BHW = np.zeros((len(images), *self.shape[1:]), bool)
        for step, aim in enumerate(aims):
            footprint_BHW = crop.footprint(aim, self.shape) & (prefix_B >= step)[:, None, None]
            row_BU, column_BW = (
                np.abs(np.arange(side)[:, None] - aim[:, axis, None]).argmin(2)
                for axis, side in enumerate(self.shape[1:])
            )
            nearest_BHWC = read(index_B, aim)[index_B11, :, row_BU[:, :, None], column_BW[:, None]]
            np.copyto(canvas_BCHW, nearest_BHWC.transpose(0, 3, 1, 2), where=footprint_BHW[:, None])
            mask_BHW |= footprint_BHW
        return tensor(canvas_BCHW), tensor(mask_BHW)[:, None]

    def sample(self, hidden_BU: Tensor, mean_B2: Tensor, noise_B2: Tensor) -> Tensor:
        assert isinstance(self.net, RAMNet)
        constant_B2 = (mean_B2 + noise_B2).detach()
        if not self.pathwise_weight:
            return constant_B2
        if self.pathwise_core:
            mean_B2 = self.net.location_mean(hidden_BU)
        # A term of value 0, whose gradient is the weighted one of the mean.
        return constant_B2 + self.pathwise_weight * (mean_B2 - mean_B2.detach())
