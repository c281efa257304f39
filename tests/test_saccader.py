"""Saccader and its companions: the published network's size, the cell and the stages' losses by hand."""

from __future__ import annotations

import math
import operator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from conftest import hurried
from glimpsebench import agents
from glimpsebench.agents.cells import Cells
from glimpsebench.agents.common.bagnet import (
    NETWORKS,
    BagNet,
    BagNetAgent,
    gather_cells,
    ordered_logits,
    per_cell,
    representation_loss,
)
from glimpsebench.agents.common.base import Agent
from glimpsebench.agents.saccader import (
    LocationNetwork,
    Saccader,
    SaccaderNet,
    joint_loss,
    location_loss,
)
from glimpsebench.agents.saccader import rollout as rollout_of
from glimpsebench.agents.sobel import edge_strength, window_scores
from glimpsebench.bench.rollout import rollout
from glimpsebench.bench.suites import read_suite, suite_names
from glimpsebench.envs import settings, tasks
from glimpsebench.envs.errors import UsageError
from glimpsebench.envs.glimpse import GlimpseVectorEnv
from glimpsebench.envs.tasks import Split, Task


def counted(module: nn.Module) -> int:
    """Parameters and moving statistics, as TensorFlow counts them."""
    return sum(value.numel() for name, value in module.state_dict().items() if "num_batches" not in name)


def scrambled(agent: BagNetAgent, shape: tuple[int, int, int], classes: int = 5) -> BagNetAgent:
    """An agent whose every weight and statistic is random: nothing is left at an initial 0 or 1."""
    torch.manual_seed(0)
    agent.shape, agent.classes = shape, classes
    net = agent.net = agent.build()
    assert net is not None
    for name, value in net.state_dict().items():
        if value.ndim < 2 and value.is_floating_point():
            value.uniform_(0.5, 1.5) if "bias" not in name and "mean" not in name else value.uniform_(-0.3, 0.3)
    net.eval()
    return agent


def noise(count: int, shape: tuple[int, int, int]) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (count, *shape), dtype=np.uint8)


def test_the_published_network_has_the_published_size() -> None:
    with torch.device("meta"):
        net = SaccaderNet(BagNet(3, 1001, NETWORKS["bagnet-77"]))
        features, what, logits = net.bagnet(torch.zeros(1, 3, 224, 224))
        mixed_BPd = net.location(features, what)
    assert counted(net.bagnet) == 20_628_393
    assert counted(net.location) == 14_955_520
    assert NETWORKS["bagnet-77"].geometry == (77, 8)
    assert features.shape == (1, 2048, 19, 19)
    assert logits.shape == (1, 1001, 19, 19)
    assert mixed_BPd.shape == (1, 361, 512)


def finite(module: nn.Module) -> bool:
    """Whether every parameter has a gradient without NaN or infinity."""
    return all(value.grad is not None and bool(value.grad.isfinite().all()) for value in module.parameters())


@pytest.mark.slow
def test_the_published_network_trains_at_the_published_settings() -> None:
    """ImageNet's 224×224 and 1,001 classes, one image: the losses of stages 2 and 3, forwards and backwards."""
    agent = Saccader(network="bagnet-77")
    agent.shape, agent.classes = (3, 224, 224), 1001
    assert agent.grid == (19, 19)
    assert (agent.location_glimpses, agent.joint_glimpses) == (12, 6)
    torch.manual_seed(0)
    net = agent.net = agent.build()
    image_BCHW = agent.crop_to_grid(torch.rand(1, *agent.shape))

    agent.bagnet.eval()
    with torch.no_grad():
        features, what, logits = agent.bagnet(image_BCHW)
    assert logits.shape == (1, 1001, 19, 19)
    targets_BT = ordered_logits(per_cell(logits), agent.location_glimpses)
    loss = location_loss(agent.location, agent.location(features, what), targets_BT, mask_visited=True)
    loss.backward()  # type: ignore[no-untyped-call]
    assert loss.item() < 2 * math.log(361), "no target counts as visited before its turn"
    assert finite(agent.location)
    assert all(value.grad is None for value in agent.bagnet.parameters())

    net.train().zero_grad()
    features, what, logits = agent.bagnet(image_BCHW)
    mixed_BPd = agent.location(features, what).expand(2, -1, -1)
    cells_BT, log_probs_BT = rollout_of(agent.location, mixed_BPd, agent.joint_glimpses, sample=True, mask_visited=True)
    logits_BTK = gather_cells(per_cell(logits).expand(2, -1, -1), cells_BT)
    # One sequence is right and one wrong, whatever the untrained network says: without, REINFORCE is 0.
    right_B = logits_BTK.mean(1).argmax(1)
    labels_B = (right_B + torch.tensor([0, 1])) % agent.classes
    joint_loss(logits_BTK, log_probs_BT, labels_B, agent.reinforce, 2).backward()  # type: ignore[no-untyped-call]
    assert finite(net)
    assert all(value.grad.any() for value in agent.location.parameters() if value.grad is not None)


