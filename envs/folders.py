"""Your own images as a task: `folder:PATH`, `npz:PATH` or `voc:PATH`; see `own` for what they share.

`glimpse tasks folder` prints what a kind understands, `glimpse tasks folder:PATH` what was found.

Nothing that is read is ever run: Pillow decodes the formats of a list (`decode`), arrays are read without
pickle, and annotations without entities.
"""

from __future__ import annotations

import dataclasses
import inspect
import os
import re
import zipfile
import zlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal
from xml.etree import ElementTree

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from glimpsebench.envs import settings
from glimpsebench.envs.base import Task
from glimpsebench.envs.datasets import Half
from glimpsebench.envs.decode import SUFFIXES, Unusable, from_array, indices, object_mask, opened
from glimpsebench.envs.errors import UsageError, unknown
from glimpsebench.envs.own import HALVES, Entry, Item, OwnData, choices, remembered, unusable

Array = NDArray[Any]

_MOST_BYTES = 8 << 30  # of an uncompressed npz file: a small file of zeros can claim any size


@dataclass(frozen=True)
class Folder(OwnData):
    """One folder per class, images of any size in it or below it.

        pets/cat/1.jpg                  pets/train/cat/1.jpg
        pets/cat/2.png                  pets/test/cat/1.jpg
        pets/dog/1.jpg                  pets/train/dog/1.jpg, and so on

    Class folders may lie in `train`, `val` (or `valid`, `validation`) and
    `test`, in small letters or capitals, or all in names like `pets_train`.
    What is not split is split by a hash of the file names: 70 % train, 10 %
    val, 20 % test; a val or test half that is missing is taken from train.
    Hidden files are passed over.

    Settings:
        masks: a folder of object masks, seen from PATH (`masks=../pets-masks`);
            with it, results say how often contenders look at the object. The
            mask of cat/1.jpg is cat/1.png there, or of another image format,
            as large as the image: what is not zero is the object.
    """

    masks: str = ""

    kind: ClassVar[str] = "folder"

    @property
    def has_objects(self) -> bool:
        return bool(self.masks)

    @property
    def roots(self) -> tuple[Path, ...]:
        return (self.path, self.masks_folder) if self.masks else (self.path,)

    @property
    def masks_folder(self) -> Path:
        return (self.path / Path(self.masks).expanduser()).resolve()

    @property
    def layout(self) -> str:
        halves = self._halves()
        named = ", ".join(root.name if root.name == half else f"{root.name} as {half}" for half, root in halves.items())
        nested = [
            f"{', '.join(self._name(below) for below in inner[:5])} count as {path.name}"
            for path in self._class_folders()
            if (inner := self._folders(path))
        ]
        text = f"class folders in {named}" if halves else "class folders"
        missing = [half for half in HALVES if half not in halves]
        if missing:
            text += f"; {' and '.join(missing)} by a hash of the names" if halves else "; halves by a hash of the names"
        return "; ".join([text, *nested])

    def entries(self) -> Iterator[Entry]:
        halves = self._halves()
        may = choices(halves)
        if halves:
            others = [path for path in self._visible(self.path) if path not in halves.values()]
            yield from (unusable(path.name, "beside train, val and test", True) for path in others)
        else:
            self._check_classes()
        masks = self._masks()
        for half, root in (halves or {"train": self.path}).items():
            for path in self._visible(root):
                if path.is_dir():
                    yield from self._class(path, may[half], masks)
                else:
                    yield unusable(self._name(path), "in no class folder", not _is_image(path))

    def _class(self, folder: Path, halves: tuple[Half, ...], masks: Mapping[str, Path] | None) -> Iterator[Entry]:
        files = [path for path in sorted(folder.rglob("*")) if path.is_file() and path.name[0] != "."]
        if not any(map(_is_image, files)):
            yield unusable(f"{self._name(folder)}/", f"a class folder without images{_only(files)}")
        for path in files:
            if _is_image(path):
                yield Entry(self._name(path), halves, partial(self._image, path, folder.name, masks))
            else:
                yield unusable(self._name(path), "not an image by its name", True)

    def _image(self, path: Path, label: str, masks: Mapping[str, Path] | None) -> Item:
        raw = _bytes_of(path)
        image = opened(raw)
        if masks is None:
            return Item(label, raw, image)
        name = path.relative_to(self.path).with_suffix("").as_posix()
        if name not in masks:
            raise Unusable(f"no mask {name}.* in {self.masks}")
        mask = _bytes_of(masks[name])
        try:
            object_HW = object_mask(mask)
        except Unusable as why:
            raise Unusable(f"its mask: {why}") from None
        if object_HW.shape != image.size[::-1]:
            sizes = ["×".join(map(str, size)) for size in (object_HW.shape, image.size[::-1])]
            raise Unusable(f"its mask is {sizes[0]}, the image {sizes[1]} (height×width)")
        return Item(label, raw + mask, image, object_HW)

    def _masks(self) -> dict[str, Path] | None:
        """The mask files by their names below the masks folder, without endings; None if there are to be none."""
        if not self.masks:
            return None
        files = [path for path in sorted(self.masks_folder.rglob("*")) if _is_image(path) and path.is_file()]
        masks = {path.relative_to(self.masks_folder).with_suffix("").as_posix(): path for path in files}
        roots = self._halves().values() or [self.path]
        images = [path for root in roots for path in self._pictures(root)]
        names = [path.relative_to(self.path).with_suffix("").as_posix() for path in images]
        if names and masks.keys().isdisjoint(names):
            holds = f"which holds {next(iter(masks))}.*, for example" if masks else "which holds no images"
            raise self._wrong(f"no image has a mask in {self.masks}, {holds}; {names[0]}.* is looked for")
        return masks

    def _halves(self) -> dict[Half, Path]:
        """The folders of the splits; {} where the class folders lie at the top.

        Raises:
            UsageError: two folders for one split, no train, or one without class folders.
        """
        folders = self._folders(self.path)
        named = {path: half for path in folders if (half := _half_named(path.name)) is not None}
        if len(named) < len(folders):  # among other folders, `train_station` is a class
            named = {path: half for path, half in named.items() if _words(path.name) == 1}
        flat = [path for path in named if not self._folders(path) and self._pictures(path)]
        split = {path: half for path, half in named.items() if path not in flat}
        if flat and (split or len(named) > 1):
            names, count = " and ".join(path.name for path in flat), sum(len(self._pictures(path)) for path in flat)
            raise self._wrong(
                f"{names} {'hold' if len(flat) > 1 else 'holds'} {count} images and no class folders, so they have no "
                f"labels: put each class in a folder of its own, as in {flat[0].name}/cat/"
            )
        halves: dict[Half, Path] = {}
        for half in HALVES:
            of_half = [path for path, one in split.items() if one == half]
            if len(of_half) > 1:
                raise self._wrong(f"{' and '.join(path.name for path in of_half)} are both the {half} split: keep one")
            if of_half:
                halves[half] = of_half[0]
        if halves and "train" not in halves:
            found = " and ".join(path.name for path in halves.values())
            raise self._wrong(f"there is {found}, but no train: the class folders to learn from go there")
        return halves

    def _check_classes(self) -> None:
        """Refuse what looks like class folders and is not; each message says what was found, and what to do."""
        folders = self._class_folders()
        pictures = [path for path in self._visible(self.path) if path.is_file() and _is_image(path)]
        if not folders:
            if pictures:
                raise self._wrong(
                    f"{len(pictures)} images and no class folders: put each class in a folder of its own, as in "
                    f"{self.path.name}/cat/{pictures[0].name}"
                )
            files = _only(self._visible(self.path))
            raise self._wrong(f"a task needs images of two classes, and there is no image here{files}")
        inner = {path: [one.name for one in self._folders(path)] for path in folders}
        first, names = next(iter(inner.items()))
        deeper = len(names) > 1 and not any(_is_image(one) for one in self._visible(first))
        listed = ", ".join(names[:5])
        if len(folders) == 1 and deeper:
            raise self._wrong(f"its only folder, {first.name}, holds {listed}: is folder:{first} meant?")
        for path, below in inner.items():
            if len({_half_named(name) for name in below} - {None}) > 1:
                raise self._wrong(
                    f"{path.name} holds {', '.join(below[:5])}: splits go above classes, as in {below[0]}/{path.name}"
                )
        masks = [path for path in folders if path.name.lower() in _MASKS]
        if masks and not self.masks:
            images = [path for path in folders if path not in masks]
            root, name = (images[0], f"../{masks[0].name}") if len(images) == 1 else (self.path, masks[0].name)
            raise self._wrong(
                f"{masks[0].name} is no class by its name: if it holds object masks, use folder:{root} and masks={name}"
            )
        if len(folders) > 1 and deeper and all(below == names for below in inner.values()):
            raise self._wrong(
                f"{', '.join(path.name for path in folders[:5])} all hold {listed}: class folders go at the top or in "
                f"train, val and test; is folder:{first} meant?"
            )

    def _class_folders(self) -> list[Path]:
        return [path for root in (self._halves().values() or [self.path]) for path in self._folders(root)]

    def _folders(self, folder: Path) -> list[Path]:
        return [path for path in self._visible(folder) if path.is_dir()]

    def _pictures(self, folder: Path) -> list[Path]:
        """All images in or below a folder."""
        return [path for path in sorted(folder.rglob("*")) if _is_image(path) and not self._is_mask(path)]

    def _visible(self, folder: Path) -> list[Path]:
        return [path for path in _visible(folder) if not self._is_mask(path)]

    def _is_mask(self, path: Path) -> bool:
        return bool(self.masks) and path.is_relative_to(self.masks_folder)

    def _name(self, path: Path) -> str:
        return path.relative_to(self.path).as_posix()

    def _wrong(self, reason: str) -> UsageError:
        return UsageError(f"{self.path.name}: {reason}")


