"""What contenders looked at in the first test images: the gallery and the scanpath player.

A look needs a record's selections, which are left out of most copies. `keep` therefore leaves those of the first images
beside the record (`looks.npz`, a few kilobytes), and with the weights at hand what the agent believed after each look.
Where neither is there, a section says so and has no gallery.

Shapes: P passes (one of an agent of several glimpses, else one per budget), n images, T glimpses, K classes, H×W.
"""

from __future__ import annotations

import base64
import io
import json
import sys
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from gymnasium.vector import AutoresetMode
from numpy.typing import NDArray
from PIL import Image
from safetensors import SafetensorError

from glimpsebench.agents.common.base import Agent
from glimpsebench.bench import arrays, escape, hashes
from glimpsebench.bench.records import Record, rebuilt
from glimpsebench.bench.rollout import as_recorded, footprints_of, unpacked
from glimpsebench.bench.rows import Row, rows_of
from glimpsebench.envs import tasks
from glimpsebench.envs.base import Split
from glimpsebench.envs.errors import UsageError
from glimpsebench.envs.glimpse import GlimpseVectorEnv
from glimpsebench.envs.pictures import box_of
from glimpsebench.envs.sensors import Mask, Thumbnail, Window
from glimpsebench.envs.tasks import Task

Array = NDArray[Any]
Block = dict[str, Any]

IMAGES = 8
"""Kept of each record, and shown at most."""
MOST_TEXT = 900_000
"""Characters of all galleries of a page; more are cut by showing fewer images."""
MOST_ROWS = 24
"""Of a track of a section, whose looks are on the page: the best; the gallery shows no more at once."""
BELIEFS = 3
"""Classes of a belief that are shown, the likeliest first."""
FILE = "looks.npz"


@dataclass(frozen=True)
class Looks:
    """What a record looked at in its first images.

    Attributes:
        selection: as `rollout.Episodes` has it, (P, n, T, …).
        belief: after each glimpse, (P, n, T, K) in 1/255; None where it is not known.
    """

    selection: Array
    belief: Array | None


def looks_of(record: Record, task: Task, agent: Agent) -> Looks:
    """Those that were kept, or else those of the record's selections and weights.

    Args:
        task: that of the record, as `agent` (`rebuilt`).

    Raises:
        UsageError: neither is there, or not of this record.
    """
    count = min(IMAGES, int(record.about["task"]["test_images"]))
    path = record.folder / FILE
    if not path.exists():
        selection = record.selected(agent)[:, :count].copy()
        return Looks(selection, _belief(record, task, agent, selection))
    about = {**record.about, "task": {**record.about["task"], "test_images": count}}
    passes, horizon = (len(record.budgets) if agent.horizon() == 1 else 1), agent.horizon()
    form = arrays.selection_form(about, agent)
    belief = arrays.Form(("|u1",), (passes, count, horizon, agent.classes))
    found = arrays.read(path, {"selection": form, "belief": belief}, [{"belief"}])
    if not np.isfinite(found["selection"]).all():
        raise UsageError(f"{path}: selection: a number that is not finite")
    return Looks(found["selection"].copy(), found.get("belief"))


def _belief(record: Record, task: Task, agent: Agent, selection: Array) -> Array | None:
    """What the agent's own predictor made of each image after each glimpse; None without its weights or a predictor."""
    path = record.folder / "weights.safetensors"
    if not path.exists():
        return None
    try:
        record.load_weights(agent, task)
    except (OSError, RuntimeError, SafetensorError):
        return None
    test = _first(task, selection.shape[1])
    single = agent.horizon() == 1
    found = [
        _believed(agent, test, chosen, agent.budgets[number] if single else max(agent.budgets))
        for number, chosen in enumerate(selection)
    ]
    return None if any(one is None for one in found) else np.stack([one for one in found if one is not None])


def _believed(agent: Agent, test: Split, selection: Array, budget: float) -> Array | None:
    """The same of one pass, (n, T, K)."""
    sensor = agent.sensor()
    env = GlimpseVectorEnv(
        test,
        len(test),
        sensor=as_recorded(sensor),
        observation="glimpse",
        glimpses=agent.horizon(),
        budget=budget,
        currency=agent.currency,
        autoreset_mode=AutoresetMode.DISABLED,
    )
    env.reset(options={"index": np.arange(len(test))})
    steps: list[Array] = []
    for step in range(agent.horizon()):
        env.step(unpacked(selection[:, step], sensor, agent.shape))
        logits = agent.predict(env.observe(agent.view))
        if logits is None:
            return None
        odds = np.exp(np.asarray(logits, float) - np.asarray(logits, float).max(-1, keepdims=True))
        steps.append(np.rint(255 * odds / odds.sum(-1, keepdims=True)).astype(np.uint8))
    return np.stack(steps, 1)


def _first(task: Task, count: int) -> Split:
    """The first test images of a task, without labels."""
    return tasks.test_split(task).some(np.arange(count))


def keep(record: Record) -> Path | None:
    """Leave the looks of a record beside it, in the form that `looks_of` reads; None where there is nothing to keep."""
    if not record.done or not (record.folder / "selections.npz").exists():
        return None
    path = record.folder / FILE
    path.unlink(missing_ok=True)
    found = looks_of(record, *rebuilt(record))
    kept = {"selection": found.selection} | ({} if found.belief is None else {"belief": found.belief})
    np.savez_compressed(path, **kept)  # type: ignore[arg-type]
    hashes.add(record.folder, FILE)
    return path


