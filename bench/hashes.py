"""The hashes of a record's files, as `sha256sum` writes them, so that what was cut or changed later is noticed.

`SHA256SUMS` lists all files that are the same in two equal runs. What was left out of a copy is no damage. Whoever
forges a record can write the list anew: it is against accidents, `verify` is against forgers.
"""

from __future__ import annotations

import errno
import hashlib
import os
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import NamedTuple

from glimpsebench.envs.errors import UsageError

NAME = "SHA256SUMS"
_WITHOUT = {NAME, "timings.json", "audit.json", "verified.json"}
_LEFT_OUT = re.compile(r"selections\.npz|weights.*\.safetensors|looks\.npz")
"""What copies may lack."""
_LINE = re.compile(r"([0-9a-f]{64})  ([\w][\w.-]*)")


class Sums(NamedTuple):
    """What a record's list says.

    Attributes:
        hash: one hash of all that it names.
        files: name → SHA-256; nothing where a line is none, as the list is damaged.
    """

    hash: str
    files: Mapping[str, str]


def write(folder: Path) -> None:
    """List the files of a record."""
    _write(folder, {name: _hash(folder / name) for name in _files(folder)})


def add(folder: Path, *names: str) -> None:
    """List files that have come since, or are new, in a folder that has a list."""
    if sums := read(folder):
        _write(folder, {**sums.files} | {name: _hash(folder / name) for name in names})


def of_record(folder: Path) -> str:
    """One hash of all that a record's list names; of its record.json where there is no list."""
    listed = folder / NAME
    return _hash(listed if listed.exists() else folder / "record.json")


def damaged(folder: Path) -> str | None:
    """The first file that is not as the list says, and why; None where all are, or there is no list."""
    if not (folder / NAME).exists():
        return None
    sums = read(folder)
    listed = sums.files if sums else {}
    came_later = {name for name in _files(folder) if name.startswith("judgement.")}
    if not listed or {*_files(folder)} - came_later - listed.keys():
        return f"{NAME}: not a list of this record's files"
    for name, wanted in listed.items():
        try:
            if _hash(folder / name) != wanted:
                return f"{name}: not as it was written"
        except FileNotFoundError:
            if not _LEFT_OUT.fullmatch(name):
                return f"{name}: missing"
        except OSError as error:
            return f"{name}: cannot be read ({error.strerror})"
    return None


def read(folder: Path) -> Sums | None:
    """A record's list; None where there is none."""
    try:
        content = (folder / NAME).read_bytes()
    except OSError:
        return None
    return Sums(hashlib.sha256(content).hexdigest(), _parsed(content))


def check(
    folder: Path, names: Iterable[str], sums: Sums | None, known: Mapping[str, str] = MappingProxyType({})
) -> None:
    """Whether files of a record are as its list says. Nothing is said of files that no list names, or that copies lack.

    Args:
        folder: of the record.
        names: of the files.
        sums: the record's list.
        known: the hashes of those that have been read already.

    Raises:
        UsageError: one of the files is not as the list says.
    """
    for name in names:
        wanted = sums and sums.files.get(name)
        try:
            if wanted is None or (known.get(name) or _hash(folder / name)) == wanted:
                continue
            what = "not as it was written"
        except FileNotFoundError:
            if _LEFT_OUT.fullmatch(name):
                continue
            what = "missing"
        remedy = "take it from a copy, or `glimpse sweep` sets the record aside and makes it again"
        raise UsageError(f"{folder / name}: {what}, as {NAME} beside it tells; {remedy}")


def _files(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir() if path.name not in _WITHOUT and path.name[0] != ".")


def _write(folder: Path, listed: dict[str, str]) -> None:
    temporary = folder / f".{NAME}.{os.getpid()}"
    temporary.write_text("".join(f"{value}  {name}\n" for name, value in sorted(listed.items())))
    temporary.replace(folder / NAME)


def _parsed(content: bytes) -> dict[str, str]:
    try:
        *lines, rest = content.decode().split("\n")  # at no other end of a line: it may be damaged
    except ValueError:
        return {}
    found = [_LINE.fullmatch(line) for line in lines]
    return {line[2]: line[1] for line in found if line} if all(found) and not rest else {}


def _hash(path: Path) -> str:
    if not path.is_file():  # a pipe would be waited for
        raise FileNotFoundError(errno.ENOENT, "no plain file", str(path))
    with path.open("rb") as file:
        content = file.read(2**20)
        if len(content) < 2**20:  # as most are, of which there may be thousands
            return hashlib.sha256(content).hexdigest()
        file.seek(0)
        return hashlib.file_digest(file, "sha256").hexdigest()
