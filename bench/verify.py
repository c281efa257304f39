"""`glimpse verify`: what of a record is claimed, and what was found out again.

Levels:

- *claimed*: the record is whole, agrees with itself and, where its task is at hand, with the task's test images.
- *recounted*: its selections, carried out again by the bench's own sensor, take and touch what it says.
- *judged again*: recounted, and today's judge says of them what the record's judgement says. Also black-out: with the
  values of the same places blanked, neither judge nor own predictor is right more often than the largest class is, or
  else the places tell the label.
- *run again*: recounted, and training it anew gave about the same accuracies.

With `fresh_steps`, what is recounted is also read by a judge that no contender can have known (`judges.fresh`).

A record that is forged or damaged is *refused*, in one line that names file and field. What a record on its own or
beside the others of its row may have an honest reason for is a *doubt*. Nothing in a record imports a module.
Shapes: S seeds, F budgets, N images.
"""

from __future__ import annotations

import functools
import itertools
import json
import tempfile
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, get_args

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError

from glimpsebench import agents
from glimpsebench.agents.common.base import Agent, Progress
from glimpsebench.bench import hashes, judgements, judges, localisation, store
from glimpsebench.bench.arrays import read_judgement
from glimpsebench.bench.judges.fresh import Lead, fresh_judge, lead
from glimpsebench.bench.records import Record, asked, check_alike, digest, folder_of, judges_of, rebuilt, task_of
from glimpsebench.bench.rollout import Episodes, replay
from glimpsebench.bench.run import Spec, content_hash, run
from glimpsebench.bench.schema import Level
from glimpsebench.envs import tasks
from glimpsebench.envs.errors import UsageError
from glimpsebench.envs.tasks import Split, Task

Array = NDArray[Any]

LEVELS: tuple[Level, ...] = get_args(Level)

AGREEMENT = 0.999
"""The least share of a judge's answers that must be the same again, on whatever machine."""
CONFIDENCE = 3
"""How far, in 255ths, a confidence may be from the same again, on whatever machine."""
NEAR_EQUAL = 0.02
"""Two seeds whose predictions differ on fewer than this share of the images that either gets wrong are doubted."""
_FEW = 30
"""Wrong answers that say too little to compare seeds by."""
LEAD = 0.1
"""How far the judge's lead over a fresh one may go beyond that on the same masks over other images. Provisional."""
MARGIN = 0.02
"""How far above the ceiling's own accuracy, beside its standard errors, another's must be to be doubted."""
RUN_AGAIN = 0.05
"""How far apart the mean own accuracies of a run and of the same run again may be, on whatever machine."""


@dataclass
class Checked:
    """One record folder and what was found.

    Attributes:
        folder: where it lies.
        record: None where it could not be read.
        level: how far it was followed, one of `LEVELS`; '' where it is refused.
        refused: one line, naming file and field; '' where it is not.
        doubts: a line each.
        notes: why no higher level was reached.
        lead: of the judge over a fresh one, where that was asked for.
    """

    folder: Path
    record: Record | None = None
    level: str = ""
    refused: str = ""
    doubts: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    lead: Lead | None = None


def folders(path: Path) -> list[Path]:
    """The record folders at a path: itself, those of a results folder, or of a folder of these.

    Raises:
        UsageError: there is none.
    """
    if (path / "record.json").exists():
        return [path]
    found = [*path.glob("records/*/*/*"), *path.glob("*/records/*/*/*")]
    if kept := sorted(one for one in found if one.is_dir() and not one.name.startswith(".")):
        return kept
    raise UsageError(f"{path}: no records here")


