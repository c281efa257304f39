"""gdfs: greedy dynamic feature selection. Cell by cell, each choice made from what the earlier ones revealed.

Covert, Qiu, Lu, Kim, White, Lee, Learning to Maximize Mutual Information for Dynamic Feature Selection, ICML 2023,
arXiv:2301.00557; settings from its released code.

1. A policy and a predictor read the revealed pixels and where they are, nothing else.
2. The predictor first learns on random sets of cells, of a size drawn uniformly (`pretrain_steps`).
3. Then both: given what was revealed, m, the next cell is relaxed, c = softmax((π(x_m)/0.2 + g)/τ), g Gumbel noise,
   and the predictor sees x · max(m, c), max(m, c); the cross-entropy of that one step trains both, so that each
   choice is greedy: no gradient and no reward passes between steps (their section 4).
4. The next m adds the best cell of noisy scores, revealed cells excluded; τ falls geometrically from 1 to 0.1.
5. At test the best-scored hidden cell is revealed, `glimpses` times.

What differs from the source, and why:
* Each image of a batch contributes the loss of one step, drawn uniformly, instead of all: the same expectation at a
  fraction of the cost. With `cells_per_loss` an image stays for several steps of the optimiser and that many cells
  are revealed between two of them. With `cells_per_loss=1` the choice that a loss was computed for is the next cell
  revealed, but the images of a batch are at different steps. Images that stay hurt a predictor with batch norm, so
  that this is for `mlp`.
* τ falls at every step of training, not in five rounds with early stopping.
* Revealed cells are excluded from the relaxed choice as well.
* `kind=cells`: the shared predictor, and a policy of three convolutions over cells, with a learned value per place
  and the maximum over all cells as context, which placed objects need. Its features are normalised within each image:
  without that π/0.2 grows to span 170 nats, beside which the Gumbel noise explores nothing, and what it has fixed
  on by then stays; one seed of five on cluttered-mnist-60 ended with one order of cells for all images. `kind=mlp` is
  the paper's pair for MNIST: two hidden layers of 512, dropout 0.3.

Track: gated. On digits-clutter (suite `selectors`, test, mean of seeds 0 to 5) at 5, 10, 20 and 30 % touched: evaluator
30, 57, 88, 95 %, own 33, 60, 85, 91 %. Cost: 40 s of one core. MNIST, pixel by pixel (suite `gdfs-mnist`, test, seed
0), own after 10, 20 and 50 pixels: 87.8, 95.3 and 97.5 %, from 397 million losses in 7 minutes of a GPU; published:
87.1, 94.4 and 97.4 % from some 500 million. From 7.2 million, in 77 minutes of a core beside other jobs: 84.2, 93.2
and 97.1 %.
Command: glimpse run --agent gdfs --task digits-clutter
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

from glimpsebench.agents.common.base import Agent, Progress, tensor, tensors
from glimpsebench.agents.common.nets import CanvasNet, Positive, Rate, optimise, predict_canvas, to_float
from glimpsebench.envs.glimpse import Kind, Observation
from glimpsebench.envs.sensors import Mask, Shape
from glimpsebench.envs.settings import renamed
from glimpsebench.envs.tasks import Task

Array = NDArray[Any]

SHARPNESS = 0.2
START, END = 1.0, 0.1


class CellPolicy(nn.Module):
    """Canvas and mask → a score per cell (B, P). Normalised per image: it also runs on a handful of images."""

    def __init__(self, channels: int, cell: int, grid: tuple[int, int], width: int) -> None:
        super().__init__()

        def active() -> list[nn.Module]:
            return [nn.GroupNorm(1, width), nn.ReLU()]

        self.cells = nn.Conv2d(channels + 1, width, cell, cell)
        self.place = nn.Parameter(torch.zeros(width, *grid))
        self.near = nn.Sequential(*active(), nn.Conv2d(width, width, 3, 1, 1), *active())
        self.context = nn.Linear(width, width)
        self.score = nn.Sequential(nn.Conv2d(width, width, 3, 1, 1), *active(), nn.Conv2d(width, 1, 1))
        self.cell = cell

    def forward(self, canvas_BCHW: Tensor, mask_B1HW: Tensor) -> Tensor:
        seen = torch.cat([canvas_BCHW, mask_B1HW], 1)
        over = [-side % self.cell for side in seen.shape[2:]]
        x = self.near(self.cells(F.pad(seen, (0, over[1], 0, over[0]))) + self.place)
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


def relaxed_choice(scores_BP: Tensor, seen_BP: Tensor, temperature: float) -> Tensor:
    """A Concrete draw of the next cell among the hidden ones (B, P)."""
    logits_BP = hidden_only(scores_BP / SHARPNESS, seen_BP) + gumbel(scores_BP)
    return (logits_BP / temperature).softmax(1)


def gumbel(like: Tensor) -> Tensor:
    """Standard Gumbel noise of this shape."""
    return -torch.empty_like(like).exponential_().clamp(min=1e-20).log()


def hidden_only(scores_BP: Tensor, seen_BP: Tensor) -> Tensor:
    """Scores that never choose what has been revealed."""
    return scores_BP - 1e6 * seen_BP


@dataclass
class GDFS(Agent):
    """Reveals cell after cell, each chosen from what the earlier ones showed.

    Settings:
        cell: the side of a cell, pixels.
        glimpses: how many cells it may reveal.
        kind: `cells`, for objects anywhere, or `mlp`, the paper's.
        pretrain_steps: of the predictor on random cells.
        steps, batch, lr: of both together; `batch` images at once.
        cells_per_loss: cells revealed between two losses of an image, 1 as in the source; None gives it one loss.
        width: of both networks under `cells`.
        dropout: in both networks under `mlp`.
    """

    cell: Positive = 4
    glimpses: Positive = 20
    kind: Literal["cells", "mlp"] = "cells"
    pretrain_steps: Positive = 600
    steps: Positive = 500
    batch: Positive = 64
    lr: Rate = 4e-3
    cells_per_loss: Positive | None = renamed(None, "apart")
    width: Positive = 16
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.3

    track: ClassVar[Literal["gated", "open"]] = "gated"
    observation: ClassVar[Kind] = "canvas"
    accelerated: ClassVar[bool] = True

    def sensor(self) -> Mask:
        return Mask(cell=self.cell, at_once=1)

    def horizon(self) -> int:
        return self.glimpses

    def build(self) -> nn.Module:
        grid, channels = self.sensor().grid(self.shape), self.shape[0]
        if self.kind == "mlp":
            return GDFSNet(*(MLP(self.shape, n, dropout=self.dropout) for n in (grid[0] * grid[1], self.classes)))
        return GDFSNet(
            CellPolicy(channels, self.cell, grid, 2 * self.width), CanvasNet(channels, self.classes, self.width)
        )

    @property
    def nets(self) -> GDFSNet:
        """The networks, made."""
        assert isinstance(self.net, GDFSNet)
        return self.net

    def spread(self, cells_BP: Tensor) -> Tensor:
        """A value per cell as a value per pixel (B, 1, H, W)."""
        rows, columns = self.sensor().grid(self.shape)
        mask = cells_BP.reshape(-1, 1, rows, columns).repeat_interleave(self.cell, 2).repeat_interleave(self.cell, 3)
        return mask[:, :, : self.shape[1], : self.shape[2]]

    def gathered(self, mask_B1HW: Tensor) -> Tensor:
        """The inverse of `spread`."""
        return mask_B1HW[:, 0, :: self.cell, :: self.cell].flatten(1)

    def under(self, net: nn.Module, image_BCHW: Tensor, cells_BP: Tensor) -> Tensor:
        """What a network makes of the image under a mask of cells."""
        mask_B1HW = self.spread(cells_BP)
        outputs: Tensor = net(image_BCHW * mask_B1HW, mask_B1HW)
        return outputs

    @torch.no_grad()
    def explored(self, image_BCHW: Tensor, seen_BP: Tensor, more_B: Tensor) -> Tensor:
        """What has been revealed of each image after `more_B` more choices of the policy (B, P)."""
        seen_BP = seen_BP.clone()
        for step in range(int(more_B.max())):
            going = (more_B > step).nonzero()[:, 0]
            scores = self.under(self.nets.policy, image_BCHW[going], seen_BP[going]) / SHARPNESS
            best = (hidden_only(scores, seen_BP[going]) + gumbel(scores)).argmax(1)
            seen_BP[going, best] = 1
        return seen_BP

    def fit(self, task: Task, seed: int, progress: Progress[int]) -> None:
        rng, net = np.random.default_rng(seed), self.nets
        rows, columns = self.sensor().grid(self.shape)
        horizon = min(self.glimpses, rows * columns)

        def on_random_cells(images: Array, labels_B: Tensor, step: int) -> Tensor:
            noise_BP = torch.rand(len(images), rows * columns)
            seen_BP = (noise_BP > torch.rand(len(images), 1)).float()
            return F.cross_entropy(self.under(net.predictor, to_float(images), seen_BP), labels_B)

        cells_per_loss = min(self.cells_per_loss or horizon, horizon)
        stay = -(-horizon // cells_per_loss)
        line = (torch.empty(0, *self.shape), torch.empty(0, dtype=torch.long), torch.empty(0, rows * columns))

        def greedily(images: Array, labels_B: Tensor, step: int) -> Tensor:
            nonlocal line
            fresh = (to_float(images), labels_B, torch.zeros(len(images), rows * columns))
            more_B = tensor(rng.integers(0, cells_per_loss, len(images)))
            more_B = torch.cat([more_B, torch.full((len(line[0]),), cells_per_loss - 1)])[: stay * len(images)]
            image_BCHW, labels_B, seen_BP = (torch.cat(pair)[: len(more_B)] for pair in zip(fresh, line, strict=True))
            seen_BP = self.explored(image_BCHW, seen_BP, more_B)
            temperature = START * (END / START) ** (step / self.steps)
            choice_BP = relaxed_choice(self.under(net.policy, image_BCHW, seen_BP), seen_BP, temperature)
            # An image that stays goes on from this very choice, made hard.
            line = (image_BCHW, labels_B, seen_BP + F.one_hot(choice_BP.argmax(1), rows * columns))
            return F.cross_entropy(self.under(net.predictor, image_BCHW, torch.maximum(seen_BP, choice_BP)), labels_B)

        common: dict[str, Any] = {"lr": self.lr, "rng": rng, "progress": progress}
        optimise(net.predictor, task, on_random_cells, steps=self.pretrain_steps, batch=self.batch, **common)
        # At a low temperature most of a softmax is too small for a normal float, and a processor that does not take
        # that for 0 needs several times as long for a step.
        torch.set_flush_denormal(True)
        try:
            optimise(net, task, greedily, steps=self.steps, batch=max(1, self.batch // stay), **common)
        finally:
            torch.set_flush_denormal(False)

    @torch.no_grad()
    def act(self, observation: Observation, rng: np.random.Generator) -> Array:
        seen = tensors(observation)
        seen_BP = self.gathered(seen["mask"])
        scores_BP = hidden_only(self.nets.policy(seen["canvas"], seen["mask"]), seen_BP)
        best_BP = F.one_hot(scores_BP.argmax(1), scores_BP.shape[1]).float()
        action: Array = best_BP.reshape(-1, *self.sensor().grid(self.shape)).numpy()
        return action

    def predict(self, view: Observation) -> Array:
        return predict_canvas(self.nets.predictor, view)
