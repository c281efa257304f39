"""Suites that are no suites: one line with file, line and what to do, at once, and never a traceback."""

from __future__ import annotations

import os
import re
import time
from pathlib import Path

import pytest

from glimpsebench.bench.suites import MOST_BYTES, read_suite
from glimpsebench.envs.errors import UsageError
from test_cli import glimpse

HEAD = 'title = "T"\nfloors = false\n[base]\ntask = "digits"\n[[matrix]]\n'
"""Five lines, after which comes a matrix."""
RUN = 'agent = "full"\n'

AT_A_LINE: list[tuple[str, int, str]] = [
    # not TOML
    ("title = \n", 1, "Invalid value"),
    ("title = 'a\n", 1, "not a suite file"),
    ('title = "T"\ntitle = "U"\n', 2, "Cannot overwrite"),
    ('title = "T"\n[base\n', 2, "not a suite file"),
    ("[[matrix]]\nagent = no\n", 2, "Invalid value"),
    ("[[matrix]]\nagent = 1e\n", 2, "not a suite file"),
    ("[base]\n[base]\n", 2, "Cannot declare"),
    ("a.b = 1\na.b.c = 2\n", 2, "not a suite file"),
    (f"{HEAD}agent = 'full'\nagent.predictor_steps = 2\n", 7, "quote a setting"),
    ("key\n", 1, "not a suite file"),
    ("= 1\n", 1, "not a suite file"),
    ('title = "\\x"\n', 1, "not a suite file"),
    ("title = 2026-99-99\n", 1, "not a suite file"),
    ("title = {a = 1, a = 2}\n", 1, "not a suite file"),
    ('title = "\x01"\n', 1, "not a suite file"),
    # unknown keys, wrong types
    ("", 1, "no runs"),
    ("# nothing\n", 1, "no runs"),
    ('title = "T"\ntilte = "U"\n', 2, "did you mean 'title'"),
    ('floors = false\ntitle = 3\n[[matrix]]\nagent = "full"\ntask = "digits"\n', 2, "'title' must be text"),
    ('floors = false\ntitle = "a\\nb"\n', 2, "'title' must be text in one line"),
    ('floors = false\ntitle = ""\n', 2, "'title' must be text in one line"),
    ("floors = false\nbase = 3\n", 2, "'base' must be a table"),
    ("floors = false\nmatrix = 3\n", 2, "'matrix'"),
    ("floors = false\nmatrix = [3]\n", 2, "'matrix'"),
    ("floors = false\nmatrix = []\n", 1, "no runs"),
    ("[matrix]\nagent = 'full'\n", 1, "'matrix'"),
    (f"{HEAD}{RUN}[[compare]]\n", 7, "a comparison needs 'name'"),
    (f"{HEAD}{RUN}[[compare]]\nname = 'a/b'\nb = 'full'\n", 8, "'name' is of a file"),
    (f"{HEAD}{RUN}[[compare]]\nname = 'a'\n", 7, "a comparison needs 'b'"),
    (f"{HEAD}{RUN}[[compare]]\nname = 'a'\nb = 'full'\nmeasure = []\n", 10, "'measure' is an empty list"),
    (f"{HEAD}{RUN}[[compare]]\nname = 'a'\nb = 'full'\nmeasure = 'owm'\n", 10, "did you mean 'own'"),
    (f"{HEAD}{RUN}[[compare]]\nname = 'a'\nb = 'full'\nc = 1\n", 10, "unknown key 'c'"),
    (f"{HEAD}{RUN}[[compare]]\nname = 'a'\nb = 'raster'\n", 9, "'raster'"),
    (f"{HEAD}{RUN}[[claim]]\nx = 1\n", 8, "claim 1"),
    (f"{HEAD}{RUN}claim = 1\n", 7, "unknown key 'claim'"),
    # runs
    (f"{HEAD}", 5, "a run needs 'agent'"),
    ("[[matrix]]\nagent = 'full'\n", 1, "a run needs 'task'"),
    (f"{HEAD}agent = 3\n", 6, "'agent' must be text"),
    (f"{HEAD}agent = 'ful'\n", 6, "did you mean 'full'"),
    (f"{HEAD}agent = ''\n", 5, "unknown agent ''"),
    (f"{HEAD}agent = '../full'\n", 6, "write the module's dotted name"),
    (f"{HEAD}agent = 'full;import os'\n", 6, "unknown agent"),
    (f"{HEAD}agent = ['full', 'rastr']\n", 6, "did you mean 'raster'"),
    (f"{HEAD}agent = []\n", 6, "'agent' is an empty list"),
    (f"{HEAD}agent = [['full']]\n", 6, "'agent' must be text"),
    (f"{HEAD}{RUN}seed = -1\n", 7, "'seed' must be 0 or more"),
    (f"{HEAD}{RUN}seed = 1.5\n", 7, "'seed' must be a whole number"),
    (f"{HEAD}{RUN}seed = inf\n", 7, "'seed' must be a whole number"),
    (f"{HEAD}{RUN}seed = true\n", 7, "'seed' must be a whole number"),
    (f"{HEAD}{RUN}seed = '0'\n", 7, "'seed' must be a whole number"),
    (f"{HEAD}{RUN}seed = {'9' * 400}\n", 7, "'seed' must be 0 or more"),
    (f"{HEAD}{RUN}seed = []\n", 7, "'seed' is an empty list"),
    (f"{HEAD}{RUN}seeds = 1\n", 7, "unknown key 'seeds'"),
    (f"{HEAD}{RUN}lr = 1\n", 7, "unknown key 'lr'"),
    (f"{HEAD}{RUN}'agent.' = 1\n", 7, "unknown key 'agent.'"),
    (f"{HEAD}{RUN}'agent.predictor_step' = 1\n", 7, "did you mean 'predictor_steps'"),
    (f"{HEAD}{RUN}'agent.predictor_steps' = -1\n", 7, "predictor_steps"),
    (f"{HEAD}{RUN}'agent.predictor_steps' = 1.5\n", 7, "predictor_steps"),
    (f"{HEAD}{RUN}'agent.predictor_steps' = '1e3'\n", 7, "predictor_steps"),
    (f"{HEAD}{RUN}'agent.predictor_lr' = inf\n", 7, "predictor_lr"),
    (f"{HEAD}{RUN}'agent.predictor_lr' = nan\n", 7, "predictor_lr"),
    (f"{HEAD}{RUN}'agent.predictor_steps' = {'9' * 300}\n", 7, "predictor_steps"),
    (f"{HEAD}{RUN}'agent.predictor_steps' = 2026-01-01\n", 7, "predictor_steps"),
    (f"{HEAD}{RUN}'agent.predictor_steps' = {{a = 1}}\n", 7, "predictor_steps"),
    (f"{HEAD}{RUN}'task.noise' = 1\n", 7, "noise"),
    (f"{HEAD}{RUN}task = 'digit'\n", 7, "did you mean 'digits'"),
    (f"{HEAD}{RUN}task = 'folder:/nowhere'\n", 7, "/nowhere"),
    (f"{HEAD}{RUN}label = ['a', 'b']\n", 7, "'label'"),
    ('[base]\ntask = "digit"\n[[matrix]]\nagent = "full"\n', 2, "did you mean 'digits'"),
    (f"{HEAD}{RUN}seed = {list(range(1001))}\n'agent.predictor_steps' = {list(range(1, 1001))}\n", 5, "1,001,000 runs"),
    ("floors = 'x'\n[[matrix]]\nagent = 'full'\ntask = 'digits'\n", 1, "true, false, or a list of agents"),
    ("floors = ['ram']\n[[matrix]]\nagent = 'full'\ntask = 'digits'\n", 1, "unknown floor 'ram'"),
    ("title = " + "[" * 5000 + "]" * 5000 + "\n", 1, "nested too deeply"),
    (f"{HEAD}{RUN}'agent.predictor_steps' = " + "[" * 200 + "]" * 200 + "\n", 7, "predictor_steps"),
    ("#" * (MOST_BYTES + 1), 1, "bytes, and"),
    (f"{HEAD}agent = 'exits_mine'\n", 6, "SystemExit"),
    (f"{HEAD}agent = 'raises_mine'\n", 6, "ZeroDivisionError"),
]


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "exits_mine.py").write_text("import sys\nsys.exit(3)\n")
    (tmp_path / "raises_mine.py").write_text("1 / 0\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    return tmp_path


def test_there_are_many() -> None:
    assert len(AT_A_LINE) >= 60


@pytest.mark.parametrize(("text", "line", "says"), AT_A_LINE, ids=range(len(AT_A_LINE)))
def test_a_malformed_suite_is_one_line_that_names_file_line_and_key(
    text: str, line: int, says: str, here: Path
) -> None:
    (here / "bad.toml").write_text(text)
    began = time.process_time()
    with pytest.raises(UsageError) as caught:
        read_suite("bad.toml")
    message = str(caught.value)
    assert time.process_time() - began < 1
    assert says in message
    assert message.startswith(f"bad.toml:{line}: "), message
    assert len(message) < 2000
    assert "\n" not in message


def test_bytes_that_are_no_text(here: Path) -> None:
    (here / "bad.toml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(UsageError, match=r"bad.toml:1: not a suite file: 'utf-8' codec"):
        read_suite("bad.toml")


def test_what_is_no_plain_file_is_not_waited_for(here: Path) -> None:
    os.mkfifo(here / "pipe.toml")
    (here / "folder.toml").mkdir()
    (here / "loop.toml").symlink_to("loop.toml")
    for name in ("pipe.toml", "folder.toml", "loop.toml", "nowhere.toml", "a\0.toml", "quik"):
        with pytest.raises(UsageError, match=r"not a plain file|no such suite file|did you mean 'quick'"):
            read_suite(name)


def test_the_command_line_says_it_and_exits_with_2(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (here / "bad.toml").write_text(f"{HEAD}agent = 'ful'\n")
    for words in (["sweep", "bad.toml"], ["sweep", "bad.toml", "--list"], ["status", "bad.toml"]):
        code, out, err = glimpse(*words, capsys=capsys)
        assert (code, out) == (2, "")
        assert re.fullmatch(r"error: bad\.toml:6: matrix 1: unknown agent 'ful': did you mean 'full'\?.*\n", err)
