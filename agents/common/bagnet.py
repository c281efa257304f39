"""What agents over a grid of local features share: the BagNet, its cells, and an agent that visits cells in turn.

Brendel and Bethge, Approximating CNNs with Bag-of-local-Features Models, ICLR 2019, arXiv:1904.00760, in the form
of Elsayed, Kornblith and Le, Saccader, NeurIPS 2019, arXiv:1908.07644 ("BagNet-lowD"): no convolution is padded,
so a cell sees its receptive field and nothing else. What a network says of a cell is the same whether it reads the
whole image, a canvas that shows that window, or the window alone. Shapes: B batch, T step, C H W image, D features,
Y X rows and columns of cells, P = Y·X cells in raster order, g the receptive field's side, K classes.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F

from glimpsebench.agents.common.base import Agent, Progress, tensors
from glimpsebench.agents.common.nets import Positive, Rate, optimise, to_float
from glimpsebench.envs.errors import UsageError
from glimpsebench.envs.glimpse import Kind, Observation
from glimpsebench.envs.sensors import Window
from glimpsebench.envs.settings import renamed
from glimpsebench.envs.tasks import Task

Array = NDArray[Any]
Counts = tuple[Annotated[int, Field(ge=0)], ...]

PUBLISHED: dict[str, Any] = {
    "blocks": (3, 4, 6, 3),
    "widths": (64, 128, 256, 512),
    "strides": (2, 2, 2, 1),
    "wide": (2, 2, 2, 2),
    "stem": 64,
    "expansion": 4,
}
"""BagNet-77-lowD as published: receptive field 77, one cell every 8 pixels."""


class Bottleneck(nn.Module):
    """1×1, k×k, 1×1 convolutions beside a shortcut that is cropped as far as k eats away; ReLU after the sum."""

    def __init__(self, inputs: int, width: int, kernel: int, stride: int, expansion: int) -> None:
        super().__init__()
        outputs = width * expansion
        last = nn.BatchNorm2d(outputs)
        nn.init.zeros_(last.weight)  # the block begins as its shortcut
        self.crop = (kernel - 1) // 2
        self.layers = nn.Sequential(
            *(nn.Conv2d(inputs, width, 1, bias=False), nn.BatchNorm2d(width), nn.ReLU()),
            *(nn.Conv2d(width, width, kernel, stride, bias=False), nn.BatchNorm2d(width), nn.ReLU()),
            *(nn.Conv2d(width, outputs, 1, bias=False), last),
        )
        self.shortcut = nn.Sequential()
        if stride != 1 or inputs != outputs:
            self.shortcut = nn.Sequential(nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs))

    def forward(self, features: Tensor) -> Tensor:
        crop, (rows, columns) = self.crop, features.shape[2:]
        inner = features[:, :, crop : rows - crop, crop : columns - crop]
        return F.relu(self.layers(features) + self.shortcut(inner))


class BagNet(nn.Module):
    """Local features and, from each alone, class logits.

    Args:
        channels: C.
        classes: K.
        blocks: per group, how many bottlenecks.
        widths: per group, the channels inside a bottleneck.
        strides: per group, of its first bottleneck.
        wide: per group, how many of its first bottlenecks have a 3×3 convolution.
        stem: channels of the first 3×3 convolution.
        expansion: a bottleneck's output channels over its width.

    Attributes:
        field: the side of a cell's receptive field, pixels.
        jump: the distance between neighbouring cells, pixels.
        features: channels of a cell ("where" features); a fourth of them are the "what" features.
    """

    def __init__(
        self,
        channels: int,
        classes: int,
        *,
        blocks: Sequence[int],
        widths: Sequence[int],
        strides: Sequence[int],
        wide: Sequence[int],
        stem: int,
        expansion: int,
    ) -> None:
        super().__init__()
        layers: list[nn.Module] = [nn.Conv2d(channels, stem, 3, bias=False), nn.BatchNorm2d(stem), nn.ReLU()]
        inputs = stem
        for count, width, stride, threes in zip(blocks, widths, strides, wide, strict=True):
            for block in range(count):
                kernel = 3 if block < threes else 1
                layers.append(Bottleneck(inputs, width, kernel, stride if block == 0 else 1, expansion))
                inputs = width * expansion
        self.field, self.jump = geometry(blocks, strides, wide)
        self.features, self.lowd = inputs, inputs // 4
        self.local = nn.Sequential(*layers)
        self.local.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.what = nn.Sequential(nn.Conv2d(inputs, self.lowd, 1, bias=False), nn.BatchNorm2d(self.lowd), nn.ReLU())
        self.logits = nn.Conv2d(self.lowd, classes, 1)

    def forward(self, image_BCHW: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Features (B, D, Y, X), "what" features (B, D/4, Y, X) and logits (B, K, Y, X) of every cell."""
        features: Tensor = self.local(image_BCHW.contiguous(memory_format=torch.channels_last))
        what: Tensor = self.what(features)
        return features, what, self.logits(what)


