"""One honest tiny record, and what can be done to it: forgeries and damages, each of which a reader must refuse.

A forgery is a function of a record's folder. Those under `ALONE` show in the record itself, so that every reader
refuses them; those under `WITH_TASK` show where the task, the agent or the selections are at hand; those under
`JUDGED` where it is judged again.
"""

from __future__ import annotations

import io
import json
import os
import struct
import warnings
import zipfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from conftest import Alone, judged_by
from glimpsebench.bench import hashes
from glimpsebench.bench.records import Record, asked, digest
from glimpsebench.bench.run import Spec, run

Array = NDArray[Any]
Forgery = Callable[[Path], None]

JUDGE = "0123456789abcdef"


def guess(view: Mapping[str, Array]) -> Array:
    """A judge that has learned nothing: logits (B, 10) from the canvas."""
    brightness_B = view["canvas"].mean((1, 2, 3))
    return -np.abs(brightness_B[:, None] * 40 - np.arange(10))


@contextmanager
def judged_by_a_guess() -> Iterator[None]:
    """Within, no judge is trained, and whether this checkout is clean does not matter."""
    with pytest.MonkeyPatch.context() as patch:
        guessing(patch)
        yield


def guessing(patch: pytest.MonkeyPatch) -> None:
    """The same until `patch` is undone: a test's own, so that what it patches later is undone first."""
    patch.setattr("glimpsebench.bench.run._commit", lambda: "")
    judged_by(patch, Alone(JUDGE, guess))


def make_honest(root: Path, seed: int = 0, agent: str = "raster", **settings: Any) -> Record:
    """A record on small digits, with all of its files; hardly trained."""
    with judged_by_a_guess():
        made = run(Spec(agent, "digits-clutter", seed, {"predictor_steps": 2} | settings), root, iter)
    assert made.done, made.about
    return made


def edit(folder: Path, change: Callable[[dict[str, Any]], None], key: bool = True) -> None:
    """Change record.json, and name the record by what it then says was asked."""
    about = json.loads((folder / "record.json").read_text())
    change(about)
    if key:
        about["key"] = digest(asked(about))
    (folder / "record.json").write_text(json.dumps(about))
    hashes.write(folder)
    if key:
        task, name = about["task"]["id"], about["agent"]["name"]
        home = folder.parents[2] / task / name / about["key"]
        home.parent.mkdir(parents=True, exist_ok=True)
        folder.rename(home)


def said(path: str, value: Any, key: bool = False) -> Forgery:
    """record.json says something else at a dotted place."""

    def forge(folder: Path) -> None:
        def change(about: dict[str, Any]) -> None:
            *places, last = path.split(".")
            table = about
            for place in places:
                table = table[place]
            table[last] = value

        edit(folder, change, key)

    return forge


def without(name: str) -> Forgery:
    return lambda folder: edit(folder, lambda about: about.pop(name), key=False)


def text(change: Callable[[str], str], file: str = "record.json") -> Forgery:
    """The text of a file is another."""

    def forge(folder: Path) -> None:
        (folder / file).write_text(change((folder / file).read_text()))
        hashes.write(folder)

    return forge


def stored(path: Path) -> dict[str, Array]:
    with np.load(path) as found:
        return {name: found[name].copy() for name in found.files}


def save(path: Path, found: Mapping[str, Any]) -> None:
    named: Any = found
    np.savez_compressed(path, **named)


def arrays(change: Callable[[dict[str, Array]], None], file: str = "images.npz") -> Forgery:
    """The arrays of a file are others."""

    def forge(folder: Path) -> None:
        path = folder / file.replace("NAME", JUDGE)
        found = stored(path)
        change(found)
        save(path, found)
        hashes.write(folder)

    return forge


def put(name: str, at: Any, value: Any) -> Forgery:
    def change(found: dict[str, Array]) -> None:
        found[name][at] = value

    return arrays(change)


def raw(change: Callable[[bytes], bytes], file: str = "images.npz") -> Forgery:
    """The bytes of a file are others."""

    def forge(folder: Path) -> None:
        path = folder / file.replace("NAME", JUDGE)
        path.write_bytes(change(path.read_bytes()))
        hashes.write(folder)

    return forge


