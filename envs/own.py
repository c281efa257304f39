"""What tasks of your own data share, whatever its layout: a size, a split, an id, a list of what is left out.

Where the data does not say which half an image is in, a hash of its name does (70 % train, 10 % val, 20 %
test), so an image that is added moves no other. A task's id holds a hash of what was read, so that records of
different data keep apart, and of the path only its last part.
"""

from __future__ import annotations

import hashlib
import re
from abc import abstractmethod
from collections.abc import Callable, Collection, Iterator, Mapping
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
from glimpsebench.envs.decode import Fit, Unusable, box_within, fitted, opaque
from glimpsebench.envs.errors import UsageError

Array = NDArray[Any]
Stamp = tuple[tuple[str, int, int], ...]

HALVES: tuple[Half, ...] = get_args(Half)
_SHARES: tuple[tuple[Half, float], ...] = (("test", 0.2), ("val", 0.1))


class Item(NamedTuple):
    """One image: its class, the bytes that it was read from, and the pixels of its object where known."""

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


@dataclass(frozen=True)
class OwnData(Task):
    """Images from a path, brought to one size. They are read when first asked for, and stay as they were then.

    Attributes:
        side: the side of the task's images, pixels; 0 takes the size of the first image for all.
        channels: 1 is grey, 3 is RGB; 0 takes what the first image has.
        fit: how an image of another shape is brought to it (see `decode.fitted`). What `pad` adds is not counted:
            budgets and fractions are of the image's own pixels.
        fill: the level, 0 black to 255 white, of padding and behind transparent pixels.
        bad: whether a file that cannot be used refuses the whole task or is left out (`left_out` says which).
    """

    source: InitVar[Path]
    side: Annotated[int, Field(ge=0, le=1024)] = 64
    channels: Literal[0, 1, 3] = 3
    fit: Fit = "pad"
    fill: Annotated[int, Field(ge=0, le=255)] = 0
    bad: Literal["refuse", "skip"] = "refuse"
    # Not settings: a record holds the settings, and where the data lies is nobody's business.
    path: Path = field(init=False, repr=False)
    name: str = field(init=False)
    version: int = field(init=False, default=2)

    kind: ClassVar[str]

    def __post_init__(self, source: Path) -> None:
        path = source.resolve()
        own = re.sub(r"[^A-Za-z0-9._]+", "-", path.stem if path.is_file() else path.name)
        object.__setattr__(self, "path", path)
        object.__setattr__(self, "name", f"{self.kind}-{own or 'data'}")

    @abstractmethod
    def entries(self) -> Iterator[Entry]:
        """Every image, in a fixed order."""

    @cached_property
    def _content(self) -> Content:
        files = sorted(self.path.rglob("*")) if self.path.is_dir() else [self.path]
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

    def card(self) -> str:
        facts = [
            f"classes: {', '.join(self._content.labels)}",
            *(f"left out: {why}" for why in self.left_out),
        ]
        return "\n".join([super().card(), *facts])


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
    size = (task.side, task.side)
    channels: int = task.channels
    for entry in task.entries():
        try:
            item = entry.read()
            size = size if task.side or rows else item.image.size
            channels = channels or (1 if item.image.mode == "L" else 3)
            flat = opaque(item.image, channels, task.fill)
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
        rows.append(_Row(place, half, item.label, np.atleast_3d(np.asarray(page)), object_HW, box))

    if refused and task.bad == "refuse":
        listed = "".join(f"\n  {why}" for why in refused[:20]) + ("\n  …" if len(refused) > 20 else "")
        raise UsageError(
            f"{task.path.name}: {len(refused)} of {len(refused) + len(rows)} images cannot be used:{listed}\n"
            "Mend or remove them, or set bad=skip to leave them out"
        )
    labels = sorted({row.label for row in rows})
    _check(task, rows, labels)
    rows.sort(key=lambda row: row.place)
    splits = {half: _split([row for row in rows if row.half == half], labels) for half in HALVES}
    return Content(splits, tuple(map(str, labels)), tuple(left_out), digest.hexdigest()[:8])


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
        raise UsageError(f"{where}: no training image of {', '.join(missing[:5])}: add images, or split them")
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
