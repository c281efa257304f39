"""What agents share: the stream of training batches, one small backbone, and a predictor over canvases.

The predictor, its size and its data are the same for every agent that does not prescribe its own, so that what
differs between them is the looking. Shapes: B batch, C H W image, K classes.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Literal, Self

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F

from glimpsebench.agents.common.base import Agent, Diverged, Progress, report, resumable, tensor, tensors
from glimpsebench.envs.glimpse import Observation
from glimpsebench.envs.predictors import reader_state
from glimpsebench.envs.sensors import Mask
from glimpsebench.envs.settings import renamed
from glimpsebench.envs.tasks import Split, Task

Array = NDArray[Any]
Positive = Annotated[int, Field(ge=1)]
Rate = Annotated[float, Field(gt=0)]


class Batches:
    """`steps` batches of training images, epoch after fresh epoch, shuffled: an epoch's split and rows (B,) of it.

    An epoch is drawn when its first batch is asked for.
    """

    def __init__(self, task: Task, steps: int, batch: int, rng: np.random.Generator) -> None:
        self.task, self.steps, self.batch, self.rng = task, steps, batch, rng
        self.epoch, self.done = -1, 0
        self.place = 0  # in the epoch's order
        self.split: Split | None = None
        self.order: Array = np.zeros(0, np.int64)
        self.before_order = rng.bit_generator.state

    def __iter__(self) -> Iterator[tuple[Split, Array]]:
        return self

    def __next__(self) -> tuple[Split, Array]:
        if self.done == self.steps:
            raise StopIteration
        if self.split is None or self.place + self.size > len(self.split):
            self.split = self.begin(self.epoch + 1)
        rows_B = self.order[self.place : self.place + self.size]
        self.place += self.size
        self.done += 1
        return self.split, rows_B

    def begin(self, epoch: int) -> Split:
        """Draw this epoch's images and their order."""
        split = self.task.train(epoch)
        self.before_order = self.rng.bit_generator.state
        self.order = self.rng.permutation(len(split))
        self.epoch, self.place, self.size = epoch, 0, min(self.batch, len(split))
        return split

    def state_dict(self) -> dict[str, Any]:
        """Where it stands, and its generator's state: small, since an order is drawn again from the state before it."""
        names = ("epoch", "done", "place", "before_order")
        return {name: getattr(self, name) for name in names} | {"rng": self.rng.bit_generator.state}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Put it back, and its generator with it."""
        self.done = state_dict["done"]
        if 0 < self.done < self.steps:
            self.rng.bit_generator.state = state_dict["before_order"]
            self.split = self.begin(state_dict["epoch"])
            self.place = state_dict["place"]
        self.rng.bit_generator.state = state_dict["rng"]


def batches(task: Task, steps: int, batch: int, rng: np.random.Generator) -> Batches:
    """`Batches`, as a stream to learn from (`optimise_on`)."""
    return Batches(task, steps, batch, rng)


def to_float(images: Array) -> Tensor:
    """uint8 images, which may be read-only, as float32 in [0, 1]."""
    return tensor(np.array(images)).float().div_(255)


def optimise(
    net: nn.Module,
    task: Task,
    loss_of: Callable[[Array, Tensor, int], Tensor],
    *,
    steps: int,
    batch: int,
    lr: float,
    rng: np.random.Generator,
    progress: Progress[int],
    weight_decay: float = 0.01,
    stage: str = "training",
) -> None:
    """`optimise_on` for a loss of images and labels: (images uint8 BCHW, labels (B,), step) → loss."""

    def loss_on(split: Split, rows_B: Array, step: int) -> Tensor:
        assert split.labels_N is not None
        return loss_of(split.images_NCHW[rows_B], tensor(split.labels_N[rows_B]), step)

    stream = batches(task, steps, batch, rng)
    optimise_on(net, stream, loss_on, steps=steps, lr=lr, progress=progress, weight_decay=weight_decay, stage=stage)


def optimise_on(
    net: nn.Module,
    stream: Batches,
    loss_on: Callable[[Split, Array, int], Tensor],
    *,
    steps: int,
    lr: float,
    progress: Progress[int],
    weight_decay: float = 0.01,
    stage: str = "training",
) -> None:
    """The training loop: AdamW on a one-cycle schedule that ends at 0, gradients clipped at norm 5.

    It reports, and goes on from a checkpoint where there is one (`resumable`).

    Args:
        net: its trainable parameters are optimised; left in eval mode.
        stream: what to learn from, as `batches` gives it.
        loss_on: (an epoch's split, rows (B,) of it, step) → loss.
        stage: its name in the training curve.

    Raises:
        Diverged: the loss is not finite.
    """
    trained = [parameter for parameter in net.parameters() if parameter.requires_grad]
    optimiser = torch.optim.AdamW(trained, lr, weight_decay=weight_decay, fused=True)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, lr, total_steps=steps)
    net.train()
    parts: dict[str, Any] = {"net": net, "optimiser": optimiser, "schedule": schedule, "stream": stream}
    for step in resumable(progress(range(steps)), **parts):
        split, rows_B = next(stream)
        loss = loss_on(split, rows_B, step)
        if not torch.isfinite(loss):
            raise Diverged(f"the loss is {loss.item()} at step {step} of {steps}")
        optimiser.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(trained, 5.0)
        optimiser.step()
        schedule.step()
        report(stage, images=len(rows_B), loss=loss.item())
    net.eval()


def conv(inputs: int, outputs: int, stride: int = 1) -> nn.Sequential:
    """3×3 convolution, batch norm, ReLU."""
    return nn.Sequential(nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False), nn.BatchNorm2d(outputs), nn.ReLU())


class Backbone(nn.Module):
    """Five 3×3 convolutions, three of them strided, and a maximum over positions: (B, inputs, H, W) → (B, 4w).

    The maximum makes it indifferent to where the object lies, which spares most of the data that a dense layer
    would need on placed tasks.
    """

    def __init__(self, inputs: int, width: int) -> None:
        super().__init__()
        w = width
        self.layers = nn.Sequential(
            conv(inputs, w, 2), conv(w, w), conv(w, 2 * w, 2), conv(2 * w, 2 * w), conv(2 * w, 4 * w, 2)
        )
        self.features = 4 * w
        self.layers.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # a quarter faster

    def forward(self, image_BCHW: Tensor) -> Tensor:
        image_BCHW = image_BCHW.contiguous(memory_format=torch.channels_last)
        features: Tensor = self.layers(image_BCHW).amax((2, 3))
        return features


READER_WIDTH = 32
"""Of a task's reader, and so of every predictor that begins from it."""


class CanvasNet(nn.Module):
    """Class logits from what was shown: the canvas and, as one more channel, where it was shown.

    Attributes:
        frozen_statistics: batch norm uses the averages that it has, in training too: what was trained on every kind of
            canvas is fine-tuned on one kind without another normalisation.
    """

    frozen_statistics = False

    def __init__(self, channels: int, classes: int, width: int = READER_WIDTH) -> None:
        super().__init__()
        self.backbone = Backbone(channels + 1, width)
        self.head = nn.Linear(self.backbone.features, classes)

    def train(self, mode: bool = True) -> Self:
        super().train(mode)
        for module in self.modules() if self.frozen_statistics else ():
            if isinstance(module, nn.BatchNorm2d):
                module.eval()
        return self

    def forward(self, canvas_BCHW: Tensor, mask_B1HW: Tensor) -> Tensor:
        logits: Tensor = self.head(self.backbone(torch.cat([canvas_BCHW, mask_B1HW], 1)))
        return logits


@torch.no_grad()
def predict_canvas(predictor: nn.Module, view: Observation) -> Array:
    """What a predictor makes of a view of kind `canvas`: logits (B, K)."""
    seen = tensors(view)
    logits: Array = predictor(seen["canvas"], seen["mask"]).numpy()
    return logits


def masked_canvas(images_BCHW: Tensor, mask_B1HW: Tensor) -> Tensor:
    """The canvas of a boolean mask: `where`, not a product, so that nothing outside it gets through."""
    return torch.where(mask_B1HW, images_BCHW, torch.zeros(()))


PIXELS = Mask()


def random_room(images: Split, budgets: Sequence[float], rng: np.random.Generator) -> Array:
    """How many of each image's own pixels may be touched, int64 (B,), at budgets drawn from these."""
    room_B: Array = np.floor(rng.choice(budgets, len(images)) * images.own_pixels_N + 1e-9).astype(np.int64)
    return room_B


def best_pixels(scores_BHW: Array, images: Split, room_B: Array, sensor: Mask = PIXELS) -> tuple[Tensor, Tensor]:
    """What a mask sensor shows of these scores: canvases (B, C, H, W) and masks (B, 1, H, W, boolean)."""
    mask_B1HW = tensor(sensor.aim(scores_BHW, images.images_NCHW.shape[1:], room_B, images.boxes_N4))[:, None]
    return masked_canvas(to_float(images.images_NCHW), mask_B1HW), mask_B1HW


def with_whole_images(
    canvas_BCHW: Tensor, mask_B1HW: Tensor, image_BCHW: Tensor, share: float, rng: np.random.Generator
) -> tuple[Tensor, Tensor]:
    """Replace a share of the canvases by whole images.

    A predictor that sees small parts of images from the start hardly learns what a digit is; whole images, fewer and
    fewer of them (`linear_decay`), teach it that first.
    """
    whole_B = tensor(rng.random(len(image_BCHW)) < share)[:, None, None, None]
    return torch.where(whole_B, image_BCHW, canvas_BCHW), mask_B1HW.bool() | whole_B


def linear_decay(step: int, steps: int, until: float = 0.5, rest: float = 0.1) -> float:
    """A share that falls linearly from 1, as if to reach 0 at `until` of all steps, and stays at `rest`."""
    return max(rest, 1 - step / (until * steps))


PREDICTOR_STEPS = 300
"""Of training a canvas predictor, unless an agent's settings say otherwise."""
WHOLE_SHARE = 0.25
"""The share of whole images among a predictor's canvases; training from random weights comes down to it."""


@dataclass
class PredictorAgent(Agent):
    """An agent whose predictor is a `CanvasNet`, trained as every other agent's is.

    Settings:
        predictor_init: where the predictor begins: the task's `reader`, a network that reads any canvas and is the same
            for every agent, or `random` weights.
        predictor_steps, predictor_lr, batch: of the predictor's training on the agent's own selections; random weights
            need more of both.
        width: of other networks, and of a predictor that begins from random weights.
    """

    predictor_init: Literal["reader", "random"] = "reader"
    predictor_steps: Positive = renamed(PREDICTOR_STEPS, "steps")
    predictor_lr: Rate = 3e-4
    batch: Positive = 64
    width: Positive = 16

    def new_predictor(self) -> CanvasNet:
        """An untrained predictor."""
        return CanvasNet(self.shape[0], self.classes, READER_WIDTH if self.predictor_init == "reader" else self.width)

    def initialise(self, predictor: CanvasNet, task: Task) -> None:
        """Give the predictor the weights that it begins from; whatever it has learned before is discarded."""
        predictor.frozen_statistics = self.predictor_init == "reader"
        if predictor.frozen_statistics:
            predictor.load_state_dict(reader_state(task))
        else:
            reinitialise(predictor)

    def train_predictor(
        self,
        predictor: CanvasNet,
        task: Task,
        canvases: Callable[[Split], tuple[Tensor, Tensor]],
        rng: np.random.Generator,
        progress: Progress[int],
        stage: str = "predictor",
    ) -> None:
        """Train the predictor on what the agent's own selections show.

        Whole images are mixed in: a share of `WHOLE_SHARE`; from random weights all canvases at first, then fewer.

        Args:
            predictor: trained in place, from the weights that `initialise` gives it.
            canvases: B images → canvases (B, C, H, W) and masks (B, 1, H, W, boolean), all budgets mixed.
            stage: its name in the training curve.
        """
        self.initialise(predictor, task)
        from_reader = self.predictor_init == "reader"

        def loss_on(split: Split, rows_B: Array, step: int) -> Tensor:
            images = split.some(rows_B)
            whole = WHOLE_SHARE if from_reader else linear_decay(step, steps, rest=WHOLE_SHARE)
            image_BCHW = to_float(images.images_NCHW)
            canvas_BCHW, mask_B1HW = with_whole_images(*canvases(images), image_BCHW, whole, rng)
            assert split.labels_N is not None
            return F.cross_entropy(predictor(canvas_BCHW, mask_B1HW.float()), tensor(split.labels_N[rows_B]))

        steps, stream = self.predictor_steps, batches(task, self.predictor_steps, self.batch, rng)
        optimise_on(predictor, stream, loss_on, steps=steps, lr=self.predictor_lr, progress=progress, stage=stage)


def reinitialise(net: nn.Module) -> None:
    """Draw a network's weights anew, in place, by its layers' own rules."""
    for module in net.modules():
        if isinstance(module, nn.Conv2d | nn.Linear | nn.BatchNorm2d):
            module.reset_parameters()


@dataclass
class CanvasAgent(PredictorAgent):
    """An agent whose predictor reads the canvas, and whose training only trains that predictor.

    The floors and the ceiling need nothing else: they say which canvases their own choices would show
    (`canvases`) and how to choose (`act`).

    Settings:
        predictor_init, predictor_steps, predictor_lr, batch, width: of the predictor, the same for everyone.
    """

    accelerated: ClassVar[bool] = True

    @abstractmethod
    def canvases(self, images: Split, rng: np.random.Generator) -> tuple[Tensor, Tensor]:
        """Canvases (B, C, H, W) and masks (B, 1, H, W, boolean) as this agent would be shown, all budgets mixed."""

    def build(self) -> nn.Module:
        return self.new_predictor()

    def fit(self, task: Task, seed: int, progress: Progress[int]) -> None:
        assert isinstance(self.net, CanvasNet)
        rng = np.random.default_rng(seed)
        self.train_predictor(self.net, task, lambda images: self.canvases(images, rng), rng, progress)

    def predict(self, view: Observation) -> Array:
        assert self.net is not None
        return predict_canvas(self.net, view)
