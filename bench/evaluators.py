"""Evaluators: the bench's own classifiers. No agent trains or meets them, and they score every selection.

The random-mask evaluator of a task is trained once on random canvases of every sensor's kind and every budget,
and cached by a hash of everything that made it. It sees what was revealed, never who revealed it or in which
order. An evaluator trained on random masks is a little unfair to selectors with masks of their own family;
evaluators decoupled per contender come later.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import load_file, save_file
from torch.nn import functional as F
from tqdm import tqdm

from glimpsebench.agents.common.base import BUDGETS, Progress
from glimpsebench.agents.common.nets import (
    CanvasNet,
    linear_decay,
    optimise,
    predict_canvas,
    to_float,
    with_whole_images,
)
from glimpsebench.bench.records import digest, settings_of
from glimpsebench.envs import datasets
from glimpsebench.envs.glimpse import Observation
from glimpsebench.envs.sensors import UNSEEN, Crop, Sensor, Shape, Thumbnail, Window, k_best
from glimpsebench.envs.tasks import Task

Array = NDArray[Any]


@dataclass(frozen=True)
class Recipe:
    """How an evaluator is trained; any change is another evaluator."""

    version: int = 1
    seed: int = 0
    steps: int = 2500
    batch: int = 64
    lr: float = 1.5e-2
    width: int = 16


def identity(task: Task, recipe: Recipe = Recipe()) -> str:
    """The content hash that names the evaluator of a task."""
    return digest({"task": task.id, "settings": settings_of(task), "recipe": asdict(recipe), "budgets": BUDGETS})


def weights_of(task: Task, root: Path, recipe: Recipe | None = None) -> Path:
    """Where the weights of a task's evaluator lie in a results folder, once it is trained."""
    name = identity(task) if recipe is None else identity(task, recipe)
    return root / "evaluators" / f"{task.id}-{name}.safetensors"


class Evaluator:
    """A trained random-mask evaluator: canvases to logits."""

    def __init__(self, net: CanvasNet, name: str) -> None:
        self.net, self.name = net.eval(), name

    def __call__(self, view: Observation) -> Array:
        return predict_canvas(self.net, view)


def evaluator(task: Task, root: Path, progress: Progress[int], recipe: Recipe = Recipe()) -> Evaluator:
    """The evaluator of a task: from ROOT/evaluators, or trained now and left there.

    Of several processes that ask at once, one trains and the others wait for its file.
    """
    name, path = identity(task, recipe), weights_of(task, root, recipe)
    net = CanvasNet(task.shape[0], task.classes, recipe.width)
    path.parent.mkdir(parents=True, exist_ok=True)
    claim = path.with_suffix(".claim")
    while not path.exists():
        if _claimed(claim):
            time.sleep(0.2)
            continue
        try:
            torch.manual_seed(recipe.seed)
            net = CanvasNet(task.shape[0], task.classes, recipe.width)
            with datasets.test_split_closed():
                _train(net, task, recipe, progress)
            temporary = path.with_suffix(f".{os.getpid()}")
            save_file({key: value.contiguous() for key, value in net.state_dict().items()}, temporary)
            temporary.replace(path)
        finally:
            claim.unlink(missing_ok=True)
    net.load_state_dict(load_file(path))
    return Evaluator(net, name)


def reader(task: Task) -> Evaluator:
    """A network that reads any canvas of a task, for rewards: of the evaluator's make, but never the evaluator.

    It is trained once, with a bar that says so, and kept in the user's cache.
    """

    def bar(steps: Iterable[int]) -> Iterator[int]:
        return iter(tqdm(steps, f"training a reader of {task.id}, once", leave=False))

    return evaluator(task, datasets.cache_folder(), bar, Recipe(seed=1))


def _claimed(claim: Path) -> bool:
    """Whether another living process is at it; if not, the claim is ours now.

    The link appears with its content, so a claim always names its owner. Should two processes clear away the same
    dead one's, both train and both leave the same bytes.
    """
    mine = claim.with_suffix(f".{os.getpid()}")
    mine.write_text(str(os.getpid()))
    try:
        claim.hardlink_to(mine)
        return False
    except FileExistsError:
        try:
            os.kill(int(claim.read_text()), 0)
        except FileNotFoundError:
            pass
        except (ProcessLookupError, ValueError):
            claim.unlink(missing_ok=True)  # its owner was killed
        return True
    finally:
        mine.unlink(missing_ok=True)


