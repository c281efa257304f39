"""The only test-time loop: images are looked at through the env, and what was chosen is written down.

An agent of several glimpses has one episode per image, and its selection at a budget is the longest prefix whose
union stays within it. An agent of one glimpse has an episode per budget. Evaluators classify what the same
selections show, carried out again through the same loop (`replay`).

Shapes: P passes (1, or one per budget), F budgets, N images, T glimpses, B batch.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from gymnasium.vector import AutoresetMode
from numpy.typing import NDArray
from scipy.special import softmax

from glimpsebench.agents.common.base import Agent
from glimpsebench.bench.localisation import peak_of, pixel_of
from glimpsebench.envs.footprints import inside
from glimpsebench.envs.glimpse import GlimpseVectorEnv, Kind, Observation
from glimpsebench.envs.sensors import Mask, Sensor, Shape, Thumbnail, Window
from glimpsebench.envs.tasks import Split

Array = NDArray[Any]
Choose = Callable[[Observation, int, Array, int], Array]
"""(observation, pass, image numbers (B,), step) → actions (B, …)."""
Predict = Callable[[Observation], Array | None]
"""A view of what has been revealed → logits (B, K), or None. From logits (B, M, K), of several predictors at once, each
prediction below has a last axis M."""

BATCH = 250
"""Images at a time, the last batch filled up: a network's logits depend on the batch size in their last bits."""


@dataclass(frozen=True)
class Episodes:
    """What was selected, and what was predicted from it.

    Attributes:
        selection: the actions as carried out: float32 (P, N, T, …); masks are packed bits, uint8 (P, N, T, bytes).
        steps_FN: glimpses within each budget.
        touched_FN: source pixels in their union, without padding.
        delivered_FN: values that they returned, per channel, repeats counted.
        predicted_FN: argmax of the logits at that moment, int16; −1 without a glimpse or a predictor.
        confidence_FN: the probability that they give to that class (`confidence`), uint8; 0 where there is none.
        points_N2: the pixel (row, column) of its first look by choice (`Agent.given`): the window's middle, or the one
            scored best. Of an agent that chooses none, the last look's.
    """

    selection: Array
    steps_FN: Array
    touched_FN: Array
    delivered_FN: Array
    predicted_FN: Array
    confidence_FN: Array
    points_N2: Array


def rollout(agent: Agent, images: Split, seed: int) -> Episodes:
    """Let an agent look at every image, through an env that has no labels."""
    rng = np.random.default_rng([seed, 2])

    def predict(view: Observation) -> Array | None:
        logits = agent.predict(view)
        return None if logits is None else checked(logits, agent.classes)

    return _roll_out(agent, images, lambda seen, *_: agent.act(seen, rng), agent.view, predict)


def checked(logits: Any, classes: int) -> Array:
    """A contender's logits (B, K), if that is what they are.

    Raises:
        ValueError: another shape, no numbers, or not finite (−∞ says that it is not this class).
    """
    logits_BK = np.asarray(logits)
    if logits_BK.shape != (BATCH, classes) or logits_BK.dtype.kind not in "fiu":
        raise ValueError(f"predict: {logits_BK.dtype} of shape {logits_BK.shape}, not logits of shape {BATCH, classes}")
    if not np.isfinite(logits_BK.max(-1)).all():
        raise ValueError("predict: logits that are not finite")
    return logits_BK


def replay(agent: Agent, images: Split, episodes: Episodes, predict: Predict, view: Kind = "canvas") -> Episodes:
    """The same selections again, classified from a view by another predictor, which is asked where a budget ends alone.

    Raises:
        RuntimeError: they do not touch what the episodes say.
    """
    sensor = agent.sensor()

    def choose(_: Observation, number: int, index_B: Array, step: int) -> Array:
        return unpacked(episodes.selection[number, index_B, step], sensor, agent.shape)

    again = _roll_out(agent, images, choose, view, predict, as_recorded(sensor), episodes.steps_FN)
    for name in ("steps_FN", "touched_FN", "delivered_FN"):
        if not np.array_equal(getattr(again, name), getattr(episodes, name)):
            raise RuntimeError("a replay of the recorded selections does not touch or deliver what they did")
    return again


def replay_steps(
    agent: Agent,
    images: Split,
    selection: Array,
    steps_N: Array,
    view: Kind,
    predict: Predict,
    budget: float | None = None,
) -> tuple[Array, Array]:
    """A recorded selection of several glimpses again: what is predicted and touched after each (N, T).

    Args:
        agent: of the same settings; it is not asked where to look.
        images: the test images.
        selection: as in `Episodes`, of one pass: (N, T, …).
        steps_N: how many glimpses were taken. After an episode's end the last prediction and mask stay.
        view: what `predict` sees.
        predict: the predictor. Without a glimpse, or without logits, the prediction is −1.
        budget: of the pass that the selection is of; by default the agent's largest.
    """

    def choose(_: Observation, number: int, index_B: Array, step: int) -> Array:
        return unpacked(selection[index_B, step], agent.sensor(), agent.shape)

    sensor = as_recorded(agent.sensor())
    most = max(agent.budgets) if budget is None else budget
    (_, touched_NT, _, predicted_NT, _, _), _ = _steps(agent, images, 0, most, choose, view, predict, sensor)
    upto_TN = np.minimum(np.arange(1, agent.horizon() + 1)[:, None], steps_N)
    return _value_after(predicted_NT, upto_TN, -1).T, _value_after(touched_NT, upto_TN, 0).T


