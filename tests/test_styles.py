"""How methods are drawn: the same everywhere, and told apart with and without colours."""

from __future__ import annotations

import doctest
import itertools
from pathlib import Path
from typing import Any

import pytest

from glimpsebench import agents
from glimpsebench.bench import styles
from glimpsebench.bench.records import Record
from glimpsebench.bench.rows import Row
from glimpsebench.bench.styles import COLOURS, GREYS, MARKERS, style_of, styles_of


def row(agent: str, label: str = "", reference: Any = None) -> Row:
    return Row(label or agent, "t", (Record(Path(), {"agent": {"name": agent, "reference": reference}}),))


def test_the_examples_hold() -> None:
    assert doctest.testmod(styles).failed == 0


def test_a_method_has_one_colour_and_marker_whatever_else_there_is() -> None:
    for agent in ("ram", "somebody.module"):
        alone = style_of(agent)
        assert alone == style_of(agent) == styles_of([row(agent)])[agent]
        assert alone == styles_of([row(agent), row("raster", reference="floor")])[agent]
        assert alone.colour in COLOURS
        assert alone.marker in MARKERS
    assert style_of("uniform", reference=True).colour in GREYS


def test_variants_have_the_marker_and_another_shade_and_dash() -> None:
    found = styles_of([row("ram"), row("ram", "ram, without REINFORCE"), row("ram", "ram (size=12)")])
    assert found["ram"] == style_of("ram")
    assert found["ram (size=12)"] == style_of("ram", 1)
    assert found["ram, without REINFORCE"] == style_of("ram", 2)
    for one, other in itertools.combinations(found.values(), 2):
        assert one.marker == other.marker
        assert one.colour != other.colour
        assert one.dash != other.dash


def test_no_two_of_all_methods_look_alike_in_grey_and_eight_have_eight_colours() -> None:
    kinds = {name: agents.find(name).reference for name in agents.names()}
    found = styles_of([row(name, reference=reference) for name, reference in kinds.items()])
    assert len({(style.marker, style.dash) for style in found.values()}) == len(found) == len(kinds)
    learners = [name for name, reference in kinds.items() if not reference][:8]
    assert len({style.colour for style in styles_of([row(name) for name in learners]).values()}) == 8


@pytest.mark.parametrize("colour", [*COLOURS, *GREYS])
def test_every_colour_stands_out_from_white_paper(colour: str) -> None:
    red, green, blue = (int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5))
    assert 0.2126 * red + 0.7152 * green + 0.0722 * blue < 0.75
