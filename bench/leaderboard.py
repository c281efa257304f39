"""The leaderboard: tables as functions of the records and of nothing else.

Two tracks, never ranked in one list; floors and the ceiling stand beside them. Contenders are ranked by the
judge's mean accuracy over the budgets up to half of the image, chance where they do not reach one: their own
accuracy depends on predictors that differ, the judge does not. What is marked as better or worse is so against
the strongest floor of the task at that budget. Rows are `rows`, floors and claims `floors`, intervals `stats`.
Shapes: S seeds, F budgets, N images.
"""

from __future__ import annotations

import csv
import io
import itertools
import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from glimpsebench.agents.common.base import BUDGETS
from glimpsebench.bench import costs, escape, metrics
from glimpsebench.bench.floors import Floors, ceiling_of
from glimpsebench.bench.memory import remembered
from glimpsebench.bench.parallel import in_chunks
from glimpsebench.bench.records import Record, read_all
from glimpsebench.bench.rows import SCORES, grouped, ordered, shown
from glimpsebench.bench.rows import Row as Row
from glimpsebench.bench.rows import rows_of as rows_of
from glimpsebench.bench.stats import NOTHING, Difference, Interval, stratified_bootstrap
from glimpsebench.envs.errors import UsageError

if TYPE_CHECKING:
    import pandas as pd

Array = NDArray[Any]

SKEWED = 1.5
"""A test split in which the largest class has more than so many times the images of the smallest."""
SHORTFALL = 0.9
"""What was touched is shown where its mean is below this share of the cap."""


def computed(records: Iterable[Record]) -> list[Row]:
    """The rows of records (`rows_of`), with their figures: those that are known are not computed again (`memory`).

    Row by row, so that the arrays of few are in memory at a time; of many, by several processes.
    """
    rows = grouped(records)
    with remembered(rows):
        for task in dict.fromkeys(row.task for row in rows):
            here = [row for row in rows if row.task == task]
            floors = [Floors(here, by) for by in SCORES]

            def figures(some: Sequence[Row], floors: Sequence[Floors] = floors) -> list[dict[str, Any]]:
                for row in some:
                    row.compute()
                    for each in floors if row.track != "reference" else ():
                        each.differences(row)
                    if row.identity is not None:  # else it may have no files to be read from again
                        row.forget()
                return [row.figures for row in some]

            of_floors = [row.about["reference"] == "floor" for row in here]
            for now in (True, False):  # floors first
                some = [row for row, is_floor in zip(here, of_floors, strict=True) if is_floor is now]
                new = [row for row in some if not row.figures]
                for row, found in zip(new, itertools.chain(*in_chunks(figures, new)), strict=True):
                    row.figures.update(found)
                figures(some)
    return ordered(rows)


def table(rows: Sequence[Row]) -> pd.DataFrame:
    """The long form: one line per row and budget, with everything that is known about it."""
    import pandas as pd  # here, so that what needs no table does not wait for it

    return pd.DataFrame(_long(rows))


def _long(rows: Sequence[Row]) -> list[dict[str, Any]]:
    lines: list[dict[str, Any]] = []
    for task in dict.fromkeys(row.task for row in rows):
        here = [row for row in rows if row.task == task]
        floors = {by: Floors(here, by) for by in SCORES}
        ceiling = ceiling_of(here, task)
        for row in here:
            lines += _lines(row, floors, ceiling)
    return lines


def _lines(row: Row, floors: Mapping[str, Floors], ceiling: Row | None) -> Iterable[dict[str, Any]]:
    budgets = sorted({*BUDGETS, *row.points})
    scores = {by: row.accuracy(by, budgets) for by in SCORES}
    balanced = {by: row.balanced(by, budgets) for by in SCORES}
    fractions = {name: row.mean_fraction(name, budgets) for name in ("delivered", "seen")}
    fractions["unchosen"] = row.unchosen(budgets)
    overlaps = {name: row.localisation(name, budgets) for name in ("iou", "on_object")}
    touched, calibration = row.touched(budgets), row.calibration(budgets)
    whole = _of_the_whole_curve(row, ceiling)
    for at, budget in enumerate(budgets):
        if all(np.isnan(values[at].mean) for values in scores.values()):
            continue
        line = {
            "task": row.task,
            "track": row.track,
            "contender": row.label,
            "name": row.name,
            "version": row.about["version"],
            "source": row.about["source"],
            "supervision": row.about["supervision"],
            "budget": budget,
            "seeds": len(row.records),
            "failed": len(row.records) - len(row.runs),
        }
        for by in ("own", "judge"):
            line |= _columns(by, scores[by][at]) | {f"{by}_balanced": balanced[by][at]}
        line |= {"own_calibration_error": calibration[at]} if calibration else {}
        for by in ("own", "judge"):
            above = floors[by].against.get((row.label, budget))
            line |= {
                f"{by}_floor": above.floor.label if above else "",
                **_columns(f"{by}_above_floor", above.difference if above else NOTHING),
                f"{by}_above_floor_p": above.adjusted if above else float("nan"),
                f"{by}_detectable": floors[by].detectable([row], budget),
            }
        line |= dict(zip(("touched", "touched_p95", "touched_max"), touched[at], strict=True)) if touched else {}
        yield line | {
            **{name: values[at] for name, values in (fractions | overlaps).items() if values},
            "pointing": row.pointing,
            **whole,
            "note": row.note,
        }


