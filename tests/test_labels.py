"""Labels: how a suite calls its rows in every table and figure, and what else `compare` understands."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from glimpsebench.bench import compare, leaderboard, store
from glimpsebench.bench.records import Record
from glimpsebench.bench.rows import Called, labels_of, rows_of
from glimpsebench.bench.run import Spec, run
from glimpsebench.bench.suites import MOST_LABEL, Suite, read_suite, suite_names
from glimpsebench.envs.errors import UsageError
from glimpsebench.envs.tasks import Task


def about(agent: str, task: str = "digits-v1", version: int = 1, **changed: Any) -> dict[str, Any]:
    settings = {"glimpses": 6, "size": 8, "kind": "window"} | changed
    return {
        "agent": {"name": agent, "settings": settings, "changed": changed, "version": version, "source": "0123456789"},
        "task": {"id": task, "settings": {}},
        "judge": None,
    }


def short(abouts: list[dict[str, Any]], *labels: str | None) -> list[str]:
    return [called.label for called in labels_of(abouts, labels)]


def test_a_label_is_the_agents_name_and_what_sets_it_apart() -> None:
    assert short([about("ram", size=12, glimpses=8), about("sac", size=12)]) == ["ram", "sac"]
    three = [about("uniform", size=12), about("uniform", size=12, kind="mask"), about("sac")]
    assert short(three) == ["uniform", "uniform (kind=mask)", "sac"]
    assert short(three, "windows", None, None) == ["windows", "uniform (kind=mask)", "sac"], "as without the label"
    assert [called.name for called in labels_of(three)] == ["uniform (size=12)", "uniform (kind=mask, size=12)", "sac"]


def test_the_same_label_on_two_tasks_has_the_same_settings() -> None:
    assert short([about("ram", "a-v1"), about("ram", "b-v1")]) == ["ram", "ram"]
    assert short([about("ram", "a-v1"), about("ram", "b-v1", size=12)]) == ["ram", "ram (size=12)"]
    assert short([about("ram", "a-v1"), about("ram", "b-v1", size=12)], "ram", "ram") == ["ram", "ram"], "if it is said"


def test_what_settings_do_not_tell_apart_versions_do() -> None:
    both = [about("ram", version=1, size=12), about("ram", version=2, size=12)]
    assert short(both) == ["ram (version=1)", "ram (version=2)"]
    assert short(both, "mine", "mine") == ["mine (version=1)", "mine (version=2)"]


def test_rows_of_one_label_are_told_apart() -> None:
    both = [about("ram", size=12, glimpses=8), about("ram", size=12, kind="mask")]
    assert short(both, "RAM", "RAM") == ["RAM (glimpses=8)", "RAM (kind=mask)"]
    assert short([about("ram"), about("sac")], "both", "both") == ["both (agent=ram)", "both (agent=sac)"]


SUITE = """
[base]
task = "digits"
[[matrix]]
agent = "ram"
[[matrix]]
agent = "ram"
label = "without REINFORCE"
"agent.reinforce" = 0.0
[[matrix]]
agent = "dham"
label = "attention"
"agent.norm" = ["L2", "L1"]
"""


def suite_of(text: str, tmp_path: Path) -> Suite:
    (tmp_path / "mine.toml").write_text(text)
    return read_suite(str(tmp_path / "mine.toml"))


def called(suite: Suite) -> list[Called]:
    return labels_of([spec.about() for spec in suite.specs], [spec.label for spec in suite.specs])


def test_a_suite_calls_its_rows_and_asks_for_the_same_runs(tmp_path: Path) -> None:
    suite = suite_of(SUITE, tmp_path)
    named = {row.label: row.name for row in called(suite)}
    assert {"ram": "ram", "without REINFORCE": "ram (reinforce=0.0)"}.items() <= named.items()
    assert {"attention": "dham", "attention (norm=L1)": "dham (norm=L1)", "center": "center"}.items() <= named.items()
    plain = suite_of("\n".join(line for line in SUITE.splitlines() if not line.startswith("label")), tmp_path)
    assert [spec.folder(tmp_path) for spec in suite.specs] == [spec.folder(tmp_path) for spec in plain.specs]
    assert "REINFORCE" not in str(suite.specs[1].about())


@pytest.mark.parametrize(
    ("a", "means"),
    [
        ("without REINFORCE", "without REINFORCE"),
        ("ram (reinforce=0.0)", "without REINFORCE"),
        ("attention(norm=L1)", "attention (norm=L1)"),
        ("dham (norm=L1)", "attention (norm=L1)"),
        ("dham", "attention"),
    ],
)
def test_comparisons_take_labels_and_names(a: str, means: str, tmp_path: Path) -> None:
    suite = suite_of(f"{SUITE}[[compare]]\nname = 'x'\na = '{a}'\nb = 'ram'\n", tmp_path)
    assert compare.matching(called(suite), suite.comparisons[0].a) == means


@pytest.mark.parametrize(
    ("a", "says"),
    [
        ("without REINFORC", "unknown contender 'without REINFORC': did you mean 'without REINFORCE'?"),
        ("dham (norm=L3)", "did you mean 'dham (norm=L1)'?"),
    ],
)
def test_an_unknown_label_is_told_with_the_nearest(a: str, says: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError) as caught:
        suite_of(f"{SUITE}[[compare]]\nname = 'x'\na = '{a}'\nb = 'ram'\n", tmp_path)
    assert says in str(caught.value)


def test_a_name_of_several_labels_is_told_with_them(tmp_path: Path) -> None:
    text = (
        SUITE.replace('agent = "dham"\nlabel = "attention"', 'agent = "ram"\nlabel = "wide"')
        .replace('"agent.norm" = ["L2", "L1"]', '"agent.size" = 12')
        .replace('agent = "ram"\n[[', 'agent = "center"\n[[')
    )
    with pytest.raises(UsageError, match="several contenders are 'ram', say which: wide, without REINFORCE"):
        suite_of(f"{text}[[compare]]\nname = 'x'\na = 'ram'\nb = 'center'\n", tmp_path)


@pytest.mark.parametrize(
    ("label", "says"),
    [
        ('""', "'label' must be text in one line"),
        ("3", "'label' must be text in one line"),
        (r'"a\nb"', "'label' must be text in one line"),
        (f'"{"x" * (MOST_LABEL + 1)}"', f"at most {MOST_LABEL} characters"),
        ('["a", "b"]', "'label' is one for all rows of a matrix"),
        ('"all"', "'label' cannot be 'all'"),
        ('"sac"', "'label' cannot be 'sac', which means another agent"),
    ],
)
def test_what_is_no_label_is_said(label: str, says: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError) as caught:
        suite_of(f"[[matrix]]\ntask = 'digits'\nagent = 'ram'\nlabel = {label}\n", tmp_path)
    assert says in str(caught.value)


def test_one_run_has_one_label(tmp_path: Path) -> None:
    again = "\n[[matrix]]\nagent = 'ram'\n'agent.reinforce' = 0.0\n"
    assert "without REINFORCE" in [row.label for row in called(suite_of(SUITE + again, tmp_path))]
    with pytest.raises(UsageError, match=r"matrix 4: ram .*: called 'without REINFORCE' before and 'other' here"):
        suite_of(f"{SUITE}{again}label = 'other'\n", tmp_path)


def test_records_are_shown_by_the_labels_of_the_suite_that_is_looked_at(beacon: Task, tmp_path: Path) -> None:
    record = run(Spec("raster", "beacon", 0, {"predictor_steps": 2}), tmp_path / "r", iter)
    text = "floors = false\n[[matrix]]\ntask = 'beacon'\nagent = 'raster'\n'agent.predictor_steps' = 2\n"
    plain, scan = suite_of(text, tmp_path), suite_of(f"{text}label = 'a scan'\n", tmp_path)
    for suite, label in ((plain, "raster"), (scan, "a scan")):
        kept = store.labelled(suite, store.asked_by(suite.specs, [record]))
        (row,) = rows_of(kept)
        assert (row.label, row.name) == (label, "raster (predictor_steps=2)")
        assert f"| {label} | judge |" in leaderboard.markdown([row], "A title")
        assert set(leaderboard.table([row])["contender"]) == {label}
    older = Record(record.folder, {**record.about, "agent": record.about["agent"] | {"settings": {"since": "removed"}}})
    assert [one.label for one in store.labelled(scan, [older])] == ["a scan"], "a default that has changed since"
    other = Record(record.folder, {**record.about, "agent": record.about["agent"] | {"settings": {}, "changed": {}}})
    assert [one.label for one in store.labelled(scan, [other])] == [None]


@pytest.mark.parametrize("name", suite_names())
def test_labels_of_the_shipped_suites_are_short(name: str) -> None:
    suite = read_suite(name)
    labels = [row.label for row in called(suite)] + [each.b for each in suite.comparisons]
    assert max(map(len, labels)) <= 60, max(labels, key=len)
