"""gdfs: greedy dynamic feature selection. Cell by cell, each choice made from what the earlier ones revealed.

Covert, Qiu, Lu, Kim, White, Lee, Learning to Maximize Mutual Information for Dynamic Feature Selection, ICML 2023,
arXiv:2301.00557, and its released code (`greedy.py`), from which are the factor 0.2, the temperatures and `mlp`.

1. A policy and a predictor read the revealed pixels x_m and the mask m. The policy gives a score per cell, π(x_m).
2. The predictor first learns on random sets of cells, of a size drawn uniformly (`pretrain_steps`).
3. Then both: given the revealed cells m, the choice of the next is relaxed, c = softmax((π(x_m)/0.2 + g)/τ), g Gumbel
   noise, and the predictor sees x · max(m, c) and max(m, c), c spread over the pixels of its cells; the cross-entropy
   after that one glimpse trains both. Each choice is greedy: no gradient passes between glimpses (their section 4).
4. What is revealed next is drawn anew: the best hidden cell of π(x_m)/0.2 + g′, g′ Gumbel noise independent of g. τ
   falls geometrically from 1 to 0.1.
5. At test the best-scored hidden cell is revealed, `glimpses` times.

What differs from the source, and why:
* There a batch of images takes all its glimpses, with a loss after each, before one update. Here each image of a batch
  contributes the loss after one glimpse, drawn uniformly: the same expectation at a fraction of the cost. With
  `cells_per_loss` an image stays in a queue: after a loss that many cells are revealed, and it has its next loss in the
  next update. With `cells_per_loss=1` every glimpse has a loss, as in the source, but the images of a batch are at
  different glimpses and come back in the next batch, which the statistics of a batch norm do not bear: for `mlp` alone.
* AdamW on a one-cycle schedule; τ falls with every update, not in five rounds with early stopping.
* Revealed cells are excluded from the relaxed choice as well; the source excludes them in item 4 alone.
* `networks=cells`: the canvas network of the other agents, and a policy of three convolutions over cells, with a
  learned embedding of each position and the maximum over all cells as context, which objects at random places need. Its
  features are normalised within each image: otherwise π/0.2 outgrows the Gumbel noise, and the order of cells becomes
  the same for all images. `mlp` is the paper's pair for MNIST: two hidden layers of 512, dropout 0.3.

Track: gated. Scores and cost: docs/methods/gdfs.md.
Command: glimpse run --agent gdfs --task digits-clutter
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated, Any, ClassVar, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F

from glimpsebench.agents.common.base import Agent, Progress, tensor, tensors
from glimpsebench.agents.common.nets import CanvasNet, Positive, Rate, optimise, predict_canvas, to_float
from glimpsebench.envs.glimpse import Kind, Observation
from glimpsebench.envs.sensors import Mask, Shape
from glimpsebench.envs.settings import renamed
from glimpsebench.envs.tasks import Task

Array = NDArray[Any]

SCORE_TEMPERATURE = 0.2
"""The logits of a choice are the policy's scores divided by this, as in the source (`gamma`)."""
START_TEMPERATURE, END_TEMPERATURE = 1.0, 0.1


class CellPolicy(nn.Module):
    """Canvas and mask → a score per cell (B, P), P the number of cells. Its features are normalised per image."""

    def __init__(self, channels: int, cell: int, grid: tuple[int, int], width: int) -> None:
        super().__init__()

        def norm_relu() -> list[nn.Module]:
            return [nn.GroupNorm(1, width), nn.ReLU()]

        self.cells = nn.Conv2d(channels + 1, width, cell, cell)
        self.position = nn.Parameter(torch.zeros(width, *grid))
        self.neighbours = nn.Sequential(*norm_relu(), nn.Conv2d(width, width, 3, 1, 1), *norm_relu())
        self.context = nn.Linear(width, width)
        self.score = nn.Sequential(nn.Conv2d(width, width, 3, 1, 1), *norm_relu(), nn.Conv2d(width, 1, 1))
        self.cell = cell

    def forward(self, canvas_BCHW: Tensor, mask_B1HW: Tensor) -> Tensor:
        seen = torch.cat([canvas_BCHW, mask_B1HW], 1)
        over = [-side % self.cell for side in seen.shape[2:]]
        x = self.neighbours(self.cells(F.pad(seen, (0, over[1], 0, over[0]))) + self.position)
        x = x + self.context(x.amax((2, 3)))[:, :, None, None]
        scores: Tensor = self.score(x)
        return scores.flatten(1)