def section(rows: Sequence[Row]) -> Block:
    """The looks of one task's rows, of each row its first run that has any; `lacking` says why which rows have none,
    and `why` the last of these reasons.

    Of a track with many rows, those of the best: a page has no room for all.
    """
    found: Block = {"images": [], "labels": [], "size": [], "rows": {}, "why": ""}
    lacking, of_track = defaultdict[str, list[str]](list), Counter[str]()
    for number, row in enumerate(rows):
        of_track[row.track] += 1
        if of_track[row.track] > MOST_ROWS:
            continue
        try:
            record, frames, task, about = _of_row(row)
        except UsageError as error:
            found["why"] = escape.terminal(str(error))
            lacking[found["why"]].append(escape.terminal(row.label))
            continue
        if not found["images"]:
            images = tasks.test_split(task).images_NCHW[:IMAGES]
            found["images"] = [_png(image) for image in images]
            labels = record.arrays["labels"][:IMAGES]
            found["labels"] = [escape.terminal(str(task.class_names[label])) for label in labels]
            found["classes"] = [escape.terminal(str(name)) for name in task.class_names]
            found["size"] = [int(side) for side in images.shape[2:]]
        found["rows"][str(number)] = {"seed": record.seed, "images": frames} | about
    found["lacking"] = lacking
    return found


def _of_row(row: Row) -> tuple[Record, list[list[Block]], Task, Block]:
    """A run of a row, and for each of the first images what it shows after each glimpse, or, if it takes a single one,
    at each budget; and whether it takes a single one, and whether it sees `coarse` values where pixels are drawn."""
    some = [record for record in row.runs if any((record.folder / name).exists() for name in (FILE, "selections.npz"))]
    if not some:
        raise UsageError("their records are here without what they looked at (selections.npz)")
    record = some[0]
    task, agent = rebuilt(record)
    kept = looks_of(record, task, agent)
    test = _first(task, kept.selection.shape[1])
    shape, sensor = task.shape, agent.sensor()
    frames: list[list[Block]] = [[] for _ in range(len(test))]
    single = agent.horizon() == 1
    steps_FN = record.arrays["steps"][:, : len(test)]
    for number, selection in enumerate(kept.selection):
        at = number if single else len(record.budgets) - 1
        budget = record.budgets[at]
        prints_nTHW = footprints_of(selection, steps_FN[at], budget, sensor, shape, test.boxes_N4)
        for image, prints_THW in enumerate(prints_nTHW):
            union_HW = np.zeros(shape[1:], bool)
            for step in range(int(steps_FN[at, image])):
                union_HW |= prints_THW[step]
                told: Block = {"f": round(float(union_HW.sum() / test.own_pixels_N[image]), 4)}
                top, left, bottom, right = box_of(prints_THW[step])
                is_box = int(prints_THW[step].sum()) == (bottom - top) * (right - left)
                told |= {} if isinstance(sensor, Mask) else {"x": [top, left, bottom, right]}
                told |= {} if is_box and "x" in told else {"m": _bits(union_HW)}
                here = [at] if single else [n for n in range(len(record.budgets)) if steps_FN[n, image] == step + 1]
                told["b"] = [record.budgets[n] for n in here]
                told |= _said(record, here[0], image) if here else {}
                if kept.belief is not None:
                    chances_K = kept.belief[number, image, step]
                    best = np.argsort(-chances_K.astype(int), kind="stable")[:BELIEFS]
                    told["p"] = [[int(k), int(chances_K[k])] for k in best]
                frames[image].append(told)
    coarse = isinstance(sensor, Thumbnail) or (isinstance(sensor, Window) and sensor.scales > 1)
    return record, frames, task, {"single": single, "coarse": coarse}


def _said(record: Record, at: int, image: int) -> Block:
    """What the own predictor said there, and how many members of the judge are right."""
    own, judged = record.arrays["own"], record.correct_MFN("judge")
    said: Block = {"own": int(own[at, image])} if own[at, image] >= 0 else {}
    return said | ({"j": [int(judged[:, at, image].sum()), len(judged)]} if len(judged) else {})


def _bits(mask_HW: Array) -> str:
    return base64.b64encode(np.packbits(mask_HW.reshape(-1)).tobytes()).decode()


def _png(image_CHW: Array) -> str:
    """An image as the address of itself; one channel is grey, three are RGB, of others the mean is shown."""
    grey = image_CHW.shape[0] != 3
    pixels = image_CHW.mean(0).round().astype(np.uint8) if grey else np.ascontiguousarray(image_CHW.transpose(1, 2, 0))
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, "PNG", compress_level=9)
    return "data:image/png;base64," + base64.b64encode(stream.getvalue()).decode()


def fill(sections: Sequence[Block]) -> None:
    """Show so many images that all galleries together stay within `MOST_TEXT`, the same number everywhere."""
    for count in range(IMAGES, 0, -1):
        for one in sections:
            shown = one["looks"]
            shown["images"], shown["labels"] = shown["images"][:count], shown["labels"][:count]
            for row in shown["rows"].values():
                row["images"] = row["images"][:count]
        if sum(len(json.dumps(one["looks"])) for one in sections) <= MOST_TEXT:
            return
    for one in sections:
        one["looks"] |= {"images": [], "labels": [], "rows": {}, "why": "their images are too large for a page"}


def keep_all(records: Iterable[Record]) -> None:
    """Keep the looks of each row of these records, of its first run that has selections."""
    for row in rows_of(records):
        try:
            next(filter(None, map(keep, row.runs)), None)
        except UsageError as error:
            print(f"no looks of {row.label} on {row.task}: {error}", file=sys.stderr)
