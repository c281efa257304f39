"""Leases: who works on what, so that processes and machines that share a folder do nothing twice.

A lease is a small file, ROOT/claims/NAME.GENERATION, that says which process of which machine has it. Its owner touches
it now and then. One whose owner has ended, or has not touched it for `LEASE_S`, is taken over by whoever is first to
create the next generation: files are only ever created, so two cannot take over at once. An owner that was taken for
dead, as one that slept, finds that there is a generation after its own, and must not commit.

Ages are differences of times that one file system has noted, so clocks of machines need not agree.
"""

from __future__ import annotations

import functools
import json
import os
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path

from glimpsebench.envs.errors import UsageError

HEARTBEAT_S, LEASE_S = 5.0, 60.0
"""Seconds between two touches of a lease, and after how many without any it is free, unless its owner is here and
can be looked for."""


@dataclass(frozen=True)
class Owner:
    """A process: its machine (and there its world of process numbers), its number, and when it began, as numbers of
    processes come again."""

    host: str
    pid: int
    began: str

    @property
    def alive(self) -> bool | None:
        """Whether it runs; None of a process elsewhere, of which only its touches tell."""
        if self.host != _here():
            return None
        if self.began and (now := _began(self.pid)):
            return now == self.began
        try:
            os.kill(self.pid, 0)
        except ProcessLookupError:
            return False
        except OSError:  # somebody else's
            return True
        return True


@functools.cache
def _here() -> str:
    with suppress(OSError):
        return f"{socket.gethostname()} {os.readlink('/proc/self/ns/pid')}"  # noqa: PTH115 - no path of a file
    return socket.gethostname()


def _began(pid: int) -> str:
    """When a process began, in the kernel's ticks; '' where that cannot be had or there is none."""
    with suppress(OSError):
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        return "" if fields[0] == "Z" else fields[19]
    return ""


def this_process() -> Owner:
    return Owner(_here(), os.getpid(), _began(os.getpid()))


@dataclass(frozen=True)
class Held:
    """A lease that somebody holds.

    Attributes:
        owner: None where its file does not say it yet.
        taken: when, by its owner's clock.
        touched: seconds ago, by the file system's.
    """

    name: str
    owner: Owner | None
    taken: float
    touched: float


class Lease:
    """A lease of this process, until `release`."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._over = threading.Event()
        self._touching = threading.Thread(target=self._touch, daemon=True)
        self._touching.start()

    def _touch(self) -> None:
        while not self._over.wait(HEARTBEAT_S):
            with suppress(OSError):
                os.utime(self.path)

    @property
    def ours(self) -> bool:
        """Whether nobody has taken it over."""
        newest = _newest(self.path.parent, self.path.stem)
        return newest is not None and newest == _generation(self.path)

    def release(self) -> None:
        """Give it back; those of dead owners before it go too, the newest last."""
        self._over.set()
        self._touching.join()
        if self.ours:
            for number in range(_generation(self.path) + 1):
                self.path.with_suffix(f".{number}").unlink(missing_ok=True)
        with suppress(OSError):
            self.path.parent.rmdir()
            self.path.parent.parent.rmdir()  # a run that could not begin leaves no empty store


def take(root: Path, name: str) -> Lease | None:
    """The lease of this name, or None if somebody alive has it.

    Raises:
        UsageError: the folder cannot be written to.
    """
    folder = root / "claims"
    newest = _newest(folder, name)
    if newest is not None and not _is_free(folder / f"{name}.{newest}"):
        return None
    path = folder / f"{name}.{0 if newest is None else newest + 1}"
    try:
        for attempt in (0, 1):
            folder.mkdir(parents=True, exist_ok=True)
            try:
                with path.open("x") as file:
                    json.dump(asdict(this_process()) | {"taken": time.time()}, file)
                break
            except FileNotFoundError:  # whoever released the last one has removed the folder just now
                if attempt:
                    raise
    except FileExistsError:
        return None
    except OSError as error:
        raise UsageError(f"{path}: cannot be written ({error.strerror})") from None
    return Lease(path)


def holder(root: Path, name: str) -> Held | None:
    """Who has the lease of this name and is alive; None if nobody has."""
    newest = _newest(root / "claims", name)
    path = root / "claims" / f"{name}.{newest}"
    return None if newest is None or _is_free(path) else _held(path)


def held(root: Path) -> list[Held]:
    """All leases that somebody alive has."""
    names = sorted({path.stem for path in (root / "claims").glob("[!.]*.*")})
    return [one for name in names if (one := holder(root, name)) is not None]


def remove_free(root: Path) -> None:
    """Remove what owners left that have ended."""
    for path in sorted((root / "claims").glob("[!.]*.*")):
        if path.suffix == ".0" and holder(root, path.stem) is None and (mine := take(root, path.stem)) is not None:
            mine.release()


def _held(path: Path) -> Held | None:
    try:
        stat, now = path.stat(), _now(path.parent)
        content = path.read_text()
    except OSError:
        return None
    try:
        about = json.loads(content)
        taken = float(about.pop("taken"))
        owner = Owner(**about)
    except (ValueError, TypeError, KeyError, AttributeError):
        owner, taken = None, now
    return Held(path.stem, owner, taken, now - stat.st_mtime)


def _is_free(path: Path) -> bool:
    found = _held(path)
    if found is None:
        return not path.exists()
    alive = None if found.owner is None else found.owner.alive
    return found.touched > LEASE_S if alive is None else not alive


def _now(folder: Path) -> float:
    """The time by the clock of the folder's file system; by this machine's where nothing can be written."""
    probe = folder / f".{os.getpid()}.{threading.get_ident()}"
    try:
        probe.touch()
        return probe.stat().st_mtime
    except OSError:
        return time.time()
    finally:
        with suppress(OSError):
            probe.unlink(missing_ok=True)


def _newest(folder: Path, name: str) -> int | None:
    return max((_generation(path) for path in folder.glob(f"{name}.*") if path.suffix[1:].isdecimal()), default=None)


def _generation(path: Path) -> int:
    return int(path.suffix[1:])


@contextmanager
def leased(root: Path, name: str) -> Iterator[Lease | None]:
    """Within, this process has the lease of this name; None if somebody else has."""
    lease = take(root, name)
    try:
        yield lease
    finally:
        if lease is not None:
            lease.release()
