"""Accuracy after each glimpse, for agents of several: the recorded selections, replayed step by step.

What was looked at stands in the records, so nobody is asked again where to look; the agent's weights, from the
record's folder, and the judge say after each glimpse what they make of it. An episode that ended early, because
the budget was used up or the next glimpse would have exceeded it, keeps its last prediction and mask; an image
without a glimpse counts as wrong. Runs that did not end well count as chance, as on the leaderboard.

Contenders are compared after as many glimpses, whatever these touch; `compare` does it at equal budgets.
Shapes: S seeds, M members of the judge (one of own scores), N images, T glimpses.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError

from glimpsebench.agents.common.base import Agent, Progress
from glimpsebench.bench import escape, judges
from glimpsebench.bench.compare import cell, named, pipe
from glimpsebench.bench.records import Record, rebuilt
from glimpsebench.bench.rollout import Predict, replay_steps
from glimpsebench.bench.rows import SCORES, Row, shown
from glimpsebench.bench.stats import Difference, Interval, crossed, holm, interval
from glimpsebench.bench.styles import styles_of
from glimpsebench.envs import tasks
from glimpsebench.envs.errors import UsageError
from glimpsebench.envs.glimpse import Kind
from glimpsebench.envs.tasks import Split, Task

Array = NDArray[Any]

AGREEMENT = 0.99
"""The least share of recorded predictions that a replay must repeat: other machines differ in a logit's last bits."""

_NOTE = """
Per cent on the same test images after each glimpse, mean over seeds. ±: how far the 95 % interval reaches over
images and seeds. An episode that ended early keeps its last prediction and mask. *touched*: the mean share of the
image. ·: fewer glimpses, or no predictor.
"""
_AGAINST = """
Differences: each image counts with its mean over a contender's seeds; ±: 95 % interval over images and seeds.
Bold: it excludes zero. ★: it does so after Holm's correction for all differences of the table. ¹: a side has one seed,
so it has no ★.
"""


@dataclass(frozen=True)
class Replayed:
    """A row after each glimpse.

    Attributes:
        row: of the leaderboard.
        touched_T: the mean touched fraction.
        correct: by score, which images were right, (S, M, N, T); a score that the row has not is missing.
    """

    row: Row
    touched_T: Array
    correct: dict[str, Array]

    def accuracy(self, by: str) -> list[Interval]:
        """After each glimpse, with its interval over images and seeds; [] without this score."""
        right = self.correct.get(by, np.zeros((0, 0, 0, 0)))
        return [interval(right[..., t]) for t in range(right.shape[3])]

    def minus(self, other: Replayed, by: str) -> list[tuple[Difference, int]]:
        """The paired difference after each glimpse that both have, and the seeds of the side with fewer."""
        if by not in self.correct or by not in other.correct:
            return []
        mine, theirs = self.correct[by], other.correct[by]
        both = range(min(mine.shape[3], theirs.shape[3]))
        return [(crossed(mine[..., t], theirs[..., t]), min(len(mine), len(theirs))) for t in both]


def chosen(rows: Sequence[Row], labels: Sequence[str], against: str | None) -> list[Row]:
    """The rows with these labels and the one to compare with, in the leaderboard's order; without labels all that fit.

    Raises:
        UsageError: an unknown label, or one whose agent takes a single glimpse.
    """
    wanted = [row for label in [*labels, *([against] if against else [])] for row in named(rows, label)]
    several = [row for row in rows if row.runs and _several(row)]
    for row in wanted:
        if row not in several:
            raise UsageError(
                f"{row.label} on {row.task}: no run of several glimpses, so nothing to show glimpse by glimpse"
            )
    if not several:
        raise UsageError("no agent of several glimpses here")
    return [row for row in several if row in wanted] if labels else several


def _several(row: Row) -> bool:
    return any(record.arrays["steps"].max() > 1 for record in row.runs)


def replayed(row: Row, progress: Progress[int]) -> Replayed:
    """Carry out a row's recorded selections again.

    Raises:
        UsageError: weights that are missing, or weights, code or images that are not those of the record.
    """
    torch.set_num_threads(1)  # as in `run`
    task, _ = rebuilt(row.runs[0])
    test = tasks.test_split(task)
    if row.runs[0].about["judge"] != judges.name_of(task):
        raise UsageError(f"{row.label} on {row.task}: not judged by today's judge; `glimpse rejudge` does it")
    agents = [_trained(record, task) for record in row.runs]
    judge = judges.judge(task, progress)
    touched: list[Array] = []
    correct: dict[str, list[Array]] = {by: [] for by in SCORES}
    for record, agent in zip(row.runs, agents, strict=True):
        views: dict[str, tuple[Kind, Predict]] = {
            "judge": ("canvas", lambda view: np.moveaxis(judge(view), 0, 1)),
            "own": (agent.view, agent.predict),
        }
        for by in SCORES:
            if len(record.correct_MFN(by)):
                correct_MNT, touched_NT = _steps(record, agent, test, by, *views[by])
                correct[by].append(correct_MNT)
        touched.append((touched_NT / test.own_pixels_N[:, None]).mean(0))
    stacked = {by: row.with_failed(np.stack(runs)) for by, runs in correct.items() if runs}
    return Replayed(row, np.mean(touched, axis=0), stacked)


_MEND = "run the sweep again with another --root, or delete this record first"


def _trained(record: Record, task: Task) -> Agent:
    _, agent = rebuilt(record)
    path = record.folder / "weights.safetensors"
    try:
        record.load_weights(agent, task)
    except (OSError, RuntimeError, SafetensorError) as error:
        what = "not here" if isinstance(error, OSError) else "of another version"
        raise UsageError(f"{path}: {what}, and a replay needs it; {_MEND}") from None
    return agent


