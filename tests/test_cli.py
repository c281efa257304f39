"""The command line: mistakes are one clear line and exit code 2, and nothing is half-written."""

from __future__ import annotations

import dataclasses
import errno
import inspect
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any, get_type_hints

import numpy as np
import pytest

from conftest import Alone, judged_by
from glimpsebench.bench import cli, judges, plan, records
from glimpsebench.bench import run as bench_run
from glimpsebench.bench.run import Spec
from glimpsebench.bench.suites import about, expand, read_suite, suite_names
from glimpsebench.envs import settings as envs_settings
from glimpsebench.envs.tasks import Task

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
        (["figures", "quick", "--width", "wide"], "--width wide: write column, text or inches"),
        (["methods", "--results", "nowhere"], "nowhere: no records in its folders"),
        (
            ["run", "--agent", "ram", "--set", "agent.predictor_lr=Infinity"],
            "setting 'predictor_lr' of agent 'ram': inf does not fit",
        ),
        (["run", "--agent", "ram", "--set", "agent.predictor_lr=NaN"], "nan does not fit"),
        (["run", "--agent", "ram", "--set", f"agent.glimpses={10**26}"], "finite number below 2^63"),
        (["run", "--agent", "ram", "--set", "agent.reward=corect"], "did you mean 'correct'?"),
        (
            ["run", "--agent", "ram", "--set", "agent.predictor_lr=1", "--sweep", "agent.predictor_lr=1,2"],
            "agent.predictor_lr is said twice",
        ),
        (["run", "--agent", "ram", "--set", "agent.="], "begins with 'agent.'"),
        (["run", "--agent", "ram", "--sweep", "agent.predictor_lr="], "a value is missing"),
        (["run", "--agent", "ram", "--seeds", "0-x"], "such as 0-9 or 0,3,5-7"),
        (["run", "--agent", "ram", "--seeds", "9-0"], "must count upwards"),
        (["run", "--agent", "ram", "--seeds", "0-99999999999"], "100,000 seeds are the most"),
        (["run", "--agent", "ram", "--seed", "1" * 26], "'seed' must be 0 or more and at most 4294967295"),
        (["sweep", "quick", "--seeds", "1" * 26], "'seed' must be 0 or more and at most 4294967295"),
        (["sweep", "quick", "--set", "agent.glimpse=6"], "did you mean 'glimpses'?"),
        (["sweep", "quick", "--set", "task.noise=1"], "unknown setting of task"),
        (["run", "--agent", "."], "unknown agent '.'"),
        (["run", "--agent", ""], "unknown agent ''"),
        (["run", "--agent", "sys"], "the module sys, which is no file, must define one Agent, and has 0"),
        (["run", "--agent", "os"], "os.py must define one Agent, and has 0"),
        (["run", "--agent", "mine/agent.py"], "not its path: mine.agent"),
        (["compare", "all", "x", "--root", "nowhere"], "nowhere: no records here"),
        (
            ["leaderboard", "estimators"],
            "runs: no records of the suite estimators; `glimpse sweep estimators` makes some",
        ),
        (["figures", "digit"], "'digit' is no suite, no folder with records, and runs has records of no task"),
        (["verify", "nothing-here"], "'nothing-here' is no suite"),
        (["publish", "quick"], "runs: no records of the suite quick"),
        (["retabulate", "results", "quik"], "did you mean 'quick'?"),
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