_MASKS = ("annotations", "mask", "masks", "segmentation", "segmentations")
_HALF_NAMES: dict[str, Half] = {
    **dict.fromkeys(("train", "training"), "train"),
    **dict.fromkeys(("val", "valid", "validation", "dev"), "val"),
    **dict.fromkeys(("test", "testing"), "test"),
}


def _half_named(name: str) -> Half | None:
    """The half that a folder's name means: `Test`, `valid`, `dataset_train`; None for any other name."""
    halves = {_HALF_NAMES[word] for word in re.findall("[a-z]+", name.lower()) if word in _HALF_NAMES}
    return halves.pop() if len(halves) == 1 else None


def _words(name: str) -> int:
    return len(re.findall("[a-z]+", name.lower()))


@dataclass(frozen=True)
class Npz(OwnData):
    """Two arrays of an npz file, read without pickle: `images` and `labels`.

    `images` is (N, H, W), (N, H, W, C) or (N, C, H, W) with 1, 3 or 4 channels;
    uint8, bool, uint16, floats in [0, 1] or integers in 0 … 255. `labels` is
    (N,) of integers or strings. Rows are split by a hash of their number.
    """

    side: Annotated[int, Field(ge=0, le=1024)] = 0
    channels: Literal[0, 1, 3] = 0

    kind: ClassVar[str] = "npz"

    @property
    def layout(self) -> str:
        return "halves by a hash of the rows' numbers"

    def entries(self) -> Iterator[Entry]:
        images, labels = self._arrays()
        if images.ndim == 4 and images.shape[3] not in (1, 3, 4):
            images = images.transpose(0, 2, 3, 1)
        if images.ndim not in (3, 4) or images.shape[3:] not in ((), (1,), (3,), (4,)) or not images.size:
            raise self._wrong(f"'images' has shape {images.shape}, not (N, H, W), (N, H, W, C) or (N, C, H, W)")
        if labels.shape != images.shape[:1] or labels.dtype.kind not in "iubU":
            raise self._wrong(
                f"'labels' must be {len(images)} integers or strings, one for each image; "
                f"it is {labels.dtype} of shape {labels.shape}"
            )
        for row in range(len(images)):
            yield Entry(f"images[{row}]", HALVES, partial(self._image, images[row], labels[row].item()))

    def _image(self, image: Array, label: str | int) -> Item:
        return Item(label, f"{image.dtype.str}{image.shape}".encode() + image.tobytes(), from_array(image))

    def _arrays(self) -> tuple[Array, Array]:
        try:
            with zipfile.ZipFile(self.path) as archive:
                if sum(member.file_size for member in archive.infolist()) > _MOST_BYTES:
                    raise self._wrong(f"it unpacks to more than {_MOST_BYTES >> 30} GiB")
            with np.load(self.path, allow_pickle=False) as file:
                return file["images"], file["labels"]
        except KeyError:
            raise self._wrong("it must hold the arrays 'images' and 'labels'") from None
        except (OSError, ValueError, EOFError, MemoryError, zipfile.BadZipFile, zlib.error) as error:
            raise self._wrong(f"cannot be read ({error}); write it with numpy.savez") from None

    def _wrong(self, reason: str) -> UsageError:
        return UsageError(f"{self.path.name}: {reason}")


