"""Checkpoints of a run's training: what was interrupted goes on, and ends as if it had not been, bit for bit.

A folder of one run holds a file for each of `fit`'s training loops, in their order: `0.checkpoint`, `1.checkpoint`, …
A loop that is done has its end state there, the one at work what it was before one of its steps, newly written now and
then. A run that goes on begins `fit` anew, and its loops pass over the steps that are done.

A file is in the safetensors format, its metadata a text of JSON, with the SHA-256 of all that at its end, so that a
file that was cut or has changed is noticed. It is written beside its place and moved there. Nothing in it is executed.
A file of other settings, sources, libraries or machines is not used: what came of it could not be had again.
With the record the folder goes.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import random
import shutil
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load, save_file
from tqdm import tqdm

from glimpsebench.agents.common.base import Agent, Stateful
from glimpsebench.bench.recorder import Recorder
from glimpsebench.envs.base import USE
from glimpsebench.envs.errors import UsageError

Array = NDArray[Any]

SECONDS = 60.0
"""Between two checkpoints, unless GLIMPSE_CHECKPOINT_SECONDS says otherwise; `inf` is never."""
LARGEST_SHARE = 0.02
"""Of the time that writing checkpoints may take: large ones are written more seldom."""
DIGEST_BYTES = 32
END = -1
"""The step of a loop that is done."""

STOP = threading.Event()
"""Once it is set, trainings in this process write a checkpoint before their next step and raise KeyboardInterrupt."""


class Damaged(Exception):
    """A checkpoint that cannot be read."""


class Checkpoints:
    """What keeps the checkpoints of one run, and gives them back.

    Args:
        folder: of this run alone.
        identity: what must be equal for a checkpoint to be used.
        agent: being trained.
        curves: its training curve, which goes on too.
        say: is told what a user should know, in a line.

    Attributes:
        regained: seconds of training before the interruption, less those that it took to pass over its steps.
    """

    def __init__(
        self, folder: Path, identity: str, agent: Agent, curves: Recorder, say: Callable[[str], None] | None = None
    ) -> None:
        self.folder, self.identity, self.agent, self.curves = folder, identity, agent, curves
        self.say = say or _on_stderr
        self.every, self.took, self.regained = seconds(), 0.0, 0.0
        self.loops = 0
        self.keeps = self.every < np.inf and _resumable(agent)
        self.saved = self._saved() if self.keeps else {}
        self.begin()

    def begin(self) -> None:
        """Training begins now: what this process did before, such as training a judge, is no part of it."""
        self.began = self.written = time.perf_counter()
        self.images, self.steps = USE.images, USE.steps

    def loop(self, steps: Iterator[int], parts: Mapping[str, Stateful]) -> Iterator[int]:
        """The steps of the next loop of `fit` that are not done yet; keeps checkpoints between them."""
        if not self.keeps:
            yield from steps
            return
        number, to_pass = self.loops, self.saved.pop(self.loops, None)
        self.loops += 1
        self.curves.passing_over = to_pass is not None
        for step in steps:
            if to_pass is not None:
                if step != to_pass:
                    continue
                self._restore(number, parts)
                to_pass = None
            elif STOP.is_set() or self._due():
                self._save(number, step, parts)
                if STOP.is_set():
                    raise KeyboardInterrupt
            yield step
        if to_pass is None:
            self._save(number, END, parts)
        else:
            self._restore(number, parts)

    def remove(self) -> None:
        """Remove all checkpoints of this run: its record is whole."""
        shutil.rmtree(self.folder, ignore_errors=True)
        with suppress(OSError):
            self.folder.parent.rmdir()

    def _due(self) -> bool:
        return time.perf_counter() - self.written >= max(self.every, self.took / LARGEST_SHARE)

    def _path(self, number: int) -> Path:
        return self.folder / f"{number}.checkpoint"

    def _saved(self) -> dict[int, int]:
        """The step that each loop comes to, from the files; nothing, and no files, if one of them is of no use."""
        found: dict[int, int] = {}
        try:
            while (path := self._path(len(found))).exists():
                found[len(found)] = read(path, self.identity)[0]
        except (Damaged, OSError) as error:
            self.say(f"{error}; training begins anew")
            self.remove()
            return {}
        if found:
            last = len(found) - 1
            where = "its end" if found[last] == END else f"step {found[last]}"
            self.say(f"training goes on from {where} of its loop {last + 1}, from {self.folder}")
        return found

    def _save(self, number: int, step: int, parts: Mapping[str, Stateful]) -> None:
        began = time.perf_counter()
        state = {
            "parts": {name: part.state_dict() for name, part in parts.items()},
            "net": None if self.agent.net is None else self.agent.net.state_dict(),
            "fields": {name: value for name, value in _fields(self.agent).items() if isinstance(value, _DATA)},
            "curves": self.curves.state_dict(),
            "use": [USE.images - self.images, USE.steps - self.steps],
            "generators": _generators(),
            "seconds": self.regained + began - self.began,
        }
        try:
            write(self._path(number), self.identity, step, state)
        except (OSError, TypeError) as error:
            self.say(f"no checkpoint was written: {error}")
        self.written = time.perf_counter()
        self.took = self.written - began

    def _restore(self, number: int, parts: Mapping[str, Stateful]) -> None:
        _, state = read(self._path(number), self.identity)
        for name, part in parts.items():
            part.load_state_dict(state["parts"][name])
        if self.agent.net is not None:
            self.agent.net.load_state_dict(state["net"])
        for name in _fields(self.agent).keys() & state["fields"].keys():
            setattr(self.agent, name, state["fields"][name])
        self.curves.load_state_dict(state["curves"])
        self.curves.passing_over = False
        USE.images, USE.steps = self.images + state["use"][0], self.steps + state["use"][1]
        _set_generators(state["generators"])
        self.written = time.perf_counter()
        self.regained = state["seconds"] - (self.written - self.began)


def seconds() -> float:
    """How many seconds lie between two checkpoints.

    Raises:
        UsageError: GLIMPSE_CHECKPOINT_SECONDS is no number of seconds.
    """
    told = os.environ.get("GLIMPSE_CHECKPOINT_SECONDS") or SECONDS
    try:
        value = float(told)
    except ValueError:
        value = -1.0
    if not value >= 0:
        raise UsageError(f"GLIMPSE_CHECKPOINT_SECONDS is '{told}', and must be a number of seconds, or inf for never")
    return value


def _resumable(agent: Agent) -> bool:
    """Whether `fit`'s loops can be taken up: those of this package's agents, and of others that say so themselves."""
    kind = type(agent)
    return kind.__module__.startswith("glimpsebench.agents.") or bool(vars(kind).get("checkpointed"))


def _on_stderr(line: str) -> None:
    tqdm.write(line, file=sys.stderr)


_DATA = (int, float, str, list, tuple, dict, torch.Tensor, np.ndarray)


def _fields(agent: Agent) -> dict[str, Any]:
    """The agent's fields that are neither settings nor networks."""
    return {each.name: getattr(agent, each.name) for each in dataclasses.fields(agent) if not each.init}


