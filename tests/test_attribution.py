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
from glimpsebench import agents
from glimpsebench.agents.common.attribution import (
    AttributionAgent,
    Classifier,
    Explainer,
    GuidedAgent,
    Loss,
    MiningTrains,
    Pool,
    attention,
    classification_loss,
    erased,
    external_loss,
    mean_over_classes,
    mining_loss,
    probabilities,
)
from glimpsebench.agents.gain_ext import bounding_boxes, supervised_images
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
    maps = (net.class_map(net.features(images), LABELS, images.shape[2:]), by_autograd(net, images, LABELS))
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
    rest = erased(image, torch.tensor([[[[0.0, 0.5, 1.0]]]]), threshold=0.5, sharpness=10.0)
    kept = [1 / (1 + np.exp(-5)), 0.5, 1 / (1 + np.exp(5))]
    torch.testing.assert_close(rest[0], torch.tensor([[0.8 * one for one in kept]] * 2, dtype=torch.float32)[:, None])


def test_the_losses_of_several_classes_per_image_by_hand() -> None:
    logits = torch.tensor([[0.0, np.log(3), -np.log(3)], [np.log(3), 0.0, 0.0]], dtype=torch.float32)
    targets = torch.tensor([[1.0, 1.0, 0.0], [1.0, 0.0, 0.0]])
    # Binary cross-entropies: -log of sigmoid 1/2, 3/4 and 1 - 1/4; then 3/4, 1/2, 1/2.
    by_hand = -(2 * np.log(0.75) + np.log(0.5) + np.log(0.75) + 2 * np.log(0.5)) / 6
    assert classification_loss(logits, targets, "soft_margin").item() == pytest.approx(by_hand)
    one_hot = torch.tensor([[0.0, 1.0, 0.0], [1.0, 0.0, 0.0]])
    softmax = -(np.log(3 / (1 + 3 + 1 / 3)) + np.log(3 / 5)) / 2
    assert classification_loss(logits, one_hot, "cross_entropy").item() == pytest.approx(softmax)
    torch.testing.assert_close(probabilities(logits, "soft_margin")[0], torch.tensor([0.5, 0.75, 0.25]))
    torch.testing.assert_close(probabilities(logits, "cross_entropy")[1], torch.tensor([0.6, 0.2, 0.2]))
    # Image 0 has two classes, image 2 one, and image 1 none: it does not count.
    assert mean_over_classes(torch.tensor([1.0, 3.0, 8.0]), torch.tensor([0, 0, 2])).item() == 5


def test_external_supervision_by_hand() -> None:
    seen = torch.tensor([[[[1.0, 0.0]]], [[[0.5, 0.5]]], [[[0.2, 0.0]]]])
    objects = torch.tensor([[[1.0, 1.0]], [[0.0, 1.0]], [[0.0, 0.0]]])
    # Image 0 has two classes with mean squares 1/2 and 1/4, image 1 one with 0.04 / 2.
    assert external_loss(seen, objects, torch.tensor([0, 0, 1])).item() == pytest.approx((0.375 + 0.02) / 2)


@pytest.mark.parametrize("loss", ["cross_entropy", "soft_margin"])
@pytest.mark.parametrize("trains", ["everything", "attention only"])
def test_what_attention_mining_trains(trains: MiningTrains, loss: Loss) -> None:
    net = made("max")
    rest = IMAGES.double().requires_grad_()
    mined = mining_loss(net, rest, torch.arange(3), LABELS, loss, trains)
    assert mined.item() == pytest.approx(probabilities(net(rest), loss)[torch.arange(3), LABELS].mean().item())
    mined.backward()  # type: ignore[no-untyped-call]
    assert rest.grad is not None
    assert rest.grad.abs().max() > 0
    assert all((parameter.grad is None) == (trains == "attention only") for parameter in net.parameters())


def two_squares(count: int, rng: np.random.Generator) -> tuple[Tensor, Tensor, Tensor]:
    """Images 16×32, their classes (B, 3) and each class's half: a square left, perhaps one right, plain or striped."""
    squares = torch.ones(3, 8, 8)
    squares[1, ::2] = squares[2, :, ::2] = 0
    class_B2 = np.stack([rng.permutation(3)[:2] for _ in range(count)])
    images, targets, halves = torch.zeros(count, 1, 16, 32), torch.zeros(count, 3), torch.zeros(count, 3, 16, 32)
    for row, classes in enumerate(class_B2):
        for side, label in enumerate(classes[: rng.integers(1, 3)]):
            y, x = rng.integers(0, 9), 16 * side + rng.integers(0, 9)
            images[row, 0, y : y + 8, x : x + 8] = squares[label]
            targets[row, label] = 1
            halves[row, label, :, 16 * side : 16 * side + 16] = 1
    return images, targets, halves


