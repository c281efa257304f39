"""What must not change a prediction: experiments on `predict`, with the selection held.

Each answers how often a predictor's answer, or its accuracy, changes. Exact ones compare logits bit for bit; the
others measure how much accuracy is lost, since what they change is a little of what the predictor may use.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from gymnasium.vector import AutoresetMode
from numpy.typing import NDArray

from glimpsebench.bench.audit.declaration import Declaration
from glimpsebench.bench.rollout import BATCH, Episodes, as_recorded, footprints_of, unpacked
from glimpsebench.envs.footprints import inside
from glimpsebench.envs.glimpse import GlimpseVectorEnv, Kind, Observation
from glimpsebench.envs.sensors import Crop, Window
from glimpsebench.envs.tasks import Split

Array = NDArray[Any]
Predict = Callable[[Observation], Array | None]

NOISE = 1
"""Grey levels, up and down."""
FINENESS = 16
"""Fixations of a resampling sensor are rounded to pixels / `FINENESS`."""


def budgets_to_ask_at(says: Declaration, episodes: Episodes) -> list[int]:
    """Which budgets (indices) the experiments are done at: the smallest that shows something, and that next to 10 %."""
    indices = [at for at, steps_N in enumerate(episodes.steps_FN) if steps_N.min() > 0]
    if not indices:
        return []
    return sorted({indices[0], min(indices, key=lambda at: abs(np.log(says.budgets[at] / 0.10)))})


class Views:
    """What a predictor was shown of each test image within one budget, and what else it might have been.

    Args:
        says: of the contender.
        images: the test images.
        episodes: its selections.
        at: the budget's index.
    """

    def __init__(self, says: Declaration, images: Split, episodes: Episodes, at: int) -> None:
        self.says, self.images, self.at = says, images, at
        single = len(episodes.selection) == len(says.budgets)
        self.selection_NT, self.steps_N = episodes.selection[at if single else 0], episodes.steps_FN[at]
        self.budget = says.budgets[at] if single else max(says.budgets)
        self.actions_NT = unpacked(self.selection_NT, says.sensor, says.shape)
        self.shown = self.of(images)

    def of(self, images: Split, actions_NT: Array | None = None, kind: Kind | None = None) -> Observation:
        """The view (N, …) of each image when the recorded selection, or another, is carried out on it."""
        says, actions_NT = self.says, self.actions_NT if actions_NT is None else actions_NT
        env = GlimpseVectorEnv(
            images.unlabelled,
            BATCH,
            sensor=as_recorded(says.sensor),
            observation="glimpse",
            glimpses=says.horizon,
            budget=self.budget,
            currency=says.currency,
            autoreset_mode=AutoresetMode.DISABLED,
        )
        views: dict[str, Array] = {}
        for start in range(0, len(images), BATCH):
            rows_B = np.minimum(np.arange(start, start + BATCH), len(images) - 1)
            env.reset(options={"index": rows_B})
            for step in range(int(self.steps_N[rows_B].max(initial=0))):
                env.step(actions_NT[rows_B, step])
                ended_B = self.steps_N[rows_B] == step + 1
                for name, value in env.observe(kind or says.view).items():
                    views.setdefault(name, np.zeros((len(images), *value.shape[1:]), value.dtype))
                    views[name][rows_B[ended_B]] = value[ended_B]
        return views

    def with_images(self, images_NCHW: Array) -> Observation:
        """The views of other images in the place of these."""
        return self.of(Split(np.ascontiguousarray(images_NCHW), boxes_N4=self.images.boxes_N4))


def logits_of(predict: Predict, views: Observation) -> Array:
    """What a predictor says of all views, (N, K): in batches of the size of a rollout's, the last one filled up."""
    count = len(views["left"])
    parts = []
    for start in range(0, count, BATCH):
        rows_B = np.minimum(np.arange(start, start + BATCH), count - 1)
        logits_BK = predict({name: value[rows_B] for name, value in views.items()})
        assert logits_BK is not None
        parts.append(logits_BK[: count - start])
    return np.concatenate(parts)


