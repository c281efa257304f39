"""The store: each record once, suites as views on it, and a store that others read."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from conftest import Alone, Beacon, judged_by
from forged import JUDGE, edit, guessing, make_honest
from glimpsebench.bench import hashes, retabulate, store, suites
from glimpsebench.bench.records import AUDIT, Record, read_all
from glimpsebench.bench.run import Spec, run
from glimpsebench.bench.suites import Suite, read_suite
from glimpsebench.envs import tasks
from glimpsebench.envs.errors import UsageError
from glimpsebench.envs.settings import renamed
from test_cli import glimpse
from test_report import OWN

FEW = {"predictor_steps": 2}


@pytest.fixture(autouse=True)
def no_judge_is_trained(monkeypatch: pytest.MonkeyPatch) -> None:
    guessing(monkeypatch)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Record]:
    """Records on small digits, made once: of two seeds of `raster`, and of `center` and `uniform`."""
    root = tmp_path_factory.mktemp("made")
    found = {name: make_honest(root, agent=name) for name in ("raster", "center", "uniform")}
    return found | {"raster 1": make_honest(root, 1)}


Bring = Callable[[Path, str], Record]


@pytest.fixture
def bring(made: dict[str, Record]) -> Bring:
    """Copies one of them into a results folder."""

    def copy(root: Path, name: str) -> Record:
        folder = root.joinpath(*made[name].folder.parts[-4:])
        shutil.copytree(made[name].folder, folder)
        return Record.read(folder)

    return copy


def test_a_suite_is_a_view_on_a_store(
    bring: Bring, root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("raster", "raster 1", "center"):
        bring(root, name)
    base = "[base]\ntask = 'digits-clutter'\nagent = 'raster'\n'agent.predictor_steps' = 2\n"
    (tmp_path / "scan.toml").write_text(f"title = 'A scan'\nfloors = false\n{base}")
    assert glimpse("leaderboard", str(tmp_path / "scan.toml"), "--root", str(root), capsys=capsys)[0] == 0
    page = (root / "scan" / "leaderboard.md").read_text()
    assert page.startswith("# A scan\n")
    assert "raster" in page
    assert "center" not in page
    assert glimpse("leaderboard", "digits-clutter", "--root", str(root), capsys=capsys)[0] == 0
    page = (root / "digits-clutter-v1" / "leaderboard.md").read_text()
    assert page.startswith("# digits-clutter-v1\n")
    assert "center" in page
    assert store.view(root, str(root)).folder == store.view(root).folder == root
    found = store.asked_by(read_suite(str(tmp_path / "scan.toml")).specs, read_all(root))
    assert [record.seed for record in found] == [0], "the suite asks for no other"
    (tmp_path / "none.toml").write_text(f"floors = false\n{base.replace('raster', 'full')}")
    code, _, err = glimpse("leaderboard", str(tmp_path / "none.toml"), "--root", str(root), capsys=capsys)
    assert (code, "no records of the suite none" in err) == (2, True)


def test_several_stores_are_read_as_one_and_tables_belong_into_the_first(
    bring: Bring, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    here, there = tmp_path / "here", tmp_path / "there"
    mine = bring(here, "raster")
    for name in ("raster", "raster 1", "uniform"):
        bring(there, name)
    suite = tmp_path / "two.toml"
    suite.write_text(
        "floors = false\n[base]\ntask = 'digits-clutter'\n'agent.predictor_steps' = 2\nseed = [0, 1]\n"
        "[[matrix]]\nagent = ['raster', 'uniform']\n"
    )
    found = store.view([here, there], str(suite)).records
    assert sorted((one.name.split()[0], one.seed, one.folder.parents[3].name) for one in found) == [
        ("raster", 0, "here"), ("raster", 1, "there"), ("uniform", 0, "there"),
    ]  # fmt: skip
    assert store.view([here], str(suite)).records == store.view(here, str(suite)).records == [mine]
    for of in (str(suite), "digits-clutter"):
        roots = ["--root", str(here), "--root", str(there)]
        code, _, err = glimpse("leaderboard", of, *roots, capsys=capsys)
        assert code == 0, err
        folder = "two" if of == str(suite) else "digits-clutter-v1"
        assert "| uniform" in (here / folder / "leaderboard.md").read_text()
    code, out, err = glimpse("compare", "raster", "uniform", str(suite), *roots, capsys=capsys)
    assert (code, "2 seeds" in out) == (0, True), err
    assert [path.name for path in there.iterdir()] == ["records"], "nothing is written to the others"


def test_own_contenders_stand_beside_a_suites_rows_as_asked(
    bring: Bring, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    here, there = tmp_path / "here", tmp_path / "there"
    monkeypatch.syspath_prepend(str(tmp_path))
    for name in ("own_beside", "own_other"):
        (tmp_path / f"{name}.py").write_text(OWN)
        make_honest(here, agent=name)
    bring(there, "raster")
    bring(here, "center")
    suite = tmp_path / "scan.toml"
    suite.write_text("floors = false\n[base]\ntask = 'digits-clutter'\nagent = 'raster'\n'agent.predictor_steps' = 2\n")

    def names(*own: str) -> set[str]:
        found = store.view([here, there], str(suite), None if own == ("all",) else own)
        assert {one.about["agent"]["name"] for one in found.own} == names_of(found.records) - {"raster"}
        return names_of(found.records)

    def names_of(records: list[Record]) -> set[str]:
        return {one.about["agent"]["name"] for one in records}

    assert names() == {"raster"}
    assert names("all") == {"raster", "own_beside", "own_other"}, "and not the suite's other contenders"
    assert names("own_beside") == {"raster", "own_beside"}
    with pytest.raises(UsageError, match="did you mean 'own_beside'"):
        names("own_besid")
    with pytest.raises(UsageError, match=r"--own own_beside: .* name the suite"):
        store.view(here, "digits-clutter", ["own_beside"])


def test_folders_of_tables_have_their_own_records_or_those_of_their_suite(
    bring: Bring, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    results = tmp_path / "results"
    bring(results / "old", "raster")
    bring(results, "raster")
    bring(results, "center")
    (results / "pictures").mkdir()
    (results / "scan").mkdir()
    suite = Suite("scan", "A scan", (Spec("raster", "digits-clutter", 0, FEW),))
    monkeypatch.setattr(store, "suite_names", lambda: ["scan"])
    monkeypatch.setattr(store, "read_suite", lambda name: suite)
    assert [path.name for path in store.folders(results)] == ["old", "scan"]
    for name in ("old", "scan"):
        assert [record.name for record in store.kept(results / name)] == ["raster (predictor_steps=2)"]


@dataclass(frozen=True)
class Spotted(Beacon):
    """The toy task with a setting that was once called `spots`."""

    count: int = 62
    dots: int = renamed(3, "spots")


def test_a_view_has_records_whose_settings_were_renamed_or_did_not_exist(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(tasks.TASKS, "beacon", Spotted())
    judged_by(monkeypatch, Alone(JUDGE, lambda view: np.zeros((len(view["canvas"]), 2))))
    spec = Spec("raster", "beacon", 0, FEW, {"dots": 4})
    record = run(spec, root, iter)

    def as_before(about: dict[str, Any]) -> None:
        for part in ("settings", "changed"):
            about["agent"][part]["steps"] = about["agent"][part].pop("predictor_steps")
        about["agent"]["settings"].pop("predictor_init")  # which is the reader unless told
        about["agent"]["source"] = "0" * 16
        about["task"]["settings"]["spots"] = about["task"]["settings"].pop("dots")

    edit(record.folder, as_before)
    (old,) = read_all(root)
    assert store.asked_by([spec], [old]) == [old]
    for other in (FEW | {"predictor_init": "random"}, {"predictor_steps": 3}):
        assert store.asked_by([Spec("raster", "beacon", 0, other, {"dots": 4})], [old]) == []
    assert store.asked_by([Spec("raster", "beacon", 0, FEW, {"dots": 3})], [old]) == []


def test_a_view_leaves_earlier_code_out_where_todays_has_made_the_run(bring: Bring, root: Path) -> None:
    old = bring(root, "raster")
    edit(old.folder, lambda about: about["agent"].update(source="0" * 16))
    wanted = [Spec("raster", "digits-clutter", seed, FEW) for seed in (0, 1)]
    (found,) = store.asked_by(wanted, read_all(root))
    assert found.about["agent"]["source"] == "0" * 16
    bring(root, "raster")
    assert len(read_all(root)) == 2
    (found,) = store.asked_by(wanted, read_all(root))
    assert found.about["agent"]["source"] != "0" * 16


SCAN = (
    "title = 'A scan'\nfloors = false\n[base]\ntask = 'digits-clutter'\nagent = 'raster'\n'agent.predictor_steps' = 2\n"
)


def test_a_sweep_brings_a_suites_own_records_into_the_store(
    bring: Bring, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "scan.toml").write_text(SCAN)
    old = bring(Path("runs/scan"), "raster")
    assert [one.folder for one in store.view(Path("runs"), "scan.toml").records] == [old.folder]
    drawn: list[Path] = []

    def write(records: Iterable[Record], folder: Path) -> list[Path]:
        drawn.append(folder)
        return [folder]

    monkeypatch.setattr("glimpsebench.bench.figures.write", write)
    code, out, _ = glimpse("sweep", "scan.toml", capsys=capsys)
    assert (code, drawn) == (0, [Path("runs/scan")])
    assert "1 records moved from runs/scan to runs/records" in out
    assert "suite scan: 1 runs, 1 done, in runs" in out
    assert not (tmp_path / "runs/scan/records").exists()
    (record,) = store.view(Path("runs"), "scan.toml").records
    assert record.folder == Path("runs", *old.folder.parts[-4:])
    assert (tmp_path / "runs/scan/leaderboard.md").read_text().startswith("# A scan")


@pytest.fixture
def suites_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Two suites, `one` and `two`, that have a floor in common; the folder they are run in."""
    place = tmp_path / "suites"
    place.mkdir()
    for name, agents in (("one", ["center", "raster"]), ("two", ["center", "uniform"])):
        text = SCAN.replace("agent = 'raster'", f"agent = {json.dumps(agents)}").replace("A scan", name)
        (place / f"{name}.toml").write_text(text)
    monkeypatch.setattr(suites, "FOLDER", place)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def files(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}


