"""What agents over a grid of local features share: the BagNet, its cells, and an agent that visits cells in turn.

Brendel and Bethge, Approximating CNNs with Bag-of-local-Features Models, ICLR 2019, arXiv:1904.00760, in the form
of Elsayed, Kornblith and Le, Saccader, NeurIPS 2019, arXiv:1908.07644 ("BagNet-77-lowD"): no convolution is padded,
so the network's output at one position of its last map, a cell, depends on its receptive field and nothing else. It
is the same whether the network reads the whole image, a canvas that shows that window, or the window alone.

Shapes: B batch, T step, C H W image, D channels of the features, Y X rows and columns of cells, P = Y·X cells in
raster order, g the receptive field's side, K classes.
"""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from glimpsebench.agents.common.base import CURVE_BUDGET, Agent, Progress, tensors
from glimpsebench.agents.common.nets import Positive, Rate, optimise, to_float
from glimpsebench.envs.errors import UsageError
from glimpsebench.envs.glimpse import Kind, Observation
from glimpsebench.envs.sensors import Window
from glimpsebench.envs.settings import renamed
from glimpsebench.envs.tasks import Split, Task

Array = NDArray[Any]


class Group(NamedTuple):
    """A group of bottleneck blocks.

    Attributes:
        blocks: how many.
        blocks_3x3: how many of them, the first ones, have a 3×3 convolution in the middle; the others' is 1×1.
        width: channels of the middle convolution.
        stride: of the first block.
    """

    blocks: int
    blocks_3x3: int
    width: int
    stride: int


class Architecture(NamedTuple):
    """A BagNet: a 3×3 convolution of `stem` channels, then groups of blocks whose outputs are `expansion` × width."""

    groups: tuple[Group, ...]
    stem: int = 16
    expansion: int = 4

    @property
    def geometry(self) -> tuple[int, int]:
        """The side of a cell's receptive field and the distance between neighbouring cells, pixels.

        >>> NETWORKS["bagnet-77"].geometry
        (77, 8)
        """
        receptive_field, stride = 3, 1
        for group in self.groups:
            for block in range(group.blocks):
                receptive_field += 2 * stride * (block < group.blocks_3x3)
                stride *= group.stride if block == 0 else 1
        return receptive_field, stride


Network = Literal["bagnet-5", "bagnet-9", "bagnet-17", "bagnet-77"]
NETWORKS: dict[Network, Architecture] = {
    "bagnet-5": Architecture((Group(1, 1, 32, 2),)),
    "bagnet-9": Architecture((Group(1, 1, 16, 2), Group(2, 1, 32, 2))),
    "bagnet-17": Architecture((Group(1, 1, 16, 2), Group(2, 1, 32, 2), Group(1, 1, 32, 1))),
    "bagnet-77": Architecture(
        (Group(3, 2, 64, 2), Group(4, 2, 128, 2), Group(6, 2, 256, 2), Group(3, 2, 512, 1)), stem=64
    ),
}
"""By the side of the receptive field. The last is BagNet-77-lowD as published, for images of 224×224."""


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
        architecture: its layers.

    Attributes:
        features: D, channels of the features.
        what_features: D/4, channels of the "what" features ("lowD"), from which the logits are computed.
    """

    def __init__(self, channels: int, classes: int, architecture: Architecture) -> None:
        super().__init__()
        stem, expansion = architecture.stem, architecture.expansion
        layers: list[nn.Module] = [nn.Conv2d(channels, stem, 3, bias=False), nn.BatchNorm2d(stem), nn.ReLU()]
        inputs = stem
        for group in architecture.groups:
            for block in range(group.blocks):
                kernel, stride = 3 if block < group.blocks_3x3 else 1, group.stride if block == 0 else 1
                layers.append(Bottleneck(inputs, group.width, kernel, stride, expansion))
                inputs = group.width * expansion
        self.features, self.what_features = inputs, inputs // 4
        self.local = nn.Sequential(*layers)
        self.local.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.what = nn.Sequential(
            nn.Conv2d(inputs, self.what_features, 1, bias=False), nn.BatchNorm2d(self.what_features), nn.ReLU()
        )
        self.logits = nn.Conv2d(self.what_features, classes, 1)

    def forward(self, image_BCHW: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Features (B, D, Y, X), "what" features (B, D/4, Y, X) and logits (B, K, Y, X) of every cell."""
        features: Tensor = self.local(image_BCHW.contiguous(memory_format=torch.channels_last))
        what: Tensor = self.what(features)
        return features, what, self.logits(what)


