"""The page against records made by hand and the CSV beside it: the same numbers and bytes, nothing from outside."""

from __future__ import annotations

import base64
import hashlib
import html
import http.client
import json
import re
import shutil
import sys
import threading
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from forged import judged_by_a_guess, make_honest
from glimpsebench.bench import ablate, compare, hashes, leaderboard, report
from glimpsebench.bench.records import Record, read_all
from glimpsebench.bench.report import data, looks, page, sentences, views
from glimpsebench.bench.report.serve import Server
from glimpsebench.bench.rows import SCORES, rows_of
from glimpsebench.bench.suites import read_suite, terms
from glimpsebench.envs.errors import UsageError
from glimpsebench.envs.published import PUBLISHED
from test_cli import glimpse
from test_leaderboard import FLOORS, floor, record

ROOT = Path(__file__).parents[1]


def records() -> list[Record]:
    """Two tracks, floors and a ceiling, of several seeds; one row is one seed."""
    made = [record(name, seed, accuracy) for name, accuracy in (("good", 0.83), ("poor", 0.31)) for seed in range(6)]
    made += [record("open_one", seed, 0.7, track="open", changed={"size": 6}) for seed in range(3)]
    made += [record("whole", seed, 0.97, reference="ceiling") for seed in range(2)]
    return [*made, record("single", 0, 0.9), *FLOORS]


def block(made: list[Record], **more: Any) -> data.Block:
    return data.block([data.View("toy", "A toy", made, **more)])


