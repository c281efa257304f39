"""Studies, and the numbers that `mask_penalty` measures for the first of them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from conftest import Alone, Beacon, hurried, judged_by
from glimpsebench import agents
from glimpsebench.agents.common.masks import MaskAgent
from glimpsebench.agents.common.nets import to_float
from glimpsebench.agents.mask_penalty import CURVE_POINTS, MaskPenalty, mask_loss
from glimpsebench.bench import cli, studies
from glimpsebench.bench.records import Record, canonical, read_all, settings_of
from glimpsebench.bench.run import Spec, run
from glimpsebench.bench.studies import mask_penalty
from glimpsebench.bench.suites import read_suite, suite_names
from glimpsebench.envs import tasks
from glimpsebench.envs.errors import UsageError
from glimpsebench.envs.tasks import Task

FEW = Beacon(count=32)


def fitted(task: Task, **settings: object) -> MaskPenalty:
    agent = hurried("mask_penalty", **settings)
    assert isinstance(agent, MaskPenalty)
    torch.manual_seed(0)
    agent.prepare(task)
    agent.fit(task, 0, iter)
    return agent


def test_measuring_leaves_no_trace_on_the_weights(monkeypatch: pytest.MonkeyPatch) -> None:
    measured = fitted(FEW, selector_steps=5, batch=16).nets.state_dict()
    monkeypatch.setattr(MaskPenalty, "fit_selector", MaskAgent.fit_selector)
    plain = fitted(FEW, selector_steps=5, batch=16)
    assert not plain.findings
    assert all(torch.equal(value, measured[name]) for name, value in plain.nets.state_dict().items())


@pytest.mark.parametrize(("steps", "points"), [(2, 3), (60, CURVE_POINTS + 1)])
def test_a_curve_runs_from_the_untrained_mask_to_the_last_step(steps: int, points: int) -> None:
    agent = fitted(FEW, selector_steps=steps, batch=8)
    curve = agent.findings["mask_mean_curve"]
    assert isinstance(curve, list)
    assert len(curve) == points
    assert curve[-1] == agent.findings["mask_mean"], "all of its few images are among those of the curve"
    assert 0.3 < curve[0] < 0.7, "before the first step the scores lie around zero"
    json.loads(canonical(agent.findings))


@pytest.mark.parametrize(("bias", "empty", "full", "overlap"), [(-100.0, 1, 0, 0), (100.0, 0, 1, 1)])
def test_an_empty_and_a_full_mask_are_measured_as_such(bias: float, empty: float, full: float, overlap: float) -> None:
    agent = agents.make("mask_penalty")
    assert isinstance(agent, MaskPenalty)
    agent.prepare(FEW)
    final = [module for module in agent.nets.scorer.modules() if isinstance(module, torch.nn.Conv2d)][-1]
    assert final.bias is not None
    torch.nn.init.constant_(final.bias, bias)
    val = FEW.val()
    agent.nets.eval()
    found = agent.measured(to_float(val.images_NCHW), torch.tensor(np.asarray(val.labels_N)))
    assert (found["mask_empty"], found["mask_full"], found["mask_shown"]) == (empty, full, full)
    assert found["mask_binary"] == 1
    assert found["mask_overlap"] == pytest.approx(overlap)
    assert found["mask_mean"] == found["mask_peak"] == full


def test_target_entropy_on_values_worked_by_hand() -> None:
    mask, one = torch.tensor([0.5, 1.0]), np.log(2) / 2  # the entropy of these two values, on average
    assert mask_loss(mask, "target_entropy", 1.0, 1e-6, 0.25) == pytest.approx(0.25)
    assert mask_loss(mask, "target_entropy", 0.2, 1e-6, 0.75) == pytest.approx(0.8 * one, abs=1e-5)
    assert mask_loss(mask, "target_entropy", 0.2, 1e-6, 0.75, rise=0.5) == pytest.approx(0.4 * one, abs=1e-5)


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[Record]]:
    """Two seeds of six settings and of the floor, hardly trained, judged by one who always says the same."""
    root = tmp_path_factory.mktemp("study")
    settings: list[dict[str, Any]] = [{"loss": "mse_zero"}, {"alpha": 0.2}, {"loss": "target_entropy", "target": 0.1}]
    settings += [{"beta": 0, "feature_l1": 0.01}, {"loss": "target_budget", "beta": 0.5, "target": 0.1}]
    settings += [{"alpha": 0.2, "feature_l1": 0.01}]
    few: dict[str, Any] = {"selector_steps": 2, "predictor_steps": 1, "batch": 8}

    def judge(view: dict[str, np.ndarray]) -> np.ndarray:
        return np.tile([1.0, 0.0], (len(view["canvas"]), 1))

    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(tasks.TASKS, "beacon", Beacon(count=8))
        judged_by(patch, Alone("0" * 16, judge))
        for seed in (0, 1):
            for one in settings:
                assert run(Spec("mask_penalty", "beacon", seed, few | one), root, iter).done
            run(Spec("uniform", "beacon", seed, {"predictor_steps": 1, "kind": "mask"}), root, iter)
            run(Spec("full", "beacon", seed, {"predictor_steps": 1}), root, iter)  # has none of the study's budgets
        yield read_all(root)


def test_a_study_is_a_function_of_the_records(recorded: list[Record], tmp_path: Path) -> None:
    paths = studies.find("mask-penalty")(recorded, tmp_path)
    names = ["study.md", "study.csv", "training.pdf", "training.png", "fates.pdf", "fates.png", "masks.png"]
    assert [path.name for path in paths] == names
    again = mask_penalty.settings_of(list(reversed(recorded)))
    assert mask_penalty.markdown(again) == paths[0].read_text()
    assert [p.read_bytes() for p in mask_penalty.fates(again, tmp_path / "x")] == [p.read_bytes() for p in paths[4:6]]


def test_a_run_without_weights_is_named_and_not_drawn(
    recorded: list[Record], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    one = next(record for record in recorded if record.about["agent"]["name"] == "mask_penalty")
    moved = mask_penalty.settings_of([Record(tmp_path, one.about)])
    assert mask_penalty.masks(moved, tmp_path / "masks.png") is None
    assert str(tmp_path / "weights.safetensors") in "".join(capsys.readouterr().err.split())


def test_the_table_of_a_study_is_worked_from_the_findings(recorded: list[Record]) -> None:
    settings = mask_penalty.settings_of(recorded)
    labels = ["mse_zero β 1", "entropy β 1, α 0.2", "entropy β 1, α 0.2, γ 0.01", "target_budget β 0.5, target 10 %"]
    labels += ["target_entropy β 1, α 0.5, target 10 %", "feature_l1 γ 0.01"]
    assert [one.label for one in settings[:-1]] == labels
    assert settings[-1].label.startswith("uniform")
    line = mask_penalty.table(settings).iloc[0]
    runs = [record for record in recorded if record.about["agent"]["changed"].get("loss") == "mse_zero"]
    assert line["runs"] == len(runs) == 2
    assert line["size"] == pytest.approx(np.mean([run.about["findings"]["mask_mean"] for run in runs]))
    at = runs[0].budgets.index(0.1)
    own = [(run.arrays["own"][at] == run.arrays["labels"]).mean() for run in runs]
    assert line["own 10 %"] == pytest.approx(np.mean(own))
    assert line[["selects", "same mask", "blind", "empty"]].sum() == 2


def test_losses_are_compared_at_equal_weight_of_the_size_term_and_with_the_l1_term_added(
    recorded: list[Record],
) -> None:
    settings = mask_penalty.settings_of(recorded)
    found = [[(one.label, other.label) for one, other in members] for members in mask_penalty.pairs(settings).values()]
    # β of one is β·α of the other: ½.
    assert found[0] == [("target_budget β 0.5, target 10 %", "target_entropy β 1, α 0.5, target 10 %")]
    assert found[1] == [("entropy β 1, α 0.2, γ 0.01", "entropy β 1, α 0.2")]


def test_a_study_says_where_each_loss_loses(recorded: list[Record]) -> None:
    one, other = next(iter(mask_penalty.pairs(mask_penalty.settings_of(recorded)).values()))[0]

    def scored(setting: mask_penalty.Setting, right: float) -> mask_penalty.Setting:
        """The same runs, whose own predictions on the best 20 % of the pixels are right on that share of the images."""
        runs = []
        for record in setting.records:
            own = np.array(record.arrays["own"])
            labels = record.arrays["labels"]
            own[record.budgets.index(0.2)] = np.where(np.arange(len(labels)) < right * len(labels), labels, 1 - labels)
            runs.append(Record(record.folder, record.about))
            runs[-1].__dict__["arrays"] = dict(record.arrays) | {"own": own}
        return mask_penalty.Setting(setting.settings, tuple(runs))

    text = mask_penalty.markdown([scored(one, 0.9), scored(other, 0.5)])
    assert (
        "- target_entropy β 1, α 0.5, target 10 % loses to target_budget β 0.5, target 10 % (own, 20 % touched)" in text
    )


def test_the_suite_adds_the_l1_term_and_compares_targets_at_equal_weight() -> None:
    settings = [
        mask_penalty.Setting(settings_of(agents.make(spec.agent, spec.agent_settings)), ())
        for spec in read_suite("mask-penalty").specs
        if spec.agent == "mask_penalty" and spec.seed == 0
    ]
    found = list(mask_penalty.pairs(settings).values())
    heavy = [one.settings["target"] for one, _ in found[0] if one.size_weight > 1000 and not one.settings["feature_l1"]]
    assert heavy == [0.02, 0.05, 0.1]
    assert {"entropy", "target_budget", "target_entropy"} <= {one.form for one, _ in found[1]}


def test_a_run_has_one_fate(recorded: list[Record]) -> None:
    record = next(record for record in recorded if record.about["agent"]["name"] == "mask_penalty")

    def ended(collapsed: float, same_mask: float, soft_accuracy: float) -> Record:
        findings = {"collapsed": collapsed, "same_mask": same_mask, "soft_accuracy": soft_accuracy}
        task = record.about["task"] | {"classes": 10}
        return Record(record.folder, dict(record.about) | {"findings": findings, "task": task})

    runs = [ended(1, 0, 0.1), ended(0, 1, 0.1), ended(0, 0, 0.1), ended(0, 1, 0.9), ended(0, 0, 0.9), ended(0, 0, 0.2)]
    setting = mask_penalty.Setting(record.about["agent"]["settings"], tuple(runs))
    assert setting.fates() == {"empty": 1, "blind": 2, "same mask": 1, "selects": 2}


def test_a_study_without_its_records_says_so(recorded: list[Record]) -> None:
    with pytest.raises(UsageError, match="no records of mask_penalty"):
        mask_penalty.settings_of([record for record in recorded if record.about["agent"]["name"] == "uniform"])
    mine = next(record for record in recorded if record.about["agent"]["name"] == "mask_penalty")
    old = Record(Path("somewhere"), dict(mine.about) | {"findings": {"mask_mean": 0.1}})
    with pytest.raises(UsageError, match="somewhere"):
        mask_penalty.settings_of([old])


def test_every_study_has_a_suite_and_a_wrong_name_is_answered_with_the_nearest(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert set(studies.names()) <= set(suite_names())
    monkeypatch.setattr("sys.argv", ["glimpse", "study", "mask-penalti"])
    with pytest.raises(SystemExit):
        cli.main()
    assert "unknown study 'mask-penalti': did you mean 'mask-penalty'?" in capsys.readouterr().err
    monkeypatch.setattr("sys.argv", ["glimpse", "study", "mask-penalty", "--root", "nowhere"])
    with pytest.raises(SystemExit):
        cli.main()
    assert (
        "nowhere: no records of the suite mask-penalty; `glimpse sweep mask-penalty --root nowhere`"
        in capsys.readouterr().err
    )
