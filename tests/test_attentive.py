"""Soft attention as a selector: the modules, the score and the guided dropout, against values worked by hand."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from conftest import hurried
from glimpsebench import agents
from glimpsebench.agents.adcm import stochastic_pool
from glimpsebench.agents.cbam import ChannelAttention, SpatialAttention
from glimpsebench.agents.common.attentive import AttentionDropout, AttentiveAgent, AttentiveNet, log_product
from glimpsebench.envs.tasks import Task


def network(name: str, **settings: object) -> AttentiveNet:
    torch.manual_seed(0)
    agent = hurried(name, **settings)
    agent.shape, agent.classes = (1, 16, 16), 3
    agent.net = agent.build()
    assert isinstance(agent, AttentiveAgent)
    return agent.attentive


def test_cbams_channel_attention_by_hand() -> None:
    attention = ChannelAttention(2, 2)
    with torch.no_grad():
        for name, value in attention.named_parameters():
            value.fill_(1.0 if name.endswith("weight") else 0.0)
    features = torch.tensor([[[[1.0, 3.0]], [[0.0, 0.0]]]])  # means 2 and 0, maxima 3 and 0
    weights = attention(features)
    assert weights.shape == (1, 2, 1, 1)
    torch.testing.assert_close(weights.flatten(), torch.sigmoid(torch.tensor([5.0, 5.0])))


def test_cbams_spatial_attention_by_hand() -> None:
    attention = SpatialAttention().eval()
    with torch.no_grad():
        attention.conv.weight.zero_()
        attention.conv.weight[0, 0, 3, 3], attention.conv.weight[0, 1, 3, 3] = 1.0, 10.0
    features = torch.tensor([[[[1.0, 0.0]], [[3.0, 2.0]]]])  # per position: maxima 3 and 2, means 2 and 1
    logits = torch.tensor([[[[23.0, 12.0]]]]) / math.sqrt(1 + attention.norm.eps)
    torch.testing.assert_close(attention(features), torch.sigmoid(logits))


def test_stochastic_pooling_draws_in_proportion_to_the_activation() -> None:
    torch.manual_seed(0)
    features = torch.tensor([1.0, 0.0, 3.0, 0.0]).view(1, 1, 2, 2).repeat(20_000, 1, 1, 1)
    drawn = stochastic_pool(features, sample=True)
    assert set(drawn.flatten().tolist()) == {1.0, 3.0}
    assert (drawn == 3).float().mean().item() == pytest.approx(0.75, abs=5 * math.sqrt(0.75 * 0.25 / 20_000))
    torch.testing.assert_close(stochastic_pool(features[:1], sample=False), torch.tensor([[2.5]]))  # (1 + 9) / 4
    assert stochastic_pool(torch.zeros(1, 1, 2, 2), sample=True).item() == 0


def test_guided_dropout_keeps_high_attention() -> None:
    torch.manual_seed(0)
    attention = torch.tensor([0.1, 0.4, 0.4, 0.7]).view(1, 4, 1, 1)
    dropout = AttentionDropout(0.8, guided=True)
    probability = attention.flatten() * 2.2 / 0.9  # of 3.2 the last takes 1; 2.2 are left to three that sum to 0.9
    probability[-1] = 1
    torch.testing.assert_close(dropout.probability(attention).flatten(), probability)
    outputs = dropout(attention.repeat(10_000, 1, 1, 1))[:, :, 0, 0]
    assert ((outputs == 0) | ((outputs - attention.flatten() / probability).abs() < 1e-6)).all()
    torch.testing.assert_close((outputs > 0).float().mean(0), probability, atol=0.022, rtol=0)  # 5 standard errors
    assert torch.equal(dropout.eval()(attention), attention)


@pytest.mark.parametrize("guided", [True, False])
@pytest.mark.parametrize("keep", [0.3, 0.67, 0.9])
def test_dropout_leaves_the_expected_weight_as_it_is(keep: float, guided: bool) -> None:
    torch.manual_seed(0)
    attention = torch.tensor([0.0, 0.05, 0.3, 0.8, 0.95]).view(1, 1, 1, 5).repeat(40_000, 1, 1, 1)
    outputs = AttentionDropout(keep, guided)(attention)
    error = (outputs.mean(0) - attention[0]) / (outputs.std(0) / 200).clamp(min=1e-6)
    assert error.abs().max() < 4


@pytest.mark.parametrize("rate", [0.05, 0.5, 0.9, 1.0])
def test_guided_dropout_keeps_the_share_that_is_asked(rate: float) -> None:
    torch.manual_seed(0)
    attention = torch.rand(5, 1, 9, 11) ** torch.tensor([0.0, 0.1, 1.0, 4.0, 9.0]).view(5, 1, 1, 1)  # even to uneven
    probability = AttentionDropout(rate, guided=True).probability(attention)
    assert probability.max() <= 1
    torch.testing.assert_close(probability.mean((1, 2, 3)), torch.full((5,), rate))
    order = attention.flatten(1).argsort(1)
    assert (probability.flatten(1).gather(1, order).diff(dim=1) >= 0).all()


def test_guided_dropout_does_not_compare_images() -> None:
    dropout = AttentionDropout(0.5, guided=True)
    dim, bright = torch.tensor([0.1, 0.2]), torch.tensor([0.4, 0.8])
    both = dropout.probability(torch.stack([dim, bright]).view(2, 1, 1, 2))
    torch.testing.assert_close(both[0], both[1])


def test_unguided_dropout_does_not_ask_what_it_drops() -> None:
    dropout = AttentionDropout(0.8, guided=False)
    assert (dropout.probability(torch.tensor([0.01, 0.99]).view(1, 2, 1, 1)) == 0.8).all()


def test_the_dropouts_probability_has_no_gradient() -> None:
    torch.manual_seed(0)
    attention = torch.full((1, 4, 1, 1), 0.4, requires_grad=True)
    outputs = AttentionDropout(0.5, guided=True)(attention)
    outputs.sum().backward()
    assert attention.grad is not None
    torch.testing.assert_close(attention.grad, 2.0 * (outputs > 0))  # 1 / p


def test_the_product_of_maps_by_hand() -> None:
    coarse, fine = torch.full((1, 1, 1, 1), 0.5), torch.tensor([[[[0.2, 0.4]]]])
    torch.testing.assert_close(log_product([coarse, fine], torch.Size((1, 2))).exp(), torch.tensor([[[[0.1, 0.2]]]]))


@pytest.mark.parametrize("name", ["cbam", "adcm"])
@pytest.mark.parametrize("score", ["gradient", "last"])
def test_an_attention_methods_score_depends_on_its_spatial_attention(name: str, score: str) -> None:
    net, image = network(name, score=score).eval(), torch.rand(2, 1, 16, 16)
    before = net(image)
    with torch.no_grad():
        for value in net.spatial.parameters():
            value.normal_()
    assert not torch.allclose(net(image), before)


def test_the_last_map_is_at_the_images_size() -> None:
    net, image = network("cbam", score="last").eval(), torch.rand(2, 1, 16, 16)
    maps = net.attended(image)[2]
    assert [one.shape[1:] for one in maps] == [(1, 8, 8), (1, 4, 4), (1, 4, 4)]
    torch.testing.assert_close(net(image), nn.functional.interpolate(maps[-1], (16, 16), mode="bilinear"))


def test_the_gradient_is_that_of_the_predicted_logit_by_each_position_of_the_first_map() -> None:
    net, image = network("cbam").eval().double(), torch.rand(1, 1, 16, 16, dtype=torch.double)
    net.requires_grad_(False)
    base, map_11YX, step = net.logits(image), net.attended(image)[2][0], 1e-6
    with torch.no_grad():
        product_11YX = net.gradient(image)
    for y, x in ((0, 0), (2, 3)):
        shift = torch.zeros_like(map_11YX)
        shift[0, 0, y, x] = step
        handle = net.spatial[0].register_forward_hook(lambda *args, shift=shift: args[2] + shift)
        slope = (net.logits(image) - base)[0, base.argmax()] / step
        handle.remove()
        torch.testing.assert_close(product_11YX[0, 0, y, x], map_11YX[0, 0, y, x] * slope, rtol=1e-3, atol=1e-8)
    expected = nn.functional.interpolate(product_11YX, (16, 16), mode="bilinear")
    torch.testing.assert_close(net(image), expected)


@pytest.mark.parametrize(("attention", "channel"), [("both", 3), ("spatial", 0)])
def test_channel_attention_can_be_left_out(attention: str, channel: int) -> None:
    net = network("cbam", attention=attention)
    features, *weights = net.attended(torch.rand(2, 1, 16, 16))
    assert [len(some) for some in weights] == [channel, 3]
    assert [block.shape[1:] for block in features] == [(16, 8, 8), (32, 4, 4), (64, 4, 4)]
    assert net(torch.rand(2, 1, 16, 16)).shape == (2, 1, 16, 16)


def test_energy_has_no_attention_and_ranks_by_the_magnitude_of_features() -> None:
    net, image = network("energy").eval(), torch.rand(2, 1, 16, 16)
    features, *weights = net.attended(image)
    assert weights == [[], []]
    expected = log_product([block.square().mean(1, keepdim=True).sqrt() for block in features], torch.Size((16, 16)))
    torch.testing.assert_close(net(image), expected)


def test_what_gets_through_is_the_product_of_features_and_weights() -> None:
    net = network("adcm").eval()
    image = torch.rand(2, 1, 16, 16)
    features, channel, spatial = net.attended(image)
    torch.testing.assert_close(features[0], net.blocks[0](image) * channel[0] * spatial[0])


def test_the_findings_are_what_a_run_needs(beacon: Task) -> None:
    def found(name: str, **settings: object) -> dict[str, object]:
        agent = hurried(name, **settings)
        torch.manual_seed(0)
        agent.prepare(beacon)
        agent.fit(beacon, 0, iter)
        return dict(agent.findings)

    assert set(found("energy")) == {"net_accuracy"}
    assert set(found("cbam")) == {"net_accuracy", "mean_channel", "mean_spatial"}
    assert set(found("adcm")) == {"net_accuracy", "mean_channel", "mean_spatial"}


def test_the_attentive_network_itself_learns(beacon: Task) -> None:
    agent = agents.make("cbam", {"selector_steps": 100, "predictor_steps": 1})
    torch.manual_seed(0)
    agent.prepare(beacon)
    agent.fit(beacon, 0, iter)
    accuracy = agent.findings["net_accuracy"]
    assert isinstance(accuracy, float)
    assert accuracy > 0.9
