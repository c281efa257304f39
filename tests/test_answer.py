"""ANSWER.md is a function of the records: who is ahead by how much, at equal passes and seconds; what is missing."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from conftest import Alone, judged_by
from glimpsebench.bench import answer
from glimpsebench.bench.answer import ahead, arenas, published
from glimpsebench.bench.records import Record
from glimpsebench.bench.rows import rows_of
from glimpsebench.bench.run import Spec, run
from glimpsebench.bench.stats import crossed
from glimpsebench.bench.suites import Suite
from glimpsebench.envs.tasks import Task
from test_cli import glimpse

SETTINGS = {"passes": 128, "predictor_steps": 2}
ACCURACY = {"reinforce": 0.9, "relaxed": 0.6, "random": 0.3}


def made(root: Path, estimators: Sequence[str], seeds: int = 2) -> list[Record]:
    """A short run of each estimator, as that of several seeds; of the predictions a share is made right, as above."""
    records = []
    for estimator in estimators:
        ran = run(Spec("subset", "beacon", 0, {**SETTINGS, "estimator": estimator}), root, iter)
        assert ran.done, ran.about
        for seed in range(seeds):
            record = Record(ran.folder, {**ran.about, "seed": seed})
            rng, labels_N = np.random.default_rng([seed, 7]), record.arrays["labels"]
            right_FN = rng.random(record.arrays["own"].shape) < ACCURACY[estimator]
            record.arrays["own"] = np.where(right_FN, labels_N, 1 - labels_N).astype(record.arrays["own"].dtype)
            for stage in record.curves:
                values = stage["measures"]["accuracy"]["value"]
                stage["measures"]["accuracy"]["value"] = [ACCURACY[estimator]] * len(values)
            records.append(record)
    return records


@pytest.fixture
def judged(beacon: Task, monkeypatch: pytest.MonkeyPatch) -> None:
    judged_by(monkeypatch, Alone("0" * 16, lambda view: np.zeros((len(view["canvas"]), 2))))


def test_the_answer_says_who_is_ahead_and_changes_with_the_records(judged: None, tmp_path: Path) -> None:
    records = made(tmp_path / "duel-subset", ["reinforce", "relaxed", "random"], seeds=4)
    text = answer.markdown(records)
    assert "## subset on beacon-v1 (open, 128 passes)" in text
    assert "reinforce (predictor_steps=2) is the best on validation images, of the gradients relaxed" in text
    own = next(line for line in text.splitlines() if line.startswith("- By the own predictor: "))
    assert own.startswith("- By the own predictor: reinforce (predictor_steps=2) is ahead at ")
    (arena,) = arenas.arenas_of(records)
    rows = {arenas.estimator_of(row).split(" ")[0]: row for row in arena.rows}
    found = ahead.differences(rows["reinforce"], rows["relaxed"])
    at = found["own", 0.1]
    assert f"10 % ({100 * at.mean:.1f} points, {100 * at.low:.1f} to {100 * at.high:.1f})" in own
    judge = next(line for line in text.splitlines() if line.startswith("- By the judge: "))
    assert "neither is surely ahead" in judge, "the judge of this test knows nothing"
    for record in records:
        record.arrays["own"] = 1 - record.arrays["own"]
    for row in rows.values():
        row.figures.clear()
        row._scores.clear()
    assert "- By the own predictor: relaxed" in answer.markdown(records), "other records, another answer"


def test_p_values_are_adjusted_for_all_that_is_claimed(judged: None, tmp_path: Path) -> None:
    rows = rows_of(made(tmp_path / "duel-subset", ["reinforce", "relaxed"]))
    found, twice = ahead.differences(rows[0], rows[1]), ahead.duels(arenas.arenas_among(rows) * 2)
    alone = {key: crossed(rows[0].scores(*key), rows[1].scores(*key)).p for key in found}  # type: ignore[arg-type]
    assert len(found) >= 4
    assert all(each.p >= alone[key] for key, each in found.items())
    assert any(each.p > alone[key] for key, each in found.items())
    for each in twice:  # there is more that could be claimed by chance
        assert each.keys() == found.keys()
        assert all(min(1, alone[key]) <= one.p for key, one in each.items())
        assert min(one.p for one in each.values()) > min(one.p for one in found.values())


def test_equal_seconds_are_those_of_the_fastest_and_nothing_later_counts(
    judged: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    curves = {
        "fast": [(np.array([64.0, 128.0]), np.array([1.0, 2.0]), np.array([0.4, 0.5]))],
        "slow": [(np.array([64.0, 128.0]), np.array([1.5, 9.0]), np.array([0.3, 0.9]))],
    }
    for module in (answer, arenas):
        monkeypatch.setattr(module, "validation", lambda row: curves[row])
    monkeypatch.setattr(answer, "estimator_of", str)
    monkeypatch.setattr(answer, "curves_at", lambda rows: "5 % of the image")
    rows: Any = ["fast", "slow"]
    assert arenas.common_seconds(rows) == 2.0
    assert answer.equal_seconds(rows) == (
        "At equal seconds, 2.0 s of one core for the selector, validation accuracy at 5 % of the image: "
        "fast 50.0 %, slow 30.0 %.\n"
    )
    at_end = arenas.at_passes(rows[1], 128)
    assert at_end is not None
    assert at_end.tolist() == [0.9]
    assert arenas.at_passes(rows[1], 10) is None


def test_the_first_sentences_say_who_is_ahead_and_how_sure_it_is(
    judged: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(answer, "WORTH_AT", 0.1)  # the smallest share that the toy's cells reach
    records = made(tmp_path / "duel-subset", ["reinforce", "relaxed", "random"], seeds=4)

    def head() -> str:
        return answer.markdown(records).split("\n\n")[1].replace("\n- ", " ")

    undecided = head()  # its judge knows nothing
    assert "neither is surely ahead in any" in undecided
    assert re.search(
        r"Where neither is, a true difference of [\d.]+( to [\d.]+)? points would have been found", undecided
    )
    assert "Provisional, with fewer than five seeds a row: subset." in undecided
    glance = answer.markdown(records).split("## At a glance")[1].split("\n## ")[0].strip().splitlines()[4:]
    assert [line.split("|")[2].split("(")[0].strip() for line in glance] == [
        "reinforce",
        "relaxed",
        "difference",
        "random",
    ]
    for record in records:
        assert record.judgement is not None
        right_FN = record.arrays["own"] == record.arrays["labels"]
        record.__dict__["judgement"] = record.judgement._replace(correct_MFN=right_FN[None])
    decided = head()
    assert re.search(r"\| difference \|.* \*\*\+\d+\.\d ± \d+\.\d\*\* \|", answer.markdown(records))
    assert re.search(r"reinforcement learners are surely ahead in \d+ \(subset, ", decided)
    assert re.search(r"at 10 % of the image the better of the two \(.*\) is [56]\d\.\d points above a random", decided)
    more = [Record(one.folder, {**one.about, "seed": seed}) for one in records[::4] for seed in range(4, 6)]
    for one in more:
        same = next(other for other in records if other.about["agent"] == one.about["agent"])
        one.__dict__.update({name: same.__dict__[name] for name in ("arrays", "judgement", "curves")})
    records += more
    assert "rovisional" not in head()
    assert answer.in_short([]) == ["The duel has not been run yet."]


def test_what_one_of_two_reaches_alone_is_said(judged: None, tmp_path: Path) -> None:
    records = made(tmp_path / "duel-subset", ["reinforce", "relaxed"])
    assert "alone reaches" not in answer.markdown(records)
    for record in records:
        if record.about["agent"]["settings"]["estimator"] == "relaxed":
            record.__dict__["reached_F"] = record.reached_F & (np.array(record.budgets) < 0.2)
    text = answer.markdown(records)
    assert re.search(r"\n- reinforce \(.*\) alone reaches 20 % \([\d.]+ ± [\d.]+ by the judge\): there is", text)
    assert "- relaxed (predictor_steps=2) alone" not in text


def test_rows_stand_best_first_and_words_are_explained(judged: None, tmp_path: Path) -> None:
    records = made(tmp_path / "duel-subset", ["random", "reinforce", "relaxed"])
    for record in records:
        assert record.judgement is not None
        right_FN = record.arrays["own"] == record.arrays["labels"]
        record.__dict__["judgement"] = record.judgement._replace(correct_MFN=right_FN[None])
    text = answer.markdown(records)
    by_judge = text.split("Accuracy by the judge, in per cent:")[1].split("Accuracy by")[0]
    assert [line.split(" ")[1] for line in by_judge.splitlines() if line.startswith("| r")] == [
        "reinforce",
        "relaxed",
        "random",
    ]
    for word in ("arena", "estimator", "gated", "open", "passes", "images", "own", "judge", "ahead", "detectable"):
        assert f"*{word}*" in text


def test_gating_and_the_sensor_are_compared_where_both_arenas_have_been_run(judged: None, tmp_path: Path) -> None:
    records = made(tmp_path / "duel-subset", ["reinforce", "random"])
    assert "gating" not in answer.markdown(records)
    assert "sensor is worth" not in answer.markdown(records)
    few = {**SETTINGS, "glimpses": 3}
    for estimator in ("reinforce", "random"):
        ran = run(Spec("cell_sequence", "beacon", 0, few | {"estimator": estimator}), tmp_path / "duel-cells", iter)
        assert ran.done, ran.about
        records += [Record(ran.folder, {**ran.about, "seed": seed}) for seed in range(2)]
    text = answer.markdown(records)
    section = text.split("## What gating costs")[1].split("\n## ")[0]
    assert (
        "On beacon-v1, the best of subset against the best of cell_sequence (subset: 128 passes, 2 seeds, provisional; "
        in section
    )
    assert "(open)" in section
    sensors = text.split("## What the sensor is worth")[1].split("\n## ")[0]
    assert {line.split(" | ")[0] for line in sensors.splitlines()[-2:]} == {"| subset", "| cell_sequence"}


def test_published_methods_stand_beside_the_best_of_the_arenas_of_their_track(
    judged: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    records = made(tmp_path / "duel-subset", ["reinforce", "random"], seeds=3)
    few = {"selector_steps": 2, "predictor_steps": 2}
    asked = [("straight_through", few), ("uniform", {"predictor_steps": 2})]
    for agent, settings in asked:
        ran = run(Spec(agent, "beacon", 0, settings), tmp_path, iter)
        assert ran.done, ran.about
        records += [Record(ran.folder, {**ran.about, "seed": seed}) for seed in range(3)]
    for record in records:
        assert record.judgement is not None
        share = 0.5 if record.about["agent"]["name"] == "straight_through" else 0.9
        right_MFN = np.random.default_rng(record.seed).random(record.judgement.correct_MFN.shape) < share
        record.__dict__["judgement"] = record.judgement._replace(correct_MFN=right_MFN)
    assert "## Published" not in answer.markdown(records), "no suite of the duel asks for them"
    specs = tuple(Spec(agent, "beacon", seed, settings) for agent, settings in asked for seed in range(3))
    monkeypatch.setattr(published, "suite_names", lambda: ["duel-published"])
    monkeypatch.setattr(published, "read_suite", lambda name: Suite(name, name, specs))
    (method,) = published.methods(records)
    assert method.about["name"] == "straight_through", "and no floor"
    (arena,) = arenas.arenas_of(records)
    (best,) = arenas.leaders(arena)
    section = answer.markdown(records).split("## Published methods on the same task")[1].split("\n## ")[0]
    assert "subset on beacon-v1 (open), by the judge" in section
    *_, first, second = section.strip().splitlines()
    assert first.startswith(f"| subset: {arenas.estimator_of(best)} | 4×4 cells | not audited | 3 |")
    assert second.startswith("| straight_through | single pixels | not audited | 3 |")
    found = ahead.differences(best, method)
    means = [f"(**{100 * each.mean:+.1f}**)" for (by, _), each in found.items() if by == "judge"]
    assert [cell.split()[-1] for cell in second.split("|")[5:-1]] == means
    assert published.in_short(published.beside([arena], [method])) == [
        "No published method is surely ahead of the best of subset on beacon-v1 (4×4 cells)."
    ]
    for record in method.records:
        assert record.judgement is not None
        record.__dict__["judgement"] = record.judgement._replace(correct_MFN=record.judgement.correct_MFN | True)
    for row in (best, method):
        row.figures.clear()
        row._scores.clear()
    (said,) = published.in_short(published.beside([arena], [method]))
    assert re.fullmatch(
        r"Published methods, .* are surely ahead of the best of subset on beacon-v1 \(4×4 cells\) by "
        r"[\d.]+ to [\d.]+ points at 10 to 20 % of the image \(by single pixels, straight_through\)\.",
        said,
    )
    chance = dataclasses.replace(arena, rows=tuple(arena.family(arenas.FLOOR)))
    assert [*published.beside([chance], [method])] == [], "nobody learns in that arena"


def test_what_has_no_records_is_said_with_the_command_that_makes_them(judged: None, tmp_path: Path) -> None:
    text = answer.markdown([])
    for suite in ("duel-subset", "duel-crop", "duel-cells", "duel-windows"):
        assert f"on digits-clutter-v1: `glimpse sweep {suite}`" in text
    text = answer.markdown(made(tmp_path / "duel-subset", ["relaxed"]))
    assert "Not run yet: reinforcement learning, floor." in text


def test_the_command_reads_all_suites_of_a_folder(
    judged: None, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run(Spec("subset", "beacon", 0, {**SETTINGS, "estimator": "random"}), tmp_path / "duel-subset", iter)
    code, out, _ = glimpse("answer", "--root", str(tmp_path), capsys=capsys)
    assert code == 0, out
    text = (tmp_path / "ANSWER.md").read_text()
    assert "| random (predictor_steps=2) | floor |" in text
    code, _, err = glimpse("answer", "--root", str(tmp_path / "nowhere"), capsys=capsys)
    assert code == 2
    assert "no such folder" in err