class Parsed(HTMLParser):
    """The tables of a page, by their caption; its scripts and styles; and every attribute."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tables: list[tuple[dict[str, str | None], list[list[str]]]] = []
        self.inside: list[str] = []
        self.texts: dict[str, list[str]] = {"script": [], "style": []}
        self.attributes: list[tuple[str, str, str]] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.attributes += [(tag, name, value or "") for name, value in attrs]
        self.inside = [*self.inside, tag]
        if tag == "table":
            self.tables.append((dict(attrs), []))
        elif tag == "tr" and self.tables:
            self.tables[-1][1].append([])
        elif tag in ("td", "th") and self.tables and self.tables[-1][1]:
            self.tables[-1][1][-1].append("")
        elif tag in self.texts:
            self.texts[tag].append("")

    def handle_endtag(self, tag: str) -> None:
        if tag in self.inside:
            self.inside = self.inside[: len(self.inside) - 1 - self.inside[::-1].index(tag)]

    def handle_data(self, text: str) -> None:
        if self.inside and self.inside[-1] in self.texts:
            self.texts[self.inside[-1]][-1] += text
        if {"td", "th"} & {*self.inside} and self.tables and self.tables[-1][1]:
            self.tables[-1][1][-1][-1] += text


def csv_of(made: list[Record], folder: Path) -> pd.DataFrame:
    return pd.read_csv(leaderboard.write(made, folder, "A toy")[1], keep_default_na=True)


def test_every_accuracy_in_the_tables_is_the_csvs(tmp_path: Path) -> None:
    made = records()
    csv, parsed = csv_of(made, tmp_path), Parsed(page.page(block(made), "glimpse report toy"))
    seen = 0
    for about, lines in parsed.tables:
        if "data-by" not in about:
            continue
        by = about["data-by"]
        budgets = [float(text.split()[0]) / 100 for text in lines[0][1:-3]]
        for name, *cells in lines[1:]:
            here = csv[(csv["contender"] == name.rstrip("†")) & (csv["track"] == about["data-track"])]
            for budget, cell in zip(budgets, cells, strict=False):
                line = here[np.isclose(here["budget"], budget)]
                if name == "strongest floor":
                    continue
                if line.empty or np.isnan(line[by].item()):
                    assert cell == "·"
                    continue
                mean, low, high = (line[f"{by}{end}"].item() for end in ("", "_low", "_high"))
                assert re.sub(" [▲▼¹]", "", cell) == f"{100 * mean:.1f} ± {100 * max(high - mean, mean - low):.1f}"
                seen += 1
    assert seen == 2 * len(csv)


def test_the_block_has_the_csvs_numbers_and_no_others(tmp_path: Path) -> None:
    made = records()
    csv, section = csv_of(made, tmp_path), block(made)["sections"][0]
    seen = 0
    for row in section["rows"]:
        here = csv[csv["contender"] == row["name"]]
        for column, values in row["at"].items():
            for budget, value in zip(section["budgets"], values, strict=True):
                found = here[np.isclose(here["budget"], budget)][column]
                if found.empty or pd.isna(found.item()):
                    assert value is None
                elif column.endswith("_floor") and "above" not in column:
                    assert section["rows"][value]["name"] == found.item()
                else:
                    assert value == found.item()
                    seen += 1
        for column, value in row["whole"].items():
            there = here[column].iloc[0]
            assert value == ("never" if np.isinf(there) else None if pd.isna(there) else there)
    assert seen > 400


def test_every_number_in_the_sentences_is_in_the_csv(tmp_path: Path) -> None:
    made = records()
    csv, section = csv_of(made, tmp_path), block(made)["sections"][0]
    numbers = csv.select_dtypes("number").to_numpy().ravel()
    known = {f"{100 * value:.1f}" for value in numbers} | {f"{100 * value:g}" for value in csv["budget"]}
    said = [text for _, some in sentences.answer(section)[:-1] for text in some]  # the last are counts of rows
    names = sorted({*csv["contender"]}, key=len, reverse=True)
    for text in said:
        for name in names:
            text = text.replace(name, "")
        for number in re.findall(r"\d+(?:\.\d+)?", text.replace("95 %", "")):
            assert number in known, text
    assert any("good is at 8" in text for text in said)
    assert any(text == "Above the strongest floor: good at 10 % and 20 %." for text in said), said
    assert any(text.startswith("Below the strongest floor: poor at 10 % and 20 %") for text in said), said


def test_the_same_records_give_the_same_bytes_whatever_their_order() -> None:
    made = records()
    again = [made[number] for number in np.random.default_rng(0).permutation(len(made))]
    assert page.page(block(made), "x") == page.page(block(again), "x")


def test_a_task_of_which_every_run_failed_has_a_page_that_says_so() -> None:
    made = [record("mine", seed) for seed in range(2)]
    for one in made:
        one.about["status"] = "failed"  # type: ignore[index]
    found = block(made)
    text = page.page(found, "x")
    assert "2 runs failed and count as chance" in text
    assert "2 that did not end well" in text


HOSTILE = "</script><img src=x onerror=alert(1)>'\"&{{ 7*7 }}"


def test_text_of_records_is_text_on_the_page() -> None:
    made = [record(HOSTILE, seed, 0.5, changed={"size": HOSTILE}, settings={"size": HOSTILE}) for seed in range(2)]
    made = [*made, *FLOORS]
    claim = dict.fromkeys(("claim", "source", "verdict", "why", "effect", "interval", "seeds", "command"), HOSTILE)
    text = page.page(block(made, ablations=[claim]), HOSTILE)
    parsed = Parsed(text)
    assert "<img src=x" not in text
    assert "onerror" not in {name for _, name, _ in parsed.attributes}
    assert len(parsed.texts["script"]) == 2, "the data and the script, and nothing that a record says"
    assert HOSTILE in json.loads(parsed.texts["script"][0])["sections"][0]["rows"][0]["name"]
    assert "{{ 7*7 }}" in text


def test_nothing_is_fetched_and_the_policy_allows_this_style_and_script_alone() -> None:
    text = page.page(block(records()), "glimpse report toy")
    parsed = Parsed(text)
    policy = next(
        value for tag, name, value in parsed.attributes if (tag, name) == ("meta", "content") and "src" in value
    )
    rules = dict(rule.split(" ", 1) for rule in policy.split("; "))
    for kind, source in (("style", parsed.texts["style"][0]), ("script", parsed.texts["script"][1])):
        digest = base64.b64encode(hashlib.sha256(source.encode()).digest()).decode()
        assert rules[f"{kind}-src"] == f"'sha256-{digest}'"
    assert rules["default-src"] == "'none'"
    assert "connect-src" not in rules
    for tag, name, value in parsed.attributes:
        assert not re.fullmatch("style|srcset|action|on.*", name), (tag, name)
        if name in ("src", "href"):
            assert value.startswith(("#", "data:")), value
    assert {*re.findall(r"https?://[^\s\"']+", text)} <= {"http://www.w3.org/2000/svg"}


def test_head_to_head_is_what_compare_says() -> None:
    made = records()
    rows, section = rows_of(made), block(made)["sections"][0]
    names = [row.name for row in rows]
    a, b = names.index("good"), names.index("poor")
    for by in SCORES:
        claims = {claim.at: claim for claim in compare.claims(rows[a], rows[b], by)}
        for budget, found in zip(section["budgets"], section["pairs"][by], strict=True):
            claim = claims.get(f"{100 * budget:g} %")
            pair = next(((m, low, high) for x, y, m, low, high, _ in found if (x, y) == (a, b)), None)
            told = claim and tuple(round(getattr(claim.difference, name), 6) for name in ("mean", "low", "high"))
            assert pair == told


def test_a_claim_that_was_decided_stands_on_the_page_and_without_any_there_is_no_section() -> None:
    claim = {
        "claim": "A plain pull is too weak",
        "source": "a paper",
        "verdict": "undecided",
        "why": "few seeds",
        "effect": "+1",
    }
    claim |= {"interval": "-1.0 to 3.0", "seeds": "5", "command": "glimpse ablate pull"}
    made = records()
    assert "A plain pull is too weak" in page.page(block(made, ablations=[claim]), "x")
    assert 'id="ablations"' not in page.page(block(made), "x")


@pytest.mark.parametrize("task", sorted(PUBLISHED))
def test_published_points_are_what_the_figures_beside_them_say(task: str) -> None:
    for paper in PUBLISHED[task]:
        said = " ".join(paper.figures)
        for point in paper.points:
            numbers = (f"{100 * point.accuracy:.2f}", f"{100 * (1 - point.accuracy):.2f}")
            assert any(
                re.search(rf"(?<![\d.]){re.escape(number.rstrip('0').rstrip('.'))}0*(?!\d)", said) for number in numbers
            )
            assert 0 < point.delivered <= 2
            assert 0 < point.touched <= 1


@pytest.fixture(scope="module")
def raster(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A results folder with one honest record, its selections and weights."""
    root = tmp_path_factory.mktemp("looks") / "quick"
    make_honest(root)
    return root


