"""Settings: the dataclass fields of an agent or a task, set by name and checked by type.

One place for the rule that an unknown name fails with the nearest match and a wrong type with what was
expected, whether the value comes from the command line, a suite file or Python.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Mapping
from typing import Any, get_type_hints

from pydantic import TypeAdapter, ValidationError

from glimpsebench.envs.errors import UsageError, unknown


def renamed(default: Any, formerly: str) -> Any:
    """The default of a setting that had another name in earlier versions, whose records stay readable (`current`)."""
    return dataclasses.field(default=default, metadata={"formerly": formerly})


def current(kind: type, settings: Mapping[str, Any]) -> dict[str, Any]:
    """Settings of a dataclass as an earlier version wrote them, by the names of now."""
    names_now = {field.metadata.get("formerly", field.name): field.name for field in dataclasses.fields(kind)}
    return {names_now.get(name, name): value for name, value in settings.items()}


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
    hints = get_type_hints(kind, include_extras=True)
    known = names(kind, fixed)
    values = {}
    for name, value in settings.items():
        if name not in known:
            raise unknown(f"setting of {what}", name, known)
        try:
            values[name] = TypeAdapter(hints[name]).validate_python(value)
        except ValidationError as error:
            why = error.errors()[0]["msg"]
            raise UsageError(f"setting '{name}' of {what}: {value!r} does not fit: {why}") from None
    return values
