"""Verification: honest records pass, forged and damaged ones are one line each, and never become a number."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from forged import ALONE, JUDGED, WITH_TASK, Forgery, arrays, edit, guessing, make_honest, said
from glimpsebench.bench import cli, hashes, judges, leaderboard, reports, rollout, rows, terminal, verify
from glimpsebench.bench.judges.fresh import Lead
from glimpsebench.bench.records import Record, read_all
from glimpsebench.bench.suites import expand
from glimpsebench.envs.errors import UsageError
from test_cli import glimpse

ROOT = Path(__file__).parents[1]
MOST_MB = 300


@pytest.fixture(scope="module")
def honest(tmp_path_factory: pytest.TempPathFactory) -> Record:
    return make_honest(tmp_path_factory.mktemp("honest"))


@pytest.fixture
def copy(honest: Record, tmp_path: Path) -> Path:
    """The folder of a record of one's own to spoil, in the results folder `tmp_path/copy`."""
    shutil.copytree(honest.folder.parents[3], tmp_path / "copy")
    return tmp_path / "copy" / honest.folder.relative_to(honest.folder.parents[3])


@pytest.fixture(scope="module")
def two_seeds(honest: Record) -> Path:
    """A results folder of two seeds of a row."""
    root = honest.folder.parents[3].with_name("two-seeds")
    shutil.copytree(honest.folder.parents[3], root)
    make_honest(root, 1)
    return root


@pytest.fixture
def row(two_seeds: Path, tmp_path: Path) -> list[Record]:
    """Its records, to be spoiled."""
    shutil.copytree(two_seeds, tmp_path / "copy")
    return sorted(read_all(tmp_path / "copy"), key=lambda record: record.seed)


@pytest.fixture(autouse=True)
def no_judge_is_trained(monkeypatch: pytest.MonkeyPatch) -> None:
    guessing(monkeypatch)


def test_an_honest_record_passes_at_every_level(copy: Path) -> None:
    (one,) = verify.verify([copy])
    assert (one.refused, one.doubts, one.level) == ("", [], "recounted")
    (one,) = verify.verify([copy.parents[3]], judge=True)
    assert (one.refused, one.doubts, one.level) == ("", [], "judged again")
    (copy / "selections.npz").unlink()
    (one,) = verify.verify([copy.parents[3].parent])
    assert (one.refused, one.level) == ("", "claimed")


def test_how_far_a_record_was_followed_stands_on_its_row_until_the_record_changes(copy: Path) -> None:
    def note() -> str:
        return rows.rows_of([Record.read(copy)])[0].note

    claimed = note()
    verify.keep(verify.verify([copy], judge=True))
    assert note() == f"{claimed}, judged again"
    assert not verify.verify([copy])[0].refused, "the note is no file of the record's"
    verify.keep(verify.verify([copy]))
    assert note() == f"{claimed}, recounted"
    (copy / "verified.json").write_text((copy / "verified.json").read_text().replace("recounted", "run again"))
    listed = copy / hashes.NAME
    listed.write_text(listed.read_text().replace("record.json", "record.jsom"))
    assert note() == claimed, "it speaks of another content"
    verify.keep(verify.verify([copy]))
    (copy / "verified.json").write_text('{"schema": 1, "level": "true", "record": ""}')
    with pytest.raises(UsageError, match=r"verified\.json: level"):
        note()


