"""The per-image arrays of a record: how they lie in its NPZ files, and what must hold of them before they are used.

Sizes come before contents: names and sizes are read from the directory of a file, and nothing is unpacked to more than
that says or than a record can need. Types and shapes must be what the record says of itself; those of a large file are
looked at before it is unpacked. Pickles are never read.

`images.npz` of schema 3 holds whole numbers in the smallest type that has room: steps, touched, delivered, own (F, N),
labels (N,), points (N, 2). Where there is a predictor, confidence (F, N): the probability that it gave to its
prediction, in 255ths; records of an earlier version lack it. Where images are padded, pixels (N,). Where the task knows
its objects, inside (F, N), the touched pixels that lie on the object, and objects (N,), its size, so that shares of
either are computed when they are asked for; pointed (N,). Shapes: F budgets, N images, M members of a judge.
"""

from __future__ import annotations

import functools
import io
import math
import struct
import zipfile
import zlib
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import IO, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from glimpsebench.agents.common.base import Agent
from glimpsebench.bench.localisation import ratio
from glimpsebench.bench.schema import shown
from glimpsebench.envs.errors import UsageError
from glimpsebench.envs.sensors import Mask

Array = NDArray[Any]

MOST_BYTES = 16 * 2**20
"""Of the arrays of images.npz or of a judgement, unpacked."""
MOST_SELECTED = 256 * 2**20
"""Of a selection, unpacked; a larger one must be packed as honest ones are."""
_PACKED = 200
_MOST_MEMBERS = 64

_WHOLE = ("|u1", "<u2", "<u4")


class Form(NamedTuple):
    """What an array must be: one of these types, and this shape (None: any length)."""

    dtypes: Collection[str]
    shape: tuple[int | None, ...]


class Header(NamedTuple):
    """What an entry says of its array, and where the array's values begin: bytes."""

    shape: tuple[int, ...]
    by_columns: bool
    dtype: np.dtype[Any]
    begins: int


_LARGE, _BEGINNING = 2**20, 2**10
"""Bytes: of a file whose arrays are larger when unpacked, these beginnings are looked at before all is unpacked."""
_LOCAL = struct.Struct("<4s22xHH")
"""What an entry begins with: a mark, what the directory says too, the lengths of its name and of what follows that."""
_SLACK = 2**10
"""Bytes: by so many and a hundredth, packing may make an array longer."""
_MAGIC = 8
"""Bytes: of NumPy's mark and the format's version."""


def smallest(array_N: Array) -> Array:
    """Whole numbers ≥ 0 in the smallest unsigned type that holds them.

    >>> smallest(np.array([3, 255])).dtype, smallest(np.array([256])).dtype
    (dtype('uint8'), dtype('uint16'))
    """
    return np.ascontiguousarray(array_N, np.min_scalar_type(int(np.max(array_N, initial=0))))


def predictions(classes: int) -> Any:
    """The type of a predicted class, of which −1 is none."""
    return np.int8 if classes <= 2**7 else np.int16


def forms(about: Mapping[str, Any]) -> tuple[dict[str, Form], list[set[str]]]:
    """What images.npz of a record must hold, and the groups of arrays that may be missing together."""
    shape, images, classes = about["task"]["shape"], about["task"]["test_images"], about["task"]["classes"]
    many, one, pair = (len(about["budgets"]), images), (images,), (images, 2)
    if about["schema"] < 3:
        both = ("<i2",)
        found = {name: Form(("<i4",), many) for name in ("touched", "delivered", "seen")}
        found |= {name: Form(both, many) for name in ("steps", "own", "evaluator")}
        found |= {"labels": Form(both, one), "points": Form(both, pair), "pixels": Form(("<i4",), one)}
        found |= {name: Form(("<f4",), many) for name in ("iou", "on_object")} | {"pointed": Form(("|b1",), one)}
        return found, [{"pixels"}, {"iou", "on_object"}, {"pointed"}]
    own = np.dtype(predictions(classes)).str
    found = {name: Form(_WHOLE, many) for name in ("steps", "touched", "delivered", "inside")}
    found |= {"own": Form((own,), many), "confidence": Form(_WHOLE[:1], many), "labels": Form(_WHOLE[:2], one)}
    found |= {name: Form(_WHOLE, one) for name in ("pixels", "objects")}
    found |= {"points": Form(_WHOLE[: 1 + (max(shape[1:]) > 2**8)], pair), "pointed": Form(("|b1",), one)}
    return found, [{"confidence"}, {"pixels"}, {"inside", "objects"}, {"pointed"}]