def _generators() -> dict[str, Any]:
    """The states of all global random generators."""
    in_use = torch.cuda.is_initialized()  # type: ignore[no-untyped-call]
    cards = range(torch.cuda.device_count() if in_use else 0)
    return {
        "torch": torch.get_rng_state(),
        "cuda": [torch.cuda.get_rng_state(card) for card in cards],
        "numpy": np.random.get_state(legacy=False),  # noqa: NPY002  Stable-Baselines3 draws from it
        "python": random.getstate(),
    }


def _set_generators(states: Mapping[str, Any]) -> None:
    torch.set_rng_state(states["torch"])
    for card, state in enumerate(states["cuda"]):
        torch.cuda.set_rng_state(state, card)
    np.random.set_state(states["numpy"])  # noqa: NPY002
    random.setstate(states["python"])


def write(path: Path, identity: str, step: int, state: Mapping[str, Any]) -> None:
    """Write a checkpoint: all of it or, if anything goes wrong, nothing.

    Raises:
        OSError: it cannot be written.
        TypeError: something in the state is neither array nor JSON.
    """
    arrays: list[Array] = []
    about = json.dumps({"identity": identity, "step": step, "state": _packed(state, arrays, {})})
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_suffix(".unfinished")
    try:
        save_file({str(number): array for number, array in enumerate(arrays)}, temporary, {"about": about})
        with temporary.open("r+b") as file:
            digest = hashlib.file_digest(file, "sha256").digest()
            file.seek(0, os.SEEK_END)
            file.write(digest)
        temporary.replace(path)
    except SafetensorError as error:  # how it says that a disk is full
        raise OSError(f"{path}: {error}") from None
    finally:
        temporary.unlink(missing_ok=True)


