"""How methods are drawn: one colour and one marker for each, in every figure and page; its variants in shades.

The colours are those that colour-blind readers tell apart (Okabe and Ito 2008; wine and indigo of Paul Tol's in place
of yellow and black), and in print without colour, markers and dashes tell lines apart. A style follows from the
method's name alone, so that no list of methods is kept and a new one changes no other; only where two in one figure
would have the same colour or marker, one of them gets the next that is free.
"""

from __future__ import annotations

import hashlib
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from glimpsebench.bench.rows import Row

COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#56b4e9", "#e69f00", "#882255", "#332288")
GREYS = ("#4d4d4d", "#7a7a7a", "#a0a0a0")
"""Of floors and ceilings."""
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "p")
"""By Matplotlib's names: disc, square, triangle, diamond, triangle upside down, plus, cross, pentagon."""
DASHES: tuple[tuple[float, ...], ...] = ((), (4.0, 1.5), (1.2, 1.2), (5.0, 1.5, 1.2, 1.5), (8.0, 2.0))
DOTS: tuple[tuple[float, ...], ...] = ((1.0, 1.2), (1.0, 2.5), (2.5, 1.2, 1.0, 1.2))
"""Of floors and ceilings."""

_SALT = 22303
"""With which methods that are often drawn together get different colours."""
_SHADES = (0.0, -0.4, 0.4, -0.65, 0.6)
"""By how much each variant is darker (-1 is black) or lighter (1 is white) than the first."""


class Style(NamedTuple):
    """How something is drawn.

    Attributes:
        colour: as #rrggbb.
        marker: one of `MARKERS`.
        dash: lengths of line and gap in turn, in line widths; () is a solid line.
    """

    colour: str
    marker: str
    dash: tuple[float, ...]


def style_of(agent: str, variant: int = 0, reference: bool = False) -> Style:
    """How a method is drawn where nothing else has its colour and marker.

    Args:
        agent: its name.
        variant: 0 for the first; others have other shades and dashes, and the same marker.
        reference: a floor or ceiling, which are grey and dotted.
    """
    palette, dashes = _looks(reference)
    colour, marker = _preferred(agent, len(palette))
    return Style(_variant(palette[colour], variant), MARKERS[marker], dashes[variant % len(dashes)])


def styles_of(rows: Iterable[Row]) -> dict[str, Style]:
    """Label → style, of all that is drawn in one figure or page.

    Rows of one agent are variants, the one with the shortest label first; what a suite gives a label is a method of its
    own. No two have the same marker and dash, as long as there are some left, so that they are told apart without
    colours too.
    """
    of = {row.label: (row.records[0].label or row.about["name"], bool(row.about["reference"])) for row in rows}
    variants: dict[tuple[str, bool], list[str]] = defaultdict(list)
    for label in sorted(of, key=lambda label: (len(label), label)):
        variants[of[label]].append(label)
    styles: dict[str, Style] = {}
    colours, markers = Counter[str](), Counter[int]()
    for agent, reference in sorted(variants, key=lambda one: _digest(one[0])):
        palette, dashes = _looks(reference)
        first, marker = _preferred(agent, len(palette))
        colour = _nearest(first, [colours[each] for each in palette])
        marker = _nearest(marker, [markers[at] for at in range(len(MARKERS))])
        for variant, label in enumerate(variants[agent, reference]):
            taken = [style.dash for style in styles.values() if style.marker == MARKERS[marker]]
            dash = dashes[_nearest(variant % len(dashes), [taken.count(each) for each in dashes])]
            styles[label] = Style(_variant(palette[colour], variant), MARKERS[marker], dash)
        colours[palette[colour]] += 1
        markers[marker] += 1
    return styles


def _looks(reference: bool) -> tuple[Sequence[str], Sequence[tuple[float, ...]]]:
    return (GREYS, DOTS) if reference else (COLOURS, DASHES)


def _digest(agent: str) -> int:
    return int.from_bytes(hashlib.sha256(f"{_SALT} {agent}".encode()).digest()[:8], "big")


def _preferred(agent: str, colours: int) -> tuple[int, int]:
    """Indices of a colour, of so many, and a marker."""
    number = _digest(agent)
    return number % colours, number // 1000 % len(MARKERS)


def _nearest(preferred: int, used: Sequence[int]) -> int:
    """The index that was used least, the preferred one or else the next after it."""
    return min(range(len(used)), key=lambda at: (used[at], (at - preferred) % len(used)))


def _variant(colour: str, variant: int) -> str:
    return shaded(colour, _SHADES[variant % len(_SHADES)])


def shaded(colour: str, by: float) -> str:
    """A colour darker (`by` below 0; -1 is black) or lighter (1 is white).

    >>> shaded("#204060", -0.5), shaded("#204060", 1.0)
    ('#102030', '#ffffff')
    """
    towards = 255 if by > 0 else 0
    values = [int(colour[at : at + 2], 16) for at in (1, 3, 5)]
    return "#" + "".join(f"{round(value + (towards - value) * abs(by)):02x}" for value in values)
