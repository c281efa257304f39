"""Record and judgement apart: what a judge says lies beside a record, and another judge asks for no other run."""

from __future__ import annotations

import dataclasses
import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from conftest import Alone, Beacon, judged_by
from forged import JUDGE, guess, guessing, make_honest, save
from glimpsebench.agents.raster import Raster
from glimpsebench.bench import hashes, judgements, leaderboard, metrics, records, rollout
from glimpsebench.bench.plan import standings
from glimpsebench.bench.records import Record, canonical, read_all
from glimpsebench.bench.run import Spec, run
from glimpsebench.envs import tasks
from glimpsebench.envs.errors import UsageError
from glimpsebench.envs.tasks import Task
from test_cli import glimpse

Array = NDArray[Any]
FEW = {"predictor_steps": 2}
OTHER = "fedcba9876543210"


@dataclasses.dataclass(frozen=True)
class Three:
    """A judge of three members: one says class 0, one class 1, one what `by_size` says."""

    name: str = OTHER
    members: int = 3

    def __call__(self, view: Mapping[str, Array]) -> Array:
        one_BK = np.eye(2)[np.zeros(len(view["mask"]), int)]
        return np.stack([one_BK, 1 - one_BK, by_size(view)])


def by_size(view: Mapping[str, Array]) -> Array:
    """Class 1 for canvases that show much."""
    return np.eye(2)[(view["mask"].sum((1, 2, 3)) > 60).astype(int)]


@pytest.fixture
def made(beacon: Task, root: Path, monkeypatch: pytest.MonkeyPatch) -> Record:
    """A record on the toy task, judged by `by_size`."""
    monkeypatch.setitem(tasks.TASKS, "beacon", Beacon(count=62))
    judged_by(monkeypatch, Alone(JUDGE, by_size))
    return run(Spec("raster", "beacon", 0, FEW), root, iter)


def test_a_judgement_is_a_function_of_record_and_judge(made: Record) -> None:
    path = made.folder / f"judgement.{JUDGE}.npz"
    before = path.read_bytes()
    path.unlink()
    task = records.task_of(made.about)
    assert judgements.judge_record(Record.read(made.folder), task, Alone(JUDGE, by_size)) == path
    assert path.read_bytes() == before
    again = Record.read(made.folder)
    assert again.about["judge"] == JUDGE
    shown = np.where(again.arrays["touched"] > 60, 1, 0)
    expected_FN = (shown == again.arrays["labels"]) & (again.arrays["steps"] > 0)
    np.testing.assert_array_equal(again.correct_MFN("judge"), expected_FN[None])


def test_members_of_a_judge_are_told_apart_and_averaged(made: Record) -> None:
    before_MFN = made.correct_MFN("judge")
    judgements.judge_record(made, records.task_of(made.about), Three())
    (made.folder / f"judgement.{JUDGE}.npz").unlink()
    record = Record.read(made.folder)
    correct_MFN, labels_N, some_FN = (
        record.correct_MFN("judge"),
        record.arrays["labels"],
        record.arrays["steps"] > 0,
    )
    for member, said in enumerate((0, 1)):
        np.testing.assert_array_equal(correct_MFN[member], (labels_N == said) & some_FN)
    np.testing.assert_array_equal(correct_MFN[2], before_MFN[0])
    np.testing.assert_allclose(record.correct_FN("judge"), correct_MFN.mean(0))
    reached_F = record.reached_F
    np.testing.assert_allclose(record.accuracy("judge")[reached_F], correct_MFN.mean((0, 2))[reached_F])
    balanced = metrics.balanced_accuracy(correct_MFN[:, -1], labels_N).mean()
    assert balanced == pytest.approx(np.mean([correct_MFN[:, -1, labels_N == label].mean() for label in (0, 1)]))
    assert record.correct_MFN("own").shape == (1, *correct_MFN.shape[1:])
    assert record.correct_FN("own").dtype == bool


def test_the_key_of_a_record_does_not_depend_on_the_judge(made: Record, root: Path, monkeypatch: Any) -> None:
    spec = Spec("raster", "beacon", 0, FEW)
    monkeypatch.setattr("glimpsebench.bench.judges.name_of", lambda _: OTHER)
    assert spec.folder(root) == made.folder
    assert standings([spec], root)[0].done