def geometry(blocks: Sequence[int], strides: Sequence[int], wide: Sequence[int]) -> tuple[int, int]:
    """The receptive field of a BagNet's cells and the distance between them, pixels.

    >>> geometry((3, 4, 6, 3), (2, 2, 2, 1), (2, 2, 2, 2))
    (77, 8)
    """
    field, jump = 3, 1
    for count, stride, threes in zip(blocks, strides, wide, strict=True):
        for block in range(count):
            field += 2 * jump * (block < threes)
            jump *= stride if block == 0 else 1
    return field, jump


def cells_of(maps_BKYX: Tensor) -> Tensor:
    """Maps as one row per cell: (B, P, K)."""
    return maps_BKYX.flatten(2).transpose(1, 2)


def gathered(values_BPK: Tensor, cells_BT: Tensor) -> Tensor:
    """The values at the visited cells, hard: (B, T, K)."""
    return values_BPK.gather(1, cells_BT[..., None].expand(-1, -1, values_BPK.shape[2]))


def best_first(scores_BP: Tensor, count: int) -> Tensor:
    """The cells (B, count) with the highest scores, best first, among equals the first."""
    return scores_BP.sort(dim=1, descending=True, stable=True).indices[:, :count]


def ordered_logits(logits_BPK: Tensor, count: int) -> Tensor:
    """Cells by their logit for the class that the mean logits predict (not the label), best first: (B, count)."""
    predicted_B11 = logits_BPK.mean(1).argmax(1)[:, None, None]
    return best_first(logits_BPK.gather(2, predicted_B11.expand(-1, logits_BPK.shape[1], 1))[..., 0], count)


def representation_loss(logits_BPK: Tensor, labels_B: Tensor, loss: str) -> Tensor:
    """Stage 1: cross-entropy at `every` cell (the paper's equation 1), or of the `mean` logits (the release's)."""
    if loss == "mean":
        return F.cross_entropy(logits_BPK.mean(1), labels_B)
    return F.cross_entropy(logits_BPK.flatten(0, 1), labels_B.repeat_interleave(logits_BPK.shape[1]))