def verify(
    paths: Iterable[Path],
    judge: bool = False,
    rerun: int = 0,
    progress: Progress[Any] = iter,
    seed: int | None = None,
    fresh_steps: int = 0,
) -> list[Checked]:
    """Check the records at these paths.

    Args:
        paths: record folders, results folders, or folders of these.
        judge: judge again, with black-out, what has its selections.
        rerun: so many of the records that are not refused, drawn at random, are run again.
        progress: wraps what takes long.
        seed: of that draw; by default nobody knows it beforehand.
        fresh_steps: a fresh judge of each task is trained for so many steps; 0 for none.

    Raises:
        UsageError: no records at one of the paths.
    """
    places = list(dict.fromkeys(folder for path in paths for folder in folders(path)))
    checked = [_read(folder) for folder in places]
    tables, freshly = _tables(checked), functools.lru_cache(1)(lambda task: fresh_judge(task, fresh_steps, progress))
    left_in = [len(table) for table in tables]
    for number, one in progress([(number, one) for number, table in enumerate(tables) for one in table]):
        _check_files(one)
        if not one.refused:
            _examine(one, judge, progress, freshly if fresh_steps else None)
        left_in[number] -= 1
        if not left_in[number]:
            if alike := _alike([each for each in tables[number] if not each.refused]):
                _beside_each_other(alike)
            for each in tables[number]:
                _record(each).forget()
    left = [one for one in checked if not one.refused and one.record is not None]
    drawn = np.random.default_rng(seed).permutation(len(left))[:rerun]
    for at in progress(drawn.tolist()):
        _run_again(left[at], progress)
    return checked


def keep(checked: Iterable[Checked]) -> None:
    """Note beside each record, in verified.json, how far it was followed, and what it held then.

    A record that was refused has no such note, nor has one that was doubted.
    """
    for one in checked:
        path = one.folder / "verified.json"
        if one.refused or one.doubts or one.record is None:
            path.unlink(missing_ok=True)
            continue
        about = {"schema": 1, "level": one.level, "record": hashes.of_record(one.folder)}
        path.write_text(json.dumps(about) + "\n")


def code(checked: Iterable[Checked]) -> int:
    """0: nothing found; 1: doubts; 2: a record is refused."""
    return max((2 if one.refused else int(bool(one.doubts)) for one in checked), default=0)


def _record(one: Checked) -> Record:
    assert one.record is not None
    return one.record


def _root(folder: Path) -> Path:
    """The results folder of a record folder."""
    return folder.resolve().parents[3]


def _read(folder: Path) -> Checked:
    """What a record says of itself, checked as every reader checks it."""
    one = Checked(folder)
    try:
        record = Record.read(folder)
        agent, key = record.about["agent"]["name"], record.about["key"]
        if folder.resolve().parts[-3:] != folder_of(Path(), record.task, agent, key).parts[-3:]:
            raise UsageError(f"{folder / 'record.json'}: key: the folder is not that of its task, agent and key")
        one.record, one.level = record, LEVELS[0]
    except UsageError as error:
        one.refused = str(error)
    return one


def _check_files(one: Checked) -> None:
    """All of a record's other files."""
    record, folder = _record(one), one.folder
    try:
        _ = record.timings, record.curves
        if record.done:
            for name in judges_of(folder):
                read_judgement(folder / f"judgement.{name}.npz", record.arrays["steps"])
        elif (folder / "images.npz").exists():
            raise _refuse(record, "record.json", f"status: {record.about['status']}, and there are results")
    except UsageError as error:
        one.refused, one.level = str(error), ""


def _examine(
    one: Checked, judge: bool, progress: Progress[Any], freshly: Callable[[Task], judges.Judge] | None = None
) -> None:
    """Compare a record with its task and its agent; recount and judge its selections, where all of this is at hand."""
    record = _record(one)
    if str(record.about["software"].get("commit", "")).endswith("-dirty"):
        one.doubts.append("made by code that differs from its commit")
    if not record.done:
        return
    try:
        try:
            task = task_of(record.about)
            test = judgements.test_split(task)
        except (UsageError, OSError) as error:  # another version's task, or images that are not on this machine
            one.notes.append(f"its task is not at hand ({error})")
            return
        _check_task(record, task, test)
        try:
            _, agent = rebuilt(record)
        except UsageError as error:
            one.notes.append(f"its agent is not at hand ({error})")
            return
        _check_agent(record, agent)
        if not (record.folder / "selections.npz").exists():
            one.notes.append("its selections were left out of this copy")
            return
        episodes = judgements.episodes_of(record, agent)
        _recount(record, agent, test, episodes)
        one.level = LEVELS[1]
        if judge:
            _judge_again(one, task, agent, test, episodes, progress)
            one.level = LEVELS[2]
        if freshly is not None:
            one.lead = lead(agent, test, episodes, judges.judge(task, progress), freshly(task), record.reached_F)
            if one.lead and one.lead.own - one.lead.elsewhere - 3 * one.lead.error > LEAD:
                one.doubts.append(f"picked for the judge: {one.lead}")
    except UsageError as error:
        one.refused, one.level = str(error), ""


