"""Another process that speaks arrays over pipes, without pickle; and, on Linux, a folder that it cannot leave.

A message is one line of JSON, which says what the arrays are, and then their bytes. Nothing in it is ever run, and
what it may hold is bounded, so that neither side has to trust the other.
"""

from __future__ import annotations

import functools
import json
import math
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

import glimpsebench

Array = NDArray[Any]
Message = tuple[dict[str, Any], dict[str, Array]]
Handlers = Mapping[str, Callable[[dict[str, Any], dict[str, Array]], Message]]

LONGEST_LINE, MOST_BYTES = 1 << 22, 1 << 32
"""Of a message: the bytes of its line of JSON, and of its arrays."""
PYTHON = os.path.abspath(sys.executable)  # noqa: PTH100 - links stay: a virtual environment's Python is one
_ENVIRONMENT = dict(os.environ)  # as it was before a contender was imported, which may change it


class Failure(Exception):
    """The other process could not do what it was asked, or ended. The text is its last word."""


class Ended(Failure):
    """The process ended, or lost its way, before it answered."""


def send(pipe: IO[bytes], about: Mapping[str, Any], arrays: Mapping[str, Array]) -> None:
    """Write a message."""
    whole = {name: np.ascontiguousarray(array) for name, array in arrays.items()}
    what = {name: [array.dtype.str, array.shape] for name, array in whole.items()}
    pipe.write(json.dumps({"about": about, "arrays": what}).encode() + b"\n")
    for array in whole.values():
        pipe.write(array.data)
    pipe.flush()


def receive(pipe: IO[bytes]) -> Message:
    """Read a message.

    Raises:
        EOFError: there is none, or only a part of one.
        ValueError: it is not a message, or larger than any should be.
    """
    line = pipe.readline(LONGEST_LINE)
    if not line:
        raise EOFError("the other process has ended")
    head = json.loads(line)
    arrays, left = {}, MOST_BYTES
    for name, (text, shape) in head["arrays"].items():
        kind = np.dtype(str(text))
        size = kind.itemsize * math.prod(map(int, shape))
        left -= size
        if kind.kind not in "biuf" or min(shape, default=0) < 0 or left < 0:
            raise ValueError(f"array {name} of {kind} {shape} is not one to be sent")
        content = pipe.read(size)
        if len(content) < size:
            raise EOFError("the other process has ended in the middle of a message")
        arrays[str(name)] = np.frombuffer(bytearray(content), kind).reshape(shape)  # writable
    return dict(head["about"]), arrays


def serve(handlers: Handlers) -> None:
    """Answer messages from standard input until it ends. What else is printed goes to standard error."""
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    while True:
        try:
            about, arrays = receive(sys.stdin.buffer)
        except EOFError:
            return
        try:
            reply = handlers[about.pop("do")](about, arrays)
        except Exception as error:  # whatever a contender's code raises is the answer
            reply = {"error": " ".join(f"{type(error).__name__}: {error}".split())}, {}
        send(answers, *reply)


class Process:
    """A Python process that runs a module which calls `serve`.

    Args:
        module: its name.
        environment: by default this process's, as it was when the bench was imported.
        before: a command that the process is run by.
    """

    def __init__(self, module: str, environment: Mapping[str, str] | None = None, before: Sequence[str] = ()) -> None:
        environment = dict(_ENVIRONMENT if environment is None else environment)
        environment.setdefault("PYTHONPATH", str(Path(glimpsebench.__file__).parents[1]))
        self._errors = tempfile.TemporaryFile()  # noqa: SIM115 - open for as long as the process is
        self._process = subprocess.Popen(
            [*before, PYTHON, "-m", module],
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
        )

    def ask(self, what: str, about: Mapping[str, Any], arrays: Mapping[str, Array] | None = None) -> Message:
        """Send a message and wait for the answer.

        Raises:
            Ended: there is no answer.
            Failure: it says what went wrong.
        """
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        try:
            send(self._process.stdin, {"do": what, **about}, arrays or {})
            answer, back = receive(self._process.stdout)
        except (OSError, EOFError, ValueError, KeyError, TypeError, AttributeError) as error:
            self.close()
            raise Ended(f"{what}: {error or type(error).__name__}{self._last_words()}") from None
        if "error" in answer:
            raise Failure(str(answer["error"])[:500])
        return answer, back

    @property
    def ended(self) -> bool:
        """Whether it runs no more."""
        return self._process.poll() is not None

    def _last_words(self) -> str:
        self._errors.seek(0)
        lines = self._errors.read().decode(errors="replace").strip().splitlines()
        return f" ({lines[-1][:500]})" if lines else ""

    def close(self) -> None:
        """End it; for a process that has ended, nothing."""
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                with suppress(OSError):
                    pipe.close()
        self._process.kill()
        self._process.wait()

    def __enter__(self) -> Process:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
        self._errors.close()


