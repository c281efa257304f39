"""An audit of one run: it is made again where the contender's code meets nothing but what it is given.

The contender is fitted without the test images, looks at them through pipes, and what it does is compared with its
record; then its predictor is asked about views that it was not shown (`invariances`), and its masks are judged by a
network that cannot read them (`decoupled`). The same seed on the same machine gives an honest contender's record again,
bit for bit. The result is plain data in `audit.json` beside the record, from which tables take their word.
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from glimpsebench.bench import judgements, judges, metrics, records
from glimpsebench.bench.audit import invariances
from glimpsebench.bench.audit.declaration import Declaration, Stand
from glimpsebench.bench.audit.decoupled import MEMBERS, decoupled
from glimpsebench.bench.audit.invariances import Views
from glimpsebench.bench.audit.processes import Failure
from glimpsebench.bench.audit.rooms import Remote, Subject, limits
from glimpsebench.bench.audit.verdict import CHECKS, signs, verdict
from glimpsebench.bench.rollout import Episodes, rollout
from glimpsebench.bench.run import Spec
from glimpsebench.bench.schema import AboutAudit, Timings, read_json
from glimpsebench.envs import tasks
from glimpsebench.envs.base import Split, Task
from glimpsebench.envs.errors import UsageError

Array = NDArray[Any]

FILE = records.AUDIT
SCHEMA = 1


@dataclass(frozen=True)
class Audit:
    """An audit's result.

    Attributes:
        verdict: `gated`, `open`, `encodes` or `leaks`; of the last two, `reasons` says why.
        reasons: a sentence for each sign against it.
        figures: by the names of `verdict.CHECKS`.
        decoupled: the decoupled judge's accuracy at each budget; None where a budget is not reached.
        not_caught: what the rooms of this machine could not prevent; empty if nothing.
    """

    verdict: str
    reasons: tuple[str, ...]
    figures: dict[str, float]
    decoupled: tuple[float | None, ...]
    not_caught: str

    def write(self, folder: Path) -> Path:
        """Write it beside a record."""
        path = folder / FILE
        temporary = path.with_suffix(".tmp")
        temporary.write_text(records.canonical({"schema": SCHEMA, **dataclasses.asdict(self)}))
        return temporary.replace(path)


def read(folder: Path) -> Audit | None:
    """The audit beside a record, or None.

    Raises:
        UsageError: the file is none of an audit's.
    """
    if not (folder / FILE).is_file():
        return None
    about = read_json(folder / FILE, AboutAudit)
    lists = {name: tuple(about[name]) for name in ("reasons", "decoupled")}
    return Audit(**{name: value for name, value in (about | lists).items() if name != "schema"})


def audit(spec: Spec, root: Path, tell: Callable[[str], None] = lambda text: None) -> Path:
    """Audit a run, which is made first if it has no record yet.

    Args:
        tell: is told what comes next.

    Returns:
        The record's folder, where `audit.json` is now.

    Raises:
        UsageError: the contender breaks a rule, or its run did not end well.
    """
    torch.set_num_threads(1)  # as in a run
    task = tasks.make(spec.task, spec.task_settings)
    tell("reading what the contender declares")
    try:
        subject = Subject(spec)
        folder = records.folder_of(root, task.id, spec.agent, records.digest(subject.inputs))
        if not (folder / "record.json").is_file():
            tell("making the run, which has no record yet")
            subject.run(root)
    except Failure as failure:
        raise UsageError(str(failure).removeprefix("UsageError: ")) from None
    record = records.Record.read(folder)
    if not record.done:
        raise UsageError(f"the run did not end well, so there is nothing to audit: {record.about['error']}")
    images = tasks.test_split(task)
    clock = [time.perf_counter()]
    try:
        tell("fitting it without the test images")
        with subject.fitted(task) as weights:
            clock.append(time.perf_counter())
            tell("looking at the test images")
            with subject.looking(task, weights) as contender:
                episodes = rollout(contender, images, spec.seed)
                tell("asking its predictor")
                figures = _asked(contender, images, episodes, record)
            if "record_own" in figures and (anew := placed_anew(task, record)):
                with subject.looking(task, weights) as contender:
                    again = rollout(contender, anew, spec.seed)
                own_F = accuracy(subject.says, episodes, images)
                figures["placed_anew"] = _mean(own_F - accuracy(subject.says, again, anew))
        tell("judging its masks")
        found, decoupled_F = _judged(subject.says, task, episodes, record)
        figures |= found
        reasons = tuple(f"{name}: {figures[name]:.3f} {CHECKS[name].says}" for name in signs(figures))
        said = verdict(figures, subject.says.track)
    except Failure as failure:
        figures, decoupled_F, said = {}, np.array([]), "leaks"
        reasons = (f"it does not work with weights, settings and training images alone: {failure}",)
    clock.append(time.perf_counter())
    accuracies = tuple(None if np.isnan(value) else round(float(value), 4) for value in decoupled_F)
    rounded = {name: round(figures[name], 4) for name in CHECKS if name in figures}
    Audit(said, reasons, rounded, accuracies, limits()).write(folder)
    _note_seconds(folder, [round(seconds, 3) for seconds in np.diff(clock).tolist()])
    return folder


def placed_anew(task: Task, record: records.Record) -> Split | None:
    """The test objects of a placed task at other places; None where a task places nothing.

    Places follow from the record's key, which depends on the contender's source: it cannot have known them.
    """
    if task.name not in tasks.TASKS or not dataclasses.is_dataclass(task):
        return None
    anew = dataclasses.replace(task, version=1000 + int(record.folder.name[:8], 16)).render("test", 0)
    return None if np.array_equal(anew.images_NCHW, tasks.test_split(task).images_NCHW) else anew


def accuracy(says: Declaration, episodes: Episodes, images: Split, correct_FN: Array | None = None) -> Array:
    """Top-1 accuracy at each budget (F,), NaN where it is not reached: of the own predictions, or of a judge's."""
    whole = says.shape[1] * says.shape[2]
    touched = says.currency == "touched"
    used_FN = episodes.touched_FN / images.own_pixels_N if touched else episodes.delivered_FN / whole
    if correct_FN is None:
        correct_FN = episodes.predicted_FN == np.asarray(images.labels_N)
    return np.where(metrics.reached(used_FN, says.budgets), correct_FN.mean(1), np.nan)


