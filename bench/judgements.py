"""Judgements: what a judge says of a record, a function of both, stored beside the record under the judge's name.

A judge reads what the record's selections show, carried out again by the bench's own sensor; nobody is trained again
for it. `run` judges each record that it makes, and `glimpse rejudge` those that today's judge of their task has not
seen. Shapes: M members, B images at a time, K classes, F budgets, N images.
"""

from __future__ import annotations

import functools
import multiprocessing
import os
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray

from glimpsebench import agents
from glimpsebench.agents.common.base import Agent, Progress
from glimpsebench.bench import hashes, judges
from glimpsebench.bench.records import Judgement, Record, rebuilt, task_of
from glimpsebench.bench.rollout import Episodes, replay
from glimpsebench.envs import tasks
from glimpsebench.envs.errors import UsageError
from glimpsebench.envs.glimpse import Observation
from glimpsebench.envs.tasks import Split, Task

Array = NDArray[Any]


class Judge(Protocol):
    """Classifiers that no contender trains or meets.

    Attributes:
        name: 16 hexadecimal digits that stand for these networks and no others.
        members: M, how many there are.
    """

    @property
    def name(self) -> str: ...

    @property
    def members(self) -> int: ...

    def __call__(self, view: Observation) -> Array:
        """Each member's class logits (M, B, K) of an observation of kind `canvas`."""


def judged(agent: Agent, test: Split, episodes: Episodes, judge: Judge) -> Judgement:
    """What a judge says of an agent's selections on the test images.

    Raises:
        RuntimeError: the selections, carried out again, do not touch what the episodes say.
    """
    assert test.labels_N is not None
    again = replay(agent, test, episodes, lambda view: np.moveaxis(judge(view), 0, 1))
    predicted_FNM = again.predicted_FN.reshape(*episodes.steps_FN.shape, judge.members)
    correct_FNM = predicted_FNM == np.asarray(test.labels_N)[:, None]
    return Judgement(judge.name, np.ascontiguousarray(np.moveaxis(correct_FNM, -1, 0)))


def write(judgement: Judgement, folder: Path) -> Path:
    """Leave a judgement beside a record, by one rename."""
    path = folder / f"judgement.{judgement.name}.npz"
    temporary = folder / f".{path.stem}.{os.getpid()}.npz"
    np.savez_compressed(temporary, correct=np.packbits(judgement.correct_MFN, axis=-1))
    temporary.replace(path)
    hashes.add(folder, path.name)
    return path


def judge_record(record: Record, task: Task, judge: Judge) -> Path:
    """Judge a record by its stored selections, and leave the judgement beside it.

    Raises:
        UsageError: selections that are missing or not those of the record, or a task that is not the record's.
    """
    agent, test = ready(record, task)
    return write(judged_again(record, agent, test, judge), record.folder)


def ready(record: Record, task: Task) -> tuple[Agent, Split]:
    """The untrained agent of a record, and the test images, which must be those that it saw.

    Raises:
        UsageError: they are not, or this version cannot make the agent.
    """
    _, agent = rebuilt(record)
    test = test_split(task)
    if not np.array_equal(np.asarray(test.labels_N), record.arrays["labels"]):
        raise UsageError(f"{record.folder / 'images.npz'}: labels: not those of {task.id}")
    return agent, test


@functools.lru_cache(1)
def test_split(task: Task) -> Split:
    """The test images of a task, of which those of the last one asked for are kept."""
    return tasks.test_split(task)


def judged_again(record: Record, agent: Agent, test: Split, judge: Judge) -> Judgement:
    """What a judge says of a record's stored selections.

    Raises:
        UsageError: they are missing, or do not touch what the record says.
    """
    try:
        return judged(agent, test, episodes_of(record, agent), judge)
    except (RuntimeError, ValueError, IndexError) as error:  # actions that the sensor does not take
        why = " ".join(str(error).split())
        raise UsageError(f"{record.folder / 'selections.npz'}: selection: not that of this record ({why})") from None


def episodes_of(record: Record, agent: Agent) -> Episodes:
    """What a record holds of its episodes."""
    arrays = record.arrays
    none = np.zeros_like(arrays["own"], np.uint8)  # of records of an earlier version, and without a predictor
    return Episodes(
        selection=record.selected(agent),
        steps_FN=arrays["steps"],
        touched_FN=arrays["touched"],
        delivered_FN=arrays["delivered"],
        predicted_FN=arrays["own"],
        confidence_FN=arrays.get("confidence", none),
        points_N2=arrays["points"],
    )


def lacking(records: Iterable[Record], again: bool = False) -> list[Record]:
    """The runs that ended well and that today's judge of their task has not judged; or, `again`, all of them.

    Raises:
        UsageError: this version does not have the task of one of them.
    """
    name_of = functools.cache(judges.name_of)
    done = [record for record in records if record.done]
    return [one for one in done if again or one.about["judge"] != name_of(task_of(one.about))]


def rejudge(
    records: Sequence[Record], workers: int, progress: Progress[Any], modules: Sequence[str] = ()
) -> Iterator[str]:
    """Judge records by today's judges of their tasks, `workers` at a time; nobody is trained again.

    Args:
        records: each that lacks what a judgement needs is left out.
        modules: contenders from outside that may be imported.

    Yields:
        A line for each record that was left out, and why.
    """
    for task in dict.fromkeys(task_of(record.about) for record in records):
        judges.judge(task, progress)
    ordered = sorted(records, key=lambda record: record.task)  # each process makes the images of one task at a time
    context = multiprocessing.get_context("spawn")
    os.environ |= {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
    with ProcessPoolExecutor(workers, context, _import, (list(modules),)) as pool:
        found = pool.map(_rejudge, [record.folder for record in ordered])
        yield from filter(None, progress(found))


def _import(modules: Iterable[str]) -> None:
    for module in modules:
        agents.find(module)


@functools.lru_cache(1)
def _judge(task: Task) -> Judge:
    return judges.judge(task, iter)


def _rejudge(folder: Path) -> str:
    torch.set_num_threads(1)  # as in `run`
    try:
        record = Record.read(folder)
        task = task_of(record.about)
        judge_record(record, task, _judge(task))
    except UsageError as error:
        return str(error)
    return ""
