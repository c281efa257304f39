"""Where in a suite's file a mistake is: its errors name the line."""

from __future__ import annotations

import re

_TOLD = re.compile(r"\(at line (\d+), column \d+\)")
_ENTRY = re.compile(r"(matrix|compare|claim) (\d+)|(base|floors)")
_WHOSE = re.compile(r" of (?:agent|task) '[^']*'")
_QUOTED = re.compile(r"'([^']{1,200})'")


def line_of(text: str, message: str) -> int:
    """The line, counted from 1, that an error is about: of the key that it names within the table that it names, of
    this table, or the first.

    >>> text = chr(10).join(["[base]", "task = 'digits'", "[[matrix]]", "agent = 'ram'", "[[matrix]]", "agnt = 'ram'"])
    >>> line_of(text, "matrix 2: unknown key 'agnt'"), line_of(text, "matrix 1: unknown task 'digits'")
    (6, 2)
    """
    if told := _TOLD.search(message):
        return int(told[1])
    lines = text.splitlines()
    places = [range(len(lines))]
    if entry := _ENTRY.match(message):
        begin, end = _table(lines, entry[1] or entry[3], int(entry[2] or 1))
        places = [range(begin, end), range(len(lines))]
    names = _QUOTED.findall(_WHOSE.sub("", message)) or _QUOTED.findall(message)
    for place in places:
        for name in names:
            for key in (name, name.rpartition(".")[2]):
                for number in place:
                    if re.search(rf"(?<![\w-]){re.escape(key)}(?![\w-])", lines[number]):
                        return number + 1
    return min(places[0], default=0) + 1


def _table(lines: list[str], name: str, number: int) -> tuple[int, int]:
    """The lines of the table of this name, or of the entry of this number in an array of tables."""
    begins = [
        n for n, line in enumerate(lines) if re.match(rf"\s*(\[\[?\s*{name}\s*\]|{name}\s*=|\[\s*{name}\.)", line)
    ]
    if number > len(begins):
        return 0, len(lines)
    begin = begins[number - 1]
    ends = (n for n in range(begin + 1, len(lines)) if re.match(rf"\s*(\[\[|\[(?!\s*{name}\.))", lines[n]))
    return begin, next(ends, len(lines))