def per_cell(maps_BKYX: Tensor) -> Tensor:
    """Maps as one row per cell: (B, P, K)."""
    return maps_BKYX.flatten(2).transpose(1, 2)


def gather_cells(values_BPK: Tensor, cells_BT: Tensor) -> Tensor:
    """The values at the cells of a scanpath: (B, T, K)."""
    return values_BPK.gather(1, cells_BT[..., None].expand(-1, -1, values_BPK.shape[2]))


def top_cells(scores_BP: Tensor, count: int) -> Tensor:
    """The `count` cells with the highest scores, best first, the earlier one of equals: (B, count)."""
    return scores_BP.sort(dim=1, descending=True, stable=True).indices[:, :count]


def ordered_logits(logits_BPK: Tensor, count: int) -> Tensor:
    """Cells by their logit for the class that the mean logits predict (not the label), best first: (B, count)."""
    predicted_B11 = logits_BPK.mean(1).argmax(1)[:, None, None]
    return top_cells(logits_BPK.gather(2, predicted_B11.expand(-1, logits_BPK.shape[1], 1))[..., 0], count)


RepresentationLoss = Literal["each_cell", "mean_logits"]


def representation_loss(logits_BPK: Tensor, labels_B: Tensor, loss: RepresentationLoss) -> Tensor:
    """Cross-entropy of each cell's logits, averaged (Saccader's equation 1), or of the mean logits (its release)."""
    if loss == "mean_logits":
        return F.cross_entropy(logits_BPK.mean(1), labels_B)
    return F.cross_entropy(logits_BPK.flatten(0, 1), labels_B.repeat_interleave(logits_BPK.shape[1]))