class MLP(nn.Module):
    """Canvas and mask, flattened, through the paper's two hidden layers → (B, outputs)."""

    def __init__(self, shape: Shape, outputs: int, hidden: int = 512, *, dropout: float) -> None:
        super().__init__()
        channels, height, width = shape
        self.layers = nn.Sequential(
            nn.Linear((channels + 1) * height * width, hidden),
            nn.ReLU(),
            nn.Dropout(dropout),
            nn.Linear(hidden, hidden),
            nn.ReLU(),
            nn.Dropout(dropout),
            nn.Linear(hidden, outputs),
        )

    def forward(self, canvas_BCHW: Tensor, mask_B1HW: Tensor) -> Tensor:
        outputs: Tensor = self.layers(torch.cat([canvas_BCHW, mask_B1HW], 1).flatten(1))
        return outputs


class GDFSNet(nn.Module):
    """Policy and predictor, both (canvas, mask) → scores."""

    def __init__(self, policy: nn.Module, predictor: nn.Module) -> None:
        super().__init__()
        self.policy, self.predictor = policy, predictor


def relaxed_choice(scores_BP: Tensor, revealed_BP: Tensor, temperature: float) -> Tensor:
    """A Concrete draw of the next cell among the hidden ones (B, P)."""
    logits_BP = hidden_only(scores_BP / SCORE_TEMPERATURE, revealed_BP) + gumbel(scores_BP)
    return (logits_BP / temperature).softmax(1)


def next_cell(scores_BP: Tensor, revealed_BP: Tensor) -> Tensor:
    """Item 4: the index of a hidden cell (B,), drawn with noise of its own."""
    return (hidden_only(scores_BP / SCORE_TEMPERATURE, revealed_BP) + gumbel(scores_BP)).argmax(1)


def gumbel(like: Tensor) -> Tensor:
    """Standard Gumbel noise of this shape."""
    return -torch.empty_like(like).exponential_().clamp(min=1e-20).log()


def hidden_only(scores_BP: Tensor, revealed_BP: Tensor) -> Tensor:
    """The scores, those of revealed cells lowered so far that they are never the largest."""
    return scores_BP - 1e6 * revealed_BP