def _mean(values_F: Array) -> float:
    return float(np.nanmean(values_F)) if np.isfinite(values_F).any() else 0.0


def _largest(values_F: Array) -> float:
    return float(np.nanmax(values_F)) if np.isfinite(values_F).any() else 0.0


def _asked(contender: Remote, images: Split, episodes: Episodes, record: records.Record) -> dict[str, float]:
    """The figures of the clean run beside the record, and of the experiments: of two budgets the worse."""
    says = contender.declaration
    whole = says.shape[1] * says.shape[2]
    figures = {"record_touched": float((episodes.touched_FN - record.arrays["touched"]).mean() / whole)}
    if (episodes.predicted_FN < 0).all() and (record.arrays["own"] < 0).all():
        return figures
    figures["record_own"] = _mean(record.accuracy("own") - accuracy(says, episodes, images))
    for at in invariances.budgets_to_ask_at(says, episodes):
        rng = np.random.default_rng(at)
        for name, value in invariances.figures(contender.predict, Views(says, images, episodes, at), rng).items():
            figures[name] = max(value, figures.get(name, -1.0))
    return figures


def _judged(
    says: Declaration, task: Task, episodes: Episodes, record: records.Record
) -> tuple[dict[str, float], Array]:
    """The figures of the judge and of the decoupled judge, and the latter's accuracy at each budget (F,)."""
    images, judge = tasks.test_split(task), judges.judge(task, iter)
    judgement = judgements.judged(Stand(says), images, episodes, judge)
    judged_F = accuracy(says, episodes, images, judgement.correct_MFN.mean(0))
    answers_MFN = decoupled(judge.nets[:MEMBERS], says, episodes, images, task)
    decoupled_F = accuracy(says, episodes, images, (answers_MFN == np.asarray(images.labels_N)).mean(0))
    figures = {
        "record_judge": _mean(record.accuracy("judge") - judged_F),
        "judge_less_decoupled": _largest(judged_F - decoupled_F),
    }
    if (episodes.predicted_FN >= 0).any():
        figures["own_less_decoupled"] = _largest(accuracy(says, episodes, images) - decoupled_F)
    return figures, decoupled_F


def _note_seconds(folder: Path, seconds: list[float]) -> None:
    """Timings are in a file of their own: here, of fitting again and of everything after it."""
    path = folder / "timings.json"
    kept = read_json(path, Timings) if path.is_file() else {}
    path.write_text(records.compact({**kept, "audit": dict(zip(("fit", "checks"), seconds, strict=False))}))
