"""DHAM's equations against values worked by hand, and what its window costs."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from conftest import hurried
from glimpsebench import agents
from glimpsebench.agents.common.base import BUDGETS
from glimpsebench.agents.dham import DHAM, DHAMNet, half_width, moved_inside, place_and_spread
from glimpsebench.bench.claims import arms_of
from glimpsebench.bench.rollout import rollout
from glimpsebench.bench.suites import read_suite
from glimpsebench.envs import tasks
from glimpsebench.envs.errors import UsageError
from glimpsebench.envs.tasks import Split, Task


def line(cells: int) -> Tensor:
    return torch.linspace(-1, 1, cells)


def test_a_flat_map_gives_the_frames_own_spread() -> None:
    # In the limit of fine grids: E√(x² + y²) = (√2 + asinh 1)/3 and E(|x| + |y|) = 1 on the square [−1, 1]².
    flat = torch.zeros(1, 801, 801)
    expected = {"L2": (math.sqrt(2) + math.asinh(1)) / 3, "L1": 1.0}
    assert expected["L2"] == pytest.approx(0.765, abs=5e-4)
    for norm, value in expected.items():
        place_B2, scale_B = place_and_spread(flat, line(801), line(801), norm, 1.0)
        torch.testing.assert_close(place_B2, torch.zeros(1, 2), atol=1e-4, rtol=0)
        assert scale_B.item() == pytest.approx(value, abs=3e-3)


def test_a_single_peak_gives_its_place_and_no_size() -> None:
    peak = torch.full((1, 5, 3), -100.0)
    peak[0, 1, 2] = 100  # row 1 of 5, column 2 of 3
    for norm in ("L1", "L2"):
        place_B2, scale_B = place_and_spread(peak, line(3), line(5), norm, 1.0)
        torch.testing.assert_close(place_B2, torch.tensor([[1.0, -0.5]]))
        assert scale_B.item() == 0


def test_two_peaks_by_hand() -> None:
    # p = ¾ at (−1, −1) and ¼ at (1, 0): t = (−½, −¾); distances √(¼ + 1/16) and √(9/4 + 9/16), or ¾ and 2¼.
    peaks = torch.full((1, 3, 3), -100.0)
    peaks[0, 0, 0], peaks[0, 1, 2] = math.log(3), 0.0
    for norm, near, far in (("L2", math.sqrt(5 / 16), math.sqrt(45 / 16)), ("L1", 0.75, 2.25)):
        place_B2, scale_B = place_and_spread(peaks, line(3), line(3), norm, 2.0)
        torch.testing.assert_close(place_B2, torch.tensor([[-0.5, -0.75]]))
        assert scale_B.item() == pytest.approx(2 * (0.75 * near + 0.25 * far))


@pytest.mark.parametrize("norm", ["L1", "L2"])
def test_the_size_learns_through_the_probabilities_alone(norm: str) -> None:
    torch.manual_seed(0)
    map_BYX = torch.randn(1, 4, 5, dtype=torch.float64, requires_grad=True)
    x_X, y_Y = line(5).double(), line(4).double()
    place_B2, scale_B = place_and_spread(map_BYX, x_X, y_Y, norm, 1.0)
    (slope,) = torch.autograd.grad(scale_B.sum(), map_BYX)
    # With constant distances d, d s / d a_i = p_i (d_i − s).
    x, y = (x_X[None, :] - place_B2[0, 0]).abs(), (y_Y[:, None] - place_B2[0, 1]).abs()
    distance_YX = x + y if norm == "L1" else (x**2 + y**2).sqrt()
    probability_YX = map_BYX.flatten().softmax(0).view(4, 5)
    torch.testing.assert_close(slope[0], probability_YX * (distance_YX - scale_B))


def test_the_map_lies_over_the_frame() -> None:
    # Convolutions that pass the centre on make the map a sample of the image: its peak is where the window goes.
    net = DHAMNet(1, 2, layers=2, hidden=1, stride=4, width=1).eval()
    with torch.no_grad():
        for name, value in net.attention.named_parameters():
            if value.ndim == 4:
                value.zero_()[0, 0, 2, 2] = 1.0
            elif name.endswith("bias"):
                value.zero_()
    image = torch.zeros(1, 1, 24, 40)
    image[0, 0, 8, 36] = 1000.0  # the input's running statistics are those of an untrained network: 0 and 1
    place_B2, scale_B = net.place_and_spread(image, "L2", 1.0)
    torch.testing.assert_close(place_B2, torch.tensor([[73 / 40 - 1, 17 / 24 - 1]]))  # centres of the pixels
    assert scale_B.item() == pytest.approx(0, abs=1e-4)


@pytest.mark.parametrize("layers", [1, 2, 3])
def test_the_attention_has_the_asked_size(layers: int) -> None:
    net = DHAMNet(3, 2, layers=layers, hidden=7, stride=2, width=1)
    shapes = [tuple(value.shape[:2]) for value in net.attention.parameters() if value.ndim == 4]
    assert shapes == {1: [(1, 3)], 2: [(7, 3), (1, 7)], 3: [(7, 3), (7, 7), (1, 7)]}[layers]
    assert net.attention(torch.rand(2, 3, 20, 31)).shape == (2, 1, 10, 16)


def test_the_cut_window_fits_its_budget_and_wide_steps_are_free() -> None:
    agent = DHAM(size=8)
    sides, budgets, crop = (60, 40), torch.tensor(agent.budgets), agent.sensor()
    scale_B = agent.affordable(budgets, sides)
    place_B2 = torch.from_numpy(np.random.default_rng(0).uniform(-0.5, 0.5, (len(budgets), 2)).astype(np.float32))
    action = agent.aim(place_B2, torch.ones(len(budgets)), budgets, sides).numpy()
    touched = crop.footprint(crop.aim(action, (1, *sides), np.zeros(0)), (1, *sides)).mean((1, 2))
    assert (touched <= np.array(agent.budgets)).all()
    assert (scale_B.diff() >= 0).all()
    # 8 samples a side touch 16 × 16 of 2400 pixels at most, which is less than 15 %.
    assert (scale_B[budgets > 0.14] == 1).all()
    assert scale_B[budgets == 0.1].item() < 1


@pytest.mark.parametrize("norm", ["L1", "L2"])
def test_every_size_learns_from_the_start(norm: Literal["L1", "L2"]) -> None:
    # A clamp of the size at 1 gave no gradient to images whose map spreads wider, a third of them here with L1.
    torch.manual_seed(0)
    agent = DHAM(norm=norm, attention_layers=1)
    agent.shape, agent.classes = (1, 24, 24), 10
    net = agent.net = agent.build()
    assert isinstance(net, DHAMNet)
    image_BCHW, labels_B = torch.rand(64, 1, 24, 24), torch.arange(64) % 10
    with torch.no_grad():
        place_B2, spread_B = net.place_and_spread(image_BCHW, norm, 1.0)
    assert norm == "L2" or 0.1 < (spread_B > 1).float().mean() < 0.9
    spread_B.requires_grad_()
    action_B3 = agent.aim(place_B2, half_width(spread_B, agent.sensor().smallest), torch.ones(64), (24, 24))
    loss = F.cross_entropy(net.classify(agent.sensor().crop(image_BCHW, action_B3)), labels_B)
    (slope_B,) = torch.autograd.grad(loss, spread_B)
    assert (slope_B.abs() > 1e-7).all()


def test_the_mapping_keeps_every_window_inside_and_small_ones_where_they_are() -> None:
    spread_B = torch.linspace(0, 2, 41, dtype=torch.float64, requires_grad=True)
    scale_B = half_width(spread_B, 0.02)
    (slope_B,) = torch.autograd.grad(scale_B.sum(), spread_B)
    assert ((scale_B > 0) & (scale_B < 1)).all()
    assert (slope_B > 0.05).all()
    place_P = torch.linspace(-1, 1, 81, dtype=torch.float64)
    for scale in scale_B.detach():
        place_P2 = torch.stack([place_P, -place_P], 1).requires_grad_()
        moved_P2 = moved_inside(place_P2, scale.expand(81))
        assert (moved_P2.abs() < 1 - scale).all()
        assert torch.autograd.grad(moved_P2.sum(), place_P2)[0].min() > 0
    near_P = place_P[place_P.abs() <= 0.45]
    small_P2 = moved_inside(torch.stack([near_P, near_P], 1), torch.full((len(near_P),), 0.1, dtype=torch.float64))
    torch.testing.assert_close(small_P2[:, 0], near_P, atol=0.01, rtol=0)


def test_the_grey_level_and_the_contrast_of_the_images_do_not_matter_to_the_attention() -> None:
    # Were they to, a narrow module on a grey ground could lose all of its ReLUs, and its map would stay flat for good.
    torch.manual_seed(0)
    net = DHAMNet(1, 2, layers=2, hidden=4, stride=2, width=1)
    image_BCHW = torch.rand(8, 1, 20, 20)
    for mine, other in zip(
        net.place_and_spread(image_BCHW, "L2", 1.0),
        net.place_and_spread(0.5 * image_BCHW + 0.4, "L2", 1.0),
        strict=True,
    ):
        torch.testing.assert_close(mine, other, atol=1e-3, rtol=0)


def test_it_trains_at_one_size_and_is_tested_at_others(monkeypatch: pytest.MonkeyPatch) -> None:
    sides: list[int] = []
    computed = DHAMNet.place_and_spread

    def watched(self: DHAMNet, image_BCHW: Tensor, norm: str, factor: float) -> tuple[Tensor, Tensor]:
        if self.training:
            sides.append(image_BCHW.shape[-1])
        return computed(self, image_BCHW, norm, factor)

    monkeypatch.setattr(DHAMNet, "place_and_spread", watched)
    task = tasks.make("digits-clutter", {"canvas": 48})
    agent = hurried("dham", train_canvas=32, tested_canvases=[32, 40])
    agent.prepare(task)
    agent.fit(task, 0, iter)
    assert set(sides) == {32}
    assert list(agent.findings) == ["own_area", "own_at_32", "own_at_40"]
    episodes = rollout(agent, Split(task.val().images_NCHW[:8], np.zeros(8, np.int64)), 0)
    assert agent.shape == (1, 48, 48)
    assert episodes.touched_FN.shape == (len(BUDGETS), 8)
    with pytest.raises(UsageError, match="canvas"):
        agent.fit(tasks.make("digits"), 0, iter)


def test_a_target_area_is_met(beacon: Task) -> None:
    torch.manual_seed(0)
    agent = agents.make("dham", {"cut_in_training": False, "target_area": 0.3, "steps": 150})
    agent.prepare(beacon)
    agent.fit(beacon, 0, iter)
    assert agent.findings["own_area"] == pytest.approx(0.3, abs=0.03)


def test_without_budgets_training_never_cuts(beacon: Task, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[Tensor] = []
    aim = DHAM.aim

    def watched(self: DHAM, place_B2: Tensor, wanted_B: Tensor, budget_B: Tensor, sides: Sequence[int]) -> Tensor:
        seen.append(budget_B)
        return aim(self, place_B2, wanted_B, budget_B, sides)

    monkeypatch.setattr(DHAM, "aim", watched)
    for cut in (False, True):
        seen.clear()
        agent = hurried("dham", steps=10, cut_in_training=cut)
        agent.prepare(beacon)
        agent.fit(beacon, 0, iter)
        assert any((budget_B < 1).any() for budget_B in seen) == cut


def test_a_free_size_is_one_point_and_not_a_curve(beacon: Task) -> None:
    assert hurried("dham", cut_in_training=False).budgets == (1.0,)
    assert hurried("dham").budgets == hurried("uniform").budgets


def test_own_accuracy_of_the_findings_is_that_of_a_rollout(beacon: Task) -> None:
    agent = hurried("dham", steps=40, cut_in_training=False)
    assert isinstance(agent, DHAM)
    agent.prepare(beacon)
    agent.fit(beacon, 0, iter)
    split = beacon.val()
    assert split.labels_N is not None
    episodes = rollout(agent, split, 0)
    assert agent.validated(beacon)[1] == pytest.approx((episodes.predicted_FN[-1] == split.labels_N).mean())


@pytest.mark.parametrize("name", ["dham-noise", "dham-parts", "dham-sizes"])
def test_the_suites_compare_rows_that_they_have(name: str) -> None:
    suite = read_suite(name)
    assert {comparison.b for comparison in suite.comparisons} <= {arm.called.label for arm in arms_of(suite.specs)}
    assert suite.comparisons