def _of_the_whole_curve(row: Row, ceiling: Row | None) -> dict[str, float]:
    """What the long form says of a row whatever the budget: area, ACC95, smallest sufficient fraction, costs."""
    whole: dict[str, float] = {}
    for by in ("own", "judge"):
        median, late = row.sufficient(by)
        whole |= {f"{by}_acc95": row.acc95(by, ceiling), **_columns(f"{by}_area", row.area(by))}
        whole |= {f"{by}_sufficient_median": median, f"{by}_sufficient_p90": late}
    span = row.covered if len(row.covered) > 1 else (float("nan"),)
    whole |= {"area_from": span[0], "area_to": span[-1]}
    return whole | {name: row.cost.get(name, float("nan")) for name in costs.NAMES}


def _columns(name: str, value: Interval | Difference) -> dict[str, float]:
    return {name: value.mean, f"{name}_low": value.low, f"{name}_high": value.high}


MARKS = ("▲", "▼")
"""What the terminal shows where the Markdown has bold and italics."""

_HEADINGS = {"gated": "Gated track: seen = touched", "open": "Open track: the selector reads the whole image"}

_LEGEND = """
Top-1 accuracy in per cent on the test images, mean over seeds. A column is a cap: at most this share of an image is
touched. *judge*: the task's, a frozen ensemble that no contender meets, on what was selected, mean over its
members. *own*: the contender's predictor. *touched*: the mean share that was, where that is less than 0.9 of the cap.
±: how far the 95 % interval reaches over images, seeds and, of the judge, members, all of them crossed random
effects; it is clipped to what is possible, and it has a width at 0 and 100 as well. A run that failed counts as chance,
and the note says so.

Each is compared with the strongest floor of the task at that cap, by the same score (listed below the floors).
**Bold**: above it, *italic*: below it, by the difference of the two on the same images, after Holm's correction for all
differences of a task by that score. ¹: would be bold or italic, but one of the two has one seed, which cannot stand for
a method. *detectable*: so large must a true difference from the floor be to be found in 80 % of such tables (median of
the rows above; by the first step of Holm's correction).

·: budget not reached. °: more than half of the images show only what is given without a choice, such as a first window
at the centre. †: by values delivered; it touches the whole image. *provisional*: fewer than 5 seeds.
"""


def markdown(rows: Sequence[Row], title: str) -> str:
    """The leaderboard for people: per task and track, the judge's and own accuracy at each budget."""
    parts = [f"# {title}\n"]
    if not rows:
        return parts[0] + "\nNo records yet.\n"
    parts += [_LEGEND, made_by(rows)]
    for task in dict.fromkeys(row.task for row in rows):
        here = [row for row in rows if row.task == task]
        floors = {by: Floors(here, by) for by in SCORES}
        parts.append(f"\n## {escape.markdown(task)}\n")
        for track, heading in _HEADINGS.items():
            rivals = [row for row in here if row.track == track]
            parts.append(f"\n### {heading}\n\n{_accuracies(rivals, floors)}")
        references = [row for row in here if row.track == "reference"]
        parts.append(f"\n### Floors and ceiling\n\n{_accuracies(references, floors)}{_strongest(floors)}")
        parts += [_beside_the_grid(here), _curves(here), _costs(here)]
        parts.append(_localisation(here))
        parts.append(_findings(here))
        parts.append(_classes(here))
        first = next((record for row in here for record in row.runs), None)
        if first is not None:
            parts.append(f"\n{first.about['task']['test_images']} test images; judge {first.about['judge']}.\n")
    return "".join([*parts, _over_tasks(rows)])


