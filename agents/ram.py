"""ram: the Recurrent Attention Model, a recurrent network that learns where to look by REINFORCE.

Mnih, Heess, Graves, Kavukcuoglu, Recurrent Models of Visual Attention, NeurIPS 2014, arXiv:1406.6247.

1. Glimpse network: g_t = relu(W relu(W ρ_t) + W relu(W l_t)), "what" and "where" (128 + 128 → 256).
2. Core: h_t = relu(W h_{t−1} + W g_t), 256 units.
3. Fixation policy: l_{t+1} ~ N(tanh(W h_t), std²), clipped to the image.
4. Loss: cross-entropy through core and glimpse network; REINFORCE for the policy alone, with a learned baseline
   b_t = W h_t fitted by squared error. The policy's and the baseline's input is detached: neither shapes h_t.

What differs from the paper, and why:
* The cross-entropy is averaged over all steps, not taken at the last alone, and the return of a fixation is the
  mean reward of the steps after it: a curve of accuracy over budgets needs a prediction after every glimpse.
* The first fixation is the centre, not random (`first=random`): a better start that knows nothing of the image.
* The policy's mean is a two-layer network (as in the usual PyTorch port, whose authors found it to matter).
* AdamW on a one-cycle schedule instead of SGD with momentum.
* Predictions come from the predictor that all agents share, trained afterwards on this policy's own windows, so
  that agents differ by their looking; `predictor=core` takes the paper's classifier, which needs far more
  training than the quick suite gives.

Test time: the policy's mean, one rollout. Track: gated.
Expected on digits-clutter, six 8×8 windows: above uniform windows at every budget. Cost: about 25 s of one core.
Command: glimpse run --agent ram --task digits-clutter
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F

from glimpsebench.agents.base import Agent, Progress, tensors
from glimpsebench.agents.nets import (
    CanvasNet,
    Positive,
    Rate,
    optimise,
    phase,
    pixels,
    shown,
    with_whole,
)
from glimpsebench.envs.glimpse import Kind, Observation
from glimpsebench.envs.sensors import Sensor, Window
from glimpsebench.envs.tasks import Task

Array = NDArray[Any]


class RAMNet(nn.Module):
    """Glimpse network, core, classifier, fixation policy and baseline, by the paper's names; a shared predictor."""

    def __init__(self, glimpse_values: int, classes: int, shared: CanvasNet | None, hidden: int = 256) -> None:
        super().__init__()
        half = hidden // 2
        self.hidden = hidden
        self.what = nn.Sequential(nn.Linear(glimpse_values, half), nn.ReLU(), nn.Linear(half, hidden))
        self.where = nn.Sequential(nn.Linear(2, half), nn.ReLU(), nn.Linear(half, hidden))
        self.recur, self.inject = nn.Linear(hidden, hidden), nn.Linear(hidden, hidden)
        self.classifier = nn.Linear(hidden, classes)
        self.policy = nn.Sequential(nn.Linear(hidden, half), nn.ReLU(), nn.Linear(half, 2))
        self.baseline = nn.Linear(hidden, 1)
        self.shared = shared

    def forward(self, hidden_BH: Tensor, glimpse_BV: Tensor, fixation_B2: Tensor) -> Tensor:
        """One step of the core: h_{t−1}, ρ_t, l_t → h_t."""
        glimpse_BH = F.relu(self.what(glimpse_BV) + self.where(fixation_B2))
        return F.relu(self.recur(hidden_BH) + self.inject(glimpse_BH))

    def mean(self, hidden_BH: Tensor) -> Tensor:
        """The mean of the next fixation, (B, 2) in (−1, 1)."""
        return torch.tanh(self.policy(hidden_BH.detach()))


