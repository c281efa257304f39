"""The methods' pages: generated from the records, between markers, and from nothing else."""

from __future__ import annotations

import dataclasses
import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from conftest import Alone, judged_by
from glimpsebench import agents
from glimpsebench.agents.center import Center
from glimpsebench.bench import methods
from glimpsebench.bench.leaderboard import rows_of
from glimpsebench.bench.records import Record, read_all
from glimpsebench.bench.run import Spec, run
from glimpsebench.envs.errors import UsageError
from glimpsebench.envs.tasks import Task

ROOT = Path(__file__).parents[1]


@pytest.fixture
def results(beacon: Task, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Two seeds of one agent in the folder of a suite; without a judge, which takes long to train."""
    judged_by(monkeypatch, Alone("0" * 16, lambda view: np.zeros((len(view["canvas"]), 2))))
    monkeypatch.setattr(
        "glimpsebench.agents.center.Center.predict", lambda self, view: view["mask"].mean((2, 3)) @ [[1, 0]]
    )
    folder = tmp_path / "results" / "toys"
    for seed in range(2):
        record = run(Spec("center", "beacon", seed, {"predictor_steps": 2}), folder, iter)
        assert record.done, record.about
        (record.folder / "timings.json").write_text(json.dumps({"fit": 1234.5 + seed}))
    return folder.parent


def test_pages_are_made_from_records_and_keep_what_is_written_by_hand(results: Path, tmp_path: Path) -> None:
    pages = tmp_path / "pages"
    pages.mkdir()
    (pages / "full.md").write_text(f"# full\n\nBy hand.\n\n{methods.BEGIN}\nold\n{methods.END}\n\nBelow.\n")
    paths = methods.write(results, pages)
    assert [path.stem for path in paths] == [*agents.names(), "README"]
    kept = (pages / "full.md").read_text()
    assert kept.startswith("# full\n\nBy hand.\n")
    assert kept.endswith("Below.\n")
    assert "old" not in kept
    assert "No committed records yet." in kept
    page = (pages / "center.md").read_text()
    assert page.startswith("# center\n\nthe floor of a fixed look.")
    row = rows_of(read_all(results / "toys"))[0]
    value = row.accuracy("own")[-1]
    for part in (
        "### toys",
        f"| {row.label} | beacon-v1 | 2 | own | ",
        f" {100 * value.mean:.1f} ± {100 * (value.high - value.mean):.1f} |",
        "| 1200 s, cpu |",
        f"Made by version {Center.version} of the agent, as it is now.",
    ):
        assert part in page, part
    first = {path: path.read_bytes() for path in paths}
    assert {path: path.read_bytes() for path in methods.write(results, pages)} == first


def test_a_page_says_when_other_code_has_made_its_records(results: Path) -> None:
    kept = read_all(results / "toys")

    def said(**changed: object) -> str:
        other = [Record(one.folder, {**one.about, "agent": {**one.about["agent"], **changed}}) for one in kept]
        return methods.scores("center", {"toys": rows_of(other)})

    assert "as it is now" in said()
    assert "by an earlier version of the code" in said(source="0" * 16)
    assert "by an earlier version of the code" in said(source=None)
    assert f"Made by version 77 of the agent; it is at version {Center.version} now." in said(version=77)


def test_published_figures_stand_beside_those_of_their_task(results: Path) -> None:
    rows = rows_of(read_all(results / "toys"))
    about = json.loads(json.dumps(rows[0].records[0].about))
    about["task"]["settings"]["name"] = "cluttered-mnist-60"
    row = dataclasses.replace(rows[0], records=(Record(rows[0].records[0].folder, about),))
    text = methods.scores("center", {"toys": [row]})
    assert "### Published on these tasks" in text
    assert "4.04 %" in text


def test_a_page_without_markers_and_a_folder_without_records_are_refused(results: Path, tmp_path: Path) -> None:
    (tmp_path / "pages").mkdir()
    (tmp_path / "pages" / "full.md").write_text("# full\n")
    with pytest.raises(UsageError, match="no markers"):
        methods.write(results, tmp_path / "pages")
    with pytest.raises(UsageError, match="no records"):
        methods.write(tmp_path / "nothing", tmp_path / "pages")


def test_the_committed_pages_are_those_of_the_committed_records(tmp_path: Path) -> None:
    pages = ROOT / "docs" / "methods"
    assert pages.is_dir(), "run `glimpse methods` and commit what it wrote"
    shutil.copytree(pages, tmp_path / "methods")
    for path in methods.write(ROOT / "results", tmp_path / "methods"):
        committed = pages / path.name
        assert committed.exists(), f"{path.name}: run `glimpse methods` and commit what it wrote"
        assert path.read_text() == committed.read_text(), f"{path.name}: run `glimpse methods` and commit what it wrote"