def test_a_judge_that_leads_a_fresh_one_by_much_is_doubted(copy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[int] = []

    def fresh_judge(task: Any, steps: int, progress: Any) -> Any:
        asked.append(steps)
        return judges.judge(task, progress)  # the same: it leads by nothing

    monkeypatch.setattr(verify, "fresh_judge", fresh_judge)
    (one,) = verify.verify([copy], fresh_steps=2)
    assert asked == [2]
    assert one.lead is not None
    assert (one.lead.own, one.lead.elsewhere, one.doubts) == (0, 0, [])
    assert "points above a fresh one" in "\n".join(reports.text([one]))
    assert reports.as_json([one])["records"][0]["lead"]["own"] == 0
    monkeypatch.setattr(verify, "lead", lambda *_: Lead(0.02, 0.5, 0.1, 0.02))
    (one,) = verify.verify([copy], fresh_steps=2)
    assert "picked for the judge: at 2 % the judge is 50.0 points above" in one.doubts[0]
    monkeypatch.setattr(verify, "lead", lambda *_: Lead(0.02, 0.5, 0.45, 0.02))
    assert verify.verify([copy], fresh_steps=2)[0].doubts == []
    assert verify.verify([copy])[0].lead is None


CORPUS = ALONE | WITH_TASK


def test_the_corpus_is_large_enough() -> None:
    assert len(CORPUS | JUDGED) >= 50
    assert len({says for says, _ in CORPUS.values()}) >= 20


@pytest.mark.parametrize("name", CORPUS)
def test_a_forged_or_damaged_record_is_refused_in_one_line(name: str, copy: Path) -> None:
    says, forge = CORPUS[name]
    root = copy.parents[3]
    forge(copy)
    (one,) = verify.verify([root])
    assert re.search(says, one.refused), one.refused
    assert one.refused.startswith(str(root))
    assert "\n" not in one.refused
    assert verify.code([one]) == 2
    if name in ALONE and "seconds" not in name and "curves" not in name:
        with pytest.raises(UsageError, match=re.escape(one.refused[:80])):
            leaderboard.write(read_all(root), root, "A title")
        assert not (root / "leaderboard.md").exists()


@pytest.mark.parametrize("name", JUDGED)
def test_what_judge_and_weights_do_not_say_is_refused(name: str, copy: Path) -> None:
    says, forge = JUDGED[name]
    forge(copy)
    (one,) = verify.verify([copy.parents[3]])
    assert not one.refused, "nobody was asked"
    (one,) = verify.verify([copy.parents[3]], judge=True)
    assert re.search(says, one.refused), one.refused


EVIL = "import pathlib\npathlib.Path({mark!r}).touch()\n"
PROGRAM = """
import sys
from glimpsebench.bench import cli
sys.argv = ["glimpse", "verify", sys.argv[1], "--json"]
try:
    cli.main()
except SystemExit as stop:
    print(stop.code, next(line.split()[1] for line in open("/proc/self/status") if "VmHWM" in line), file=sys.stderr)
"""


def by_the_command_line(folder: Path) -> tuple[list[dict[str, Any]], int, float]:
    """What `glimpse verify` says in a process of its own: the report, its exit code, and the most memory in MB."""
    words = [sys.executable, "-c", PROGRAM, folder.name]
    usual = {name: value for name, value in os.environ.items() if not name.startswith("MALLOC_")}  # a sweep sets some
    done = subprocess.run(words, cwd=folder.parent, capture_output=True, text=True, env=usual)
    assert "Traceback" not in done.stderr, done.stderr
    code, kilobytes = map(int, done.stderr.split()[-2:])
    return json.loads(done.stdout)["records"], code, kilobytes / 1024


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="reads its memory from /proc")
def test_a_corpus_is_refused_without_traceback_import_or_much_memory(honest: Record, tmp_path: Path) -> None:
    """All of it at once."""
    home = honest.folder.parents[3]
    for kind, forgeries in (("alone", ALONE), ("with-task", WITH_TASK), ("evil", {"": ("", evil)})):
        for number, (_, forge) in enumerate(forgeries.values()):
            root = tmp_path / kind / f"{number:03}"
            shutil.copytree(home, root)
            forge(root / honest.folder.relative_to(home))
    (tmp_path / "evil_agent.py").write_text(EVIL.format(mark=str(tmp_path / "imported")))

    (one,), code, usual = by_the_command_line(tmp_path / "evil")
    assert (one["level"], code) == ("claimed", 0)
    assert "--import" in one["notes"][0]
    assert not (tmp_path / "imported").exists()
    most = MOST_MB if torch.version.cuda is None else usual + 40  # to import a CUDA build takes more than that
    for kind, forgeries in (("alone", ALONE), ("with-task", WITH_TASK)):
        report, code, megabytes = by_the_command_line(tmp_path / kind)
        assert code == 2
        assert [bool(one["refused"]) for one in report] == [True] * len(forgeries)
        assert megabytes <= most


def evil(folder: Path) -> None:
    edit(folder, lambda about: about["agent"].update(name="evil_agent"))


