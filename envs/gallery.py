"""A contact sheet of each task: its images, their objects outlined, and what three windows show of them."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from glimpsebench.envs import datasets
from glimpsebench.envs.pictures import Box, picture, sheet
from glimpsebench.envs.sensors import Window
from glimpsebench.envs.tasks import TASKS, Task

Array = NDArray[Any]

_OUTLINE = np.array([255, 140, 0], np.uint8)
_CELL = 128  # the least side of a picture, pixels


def installed() -> list[Task]:
    """The named tasks whose image sets are here."""
    return [task for task in TASKS.values() if all(map(datasets.installed, task.sets))]


def write(folder: Path, tasks: Iterable[Task] | None = None, count: int = 8) -> list[Path]:
    """Write a PNG for each task, by default for all that are installed; the files, named NAME.png."""
    from PIL import Image

    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    for task in installed() if tasks is None else tasks:
        paths.append(folder / f"{task.name}.png")
        Image.fromarray(page(task, count)).save(paths[-1], optimize=True)
    return paths


def page(task: Task, count: int = 8) -> Array:
    """One task's sheet, from its first validation images: uint8 (height, width, 3)."""
    val = task.val()
    count = min(count, len(val))
    images, everything = np.asarray(val.images_NCHW[:count]), np.ones(task.shape[1:], bool)
    rows = [[picture(image, everything, (), _CELL) for image in images]]
    if val.objects_NHW is not None:
        pairs = zip(rows[0], val.objects_NHW, strict=False)
        rows.append([_outlined(plain.copy(), object_HW) for plain, object_HW in pairs])
    rows.append([_glimpsed(image, np.random.default_rng(number)) for number, image in enumerate(images)])
    captions = [f"{task.id}: {task.describe()}".replace("×", "x")]  # Pillow's own font has no such sign
    if val.labels_N is not None:
        captions.append(f"classes: {', '.join(task.class_names[label] for label in val.labels_N[:count])}")
    return _captioned(captions, sheet([cell for row in rows for cell in row], columns=count))


def _outlined(frame: Array, object_HW: Array) -> Array:
    """Draw the border of the object, in place, just outside its pixels."""
    factor = len(frame) // len(object_HW)
    inside = np.pad(object_HW.repeat(factor, 0).repeat(factor, 1), 1)
    near = inside[:-2, 1:-1] | inside[2:, 1:-1] | inside[1:-1, :-2] | inside[1:-1, 2:]
    frame[near & ~inside[1:-1, 1:-1]] = _OUTLINE
    return frame


def _glimpsed(image_CHW: Array, rng: np.random.Generator) -> Array:
    """What three windows of a fifth of the image a side show of it."""
    shape = image_CHW.shape
    window = Window(max(2, min(shape[1:]) // 5))
    corners = window.aim(rng.uniform(-0.8, 0.8, (3, 2)), shape, np.zeros(3))
    boxes: list[Box] = [(int(y), int(x), int(y) + window.size, int(x) + window.size) for y, x in corners]
    seen: Array = np.logical_or.reduce(window.footprint(corners, shape))
    return picture(image_CHW, seen, boxes, _CELL)


def _captioned(lines: list[str], body: Array) -> Array:
    """The page with lines of text above it."""
    from PIL import Image, ImageDraw, ImageFont

    height = 22 * len(lines) + 6
    whole = Image.new("RGB", (body.shape[1], body.shape[0] + height), "white")
    whole.paste(Image.fromarray(body), (0, height))
    pen, font = ImageDraw.Draw(whole), ImageFont.load_default(15)
    for number, line in enumerate(lines):
        pen.text((6, 6 + 22 * number), line, "black", font)
    return np.asarray(whole)
