"""What tasks of your own data share, whatever its layout: a size, a split, an id, a list of what is left out.

Where the data does not say which half an image is in, a hash of its name does (70 % train, 10 % val, 20 %
test), so an image that is added moves no other. A task's id holds a hash of what was read, so that records of
different data keep apart, and of the path only its last part. Where the images of an id lie on this machine is
noted in the user's cache (`OwnData.remember`), so that pictures can be drawn from records.
"""

from __future__ import annotations

import hashlib
import os
import re
from abc import abstractmethod
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import suppress
from dataclasses import InitVar, dataclass, field
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, NamedTuple, get_args

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from pydantic import Field

from glimpsebench.envs import datasets
from glimpsebench.envs.base import Shape, Split, Task
from glimpsebench.envs.datasets import Half
from glimpsebench.envs.decode import MOST_ELONGATED, Fit, Unusable, box_within, eight_bit, fitted, mode_name, opaque
from glimpsebench.envs.errors import UsageError

Array = NDArray[Any]
Stamp = tuple[tuple[str, int, int], ...]

HALVES: tuple[Half, ...] = get_args(Half)
_SHARES: tuple[tuple[Half, float], ...] = (("test", 0.2), ("val", 0.1))


class Item(NamedTuple):
    """One image of any mode: its class, what it was read from, and the pixels of its object where known."""

    label: str | int
    raw: bytes
    image: Image.Image
    object_HW: Array | None = None


class Entry(NamedTuple):
    """One image to be read: the halves between which the hash of its name chooses; `read` raises Unusable."""

    name: str
    halves: tuple[Half, ...]
    read: Callable[[], Item]


class Content(NamedTuple):
    """What was read. The images of a half are in the order of the hashes of their names, so classes mix."""

    splits: Mapping[Half, Split]
    labels: tuple[str, ...]
    left_out: tuple[str, ...]
    digest: str
    modes: Mapping[str, int]  # of the images as they came → how many
    widest: tuple[tuple[int, int], tuple[int, int]]  # (height, width) of the smallest image and of the largest


