"""`glimpse ablate`: a suite's claims from the command line, and the page of all suites' claims."""

from __future__ import annotations

import doctest
import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from conftest import Alone, Beacon, judged_by
from glimpsebench.bench import ablate, records, retabulate
from glimpsebench.bench.claims import arms_of, verdicts
from glimpsebench.bench.report import views
from glimpsebench.bench.rows import rows_of
from glimpsebench.bench.run import Spec, run
from glimpsebench.bench.suites import read_suite
from glimpsebench.envs import tasks
from test_cli import glimpse

MINE = """
# Does a scan in reading order see more of the square than a centred one?
floors = false
title = "Scan & <centre>"
[base]
task = "beacon"
"agent.predictor_steps" = 2
seed = [0, 1]
[[matrix]]
agent = ["raster", "center"]
[[claim]]
text = "A scan that begins in a corner *finds* less of the object"
source = "the toy | itself"
a = "raster"
b = "center"
measure = "on_object"
budget = 0.3
direction = "lower"
matters = 0.02
seeds = 2
[[claim]]
text = "It is right more often than not"
source = "the toy itself"
a = "raster"
b = 0.5
measure = "own"
budget = "area"
direction = "higher"
matters = 0.0
"""


@pytest.fixture(scope="module")
def here(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder with the suite `mine.toml` and its runs in runs/mine."""
    folder = tmp_path_factory.mktemp("here")
    (folder / "mine.toml").write_text(MINE)
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(tasks.TASKS, "beacon", Beacon(count=16))
        judged_by(patch, Alone("0" * 16, lambda view: np.zeros((len(view["canvas"]), 2))))
        patch.chdir(folder)
        for spec in read_suite("mine.toml").specs:
            assert run(spec, folder / "runs" / "mine", iter).done
        yield folder


def test_a_suites_claims_are_decided_from_its_records(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, err = glimpse("ablate", "mine.toml", "--markdown", capsys=capsys)
    assert (code, err) == (0, "")
    folder = here / "runs" / "mine"
    page = (folder / "ablation.md").read_text()
    assert out.startswith(page)
    plan = read_suite("mine.toml")
    found = ablate.decided(plan, records.read_all(folder))
    assert [verdict.outcome for verdict in found] == ["supported", "undecided"]
    assert found[1].why == "2 of 5 seeds"
    row = next(line for line in page.splitlines() if line.startswith("| A scan"))
    effect = found[0].effect
    half = 50 * (effect.high - effect.low)
    assert f"| **supported** | {100 * effect.mean:+.1f} ± {half:.1f} | ≤ -2.0 |" in row
    assert "# Claims: Scan &#38; &#60;centre&#62;" in page
    assert "*finds*" not in page
    arms = page.partition("## beacon-v1")[2]
    assert "| arm | on_object at 30 % | own, area | seeds |" in arms
    assert [line.split("|")[1].strip() for line in arms.splitlines()[4:]] == ["raster", "center"]
    table = pd.read_csv(folder / "ablation.csv")
    assert table["verdict"].tolist() == ["supported", "undecided"]
    assert table["effect"].tolist() == pytest.approx([verdict.effect.mean for verdict in found], rel=1e-5)
    assert table["p_holm"][0] == pytest.approx(effect.p, rel=1e-5)


def test_the_terminal_shows_the_verdicts_within_its_width(
    here: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "70")
    _, out, _ = glimpse("ablate", "mine.toml", capsys=capsys)
    shown = out.partition("Written:")[0]
    assert max(map(len, shown.splitlines())) <= 70
    assert "supported*" in shown


def test_verdicts_do_not_depend_on_the_order_of_records(here: Path) -> None:
    plan, kept = read_suite("mine.toml"), records.read_all(here / "runs" / "mine")
    assert ablate.markdown(plan, kept) == ablate.markdown(plan, kept[::-1])


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ([], "name a suite, such as mask-penalty, or --all with a folder of results"),
        (["mine.toml", "--all", "results"], "name a suite"),
        (["minr.toml"], "minr.toml: no such suite file"),
        (
            ["mine.toml", "--root", "nowhere"],
            "nowhere: no records of the suite mine; `glimpse sweep mine.toml --root nowhere` makes some",
        ),
        (["quick", "--root", "runs/mine"], "the suite quick makes no claim: [[claim]] in its file states one"),
    ],
)
@pytest.mark.usefixtures("here")
def test_a_mistake_is_one_line(words: list[str], says: str, capsys: pytest.CaptureFixture[str]) -> None:
    code, _, err = glimpse("ablate", *words, capsys=capsys)
    assert code == 2
    assert says in err
    assert err.count("\n") == 1


def test_the_page_of_all_claims_says_what_is_not_tested_and_by_which_command_it_would_be(
    here: Path, tmp_path: Path
) -> None:
    results = tmp_path / "results"
    results.mkdir()
    nothing = ablate.page(results, ["looking", "quick", "ram-60"])
    counts = re.findall(r"(\d+) claims: 0 supported, 0 refuted, 0 undecided, (\d+) not tested", nothing)
    assert counts
    assert counts[0][0] == counts[0][1]
    assert "\n    glimpse sweep looking && glimpse ablate looking    # 20 runs" in nothing
    assert "\n    glimpse sweep ram-60 --seeds 0-4 && " in nothing, "with as many seeds as its claims ask for"
    shutil.copytree(here / "runs" / "mine" / "records", results / "mine" / "records")
    page = ablate.page(results, [str(here / "mine.toml")])
    assert "2 claims: 1 supported, 0 refuted, 1 undecided, 0 not tested." in page
    assert "records of release" in page
    assert ablate.page(results, [str(here / "mine.toml")]) == page


def test_retabulate_writes_the_page(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(ablate, "suite_names", lambda: ["looking", "quick"])  # all take seconds
    text = "<!-- made by: written by `glimpse retabulate`; do not edit -->\n<!-- /made by -->\n"
    (tmp_path / "README.md").write_text(text)
    retabulate.rewrite(tmp_path)
    written = (tmp_path / ablate.PAGE).read_text()
    assert written == ablate.page(tmp_path)
    (tmp_path / ablate.PAGE).unlink()
    code, out, _ = glimpse("ablate", "--all", str(tmp_path), "--markdown", capsys=capsys)
    assert code == 0
    assert (tmp_path / ablate.PAGE).read_text() == written
    assert out.startswith(written)


def test_a_row_that_this_code_made_is_said_to_be(here: Path) -> None:
    plan, kept = read_suite("mine.toml"), records.read_all(here / "runs" / "mine")
    assert not any("earlier code" in verdict.made_by for verdict in ablate.decided(plan, kept))
    older = verdicts(plan.claims, arms_of(plan.specs), rows_of(kept), questions=())
    assert all(verdict.made_by.endswith("earlier code") for verdict in older)


def test_the_page_of_a_suite_shows_its_verdicts(here: Path) -> None:
    first, second = views.view("mine.toml", [here / "runs" / "mine"]).ablations
    (found, _) = ablate.decided(read_suite("mine.toml"), records.read_all(here / "runs" / "mine"))
    effect = found.effect
    assert first == {
        "claim": "A scan that begins in a corner *finds* less of the object",
        "source": "the toy | itself",
        "verdict": "supported",
        "why": "the effect is clearly as claimed",
        "effect": f"{100 * effect.mean:+.1f} by on_object at 30 %",
        "interval": f"{100 * effect.low:+.1f} to {100 * effect.high:+.1f}",
        "seeds": "2",
        "command": "glimpse sweep mine.toml --seeds 0-4 && glimpse ablate mine.toml",
    }
    assert second["verdict"] == "undecided"


def test_the_examples_in_the_docstrings_hold() -> None:
    assert doctest.testmod(ablate).failed == 0


def test_seeds_are_those_of_the_arms(here: Path) -> None:
    """A third seed of one arm alone does not count."""
    plan = read_suite("mine.toml")
    run(Spec("raster", "beacon", 2, {"predictor_steps": 2}), here / "runs" / "more", iter)
    more = [*records.read_all(here / "runs" / "mine"), *records.read_all(here / "runs" / "more")]
    assert ablate.decided(plan, more)[0].seeds == 2