@dataclass(frozen=True)
class Voc(OwnData):
    """The layout of PASCAL VOC: JPEGImages, Annotations, SegmentationClass, ImageSets.

    An image has one label, that of its largest object: with `masks`, the class
    with the most pixels in SegmentationClass, and these are the object mask;
    without, the class of the largest box in Annotations.

    The lists in ImageSets/Segmentation (or Main) say what is used. VOC keeps the
    labels of its test half to itself, so without test.txt the images of val.txt
    are the test half, and val comes from train.txt by hash; without train.txt
    every image is used and split by hash. Classes are numbered as in VOC, or by
    the lines of class_names.txt, as labelme writes it.

    Settings:
        masks: use SegmentationClass, if it is there.
    """

    masks: bool = True

    kind: ClassVar[str] = "voc"

    @property
    def has_objects(self) -> bool:
        return self.masks and self._segmentations.is_dir()

    @property
    def _segmentations(self) -> Path:
        png = self.path / "SegmentationClassPNG"  # labelme's; its SegmentationClass holds arrays
        return png if png.is_dir() else self.path / "SegmentationClass"

    @property
    def layout(self) -> str:
        return "PASCAL VOC; halves by ImageSets"

    def entries(self) -> Iterator[Entry]:
        if not (self.path / "JPEGImages").is_dir():
            raise UsageError(f"{self.path.name}: no folder JPEGImages in it, so it has not the layout of PASCAL VOC")
        lists = self.path / "ImageSets" / ("Segmentation" if self.has_objects else "Main")
        listed = {half: _lines(lists / f"{half}.txt") for half in HALVES if (lists / f"{half}.txt").is_file()}
        if "train" in listed and "test" not in listed and "val" in listed:
            listed["test"] = listed.pop("val")
        photos = {path.stem: path for path in _visible(self.path / "JPEGImages") if _is_image(path)}
        if "train" not in listed:
            listed = {"train": list(photos)}
            may = choices(())
        else:
            may = choices(listed)
        names = self._class_names()
        for half, stems in listed.items():
            for stem in stems:
                if stem in photos:
                    yield Entry(stem, may[half], partial(self._image, photos[stem], names))
                else:
                    yield unusable(stem, "it is listed in ImageSets but not in JPEGImages")

    def _image(self, path: Path, names: list[str]) -> Item:
        raw = _bytes_of(path)
        image = opened(raw)
        if not self.has_objects:
            notes = _bytes_of(self.path / "Annotations" / f"{path.stem}.xml")
            return Item(_largest_box(notes), raw + notes, image)
        notes = _bytes_of(self._segmentations / f"{path.stem}.png")
        classes_HW = indices(notes)
        if classes_HW.shape[::-1] != image.size:
            raise Unusable(f"its segmentation is {classes_HW.shape[::-1]}, the image {image.size}")
        pixels = np.bincount(classes_HW.ravel(), minlength=256)
        pixels[[0, 255]] = 0  # background, and the border that VOC leaves undecided
        label = int(pixels.argmax())
        if not pixels[label]:
            raise Unusable("no object in its segmentation")
        if label >= len(names):
            raise Unusable(f"class {label} of its segmentation has no name: add it to class_names.txt")
        return Item(names[label], raw + notes, image, classes_HW == label)

    def _class_names(self) -> list[str]:
        path = self.path / "class_names.txt"
        return [name for name in _lines(path) if name != "__ignore__"] if path.is_file() else _VOC_CLASSES


