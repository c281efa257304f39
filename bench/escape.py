"""Text that comes from records, such as a contender's settings, as text where a format would read it as markup.

One function for each format. What cannot be printed, be it a line's end or what moves a terminal's cursor, is shown as
its escape in all of them.
"""

from __future__ import annotations

import html as _html
import re


def terminal(text: str) -> str:
    """In one line, with nothing that a terminal obeys.

    >>> terminal("a" + chr(27) + "[2J" + chr(10) + "b")
    'a\\\\x1b[2J\\\\nb'
    """
    if text.isprintable():
        return text
    return "".join(letter if letter.isprintable() else ascii(letter)[1:-1] for letter in text)


_MARKUP = re.compile(r"[\\`*|<>&~$]|\](?=[(\[:])|(?<![^\W_])_|_(?![^\W_])")


def markdown(text: str) -> str:
    """For a paragraph, a heading or a table's cell: markup as entities, which every renderer and `html` reads back.

    >>> markdown("ram (first_fixation=center, widths=[16, 32])")
    'ram (first_fixation=center, widths=[16, 32])'
    >>> markdown("<b>|[x](y)")
    '&#60;b&#62;&#124;[x&#93;(y)'
    """
    return _MARKUP.sub(lambda found: f"&#{ord(found[0])};", terminal(text))


def plain(markdown_text: str) -> str:
    """The inverse of `markdown`, of what `terminal` makes of a text."""
    return _html.unescape(markdown_text)


def html(text: str) -> str:
    """For an element's text or a quoted attribute.

    >>> html("<a href='x'>")
    '&lt;a href=&#x27;x&#x27;&gt;'
    """
    return _html.escape(terminal(text))


def csv(text: str) -> str:
    """For a cell that a spreadsheet must not take for a formula. Quotes and commas are the writer's business.

    >>> csv("=1+1"), csv("ram")
    ("'=1+1", 'ram')
    """
    shown = terminal(text)
    return f"'{shown}" if shown.lstrip()[:1] in tuple("=+-@") else shown


_LATEX = {"\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}"}
_LATEX |= {letter: f"\\{letter}" for letter in "{}$&#_%"}
_LATEX |= {"<": r"\textless{}", ">": r"\textgreater{}", "|": r"\textbar{}"}


def latex(text: str) -> str:
    r"""For text outside of mathematics.

    >>> latex("a_b 5 %")
    'a\\_b 5 \\%'
    """
    return "".join(_LATEX.get(letter, letter) for letter in terminal(text))
