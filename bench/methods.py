"""The methods' pages: what each agent's records say, written between two markers of docs/methods/NAME.md.

Accuracies, intervals, costs and the version that they are of come from records and from nothing else, so that no figure
is typed by hand. What stands outside the markers is written by hand and stays.
"""

from __future__ import annotations

import inspect
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np

from glimpsebench import agents
from glimpsebench.agents.common.base import BUDGETS
from glimpsebench.bench import escape, store
from glimpsebench.bench.rows import Row, rows_of
from glimpsebench.bench.stats import Interval
from glimpsebench.envs.errors import UsageError
from glimpsebench.envs.published import ELSEWHERE, PUBLISHED, Published

BEGIN, END = "<!-- scores: written by `glimpse methods`; do not edit -->", "<!-- /scores -->"

_LEGEND = """
Top-1 accuracy on the **test** images in per cent: mean over seeds; ±: how far the 95 % interval over images, seeds and,
of the judge, members reaches. A column is a cap: at most this share of each image is touched. *own*: by the agent's
predictor; *judge*: by the bench's classifier, trained on random masks. ·: budget not reached. *best IoU*: of what
is touched with the object, over the budgets. *pointing*: how often the first look lies on the object. *training*:
seconds of one run with two significant digits, mean over seeds, as measured beside other jobs on the same machine, and
the device.
"""


def write(results: Path, pages: Path) -> list[Path]:
    """Write every agent's page and the index; return their paths.

    Args:
        results: a folder of results folders, one for each suite.
        pages: where NAME.md and README.md lie, or are made.

    Raises:
        UsageError: no records, or a page without the two markers.
    """
    suites = {path.name: rows_of(store.kept(path)) for path in store.folders(results)}
    if not any(suites.values()):
        raise UsageError(f"{results}: no records in its folders")
    pages.mkdir(parents=True, exist_ok=True)
    paths, index = [], _line(["agent", "track", "what it is", "records of"]) + _line(["---"] * 4)
    for name in agents.names():
        rows = {suite: [row for row in found if row.about["name"] == name] for suite, found in suites.items()}
        rows = {suite: found for suite, found in rows.items() if found}
        path = pages / f"{name}.md"
        _insert(path, f"# {name}\n\n{_introduction(name)}\n", scores(name, rows, results.name))
        kind = agents.find(name)
        track = "floor or ceiling" if kind.reference else kind.track
        index += _line([f"[{name}]({path.name})", track, _phrase(name), ", ".join(rows) or "none yet"])
        paths.append(path)
    index += "\n## Published on image sets that are no tasks here\n" + "".join(_quoted(ELSEWHERE))
    _insert(pages / "README.md", "# Methods\n\nA page for each agent: what its records say.\n", index)
    return [*paths, pages / "README.md"]


def _insert(path: Path, new_page: str, text: str) -> None:
    """Replace what stands between the markers of a page, which is made if it is not there."""
    page = path.read_text() if path.exists() else f"{new_page}\n{BEGIN}\n{END}\n"
    begin, end = page.find(BEGIN), page.find(END)
    if begin < 0 or end < begin:
        raise UsageError(f"{path}: no markers '{BEGIN}' and '{END}' to write between")
    path.write_text(f"{page[: begin + len(BEGIN)]}\n\n{text}\n{page[end:]}")


def _docstring(name: str) -> str:
    text = inspect.cleandoc(sys.modules[agents.find(name).__module__].__doc__ or "")
    return text.removeprefix(f"{name}: ")


def _introduction(name: str) -> str:
    """The first paragraph of an agent's docstring."""
    return _docstring(name).partition("\n\n")[0]


def _phrase(name: str) -> str:
    """The first line of an agent's docstring, without its full stop."""
    return _docstring(name).partition("\n")[0].rstrip(".,:;")


def scores(name: str, rows: Mapping[str, Sequence[Row]], results: str = "results") -> str:
    """The generated part of an agent's page.

    Args:
        name: the agent's.
        rows: its rows of each suite.
        results: the folder of the suites' results, as seen from the repository's root.
    """
    if not rows:
        return "## Scores and cost\n\nNo committed records yet.\n"
    parts = ["## Scores and cost\n", _LEGEND]
    for suite, found in rows.items():
        parts.append(
            f"\n### {suite}\n\n[Leaderboard](../../{results}/{suite}/leaderboard.md). {_made_by(name, found)}\n"
        )
        parts += ["\n", *_accuracies(found), *_findings(found)]
    return "".join([*parts, *_published([row for found in rows.values() for row in found])])