@dataclass(frozen=True)
class OwnData(Task):
    """Images of any sizes and modes are brought to one.

    16-bit levels are scaled to 8 bits. An image is refused if its longer side
    is more than 16 times the shorter: it would be too thin for a window.

    Settings:
        side: the side of the task's images, pixels; 0 takes the size of the
            first image for all.
        channels: 1 is grey, 3 is RGB; 0 takes what the first image has.
        fit: pad keeps an image's shape and fills the rest, half on either side;
            crop takes the largest part of the right shape from the middle;
            stretch distorts. What pad adds is not counted: budgets and
            fractions are of the image's own pixels.
        fill: the level, 0 black to 255 white, of padding and behind transparent
            pixels.
        bad: refuse the whole task for a file that cannot be used, or skip the
            file; the task's description lists what was left out.
    """

    # Images are read when first asked for, and stay as they were then.

    source: InitVar[Path]
    side: Annotated[int, Field(ge=0, le=1024)] = 64
    channels: Literal[0, 1, 3] = 3
    fit: Fit = "pad"
    fill: Annotated[int, Field(ge=0, le=255)] = 0
    bad: Literal["refuse", "skip"] = "refuse"
    # Not settings: a record holds the settings, and where the data lies is nobody's business.
    path: Path = field(init=False, repr=False)
    name: str = field(init=False)
    version: int = field(init=False, default=3)

    kind: ClassVar[str]

    def __post_init__(self, source: Path) -> None:
        path = source.resolve()
        own = re.sub(r"[^A-Za-z0-9._]+", "-", path.stem if path.is_file() else path.name)
        object.__setattr__(self, "path", path)
        object.__setattr__(self, "name", f"{self.kind}-{own or 'data'}")

    @abstractmethod
    def entries(self) -> Iterator[Entry]:
        """Every image, in a fixed order."""

    @property
    def roots(self) -> tuple[Path, ...]:
        """The files and folders from which everything is read."""
        return (self.path,)

    @property
    @abstractmethod
    def layout(self) -> str:
        """How what was found became classes and halves, in a phrase."""

    @cached_property
    def _content(self) -> Content:
        files = sorted(file for root in self.roots for file in (root.rglob("*") if root.is_dir() else [root]))
        stats = ((str(file), file.stat()) for file in files if file.is_file())
        return _read(self, tuple((name, stat.st_size, stat.st_mtime_ns) for name, stat in stats))

    def __getstate__(self) -> dict[str, Any]:
        """Without the images: who gets a copy reads them again."""
        return {name: value for name, value in vars(self).items() if name != "_content"}

    @property
    def id(self) -> str:
        return f"{self.name}-{self._content.digest}-v{self.version}"

    @property
    def shape(self) -> Shape:
        shape: Shape = self._content.splits["train"].images_NCHW.shape[1:]
        return shape

    @property
    def classes(self) -> int:
        return len(self._content.labels)

    @property
    def sizes(self) -> Mapping[Half, int]:
        return {half: len(split) for half, split in self._content.splits.items()}

    @property
    def summary(self) -> str:
        return f"your images in {self.path.name}"

    @property
    def left_out(self) -> tuple[str, ...]:
        """What was not used, each with the reason: `cats/7.png: the file is empty`."""
        return self._content.left_out

    def render(self, half: Half, epoch: int) -> Split:
        datasets.check_half(half)
        return self._content.splits[half]

    @property
    def class_names(self) -> tuple[str, ...]:
        return self._content.labels

    def remember(self) -> None:
        place = memory_folder() / self.id
        with suppress(OSError):  # without it nothing is lost but the pictures
            place.parent.mkdir(parents=True, exist_ok=True)
            new = place.with_name(f".{self.id}.{os.getpid()}")
            new.write_text(f"{self.kind}:{self.path}")
            new.replace(place)

    def card(self) -> str:
        found, (smallest, largest) = self._content, self._content.widest
        sizes = "×".join(map(str, smallest)) + ("" if smallest == largest else f" to {'×'.join(map(str, largest))}")
        modes = ", ".join(f"{count:,} {mode}" for mode, count in sorted(found.modes.items(), key=lambda m: (-m[1], m)))
        facts = [
            f"layout: {self.layout}",
            f"sizes: {sizes} pixels (height×width), brought to {'×'.join(map(str, self.shape[1:]))} by fit={self.fit}",
            f"modes: {modes}; all become {'grey' if self.shape[0] == 1 else 'RGB'}",
        ]
        if self.has_objects:
            splits = found.splits.values()
            objects = sum(int(split.objects_NHW.sum()) for split in splits if split.objects_NHW is not None)
            own = sum(int(split.own_pixels_N.sum()) for split in splits)
            facts.append(f"objects: {100 * objects / own:.1f} % of the images' pixels lie on them")
        return "\n".join([super().card(), *facts, self._counts(), *(f"left out: {why}" for why in self.left_out)])

    def _counts(self) -> str:
        """How many images each class has in each half, a class a line."""
        labels = {half: np.asarray(split.labels_N) for half, split in self._content.splits.items()}
        by_half = {half: np.bincount(labels[half], minlength=self.classes) for half in HALVES}
        width = max(map(len, ("class", *self.class_names)))
        lines = [f"{'class':{width}}  {'train':>6}{'val':>6}{'test':>6}"]
        for label, name in enumerate(self.class_names):
            lines.append(f"{name:{width}}  " + "".join(f"{by_half[half][label]:6}" for half in HALVES))
        return "\n".join(lines)


def memory_folder() -> Path:
    """Where it is noted which path on this machine has the images of a task's id."""
    return datasets.cache_folder() / "own-data"


def remembered(task_id: str) -> str | None:
    """The KIND:PATH of the images of an id, if it was noted on this machine."""
    place = memory_folder() / task_id
    return place.read_text() if place.is_file() else None


def unusable(name: str, reason: str, harmless: bool = False) -> Entry:
    """An entry that is known to be none before it is read."""

    def read() -> Item:
        raise Unusable(reason, harmless)

    return Entry(name, HALVES, read)


def choices(found: Collection[Half]) -> dict[Half, tuple[Half, ...]]:
    """Which halves the images of each half may go to: those of train also to halves that were not found."""
    missing = tuple(half for half in HALVES if half not in found and half != "train")
    return {half: ("train", *missing) if half == "train" else (half,) for half in HALVES}


def _chosen(name_hash: bytes, halves: tuple[Half, ...]) -> Half:
    at, start = int.from_bytes(name_hash[:8], "big") / 2**64, 0.0
    for half, share in _SHARES:
        if start <= at < start + share and half in halves:
            return half
        start += share
    return halves[0]


class _Row(NamedTuple):
    place: bytes  # the hash of the name
    half: Half
    label: str | int
    image_HWC: Array
    object_HW: Array | None
    box: tuple[int, int, int, int]  # of its own pixels


