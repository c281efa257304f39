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
from glimpsebench.agents.common.attentive import AttentiveAgent, AttentiveNet, Dropout, product
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
    dropout = Dropout(0.8, guided=True)
    probability = attention.flatten() * 2.2 / 0.9  # of 3.2 the last takes 1; 2.2 are left to three that sum to 0.9
    probability[-1] = 1
    torch.testing.assert_close(dropout.probability(attention).flatten(), probability)
    outputs = torch.cat([dropout(attention.repeat(100, 1, 1, 1)) for _ in range(100)])[:, :, 0, 0]
    assert ((outputs == 0) | ((outputs - attention.flatten() / 0.8).abs() < 1e-6)).all()
    torch.testing.assert_close((outputs > 0).float().mean(0), probability, atol=0.022, rtol=0)  # 5 standard errors
    assert torch.equal(dropout.eval()(attention), attention)


@pytest.mark.parametrize("rate", [0.05, 0.5, 0.9, 1.0])
def test_guided_dropout_keeps_the_share_that_is_asked(rate: float) -> None:
    torch.manual_seed(0)
    attention = torch.rand(5, 1, 9, 11) ** torch.tensor([0.0, 0.1, 1.0, 4.0, 9.0]).view(5, 1, 1, 1)  # even to uneven
    probability = Dropout(rate, guided=True).probability(attention)
    assert probability.max() <= 1
    torch.testing.assert_close(probability.mean((1, 2, 3)), torch.full((5,), rate))
    order = attention.flatten(1).argsort(1)
    assert (probability.flatten(1).gather(1, order).diff(dim=1) >= 0).all()


def test_guided_dropout_does_not_compare_images() -> None:
    dropout = Dropout(0.5, guided=True)
    dim, bright = torch.tensor([0.1, 0.2]), torch.tensor([0.4, 0.8])
    both = dropout.probability(torch.stack([dim, bright]).view(2, 1, 1, 2))
    torch.testing.assert_close(both[0], both[1])


def test_unguided_dropout_does_not_ask_what_it_drops() -> None:
    dropout = Dropout(0.8, guided=False)
    assert (dropout.probability(torch.tensor([0.01, 0.99]).view(1, 2, 1, 1)) == 0.8).all()


def test_the_dropouts_probability_has_no_gradient() -> None:
    torch.manual_seed(0)
    attention = torch.full((1, 4, 1, 1), 0.4, requires_grad=True)
    outputs = Dropout(0.5, guided=True)(attention)
    outputs.sum().backward()
    assert attention.grad is not None
    torch.testing.assert_close(attention.grad, 2.0 * (outputs > 0))


def test_the_product_of_maps_by_hand() -> None:
    coarse, fine = torch.full((1, 1, 1, 1), 0.5), torch.tensor([[[[0.2, 0.4]]]])
    torch.testing.assert_close(product([coarse, fine], torch.Size((1, 2))).exp(), torch.tensor([[[[0.1, 0.2]]]]))


def test_spatial_scores_are_the_last_blocks_map() -> None:
    image = torch.rand(2, 1, 16, 16)
    net = network("cbam", score="spatial").eval()
    last = net.attended(image)[2][-1]
    assert last.shape == (2, 1, 4, 4)
    torch.testing.assert_close(net(image), nn.functional.interpolate(last, (16, 16), mode="bilinear").log())
    assert not torch.equal(net(image), network("cbam", score="energy").eval()(image))


@pytest.mark.parametrize(("attention", "channel", "spatial"), [("both", 3, 3), ("channel", 3, 0), ("none", 0, 0)])
def test_attention_can_be_left_out(attention: str, channel: int, spatial: int) -> None:
    features, *weights = network("cbam", attention=attention, score="spatial").attended(torch.rand(2, 1, 16, 16))
    assert [len(some) for some in weights] == [channel, spatial]
    assert [block.shape[1:] for block in features] == [(16, 8, 8), (32, 4, 4), (64, 4, 4)]
    net = network("cbam", attention=attention)
    assert net.score == "energy"
    assert net(torch.rand(2, 1, 16, 16)).shape == (2, 1, 16, 16)


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

    assert set(found("cbam", attention="none")) == {"net_accuracy"}
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