LEVELS = (0.2, 0.4, 0.6, 0.8)
"""At which performance profiles are shown."""


def over_tasks(rows: Sequence[Row]) -> dict[str, tuple[list[Row], Array]]:
    """Label → its rows and the scores of its runs on each task, (R, T), of contenders on several tasks.

    A score is `Row.above_chance` by the judge. Those whose runs are not as many on each task are left out.
    """
    labels: dict[str, list[Row]] = {}
    for row in rows:
        labels.setdefault(row.label, []).append(row)
    return {
        label: (several, np.stack([row.above_chance("judge") for row in several], 1))
        for label, several in labels.items()
        if len(several) > 1 and len({len(row.records) for row in several}) == 1
    }


def _over_tasks(rows: Sequence[Row]) -> str:
    """Contenders over several tasks, by the judge; nothing for those of one, and without any."""
    lines = []
    for several, scores_RT in over_tasks(rows).values():
        middle = stratified_bootstrap(scores_RT, metrics.interquartile_mean)
        profile = metrics.performance_profile(scores_RT, LEVELS)
        about = [shown(several[0]), several[0].track, str(len(several)), str(len(scores_RT))]
        lines.append(_row([*about, _with_interval(middle), *map(_cell, profile)]))
    if not lines:
        return ""
    head = ["contender", "track", "tasks", "seeds", "IQM", *(f"> {100 * level:g} %" for level in LEVELS)]
    return (
        "\n## Over tasks\n\n"
        "A run's score is its mean accuracy by the judge over the budgets up to half of the image, from chance\n"
        "(0) to all right (100); a budget that is not reached counts as chance. *IQM*: mean of the middle half of\n"
        "all runs. ±: 95 % bootstrap over runs within tasks, which speaks of these tasks and is too short with few\n"
        "seeds. *> x %*: the share of runs that score more (performance profile). Contenders of the same tasks can be\n"
        "compared.\n\n" + "\n".join([_row(head), _row(["---"] * 2 + ["---:"] * (len(head) - 2)), *lines]) + "\n"
    )


def made_by(rows: Sequence[Row]) -> str:
    """Which of these rows older code has made, as far as their records tell; nothing if none."""
    old = [row for row in rows if any(record.about["schema"] < 2 for record in row.records)]
    if not old:
        return ""
    versions = sorted({record.about["software"]["glimpsebench"] for row in old for record in row.records})
    what = "All" if len(old) == len(rows) else f"{len(old)} of {len(rows)}"
    return (
        f"\n{what} rows were made by an earlier version of GlimpseBench ({', '.join(versions)}), whose records do not "
        "tell the contenders' code.\n"
    )


def is_skewed(labels_N: Array) -> bool:
    """Whether one class has more than `SKEWED` times the images of another."""
    counts = np.unique(labels_N, return_counts=True)[1]
    return bool(counts.max() > SKEWED * counts.min())


def _labels(rows: Sequence[Row]) -> Array | None:
    """The test labels (N,) of a task's rows; None if no run ended well."""
    return next((row.labels_N for row in rows if row.runs), None)


def _accuracies(rows: Sequence[Row], floors: Mapping[str, Floors]) -> str:
    """A table of a task's rows: two or three lines for each, more where the classes are of unequal size."""
    if not rows:
        return "No entries yet.\n"
    labels_N = _labels(floors["own"].rows)
    skewed = labels_N is not None and is_skewed(labels_N)
    head = ["contender", "score by", *(f"{100 * budget:g} %" for budget in BUDGETS), "seeds", "note"]
    lines = [_row(head), _row(["---"] * 2 + ["---:"] * (len(BUDGETS) + 1) + ["---"])]
    for row in rows:
        unchosen = row.unchosen() or [0.0] * len(BUDGETS)
        block = [("judge", _marked(row, floors["judge"])), ("own", _marked(row, floors["own"]))]
        if skewed:
            for at, by in ((1, "judge"), (3, "own")):
                block.insert(at, (f"{by}, balanced", [_cell(value) for value in row.balanced(by)]))
        if row.track != "reference":
            block = [
                (name, [f"{cell}°" if share > 0.5 else cell for cell, share in zip(cells, unchosen, strict=True)])
                for name, cells in block
            ]
        if any(touched := _shortfall(row)):
            block.append(("touched", touched))
        tail = [str(len(row.records)), escape.markdown(row.note)]
        for number, (name, cells) in enumerate(block):
            lines.append(_row([shown(row) if number == 0 else "", name, *cells, *(tail if number == 0 else [""] * 2)]))
    for number, (by, each) in enumerate(floors.items()):
        found = [each.detectable(rows, budget) for budget in BUDGETS]
        if not np.isnan(found).all():
            lines.append(_row(["detectable" if number == 0 else "", by, *map(_cell, found), "", ""]))
    if skewed and labels_N is not None and rows[0].track == "reference":
        share = _cell(float(np.unique(labels_N, return_counts=True)[1].max() / len(labels_N)))
        lines.append(_row(["majority class", "", *[share] * len(BUDGETS), "", ""]))
    return "\n".join(lines) + "\n"