def test_the_committed_records_raise_no_alarm() -> None:
    checked = verify.verify([ROOT / "results"])
    assert [one.refused for one in checked if one.refused] == []
    assert [(one.folder, one.doubts) for one in checked if one.doubts] == []
    assert {one.level for one in checked} == {"claimed"}


def doubts_of(root: Path) -> str:
    checked = verify.verify([root])
    assert not [one.refused for one in checked if one.refused]
    return "; ".join(doubt for one in checked for doubt in one.doubts)


def test_a_row_lacks_no_seed(row: list[Record], tmp_path: Path) -> None:
    assert doubts_of(tmp_path / "copy") == ""
    shutil.rmtree(row[0].folder)
    assert doubts_of(tmp_path / "copy") == "seeds 0 to 1 without 0"


@pytest.mark.parametrize(
    ("field", "value"),
    [("budgets", [0.01, 0.02, 0.05, 0.1, 0.15, 0.2, 0.3, 0.6, 1.0]), ("agent.track", "open"), ("agent.given", 2)],
)
def test_seeds_of_a_row_say_the_same_of_their_agent(field: str, value: Any, row: list[Record], tmp_path: Path) -> None:
    """Else a table would read the accuracy at one budget as that at another."""
    root = tmp_path / "copy"
    for record in row:  # of code that is not today's
        edit(record.folder, lambda about: about["agent"].update(source="0" * 16))
    assert doubts_of(root) == ""
    said(field, value)(max(root.glob("records/*/*/*")))
    with pytest.raises(UsageError, match=rf"{field}: .*, and .*record\.json has"):
        read_all(root)
    (refused,) = [one.refused for one in verify.verify([root]) if one.refused]
    assert f"{field}: " in refused


def taken_from(other: Record, but: int = 0) -> Forgery:
    """The predictions of another record, all `but` some."""

    def change(found: dict[str, Any]) -> None:
        found["own"][:] = other.arrays["own"]
        found["own"][-1, :but] = (found["own"][-1, :but] + 1) % 10

    return arrays(change)


@pytest.mark.parametrize("but", [0, 7])
def test_seeds_that_predict_nearly_the_same_are_doubted(but: int, row: list[Record], tmp_path: Path) -> None:
    taken_from(row[0], but)(row[1].folder)
    doubts = doubts_of(tmp_path / "copy")
    assert "predicts nearly the same as seed 0" in doubts
    assert ("an interval without width" in doubts) == (but == 0)


def all_right(found: dict[str, Any]) -> None:
    found["own"] = np.where(found["own"] < 0, -1, found["labels"]).astype(np.int8)


def test_who_is_above_the_ceiling_is_doubted(tmp_path: Path) -> None:
    make_honest(tmp_path, agent="full", predictor_init="random")
    learner = make_honest(tmp_path, agent="straight_through", selector_steps=2, predictor_init="random")
    assert doubts_of(tmp_path) == ""
    arrays(all_right)(learner.folder)
    assert re.fullmatch(r"own accuracy 100.0 %, and the ceiling's is \d+.\d %", doubts_of(tmp_path))


def test_uncommitted_code_is_doubted(copy: Path) -> None:
    said("software.commit", "0123456789ab")(copy)
    assert doubts_of(copy.parents[3]) == ""
    said("software.commit", "0123456789ab-dirty")(copy)
    assert doubts_of(copy.parents[3]) == "made by code that differs from its commit"
    code, out = verify.code(verify.verify([copy])), "\n".join(reports.text(verify.verify([copy])))
    assert code == 1
    assert "1 records: 0 refused, 1 doubted" in out


