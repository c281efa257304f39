"""Figures of one question each: how masks come to be small, what became of a claim, and the duel's arenas."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from matplotlib.collections import PolyCollection

from glimpsebench.bench import ablate, leaderboard
from glimpsebench.bench.answer import ahead, arenas
from glimpsebench.bench.claims import Verdict, claim_of, verdicts
from glimpsebench.bench.figures import claims, duel, masks, paper
from glimpsebench.bench.records import Record
from glimpsebench.bench.rows import Row, rows_of
from glimpsebench.bench.styles import styles_of
from test_claims import TABLE, Scored, answers, arm
from test_figures import WIDTHS, assert_not_cut_off, assert_printable, shown_lines
from test_leaderboard import record

LONG = "a_mask_selector_whose_name_leaves_little_room_for_the_panel_beside_it"
MANY = 9


def masked(name: str, seed: int, **found: Any) -> Record:
    made = record(name, seed, 0.8, track="open")
    findings = {key: value if isinstance(value, list) else float(value) for key, value in found.items()}
    told = Record(made.folder, {**made.about, "findings": findings})
    told.__dict__["arrays"] = made.arrays
    return told


@pytest.fixture(scope="module")
def selectors() -> list[Row]:
    """Nine with curves, one of a long name; one with a size alone; one that says nothing of masks."""
    records = []
    for number in range(MANY):
        for seed in range(3):
            end = 0.02 * (number + 1) + 0.01 * seed
            curve = np.linspace(0.5, end, 41).tolist()
            found = {f"{name}_curve": curve for name in masks.PANELS} | {"mask_mean": end}
            records.append(masked(LONG if number == 0 else f"mask_{number}", seed, **found))
    records += [masked("crop", seed, own_area=0.1 + 0.01 * seed) for seed in range(3)]
    return rows_of([*records, *(masked("silent", seed) for seed in range(3))])


@pytest.fixture(scope="module")
def arena() -> list[Row]:
    """Eight estimators of one arena with curves, the random floor, which has none, and a contender of no arena."""
    records = []
    for number, estimator in enumerate(["reinforce", "relaxed", *(f"other_{n}" for n in range(6)), "random"]):
        for seed in range(4):
            settings = {"estimator": estimator, "passes": 128}
            made = record("subset", seed, 0.9 - 0.05 * number, settings=settings, changed=settings, track="open")
            stages = []
            if estimator != "random":
                value = [0.2, 0.5, 0.7 - 0.02 * number + 0.01 * seed]
                points = {"step": [32, 64, 128], "images": [8, 16, 32], "value": value}
                stages = [{"stage": "selector", "scored": "own prediction", "measures": {"accuracy": points}}]
            made.__dict__["curves"] = stages
            made.__dict__["curve_seconds"] = [{"accuracy": [1.0, 2.0, 3.0 + number]} for _ in stages]
            records.append(made)
    return rows_of([*records, *(record("alone", seed) for seed in range(2))])


@pytest.fixture(scope="module")
def decided() -> list[Verdict]:
    """Of each outcome one, in two units; more than one figure holds."""
    rows = [
        Scored("a", {0.1: answers(0.8, seed=1)}, {"size": [0.1, 0.11, 0.12, 0.1, 0.11]}),
        Scored("b", {0.1: answers(0.5, seed=2)}, {"size": [0.3, 0.31, 0.3, 0.32, 0.29]}),
    ]
    changes: list[dict[str, Any]] = [
        {},
        {"direction": "lower"},
        {"matters": 0.295},
        {"measure": "judge", "budget": 0.2},
        {"measure": "findings.size", "budget": None, "direction": "lower", "text": f"It is smaller, by {LONG}"},
        *({"text": f"The same, said for the {number}th time"} for number in range(5)),
    ]
    some = [claim_of({key: value for key, value in (TABLE | each).items() if value is not None}) for each in changes]
    return verdicts(some, [arm("a"), arm("b")], rows)


def every(width: float, selectors: list[Row], arena: list[Row], decided: list[Verdict]) -> list[paper.Drawn]:
    return [
        *masks.draw(selectors, styles_of(selectors), width),
        *duel.draw(arena, styles_of(arena), width),
        *claims.draw(decided, width),
    ]


@pytest.mark.slow
@pytest.mark.parametrize("width", WIDTHS)
def test_they_can_be_printed(
    width: float, selectors: list[Row], arena: list[Row], decided: list[Verdict], tmp_path: Path
) -> None:
    drawn = every(width, selectors, arena, decided)
    names = ["masks", "masks-2", "mask-sizes", "mask-sizes-2", "duel-subset", "duel-subset-2", "claims", "claims-2"]
    assert [one.name for one in drawn] == names
    for one in drawn:
        assert_printable(one, width, tmp_path)
        assert_not_cut_off(one)
        for axis in one.figure.axes:
            assert len(shown_lines(axis)) <= paper.MOST_LINES, one.name
            assert len(axis.get_yticks()) <= paper.MOST_LINES + 1, one.name


def test_masks_are_drawn_by_what_records_hold_of_them_and_by_nothing_else(selectors: list[Row]) -> None:
    drawn = {one.name: one for one in masks.draw(selectors, styles_of(selectors), 6.75)}
    said = " ".join(one.caption for one in drawn.values())
    assert "silent" not in said
    assert "own_area, area of the crop" in drawn["mask-sizes-2"].caption
    assert "crop" not in drawn["masks"].caption + drawn["masks-2"].caption
    by_label = {row.label: row for row in selectors}
    for label, value in re.findall(r"(mask_\d): mean of the mask ([\d.]+) ±", said):
        ends = [record.about["findings"]["mask_mean"] for record in by_label[label].runs]
        assert value == f"{100 * np.mean(ends):.1f}"
    for axis in drawn["masks"].figure.axes:
        values = np.concatenate([np.asarray(line.get_ydata(), float) for line in axis.lines])
        assert ((values >= 0) & (values <= 1)).all()
    assert not list(masks.draw([row for row in selectors if row.label == "silent"], styles_of(selectors), 6.75))


def test_a_runs_curve_of_another_length_is_no_curve_of_the_row() -> None:
    runs = [masked("one", seed, mask_mean_curve=[0.5] * (3 + seed)) for seed in range(2)]
    (row,) = rows_of(runs)
    assert masks.curves_of(row, "mask_mean") is None
    assert not list(masks.draw([row], styles_of([row]), 6.75))


def test_a_claims_panel_says_what_the_table_of_claims_says(decided: list[Verdict]) -> None:
    first, second = claims.draw(decided, 6.75)
    outcomes = [text.get_text() for axis in first.figure.axes for text in axis.texts]
    assert {*outcomes} == {"supported", "refuted", "undecided", "not tested"}
    assert len(outcomes) == paper.MOST_LINES
    for number, verdict in enumerate(decided, 1):
        caption = (first if number <= paper.MOST_LINES else second).caption
        item = caption.partition(f"{number}. {verdict.claim.text}")[2].partition(f" {number + 1}. ")[0]
        assert f": {verdict.outcome}; " in item
        assert f"claimed {ablate.claimed(verdict.claim)}" in item
        assert f": {ablate.number(verdict.claim.measure, verdict.effect.mean, '+')}" in item
    finding = next(axis for axis in first.figure.axes if axis.get_xlabel() == "difference in size")
    (low, high) = finding.get_xlim()
    assert low < decided[4].effect.low < high, "in its own unit"


def test_a_claims_shade_is_what_would_bear_it_out(decided: list[Verdict]) -> None:
    (one,) = claims.draw(decided[:1], 3.25)
    (axis,) = one.figure.axes
    (shaded,) = (each for each in axis.collections if isinstance(each, PolyCollection))
    shade = np.asarray(shaded.get_paths()[0].vertices)[:, 0]
    assert min(shade) == pytest.approx(100 * decided[0].claim.matters)
    assert max(shade) == pytest.approx(axis.get_xlim()[1]), "it goes on"


def test_the_duels_panels_say_what_the_answer_and_the_table_say(arena: list[Row]) -> None:
    first, second = duel.draw(arena, styles_of(arena), 6.75)
    (found,) = arenas.arenas_among(arena)
    assert len(found.rows) == 9
    caption = first.caption
    assert "alone" not in caption
    seconds = arenas.common_seconds(found.rows)
    assert seconds == 3.0
    assert "dotted: 128 passes and 3.0 s" in caption
    table = {(line["contender"], line["budget"]): line for line in leaderboard.table(arena).to_dict("records")}
    checked = 0
    for row in found.rows:
        said = re.search(rf"{re.escape(row.label)}, by the judge: (.*?)\. ", caption + second.caption)
        assert said is not None
        for budget, mean in re.findall(r"(\d+) %: ([\d.]+) ±", said[1]):
            assert mean == f"{100 * table[row.label, int(budget) / 100]['judge']:.1f}"
            checked += 1
        at = arenas.at_seconds(row, seconds)
        if at is not None:
            assert f"{row.label} {100 * at.mean():.1f}" in caption.partition("At equal seconds")[2]
    assert checked >= len(found.rows)
    rl, gradient = (found.family(family)[0] for family in (arenas.RL, arenas.GRADIENT))
    assert ahead.sentence(rl.label, gradient.label, ahead.differences(rl, gradient), "judge") in caption


def test_arenas_of_rows_are_those_of_their_records(arena: list[Row]) -> None:
    records = [record for row in arena for record in row.records]
    (of_records,), (of_rows,) = arenas.arenas_of(records), arenas.arenas_among(arena)
    assert (of_records.agent, of_records.task, of_records.passes) == (of_rows.agent, of_rows.task, of_rows.passes)
    assert {len(row.records) for row in of_records.rows} == {4}


def test_a_long_name_is_wrapped_and_then_shortened() -> None:
    assert paper.wrapped("short", 10) == "short"
    lines = paper.wrapped("one two three four five six seven", 9, 2).splitlines()
    assert len(lines) == 2
    assert max(map(len, lines)) <= 9
    assert lines[-1].endswith(".")