@lru_cache(maxsize=2)
def _read(task: OwnData, stamp: Stamp) -> Content:
    rows: list[_Row] = []
    left_out: list[str] = []
    refused: list[str] = []
    digest = hashlib.sha256()
    modes: Counter[str] = Counter()
    sizes: list[tuple[int, int]] = []
    size = (task.side, task.side)
    channels: int = task.channels
    for entry in task.entries():
        try:
            item = entry.read()
            image = eight_bit(item.image)
            _check_shape(image)
            size = size if task.side or rows else image.size
            channels = channels or (1 if image.mode == "L" else 3)
            flat = opaque(image, channels, task.fill)
            page = fitted(flat, size, task.fit, task.fill, Image.Resampling.BILINEAR)
            object_HW = _fitted_object(item.object_HW, size, task.fit)
            box = box_within(flat.size, size) if task.fit == "pad" else (0, 0, *size[::-1])
        except Unusable as why:
            left_out.append(f"{entry.name}: {why}")
            refused += [] if why.harmless else left_out[-1:]
            continue
        place = hashlib.sha256(entry.name.encode(errors="surrogateescape")).digest()
        half = _chosen(place, entry.halves)
        digest.update(repr((entry.name, half, item.label, hashlib.sha256(item.raw).hexdigest())).encode())
        modes[mode_name(item.image)] += 1
        sizes.append(image.size[::-1])
        rows.append(_Row(place, half, item.label, np.atleast_3d(np.asarray(page)), object_HW, box))

    if refused and task.bad == "refuse":
        raise UsageError(_refusal(task, refused, len(refused) + len(rows)))
    labels = sorted({row.label for row in rows})
    _check(task, rows, labels)
    rows.sort(key=lambda row: row.place)
    splits = {half: _split([row for row in rows if row.half == half], labels) for half in HALVES}
    by_area = sorted(sizes, key=lambda size: (size[0] * size[1], size))
    names = tuple(map(str, labels))
    return Content(splits, names, tuple(left_out), digest.hexdigest()[:8], modes, (by_area[0], by_area[-1]))


def _refusal(task: OwnData, refused: list[str], count: int) -> str:
    """One line for one file; else a line for each of the first twenty."""
    start = f"{task.path.name}: {len(refused)} of {count} images cannot be used:"
    if len(refused) == 1:
        return f"{start} {refused[0]}; mend or remove it, or set bad=skip to leave it out"
    listed = "".join(f"\n  {why}" for why in refused[:20]) + ("\n  …" if len(refused) > 20 else "")
    return f"{start}{listed}\nMend or remove them, or set bad=skip to leave them out"


def _check_shape(image: Image.Image) -> None:
    width, height = image.size
    if max(image.size) > MOST_ELONGATED * min(image.size):
        raise Unusable(
            f"{height}×{width} pixels are too thin for a window: the longer side may be {MOST_ELONGATED} times the "
            "shorter, no more"
        )


def _fitted_object(object_HW: Array | None, size: tuple[int, int], fit: Fit) -> Array | None:
    """The pixels that the object covers by half or more, if none the best-covered: boolean (H, W)."""
    if object_HW is None:
        return None
    page = fitted(Image.fromarray(object_HW.astype(np.float32)), size, fit, 0, Image.Resampling.BOX)
    share = np.asarray(page)
    if not share.any():
        raise Unusable(f"its object lies outside what fit={fit} keeps")
    covered: Array = share >= min(0.5, share.max())
    return covered


def _check(task: OwnData, rows: list[_Row], labels: list[str | int]) -> None:
    where = task.path.name
    if len(labels) < 2:
        found = f"only '{labels[0]}'" if labels else "no image"
        raise UsageError(f"{where}: a task needs images of two classes, and there is {found}")
    trained = {row.label for row in rows if row.half == "train"}
    if missing := [str(label) for label in labels if label not in trained]:
        known = ", ".join(map(str, sorted(trained)[:5]))
        raise UsageError(
            f"{where}: no training image of {', '.join(missing[:5])} (train has {known or 'none'}): add images, or, if "
            "they are split, name the class alike in every split"
        )
    for half in HALVES:
        if not any(row.half == half for row in rows):
            raise UsageError(
                f"{where}: {len(rows)} images leave none for {half}: add images, or split them into "
                "train/, val/ and test/"
            )


def _split(rows: list[_Row], labels: list[str | int]) -> Split:
    images_NCHW = np.ascontiguousarray(np.stack([row.image_HWC for row in rows]).transpose(0, 3, 1, 2))
    number = {label: number for number, label in enumerate(labels)}
    labels_N = np.array([number[row.label] for row in rows], np.int64)
    objects = [row.object_HW for row in rows if row.object_HW is not None]
    boxes_N4 = np.array([row.box for row in rows], np.int64)
    for array in (images_NCHW, labels_N, boxes_N4):  # all callers share them
        array.setflags(write=False)
    padded = (boxes_N4[:, 2:] < images_NCHW.shape[2:]).any()
    return Split(images_NCHW, labels_N, (lambda: np.stack(objects)) if objects else None, boxes_N4 if padded else None)