def test_each_class_of_an_image_gets_an_attention_of_its_own() -> None:
    torch.manual_seed(0)
    rng = np.random.default_rng(0)
    agent = agents.make("gain", {"loss": "soft_margin", "width": 8})
    assert isinstance(agent, GuidedAgent)
    agent.shape, agent.classes = (1, 16, 32), 3
    agent.net = agent.build()
    optimiser = torch.optim.Adam(agent.classifier.parameters(), 1e-2)
    first = [parameter.clone() for parameter in agent.classifier.parameters()]
    for _ in range(60):
        images, targets, halves = two_squares(16, rng)
        loss, seen_P1HW, image_P = agent.self_guidance(images, targets)
        assert len(seen_P1HW) == len(image_P) == targets.sum()
        pairs = targets.nonzero(as_tuple=True)
        loss = loss + 5 * external_loss(seen_P1HW, halves[pairs], image_P)
        optimiser.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimiser.step()
    assert not any(torch.equal(*both) for both in zip(first, agent.classifier.parameters(), strict=True))
    agent.net.eval()
    images, targets, halves = two_squares(100, rng)
    with torch.no_grad():
        assert (((agent.classifier(images) > 0) == targets.bool()).float().mean()) > 0.9
        _, seen_P1HW, _ = agent.self_guidance(images, targets)
    pairs = targets.nonzero(as_tuple=True)
    inside = (seen_P1HW[:, 0] * halves[pairs]).sum((1, 2)) / seen_P1HW.sum((1, 2, 3)).clamp(min=1e-6)
    assert inside[(targets.sum(1) == 2)[pairs[0]]].mean() > 0.8


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
    assert same(gradcam, fitted("gain", beacon, mining_weight=0.0)), (
        "images without their attended part leave no other trace"
    )
    assert not same(gain, fitted("gain", beacon, mining_trains="attention only"))
    assert not same(gain, fitted("gain", beacon, loss="soft_margin"))
    assert same(gain, fitted("gain_ext", beacon, supervised_share=0.0))
    assert same(gain, fitted("gain_ext", beacon, external_weight=0.0))
    assert not same(gain, fitted("gain_ext", beacon, supervised_share=0.1))


def test_pixel_labels_are_nested_and_leave_the_batches_alone() -> None:
    rng, other = np.random.default_rng(3), np.random.default_rng(3)
    some = supervised_images(1000, 0.03, rng)
    assert some.sum() == 30
    assert rng.random() == other.random()
    more = supervised_images(1000, 0.1, np.random.default_rng(3))
    assert (more >= some).all()
    assert more.sum() == 100
    assert supervised_images(1000, 1.0, np.random.default_rng(3)).all()
    assert not supervised_images(1000, 0.1, np.random.default_rng(4))[more].all()


def test_boxes_are_the_smallest_around_the_masks() -> None:
    masks = np.zeros((3, 4, 5), bool)
    masks[0, 1, 3] = masks[0, 3, 1] = masks[1, 0, 0] = True
    boxes = bounding_boxes(masks)
    by_hand = np.zeros((3, 4, 5), bool)
    by_hand[0, 1:4, 1:4] = by_hand[1, 0, 0] = True
    np.testing.assert_array_equal(boxes, by_hand)


@dataclass(frozen=True)
class Barless(Beacon):
    """The toy task whose object masks leave out the bar, but not their corners."""

    def render(self, half: Half, epoch: int) -> Split:
        split = super().render(half, epoch)
        objects = split.objects_NHW
        assert objects is not None
        return Split(split.images_NCHW, split.labels_N, lambda: objects & (split.images_NCHW[:, 0] < 255))


def test_boxes_may_be_the_supervision() -> None:
    of_squares, of_boxes = fitted("gain_ext", Beacon()), fitted("gain_ext", Barless(), supervision_from="boxes")
    assert same(of_squares, of_boxes)
    assert not same(of_boxes, fitted("gain_ext", Barless(), supervision_from="masks"))


@dataclass(frozen=True)
class Unmarked(Beacon):
    """The toy task without object masks."""

    name: str = "unmarked"

    def render(self, half: Half, epoch: int) -> Split:
        split = super().render(half, epoch)
        return Split(split.images_NCHW, split.labels_N)


def test_a_task_without_object_masks_is_refused_unless_none_is_wanted() -> None:
    with pytest.raises(UsageError, match=r"'unmarked' has no object masks.*supervised_share=0"):
        fitted("gain_ext", Unmarked())
    agent = fitted("gain_ext", Unmarked(), supervised_share=0.0)
    assert set(agent.findings) == {"accuracy", "attention_mean", "attention_half", "erased_probability"}


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
        fitted("gain_ext", beacon, selector_steps=60, mining_weight=0.0, supervised_share=share).findings["iou_half"]
        for share in (0, 1)
    )
    assert isinstance(without_any, float)
    assert isinstance(with_all, float)
    assert with_all > without_any + 0.1
