"""The Gymnasium environment: a camera over a task that the agent points, glimpse by glimpse.

The dynamics are written once, in batch, in `GlimpseVectorEnv`; `GlimpseEnv` is its batch of one.
Shapes: B envs, T steps, C H W image, g glimpse side, K classes.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Literal, get_args

import gymnasium
import numpy as np
from gymnasium import spaces
from gymnasium.vector import AutoresetMode, VectorEnv
from gymnasium.vector.utils import batch_space
from numpy.typing import NDArray

from glimpsebench.envs import tasks
from glimpsebench.envs.errors import UsageError, unknown
from glimpsebench.envs.footprints import Envs, Steps
from glimpsebench.envs.pictures import Box, box_of, picture
from glimpsebench.envs.sensors import UNSEEN, Sensor, Window
from glimpsebench.envs.tasks import Half, Split, Task

Array = NDArray[Any]
Observation = dict[str, Array]
Predictor = Callable[[Observation], Array]
Kind = Literal["glimpse", "glimpses", "canvas", "image"]
Reward = Literal["none", "correct", "information"]
Currency = Literal["touched", "delivered"]

_INFO = ("touched", "delivered", "glimpses", "refused", "clipped")


class _World:
    """One epoch's images with the sensor's reader over them. The images are shared, never copied."""

    def __init__(self, split: Split, sensor: Sensor) -> None:
        images = split.images_NCHW
        if images.dtype != np.uint8 or images.ndim != 4 or not images.size:
            raise UsageError(
                f"images must be uint8 of shape (N, C, H, W), no length 0; got {images.dtype} {images.shape}"
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
    The sensor's: `Window` takes a fixation (x, y) in [-1, 1], `Crop` (x, y, z) likewise, `Mask` a score in
    [-1, 1] per cell. With `stop` there is one more coordinate, the last: above 0 it ends the episode, and
    nothing is revealed. Values out of range are clipped and flagged in `info["clipped"]`; NaN and wrong
    shapes raise ValueError. `grid.GridFixations` makes the choice of a fixation discrete.

    ## Observation Space
    A dictionary of float32 arrays; pixels are in [0, 1]. `left` (1) is the share of the budget's pixels
    that is left, as a fraction of the image.

    | kind | entries beside `left` |
    |------|---------|
    | `glimpse` | `glimpse`: the newest only, 0 before the first; `action`: as carried out |
    | `glimpses` | `glimpses` (T, …), `actions` (T, …) so far, zero-padded; `valid` (T): 1 where one is |
    | `canvas` | `canvas` (C, H, W): what was delivered, where it was; `mask` (1, H, W): union of footprints |
    | `image` | `image` (C, H, W): everything; `step` (1): glimpses so far / T. For the open track only |

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
    refused, nothing of it is returned; (3) the budget is used up; (4) the action says stop. There is no
    truncation.

    ## Arguments
    Args:
        task: a task, its name, or a `Split` (its images as they are, for ever).
        num_envs: B.
        sensor: what the action points.
        observation: the kind of observation that `reset` and `step` return.
        glimpses: T, the most actions in an episode.
        budget: the largest touched fraction allowed, in (0, 1], per image.
        currency: what the budget counts; `delivered` is for sensors that touch everything anyway.
        stop: the action has a last coordinate that ends the episode.
        reward: see above.
        predictor: (observation of kind `view`) → logits (B, K); needed for a reward.
        view: the kind of observation that the predictor reads.
        half: which images of a task; a `Split` has no halves.
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
        stop: bool = False,
        reward: Reward = "none",
        predictor: Predictor | None = None,
        view: Kind | None = None,
        half: Half = "train",
        autoreset_mode: AutoresetMode = AutoresetMode.NEXT_STEP,
        render_mode: str | None = None,
    ) -> None:
        for name, value, choices in (
            ("observation", observation, get_args(Kind)),
            ("view", view or observation, get_args(Kind)),
            ("reward", reward, get_args(Reward)),
            ("currency", currency, get_args(Currency)),
        ):
            if value not in choices:
                raise unknown(name, value, choices)
        if reward != "none" and predictor is None:
            raise UsageError(f"reward '{reward}' needs a predictor: pass predictor=, or reward='none'")
        if not 0 < budget <= 1:
            raise UsageError(f"budget {budget} is not a fraction in (0, 1]")
        if glimpses < 1 or num_envs < 1:
            raise UsageError(f"glimpses ({glimpses}) and num_envs ({num_envs}) must be at least 1")
        if render_mode not in (None, *self.metadata["render_modes"]):
            raise unknown("render_mode", render_mode, self.metadata["render_modes"])

        self.task = tasks.make(task) if isinstance(task, str) else task
        self.sensor = sensor if sensor is not None else Window()
        self.num_envs, self.horizon, self.budget, self.currency = num_envs, glimpses, budget, currency
        self.kind, self.reward_kind, self.half, self.render_mode = observation, reward, half, render_mode
        self.predictor, self.view = predictor, view or observation
        self.autoreset_mode = AutoresetMode(autoreset_mode)
        self.metadata = {**self.metadata, "autoreset_mode": self.autoreset_mode}

        self.epoch = 0
        self._worlds = {0: self._open(0)}
        if reward != "none" and self._worlds[0].labels_N is None:
            raise UsageError(f"reward '{reward}' needs labels, and these images have none")
        self.shape: tuple[int, int, int] = self._worlds[0].images_NCHW.shape[1:]
        self.pixels = self.shape[1] * self.shape[2]
        # The largest number of pixels within the budget; 1e-9 forgives 0.3·100 = 30.000000000000004.
        self.cap = int(np.floor(budget * self.pixels + 1e-9))

        self.aim_space = self.sensor.action_space(self.shape)
        self.stop = stop
        self.single_action_space = _with_stop(self.aim_space) if stop else self.aim_space
        self.single_observation_space = self.observation_space_of(observation)
        actions: Any = batch_space(self.single_action_space, num_envs)
        self.action_space = actions
        self.observation_space = batch_space(self.single_observation_space, num_envs)
        self._low, self._high = actions.low, actions.high

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
        rest = np.zeros((num_envs, *self.aim_space.shape), np.float32)
        aim = self.sensor.aim(rest, self.shape, np.zeros(num_envs, np.int64))
        self._aims = np.zeros((num_envs, glimpses, *aim.shape[1:]), aim.dtype)
        self._actions = np.zeros((num_envs, glimpses, *self.aim_space.shape), np.float32)
        self._footprints = self.sensor.footprints(num_envs, glimpses, self.shape)
        self._shown = np.zeros(num_envs, bool)  # the last action was not refused: there is a newest glimpse
        # Kept only once somebody asks for them: see `_remember`.
        self._glimpses: Array | None = None
        self._canvas: Array | None = None
        self._grain: Array | None = None
        # Gymnasium marks which envs each entry of an info holds for: here always all of them.
        self._all_envs = np.ones(num_envs, bool)
        self._all_envs.setflags(write=False)
        self._marks = {f"_{name}": self._all_envs for name in _INFO}

    def _open(self, epoch: int) -> _World:
        split = self.task if isinstance(self.task, Split) else self.task.render(self.half, epoch)
        return _World(split, self.sensor)

    def observation_space_of(self, kind: Kind) -> spaces.Dict:
        """The space of one env's observation of this kind."""
        glimpse, action = self.sensor.glimpse_shape(self.shape), self.aim_space
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
            entries |= {"image": unit(*self.shape), "step": unit(1)}
        return spaces.Dict(entries)

    def reset(
        self, *, seed: int | list[int | None] | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Observation, dict[str, Any]]:
        """Begin an episode in every env.

        Args:
            seed: of the generator that draws images.
            options: `index` says which image each env gets, (B,) or one number per env that begins;
                `reset_mask` (B,) boolean, which envs begin.

        Raises:
            ValueError: a list of seeds, or options of the wrong shape, type or range.
        """
        if isinstance(seed, list):
            raise ValueError("the envs share one generator: seed it with a single integer")
        super().reset(seed=seed)
        options = options or {}
        begin = np.asarray(options.get("reset_mask", self._all_envs))
        if begin.shape != (self.num_envs,) or begin.dtype != np.bool_:
            raise ValueError(f"options['reset_mask'] must be boolean of shape ({self.num_envs},)")
        if seed is not None:
            self._enter(0, begin)
        self._begin(begin, options.get("index"))
        nobody = np.zeros(self.num_envs, bool)
        return self.observe(self.kind), self._info(nobody, nobody.copy())

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
            index = self.np_random.integers(0, images, number)
        else:
            index = np.asarray(chosen)
            index = index[envs] if index.shape == (self.num_envs,) else index
            if index.shape != (number,) or index.dtype.kind not in "iu":
                raise ValueError(f"options['index'] must hold {number} integers, one for each env that begins")
            if index.min() < 0 or index.max() >= images:
                raise ValueError(f"options['index'] must hold numbers in [0, {images})")
        self._index[envs], self._epochs[envs] = index, self.epoch
        for state in (self._count, self._touched, self._delivered, self._shown, self._actions, self._done):
            state[envs] = 0
        self._footprints.clear(envs)
        if self._glimpses is not None:
            self._glimpses[envs] = 0
        if self._canvas is not None and self._grain is not None:
            self._canvas[envs], self._grain[envs] = 0, UNSEEN
        if self.reward_kind == "information":
            self._log_likelihood[envs] = self._log_likelihoods(begin_B)

    def _enter(self, epoch: int, begin_B: Array) -> None:
        """Draw from this epoch's images from now on; the envs that do not begin keep those that they have."""
        self.epoch, self._drawn = epoch, 0
        wanted = {epoch, *self._epochs[~begin_B].tolist()}
        self._worlds = {e: self._worlds[e] if e in self._worlds else self._open(e) for e in wanted}

    def step(self, actions: Array) -> tuple[Observation, Array, Array, Array, dict[str, Any]]:
        """Look once in every env. See the class for what ends an episode."""
        action, clipped = self._checked(actions)
        acting = ~self._done
        looking = acting
        if self.stop:
            looking = acting & (action[:, -1] <= 0)
            action = action[:, :-1]
        refused, glimpse = self._look(action, looking)
        ended = acting & (refused | ~looking | (self._count >= self.horizon) | (self._spent >= self.cap))
        reward = self._reward(acting, ended)
        self._done |= ended
        terminated = self._done.copy()
        final: dict[str, Any] = {}
        if self.autoreset_mode == AutoresetMode.NEXT_STEP:
            # The step after the last one only begins: it has no reward, and its action is ignored.
            self._begin(~acting)
            terminated &= acting
            clipped &= acting
        elif self.autoreset_mode == AutoresetMode.SAME_STEP and ended.any():
            final = self._final(glimpse.copy(), ended, refused, clipped)
            self._begin(ended)
            glimpse[ended] = 0
            refused, clipped = refused & ~ended, clipped & ~ended
        info = self._info(refused, clipped) | final
        observation = self._observation(self.kind, glimpse)
        return observation, reward, terminated, np.zeros(self.num_envs, bool), info

    def _look(self, action: Array, looking: Array) -> tuple[Array, Array]:
        """Reveal what the envs in `looking` (boolean) ask for.

        Returns:
            Which of them were refused, boolean (B,), and the glimpses, 0 where nothing was revealed.
        """
        if not looking.any():  # episodes that began together end together
            self._shown[:] = False
            return np.zeros(self.num_envs, bool), self._no_glimpse()
        room = self.cap - self._spent
        aim = self.sensor.aim(action, self.shape, room)
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

    def _final(self, glimpse: Array, ended: Array, refused: Array, clipped: Array) -> dict[str, Any]:
        """The last observations and infos of the envs that ended, as Gymnasium hands them on."""
        last = self._observation(self.kind, glimpse)
        final_obs = np.empty(self.num_envs, object)
        for env in ended.nonzero()[0]:
            final_obs[env] = {name: value[env] for name, value in last.items()}
        final_info = self._info(refused, clipped) | dict.fromkeys(self._marks, ended)
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
        return self._observation(kind, self._newest() if kind == "glimpse" else None)

    def _newest(self) -> Array:
        """The newest glimpses, read again; 0 where there is none."""
        glimpse = self._read(self._aims[self._rows, np.maximum(self._count - 1, 0)])
        glimpse[~self._shown] = 0
        return glimpse

    def _observation(self, kind: Kind, newest: Array | None) -> Observation:
        left = ((self.cap - self._spent) / self.pixels).astype(np.float32)[:, None]
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
            mask = (self._grain != UNSEEN)[:, None].astype(np.float32)
            return {"left": left, "canvas": self._canvas.copy(), "mask": mask}
        step = (self._count / self.horizon).astype(np.float32)[:, None]
        return {"left": left, "image": self._images() * np.float32(1 / 255), "step": step}

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
        view = {name: value[flags_B] for name, value in self.observe(self.view).items()}
        return np.array(self.predictor(view), np.float64)

    def _log_likelihoods(self, flags_B: Array) -> Array:
        """log p(true class | view) of the flagged envs, in nats."""
        logits_bK = self._logits(flags_B)
        logits_bK -= logits_bK.max(1, keepdims=True)
        normaliser_b = np.log(np.exp(logits_bK).sum(1))
        likelihood_b: Array = logits_bK[np.arange(len(logits_bK)), self._labels()[flags_B]] - normaliser_b
        return likelihood_b

    def _reward(self, acting: Array, ended: Array) -> Array:
        reward = np.zeros(self.num_envs)
        if self.reward_kind == "information" and acting.any():
            now = self._log_likelihoods(acting)
            reward[acting] = now - self._log_likelihood[acting]
            self._log_likelihood[acting] = now
        elif self.reward_kind == "correct" and ended.any():
            reward[ended] = self._logits(ended).argmax(1) == self._labels()[ended]
        return reward

    def _info(self, refused: Array, clipped: Array) -> dict[str, Any]:
        touched, delivered = self._touched / self.pixels, self._delivered / self.pixels
        values = (touched, delivered, self._count.copy(), refused, clipped)
        return dict(zip(_INFO, values, strict=True)) | self._marks

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

    @property
    def scanpaths(self) -> tuple[Array, Array]:
        """The actions so far, float32 (B, T, …) zero-padded, and which of them were taken, boolean (B, T)."""
        return self._actions.copy(), np.arange(self.horizon) < self._count[:, None]

    def masks(self) -> Array:
        """The union of footprints so far: boolean (B, H, W). Its mean is the touched fraction."""
        union = np.zeros((self.num_envs, *self.shape[1:]), bool)
        for step in range(int(self._count.max(initial=0))):
            taken = self._count > step
            union[taken] |= self.sensor.footprint(self._aims[taken, step], self.shape)
        return union

    def state(self) -> dict[str, Any]:
        """Everything that the future depends on, as arrays, numbers and strings: fit for .npz and JSON."""
        return {
            "epoch": self.epoch,
            "drawn": self._drawn,
            "generator": json.dumps(self.np_random.bit_generator.state),
            "epochs": self._epochs.copy(),
            "index": self._index.copy(),
            "count": self._count.copy(),
            "touched": self._touched.copy(),
            "delivered": self._delivered.copy(),
            "done": self._done.copy(),
            "log_likelihood": self._log_likelihood.copy(),
            "aims": self._aims.copy(),
            "actions": self._actions.copy(),
            "shown": self._shown.copy(),
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """Continue from a `state` bit for bit. The env must have been made with the same arguments."""
        self.np_random.bit_generator.state = json.loads(str(state["generator"]))
        for name in ("epochs", "index", "count", "touched", "delivered", "shown", "done", "log_likelihood"):
            getattr(self, f"_{name}")[:] = state[name]
        self._aims[:], self._actions[:] = state["aims"], state["actions"]
        self._enter(int(state["epoch"]), np.zeros(self.num_envs, bool))
        self._drawn = int(state["drawn"])
        self._footprints.clear(slice(None))
        for step in range(int(self._count.max())):
            self._footprints.keep(self._aims[:, step], (self._count > step).nonzero()[0], step)
        self._glimpses = self._canvas = self._grain = None

    def render(self) -> tuple[Array, ...] | None:
        """Per env the image with what was seen of it: uint8 (height, width, 3), or None without a mode."""
        if self.render_mode is None:
            return None
        images, masks = self._images(), self.masks()
        boxes = [self._boxes(env) if self.sensor.fixates else [] for env in range(self.num_envs)]
        return tuple(picture(*parts) for parts in zip(images, masks, boxes, strict=True))

    def _boxes(self, env: int) -> list[Box]:
        prints = self.sensor.footprint(self._aims[env, : self._count[env]], self.shape)
        return [box_of(print_HW) for print_HW in prints]


def _with_stop(space: spaces.Box) -> spaces.Box:
    if len(space.shape) != 1:
        raise UsageError(
            f"stop= needs a sensor whose action is a vector, and this one's is {space.shape}: "
            "a mask that is to stay small has a threshold"
        )
    return spaces.Box(np.append(space.low, np.float32(-1)), np.append(space.high, np.float32(1)))


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

    def render(self) -> Array | None:
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