def _train(net: CanvasNet, task: Task, recipe: Recipe, progress: Progress[int]) -> None:
    rng = np.random.default_rng(recipe.seed)

    def loss_of(images: Array, labels_B: torch.Tensor, step: int) -> torch.Tensor:
        canvas, mask = (torch.from_numpy(part) for part in random_canvases(images, rng))
        canvas, mask = with_whole_images(canvas, mask, to_float(images), linear_decay(step, recipe.steps), rng)
        return F.cross_entropy(net(canvas, mask.float()), labels_B)

    optimise(
        net,
        task,
        loss_of,
        steps=recipe.steps,
        batch=recipe.batch,
        lr=recipe.lr,
        rng=rng,
        progress=progress,
    )


def random_canvases(images_BCHW: Array, rng: np.random.Generator) -> tuple[Array, Array]:
    """Canvases (B, C, H, W) and masks (B, 1, H, W), float32, of a random kind with a random budget per image.

    Kinds: scattered pixels, blobs (a smooth random score's best pixels), windows, one crop, a thumbnail.
    """
    count, shape = len(images_BCHW), images_BCHW.shape[1:]
    budget_B = rng.choice(BUDGETS, count)
    kind = rng.choice(["pixels", "blobs", "windows", "crop", "thumbnail"], p=[0.2, 0.25, 0.3, 0.15, 0.1])
    if kind in ("crop", "thumbnail"):
        return _delivered(images_BCHW, kind, budget_B, rng)
    mask = {"pixels": _scattered, "blobs": _blobs, "windows": _windows}[kind](shape, budget_B, rng)
    canvas = np.where(mask, to_float(images_BCHW).numpy(), np.float32(0))
    return canvas, mask.astype(np.float32)


def _scattered(shape: Shape, budget_B: Array, rng: np.random.Generator) -> Array:
    size = shape[1] * shape[2]
    scores = rng.random((len(budget_B), size), np.float32)
    return k_best(scores, np.floor(budget_B * size).astype(int)).reshape(-1, 1, *shape[1:])


def _blobs(shape: Shape, budget_B: Array, rng: np.random.Generator) -> Array:
    """The best pixels of noise that is smooth at a random scale, as the score maps of networks are."""
    coarse = int(rng.integers(3, 13))
    noise = torch.from_numpy(rng.standard_normal((len(budget_B), 1, coarse, coarse), np.float32))
    scores = F.interpolate(noise, size=shape[1:], mode="bilinear", align_corners=False)
    flat = scores.numpy().reshape(len(budget_B), -1)
    return k_best(flat, np.floor(budget_B * flat.shape[1]).astype(int)).reshape(-1, 1, *shape[1:])


def _windows(shape: Shape, budget_B: Array, rng: np.random.Generator) -> Array:
    """Unions of random windows of one side that stay within each budget, but one window at least."""
    side = int(rng.integers(3, max(4, min(shape[1:]) // 3) + 1))
    window, most = Window(side), 24
    fixations = rng.uniform(-1, 1, (len(budget_B) * most, 2))
    prints = window.footprint(window.aim(fixations, shape, np.zeros(0)), shape)
    unions = np.logical_or.accumulate(prints.reshape(-1, most, *shape[1:]), axis=1)
    within = unions.mean((2, 3)) <= np.maximum(budget_B, side * side / (shape[1] * shape[2]))[:, None]
    last = np.maximum(within.sum(1) - 1, 0)
    return unions[np.arange(len(unions)), last][:, None]


def _delivered(images_BCHW: Array, kind: str, budget_B: Array, rng: np.random.Generator) -> tuple[Array, Array]:
    """Canvases of sensors that deliver resampled values, painted as the env paints them."""
    count, shape = len(images_BCHW), images_BCHW.shape[1:]
    sensor: Sensor
    if kind == "crop":
        sensor = Crop(int(rng.integers(8, 25)))
        place = rng.uniform(-1, 1, (count, 2))
        scale = torch.from_numpy(np.sqrt(budget_B))
        action = np.column_stack([place, Crop().zoom_of(scale).numpy()])
    else:
        sensor, action = Thumbnail(), np.zeros((count, 1))
    aim = sensor.aim(action, shape, np.floor(budget_B * shape[1] * shape[2]))
    glimpse = sensor.reader(images_BCHW)(np.arange(count), aim)
    canvas = np.zeros((count, *shape), np.float32)
    grain = np.full((count, *shape[1:]), UNSEEN, np.uint8)
    sensor.paint(canvas, grain, np.arange(count), glimpse, aim)
    return canvas, (grain != UNSEEN)[:, None].astype(np.float32)