def test_a_table_takes_todays_judge_or_says_that_it_cannot(made: Record, monkeypatch: pytest.MonkeyPatch) -> None:
    judgements.judge_record(made, records.task_of(made.about), Three())
    assert Record.read(made.folder).about["judge"] == JUDGE
    monkeypatch.setattr("glimpsebench.bench.judges.name_of", lambda _: OTHER)
    assert Record.read(made.folder).about["judge"] == OTHER
    monkeypatch.setattr("glimpsebench.bench.judges.name_of", lambda _: "0" * 16)
    with pytest.raises(UsageError, match=f"judged by {JUDGE}, {OTHER}, none of them today's judge"):
        Record.read(made.folder)


def test_records_of_two_judges_are_not_mixed_in_a_row(made: Record, root: Path) -> None:
    other = run(Spec("raster", "beacon", 1, FEW), root, iter)
    assert len(leaderboard.rows_of(read_all(root))) == 1
    judgements.judge_record(other, records.task_of(other.about), Three())
    (other.folder / f"judgement.{JUDGE}.npz").unlink()
    rows = leaderboard.rows_of(read_all(root))
    assert {row.task for row in rows} == {f"beacon-v1 (judge={name})" for name in (JUDGE, OTHER)}


def test_a_run_that_failed_stands_with_those_that_were_judged(made: Record, root: Path, monkeypatch: Any) -> None:
    def broken(*_: Any) -> None:
        raise ValueError("boom")

    monkeypatch.setattr(Raster, "fit", broken)
    failed = run(Spec("raster", "beacon", 1, FEW), root, iter)
    assert failed.about["status"] == "failed"
    (row,) = leaderboard.rows_of(read_all(root))
    assert [one.done for one in row.records] == [True, False]
    assert row.task == "beacon-v1"


def test_what_was_not_judged_has_no_accuracy_by_a_judge(made: Record) -> None:
    (made.folder / f"judgement.{JUDGE}.npz").unlink()
    record = Record.read(made.folder)
    assert record.judgement is None
    assert np.isnan(record.accuracy("judge")).all()
    assert not record.answered_F("judge").any()
    assert record.accuracy("own")[-1] == made.accuracy("own")[-1]


def test_a_record_says_how_sure_its_predictor_was_and_tables_how_rightly(made: Record, root: Path) -> None:
    sure_FN = made.arrays["confidence"]
    task, agent = records.rebuilt(made)
    agent.load(made.folder / "weights.safetensors", task)
    test, logits = tasks.test_split(task), list[Array]()

    def predict(view: dict[str, Array]) -> Array | None:
        found = agent.predict(view)
        assert found is not None
        logits.append(found)
        return found

    rollout.replay(agent, test, judgements.episodes_of(made, agent), predict, agent.view)
    odds_BK = np.exp(logits[0].astype(float))  # after the first glimpse
    expected_B = np.rint(255 * odds_BK.max(1) / odds_BK.sum(1))
    first = made.arrays["steps"] == 1
    assert first.any()
    np.testing.assert_array_equal(sure_FN[first], np.tile(expected_B[: len(test)], (len(sure_FN), 1))[first])
    assert ((sure_FN > 0) == (made.arrays["steps"] > 0)).all()
    (row,) = leaderboard.rows_of([made])
    right_FN = made.correct_FN("own")
    expected = metrics.calibration_error(sure_FN[-1] / 255, right_FN[-1])
    assert row.calibration([made.budgets[-1]]) == [pytest.approx(expected)]
    assert leaderboard.table([row])["own_calibration_error"].iloc[-1] == pytest.approx(expected)


def test_records_of_an_earlier_version_have_no_confidence_and_are_read(made: Record) -> None:
    path = made.folder / "images.npz"
    with np.load(path) as found:
        save(path, {name: found[name] for name in found.files if name != "confidence"})
    hashes.write(made.folder)
    record = Record.read(made.folder)
    assert "confidence" not in record.arrays
    assert leaderboard.rows_of([record])[0].calibration() == []


def as_schema_2(record: Record, evaluator: Array) -> None:
    """Write a record as the version before wrote it."""
    about = json.loads((record.folder / "record.json").read_text()) | {"schema": 2, "evaluator": OTHER}
    question = records.asked(about) | {"schema": 2, "evaluator": OTHER}
    about["key"] = records.digest(question)
    arrays = record.arrays
    wide = {"touched", "delivered", "seen"}
    kept = {name: arrays[name].astype(np.int32 if name in wide else np.int16) for name in [*wide, "steps", "own"]}
    kept |= {name: arrays[name] for name in ("labels", "points", "iou", "on_object", "pointed")}
    kept["evaluator"] = evaluator.astype(np.int16)
    for path in record.folder.glob("judgement.*"):
        path.unlink()
    save(record.folder / "images.npz", kept)
    (record.folder / "record.json").write_text(canonical(about))
    hashes.write(record.folder)
    record.folder.rename(record.folder.with_name(about["key"]))