def test_what_is_published_is_there_once_and_other_suites_stay(
    bring: Bring, suites_there: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    runs, results = suites_there / "runs", suites_there / "results"
    center, raster, uniform = (bring(runs, name) for name in ("center", "raster", "uniform"))
    (runs / "one" / "trials").mkdir(parents=True)
    (runs / "one" / "trials" / "a.json").write_text("{}")  # of `glimpse tune`
    for name in ("one", "two"):
        assert glimpse("leaderboard", name, capsys=capsys)[0] == 0
        assert glimpse("publish", name, capsys=capsys)[0] == 0
    assert {path.name for path in (results / "records/digits-clutter-v1").iterdir()} == {"center", "raster", "uniform"}
    assert not [name for name in files(results) if "selections" in name or "weights" in name]
    assert files(results / "one") == {"leaderboard.md", "leaderboard.csv", "records.txt", "trials/a.json"}
    assert [record.folder.parts[-2:] for record in store.kept(results / "one")] == [
        record.folder.parts[-2:] for record in (center, raster)
    ]
    assert [path.name for path in store.folders(results)] == ["one", "two"]
    before = {name: (results / name).read_bytes() for name in files(results) if name.startswith("two")}
    edit(raster.folder, lambda about: about["agent"].update(source="0" * 16))
    shutil.copytree(results, suites_there / "earlier")
    assert glimpse("publish", "one", capsys=capsys)[0] == 0
    assert {record.about["agent"]["source"] for record in store.kept(results / "one")} >= {"0" * 16}
    assert len(files(results)) == len(files(suites_there / "earlier")), "what nobody lists any more is gone"
    assert before == {name: (results / name).read_bytes() for name in before}
    (results / "README.md").write_text(f"{retabulate._BEGIN}\n{retabulate._END}\n")
    (results / "one/leaderboard.md").unlink()
    (results / "two/leaderboard.md").unlink()
    assert glimpse("retabulate", str(results), "one", capsys=capsys)[0] == 0
    assert (results / "one/leaderboard.md").exists()
    assert not (results / "two/leaderboard.md").exists()
    assert uniform.folder.exists()


def test_a_run_that_is_published_already_stays_unless_it_is_damaged(
    bring: Bring, suites_there: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    runs, results = suites_there / "runs", suites_there / "results"
    made, other = (bring(runs, name).folder for name in ("center", "raster"))
    assert glimpse("publish", "one", capsys=capsys)[0] == 0
    there = results / made.relative_to(runs)
    first = (there / "timings.json").read_bytes()
    (made / "timings.json").write_text('{"fit": 9.0}')  # run again, as on another machine
    found = {"schema": 1, "verdict": "gated", "reasons": [], "figures": {}, "decoupled": [], "not_caught": ""}
    for folder in (made, other):  # audited since; the second one was run on another processor
        (folder / AUDIT).write_text(json.dumps(found))
    edit(made, lambda about: about["software"].update(numpy="9.9.9"))
    with np.load(other / "images.npz") as kept:
        arrays = {name: kept[name] for name in kept}
    np.savez_compressed(other / "images.npz", **arrays | {"points": arrays["points"] // 2})
    hashes.write(other)
    assert glimpse("publish", "one", capsys=capsys)[0] == 0
    assert (there / "timings.json").read_bytes() == first
    assert (there / AUDIT).read_bytes() == (made / AUDIT).read_bytes()
    assert not (results / other.relative_to(runs) / AUDIT).exists()
    (there / "images.npz").write_bytes(b"")
    assert glimpse("publish", "one", capsys=capsys)[0] == 0
    assert (there / "images.npz").read_bytes() == (made / "images.npz").read_bytes()


def test_suites_with_records_of_their_own_become_one_store(
    bring: Bring, suites_there: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    results = suites_there / "results"
    for suite, agents in (("one", ["center", "raster"]), ("two", ["center", "uniform"])):
        for agent in agents:
            bring(results / suite, agent)
        assert len(store.kept(results / suite)) == 2
    before = {name: [record.about for record in store.kept(results / name)] for name in ("one", "two")}
    for name in ("one", "two"):
        assert glimpse("publish", name, "--root", str(results), capsys=capsys)[0] == 0
    assert before == {name: [record.about for record in store.kept(results / name)] for name in ("one", "two")}
    assert len(read_all(results)) == 3
    assert not [name for name in files(results) if name.startswith(("one/records/", "two/records/"))]


def test_verification_finds_the_records_of_a_suite_or_a_task_damaged_or_not(
    bring: Bring, suites_there: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    runs = suites_there / "runs"
    whole, other = bring(runs, "center"), bring(runs, "uniform")
    (other.folder / "images.npz").write_bytes(b"")
    assert glimpse("verify", "one", capsys=capsys)[0] == 0
    for what in ("two", "digits-clutter", str(runs), str(other.folder)):
        code, out, _ = glimpse("verify", what, capsys=capsys)
        assert (code, "images.npz: not a whole NPZ file" in " ".join(out.split())) == (2, True)
    assert store.places(runs, str(whole.folder)) == [whole.folder]


@pytest.mark.parametrize(
    "line", ["../../etc/passwd", "digits-v1/ram/../../x", "a b", "/digits-v1/ram/0123456789abcdef"]
)
def test_a_list_names_records_and_nothing_else(line: str, tmp_path: Path) -> None:
    (tmp_path / store.LIST).write_text(f"digits-v1/ram/0123456789abcdef\n{line}\n")
    with pytest.raises(UsageError, match="is no TASK/AGENT/KEY"):
        store.listed(tmp_path)