def _roll_out(
    agent: Agent,
    images: Split,
    choose: Choose,
    view: Kind,
    predict: Predict,
    sensor: Sensor | None = None,
    ends_FN: Array | None = None,
) -> Episodes:
    single = agent.horizon() == 1
    groups = [(budget,) for budget in agent.budgets] if single else [agent.budgets]
    sensor = sensor or agent.sensor()

    def ends_of(number: int) -> Array | None:
        return ends_FN[[number]] if single and ends_FN is not None else ends_FN

    passes = [
        _pass(agent, images, number, group, choose, view, predict, sensor, ends_of(number))
        for number, group in enumerate(groups)
    ]

    def joined(name: str) -> Array:
        return np.concatenate([getattr(one, name) for one in passes])

    return Episodes(
        selection=np.stack([one.selection for one in passes]),
        steps_FN=joined("steps_FN"),
        touched_FN=joined("touched_FN"),
        delivered_FN=joined("delivered_FN"),
        predicted_FN=joined("predicted_FN"),
        confidence_FN=joined("confidence_FN"),
        points_N2=passes[0].points_N2,
    )


def _pass(
    agent: Agent,
    images: Split,
    number: int,
    budgets: Sequence[float],
    choose: Choose,
    view: Kind,
    predict: Predict,
    sensor: Sensor,
    ends_FN: Array | None = None,
) -> Episodes:
    """Every image once, under the largest of these budgets; the others are its prefixes."""
    count, horizon = len(images), agent.horizon()
    (actions, touched_NT, delivered_NT, predicted_NT, confidence_NT, taken_NT), points_N2 = _steps(
        agent, images, number, max(budgets), choose, view, predict, sensor, ends_FN
    )
    if isinstance(sensor, Mask):
        actions = np.packbits(actions.reshape(count, horizon, -1) > 0, axis=-1)
    touched = agent.currency == "touched"
    spent_NT = touched_NT if touched else delivered_NT
    pixels_N = images.own_pixels_N if touched else np.full(count, agent.shape[1] * agent.shape[2])
    caps_FN = np.floor(np.outer(budgets, pixels_N) + 1e-9)
    steps_FN = ((spent_NT <= caps_FN[:, :, None]) & taken_NT).sum(2)
    return Episodes(
        actions,
        steps_FN.astype(np.int16),
        _value_after(touched_NT, steps_FN, 0).astype(np.int32),
        _value_after(delivered_NT, steps_FN, 0).astype(np.int32),
        _value_after(predicted_NT, steps_FN, -1).astype(np.int16),
        _value_after(confidence_NT, steps_FN, 0),
        points_N2,
    )


def _steps(
    agent: Agent,
    images: Split,
    number: int,
    budget: float,
    choose: Choose,
    view: Kind,
    predict: Predict,
    sensor: Sensor,
    ends_FN: Array | None = None,
) -> tuple[list[Array], Array]:
    """After each step of every image (N, T, …), and the first points.

    The former are: action, touched, delivered, predicted, confidence, taken. With `ends_FN` the predictor is asked
    only after these numbers of steps, and elsewhere there is no prediction.
    """
    count, horizon = len(images), agent.horizon()
    env = GlimpseVectorEnv(
        images.unlabelled,
        BATCH,
        sensor=sensor,
        observation=agent.observation,
        glimpses=horizon,
        budget=budget,
        currency=agent.currency,
        autoreset_mode=AutoresetMode.DISABLED,
    )
    batches, points = [], []
    for start in range(0, count, BATCH):
        # The last batch is filled up with repeats of the last image, which are cut off again.
        index_B = np.minimum(np.arange(start, start + BATCH), count - 1)
        observation, info = env.reset(options={"index": index_B})
        steps = []
        for step in range(horizon):
            taken = info["num_glimpses"]
            action = choose(observation, number, index_B, step)
            if step == min(agent.given, horizon - 1):
                boxes_B4 = _of(images.boxes_N4, index_B)
                points.append(_pixel_looked_at(action, sensor, agent.shape, boxes_B4)[: count - start])
            observation, _, _, _, info = env.step(action)
            rows_B = np.full(BATCH, True) if ends_FN is None else (ends_FN[:, index_B] == step + 1).any(0)
            if ends_FN is not None:
                rows_B[count - start :] = False
                rows_B[0] |= step == 0  # so that the form of the answers is known
            steps.append(
                (
                    env.observe("glimpse")["action"] * _one_per_action(info["num_glimpses"] > taken, env),
                    env.touched_pixels,
                    env.delivered_values,
                    *_answers(env, view, predict, rows_B, like=steps[0][3:5] if steps else None),
                    info["num_glimpses"] > taken,
                )
            )
        batches.append([np.stack(column, axis=1)[: count - start] for column in zip(*steps, strict=True)])
    return [np.concatenate(column) for column in zip(*batches, strict=True)], np.concatenate(points)