def read(path: Path, identity: str) -> tuple[int, dict[str, Any]]:
    """The step and the state of a checkpoint.

    Raises:
        Damaged: it is not whole, or of another run.
    """
    content = path.read_bytes()
    whole, digest = content[:-DIGEST_BYTES], content[-DIGEST_BYTES:]
    if hashlib.sha256(whole).digest() != digest:
        raise Damaged(f"{path} is damaged")
    try:
        length = int.from_bytes(whole[:8], "little")
        about = json.loads(json.loads(whole[8 : 8 + length])["__metadata__"]["about"])
        if about["identity"] != identity:
            raise Damaged(f"{path} is of another version, library or machine")
        return int(about["step"]), _unpacked(about["state"], load(whole))
    except (ValueError, KeyError, TypeError, SafetensorError) as error:
        raise Damaged(f"{path} is no checkpoint: {type(error).__name__}: {error}") from None


def _packed(value: Any, arrays: list[Array], known: dict[Any, int]) -> Any:
    """A value as JSON, its tensors and arrays put into a list; memory that is `known` is put there once."""
    if isinstance(value, torch.Tensor):
        identity = value.data_ptr(), value.dtype, value.shape, value.stride(), value.device
        if identity not in known:
            known[identity] = len(arrays)
            arrays.append(np.asarray(value.detach().cpu().numpy(), order="C"))
        # Some kernels go through parameters and an optimiser's averages side by side, in the order of the memory.
        last = value.dim() == 4 and not value.is_contiguous()
        return {"tensor": known[identity], "device": str(value.device), "channels_last": last}
    if isinstance(value, np.ndarray):
        arrays.append(np.asarray(value, order="C"))
        return {"array": len(arrays) - 1}
    if isinstance(value, Mapping):  # whose keys may be numbers
        return {"items": [[key, _packed(each, arrays, known)] for key, each in value.items()]}
    if isinstance(value, tuple):
        return {"tuple": [_packed(each, arrays, known) for each in value]}
    if isinstance(value, Sequence) and not isinstance(value, str):
        return [_packed(each, arrays, known) for each in value]
    return value.item() if isinstance(value, np.generic) else value


def _unpacked(value: Any, arrays: Mapping[str, Array]) -> Any:
    """The inverse of `_packed`."""
    if isinstance(value, list):
        return [_unpacked(each, arrays) for each in value]
    if not isinstance(value, dict):
        return value
    if "tensor" in value:
        tensor = torch.from_numpy(np.array(arrays[str(value["tensor"])])).to(value["device"])
        return tensor.to(memory_format=torch.channels_last) if value["channels_last"] else tensor
    if "array" in value:
        return np.array(arrays[str(value["array"])])
    if "tuple" in value:
        return tuple(_unpacked(each, arrays) for each in value["tuple"])
    return {key: _unpacked(each, arrays) for key, each in value["items"]}
