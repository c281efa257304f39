"""Tables as LaTeX (booktabs), from the Markdown of the same tables: the same cells, rounded and in bold by one rule.

A file for each table, `PAGE-WHICH.tex`, and in it a label with the suite's name, `tab:SUITE-WHICH`. Its caption says of
which images and seeds it is, and what the marks in it mean. A document needs `\\usepackage{booktabs,graphicx}`; a table
that is wider than its place is made smaller.
"""

from __future__ import annotations

import itertools
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
    "→": r"$\to$",
    "α": r"$\alpha$",
    "…": r"\dots{}",
    "○": r"$\circ$",
    "●": r"$\bullet$",
    "✓": r"$\surd$",  # without a package, as the others
    "✗": r"$\times$",
}
NOTE = "note"
"""The name of a last column whose texts stand below the table."""
WIDE = 6
"""Columns from which on a table takes both columns of a page."""


_WHICH = {"gated-track": "gated", "open-track": "open", "floors-and-ceiling": "floors"}
"""A heading, as a file's name → what is shorter."""
_OVER = "95 % interval over images, seeds and, of the judge, members"
_SAID = {
    "leaderboard": (
        f"how far the {_OVER} reaches",
        "Bold: above the strongest floor at that cap, italic: below it, after Holm's correction for all differences of "
        "the task",
    ),
    "over-tasks": ("95 % bootstrap over runs within tasks", ""),
    "compare": (f"half of the {_OVER}", "Bold: the interval excludes zero"),
    "findings": ("half of the 95 % interval over seeds", "Bold: the interval excludes zero"),
    "ablation": (
        f"half of the {_OVER}; of findings over seeds",
        "Bold: decided, after Holm's correction for all claims of the suite that are tested",
    ),
}
"""Of which page → what ± says in its tables, and what bold and italics."""
_MARKS = {
    "★": "the difference stands after Holm's correction for all differences of the table",
    "¹": "one of the two has one seed, which cannot stand for a method",
    "°": "more than half of the images show only what is given without a choice",
    "†": "by values delivered; it touches the whole image",
    "·": "no value, as where a budget is not reached",
    "detectable": "the true difference that such a table would find with 80 % power",
}


def tables(markdown: str, page: str, suite: str, about: str = "") -> dict[str, str]:
    """Every table of a Markdown page as a file of its own: name, without ending → LaTeX.

    Args:
        markdown: of headings, paragraphs and pipe tables.
        page: what it is: `leaderboard`, `ablation`, `compare-NAME`. Names begin with it.
        suite: whose records; in the labels.
        about: of which images, where the page does not say it.
    """
    headings: dict[int, str] = {}
    blocks: list[tuple[dict[int, str], list[str]]] = []
    for block in re.split(r"\n\s*\n", markdown.strip("\n")):
        lines = block.splitlines()
        while lines and (heading := re.match(r"(#+) (.*)", lines[0])):
            level = len(heading[1])
            headings = {other: text for other, text in headings.items() if other < level} | {level: heading[2]}
            del lines[0]
        blocks.append((headings, lines))
    images = {under.get(2): line for under, lines in blocks for line in lines if re.search(r"\d test images[.;]", line)}
    deep = {under[2] for under, _ in blocks if 3 in under}
    found: dict[str, str] = {}
    for under, lines in blocks:
        pipes = [line for line in lines if line.startswith("|")]
        if len(pipes) < 3:
            continue
        parts = [under[level] for level in sorted(under) if level > 1]
        slugs = [_slug(part) for part in (parts[1:] if len(parts) > 1 and len(deep) == 1 else parts)]
        if "strongest floor by" in pipes[0]:
            slugs[-1] = "strongest-floors"
        if len(images) == 1 and not deep:
            slugs = []  # the page's one table
        name = "-".join([page, *slugs])
        more = (f"{name}-{number}" for number in itertools.count(2))
        name = next(one for one in itertools.chain([name], more) if one not in found)
        kind = "findings" if page.endswith("-findings") else _slug(parts[0]) if parts else ""
        says = _SAID.get(kind) or _SAID[page.partition("-")[0]]
        caption = ". ".join(cell(text) for _, text in sorted(under.items()))
        label = f"tab:{_slug(suite)}-{name.removeprefix('leaderboard-')}"
        found[name] = _table(pipes, caption, images.get(under.get(2), about), says, label)
    return found


