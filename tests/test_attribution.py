"""Grad-CAM, GAIN and GAIN_ext: the map against autograd, the soft mask by hand, and which images have pixel labels."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from conftest import Beacon, hurried
from glimpsebench.agents.common.attribution import (
    AttributionAgent,
    Classifier,
    Explainer,
    Pool,
    attention,
    mining_loss,
    without,
)
from glimpsebench.agents.gain_ext import drawn
from glimpsebench.envs.errors import UsageError
from glimpsebench.envs.tasks import Half, Split, Task

IMAGES = torch.rand(3, 1, 16, 16, generator=torch.Generator().manual_seed(0))
LABELS = torch.tensor([0, 2, 1])


def made(pool: Pool) -> Classifier:
    """In double precision, and no channel of its features a flat one."""
    torch.manual_seed(0)
    return Classifier(1, 3, 4, pool).double()


def by_autograd(net: Classifier, image_BCHW: Tensor, class_B: Tensor) -> Tensor:
    """Equations 1 and 2 as the paper computes them: two backward passes."""
    features = net.features(image_BCHW)
    chosen = net.logits(features).gather(1, class_B[:, None]).sum()
    (gradient,) = torch.autograd.grad(chosen, features, create_graph=True)
    evidence = (gradient.mean((2, 3), keepdim=True) * features).sum(1, keepdim=True)
    return F.interpolate(evidence, size=image_BCHW.shape[2:], mode="bilinear", align_corners=False)


@pytest.mark.parametrize("pool", ["mean", "max"])
def test_the_map_and_its_gradient_are_those_of_autograd(pool: Pool) -> None:
    net, images = made(pool), IMAGES.double()
    maps = (net.evidence(net.features(images), LABELS, images.shape[2:]), by_autograd(net, images, LABELS))
    assert maps[0].std() > 0
    torch.testing.assert_close(maps[0], maps[1])
    target = torch.rand_like(maps[0])
    learned = [parameter for name, parameter in net.named_parameters() if name != "head.bias"]
    ours, theirs = (torch.autograd.grad((attention(one) * target).sum(), learned) for one in maps)
    for mine, its in zip(ours, theirs, strict=True):
        assert its.abs().max() > 0
        torch.testing.assert_close(mine, its)


def test_scores_are_of_the_predicted_class_and_have_the_order_of_attention() -> None:
    net = made("max").eval()
    images = torch.rand(40, 1, 16, 16, dtype=torch.float64)
    with torch.no_grad():
        net.head.bias.sub_(net(images).mean(0))  # so that every class is predicted
        predicted = net(images).argmax(1)
        scores = Explainer(net)(images)
        assert len(predicted.unique()) > 1
        torch.testing.assert_close(scores, by_autograd_without_grad(net, images, predicted))
    seen = attention(scores)
    assert ((seen == 0) == (scores <= 0)).all()
    assert (seen.amax((1, 2, 3)) <= 1).all()
    order = scores.flatten(1).argsort(1)
    assert (seen.flatten(1).gather(1, order).diff(dim=1) >= 0).all()


def by_autograd_without_grad(net: Classifier, images: Tensor, class_B: Tensor) -> Tensor:
    with torch.enable_grad():
        return by_autograd(net, images, class_B).detach()


def test_attention_is_divided_by_a_constant_and_may_be_empty() -> None:
    evidence = torch.tensor([[[[2.0, -1.0], [4.0, 1.0]]], [[[-1.0, -2.0], [0.0, -3.0]]]], requires_grad=True)
    seen = attention(evidence)
    assert seen.detach().flatten().tolist() == [0.5, 0.0, 1.0, 0.25, 0.0, 0.0, 0.0, 0.0]
    (gradient,) = torch.autograd.grad(seen[0].sum(), evidence)
    assert gradient[0].flatten().tolist() == [0.25, 0.0, 0.25, 0.25]


def test_the_attended_part_is_taken_away() -> None:
    image = torch.full((1, 2, 1, 3), 0.8)
    rest = without(image, torch.tensor([[[[0.0, 0.5, 1.0]]]]), sigma=0.5, omega=10.0)
    kept = [1 / (1 + np.exp(-5)), 0.5, 1 / (1 + np.exp(5))]
    torch.testing.assert_close(rest[0], torch.tensor([[0.8 * one for one in kept]] * 2, dtype=torch.float32)[:, None])


@pytest.mark.parametrize("frozen", [True, False])
def test_mining_moves_the_judge_only_if_it_is_not_frozen(frozen: bool) -> None:
    net = made("max")
    rest = IMAGES.double().requires_grad_()
    loss = mining_loss(net, rest, LABELS, frozen)
    probabilities = net(rest).softmax(1)
    assert loss.item() == pytest.approx(probabilities[torch.arange(3), LABELS].mean().item())
    loss.backward()  # type: ignore[no-untyped-call]
    assert rest.grad is not None
    assert rest.grad.abs().max() > 0
    assert all((parameter.grad is None) == frozen for parameter in net.parameters())


def fitted(name: str, task: Task, **settings: Any) -> AttributionAgent:
    agent = hurried(name, **{"selector_steps": 4, "batch": 32} | settings)
    assert isinstance(agent, AttributionAgent)
    torch.manual_seed(0)
    agent.prepare(task)
    agent.fit(task, 0, iter)
    return agent


def weights(agent: AttributionAgent) -> dict[str, Tensor]:
    return agent.nets.scorer.state_dict()


def same(first: AttributionAgent, second: AttributionAgent) -> bool:
    return all(torch.equal(value, weights(second)[name]) for name, value in weights(first).items())


def test_each_loss_has_its_weight(beacon: Task) -> None:
    gain, gradcam = fitted("gain", beacon), fitted("gradcam", beacon)
    assert not same(gain, gradcam)
    assert same(gradcam, fitted("gain", beacon, alpha=0.0)), "images without their attended part leave no other trace"
    assert not same(gain, fitted("gain", beacon, frozen=False))
    assert same(gain, fitted("gain_ext", beacon, share=0.0))
    assert same(gain, fitted("gain_ext", beacon, pixel_weight=0.0))
    assert not same(gain, fitted("gain_ext", beacon, share=0.1))


def test_pixel_labels_are_nested_and_leave_the_batches_alone() -> None:
    rng, other = np.random.default_rng(3), np.random.default_rng(3)
    some = drawn(1000, 0.03, rng)
    assert some.sum() == 30
    assert rng.random() == other.random()
    more = drawn(1000, 0.1, np.random.default_rng(3))
    assert (more >= some).all()
    assert more.sum() == 100
    assert drawn(1000, 1.0, np.random.default_rng(3)).all()
    assert not drawn(1000, 0.1, np.random.default_rng(4))[more].all()


@dataclass(frozen=True)
class Unmarked(Beacon):
    """The toy task without object masks."""

    name: str = "unmarked"

    def render(self, half: Half, epoch: int) -> Split:
        split = super().render(half, epoch)
        return Split(split.images_NCHW, split.labels_N)


def test_a_task_without_object_masks_is_refused_unless_none_is_wanted() -> None:
    with pytest.raises(UsageError, match=r"'unmarked' has no object masks.*share=0"):
        fitted("gain_ext", Unmarked())
    agent = fitted("gain_ext", Unmarked(), share=0.0)
    assert set(agent.findings) == {"accuracy", "attention_mean", "attention_half", "rest"}


def test_findings_by_hand(beacon: Task) -> None:
    agent = fitted("gradcam", beacon)
    split = beacon.val()
    assert split.labels_N is not None
    assert split.objects_NHW is not None
    images = torch.tensor(split.images_NCHW).float() / 255
    with torch.no_grad():
        right = agent.classifier(images).argmax(1).numpy() == split.labels_N
        seen = attention(agent.nets.scorer(images))[:, 0].numpy()
    overlaps = [
        (cue & mask).sum() / max((cue | mask).sum(), 1)
        for cue, mask in zip(seen >= 0.2, split.objects_NHW, strict=True)
    ]
    assert agent.findings["accuracy"] == pytest.approx(right.mean())
    assert agent.findings["attention_mean"] == pytest.approx(seen.mean(), rel=1e-3)
    assert agent.findings["iou_fifth"] == pytest.approx(np.mean(overlaps), rel=1e-2)


def test_pixel_labels_draw_attention_to_the_object(beacon: Task) -> None:
    without_any, with_all = (
        fitted("gain_ext", beacon, selector_steps=60, alpha=0.0, share=share).findings["iou_half"] for share in (0, 1)
    )
    assert isinstance(without_any, float)
    assert isinstance(with_all, float)
    assert with_all > without_any + 0.1
