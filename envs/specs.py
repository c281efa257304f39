"""What Gymnasium is asked for, as plain data: a spec that JSON can hold, and whose predictor is never copied."""

from __future__ import annotations

from gymnasium.envs.registration import EnvSpec

from glimpsebench.envs import sensors
from glimpsebench.envs.predictors import Shared
from glimpsebench.envs.sensors import Sensor


class PlainSpec:
    """An env that keeps its spec as plain data where it can be: a sensor, and a predictor that is shared."""

    _spec: EnvSpec | None = None

    @property
    def spec(self) -> EnvSpec | None:
        return self._spec

    @spec.setter
    def spec(self, spec: EnvSpec | None) -> None:
        self._spec = plain(spec)


def plain(spec: EnvSpec | None) -> EnvSpec | None:
    """A spec whose sensor is plain data, so that it can be written as JSON, and whose predictor is never copied."""
    if spec is not None:
        kwargs = dict(spec.kwargs)
        if isinstance(kwargs.get("sensor"), Sensor):
            kwargs["sensor"] = sensors.as_data(kwargs["sensor"])
        if callable(kwargs.get("predictor")):
            kwargs["predictor"] = Shared(kwargs["predictor"])
        spec.kwargs = kwargs
    return spec
