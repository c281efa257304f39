"""What every run pays for: its selections are replayed and judged where the contender never was.

The bench's own sensor carries the recorded selections out again, in a process that has imported no contender: what it
touches and delivers is compared with what the run counted, and the judge reads what it shows. The process is started
once, and again if it is killed, and serves all runs of the process that asks.
"""

from __future__ import annotations

import atexit
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from glimpsebench.agents.common.base import Agent
from glimpsebench.bench import judgements, judges
from glimpsebench.bench.audit.declaration import Declaration, Stand, declared
from glimpsebench.bench.audit.halves import Halves
from glimpsebench.bench.audit.processes import Ended, Failure, Message, Process, serve
from glimpsebench.bench.records import Judgement
from glimpsebench.bench.rollout import Episodes
from glimpsebench.envs.sensors import KINDS
from glimpsebench.envs.tasks import Split, Task

Array = NDArray[Any]


@dataclass(frozen=True)
class Expected:
    """What stands before `fit`, to be compared with what is there after the rollout.

    Attributes:
        says: what the contender declares.
        task: whose judge is asked.
        judge: its name, the hash of its weights as they are now; None if it is trained only now.
    """

    says: Declaration
    task: Task
    judge: str | None


def expected(agent: Agent, task: Task, own_sensor: bool = False) -> Expected:
    """What an agent that is prepared declares, and the judge as it is now.

    Raises:
        UsageError: the agent breaks a rule (`declaration.check`).
    """
    _recounter()  # begins now, beside the training
    return Expected(declared(agent, own_sensor), task, judges.name_of(task))


def recounted(before: Expected, images: Split, episodes: Episodes) -> Judgement:
    """What the judge says of the same selections, carried out again.

    Args:
        before: what stood before `fit`.
        images: the test images.
        episodes: what the run counted.

    Raises:
        RuntimeError: the run counted something else than is there, or the judge is another now.
    """
    says, task = before.says, before.task
    if type(says.sensor) not in KINDS.values():  # which no other process has
        return judgements.judged(Stand(says), images, episodes, judges.judge(task, iter))
    networks = [str(path.resolve()) for path in judges.member_files(task)]
    arrays = {
        "images": images.images_NCHW,
        "labels": np.asarray(images.labels_N),
        "selection": episodes.selection,
        "steps": episodes.steps_FN,
        "touched": episodes.touched_FN,
        "delivered": episodes.delivered_FN,
    }
    if images.boxes_N4 is not None:
        arrays["boxes"] = images.boxes_N4
    about = {"says": says.as_data(), "networks": networks, "judge": before.judge}
    try:
        try:
            answer, judged = _recounter().ask("judge", about, arrays)
        except Ended:  # as by the out-of-memory killer: no fault of the run, nor of those after it
            answer, judged = _recounter().ask("judge", about, arrays)
    except Failure as failure:
        raise RuntimeError(f"recount: {failure}") from None
    return Judgement(str(answer["judge"]), judged["correct"].astype(bool))


_processes: list[Process] = []
"""The process that judges, once there is one."""


def _recounter() -> Process:
    """The process that judges; another where it has ended."""
    if _processes and _processes[0].ended:
        _processes.pop().__exit__()
    if not _processes:
        _processes.append(Process(__name__))
        atexit.register(_processes[0].__exit__)
    return _processes[0]


def _judge(about: dict[str, Any], arrays: dict[str, Array]) -> Message:
    """The answer to `judge`, in the other process."""
    says = Declaration.from_data(about["says"])
    judge = judges.of_files(list(map(Path, about["networks"])), Halves("task", 1, says.shape, says.classes))
    if about["judge"] not in (None, judge.name):
        raise RuntimeError(f"the judge has changed since the contender was fitted, from {about['judge']}")
    images = Split(arrays["images"], arrays["labels"], boxes_N4=arrays.get("boxes"))
    none = np.zeros(0)
    claimed = Episodes(
        selection=arrays["selection"],
        steps_FN=arrays["steps"],
        touched_FN=arrays["touched"],
        delivered_FN=arrays["delivered"],
        predicted_FN=none,
        confidence_FN=none,
        points_N2=none,
    )
    judgement = judgements.judged(Stand(says), images, claimed, judge)
    return {"judge": judgement.name}, {"correct": judgement.correct_MFN}


if __name__ == "__main__":
    torch.set_num_threads(1)
    serve({"judge": _judge})
