"""The leaderboard against records made by hand: what is a row, what it is compared with, and what it must say."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from glimpsebench.bench import leaderboard, rows
from glimpsebench.bench.figures import curves
from glimpsebench.bench.floors import Floors
from glimpsebench.bench.records import SCHEMA, Record
from glimpsebench.bench.rows import rows_of
from glimpsebench.bench.styles import styles_of
from glimpsebench.envs.errors import UsageError

Array = NDArray[Any]

BUDGETS = (0.1, 0.2, 1.0)
IMAGES = 400
PIXELS = 100
LABELS = np.arange(IMAGES) % 4


def record(
    name: str,
    seed: int = 0,
    accuracy: float = 0.5,
    *,
    labels: Array = LABELS,
    touched: tuple[float, ...] = BUDGETS,
    steps: tuple[int, ...] = (2, 3, 4),
    device: str = "cpu",
    schema: int = SCHEMA,
    task: dict[str, Any] | None = None,
    **agent: Any,
) -> Record:
    """A run that gets `accuracy` of the images right at every budget, drawn anew for each name and seed."""
    about = {
        "schema": schema,
        "status": "done",
        "seed": seed,
        "agent": {
            "name": name,
            "version": 1,
            "source": "abcdef0123456789",
            "settings": {"size": 6},
            "changed": {},
            "track": "gated",
            "reference": None,
            "currency": "touched",
            "given": 0,
            "supervision": "labels",
            **agent,
        },
        "task": {
            "id": "toy-v1",
            "settings": {"version": 1} | (task or {}),
            "shape": [1, 10, 10],
            "classes": 4,
            "test_images": len(labels),
            "test_sha256": "0",
        },
        "judge": "e",
        "budgets": list(BUDGETS),
        "findings": {},
        "machine": {"device": device},
        "software": {"glimpsebench": "0.1.0"},
    }
    made = Record(Path(f"{name}-{seed}-{agent.get('source', '')}"), about)
    rng = np.random.default_rng([seed, *name.encode()])
    right_FN = rng.random((len(BUDGETS), len(labels))) < accuracy
    predicted_FN = np.where(right_FN, labels, (labels + 1) % 4).astype(np.int16)
    wide = np.ones((1, len(labels)))
    touched_FN = np.array(touched)[:, None] * PIXELS * wide
    made.__dict__["arrays"] = {
        "steps": np.array(steps)[:, None] * wide,
        "touched": touched_FN,
        "delivered": touched_FN,
        "seen": touched_FN,
        "own": predicted_FN,
        "evaluator": predicted_FN,
        "labels": labels,
    }
    return made


def floor(name: str, seed: int, accuracy: float, **more: Any) -> Record:
    return record(name, seed, accuracy, reference="floor", **more)


def line_of(text: str, name: str, by: str = "judge") -> list[str]:
    """The cells of a row's line of that score, without name and score."""
    lines = [[cell.strip() for cell in line.split("|")[1:-1]] for line in text.splitlines() if line.startswith("|")]
    start = next(number for number, cells in enumerate(lines) if cells[0] == name)
    return next(cells[2:] for cells in lines[start:] if cells[1] == by)


AT = {0.1: 3, 0.2: 5, 1.0: 8}
"""Where a budget stands in `line_of`."""


@pytest.mark.parametrize(
    ("other", "labels"),
    [
        ({"settings": {"size": 8}}, {"mine (size=6)", "mine (size=8)"}),  # a default that was edited
        ({"version": 2}, {"mine (version=1)", "mine (version=2)"}),
        ({"source": "1" * 16}, {"mine (source=abcdef01)", "mine (source=11111111)"}),
        ({"source": None}, {"mine (source=abcdef01)", "mine (source=unknown)"}),
        ({"source": "1" * 16, "file": "/b/mine.py"}, {"mine (file=/a/mine.py)", "mine (file=/b/mine.py)"}),
        ({"settings": {"size": 8}, "changed": {"size": 8}}, {"mine", "mine (size=8)"}),
    ],
)
def test_what_is_not_the_same_contender_stands_in_rows_of_its_own(other: dict[str, Any], labels: set[str]) -> None:
    rows = rows_of([record("mine", 0, file="/a/mine.py"), record("mine", 1, **({"file": "/a/mine.py"} | other))])
    assert {row.label for row in rows} == labels
    assert all(len(row.records) == 1 for row in rows)