@dataclass
class RAM(Agent):
    """Looks where what it has seen says that it pays to look.

    Settings:
        size, scales: of the window (g, S).
        glimpses: how many, in training and at test.
        first: where it starts, `center` or, as in the paper, `random`.
        std: of the Gaussian policy while training, in the frame's units.
        policy_steps, policy_lr: of the training of the recurrent network (steps 1 to 4).
        reinforce: the weight of the REINFORCE term against the cross-entropy.
        predictor: `shared`, the canvas network that the other agents have, trained on this policy's windows; or
            `core`, the paper's own classifier on h_t.
        steps, batch, lr, width: of the shared predictor, as for everyone.
    """

    size: Positive = 8
    scales: Positive = 1
    glimpses: Positive = 6
    first: Literal["center", "random"] = "center"
    std: Annotated[float, Field(gt=0)] = 0.15
    policy_steps: Positive = 800
    policy_lr: Rate = 2e-3
    reinforce: Annotated[float, Field(ge=0)] = 0.1
    predictor: Literal["shared", "core"] = "shared"
    steps: Positive = 600
    batch: Positive = 64
    lr: Rate = 1e-2
    width: Positive = 16

    observation: ClassVar[Kind] = "glimpses"

    @property
    def view(self) -> Kind:
        return "canvas" if self.predictor == "shared" else "glimpses"

    def sensor(self) -> Sensor:
        return Window(self.size, self.scales)

    def horizon(self) -> int:
        return self.glimpses

    def build(self) -> nn.Module:
        shared = CanvasNet(self.shape[0], self.classes, self.width) if self.predictor == "shared" else None
        return RAMNet(int(np.prod(self.sensor().glimpse_shape(self.shape))), self.classes, shared)

    def fit(self, task: Task, seed: int, progress: Progress[int]) -> None:
        rng, net, sensor = np.random.default_rng(seed), self.net, self.sensor()
        assert isinstance(net, RAMNet)

        def policy_loss(images: Array, labels_B: Tensor, step: int) -> Tensor:
            logits, baselines, log_probs = [], [], []
            for hidden_BH, _, mean_B2, drawn_B2 in self.episode(images, rng, self.std):
                logits.append(net.classifier(hidden_BH))
                baselines.append(net.baseline(hidden_BH.detach())[:, 0])
                log_probs.append(-((drawn_B2 - mean_B2) ** 2).sum(1) / (2 * self.std**2))
            return losses(
                torch.stack(logits, 1), torch.stack(baselines, 1), torch.stack(log_probs, 1), labels_B, self.reinforce
            )

        def predictor_loss(images: Array, labels_B: Tensor, step: int) -> Tensor:
            with torch.no_grad():
                aims = [aim for _, aim, _, _ in self.episode(images, rng, 0.0)]
            prints_BTHW = np.stack([sensor.footprint(aim, self.shape) for aim in aims], 1)
            prefix_B = rng.integers(0, self.glimpses, len(images))
            mask_BHW = np.logical_or.accumulate(prints_BTHW, axis=1)[np.arange(len(images)), prefix_B]
            image_BCHW, mask_B1HW = pixels(images), torch.from_numpy(mask_BHW)[:, None]
            seen = with_whole(shown(image_BCHW, mask_B1HW), mask_B1HW, image_BCHW, phase(step, self.steps), rng)
            assert shared is not None
            logits_BK: Tensor = shared(seen[0], seen[1].float())
            return F.cross_entropy(logits_BK, labels_B)

        common: dict[str, Any] = {"batch": self.batch, "rng": rng, "progress": progress}
        shared, net.shared = net.shared, None
        optimise(net, task, policy_loss, steps=self.policy_steps, lr=self.policy_lr, **common)
        if shared is not None:
            net.shared = shared
            optimise(shared, task, predictor_loss, steps=self.steps, lr=self.lr, **common)

    def episode(
        self, images: Array, rng: np.random.Generator, std: float
    ) -> Iterator[tuple[Tensor, Array, Tensor, Tensor]]:
        """The glimpses of one batch: at each step h_t, the aim, and the mean and draw of the next fixation."""
        net, sensor, count = self.net, self.sensor(), len(images)
        assert isinstance(net, RAMNet)
        read, index_B, room_B = sensor.reader(images), np.arange(count), np.zeros(count)
        hidden_BH = torch.zeros(count, net.hidden)
        fixation_B2 = torch.from_numpy(self.start(count, rng))
        for _ in range(self.glimpses):
            aim = sensor.aim(fixation_B2.numpy(), self.shape, room_B)
            glimpse_BV = torch.from_numpy(read(index_B, aim)).flatten(1)
            hidden_BH = net(hidden_BH, glimpse_BV, fixation_B2)
            mean_B2 = net.mean(hidden_BH)
            drawn_B2 = (mean_B2 + std * torch.randn_like(mean_B2)).detach()
            yield hidden_BH, aim, mean_B2, drawn_B2
            fixation_B2 = drawn_B2.clamp(-1, 1)

    def start(self, count: int, rng: np.random.Generator) -> Array:
        """The first fixations (B, 2), which see nothing yet."""
        drawn = rng.uniform(-1, 1, (count, 2)).astype(np.float32)
        return drawn if self.first == "random" else np.zeros_like(drawn)

    def _hidden(self, observation: Observation) -> Tensor:
        """The core's state after all glimpses so far, recomputed from them: no state hides between calls."""
        net, seen = self.net, tensors(observation)
        assert isinstance(net, RAMNet)
        hidden_BH = torch.zeros(len(seen["valid"]), net.hidden)
        for step in range(int(seen["valid"].sum(1).max())):
            after_BH = net(hidden_BH, seen["glimpses"][:, step].flatten(1), seen["actions"][:, step])
            hidden_BH = torch.where(seen["valid"][:, step, None] > 0, after_BH, hidden_BH)
        return hidden_BH

    @torch.no_grad()
    def act(self, observation: Observation, rng: np.random.Generator) -> Array:
        assert isinstance(self.net, RAMNet)
        first = self.start(len(observation["valid"]), rng)
        later: Array = self.net.mean(self._hidden(observation)).numpy()
        return np.where(observation["valid"][:, :1] > 0, later, first)

    @torch.no_grad()
    def predict(self, view: Observation) -> Array:
        assert isinstance(self.net, RAMNet)
        if self.net.shared is None:
            logits: Array = self.net.classifier(self._hidden(view)).numpy()
            return logits
        seen = tensors(view)
        logits = self.net.shared(seen["canvas"], seen["mask"]).numpy()
        return logits


def losses(logits_BTK: Tensor, baselines_BT: Tensor, log_probs_BT: Tensor, labels_B: Tensor, weight: float) -> Tensor:
    """Cross-entropy + baseline's squared error + weight × REINFORCE, each a mean over batch and steps.

    The draw at step t decides what is seen from step t+1 on, so its return is the mean reward of the later steps,
    and the last draw, which nothing depends on, has none.
    """
    steps = logits_BTK.shape[1]
    entropy = F.cross_entropy(logits_BTK.flatten(0, 1), labels_B.repeat_interleave(steps))
    reward_BT = (logits_BTK.detach().argmax(2) == labels_B[:, None]).float()
    if steps == 1:
        return entropy
    later = torch.arange(steps - 1, 0, -1)
    return_BT = reward_BT[:, 1:].flip(1).cumsum(1).flip(1) / later
    advantage_BT = return_BT - baselines_BT[:, :-1]
    policy = -(log_probs_BT[:, :-1] * advantage_BT.detach()).mean()
    return entropy + advantage_BT.square().mean() + weight * policy
