"""The Gymnasium environment: a camera over a task that the agent points, glimpse by glimpse.

The dynamics are written once, in batch, in `GlimpseVectorEnv`; `GlimpseEnv` is its batch of one.
Shapes: B envs, T steps, C H W image, g glimpse side, K classes.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Literal, get_args

import gymnasium
import numpy as np
from gymnasium import spaces
from gymnasium.vector import AutoresetMode, VectorEnv
from gymnasium.vector.utils import batch_space
from numpy.typing import NDArray

from glimpsebench.envs import tasks
from glimpsebench.envs.errors import UsageError, unknown
from glimpsebench.envs.pictures import picture
from glimpsebench.envs.sensors import UNSEEN, Sensor, Window
from glimpsebench.envs.tasks import Half, Split, Task

Array = NDArray[Any]
Observation = dict[str, Array]
Predictor = Callable[[Observation], Array]
Kind = Literal["glimpse", "glimpses", "canvas", "image"]
Reward = Literal["none", "correct", "information"]
Currency = Literal["touched", "delivered"]


class _World:
    """One epoch's images with the sensor's reader over them. The images are shared, never copied."""

    def __init__(self, split: Split, sensor: Sensor) -> None:
        images = split.images_NCHW
        if images.dtype != np.uint8 or images.ndim != 4 or not images.size:
            raise UsageError(
                f"images must be uint8 of shape (N, C, H, W), none of them 0; got {images.dtype} {images.shape}"
            )
        self.images_NCHW, self.labels_N = images, split.labels_N
        self.read = sensor.reader(images)


class GlimpseVectorEnv(VectorEnv[Observation, Array, Array]):
    """B cameras over one image set, stepped together.

    ## Description
    Each env holds one hidden image. An action says where to look and nothing else; the sensor returns the
    pixels there, and the env adds their footprint to what that env has touched. The question is how much of
    the image must be touched before its class is known.

    ## Action Space
    The sensor's: `Window` takes a fixation (x, y) in [-1, 1], `Crop` (x, y, z) likewise, `Mask` a score in [-1, 1] per
    cell. Values out of range are clipped and counted in `info["clipped"]`; NaN and wrong shapes raise ValueError.

    ## Observation Space
    A dictionary of float32 arrays; pixels are in [0, 1]. `left` (1) is the share of the budget's pixels
    that is left, as a fraction of the image.

    | kind | entries beside `left` |
    |------|---------|
    | `glimpse` | `glimpse`: the newest only, 0 before the first; `action`: as carried out |
    | `glimpses` | `glimpses` (T, …) and `actions` (T, …) so far, zero-padded; `valid` (T): 1 where there is one |
    | `canvas` | `canvas` (C, H, W): what was delivered, where it was; `mask` (1, H, W): the union of footprints |
    | `image` | `image` (C, H, W): everything. For the open track only |

    Labels are in neither observation nor info.

    ## Rewards
    `none`: 0. `correct`: 1 at the end if the predictor's argmax is the label. `information`: at every
    step the gain in the true class's log-likelihood under the predictor.

    ## Starting State
    A training image drawn uniformly with replacement, nothing touched. Placed tasks render a new epoch of
    images whenever as many episodes have begun as there are images. `options={"index": …}` chooses the
    images instead.

    ## Episode End
    Termination: (1) `glimpses` actions were made; (2) an action would have touched more than `budget`: it is
    refused, nothing of it is returned; (3) the budget is used up. There is no truncation.

    ## Arguments
    Args:
        task: a task, its name, or a `Split` (its images as they are, for ever).
        num_envs: B.
        sensor: what the action points.
        observation: the kind of observation that `reset` and `step` return.
        glimpses: T, the most actions in an episode.
        budget: the largest touched fraction allowed, in (0, 1], per image.
        currency: what the budget counts; `delivered` is for sensors that touch everything anyway.
        reward: see above.
        predictor: (observation of kind `view`) → logits (B, K); needed for a reward.
        view: the kind of observation that the predictor reads.
        half: which images of a task.
        autoreset_mode: as Gymnasium defines them. With `DISABLED` an env that is done stays as it is.
        render_mode: `rgb_array` or None.

    >>> env = GlimpseVectorEnv("digits-clutter", num_envs=2, sensor=Window(8))
    >>> observation, info = env.reset(seed=0)
    >>> observation, reward, terminated, truncated, info = env.step(np.zeros((2, 2), np.float32))
    >>> info["touched"].tolist()
    [0.0625, 0.0625]

    ## Version History
    An env's version is its task's: GlimpseBench/digits-clutter-v1 is task digits-clutter-v1.
    * v1: first release.
    """

    metadata: dict[str, Any] = {  # noqa: RUF012 - Gymnasium's attribute
        "render_modes": ["rgb_array"],
        "render_fps": 2,
        "autoreset_mode": AutoresetMode.NEXT_STEP,
    }

    def __init__(
        self,
        task: Task | Split | str,
        num_envs: int = 1,
        *,
        sensor: Sensor | None = None,
        observation: Kind = "glimpses",
        glimpses: int = 6,
        budget: float = 1.0,
        currency: Currency = "touched",
        reward: Reward = "none",
        predictor: Predictor | None = None,
        view: Kind | None = None,
        half: Half = "train",
        autoreset_mode: AutoresetMode = AutoresetMode.NEXT_STEP,
        render_mode: str | None = None,
    ) -> None:
        if observation not in get_args(Kind):
            raise unknown("observation", observation, get_args(Kind))
        if reward not in get_args(Reward):
            raise unknown("reward", reward, get_args(Reward))
        if reward != "none" and predictor is None:
            raise UsageError(f"reward '{reward}' needs a predictor: pass predictor=, or reward='none'")
        if not 0 < budget <= 1:
            raise UsageError(f"budget {budget} is not a fraction in (0, 1]")
        if glimpses < 1 or num_envs < 1:
            raise UsageError(f"glimpses ({glimpses}) and num_envs ({num_envs}) must be at least 1")

        self.task = tasks.make(task) if isinstance(task, str) else task
        self.sensor = sensor if sensor is not None else Window()
        self.num_envs, self.horizon, self.budget, self.currency = num_envs, glimpses, budget, currency
        self.kind, self.reward_kind, self.half, self.render_mode = observation, reward, half, render_mode
        self.predictor, self.view = predictor, view or observation
        self.autoreset_mode = AutoresetMode(autoreset_mode)
        self.metadata = {**self.metadata, "autoreset_mode": self.autoreset_mode}

        self.epoch = 0
        self._worlds = {0: self._open(0)}
        self.shape: tuple[int, int, int] = self._worlds[0].images_NCHW.shape[1:]
        self.pixels = self.shape[1] * self.shape[2]
        # The largest number of pixels within the budget; 1e-9 forgives 0.3·100 = 30.000000000000004.
        self.cap = int(np.floor(budget * self.pixels + 1e-9))

        self.single_action_space = self.sensor.action_space(self.shape)
        self.single_observation_space = self.observation_space_of(observation)
        self.action_space = batch_space(self.single_action_space, num_envs)
        self.observation_space = batch_space(self.single_observation_space, num_envs)
        self._low, self._high = self.single_action_space.low, self.single_action_space.high

        self._rows = np.arange(num_envs)
        self._index = np.zeros(num_envs, np.int64)
        self._epochs = np.zeros(num_envs, np.int64)
        self._drawn = 0
        self._count = np.zeros(num_envs, np.int64)  # glimpses taken
        self._touched = np.zeros(num_envs, np.int64)  # pixels
        self._delivered = np.zeros(num_envs, np.int64)  # values per channel
        self._spent = self._touched if currency == "touched" else self._delivered
        self._done = np.ones(num_envs, bool)
        self._log_likelihood = np.zeros(num_envs)
        rest = np.zeros((num_envs, *self.single_action_space.shape), np.float32)
        aim = self.sensor.aim(rest, self.shape, np.zeros(num_envs, np.int64))
        self._aims = np.zeros((num_envs, glimpses, *aim.shape[1:]), aim.dtype)
        self._actions = np.zeros((num_envs, glimpses, *self.single_action_space.shape), np.float32)
        self._footprints = self.sensor.footprints(num_envs, glimpses, self.shape)
        self._newest = np.zeros((num_envs, *self.sensor.glimpse_shape(self.shape)), np.float32)
        # Kept only once somebody asks for them: see `_remember`.
        self._glimpses: Array | None = None
        self._canvas: Array | None = None
        self._grain: Array | None = None

    def _open(self, epoch: int) -> _World:
        split = self.task if isinstance(self.task, Split) else self.task.render(self.half, epoch)
        return _World(split, self.sensor)

    def observation_space_of(self, kind: Kind) -> spaces.Dict:
        """The space of one env's observation of this kind."""
        glimpse, action = self.sensor.glimpse_shape(self.shape), self.single_action_space
        horizon = self.horizon

        def unit(*shape: int) -> spaces.Box:
            return spaces.Box(0, 1, shape, np.float32)

        # 0 stands for "no action yet", so the space must contain it whatever the sensor's range.
        low, high = min(0, action.low.min()), max(0, action.high.max())
        entries: dict[str, spaces.Space[Any]] = {"left": unit(1)}
        if kind == "glimpse":
            entries |= {"glimpse": unit(*glimpse), "action": spaces.Box(low, high, action.shape, np.float32)}
        elif kind == "glimpses":
            entries |= {
                "glimpses": unit(horizon, *glimpse),
                "actions": spaces.Box(low, high, (horizon, *action.shape), np.float32),
                "valid": unit(horizon),
            }
        elif kind == "canvas":
            entries |= {"canvas": unit(*self.shape), "mask": unit(1, *self.shape[1:])}
        else:
            entries |= {"image": unit(*self.shape)}
        return spaces.Dict(entries)

    def reset(
        self, *, seed: int | list[int | None] | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Observation, dict[str, Any]]:
        """Begin an episode in every env.

        Args:
            seed: of the generator that draws images.
            options: `index` (B,) says which image each env gets; `reset_mask` (B,) boolean, which envs begin.
        """
        if isinstance(seed, list):
            raise ValueError("the envs share one generator: seed it with a single integer")
        super().reset(seed=seed)
        if seed is not None:
            self.epoch, self._drawn = 0, 0
            if set(self._worlds) != {0}:
                self._worlds = {0: self._open(0)}
            self._epochs[:] = 0
        options = options or {}
        begin = np.asarray(options.get("reset_mask", np.ones(self.num_envs, bool)))
        index = options.get("index")
        self._begin(begin, None if index is None else np.asarray(index, np.int64).reshape(-1))
        return self.observe(self.kind), self._info(np.zeros(self.num_envs, bool), np.zeros(self.num_envs, bool))

    def _begin(self, begin_B: Array, index: Array | None = None) -> None:
        """Give the envs in `begin_B` (boolean) a new image, by number if `index` says which."""
        number = int(begin_B.sum())
        if not number:
            return
        images = len(self._worlds[self.epoch].images_NCHW)
        if index is None:
            if self._drawn >= images and isinstance(self.task, Task) and self.half == "train":
                self._turn_epoch(begin_B)
            self._drawn += number
            index = self.np_random.integers(0, images, number)
        else:
            index = index[begin_B] if len(index) == self.num_envs else index
            if len(index) != number or index.min() < 0 or index.max() >= images:
                raise ValueError(f"options['index'] must hold {number} numbers in [0, {images})")
        self._index[begin_B] = index
        self._epochs[begin_B] = self.epoch
        for state in (self._count, self._touched, self._delivered, self._newest, self._actions, self._done):
            state[begin_B] = 0
        self._footprints.clear(begin_B)
        if self._glimpses is not None:
            self._glimpses[begin_B] = 0
        if self._canvas is not None and self._grain is not None:
            self._canvas[begin_B], self._grain[begin_B] = 0, UNSEEN
        if self.reward_kind == "information":
            self._log_likelihood[begin_B] = self._log_likelihoods()[begin_B]

    def _turn_epoch(self, begin_B: Array) -> None:
        """Render the next epoch; envs in mid-episode keep the images that they have."""
        self.epoch += 1
        self._drawn = 0
        in_use = set(self._epochs[~begin_B & ~self._done].tolist())
        self._worlds = {epoch: world for epoch, world in self._worlds.items() if epoch in in_use}
        self._worlds[self.epoch] = self._open(self.epoch)

    def step(self, actions: Array) -> tuple[Observation, Array, Array, Array, dict[str, Any]]:
        """Look once in every env. See the class for what ends an episode."""
        action, clipped = self._checked(actions)
        waiting = self._done.copy()
        aim = self.sensor.aim(action, self.shape, self.cap - self._spent)
        added = self._footprints.grow(aim)
        delivered = self.sensor.delivered(aim, self.shape)
        cost = added if self.currency == "touched" else delivered
        revealed = (cost <= self.cap - self._spent) & ~waiting
        everywhere = bool(revealed.all())

        glimpse = self._read(aim)
        carried_out = self.sensor.carried_out(action, aim, self.shape)
        if everywhere:
            self._aims[self._rows, self._count] = aim
            self._actions[self._rows, self._count] = carried_out
            self._newest = glimpse
        else:
            rows = revealed.nonzero()[0]
            self._aims[rows, self._count[rows]] = aim[rows]
            self._actions[rows, self._count[rows]] = carried_out[rows]
            self._newest = np.where(_like(revealed, glimpse), glimpse, np.float32(0))
        self._footprints.keep(aim, revealed, self._count)
        self._touched += added * revealed
        self._delivered += delivered * revealed
        self._remember(glimpse, revealed)
        self._count += revealed

        self._done = waiting | ~revealed | (self._count >= self.horizon) | (self._spent >= self.cap)
        ended = self._done & ~waiting
        reward = self._reward(ended, waiting)
        terminated = self._done.copy()
        info = self._info(~revealed & ~waiting, clipped)
        if self.autoreset_mode == AutoresetMode.NEXT_STEP and waiting.any():
            self._begin(waiting)
            terminated &= ~waiting
            info = self._info(~revealed & ~waiting, clipped)
        elif self.autoreset_mode == AutoresetMode.SAME_STEP and ended.any():
            final = self.observe(self.kind)
            final_obs = np.empty(self.num_envs, object)
            for env in ended.nonzero()[0]:
                final_obs[env] = {name: value[env] for name, value in final.items()}
            last = info
            self._begin(ended)
            info = self._info(np.zeros_like(ended), clipped)
            info |= {"final_obs": final_obs, "_final_obs": ended, "final_info": last, "_final_info": ended}
        return self.observe(self.kind), reward, terminated, np.zeros(self.num_envs, bool), info

    def _checked(self, actions: Array) -> tuple[Array, Array]:
        """The actions as float32 inside the action space, and which envs' were clipped."""
        action = np.asarray(actions)
        if action.shape != self.action_space.shape or action.dtype.kind not in "fiu":
            raise ValueError(
                f"actions must be numbers of shape {self.action_space.shape}; got {action.dtype} {action.shape}"
            )
        action = action.astype(np.float32)
        clipped = np.maximum(action, self._low)
        np.minimum(clipped, self._high, out=clipped)
        moved = clipped != action  # True for NaN too
        if moved.any():
            if np.isnan(action).any():
                raise ValueError("actions must not be NaN")
            return clipped, moved.reshape(self.num_envs, -1).any(1)
        return action, np.zeros(self.num_envs, bool)

    def _read(self, aim: Array) -> Array:
        if len(self._worlds) == 1:
            return self._worlds[self.epoch].read(self._index, aim)
        glimpse = np.zeros_like(self._newest)
        for epoch, world in self._worlds.items():
            rows = (self._epochs == epoch).nonzero()[0]
            if len(rows):
                glimpse[rows] = world.read(self._index[rows], aim[rows])
        return glimpse

    def _remember(self, glimpse: Array, revealed: Array) -> None:
        rows = revealed.nonzero()[0] if self._glimpses is not None or self._canvas is not None else ()
        if self._glimpses is not None:
            self._glimpses[rows, self._count[rows]] = glimpse[rows]
        if self._canvas is not None and self._grain is not None:
            for env in rows:
                step = self._count[env]
                self.sensor.paint(self._canvas[env], self._grain[env], glimpse[env], self._aims[env, step])

    def _recall(self) -> None:
        """Fill newly wanted memories from the aims: reading them again gives the same values."""
        taken, self._count = self._count, np.zeros_like(self._count)
        for step in range(int(taken.max(initial=0))):
            self._remember(self._read(self._aims[:, step]), taken > step)
            self._count += taken > step
        self._count = taken

    def observe(self, kind: Kind) -> Observation:
        """The observation of any kind, of all envs as they stand now: fresh arrays with a leading B."""
        left = ((self.cap - self._spent) / self.pixels).astype(np.float32)[:, None]
        if kind == "glimpse":
            last = self._actions[self._rows, np.maximum(self._count - 1, 0)]
            return {"left": left, "glimpse": self._newest.copy(), "action": last}
        if kind == "glimpses":
            if self._glimpses is None:
                self._glimpses = np.zeros((self.num_envs, self.horizon, *self._newest.shape[1:]), np.float32)
                self._recall()
            valid = (np.arange(self.horizon) < self._count[:, None]).astype(np.float32)
            return {
                "left": left,
                "glimpses": self._glimpses.copy(),
                "actions": self._actions.copy(),
                "valid": valid,
            }
        if kind == "canvas":
            if self._canvas is None or self._grain is None:
                self._canvas = np.zeros((self.num_envs, *self.shape), np.float32)
                self._grain = np.full((self.num_envs, *self.shape[1:]), UNSEEN, np.uint8)
                memory, self._glimpses = self._glimpses, None
                self._recall()
                self._glimpses = memory
            mask = (self._grain != UNSEEN)[:, None].astype(np.float32)
            return {"left": left, "canvas": self._canvas.copy(), "mask": mask}
        return {"left": left, "image": self._images() * np.float32(1 / 255)}

    def _images(self) -> Array:
        if len(self._worlds) == 1:
            return self._worlds[self.epoch].images_NCHW[self._index]
        pairs = zip(self._epochs, self._index, strict=True)
        return np.stack([self._worlds[epoch].images_NCHW[index] for epoch, index in pairs])

    def _labels(self) -> Array:
        labels = []
        for epoch, index in zip(self._epochs, self._index, strict=True):
            known = self._worlds[epoch].labels_N
            if known is None:
                raise UsageError("a reward needs labels, and these images have none")
            labels.append(known[index])
        return np.array(labels)

    def _log_likelihoods(self) -> Array:
        """log p(true class | view) of every env, in nats."""
        assert self.predictor is not None
        logits_BK = np.asarray(self.predictor(self.observe(self.view)), np.float64)
        top = logits_BK.max(1, keepdims=True)
        normaliser = top[:, 0] + np.log(np.exp(logits_BK - top).sum(1))
        likelihood: Array = logits_BK[self._rows, self._labels()] - normaliser
        return likelihood

    def _reward(self, ended: Array, waiting: Array) -> Array:
        reward = np.zeros(self.num_envs)
        if self.reward_kind == "information":
            now = self._log_likelihoods()
            reward = np.where(waiting, 0.0, now - self._log_likelihood)
            self._log_likelihood = now
        elif self.reward_kind == "correct" and ended.any():
            assert self.predictor is not None
            guess = np.asarray(self.predictor(self.observe(self.view))).argmax(1)
            reward = ((guess == self._labels()) & ended).astype(np.float64)
        return reward

    def _info(self, refused: Array, clipped: Array) -> dict[str, Any]:
        every = np.ones(self.num_envs, bool)
        info: dict[str, Any] = {
            "touched": self._touched / self.pixels,
            "delivered": self._delivered / self.pixels,
            "glimpses": self._count.copy(),
            "refused": refused,
            "clipped": clipped,
        }
        return info | {f"_{name}": every for name in info}

    @property
    def touched_pixels(self) -> Array:
        """Pixels in the union of footprints so far: int64 (B,)."""
        return self._touched.copy()

    @property
    def delivered_values(self) -> Array:
        """Values returned so far, per channel, repeats counted: int64 (B,)."""
        return self._delivered.copy()

    @property
    def done(self) -> Array:
        """Whether each env's episode has ended: boolean (B,)."""
        return self._done.copy()

    def masks(self) -> Array:
        """The union of footprints so far: boolean (B, H, W). Its mean is the touched fraction."""
        union = np.zeros((self.num_envs, *self.shape[1:]), bool)
        for step in range(int(self._count.max(initial=0))):
            taken = self._count > step
            union[taken] |= self.sensor.footprint(self._aims[taken, step], self.shape)
        return union

    def state(self) -> dict[str, Any]:
        """Everything that the future depends on, as arrays, numbers and strings."""
        return {
            "epoch": self.epoch,
            "drawn": self._drawn,
            "generator": self.np_random.bit_generator.state,
            "epochs": self._epochs.copy(),
            "index": self._index.copy(),
            "count": self._count.copy(),
            "touched": self._touched.copy(),
            "delivered": self._delivered.copy(),
            "done": self._done.copy(),
            "log_likelihood": self._log_likelihood.copy(),
            "aims": self._aims.copy(),
            "actions": self._actions.copy(),
            "newest": self._newest.copy(),
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """Continue from a `state` bit for bit. The env must have been made with the same arguments."""
        self.epoch, self._drawn = int(state["epoch"]), int(state["drawn"])
        self.np_random.bit_generator.state = state["generator"]
        for name in ("epochs", "index", "count", "touched", "delivered", "done"):
            getattr(self, f"_{name}")[:] = state[name]
        self._log_likelihood = np.array(state["log_likelihood"])
        self._aims[:], self._actions[:] = state["aims"], state["actions"]
        self._newest = np.array(state["newest"])
        self._worlds = {epoch: self._open(epoch) for epoch in {self.epoch, *self._epochs.tolist()}}
        self._footprints.clear(np.ones(self.num_envs, bool))
        for step in range(int(self._count.max(initial=0))):
            steps = np.full(self.num_envs, step)
            self._footprints.keep(self._aims[:, step], self._count > step, steps)
        self._glimpses = self._canvas = self._grain = None

    def render(self) -> tuple[Array, ...] | None:
        """Per env the image with what was seen of it: uint8 (height, width, 3), or None without a mode."""
        if self.render_mode is None:
            return None
        images, masks = self._images(), self.masks()
        boxes = [[_box(print_HW) for print_HW in self._prints(env)] for env in range(self.num_envs)]
        return tuple(picture(*parts) for parts in zip(images, masks, boxes, strict=True))

    def _prints(self, env: int) -> Array:
        return self.sensor.footprint(self._aims[env, : self._count[env]], self.shape)


def _like(flags_B: Array, values: Array) -> Array:
    """Booleans (B,) with as many axes as `values`, to broadcast."""
    return flags_B.reshape(-1, *[1] * (values.ndim - 1))


def _box(print_HW: Array) -> tuple[int, int, int, int]:
    """The bounding box (top, left, bottom, right) of a footprint; all 0 for an empty one."""
    rows, columns = print_HW.any(1).nonzero()[0], print_HW.any(0).nonzero()[0]
    if not len(rows):
        return 0, 0, 0, 0
    return int(rows[0]), int(columns[0]), int(rows[-1]) + 1, int(columns[-1]) + 1


class GlimpseEnv(gymnasium.Env[Observation, Array]):
    """One camera over one image: `GlimpseVectorEnv` with a batch of one. See there for everything.

    >>> env = gymnasium.make("GlimpseBench/digits-v1", sensor=Window(2), glimpses=4)
    >>> observation, info = env.reset(seed=0)
    >>> sorted(observation)
    ['actions', 'glimpses', 'left', 'valid']
    """

    metadata: dict[str, Any] = {"render_modes": ["rgb_array"], "render_fps": 2}  # noqa: RUF012

    def __init__(self, task: Task | Split | str, *, render_mode: str | None = None, **settings: Any) -> None:
        self.batch = GlimpseVectorEnv(
            task, 1, autoreset_mode=AutoresetMode.DISABLED, render_mode=render_mode, **settings
        )
        self.action_space = self.batch.single_action_space
        self.observation_space = self.batch.single_observation_space
        self.render_mode = render_mode

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Observation, dict[str, Any]]:
        super().reset(seed=seed)
        observation, info = self.batch.reset(seed=seed, options=options)
        return _first(observation), self._single(info)

    def step(self, action: Array) -> tuple[Observation, float, bool, bool, dict[str, Any]]:
        observation, reward, terminated, truncated, info = self.batch.step(np.asarray(action)[None])
        return (
            _first(observation),
            float(reward[0]),
            bool(terminated[0]),
            bool(truncated[0]),
            self._single(info),
        )

    def _single(self, info: dict[str, Any]) -> dict[str, Any]:
        return {name: value[0].item() for name, value in info.items() if not name.startswith("_")}

    def render(self) -> Array | None:  # type: ignore[override]
        frames = self.batch.render()
        return None if frames is None else frames[0]


def _first(observation: Observation) -> Observation:
    return {name: value[0] for name, value in observation.items()}


def register() -> None:
    """Make every named task known to Gymnasium, as GlimpseBench/NAME-vN."""
    for task in tasks.TASKS.values():
        gymnasium.register(
            f"GlimpseBench/{task.id}",
            entry_point="glimpsebench.envs.glimpse:GlimpseEnv",
            vector_entry_point="glimpsebench.envs.glimpse:GlimpseVectorEnv",
            kwargs={"task": task.id},
        )
