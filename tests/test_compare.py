"""Claims of the kind "A beats B": the numbers of `compare` and `by-glimpse`, against the arrays themselves."""

from __future__ import annotations

import doctest
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from numpy.typing import NDArray

from conftest import Beacon
from glimpsebench.agents.common.nets import CanvasNet
from glimpsebench.agents.raster import Raster
from glimpsebench.bench import by_glimpse, compare, hashes, judges, records, stats
from glimpsebench.bench.records import Record, rebuilt
from glimpsebench.bench.rollout import footprints_of, replay_steps, rollout
from glimpsebench.bench.rows import Row, rows_of
from glimpsebench.bench.run import Spec, run
from glimpsebench.bench.stats import crossed, interval
from glimpsebench.envs import tasks
from glimpsebench.envs.errors import UsageError
from test_cli import glimpse

Array = NDArray[Any]

UNIFORM, RASTER = "uniform", "raster"


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Records of the toy task: three seeds of uniform windows, two of a raster scan, one of everything."""
    root = tmp_path_factory.mktemp("made")
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(tasks.TASKS, "beacon", Beacon(count=62))  # 248 test images: one batch
        for seed in (0, 1, 2):
            run(Spec("uniform", "beacon", seed, {"predictor_steps": 2, "glimpses": 4}), root, iter)
        for seed in (0, 1):
            run(Spec("raster", "beacon", seed, {"predictor_steps": 2, "size": 5}), root, iter)
        run(Spec("full", "beacon", 0, {"predictor_steps": 2}), root, iter)
        yield root


def row_of(root: Path, label: str) -> Row:
    return next(row for row in rows_of(records.read_all(root)) if row.label == label)


def scored(record: Record, measure: str, budget: float) -> Array:
    """Per member and image, (M, N), straight from the record."""
    at = record.budgets.index(budget)
    if measure == "on_object":
        return np.asarray(record.arrays[measure][at])[None]
    return np.asarray(record.correct_MFN(measure)[:, at], float)


@pytest.mark.parametrize("measure", ["own", "judge", "on_object"])
def test_a_claim_is_what_the_arrays_say(measure: str, made: Path) -> None:
    rows = row_of(made, UNIFORM), row_of(made, RASTER)
    claims = {claim.at: claim for claim in compare.claims(*rows, measure)}
    # Four 6×6 windows on 16×16 reach at most 56 %; at 20 % they have not used what 15 % left over.
    assert list(claims) == ["30 %", "50 %"] + (["area"] if rows[0].covered == rows[1].covered else [])
    for at, budget in (("30 %", 0.3), ("50 %", 0.5)):
        mine, theirs = (np.stack([scored(record, measure, budget) for record in row.records]) for row in rows)
        assert (len(mine), len(theirs)) == (3, 2)
        assert claims[at].mine == pytest.approx(mine.mean())
        assert claims[at].theirs == pytest.approx(theirs.mean())
        assert claims[at].difference.mean == pytest.approx((mine.mean(0) - theirs.mean(0)).mean())
        assert claims[at].difference == crossed(mine, theirs)
        assert claims[at].seeds == 2


def test_areas_are_compared_where_both_reach_the_same_budgets(made: Path) -> None:
    uniform, raster = row_of(made, UNIFORM), row_of(made, RASTER)
    assert compare.AREA not in {claim.at for claim in compare.claims(uniform, raster, "own")}, "other budgets"
    assert uniform.covered != raster.covered
    other = replace(uniform, label="other", records=uniform.records[:2])
    claims = {claim.at: claim for claim in compare.claims(uniform, other, "own")}
    assert list(claims)[-1] == compare.AREA
    assert claims[compare.AREA].mine == pytest.approx(uniform.area("own").mean)
    table = compare.markdown([uniform, other], "all", "other", "own")
    head = next(line for line in table.splitlines() if line.startswith("| contender"))
    assert "| area |" in head


def test_a_comparison_says_what_it_could_have_found(made: Path) -> None:
    rows = rows_of(records.read_all(made))
    claims = compare.claims(row_of(made, UNIFORM), row_of(made, RASTER), "own")
    lines = compare.markdown(rows, UNIFORM, RASTER, "own").splitlines()
    assert next(line for line in lines if line.startswith("| at most")).endswith("| difference | detectable |")
    for claim in claims:
        size = claim.difference.detectable(len(claims))
        assert next(line for line in lines if line.startswith(f"| {claim.at} |")).endswith(f"| {100 * size:.1f} |")
    assert "| detectable |" in compare.markdown(rows, "all", RASTER, "own")


def test_the_first_look_has_no_budget(made: Path) -> None:
    uniform, raster = row_of(made, UNIFORM), row_of(made, RASTER)
    (claim,) = compare.claims(uniform, raster, "pointed")
    hits = [np.mean([record.arrays["pointed"].mean() for record in row.records]) for row in (uniform, raster)]
    assert [claim.mine, claim.theirs] == pytest.approx(hits)
    assert claim.difference.mean == pytest.approx(hits[0] - hits[1])


def test_a_seed_that_fails_counts_as_chance(made: Path) -> None:
    full = row_of(made, "full").records[0]
    about = dict(full.about) | {"seed": 1, "status": "failed", "error": "x"}
    row = Row("full", full.task, (full, Record(made, about)))
    values = compare.scores(row, "own", 1.0)
    assert values is not None
    assert values.mean() == pytest.approx((scored(full, "own", 1.0).mean() + 0.5) / 2)
    assert values.mean() == pytest.approx(row.accuracy("own")[-1].mean), "as on the leaderboard"


def test_the_tables(made: Path) -> None:
    rows = rows_of(records.read_all(made))
    pair = compare.markdown(rows, "uniform(predictor_steps=2,glimpses=4)", RASTER, "judge", "beacon")
    claim = compare.claims(row_of(made, UNIFORM), row_of(made, RASTER), "judge")[0]
    assert f"| 30 % | {100 * claim.mine:.1f} | {100 * claim.theirs:.1f} | " in pair
    assert f"{100 * claim.difference.mean:+.1f} ± " in pair
    everyone = compare.markdown(rows, "all", RASTER, "judge")
    assert f"| {UNIFORM} | reference | {compare.cell(claim.difference, 1, 2).rstrip(' ★')}" in everyone
    assert f"\n| {RASTER}" not in everyone
    assert "¹" in next(line for line in everyone.splitlines() if line.startswith("| full")), "one seed, marked"


def test_marks() -> None:
    assert compare.cell(stats.Difference(-0.1, -0.15, -0.05, 0.03), 0.06, 3) == "**-10.0 ± 5.0**"
    assert compare.cell(stats.Difference(0.02, -0.01, 0.05, 0.2), 0.2, 1) == "+2.0 ± 3.0¹"
    assert compare.cell(stats.Difference(0.1, 0.05, 0.15, 0.001), 0.002, 2) == "**+10.0 ± 5.0** ★"
    assert compare.cell(stats.Difference(0.1, 0.05, 0.15, 0.001), 0.002, 1) == "**+10.0 ± 5.0**¹", "one seed, no claim"


def test_the_examples_in_the_docstrings_hold() -> None:
    assert doctest.testmod(compare).failed == doctest.testmod(stats).failed == 0


def test_what_is_predicted_after_each_glimpse(made: Path) -> None:
    row = row_of(made, UNIFORM)
    result = by_glimpse.replayed(row, iter)
    task, agent = rebuilt(row.records[0])
    images = tasks.test_split(task).images_NCHW
    judge = judges.judge(task, iter)
    predictors: dict[str, Any] = {"judge": judge, "own": lambda view: np.asarray(agent.predict(view))[None]}
    assert result.correct["judge"].shape == (3, judge.members, 248, 4)
    assert result.correct["own"].shape == (3, 1, 248, 4)
    touched = np.zeros((3, 4))
    for number, record in enumerate(row.records):
        looks = footprints_of(record.selected(agent)[0], record.arrays["steps"][-1], 1.0, agent.sensor(), task.shape)
        agent.load(record.folder / "weights.safetensors", task)
        for t in range(4):
            mask = np.asarray(looks[:, : t + 1].any(1))[:, None]
            touched[number, t] = mask.mean()
            padded = np.zeros((2, 250, 1, 16, 16), np.float32)  # the batch that the bench uses, with its last bits
            padded[:, :248] = np.where(mask, images / np.float32(255), 0), mask
            view = {"canvas": padded[0], "mask": padded[1]}
            for by, predict in predictors.items():
                expected_MN = predict(view)[:, :248].argmax(2) == record.arrays["labels"]
                assert (result.correct[by][number, ..., t] == expected_MN).mean() > 0.98
    assert result.touched_T == pytest.approx(touched.mean(0))
    for by in ("judge", "own"):
        last_SMN = np.stack([record.correct_MFN(by)[:, -1] for record in row.records])
        np.testing.assert_array_equal(result.correct[by][..., -1], last_SMN)
        assert result.accuracy(by)[-1] == pytest.approx(interval(last_SMN))


def test_episodes_that_end_early_keep_their_last_prediction(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Raster, "budgets", (0.1, 0.3))
    task = Beacon(count=5)
    agent = Raster(size=5, predictor_steps=2)
    agent.prepare(task)
    images = tasks.test_split(task)
    episodes = rollout(agent, images, seed=0)
    assert set(episodes.steps_FN[-1]) == {3}, "three windows of 25 of 256 pixels within 30 %"
    calls: list[int] = []

    def counting(view: Any) -> Array:
        """Predicts how many times it was asked."""
        calls.append(1)
        return np.eye(50)[np.full(len(view["canvas"]), len(calls))]

    predicted, touched = replay_steps(agent, images, episodes.selection[0], episodes.steps_FN[-1], "canvas", counting)
    assert predicted[0].tolist() == [1, 2, *[3] * 14]
    assert touched[0].tolist() == [25, 50, *[75] * 14]
    nothing, _ = replay_steps(agent, images, episodes.selection[0], np.zeros(20, int), "canvas", counting)
    assert (nothing == -1).all()


def test_the_files_of_by_glimpse(made: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = glimpse("by-glimpse", "--root", str(made), "--against", UNIFORM, "--markdown", capsys=capsys)
    assert code == 0
    assert {"by_glimpse.csv", "by_glimpse.md", "by_glimpse.png"} <= {path.name for path in made.iterdir()}
    table = pd.read_csv(made / "by_glimpse.csv").to_dict("records")
    lines = {(line["contender"], line["glimpse"]): line for line in table}
    both = [(RASTER, t) for t in range(1, 17)] + [(UNIFORM, t) for t in range(1, 5)]
    assert sorted(lines) == sorted(both), "`full` has one glimpse"
    results = {row: by_glimpse.replayed(row_of(made, row), iter) for row in (UNIFORM, RASTER)}
    for t in (0, 3):
        line = lines[RASTER, t + 1]
        mine, theirs = (results[name].correct["judge"][..., t] for name in (RASTER, UNIFORM))
        assert line["judge"] == pytest.approx(mine.mean(), abs=1e-6)
        found = [line[f"judge_difference{end}"] for end in ("", "_low", "_high")]
        assert found == pytest.approx(crossed(mine, theirs)[:3], abs=1e-6)
    assert np.isnan(lines[RASTER, 5]["judge_difference"]), "uniform took four"
    assert np.isnan(lines[UNIFORM, 1]["judge_difference"]), "not against itself"
    own = results[RASTER].correct["own"][..., 3].mean()
    assert f"{100 * own:.1f} ± " in next(line for line in out.partition("### own")[2].splitlines() if "| 4 |" in line)


@pytest.mark.parametrize("how", ["missing", "others", "no selections"])
def test_weights_or_selections_that_are_missing_or_not_the_records(
    how: str, made: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(made, tmp_path / "copy", ignore=shutil.ignore_patterns("by_glimpse*"))
    record = row_of(tmp_path / "copy", RASTER).records[0]
    path = record.folder / "weights.safetensors"
    if how == "missing":
        path.unlink()
    elif how == "no selections":
        (record.folder / "selections.npz").unlink()
    else:
        task, agent = rebuilt(record)
        agent.load(path, task)
        assert agent.net is not None
        assert isinstance(agent.net, CanvasNet)
        with torch.no_grad():  # the other class
            for parameter in agent.net.head.parameters():
                parameter.copy_(parameter.flip(0))
        agent.save(path)
        hashes.write(record.folder)
    code, _, err = glimpse("by-glimpse", "--root", str(tmp_path / "copy"), "--agent", RASTER, capsys=capsys)
    assert code == 2
    says = {
        "missing": ("weights.safetensors: not here", "run the sweep again"),
        "others": ("does not end as recorded", "run the sweep again"),
        "no selections": ("selections.npz: left out of this copy", "run the suite again"),
    }
    assert all(part in err for part in says[how])
    assert not list((tmp_path / "copy").glob("by_glimpse*")), "nothing is half-written"


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["compare", "unifrom", RASTER], "unknown contender 'unifrom'"),
        (
            ["compare", "raster (predictor_steps=2, size=6)", UNIFORM],
            "did you mean 'raster (predictor_steps=2, size=5)'?",
        ),
        (["compare", RASTER, UNIFORM, "--measure", "judg"], "did you mean 'judge'?"),
        (["compare", RASTER, UNIFORM, "--task", "baecon"], "did you mean 'beacon-v1'?"),
        (["compare", "full (predictor_steps=2)", UNIFORM], "no task and budget at which both have that"),
        (["by-glimpse", "--agent", "full (predictor_steps=2)"], "no run of several glimpses"),
        (["by-glimpse", "--against", "rma"], "unknown contender 'rma'"),
    ],
)
def test_a_mistake_is_one_line(words: list[str], says: str, made: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, _, err = glimpse(*words, "--root", str(made), capsys=capsys)
    assert code == 2
    assert says in err
    assert err.count("\n") == 1


def test_an_agents_name_will_do_where_no_other_settings_are_there(made: Path) -> None:
    rows = rows_of(records.read_all(made))
    one, other = (replace(row_of(made, RASTER), label=f"scan {n}", name=f"raster (size={n})") for n in (5, 6))
    assert compare.named([*rows, one], "raster") == [row_of(made, RASTER)], "a label first"
    assert compare.named([one], "raster") == [one]
    with pytest.raises(UsageError, match=r"several contenders are 'raster'.*scan 5, scan 6"):
        compare.named([one, other], "raster")


def test_the_order_of_settings_in_a_label_does_not_matter(made: Path) -> None:
    rows = rows_of(records.read_all(made))
    assert [row.label for row in compare.named(rows, "raster (size=5,predictor_steps=2)")] == [RASTER]


def test_comparisons_without_their_rows_are_left_out_with_a_line(made: Path, tmp_path: Path) -> None:
    rows = rows_of(records.read_all(made))
    wanted = [compare.Comparison("there", RASTER), compare.Comparison("gone", "ram")]
    written, left_out = compare.write(wanted, rows, tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == [path.name for path in written] == ["there-judge.md"]
    assert [line.partition(":")[0] for line in left_out] == ["gone-judge.md left out"]


def test_rows_on_different_test_images_are_not_compared(made: Path) -> None:
    row = row_of(made, RASTER)
    about = dict(row.records[0].about)
    other = Row("x", row.task, (Record(made, about | {"task": about["task"] | {"test_sha256": "0"}}),))
    with pytest.raises(UsageError, match="different test images"):
        compare.claims(row, other, "own")


def test_the_comparison_is_written_where_it_is_told(
    made: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["compare", "all", UNIFORM, "--root", str(made), "--markdown"]
    words += ["--into", str(tmp_path / "new" / "claims.md")]
    code, out, _ = glimpse(*words, capsys=capsys)
    assert code == 0
    assert (tmp_path / "new" / "claims.md").read_text() == out


def test_findings_are_compared_over_seeds(tmp_path: Path) -> None:
    """Two contenders' findings, one value a seed: the difference is that of the means, with Welch's interval."""

    def row(name: str, values: list[float], more: dict[str, Any]) -> Row:
        about = {"agent": {"currency": "touched", "reference": None, "track": "open"}, "status": "done"}
        about |= {"task": {"test_sha256": "x", "test_images": 9, "classes": 2}}
        runs = [
            Record(tmp_path, {**about, "seed": seed, "findings": {"area": value, "curve": [0.0], **more}})
            for seed, value in enumerate(values)
        ]
        return Row(name, "toy", tuple(runs))

    mine, theirs = row("mine", [0.2, 0.3, 0.4], {"only_mine": 1.0}), row("theirs", [0.1, 0.1, 0.1], {})
    (claim,) = compare.claims(mine, theirs, "findings")
    assert (claim.at, claim.seeds) == ("area", 3)
    assert (claim.mine, claim.theirs) == pytest.approx((0.3, 0.1))
    assert claim.difference.mean == pytest.approx(0.2)
    assert claim.difference.high - claim.difference.low == pytest.approx(2 * 4.302653 * 0.1 / 3**0.5, rel=1e-5)
    assert compare.claims(row("mine", [0.2], {}), theirs, "findings") == []  # one seed has no interval