def _marked(row: Row, floors: Floors) -> list[str]:
    """A row's accuracies at each budget, with how they stand to the strongest floor."""
    cells = []
    for value, budget in zip(row.accuracy(floors.by), BUDGETS, strict=True):
        cell, against = _with_interval(value), floors.against.get((row.label, budget))
        if against is not None:
            cell = {1: f"**{cell}**", -1: f"*{cell}*", 0: cell}[against.sign]
            cell += "¹" * (against.sign_of_these_networks != 0)
        cells.append(cell)
    return cells


def _shortfall(row: Row) -> list[str]:
    """What was touched on average at each budget, where that is well below the cap; elsewhere nothing."""
    touched = row.mean_fraction("touched") or [float("nan")] * len(BUDGETS)
    return [_cell(mean) if mean < SHORTFALL * cap else "" for mean, cap in zip(touched, BUDGETS, strict=True)]


def _strongest(floors: Mapping[str, Floors]) -> str:
    """Which floor is the strongest at each budget, by each score; nothing without floors."""
    lines = []
    for budget in BUDGETS:
        best = [each.strongest.get(budget) for each in floors.values()]
        if any(best):
            cells = [
                part
                for one in best
                for part in ((escape.markdown(one.floor.label), _cell(one.accuracy)) if one else ("·", "·"))
            ]
            lines.append(_row([f"{100 * budget:g} %", *cells]))
    if not lines:
        return "\nNo floor to compare with.\n"
    head = [_row(["at most", *(part for by in floors for part in (f"strongest floor by {by}", "accuracy"))])]
    return "\n" + "\n".join([*head, _row(["---:", *["---", "---:"] * len(floors)]), *lines]) + "\n"


def _classes(rows: Sequence[Row]) -> str:
    """How many test images each class has, where the classes are of unequal size; else nothing."""
    labels_N = _labels(rows)
    if labels_N is None or not is_skewed(labels_N):
        return ""
    classes, counts = np.unique(labels_N, return_counts=True)
    lines = [_row(["class", *map(str, classes)]), _row(["---", *["---:"] * len(classes)])]
    return (
        "\n### Classes\n\nTest images of each class. *balanced*: the mean over classes of the accuracy on each; the\n"
        "majority class alone has 1 by the number of classes there.\n\n"
        + "\n".join([*lines, _row(["images", *map(str, counts)])])
        + "\n"
    )


def _beside_the_grid(rows: Sequence[Row]) -> str:
    """What contenders reach at the points that they add to the grid; nothing if none does."""
    lines = []
    for row in rows:
        touched = row.mean_fraction("touched", row.points) or [float("nan")] * len(row.points)
        judged, own = row.accuracy("judge", row.points), row.accuracy("own", row.points)
        for point, share, *values in zip(row.points, touched, judged, own, strict=True):
            cells = [_cell(share, 2), *(_with_interval(value, 2) for value in values)]
            lines.append(_row([escape.markdown(row.label), f"{100 * point:g} %", *cells]))
    if not lines:
        return ""
    head = [_row(["contender", "budget", "touched", "judge", "own"]), _row(["---", *["---:"] * 4])]
    return "\n### Points beside the grid\n\n" + "\n".join([*head, *lines]) + "\n"