@pytest.mark.parametrize("network", ["bagnet-5", "bagnet-9", "bagnet-17"])
def test_a_cell_sees_its_receptive_field_and_nothing_else(network: str) -> None:
    agent = scrambled(hurried_net("ordered_logits", network=network), (1, 33, 33))
    receptive_field, stride = agent.geometry
    assert agent.network == f"bagnet-{receptive_field}"
    image = torch.rand(1, 1, 33, 33, requires_grad=True)
    for row, column in ((0, 0), (2, 3), (4, 4)):
        (gradient,) = torch.autograd.grad(agent.bagnet(image)[2][0, :, row, column].square().sum(), image)
        seen = np.argwhere(gradient[0, 0].numpy() != 0)
        assert (seen.min(0) == np.array([row, column]) * stride).all()
        assert (seen.max(0) == np.array([row, column]) * stride + receptive_field - 1).all()


def hurried_net(name: str, **settings: Any) -> BagNetAgent:
    agent = hurried(name, **settings)
    assert isinstance(agent, BagNetAgent)
    return agent


@pytest.mark.parametrize("name", ["saccader", "ordered_logits", "sobel"])
@pytest.mark.parametrize("side", [16, 32, 37, 60])
def test_the_prediction_is_the_mean_of_hard_gathers_however_they_are_computed(name: str, side: int) -> None:
    agent = scrambled(hurried_net(name, glimpses=5), (3, side, side))
    images = noise(4, agent.shape)
    env = GlimpseVectorEnv(Split(images, None), 4, sensor=agent.sensor(), observation="image", glimpses=agent.horizon())
    observation, _ = env.reset(options={"index": np.arange(4)})
    with torch.no_grad():
        whole = agent.crop_to_grid(torch.from_numpy(images).float() / 255)
        cells_BT = agent.scanpath(whole, agent.horizon())
    for step in range(agent.horizon()):
        observation = observation | {"step": np.full((4, 1), step / agent.horizon(), np.float32)}
        action = agent.act(observation, np.random.default_rng(0))
        assert np.array_equal(
            agent.sensor().aim(action, agent.shape, np.zeros(4)), agent.top_left(cells_BT[:, step].numpy())
        )
        observation, *_ = env.step(action)
    with torch.no_grad():
        canvas = agent.crop_to_grid(torch.from_numpy(env.observe("canvas")["canvas"]))
        from_canvas, from_image = (
            gather_cells(per_cell(agent.bagnet(seen)[2]), cells_BT).mean(1).numpy() for seen in (canvas, whole)
        )
    own = agent.predict(env.observe(agent.view))
    np.testing.assert_allclose(from_canvas, from_image, atol=1e-5)
    np.testing.assert_allclose(own, from_image, atol=1e-5)