def copied(raster: Path, into: Path) -> Record:
    shutil.copytree(raster, into / "quick")
    (only,) = read_all(into / "quick")
    return only


def test_what_was_looked_at_is_shown_and_kept_in_a_copy_without_selections(raster: Path, tmp_path: Path) -> None:
    one = copied(raster, tmp_path)
    whole = looks.section(rows_of([one]))
    frames = whole["rows"]["0"]["images"]
    assert len(frames) == len(whole["images"]) == looks.IMAGES
    assert len(frames[0]) == one.arrays["steps"][-1, 0], "a frame for each glimpse"
    share = [frame["f"] for frame in frames[0]]
    assert share == sorted(share)
    at = next(frame for frame in frames[0] if 0.5 in frame["b"])
    number = one.budgets.index(0.5)
    assert at["f"] == pytest.approx(one.fraction_FN("touched")[number, 0], abs=1e-4)
    assert at["own"] == one.arrays["own"][number, 0]
    assert sum(chance for _, chance in at["p"]) <= 255 + looks.BELIEFS
    assert looks.keep(one) is not None
    assert hashes.damaged(one.folder) is None, "a sweep does not run it again"
    for name in ("selections.npz", "weights.safetensors"):
        (one.folder / name).unlink()
    assert looks.section(rows_of([one])) == whole
    assert (one.folder / looks.FILE).stat().st_size < 20_000


def test_a_record_without_looks_says_so_and_a_damaged_file_is_refused(raster: Path, tmp_path: Path) -> None:
    one = copied(raster, tmp_path)
    (one.folder / "selections.npz").unlink()
    found = looks.section(rows_of([one]))
    assert found["rows"] == {}
    assert "without what they looked at" in found["why"]
    (one.folder / looks.FILE).write_bytes(b"PK no")
    found = looks.section(rows_of([one]))
    assert found["rows"] == {}
    assert looks.FILE in found["why"]


