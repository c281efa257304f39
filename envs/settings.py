"""Settings: the dataclass fields of an agent or a task, set by name and checked by type.

One place for the rule that an unknown name fails with the nearest match and a wrong type with what was
expected, whether the value comes from the command line, a suite file or Python.
"""

from __future__ import annotations

import dataclasses
import functools
import inspect
import json
import math
import re
import types
from collections.abc import Collection, Iterator, Mapping
from typing import Annotated, Any, Literal, NamedTuple, Union, get_args, get_origin, get_type_hints

from pydantic import TypeAdapter, ValidationError

from glimpsebench.envs.errors import UsageError, unknown

_MOST = 2**63 - 1
"""The largest whole number that tensors hold."""


def renamed(default: Any, formerly: str) -> Any:
    """The default of a setting that had another name in earlier versions, whose records stay readable (`current`)."""
    return dataclasses.field(default=default, metadata={"formerly": formerly})


def current(kind: type, settings: Mapping[str, Any]) -> dict[str, Any]:
    """Settings of a dataclass as an earlier version wrote them, by the names of now."""
    now = _names_now(kind)
    return {now.get(name, name): value for name, value in settings.items()}


@functools.cache
def _names_now(kind: type) -> dict[str, str]:
    return {field.metadata.get("formerly", field.name): field.name for field in dataclasses.fields(kind)}


def names(kind: type, fixed: Collection[str] = ()) -> list[str]:
    """The settings of a dataclass, without the `fixed` fields that identify it."""
    return [field.name for field in dataclasses.fields(kind) if field.init and field.name not in fixed]


def validated(kind: type, settings: Mapping[str, Any], what: str, fixed: Collection[str] = ()) -> dict[str, Any]:
    """The given settings with their values converted to the fields' types.

    Args:
        kind: a dataclass.
        settings: field name → value, as parsed from TOML or JSON.
        what: whose settings they are, for the message: "agent 'ram'".
        fixed: fields that nobody may set.

    Raises:
        UsageError: a name that is no setting, or a value of the wrong type or out of its range.
    """
    known = names(kind, fixed)
    values = {}
    for name, value in settings.items():
        if name not in known:
            raise unknown(f"setting of {what}", name, known)
        try:
            values[name] = _adapter(kind, name).validate_python(value)
        except ValidationError as error:
            raise UsageError(f"setting '{name}' of {what}: {value!r} does not fit: {_why(error, value)}") from None
        for number in _numbers(values[name]):
            if abs(number) > _MOST if isinstance(number, int) else not math.isfinite(number):
                raise UsageError(f"setting '{name}' of {what}: {number} does not fit: write a finite number below 2^63")
    return values


@functools.cache
def _hints(kind: type) -> dict[str, Any]:
    return get_type_hints(kind, include_extras=True)


@functools.cache
def _adapter(kind: type, name: str) -> TypeAdapter[Any]:
    return TypeAdapter(_hints(kind)[name])


def _numbers(value: Any) -> Iterator[float]:
    if isinstance(value, int | float):
        yield value
    elif isinstance(value, list | tuple):
        for each in value:
            yield from _numbers(each)


def _why(error: ValidationError, value: Any) -> str:
    """What is wrong with a value: the choices where it must be one of several."""
    first = error.errors()[0]
    if first["type"] == "literal_error" and isinstance(value, str):
        return str(unknown("choice", value, re.findall("'([^']*)'", first["ctx"]["expected"]))).replace("unknown ", "")
    return str(first["msg"])


class Setting(NamedTuple):
    """One setting, for people to read.

    Attributes:
        name: of the dataclass field.
        type: what it takes, with its range or its choices: "whole number, ≥ 1".
        default: as JSON.
        meaning: from the class docstring that declares it; empty if none does.
    """

    name: str
    type: str
    default: str
    meaning: str


def described(kind: type, fixed: Collection[str] = ()) -> list[Setting]:
    """The settings of a dataclass, with what the `Settings:` of its docstring and its parents' say of them."""
    fields = {field.name: field for field in dataclasses.fields(kind)}
    meanings: dict[str, str] = {}
    for parent in reversed(kind.__mro__):
        meanings |= _meanings(parent.__dict__.get("__doc__") or "")
    return [
        Setting(name, type_of(_hints(kind)[name]), _default(fields[name]), meanings.get(name, ""))
        for name in names(kind, fixed)
    ]


def _default(field: dataclasses.Field[Any]) -> str:
    made = field.default if field.default_factory is dataclasses.MISSING else field.default_factory()
    return "(none)" if made is dataclasses.MISSING else json.dumps(made)


_ENTRY = re.compile(r"^((?:\w+, )*\w+): (.*)$")


def _meanings(docstring: str) -> dict[str, str]:
    """The entries of a docstring's `Settings:` section; one entry may be of several names.

    >>> _meanings(chr(10).join(["It learns.", "", "Settings:", "    lr, batch: of both", "        stages."]))
    {'lr': 'of both stages.', 'batch': 'of both stages.'}
    """
    lines = inspect.cleandoc(docstring).splitlines()
    found: dict[str, list[str]] = {}
    begun: list[str] = []
    for line in lines[lines.index("Settings:") + 1 :] if "Settings:" in lines else []:
        entry = _ENTRY.match(line[4:])
        if line and not line.startswith("    "):
            break
        if entry:
            begun = found.setdefault(entry[1], [])
            begun.append(entry[2])
        elif line.startswith("        "):
            begun.append(line.strip())
        else:
            begun = []
    return {name: " ".join(text) for names_, text in found.items() for name in names_.split(", ")}


_PLAIN = {bool: "true or false", int: "whole number", float: "number", str: "text", type(None): "null"}
_BOUNDS = {"ge": "≥", "gt": ">", "le": "≤", "lt": "<"}


def type_of(hint: Any) -> str:
    """What a type hint takes, in words.

    >>> from typing import Annotated, Literal
    >>> from pydantic import Field
    >>> type_of(Annotated[int, Field(ge=1)]), type_of(Literal["L1", "L2"]), type_of(bool | None)
    ('whole number, ≥ 1', 'L1 or L2', 'true or false, or null')
    """
    origin, parts = get_origin(hint), get_args(hint)
    if origin is Annotated:
        bounds = [
            f"{sign} {getattr(mark, bound):g}"
            for each in parts[1:]
            for mark in getattr(each, "metadata", [each])
            for bound, sign in _BOUNDS.items()
            if getattr(mark, bound, None) is not None
        ]
        return ", ".join([type_of(parts[0]), *bounds])
    if origin is Literal:
        return " or ".join(map(str, parts))
    if origin in (Union, types.UnionType):
        return ", or ".join(map(type_of, parts))
    if origin in (tuple, list):
        return f"list of: {type_of(parts[0])}"
    return _PLAIN.get(hint, getattr(hint, "__name__", str(hint)))