def read(
    path: Path,
    forms: Mapping[str, Form],
    optional: Collection[Collection[str]] = (),
    most: int = MOST_BYTES,
    packed: float = math.inf,
) -> dict[str, Array]:
    """The arrays of an NPZ file, which must be these and no others.

    Args:
        path: as `numpy.savez_compressed` writes it.
        forms: name → what it must be.
        optional: groups of names of which each may be missing as a whole.
        most: bytes of them all together.
        packed: more are accepted if they are at most so many times the size of the file.

    Raises:
        UsageError: the file or an array is not that.
    """
    try:
        if not path.is_file():
            raise UsageError("no such file" if not path.exists() else "not a plain file")
        with path.open("rb", buffering=0) as file:
            _check_directory(file)
            entries = zipfile.ZipFile(file).infolist()
            names = [_checked_name(info, forms) for info in entries]
            if len({*names}) < len(names):
                raise UsageError("an array is there twice")
            for name in forms.keys() - {*names}:
                group = next((group for group in optional if name in group), None)
                if group is None or {*names} & {*group}:
                    raise UsageError(f"{name}: missing")
            size = sum(info.file_size for info in entries)
            if size > max(most, packed * path.stat().st_size if math.isfinite(packed) else 0):
                raise UsageError(f"unpacks to {size:,} bytes, and {most:,} are the most")
            each = dict(zip(names, entries, strict=True))
            if size > _LARGE:
                for name, info in each.items():
                    _header(name, _unpacked(file, info, _BEGINNING), info.file_size, forms[name])
            return {name: _array(name, _unpacked(file, info), forms[name]) for name, info in each.items()}
    except UsageError as error:
        raise UsageError(f"{path}: {error}") from None
    except Exception as error:  # whatever damaged bytes cause in zipfile, zlib or NumPy's reader of headers
        raise UsageError(f"{path}: not a readable NPZ file ({shown(error) or type(error).__name__})") from None


def _check_directory(file: IO[bytes]) -> None:
    """The end of the file, so that opening it cannot take long: a short list of entries, and no comment."""
    file.seek(max(0, file.seek(0, 2) - 42))
    tail = file.read()
    if len(tail) < 22 or tail[-22:-18] != b"PK\x05\x06" or tail[:4] == b"PK\x06\x07":
        raise UsageError("not a whole NPZ file")
    entries, size = struct.unpack("<HL", tail[-12:-6])
    if entries > 64 or size > 2**16:
        raise UsageError(f"{entries} entries are no record's")


def _checked_name(info: zipfile.ZipInfo, forms: Mapping[str, Form]) -> str:
    name = info.filename.removesuffix(".npy")
    if name == info.filename or name not in forms:
        raise UsageError(f"{shown(info.filename, 60)}: no array of a record")
    if info.flag_bits & 1 or info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise UsageError(f"{name}: packed otherwise than NumPy does")
    return name


def _unpacked(file: IO[bytes], info: zipfile.ZipInfo, most: int | None = None) -> bytes:
    """The bytes of an entry, as many as the directory says; or at most so many of them, with nothing checked.

    zipfile's own reader, which streams, takes five times as long for a small one.
    """
    file.seek(info.header_offset)
    mark, its_name, extra = _LOCAL.unpack(file.read(_LOCAL.size))
    if mark != b"PK\x03\x04" or info.compress_size > info.file_size + info.file_size // 100 + _SLACK:
        raise zipfile.BadZipFile(f"not packed as NumPy does: {info.filename!r}")
    file.seek(its_name + extra, 1)
    content = file.read(info.compress_size if most is None else min(info.compress_size, most))
    if info.compress_type == zipfile.ZIP_DEFLATED:
        content = zlib.decompressobj(-zlib.MAX_WBITS).decompress(content, most or info.file_size + 1)
    if most is None and (len(content) != info.file_size or zlib.crc32(content) != info.CRC):
        raise zipfile.BadZipFile(f"Bad CRC-32 for file {info.filename!r}")
    return content


def _array(name: str, content: bytes, form: Form) -> Array:
    shape, by_columns, dtype, begins = _header(name, content, len(content), form)
    return np.frombuffer(content, dtype, offset=begins).reshape(shape, order="F" if by_columns else "C")


