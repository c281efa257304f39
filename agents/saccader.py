"""saccader: a network that reads the whole image and learns, in three stages, which few of its cells to classify.

Elsayed, Kornblith, Le, Saccader: Improving Accuracy of Hard Attention Models for Vision, NeurIPS 2019,
arXiv:1908.07644, and its released code (google-research/saccader).

1. Representation network: a BagNet gives each cell of a grid features F ∈ R^D, "what" features and class logits, from
   the cell's own window of the image alone.
2. Attention network: two groups of a 1×1 and a dilated 3×3 convolution on F give the "where" features, and a 1×1
   convolution mixes both: M = W [where; what] + b, d channels.
3. Saccader cell. Its state C ∈ {0, 1}^P marks the cells visited so far. With w ∈ R^d learned,
   A = M·w/√d − 10⁵ C (spatial attention logits); h = Σ softmax(A) M over cells (a value per channel);
   R = Σ M softmax(h) over channels − 10⁵ C (location logits).
   The policy is π(l) = softmax(R); it is sampled in training, its argmax taken at test. Then C_l becomes 1.
4. Prediction: the mean of the class logits at the cells visited.
5. Stage 1 trains the BagNet by cross-entropy (equation 1). Stage 2, BagNet frozen, trains the rest by supervision:
   the mean over T = 12 steps of −log π of the ordered-logits sequence, which is the cells sorted by their logit for the
   class that the mean logits predict (equation 2). Stage 3 trains everything, T = 6:
   −(r − b) Σ_t log π(l_t) + cross-entropy of the prediction; r = 1 if it is right, b the batch's mean r (equation 3).

What differs from the release, and why:
* Stage 2 sets C to the targets visited so far (teacher forcing). The release sets it to samples of the
  policy, so that a target that was sampled before it is due is masked, and adds 10⁵ to the loss.
* REINFORCE sums log π over the steps, as equation 3 does; the release takes their mean.
* With several sequences per image (`samples`) the baseline is the mean of the image's others, not the batch's.
* In a block that changes shape, batch norm follows the projected shortcut; the release puts it on the main path.
* The published network is `network=bagnet-77`; the default, `bagnet-9`, suits images of 32 to 60 pixels. A grid of
  fewer cells than T ends a sequence early.
* AdamW on a one-cycle schedule per stage. The released code has no optimiser.
* The grid is centred in the image; every window lies inside.

Ablations: `location_steps=0` leaves out stage 2, `joint_steps=0` stage 3, `mask_visited=false` the state C,
`reinforce=0` the policy gradient in stage 3; `reinforce_bagnet=false` keeps that gradient out of the BagNet.
Checkpoints, beside the final weights: `representation` after stage 1, `location` after stage 2 if there is one.

At test one greedy sequence, recomputed at each glimpse; it may be longer than in training (`glimpses`). Track: open.
Scores and cost: docs/methods/saccader.md.
Command: glimpse run --agent saccader --task digits-clutter
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F

from glimpsebench.agents.common.bagnet import BagNet, BagNetAgent, gather_cells, ordered_logits, per_cell
from glimpsebench.agents.common.base import Progress
from glimpsebench.agents.common.nets import Positive, Rate, optimise, to_float
from glimpsebench.envs.settings import renamed
from glimpsebench.envs.tasks import Task

Array = NDArray[Any]
VISITED_PENALTY = 1e5
"""Subtracted from the logits of a cell that was visited."""


class LocationNetwork(nn.Module):
    """Attention network, mixing convolution and Saccader cell: all that decides where to look.

    Args:
        features: D, channels of the BagNet's features.
        what_features: d, channels of its "what" features, of M and of the cell.
    """

    def __init__(self, features: int, what_features: int) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        inputs = features
        for outputs in (features // 2, features // 4):
            layers += [nn.Conv2d(inputs, outputs, 1, bias=False), nn.BatchNorm2d(outputs), nn.ReLU()]
            layers += [nn.Conv2d(outputs, outputs, 3, padding=2, dilation=2, bias=False)]
            layers += [nn.BatchNorm2d(outputs), nn.ReLU()]
            inputs = outputs
        self.attention = nn.Sequential(*layers)
        self.mix = nn.Conv2d(inputs + what_features, what_features, 1)
        self.spatial_attention = nn.Linear(what_features, 1, bias=False)

    def forward(self, features: Tensor, what: Tensor) -> Tensor:
        """The mixed features M of every cell: (B, P, d)."""
        return per_cell(self.mix(torch.cat([self.attention(features), what], 1)))

    def location_logits(self, mixed_BPd: Tensor, visited_BTP: Tensor) -> Tensor:
        """The Saccader cell: location logits R (B, T, P) given each of T states C (booleans, or 0 and 1)."""
        penalty_BTP = VISITED_PENALTY * visited_BTP.float()
        attention_B1P = self.spatial_attention(mixed_BPd).transpose(1, 2) / mixed_BPd.shape[2] ** 0.5
        channels_BTd = (attention_B1P - penalty_BTP).softmax(2) @ mixed_BPd
        logits_BTP: Tensor = channels_BTd.softmax(2) @ mixed_BPd.transpose(1, 2) - penalty_BTP
        return logits_BTP


class SaccaderNet(nn.Module):
    """Representation network and location network."""

    def __init__(self, bagnet: BagNet) -> None:
        super().__init__()
        self.bagnet = bagnet
        self.location = LocationNetwork(bagnet.features, bagnet.what_features)


def rollout(
    location: LocationNetwork, mixed_BPd: Tensor, count: int, *, sample: bool, mask_visited: bool
) -> tuple[Tensor, Tensor]:
    """A sequence of cells by the policy.

    Args:
        location: the location network.
        mixed_BPd: M.
        count: T, how many cells to visit.
        sample: draw from π, or take its argmax.
        mask_visited: keep the state C, or leave it 0.

    Returns:
        The cells (B, T) and the log π (B, T) of each.
    """
    visited_BP = torch.zeros(mixed_BPd.shape[:2])
    cells, log_probs = [], []
    for _ in range(count):
        log_prob_BP = location.location_logits(mixed_BPd, visited_BP[:, None])[:, 0].log_softmax(1)
        cell_B1 = log_prob_BP.exp().multinomial(1) if sample else log_prob_BP.argmax(1, keepdim=True)
        cells.append(cell_B1)
        log_probs.append(log_prob_BP.gather(1, cell_B1))
        if mask_visited:
            visited_BP = visited_BP.scatter(1, cell_B1, 1.0)
    return torch.cat(cells, 1), torch.cat(log_probs, 1)


def location_loss(location: LocationNetwork, mixed_BPd: Tensor, targets_BT: Tensor, *, mask_visited: bool) -> Tensor:
    """Stage 2: −log π(target | targets before it), the mean over batch and steps."""
    before_BTP = torch.zeros(*targets_BT.shape, mixed_BPd.shape[1])
    if mask_visited:
        each_BTP = F.one_hot(targets_BT, mixed_BPd.shape[1])
        before_BTP = each_BTP.cumsum(1) - each_BTP
    logits_BTP = location.location_logits(mixed_BPd, before_BTP)
    return F.cross_entropy(logits_BTP.flatten(0, 1), targets_BT.flatten())


def joint_loss(
    logits_BTK: Tensor, log_probs_BT: Tensor, labels_B: Tensor, reinforce: float, samples: int = 1
) -> Tensor:
    """Stage 3: cross-entropy of the visited cells' mean logits + `reinforce` · REINFORCE with reward 1 if it is right.

    Rows are sequences, the `samples` of an image beside each other. The baseline is the mean reward of the batch, or
    of the image's other sequences where there are any: an image that is hard wherever one looks then teaches nothing.
    """
    prediction_BK = logits_BTK.mean(1)
    reward_B = (prediction_BK.detach().argmax(1) == labels_B).float()
    baseline_B = reward_B.mean().expand_as(reward_B)
    if samples > 1:
        reward_NS = reward_B.view(-1, samples)
        baseline_B = ((reward_NS.sum(1, keepdim=True) - reward_NS) / (samples - 1)).flatten()
    policy_loss = -(log_probs_BT.sum(1) * (reward_B - baseline_B)).mean()
    return F.cross_entropy(prediction_BK, labels_B) + reinforce * policy_loss


@dataclass
class Saccader(BagNetAgent):
    """Reads the whole image, then visits the cells that a learned policy prefers.

    Settings:
        glimpses: how many cells it visits at most at test time.
        network: the BagNet, by the side of its receptive field: 5 pixels, one cell every 2; 9, every 4; 17, every 4;
            or 77, every 8, as published for images of 224×224.
        representation_loss: of stage 1: cross-entropy of the logits of each cell (`each_cell`) or of their mean
            (`mean_logits`).
        representation_steps, representation_lr: of stage 1.
        batch: images per step, in all stages.
        location_steps, location_lr, location_glimpses: of stage 2, the last is T; without steps there is no stage 2.
        joint_steps, joint_lr, joint_glimpses: of stage 3, likewise.
        reinforce: the weight of the REINFORCE term in stage 3 beside the cross-entropy. Cross-entropy has no gradient
            for the location network, so with 0 its weights stay as they were; the statistics of its batch norm still
            follow the BagNet, whose features change.
        reinforce_bagnet: the REINFORCE term also trains the BagNet, through the features that log π is computed
            from, as in equation 3; without, it trains the location network alone.
        samples: sequences drawn per image in stage 3.
        mask_visited: keep the state C, without which the argmax returns to the same cell.
    """

    representation_steps: Positive = renamed(600, "steps")
    location_steps: Annotated[int, Field(ge=0)] = 300
    location_lr: Rate = 1e-2
    location_glimpses: Positive = 12
    joint_steps: Annotated[int, Field(ge=0)] = 300
    joint_lr: Rate = 2e-3
    joint_glimpses: Positive = 6
    reinforce: Annotated[float, Field(ge=0)] = 1.0
    reinforce_bagnet: bool = True
    samples: Positive = 1
    mask_visited: bool = renamed(True, "visited")

    version: ClassVar[int] = 2

    def build(self) -> nn.Module:
        return SaccaderNet(self.new_bagnet())

    @property
    def bagnet(self) -> BagNet:
        assert isinstance(self.net, SaccaderNet)
        return self.net.bagnet

    @property
    def location(self) -> LocationNetwork:
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
                features, what, logits = self.bagnet(self.crop_to_grid(to_float(images)))
                targets_BT = ordered_logits(per_cell(logits), self.location_glimpses)
            mixed_BPd = self.location(features, what)
            return location_loss(self.location, mixed_BPd, targets_BT, mask_visited=self.mask_visited)

        common: dict[str, Any] = {"batch": self.batch, "rng": rng, "progress": progress}
        optimise(
            self.location, task, loss_of, steps=self.location_steps, lr=self.location_lr, stage="location", **common
        )

    def fit_jointly(self, task: Task, rng: np.random.Generator, progress: Progress[int]) -> None:
        """Stage 3: REINFORCE for the cells, cross-entropy for their logits."""
        net, location = self.net, self.location
        assert net is not None

        def loss_of(images: Array, labels_B: Tensor, step: int) -> Tensor:
            features, what, logits = self.bagnet(self.crop_to_grid(to_float(images)))
            if not (self.reinforce and self.reinforce_bagnet):
                features, what = features.detach(), what.detach()
            mixed_BPd = location(features, what).repeat_interleave(self.samples, 0)
            logits_BPK = per_cell(logits).repeat_interleave(self.samples, 0)
            count = min(self.joint_glimpses, logits_BPK.shape[1])
            cells_BT, log_probs_BT = rollout(location, mixed_BPd, count, sample=True, mask_visited=self.mask_visited)
            labels_B = labels_B.repeat_interleave(self.samples)
            logits_BTK = gather_cells(logits_BPK, cells_BT)
            return joint_loss(logits_BTK, log_probs_BT, labels_B, self.reinforce, self.samples)

        common: dict[str, Any] = {"batch": self.batch, "rng": rng, "progress": progress}
        # Without REINFORCE no gradient reaches the location network, and weight decay alone must not move it either.
        location.requires_grad_(self.reinforce > 0)
        optimise(net, task, loss_of, steps=self.joint_steps, lr=self.joint_lr, stage="joint", **common)
        location.requires_grad_(True)

    def scanpath(self, image_BCHW: Tensor, count: int) -> Tensor:
        features, what, _ = self.bagnet(image_BCHW)
        mixed_BPd = self.location(features, what)
        return rollout(self.location, mixed_BPd, count, sample=False, mask_visited=self.mask_visited)[0]
