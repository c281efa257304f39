"""Figures for papers as functions of the records: PDF, PNG and a caption for each, one module for each kind.

`glimpse sweep` draws two of them beside its tables (`write`), `glimpse figures` all (`write_all`).
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from pathlib import Path

from glimpsebench.bench.by_glimpse import Replayed
from glimpsebench.bench.claims import Verdict
from glimpsebench.bench.figures import claims, curves, differences, duel, fronts, gallery, glimpses, masks, profiles
from glimpsebench.bench.figures.paper import WIDTHS, Drawn, ending_of, save, wrapped_caption
from glimpsebench.bench.records import Record
from glimpsebench.bench.rows import Row, rows_of
from glimpsebench.bench.styles import styles_of

__all__ = ["WIDTHS", "save", "stale", "write", "write_all"]


def write(records: Sequence[Record], root: Path) -> list[Path]:
    """Draw the curve and the gallery, per task where there are several; return their paths."""
    rows, paths = rows_of(records), list[Path]()
    for curve, ending in _first_curves(rows):
        paths += save(curve, root, ending)
    for ending, here in _tasks(rows):
        paths += [path for one in gallery.draw(here, WIDTHS["text"]) for path in save(one, root, ending)]
    return paths


def stale(rows: Sequence[Row], folder: Path) -> list[tuple[Drawn, str]]:
    """The curves of a folder whose captions, which hold all their numbers, say something else than its rows; as they
    would be drawn now, with what their names end in."""
    found = []
    for curve, ending in _first_curves(rows):
        caption = folder / f"{curve.name}{ending}.txt"
        if caption.is_file() and caption.read_text() != wrapped_caption(curve.caption):
            found.append((curve, ending))
    return found


def _first_curves(rows: Sequence[Row]) -> Iterator[tuple[Drawn, str]]:
    """The figure of each task that is drawn beside its tables, and what its name ends in."""
    styles = styles_of(rows)
    for ending, here in _tasks(rows):
        for first in itertools.islice(curves.draw(here, styles, WIDTHS["text"]), 1):
            yield first, ending


def write_all(
    rows: Sequence[Row], replayed: Sequence[Replayed], folder: Path, width: float, verdicts: Sequence[Verdict] = ()
) -> Iterator[Path]:
    """Draw all figures, and yield their paths one after another.

    Args:
        rows: best first.
        replayed: of the rows that have their selections and weights, glimpse by glimpse.
        folder: where to.
        width: of each, inches.
        verdicts: on the claims of the suite, if it makes some.
    """
    from glimpsebench.bench import curves as training  # which has the commands' other half

    styles = styles_of(rows)
    for ending, here in _tasks(rows):
        steps = [one for one in replayed if one.row in here]
        for drawn in (
            curves.draw(here, styles, width),
            fronts.draw(here, styles, width),
            differences.draw(here, styles, width),
            glimpses.draw(steps, styles, width),
            gallery.draw(here, width),
            training.draw([row for row in here if _learns(row)], styles, width),
            masks.draw(here, styles, width),
            duel.draw(here, styles, width),
        ):
            for one in drawn:
                yield from save(one, folder, ending, in_latex=True)
    for one in (*profiles.draw(rows, styles, width), *claims.draw(verdicts, width)):
        yield from save(one, folder, in_latex=True)


def _learns(row: Row) -> bool:
    return row.track != "reference" and any(record.curves for record in row.runs)


def _tasks(rows: Sequence[Row]) -> Iterator[tuple[str, list[Row]]]:
    """What the names of a task's figures end in, and its rows that have a run which ended well."""
    names = list(dict.fromkeys(row.task for row in rows))
    for task in names:
        if here := [row for row in rows if row.task == task and row.runs]:
            yield "" if len(names) == 1 else ending_of(task), here