def test_a_visited_cell_is_never_chosen_again() -> None:
    torch.manual_seed(0)
    location, mixed_BPd = LocationNetwork(16, 4), 5 * torch.randn(6, 9, 4)
    for sample in (True, False):
        cells_BT, log_probs_BT = rollout_of(location, mixed_BPd, 9, sample=sample, mask_visited=True)
        assert (cells_BT.sort(1).values == torch.arange(9)).all()
        assert (log_probs_BT[:, -1].abs() < 1e-6).all(), "the last cell is certain"
    again_BT, _ = rollout_of(location, mixed_BPd, 9, sample=False, mask_visited=False)
    assert (again_BT == again_BT[:, :1]).all()


def test_the_cell_by_hand_on_a_grid_of_two_by_two() -> None:
    location = LocationNetwork(8, 2)
    location.spatial_attention.weight.data = torch.tensor([[math.sqrt(2), 0.0]])  # A is then the first channel
    first, second = [math.log(k) for k in (1, 2, 3, 4)], [1.0, 2.0, 3.0, 4.0]
    mixed_BPd = torch.tensor([first, second]).T[None]

    def by_hand(weights: list[float]) -> list[float]:
        h = [sum(a * m for a, m in zip(weights, channel, strict=True)) for channel in (first, second)]
        share = 1 / (1 + math.exp(h[1] - h[0]))
        return [share * one + (1 - share) * two for one, two in zip(first, second, strict=True)]

    states = torch.tensor([[[0.0, 0.0, 0.0, 0.0], [0.0, 0.0, 0.0, 1.0]]])
    with torch.no_grad():
        logits_TP = location.location_logits(mixed_BPd, states)[0]
    torch.testing.assert_close(logits_TP[0], torch.tensor(by_hand([0.1, 0.2, 0.3, 0.4])))
    torch.testing.assert_close(logits_TP[1, :3], torch.tensor(by_hand([1 / 6, 2 / 6, 3 / 6, 0])[:3]))
    assert logits_TP[1, 3] < -9e4


def test_the_losses_of_the_three_stages_by_hand() -> None:
    # Stage 1, one image, label 0, two cells: odds of 3 to 1 for it, and of 1 to 3.
    logits_BPK = torch.tensor([[[math.log(3), 0.0], [0.0, math.log(3)]]])
    label = torch.tensor([0])
    assert representation_loss(logits_BPK, label, "each_cell").item() == pytest.approx(-math.log(0.75 * 0.25) / 2)
    assert representation_loss(logits_BPK, label, "mean_logits").item() == pytest.approx(math.log(2))
    # Stage 2: M = 0 makes every cell that is left as likely as the others.
    location, still = LocationNetwork(8, 2), torch.zeros(1, 4, 2)
    targets = torch.tensor([[2, 0, 3]])
    remembering = location_loss(location, still, targets, mask_visited=True)
    assert remembering.item() == pytest.approx(math.log(4 * 3 * 2) / 3)
    assert location_loss(location, still, targets, mask_visited=False).item() == pytest.approx(math.log(4))
    # Stage 3: the first image right with odds of 3, the second wrong; rewards 1 and 0, baseline ½.
    logits_BTK = torch.tensor([[[2 * math.log(3), 0.0], [0.0, 0.0]], [[0.0, 0.0], [2 * math.log(3), 0.0]]])
    log_probs = torch.tensor([[-1.0, -2.0], [-3.0, -4.0]], requires_grad=True)
    loss = joint_loss(logits_BTK, log_probs, torch.tensor([0, 1]), 1.0)
    loss.backward()  # type: ignore[no-untyped-call]
    assert loss.item() == pytest.approx(-math.log(0.75 * 0.25) / 2 - (0.5 * -3 - 0.5 * -7) / 2)
    torch.testing.assert_close(log_probs.grad, torch.tensor([[-0.25, -0.25], [0.25, 0.25]]))
    # Two sequences of one image: each has the other's reward as its baseline.
    log_probs.grad = None
    right_wrong = torch.stack([logits_BTK[0], logits_BTK[0].flip(1)])
    joint_loss(right_wrong, log_probs, torch.tensor([0, 0]), 1.0, samples=2).backward()  # type: ignore[no-untyped-call]
    torch.testing.assert_close(log_probs.grad, torch.tensor([[-0.5, -0.5], [0.5, 0.5]]))
    # Two images of two sequences, one right and one wrong wherever one looks: nothing to learn of where to look.
    scores = torch.zeros(4, 2, requires_grad=True)
    alike = logits_BTK[:1].expand(4, -1, -1)
    joint_loss(alike, scores, torch.tensor([0, 0, 1, 1]), 1.0, samples=2).backward()  # type: ignore[no-untyped-call]
    assert scores.grad is not None
    assert not scores.grad.any()