def figures(predict: Predict, views: Views, rng: np.random.Generator) -> dict[str, float]:
    """The figures of one budget: name → share of the images, or accuracy lost; 0 is best, `kept_when_swapped` apart."""
    count, labels_N = len(views.images), np.asarray(views.images.labels_N)
    logits_NK = logits_of(predict, views.shown)

    def changed(other_NK: Array) -> float:
        return float((other_NK != logits_NK).any(1).mean())

    def lost(changed_views: Observation) -> float:
        answers_N, before_N = logits_of(predict, changed_views).argmax(1), logits_NK.argmax(1)
        return float((before_N == labels_N).mean() - (answers_N == labels_N).mean())

    order_N = rng.permutation(count)
    shuffled_NK = np.empty_like(logits_NK)
    shuffled_NK[order_N] = logits_of(predict, {name: value[order_N] for name, value in views.shown.items()})
    other_N = _of_another_class(labels_N, rng)
    images_NCHW = views.images.images_NCHW
    noise = rng.choice(np.array([-NOISE, NOISE], np.int16), images_NCHW.shape)
    noisy_NCHW = (images_NCHW + noise).clip(0, 255).astype(np.uint8)
    swapped_N = logits_of(predict, views.with_images(images_NCHW[other_N])).argmax(1)
    found = {
        "asked_again": changed(logits_of(predict, views.shown)),
        "other_rows": changed(shuffled_NK),
        "outside": _outside(views, rng),
        "noise": lost(views.with_images(noisy_NCHW)),
        "kept_when_swapped": float((swapped_N == logits_NK.argmax(1)).mean()),
    }
    if (rounded_NT := _rounded(views)) is not None:
        found["rounded"] = lost(views.of(views.images, rounded_NT))
    if views.says.view == "glimpses":
        found["order"] = lost(_reordered(views.shown, rng))
    return found


def _of_another_class(labels_N: Array, rng: np.random.Generator) -> Array:
    """For each image another one that is of another class."""
    return np.array([rng.choice(np.flatnonzero(labels_N != label)) for label in labels_N])


def _outside(views: Views, rng: np.random.Generator) -> float:
    """The share of images of which something is shown that lies outside the mask.

    Pixels outside are inverted, and are those of another image: what is shown must stay the same, bit for bit, and so
    the logits do. (Images are whole numbers and cannot hold NaN.)
    """
    says, images_NCHW = views.says, views.images.images_NCHW
    prints_NTHW = footprints_of(
        views.selection_NT, views.steps_N, views.budget, says.sensor, says.shape, views.images.boxes_N4
    )
    mask_N1HW: Array = np.any(prints_NTHW, axis=1, keepdims=True)
    if views.images.boxes_N4 is not None:  # padding is one level, which a window may look at for nothing
        mask_N1HW |= ~inside(views.images.boxes_N4, says.shape[1:])[:, None]
    changed_N = np.zeros(len(images_NCHW), bool)
    for others_NCHW in (255 - images_NCHW, rng.permutation(images_NCHW)):
        seen = views.with_images(np.where(mask_N1HW, images_NCHW, others_NCHW))
        for name, value in seen.items():
            changed_N |= (value != views.shown[name]).reshape(len(changed_N), -1).any(1)
    return float(changed_N.mean())


def _rounded(views: Views) -> Array | None:
    """The actions without what the sensor cannot resolve, in whose digits something could be written."""
    sensor, shape, actions_NT = views.says.sensor, views.says.shape, views.actions_NT
    flat_A = actions_NT.reshape(-1, actions_NT.shape[-1])
    if isinstance(sensor, Window):
        boxes_N4 = views.images.boxes_N4
        boxes_A4 = None if boxes_N4 is None else boxes_N4.repeat(actions_NT.shape[1], 0)
        if boxes_A4 is not None and sensor.border == "own":
            return None  # a place in the image's own pixels has no one fixation
        aim_A2 = sensor.aim(flat_A, shape, np.zeros(len(flat_A)), boxes_A4)
        return sensor.fixation(aim_A2, shape).reshape(actions_NT.shape)
    if isinstance(sensor, Crop):
        step_3 = 2 / (FINENESS * np.array([shape[2], shape[1], max(shape[1:])]))
        return (np.rint(flat_A / step_3) * step_3).clip(-1, 1).astype(np.float32).reshape(actions_NT.shape)
    return None


def _reordered(shown: Observation, rng: np.random.Generator) -> Observation:
    """The same glimpses in another order."""
    views = {name: value.copy() for name, value in shown.items()}
    for row, valid_T in enumerate(shown["valid"]):
        order = rng.permutation(int(valid_T.sum()))
        for name in ("glimpses", "actions"):
            views[name][row, : len(order)] = shown[name][row, order]
    return views
