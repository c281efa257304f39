"""How judges and readers are trained: on random canvases of a task's training images, resumable at any time.

The batch and the canvases of a step follow from the seed and the number of the step alone, so what goes on after an
interruption is what would have gone on without it.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import time
from collections.abc import Callable
from contextlib import nullcontext, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.nn import functional as F

from glimpsebench.agents.common.base import Diverged, Progress
from glimpsebench.agents.common.nets import READER_WIDTH, CanvasNet
from glimpsebench.bench.judges.canvases import random_canvases
from glimpsebench.bench.judges.networks import JudgeNet
from glimpsebench.bench.records import digest, processor, settings_of
from glimpsebench.envs import datasets
from glimpsebench.envs.errors import UsageError
from glimpsebench.envs.tasks import Split, Task

Array = NDArray[Any]
Role = Literal["judge", "reader", "fresh"]

READER_SEED = 100
"""Of a reader, which is none of the judges: members have the seeds 0, 1, …"""
KEEP_EVERY_S = 60.0
"""Seconds between two checkpoints."""


@dataclass(frozen=True)
class Recipe:
    """How the networks of one task are trained.

    Attributes:
        members: judges in the ensemble.
        steps, batch, lr: AdamW, the rate rising over the first tenth and falling along a cosine to 0.
        width: of the judges' networks and of fresh ones; the reader's is `agents.common.nets.READER_WIDTH`.
        stride: of the judges' first layer, for large canvases.
        whole: the share of whole images among the canvases, which is 1 at first and falls to this in the first tenth.
    """

    members: int = 4
    steps: int = 1_200
    batch: int = 128
    lr: float = 6e-3
    width: int = 32
    stride: int = 1
    whole: float = 0.1


def new_network(role: Role, task: Task, recipe: Recipe) -> nn.Module:
    """An untrained network of this role."""
    if role != "judge":
        return CanvasNet(task.shape[0], task.classes, READER_WIDTH if role == "reader" else recipe.width)
    return JudgeNet(task.shape[0], task.classes, recipe.width, recipe.stride)


def train(
    path: Path, role: Role, task: Task, seed: int, recipe: Recipe, progress: Progress[int], device: str = "cpu"
) -> None:
    """Train one network and write it to `path`; go on from its checkpoint, if one lies beside it.

    Args:
        device: a GPU is faster; the CPU computes in bfloat16 where it can.

    Raises:
        Diverged: the loss is not finite.
    """
    with torch.random.fork_rng(devices=[]):  # a run's own random numbers do not depend on who trains its judges
        torch.manual_seed(seed)
        net = new_network(role, task, recipe).to(device).train()
    optimiser = torch.optim.AdamW(net.parameters(), recipe.lr, weight_decay=0.02, fused=True)
    about = {"task": task.id, "settings": settings_of(task), "role": role, "seed": seed, **dataclasses.asdict(recipe)}
    checkpoint = path.with_name(f"{path.stem}.{digest(about)}.checkpoint")  # a shorter training leaves a longer one's
    first, seconds = _resumed(checkpoint, net, optimiser, about)
    batch_of = _batches(task, seed, recipe.batch)
    began = kept = time.monotonic()
    with datasets.test_split_closed():
        for step in progress(range(recipe.steps)):
            if step < first:
                continue
            for group in optimiser.param_groups:
                group["lr"] = recipe.lr * rate(step / recipe.steps)
            loss = _loss(net, *batch_of(step), step, seed, recipe, device)
            if not torch.isfinite(loss):
                raise Diverged(f"{path.stem}: the loss is {loss.item()} at step {step} of {recipe.steps}")
            optimiser.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            nn.utils.clip_grad_norm_(net.parameters(), 5.0)
            optimiser.step()
            if time.monotonic() > kept + KEEP_EVERY_S:
                kept = time.monotonic()
                at = {"step": step + 1, "seconds": seconds + kept - began}
                _keep(checkpoint, net, optimiser, about | at)
    seconds += time.monotonic() - began
    machine = torch.cuda.get_device_name(device) if device.startswith("cuda") else processor()
    cost_file(path).write_text(json.dumps({"seconds": round(seconds), "machine": machine}))
    save(path, net.cpu(), about)
    checkpoint.unlink(missing_ok=True)


def rate(done: float) -> float:
    """The learning rate's factor when a share of the steps is done."""
    rise = 0.1
    return max(done, 1e-3) / rise if done < rise else 0.5 * (1 + float(np.cos(np.pi * (done - rise) / (1 - rise))))