def header(shape: tuple[int, ...], dtype: str = "|u1") -> bytes:
    """The head of an .npy file that announces this."""
    head = io.BytesIO()
    np.lib.format.write_array_header_1_0(head, {"descr": dtype, "fortran_order": False, "shape": shape})
    return head.getvalue()


def entries(*more: tuple[str, bytes], file: str = "images.npz", instead: bool = True) -> Forgery:
    """Entries of the ZIP file are these, beside the others or in their place."""

    def forge(folder: Path) -> None:
        path = folder / file
        with zipfile.ZipFile(path) as archive:
            kept = [(info.filename, archive.read(info)) for info in archive.infolist()]
        names = {name for name, _ in more} if instead else set()
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive, warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # a name twice
            for name, content in [*(one for one in kept if one[0] not in names), *more]:
                archive.writestr(name, content)

    return forge


def bomb(name: str, shape: tuple[int, ...], dtype: str, file: str = "images.npz") -> Forgery:
    """An array of zeros that takes no room in the file."""

    def forge(folder: Path) -> None:
        path = folder / file
        with zipfile.ZipFile(path) as archive:
            kept = [(info.filename, archive.read(info)) for info in archive.infolist()]
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
            for each, content in kept:
                if each != f"{name}.npy":
                    archive.writestr(each, content)
            with archive.open(f"{name}.npy", "w", force_zip64=True) as entry:
                entry.write(header(shape, dtype))
                left = int(np.prod(shape)) * np.dtype(dtype).itemsize
                while left > 0:
                    left -= entry.write(bytes(min(left, 2**20)))

    return forge


def encrypted(content: bytes) -> bytes:
    at = content.index(b"PK\x01\x02") + 8
    return content[:at] + b"\x01" + content[at + 1 :]


def many_entries(folder: Path) -> None:
    with zipfile.ZipFile(folder / "images.npz", "w") as archive:
        for number in range(70_000):
            archive.writestr(f"{number}", b"")


def as_fifo(folder: Path) -> None:
    (folder / "images.npz").unlink()
    os.mkfifo(folder / "images.npz")


def as_pickle(folder: Path) -> None:
    """An array of objects, which would be unpickled."""
    found = stored(folder / "images.npz")
    found["own"] = np.array([print] * 3, object)
    save(folder / "images.npz", found)


def in_anothers_folder(folder: Path) -> None:
    folder.rename(folder.parent / ("0" * 16))


def bits(change: Callable[[Array], Array]) -> Forgery:
    def forge(folder: Path) -> None:
        path = folder / f"judgement.{JUDGE}.npz"
        np.savez_compressed(path, correct=change(stored(path)["correct"]))

    return forge


def flipped(content: bytes) -> bytes:
    """One bit within the first array's values is another."""
    at = 30 + struct.unpack("<HH", content[26:30])[0] + struct.unpack("<HH", content[26:30])[1] + 40
    return content[:at] + bytes([content[at] ^ 16]) + content[at + 1 :]


def renamed(old: str, new: str) -> Callable[[dict[str, Array]], None]:
    def change(found: dict[str, Array]) -> None:
        found[new] = found.pop(old)

    return change


def lost(name: str) -> Callable[[dict[str, Array]], None]:
    def change(found: dict[str, Array]) -> None:
        del found[name]

    return change


def typed(name: str, dtype: Any) -> Callable[[dict[str, Array]], None]:
    def change(found: dict[str, Array]) -> None:
        found[name] = found[name].astype(dtype)

    return change


def shorter(found: dict[str, Array]) -> None:
    for name, array in found.items():
        found[name] = array[:, :-1] if array.ndim == 2 and name != "points" else array[:-1]


def fewer_images(folder: Path) -> None:
    """The hard images are left out, everywhere alike."""
    arrays(shorter)(folder)
    arrays(lambda found: found.update(selection=found["selection"][:, :-1]), "selections.npz")(folder)
    edit(folder, lambda about: about["task"].update(test_images=about["task"]["test_images"] - 1), key=False)
    bits(lambda correct: np.packbits(np.unpackbits(correct, axis=-1)[..., :499], axis=-1))(folder)


