"""The block as one HTML file: nothing in it is fetched from anywhere, and its security policy forbids that.

Text of records is escaped by `escape.html`, which everything passes that the template prints. Without a script a reader
has the answer, tables, curves and the gallery; with it the script makes them anew from the block, interactive.
"""

from __future__ import annotations

import base64
import hashlib
import json
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

import glimpsebench
from glimpsebench.bench import escape
from glimpsebench.bench.report import drawing, sentences
from glimpsebench.bench.report.sentences import budget, per_cent

Block = dict[str, Any]

HERE = Path(__file__).parent
SCORES = (("judge", "by the judge"), ("own", "by its own predictor"))
TRACKS = (
    ("gated", "Gated track: seen = touched"),
    ("open", "Open track: the selector reads the whole image"),
    ("reference", "Floors and ceiling"),
)


def page(data: Block, command: str, live: str = "") -> str:
    """The whole page.

    Args:
        data: `data.block`.
        command: which makes the page, for its foot.
        live: of a page that is served: the version of the data that it shows, which it asks for again and again.
    """
    style, script = (_text(name) for name in ("style.css", "script.js"))
    environment = Environment(
        loader=FileSystemLoader(HERE),
        autoescape=True,
        finalize=_escaped,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template("page.html.j2").render(
        title=f"GlimpseBench: {', '.join(suite['title'] for suite in data['suites'])}",
        question=sentences.QUESTION,
        answers=[sentences.answer(section) for section in data["sections"]],
        data=data,
        charts=[Markup(drawing.curves(section)) for section in data["sections"]],
        galleries=[Markup(drawing.gallery(section)) for section in data["sections"]],
        scores=SCORES,
        tracks=TRACKS,
        budget=budget,
        per_cent=per_cent,
        cell=cell,
        acc95=acc95,
        command=command,
        version=glimpsebench.__version__,
        policy=Markup(policy(style, script, live)),
        style=Markup(style),
        script=Markup(script),
        json=Markup(_json(data)),
        live=live,
    )


def _escaped(value: Any) -> Any:
    """What the template prints of a value; `Markup` is this module's own."""
    return Markup(escape.html(value)) if isinstance(value, str) and not isinstance(value, Markup) else value


def _text(name: str) -> str:
    text = (HERE / name).read_text()
    assert "</" + "s" not in text, f"{name} would end its own element"
    return text


def _json(data: Block) -> str:
    """JSON that an HTML parser takes for nothing else."""
    text = json.dumps(data, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def policy(style: str, script: str, live: str = "") -> str:
    """The security policy: these styles, this script and pictures in the page; a served page may ask its server."""
    return "; ".join(
        [
            "default-src 'none'",
            f"style-src {_hash(style)}",
            f"script-src {_hash(script)}",
            "img-src data:",
            *(["connect-src 'self'"] if live else []),
            "base-uri 'none'",
            "form-action 'none'",
        ]
    )


def _hash(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


def cell(row: Block, by: str, at: int) -> str:
    """An accuracy as tables have it: mean, how far its interval reaches, and its standing to the strongest floor."""
    mean = row["at"].get(by, {at: None})[at]
    if mean is None:
        return "·"
    reach = max(row["at"][f"{by}_high"][at] - mean, mean - row["at"][f"{by}_low"][at])
    return f"{per_cent(mean)} ± {per_cent(reach)}{MARKS.get(row['sign'][by][at], '')}"


MARKS = {1: " ▲", -1: " ▼", 2: " ¹", -2: " ¹"}


def acc95(row: Block, by: str) -> str:
    value = row["whole"].get(f"{by}_acc95")
    return budget(value) if isinstance(value, float) else "·"