def _slug(text: str) -> str:
    """A heading or a name, as a part of a file's name and of a label.

    >>> _slug("Gated track: seen = touched"), _slug("digits-clutter-v1 (noise=0.1)"), _slug("Where they look")
    ('gated', 'digits-clutter-v1-noise=0.1', 'where-they-look')
    """
    plain = escape.plain(text).partition(": ")[0]
    found = re.sub(r"[^A-Za-z0-9.=+-]+", "-", plain.lower()).strip("-")
    return _WHICH.get(found, found)


def _legend(head: Sequence[str], body: Sequence[Sequence[str]], says: tuple[str, str]) -> str:
    """What a table's cells and marks mean, of those that are in it."""
    cells, (interval, strong) = " ".join(text for row in body for text in row), says
    said = []
    if head[1:2] == ["score by"] and "seeds" in head:
        said.append("Top-1 accuracy in per cent; a column caps the share of an image that is touched")
    if "seeds" in head:
        seeds = {row[head.index("seeds")] for row in body} - _NOTHING
        said.append(f"Seeds: {seeds.pop()} each" if len(seeds) == 1 else "Seeds: as in their column")
    said += [f"±: {interval}"] if "±" in cells else []
    said += [strong] if strong and re.search(r"\*[^* ]", cells) else []
    said += [f"{mark}: {meaning}" for mark, meaning in _MARKS.items() if mark in cells or mark in head]
    return " ".join(f"{one}." for one in said)


def _table(pipes: Sequence[str], caption: str, about: str, says: tuple[str, str], label: str) -> str:
    """One table, without the columns in which no row has anything, and with its notes below it.

    Args:
        pipes: the lines of the Markdown table.
        caption: in short, LaTeX.
        about: of which images, Markdown.
        says: what ± and what bold and italics mean.
        label: of the table.
    """
    head, sides, *body = [_cells(line) for line in pipes]
    notes: dict[str, list[str]] = {}
    if head[-1] == NOTE:
        for row in body:
            if row[-1]:
                notes.setdefault(row[-1], []).append(row[0])
        head, body = head[:-1], [row[:-1] for row in body]
    keep = [at for at in range(len(head)) if at == 0 or any(row[at] not in _NOTHING for row in body)]
    columns = "".join("r" if sides[at].endswith(":") else "l" for at in keep)
    head, *body = [[row[at] for at in keep] for row in [head, *body]]
    legend = " ".join(cell(text) for text in (about, _legend(head, body, says)) if text)
    lines = [" & ".join(map(cell, row)) + r" \\" for row in [head, *body]]
    kind = "table*" if len(keep) >= WIDE else "table"
    said = "; ".join(f"{', '.join(map(cell, whose))}: {cell(note)}" for note, whose in notes.items())
    return "\n".join(
        [
            r"% needs \usepackage{booktabs,graphicx}",
            rf"\begin{{{kind}}}",
            r"\centering\scriptsize\setlength{\tabcolsep}{3pt}",
            rf"\caption[{{{caption}}}]{{{caption}.{f' {legend}' if legend else ''}}}",
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
    return prose(escape.plain(text.replace("`", "")))


def prose(text: str) -> str:
    """Text as LaTeX, with the signs that tables and captions have.

    >>> print(prose("a_b: 5 % ± 1"))
    a\\_b: 5 \\% $\\pm$ 1
    """
    return "".join(_SIGNS.get(letter, letter) for letter in escape.latex(text))