@dataclass
class BagNetAgent(Agent):
    """Reads the whole image, visits cells of a grid, and averages the class logits of the cells visited.

    The selector may read everything; the predictor reads the windows alone. Each window lies inside the image; what
    the last cells leave at the right and the bottom (less than the distance between cells) is cut off evenly on
    both sides.

    Settings:
        glimpses: how many cells it visits at most at test time.
        blocks, widths, strides, wide, stem, expansion: of the BagNet; by default a receptive field of 9 pixels,
            every 4 pixels. `PUBLISHED` holds the paper's.
        loss: of the representation network: `every` cell must tell the class, or the `mean` of their logits.
        representation_steps, batch, lr: of the representation network's training.
    """

    glimpses: Positive = 6
    blocks: Counts = (1, 2)
    widths: Counts = (16, 32)
    strides: Counts = (2, 2)
    wide: Counts = (1, 1)
    stem: Positive = 16
    expansion: Positive = 4
    loss: Literal["every", "mean"] = "every"
    representation_steps: Positive = renamed(600, "steps")
    batch: Positive = 64
    lr: Rate = 1e-2

    track: ClassVar[Literal["gated", "open"]] = "open"
    observation: ClassVar[Kind] = "image"
    accelerated: ClassVar[bool] = True

    @property
    def view(self) -> Kind:
        return "glimpses"

    @property
    def bagnet(self) -> BagNet:
        """The representation network: `net`, or a part of it."""
        assert isinstance(self.net, BagNet)
        return self.net

    def build(self) -> nn.Module:
        return self.new_bagnet()

    @abstractmethod
    def visits(self, image_BCHW: Tensor, count: int) -> Tensor:
        """The cells (B, count) that it visits, in order. The image is what `inside` cuts out."""

    @property
    def geometry(self) -> tuple[int, int]:
        """Receptive field and distance of cells, pixels."""
        if len({len(groups) for groups in (self.blocks, self.widths, self.strides, self.wide)}) > 1:
            raise UsageError("blocks, widths, strides and wide must have one entry per group each")
        return geometry(self.blocks, self.strides, self.wide)

    @property
    def grid(self) -> tuple[int, int]:
        """Cells: rows, columns."""
        field, jump = self.geometry
        rows, columns = ((side - field) // jump + 1 for side in self.shape[1:])
        return max(rows, 1), max(columns, 1)

    @property
    def margins(self) -> tuple[int, int]:
        """Rows and columns of the image above and left of the first cell."""
        field, jump = self.geometry
        top, left = (
            (side - field - jump * (cells - 1)) // 2 for side, cells in zip(self.shape[1:], self.grid, strict=True)
        )
        return top, left

    def sensor(self) -> Window:
        return Window(self.geometry[0])

    def horizon(self) -> int:
        return min(self.glimpses, self.grid[0] * self.grid[1])

    def new_bagnet(self) -> BagNet:
        """An untrained representation network.

        Raises:
            UsageError: the image is smaller than one receptive field.
        """
        if min(self.shape[1:]) < self.geometry[0]:
            raise UsageError(f"a receptive field of {self.geometry[0]} pixels does not fit in {self.shape[1:]}")
        names = ("blocks", "widths", "strides", "wide", "stem", "expansion")
        return BagNet(self.shape[0], self.classes, **{name: getattr(self, name) for name in names})

    def inside(self, image_BCHW: Tensor) -> Tensor:
        """The part of the image that the grid of cells covers."""
        (top, left), (field, jump) = self.margins, self.geometry
        height, width = (jump * (cells - 1) + field for cells in self.grid)
        return image_BCHW[:, :, top : top + height, left : left + width]

    def corners(self, cells: Array) -> Array:
        """The top left pixels (row, column) of the cells' windows: int64 (…, 2)."""
        rows_columns = np.stack(np.divmod(cells, self.grid[1]), -1)
        return rows_columns * self.geometry[1] + np.array(self.margins)

    def fit(self, task: Task, seed: int, progress: Progress[int]) -> None:
        self.fit_representation(task, np.random.default_rng(seed), progress)

    def fit_representation(self, task: Task, rng: np.random.Generator, progress: Progress[int]) -> None:
        """Stage 1: the BagNet learns to tell the class from its cells."""

        def loss_of(images: Array, labels_B: Tensor, step: int) -> Tensor:
            logits_BPK = cells_of(self.bagnet(self.inside(to_float(images)))[2])
            return representation_loss(logits_BPK, labels_B, self.loss)

        common: dict[str, Any] = {"rng": rng, "progress": progress}
        optimise(self.bagnet, task, loss_of, steps=self.representation_steps, batch=self.batch, lr=self.lr, **common)

    @torch.no_grad()
    def act(self, observation: Observation, rng: np.random.Generator) -> Array:
        # The env's `step` is the share of the horizon that is used up; an episode that is over asks for no more.
        last = self.horizon() - 1
        step_B = np.rint(observation["step"][:, 0] * self.horizon()).astype(int).clip(0, last)
        image_BCHW = self.inside(tensors(observation)["image"])
        cells_BT = self.visits(image_BCHW, int(step_B.max()) + 1).numpy()
        cell_B = cells_BT[np.arange(len(step_B)), step_B]
        return self.sensor().fixation(self.corners(cell_B), self.shape)

    @torch.no_grad()
    def predict(self, view: Observation) -> Array:
        # A glimpse is one receptive field: the network's output for it is one cell, and nothing else was read.
        seen = tensors(view)
        glimpses_NCgg = seen["glimpses"].flatten(0, 1)
        logits_BTK = self.bagnet(glimpses_NCgg)[2].reshape(*seen["valid"].shape, -1)
        valid_BT1 = seen["valid"][..., None]
        logits: Array = (torch.where(valid_BT1 > 0, logits_BTK, 0.0).sum(1) / valid_BT1.sum(1).clamp(min=1)).numpy()
        return logits
