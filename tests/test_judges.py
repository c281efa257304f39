"""Judges and readers: what they learn from, how they are trained, where they lie."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch import nn

from conftest import Alone, Beacon, hurried
from glimpsebench.agents.common.nets import CanvasNet, predict_canvas, to_float
from glimpsebench.bench import judges
from glimpsebench.bench.judges import canvases, cards, fresh, training
from glimpsebench.bench.judges.networks import JudgeNet
from glimpsebench.bench.records import Judgement
from glimpsebench.envs import tasks
from glimpsebench.envs.errors import UsageError
from glimpsebench.envs.tasks import Split, Task
from test_cli import glimpse

TINY = judges.Recipe(members=2, steps=6, batch=16, width=4)


@pytest.fixture
def images() -> np.ndarray:
    return np.random.default_rng(0).integers(1, 256, (24, 2, 20, 30), np.uint8)  # nothing is black, and H is not W


@pytest.mark.parametrize("kind", canvases.SHARES)
def test_a_canvas_shows_nothing_beside_its_mask(kind: str, images: np.ndarray) -> None:
    rng = np.random.default_rng(1)
    for budget in (0.01, 0.1, 0.5):
        canvas_BCHW, mask_B1HW = canvases.of_kind(kind, images, np.full(len(images), budget), rng)
        assert canvas_BCHW.shape == images.shape
        assert mask_B1HW.shape == (len(images), 1, 20, 30)
        assert not (canvas_BCHW != 0)[~mask_B1HW.expand_as(canvas_BCHW)].any()
        assert (canvas_BCHW != 0)[mask_B1HW.expand_as(canvas_BCHW)].all()
        assert mask_B1HW.flatten(1).any(1).all(), "an empty canvas teaches nothing"


@pytest.mark.parametrize("kind", ["pixels", "blobs", "score maps", "discs"])
def test_pixels_fill_the_budget_exactly(kind: str, images: np.ndarray) -> None:
    budget_B = canvases.random_budgets(len(images), np.random.default_rng(2))
    canvas_BCHW, mask_B1HW = canvases.of_kind(kind, images, budget_B, np.random.default_rng(3))
    assert mask_B1HW.sum((1, 2, 3)).tolist() == np.maximum(1, np.floor(budget_B * 600)).tolist()
    own = torch.from_numpy(images).float() / 255
    assert torch.equal(torch.where(mask_B1HW, own, torch.zeros(())), canvas_BCHW)


@pytest.mark.parametrize("kind", ["windows", "cells"])
def test_windows_and_cells_stay_within_the_budget_or_are_one(kind: str, images: np.ndarray) -> None:
    budget_B = np.full(len(images), 0.2)
    mask_B1HW = canvases.of_kind(kind, images, budget_B, np.random.default_rng(4))[1]
    touched_B = mask_B1HW.float().mean((1, 2, 3))
    assert (touched_B <= 0.2 + 0.1).all()
    assert touched_B.mean() > 0.05


def test_kinds_are_mixed_within_a_batch_and_some_images_are_whole(images: np.ndarray) -> None:
    many = np.repeat(images, 20, 0)
    mask_B1HW = canvases.random_canvases(many, 0.3, np.random.default_rng(5))[1]
    whole_B = mask_B1HW.flatten(1).all(1)
    assert 0.25 < whole_B.float().mean() < 0.5, "a thumbnail may show the whole image too"
    sizes = mask_B1HW.float().mean((1, 2, 3))
    assert sizes.min() < 0.02
    assert len(set(sizes.tolist())) > 50


def test_padding_is_not_shown(images: np.ndarray) -> None:
    boxes_B4 = np.tile([2, 5, 10, 20], (len(images), 1))
    canvas_BCHW, mask_B1HW = canvases.random_canvases(images, 0.5, np.random.default_rng(6), boxes_B4)
    own = torch.zeros(20, 30, dtype=torch.bool)
    own[2:12, 5:25] = True
    assert not (mask_B1HW & ~own).any()
    assert not canvas_BCHW[..., ~own].any()
    assert mask_B1HW.any()


class Interrupted(Exception):
    pass


@pytest.mark.parametrize("role", ["judge", "reader"])
@pytest.mark.parametrize("cut", [1, 3, 5])
def test_what_was_interrupted_goes_on_as_if_it_had_not_been(
    role: training.Role, cut: int, beacon: Task, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(training, "KEEP_EVERY_S", -1.0)

    def until_cut(steps: Iterable[int]) -> Iterator[int]:
        for step in steps:
            if step == cut:
                raise Interrupted
            yield step

    paths = tmp_path / "whole.safetensors", tmp_path / "cut.safetensors"
    training.train(paths[0], role, beacon, 3, TINY, iter)
    with pytest.raises(Interrupted):
        training.train(paths[1], role, beacon, 3, TINY, until_cut)
    assert not paths[1].exists()
    seen: list[int] = []
    batches = training._batches

    def watched(task: Task, seed: int, batch: int) -> object:
        of = batches(task, seed, batch)

        def watched_step(step: int) -> object:
            seen.append(step)
            return of(step)

        return watched_step

    monkeypatch.setattr(training, "_batches", watched)
    training.train(paths[1], role, beacon, 3, TINY, iter)
    assert seen == list(range(cut, TINY.steps))
    assert paths[0].read_bytes() == paths[1].read_bytes(), "so that a judge has one name wherever it is trained"
    whole, resumed = (load_file(path) for path in paths)
    assert all(torch.equal(whole[name], resumed[name]) for name in whole)
    names = [f"{name}.{ending}" for name in ("cut", "whole") for ending in ("json", "safetensors", "sha256")]
    assert sorted(path.name for path in tmp_path.iterdir()) == names


def test_a_checkpoint_of_another_recipe_is_not_gone_on_from(
    beacon: Task, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(training, "KEEP_EVERY_S", -1.0)
    path = tmp_path / "judge-0.safetensors"

    def one(steps: Iterable[int]) -> Iterator[int]:
        for step in steps:
            if step == 2:
                raise Interrupted
            yield step

    with pytest.raises(Interrupted):
        training.train(path, "judge", beacon, 0, TINY, one)
    steps: list[int] = []
    monkeypatch.setattr(training, "_keep", lambda *args: steps.append(args[-1]["step"]))
    training.train(path, "judge", beacon, 1, TINY, iter)
    assert steps == list(range(1, TINY.steps + 1))


def test_a_judge_is_frozen_named_by_its_weights_and_apart_from_the_reader(beacon: Task) -> None:
    judge = judges.judge(beacon, iter)
    assert judge.members == 2
    assert not any(parameter.requires_grad for net in judge.nets for parameter in net.parameters())
    assert not any(net.training for net in judge.nets)
    assert all(isinstance(net, JudgeNet) for net in judge.nets)
    view = {"canvas": np.random.default_rng(0).random((5, 1, 16, 16), np.float32)}
    view["mask"] = np.ones_like(view["canvas"])
    logits_MBK = judge(view)
    assert logits_MBK.shape == (2, 5, 2)
    assert not np.array_equal(logits_MBK[0], logits_MBK[1])
    assert np.array_equal(judges.judge(beacon, iter)(view), logits_MBK)
    reader = judges.Reader(beacon)
    assert isinstance(reader.net, CanvasNet)
    assert reader(view).shape == (5, 2)
    path = judges.folder_of(beacon) / "judge-1.safetensors"
    before, bytes_before = judge.name, path.read_bytes()
    try:
        training.save(path, judge.nets[0], training.metadata(path))
        assert judges.judge(beacon, iter).name != before
    finally:
        path.write_bytes(bytes_before)


def test_what_is_here_is_not_trained_again(beacon: Task, monkeypatch: pytest.MonkeyPatch) -> None:
    judges.judge(beacon, iter)
    judges.reader_path(beacon)
    assert not judges.missing(beacon)
    monkeypatch.setattr(judges, "train", lambda *args: pytest.fail("trained again"))
    judges.judge(beacon, iter)
    judges.Reader(beacon)


def test_a_task_by_other_settings_has_other_judges(beacon: Task) -> None:
    assert judges.folder_of(beacon) != judges.folder_of(Beacon(count=99))
    assert not judges.is_shipped(tasks.make("digits-clutter", {"clutter": 2}))


@pytest.mark.parametrize("claim", ["999999999", ""])
def test_a_claim_left_by_a_killed_process_does_not_block(
    claim: str, beacon: Task, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GLIMPSE_JUDGES", str(tmp_path))
    folder = judges.folder_of(beacon)
    folder.mkdir()
    (folder / "reader.claim").write_text(claim)
    assert judges.reader_path(beacon).exists()
    assert not list(folder.glob("*.claim"))


@pytest.mark.parametrize("damage", [b"", b"no weights", "cut", "other"])
def test_damaged_weights_are_one_line(damage: bytes | str, beacon: Task, tmp_path: Path) -> None:
    path = tmp_path / "reader.safetensors"
    training.train(path, "reader", beacon, 0, TINY, iter)
    if damage == "cut":
        path.write_bytes(path.read_bytes()[:-100])
    elif damage == "other":
        training.save(path, JudgeNet(1, 2, 4), {"role": "reader"})
    else:
        assert isinstance(damage, bytes)
        path.write_bytes(damage)
    with pytest.raises(UsageError, match=r"reader\.safetensors") as caught:
        judges.read(path, beacon)
    assert "\n" not in str(caught.value)


def test_what_is_shipped_is_small_in_half_precision_and_of_the_named_tasks() -> None:
    folders = sorted(judges.SHIPPED.iterdir())
    assert folders, "some are shipped"
    total = 0
    for folder in folders:
        task = tasks.make(folder.name)
        assert judges.is_shipped(task)
        assert judges.folder_of(task) == folder
        files = judges.files(task, judges.recipe_of(task))
        assert {path for _, _, path in files.values()} == {path for path in folder.iterdir() if path.suffix != ".json"}
        judge = judges.judge(task, lambda steps: pytest.fail("trained"))
        assert judge.members >= 4
        reader = judges.read(files["reader"][2], task)
        largest = sum(parameter.numel() for parameter in reader.parameters())
        assert all(sum(p.numel() for p in net.parameters()) > largest for net in judge.nets), "larger than a predictor"
        for role, seed, path in files.values():
            about = training.metadata(path)
            assert (about["task"], about["role"], about["seed"]) == (task.id, role, seed)
            assert all(value.dtype == torch.float16 for value in load_file(path).values() if value.dim() > 1)
        size = sum(path.stat().st_size for path in folder.iterdir())
        assert size <= 3e6
        total += size
    assert total <= 20e6


def test_a_card_has_every_kind_at_every_budget(beacon: Task, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cards, "IMAGES", 50)
    page = cards.page(beacon, list(cards.cells(beacon, iter)))
    for kind in canvases.SHARES:
        (accuracy, calibration) = (line for line in page.splitlines() if line.startswith(f"| {kind} |"))
        assert accuracy.count("±") == 8
        assert calibration.count("|") == 10
    assert "| reader |" in page
    assert "| judge-1 |" in page
    assert "Whole image:" in page


def test_a_shorter_training_leaves_the_checkpoint_of_a_longer_one(
    beacon: Task, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(training, "KEEP_EVERY_S", -1.0)
    path = tmp_path / "judge-0.safetensors"

    def cut(steps: Iterable[int]) -> Iterator[int]:
        for step in steps:
            if step == 2:
                raise Interrupted
            yield step

    with pytest.raises(Interrupted):
        training.train(path, "judge", beacon, 0, dataclasses.replace(TINY, steps=50), cut)
    training.train(path, "judge", beacon, 0, TINY, iter)
    assert len(list(tmp_path.glob("*.checkpoint"))) == 1


def test_the_command_trains_what_is_missing(beacon: Task, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["judge", "train", "beacon", "--steps", "3", "--width", "4", "--reader-steps", "2", "--into", str(tmp_path)]
    code, out, _ = glimpse(*words, capsys=capsys)
    assert code == 0
    assert out.count(": trained") == 3
    assert training.metadata(tmp_path / "judge-1.safetensors")["steps"] == 3
    assert training.metadata(tmp_path / "reader.safetensors")["steps"] == 2
    _, out, _ = glimpse(*words, capsys=capsys)
    assert out.count("here already") == 3
    _, out, _ = glimpse("judge", "list", capsys=capsys)
    assert "digits-clutter-v1       shipped" in out
    assert "beacon-v1" in out


def test_a_judges_networks_are_fused_and_say_the_same(beacon: Task) -> None:
    judge = judges.judge(beacon, iter)
    test = tasks.test_split(beacon)
    view = {"canvas": to_float(test.images_NCHW[:9]).numpy(), "mask": np.ones((9, 1, 16, 16), bool)}
    plain = np.stack([predict_canvas(net, view) for net in judge.nets])
    np.testing.assert_allclose(judge(view), plain, atol=1e-3)
    assert not [layer for net in judge._fast for layer in net.modules() if isinstance(layer, nn.BatchNorm2d)]


def test_fresh_judges_are_of_another_build_and_differ_each_time(beacon: Task) -> None:
    one, other = (fresh.fresh_judge(beacon, 2, iter) for _ in range(2))
    assert (one.members, one.name) == (2, "fresh")
    frozen = judges.judge(beacon, iter)
    assert type(one.nets[0]) is not type(frozen.nets[0])
    weights = [net.state_dict()["head.weight"] for net in [*one.nets, *other.nets]]
    assert len({tuple(weight.flatten().tolist()) for weight in weights}) == 4


def test_a_lead_is_set_beside_that_on_the_same_masks_over_other_images(
    beacon: Task, monkeypatch: pytest.MonkeyPatch
) -> None:
    agent = hurried("raster")
    agent.prepare(beacon)
    test = tasks.test_split(beacon)
    count, budgets = len(test), len(agent.budgets)
    shares = {("judge", True): 0.9, ("fresh", True): 0.4, ("judge", False): 0.6, ("fresh", False): 0.5}

    def judged(_: Any, images: Split, __: Any, judge: Alone) -> Judgement:
        assert test.labels_N is not None
        assert images.labels_N is not None
        paired = {image.tobytes(): label for image, label in zip(test.images_NCHW, test.labels_N, strict=True)}
        assert [paired[image.tobytes()] for image in images.images_NCHW] == list(images.labels_N)
        share = shares[judge.name, images is test]
        right_N = np.arange(count) < round(share * count)
        return Judgement(judge.name, np.stack([right_N if at == 3 else right_N & False for at in range(budgets)])[None])

    monkeypatch.setattr("glimpsebench.bench.judgements.judged", judged)
    frozen, other = (Alone(name, lambda view: view) for name in ("judge", "fresh"))
    every = np.ones(budgets, bool)
    found = fresh.lead(agent, test, None, frozen, other, every)  # type: ignore[arg-type]
    assert found is not None
    assert (found.budget, found.own, found.elsewhere) == pytest.approx((agent.budgets[3], 0.5, 0.1), abs=2e-3)
    assert found.error == pytest.approx(np.sqrt((0.25 + 0.09) / count), rel=0.01)
    assert fresh.lead(agent, test, None, frozen, other, ~every) is None  # type: ignore[arg-type]