def _header(name: str, content: bytes, size: int, form: Form) -> Header:
    """What an entry of so many bytes holds, by the first of them; all of it must be as its header says."""
    if np.lib.format.read_magic(io.BytesIO(content[:_MAGIC])) != (1, 0):
        raise UsageError(f"{name}: another version of NumPy's format")
    begins = _MAGIC + 2 + int.from_bytes(content[_MAGIC : _MAGIC + 2], "little")
    shape, by_columns, dtype = _parsed(content[_MAGIC:begins])
    if dtype.hasobject or dtype.fields or dtype.subdtype or min(shape, default=0) < 0:
        raise UsageError(f"{name}: {shown(dtype, 60)} of shape {shown(shape, 60)} is no array of a record")
    if size != begins + math.prod(shape) * dtype.itemsize:
        raise UsageError(f"{name}: its size is not what its header says")
    _check_form(name, shape, dtype, form)
    return Header(shape, by_columns, dtype, begins)


@functools.lru_cache(maxsize=256)
def _parsed(header: bytes) -> tuple[tuple[int, ...], bool, np.dtype[Any]]:
    """What NumPy reads in a header, which is the same in many files: shape, whether columns come first, type."""
    found: tuple[tuple[int, ...], bool, np.dtype[Any]] = np.lib.format.read_array_header_1_0(io.BytesIO(header))
    return found


def _check_form(name: str, shape: tuple[int, ...], dtype: np.dtype[Any], form: Form) -> None:
    if dtype.str not in form.dtypes:
        raise UsageError(f"{name}: {dtype.name}, and not {' or '.join(np.dtype(each).name for each in form.dtypes)}")
    fits = len(shape) == len(form.shape) and all(b in (None, a) for a, b in zip(shape, form.shape, strict=True))
    if not fits:
        wanted = tuple("any" if length is None else length for length in form.shape)
        raise UsageError(f"{name}: shape {shown(shape, 60)}, and not {shown(wanted, 60)}".replace("'", ""))


def read_images(path: Path, about: Mapping[str, Any]) -> dict[str, Array]:
    """The arrays of a record by the names and in the types of now, whatever its schema: int32 and int16 (steps, own,
    labels, points), float32 (iou, on_object), bool (pointed).

    Also `seen` (F, N), which the track and touched tell; and of schemas 1 and 2 the evaluator's predictions.
    """
    stored = read(path, *forms(about))
    short = {"steps", "own", "evaluator", "labels", "points", "confidence"}
    found = {
        name: array if array.dtype.kind in "fb" else array.astype(np.int16 if name in short else np.int32)
        for name, array in stored.items()
    }
    whole = math.prod(about["task"]["shape"][1:])
    pixels_N = found.get("pixels", np.full(about["task"]["test_images"], whole, np.int32))
    seen_FN = found["touched"] if about["agent"]["track"] == "gated" else np.broadcast_to(pixels_N, found["own"].shape)
    try:
        _check_values(found, about, pixels_N, seen_FN)
    except UsageError as error:
        raise UsageError(f"{path}: {error}") from None
    found["seen"] = seen_FN
    if "inside" in found:
        inside_FN: Array = found.pop("inside")
        objects_N: Array = found.pop("objects")
        either_FN = found["touched"] + objects_N - inside_FN
        found["iou"] = ratio(inside_FN, either_FN).astype(np.float32)
        found["on_object"] = ratio(inside_FN, found["touched"]).astype(np.float32)
    return found