def _curves(rows: Sequence[Row]) -> str:
    """What a curve comes to in one number: area, ACC95, smallest sufficient fraction; nothing without a curve."""
    ceiling, lines = ceiling_of(rows, rows[0].task), []
    for row in [row for row in rows if len(row.covered) > 1]:
        for number, by in enumerate(by for by in SCORES if not np.isnan(row.area(by).mean)):
            lines.append(
                [shown(row) if number == 0 else "", by, _with_interval(row.area(by))]
                + [f"{100 * row.covered[0]:g}–{100 * row.covered[-1]:g} %", _budget(row.acc95(by, ceiling))]
                + [_budget(value) for value in row.sufficient(by)]
                + [_cell(float(np.nanmean(found))) if by == "own" and (found := row.calibration()) else ""]
            )
    if not lines:
        return ""
    head = ["contender", "score by", "area", "over", "ACC95", "enough for 50 %", "for 90 %", "ECE"]
    keep = [at for at in range(len(head)) if any(line[at] for line in lines)]
    table = [[line[at] for at in keep] for line in [head, ["---"] * 2 + ["---:"] * (len(head) - 2), *lines]]
    return (
        "\n### Curves\n\n"
        "*area*: mean accuracy over the logarithm of the budget, from the smallest to the largest that the contender\n"
        "reaches (*over*); areas over other budgets are not comparable. *ACC95*: the smallest budget from which\n"
        "accuracy stays at 95 % of the ceiling's on the whole image. *enough for 50 %, 90 %* of the images: from this\n"
        "budget on so many are, and stay, right; *never*: fewer ever are. *ECE*: expected calibration error of the\n"
        "own predictor, mean over budgets, in per cent.\n\n" + "\n".join(map(_row, table)) + "\n"
    )


def _budget(value: float) -> str:
    return "·" if np.isnan(value) else "never" if np.isinf(value) else f"{100 * value:g} %"


def _costs(rows: Sequence[Row]) -> str:
    """What each contender costs; columns of which no record tells are left out, and so is a table without any."""
    known = [name for name in costs.NAMES if any(name in row.cost for row in rows)]
    if not known:
        return ""
    lines = [["contender", *(costs.NAMES[name] for name in known)], ["---", *["---:"] * len(known)]]
    lines += [[shown(row), *(_count(row.cost.get(name)) for name in known)] for row in rows if row.cost]
    return (
        "\n### Cost\n\n"
        "Mean over runs, counted by the bench (`bench/costs.py`). In training: seconds of one core or of the device\n"
        "that the note names, beside whatever else the machine did; images drawn; env steps. At test, per image over\n"
        "a whole episode at the largest budget: floating-point operations and milliseconds of selector and predictor.\n"
        "\n" + "\n".join(map(_row, lines)) + "\n"
    )


def _count(value: float | None) -> str:
    """A number with two significant digits, or three from a thousand on.

    >>> _count(0.0456), _count(0), _count(35818), _count(2.5e9), _count(None)
    ('0.046', '0', '35.8k', '2.5G', '·')
    """
    if value is None or np.isnan(value):
        return "·"
    for size, letter in ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k")):
        if value >= size:
            return f"{value / size:.3g}{letter}"
    return f"{float(f'{value:.2g}'):g}"


def _localisation(rows: Sequence[Row]) -> str:
    """Where the touched pixels lie, for tasks that know their objects; nothing for others."""
    known = [row for row in rows if row.localisation("iou")]
    if not known:
        return ""
    head = ["contender", "pointing", *(f"{100 * budget:g} %" for budget in BUDGETS), "best IoU"]
    lines = [_row(head), _row(["---", *["---:"] * (len(head) - 1)])]
    for row in known:
        ious = [value for value in row.localisation("iou") if not np.isnan(value)]
        shares = [_cell(value) for value in row.localisation("on_object")]
        lines.append(
            _row([escape.markdown(row.label), _cell(row.pointing), *shares, f"{max(ious):.2f}" if ious else "·"])
        )
    body = "\n".join(lines)
    return (
        "\n### Where they look\n\n"
        "Share of the touched pixels that lie on the object, in per cent, at each budget. *pointing*: how often the\n"
        "first look that is chosen lies on it. *best IoU*: of touched pixels and object, over the budgets.\n\n"
        f"{body}\n"
    )