# fmt: off
_VOC_CLASSES = [
    "background", "aeroplane", "bicycle", "bird", "boat", "bottle", "bus", "car", "cat", "chair",
    "cow", "diningtable", "dog", "horse", "motorbike", "person", "pottedplant", "sheep", "sofa", "train",
    "tvmonitor",
]
# fmt: on


def _largest_box(notes: bytes) -> str:
    """The class of the largest box in a VOC annotation."""
    try:
        if b"<!ENTITY" in notes:  # a few lines of these can expand to gigabytes
            raise Unusable("its annotation defines XML entities")
        areas = {}
        for thing in ElementTree.fromstring(notes).iter("object"):
            corner = {at: float(thing.findtext(f"bndbox/{at}", "nan")) for at in ("xmin", "ymin", "xmax", "ymax")}
            area = (corner["xmax"] - corner["xmin"]) * (corner["ymax"] - corner["ymin"])
            areas[area] = thing.findtext("name", "").strip()
    except (ElementTree.ParseError, ValueError) as error:
        raise Unusable(f"its annotation is broken: {error}") from None
    if not areas or not max(areas) > 0 or not areas[max(areas)]:
        raise Unusable("no object with a name and a box in its annotation")
    return areas[max(areas)]


def _is_image(path: Path) -> bool:
    return path.suffix.lower() in SUFFIXES