def _batches(task: Task, seed: int, batch: int) -> Callable[[int], tuple[Split, Array]]:
    """Step → an epoch's split and rows (B,) of it: each epoch's images once, in an order of its own."""
    kept: dict[int, tuple[Split, Array]] = {}

    def of(step: int) -> tuple[Split, Array]:
        size = min(batch, task.sizes["train"])
        epoch, place = divmod(step, task.sizes["train"] // size)
        if epoch not in kept:
            kept.clear()
            split = task.train(epoch)
            kept[epoch] = split, np.random.default_rng([seed, epoch]).permutation(len(split))
        split, order = kept[epoch]
        return split, order[place * size : (place + 1) * size]

    return of


def _loss(net: nn.Module, split: Split, rows_B: Array, step: int, seed: int, recipe: Recipe, device: str) -> Tensor:
    assert split.labels_N is not None
    rng = np.random.default_rng([seed, step, 1])
    whole = max(recipe.whole, 1 - 10 * step / recipe.steps)
    boxes_B4 = None if split.boxes_N4 is None else split.boxes_N4[rows_B]
    canvas_BCHW, mask_B1HW = random_canvases(split.images_NCHW[rows_B], whole, rng, boxes_B4)
    labels_B = torch.from_numpy(np.asarray(split.labels_N)[rows_B])
    with low_precision(device):
        logits_BK = net(canvas_BCHW.to(device), mask_B1HW.float().to(device))
    return F.cross_entropy(logits_BK.float(), labels_B.to(device))


def low_precision(device: str) -> Any:
    """bfloat16 where it is faster: on GPUs, and on CPUs that have instructions for it."""
    kind = device.partition(":")[0]
    faster = kind != "cpu" or torch.cpu._is_avx512_bf16_supported()
    return torch.autocast(kind, torch.bfloat16) if faster else nullcontext()


def _keep(path: Path, net: nn.Module, optimiser: torch.optim.Optimizer, about: dict[str, Any]) -> None:
    """Write where training is, whole or not at all."""
    states = [optimiser.state[parameter] for parameter in net.parameters()]
    tensors = {f"net.{name}": value for name, value in net.state_dict().items()}
    tensors |= {f"adam.{n}.{key}": value for n, state in enumerate(states) for key, value in state.items()}
    temporary = path.with_suffix(f".{os.getpid()}")
    plain = {name: value.detach().cpu().contiguous() for name, value in tensors.items()}
    save_file(plain, temporary, {"about": json.dumps(about)})
    temporary.replace(path)


def _resumed(path: Path, net: nn.Module, optimiser: torch.optim.Optimizer, about: dict[str, Any]) -> tuple[int, float]:
    """The step to go on from and the seconds so far, network and optimiser as they were there; 0 without a checkpoint
    of this training."""
    kept = metadata(path) if path.exists() else {}
    if {name: kept.get(name) for name in about} != json.loads(json.dumps(about)):
        return 0, 0.0
    tensors = load_file(path)
    net.load_state_dict({name[4:]: value for name, value in tensors.items() if name.startswith("net.")})
    for number, parameter in enumerate(net.parameters()):
        prefix = f"adam.{number}."
        state = {name[len(prefix) :]: value for name, value in tensors.items() if name.startswith(prefix)}
        optimiser.state[parameter] = {  # in the parameter's memory format, which a fused optimiser takes for granted
            key: value if key == "step" else torch.empty_like(parameter).copy_(value) for key, value in state.items()
        }
    return int(kept["step"]), float(kept["seconds"])


def save(path: Path, net: nn.Module, about: dict[str, Any]) -> None:
    """Write a network: weights in half precision, the statistics and factors of batch norm in single precision."""
    tensors = {name: value.half() if value.dim() > 1 else value for name, value in _weights(net).items()}
    temporary = path.with_suffix(f".{os.getpid()}")
    save_file({name: value.contiguous() for name, value in tensors.items()}, temporary, {"about": json.dumps(about)})
    hash_of(path).write_text(f"{hashlib.sha256(temporary.read_bytes()).hexdigest()}  {path.name}\n")
    temporary.replace(path)


def hash_of(path: Path) -> Path:
    """The file, as `sha256sum` reads it, that tells the hash of a file of weights that was trained here."""
    return path.with_suffix(".sha256")


def cost_file(path: Path) -> Path:
    """Beside a file of weights, what training it took: that differs from time to time, and a judge's name, the hash of
    its weights' files, must not."""
    return path.with_suffix(".json")


def cost_of(path: Path) -> dict[str, Any]:
    """Seconds of training a network, and the machine; nothing where nobody knows."""
    found = metadata(path)  # of an earlier version's
    with suppress(OSError, ValueError):
        found |= json.loads(cost_file(path).read_text())
    return {name: found[name] for name in ("seconds", "machine") if name in found}


def is_whole(path: Path) -> bool:
    """Whether a file of weights is as it was written; of one that is not known, whether it can be read."""
    try:
        if hash_of(path).exists():
            return hash_of(path).read_text().split()[:1] == [hashlib.sha256(path.read_bytes()).hexdigest()]
        load_file(path)
    except (OSError, ValueError, SafetensorError):
        return False
    return True


def _weights(net: nn.Module) -> dict[str, Tensor]:
    """The state without the counters of batch norm, which nothing reads."""
    return {name: value for name, value in net.state_dict().items() if value.dim()}


def load(path: Path, net: nn.Module) -> nn.Module:
    """The network with the weights of a file, in single precision and eval mode.

    Raises:
        UsageError: the file is damaged, or of another network.
    """
    try:
        tensors = {name: value.float() for name, value in load_file(path).items()}
        net.load_state_dict(net.state_dict() | tensors)
        if missing := sorted(_weights(net).keys() - tensors.keys()):
            raise KeyError(f"without {', '.join(missing)}")
    except Exception as error:
        why = " ".join(str(error).split())
        raise UsageError(f"{path}: not the weights of this network ({why}); delete it to train them anew") from None
    return net.eval()


def metadata(path: Path) -> dict[str, Any]:
    """What a file of weights says of itself."""
    try:
        with safe_open(path, "pt") as file:
            about: dict[str, Any] = json.loads((file.metadata() or {}).get("about", "{}"))
    except (OSError, ValueError, SafetensorError) as error:
        raise UsageError(f"{path}: not readable ({' '.join(str(error).split())}); delete it to train it anew") from None
    return about