def _refuse(record: Record, file: str, what: str) -> UsageError:
    return UsageError(f"{record.folder / file}: {what}")


@functools.lru_cache(2)
def _content(task: Task) -> tuple[str, Array | None]:
    """The hash of a task's test images and labels, and the size of each object (N,)."""
    test = judgements.test_split(task)
    objects = test.objects_NHW
    return content_hash(test), None if objects is None else np.asarray(objects).sum((1, 2))


def _check_task(record: Record, task: Task, test: Split) -> None:
    about, arrays = record.about["task"], record.arrays
    digest_, objects_N = _content(task)
    said = {"shape": list(task.shape), "classes": task.classes, "test_images": len(test), "test_sha256": digest_}
    for name, value in said.items():
        if about[name] != value:
            raise _refuse(record, "record.json", f"task.{name}: {about[name]}, and the task has {value}")
    expected = {"labels": np.asarray(test.labels_N), "pixels": test.own_pixels_N}
    for name, values_N in expected.items():
        if name in arrays and not np.array_equal(arrays[name], values_N):
            raise _refuse(record, "images.npz", f"{name}: not those of {task.id}")
    if (test.boxes_N4 is not None) != ("pixels" in arrays):
        raise _refuse(record, "images.npz", "pixels: there where no image is padded, or missing where some are")
    if (objects_N is not None) != ("iou" in arrays):
        raise _refuse(record, "images.npz", "iou, on_object: there without objects, or missing with them")
    if objects_N is not None:
        inside = np.nan_to_num(arrays["on_object"]) * arrays["touched"]
        expected_FN = localisation.ratio(inside, arrays["touched"] + objects_N - inside)
        if not np.allclose(arrays["iou"], expected_FN, atol=1e-4, equal_nan=True):
            raise _refuse(record, "images.npz", "iou: not that of what is touched with the task's objects")
    if "pointed" in arrays:
        assert test.objects_NHW is not None
        hits_N = localisation.pointing_game(arrays["points"], np.asarray(test.objects_NHW))
        if not np.array_equal(hits_N, arrays["pointed"]):
            raise _refuse(record, "images.npz", "pointed: not what its points hit")


def _check_agent(record: Record, agent: Agent) -> None:
    """What a record says of its agent is what the agent says, if its code is today's."""
    about = record.about["agent"]
    if about["version"] != agent.version or about["source"] != agents.source_hash(about["name"]):
        return
    names = ("track", "reference", "currency", "given", "supervision")
    for name in names:
        if about[name] != getattr(agent, name):
            said, is_ = about[name], getattr(agent, name)
            raise _refuse(record, "record.json", f"agent.{name}: {said}, and {about['name']} is {is_}")
    if record.budgets != tuple(agent.budgets):
        raise _refuse(record, "record.json", f"budgets: not those of {about['name']}")
    if about["sensor"] != repr(agent.sensor()):
        raise _refuse(record, "record.json", f"agent.sensor: {about['sensor'][:60]}, and it is {agent.sensor()!r}")


def _recount(record: Record, agent: Agent, test: Split, episodes: Episodes) -> None:
    try:
        replay(agent, test, episodes, lambda view: None)
    except (RuntimeError, ValueError, IndexError) as error:  # actions that the sensor does not take
        why = " ".join(str(error).split())
        raise _refuse(record, "selections.npz", f"selection: not that of this record ({why})") from None