def test_on_a_terminal_a_mistake_goes_on_below_itself(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "80")
    line = glimpse("run", "--agent", "rma", capsys=capsys)[2]
    monkeypatch.setattr(type(sys.stderr), "isatty", lambda _: True)
    lines = glimpse("run", "--agent", "rma", capsys=capsys)[2].splitlines()
    assert len(line) > 80 >= max(map(len, lines))
    assert " ".join(" ".join(lines).split()) == line.strip()


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
        ("[base]\ntask='digits'\n[[matrix]]\nagent='ram'\n'agent.predictor_lr'=[0.1,'x']", "does not fit"),
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
        ("", "no runs"),
        ("[base]\nagent='ram'", "no runs"),
        ("matrix = []", "no runs"),
        (f"{SOUND}seed=[]", "'seed' is an empty list"),
        (f"title=3\n{SOUND}", "'title' must be text in one line, not 3"),
        (f"title='a\\nb'\n{SOUND}".replace("'", '"'), "'title' must be text in one line"),
        (f"title=''\n{SOUND}", "'title' must be text in one line"),
        (f"{SOUND}seed={'1' * 26}", "at most 4294967295"),
        (f"{SOUND}seed=-1", "'seed' must be 0 or more"),
        (f"{SOUND}'agent.predictor_lr'=inf", "setting 'predictor_lr' of agent 'ram': inf does not fit"),
        (f"{SOUND}'agent.predictor_lr'=[0.1, nan]", "setting 'predictor_lr' of agent 'ram': nan does not fit"),
        ("[base]\ntask='digits'\nagent='gdfs'\n'agent.glimpses'=-inf", "does not fit"),
        ("[base]\ntask='digits'\nagent='straight_through'\n'agent.extra_budgets'=[[inf]]", "does not fit"),
        ("[base]\ntask='digits'\n[[matrix]]\nagent='.'", "matrix 1: unknown agent '.'"),
        ("[base]\ntask='digits'\n[[matrix]]\nagent='sys'", "matrix 1: agent 'sys'"),
        ("[base]\ntask='digits'\n[[matrix]]\nagent='ram.py'", "write the module's dotted name"),
        (f"{SOUND}agent.predictor_lr=0.1", 'quote a setting: "agent.lr" = 0.01'),
        (f"{SOUND}[[matrix]]\nagent.steps=1\n'agent.steps'=2", "'agent.steps' is said twice"),
        ("[base]\ntask='digits'\nagent.stepz=1\n[[matrix]]\nagent='dham'", "did you mean 'steps'?"),
        ("[base]\ntask='digits'\n[[matrix]]\nseed=1", "matrix 1: a run needs 'agent'"),
        (f"{SOUND}seed={list(range(400))}\n'agent.batch'={list(range(1, 400))}", "multiply to 159,600 runs"),
        (f"{SOUND}[[compare]]\nname='a/b'\nb='ram'", "compare 1: 'name' is of a file"),
        (f"{SOUND}[[compare]]\nname=''\nb='ram'", "compare 1: 'name' is of a file"),
        (f"{SOUND}[[compare]]\nname='..'\nb='ram'", "compare 1: 'name' is of a file"),
        (f"{SOUND}[[compare]]\nname='x'\nb='ram'\na=3", "compare 1: 'a' must be text"),
        (f"{SOUND}[[compare]]\nname='x'\nb='ram'\na='ram'", "'ram' is to be compared with itself"),
        (f"{SOUND}[[compare]]\nname='x'\nb='ram'\nmeasure=[]", "'measure' is an empty list"),
        (f"{SOUND}[[compare]]\nname='x'\nb='ram'\n[[compare]]\nname='X'\nb='center'", "is written twice"),
        (
            "floors=false\n[[matrix]]\ntask='digits'\nagent='ram'\n[[matrix]]\ntask='digits-clutter'\nagent='dham'\n"
            "[[compare]]\nname='x'\na='ram'\nb='dham'",
            "'ram' and 'dham' have no task in common",
        ),
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


@pytest.mark.parametrize(
    ("source", "says"),
    [
        ("raise SystemExit(0)", "SystemExit: 0"),
        ("import sys\nsys.exit('enough')", "SystemExit: enough"),
        ("raise ValueError('two\\nlines')", "ValueError: two lines"),
        ("def (", "SyntaxError"),
        ("import no_such_thing", "No module named 'no_such_thing'"),
        ("x = 1", "must define one Agent, and has 0"),
        (f"{OWN_AGENT}\n\nclass Other(Inkblot): pass", "must define one Agent, and has 2"),
        (OWN_AGENT.replace("def act", "def acts"), "Inkblot lacks act"),
        (
            OWN_AGENT.replace("    blur: int = 3", "    blur: int = 3\n\n    def __post_init__(self): 1 / 0"),
            "division by zero",
        ),
    ],
)
def test_a_module_of_ones_own_that_is_no_agent_is_one_line(
    source: str, says: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    name = f"own_{abs(hash(source))}"
    (tmp_path / f"{name}.py").write_text(source)
    code, _, err = glimpse("run", "--agent", name, "--task", "digits", capsys=capsys)
    assert (code, err.count("\n")) == (2, 1)
    assert f"agent '{name}'" in err
    assert says in err
    assert [path.name for path in tmp_path.iterdir()] == [f"{name}.py"]


@pytest.mark.parametrize(
    "words", [["leaderboard"], ["figures"], ["curves"], ["compare", "all", "x"], ["publish"], ["report"], ["rejudge"]]
)
def test_every_reader_of_a_suite_finds_the_modules_that_it_names(
    words: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])  # the folder is not on it, as where `glimpse` is called
    name = f"named_by_{words[0]}"
    Path(f"{name}.py").write_text("from glimpsebench.agents import center\nclass Mine(center.Center):\n    pass\n")
    Path("mine.toml").write_text(f"floors = false\n[[matrix]]\nagent = '{name}'\ntask = 'digits'\n")
    code, _, err = glimpse(*words, "mine.toml", capsys=capsys)
    assert (code, "no records of the suite mine" in err) == (2, True), err