def test_a_record_of_the_schema_before_answers_the_same_question(made: Record, root: Path) -> None:
    evaluator = np.where(made.arrays["steps"] > 0, 1, -1)
    as_schema_2(made, evaluator)
    (old,) = read_all(root)
    assert old.about["judge"] == OTHER
    np.testing.assert_array_equal(old.correct_MFN("judge"), (evaluator == made.arrays["labels"])[None])
    assert "confidence" not in old.arrays
    for name in made.arrays.keys() - {"confidence"}:
        np.testing.assert_array_equal(old.arrays[name], made.arrays[name])
        assert old.arrays[name].dtype == made.arrays[name].dtype
    assert standings([Spec("raster", "beacon", 0, FEW)], root)[0].record is not None
    judgements.judge_record(old, records.task_of(old.about), Alone(JUDGE, by_size))
    assert read_all(root)[0].about["judge"] == JUDGE


def test_arrays_are_as_small_as_their_values(made: Record) -> None:
    with np.load(made.folder / "images.npz") as stored:
        types = {name: stored[name].dtype for name in stored.files}
    assert {*map(str, types.values())} <= {"uint8", "int8", "uint16", "bool"}
    assert "iou" not in types
    assert "seen" not in types
    inside_FN = np.rint(np.nan_to_num(made.arrays["on_object"]) * made.arrays["touched"])
    objects_N = np.asarray(tasks.test_split(Beacon(count=62)).objects_NHW).sum((1, 2))
    expected = inside_FN / np.maximum(made.arrays["touched"] + objects_N - inside_FN, 1)
    np.testing.assert_allclose(np.nan_to_num(made.arrays["iou"]), expected, atol=1e-6)


@pytest.fixture
def no_judge_is_trained(monkeypatch: pytest.MonkeyPatch) -> None:
    guessing(monkeypatch)


def test_rejudge_says_which_records_lack_what_it_needs(
    root: Path, no_judge_is_trained: None, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    whole, part = make_honest(root, 0), make_honest(root, 1)
    (part.folder / "selections.npz").unlink()
    for record in (whole, part):
        (record.folder / f"judgement.{JUDGE}.npz").rename(record.folder / f"judgement.{OTHER}.npz")

    class Here:
        """A pool in this process, where judges are patched."""

        def __init__(self, workers: int, context: Any, start: Any, words: Any) -> None:
            start(*words)

        def __enter__(self) -> Any:
            return self

        def __exit__(self, *_: Any) -> None: ...

        map = staticmethod(map)

    monkeypatch.setattr(judgements, "ProcessPoolExecutor", Here)
    code, out, err = glimpse("rejudge", "--root", str(root), capsys=capsys)
    assert code == 1
    assert "1 judged of 2" in out
    assert f"{part.folder.name}" in "".join(out.split())
    assert "1 of 2 records were not judged" in err
    assert Record.read(whole.folder).about["judge"] == JUDGE
    shutil.rmtree(part.folder)
    code, out, _ = glimpse("rejudge", "--root", str(root), capsys=capsys)
    assert (code, "0 judged of 0" in out) == (0, True)


def test_a_sweep_has_todays_judge_judge_what_another_has_judged(
    root: Path, tmp_path: Path, no_judge_is_trained: None, monkeypatch: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    record, beside = make_honest(root), make_honest(root, agent="center")
    base = "[base]\ntask = 'digits-clutter'\nagent = 'raster'\n'agent.predictor_steps' = 2\n"
    (tmp_path / "scan.toml").write_text(f"floors = false\n{base}")
    judged: list[Path] = []

    def noted(records: Any, *_: Any) -> list[str]:
        judged.extend(one.folder for one in records)
        return []

    monkeypatch.setattr(judgements, "rejudge", noted)
    monkeypatch.setattr("glimpsebench.bench.sweep.sweep", lambda *_, **__: [])
    monkeypatch.setattr("glimpsebench.bench.cli.running._report", lambda *_: None)
    words = ["sweep", str(tmp_path / "scan.toml"), "--root", str(root)]
    assert glimpse(*words, capsys=capsys)[0] == 0
    assert judged == []
    for one in (record, beside):
        (one.folder / f"judgement.{JUDGE}.npz").rename(one.folder / f"judgement.{OTHER}.npz")
    assert glimpse(*words, capsys=capsys)[0] == 0
    assert judged == [record.folder], "of the suite alone"


def test_a_guess_is_a_judge() -> None:
    view = {"canvas": np.zeros((3, 1, 4, 4))}
    assert Alone(JUDGE, guess)(view).shape == (1, 3, 10)