def _check_values(found: Mapping[str, Array], about: Mapping[str, Any], pixels_N: Array, seen_FN: Array) -> None:
    """Whatever one array says of another, of the budgets and of the task holds.

    Raises:
        UsageError: naming the first array that says otherwise.
    """
    task, agent = about["task"], about["agent"]
    whole = math.prod(task["shape"][1:])
    touched, steps, own = found["touched"], found["steps"], found["own"]
    none = steps == 0
    of_N = pixels_N if agent["currency"] == "touched" else np.full(len(pixels_N), whole)
    caps_FN = np.floor(np.outer(about["budgets"], of_N) + 1e-9)
    wrong = {
        "pixels: more than the image has, or none": (pixels_N < 1) | (pixels_N > whole),
        "steps: negative": steps < 0,
        "touched: negative, or more than the image has": (touched < 0) | (touched > pixels_N),
        "touched: something without a glimpse": (touched > 0) & none,
        "delivered: something where nothing is touched, or nothing where something is": (found["delivered"] > 0)
        != (touched > 0),
        f"{agent['currency']}: more than the budget": found[agent["currency"]] > caps_FN,
        "own: no class of the task": (own < -1) | (own >= task["classes"]),
        "own: a class without a glimpse, or none with one": ((own == -1) != none) & (own >= 0).any(),
        "labels: no class of the task": (found["labels"] < 0) | (found["labels"] >= task["classes"]),
        "points: outside the image": (found["points"] < 0) | (found["points"] >= task["shape"][1:]),
    }
    if "confidence" in found:
        confidence = found["confidence"]
        wrong["confidence: without a prediction, or none with one"] = (confidence > 0) != (own >= 0)
        wrong["confidence: less than the likeliest of the classes has"] = (own >= 0) & (
            confidence < 255 // task["classes"]
        )
    if "seen" in found:
        wrong["seen: not what track and touched say"] = found["seen"] != seen_FN
    if "evaluator" in found:
        judged = found["evaluator"]
        wrong["evaluator: no class of the task"] = (judged < -1) | (judged >= task["classes"])
        wrong["evaluator: a class without a glimpse, or none with one"] = (judged == -1) != none
    if "inside" in found:
        wrong["objects: more than the image has"] = found["objects"] > pixels_N
        wrong["inside: more than is touched, or than the object has"] = (found["inside"] > touched) | (
            found["inside"] > found["objects"]
        )
    if "iou" in found:
        count = found["on_object"] * touched
        wrong["iou: no share"] = ~(np.isnan(found["iou"]) | ((found["iou"] >= 0) & (found["iou"] <= 1)))
        wrong["on_object: no share of what is touched"] = (np.isnan(found["on_object"]) != (touched == 0)) | (
            np.abs(count - np.rint(count)) > 0.01
        )
    if "pointed" in found and not {"iou", "inside"} & found.keys():
        raise UsageError("pointed: the task has no objects")
    for problem, there in wrong.items():
        if np.any(there):
            raise UsageError(problem)


def read_judgement(path: Path, steps_FN: Array) -> Array:
    """Which members of a judge are right about what a record selected: boolean (M, F, N), and never without a glimpse.

    The file has them as bits, `correct` (M, F, ⌈N/8⌉).
    """
    budgets, images = steps_FN.shape
    bits = read(path, {"correct": Form(("|u1",), (None, budgets, math.ceil(images / 8)))})["correct"]
    if not 1 <= len(bits) <= _MOST_MEMBERS:
        raise UsageError(f"{path}: correct: {len(bits)} members")
    whole = np.unpackbits(bits, axis=-1).astype(bool)
    nothing_FN = steps_FN == 0
    if whole[..., images:].any() or (nothing_FN.any() and (whole[..., :images] & nothing_FN).any()):
        raise UsageError(f"{path}: correct: right about an image that is not there, or of which nothing was selected")
    return whole[..., :images]


def selection_form(about: Mapping[str, Any], agent: Agent) -> Form:
    """What a selection must be, (P, N, T, …), of the record's images and the agent's sensor."""
    sensor, horizon = agent.sensor(), agent.horizon()
    actions = math.prod(sensor.action_space(agent.shape).shape)
    passes = len(about["budgets"]) if horizon == 1 else 1
    last = ("|u1", math.ceil(actions / 8)) if isinstance(sensor, Mask) else ("<f4", actions)
    return Form(last[:1], (passes, about["task"]["test_images"], horizon, last[1]))


def read_selection(path: Path, about: Mapping[str, Any], agent: Agent) -> Array:
    """What was looked at, (P, N, T, …): actions of the agent's sensor as float32, of a mask as packed bits.

    Raises:
        UsageError: it was left out of this copy, or is not of the record's images or the agent's sensor.
    """
    if not path.exists():
        raise UsageError(f"{path}: left out of this copy; run the suite again to have it")
    form = selection_form(about, agent)
    selection = read(path, {"selection": form}, most=MOST_SELECTED, packed=_PACKED)["selection"]
    if not np.isfinite(selection).all():
        raise UsageError(f"{path}: selection: a number that is not finite")
    return selection
