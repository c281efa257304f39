"""What record.json and timings.json may hold. A record can be somebody else's, so nothing in it is taken on trust.

Every reader of records comes through here (`records.Record.read`). What does not fit is a `UsageError` of one line that
names the file and the field.
"""

from __future__ import annotations

import json
import math
import stat
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any, Literal, NoReturn

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    JsonValue,
    RootModel,
    StringConstraints,
    ValidationError,
    model_validator,
)

from glimpsebench.bench import escape
from glimpsebench.envs.errors import UsageError

SCHEMA = 3
"""Of the records that this version writes. It reads those of schema 2, which hold the evaluator's predictions, and of
schema 1, which do not tell the contender's source, either."""

MOST_BYTES = 4 * 2**20
"""Of a JSON file."""
_MOST_SEED, _MOST_WHOLE = 2**32 - 1, 2**63 - 1

Hash = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{16}$")]
Name = Annotated[str, StringConstraints(pattern=r"^[A-Za-z]\w{0,99}$")]
Text = Annotated[str, StringConstraints(max_length=1000)]
Label = Annotated[str, StringConstraints(pattern=r"^[^\p{C}]{1,100}$")]
Whole = Annotated[int, Field(ge=0, le=_MOST_WHOLE)]
Number = Annotated[float, Field(allow_inf_nan=False)]


class _Table(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


class AboutAgent(_Table):
    """`changed` is a part of `settings`; `reference` was a boolean in schema 1, which lacks the last three."""

    name: Annotated[str, StringConstraints(pattern=r"^[^\W\d]\w*(\.[^\W\d]\w*)*$", max_length=200)]
    version: Whole
    settings: dict[Name, JsonValue]
    changed: dict[Name, JsonValue]
    track: Literal["gated", "open"]
    reference: Literal["floor", "ceiling"] | bool | None
    currency: Literal["touched", "delivered"]
    sensor: Text
    file: Text | None = None
    source: Hash | None = None
    given: Whole = 0
    supervision: Text = "labels"


class AboutTask(_Table):
    id: Annotated[str, StringConstraints(pattern=r"^\w[\w.-]{0,199}-v\d{1,6}$")]
    settings: dict[Name, JsonValue]
    shape: Annotated[
        list[Annotated[int, Field(ge=1, le=4096)]], Field(min_length=3, max_length=3, description="(C, H, W)")
    ]
    classes: Annotated[int, Field(ge=1, le=2**15 - 1)]
    test_images: Annotated[int, Field(ge=1, le=10**6)]
    test_sha256: Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]


class Machine(_Table):
    device: Text
    threads: Whole
    processor: Text


class About(_Table):
    """The contents of record.json."""

    schema_: Annotated[Literal[1, 2, 3], Field(alias="schema")]
    key: Hash
    seed: Annotated[int, Field(ge=0, le=_MOST_SEED)]
    status: Literal["done", "failed", "diverged"]
    error: Annotated[str, StringConstraints(max_length=10**5)] | None = None
    agent: AboutAgent
    task: AboutTask
    budgets: Annotated[list[Annotated[float, Field(gt=0, le=1)]], Field(min_length=1, max_length=100)]
    evaluator: Hash | None = None
    findings: dict[Label, Number | list[Number]] = {}
    parameters: Whole = 0
    costs: dict[Name, Whole] = {}
    trainable: Whole | None = None
    software: dict[Text, Text]
    machine: Machine

    @model_validator(mode="after")
    def _agrees(self) -> About:
        """Whatever one field says of another holds."""
        agent, old = self.agent, self.schema_ < 3
        problems = {
            "budgets: must ascend": any(b <= a for a, b in zip(self.budgets, self.budgets[1:], strict=False)),
            "error: a run that is done has none, any other has one": (self.status == "done") != (self.error is None),
            "evaluator: schemas 1 and 2 have it, 3 has judgements beside it": old != (self.evaluator is not None),
            "agent.changed: not what agent.settings says": any(
                name not in agent.settings or agent.settings[name] != value for name, value in agent.changed.items()
            ),
            "agent.source: missing": self.schema_ > 1 and agent.source is None,
            "agent.reference: must be floor, ceiling or null": self.schema_ > 1 and isinstance(agent.reference, bool),
            "agent.settings: too deep, too long, or a number that is not finite": not _is_plain(agent.settings),
            "task.settings: too deep, too long, or a number that is not finite": not _is_plain(self.task.settings),
            "trainable: more than parameters": (self.trainable or 0) > self.parameters,
        }
        for problem, there in problems.items():
            if there:
                raise ValueError(problem)
        return self


Seconds = Annotated[Number, Field(ge=0)]
Points = Annotated[list[Number | None], Field(max_length=10_000)]


class AuditTimings(_Table):
    """Seconds of an audit: of training again, and of everything after it."""

    fit: Seconds | None = None
    checks: Seconds | None = None


class AboutAudit(_Table):
    """The contents of audit.json; `audit.audits.Audit` says what they are."""

    schema_: Annotated[Literal[1], Field(alias="schema")]
    verdict: Literal["gated", "open", "encodes", "leaks"]
    reasons: Annotated[list[Text], Field(max_length=100)]
    figures: dict[Name, Number]
    decoupled: Annotated[list[Number | None], Field(max_length=100)]
    not_caught: Text