def _judge_again(
    one: Checked, task: Task, agent: Agent, test: Split, episodes: Episodes, progress: Progress[Any]
) -> None:
    """Today's judge on the same selections, and what it and the own predictor make of the same places blanked."""
    record = _record(one)
    judge = judges.judge(task, progress)
    again = judgements.judged(agent, test, episodes, judge)
    path = record.folder / f"judgement.{judge.name}.npz"
    if not path.exists():
        one.doubts.append("not judged by today's judge")
    else:
        recorded_MFN = read_judgement(path, record.arrays["steps"])
        same = recorded_MFN.shape == again.correct_MFN.shape and (recorded_MFN == again.correct_MFN).mean()
        if same < AGREEMENT:
            raise UsageError(f"{path}: correct: {100 * same:.1f} % of it is what the judge says")
    blank = Split(np.zeros_like(test.images_NCHW), test.labels_N, boxes_N4=test.boxes_N4)
    scores = {"judge": judgements.judged(agent, blank, episodes, judge).correct_MFN.mean(0)}
    try:
        record.load_weights(agent, task)
    except (OSError, RuntimeError, ValueError, SafetensorError):
        one.notes.append("without its weights, black-out is by the judge alone")
    else:
        labels_N, own_FN = record.arrays["labels"], record.arrays["own"]
        seen = replay(agent, test, episodes, agent.predict, agent.view)
        if (seen.predicted_FN == own_FN).mean() < AGREEMENT:
            raise _refuse(record, "images.npz", "own: not what its weights predict from its selections")
        said_FN = record.arrays.get("confidence", seen.confidence_FN)
        if (np.abs(said_FN - seen.confidence_FN.astype(int)) <= CONFIDENCE).mean() < AGREEMENT:
            raise _refuse(record, "images.npz", "confidence: not that of what its weights predict")
        scores["own predictor"] = replay(agent, blank, episodes, agent.predict, agent.view).predicted_FN == labels_N
    most = np.unique(record.arrays["labels"], return_counts=True)[1].max() / len(test)
    above = most + 4 * np.sqrt(most * (1 - most) / len(test))
    for who, correct_FN in scores.items():
        best = float(np.max(np.where(record.reached_F, correct_FN.mean(1), 0)))
        if best > above:
            one.doubts.append(f"black-out: from the places alone the {who} is right on {100 * best:.1f} %")


def _tables(checked: Iterable[Checked]) -> list[list[Checked]]:
    """Those of one task in one results folder together, and all of one task in a row: its images are made once."""
    tables: dict[tuple[str, Path], list[Checked]] = defaultdict(list)
    for one in checked:
        if one.record is not None:
            about = one.record.about["task"]
            tables[digest([about["id"], about["settings"]]), _root(one.folder)].append(one)
    return [tables[key] for key in sorted(tables)]


def _alike(table: Sequence[Checked]) -> list[Checked]:
    """The records of one task that agree with those before them; the others are refused."""
    kept: list[Checked] = []
    for one in table:
        try:
            check_alike([*map(_record, kept), _record(one)])
            kept.append(one)
        except UsageError as error:
            one.refused, one.level = str(error), ""
    return kept


def _beside_each_other(table: Sequence[Checked]) -> None:
    """Doubts about the records of one task that only show when they are compared."""
    rows: dict[str, list[Checked]] = defaultdict(list)
    for one in table:
        rows[digest(asked(_record(one).about) | {"seed": None})].append(one)
    for some in _shown_together(table):
        judges = {_record(one).about["judge"] for one in some if _record(one).done}
        if len(judges) > 1:
            some[0].doubts.append(f"the records of {_record(some[0]).task} were judged by {len(judges)} judges")
    for row in rows.values():
        _seeds(row)
    tops: dict[str, list[float]] = {"ceiling": [], "floor": []}
    for one in table:
        if (reference := _record(one).about["agent"]["reference"]) and _record(one).done:
            tops[reference].append(_best(_record(one)))
    top = float(np.mean(tops["ceiling"])) if tops["ceiling"] else 1.0
    # Where a background misleads, whatever hides it is above the ceiling, floors among it.
    if max(tops["floor"], default=0.0) <= top + MARGIN:
        for one in table:
            _above(one, top)