def test_ordered_logits_follow_the_predicted_class_not_the_loudest() -> None:
    # The mean predicts class 0 (sums 9 and 8); class 1's logits, which would order otherwise, play no part.
    logits_BPK = torch.tensor([[[2.0, 8.0], [4.0, 0.0], [3.0, 0.0]]])
    assert ordered_logits(logits_BPK, 3).tolist() == [[1, 2, 0]]


def test_sobel_scores_by_hand() -> None:
    image = torch.zeros(1, 1, 5, 5)
    image[..., 3:] = 1  # a vertical edge between the third and the fourth column
    strength = torch.tensor([0.0, 0.0, 4.0, 4.0, 0.0]).expand(1, 1, 5, 5)
    torch.testing.assert_close(edge_strength(image), strength)
    # Windows of 2×2, one every 3 pixels: columns 0 and 1, columns 3 and 4.
    torch.testing.assert_close(window_scores(strength, 2, 3, "mean"), torch.tensor([[0.0, 2.0, 0.0, 2.0]]))
    spread = torch.tensor([4.0, 0.0, 4.0, 0.0]).var().item()
    torch.testing.assert_close(window_scores(strength, 2, 3, "var"), torch.tensor([[0.0, spread, 0.0, spread]]))


def fitted(task: Task, **settings: object) -> Agent:
    agent = hurried("saccader", **settings)
    torch.manual_seed(0)
    agent.prepare(task)
    agent.fit(task, 0, iter)
    return agent


def state(agent: Agent) -> dict[str, Tensor]:
    """Weights and batch-norm statistics, by name."""
    assert agent.net is not None
    return agent.net.state_dict()


def moved(before: dict[str, Tensor], after: dict[str, Tensor]) -> set[str]:
    """What of the state is no longer the same, bit for bit."""
    return {name for name, value in after.items() if not torch.equal(value, before[name])}


def test_the_stages_can_be_left_out(beacon: Task) -> None:
    only_first = state(fitted(beacon, location_steps=0, joint_steps=0))
    by_second = moved(only_first, state(fitted(beacon, joint_steps=0)))
    assert by_second
    assert all(name.startswith("location") for name in by_second), "stage 2 leaves the BagNet as it is"
    assert "bagnet.logits.weight" in moved(only_first, state(fitted(beacon, location_steps=0, reinforce=0.0)))


def test_each_stage_leaves_its_weights(beacon: Task, tmp_path: Path) -> None:
    """Those of stages 1 and 2 are the weights at which a run without the later stages ends."""
    agent = fitted(beacon)
    agent.save(tmp_path / "weights.safetensors")
    names = {"weights.safetensors", "weights.representation.safetensors", "weights.location.safetensors"}
    assert {path.name for path in tmp_path.iterdir()} == names

    def loaded(name: str) -> dict[str, Tensor]:
        again = hurried("saccader")
        again.load(tmp_path / name, beacon)
        return state(again)

    first, second, last = (loaded(f"weights{stage}.safetensors") for stage in (".representation", ".location", ""))
    assert not moved(first, state(fitted(beacon, location_steps=0, joint_steps=0)))
    assert not moved(second, state(fitted(beacon, joint_steps=0)))
    assert not moved(last, state(agent))
    by_second, by_third = moved(first, second), moved(second, last)
    assert by_second
    assert {"bagnet.local.1.running_mean", "bagnet.local.1.num_batches_tracked"} <= first.keys()
    assert not [name for name in by_second if name.startswith("bagnet")], "batch-norm statistics included"
    assert {"bagnet.logits.weight", "bagnet.local.1.running_mean", "location.mix.weight"} <= by_third

    agent.load(tmp_path / "weights.location.safetensors", beacon)
    agent.save(tmp_path / "again.safetensors")
    assert not list(tmp_path.glob("again.*.safetensors")), "loaded weights have no stages before them"