def test_a_setting_of_which_the_default_was_edited_and_one_that_was_set_are_told_apart_together() -> None:
    three = {"scales": 3}
    rows = rows_of([record("mine", settings={"size": size} | three, changed=three) for size in (6, 8)])
    assert {row.label for row in rows} == {"mine (size=6)", "mine (size=8)"}


def test_two_runs_of_one_seed_in_a_row_are_an_error_that_names_both() -> None:
    one, two = record("mine", 3), record("mine", 3)
    two = Record(Path("elsewhere"), two.about)
    with pytest.raises(UsageError, match=r"two runs of seed 3, mine-3- and elsewhere: remove one"):
        rows_of([one, two])


FLOORS = [
    each
    for seed in range(6)
    for each in (
        floor("windows", seed, 0.4, changed={"steps": 9}),
        floor("pixels", seed, 0.6),
        floor("thumbnail", seed, 0.9, currency="delivered"),
    )
]


def test_a_row_is_bold_where_it_beats_the_strongest_floor_and_not_the_weakest() -> None:
    contenders = {"good": 0.8, "between": 0.5, "equal": 0.6}
    made = [record(name, seed, accuracy) for name, accuracy in contenders.items() for seed in range(6)]
    rows = rows_of([*made, *FLOORS])
    text = leaderboard.markdown(rows, "A title")
    assert line_of(text, "good")[AT[0.1]].startswith("**")
    assert line_of(text, "good", "own")[AT[0.2]].startswith("**")
    between = line_of(text, "between")[AT[0.1]]
    assert between.startswith("*")
    assert not between.startswith("**"), "it beats windows and not pixels"
    assert "*" not in line_of(text, "equal")[AT[0.1]]
    assert "*" not in line_of(text, "good")[AT[1.0]], "with everything touched all show the same"
    floors = Floors(rows, "own")
    assert {budget: best.floor.name for budget, best in floors.strongest.items()} == {0.1: "pixels", 0.2: "pixels"}
    mean = floors.strongest[0.1].accuracy
    assert f"| 10 % | pixels | {100 * mean:.1f} | pixels | {100 * mean:.1f} |" in text
    lines = leaderboard.table(rows)
    (line,) = lines[(lines["contender"] == "good") & (lines["budget"] == 0.1)].to_dict("records")
    assert (line["own_floor"], line["own_above_floor_low"] > 0) == ("pixels", True)
    assert line["own_above_floor"] == pytest.approx(line["own"] - mean)


def test_the_differences_of_a_table_are_corrected_together() -> None:
    made = [record(f"c{number}", seed, 0.63) for number in range(40) for seed in range(3)]
    against = Floors(rows_of([*made, *FLOORS]), "own").against
    assert len(against) == 80
    assert sum(each.difference.p < 0.05 for each in against.values()) > sum(each.sign != 0 for each in against.values())


@pytest.mark.parametrize("contender_seeds", [1, 6])
def test_with_one_seed_on_a_side_nothing_is_bold(contender_seeds: int) -> None:
    made = [record("good", seed, 0.95) for seed in range(contender_seeds)]
    floors = FLOORS if contender_seeds == 1 else [floor("pixels", 0, 0.6)]
    cell = line_of(leaderboard.markdown(rows_of([*made, *floors]), "A title"), "good")[AT[0.1]]
    assert "*" not in cell
    assert cell.endswith("¹")


def test_the_ceiling_is_found_whatever_its_settings() -> None:
    everything = record("everything", 0, 1.0, reference="ceiling", changed={"steps": 9}, touched=(0.1, 0.2, 1.0))
    rows = rows_of([everything, *(record("good", seed, 0.97) for seed in range(3))])
    curves = leaderboard.markdown(rows, "A title").partition("### Curves")[2]
    assert line_of(curves, "good")[2] == "10 %"


