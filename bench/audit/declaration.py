"""What a contender says of itself, read once and before `fit`, and the rules that it has to keep.

Afterwards the bench goes by the declaration: what the contender says later can change nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from glimpsebench.agents.common.base import Agent
from glimpsebench.envs import sensors
from glimpsebench.envs.errors import UsageError, unknown
from glimpsebench.envs.glimpse import Currency, Kind, Observation
from glimpsebench.envs.sensors import KINDS, UNSEEN, Sensor, Shape, Thumbnail

Array = NDArray[Any]


@dataclass(frozen=True)
class Declaration:
    """What the bench needs to know of a contender; the names are those of `Agent`."""

    name: str
    track: Literal["gated", "open"]
    observation: Kind
    view: Kind
    currency: Currency
    budgets: tuple[float, ...]
    horizon: int
    given: int
    shape: Shape
    classes: int
    sensor: Sensor

    def as_data(self) -> dict[str, Any]:
        """As JSON values. UsageError for a sensor that is not the bench's."""
        return {field.name: getattr(self, field.name) for field in fields(self)} | {
            "sensor": sensors.as_data(self.sensor)
        }

    @classmethod
    def from_data(cls, data: Mapping[str, Any]) -> Declaration:
        """The inverse of `as_data`; of data that another process sent, so that every value is checked.

        Raises:
            UsageError: a value is missing or is none of its kind.
        """
        try:
            channels, height, width = map(int, data["shape"])
            shape = (channels, height, width)
            declaration = cls(
                name=str(data["name"]),
                track=data["track"],
                observation=data["observation"],
                view=data["view"],
                currency=data["currency"],
                budgets=tuple(map(float, data["budgets"])),
                horizon=int(data["horizon"]),
                given=int(data["given"]),
                shape=shape,
                classes=int(data["classes"]),
                sensor=sensors.make(data["sensor"], shape),
            )
        except (KeyError, TypeError, ValueError) as error:
            raise UsageError(f"a contender's declaration cannot be read ({type(error).__name__}: {error})") from None
        check(declaration)
        return declaration


def declared(agent: Agent, own_sensor: bool = False) -> Declaration:
    """What an agent that is prepared says of itself, checked.

    Args:
        own_sensor: whether a sensor that is not the bench's is allowed; it is audited by brute force.

    Raises:
        UsageError: it breaks a rule.
    """
    declaration = Declaration(
        name=type(agent).__module__.removeprefix("glimpsebench.agents."),
        track=agent.track,
        observation=agent.observation,
        view=agent.view,
        currency=agent.currency,
        budgets=tuple(agent.budgets),
        horizon=agent.horizon(),
        given=agent.given,
        shape=agent.shape,
        classes=agent.classes,
        sensor=agent.sensor(),
    )
    check(declaration, own_sensor)
    return declaration


def check(declaration: Declaration, own_sensor: bool = False) -> None:
    """Refuse a declaration that breaks a rule, with UsageError."""
    says = declaration
    for name, value, choices in (
        ("track", says.track, ("gated", "open")),
        ("observation", says.observation, get_args(Kind)),
        ("view", says.view, get_args(Kind)),
        ("currency", says.currency, get_args(Currency)),
    ):
        if value not in choices:
            raise unknown(f"{name} of agent '{says.name}'", value, choices)

    def refuse(what: str) -> UsageError:
        return UsageError(f"agent '{says.name}': {what}")

    if says.view == "image":
        raise refuse("view=image shows the whole image to the predictor; use canvas, glimpse or glimpses")
    if says.track == "gated" and says.observation == "image":
        raise refuse("observation=image is for the open track; use canvas, glimpse or glimpses, or track=open")
    rising = all(low < high for low, high in zip(says.budgets, says.budgets[1:], strict=False))
    if not says.budgets or not rising or not 0 < says.budgets[0] <= says.budgets[-1] <= 1:
        raise refuse(f"budgets {says.budgets} must ascend within (0, 1]")
    if not 0 <= says.given <= says.horizon or says.horizon < 1:
        raise refuse(f"horizon {says.horizon} must be at least 1, and given {says.given} no more than it")
    if says.currency == "delivered" and type(says.sensor) is not Thumbnail:
        raise refuse("currency=delivered is for the sensor Thumbnail alone; count what is touched")
    if type(says.sensor) in KINDS.values():
        return
    if not own_sensor:
        raise refuse(
            f"{type(says.sensor).__name__} is not one of the bench's sensors ({', '.join(KINDS)}); "
            "--own-sensor lets it run, audited by brute force"
        )
    if fault := sensor_fault(says.sensor, says.shape):
        raise refuse(f"{type(says.sensor).__name__} {fault}")


def sensor_fault(sensor: Sensor, shape: Shape, actions: int = 200, seed: int = 0) -> str:
    """What is wrong with a sensor, by brute force; empty if nothing was found.

    Random actions look at pairs of images that are equal on the footprint and random beside it. Neither glimpse nor
    canvas may tell them apart, and the canvas must show nothing beside the footprint.
    """
    rng = np.random.default_rng(seed)
    space = sensor.action_space(shape)
    action = rng.uniform(space.low, space.high, (actions, *space.shape)).astype(np.float32)
    rows = np.arange(actions)
    aim = sensor.aim(action, shape, np.full(actions, shape[1] * shape[2] // 4))
    print_BHW = sensor.footprint(aim, shape)
    images, others = rng.integers(0, 256, (2, actions, *shape), np.uint8)
    shown = []
    for seen in (images, np.where(print_BHW[:, None], images, others)):
        glimpse = sensor.reader(seen)(rows, aim)
        canvas = np.zeros((actions, *shape), np.float32)
        grain = np.full((actions, *shape[1:]), UNSEEN, np.uint8)
        sensor.paint(canvas, grain, rows, glimpse, aim)
        shown.append((glimpse, canvas, grain))
    if any(not np.array_equal(one, other) for one, other in zip(*shown, strict=True)):
        return "returns values that depend on pixels beside its footprint"
    if ((shown[0][2] != UNSEEN) & ~print_BHW).any():
        return "shows something on the canvas beside its footprint"
    if not np.array_equal(sensor.footprints(actions, 1, shape).grow(aim), print_BHW.sum((1, 2))):
        return "counts other pixels than those of its footprint"
    return ""


class Stand(Agent):
    """Takes a contender's place where its selections are replayed: all that was declared, and no code of its own."""

    def __init__(self, declaration: Declaration) -> None:
        self.declaration, self.net = declaration, None
        # What contenders have as class attributes, this one has of its own.
        names = ("track", "observation", "currency", "shape", "classes")
        vars(self).update({name: getattr(declaration, name) for name in names})

    @property
    def view(self) -> Kind:
        return self.declaration.view

    @property
    def budgets(self) -> tuple[float, ...]:
        return self.declaration.budgets

    @property
    def given(self) -> int:
        return self.declaration.given

    def sensor(self) -> Sensor:
        return self.declaration.sensor

    def horizon(self) -> int:
        return self.declaration.horizon

    def act(self, observation: Observation, rng: np.random.Generator) -> Array:
        raise NotImplementedError("a stand-in's selections are on record")
