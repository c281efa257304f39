"""Your own images as a task: `folder:PATH`, `npz:PATH` or `voc:PATH`; see `own` for what they share.

Nothing that is read is ever run: Pillow decodes the formats of a list (`decode`), arrays are read without
pickle, and annotations without entities.
"""

from __future__ import annotations

import zipfile
import zlib
from collections.abc import Iterator, Mapping
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
from glimpsebench.envs.decode import SUFFIXES, Unusable, decoded, from_array, indices
from glimpsebench.envs.errors import UsageError, unknown
from glimpsebench.envs.own import HALVES, Entry, Item, OwnData, choices, unusable

Array = NDArray[Any]

_MOST_BYTES = 8 << 30  # of an uncompressed npz file: a small file of zeros can claim any size


@dataclass(frozen=True)
class Folder(OwnData):
    """One folder per class, images of any size in it or below it.

    If there is a folder `train`, class folders are looked for in `train`, `val` and `test`; a half that is
    missing is taken from the training images by hash. Hidden files are passed over.
    """

    kind: ClassVar[str] = "folder"

    def entries(self) -> Iterator[Entry]:
        roots = {half: self.path / half for half in HALVES if (self.path / half).is_dir()}
        if roots and "train" not in roots:
            raise UsageError(f"{self.path.name}: there is a folder {', '.join(roots)} but no train")
        may = choices(roots)
        if roots:
            others = [path for path in _visible(self.path) if path.name not in roots]
            yield from (unusable(path.name, "beside train, val and test", True) for path in others)
        for half, root in (roots or {"train": self.path}).items():
            for path in _visible(root):
                if path.is_dir():
                    yield from self._class(path, may[half])
                else:
                    yield unusable(self._name(path), "in no class folder", not _is_image(path))

    def _class(self, folder: Path, halves: tuple[Half, ...]) -> Iterator[Entry]:
        files = [path for path in sorted(folder.rglob("*")) if path.is_file() and path.name[0] != "."]
        if not any(map(_is_image, files)):
            yield unusable(f"{self._name(folder)}/", "a class folder without images")
        for path in files:
            if _is_image(path):
                yield Entry(self._name(path), halves, partial(self._image, path, folder.name))
            else:
                yield unusable(self._name(path), "not an image by its name", True)

    def _name(self, path: Path) -> str:
        return path.relative_to(self.path).as_posix()

    def _image(self, path: Path, label: str) -> Item:
        raw = _bytes_of(path)
        return Item(label, raw, decoded(raw))


@dataclass(frozen=True)
class Npz(OwnData):
    """Two arrays of an npz file, read without pickle: `images` and `labels`.

    `images` is (N, H, W), (N, H, W, C) or (N, C, H, W) with 1, 3 or 4 channels; uint8, bool, uint16, floats
    in [0, 1] or integers in 0 … 255. `labels` is (N,) of integers or strings. Rows are split by a hash of
    their number.
    """

    side: Annotated[int, Field(ge=0, le=1024)] = 0
    channels: Literal[0, 1, 3] = 0

    kind: ClassVar[str] = "npz"

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

    An image has one label, that of its largest object: with `masks`, the class with the most pixels in
    SegmentationClass, and these are the object mask; without, the class of the largest box in Annotations.

    The lists in ImageSets/Segmentation (or Main) say what is used. VOC keeps the labels of its test half to
    itself, so without test.txt the images of val.txt are the test half, and val comes from train.txt by hash;
    without train.txt every image is used and split by hash. Classes are numbered as in VOC, or by the lines
    of class_names.txt, as labelme writes it.

    Attributes:
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

    def entries(self) -> Iterator[Entry]:
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
        image = decoded(raw)
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
    return sorted(path for path in folder.iterdir() if path.name[0] != ".") if folder.is_dir() else []


def _lines(path: Path) -> list[str]:
    return [line.strip() for line in path.read_text(errors="replace").splitlines() if line.strip()]


def _bytes_of(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise Unusable(f"{path.parent.name}/{path.name} cannot be read: {error.strerror}") from None


_KINDS: dict[str, type[OwnData]] = {kind.kind: kind for kind in (Folder, Npz, Voc)}


def make(name: str, values: Mapping[str, Any]) -> Task:
    """The task of your own data, with settings. It reads no images yet.

    Args:
        name: KIND:PATH.
        values: field name → value.

    Raises:
        UsageError: an unknown kind or setting, a value out of range, or no such file or folder.
    """
    kind, _, where = name.partition(":")
    if kind not in _KINDS:
        raise unknown("kind of data", kind, _KINDS)
    path = Path(where).expanduser()
    if not where or not (path.is_file() if kind == "npz" else path.is_dir()):
        raise UsageError(f"task '{name}': there is no {'file' if kind == 'npz' else 'folder'} at '{where}'")
    return _KINDS[kind](path, **settings.validated(_KINDS[kind], values, f"task '{kind}:'"))
