"""The spaces of an env: what its actions and its observations of each kind look like.

Shapes: T steps, C H W image.
"""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

from glimpsebench.envs.errors import UsageError
from glimpsebench.envs.sensors import Sensor, Shape

Array = NDArray[Any]
Kind = Literal["glimpse", "glimpses", "canvas", "image"]
ImageFormat = Literal["float_CHW", "uint8_HWC"]

LARGEST_LOGIT = 10.0
"""Of a prediction that is a part of the action: the bounds of its coordinates."""


def extended(space: spaces.Box, stop: bool, classes: int) -> spaces.Box:
    """A sensor's action space with the coordinates that `stop` and `predict` add."""
    if not stop and not classes:
        return space
    if len(space.shape) != 1:
        raise UsageError(
            f"stop= and predict= need a sensor whose action is a vector, and this one's is {space.shape}: "
            "a mask that is to stay small has a threshold"
        )
    more = np.array([1.0] * stop + [LARGEST_LOGIT] * classes, np.float32)
    return spaces.Box(np.append(space.low, -more), np.append(space.high, more))


def of_observation(kind: Kind, sensor: Sensor, shape: Shape, horizon: int, image_format: ImageFormat) -> spaces.Dict:
    """The space of one env's observation of this kind, of images of this shape (C, H, W) and T = `horizon`."""
    glimpse, action = sensor.glimpse_shape(shape), sensor.action_space(shape)

    def unit(*shape: int) -> spaces.Box:
        return spaces.Box(0, 1, shape, np.float32)

    def picture(*shape: int) -> spaces.Box:
        if image_format == "float_CHW":
            return unit(*shape)
        return spaces.Box(0, 255, (*shape[1:], shape[0]), np.uint8)

    # 0 stands for "no action yet", so the space must contain it whatever the sensor's range.
    low, high = min(0, action.low.min()), max(0, action.high.max())
    entries: dict[str, spaces.Space[Any]] = {"left": unit(1)}
    if kind == "glimpse":
        entries |= {"glimpse": unit(*glimpse), "action": spaces.Box(low, high, action.shape, np.float32)}
    elif kind == "glimpses":
        entries |= {
            "glimpses": unit(horizon, *glimpse),
            "actions": spaces.Box(low, high, (horizon, *action.shape), np.float32),
            "valid": unit(horizon),
        }
    elif kind == "canvas":
        entries |= {"canvas": picture(*shape), "mask": picture(1, *shape[1:])}
    else:
        entries |= {"image": picture(*shape), "step": unit(1)}
    return spaces.Dict(entries)


def channels_last(images_BCHW: Array) -> Array:
    """(B, C, H, W) as (B, H, W, C), contiguous."""
    return np.ascontiguousarray(images_BCHW.transpose(0, 2, 3, 1))