# The arguments: the folder, a place to mount on, how many paths to show, these, and the files to blank; then the
# command. The new root holds what is shown, read-only, and the folder, which can be written to; the old one is gone.
_ENCLOSE = """
set -e
folder=$1 new=$2 count=$3; shift 3
mount -t tmpfs -o mode=755 room "$new"
show() {
  if [ -d "$1" ]; then mkdir -p "$new$1"; else mkdir -p "$new$(dirname "$1")"; : > "$new$1"; fi
  mount --bind $2 "$1" "$new$1"
}
while [ "$count" -gt 0 ]; do show "$1" "-o ro"; shift; count=$((count - 1)); done
show "$folder" ""
while [ "$1" != -- ]; do mount --bind -o ro /dev/null "$new$1"; shift; done; shift
mkdir -p "$new/proc" "$new/tmp" "$new/old"
mount -t proc proc "$new/proc" 2> /dev/null || true
cd "$new"
pivot_root . old
umount -l /old
cd "$folder"
exec "$@"
"""
_UNSHARE = ("unshare", "--user", "--map-root-user", "--mount", "--net", "--ipc", "--pid", "--fork", "--kill-child")
_SYSTEM = ("/usr", "/lib", "/lib64", "/bin", "/sbin", "/etc/ld.so.cache", "/dev/null", "/dev/zero", "/dev/urandom")


def enclosed(folder: Path, place: Path) -> list[str]:
    """The command that runs another where only this folder, Python and this package are: no network, no other file.

    Args:
        folder: all that it may write to, and where it starts.
        place: an empty folder to mount on; others do not see what is mounted.
    """
    package = Path(glimpsebench.__file__).parent
    parts = [package, *(path.resolve() for path in package.iterdir() if path.is_dir())]
    prefixes = (Path(os.path.abspath(prefix)) for prefix in (sys.prefix, sys.base_prefix))  # noqa: PTH100
    shown = [*map(Path, _SYSTEM), *prefixes, *parts]
    paths = list(dict.fromkeys(str(path) for path in shown if path.exists() and not _within(path, shown)))
    blank = [str(file) for file in _image_sets_of_libraries()]
    return [*_UNSHARE, "sh", "-c", _ENCLOSE, "sh", str(folder), str(place), str(len(paths)), *paths, *blank, "--"]


def _within(path: Path, others: Iterable[Path]) -> bool:
    """Whether a folder that is shown holds this one as well."""
    return any(path != other and path.is_relative_to(other) for other in others)


def _image_sets_of_libraries() -> list[Path]:
    """Files of installed libraries that hold the test images of a task."""
    folders = [Path(entry) / "sklearn" / "datasets" / "data" for entry in sys.path]
    return [file.resolve() for folder in folders if folder.is_dir() for file in folder.glob("digits.csv*")]


@functools.cache
def can_enclose() -> bool:
    """Whether this machine lets us do so: it is Linux with user namespaces and util-linux."""
    if sys.platform != "linux" or not all(map(shutil.which, ("unshare", "mount", "umount", "pivot_root", "sh"))):
        return False
    with tempfile.TemporaryDirectory() as folder, tempfile.TemporaryDirectory() as place:
        command = [*enclosed(Path(folder), Path(place)), PYTHON, "-c", "pass"]
        return subprocess.run(command, capture_output=True, check=False).returncode == 0