def _findings(rows: Sequence[Row]) -> str:
    """What agents measured while they trained, a table for those that measured the same; nothing if none did."""
    groups: dict[tuple[str, ...], list[str]] = {}
    for row in rows:
        found = [record.about["findings"] for record in row.runs]
        keys = tuple(sorted(key for key in found[0] if _all_floats(found, key))) if found else ()
        if keys:
            cells = [_spread([each[key] for each in found]) for key in keys]
            groups.setdefault(keys, []).append(_row([escape.markdown(row.label), *cells]))
    if not groups:
        return ""
    tables = [
        "\n".join(
            [_row(["contender", *map(escape.markdown, keys)]), _row(["---", *["---:"] * len(keys)]), *groups[keys]]
        )
        for keys in groups
    ]
    body = "\n\n".join(tables)
    return (
        "\n### Findings\n\n"
        "What contenders measured while they trained, as their files in `agents/` explain: mean over seeds, and\n"
        f"lowest to highest.\n\n{body}\n"
    )


def _all_floats(found: Sequence[Mapping[str, Any]], key: str) -> bool:
    return all(isinstance(each.get(key), float) for each in found)


def _spread(values: Sequence[float]) -> str:
    mean, low, high = (f"{value:.3g}" for value in (np.mean(values), min(values), max(values)))
    return mean if low == high else f"{mean} ({low} to {high})"


def _row(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def _cell(value: float, digits: int = 1) -> str:
    return "·" if np.isnan(value) else f"{100 * value:.{digits}f}"


def _with_interval(value: Interval, digits: int = 1) -> str:
    """
    >>> _with_interval(Interval(0.713, 0.7, 0.725))
    '71.3 ± 1.3'
    """
    return _cell(value.mean, digits) + ("" if np.isnan(value.mean) else f" ± {100 * value.reach:.{digits}f}")


def summary(record: Record) -> tuple[list[str], list[list[str]]]:
    """One run's accuracies: the head and the lines of a table."""
    head = ["budget", *(f"{100 * budget:g} %" for budget in record.budgets)]
    return head, [[by, *map(_cell, record.accuracy(by))] for by in SCORES]


BEGIN, _END = "<!-- leaderboard:", "<!-- /leaderboard -->"


def insert(page: Path, root: Path, title: str, shown_as: str = "", records: Sequence[Record] | None = None) -> None:
    """Replace what stands between a page's leaderboard markers by the tables and the curve of a results folder.

    Args:
        page: a Markdown file with the two markers.
        root: the results folder.
        title: the heading.
        shown_as: the folder's path in the link to the curve; by default `root` as it was given.
        records: by default all of the results folder.
    """
    try:
        text = page.read_text()
    except UnicodeDecodeError:
        raise UsageError(f"{page}: not a text file") from None
    begin, end = text.find(BEGIN), text.find(_END)
    if begin < 0 or end < begin:
        raise UsageError(f"{page}: no markers '{BEGIN} … -->' and '{_END}' to write between")
    begin = text.index("-->", begin) + len("-->")
    tables = (
        markdown(rows_of(read_all(root) if records is None else records), title)
        .replace("\n#", "\n##")
        .replace("# ", "## ", 1)
    )
    curve = f"![accuracy against fraction]({shown_as or root.as_posix()}/curve.png)"
    whole = page.resolve()
    temporary = whole.with_name(f".{whole.name}.{os.getpid()}")
    try:  # a full disk leaves the page as it was
        temporary.write_text(f"{text[:begin]}\n\n{tables}\n{curve}\n\n{text[end:]}")
        temporary.replace(whole)
    finally:
        temporary.unlink(missing_ok=True)


def write(records: Sequence[Record], root: Path, title: str) -> list[Path]:
    """Write leaderboard.md and leaderboard.csv; return their paths."""
    rows = computed(records)
    paths = [root / "leaderboard.md", root / "leaderboard.csv"]
    paths[0].write_text(markdown(rows, title))
    paths[1].write_text(_csv(_long(rows)))
    return paths


def _csv(lines: Sequence[Mapping[str, Any]]) -> str:
    """The long form as a file: what `DataFrame.to_csv` writes, without the second that pandas takes for thousands."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    names = list(dict.fromkeys(name for line in lines for name in line))
    writer.writerow(names)
    columns = [_cells([line.get(name) for line in lines]) for name in names]
    writer.writerows(zip(*columns, strict=True))
    return text.getvalue()


def _cells(column: Sequence[Any]) -> list[str]:
    """A column's values: whole numbers where all of them are, else six decimals; nothing for None and NaN."""
    if all(isinstance(value, int | np.integer) for value in column):
        return [str(value) for value in column]
    texts = [escape.csv(value) if isinstance(value, str) else value for value in column]
    return ["" if text is None or text != text else text if isinstance(text, str) else f"{text:.6f}" for text in texts]
