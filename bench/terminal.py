"""What files say in Markdown, as plain text that fits a terminal.

`shutil.get_terminal_size` tells the width: COLUMNS if it is set, the terminal's, and 80 where there is none (a pipe).
A table that is too wide has the names of its columns, or its long cells, shortened, with the whole below it; then each
row's label on a line of its own; then, if need be, its cells as a list.
"""

from __future__ import annotations

import itertools
import os
import re
import shutil
import string
import sys
import textwrap
from collections.abc import Iterable, Sequence
from itertools import zip_longest

from glimpsebench.bench import escape

LEAST, MOST_PROSE = 40, 100
Cells = Sequence[str]


def width() -> int:
    """How many columns there are."""
    return max(LEAST, shutil.get_terminal_size((80, 24)).columns)


_COLOURS = {"▲": 32, "▼": 31, "supported": 32, "refuted": 31}
"""What is green, and what is red, by ANSI's numbers."""


def coloured(text: str) -> str:
    """Text with its marks and verdicts in colour where standard output is a terminal that can, and NO_COLOR is not set.

    Nothing is said by colour alone.
    """
    if not sys.stdout.isatty() or os.environ.get("NO_COLOR") or os.environ.get("TERM") == "dumb":
        return text
    return re.sub(
        r"[▲▼]|\b(?:supported|refuted)\b(?=\*)", lambda found: f"\x1b[{_COLOURS[found[0]]}m{found[0]}\x1b[0m", text
    )


def rendered(
    markdown: str, columns: int | None = None, marks: tuple[str, str] = ("*", "~"), curves: bool = False
) -> str:
    """A Markdown page for the terminal.

    Args:
        markdown: of headings, paragraphs, lists and tables.
        columns: at most so wide; by default the terminal's.
        marks: what a cell in bold and one in italics have after them, and what the legend calls these.
        curves: whether rows of accuracies over the share of the image get a sparkline, where there is room for it.
    """
    columns = columns or width()
    parts: list[str] = []
    for block in re.split(r"\n\s*\n", markdown.strip("\n")):
        lines = block.splitlines()
        while lines and lines[0].startswith("#"):
            level, _, text = lines.pop(0).partition(" ")
            text = _wrapped(_prose(text, marks), columns)
            rule = {1: "=", 2: "-"}.get(len(level), "")
            parts.append(text + (f"\n{rule * max(map(len, text.splitlines()))}" if rule else ""))
        table = [line for line in lines if line.startswith("|")]
        if rest := [line for line in lines if not line.startswith(("|", "!["))]:
            parts.append(_paragraph(_prose("\n".join(rest), marks), columns))
        if len(table) > 1:
            left_out = len(table) - 2 - MOST_LINES
            head, sides, *body = [[_cell(cell, marks) for cell in _cells(line)] for line in table[: MOST_LINES + 2]]
            right = [side.endswith(":") for side in sides]
            whole = with_curves(head, body, right, columns) if curves else (head, body, right)
            parts.append("\n".join(columned(whole[0], whole[1], columns, whole[2])))
            if left_out > 0:
                parts.append(f"… and {left_out:,} lines more (--markdown shows all)")
    return "\n\n".join(parts) + "\n"


MOST_LINES = 600
"""Of a table in the terminal; the file has all."""
_MARKUP = re.compile(r"[*`&]")


def _cells(line: str) -> list[str]:
    return [cell.strip().replace("\\|", "|") for cell in re.split(r"(?<!\\)\|", line.strip())[1:-1]]


def _cell(text: str, marks: tuple[str, str]) -> str:
    if not _MARKUP.search(text):
        return text
    text = re.sub(r"\*\*(.+?)\*\*", rf"\1{marks[0]}", text)
    text = re.sub(r"(?<!\*)\*([^* ][^*]*)\*(?!\*)", rf"\1{marks[1]}", text).replace("`", "")
    return escape.plain(text)


def _prose(text: str, marks: tuple[str, str]) -> str:
    strong, emphasis = marks
    text = re.sub(r"\*\*Bold\*\*|\bBold(?=:)", strong, text).replace("*italic*", emphasis)
    text = text.replace("bold or italic", f"{strong} or {emphasis}")
    return escape.plain(re.sub(r"\*{1,2}(\w[^*]*?)\*{1,2}", r"\1", text).replace("`", ""))


_BARS = "▁▂▃▄▅▆▇█"
CURVE = "0–100"
"""The head of the column of sparklines: from where to where they go, in per cent."""
_LEAST_POINTS = 3
"""Of a sparkline in a table."""


