"""saccader: a network that reads the whole image and learns, in three stages, which few of its cells to classify.

Elsayed, Kornblith, Le, Saccader: Improving Accuracy and Interpretability of Image Classification with Hard
Attention, NeurIPS 2019, arXiv:1908.07644, and its released code (google-research/saccader).

1. Representation: a BagNet gives each cell features F, "what" features and class logits from its window alone.
2. Attention: two groups of a 1×1 and a 3×3 convolution (dilation 2) on F give "where"; M = W [where; what] + b.
3. Cell, d channels, C the cells visited (0 at first): A = w·M/√d − 10⁵ C; h = Σ softmax(A) M over cells;
   R = Σ M softmax(h) over channels − 10⁵ C; l ~ softmax(R) in training, argmax R at test; C gains l.
4. Prediction: the mean of the logits at the visited cells, gathered hard.
5. Stage 1 trains the BagNet (equation 1). Stage 2, BagNet frozen: cross-entropy of softmax(R) against the
   ordered-logits sequence, T = 12 (equation 2). Stage 3, everything: −(r − b) log π(l) + cross-entropy of the
   prediction, r = 1 if right, b the batch's mean reward, T = 6 (equation 3).

What differs from the release, and why:
* Stage 2 sets C to the targets visited so far (teacher forcing). The release sets it to draws, so that a target
  drawn before costs 10⁵.
* REINFORCE sums over the steps, as equation 3 does; the release takes their mean. A step's reward is that of the
  final prediction, as in the paper.
* With several sequences per image (`samples`) the baseline is the mean of the image's others, not the batch's.
* In a block that changes shape, batch norm follows the projected shortcut; the release puts it on the main path.
* The published network is `bagnet.PUBLISHED`; the defaults suit images of 32 to 60 pixels. Fewer cells than T end a
  sequence early.
* AdamW on a one-cycle schedule per stage. The paper's optimiser and its settings were not published in its code.
* The grid's margin is cut off evenly on both sides; every window lies inside the image.

Ablations: `location_steps=0` leaves out stage 2, `visited=false` the state C, `reinforce=0` the policy's gradient in
stage 3, `reinforce_bagnet=false` its part that reaches the BagNet, `joint_steps=0` stage 3.
Checkpoints, beside the final weights: `representation` after stage 1, `location` after stage 2.

Test time: one sequence, computed anew at each glimpse; it may be longer than in training (`glimpses`). Track: open.
On digits-clutter, seed 0: 82 % right after one window of 9×9, 94 % at 20 % touched, 95 % after six; the bench's
evaluator, from the same windows, 79, 95 and 97 %. Cost: 50 s of one core. On cluttered-mnist-60 (test, seed 0),
windows of 17×17 (suite `saccader-cluttered`), after 1, 2, 4 and 6: 96.1, 96.8, 97.0 and 97.2 %, ordered logits 94.6,
95.0, 95.3 and 95.3. Windows of 9×9 (suite `saccader-beyond`), after 1, 2, 4, 6, 8 and 12: 66.1, 80.9, 89.5, 91.9, 92.4
and 91.3 %, ordered logits 75.3, 77.9, 79.3, 80.1, 80.5 and 81.5; it was trained on six. The evaluator, from the same
windows, goes on to gain: 91.7 after six, 94.8 after twelve.
Command: glimpse run --agent saccader --task digits-clutter
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F

from glimpsebench.agents.common.bagnet import BagNet, BagNetAgent, cells_of, gathered, ordered_logits
from glimpsebench.agents.common.base import Progress
from glimpsebench.agents.common.nets import Positive, Rate, optimise, to_float
from glimpsebench.envs.tasks import Task

Array = NDArray[Any]
VISITED = 1e5
"""What is taken off the logits of a visited cell."""


class Location(nn.Module):
    """Attention network, mixing and the cell's one weight vector: all that decides where to look.

    Args:
        features: D, channels of the BagNet's features.
        lowd: d, channels of its "what" features, of M and of the cell.
    """

    def __init__(self, features: int, lowd: int) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        inputs = features
        for outputs in (features // 2, features // 4):
            layers += [nn.Conv2d(inputs, outputs, 1, bias=False), nn.BatchNorm2d(outputs), nn.ReLU()]
            layers += [nn.Conv2d(outputs, outputs, 3, padding=2, dilation=2, bias=False)]
            layers += [nn.BatchNorm2d(outputs), nn.ReLU()]
            inputs = outputs
        self.attention = nn.Sequential(*layers)
        self.mix = nn.Conv2d(inputs + lowd, lowd, 1)
        self.space = nn.Linear(lowd, 1, bias=False)

    def forward(self, features: Tensor, what: Tensor) -> Tensor:
        """The mixed features M of every cell: (B, P, d)."""
        return cells_of(self.mix(torch.cat([self.attention(features), what], 1)))

    def cell(self, mixed_BPd: Tensor, visited_BTP: Tensor) -> Tensor:
        """The logits R (B, T, P) of the next cell for each of T states C (booleans or 0 and 1)."""
        taken_BTP = VISITED * visited_BTP.float()
        space_B1P = self.space(mixed_BPd).transpose(1, 2) / mixed_BPd.shape[2] ** 0.5
        channels_BTd = (space_B1P - taken_BTP).softmax(2) @ mixed_BPd
        logits_BTP: Tensor = channels_BTd.softmax(2) @ mixed_BPd.transpose(1, 2) - taken_BTP
        return logits_BTP


class SaccaderNet(nn.Module):
    """Representation network and location network."""

    def __init__(self, bagnet: BagNet) -> None:
        super().__init__()
        self.bagnet = bagnet
        self.location = Location(bagnet.features, bagnet.lowd)


def walk(location: Location, mixed_BPd: Tensor, count: int, *, sample: bool, remember: bool) -> tuple[Tensor, Tensor]:
    """The cell, step by step.

    Args:
        location: the location network.
        mixed_BPd: M.
        count: T, how many cells to visit.
        sample: draw from softmax(R), or take its argmax.
        remember: keep the state C, or leave it 0.

    Returns:
        The cells (B, T) and the log-probability (B, T) of each.
    """
    visited_BP = torch.zeros(mixed_BPd.shape[:2])
    cells, log_probs = [], []
    for _ in range(count):
        log_prob_BP = location.cell(mixed_BPd, visited_BP[:, None])[:, 0].log_softmax(1)
        cell_B1 = log_prob_BP.exp().multinomial(1) if sample else log_prob_BP.argmax(1, keepdim=True)
        cells.append(cell_B1)
        log_probs.append(log_prob_BP.gather(1, cell_B1))
        if remember:
            visited_BP = visited_BP.scatter(1, cell_B1, 1.0)
    return torch.cat(cells, 1), torch.cat(log_probs, 1)


def location_loss(location: Location, mixed_BPd: Tensor, targets_BT: Tensor, *, remember: bool) -> Tensor:
    """Stage 2: −log π(target | targets before it), the mean over batch and steps."""
    before_BTP = torch.zeros(*targets_BT.shape, mixed_BPd.shape[1])
    if remember:
        each_BTP = F.one_hot(targets_BT, mixed_BPd.shape[1])
        before_BTP = each_BTP.cumsum(1) - each_BTP
    logits_BTP = location.cell(mixed_BPd, before_BTP)
    return F.cross_entropy(logits_BTP.flatten(0, 1), targets_BT.flatten())


def joint_loss(
    logits_BTK: Tensor, log_probs_BT: Tensor, labels_B: Tensor, reinforce: float, samples: int = 1
) -> Tensor:
    """Stage 3: cross-entropy of the mean of the gathered logits + `reinforce` · REINFORCE on its correctness.

    Rows are sequences, the `samples` of an image beside each other. The baseline is the mean reward of the batch, or
    of the image's other sequences where there are any: an image that is hard wherever one looks then teaches nothing.
    """
    prediction_BK = logits_BTK.mean(1)
    reward_B = (prediction_BK.detach().argmax(1) == labels_B).float()
    baseline_B = reward_B.mean().expand_as(reward_B)
    if samples > 1:
        reward_NS = reward_B.view(-1, samples)
        baseline_B = ((reward_NS.sum(1, keepdim=True) - reward_NS) / (samples - 1)).flatten()
    policy = -(log_probs_BT.sum(1) * (reward_B - baseline_B)).mean()
    return F.cross_entropy(prediction_BK, labels_B) + reinforce * policy


@dataclass
class Saccader(BagNetAgent):
    """Reads the whole image, then visits the cells that it has learned to tell by.

    Settings:
        glimpses: how many cells it visits at most at test time.
        blocks, widths, strides, wide, stem, expansion: of the BagNet.
        loss: of stage 1: `every` cell must tell the class, or the `mean` of their logits.
        representation_steps, batch, lr: of stage 1; `batch` is that of all stages.
        location_steps, location_lr, location_glimpses: of stage 2, T the last; no steps, no stage.
        joint_steps, joint_lr, joint_glimpses: of stage 3, likewise.
        reinforce: the weight of the REINFORCE term in stage 3, against the cross-entropy in the BagNet; the location
            network learns from it alone, and its optimiser divides by the gradient's size.
        reinforce_bagnet: REINFORCE also trains the BagNet, through the features and "what" features that log π is
            computed from, as in equation 3; without, it trains the location network alone.
        samples: S, sequences drawn per image in stage 3.
        visited: the cell remembers where it has been.
    """

    location_steps: Annotated[int, Field(ge=0)] = 300
    location_lr: Rate = 1e-2
    location_glimpses: Positive = 12
    joint_steps: Annotated[int, Field(ge=0)] = 300
    joint_lr: Rate = 2e-3
    joint_glimpses: Positive = 6
    reinforce: Annotated[float, Field(ge=0)] = 1.0
    reinforce_bagnet: bool = True
    samples: Positive = 1
    visited: bool = True

    def build(self) -> nn.Module:
        return SaccaderNet(self.new_bagnet())

    @property
    def bagnet(self) -> BagNet:
        assert isinstance(self.net, SaccaderNet)
        return self.net.bagnet

    @property
    def location(self) -> Location:
        """The location network, part of `net`."""
        assert isinstance(self.net, SaccaderNet)
        return self.net.location

    def fit(self, task: Task, seed: int, progress: Progress[int]) -> None:
        rng = np.random.default_rng(seed)
        self.fit_representation(task, rng, progress)
        self.checkpoint("representation")
        if self.location_steps:
            self.fit_location(task, rng, progress)
            self.checkpoint("location")
        if self.joint_steps:
            self.fit_jointly(task, rng, progress)
        assert self.net is not None
        self.net.eval()  # the location network too, where no stage has trained it

    def fit_location(self, task: Task, rng: np.random.Generator, progress: Progress[int]) -> None:
        """Stage 2: the location network imitates the ordered logits of the frozen BagNet."""

        def loss_of(images: Array, labels_B: Tensor, step: int) -> Tensor:
            with torch.no_grad():
                features, what, logits = self.bagnet(self.inside(to_float(images)))
                targets_BT = ordered_logits(cells_of(logits), self.location_glimpses)
            return location_loss(self.location, self.location(features, what), targets_BT, remember=self.visited)

        common: dict[str, Any] = {"batch": self.batch, "rng": rng, "progress": progress}
        optimise(self.location, task, loss_of, steps=self.location_steps, lr=self.location_lr, **common)

    def fit_jointly(self, task: Task, rng: np.random.Generator, progress: Progress[int]) -> None:
        """Stage 3: REINFORCE for where it looks, cross-entropy for what it says of it."""
        net = self.net
        assert net is not None

        def loss_of(images: Array, labels_B: Tensor, step: int) -> Tensor:
            features, what, logits = self.bagnet(self.inside(to_float(images)))
            if not self.reinforce_bagnet:
                features, what = features.detach(), what.detach()
            mixed_BPd = self.location(features, what).repeat_interleave(self.samples, 0)
            logits_BPK = cells_of(logits).repeat_interleave(self.samples, 0)
            count = min(self.joint_glimpses, logits_BPK.shape[1])
            cells_BT, log_probs_BT = walk(self.location, mixed_BPd, count, sample=True, remember=self.visited)
            labels_B = labels_B.repeat_interleave(self.samples)
            return joint_loss(gathered(logits_BPK, cells_BT), log_probs_BT, labels_B, self.reinforce, self.samples)

        common: dict[str, Any] = {"batch": self.batch, "rng": rng, "progress": progress}
        optimise(net, task, loss_of, steps=self.joint_steps, lr=self.joint_lr, **common)

    def visits(self, image_BCHW: Tensor, count: int) -> Tensor:
        features, what, _ = self.bagnet(image_BCHW)
        return walk(self.location, self.location(features, what), count, sample=False, remember=self.visited)[0]