def test_what_was_touched_is_shown_where_it_is_well_below_the_cap() -> None:
    rows = rows_of([record("short", touched=(0.0715, 0.19, 1.0)), record("full_use")])
    text = leaderboard.markdown(rows, "A title")
    assert line_of(text, "short", "touched")[AT[0.1]] == "7.2"
    assert line_of(text, "short", "touched")[AT[0.2]] == ""
    assert text.count("| touched |") == 1


def test_a_cell_of_what_was_given_without_a_choice_says_so() -> None:
    given = record("starts_at_the_centre", steps=(1, 2, 3), given=1)
    text = leaderboard.markdown(rows_of([given, record("chooses", steps=(1, 2, 3))]), "A title")
    assert line_of(text, "starts_at_the_centre")[AT[0.1]].endswith("°")
    assert line_of(text, "starts_at_the_centre", "own")[AT[0.1]].endswith("°")
    assert not line_of(text, "starts_at_the_centre")[AT[0.2]].endswith("°")
    assert not line_of(text, "chooses")[AT[0.1]].endswith("°")


def test_the_note_says_what_else_a_row_learned_from_and_where() -> None:
    made = [
        record("told", 0, supervision="labels, object masks"),
        record("told", 1, supervision="labels, object masks"),
    ]
    assert rows_of(made)[0].note == "provisional, not audited, learns from labels, object masks"
    mixed = [record("fast", seed, device="cpu" if seed < 4 else "A GPU") for seed in range(6)]
    assert rows_of(mixed)[0].note == "not audited, seeds 4, 5 trained on A GPU"
    alike = [record("fast", seed, device="A GPU") for seed in range(6)]
    assert rows_of(alike)[0].note == "not audited, trained on A GPU"


def test_classes_of_unequal_size_are_counted_and_accuracy_is_balanced_beside_top_1() -> None:
    labels = np.repeat([0, 1, 2, 3], [340, 20, 20, 20])
    lazy = record("lazy", labels=labels)
    lazy.arrays["own"][:] = lazy.arrays["evaluator"][:] = 0
    text = leaderboard.markdown(rows_of([lazy, floor("pixels", 0, 0.5, labels=labels)]), "A title")
    assert line_of(text, "lazy", "own")[AT[0.2]].strip("*¹").startswith("85.0 ± ")
    assert line_of(text, "lazy", "own, balanced")[AT[0.2]] == "25.0"
    assert line_of(text, "majority class", "")[AT[0.2]] == "85.0"
    assert "| images | 340 | 20 | 20 | 20 |" in text
    plain = leaderboard.markdown(rows_of([record("lazy")]), "A title")
    assert "balanced" not in plain
    assert "majority" not in plain


def test_pointing_is_of_the_first_look_by_choice_and_not_of_those_who_look_nowhere() -> None:
    runs = {
        "chooses": record("chooses"),
        "older": record("older", schema=1, given=1),
        "everything": record("everything", reference="ceiling"),
        "thumbnail": record("thumbnail", reference="floor", currency="delivered"),
    }
    for run in runs.values():
        run.arrays["pointed"] = np.arange(IMAGES) % 2 == 0
    pointing = {row.label: row.pointing for row in rows_of(runs.values())}
    assert pointing.pop("chooses") == 0.5
    assert np.isnan(list(pointing.values())).all()


def test_rows_of_an_older_schema_are_said_to_be() -> None:
    text = leaderboard.markdown(rows_of([record("old", schema=1, source=None), record("new")]), "A title")
    assert "1 of 2 rows were made by an earlier version" in text
    assert "earlier version" not in leaderboard.markdown(rows_of([record("new")]), "A title")


def test_every_accuracy_has_an_interval_with_a_width() -> None:
    made = [record("right", seed, 1.0) for seed in range(3)] + [record("wrong", seed, 0.0) for seed in range(3)]
    rows = rows_of([*made, *FLOORS])
    for row in rows:
        for by in ("own", "judge"):
            assert all(
                value.low < value.high for value in (*row.accuracy(by), row.area(by)) if value.mean == value.mean
            )
    text = leaderboard.markdown(rows, "A title")
    assert f"100.0 ± {100 * rows[0].accuracy('own')[3].reach:.1f}" in line_of(text, "right", "own")[AT[0.1]]
    lines = leaderboard.table(rows)
    for by in ("own", "judge"):
        assert (lines[f"{by}_low"] < lines[f"{by}_high"]).all()
        assert (lines[f"{by}_area_low"] < lines[f"{by}_area_high"]).all()


