"""The examples, for a few steps, with a reader that is made at once."""

from __future__ import annotations

import doctest
import runpy
import warnings
from pathlib import Path

import numpy as np
import pytest

import glimpsebench
from glimpsebench.envs.predictors import Observation

EXAMPLES = Path(__file__).parents[1] / "examples"
README = (EXAMPLES.parent / "README.md").read_text()


def guessing(task: object) -> object:
    """A reader in no time: its logits follow the mean of what it sees."""

    def predictor(view: Observation) -> np.ndarray[tuple[int, ...], np.dtype[np.float32]]:
        level_B = view["canvas"].mean((1, 2, 3))
        return np.stack([level_B * k for k in range(10)], 1).astype(np.float32)

    return predictor


@pytest.mark.parametrize(
    ("name", "arguments", "says"),
    [
        ("sb3_ppo", ["--steps", "2048"], "last tenth minus first: "),
        ("ppo_loop", ["2"], "update 1: return "),
        ("torchrl_collect", ["40"], "batch 0: 40 glimpses, 10 episodes, mean return "),
    ],
)
def test_examples_run(
    name: str,
    arguments: list[str],
    says: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    if name.startswith("torchrl"):
        pytest.importorskip("torchrl")
    monkeypatch.setitem(glimpsebench.PREDICTORS, "random-masks", f"{__name__}:guessing")
    monkeypatch.setattr("sys.argv", [f"{name}.py", *arguments])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of other people's tools
        runpy.run_path(str(EXAMPLES / f"{name}.py"), run_name="__main__")
    assert says in capsys.readouterr().out


def test_the_env_of_the_readme_is_as_it_says() -> None:
    session = README.split("```pycon\n")[1].split("```")[0]
    example = doctest.DocTestParser().get_doctest(session, {}, "README", "README.md", 0)
    assert len(example.examples) > 3
    assert doctest.DocTestRunner().run(example).failed == 0


@pytest.mark.parametrize("path", sorted(EXAMPLES.glob("*.py")), ids=lambda path: path.stem)
def test_examples_are_short_and_named_in_the_readme(path: Path) -> None:
    assert len(path.read_text().splitlines()) <= 60
    assert f"examples/{path.name}" in README