@dataclass
class BagNetAgent(Agent):
    """Reads the whole image, visits cells of a grid, and averages the class logits of the cells visited.

    The selector may read everything; the predictor reads the windows alone. Each window lies inside the image: the
    grid is centred, and up to a cell's stride of pixels at the image's border belongs to no cell.

    Settings:
        glimpses: how many cells it visits at most at test time.
        network: the BagNet, by the side of its receptive field: 5 pixels, one cell every 2; 9, every 4; 17, every 4;
            or 77, every 8, as published for images of 224×224.
        representation_loss: cross-entropy of the logits of each cell (`each_cell`) or of their mean (`mean_logits`).
        representation_steps, representation_lr: of the BagNet's training. By default it takes as many steps as
            Saccader's BagNet does in its first and third stage.
        batch: images per step.
    """

    glimpses: Positive = 6
    network: Network = "bagnet-9"
    representation_loss: RepresentationLoss = renamed("each_cell", "loss")
    representation_steps: Positive = renamed(900, "steps")
    representation_lr: Rate = renamed(1e-2, "lr")
    batch: Positive = 64

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

    def new_bagnet(self) -> BagNet:
        """An untrained representation network.

        Raises:
            UsageError: the image is smaller than one receptive field.
        """
        receptive_field, _ = self.geometry
        if min(self.shape[1:]) < receptive_field:
            raise UsageError(
                f"{self.network}'s receptive field of {receptive_field} pixels does not fit in {self.shape}"
            )
        return BagNet(self.shape[0], self.classes, NETWORKS[self.network])

    @abstractmethod
    def scanpath(self, image_BCHW: Tensor, count: int) -> Tensor:
        """The cells (B, count) that it visits, in order, of an image that `crop_to_grid` has cropped."""

    @property
    def geometry(self) -> tuple[int, int]:
        """The side of a cell's receptive field and the distance between neighbouring cells, pixels."""
        return NETWORKS[self.network].geometry

    @property
    def grid(self) -> tuple[int, int]:
        """Rows and columns of cells."""
        receptive_field, stride = self.geometry
        rows, columns = ((side - receptive_field) // stride + 1 for side in self.shape[1:])
        return max(rows, 1), max(columns, 1)

    @property
    def covered(self) -> tuple[int, int]:
        """Height and width of the part of the image that the grid covers, pixels."""
        receptive_field, stride = self.geometry
        rows, columns = self.grid
        return stride * (rows - 1) + receptive_field, stride * (columns - 1) + receptive_field

    @property
    def margins(self) -> tuple[int, int]:
        """Rows and columns of pixels above and left of the first cell: half of what the grid does not cover."""
        top, left = ((side - covered) // 2 for side, covered in zip(self.shape[1:], self.covered, strict=True))
        return top, left

    def sensor(self) -> Window:
        return Window(self.geometry[0])

    def horizon(self) -> int:
        return min(self.glimpses, self.grid[0] * self.grid[1])

    def crop_to_grid(self, image_BCHW: Tensor) -> Tensor:
        """The part of the image that the grid covers."""
        (top, left), (height, width) = self.margins, self.covered
        return image_BCHW[:, :, top : top + height, left : left + width]

    def top_left(self, cells: Array) -> Array:
        """The top left pixels (row, column) of the cells' windows: int64 (…, 2)."""
        rows_columns = np.stack(np.divmod(cells, self.grid[1]), -1)
        return rows_columns * self.geometry[1] + np.array(self.margins)

    def fit(self, task: Task, seed: int, progress: Progress[int]) -> None:
        self.fit_representation(task, np.random.default_rng(seed), progress)

    def fit_representation(self, task: Task, rng: np.random.Generator, progress: Progress[int]) -> None:
        """Stage 1: the BagNet learns to tell the class from its cells."""

        def loss_of(images: Array, labels_B: Tensor, step: int) -> Tensor:
            logits_BPK = per_cell(self.bagnet(self.crop_to_grid(to_float(images)))[2])
            return representation_loss(logits_BPK, labels_B, self.representation_loss)

        common: dict[str, Any] = {"batch": self.batch, "rng": rng, "progress": progress}
        steps, lr = self.representation_steps, self.representation_lr
        optimise(self.bagnet, task, loss_of, steps=steps, lr=lr, stage="representation", **common)

    def validation_logits(self, images: Split, stage: str) -> tuple[Tensor | Array | None, str]:
        if self.observation != "image":
            return super().validation_logits(images, stage)
        # What it would be through the env, which would run the network on the whole image for each glimpse.
        fitting = int(CURVE_BUDGET * np.prod(self.shape[1:])) // self.geometry[0] ** 2
        count = max(1, min(fitting, self.horizon()))
        image_BCHW = self.crop_to_grid(to_float(images.images_NCHW))
        logits_BPK = per_cell(self.bagnet(image_BCHW)[2])
        cells_BT = self.scanpath(image_BCHW, count)
        return gather_cells(logits_BPK, cells_BT).mean(1), f"own prediction, its first cells: {count}"

    @torch.no_grad()
    def act(self, observation: Observation, rng: np.random.Generator) -> Array:
        # The env's `step` is the share of the horizon that is used up; an episode that is over asks for no more.
        last = self.horizon() - 1
        step_B = np.rint(observation["step"][:, 0] * self.horizon()).astype(int).clip(0, last)
        image_BCHW = self.crop_to_grid(tensors(observation)["image"])
        cells_BT = self.scanpath(image_BCHW, int(step_B.max()) + 1).numpy()
        cell_B = cells_BT[np.arange(len(step_B)), step_B]
        return self.sensor().fixation(self.top_left(cell_B), self.shape)

    @torch.no_grad()
    def predict(self, view: Observation) -> Array:
        # A glimpse is one receptive field: the network's output for it is one cell, and nothing else was read.
        seen = tensors(view)
        glimpses_NCgg = seen["glimpses"].flatten(0, 1)
        logits_BTK = self.bagnet(glimpses_NCgg)[2].reshape(*seen["valid"].shape, -1)
        valid_BT1 = seen["valid"][..., None]
        logits: Array = (torch.where(valid_BT1 > 0, logits_BTK, 0.0).sum(1) / valid_BT1.sum(1).clamp(min=1)).numpy()
        return logits