def _answers(
    env: GlimpseVectorEnv, view: Kind, predict: Predict, rows_B: Array, like: Sequence[Array] | None
) -> tuple[Array, Array]:
    """Predicted class and confidence (B, …) of the rows that are asked about; −1 and 0 of others, and without logits.

    Args:
        like: earlier answers of this batch.
    """
    logits = None
    if rows_B.any():
        seen = env.observe(view)
        logits = predict(seen if rows_B.all() else {name: value[rows_B] for name, value in seen.items()})
    form = rows_B.shape if like is None else like[0].shape
    form = form if logits is None else (*rows_B.shape, *logits.shape[1:-1])
    predicted, sure = np.full(form, -1), np.zeros(form, np.uint8)
    if logits is not None:
        predicted[rows_B], sure[rows_B] = logits.argmax(-1), confidence(logits)
    return predicted, sure


def confidence(logits: Array) -> Array:
    """The largest of the probabilities that logits (…, K) stand for, in 255ths: uint8 (…), 1 or more.

    Logits of which none is finite stand for no class more than for another.

    >>> confidence(np.log([[0.6, 0.4], [1, 0.25]])).tolist(), confidence(np.full((1, 4), np.nan)).tolist()
    ([153, 204], [64])
    """
    with np.errstate(invalid="ignore"):
        most = np.nan_to_num(softmax(logits, axis=-1).max(-1), nan=1 / logits.shape[-1])
    return np.maximum(np.rint(255 * most), 1).astype(np.uint8)


def unpacked(selection: Array, sensor: Sensor, shape: Shape) -> Array:
    """Recorded selections (N, …) as actions of the sensor: float32 (N, …)."""
    if not isinstance(sensor, Mask):
        return selection
    size = sensor.grid(shape)
    bits = np.unpackbits(selection, axis=-1, count=size[0] * size[1])
    return bits.reshape(*selection.shape[:-1], *size).astype(np.float32)


def as_recorded(sensor: Sensor) -> Sensor:
    """The sensor that repeats recorded actions: a mask reveals the cells that it did, and none for free beside them."""
    return replace(sensor, threshold=0.5) if isinstance(sensor, Mask) else sensor


def footprints_of(
    selection: Array, steps_N: Array, budget: float, sensor: Sensor, shape: Shape, boxes_N4: Array | None = None
) -> Array:
    """The footprints of recorded selections (N, T, …) within a budget: boolean (N, T, H, W), empty after `steps_N`.

    With `boxes_N4`, where the images have their own pixels, they are cut to these.
    """
    actions, sensor = unpacked(selection, sensor, shape), as_recorded(sensor)
    count, horizon = actions.shape[:2]
    whole_N4 = np.tile([0, 0, *shape[1:]], (count, 1)) if boxes_N4 is None else boxes_N4
    room = np.floor(budget * whole_N4[:, 2] * whole_N4[:, 3] + 1e-9).astype(np.int64)
    footprints = np.zeros((count, horizon, *shape[1:]), bool)
    for step in range(horizon):
        rows = steps_N > step
        aim = sensor.aim(actions[rows, step], shape, room[rows], _of(boxes_N4, rows))
        footprints[rows, step] = sensor.footprint(aim, shape)
    return footprints if boxes_N4 is None else footprints & inside(boxes_N4, shape[1:])[:, None]


def _of(boxes_N4: Array | None, rows: Array) -> Array | None:
    return None if boxes_N4 is None else boxes_N4[rows]


def _pixel_looked_at(action: Array, sensor: Sensor, shape: Shape, boxes_B4: Array | None) -> Array:
    """The pixel (row, column) that an action looks at most."""
    if isinstance(sensor, Mask):
        return np.minimum(peak_of(action) * sensor.cell, np.array(shape[1:]) - 1)
    if isinstance(sensor, Thumbnail):
        return np.tile(np.array(shape[1:]) // 2, (len(action), 1))
    if isinstance(sensor, Window):
        centre_B2 = sensor.aim(action, shape, np.zeros(len(action)), boxes_B4) + sensor.size // 2
        return np.clip(centre_B2, 0, np.array(shape[1:]) - 1)
    return pixel_of(action[:, :2], shape[1:])


def _one_per_action(taken_B: Array, env: GlimpseVectorEnv) -> Array:
    """Booleans (B,) with as many axes as the actions: a refused glimpse is recorded as no action."""
    return taken_B.reshape(-1, *[1] * len(env.single_action_space.shape or ()))


def _value_after(values_NT: Array, steps_FN: Array, none: int) -> Array:
    """The value after each number of steps, (F, N); `none` after no step."""
    values = np.concatenate([np.full_like(values_NT[:, :1], none), values_NT], axis=1)
    return values[np.arange(len(values)), steps_FN]