def test_ones_own_modules_and_suites_are_suggested_and_listed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "my_package").mkdir()
    (tmp_path / "my_package" / "blots.py").write_text(f"raise ImportError('never imported')\n{OWN_AGENT}")
    (tmp_path / "helpers.py").write_text("x = 1\n")
    (tmp_path / "mine.toml").write_text(f"# Is it so? Minutes a run.\ntitle='My title'\n{SOUND}[[matrix]]\n")
    for word in ("my_package.blot", "my_package_blots"):
        assert "did you mean 'my_package.blots'?" in glimpse("run", "--agent", word, capsys=capsys)[2]
    assert "did you mean 'mine.toml'?" in glimpse("sweep", "mine", capsys=capsys)[2]
    out = glimpse("agents", capsys=capsys)[1]
    assert "In this folder: my_package.blots\n" in out
    out = " ".join(glimpse("suites", capsys=capsys)[1].split())
    assert "mine.toml 8 runs. My title. Is it so? Minutes a run." in out


def test_an_agents_settings_are_told_with_type_range_choices_default_and_meaning(
    capsys: pytest.CaptureFixture[str],
) -> None:
    from glimpsebench import agents

    out = " ".join(glimpse("agents", "ram", capsys=capsys)[1].split())
    assert "glimpses=6 whole number, ≥ 1: how many, in training and at test (T)." in out
    assert 'reward="correct" correct or likelihood: what REINFORCE maximises' in out
    assert "policy_lr=0.002 number, > 0: training of the recurrent network" in out, "one entry of several names"
    for name in agents.names():
        for setting in envs_settings.described(agents.find(name)):
            assert setting.meaning, f"{name}.{setting.name} is described nowhere"


def test_every_suite_that_comes_along_is_listed_with_its_runs_its_question_and_its_cost(
    capsys: pytest.CaptureFixture[str],
) -> None:
    out = " ".join(glimpse("suites", capsys=capsys)[1].split())
    for name in suite_names():
        question, cost = about(name)
        assert f" {name} {len(read_suite(name).specs)} runs. " in f" {out}"
        assert " ".join(question.split()) in out
        assert cost in out
        assert re.search(r"(seconds|minute|hour|day)", question + cost, re.I), name


def test_nested_tables_mean_what_quoted_keys_mean(tmp_path: Path) -> None:
    quoted = (
        "[base]\ntask='dham-120'\n'agent.steps'=60\n'agent.batch'=8\n[[matrix]]\nagent='dham'\n'agent.lr'=[0.1,0.2]\n"
        "[[matrix]]\nagent='dham'\n'agent.steps'=7\n'task.noise'=0.5\n"
    )
    mixed = quoted.replace("'agent.steps'=60", "agent.steps=60").replace("'task.noise'", "task.noise")
    tables = (
        "[base]\nagent='dham'\ntask='dham-120'\n'agent.batch'=8\n'agent.steps'=60\n"
        "[[matrix]]\n[matrix.agent]\nlr=[0.1,0.2]\n[[matrix]]\nagent={steps=7}\ntask={noise=0.5}\n"
    )
    runs = [{str(spec) for spec in suite_of(text, tmp_path)} for text in (quoted, mixed, tables)]
    assert any("steps=60" in run for run in runs[0])
    for other in runs[1:]:
        assert {tuple(sorted(run)) for run in other} == {tuple(sorted(run)) for run in runs[0]}


