"""How fast `ram` trains, beside the usual PyTorch port of RAM and beside its own matrix products.

    OMP_NUM_THREADS=1 python benchmarks/ram_speed.py

times, in one process and one thread and by turns, training steps on 28×28 images (six 8×8 glimpses, batches of 128,
float32, networks of the same sizes):

- ours: `ram`'s own `fit`, all of a step: the batch, the episode, the losses, the gradients and their clipping, AdamW
  and its schedule;
- peer: the model and the training loop of kevinzakka/recurrent-visual-attention, re-stated here from what they do
  (its retina cuts one image after the other out of the padded batch; Adam). Its batches lie ready as normalised
  floats, and it draws no progress bar: its loader's four workers and that bar are not counted against it;
- limit: nothing but the matrix products that one step of this network cannot do without, forward and backward, one
  `torch.mm` each at batch 128.

Time is that of the process, all its threads together, and a ratio is the median of the rounds' own, with quartiles:
others use this machine too. The last line is JSON, `ms` the median of a step's milliseconds.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.distributions import Normal
from torch.nn import functional as F

from glimpsebench.agents.ram import RAM
from glimpsebench.envs.datasets import Half
from glimpsebench.envs.tasks import Split, Task

Array = NDArray[Any]
Step = Callable[[], None]

SIDE, SIZE, GLIMPSES, CLASSES, BATCH, IMAGES = 28, 8, 6, 10, 128, 55_000
HALF, HIDDEN = 128, 256
TARGET = 1.5


@dataclass(frozen=True)
class Noise(Task):
    """As many images as MNIST has, of the same size: what they show does not change the time."""

    name: str = "noise"
    version: int = 1

    @property
    def shape(self) -> tuple[int, int, int]:
        return (1, SIDE, SIDE)

    @property
    def classes(self) -> int:
        return CLASSES

    @property
    def sizes(self) -> dict[Half, int]:
        return {"train": IMAGES, "val": BATCH, "test": BATCH}

    @property
    def summary(self) -> str:
        return "noise"

    def render(self, half: Half, epoch: int) -> Split:
        return NOISE


def noise() -> Split:
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (IMAGES, 1, SIDE, SIDE), np.uint8)
    return Split(images, rng.integers(0, CLASSES, IMAGES))


NOISE = noise()


class Peer(nn.Module):
    """The port's four networks at its default sizes."""

    def __init__(self, std: float = 0.05) -> None:
        super().__init__()
        self.std = std
        self.what = nn.Linear(SIZE * SIZE, HALF)
        self.where = nn.Linear(2, HALF)
        self.what_out, self.where_out = nn.Linear(HALF, HIDDEN), nn.Linear(HALF, HIDDEN)
        self.from_glimpse, self.from_hidden = nn.Linear(HIDDEN, HIDDEN), nn.Linear(HIDDEN, HIDDEN)
        self.classifier = nn.Linear(HIDDEN, CLASSES)
        self.locator, self.locator_out = nn.Linear(HIDDEN, HALF), nn.Linear(HALF, 2)
        self.baseliner = nn.Linear(HIDDEN, 1)

    def retina(self, image_BCHW: Tensor, fixation_B2: Tensor) -> Tensor:
        """One window per image, its middle at the fixation, zero outside the image."""
        first_B2 = (0.5 * (fixation_B2 + 1) * image_BCHW.shape[2]).long()
        last_B2 = first_B2 + SIZE
        padded_BCHW = F.pad(image_BCHW, [SIZE // 2] * 4)
        windows = [
            padded_BCHW[row, :, first_B2[row, 1] : last_B2[row, 1], first_B2[row, 0] : last_B2[row, 0]]
            for row in range(len(image_BCHW))
        ]
        return torch.stack(windows).flatten(1)

    def forward(self, image_BCHW: Tensor, fixation_B2: Tensor, hidden_BH: Tensor) -> tuple[Tensor, ...]:
        """One glimpse: h_t, the next fixation, its log-probability and the baseline."""
        what_BH = self.what_out(F.relu(self.what(self.retina(image_BCHW, fixation_B2))))
        where_BH = self.where_out(F.relu(self.where(fixation_B2)))
        glimpse_BH = F.relu(what_BH + where_BH)
        hidden_BH = F.relu(self.from_glimpse(glimpse_BH) + self.from_hidden(hidden_BH))
        mean_B2 = torch.tanh(self.locator_out(F.relu(self.locator(hidden_BH.detach()))))
        drawn_B2 = Normal(mean_B2, self.std).rsample().detach()
        log_prob_B = Normal(mean_B2, self.std).log_prob(drawn_B2).sum(1)  # type: ignore[no-untyped-call]
        baseline_B = self.baseliner(hidden_BH.detach())[:, 0]
        return hidden_BH, drawn_B2.clamp(-1, 1), log_prob_B, baseline_B


def peer() -> Step:
    """A training step of the port: the reward of the last prediction at every step, its weight 0.01, Adam."""
    net = Peer()
    optimiser = torch.optim.Adam(net.parameters(), 3e-4)
    assert NOISE.labels_N is not None
    pixels = (torch.from_numpy(NOISE.images_NCHW[: 8 * BATCH]) / 255 - 0.1307) / 0.3081
    labels = torch.from_numpy(NOISE.labels_N[: 8 * BATCH])
    ready = list(zip(torch.split(pixels, BATCH), torch.split(labels, BATCH), strict=True))
    turn = iter(range(2**62))

    def step() -> None:
        image_BCHW, label_B = ready[next(turn) % len(ready)]
        optimiser.zero_grad()
        hidden_BH = torch.zeros(BATCH, HIDDEN, requires_grad=True)
        fixation_B2 = torch.empty(BATCH, 2).uniform_(-1, 1).requires_grad_()
        log_probs, baselines = [], []
        for _ in range(GLIMPSES):
            hidden_BH, fixation_B2, log_prob_B, baseline_B = net(image_BCHW, fixation_B2, hidden_BH)
            log_probs.append(log_prob_B)
            baselines.append(baseline_B)
        log_p_BK = F.log_softmax(net.classifier(hidden_BH), 1)
        right_B = (log_p_BK.detach().argmax(1) == label_B).float()
        baseline_BT, reward_BT = torch.stack(baselines, 1), right_B[:, None].repeat(1, GLIMPSES)
        advantage_BT = reward_BT - baseline_BT.detach()
        reinforce = (-torch.stack(log_probs, 1) * advantage_BT).sum(1).mean()
        loss = F.nll_loss(log_p_BK, label_B) + F.mse_loss(baseline_BT, reward_BT) + 0.01 * reinforce
        loss.item()
        right_B.mean().item()
        loss.backward()  # type: ignore[no-untyped-call]
        optimiser.step()

    return step


def limit() -> Step:
    """The products of one step: x W' of each layer, and of its gradients g' x and, where they flow on, g W."""
    layers = [  # inputs, outputs, whether the gradient flows on, how often
        (SIZE * SIZE, HALF, False, GLIMPSES),  # what
        (HALF, HIDDEN, True, GLIMPSES),
        (2, HALF, False, GLIMPSES),  # where
        (HALF, HIDDEN, True, GLIMPSES),
        (HIDDEN, HIDDEN, True, GLIMPSES),  # from the glimpse, and from the last state, which is 0 at first
        (HIDDEN, HIDDEN, True, GLIMPSES - 1),
        (HIDDEN, CLASSES, True, GLIMPSES),
        (HIDDEN, HALF, False, GLIMPSES - 1),  # the policy and the baseline of each glimpse but the last, detached
        (HALF, 2, True, GLIMPSES - 1),
        (HIDDEN, 1, False, GLIMPSES - 1),
    ]
    products = []
    for inputs, outputs, flows_on, times in layers:
        x, weight, gradient = torch.randn(BATCH, inputs), torch.randn(outputs, inputs), torch.randn(BATCH, outputs)
        pairs = [(x, weight.t()), (gradient.t(), x)] + [(gradient, weight)] * flows_on
        products += [(*pair, torch.mm(*pair)) for pair in pairs for _ in range(times)]

    def step() -> None:
        for left, right, out in products:
            torch.mm(left, right, out=out)

    return step


def measure(rounds: int, share: int) -> dict[str, list[float]]:
    """Seconds of a step of each, round by round. The first round, which warms up, does not count."""
    others, seconds = {"peer": peer(), "limit": limit()}, {name: [0.0] for name in ("ours", "peer", "limit")}

    def progress(steps: Iterable[int]) -> Iterator[int]:
        # `fit` does one training step between two of these.
        for step in steps:
            start = time.process_time()
            yield step
            seconds["ours"][-1] += (time.process_time() - start) / share
            if (step + 1) % share == 0:
                for name, other in others.items():
                    start = time.process_time()
                    for _ in range(share):
                        other()
                    seconds[name][-1] += (time.process_time() - start) / share
                for spent in seconds.values():
                    spent.append(0.0)

    agent = RAM(size=SIZE, glimpses=GLIMPSES, policy_batch=BATCH, policy_steps=(rounds + 1) * share, predictor="core")
    agent.prepare(Noise())
    agent.fit(Noise(), 0, progress)
    return {name: spent[1:-1] for name, spent in seconds.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=40)
    parser.add_argument("--share", type=int, default=10, help="steps of each in a round")
    args = parser.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    spent = {name: np.array(rounds) for name, rounds in measure(args.rounds, args.share).items()}
    ratios = {"peer / ours": spent["peer"] / spent["ours"], "ours / limit": spent["ours"] / spent["limit"]}
    found: dict[str, Any] = {"torch": torch.__version__, "target, peer / ours": TARGET}
    found["ms"] = {name: round(1000 * float(np.median(rounds)), 2) for name, rounds in spent.items()}
    for name, ratio in ratios.items():
        low, middle, high = (round(float(value), 2) for value in np.quantile(ratio, (0.25, 0.5, 0.75)))
        found[name] = {"median": middle, "quartiles": [low, high]}
        print(f"{name:12}  {middle:.2f} (quartiles {low:.2f} to {high:.2f})")
    print(json.dumps(found))


if __name__ == "__main__":
    main()
