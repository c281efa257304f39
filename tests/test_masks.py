"""What the mask selectors share: sizes that they learn, points beside the grid, and who reads the pixels."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from conftest import hurried
from glimpsebench import agents
from glimpsebench.agents.common.masks import DrawnMaskAgent, JointMaskAgent, MaskAgent, MaskNet
from glimpsebench.agents.common.nets import WHOLE_SHARE, CanvasNet, PredictorAgent, to_float
from glimpsebench.agents.realx import RealX
from glimpsebench.bench.suites import read_suite
from glimpsebench.envs.predictors import reader_state
from glimpsebench.envs.tasks import Task


def fitted(name: str, task: Task, **settings: object) -> MaskAgent:
    agent = hurried(name, **settings)
    assert isinstance(agent, MaskAgent)
    torch.manual_seed(0)
    agent.prepare(task)
    agent.fit(task, 0, iter)
    return agent


# Agents of every family whose predictor is the shared one.
SHARED = ["uniform", "straight_through", "concrete_topk", "gradcam", "cbam", "ram", "ppo"]


@pytest.mark.parametrize("init", ["reader", "random"])
@pytest.mark.parametrize("name", SHARED)
def test_every_shared_predictor_has_the_same_terms_of_training(name: str, init: str, beacon: Task) -> None:
    agent = agents.make(name)
    assert isinstance(agent, PredictorAgent)
    default = agents.make("uniform")
    for setting in ("predictor_init", "predictor_steps", "predictor_lr", "batch", "width"):
        assert getattr(agent, setting) == getattr(default, setting)

    agent = hurried(name, predictor_steps=40, batch=16, predictor_init=init)
    assert isinstance(agent, PredictorAgent)
    agent.prepare(beacon)
    shares: list[float] = []
    weights: list[torch.Tensor] = []

    def watched(net: torch.nn.Module, inputs: tuple[torch.Tensor, torch.Tensor]) -> None:
        if len(inputs[1]) == 16 and net.training:
            shares.append((inputs[1].mean((1, 2, 3)) == 1).float().mean().item())
            weights.append(next(net.parameters()).detach().clone())

    predictor = next(module for module in agent.net.modules() if isinstance(module, CanvasNet))  # type: ignore[union-attr]
    torch.nn.init.constant_(predictor.head.weight, 7.0)  # what it knew before must not matter
    predictor.register_forward_pre_hook(watched)
    if isinstance(agent, MaskAgent):
        agent.fit_predictor(beacon, np.random.default_rng(0), iter)
        assert predictor.head.weight.max() < 5, "training began with the old weights"
    else:
        agent.fit(beacon, 0, iter)
    last = shares[-40:]
    assert np.mean(last[20:]) >= 0.8 * WHOLE_SHARE, "a share of whole images stays"
    if init == "reader":
        assert torch.equal(weights[-40], next(iter(reader_state(beacon).values())))
        assert np.mean(last[:10]) < 0.6
    else:
        assert last[0] == 1, "all images are whole at first"
        assert np.mean(last[:10]) > np.mean(last[10:20]) > np.mean(last[20:])


JOINT = ["hard_concrete", "concrete_topk", "perturbed_topk"]


@pytest.mark.parametrize("name", JOINT)
def test_random_pixels_beside_the_selection_are_phased_out(
    name: str, beacon: Task, monkeypatch: pytest.MonkeyPatch
) -> None:
    shown: list[torch.Tensor] = []
    classify_masked = MaskNet.classify_masked

    def watched(self: MaskNet, image_BCHW: torch.Tensor, mask_B1HW: torch.Tensor) -> torch.Tensor:
        shown.append(mask_B1HW)
        return classify_masked(self, image_BCHW, mask_B1HW)

    agent = hurried(name, selector_steps=10)
    assert isinstance(agent, JointMaskAgent)
    agent.prepare(beacon)
    monkeypatch.setattr(MaskNet, "classify_masked", watched)
    images = to_float(beacon.val().images_NCHW)
    selections = {step: torch.zeros(len(images), 1, 16, 16) for step in (0, 3, 5, 9)}
    for step, mask_B1HW in selections.items():
        shares = agent.with_random_pixels(mask_B1HW, step).mean((1, 2, 3))
        limit = max(0.0, 1 - step / 5)
        assert shares.max() <= limit + 0.15  # a share drawn from 0 to the limit
        assert shares.mean() == pytest.approx(limit / 2, abs=0.1 if limit else 0)
    assert torch.equal(agent.with_random_pixels(selections[9] + 1, 0), selections[9] + 1)
    areas = {}
    for phased in (True, False):
        agent.random_pixels = phased
        torch.manual_seed(0)
        agent.selection_loss(images, torch.zeros(len(images), dtype=torch.long), 4)
        areas[phased] = shown.pop().mean()
    assert areas[True] > areas[False]


@pytest.mark.parametrize("name", JOINT)
def test_a_predictor_learns_on_random_masks_before_a_selector_that_learns_with_it(name: str, beacon: Task) -> None:
    for steps in (0, 3):
        agent = hurried(name, pretrain_steps=steps, selector_steps=2)
        assert isinstance(agent, JointMaskAgent)
        agent.prepare(beacon)
        scored: list[int] = []
        read: list[None] = []
        agent.nets.scorer.register_forward_pre_hook(lambda *_, scored=scored, read=read: scored.append(len(read)))
        agent.nets.predictor.register_forward_pre_hook(lambda *_, read=read: read.append(None))
        agent.fit_selector(beacon, np.random.default_rng(0), iter)
        assert scored == [steps, steps + 1]


@pytest.mark.parametrize("name", ["straight_through", "hard_concrete", "realx"])
def test_the_size_that_was_learned_is_recorded(name: str, beacon: Task) -> None:
    agent = fitted(name, beacon)
    assert isinstance(agent, DrawnMaskAgent)
    with torch.no_grad():
        shown = agent.inclusion_probability(agent.nets.scorer(to_float(beacon.val().images_NCHW)))
    assert agent.findings["expected_size"] == pytest.approx(float(shown.mean()), rel=1e-5)


@pytest.mark.parametrize(
    ("name", "size", "settings"),
    [
        ("straight_through", "expected_size", {"size_weight": 400.0}),
        ("straight_through", "expected_size", {"estimator": "topk", "selector_steps": 2}),  # nothing to learn
        ("hard_concrete", "expected_size", {}),
        ("mask_penalty", "mask_mean", {"loss": "target_budget", "beta": 400.0}),
    ],
)
def test_a_size_with_a_target_is_met(name: str, size: str, settings: dict[str, object], beacon: Task) -> None:
    agent = fitted(name, beacon, **{"target": 0.2, "selector_steps": 150} | settings)
    assert agent.findings[size] == pytest.approx(0.2, rel=0.1)


def test_straight_through_top_k_trains_on_exactly_k_pixels(beacon: Task, monkeypatch: pytest.MonkeyPatch) -> None:
    masks: list[torch.Tensor] = []
    classify_masked = MaskNet.classify_masked

    def watched(self: MaskNet, image_BCHW: torch.Tensor, mask_B1HW: torch.Tensor) -> torch.Tensor:
        masks.append(mask_B1HW.detach())
        return classify_masked(self, image_BCHW, mask_B1HW)

    monkeypatch.setattr(MaskNet, "classify_masked", watched)
    fitted("straight_through", beacon, estimator="topk", target=0.1, selector_steps=4)
    for mask_B1HW, count in zip(masks, (256, 128, 25, 25), strict=True):  # the whole image at first, then ⌊0.1 · 256⌋
        assert ((mask_B1HW == 0) | (mask_B1HW == 1)).all()
        assert (mask_B1HW.sum((1, 2, 3)) == count).all()


def test_a_random_reader_has_not_met_the_selector(beacon: Task) -> None:
    def weights(**settings: object) -> np.ndarray:
        predictor = fitted("realx", beacon, **settings).nets.predictor
        return torch.cat([value.flatten() for value in predictor.parameters()]).detach().numpy()

    # The same draws, another price: another selector, and the same reader if it knows random masks alone.
    assert np.array_equal(weights(test_predictor="random", lam=0.0), weights(test_predictor="random", lam=500.0))
    assert not np.array_equal(weights(lam=0.0), weights(lam=500.0))


@pytest.mark.parametrize(("share", "low", "high"), [(0.5, 0.35, 0.65), (0.1, 0.03, 0.2), ("any", 0.0, 1.0)])
def test_random_masks_show_the_share_that_is_asked(
    share: object, low: float, high: float, beacon: Task, monkeypatch: pytest.MonkeyPatch
) -> None:
    shares: list[float] = []
    under = torch.nn.Module.__call__

    def watched(self: torch.nn.Module, *inputs: torch.Tensor) -> object:
        if type(self).__name__ == "CanvasNet" and self.training:
            shares.extend(inputs[1].mean((1, 2, 3)).tolist())
        return under(self, *inputs)

    torch.manual_seed(0)
    agent = hurried("realx", random_share=share, pretrain_steps=20)
    assert isinstance(agent, MaskAgent)
    agent.prepare(beacon)
    monkeypatch.setattr(torch.nn.Module, "__call__", watched)
    rng = np.random.default_rng(0)
    agent.fit_selector(beacon, rng, iter)
    rest = np.array(shares[10 * agent.batch : 20 * agent.batch])  # whole images have been phased out by then
    assert rest.min() >= low
    assert rest.max() <= high
    assert (np.ptp(rest) > 0.8) == (share == "any")


@pytest.mark.parametrize("suite", ["selectors", "selectors-60"])
def test_all_selectors_of_a_suite_have_one_target(suite: str) -> None:
    made = [agents.make(spec.agent, spec.agent_settings) for spec in read_suite(suite).specs]
    targets = {type(agent).__name__: getattr(agent, "target", None) for agent in made}
    with_target = {name: target for name, target in targets.items() if target is not None}
    assert {
        "StraightThrough",
        "HardConcrete",
        "ConcreteTopK",
        "Perturbed",
        "RealX",
        "MaskPenalty",
    } == with_target.keys()
    assert set(with_target.values()) == {0.05}


@pytest.mark.parametrize(("target", "ascent", "rises"), [(0.01, 1.0, True), (0.99, 1.0, False), (0.01, 0.0, None)])
def test_realx_raises_its_price_while_masks_are_larger_than_the_target(
    target: float, ascent: float, rises: bool | None, beacon: Task
) -> None:
    agent = fitted("realx", beacon, lam=2.0, target=target, ascent=ascent, selector_steps=3)
    assert isinstance(agent, RealX)
    assert agent.multiplier == 2.0 if rises is None else (agent.multiplier > 2.0) is rises
    assert agent.multiplier >= 0