def test_the_command_line_takes_the_place_of_what_a_suite_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine.toml").write_text(
        "[base]\ntask='digits'\nseed=[0,1,2]\n'agent.predictor_steps'=9\n"
        "[[matrix]]\nagent=['ram','uniform']\n[[matrix]]\nagent='ram'\n'agent.glimpses'=3\nseed=5\n"
        "[[compare]]\nname='x'\nb='ram (glimpses=3, predictor_steps=9)'\n"
    )
    words = ["--seeds", "0,3,5-6", "--set", "agent.predictor_steps=7", "--sweep", "agent.policy_lr=1e-3,1e-2"]
    out = glimpse("sweep", "mine.toml", "--list", *words, capsys=capsys)[1]
    runs = " ".join(out.split())
    assert runs.count("seed 0") == runs.count("seed 3") == runs.count("seed 5") == runs.count("seed 6") > 0
    assert "seed 1" not in runs
    assert "predictor_steps=9) on" not in runs
    assert "uniform (predictor_steps=7) on digits" in runs, "a floor is trained as the runs are"
    for lr in ("0.001", "0.01"):
        assert f"ram (predictor_steps=7, glimpses=3, policy_lr={lr}) on digits, seed 6" in runs
    assert "agent.policy_lr: not applied to center, full, lowres, raster, uniform" in runs
    assert "agent.predictor_steps: not" not in runs, "floors have it too"
    assert "left out: compare 1: unknown contender" in runs
    assert (
        glimpse("sweep", "mine.toml", "--list", "--set", "agent.glimpses=2", capsys=capsys)[1].count("glimpses=3") == 1
    )


def test_values_of_a_sweep_are_json_where_they_parse() -> None:
    changes = cli.parse_changes(
        ["agent.a=[1,2]", "agent.b=x,y"], ["agent.c=1e-3,.01", "agent.d=[1,2],[3]", "task.e=x, y"]
    )
    assert changes == {
        "agent.a": [[1, 2]],
        "agent.b": ["x,y"],
        "agent.c": [1e-3, ".01"],
        "agent.d": [[1, 2], [3]],
        "task.e": ["x", "y"],
    }


def test_all_commands_have_one_store_and_readers_take_a_suite_a_task_or_a_folder() -> None:
    found = {
        command.callback.__name__.removesuffix("_command"): inspect.signature(command.callback).parameters
        for command in cli.app.registered_commands
        if command.callback is not None
    }
    with_root = {name for name, parameters in found.items() if "root" in parameters}
    assert {found[name]["root"].default for name in with_root} == {Path("runs")}
    assert with_root >= {"run", "sweep", "publish", "audit"}
    with_roots = {name for name, parameters in found.items() if "roots" in parameters}
    assert with_roots == {"leaderboard", "figures", "compare", "ablate", "report"}
    readers = {"leaderboard", "figures", "compare", "rejudge", "verify", "by_glimpse", "curves", "challenge"}
    assert {name for name, parameters in found.items() if "of" in parameters} >= readers


@pytest.fixture
def unjudged(monkeypatch: pytest.MonkeyPatch) -> None:
    """A judge that costs nothing."""
    judged_by(monkeypatch, Alone("0" * 16, lambda view: np.zeros((len(view["canvas"]), 2))))


