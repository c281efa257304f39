"""The Gymnasium environment: a camera over a task that the agent points, glimpse by glimpse.

The dynamics are written once, in batch, in `GlimpseVectorEnv`; `GlimpseEnv` is its batch of one.
Shapes: B envs, T steps, C H W image, g glimpse side, K classes.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from copy import deepcopy
from typing import Any, Literal, get_args

import gymnasium
import numpy as np
from gymnasium import spaces
from gymnasium.vector import AutoresetMode, VectorEnv
from gymnasium.vector.utils import batch_space
from numpy.typing import NDArray

from glimpsebench.envs import rewards, seeding, sensors, tasks
from glimpsebench.envs.base import USE
from glimpsebench.envs.errors import UsageError, unknown
from glimpsebench.envs.footprints import Envs, Steps, inside
from glimpsebench.envs.pictures import Box, as_text, box_of, picture
from glimpsebench.envs.predictors import Observation as Observation
from glimpsebench.envs.predictors import Predictor, named, weights_version
from glimpsebench.envs.rewards import Reward, log_likelihood
from glimpsebench.envs.sensors import UNSEEN, Sensor
from glimpsebench.envs.spaces import ImageFormat, channels_last, extended, of_observation
from glimpsebench.envs.spaces import Kind as Kind
from glimpsebench.envs.specs import PlainSpec
from glimpsebench.envs.tasks import Half, Split, Task

Array = NDArray[Any]
Currency = Literal["touched", "delivered"]
First = Literal["chosen", "random"]


class _World:
    """One epoch's images with the sensor's reader over them. The images are shared, never copied."""

    def __init__(self, split: Split, sensor: Sensor) -> None:
        images = split.images_NCHW
        if images.dtype != np.uint8 or images.ndim != 4 or not images.size:
            raise UsageError(
                f"images must be uint8 of shape (N, C, H, W), no length 0; got {images.dtype} {images.shape}"
            )
        self.images_NCHW, self.labels_N, self.boxes_N4 = images, split.labels_N, split.boxes_N4
        self.read = sensor.reader(images)


def _split(task: Task | Split, half: Half, epoch: int) -> Split:
    if isinstance(task, Split):
        return task
    return task.train(epoch) if half == "train" else task.render(half, epoch)


class GlimpseVectorEnv(PlainSpec, VectorEnv[Observation, Array, Array]):
    """B cameras over one image set, stepped together.

    ## Description
    Each env holds one hidden image. An action says where to look and nothing else; the sensor returns the
    pixels there, and the env adds their footprint to what that env has touched. The question is how much of
    the image must be touched before its class is known.

    ## Action Space
    The sensor's: `Window` takes a fixation (x, y) in [-1, 1], `Crop` (x, y, z) likewise, `Mask` a score in
    [-1, 1] per cell. With `stop` there is one more coordinate: above 0 it ends the episode, and nothing is
    revealed. With `predict` K more follow, the logits of the class in [-10, 10]: what is said of the glimpses
    so far. Values out of range are clipped and flagged in `info["clipped"]`; NaN and wrong shapes raise
    ValueError. `grid.GridFixations` makes the choice of a fixation discrete, and that of a class.

    ## Observation Space
    A dictionary of float32 arrays; pixels are in [0, 1]. `left` (1) is the share of the budget's pixels
    that is left, as a fraction of the image. What is touched is counted in the image's own pixels, fewer than
    H·W where a `Split` has `boxes_N4`: padding may be looked at, at no cost. What is delivered counts all values.
    With `image_format="uint8_HWC"` canvas, mask and image are uint8
    in [0, 255] with the channels last, as convolutional policies of Stable-Baselines3 want them.

    | kind | entries beside `left` |
    |------|---------|
    | `glimpse` | `glimpse`: the newest only, 0 before the first; `action`: as carried out |
    | `glimpses` | `glimpses` (T, …), `actions` (T, …) so far, zero-padded; `valid` (T): 1 where one is |
    | `canvas` | `canvas` (C, H, W): what was delivered, where it was; `mask` (1, H, W): union of footprints |
    | `image` | `image` (C, H, W): everything; `step` (1): glimpses so far / T. For the open track only |

    ## Rewards
    | `reward` | from a predictor | from the action, with `predict` |
    |----------|------------------|--------------------------------|
    | `none` | 0 | 0 |
    | `correct` | at the end: 1 if the predictor's argmax is the label | at every step: 1 if the action's is |
    | `information` | at every step: the gain in the true class's log-likelihood, in nats | – |
    | `cross_entropy` | – | at every step: the log-likelihood of the true class, in nats |

    `glimpse_cost` is subtracted for each glimpse, `pixel_cost` times the fraction of the image that a step adds
    to what is touched. Where nothing is said of a reward it is 0, and learners' adapters ask for one. A predictor
    whose weights are updated in mid-episode is asked again what it makes of the view before: an update pays nothing.

    ## Info
    Arrays (B,): `touched` and `delivered` (fractions of the image), `num_glimpses`, `refused` (the action would
    have exceeded the budget), `clipped`, `idle` (the env was done already: the step did nothing). With a predictor
    or `predict`, `is_success`: the class was right at the end of the episode. With `predict`, `target`: the
    label, once the step's prediction is made, before that −1. Without `predict` labels are in neither observation
    nor info, `is_success` apart.

    ## Starting State
    A training image drawn uniformly with replacement, nothing touched; with `first="random"` one glimpse at a
    random place has been taken. Each env draws from its own seed, so that a batch reset with seed s has the episodes
    of single envs reset with s, s + 1, … while the first epoch lasts. Placed tasks render a new epoch of images
    whenever as many episodes have begun, in the batch, as there are images. `options={"index": …}` chooses the
    images instead.

    ## Episode End
    Termination: (1) `glimpses` actions were made; (2) an action would have touched more than `budget`: it is
    refused, nothing of it is returned; (3) the budget is used up; (4) the action says stop. With `predict` one more
    step follows (1) and (3), which predicts from everything and looks nowhere. Truncation: `max_episode_steps`.

    ## Arguments
    Args:
        task: a task, its name, or a `Split` (its images as they are, for ever).
        num_envs: B.
        sensor: what the action points, also as plain data (`sensors.make`); by default windows of 8×8, or of a
            third of a smaller image's side.
        observation: the kind of observation that `reset` and `step` return.
        glimpses: T, the most actions in an episode.
        budget: the largest touched fraction allowed, in (0, 1], per image.
        currency: what the budget counts; `delivered` is for sensors that touch everything anyway.
        stop: the action has a coordinate that ends the episode.
        predict: the action predicts the class.
        reward, glimpse_cost, pixel_cost: see above.
        predictor: (observation of kind `view`) → logits (B, K), or a name (`predictors`): `random-masks` is a network
            that reads any canvas of the task, trained once into a cache when it is first needed.
        view: the kind of observation that the predictor reads; by default that of the agent, of a named one `canvas`.
        first: the first glimpse is `chosen` by the action, or taken at a `random` place when the episode begins.
        half: `train` or `val` images of a task; a `Split` has no halves. The test images are the bench's.
        image_format: of canvas and image in observations; predictors always read `float_CHW`.
        max_episode_steps: truncates longer episodes.
        autoreset_mode: as Gymnasium defines them. With `DISABLED` an env that is done stays as it is: further steps
            say again how it ended, and `idle` in their infos.
        render_mode: `rgb_array`, `ansi` or None.

    >>> env = GlimpseVectorEnv("digits-clutter", num_envs=2, sensor="window:8")
    >>> observation, info = env.reset(seed=0)
    >>> observation, reward, terminated, truncated, info = env.step(np.zeros((2, 2), np.float32))
    >>> info["touched"].tolist()
    [0.0625, 0.0625]

    ## Version History
    An env's version is its task's: GlimpseBench/digits-clutter-v1 is task digits-clutter-v1.
    * v1: first release.
    """

    metadata: dict[str, Any] = {  # noqa: RUF012 - Gymnasium's attribute
        "render_modes": ["rgb_array", "ansi"],
        "render_fps": 2,
        "autoreset_mode": AutoresetMode.NEXT_STEP,
    }

    def __init__(
        self,
        task: Task | Split | str,
        num_envs: int = 1,
        *,
        sensor: Sensor | str | Mapping[str, Any] | None = None,
        observation: Kind = "glimpses",
        glimpses: int = 6,
        budget: float = 1.0,
        currency: Currency = "touched",
        stop: bool = False,
        predict: bool = False,
        reward: Reward | None = None,
        glimpse_cost: float = 0.0,
        pixel_cost: float = 0.0,
        predictor: Predictor | str | None = None,
        view: Kind | None = None,
        first: First = "chosen",
        half: Half = "train",
        image_format: ImageFormat = "float_CHW",
        max_episode_steps: int | None = None,
        autoreset_mode: AutoresetMode = AutoresetMode.NEXT_STEP,
        render_mode: str | None = None,
    ) -> None:
        for name, value, choices in (
            ("observation", observation, get_args(Kind)),
            ("view", view or observation, get_args(Kind)),
            ("reward", reward or "none", get_args(Reward)),
            ("currency", currency, get_args(Currency)),
            ("first", first, get_args(First)),
            ("half", half, ("train", "val")),
            ("image_format", image_format, get_args(ImageFormat)),
        ):
            if value not in choices:
                raise unknown(name, value, choices)
        self.task = tasks.make(task) if isinstance(task, str) else task
        rewards.check(reward or "none", predict, predictor, self.task)
        if not 0 < budget <= 1:
            raise UsageError(f"budget {budget} is not a fraction in (0, 1]")
        if min(glimpses, num_envs, max_episode_steps or 1) < 1:
            raise UsageError(
                f"glimpses ({glimpses}), num_envs ({num_envs}) and max_episode_steps ({max_episode_steps}) must be "
                "at least 1"
            )
        if render_mode not in (None, *self.metadata["render_modes"]):
            raise unknown("render_mode", render_mode, self.metadata["render_modes"])

        split = _split(self.task, half, 0)
        self.sensor = sensors.make(sensor, split.images_NCHW.shape[1:])
        self.num_envs, self.horizon, self.budget, self.currency = num_envs, glimpses, budget, currency
        self.kind, self.half, self.render_mode = observation, half, render_mode
        self.reward_given = reward is not None  # learners' adapters refuse an env that was given none
        self.reward_kind = reward or "none"
        self.glimpse_cost, self.pixel_cost = glimpse_cost, pixel_cost
        self.predictor, self.view = predictor, view or ("canvas" if isinstance(predictor, str) else observation)
        self.predict, self.first, self.image_format = predict, first, image_format
        self.max_episode_steps = max_episode_steps
        self.autoreset_mode = AutoresetMode(autoreset_mode)
        self.metadata = {**self.metadata, "autoreset_mode": self.autoreset_mode}

        self.epoch = 0
        self._worlds = {0: _World(split, self.sensor)}
        if (self.reward_kind != "none" or predict) and split.labels_N is None:
            raise UsageError(f"reward '{self.reward_kind}' needs labels, and these images have none")
        self.shape: tuple[int, int, int] = self._worlds[0].images_NCHW.shape[1:]
        self.pixels = np.full(num_envs, self.shape[1] * self.shape[2])  # of each env's image, without padding
        self.cap = self._cap()

        self.aim_space = self.sensor.action_space(self.shape)
        self.stop = stop
        self.classes = 0
        if predict:
            self.classes = (
                self.task.classes if isinstance(self.task, Task) else int(np.max(np.asarray(split.labels_N))) + 1
            )
        self._make_spaces()

        self._rows = np.arange(num_envs)
        self._index = np.zeros(num_envs, np.int64)
        self._epochs = np.zeros(num_envs, np.int64)
        self._drawn = 0
        self._seeds = np.zeros(num_envs, np.uint64)
        self._seeded = False
        self._episodes = np.zeros(num_envs, np.int64)  # begun since an env was seeded
        self._steps = np.zeros(num_envs, np.int64)  # of the episode
        self._count = np.zeros(num_envs, np.int64)  # glimpses taken
        self._touched = np.zeros(num_envs, np.int64)  # pixels
        self._delivered = np.zeros(num_envs, np.int64)  # values per channel
        self._spent = self._touched if currency == "touched" else self._delivered
        self._done = np.ones(num_envs, bool)
        self._truncated = np.zeros(num_envs, bool)  # done, and not by the task's rules
        self._log_likelihood = np.zeros(num_envs)
        self._weights: Any = None
        rest = np.zeros((num_envs, *self.aim_space.shape), np.float32)
        aim = self.sensor.aim(rest, self.shape, np.zeros(num_envs, np.int64))
        self._aims = np.zeros((num_envs, glimpses, *aim.shape[1:]), aim.dtype)
        self._actions = np.zeros((num_envs, glimpses, *self.aim_space.shape), np.float32)
        self._footprints = self.sensor.footprints(num_envs, glimpses, self.shape)
        # Where each env's image has its own pixels; None where no image is padded.
        self._boxes_B4: Array | None = None
        if self._worlds[0].boxes_N4 is not None:
            self._boxes_B4 = np.tile([0, 0, *self.shape[1:]], (num_envs, 1))
        self._footprints.boxes_B4 = self._boxes_B4
        self._shown = np.zeros(num_envs, bool)  # the last action was not refused: there is a newest glimpse
        # Kept only once somebody asks for them: see `_remember`.
        self._glimpses: Array | None = None
        self._canvas: Array | None = None
        self._grain: Array | None = None
        # Gymnasium marks which envs each entry of an info holds for: here always all of them.
        self._all_envs = np.ones(num_envs, bool)
        self._all_envs.setflags(write=False)

    def _make_spaces(self) -> None:
        self.single_action_space = extended(self.aim_space, self.stop, self.classes)
        self.single_observation_space = self.observation_space_of(self.kind)
        actions: Any = batch_space(self.single_action_space, self.num_envs)
        self.action_space = actions
        self.observation_space = batch_space(self.single_observation_space, self.num_envs)
        self._low, self._high = actions.low, actions.high

    def _open(self, epoch: int) -> _World:
        return _World(_split(self.task, self.half, epoch), self.sensor)

    def _cap(self) -> Array:
        """The largest number of pixels (or values) within the budget of each env: int64 (B,)."""
        counted = self.pixels if self.currency == "touched" else np.full_like(self.pixels, math.prod(self.shape[1:]))
        # 1e-9 forgives 0.3·100 = 30.000000000000004.
        return np.floor(self.budget * counted + 1e-9).astype(np.int64)

    def _take_boxes(self) -> None:
        """Note where the images that the envs hold now have their own pixels."""
        if self._boxes_B4 is None:
            return
        for world, envs in self._inhabited():
            assert world.boxes_N4 is not None  # a task's splits are padded or are not
            self._boxes_B4[envs] = world.boxes_N4[self._index[envs]]
        self.pixels = self._boxes_B4[:, 2] * self._boxes_B4[:, 3]
        self.cap = self._cap()

    def observation_space_of(self, kind: Kind) -> spaces.Dict:
        """The space of one env's observation of this kind."""
        return of_observation(kind, self.sensor, self.shape, self.horizon, self.image_format)

    def reset(
        self, *, seed: int | list[int | None] | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Observation, dict[str, Any]]:
        """Begin an episode in every env.

        Args:
            seed: env i draws its images by seed + i, or by the i-th of a list; None goes on.
            options: `index` says which image each env gets, (B,) or one number per env that begins;
                `reset_mask` (B,) boolean, which envs begin.

        Raises:
            ValueError: a list of the wrong length, or options of the wrong shape, type or range.
        """
        if isinstance(seed, int | np.integer):
            seed = [int(seed) + env for env in range(self.num_envs)]
        seeds: list[int | None] = seed or [None] * self.num_envs
        if len(seeds) != self.num_envs:
            raise ValueError(f"a list of seeds must hold one for each of the {self.num_envs} envs, not {len(seeds)}")
        super().reset(seed=seeds[0])
        options = options or {}
        begin = np.asarray(options.get("reset_mask", self._all_envs))
        if begin.shape != (self.num_envs,) or begin.dtype != np.bool_:
            raise ValueError(f"options['reset_mask'] must be boolean of shape ({self.num_envs},)")
        if not self._seeded:
            self._seeds[:] = self.np_random.integers(0, 2**63, self.num_envs)
            self._seeded = True
        again = begin & np.array([one is not None for one in seeds])
        if again.any():
            self._seeds[again] = np.array([one for one, new in zip(seeds, again, strict=True) if new], np.uint64)
            self._episodes[again] = 0
            self._enter(0, begin)
        self._begin(begin, options.get("index"))
        return self.observe(self.kind), self._info()

    def _begin(self, begin_B: Array, chosen: Any = None) -> None:
        """Give the envs in `begin_B` (boolean) a new image, by number if `chosen` says which."""
        number = int(np.count_nonzero(begin_B))
        if not number:
            return
        envs: Envs = slice(None) if number == self.num_envs else begin_B.nonzero()[0]
        images = len(self._worlds[self.epoch].images_NCHW)
        if chosen is None:
            if self._drawn >= images and isinstance(self.task, Task) and self.half == "train":
                self._enter(self.epoch + 1, begin_B)
            self._drawn += number
            index = (self._random(envs, 0) % np.uint64(images)).astype(np.int64)
        else:
            index = np.asarray(chosen)
            index = index[envs] if index.shape == (self.num_envs,) else np.atleast_1d(index)
            if index.shape != (number,) or index.dtype.kind not in "iu":
                raise ValueError(f"options['index'] must hold {number} integers, one for each env that begins")
            if index.min() < 0 or index.max() >= images:
                raise ValueError(f"options['index'] must hold numbers in [0, {images})")
        self._index[envs], self._epochs[envs] = index, self.epoch
        self._take_boxes()
        for state in (self._count, self._steps, self._touched, self._delivered, self._shown, self._actions):
            state[envs] = 0
        self._done[envs] = self._truncated[envs] = False
        self._footprints.clear(envs)
        if self._glimpses is not None:
            self._glimpses[envs] = 0
        if self._canvas is not None and self._grain is not None:
            self._canvas[envs], self._grain[envs] = 0, UNSEEN
        if self.first == "random":
            shown = self._shown
            self._look(self._random_actions(envs), begin_B)
            self._shown = np.where(begin_B, self._shown, shown)  # the others keep their newest glimpse
        self._episodes[envs] += 1
        if self.reward_kind == "information":
            self._log_likelihood[envs] = self._log_likelihoods(begin_B)

    def _random(self, envs: Envs, number: int) -> Array:
        """The `number`-th random number of the episodes that these envs begin: uint64."""
        return seeding.draw(self._seeds[envs], self._episodes[envs], number)

    def _random_actions(self, envs: Envs) -> Array:
        """Actions (B, …) that are uniform in the sensor's space for these envs, and 0 for the others."""
        size = int(np.prod(self.aim_space.shape))
        unit_nA = np.stack([self._random(envs, 1 + k) / 2.0**64 for k in range(size)], 1)
        low, high = self.aim_space.low.ravel(), self.aim_space.high.ravel()
        action = np.zeros((self.num_envs, size), np.float32)
        action[envs] = low + (high - low) * unit_nA
        return action.reshape(self.num_envs, *self.aim_space.shape)

    def _enter(self, epoch: int, begin_B: Array) -> None:
        """Draw from this epoch's images from now on; the envs that do not begin keep those that they have."""
        self.epoch, self._drawn = epoch, 0
        wanted = {epoch, *self._epochs[~begin_B].tolist()}
        self._worlds = {e: self._worlds[e] if e in self._worlds else self._open(e) for e in wanted}

    def step(self, actions: Array) -> tuple[Observation, Array, Array, Array, dict[str, Any]]:
        """Look once in every env. See the class for what ends an episode."""
        action, clipped = self._checked(actions)
        acting = ~self._done
        if self.reward_kind == "information" and weights_version(self.predictor) != self._weights and acting.any():
            self._log_likelihood[acting] = self._log_likelihoods(acting)  # the predictor has changed since
        aim, stops, predicted_BK = self._parts(action)
        looking = acting & ~stops
        if self.predict:  # the last step only predicts
            looking &= (self._count < self.horizon) & (self._spent < self.cap)
        before = self._touched.copy()
        refused, glimpse = self._look(aim, looking)
        self._steps += acting
        USE.steps += int(np.count_nonzero(acting))
        ended = acting & (refused | ~looking)
        if not self.predict:
            ended |= acting & ((self._count >= self.horizon) | (self._spent >= self.cap))
        cut = acting & ~ended & (self._steps >= (self.max_episode_steps or np.inf))
        over = ended | cut
        reward, success = self._reward(acting, over, predicted_BK)
        reward -= self.glimpse_cost * (looking & ~refused) + self.pixel_cost * (self._touched - before) / self.pixels
        self._done |= over
        self._truncated |= cut
        terminated, truncated = self._done & ~self._truncated, self._truncated.copy()
        extra: dict[str, Any] = {"refused": refused, "clipped": clipped, "idle": ~acting, "is_success": success}
        if self.predict:
            extra["target"] = np.where(acting, self._labels(), -1)
        final: dict[str, Any] = {}
        if self.autoreset_mode == AutoresetMode.NEXT_STEP:
            # The step after the last one only begins: it has no reward, and its action is ignored.
            self._begin(~acting)
            terminated, truncated = terminated & acting, truncated & acting
            extra |= {"clipped": clipped & acting, "idle": np.zeros(self.num_envs, bool)}
            if self.first == "random" and not acting.all():
                glimpse = self._newest()
        elif self.autoreset_mode == AutoresetMode.SAME_STEP and over.any():
            final = self._final(glimpse.copy(), over, extra)
            self._begin(over)
            glimpse[over] = self._newest()[over] if self.first == "random" else 0
            extra = {name: np.where(over, -1 if name == "target" else False, value) for name, value in extra.items()}
        info = self._info(**extra) | final
        observation = self._observation(self.kind, glimpse, self.image_format)
        return observation, reward, terminated, truncated, info

    def _parts(self, action: Array) -> tuple[Array, Array, Array | None]:
        """An action's parts: where to look, whether to stop (B,), and the logits (B, K) or None."""
        stops, predicted_BK = np.zeros(self.num_envs, bool), None
        if self.predict:
            action, predicted_BK = action[:, : -self.classes], action[:, -self.classes :].astype(np.float64)
        if self.stop:
            action, stops = action[:, :-1], action[:, -1] > 0
        return action, stops, predicted_BK

    def _look(self, action: Array, looking: Array) -> tuple[Array, Array]:
        """Reveal what the envs in `looking` (boolean) ask for.

        Returns:
            Which of them were refused, boolean (B,), and the glimpses, 0 where nothing was revealed.
        """
        if not looking.any():  # episodes that began together end together
            self._shown = np.zeros(self.num_envs, bool)
            return np.zeros(self.num_envs, bool), self._no_glimpse()
        room = self.cap - self._spent
        aim = self.sensor.aim(action, self.shape, room, self._boxes_B4)
        added = self._footprints.grow(aim)
        delivered = self.sensor.delivered(aim, self.shape)
        fits = (added if self.currency == "touched" else delivered) <= room
        revealed = fits & looking
        envs, steps = self._places(revealed)

        glimpse = self._read(aim)
        if not isinstance(envs, slice):
            glimpse[~revealed] = 0
        self._aims[envs, steps] = aim[envs]
        self._actions[envs, steps] = self.sensor.executed_action(action, aim, self.shape)[envs]
        self._footprints.keep(aim, envs, steps)
        self._remember(glimpse, envs, steps)
        self._touched += added * revealed
        self._delivered += delivered * revealed
        self._count += revealed
        self._shown = revealed
        return looking & ~fits, glimpse

    def _places(self, flags_B: Array) -> tuple[Envs, Steps]:
        """The flagged envs and the step that each is at.

        Where all are at one step, a slice and a number: indexing with them makes a view, not a copy.
        """
        first = self._count[0]
        if flags_B.all() and (self._count == first).all():
            return slice(None), int(first)
        envs = flags_B.nonzero()[0]
        return envs, self._count[envs]

    def _final(self, glimpse: Array, ended: Array, extra: dict[str, Any]) -> dict[str, Any]:
        """The last observations and infos of the envs that ended, as Gymnasium hands them on."""
        last = self._observation(self.kind, glimpse, self.image_format)
        final_obs = np.empty(self.num_envs, object)
        for env in ended.nonzero()[0]:
            final_obs[env] = {name: value[env] for name, value in last.items()}
        final_info = {name: ended if name.startswith("_") else value for name, value in self._info(**extra).items()}
        return {"final_obs": final_obs, "_final_obs": ended, "final_info": final_info, "_final_info": ended}

    def _checked(self, actions: Array) -> tuple[Array, Array]:
        """The actions as float32 inside the action space, and which envs' were clipped."""
        action = np.asarray(actions)
        if action.shape != self.action_space.shape or action.dtype.kind not in "fiu":
            wanted = self.action_space.shape
            raise ValueError(f"actions must be numbers of shape {wanted}; got {action.dtype} {action.shape}")
        if action.dtype != np.float32:
            with np.errstate(over="ignore"):  # what overflows becomes infinite, and is clipped
                action = action.astype(np.float32)
        inside = (action >= self._low) & (action <= self._high)
        if inside.all():
            return action, np.zeros(self.num_envs, bool)
        if np.isnan(action).any():
            raise ValueError("actions must not be NaN")
        outside = ~inside.reshape(self.num_envs, -1)
        return action.clip(self._low, self._high), np.logical_or.reduce(outside, axis=1)

    def _read(self, aim: Array) -> Array:
        if len(self._worlds) == 1:
            return self._worlds[self.epoch].read(self._index, aim)
        glimpse = self._no_glimpse()
        for world, envs in self._inhabited():
            glimpse[envs] = world.read(self._index[envs], aim[envs])
        return glimpse

    def _no_glimpse(self) -> Array:
        return np.zeros((self.num_envs, *self.sensor.glimpse_shape(self.shape)), np.float32)

    def _inhabited(self) -> Iterator[tuple[_World, Array]]:
        """Each epoch's images with the envs that are in it."""
        for epoch, world in self._worlds.items():
            envs = (self._epochs == epoch).nonzero()[0]
            if len(envs):
                yield world, envs

    def _remember(self, glimpse: Array, envs: Envs, steps: Steps) -> None:
        if self._glimpses is not None:
            self._glimpses[envs, steps] = glimpse[envs]
        if self._canvas is not None and self._grain is not None:
            aim = self._aims[envs, steps]
            self.sensor.paint(self._canvas, self._grain, self._rows[envs], glimpse[envs], aim)

    def _recall(self) -> None:
        """Fill the memories anew from the aims: reading them again gives the same values."""
        taken, self._count = self._count, np.zeros_like(self._count)
        for step in range(int(taken.max())):
            envs = (taken > step).nonzero()[0]
            self._remember(self._read(self._aims[:, step]), envs, step)
            self._count[envs] += 1
        self._count = taken

    def observe(self, kind: Kind) -> Observation:
        """The observation of any kind, of all envs as they stand now: fresh arrays with a leading B."""
        return self._observation(kind, self._newest() if kind == "glimpse" else None, self.image_format)

    def _newest(self) -> Array:
        """The newest glimpses, read again; 0 where there is none."""
        glimpse = self._read(self._aims[self._rows, np.maximum(self._count - 1, 0)])
        glimpse[~self._shown] = 0
        return glimpse

    def _observation(self, kind: Kind, newest: Array | None, image_format: ImageFormat) -> Observation:
        whole = self.pixels if self.currency == "touched" else math.prod(self.shape[1:])
        left = ((self.cap - self._spent) / whole).astype(np.float32)[:, None]
        if kind == "glimpse":
            assert newest is not None
            last = self._actions[self._rows, np.maximum(self._count - 1, 0)]
            return {"left": left, "glimpse": newest, "action": last}
        if kind == "glimpses":
            if self._glimpses is None:
                one = self.sensor.glimpse_shape(self.shape)
                self._glimpses = np.zeros((self.num_envs, self.horizon, *one), np.float32)
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
            shown = (self._grain != UNSEEN)[:, None]
            if image_format == "uint8_HWC":
                levels = np.rint(self._canvas * 255).astype(np.uint8)
                return {"left": left, "canvas": channels_last(levels), "mask": channels_last(shown * np.uint8(255))}
            return {"left": left, "canvas": self._canvas.copy(), "mask": shown.astype(np.float32)}
        step = (self._count / self.horizon).astype(np.float32)[:, None]
        images = self._images()
        image = channels_last(images) if image_format == "uint8_HWC" else images * np.float32(1 / 255)
        return {"left": left, "image": image, "step": step}

    def _images(self) -> Array:
        images = np.empty((self.num_envs, *self.shape), np.uint8)
        for world, envs in self._inhabited():
            images[envs] = world.images_NCHW[self._index[envs]]
        return images

    def _labels(self) -> Array:
        labels = np.empty(self.num_envs, np.int64)
        for world, envs in self._inhabited():
            assert world.labels_N is not None  # the constructor saw to it
            labels[envs] = world.labels_N[self._index[envs]]
        return labels

    def _logits(self, flags_B: Array) -> Array:
        """What the predictor says of the flagged envs, from what they have seen: float64 (b, K)."""
        assert self.predictor is not None  # the constructor saw to it
        if isinstance(self.predictor, str):
            assert isinstance(self.task, Task)
            self.predictor = named(self.predictor, self.task)
        seen = self._observation(self.view, self._newest() if self.view == "glimpse" else None, "float_CHW")
        return np.array(self.predictor({name: value[flags_B] for name, value in seen.items()}), np.float64)

    def _log_likelihoods(self, flags_B: Array) -> Array:
        """log p(true class | view) of the flagged envs, in nats; from now on the predictor's weights are known."""
        self._weights = weights_version(self.predictor)
        return log_likelihood(self._logits(flags_B), self._labels()[flags_B])

    def _reward(self, acting: Array, ended: Array, predicted_BK: Array | None) -> tuple[Array, Array]:
        """The reward of a step without costs, and which episodes ended with the class right."""
        reward, success = np.zeros(self.num_envs), np.zeros(self.num_envs, bool)
        if predicted_BK is not None:
            paid, right = rewards.of_prediction(self.reward_kind, predicted_BK, self._labels())
            return np.where(acting, paid, 0.0), acting & right & ended
        if self.reward_kind == "information" and acting.any():
            logits_bK, labels_b = self._logits(acting), self._labels()[acting]
            now = log_likelihood(logits_bK, labels_b)
            reward[acting] = now - self._log_likelihood[acting]
            self._log_likelihood[acting] = now
            success[acting] = logits_bK.argmax(1) == labels_b
        elif self.reward_kind == "correct" and ended.any():
            success[ended] = self._logits(ended).argmax(1) == self._labels()[ended]
            reward[success] = 1
        return reward, success & ended

    def _info(self, **extra: Array) -> dict[str, Any]:
        """The infos of all envs; `extra` is what a step adds, which `reset` leaves at "no" or "none"."""
        nobody = np.zeros(self.num_envs, bool)
        delivered = self._delivered / math.prod(self.shape[1:])
        info: dict[str, Any] = {"touched": self._touched / self.pixels, "delivered": delivered}
        info |= {"num_glimpses": self._count.copy(), "refused": nobody, "clipped": nobody.copy(), "idle": nobody.copy()}
        if self.reward_kind != "none" or self.predict:
            info["is_success"] = nobody.copy()
        if self.predict:
            info["target"] = np.full(self.num_envs, -1)
        info |= {name: value for name, value in extra.items() if name in info}
        return info | {f"_{name}": self._all_envs for name in info}

    @property
    def touched_pixels(self) -> Array:
        """Pixels in the union of footprints so far, without padding: int64 (B,)."""
        return self._touched.copy()

    @property
    def delivered_values(self) -> Array:
        """Values returned so far, per channel, repeats counted: int64 (B,)."""
        return self._delivered.copy()

    @property
    def done(self) -> Array:
        """Whether each env's episode has ended: boolean (B,)."""
        return self._done.copy()

    @property
    def scanpaths(self) -> tuple[Array, Array]:
        """The actions so far, float32 (B, T, …) zero-padded, and which of them were taken, boolean (B, T)."""
        return self._actions.copy(), np.arange(self.horizon) < self._count[:, None]

    def masks(self) -> Array:
        """The union of footprints so far, without padding: boolean (B, H, W)."""
        union = np.zeros((self.num_envs, *self.shape[1:]), bool)
        for step in range(int(self._count.max(initial=0))):
            taken = self._count > step
            union[taken] |= self.sensor.footprint(self._aims[taken, step], self.shape)
        return union if self._boxes_B4 is None else union & inside(self._boxes_B4, self.shape[1:])

    def state(self) -> dict[str, Any]:
        """Everything that the future depends on, as arrays, numbers and strings: fit for .npz and JSON."""
        return {
            "epoch": self.epoch,
            "drawn": self._drawn,
            "seeds": self._seeds.copy(),
            "episodes": self._episodes.copy(),
            "steps": self._steps.copy(),
            "epochs": self._epochs.copy(),
            "index": self._index.copy(),
            "count": self._count.copy(),
            "touched": self._touched.copy(),
            "delivered": self._delivered.copy(),
            "done": self._done.copy(),
            "truncated": self._truncated.copy(),
            "log_likelihood": self._log_likelihood.copy(),
            "aims": self._aims.copy(),
            "actions": self._actions.copy(),
            "shown": self._shown.copy(),
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """Continue from a `state` bit for bit. The env must have been made with the same arguments."""
        self._seeded = True
        self._seeds[:] = np.asarray(state["seeds"], np.uint64)
        for name in (
            "episodes",
            "steps",
            "epochs",
            "index",
            "count",
            "touched",
            "delivered",
            "shown",
            "done",
            "truncated",
            "log_likelihood",
        ):
            getattr(self, f"_{name}")[:] = state[name]
        self._aims[:], self._actions[:] = state["aims"], state["actions"]
        self._enter(int(state["epoch"]), np.zeros(self.num_envs, bool))
        self._drawn = int(state["drawn"])
        self._take_boxes()
        self._footprints.clear(slice(None))
        for step in range(int(self._count.max())):
            self._footprints.keep(self._aims[:, step], (self._count > step).nonzero()[0], step)
        self._glimpses = self._canvas = self._grain = self._weights = None

    def __getstate__(self) -> dict[str, Any]:
        """For pickle, small: without what can be made again, a task's images (not a `Split`'s), canvases and spaces."""
        of_spaces = ("action_space", "observation_space", "_low", "_high")
        state = {name: value for name, value in vars(self).items() if not name.endswith(of_spaces)}
        return state | {"_worlds": list(self._worlds), "_glimpses": None, "_canvas": None, "_grain": None}

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state)
        self._worlds = {epoch: self._open(epoch) for epoch in state["_worlds"]}
        self._make_spaces()

    def __deepcopy__(self, memo: dict[int, Any]) -> GlimpseVectorEnv:
        """A copy that shares images and the predictor, which may be learning."""
        memo |= {id(one): one for one in (self.task, self.predictor, *self._worlds.values())}
        copy = object.__new__(type(self))
        memo[id(self)] = copy
        vars(copy).update({name: deepcopy(value, memo) for name, value in vars(self).items()})
        return copy

    def render(self) -> tuple[Any, ...] | None:
        """Per env the image with what was seen of it: uint8 (height, width, 3), text, or None without a mode."""
        if self.render_mode is None:
            return None
        images, masks = self._images(), self.masks()
        if self.render_mode == "ansi":
            return tuple(as_text(*parts) for parts in zip(images, masks, strict=True))
        boxes = [self._boxes(env) if self.sensor.fixates else [] for env in range(self.num_envs)]
        return tuple(picture(*parts) for parts in zip(images, masks, boxes, strict=True))

    def _boxes(self, env: int) -> list[Box]:
        prints = self.sensor.footprint(self._aims[env, : self._count[env]], self.shape)
        return [box_of(print_HW) for print_HW in prints]


