"""DHAM's equations against values worked by hand, and what its window costs."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import Tensor

from conftest import hurried
from glimpsebench import agents
from glimpsebench.agents.dham import DHAM, DHAMNet, place_and_scale
from glimpsebench.envs.tasks import Task


def line(cells: int) -> Tensor:
    return torch.linspace(-1, 1, cells)


def test_a_flat_map_gives_the_frames_own_spread() -> None:
    # In the limit of fine grids: E√(x² + y²) = (√2 + asinh 1)/3 and E(|x| + |y|) = 1 on the square [−1, 1]².
    flat = torch.zeros(1, 801, 801)
    expected = {"L2": (math.sqrt(2) + math.asinh(1)) / 3, "L1": 1.0}
    assert expected["L2"] == pytest.approx(0.765, abs=5e-4)
    for norm, value in expected.items():
        place_B2, scale_B = place_and_scale(flat, line(801), line(801), norm, 1.0)
        torch.testing.assert_close(place_B2, torch.zeros(1, 2), atol=1e-4, rtol=0)
        assert scale_B.item() == pytest.approx(value, abs=3e-3)


def test_a_single_peak_gives_its_place_and_no_size() -> None:
    peak = torch.full((1, 5, 3), -100.0)
    peak[0, 1, 2] = 100  # row 1 of 5, column 2 of 3
    for norm in ("L1", "L2"):
        place_B2, scale_B = place_and_scale(peak, line(3), line(5), norm, 1.0)
        torch.testing.assert_close(place_B2, torch.tensor([[1.0, -0.5]]))
        assert scale_B.item() == 0


def test_two_peaks_by_hand() -> None:
    # p = ¾ at (−1, −1) and ¼ at (1, 0): t = (−½, −¾); distances √(¼ + 1/16) and √(9/4 + 9/16), or ¾ and 2¼.
    peaks = torch.full((1, 3, 3), -100.0)
    peaks[0, 0, 0], peaks[0, 1, 2] = math.log(3), 0.0
    for norm, near, far in (("L2", math.sqrt(5 / 16), math.sqrt(45 / 16)), ("L1", 0.75, 2.25)):
        place_B2, scale_B = place_and_scale(peaks, line(3), line(3), norm, 2.0)
        torch.testing.assert_close(place_B2, torch.tensor([[-0.5, -0.75]]))
        assert scale_B.item() == pytest.approx(2 * (0.75 * near + 0.25 * far))


@pytest.mark.parametrize("norm", ["L1", "L2"])
def test_the_size_learns_through_the_probabilities_alone(norm: str) -> None:
    torch.manual_seed(0)
    map_BYX = torch.randn(1, 4, 5, dtype=torch.float64, requires_grad=True)
    x_X, y_Y = line(5).double(), line(4).double()
    place_B2, scale_B = place_and_scale(map_BYX, x_X, y_Y, norm, 1.0)
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
    image[0, 0, 8, 36] = 1000.0
    place_B2, scale_B = net.window(image, "L2", 1.0)
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
    agent.shape = (1, 60, 40)
    budgets, crop = torch.tensor(agent.budgets), agent.sensor()
    scale_B = agent.affordable(budgets)
    place_B2 = torch.from_numpy(np.random.default_rng(0).uniform(-0.5, 0.5, (len(budgets), 2)).astype(np.float32))
    action = agent.aim(place_B2, torch.ones(len(budgets)), budgets).numpy()
    touched = crop.footprint(crop.aim(action, agent.shape, np.zeros(0)), agent.shape).mean((1, 2))
    assert (touched <= np.array(agent.budgets)).all()
    assert (scale_B.diff() >= 0).all()
    # 8 samples a side touch 16 × 16 of 2400 pixels at most, which is less than 15 %.
    assert (scale_B[budgets > 0.14] == 1).all()
    assert scale_B[budgets == 0.1].item() < 1


def test_a_target_area_is_met(beacon: Task) -> None:
    torch.manual_seed(0)
    agent = agents.make("dham", {"budgeted": False, "target_area": 0.3, "steps": 150})
    agent.prepare(beacon)
    agent.fit(beacon, 0, iter)
    assert agent.findings["own_area"] == pytest.approx(0.3, abs=0.03)


def test_without_budgets_training_never_cuts(beacon: Task, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[Tensor] = []
    aim = DHAM.aim

    def watched(self: DHAM, place_B2: Tensor, scale_B: Tensor, budget_B: Tensor) -> Tensor:
        seen.append(budget_B)
        return aim(self, place_B2, scale_B, budget_B)

    monkeypatch.setattr(DHAM, "aim", watched)
    for budgeted in (False, True):
        seen.clear()
        agent = hurried("dham", steps=10, budgeted=budgeted)
        agent.prepare(beacon)
        agent.fit(beacon, 0, iter)
        assert any((budget_B < 1).any() for budget_B in seen) == budgeted


def test_a_free_size_is_one_point_and_not_a_curve(beacon: Task) -> None:
    assert hurried("dham", budgeted=False).budgets == (1.0,)
    assert hurried("dham").budgets == hurried("uniform").budgets