def test_members_of_the_judge_are_a_level_of_the_interval(monkeypatch: pytest.MonkeyPatch) -> None:
    """Four members, of which two answer as today's judge and two call everything wrong."""
    one = [record("mine", seed, 0.8) for seed in range(6)]
    alone = rows_of(one)[0].accuracy("judge", [0.1])[0]
    answers = rows.answers

    def four(run: Record, by: str) -> Array | None:
        right = answers(run, by)
        return right if right is None or by == "own" else np.concatenate([right, right, 0 * right, 0 * right])

    monkeypatch.setattr(rows, "answers", four)
    row = rows_of(one)[0]
    scores = row.scores("judge", 0.1)
    assert scores is not None
    assert scores.shape == (6, 4, IMAGES)
    together = row.accuracy("judge", [0.1])[0]
    assert together.mean == pytest.approx(alone.mean / 2)
    assert together.reach > 5 * alone.reach
    assert row.accuracy("own", [0.1])[0].reach < 2 * alone.reach, "an own accuracy has one member"


def test_a_failed_run_counts_as_chance_everywhere_and_the_row_says_so() -> None:
    good = [record("mine", seed, 0.8) for seed in range(3)]
    failed = Record(Path("failed"), dict(good[0].about) | {"seed": 3, "status": "failed", "error": "x"})
    made = rows_of([*good, failed, *FLOORS])
    row = next(row for row in made if row.label == "mine")
    mean = np.mean([run.correct_FN("own")[0].mean() for run in good])
    assert row.means("own", [0.1])[0] == pytest.approx((3 * mean + 0.25) / 4)
    assert row.balanced("own", [0.1])[0] == pytest.approx((3 * mean + 0.25) / 4, abs=0.02)
    assert row.area("own").mean < rows_of(good)[0].area("own").mean - 0.1
    assert "failed (seed 3)" in leaderboard.markdown(made, "t")
    lines = leaderboard.table(made)
    assert set(lines[lines["contender"] == "mine"]["failed"]) == {1}
    assert set(lines[lines["contender"] == "pixels"]["failed"]) == {0}


def test_what_a_curve_comes_to_is_what_the_arrays_say() -> None:
    short = [record("short", seed, 0.8, touched=(0.1, 0.2, 0.2)) for seed in range(3)]
    whole = [record("whole", seed, 0.7) for seed in range(3)]
    made = rows_of([*short, *whole, record("everything", 0, 1.0, reference="ceiling")])
    by_name = {row.label: row for row in made}
    assert by_name["short"].covered == (0.1, 0.2)
    right_SFN = np.stack([run.correct_FN("own") for run in whole])
    at = right_SFN.mean((0, 2))
    area = (0.5 * (at[0] + at[1]) * np.log(2) + 0.5 * (at[1] + at[2]) * np.log(5)) / np.log(10)
    assert by_name["whole"].area("own").mean == pytest.approx(area)
    first = right_SFN.all(1)
    never = ~right_SFN[:, -1]
    share = first.mean()
    assert 0.3 < share < 0.5 < (right_SFN[:, 1] & right_SFN[:, 2]).mean() + 0.1 < 1 - never.mean()
    median, late = by_name["whole"].sufficient("own")
    assert (median, late) == (0.2 if (right_SFN[:, 1] & right_SFN[:, 2]).mean() >= 0.5 else 1.0, np.inf)
    text = leaderboard.markdown(made, "t").partition("### Curves")[2]
    assert line_of(text, "short", "own")[1] == "10–20 %"
    assert line_of(text, "whole", "own")[0] == f"{100 * area:.1f} ± {100 * by_name['whole'].area('own').reach:.1f}"
    assert line_of(text, "whole", "own")[-1] == "never"
    (line,) = leaderboard.table(made).query("contender == 'short' and budget == 0.2").to_dict("records")
    assert (line["area_from"], line["area_to"]) == (0.1, 0.2)


