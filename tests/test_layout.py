"""The shape of the project: the direction of the imports, and what the README shows."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

from glimpsebench.bench import ablate, answer, compare, discrimination, figures, leaderboard, retabulate, store
from glimpsebench.bench.run import Spec
from glimpsebench.bench.suites import read_suite
from glimpsebench.envs import tasks
from glimpsebench.envs.errors import UsageError

TITLE = read_suite("quick").title
ROOT = Path(__file__).parents[1]
FORBIDDEN = {
    "envs": ("glimpsebench.agents", "glimpsebench.bench"),
    "agents": ("glimpsebench.bench", "glimpsebench.envs.datasets"),
}


def imported(path: Path) -> set[str]:
    """Every module and name that a file imports, dotted."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    return names


@pytest.mark.parametrize("folder", sorted(FORBIDDEN))
def test_imports_go_one_way(folder: str) -> None:
    for path in sorted((ROOT / folder).glob("*.py")):
        for name in imported(path):
            assert not name.startswith(FORBIDDEN[folder]), f"{path.name} imports {name}"
            assert "test_split" not in name or folder == "envs", f"{path.name} reaches for the test split"


def test_agents_do_not_import_each_other() -> None:
    for path in sorted((ROOT / "agents").glob("*.py")):
        others = {p.stem for p in (ROOT / "agents").glob("*.py")} - {path.stem}
        for name in imported(path):
            assert name not in {f"glimpsebench.agents.{other}" for other in others}, f"{path.name} imports {name}"


def test_the_bench_names_no_agent_outside_the_suites() -> None:
    agents = {p.stem for p in (ROOT / "agents").glob("*.py")} - {"__init__"}
    for path in sorted([*(ROOT / "bench").glob("*.py"), *(ROOT / "bench" / "cli").glob("*.py")]):
        tree = ast.parse(path.read_text())
        placed = [each.value for each in ast.walk(tree) if isinstance(each, ast.keyword) and each.arg in ("va", "ha")]
        for node in ast.walk(tree):
            if isinstance(node, ast.Constant) and isinstance(node.value, str) and node not in placed:
                assert node.value not in agents, f"{path.name} names the agent {node.value}"


def test_the_links_for_type_checkers_are_there() -> None:
    for name in ("bench", "envs", "agents"):
        assert (ROOT / "src" / "glimpsebench" / name / "__init__.py").samefile(ROOT / name / "__init__.py")


RESULTS = sorted(path.name for path in store.folders(ROOT / "results"))
"""Committed results: one folder per suite."""


@pytest.mark.parametrize("name", RESULTS)
def test_the_committed_tables_are_those_of_the_committed_records(name: str, tmp_path: Path) -> None:
    folder, title = ROOT / "results" / name, read_suite(name).title
    kept = store.kept(folder)
    rows = leaderboard.rows_of(kept)
    assert leaderboard.markdown(rows, title) == (folder / "leaderboard.md").read_text()
    assert leaderboard.write(kept, tmp_path, title)[1].read_text() == (folder / "leaderboard.csv").read_text()
    assert not figures.stale(rows, folder), "run `glimpse retabulate results`"


def test_the_committed_comparisons_are_those_of_the_committed_records(tmp_path: Path) -> None:
    there, wanted = {str(path.relative_to(ROOT)) for path in (ROOT / "results").glob("*/*against-*.md")}, set()
    for name in RESULTS:
        (tmp_path / name).mkdir()
        rows = leaderboard.rows_of(store.kept(ROOT / "results" / name))
        written, left_out = compare.write(read_suite(name).comparisons, rows, tmp_path / name)
        assert not left_out or name in outdated(), left_out
        for path in written:
            wanted.add(f"results/{name}/{path.name}")
            assert (ROOT / "results" / name / path.name).read_text() == path.read_text()
    assert there == wanted
    assert wanted


def test_the_committed_page_of_claims_is_that_of_the_committed_records() -> None:
    page = ROOT / "results" / ablate.PAGE
    assert page.read_text() == ablate.page(ROOT / "results"), "run `glimpse retabulate results`"


def test_the_committed_page_of_tasks_is_that_of_the_committed_records() -> None:
    page = ROOT / "results" / discrimination.PAGE
    assert page.read_text() == discrimination.page(ROOT / "results"), "run `glimpse retabulate results`"


def test_the_committed_answer_and_that_of_the_readme_are_of_the_committed_records() -> None:
    results, fought = ROOT / "results", answer.records_in(ROOT / "results")
    assert (results / retabulate.ANSWER).read_text() == answer.markdown(fought), "run `glimpse retabulate results`"
    readme = (ROOT / "README.md").read_text()
    assert retabulate.with_answer(readme, results, fought) == readme, "run `glimpse retabulate results`"


def outdated() -> str:
    """What the README of the results says of those that earlier code has made."""
    return (ROOT / "results" / "README.md").read_text().partition("<!-- made by")[2].partition("<!-- /made by -->")[0]


def test_results_of_earlier_code_are_said_to_be() -> None:
    assert retabulate.sentence(ROOT / "results") in outdated(), "run `glimpse retabulate results`"


@pytest.mark.parametrize("name", RESULTS)
def test_committed_records_that_this_code_would_make_are_wanted_by_their_suite(name: str) -> None:
    wanted = {spec.folder(ROOT).name for spec in read_suite(name).specs}
    for record in store.kept(ROOT / "results" / name):
        agent, task = record.about["agent"], record.about["task"]
        try:
            settings = {key: value for key, value in task["settings"].items() if key not in tasks.IDENTITY}
            spec = Spec(agent["name"], task["id"], record.seed, agent["settings"], settings)
            made_by_this_code = spec.folder(ROOT).name == record.question
        except UsageError:  # settings of an earlier version
            continue
        assert not made_by_this_code or record.question in wanted, f"{record.folder} is not of the suite {name}"
