"""Watching agents look: what is shown is what the record says was looked at and what the agent then predicts."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from conftest import Beacon
from glimpsebench.bench import watch
from glimpsebench.bench.records import Record, read_all, rebuilt
from glimpsebench.bench.run import Spec, run
from glimpsebench.envs import tasks
from glimpsebench.envs.errors import UsageError
from test_cli import glimpse

FEW = {"predictor_steps": 2}


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Records of the toy task: uniform windows, and uniform pixels."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(tasks.TASKS, "beacon", Beacon(count=62))  # 248 test images: one batch
        made = tmp_path_factory.mktemp("watched")
        run(Spec("uniform", "beacon", 0, FEW | {"size": 4}), made, iter)
        run(Spec("uniform", "beacon", 0, FEW | {"kind": "mask"}), made, iter)
        yield made


def record_of(root: Path, kind: str) -> Record:
    return next(record for record in read_all(root) if record.about["agent"]["settings"].get("kind") == kind)


@pytest.fixture
def windows(root: Path) -> Record:
    return record_of(root, "window")


def test_moments_are_the_glimpses_within_the_budget(windows: Record) -> None:
    one = watch.watched(windows, "uniform", 5)
    at = windows.budgets.index(0.2)
    assert len(one.moments) == 1 + windows.arrays["steps"][at, 5] > 2
    touched = [moment.mask_HW.sum() for moment in one.moments]
    assert touched[0] == 0
    assert (np.diff(touched) >= 0).all()
    assert touched[-1] == windows.arrays["touched"][at, 5]
    assert one.moments[-1].used == windows.fractions_FN[at, 5]
    assert [len(moment.boxes) for moment in one.moments] == list(range(len(one.moments)))
    top, left, bottom, right = one.moments[1].boxes[0]
    assert one.moments[1].mask_HW[top:bottom, left:right].all()
    assert (bottom - top, right - left) == (4, 4)


def test_beliefs_are_probabilities_and_end_in_the_recorded_prediction(windows: Record) -> None:
    at = windows.budgets.index(0.2)
    for image in range(12):
        one = watch.watched(windows, "uniform", image)
        for moment in one.moments:
            assert moment.belief_K is not None
            assert moment.belief_K.sum() == pytest.approx(1, abs=1e-5)
        last = one.moments[-1].belief_K
        assert last is not None
        assert last.argmax() == windows.arrays["own"][at, image]
        assert one.right == (windows.arrays["own"][at, image] == windows.arrays["labels"][image])


def test_an_agent_of_one_glimpse_is_shown_budget_by_budget(root: Path) -> None:
    record = record_of(root, "mask")
    one = watch.watched(record, "pixels", 3)
    assert [moment.used for moment in one.moments[1:]] == [
        pytest.approx(record.fractions_FN[at, 3]) for at, budget in enumerate(record.budgets) if budget <= 0.2
    ]
    assert all(not moment.boxes for moment in one.moments)
    assert one.moments[-1].mask_HW.sum() == record.arrays["touched"][record.budgets.index(0.2), 3]


def test_the_command_runs_what_is_not_there_and_draws(
    root: Path, windows: Record, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["--task", "beacon", "--root", str(root), "--image", "2"]
    code, out, err = glimpse("watch", "raster", *words, "--set", "agent.predictor_steps=2", capsys=capsys)
    assert code == 0, err
    assert "running it now" in " ".join(out.split())
    code, out, err = glimpse("watch", "raster", "uniform (size=4)", *words, capsys=capsys)
    assert code == 0, err
    assert "running it now" not in " ".join(out.split())
    stem = root / "watch" / "beacon-2-raster-uniform-size=4"
    assert {path.name for path in stem.parent.iterdir()} >= {
        f"{stem.name}.{kind}" for kind in ("gif", "pdf", "png", "txt")
    }
    raster = next(record for record in (root / "records").glob("*/raster/*"))
    both = [watch.watched(Record.read(folder), "x", 2) for folder in (raster, windows.folder)]
    with Image.open(f"{stem}.gif") as moving:
        assert getattr(moving, "n_frames", 1) == max(len(one.moments) for one in both)
    before = [Path(f"{stem}.{kind}").read_bytes() for kind in ("gif", "pdf", "png", "txt")]
    glimpse("watch", "raster", "uniform (size=4)", *words, capsys=capsys)
    assert [Path(f"{stem}.{kind}").read_bytes() for kind in ("gif", "pdf", "png", "txt")] == before
    caption = Path(f"{stem}.txt").read_text()
    truth = rebuilt(windows)[0].class_names[int(windows.arrays["labels"][2])]
    assert f"a {truth}." in " ".join(caption.split())
    for one in both:
        assert f"{100 * one.moments[-1].used:.1f} %" in " ".join(caption.split())


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["watch", "unifrom", "--task", "beacon"], "did you mean 'uniform'?"),
        (
            ["watch", "uniform (size=4)", "--task", "beacon", "--image", "9999"],
            "--image 9999: beacon-v1 has test images 0 to",
        ),
        (["watch", "uniform", "--task", "becon"], "did you mean 'beacon'?"),
        (["watch", "uniform", "--task", "beacon", "--width", "huge"], "--width huge: write column"),
    ],
)
def test_a_mistake_is_one_line(
    words: list[str], says: str, root: Path, windows: Record, capsys: pytest.CaptureFixture[str]
) -> None:
    code, _, err = glimpse(*words, "--root", str(root), capsys=capsys)
    assert code == 2
    assert says in err
    assert err.count("\n") == 1


def test_weights_that_are_missing_are_named(windows: Record, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(windows.folder, copy, ignore=shutil.ignore_patterns("weights*"))
    with pytest.raises(UsageError, match=r"weights\.safetensors: not here"):
        watch.watched(Record.read(copy), "uniform", 0)