def all_right(found: dict[str, Array]) -> None:
    found["own"] = np.where(found["own"] < 0, -1, found["labels"]).astype(np.int8)


def moved(found: dict[str, Array]) -> None:
    found["selection"] = np.roll(found["selection"], 1, axis=2)


def filled(value: float) -> Callable[[dict[str, Array]], None]:
    def change(found: dict[str, Array]) -> None:
        found["selection"][0, 0, 0, 0] = value

    return change


CURVES = '[{"stage": "1", "scored": "", "measures": {"accuracy": "<script>"}}]'

ALONE: dict[str, tuple[str, Forgery]] = {
    # name → what its line says, and how it is made
    "json cut short": ("not a readable record", text(lambda whole: whole[:200])),
    "json of zeros": ("not a readable record", raw(lambda whole: bytes(len(whole)), "record.json")),
    "json that is a list": ("not a table", text(lambda whole: f"[{whole}]")),
    "a key twice": ("a key is said twice", text(lambda whole: whole.replace('"seed":', '"seed": 7, "seed":'))),
    "a number that is none": ("NaN is not JSON", text(lambda whole: whole.replace('"seed": 0', '"seed": NaN'))),
    "a number without end": ("agent.settings: .* not finite", text(lambda whole: whole.replace("0.0003", "1e999", 1))),
    "nested without end": ("not a readable record", text(lambda whole: "[" * 10**5 + "]" * 10**5)),
    "json too large": ("bytes", text(lambda whole: whole + " " * 5 * 2**20)),
    "not utf-8": ("not a readable record", raw(lambda whole: whole.replace(b"raster", b"r\xffster"), "record.json")),
    "an unknown key": ("accuracy: unknown key", said("accuracy", 0.99)),
    "an unknown key within": ("agent.rank: unknown key", said("agent.rank", 1)),
    "no status": ("status: missing", without("status")),
    "no agent": ("agent: missing", without("agent")),
    "a seed that is text": ("seed:", said("seed", "0")),
    "a seed that is true": ("seed:", said("seed", True)),
    "a seed below 0": ("seed:", said("seed", -1)),
    "a seed beyond all": ("seed:", said("seed", 2**40)),
    "another schema": ("schema:", said("schema", 4)),
    "an older schema": ("evaluator: ", said("schema", 2)),
    "the evaluator's name within": ("evaluator: ", said("evaluator", "0" * 16)),
    "another seed, the same key": ("key: .* is not the hash of what was asked", said("seed", 1)),
    "another setting, the same key": ("key: .* is not the hash", said("agent.settings.lr", 1.0)),
    "another version, the same key": ("key: .* is not the hash", said("agent.version", 99)),
    "in another's folder": ("key: the folder is not that of", in_anothers_folder),
    "another name than settings": ("agent.changed", said("agent.changed", {"predictor_steps": 9})),
    "a name with a path": ("agent.name", said("agent.name", "../../etc/passwd", key=False)),
    "a name with code": ("agent.name", said("agent.name", "__import__('os')")),
    "a task with a path": ("task.id", said("task.id", "../digits-v1")),
    "no budgets": ("budgets", said("budgets", [])),
    "budgets that fall": ("budgets: must ascend", said("budgets", [0.5, *[0.1] * 8])),
    "a budget of more than all": ("budgets", said("budgets", [0.01, 0.02, 0.05, 0.1, 0.15, 0.2, 0.3, 0.5, 1.5])),
    "another budget": ("touched: more than the budget", said("budgets", [x / 100 for x in range(1, 10)])),
    "done, with an error": ("error: ", said("error", "ValueError: none")),
    "failed, without an error": ("error: ", said("status", "failed")),
    "more images than can be": ("task.test_images", said("task.test_images", 10**9)),
    "other images than arrays": ("shape", said("task.test_images", 499)),
    "an image without end": ("task.shape", said("task.shape", [1, 10**6, 10**6])),
    "a smaller image": ("more than|pixels|outside", said("task.shape", [1, 8, 8])),
    "fewer classes": ("labels: no class|own: no class", said("task.classes", 2)),
    "a finding that is text": ("findings", said("findings", {"accuracy": "<b>1</b>"})),
    "settings without end": ("agent.settings", said("agent.settings", {"a": [[[[[[[[1]]]]]]]]}, key=True)),
    "more trained than there is": ("trainable", said("trainable", 10**12)),
    "a processor that is a table": ("machine.processor", said("machine.processor", {})),
    "seconds below 0": ("fit", text(lambda whole: '{"fit": -1.0}', "timings.json")),
    "seconds that are text": ("fit", text(lambda whole: '{"fit": "<script>"}', "timings.json")),
    "training curves that are text": ("measures", text(lambda whole: CURVES, "curves.json")),
    "training curves that are a table": ("not a table", text(lambda whole: "{}", "curves.json")),
    "costs below 0": ("costs", said("costs", {"env_steps": -5})),
    "no arrays": (r"images\.npz: no such file", lambda folder: (folder / "images.npz").unlink()),
    "arrays cut short": ("NPZ file", raw(lambda whole: whole[: len(whole) // 2])),
    "arrays of nothing": ("NPZ file", raw(lambda whole: b"")),
    "arrays that are no zip": ("NPZ file", raw(lambda whole: b"PK" + bytes(500))),
    "a bit that flipped": ("NPZ file", raw(flipped)),
    "entries without end": ("entries|NPZ", many_entries),
    "a pipe for a file": ("not a plain file", as_fifo),
    "a pickle": ("own: .* is no array|own: object|NPZ file", as_pickle),
    "an encrypted array": ("packed otherwise", raw(encrypted)),
    "an array too many": ("extra.npy: no array of a record", arrays(lambda found: found.update(extra=np.zeros(3)))),
    "an array in another place": ("no array of a record", entries(("../../own.npy", b"x"))),
    "an array twice": ("twice", entries(("own.npy", header((9, 500), "|i1") + bytes(4500)), instead=False)),
    "an array by another name": ("owned.npy: no array", arrays(renamed("own", "owned"))),
    "an array too few": ("labels: missing", arrays(lost("labels"))),
    "half of two arrays": ("objects: missing", arrays(lost("objects"))),
    "another type": ("own: float64, and not int8", arrays(typed("own", float))),
    "bytes the other way round": ("touched", arrays(typed("touched", ">u2"))),
    "another shape": ("steps: shape", arrays(lambda found: found.update(steps=found["steps"].T))),
    "a type with fields": ("own", arrays(lambda found: found.update(own=np.zeros(3, [("a", "u1")])))),
    "a header that lies": ("own: its size", entries(("own.npy", header((9, 500), "|i1") + bytes(10)))),
    "a header of gigabytes": ("own: its size", entries(("own.npy", header((9, 10**9), "|i1") + bytes(10)))),
    "a header below 0": ("own", entries(("own.npy", header((9, -500), "|i1") + bytes(10)))),
    "no header": ("NPZ file", entries(("own.npy", b"own"))),
    "a bomb": ("touched: shape|unpacks", bomb("touched", (9, 2 * 10**7), "<u2")),
    "a bomb of the right shape": ("unpacks to", lambda folder: _large(folder)),
    "more than the budget": ("touched: more than the budget", put("touched", (3, 0), 200)),
    "touched without a glimpse": ("touched: something without", arrays(lambda found: found["steps"].fill(0))),
    "delivered without touching": ("delivered", arrays(lambda found: found["delivered"].fill(0))),
    "a class that is none": ("own: no class", put("own", (8, 0), 10)),
    "a class below none": ("own: no class", put("own", (8, 0), -7)),
    "predicted without a glimpse": ("own: a class without", put("own", (0, slice(None)), 3)),
    "sure of nothing": ("confidence: without a prediction", put("confidence", (8, 0), 0)),
    "less sure than a guess": ("confidence: less than", put("confidence", (8, 0), 3)),
    "a label that is none": ("labels: no class", put("labels", 0, 99)),
    "a point outside": ("points: outside", put("points", (0, 0), 200)),
    "more inside than is touched": ("inside: more than", put("inside", (3, 0), 255)),
    "an object larger than all": ("objects: more", arrays(lambda f: f.update(objects=f["objects"].astype("<u2") * 99))),
    "a judgement cut short": ("NPZ file", raw(lambda whole: whole[:99], "judgement.NAME.npz")),
    "a judgement of another shape": ("correct: shape", bits(lambda correct: correct[:, :-1])),
    "a judgement by nobody": ("correct: 0 members", bits(lambda correct: correct[:0])),
    "a judgement by too many": ("correct: 99 members", bits(lambda correct: np.repeat(correct, 99, axis=0))),
    "right about nothing": ("correct: right about", bits(lambda correct: np.full_like(correct, 255))),
}

WITH_TASK: dict[str, tuple[str, Forgery]] = {
    "other labels": ("labels: not those of", arrays(lambda found: found["labels"].fill(3))),
    "labels that are what it said": (
        "labels: not those of",
        arrays(lambda found: found.update(labels=np.maximum(found["own"][-1], 0).astype(np.uint8))),
    ),
    "other test images": ("task.test_sha256", said("task.test_sha256", "0" * 64)),
    "fewer test images": ("task.test_images", fewer_images),
    "a hit that was none": ("pointed: not what", arrays(lambda found: found.update(pointed=~found["pointed"]))),
    "an object of another size": (
        "iou: not that",
        arrays(lambda found: found.update(objects=found["objects"] + np.uint8(1))),
    ),
    "on the other track": ("agent.track", said("agent.track", "open")),
    "a contender that is a floor": ("agent.reference", said("agent.reference", None)),
    "looks by choice that are given": ("agent.given", said("agent.given", 5)),
    "other supervision": ("agent.supervision", said("agent.supervision", "boxes")),
    "another sensor": ("agent.sensor", said("agent.sensor", "Window(size=1)")),
    "selections of others": ("selection: not that of this record", arrays(moved, "selections.npz")),
    "selections that are not finite": ("not finite", arrays(filled(np.nan), "selections.npz")),
    "selections of another form": (
        "selection: shape",
        arrays(lambda found: found.update(selection=found["selection"][..., :1]), "selections.npz"),
    ),
    "selections as a bomb": ("selection: shape", bomb("selection", (1, 500, 5 * 10**4, 2), "<f4", "selections.npz")),
    "selections cut short": ("NPZ file", raw(lambda whole: whole[:500], "selections.npz")),
    "fewer pixels than were touched": (
        "selection: not that of this record|more than",
        arrays(lambda found: found.update(touched=found["touched"] // 2, inside=found["inside"] // 2)),
    ),
    "fewer values than were returned": (
        "does not touch or deliver what they did",
        arrays(lambda found: found.update(delivered=(found["delivered"] + 1) // 2)),
    ),
}

JUDGED: dict[str, tuple[str, Forgery]] = {
    "all right, by the judge": (
        "correct: .* is what the judge says",
        bits(lambda correct: np.broadcast_to(correct.max((0, 1)), correct.shape) & correct | correct[:, -1:] & correct),
    ),
    "all right, by its own": ("own: not what its weights predict", arrays(all_right)),
    "as sure as it is right": (
        "confidence: not that of what its weights",
        arrays(lambda found: found.update(confidence=np.where(found["confidence"] > 0, 90, 0).astype(np.uint8))),
    ),
}


def _large(folder: Path) -> None:
    """Every array of the announced shape, of many images."""
    images = 10**6
    edit(folder, lambda about: about["task"].update(test_images=images), key=False)
    for name in ("steps", "confidence"):
        bomb(name, (9, images), "|u1")(folder)
    for name, dtype in (("touched", "<u2"), ("delivered", "<u2"), ("own", "|i1"), ("inside", "<u2")):
        bomb(name, (9, images), dtype)(folder)
    for name, shape, dtype in (("labels", (images,), "|u1"), ("points", (images, 2), "|u1")):
        bomb(name, shape, dtype)(folder)
    for name, dtype in (("objects", "<u2"), ("pointed", "|b1")):
        bomb(name, (images,), dtype)(folder)
