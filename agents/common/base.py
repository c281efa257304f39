"""What an agent is: settings, a `fit` that is free, and two verbs that see only what the env returns.

RL and differentiable methods differ inside `fit` and nowhere else; nothing outside may know which is which.
A contender is one file with one subclass of `Agent`; the file's name is the agent's name.
"""

from __future__ import annotations

import dataclasses
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path
from typing import Any, ClassVar, Literal, Protocol, TypeVar

import numpy as np
import torch
from gymnasium.vector import AutoresetMode
from numpy.typing import NDArray
from safetensors.torch import load_file, save_file
from torch import nn

from glimpsebench.envs.glimpse import Currency, GlimpseVectorEnv, Kind, Observation
from glimpsebench.envs.sensors import Sensor, Shape
from glimpsebench.envs.tasks import Split, Task

Array = NDArray[Any]
T = TypeVar("T")

BUDGETS = (0.01, 0.02, 0.05, 0.10, 0.15, 0.20, 0.30, 0.50, 1.0)
"""The grid of touched fractions on which every curve is drawn."""


class Diverged(Exception):
    """Training met a loss that is not finite. The run becomes a row that says so."""


Progress = Callable[[Iterable[T]], Iterator[T]]
"""Wraps a training loop's iterable and passes it through; the bench draws a progress bar with it."""

CURVE_BUDGET = 0.2
"""The share of an image that an agent may touch where the training curve has its validation accuracy."""


class Listener(Protocol):
    """What keeps a training curve (`report`)."""

    def report(self, stage: str, *, images: int, steps: int, **measures: float) -> None:
        """One step of a training loop, or several together."""


_listener: ContextVar[Listener | None] = ContextVar("listener", default=None)


@contextmanager
def reporting_to(listener: Listener) -> Iterator[None]:
    """Within, this one keeps what `report` is told."""
    token = _listener.set(listener)
    try:
        yield
    finally:
        _listener.reset(token)


def report(stage: str, *, images: int, steps: int = 1, **measures: float) -> None:
    """Tell how training goes, from within a loop over `progress(...)`; without anybody who listens it does nothing.

    `optimise` does it for the loops that it is. Validation accuracy is measured by who listens.

    Args:
        stage: what this loop trains, in a word.
        images: labelled training images that were passed through since the last report; one that is looked at several
            times in an episode counts once.
        steps: of training since then, such as gradient steps or env steps.
        measures: `loss`, and whatever else tells how it goes, such as `mean_return`.
    """
    if (listener := _listener.get()) is not None:
        listener.report(stage, images=images, steps=steps, **measures)


class Stateful(Protocol):
    """A part of training whose state can be kept and put back, as PyTorch's modules, optimisers and schedules are.

    A state is made of dictionaries, lists, tuples, tensors, arrays, numbers, texts and None.
    """

    def state_dict(self) -> dict[str, Any]:
        """Its state."""

    def load_state_dict(self, state_dict: dict[str, Any]) -> Any:
        """Put it back, in place."""


class Checkpoints(Protocol):
    """What keeps checkpoints of training loops (`resumable`)."""

    def loop(self, steps: Iterator[int], parts: Mapping[str, Stateful]) -> Iterator[int]:
        """The steps of the next loop of `fit` that are not done yet."""


_checkpoints: ContextVar[Checkpoints | None] = ContextVar("checkpoints", default=None)


@contextmanager
def checkpointed_by(checkpoints: Checkpoints | None) -> Iterator[None]:
    """Within, this one keeps the states of `resumable` loops, and gives them back to a run that was interrupted."""
    token = _checkpoints.set(checkpoints)
    try:
        yield
    finally:
        _checkpoints.reset(token)


def resumable(steps: Iterator[int], **parts: Stateful) -> Iterator[int]:
    """The steps of a training loop; where a run that was interrupted goes on, only those that are still to be done.

    Before the first of them the parts, the agent (its `net` and the fields that are not settings) and the global random
    generators are as they were then, and after a loop that was done already as they were at its end. What a loss
    carries from step to step must be among them: a local variable is not. `fit` itself begins anew, so that what it
    does between its loops is done again.

    Args:
        steps: `progress(range(n))`, which passes over all steps.
        parts: what else the loop changes, such as networks, optimiser, schedule and stream of batches.
    """
    checkpoints = _checkpoints.get()
    return steps if checkpoints is None else checkpoints.loop(steps, parts)


