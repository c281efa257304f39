"""Tables as LaTeX (booktabs), from the Markdown of the same tables: the same cells, rounded and in bold by one rule.

A document needs `\\usepackage{booktabs,graphicx}`; a table that is wider than its place is made smaller. What a legend
says of marks stands in the Markdown pages.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from glimpsebench.bench import escape

_NOTHING = {"", "·"}
_SIGNS = {
    "±": r"$\pm$",
    "·": r"$\cdot$",
    "°": r"$^\circ$",
    "†": r"$^\dagger$",
    "★": r"$^\star$",
    "¹": r"$^1$",
    "×": r"$\times$",
    "≥": r"$\geq$",
    "≤": r"$\leq$",
    "∞": r"$\infty$",
    "–": "--",
    "τ": r"$\tau$",
    "−": r"$-$",
}
NOTE = "note"
"""The name of a last column whose texts stand below the table."""
WIDE = 6
"""Columns from which on a table takes both columns of a page."""


def tables(markdown: str, name: str) -> str:
    """Every table of a Markdown page, each with its headings as caption.

    Args:
        markdown: of headings, paragraphs and pipe tables.
        name: of the labels, `tab:NAME-1` and so on.
    """
    headings: dict[int, str] = {}
    found: list[str] = []
    for block in re.split(r"\n\s*\n", markdown.strip("\n")):
        lines = block.splitlines()
        while lines and (heading := re.match(r"(#+) (.*)", lines[0])):
            level = len(heading[1])
            headings = {other: text for other, text in headings.items() if other < level} | {level: heading[2]}
            del lines[0]
        if len(pipes := [line for line in lines if line.startswith("|")]) > 2:
            caption = ". ".join(cell(text) for _, text in sorted(headings.items()))
            found.append(_table(pipes, caption, f"tab:{name}-{len(found) + 1}"))
    return "\n".join(["% needs \\usepackage{booktabs,graphicx}", *found])


def _table(pipes: Sequence[str], caption: str, label: str) -> str:
    """One table, without the columns in which no row has anything, and with its notes below it."""
    head, sides, *body = [_cells(line) for line in pipes]
    notes: dict[str, list[str]] = {}
    if head[-1] == NOTE:
        for row in body:
            if row[-1]:
                notes.setdefault(row[-1], []).append(row[0])
        head, body = head[:-1], [row[:-1] for row in body]
    keep = [at for at in range(len(head)) if at == 0 or any(row[at] not in _NOTHING for row in body)]
    columns = "".join("r" if sides[at].endswith(":") else "l" for at in keep)
    lines = [" & ".join(cell(row[at]) for at in keep) + r" \\" for row in [head, *body]]
    kind = "table*" if len(keep) >= WIDE else "table"
    said = "; ".join(f"{', '.join(map(cell, whose))}: {cell(note)}" for note, whose in notes.items())
    return "\n".join(
        [
            rf"\begin{{{kind}}}",
            r"\centering\scriptsize\setlength{\tabcolsep}{3pt}",
            rf"\caption{{{caption}.}}",
            rf"\label{{{label}}}",
            r"\resizebox{\ifdim\width>\linewidth\linewidth\else\width\fi}{!}{%",
            rf"\begin{{tabular}}{{@{{}}{columns}@{{}}}}",
            r"\toprule",
            lines[0],
            r"\midrule",
            *lines[1:],
            r"\bottomrule",
            r"\end{tabular}}",
            *([rf"\par\smallskip {said}."] if said else []),
            rf"\end{{{kind}}}",
            "",
        ]
    )


def _cells(line: str) -> list[str]:
    return [part.strip().replace("\\|", "|") for part in re.split(r"(?<!\\)\|", line.strip())[1:-1]]


def cell(markdown: str) -> str:
    r"""A cell's Markdown as LaTeX.

    >>> print(cell("**59.1 ± 3.8**¹"), cell("*9.1*"), cell("uniform (kind=mask&#95;)†"), cell("5 %"))
    \textbf{59.1 $\pm$ 3.8}$^1$ \textit{9.1} uniform (kind=mask\_)$^\dagger$ 5 \%
    """
    parts = re.split(r"(\*\*.+?\*\*|(?<!\*)\*[^*]+\*(?!\*)|\[[^]]*\]\([^)]*\))", markdown)
    return "".join(_part(part) for part in parts)


def _part(text: str) -> str:
    for mark, command in (("**", "textbf"), ("*", "textit")):
        if text.startswith(mark) and text.endswith(mark) and len(text) > 2 * len(mark):
            return rf"\{command}{{{_plain(text[len(mark) : -len(mark)])}}}"
    if link := re.fullmatch(r"\[([^]]*)\]\([^)]*\)", text):
        return _plain(link[1])
    return _plain(text)


def _plain(text: str) -> str:
    return "".join(_SIGNS.get(letter, letter) for letter in escape.latex(escape.plain(text.replace("`", ""))))