def test_places_that_tell_the_label_show_when_their_values_are_blanked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A selector that writes the class in the place of its look, and a predictor that reads it there."""
    from glimpsebench.agents.center import Center
    from glimpsebench.envs import tasks
    from glimpsebench.envs.sensors import Mask

    labels_N = np.asarray(tasks.test_split(tasks.make("digits-clutter")).labels_N)
    looks = [0]  # how many test images it has been shown

    def act(self: Any, observation: dict[str, np.ndarray], rng: Any) -> np.ndarray:
        scores = np.zeros((len(observation["left"]), 32, 32), np.float32)
        numbers = (looks[0] + np.arange(len(scores))) % len(labels_N)
        looks[0] += len(scores)
        scores[np.arange(len(scores)), 0, labels_N[numbers]] = 1
        return scores

    def from_the_first(*words: Any) -> Any:
        looks[0] = 0
        return rollout.rollout(*words)

    monkeypatch.setattr("glimpsebench.bench.run.rollout", from_the_first)

    def predict(self: Any, view: dict[str, np.ndarray]) -> np.ndarray:
        return np.asarray(view["mask"][:, 0, 0, :10] > 0, np.float32)

    monkeypatch.setattr(Center, "act", act)
    monkeypatch.setattr(Center, "predict", predict)
    monkeypatch.setattr(Center, "sensor", lambda self: Mask(threshold=0.5))
    monkeypatch.setattr(Center, "levels", (0.1,))
    make_honest(tmp_path, agent="center")
    (one,) = verify.verify([tmp_path], judge=True)
    assert one.doubts == ["black-out: from the places alone the own predictor is right on 100.0 %"]


def test_a_run_again_is_as_it_was_or_doubted(copy: Path) -> None:
    (one,) = verify.verify([copy], rerun=1)
    assert (one.level, one.doubts) == ("run again", [])
    arrays(all_right)(copy)
    (one,) = verify.verify([copy], rerun=1)
    assert re.search(r"run again: own accuracies are \d+", one.doubts[0])


@pytest.mark.parametrize("what", ["", "--json"])
def test_the_command_says_it_to_people_and_to_programs(
    what: str, copy: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["verify", str(copy), *([what] if what else [])]
    code, out, _ = glimpse(*words, capsys=capsys)
    assert code == 0
    assert ("recounted 1" in out) if not what else json.loads(out)["records"][0]["level"] == "recounted"
    said("accuracy", 0.99)(copy)
    code, out, _ = glimpse(*words, capsys=capsys)
    assert code == 2
    assert "accuracy: unknown key" in out
    code, _, err = glimpse("verify", str(copy / "nowhere"), capsys=capsys)
    assert (code, "nowhere' is no suite" in err) == (2, True)


def test_a_challenge_is_the_same_runs(row: list[Record], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = glimpse("challenge", "raster", "--root", str(tmp_path / "copy"), capsys=capsys)
    assert code == 0
    (line,) = (line for line in out.splitlines() if line.startswith("glimpse run"))
    words = shlex.split(line)
    changes = cli.parse_changes([words[at + 1] for at, word in enumerate(words) if word == "--set"], None)
    table = {"agent": words[words.index("--agent") + 1], "task": words[words.index("--task") + 1]}
    seeds = cli.parse_seeds(words[words.index("--seeds") + 1])
    specs = expand({**table, "seed": seeds, **{key: [value] for key, (value,) in changes.items()}})
    assert [spec.folder(Path()).name for spec in specs] == [record.question for record in row]


HOSTILE = ["<script>alert(1)</script>", "a|b", "*x*", "[x](javascript:1)", "\x1b[2J", "=cmd()", "a\nb", "`x`", "$x$"]


@pytest.mark.parametrize("value", HOSTILE)
def test_what_a_setting_says_is_text_in_every_table(value: str, honest: Record, copy: Path, tmp_path: Path) -> None:
    def change(about: dict[str, Any]) -> None:
        about["agent"].update(settings={"s": value}, changed={"s": value})

    def table(record: Record) -> str:  # beside another row of the agent, from which the setting tells it apart
        return leaderboard.markdown(leaderboard.rows_of([record, honest]), "A title")

    agent = {**honest.about["agent"], "settings": {"s": "plain"}, "changed": {"s": "plain"}}
    plain = table(Record(honest.folder, {**honest.about, "agent": agent}))
    edit(copy, change)
    page = table(*read_all(copy.parents[3]))
    assert [line.count("|") for line in page.splitlines()] == [line.count("|") for line in plain.splitlines()]
    assert value not in page or value == "=cmd()"
    assert "\x1b" not in page
    if value.isprintable():
        assert f"raster (s={value})" in terminal.rendered(page, 300)
    written = leaderboard.write(read_all(copy.parents[3]), tmp_path, "A title")[1].read_text()
    assert all(not cell.startswith(("=", "+", "@")) for line in written.splitlines() for cell in line.split(","))
