"""Several seeds of one network in one batched program (`torch.func`), against one after another: what would be saved?

The shared predictor at its usual batch and width, on random canvases, on one core or a GPU. Prints for each number of
seeds the ratio of the seconds, and how far the weights end apart at most.

python benchmarks/seeds_at_once.py [DEVICE [STEPS]]
"""

import sys
import time
from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.func import functional_call, stack_module_state, vmap
from torch.nn import functional as F

from glimpsebench.agents.common.nets import READER_WIDTH, Backbone, CanvasNet, PredictorAgent

BATCH, LR, SIDE = PredictorAgent.batch, PredictorAgent.predictor_lr, 32
Inputs = tuple[Tensor, Tensor, Tensor]


class Plain(Backbone):
    """The backbone in the usual memory format, the only one that `vmap` takes."""

    def forward(self, image_BCHW: Tensor) -> Tensor:
        return self.layers(image_BCHW).amax((2, 3))


def network(seed: int, device: str) -> CanvasNet:
    torch.manual_seed(seed)
    return CanvasNet(1, 10, READER_WIDTH).to(device).train()


def inputs(seed: int, step: int, device: str) -> Inputs:
    """Canvases (B, 1, H, W), their masks, and labels (B,)."""
    draw = torch.Generator().manual_seed(1000 * seed + step)
    mask = torch.rand(BATCH, 1, SIDE, SIDE, generator=draw) < 0.2
    canvas = torch.rand(BATCH, 1, SIDE, SIDE, generator=draw) * mask
    labels = torch.randint(10, (BATCH,), generator=draw)
    return canvas.to(device), mask.float().to(device), labels.to(device)


def one_by_one(drawn: list[list[Inputs]], device: str) -> list[dict[str, Tensor]]:
    """The states after training, of each seed's own program."""
    found = []
    for seed, batches in enumerate(drawn):
        net = network(seed, device)
        optimiser = torch.optim.AdamW(net.parameters(), LR, weight_decay=0.01, fused=True)
        for canvas, mask, labels in batches:
            loss = F.cross_entropy(net(canvas, mask), labels)
            optimiser.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(net.parameters(), 5.0)
            optimiser.step()
        found.append(net.state_dict())
    return found


def at_once(drawn: list[list[Inputs]], device: str) -> list[dict[str, Tensor]]:
    """The same by one program; the averages of batch norm are stacked as the weights are, so each has its own."""
    nets = [network(seed, device) for seed in range(len(drawn))]
    weights, averages = stack_module_state(nets)
    optimiser = torch.optim.AdamW(weights.values(), LR, weight_decay=0.01, fused=True)
    shell = nets[0]
    shell.backbone.__class__ = Plain

    def loss_of(weights: dict[str, Tensor], averages: dict[str, Tensor], *batch: Tensor) -> Tensor:
        logits = functional_call(shell, (weights, averages), batch[:2])
        return F.cross_entropy(logits, batch[2])

    for batches in zip(*drawn, strict=True):
        loss_S = vmap(loss_of)(weights, averages, *map(torch.stack, zip(*batches, strict=True)))
        optimiser.zero_grad()
        loss_S.sum().backward()
        squares_S = sum(weight.grad.flatten(1).square().sum(1) for weight in weights.values())
        factor_S = (5.0 / (squares_S.sqrt() + 1e-6)).clamp(max=1.0)
        for weight in weights.values():
            weight.grad.mul_(factor_S.view(-1, *[1] * (weight.dim() - 1)))
        optimiser.step()
    both = {**weights, **averages}
    return [{name: value[seed].detach() for name, value in both.items()} for seed in range(len(nets))]


def timed(train: Callable[..., list[dict[str, Tensor]]], drawn: list[list[Inputs]], device: str) -> tuple[float, list]:
    train([batches[:2] for batches in drawn], device)  # warm
    began = time.perf_counter()
    found = train(drawn, device)
    if device != "cpu":
        torch.cuda.synchronize()
    return time.perf_counter() - began, found


def main(device: str = "cpu", steps: int = 20) -> None:
    torch.set_num_threads(1)
    print(f"batch {BATCH}, width {READER_WIDTH}, {SIDE}×{SIDE}, {steps} steps, {device}")
    for seeds in (1, 2, 4, 8):
        drawn = [[inputs(seed, step, device) for step in range(steps)] for seed in range(seeds)]
        times = [(*timed(one_by_one, drawn, device), *timed(at_once, drawn, device)) for _ in range(3)]
        alone, together = (min(one[at] for one in times) for at in (0, 2))  # others are at work on this machine
        own, batched = times[0][1], times[0][3]
        apart = max(
            float((one[name] - other[name]).abs().max())
            for one, other in zip(own, batched, strict=True)
            for name in one
            if one[name].is_floating_point()
        )
        ratio = f"{alone / together:.2f} times as fast at once"
        print(
            f"{seeds} seeds: {alone:.2f} s one by one, {together:.2f} s at once: {ratio}; at most {apart:.1e} apart",
            flush=True,
        )


if __name__ == "__main__":
    main(*sys.argv[1:2], *map(int, sys.argv[2:3]))