def sparkline(values: Sequence[float | None], width: int = 12, between: tuple[float, float] | None = None) -> str:
    """Values as a line of bars, at most so many.

    Args:
        values: None leaves a gap.
        width: how many bars at most.
        between: the values of the lowest and of the highest bar; by default the least and the largest that are shown.

    >>> sparkline([0.0, 1.0, None, 3.5]), sparkline([0.0, 50.0, None, 100.0], between=(0, 100))
    ('▁▃ █', '▁▅ █')
    """
    last, steps = len(values) - 1, max(width - 1, 1)
    some = [values[at] for at in sorted({step * last // steps for step in range(width)})] if values else []
    finite = [value for value in some if value is not None]
    low, high = between or (min(finite, default=0.0), max(finite, default=0.0))
    span = (high - low) or 1.0
    return "".join(" " if value is None else _BARS[round(7 * (value - low) / span)] for value in some)


def with_curves(
    head: Cells, body: Sequence[Cells], right: Sequence[bool], columns: int
) -> tuple[Cells, Sequence[Cells], Sequence[bool]]:
    """A table with a column of sparklines before its first share of the image; as it is where that would be too wide.

    Of rows whose figures are accuracies: those that have an interval.
    """
    shares = [at for at, name in enumerate(head) if re.fullmatch(r"[\d.]+ %", name)]
    if len(shares) < _LEAST_POINTS:
        return head, body, right
    first = shares[0]

    def curve(row: Cells) -> str:
        found = [re.match(r"([\d.]+) ± ", row[at]) for at in shares]
        if not any(found):
            return ""
        return sparkline([float(one[1]) if one else None for one in found], len(shares), (0, 100))

    wider = [[*row[:first], curve(row) if number else CURVE, *row[first:]] for number, row in enumerate([head, *body])]
    if not any(row[first] for row in wider[1:]) or _width(wider) > columns:
        return head, body, right
    return wider[0], wider[1:], [*right[:first], False, *right[first:]]


_ITEM = r"(?:[-*]|\d+\.) "


def _paragraph(text: str, columns: int) -> str:
    """Lines that belong together as one paragraph; those of a list one by one."""
    items = re.split(rf"\n(?=\s*{_ITEM})", text)
    indents = ["  " * (item.startswith("  ") + 1) if re.match(rf"\s*{_ITEM}", item) else "" for item in items]
    return "\n".join(_wrapped(item, columns, indent) for item, indent in zip(items, indents, strict=True))


def _wrapped(text: str, columns: int, indent: str = "") -> str:
    begin = indent[2:] if indent else ""
    return textwrap.fill(
        " ".join(text.split()),
        min(columns, MOST_PROSE),
        initial_indent=begin,
        subsequent_indent=indent,
        break_on_hyphens=False,
    )


def folded(text: str, indent: int = 2) -> str:
    """Lines of which one that is too long goes on below itself, so much further in than it begins."""
    columns = width()
    lines = []
    for line in text.splitlines():
        further = " " * (indent + (len(line) - len(line.lstrip()) if indent == 2 else 0))
        fits = len(line) <= columns
        lines.append(line if fits else textwrap.fill(line, columns, subsequent_indent=further, break_on_hyphens=False))
    return "\n".join(lines)


def listed(entries: Iterable[tuple[str, str]], columns: int | None = None) -> str:
    """Names with what they are, in two columns; a text that is longer than a line goes on below itself."""
    pairs, columns = list(entries), columns or width()
    left = min(max((len(name) for name, _ in pairs), default=0), columns // 3) + 2
    lines = []
    for name, text in pairs:
        first, *rest = textwrap.wrap(text, min(columns, MOST_PROSE + left) - left, break_on_hyphens=False) or [""]
        begin = [name] if len(name) > left - 2 else []
        lines += [*begin, ("" if begin else name).ljust(left) + first, *(" " * left + line for line in rest)]
    return "\n".join(line.rstrip() for line in lines)


def columned(head: Cells, body: Sequence[Cells], columns: int, right: Sequence[bool] = ()) -> list[str]:
    """The lines of a table, in the widest form that fits.

    Args:
        head: the names of its columns.
        body: its rows.
        columns: the width.
        right: which columns are flush right; by default all but the first.
    """
    table = [head, *body]
    right = right or [False, *[True] * (len(head) - 1)]
    if _width(table) <= columns:
        return _aligned(table, right)
    wide_names = max(map(len, head)) > columns // 3  # of two contenders, say: then they are cut, not the rows folded
    if not wide_names and not all(re.match(r"\d", row[0]) for row in body):
        return _folded(table, columns, right)
    for names, most in itertools.product(
        (True, False), (columns // 4, columns // 6)
    ):  # the names alone, if that will do
        short, key = _shortened([head] if names else table, most)
        short += [list(row) for row in body] if names else []
        if _width(short) <= columns:
            break
    return [*_blocks(short, columns, right), *(part for line in key for part in _label(line, columns))]


def _widths(table: Sequence[Cells]) -> list[int]:
    return [max(map(len, column)) for column in zip(*table, strict=True)]


def _width(table: Sequence[Cells], gap: int = 2) -> int:
    widths = _widths(table)
    return sum(widths) + gap * (len(widths) - 1)


def _aligned(table: Sequence[Cells], right: Sequence[bool], gap: int = 2) -> list[str]:
    widths = _widths(table)
    return [
        (" " * gap)
        .join(
            cell.rjust(wide) if flush else cell.ljust(wide)
            for cell, wide, flush in zip(row, widths, right, strict=True)
        )
        .rstrip()
        for row in table
    ]


def _shortened(table: Sequence[Cells], most: int) -> tuple[list[list[str]], list[str]]:
    """A table with texts of more than `most` letters cut, and the lines that tell the whole of each."""
    cut: dict[str, str] = {}

    def short(text: str) -> str:
        if len(text) > most and text not in cut:
            number = len(cut)
            mark = string.ascii_lowercase[number] if number < 26 else str(number)
            cut[text] = f"{text[: most - 5].rstrip(' (,')}… [{mark}]"
        return cut.get(text, text)

    shorter = [[short(cell) for cell in row] for row in table]
    return shorter, [f"[{shown.rpartition('[')[2]} {text}" for text, shown in cut.items()]


def _blocks(table: Sequence[Cells], columns: int, right: Sequence[bool]) -> list[str]:
    """A table in as many parts, one below the other, as its columns need; each has the first column."""
    widths, lines, begin = _widths(table), list[str](), 1
    while begin < len(widths):
        end, wide = begin, widths[0]
        while end < len(widths) and (end == begin or wide + 2 + widths[end] <= columns):
            wide += 2 + widths[end]
            end += 1
        lines += [""] * bool(lines)
        lines += _aligned([[row[0], *row[begin:end]] for row in table], [right[0], *right[begin:end]])
        begin = end
    return lines


def _folded(table: Sequence[Cells], columns: int, right: Sequence[bool]) -> list[str]:
    """Each row's label on a line of its own, with what stands in the last columns where these do not fit."""
    head, *body = table
    for split, moved, gap in itertools.product((False, True), range(min(4, len(head) - 2)), (2, 1)):
        end = len(head) - moved
        if any(" ± " in cell or (cell and not row[0]) for row in body for cell in row[end:]):
            continue  # a label does not go on with figures, and lines below it have no label
        parts = [_split(row[1:end]) if split else [row[1:end]] for row in table]
        inner = [line for part in parts for line in part]
        if 2 + _width(inner, gap) <= columns:
            aligned = iter(_aligned(inner, right[1:end], gap))
            folded = [f"  {next(aligned)}"]
            for row, part in zip(body, parts[1:], strict=True):
                folded += _label("; ".join([row[0], *_named(head[end:], row[end:])]), columns) if row[0] else []
                folded += [f"  {next(aligned)}" for _ in part]
            return folded
    long = {at for row in body for at, cell in enumerate(row) if len(cell) > columns // 3}
    beside = [at for at in range(1, len(head)) if at in long]
    inside = [at for at in range(1, len(head)) if at not in long]
    lines = []
    for row in body:
        lines += _label("; ".join([row[0], *_named([head[at] for at in beside], [row[at] for at in beside])]), columns)
        lines += _side_by_side(_named([head[at] for at in inside], [row[at] for at in inside]), columns)
    return lines


def _split(row: Cells) -> list[Cells]:
    """A row of figures and their marks, and one below it of what its cells have after ±."""
    parts = [re.fullmatch(r"([-+]?[\d.]+) ± ([\d.]+)(.*)", cell) for cell in row]
    first = [f"{part[1]}{part[3]}" if part else cell for part, cell in zip(parts, row, strict=True)]
    return [first, [f"±{part[2]}" if part else "" for part in parts]] if any(parts) else [first]


def _named(names: Cells, cells: Cells) -> list[str]:
    """The cells that say something, each after its column's name."""
    return [f"{name}: {cell}" for name, cell in zip(names, cells, strict=True) if cell not in ("", "·")]


def _label(text: str, columns: int) -> list[str]:
    return _wrapped(text, columns, "    ").removeprefix("  ").splitlines()


def _side_by_side(items: Cells, columns: int) -> list[str]:
    wide = max(map(len, items), default=0) + 2
    rows = zip_longest(*[iter(items)] * max(1, columns // wide), fillvalue="")
    return ["  " + "".join(item.ljust(wide) for item in row).rstrip() for row in rows]