@pytest.mark.usefixtures("unjudged")
def test_run_makes_one_run_after_another(
    beacon: Task, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    words = ["run", "--agent", "center", "--task", "beacon", "--root", "here", "--set", "agent.predictor_steps=2"]
    code, out, _ = glimpse(*words, "--seeds", "0-1", "--sweep", "agent.predictor_lr=0.01,0.02", capsys=capsys)
    assert code == 0
    assert out.count("done in") == len(records.read_all(tmp_path / "here")) == 4
    assert max(map(len, out.splitlines())) <= 80
    (tmp_path / "mine.toml").write_text(
        "floors=false\n[base]\ntask='beacon'\nagent='center'\nseed=[0,1]\n'agent.predictor_steps'=2\n"
    )
    made: list[bool] = []

    def swept(*_: Any, again: bool, **__: Any) -> list[str]:
        made.append(again)
        return []

    monkeypatch.setattr(cli.running, "_report", lambda *_: None)
    monkeypatch.setattr("glimpsebench.bench.sweep.sweep", swept)
    glimpse("sweep", "mine.toml", "--root", "here", "--again", capsys=capsys)
    glimpse("sweep", "mine.toml", "--root", "here", capsys=capsys)
    assert made == [True, False]


def test_what_runs_have_in_common_is_worked_out_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Listing 1,000 runs is to take a second or two: benchmarks/listing.py."""
    calls: list[str] = []

    def counted(name: str, real: Any) -> Any:
        def call(*args: Any, **more: Any) -> Any:
            calls.append(name)
            return real(*args, **more)

        return call

    monkeypatch.setattr("glimpsebench.bench.judges.name_of", counted("judge", judges.name_of))
    monkeypatch.setattr(Spec, "make", counted("made", Spec.make))
    monkeypatch.setattr("glimpsebench.envs.settings.get_type_hints", counted("hints", get_type_hints))
    monkeypatch.setattr(records.Record, "read", counted("read", records.Record.read))
    envs_settings._hints.cache_clear()
    (tmp_path / "mine.toml").write_text(
        f"floors=false\n[base]\ntask='digits'\nagent='ram'\nseed={list(range(50))}\n'agent.predictor_lr'=[0.1,0.2]\n"
    )
    specs = read_suite(str(tmp_path / "mine.toml")).specs
    folder = specs[0].folder(tmp_path).parent
    for number in range(3):  # other settings of the same agent
        spec = dataclasses.replace(specs[0], agent_settings={"predictor_lr": 1.0 + number})
        path = spec.folder(tmp_path) / "record.json"
        path.parent.mkdir(parents=True)
        about = spec.about()
        about["agent"]["sensor"] = ""
        about["task"] |= {"shape": [1, 8, 8], "classes": 10, "test_images": 9, "test_sha256": "0" * 64}
        about |= {"status": "failed", "error": "none", "budgets": [1.0], "key": path.parent.name, "software": {}}
        about |= {"schema": records.SCHEMA, "machine": {"device": "cpu", "threads": 1, "processor": ""}}
        del about["judge"]
        path.write_text(records.canonical(about))
    assert folder == path.parent.parent
    calls.clear()
    assert len(plan.standings(specs, tmp_path)) == len(specs) == 100
    assert calls.count("judge") == 0, "which is no part of what is asked"
    assert calls.count("made") == 2, "once for each row of 50 seeds"
    assert calls.count("read") == 3, "once for each record"
    assert calls.count("hints") == 0, "types are read once"


@pytest.mark.usefixtures("unjudged")
@pytest.mark.parametrize("kind", ["missing", "folder", "read-only", "full"])
def test_what_cannot_be_written_is_one_line(
    kind: str, beacon: Task, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    bench_run.run(Spec("center", "beacon", 0, {"predictor_steps": 2}), tmp_path / "here", iter)
    page = tmp_path / "page.md"
    page.write_text("<!-- leaderboard: x -->\n<!-- /leaderboard -->\n")
    commands = [["leaderboard", "--root", "here", "--into", "page.md"]]
    if kind == "missing":
        commands = [["leaderboard", "--root", "here", "--into", "nowhere.md"]]
    elif kind == "folder":
        commands = [["leaderboard", "--root", "here", "--into", "here"]]
    else:
        number = {"read-only": errno.EROFS, "full": errno.ENOSPC}[kind]

        def refuse(path: Path, *args: Any, **more: Any) -> int:
            raise OSError(number, os.strerror(number), *([str(path)] if kind == "read-only" else []))

        monkeypatch.setattr(Path, "write_text", refuse)
        commands += [["methods", "--results", "."]]
        commands += [
            ["run", "--agent", "center", "--task", "beacon", "--set", "agent.predictor_steps=3", "--root", "here"]
        ]
    before = page.read_text()
    for words in commands:
        code, _, err = glimpse(*words, capsys=capsys)
        assert (code, err.count("\n")) == (2, 1)
        assert err.startswith("error: ")
        assert "Traceback" not in err
    assert page.read_text() == before


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
        "floors=false\n[base]\ntask='digits-clutter'\n[[matrix]]\nagent=['full','my_package.my_module']\n'agent.predictor_steps'=3\n"
        "[[compare]]\nname='against-full'\nb='full (predictor_steps=3)'\nmeasure=['own','judge']\n"
    )
    command = [sys.executable, "-m", "glimpsebench"]
    for words in (
        [
            "run",
            "--agent",
            "my_package.my_module",
            "--task",
            "digits-clutter",
            "--set",
            "agent.predictor_steps=3",
            "--root",
            "here",
        ],
        ["sweep", "tiny.toml", "--root", "here"],
    ):
        done = subprocess.run([*command, *words], cwd=tmp_path, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
    for file in ("leaderboard.md", "against-full-own.md", "against-full-judge.md"):
        assert "my_package.my_module" in (tmp_path / "here" / "tiny" / file).read_text()