def _visible(folder: Path) -> list[Path]:
    try:
        return sorted(path for path in folder.iterdir() if path.name[0] != ".") if folder.is_dir() else []
    except OSError as error:
        raise UsageError(f"{folder} cannot be read: {error.strerror}") from None


def _only(files: Iterable[Path]) -> str:
    """What else lies where images were looked for, by the endings of its names."""
    endings = sorted({path.suffix or path.name for path in files})
    return f", only {', '.join(endings[:5])}" if endings else ""


def _lines(path: Path) -> list[str]:
    return [line.strip() for line in path.read_text(errors="replace").splitlines() if line.strip()]


def _bytes_of(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise Unusable(f"{path.parent.name}/{path.name} cannot be read: {error.strerror}") from None


KINDS: dict[str, type[OwnData]] = {kind.kind: kind for kind in (Folder, Npz, Voc)}


def explain(kind: str) -> str:
    """What a kind of own data understands, its settings and their defaults."""
    own = KINDS[kind]
    defaults = {f.name: f.default for f in dataclasses.fields(own) if f.init}
    values = " ".join(f"{name}={value}" for name, value in defaults.items())
    return (
        f"{kind}:PATH\n\n{inspect.getdoc(own)}\n\n{inspect.getdoc(OwnData)}\n\n"
        f"Defaults (--set task.NAME=VALUE):\n    {values}\n"
        f"What is found in yours: glimpse tasks {kind}:PATH"
    )


def make(name: str, values: Mapping[str, Any]) -> Task:
    """The task of your own data, with settings. It reads no images yet.

    Args:
        name: KIND:PATH.
        values: field name → value.

    Raises:
        UsageError: an unknown kind or setting, a value out of range, or no such file or folder.
    """
    kind, _, where = name.partition(":")
    if kind not in KINDS:
        raise unknown("kind of data", kind, KINDS)
    path, wanted = Path(where).expanduser(), "file" if kind == "npz" else "folder"
    if not where or not path.exists():
        raise UsageError(f"task '{name}': there is no {wanted} at '{where}'")
    if path.is_file() != (kind == "npz"):
        found = f"a {path.suffix or 'plain'} file: unpack it" if path.is_file() else "a folder, as for folder:PATH"
        raise UsageError(f"task '{name}': it must be a {wanted}, and this is {found}")
    task = KINDS[kind](path, **settings.validated(KINDS[kind], values, f"task '{kind}:'"))
    if isinstance(task, Folder) and task.masks and not task.masks_folder.is_dir():
        here = Path(task.masks).resolve()
        hint = f": did you mean masks={os.path.relpath(here, task.path)}?" if here.is_dir() else ""
        raise UsageError(f"task '{name}': masks={task.masks} is seen from {where}, and there is no such folder{hint}")
    return task


def recalled(task_id: str, values: Mapping[str, Any]) -> Task:
    """The task with an id that a record has, from where its images were on this machine.

    Raises:
        UsageError: that is not known here, or something else lies there now.
    """
    name = remembered(task_id)
    again = f"`glimpse tasks {task_id.partition('-')[0]}:PATH` makes them known"
    if name is None:
        raise UsageError(f"the images of {task_id} are not known on this machine: {again}")
    task = make(name, values)
    if task.id != task_id:
        raise UsageError(f"the images of {task_id} are no longer at {name}, which is {task.id} now: {again}")
    return task