def test_reinforce_reaches_the_bagnet_or_the_location_network_alone(
    beacon: Task, monkeypatch: pytest.MonkeyPatch
) -> None:
    def reached(**settings: object) -> tuple[set[str], set[str]]:
        """The parameters of BagNet and location network to which the first step of stage 3 gives a gradient."""
        agent = hurried("saccader", joint_steps=1, **settings)
        assert isinstance(agent, Saccader)
        torch.manual_seed(0)
        agent.prepare(beacon)
        agent.fit_jointly(beacon, np.random.default_rng(0), iter)
        bagnet, location = (
            {name for name, value in part.named_parameters() if value.grad is not None and value.grad.any()}
            for part in (agent.bagnet, agent.location)
        )
        return bagnet, location

    assert "logits.weight" in reached(reinforce_bagnet=False)[0], "cross-entropy trains it all the same"
    monkeypatch.setattr(
        "glimpsebench.agents.saccader.joint_loss",
        lambda logits_BTK, *rest: joint_loss(logits_BTK.detach(), *rest),  # the policy term alone
    )
    every = {name for name, _ in LocationNetwork(8, 2).named_parameters()}
    bagnet, location = reached()
    assert {"local.0.weight", "what.0.weight"} <= bagnet
    assert location == every
    assert reached(reinforce_bagnet=False) == (set(), every)


def test_without_reinforce_no_gradient_and_no_weight_decay_moves_the_location_network(beacon: Task) -> None:
    names = {name for name, _ in LocationNetwork(8, 2).named_parameters()}
    before = state(fitted(beacon, joint_steps=0))
    agent = fitted(beacon, reinforce=0.0)
    by_third = moved(before, state(agent))
    assert "bagnet.local.0.weight" in by_third
    assert not {f"location.{name}" for name in names} & by_third
    assert {f"location.{name}" for name in names} <= moved(before, state(fitted(beacon)))
    assert agent.net is not None
    assert all(value.requires_grad for value in agent.net.parameters()), "frozen during the stage only"


def bagnet_steps(agent: Agent) -> int:
    """How many optimiser steps train its BagNet, in all stages together."""
    assert isinstance(agent, BagNetAgent)
    return agent.representation_steps + (agent.joint_steps if isinstance(agent, Saccader) else 0)


BAGNET_AGENTS = ("saccader", "ordered_logits", "sobel", "cells")


def test_by_default_every_bagnet_is_trained_equally_long() -> None:
    assert len({bagnet_steps(agents.make(name)) for name in BAGNET_AGENTS}) == 1


@pytest.mark.parametrize("suite", [name for name in suite_names() if name.startswith("saccader-")])
def test_the_suites_have_every_arm_and_train_them_equally(suite: str) -> None:
    specs = read_suite(suite).specs
    made = [(spec.agent, spec.seed, spec.make()[0]) for spec in specs if spec.agent in BAGNET_AGENTS]
    assert len({bagnet_steps(agent) for _, _, agent in made}) == 1
    assert {name for name, *_ in made} == set(BAGNET_AGENTS)
    assert {agent.order for *_, agent in made if isinstance(agent, Cells)} == {"uniform", "center"}
    saccaders = [agent for *_, agent in made if isinstance(agent, Saccader)]
    with_policy, without = (
        {(agent.joint_steps, agent.joint_lr) for agent in saccaders if agent.joint_steps and chosen(agent.reinforce)}
        for chosen in (operator.truth, operator.not_)
    )
    assert with_policy == without
    assert any(not agent.joint_steps for agent in saccaders)
    seeds = {name: sorted(seed for other, seed, _ in made if other == name) for name in ("sobel", "ordered_logits")}
    assert seeds["sobel"] == seeds["ordered_logits"]
    assert len(seeds["sobel"]) >= 3
    assert suite != "saccader-parts" or all(agents.make(name) in [a for *_, a in made] for name in BAGNET_AGENTS)