Finding = float | list[float]
"""A number that an agent measured about itself, or a curve of it over its training, evenly spaced."""


@dataclasses.dataclass
class Agent(ABC):
    """An entered method: a selector and, optionally, a predictor of its own. Its fields are its settings.

    Class attributes (what the bench needs to know; none of them is a setting):
        track: `gated` if the agent meets the image only through the sensor, `open` if its selector reads the
            whole image first. The two are never ranked in one list.
        reference: a `floor`, which learns nothing about where to look, or the `ceiling`, which sees all: shown in both
            tracks and ranked in neither.
        variants: of a reference: the settings in which it stands in every suite; `({},)` is once, by default settings.
        version: bumped by any change that can move a score.
        observation: what `act` sees. Gated agents never ask for `image`.
        currency: what the budget counts.
        levels: the budgets at which the agent enters.
        accelerated: `fit` follows torch's default device, so that it can train on a GPU (`training_on`).
        checkpointed: of a contender from elsewhere, said in its own class: its loops are `resumable`, and their losses
            carry nothing from step to step in local variables. The agents of this package are tested for it.

    Attributes:
        net: all networks as one module; its state is the agent's state.
        findings: what `fit` measured about itself, for the record: name → number or curve.
        checkpoints: the net's state after each stage of training that `fit` chose to keep: stage → its tensors.
    """

    track: ClassVar[Literal["gated", "open"]] = "gated"
    reference: ClassVar[Literal["floor", "ceiling"] | None] = None
    variants: ClassVar[tuple[Mapping[str, Any], ...]] = ({},)
    version: ClassVar[int] = 1
    observation: ClassVar[Kind] = "glimpses"
    currency: ClassVar[Currency] = "touched"
    levels: ClassVar[tuple[float, ...]] = BUDGETS
    accelerated: ClassVar[bool] = False
    checkpointed: ClassVar[bool] = False

    net: nn.Module | None = dataclasses.field(default=None, init=False, repr=False, compare=False)
    findings: dict[str, Finding] = dataclasses.field(default_factory=dict, init=False, repr=False, compare=False)
    checkpoints: dict[str, dict[str, torch.Tensor]] = dataclasses.field(
        default_factory=dict, init=False, repr=False, compare=False
    )
    shape: Shape = dataclasses.field(default=(1, 1, 1), init=False, repr=False, compare=False)
    classes: int = dataclasses.field(default=1, init=False, repr=False, compare=False)

    def prepare(self, task: Task) -> None:
        """Set `shape` (C, H, W) and `classes` and make the untrained `net`. The bench calls it before `fit`."""
        self.shape, self.classes = task.shape, task.classes
        self.net = self.build()
        self.checkpoints = {}

    @property
    def view(self) -> Kind:
        """What `predict` sees."""
        return "canvas"

    @property
    def budgets(self) -> tuple[float, ...]:
        """The budgets of its curve, ascending: the grid, and whatever points its settings add."""
        return self.levels

    @property
    def given(self) -> int:
        """How many of its first glimpses are fixed without a choice, such as a first window at the centre."""
        return 0

    @property
    def supervision(self) -> str:
        """What it learns from, beside the images."""
        return "labels"

    @abstractmethod
    def sensor(self) -> Sensor:
        """The sensor that this agent points."""

    def horizon(self) -> int:
        """The most glimpses it takes of one image at test time.

        An agent of several glimpses has one episode, and its selection at a smaller budget is a prefix of it;
        an agent of one glimpse has an episode per budget.
        """
        return 1

    def build(self) -> nn.Module | None:
        """The untrained networks, as one module: `fit` trains them, `load` fills them."""
        return None

    def fit(self, task: Task, seed: int, progress: Progress[int]) -> None:
        """Train on `task.train(epoch)`, choose on `task.val()`; how is the agent's own business.

        The agent is prepared and torch's global generator seeded before the call. Raise `Diverged` when the
        loss is not finite.
        """

    def checkpoint(self, stage: str) -> None:
        """Keep a copy of the net's state as it is now, at the end of a stage of `fit`, for `save` to write."""
        assert self.net is not None
        self.checkpoints[stage] = {name: value.cpu().clone() for name, value in self.net.state_dict().items()}

    @abstractmethod
    def act(self, observation: Observation, rng: np.random.Generator) -> Array:
        """Where to look next.

        Args:
            observation: the env's, of kind `observation`, with a leading B.
            rng: the only randomness allowed at test time.

        Returns:
            Actions (B, …) in the sensor's action space. A row must not depend on the other rows.
        """

    def predict(self, view: Observation) -> Array | None:
        """Class logits (B, K) from what has been revealed (kind `view`), or None without a predictor."""
        return None

    def validation_logits(self, images: Split, stage: str) -> tuple[torch.Tensor | Array | None, str]:
        """For the training curve: class logits (B, K) of validation images by what has been learned so far.

        By default the agent as it stands looks through the env, as at test, with at most `CURVE_BUDGET` touched, or the
        next of its budgets within which it sees anything, and predicts once. To be overridden where a stage trains
        something that this does not show. It is called on a copy in eval mode, without gradients, and torch's global
        generator is put back afterwards: nothing that it does may reach the training.

        Returns:
            The logits, or None without a predictor; and what they are the prediction of, in a few words.
        """
        budgets = [budget for budget in self.budgets if budget >= CURVE_BUDGET] or [self.budgets[-1]]
        for budget in budgets:
            env = GlimpseVectorEnv(
                images.unlabelled,
                len(images),
                sensor=self.sensor(),
                observation=self.observation,
                glimpses=self.horizon(),
                budget=budget,
                currency=self.currency,
                autoreset_mode=AutoresetMode.DISABLED,
            )
            rng, over_B = np.random.default_rng(0), np.zeros(len(images), bool)
            observation, _ = env.reset(options={"index": np.arange(len(images))})
            for _ in range(self.horizon()):
                observation, _, terminated_B, truncated_B, _ = env.step(self.act(observation, rng))
                over_B |= terminated_B | truncated_B
                if over_B.all():
                    break
            if env.touched_pixels.any():
                break
        return self.predict(env.observe(self.view)), f"own prediction, at most {100 * budget:g} % {self.currency}"

    def save(self, path: Path) -> None:
        """Write the weights as safetensors; nothing to write for an agent without a network.

        Checkpoints go beside them: with `weights.safetensors`, to `weights.STAGE.safetensors`.
        """
        if self.net is not None:
            states = {path: self.net.state_dict()}
            states |= {path.with_stem(f"{path.stem}.{stage}"): state for stage, state in self.checkpoints.items()}
            for file, state in states.items():
                save_file({name: value.contiguous() for name, value in state.items()}, file)

    def load(self, path: Path, task: Task) -> None:
        """The inverse of `save` for an agent with the same settings; a checkpoint gives it as that stage left it."""
        self.prepare(task)
        if self.net is not None:
            self.net.load_state_dict(load_file(path))
            self.net.eval()

    @property
    def parameters(self) -> int:
        """Numbers in all of its networks, frozen ones among them."""
        return 0 if self.net is None else sum(p.numel() for p in self.net.parameters())

    @property
    def trainable(self) -> int:
        """Those of `parameters` that get a gradient; asked before `fit`, which may freeze what it has trained."""
        return 0 if self.net is None else sum(p.numel() for p in self.net.parameters() if p.requires_grad)


@contextmanager
def training_on(device: str, agent: Agent) -> Iterator[None]:
    """Within, the agent's networks, new tensors and what `tensor` makes lie on this device; afterwards on the CPU.

    On a GPU matrix products are of TF32, as convolutions are by default: 10 bits of mantissa are enough for training.
    """
    if device == "cpu":
        yield  # a default device that is set, be it the CPU, costs some per cent of the time
        return
    precision = torch.get_float32_matmul_precision()
    try:
        if agent.net is not None:
            agent.net.to(device)
        torch.set_float32_matmul_precision("high")
        with torch.device(device):
            yield
    finally:
        torch.set_float32_matmul_precision(precision)
        if agent.net is not None:
            agent.net.to("cpu")


def tensor(array: Array) -> torch.Tensor:
    """An array as a tensor where training runs; over the same memory if that is the CPU."""
    return torch.from_numpy(array).to(torch.get_default_device())


def tensors(observation: Observation) -> dict[str, torch.Tensor]:
    """An observation, for `act` and `predict`, as tensors on the CPU over the same memory."""
    return {name: torch.from_numpy(value) for name, value in observation.items()}