def _steps(record: Record, agent: Agent, test: Split, by: str, view: Kind, predict: Predict) -> tuple[Array, Array]:
    """Which members are right after each glimpse (M, N, T), and what is touched (N, T); at the end as is recorded."""
    arrays, labels_N = record.arrays, record.arrays["labels"]
    if np.array_equal(np.asarray(test.labels_N), labels_N):
        selection = record.selected(agent)[0]
        predicted, touched_NT = replay_steps(agent, test, selection, arrays["steps"][-1], view, predict)
        correct_MNT = predicted.reshape(-1, *touched_NT.shape) == labels_N[:, None]
        recorded_MN = record.correct_MFN(by)[:, -1]
        same = len(recorded_MN) == len(correct_MNT) and (correct_MNT[..., -1] == recorded_MN).mean() >= AGREEMENT
        if np.array_equal(touched_NT[:, -1], arrays["touched"][-1]) and same:
            return correct_MNT, touched_NT
    raise UsageError(
        f"{record.folder}: its replay ({by}) does not end as recorded, so images, code or weights differ; {_MEND}"
    )


def table(results: Sequence[Replayed], against: str | None = None) -> pd.DataFrame:
    """The long form: one line per row and glimpse."""
    others = _others(results, against)
    lines = []
    for one in results:
        scores = {by: one.accuracy(by) for by in SCORES}
        other = others.get(one.row.task)
        differences = {by: [] if other is None or other is one else one.minus(other, by) for by in SCORES}
        for t, touched in enumerate(one.touched_T):
            line: dict[str, Any] = {"task": one.row.task, "track": one.row.track, "contender": one.row.label}
            line |= {"glimpse": t + 1, "seeds": len(one.row.records), "touched": touched}
            for by in SCORES:
                value = scores[by][t] if scores[by] else _NOTHING
                line |= {by: value.mean, f"{by}_low": value.low, f"{by}_high": value.high}
            line |= {"against": against} if against else {}
            for by in SCORES if against else ():
                difference = differences[by][t][0] if t < len(differences[by]) else _NOTHING
                name = f"{by}_difference"
                line |= {name: difference.mean, f"{name}_low": difference.low, f"{name}_high": difference.high}
            lines.append(line)
    return pd.DataFrame(lines)


_NOTHING = Interval(float("nan"), float("nan"), float("nan"))


def _others(results: Sequence[Replayed], against: str | None) -> dict[str, Replayed]:
    """By task, the one to compare with."""
    if against is None:
        return {}
    same = named([one.row for one in results], against)
    return {one.row.task: one for one in results if one.row in same}


def markdown(results: Sequence[Replayed], against: str | None = None) -> str:
    """Per task: what is touched, both accuracies and, with `against`, the differences, glimpse by glimpse."""
    parts = [f"# Accuracy after each glimpse\n{_NOTE}{_AGAINST if against else ''}"]
    others = _others(results, against)
    for task in dict.fromkeys(one.row.task for one in results):
        here = [one for one in results if one.row.task == task]
        seeds = "; ".join(f"{escape.markdown(one.row.label)} {len(one.row.records)}" for one in here)
        parts.append(f"\n## {escape.markdown(task)}\n\nseeds: {seeds}\n")
        columns = {"touched": [[f"{100 * share:.1f}" for share in one.touched_T] for one in here]}
        columns |= {by: [[_accuracy(value) for value in one.accuracy(by)] for one in here] for by in SCORES}
        parts += [_table(here, heading, cells) for heading, cells in columns.items()]
        other = others.get(task)
        compared = [one for one in here if one is not other]
        if other is not None and compared:
            parts += [
                _table(
                    compared,
                    f"{by}, minus {escape.markdown(other.row.label)}",
                    _marked([one.minus(other, by) for one in compared]),
                )
                for by in SCORES
            ]
    return "".join(parts)


def _table(here: Sequence[Replayed], heading: str, cells: Sequence[Sequence[str]]) -> str:
    longest = max(len(column) for column in cells)
    lines = [[str(t + 1), *(column[t] if t < len(column) else "·" for column in cells)] for t in range(longest)]
    return f"\n### {heading}\n\n{pipe(['glimpse', *(shown(one.row) for one in here)], lines)}"


def _accuracy(value: Interval) -> str:
    return f"{100 * value.mean:.1f} ± {100 * value.reach:.1f}"


def _marked(columns: Sequence[Sequence[tuple[Difference, int]]]) -> list[list[str]]:
    adjusted = iter(holm(np.array([difference.p for column in columns for difference, _ in column])).tolist())
    return [[cell(difference, next(adjusted), seeds) for difference, seeds in column] for column in columns]


def write(results: Sequence[Replayed], root: Path, against: str | None = None) -> list[Path]:
    """Write by_glimpse.md, by_glimpse.csv, and the figure, per task where there are several."""
    from glimpsebench.bench.figures import glimpses, paper  # which draws what this module finds

    paths = [root / "by_glimpse.md", root / "by_glimpse.csv"]
    paths[0].write_text(markdown(results, against))
    frame = table(results, against).map(lambda value: escape.csv(value) if isinstance(value, str) else value)
    paths[1].write_text(frame.to_csv(index=False, float_format="%.6f", lineterminator="\n"))
    names = list(dict.fromkeys(one.row.task for one in results))
    styles = styles_of([one.row for one in results])
    for task in names:
        ending = "" if len(names) == 1 else paper.ending_of(task)
        here = [one for one in results if one.row.task == task]
        for drawn in glimpses.draw(here, styles, paper.WIDTHS["text"]):
            paths += paper.save(drawn, root, ending)
    return paths
