"""GDFS: what is revealed between two losses, and how long an image stays."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from conftest import hurried
from glimpsebench.agents import gdfs
from glimpsebench.agents.gdfs import GDFS, CellPolicy, relaxed_choice
from glimpsebench.envs.tasks import Task


def test_exploring_reveals_as_many_hidden_cells_as_asked(beacon: Task) -> None:
    agent = hurried("gdfs")
    assert isinstance(agent, GDFS)
    agent.prepare(beacon)
    images = torch.rand(3, *beacon.shape)
    before_BP = torch.zeros(3, 16)
    before_BP[:, 5] = 1
    after_BP = agent.reveal_more(images, before_BP, torch.tensor([0, 4, 15]))
    assert after_BP.sum(1).tolist() == [1, 5, 16]
    assert (after_BP >= before_BP).all()
    assert before_BP.sum() == 3, "the caller's cells are left alone"


def test_the_cell_revealed_next_is_drawn_anew_after_the_relaxed_choice(
    beacon: Task, monkeypatch: pytest.MonkeyPatch
) -> None:
    # As in the released source: equal scores, so that every cell is as likely, and the two draws agree by chance alone.
    relaxed: list[Tensor] = []
    starts: list[Tensor] = []

    def watched_choice(scores_BP: Tensor, revealed_BP: Tensor, temperature: float) -> Tensor:
        choice_BP = relaxed_choice(torch.zeros_like(scores_BP), revealed_BP, temperature)
        relaxed.append(choice_BP.argmax(1))
        return choice_BP

    def watched_start(self: GDFS, image_BCHW: Tensor, revealed_BP: Tensor, more_B: Tensor) -> Tensor:
        starts.append(revealed_BP)
        return revealed_BP

    monkeypatch.setattr(gdfs, "relaxed_choice", watched_choice)
    monkeypatch.setattr(gdfs.GDFS, "reveal_more", watched_start)
    agent = hurried("gdfs", glimpses=2, cells_per_loss=1, batch=128, joint_steps=4)
    torch.manual_seed(0)
    agent.prepare(beacon)
    agent.fit(beacon, 0, iter)
    # From the second step on, the second half of a batch has one revealed cell: the draw that followed its first loss.
    pairs = zip(relaxed[:3], starts[1:], strict=True)
    agree = [after[64:].argmax(1) == chosen[:64] for chosen, after in pairs]
    assert torch.cat(agree).float().mean() < 0.3, "16 cells: 1 in 16 by chance, all if the same draw is made hard"
    assert all((after[64:].sum(1) == 1).all() for after in starts[1:])


def test_a_policys_scores_do_not_grow_with_its_features() -> None:
    torch.manual_seed(0)
    policy, seen = CellPolicy(1, 4, (4, 4), 8), (torch.rand(3, 1, 16, 16), torch.ones(3, 1, 16, 16))
    before = policy(*seen)
    with torch.no_grad():
        for layer in (policy.cells, policy.neighbours[2], policy.score[0]):
            for weights in layer.parameters():
                weights.mul_(100)
    assert (policy(*seen) - before).abs().max() < 0.01 * before.std(), "but for the epsilon of the norms"


@pytest.mark.parametrize(("cells_per_loss", "losses_per_image"), [(None, 1), (3, 2), (2, 3), (1, 6), (9, 1)])
def test_an_image_stays_for_as_many_losses_as_fit_its_glimpses(
    cells_per_loss: int | None, losses_per_image: int, beacon: Task, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[tuple[Tensor, Tensor]] = []
    reveal_more = GDFS.reveal_more

    def watched(self: GDFS, image_BCHW: Tensor, seen_BP: Tensor, more_B: Tensor) -> Tensor:
        after_BP = reveal_more(self, image_BCHW, seen_BP, more_B)
        seen.append((image_BCHW, after_BP))
        return after_BP

    monkeypatch.setattr(GDFS, "reveal_more", watched)
    agent = hurried("gdfs", glimpses=6, cells_per_loss=cells_per_loss, batch=6, joint_steps=9)
    agent.prepare(beacon)
    agent.fit(beacon, 0, iter)

    assert [len(images) for images, _ in seen] == [
        min(step, losses_per_image) * (6 // losses_per_image) for step in range(1, 10)
    ]
    first = seen[0][0][0]
    life = [int(cells[(images == first).flatten(1).all(1)].sum()) for images, cells in seen[:losses_per_image]]
    assert life[0] < (cells_per_loss or 6)
    assert np.diff(life).tolist() == [cells_per_loss] * (losses_per_image - 1)
    assert not (seen[losses_per_image][0] == first).flatten(1).all(1).any(), "it has left"


def test_no_loss_is_of_a_choice_beyond_the_last_glimpse(beacon: Task, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where the number of cells between two losses does not divide that of the glimpses."""
    agent = hurried("gdfs", glimpses=4, cells_per_loss=3, joint_steps=20, batch=8)
    agent.prepare(beacon)
    revealed: list[int] = []

    def noted(scores_BP: Tensor, revealed_BP: Tensor, temperature: float) -> Tensor:
        revealed.extend(revealed_BP.sum(1).int().tolist())
        return relaxed(scores_BP, revealed_BP, temperature)

    relaxed = gdfs.relaxed_choice
    monkeypatch.setattr(gdfs, "relaxed_choice", noted)
    agent.fit(beacon, 0, iter)
    assert set(revealed) == {0, 1, 2, 3}


def test_it_reveals_no_cell_twice_where_it_has_more_glimpses_than_cells(beacon: Task) -> None:
    agent = hurried("gdfs", cell=8, glimpses=20)
    agent.prepare(beacon)
    assert agent.horizon() == 4
