"""The command line: mistakes are one clear line and exit code 2, and nothing is half-written."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from glimpsebench.bench import cli
from glimpsebench.bench.run import Spec
from glimpsebench.bench.suites import expand, read_suite, suite_names

OWN_AGENT = (Path(__file__).parents[1] / "README.md").read_text().split("```python")[1].split("```")[0]


def glimpse(*words: str, capsys: pytest.CaptureFixture[str]) -> tuple[int, str, str]:
    """Run the command line in this process: exit code, output, errors."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["glimpse", *words])
        patch.setattr(sys, "path", list(sys.path))
        with pytest.raises(SystemExit) as stop:
            cli.main()
    out, err = capsys.readouterr()
    return int(stop.value.code or 0), out, err


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["run", "--agent", "rma"], "unknown agent 'rma': did you mean 'ram'?"),
        (["run", "--agent", "ram", "--task", "digit-clutter"], "did you mean 'digits-clutter'?"),
        (["run", "--agent", "ram", "--task", "digits-v7"], "digits-v1"),
        (["run", "--agent", "ram", "--set", "agent.glimpse=6"], "did you mean 'glimpses'?"),
        (["run", "--agent", "ram", "--set", "glimpses=6"], "did you mean 'agent.glimpses=6'?"),
        (
            ["run", "--agent", "ram", "--set", "agent.glimpses=six"],
            "setting 'glimpses' of agent 'ram': 'six'",
        ),
        (["run", "--agent", "ram", "--set", "agent.glimpses=0"], "greater than or equal to 1"),
        (["run", "--agent", "ram", "--set", "agent.glimpses"], "write PATH=VALUE"),
        (["run", "--agent", "ram", "--set", "task.noise=1"], "setting of task"),
        (["run", "--agent", "straight_through", "--set", "agent.target=5"], "less than 1"),
        (["run", "--agent", "no.such_module"], "cannot import it"),
        (["run", "--agent", "ram", "--seed", "-1"], "--seeds -1: write whole numbers of 0 or more"),
        (["run", "--agent", "uniform", "--device", "nowhere"], "no device 'nowhere' here"),
        (["sweep", "quick", "--device", "nowhere"], "no device 'nowhere' here, only cpu"),
        (["run", "--agent", "ram", "--task", "mnist"], "glimpse data get mnist"),
        (["sweep", "quik"], "unknown suite 'quik': did you mean 'quick'?"),
        (["sweep", "missing.toml"], "missing.toml: no such suite file"),
        (["data", "get", "minst"], "did you mean 'mnist'?"),
        (["agents", "unifrom"], "did you mean 'uniform'?"),
        (["leaderboard", "--root", "nowhere"], "nowhere: no records here"),
        (["figures", "--root", "nowhere"], "nowhere: no records here"),
        (["methods", "--results", "nowhere"], "nowhere: no records in its folders"),
    ],
)
def test_a_mistake_is_one_line_and_exit_code_2(
    words: list[str],
    says: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("GLIMPSE_DATA", str(tmp_path / "data"))
    code, _, err = glimpse(*words, capsys=capsys)
    assert code == 2
    assert says in err
    assert err.count("\n") == 1
    assert "Traceback" not in err
    assert not list(tmp_path.rglob("*")), "nothing is half-written"


SOUND = "[base]\ntask='digits'\nagent='ram'\n"


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("agent = 'ram'", "unknown key 'agent'"),
        ("[base\n", "not a suite file"),
        (
            "[base]\ntask='digits'\n[[matrix]]\nagent='rma'",
            "matrix 1: unknown agent 'rma': did you mean 'ram'?",
        ),
        ("[base]\ntask='digits'\n[[matrix]]\nagnet='ram'", "unknown key 'agnet'"),
        ("[base]\ntask='digits'\n[[matrix]]\nagent='ram'\n'agent.lr'=[0.1,'x']", "does not fit"),
        ("[base]\ntask='digits'\n[[matrix]]\nagent='ram'\nseed=1.5", "'seed' must be a whole number"),
        ("[base]\ntask='digits'\n[[matrix]]\nagent=3", "'agent' must be text"),
        ("[[matrix]]\nagent='ram'", "a run needs 'task'"),
        ("base = 3", "'base' must be a table"),
        ("compare = 3", "arrays of tables"),
        (f"{SOUND}[[compare]]\nb='ram'", "compare 1: a comparison needs 'name'"),
        (f"{SOUND}[[compare]]\nname='x'\nbee='ram'", "compare 1: unknown key 'bee'"),
        (f"{SOUND}[[compare]]\nname='x'\nb='ram'\nmeasure='onw'", "did you mean 'own'?"),
        (f"{SOUND}[[compare]]\nname='x'\nb='rma'", "compare 1: unknown contender 'rma': did you mean 'ram'?"),
        (f"{SOUND}[[compare]]\nname='x'\nb='uniform (kind=mask)'\na='dham'", "compare 1: unknown contender 'dham'"),
        (f"floors=['ram']\n{SOUND}", "floors: unknown floor 'ram'"),
        (f"floors=3\n{SOUND}", "floors: true, false, or a list of agents"),
        ("[base]\ntask='digits'\ntask='mnist'", "not a suite file"),
        ("\x00", "not a suite file"),
    ],
)
def test_a_broken_suite_file_is_named_before_anything_runs(
    text: str, says: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine.toml").write_text(text)
    code, _, err = glimpse("sweep", "mine.toml", capsys=capsys)
    assert code == 2
    assert says in err
    assert "mine.toml" in err
    assert "Traceback" not in err
    assert [path.name for path in tmp_path.iterdir()] == ["mine.toml"]


def test_suites_that_come_along_are_sound_and_quick_has_everyone() -> None:
    from glimpsebench import agents

    for name in suite_names():
        read_suite(name)
    quick = read_suite("quick")
    required = {"uniform", "center", "raster", "lowres", "full", "ram", "straight_through", "dham"}
    assert required <= {spec.agent for spec in quick.specs}
    assert required <= set(agents.names())
    assert {spec.seed for spec in quick.specs} == {0, 1, 2}


def test_expand_is_the_product_of_the_lists() -> None:
    specs = list(expand({"agent": ["ram", "dham"], "task": "digits", "seed": [0, 1], "agent.lr": 0.1}))
    assert len(specs) == 4
    assert specs[1].seed == 1
    assert specs[3].agent_settings == {"lr": 0.1}


def suite_of(text: str, folder: Path) -> list[Spec]:
    (folder / "mine.toml").write_text(text)
    return list(read_suite(str(folder / "mine.toml")).specs)


def test_every_suite_has_the_floors_and_the_ceiling_of_its_tasks(tmp_path: Path) -> None:
    base = "[base]\nseed=[3,4]\n'agent.predictor_steps'=9\n'agent.batch'=5\n'agent.size'=7\n"
    matrix = "[[matrix]]\ntask=['digits','digits-clutter']\nagent='ram'\n"
    specs = suite_of(base + matrix, tmp_path)
    for task in ("digits", "digits-clutter"):
        here = [spec for spec in specs if spec.task == task and spec.agent != "ram"]
        assert {spec.seed for spec in here} == {3, 4}
        made = {(spec.agent, *(spec.agent_settings.get(key) for key in ("kind", "cell", "size"))) for spec in here}
        windows = {("uniform", None, None, 7), ("uniform", "mask", None, 7), ("uniform", "mask", 4, 7)}
        others = {("center", None, None, None), ("lowres", None, None, None), ("full", None, None, None)}
        assert made == windows | others | {("raster", None, None, 7)}
        assert {spec.agent_settings["predictor_steps"] for spec in here} == {9}, "as long as the suite's predictors"
    masks = "[[matrix]]\ntask='digits'\nagent='uniform'\nseed=0\n'agent.kind'='mask'\n"
    listed = suite_of(base + matrix + masks, tmp_path)
    pixels = [spec for spec in listed if spec.task == "digits" and spec.agent_settings.get("kind") == "mask"]
    assert sorted((spec.agent_settings.get("cell", 1), spec.seed) for spec in pixels) == [(1, 0), (4, 3), (4, 4)]


def test_floors_can_be_left_out_or_named_and_have_the_training_of_no_other_agent(tmp_path: Path) -> None:
    matrix = "[[matrix]]\ntask='digits'\nagent='gdfs'\nseed=[1,2]\n"
    assert {spec.agent for spec in suite_of(f"floors=false\n{matrix}", tmp_path)} == {"gdfs"}
    named = suite_of(f"floors=['center']\n[base]\n'agent.lr'=1e-3\n{matrix}", tmp_path)
    assert [(spec.agent, spec.seed) for spec in named] == [("gdfs", 1), ("gdfs", 2), ("center", 1), ("center", 2)]
    assert named[-1].agent_settings == {}, "without predictor_steps the learning rate is that of gdfs"


@pytest.mark.parametrize("words", [[], ["run"], ["sweep"], ["data"], ["data", "get"], ["agents"], ["leaderboard"]])
def test_help_teaches(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = glimpse(*words, "--help", capsys=capsys)
    assert code == 0
    assert "Usage" in out


def test_agents_and_tasks_are_listed(capsys: pytest.CaptureFixture[str]) -> None:
    from glimpsebench import agents
    from glimpsebench.envs import tasks

    out = glimpse("agents", capsys=capsys)[1]
    assert all(name in out for name in agents.names())
    out = glimpse("tasks", capsys=capsys)[1]
    assert all(name in out for name in tasks.names())
    assert "policy_steps" in glimpse("agents", "ram", capsys=capsys)[1]


@pytest.mark.slow
def test_the_readmes_contender_runs_from_outside_and_is_on_the_leaderboard(tmp_path: Path) -> None:
    assert len(OWN_AGENT.strip().splitlines()) <= 40
    package = tmp_path / "my_package"
    package.mkdir()
    (package / "__init__.py").touch()
    (package / "my_module.py").write_text(OWN_AGENT)
    (tmp_path / "tiny.toml").write_text(
        "[base]\ntask='digits'\n[[matrix]]\nagent=['full','center','my_package.my_module']\n'agent.predictor_steps'=3\n"
        "[[compare]]\nname='against-full'\nb='full (predictor_steps=3)'\nmeasure=['own','evaluator']\n"
    )
    command = [sys.executable, "-m", "glimpsebench"]
    for words in (
        [
            "run",
            "--agent",
            "my_package.my_module",
            "--task",
            "digits",
            "--set",
            "agent.predictor_steps=3",
            "--root",
            "here",
        ],
        ["sweep", "tiny.toml", "--root", "here"],
    ):
        done = subprocess.run([*command, *words], cwd=tmp_path, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
    for file in ("leaderboard.md", "against-full-own.md", "against-full-evaluator.md"):
        assert "my_package.my_module" in (tmp_path / "here" / file).read_text()
