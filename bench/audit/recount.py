"""What every run pays for afterwards: its selections are replayed and judged where the contender never was.

The bench's own sensor carries the recorded selections out again, in a process that has imported no contender: what it
reveals, touches and delivers is compared with what the run counted, and the judge reads what it shows. The process is
started once and serves all runs of the process that asks.
"""

from __future__ import annotations

import atexit
import functools
import hashlib
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import load_file

from glimpsebench.agents.common.base import Agent
from glimpsebench.agents.common.nets import CanvasNet
from glimpsebench.bench.audit.declaration import Declaration, Stand, declared
from glimpsebench.bench.audit.processes import Failure, Message, Process, serve
from glimpsebench.bench.evaluators import Evaluator, Recipe
from glimpsebench.bench.rollout import Episodes, replay
from glimpsebench.envs.sensors import KINDS
from glimpsebench.envs.tasks import Split

Array = NDArray[Any]


@dataclass(frozen=True)
class Expected:
    """What stands before `fit`, to be compared with what is there after the rollout.

    Attributes:
        says: what the contender declares.
        weights: the judge's file.
        sha256: of that file; None where the judge is not trained yet.
    """

    says: Declaration
    weights: Path
    sha256: str | None


def expected(agent: Agent, weights: Path, own_sensor: bool = False) -> Expected:
    """What an agent that is prepared declares, and the judge as it is now.

    Raises:
        UsageError: the agent breaks a rule (`declaration.check`).
    """
    _recounter()  # begins now, beside the training
    return Expected(declared(agent, own_sensor), weights, _sha256(weights) if weights.is_file() else None)


def recounted(before: Expected, images: Split, episodes: Episodes, judge: Evaluator) -> Episodes:
    """The same selections again, with the judge's predictions.

    Args:
        before: what stood before `fit`.
        images: the test images.
        episodes: what the run counted.
        judge: used only for a sensor that is not the bench's, which no other process has.

    Raises:
        RuntimeError: the run counted something else than is there, or the judge is another.
    """
    if type(before.says.sensor) not in KINDS.values():
        return replay(Stand(before.says), images, episodes, judge)
    arrays = {
        "images": images.images_NCHW,
        "selection": episodes.selection,
        "steps": episodes.steps_FN,
        "touched": episodes.touched_FN,
    }
    if images.boxes_N4 is not None:
        arrays["boxes"] = images.boxes_N4
    about = {"says": before.says.as_data(), "judge": str(before.weights.resolve()), "sha256": before.sha256}
    try:
        _, counted = _recounter().ask("replay", about, arrays)
    except Failure as failure:
        raise RuntimeError(f"recount: {failure}") from None
    if not np.array_equal(counted["delivered"], episodes.delivered_FN):
        raise RuntimeError("recount: the recorded selections do not deliver what the run counted")
    return replace(episodes, predicted_FN=counted["predicted"])


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


@functools.cache
def _recounter() -> Process:
    process = Process(__name__)
    atexit.register(process.__exit__)
    return process


def _replay(about: dict[str, Any], arrays: dict[str, Array]) -> Message:
    """The answer to `replay`, in the other process."""
    says, weights = Declaration.from_data(about["says"]), Path(about["judge"])
    if about["sha256"] not in (None, _sha256(weights)):
        raise RuntimeError(f"{weights.name} has changed since the contender was fitted")
    net = CanvasNet(says.shape[0], says.classes, Recipe().width)
    net.load_state_dict(load_file(weights))
    images = Split(arrays["images"], boxes_N4=arrays.get("boxes"))
    none = np.zeros(0)
    claimed = Episodes(arrays["selection"], arrays["steps"], arrays["touched"], none, none, none)
    again = replay(Stand(says), images, claimed, Evaluator(net, ""))
    return {}, {"delivered": again.delivered_FN, "predicted": again.predicted_FN}


if __name__ == "__main__":
    torch.set_num_threads(1)
    serve({"replay": _replay})
