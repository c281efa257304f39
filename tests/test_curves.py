"""Training curves: they leave no trace in the training, hold what was told, and say when a learner is at chance."""

from __future__ import annotations

import json
import math
import sys
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from conftest import Alone, Beacon, hurried, judged_by
from glimpsebench import agents
from glimpsebench.agents.common.base import Agent, Diverged, report, reporting_to
from glimpsebench.agents.uniform import Uniform
from glimpsebench.bench import curves, recorder, terminal
from glimpsebench.bench.leaderboard import rows_of
from glimpsebench.bench.recorder import Recorder
from glimpsebench.bench.records import Record, compact
from glimpsebench.bench.rollout import rollout
from glimpsebench.bench.run import Spec, run
from glimpsebench.bench.styles import styles_of
from glimpsebench.envs.glimpse import Observation
from glimpsebench.envs.tasks import Split, Task
from test_cli import glimpse

NAMES = agents.names()
SHORT = {"selector_steps": 2, "predictor_steps": 2}


@pytest.fixture(autouse=True)
def unjudged(monkeypatch: pytest.MonkeyPatch) -> None:
    """A judge that costs nothing."""
    judged_by(monkeypatch, Alone("0" * 16, lambda view: np.zeros((len(view["canvas"]), 2))))


def fitted(name: str, recorded: bool, **settings: Any) -> tuple[Agent, Recorder, dict[str, bytes]]:
    """A trained agent, its curve, and all random streams that outlive the training."""
    agent, task = hurried(name, **settings), Beacon()
    torch.manual_seed(0)
    np.random.seed(0)  # noqa: NPY002  Stable-Baselines3 draws from it
    agent.prepare(task)
    curve = Recorder(agent, task)
    if recorded:
        with reporting_to(curve):
            agent.fit(task, 0, curve)
    else:
        agent.fit(task, 0, iter)
    state: Any = np.random.get_state()  # noqa: NPY002
    return agent, curve, {"torch": bytes(torch.get_rng_state().numpy()), "numpy": state[1].tobytes() + bytes(state[2])}