@pytest.mark.parametrize("suite", [name for name in suite_names() if name.startswith("saccader-")])
def test_the_suites_run_in_a_small_form(suite: str, beacon: Task) -> None:
    split = tasks.test_split(beacon)
    images = Split(split.images_NCHW[:4], None)
    for spec in read_suite(suite).specs:
        if spec.seed == 0 and spec.agent in BAGNET_AGENTS:
            steps = {name: min(value, 2) for name, value in spec.agent_settings.items() if name.endswith("steps")}
            agent = hurried(
                spec.agent, **dict(spec.agent_settings) | steps | {"network": "bagnet-5", "batch": 4, "glimpses": 3}
            )
            agent.prepare(beacon)
            agent.fit(beacon, 0, iter)
            assert (rollout(agent, images, seed=0).predicted_FN[agent.budgets.index(0.3)] >= 0).all(), spec


def test_every_setting_is_described() -> None:
    for name in BAGNET_AGENTS:
        described = (agents.find(name).__doc__ or "").partition("Settings:")[2]
        entries = {word.strip() for line in described.splitlines() for word in line.partition(": ")[0].split(",")}
        assert set(settings.names(agents.find(name))) <= entries, name


def test_settings_by_their_earlier_names_are_understood() -> None:
    earlier = {"steps": 7, "lr": 0.5, "visited": False, "joint_steps": 3}
    now = {"representation_steps": 7, "representation_lr": 0.5, "mask_visited": False, "joint_steps": 3}
    assert settings.current(Saccader, earlier) == now
    agents.make("saccader", now)


def test_a_field_that_does_not_fit_is_refused(beacon: Task) -> None:
    agent = agents.make("saccader", {"network": "bagnet-77"})
    with pytest.raises(UsageError, match="77 pixels does not fit"):
        agent.prepare(beacon)
    with pytest.raises(UsageError, match="'bagnet-78' does not fit"):
        agents.make("sobel", {"network": "bagnet-78"})


def test_the_floors_visit_every_cell_once(beacon: Task, monkeypatch: pytest.MonkeyPatch) -> None:
    """At its full horizon `center` goes from the middle outwards, `uniform` without repeats and by the generator."""
    settings = {"network": "bagnet-5", "glimpses": 36}
    monkeypatch.setattr(Cells, "predict", lambda agent, view: None)  # not what this is about, and slow
    split = tasks.test_split(beacon)
    assert split.labels_N is not None
    images = Split(split.images_NCHW[:4], split.labels_N[:4])

    def visited(order: str, seed: int) -> tuple[Any, Any]:
        agent = agents.make("cells", settings | {"order": order})
        agent.prepare(beacon)
        fixations_NT2 = rollout(agent, images, seed=seed).selection[0]
        corners = agent.sensor().aim(fixations_NT2.reshape(-1, 2), agent.shape, np.zeros(0))
        return agent, corners.reshape(len(images), -1, 2)

    agent, center_NT2 = visited("center", 0)
    _, uniform_NT2 = visited("uniform", 0)
    _, other_NT2 = visited("uniform", 1)
    for corners_NT2 in (center_NT2, uniform_NT2):
        assert all(len({tuple(corner) for corner in corners_T2}) == agent.horizon() for corners_T2 in corners_NT2)
    assert (center_NT2 == center_NT2[0]).all()
    middle = center_NT2.mean((0, 1))
    apart_T = ((center_NT2[0] - middle) ** 2).sum(1)
    assert (np.diff(apart_T) >= -1e-9).all()
    assert (uniform_NT2[0] != uniform_NT2[1]).any()
    assert (uniform_NT2 != other_NT2).any()