def test_touched_has_a_tail() -> None:
    run = record("mine")
    run.arrays["touched"] = run.arrays["touched"].copy()
    run.arrays["touched"][0] = np.linspace(1, 10, IMAGES)
    lines = leaderboard.table(rows_of([run]))
    (line,) = lines[lines["budget"] == 0.1].to_dict("records")
    assert line["touched"] == pytest.approx(0.055)
    assert line["touched_p95"] == pytest.approx(0.0955, abs=1e-3)
    assert line["touched_max"] == pytest.approx(0.1)


def test_calibration_is_shown_where_records_have_confidences() -> None:
    runs = [record("sure", seed, 0.6) for seed in range(3)]
    assert "| ECE |" not in leaderboard.markdown(rows_of(runs), "t")
    for run in runs:
        run.arrays["confidence"] = np.full((len(BUDGETS), IMAGES), 255, np.uint8)
    row = rows_of(runs)[0]
    assert row.calibration([0.1])[0] == pytest.approx(1 - row.means("own", [0.1])[0])
    assert "| ECE |" in leaderboard.markdown([row], "t")
    assert "own_calibration_error" in leaderboard.table([row])


def test_a_table_says_what_it_could_have_found() -> None:
    made = [record("good", seed, 0.8) for seed in range(6)] + [record("equal", seed, 0.6) for seed in range(6)]
    every = rows_of([*made, *FLOORS])
    floors = Floors(every, "own")
    sizes = [floors.against[name, 0.1].difference.detectable(len(floors.against)) for name in ("good", "equal")]
    expected = floors.detectable([row for row in every if row.track == "gated"], 0.1)
    assert expected == pytest.approx(np.median(sizes))
    assert 0.05 < expected < 0.2
    line = line_of(leaderboard.markdown(every, "t").partition("### Gated")[2], "detectable", "own")
    assert line[AT[0.1]] == f"{100 * expected:.1f}"


def test_to_be_below_the_best_of_several_floors_needs_more_than_to_be_above_it() -> None:
    many = [floor(f"f{number}", seed, 0.6) for number in range(8) for seed in range(4)]
    every = rows_of([*many, *(record("mine", seed, 0.55) for seed in range(4))])
    (one,) = [each for (_, budget), each in Floors(every, "own").against.items() if budget == 0.1]
    assert one.difference.mean < 0
    assert one.adjusted == pytest.approx(min(1.0, 2 * 8 * one.difference.p)) or one.adjusted >= 8 * one.difference.p


def test_contenders_on_several_tasks_are_summed_up_by_the_middle_of_their_runs() -> None:
    made = []
    for task, accuracy in (("easy-v1", 0.9), ("hard-v1", 0.5)):
        for run in (record("mine", seed, accuracy) for seed in range(4)):
            other = Record(Path(f"{task}-{run.seed}"), {**run.about, "task": {**run.about["task"], "id": task}})
            other.__dict__["arrays"] = run.arrays
            made.append(other)
    every = rows_of(made)
    text = leaderboard.markdown(every, "t").partition("## Over tasks")[2]
    line = next(line for line in text.splitlines() if line.startswith("| mine |"))
    cells = [cell.strip() for cell in line.split("|")[1:-1]]
    # Two of seven budgets up to a half are reached; the others are chance.
    scores = np.sort([(2 / 8) * (run.accuracy("judge")[:2].mean() - 0.25) / 0.75 for run in made])
    assert cells[:4] == ["mine", "gated", "2", "4"]
    assert cells[4].startswith(f"{100 * scores[2:6].mean():.1f} ± ")
    assert cells[5:] == ["50.0", "0.0", "0.0", "0.0"]
    assert "Over tasks" not in leaderboard.markdown(every[:1], "t")


def test_a_budget_that_not_all_seeds_reach_has_no_point_in_a_curve() -> None:
    short = (*BUDGETS[:-1], BUDGETS[-2])  # its touched fraction does not grow at the last budget
    row = next(iter(rows_of([record("mine", 0), record("mine", 1, touched=short)])))
    (curve, _) = curves.draw([row], styles_of([row]), 6.75)
    line = next(line for line in curve.figure.axes[0].lines if line.get_label() == "mine")
    assert line.get_xdata().tolist() == list(row.reached) == list(BUDGETS[:-1])