@dataclass
class GDFS(Agent):
    """Reveals cell after cell, each chosen from what the earlier ones showed.

    Settings:
        cell: the side of a cell, pixels.
        glimpses: how many cells it may reveal.
        networks: `cells`, convolutional, for objects anywhere, or `mlp`, the paper's.
        pretrain_steps: of the predictor on random cells.
        joint_steps: of policy and predictor together.
        batch, lr: of both stages; `batch` images at once.
        cells_per_loss: cells revealed between two losses of an image, 1 as in the source; None gives it one loss.
        width: of both networks under `cells`.
        dropout: in both networks under `mlp`.
    """

    cell: Positive = 4
    glimpses: Positive = 20
    networks: Literal["cells", "mlp"] = renamed("cells", "kind")
    pretrain_steps: Positive = 600
    joint_steps: Positive = renamed(500, "steps")
    batch: Positive = 64
    lr: Rate = 4e-3
    cells_per_loss: Positive | None = renamed(None, "apart")
    width: Positive = 16
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.3

    track: ClassVar[Literal["gated", "open"]] = "gated"
    version: ClassVar[int] = 2
    observation: ClassVar[Kind] = "canvas"
    accelerated: ClassVar[bool] = True

    queue: tuple[Tensor, ...] = field(default=(), init=False, repr=False, compare=False)
    """Images that have more losses to come: (images, labels, revealed cells), the newest first."""

    def sensor(self) -> Mask:
        return Mask(cell=self.cell, at_once=1)

    def horizon(self) -> int:
        rows, columns = self.sensor().grid(self.shape)
        return min(self.glimpses, rows * columns)

    def build(self) -> nn.Module:
        grid, channels = self.sensor().grid(self.shape), self.shape[0]
        if self.networks == "mlp":
            return GDFSNet(*(MLP(self.shape, n, dropout=self.dropout) for n in (grid[0] * grid[1], self.classes)))
        return GDFSNet(
            CellPolicy(channels, self.cell, grid, 2 * self.width), CanvasNet(channels, self.classes, self.width)
        )

    @property
    def nets(self) -> GDFSNet:
        """The networks, made."""
        assert isinstance(self.net, GDFSNet)
        return self.net

    def cells_to_pixels(self, cells_BP: Tensor) -> Tensor:
        """A value per cell (B, P) → the same value at each of its pixels (B, 1, H, W)."""
        rows, columns = self.sensor().grid(self.shape)
        mask = cells_BP.reshape(-1, 1, rows, columns).repeat_interleave(self.cell, 2).repeat_interleave(self.cell, 3)
        return mask[:, :, : self.shape[1], : self.shape[2]]

    def pixels_to_cells(self, mask_B1HW: Tensor) -> Tensor:
        """The inverse of `cells_to_pixels`."""
        return mask_B1HW[:, 0, :: self.cell, :: self.cell].flatten(1)

    def masked_outputs(self, net: nn.Module, image_BCHW: Tensor, cells_BP: Tensor) -> Tensor:
        """The outputs of the policy or the predictor (B, …) for images of which only these cells are shown."""
        mask_B1HW = self.cells_to_pixels(cells_BP)
        outputs: Tensor = net(image_BCHW * mask_B1HW, mask_B1HW)
        return outputs

    @torch.no_grad()
    def reveal_more(self, image_BCHW: Tensor, revealed_BP: Tensor, more_B: Tensor) -> Tensor:
        """The cells revealed after `more_B` more choices of each image, drawn by item 4: (B, P), 1 if revealed."""
        revealed_BP = revealed_BP.clone()
        for step in range(int(more_B.max())):
            going = (more_B > step).nonzero()[:, 0]
            scores = self.masked_outputs(self.nets.policy, image_BCHW[going], revealed_BP[going])
            revealed_BP[going, next_cell(scores, revealed_BP[going])] = 1
        return revealed_BP

    def fit(self, task: Task, seed: int, progress: Progress[int]) -> None:
        rng, net = np.random.default_rng(seed), self.nets
        rows, columns = self.sensor().grid(self.shape)
        horizon = self.horizon()

        def pretrain_loss(images: Array, labels_B: Tensor, step: int) -> Tensor:
            noise_BP = torch.rand(len(images), rows * columns)
            revealed_BP = (noise_BP > torch.rand(len(images), 1)).float()
            return F.cross_entropy(self.masked_outputs(net.predictor, to_float(images), revealed_BP), labels_B)

        cells_per_loss = min(self.cells_per_loss or horizon, horizon)
        losses_per_image = -(-horizon // cells_per_loss)
        self.queue = (torch.empty(0, *self.shape), torch.empty(0, dtype=torch.long), torch.empty(0, rows * columns))

        def greedy_loss(images: Array, labels_B: Tensor, step: int) -> Tensor:
            fresh = (to_float(images), labels_B, torch.zeros(len(images), rows * columns))
            more_B = tensor(rng.integers(0, cells_per_loss, len(images)))
            more_B = torch.cat([more_B, torch.full((len(self.queue[0]),), cells_per_loss - 1)])
            more_B = more_B[: losses_per_image * len(images)]  # images that have had all their losses leave the queue
            both = zip(fresh, self.queue, strict=True)
            image_BCHW, labels_B, revealed_BP = (torch.cat(pair)[: len(more_B)] for pair in both)
            left_B = horizon - 1 - revealed_BP.sum(1).long()  # before the last choice, which the loss relaxes
            more_B = torch.minimum(more_B, left_B.clamp(min=0))
            revealed_BP = self.reveal_more(image_BCHW, revealed_BP, more_B)
            temperature = START_TEMPERATURE * (END_TEMPERATURE / START_TEMPERATURE) ** (step / self.joint_steps)
            scores_BP = self.masked_outputs(net.policy, image_BCHW, revealed_BP)
            choice_BP = relaxed_choice(scores_BP, revealed_BP, temperature)
            # The next cell is drawn from the same scores, independently of the relaxed choice.
            drawn_BP = F.one_hot(next_cell(scores_BP.detach(), revealed_BP), rows * columns)
            self.queue = (image_BCHW, labels_B, revealed_BP + drawn_BP)
            shown_BP = torch.maximum(revealed_BP, choice_BP)
            return F.cross_entropy(self.masked_outputs(net.predictor, image_BCHW, shown_BP), labels_B)

        common: dict[str, Any] = {"lr": self.lr, "rng": rng, "progress": progress}
        steps, batch = self.pretrain_steps, self.batch
        optimise(net.predictor, task, pretrain_loss, steps=steps, batch=batch, stage="pretraining", **common)
        # At a low temperature most values of a softmax are denormal, which is slow unless they are flushed to 0.
        torch.set_flush_denormal(True)
        try:
            steps, batch = self.joint_steps, max(1, self.batch // losses_per_image)
            optimise(net, task, greedy_loss, steps=steps, batch=batch, stage="joint", **common)
        finally:
            torch.set_flush_denormal(False)

    @torch.no_grad()
    def act(self, observation: Observation, rng: np.random.Generator) -> Array:
        seen = tensors(observation)
        revealed_BP = self.pixels_to_cells(seen["mask"])
        scores_BP = hidden_only(self.nets.policy(seen["canvas"], seen["mask"]), revealed_BP)
        best_BP = F.one_hot(scores_BP.argmax(1), scores_BP.shape[1]).float()
        action: Array = best_BP.reshape(-1, *self.sensor().grid(self.shape)).numpy()
        return action

    def predict(self, view: Observation) -> Array:
        return predict_canvas(self.nets.predictor, view)