@pytest.mark.parametrize("name", NAMES)
def test_weights_and_random_streams_are_the_same_with_and_without_the_curve(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(recorder, "LEAST_APART", 1)  # it is measured after every step
    more = {"policy_steps": 2 * 768, "rounds": 1} if hasattr(hurried(name), "num_envs") else {}  # two rollouts or more
    agent, curve, streams = fitted(name, True, **more)
    without, _, streams_without = fitted(name, False, **more)
    assert agent.net is not None
    assert without.net is not None
    state = without.net.state_dict()
    for key, value in agent.net.state_dict().items():
        assert value.numpy().tobytes() == state[key].numpy().tobytes(), key
    assert [part.training for part in agent.net.modules()] == [part.training for part in without.net.modules()]
    assert streams == streams_without
    assert agent.findings == without.findings
    for stage in curve.curves:
        points = stage["measures"]["accuracy"]
        assert len(points["step"]) > 1, f"{stage['stage']}: measured in the middle of its training too"
        assert {"loss", "critic_loss"} & set(stage["measures"]), stage["stage"]
        assert not stage["stage"].startswith("stage "), "every loop says what it trains"
        assert all(0 <= value <= 1 for value in points["value"])


@pytest.mark.parametrize("name", ["straight_through", "dham", "ram", "gdfs", "cells", "ppo", "lowres"])
def test_the_accuracy_is_what_the_rollout_finds_within_that_budget(name: str) -> None:
    agent, curve, _ = fitted(name, True, **({"steps": 40} if name == "dham" else {}))
    last = curve.curves[-1]
    assert last["scored"].startswith(curves.OWN)
    budget = float(last["scored"].split()[-3]) / 100
    images = Beacon().val()
    predicted_N = rollout(agent, images, seed=0).predicted_FN[agent.budgets.index(budget)]
    right_N = predicted_N == images.labels_N
    if (predicted_N >= 0).all():  # the rollout has no prediction without a glimpse, and the curve has one
        assert last["measures"]["accuracy"]["value"][-1] == pytest.approx(right_N.mean(), abs=1e-4)
    else:
        assert last["measures"]["accuracy"]["value"][-1] >= right_N.mean()


@pytest.mark.parametrize("name", ["saccader", "sobel"])
def test_the_accuracy_of_cells_is_what_the_rollout_finds_after_as_many(name: str) -> None:
    agent, curve, _ = fitted(name, True, network="bagnet-5")
    last = curve.curves[-1]
    agent.glimpses = int(last["scored"].rpartition(": ")[2])  # type: ignore[attr-defined]
    assert agent.horizon() == 2, "two windows of 25 pixels surely fit in a fifth of 256"
    images = Beacon().val()
    right_N = rollout(agent, images, seed=0).predicted_FN[-1] == images.labels_N
    assert last["measures"]["accuracy"]["value"][-1] == pytest.approx(right_N.mean(), abs=1e-2)


def told(length: int, losses: Any = None) -> Recorder:
    """A curve of one loop, of eight images a step."""
    agent, task = hurried("uniform"), Beacon()
    agent.prepare(task)
    curve = Recorder(agent, task)
    with reporting_to(curve):
        for step in curve(range(length)):
            report("windows", images=8, loss=step if losses is None else losses[step])
    return curve


def test_a_curve_holds_means_of_the_loss_and_counts_steps_and_images() -> None:
    curve = told(100)
    (stage,) = curve.curves
    loss = stage["measures"]["loss"]
    assert stage["stage"] == "windows"
    assert loss["step"] == list(range(2, 101, 2))
    assert loss["images"] == [8 * step for step in loss["step"]]
    assert loss["value"] == [step - 1.5 for step in loss["step"]], "of every two steps"
    assert stage["measures"]["accuracy"]["step"] == [100]
    (seconds,) = curve.timings
    assert {name: len(points) for name, points in seconds.items()} == {"loss": 50, "accuracy": 1}
    assert seconds["loss"] == sorted(seconds["loss"])


def test_images_are_counted_over_the_stages_and_steps_within() -> None:
    _, curve, _ = fitted("realx", True, pretrain_steps=3, predictor_steps=4)
    points = [stage["measures"]["loss"] for stage in curve.curves]
    assert [part["step"] for part in points] == [[1, 2, 3], [1, 2], [1, 2, 3, 4]]
    assert [n for part in points for n in part["images"]] == [64 * n for n in range(1, 10)]
    assert [stage["stage"] for stage in curve.curves] == ["pretraining", "selector", "predictor"]


@pytest.mark.parametrize(("steps", "at"), [(2, [2]), (300, [125, 250, 300]), (3000, [*range(200, 3001, 200)])])
def test_accuracy_is_measured_seldom_and_at_the_end(steps: int, at: list[int], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Recorder, "_accuracy", lambda self, stage: (0.5, "nothing"))
    assert told(steps).curves[0]["measures"]["accuracy"]["step"] == at


def test_losses_that_are_not_finite_are_null_and_a_run_that_diverges_keeps_its_curve() -> None:
    curve = told(4, losses=[1.0, math.nan, math.inf, 2.0])
    assert curve.curves[0]["measures"]["loss"]["value"] == [1.0, None, None, 2.0]
    assert json.loads(compact(curve.curves)) == curve.curves
    agent, task = hurried("uniform"), Beacon()
    agent.prepare(task)
    curve = Recorder(agent, task)

    def diverge() -> None:
        with reporting_to(curve):
            for step in curve(range(200)):
                report("windows", images=8, loss=1.0)
                if step == 5:
                    raise Diverged

    with pytest.raises(Diverged):
        diverge()
    assert curve.curves[0]["measures"]["loss"]["step"] == [4, 6]
    report("windows", images=8, loss=1.0)  # nobody listens any more
    assert curve.curves[0]["measures"]["loss"]["step"] == [4, 6]


@dataclass
class Late(Uniform):
    """It cannot predict before its training is over, and has a loop that tells nothing."""

    def fit(self, task: Task, seed: int, progress: Any) -> None:
        for _ in progress(range(3)):
            self.net.weight_of_nothing = 1.0  # type: ignore[union-attr]
        self.trained = True

    def predict(self, view: Observation) -> NDArray[Any]:
        return np.zeros((len(view["mask"]), self.classes)) if self.trained else np.zeros(0)


def test_an_agent_that_cannot_predict_yet_fails_no_run() -> None:
    agent, task = Late(), Beacon()
    agent.prepare(task)
    curve = Recorder(agent, task)
    with reporting_to(curve):
        agent.fit(task, 0, curve)
    (stage,) = curve.curves
    assert stage["stage"] == "stage 1"
    assert stage["scored"].startswith("not measured: AttributeError")
    assert stage["measures"] == {}


def test_validation_images_are_spread_over_a_split_that_is_ordered_by_class() -> None:
    labels_N = np.repeat(np.arange(10), 200)
    boxes_N4 = np.tile(np.arange(2000)[:, None], 4)
    some = recorder._some_of(Split(np.zeros((2000, 1, 4, 4), np.uint8), labels_N, boxes_N4=boxes_N4))
    assert len(some) == recorder.VALIDATION_IMAGES
    assert some.labels_N is not None
    assert some.boxes_N4 is not None
    assert np.bincount(some.labels_N).tolist() == [50] * 10
    assert (labels_N[some.boxes_N4[:, 0]] == some.labels_N).all()
    assert len(recorder._some_of(Split(np.zeros((3, 1, 4, 4), np.uint8), np.arange(3)))) == 3


def test_a_record_has_the_curve_and_its_seconds_and_older_ones_have_none(beacon: Task, root: Path) -> None:
    record = run(Spec("straight_through", "beacon", 0, SHORT), root, iter)
    assert [stage["stage"] for stage in record.curves] == ["selector", "predictor"]
    for stage, seconds in zip(record.curves, record.curve_seconds, strict=True):
        assert {name: len(part["value"]) for name, part in stage["measures"].items()} == {
            name: len(part) for name, part in seconds.items()
        }
    assert "curves" not in (record.folder / "record.json").read_text(), "seconds, and all that grows, lie elsewhere"
    timings = json.loads((record.folder / "timings.json").read_text())
    assert timings["validation"] > 0
    for name in ("curves.json", "timings.json"):
        (record.folder / name).unlink()
    older = Record.read(record.folder)
    assert older.curves == older.curve_seconds == []


def test_a_learner_at_chance_says_so_and_one_above_it_does_not(beacon: Task, root: Path) -> None:
    record = run(Spec("straight_through", "beacon", 0, SHORT | {"predictor_init": "random"}), root, iter)
    said = curves.at_chance(record, " --root there")
    assert said is not None
    assert said.startswith(
        "straight_through (predictor_init=random, predictor_steps=2, selector_steps=2) on beacon-v1, seed 0: no better"
    )
    assert "glimpse curves beacon-v1 --root there" in said
    assert said.endswith(
        "settings to look at: agent.lr, agent.predictor_lr, agent.predictor_steps, agent.selector_steps"
    )
    assert said.count("\n") == 1
    assert curves.at_chance(run(Spec("dham", "beacon", 0, {"steps": 60}), root, iter)) is None
    assert curves.at_chance(run(Spec("uniform", "beacon", 0, {"predictor_steps": 2}), root, iter)) is None


def test_chance_is_the_share_of_the_largest_class_and_luck_is_allowed_for(beacon: Task, root: Path) -> None:
    record = run(Spec("straight_through", "beacon", 0, SHORT), root, iter)
    labels_N = np.repeat([0, 1], [750, 250])

    def with_right(count: int, **about: Any) -> Record:
        own_N = np.where(np.arange(1000) < count, labels_N, 1 - labels_N)
        arrays = {
            name: np.tile(values[:1, :1], (len(values), 1000))
            for name, values in record.arrays.items()
            if values.ndim == 2
        }
        arrays |= {"own": np.tile(own_N, (len(record.budgets), 1)), "labels": labels_N}
        made = Record(record.folder, {**record.about, **about})
        vars(made)["arrays"] = arrays
        return made

    assert curves.at_chance(with_right(500)) is not None
    assert curves.at_chance(with_right(770)) is not None, "luck"
    assert "75.0 %" in str(curves.at_chance(with_right(750)))
    assert curves.at_chance(with_right(800)) is None
    assert curves.at_chance(with_right(500, status="failed")) is None


def test_run_and_sweep_tell_of_a_learner_at_chance(
    beacon: Task, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    words = ["--agent", "straight_through", "--task", "beacon", "--root", "here"]
    few = [*(f"--set=agent.{name}=1" for name in SHORT), "--set=agent.predictor_init=random"]
    _, out, _ = glimpse("run", *words, *few, capsys=capsys)
    assert "no better than chance" in " ".join(out.split())
    assert "glimpse curves beacon-v1 --root here" in " ".join(out.split())
    (tmp_path / "mine.toml").write_text(
        "title = 'Mine'\nfloors = false\n[base]\ntask = 'beacon'\nagent = 'straight_through'\n"
        "'agent.selector_steps' = 1\n'agent.predictor_steps' = 1\n'agent.predictor_init' = 'random'\n"
    )
    _, out, err = glimpse("sweep", "mine.toml", "--root", "here", capsys=capsys)
    assert "no better than chance" in " ".join(out.split()), err


def made(root: Path) -> list[Record]:
    return [
        *(run(Spec("straight_through", "beacon", seed, SHORT), root, iter) for seed in (0, 1)),
        run(Spec("uniform", "beacon", 0, {"predictor_steps": 2}), root, iter),
    ]


def test_curves_are_drawn_and_told(beacon: Task, root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    made(root)
    code, out, _ = glimpse("curves", "--root", str(root), "--agent", "straight_through", "--markdown", capsys=capsys)
    assert code == 0
    assert "| selector |" in out
    assert "own prediction, at most 20 % touched" in out
    assert "uniform" not in out
    assert str(root / "training.png") in " ".join(out.split())
    before = [(root / f"training.{kind}").read_bytes() for kind in ("png", "pdf")]
    assert len(before[0]) > 10_000
    glimpse("curves", "--root", str(root), "--agent", "straight_through", capsys=capsys)
    assert [(root / f"training.{kind}").read_bytes() for kind in ("png", "pdf")] == before
    code, out, _ = glimpse("curves", "--root", str(root), "--task", "beacon", capsys=capsys)
    assert "uniform" in out
    assert max(map(len, out.splitlines()[:-4])) <= 80, "fits a terminal"


def test_losses_within_a_power_of_ten_have_plain_numbers_at_their_axis(
    beacon: Task, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    record = run(Spec("full", "beacon", 0, {"predictor_steps": 30}), root, iter)
    points = {"step": [10.0, 20.0, 30.0], "images": [640.0, 1280.0, 1920.0]}
    measures = {"loss": {**points, "value": [0.9, 0.7, 0.62]}, "accuracy": {**points, "value": [0.5, 0.6, 0.7]}}
    monkeypatch.setitem(record.__dict__, "curves", [{"stage": "predictor", "scored": "", "measures": measures}])
    rows = rows_of([record])
    figure = curves.picture(rows, styles_of(rows), 3.25).figure
    figure.canvas.draw()
    labels = [label.get_text() for axis in figure.axes for label in axis.get_yticklabels(which="both")]
    assert not [label for label in labels if "$" in label]
    assert "0.7" in labels


def test_lines_break_between_stages_and_other_accuracies_are_apart(beacon: Task, root: Path) -> None:
    record = run(Spec("gradcam", "beacon", 0, SHORT), root, iter)
    loss = curves.line_of(record, ["loss"])
    assert loss is not None
    assert np.isnan(loss.value).tolist() == [False, False, True, False, False, True]
    assert loss.images.tolist() == [64, 128, 128, 192, 256, 256]
    for own, at in ((True, 256), (False, 128)):
        line = curves.line_of(record, ["accuracy"], own)
        assert line is not None
        assert line.images.tolist() == [at, at]
    assert curves.line_of(record, ["return"]) is None


def test_there_are_eight_contenders_to_a_figure(beacon: Task, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    record = run(Spec("uniform", "beacon", 0, {"predictor_steps": 2}), root, iter)
    abouts = [{**record.about, "agent": record.about["agent"] | {"version": number}} for number in range(9)]
    rows = rows_of([Record(record.folder, about) for about in abouts])
    monkeypatch.setattr(curves, "picture", lambda some, styles, width, name: (len(some), name))
    assert [*curves.draw(rows, {}, 6.75)] == [(8, "training-1"), (1, "training-2")]  # type: ignore[comparison-overlap]
    assert [*curves.draw(rows[:8], {}, 6.75)] == [(8, "training")]  # type: ignore[comparison-overlap]


def test_records_without_curves_are_one_line(beacon: Task, root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (run(Spec("uniform", "beacon", 0, {"predictor_steps": 2}), root, iter).folder / "curves.json").unlink()
    code, _, err = glimpse("curves", "--root", str(root), capsys=capsys)
    assert (code, err.count("\n")) == (2, 1)
    assert "no training curves here" in err


def test_tensorboard_files_are_written_where_it_is_installed_and_else_it_is_one_line(
    beacon: Task, root: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    records = made(root)
    monkeypatch.setattr(curves, "draw", lambda rows, styles, width: [])
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    words = ["curves", "--root", str(root), "--tensorboard", str(root / "events")]
    code, _, err = glimpse(*words, capsys=capsys)
    assert (code, err.count("\n")) == (2, 1)
    assert "pip install 'glimpsebench[tensorboard]'" in err

    scalars: dict[str, list[tuple[str, float, int]]] = {}

    class Writer:
        def __init__(self, folder: Path) -> None:
            self.at = scalars.setdefault(str(folder.relative_to(root / "events")), [])

        def add_scalar(self, tag: str, value: float, step: int, walltime: float) -> None:
            assert walltime >= 0
            self.at.append((tag, value, step))

        def close(self) -> None:
            pass

    there = ModuleType("torch.utils.tensorboard")
    there.SummaryWriter = Writer  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", there)
    assert glimpse(*words, capsys=capsys)[0] == 0
    assert len(scalars) == len(records)
    told = [(tag, step) for tag, _, step in scalars["beacon-v1/uniform/seed-0"]]
    assert sorted(told) == [("accuracy/1 predictor", 128), ("loss/1 predictor", 64), ("loss/1 predictor", 128)]


def test_a_sparkline_goes_from_the_lowest_to_the_highest() -> None:
    assert terminal.sparkline([1.0, 2.0, 3.0, 8.0]) == "▁▂▃█"
    assert terminal.sparkline([5.0]) == "▁"
    assert len(terminal.sparkline(list(range(100)))) == 12