def _made_by(name: str, rows: Sequence[Row]) -> str:
    """Which version of the agent made these records, and whether the code has changed since."""
    kind, abouts = agents.find(name), [row.about for row in rows]
    versions = sorted({about["version"] for about in abouts})
    text = f"Made by version {', '.join(map(str, versions))} of the agent"
    if versions != [kind.version]:
        return f"{text}; it is at version {kind.version} now."
    if any(about.get("source") != agents.source_hash(name) for about in abouts):
        return f"{text}, by an earlier version of the code."
    return f"{text}, as it is now."


def _accuracies(rows: Sequence[Row]) -> Iterator[str]:
    """A table of accuracies at the budgets that any row reaches."""
    budgets = sorted({*BUDGETS, *(point for row in rows for point in row.points)})
    values = [(row, by, row.accuracy(by, budgets)) for row in rows for by in ("own", "judge")]
    reached = [at for at in range(len(budgets)) if any(not np.isnan(line[at].mean) for _, _, line in values)]
    looks = ["best IoU", "pointing"] if any(row.localisation("iou") for row in rows) else []
    head = ["label", "task", "seeds", "by", *(f"{100 * budgets[at]:g} %" for at in reached), *looks, "training", "note"]
    yield _line(head)
    yield _line(["---"] * 4 + ["---:"] * (len(head) - 5) + ["---"])
    for row, by, line in values:
        cells = [by, *(_accuracy(line[at]) for at in reached)]
        if by == "own":
            where = _where(row, budgets) if looks else []
            yield _line([*_names(row), str(len(row.records)), *cells, *where, _cost(row), escape.markdown(row.note)])
        else:
            yield _line(["", "", "", *cells, *[""] * (len(looks) + 2)])


def _where(row: Row, budgets: Sequence[float]) -> list[str]:
    """The best IoU of what is touched with the object, at which budget; and the pointing game."""
    ious = np.array(row.localisation("iou", budgets))
    known = len(ious) and not np.isnan(ious).all()
    best = f"{np.nanmax(ious):.2f} at {100 * budgets[int(np.nanargmax(ious))]:g} %" if known else "·"
    return [best, "·" if np.isnan(row.pointing) else f"{100 * row.pointing:.1f}"]


def _accuracy(value: Interval) -> str:
    if np.isnan(value.mean):
        return "·"
    return f"{100 * value.mean:.1f} ± {100 * value.reach:.1f}"


def _cost(row: Row) -> str:
    """Seconds of training with two significant digits, and where they were spent."""
    seconds: dict[str, list[float]] = {}
    for record in row.runs:
        if "fit" in record.timings:
            seconds.setdefault(record.about["machine"]["device"], []).append(record.timings["fit"])
    return ", ".join(f"{_two_digits(float(np.mean(times)))} s, {device}" for device, times in sorted(seconds.items()))


def _two_digits(value: float) -> str:
    """
    >>> _two_digits(1234.5), _two_digits(0.0456), _two_digits(0)
    ('1200', '0.046', '0')
    """
    return f"{float(f'{value:.2g}'):g}"


def _findings(rows: Sequence[Row]) -> Iterator[str]:
    """What the rows measured about themselves while they trained; nothing if none did."""
    lines = []
    for row in rows:
        found = [record.about["findings"] for record in row.runs]
        for key in sorted({key for each in found for key, value in each.items() if isinstance(value, float)}):
            values = [each[key] for each in found if isinstance(each.get(key), float)]
            spread = f" ({min(values):.3g} to {max(values):.3g})" if min(values) < max(values) else ""
            lines.append(_line([*_names(row), f"`{key}`", f"{np.mean(values):.3g}{spread}"]))
    if lines:
        yield "\nWhat it measured while it trained: mean over seeds, and lowest to highest.\n\n"
        yield _line(["label", "task", "finding", "value"]) + _line(["---", "---", "---", "---:"])
        yield from lines


def _published(rows: Sequence[Row]) -> Iterator[str]:
    """What others reported on the tasks of these rows, whatever their method."""
    tasks = dict.fromkeys(str(row.records[0].about["task"]["settings"].get("name")) for row in rows)
    if found := {task: PUBLISHED[task] for task in tasks if task in PUBLISHED}:
        yield "\n### Published on these tasks\n\nBy any method, as reported: none of it was measured here.\n"
        yield from _quoted(found)


def _quoted(published: Mapping[str, Sequence[Published]]) -> Iterator[str]:
    for where, papers in published.items():
        yield f"\n{where}:\n\n"
        for paper in papers:
            yield f"- {paper.source}; {paper.look}\n" + "".join(f"  - {figure}\n" for figure in paper.figures)


def _names(row: Row) -> list[str]:
    return [escape.markdown(row.label), escape.markdown(row.task)]


def _line(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |\n"