class GlimpseEnv(PlainSpec, gymnasium.Env[Observation, Array]):
    """One camera over one image: `GlimpseVectorEnv` with a batch of one. See there for everything.

    >>> env = gymnasium.make("GlimpseBench/digits-v1", glimpses=4, reward="none")
    >>> observation, info = env.reset(seed=0)
    >>> sorted(observation)
    ['actions', 'glimpses', 'left', 'valid']
    """

    metadata: dict[str, Any] = {"render_modes": ["rgb_array", "ansi"], "render_fps": 2}  # noqa: RUF012

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
        return {name: value[0] for name, value in info.items() if not name.startswith("_")}

    def render(self) -> Any:
        frames = self.batch.render()
        return None if frames is None else frames[0]


def _first(observation: Observation) -> Observation:
    return {name: value[0] for name, value in observation.items()}


def register() -> None:
    """Make every named task known to Gymnasium, as GlimpseBench/NAME-vN, with a reward that needs nothing else."""
    for task in tasks.TASKS.values():
        gymnasium.register(
            f"GlimpseBench/{task.id}",
            entry_point="glimpsebench.envs.glimpse:GlimpseEnv",
            vector_entry_point="glimpsebench.envs.glimpse:GlimpseVectorEnv",
            kwargs={"task": task.id, "reward": "information", "predictor": "random-masks"},
        )