def test_so_many_images_are_shown_as_have_room(raster: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    one = copied(raster, tmp_path)
    section = {"looks": looks.section(rows_of([one]))}
    half = len(json.dumps(section["looks"])) // 2
    monkeypatch.setattr(looks, "MOST_TEXT", half)
    looks.fill([section])
    assert len(json.dumps(section["looks"])) <= half
    assert 0 < len(section["looks"]["images"]) < looks.IMAGES
    assert len(section["looks"]["rows"]["0"]["images"]) == len(section["looks"]["images"])


OWN = '''"""mine: looks at the middle.

It is a contender of one's own.
"""

from dataclasses import dataclass

from glimpsebench.agents import center


@dataclass
class Mine(center.Center):
    reference = None
'''


def test_an_own_contender_runs_under_a_suites_terms(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    Path("own_terms.py").write_text(OWN)
    Path("mine.toml").write_text(
        '[base]\ntask = ["digits", "digits-clutter"]\nseed = [3, 4]\nagent.predictor_steps = 7\n'
        'agent.glimpses = 5\n[[matrix]]\nagent = "ram"\n"agent.predictor_steps" = 9\n'
    )
    specs = terms("mine.toml", "own_terms")
    assert [(spec.task, spec.seed) for spec in specs] == [
        ("digits", 3), ("digits", 4), ("digits-clutter", 3), ("digits-clutter", 4),
    ]  # fmt: skip
    assert all(spec.agent_settings == {"predictor_steps": 7} for spec in specs), "the base's, as far as it has them"
    fewer = terms("mine.toml", "own_terms", {"seed": [1], "agent.predictor_steps": [2]})
    assert [spec.seed for spec in fewer] == [1, 1]
    assert fewer[0].agent_settings == {"predictor_steps": 2}
    assert {spec.seed for spec in terms("quick", "own_terms")} == {0, 1, 2}
    with pytest.raises(UsageError, match="glimpses"):
        terms("mine.toml", "own_terms", {"agent.glimpses": [3]})


@pytest.mark.slow
def test_an_own_contender_stands_among_a_suites_rows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    Path("own_row.py").write_text(OWN)
    Path("few.toml").write_text(
        'title = "Few"\nfloors = false\n[base]\ntask = "digits-clutter"\nseed = 4\n'
        'agent.predictor_steps = 2\n[[matrix]]\nagent = "raster"\n'
    )
    make_honest(tmp_path / "results", 4)
    with judged_by_a_guess():
        code, out, err = glimpse("run", "--agent", "own_row", "--suite", "few.toml", capsys=capsys)
    assert code == 0, err
    assert "page: glimpse report few.toml --import own_row" in out
    assert glimpse("report", "few.toml", "--import", "own_row", capsys=capsys)[0] == 0
    found = json.loads(Parsed(Path("runs/few/report.html").read_text()).texts["script"][0])["sections"][0]
    assert {row["agent"]: row["seeds"] for row in found["rows"]} == {"own_row": [4], "raster": [4]}
    assert len(found["looks"]["rows"]) == 2
    monkeypatch.delitem(sys.modules, "own_row")
    assert glimpse("report", "few.toml", capsys=capsys)[0] == 0
    without = html.unescape(Path("runs/few/report.html").read_text())
    assert "No pictures of own_row: a record names the module own_row" in without
    assert "add --import own_row." in without


@pytest.mark.slow
def test_which_own_contenders_stand_on_the_page_is_said_and_what_is_lacking_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    names = ("own_shown", "own_left")
    for name in names:
        Path(f"{name}.py").write_text(OWN)
        make_honest(tmp_path / "runs", agent=name)
    Path("few.toml").write_text(
        'title = "Few"\nfloors = ["raster"]\n[base]\ntask = "digits-clutter"\nagent.predictor_steps = 2\n'
        '[[matrix]]\nagent = "full"\n'
    )

    def made(*words: str) -> tuple[str, str, list[str]]:
        code, _, err = glimpse("report", "few.toml", *words, capsys=capsys)
        assert code == 0, err
        page = Path("runs/few/report.html").read_text()
        section = json.loads(Parsed(page).texts["script"][0])["sections"][0]
        assert [row["name"] for row in section["rows"] if row["name"] in names] == section["beside"]
        return html.unescape(page), err, section["beside"]

    page, err, beside = made()
    assert sorted(beside) == sorted(names)
    assert err.count("\n") == 1
    assert "none of the suite's own runs in runs and results (results: no such folder)" in err
    assert "--root CLONE/results adds committed rows, `glimpse sweep few.toml` makes them" in err
    assert err.strip() in page
    assert "no floor here" in page
    assert "nobody." not in page
    assert "Every row counts in the correction" in page
    assert made("--own", "own_shown")[2] == ["own_shown"]
    make_honest(tmp_path / "results")
    page, err, beside = made("--own", "none")
    assert (err, beside) == ("", [])
    assert "Every row counts in the correction" not in page


def test_a_suite_has_its_tasks(capsys: pytest.CaptureFixture[str]) -> None:
    code, _, err = glimpse("run", "--agent", "center", "--suite", "quick", "--task", "digits", capsys=capsys)
    assert code == 2
    assert "leave --task out" in err


def test_what_was_run_here_stands_before_the_store_and_own_contenders_among_its_rows(
    raster: Path, tmp_path: Path
) -> None:
    one = copied(raster, tmp_path)
    store = tmp_path / "results"
    shutil.copytree(tmp_path / "quick", store)  # a store, which holds each record once
    shutil.copytree(tmp_path / "quick", tmp_path / "runs" / "quick")
    suite = tmp_path / "quick.toml"
    suite.write_text('title = "Q"\nfloors = false\n[base]\ntask = "digits-clutter"\n[[matrix]]\nagent = "raster"\n'
                     '"agent.predictor_steps" = 2\n')  # fmt: skip
    found = views.view(str(suite), [tmp_path / "runs" / "quick", store])
    assert [record.folder.parents[4].name for record in found.records] == ["runs"]
    assert [record.question for record in views.view(str(suite), [store]).records] == [one.question]
    with pytest.raises(UsageError, match="no records of the suite quick"):
        views.view(str(suite), [tmp_path / "nowhere"])
    path = report.Page([str(suite)], [store], tmp_path / "deep" / "page.html").write()
    assert '<th scope="row">raster</th>' in path.read_text()


@pytest.fixture
def served(raster: Path, tmp_path: Path) -> Iterator[Server]:
    copied(raster, tmp_path)
    with Server(report.Page(["quick"], [tmp_path / "quick"])) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def asked(server: Server, path: str, method: str = "GET", **headers: str) -> tuple[int, str]:
    connection = http.client.HTTPConnection("127.0.0.1", server.server_port, timeout=30)
    connection.request(method, path, headers=headers)
    answer = connection.getresponse()
    return answer.status, answer.read().decode()


def test_a_served_page_is_made_anew_when_a_record_changes(served: Server) -> None:
    code, text = asked(served, "/")
    version = asked(served, "/version")[1]
    assert code == 200
    assert f'data-live="{version}"' in text
    assert "connect-src 'self'" in text
    assert asked(served, "/version")[1] == version
    made = next(iter(served.shown.roots_of("quick")[0].glob("records/*/*/*/record.json")))
    made.write_text(made.read_text() + "\n")
    hashes.write(made.parent)
    assert asked(served, "/version")[1] != version
    assert asked(served, "/version")[1] in asked(served, "/")[1]
    made.write_text("damaged")
    code, text = asked(served, "/")
    assert code == 200
    assert "Nothing to show yet" in text


def test_a_server_is_not_started_for_a_suite_that_is_not_there() -> None:
    with pytest.raises(UsageError, match="suite"):
        report.serve(report.Page(["quik"]))


def test_a_server_answers_its_own_page_alone(served: Server) -> None:
    assert served.server_address[0] == "127.0.0.1"
    assert asked(served, "/", Host="evil.example")[0] == 421
    assert asked(served, "/../../etc/passwd")[0] == 404
    assert asked(served, "/", "POST")[0] == 501


@pytest.mark.slow
def test_a_suites_claims_stand_on_its_page_as_ablate_decides_them() -> None:
    shown = views.view("estimators", [ROOT / "results"])
    decided = ablate.decided(read_suite("estimators"), shown.records)
    assert [claim["claim"] for claim in shown.ablations] == [verdict.claim.text for verdict in decided] != []
    assert [claim["verdict"] for claim in shown.ablations] == [verdict.outcome for verdict in decided]
    assert all(claim["why"] for claim in shown.ablations)


@pytest.mark.slow
def test_the_page_of_the_committed_quick_suite_is_small_and_the_same_twice(tmp_path: Path) -> None:
    pages = [report.Page(["quick"], [ROOT / "results"], tmp_path / f"{n}.html").write() for n in range(2)]
    assert pages[0].read_bytes() == pages[1].read_bytes()
    assert pages[0].stat().st_size < 2_000_000
    assert {row.name for row in rows_of(read_all(ROOT / "results" / "quick"))} <= {
        row["name"] for row in report.Page(["quick"], [ROOT / "results"]).data()["sections"][0]["rows"]
    }
    assert read_suite("quick").title in pages[0].read_text()


def test_a_floor_is_named_where_it_is_the_strongest() -> None:
    section = block([*records(), *(floor("best", seed, 0.9) for seed in range(6))])["sections"][0]
    at = section["budgets"].index(0.1)
    assert section["rows"][section["floors"]["own"][at]["row"]]["name"] == "best"