Level = Literal["claimed", "recounted", "judged again", "run again"]
"""How far a record was followed, from what is only said to what was found out again; `verify` says what they are."""


class AboutVerification(_Table):
    """The contents of verified.json; `verify.keep` says what they are."""

    schema_: Annotated[Literal[1], Field(alias="schema")]
    level: Level
    record: Annotated[str, Field(pattern="^[0-9a-f]{64}$")]


class Timings(_Table):
    """Seconds: of training, of validation during it, of looking at the test images, of judging, of an audit, and of the
    points of the training curves. Milliseconds an image, of selector and predictor."""

    fit: Seconds | None = None
    validation: Seconds | None = None
    rollout: Seconds | None = None
    score: Seconds | None = None
    selector_ms: Seconds | None = None
    predictor_ms: Seconds | None = None
    audit: AuditTimings | None = None
    curves: Annotated[list[dict[Label, Points]], Field(max_length=1000)] = []


class Measure(_Table):
    """A measure along one stage of training: after which steps and images, and its values."""

    step: Points
    images: Points
    value: Points


class Stage(_Table):
    """One loop of training (`recorder`)."""

    stage: Label
    scored: Text
    measures: dict[Label, Measure]


class Curves(RootModel[list[Stage]]):
    """The contents of curves.json."""


def _is_plain(value: Any, depth: int = 6) -> bool:
    """Whether a JSON value is as settings are: shallow, short and finite."""
    if isinstance(value, dict | list):
        inner = [*value, *value.values()] if isinstance(value, dict) else value
        return depth > 0 and len(inner) <= 10_000 and all(_is_plain(one, depth - 1) for one in inner)
    if isinstance(value, str):
        return len(value) <= 1000
    return math.isfinite(value) if isinstance(value, float) else not isinstance(value, int) or abs(value) <= _MOST_WHOLE


def read_json(path: Path, model: type[BaseModel]) -> Any:
    """A JSON file that fits a model, as it is written there.

    Raises:
        UsageError: it is not there, too large, not JSON (a key said twice, NaN), or a field does not fit.
    """
    return parsed(path, read_plain(path), model)


def read_plain(path: Path) -> bytes:
    """The content of a record's file.

    Raises:
        UsageError: it is not there, no plain file, or too large.
    """
    with _readable(path):
        try:
            about = path.stat()
        except FileNotFoundError:
            raise ValueError("no such file") from None
        if not stat.S_ISREG(about.st_mode):
            raise ValueError("not a plain file")
        if about.st_size > MOST_BYTES:
            raise ValueError(f"{about.st_size:,} bytes, and {MOST_BYTES:,} are the most")
        return path.read_bytes()


def parsed(path: Path, content: bytes, model: type[BaseModel]) -> Any:
    """What a file's content says, if it is JSON that fits a model.

    Raises:
        UsageError: it is not JSON (a key said twice, NaN), or a field does not fit.
    """
    with _readable(path):
        said = json.loads(content, object_pairs_hook=_once, parse_constant=_no_constant)
        if not isinstance(said, list if issubclass(model, RootModel) else dict):
            raise ValueError("not a table")
    try:
        model.model_validate(said)
    except ValidationError as error:
        raise UsageError(f"{path}: {_first(error)}") from None
    return said


@contextmanager
def _readable(path: Path) -> Iterator[None]:
    """Errors of a file as one line that names it."""
    try:
        yield
    except (OSError, ValueError, RecursionError) as error:
        raise UsageError(f"{path}: not a readable record ({shown(error)}); delete its folder to run it again") from None


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    table = dict(pairs)
    if len(table) < len(pairs):
        raise ValueError("a key is said twice")
    return table


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")


def _first(error: ValidationError) -> str:
    """The first of pydantic's complaints in one line: field, what is wrong, and the value."""
    first = error.errors(include_url=False)[0]
    where = ".".join(str(part) for part in first["loc"] if part != "schema_")
    if not where:  # `_agrees` names the field itself
        return str(first["msg"]).removeprefix("Value error, ")
    what = {"extra_forbidden": "unknown key", "missing": "missing"}.get(first["type"], str(first["msg"]))
    value = "" if first["type"] in ("extra_forbidden", "missing") else f", not {shown(repr(first['input']), 60)}"
    return f"{shown(where, 100)}: {what}{value}"


def shown(value: object, most: int = 200) -> str:
    """Text from a record for one line of a message: printable, and cut.

    >>> shown("a" + chr(10) + "b" + chr(27))
    'a b\\\\x1b'
    """
    text = escape.terminal(" ".join(str(value).split()))
    return text if len(text) <= most else text[: most - 1] + "…"


def asked(about: Mapping[str, Any]) -> dict[str, Any]:
    """What was asked: all that a result depends on, beside the machine. Its hash is the name of the record's folder."""
    agent = {name: about["agent"][name] for name in ("name", "version", "source", "settings")}
    task = {name: about["task"][name] for name in ("id", "settings")}
    return {"agent": agent, "task": task, "seed": about["seed"]}