def _shown_together(table: Sequence[Checked]) -> list[list[Checked]]:
    """The records of one task by the tables that they stand in: of each published suite those listed, and the rest."""
    root = _root(table[0].folder)
    lists = [{*store.listed(folder)} for folder in store.folders(root) if (folder / store.LIST).is_file()]
    lists.append({_name(one) for one in table} - {name for names in lists for name in names})
    found = [[one for one in table if _name(one) in names] for names in lists]
    return [some for some in found if some]


def _name(one: Checked) -> str:
    """TASK/AGENT/KEY, as lists have it."""
    return "/".join(one.folder.resolve().parts[-3:])


def _seeds(row: Sequence[Checked]) -> None:
    """Seeds 0 … n−1, each once, of which no two predict nearly the same, nor all equally well."""
    row = sorted(row, key=lambda one: _record(one).seed)
    found = [_record(one).seed for one in row]
    if len({*found}) < len(found):
        for one in row:
            if found.count(seed := _record(one).seed) > 1:
                one.refused, one.level = f"{one.folder / 'record.json'}: seed: {seed} is there twice in its row", ""
        return
    if missing := sorted({*range(max(found) + 1)} - {*found}):
        row[0].doubts.append(f"seeds 0 to {max(found)} without {', '.join(map(str, missing))}")
    done = [one for one in row if _record(one).done and len(_record(one).correct_MFN("own"))]
    for one, other in itertools.combinations(done, 2):
        a, b = _record(one), _record(other)
        reached_F = a.reached_F & b.reached_F
        mine, theirs, labels_N = a.arrays["own"][reached_F], b.arrays["own"][reached_F], a.arrays["labels"]
        wrong = ((mine != labels_N) | (theirs != labels_N)).sum()
        if wrong >= _FEW and (mine != theirs).sum() < NEAR_EQUAL * wrong:
            other.doubts.append(f"predicts nearly the same as seed {a.seed}")
    if len(done) > 1:
        accuracy_SF = np.array([_record(one).accuracy("own") for one in done])
        uncertain = (accuracy_SF > 0) & (accuracy_SF < 1)
        # At one budget two or three seeds may well have as many images right; at two or more it is no chance.
        if uncertain.all(0).sum() > 1 and np.nanmax(np.ptp(accuracy_SF, axis=0)) == 0:
            done[0].doubts.append("an interval without width: all seeds have the same own accuracies")


def _best(record: Record) -> float:
    return float(np.nanmax([*record.accuracy("own"), 0.0]))


def _above(one: Checked, top: float) -> None:
    record = _record(one)
    if record.done and not record.about["agent"]["reference"]:
        best = _best(record)
        if best > top + MARGIN + 4 * np.sqrt(top * (1 - top) / record.about["task"]["test_images"]):
            one.doubts.append(f"own accuracy {100 * best:.1f} %, and the ceiling's is {100 * top:.1f} %")


def _run_again(one: Checked, progress: Progress[Any]) -> None:
    """Train it anew beside a copy of nothing, and compare own accuracies."""
    record = _record(one)
    about = record.about
    settings = {key: value for key, value in about["task"]["settings"].items() if key not in tasks.IDENTITY}
    spec = Spec(about["agent"]["name"], record.task, record.seed, about["agent"]["settings"], settings)
    try:
        rebuilt(record)
        if spec.folder(Path()).name != record.question:
            raise UsageError("its code is not today's")
    except UsageError as error:
        one.notes.append(f"not run again: {error}")
        return
    with tempfile.TemporaryDirectory() as scratch:
        again = run(spec, Path(scratch), progress)
        if again.about["status"] != about["status"]:
            one.doubts.append(f"run again: {again.about['status']}, and the record says {about['status']}")
        elif record.done:
            away = float(np.nanmean([*np.abs(again.accuracy("own") - record.accuracy("own")), 0.0]))
            if away > RUN_AGAIN:
                one.doubts.append(f"run again: own accuracies are {100 * away:.1f} points away on average")
    if one.level == LEVELS[0]:
        one.notes.append("run again, but without its selections nothing was recounted")
    else:
        one.level = LEVELS[3]
