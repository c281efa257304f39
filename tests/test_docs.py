"""The pages for users: each command in them is one, suites are read, programs run, and links lead somewhere."""

from __future__ import annotations

import doctest
import re
import shlex
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pytest
import torch
import typer

from conftest import Beacon
from glimpsebench import agents
from glimpsebench.bench import cli
from glimpsebench.bench.audit.verdict import Verdict
from glimpsebench.bench.claims import arms_of
from glimpsebench.bench.suites import expand, read_suite, suite_names
from glimpsebench.envs import tasks
from glimpsebench.envs.tasks import Task

ROOT = Path(__file__).parents[1]
PAGES = [
    "getting-started",
    "reading-the-leaderboard",
    "add-a-contender",
    "add-a-task",
    "own-images",
    "own-ablation",
    "figures-for-a-paper",
]
COMMANDS = typer.main.get_command(cli.app)


def text(page: str) -> str:
    return (ROOT / "docs" / f"{page}.md").read_text()


def blocks(page: str, language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", text(page), re.S)


def lines(page: str) -> list[str]:
    """The commands of a page, those in its running text among them, without what stands behind `#` or for a name."""
    whole = re.findall(r"^ {4,}(glimpse .*?)(?:\s+#.*)?$", text(page), re.M)
    inline = re.findall(r"`(glimpse \S+ [^`]+)`", text(page))
    return whole + [line for line in inline if not re.search(r"\b[A-Z]{3,}\b", line)]


def parsed(line: str) -> tuple[str, dict[str, Any]]:
    """The command's name and what it is given; an unknown option or a missing argument is an error."""
    words, name, command = shlex.split(line)[1:], "", COMMANDS
    while inner := getattr(command, "commands", None):
        name = words.pop(0)
        assert name in inner, f"{line}: no such command"
        command = inner[name]
    try:
        return name, command.make_context(name, words).params
    except Exception as error:  # click's, or those of its copy in typer
        raise AssertionError(f"{line}: {getattr(error, 'message', error)}") from None


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder with what the pages tell their reader to write."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setitem(tasks.TASKS, "dots", dots())
    (tmp_path / "softmap.py").write_text(blocks("add-a-contender", "python")[0])
    (tmp_path / "guided.toml").write_text(blocks("own-ablation", "toml")[0])
    (tmp_path / "pets.toml").write_text(blocks("own-images", "toml")[0].replace('"folder:pets"', '"cifar10"'))
    for line in ('"task.masks"', '"task.side"'):
        content = (tmp_path / "pets.toml").read_text()
        (tmp_path / "pets.toml").write_text(re.sub(rf"^{re.escape(line)}.*\n", "", content, flags=re.M))
    yield tmp_path
    sys.modules.pop("softmap", None)


def dots() -> Task:
    program: dict[str, Any] = {"__name__": "dots"}
    exec(compile(blocks("add-a-task", "python")[0], "dots.py", "exec", dont_inherit=True), program)
    task = program["Dots"]()
    assert isinstance(task, Task)
    return task


@pytest.mark.parametrize("page", PAGES)
def test_every_command_in_the_pages_is_one(page: str, here: Path) -> None:
    assert {*re.findall(r"`glimpse ([a-z-]+)", text(page))} <= {*getattr(COMMANDS, "commands", {})}
    assert lines(page)
    for line in lines(page):
        name, given = parsed(line)
        changes = cli.parse_changes(given.get("settings"), given.get("sweeps"))
        named = [given[key] for key in ("suite", "name", "of") if isinstance(given.get(key), str)]
        if name in ("sweep", "ablate"):
            read_suite(named[0], changes)
        if name == "run" and not str(given.get("task")).startswith("folder:"):
            asked = {"agent": given["agent"], "task": given["task"] or "digits-clutter"}
            for spec in expand(asked | {"seed": cli.parse_seeds(given["seeds"] or "0"), **changes}):
                spec.make()
        if name == "agents" and given["name"]:
            agents.find(given["name"])
        if name == "report":
            for suite in given["suites"]:
                read_suite(suite)


@pytest.mark.parametrize("page", PAGES)
def test_every_link_leads_somewhere(page: str) -> None:
    for link in re.findall(r"\]\(([^)#]+)", text(page)):
        assert (ROOT / "docs" / link).exists(), link
    for path in re.findall(r"`((?:agents|bench|envs|docs|results|examples)/[\w./-]+)`", text(page)):
        assert (ROOT / path).exists(), path


def test_the_first_page_leads_to_all_others() -> None:
    for page in PAGES[1:]:
        assert f"({page}.md)" in text("getting-started"), page


def test_the_contender_of_the_page_learns_and_chooses(here: Path) -> None:
    agent = agents.make("softmap", {"selector_steps": 2, "predictor_steps": 1, "batch": 4, "predictor_init": "random"})
    task = Beacon(count=8)
    agent.prepare(task)
    torch.manual_seed(0)
    agent.fit(task, 0, iter)
    images = task.val().images_NCHW.astype(np.float32) / 255
    scores = agent.act({"image": images}, np.random.default_rng(0))
    assert scores.shape == (len(images), 16, 16)
    assert len(np.unique(scores[0])) > 1
    assert agent.track == "open"


def test_the_task_of_the_page_is_one(here: Path) -> None:
    task = tasks.make("dots", {"noise": 5.0})
    first, again, other = task.train(0), task.train(0), task.train(1)
    np.testing.assert_array_equal(first.images_NCHW, again.images_NCHW)
    assert (first.images_NCHW != other.images_NCHW).any()
    assert first.labels_N is not None
    assert set(first.labels_N) == {0, 1}
    assert (first.images_NCHW == 255).sum((1, 2, 3)).min() >= 9
    rows = (first.images_NCHW[:, 0] == 255).any(2).argmax(1) + 1  # the middle of the dot
    np.testing.assert_array_equal(rows >= 16, first.labels_N == 1)


def test_the_session_of_the_page_is_as_it_says() -> None:
    example = doctest.DocTestParser().get_doctest(blocks("add-a-task", "pycon")[0], {}, "docs", "add-a-task.md", 0)
    assert doctest.DocTestRunner().run(example).failed == 0


def test_the_ablation_of_the_page_states_a_claim_about_its_arms(here: Path) -> None:
    suite = read_suite("guided.toml")
    assert [(claim.a, claim.b) for claim in suite.claims] == [("guided", "unguided")]
    assert {"guided", "unguided"} <= {arm.called.label for arm in arms_of(suite.specs)}
    keys = re.findall(r"^\| (`.*?) \|", text("own-ablation"), re.M)
    described = {each for cell in keys for each in re.findall(r"`(\w+)`", cell)}
    assert described == set(type(suite.claims[0]).model_fields), "every key is explained, and no other"


def test_suites_that_the_pages_name_are_there() -> None:
    assert {"quick", "mask-penalty"} <= {*suite_names()}


def test_what_an_audit_says_and_takes_and_which_floors_a_suite_has_is_told(tmp_path: Path) -> None:
    for page in ("add-a-contender", "measurement"):
        assert all(f"`{word}`" in text(page) for word in get_args(Verdict)), page
        assert "as long as the" in text(page), page
    suite = re.sub("^floors = .*$", "{}", blocks("own-ablation", "toml")[0], flags=re.M)
    counts = {}
    for said in ('floors = ["uniform"]', "", "floors = false", "floors = []"):
        assert said in text("own-ablation")
        (tmp_path / "guided.toml").write_text(suite.replace("{}", said))
        counts[said] = len(read_suite(str(tmp_path / "guided.toml")).specs)
    whole, one, none, empty = (counts[said] for said in ("", 'floors = ["uniform"]', "floors = false", "floors = []"))
    assert whole > one > none == empty == 10
