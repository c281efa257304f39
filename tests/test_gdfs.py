"""GDFS: what is revealed between two losses, and how long an image stays."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from conftest import hurried
from glimpsebench.agents.gdfs import GDFS, CellPolicy
from glimpsebench.envs.tasks import Task


def test_exploring_reveals_as_many_hidden_cells_as_asked(beacon: Task) -> None:
    agent = hurried("gdfs")
    assert isinstance(agent, GDFS)
    agent.prepare(beacon)
    images = torch.rand(3, *beacon.shape)
    before_BP = torch.zeros(3, 16)
    before_BP[:, 5] = 1
    after_BP = agent.explored(images, before_BP, torch.tensor([0, 4, 15]))
    assert after_BP.sum(1).tolist() == [1, 5, 16]
    assert (after_BP >= before_BP).all()
    assert before_BP.sum() == 3, "the caller's cells are left alone"


def test_a_policys_scores_do_not_grow_with_its_features() -> None:
    torch.manual_seed(0)
    policy, seen = CellPolicy(1, 4, (4, 4), 8), (torch.rand(3, 1, 16, 16), torch.ones(3, 1, 16, 16))
    before = policy(*seen)
    with torch.no_grad():
        for layer in (policy.cells, policy.near[2], policy.score[0]):
            for weights in layer.parameters():
                weights.mul_(100)
    assert (policy(*seen) - before).abs().max() < 0.01 * before.std(), "but for the epsilon of the norms"


@pytest.mark.parametrize(("cells_per_loss", "stay"), [(None, 1), (3, 2), (2, 3), (1, 6), (9, 1)])
def test_an_image_stays_for_as_many_losses_as_fit_its_glimpses(
    cells_per_loss: int | None, stay: int, beacon: Task, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[tuple[Tensor, Tensor]] = []
    explored = GDFS.explored

    def watched(self: GDFS, image_BCHW: Tensor, seen_BP: Tensor, more_B: Tensor) -> Tensor:
        after_BP = explored(self, image_BCHW, seen_BP, more_B)
        seen.append((image_BCHW, after_BP))
        return after_BP

    monkeypatch.setattr(GDFS, "explored", watched)
    agent = hurried("gdfs", glimpses=6, cells_per_loss=cells_per_loss, batch=6, steps=9)
    agent.prepare(beacon)
    agent.fit(beacon, 0, iter)

    assert [len(images) for images, _ in seen] == [min(step, stay) * (6 // stay) for step in range(1, 10)]
    first = seen[0][0][0]
    life = [int(cells[(images == first).flatten(1).all(1)].sum()) for images, cells in seen[:stay]]
    assert life[0] < (cells_per_loss or 6)
    assert np.diff(life).tolist() == [cells_per_loss] * (stay - 1)
    assert not (seen[stay][0] == first).flatten(1).all(1).any(), "it has left"
