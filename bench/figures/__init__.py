"""Figures for papers as functions of the records: PDF, PNG and a caption for each, one module for each kind.

`glimpse sweep` draws two of them beside its tables (`write`), `glimpse figures` all (`write_all`).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from glimpsebench.bench.by_glimpse import Replayed
from glimpsebench.bench.claims import Verdict
from glimpsebench.bench.figures import claims, curves, differences, duel, fronts, gallery, glimpses, masks, profiles
from glimpsebench.bench.figures.paper import WIDTHS, ending_of, save
from glimpsebench.bench.records import Record
from glimpsebench.bench.rows import Row, rows_of
from glimpsebench.bench.styles import styles_of

__all__ = ["WIDTHS", "write", "write_all"]


def write(records: Sequence[Record], root: Path) -> list[Path]:
    """Draw the curve and the gallery, per task where there are several; return their paths."""
    rows = rows_of(records)
    styles, paths = styles_of(rows), list[Path]()
    for ending, here in _tasks(rows):
        first = next(curves.draw(here, styles, WIDTHS["text"]), None)
        drawn = [*([first] if first else []), *gallery.draw(here, WIDTHS["text"])]
        paths += [path for one in drawn for path in save(one, root, ending)]
    return paths


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
