"""Discrete fixations: cells of a grid instead of coordinates, for learners that choose among a few places.

Wrappers of the single and the vector environment; the visited cells follow from what the env remembers, so
the wrappers have no state of their own.
"""

from __future__ import annotations

from typing import Any

import gymnasium
import numpy as np
from gymnasium import spaces
from gymnasium.vector import VectorActionWrapper, VectorEnv
from gymnasium.vector.utils import batch_space
from numpy.typing import NDArray

from glimpsebench.envs.errors import UsageError
from glimpsebench.envs.glimpse import GlimpseEnv, GlimpseVectorEnv, Observation
from glimpsebench.envs.spaces import LARGEST_LOGIT

Array = NDArray[Any]


class _Grid:
    """rows × columns cells in raster order; with the env's `stop` one number more; with `predict` a class beside it."""

    def __init__(self, batch: GlimpseVectorEnv, rows: int, columns: int) -> None:
        if batch.aim_space.shape != (2,):
            raise UsageError(f"a grid of fixations needs a sensor that takes (x, y), not {batch.sensor}")
        if rows < 1 or columns < 1:
            raise UsageError(f"a grid needs at least one cell; got {rows}×{columns}")
        self.batch, self.rows, self.columns = batch, rows, columns
        self.cells = rows * columns
        cells = spaces.Discrete(self.cells + batch.stop)
        self.space = spaces.MultiDiscrete([int(cells.n), batch.classes]) if batch.predict else cells

    def actions(self, choice_B: Array) -> Array:
        """The actions that look at the middle of each cell: float32 (B, A).

        Args:
            choice_B: cells (B,) or, with the env's `predict`, cells and classes (B, 2).
        """
        choice = np.asarray(choice_B)
        batch, wanted = self.batch, (self.batch.num_envs, *(self.space.shape or ()))
        if choice.shape != wanted or choice.dtype.kind not in "iu":
            raise ValueError(f"actions must be integers of shape {wanted}; got {choice.dtype} {choice.shape}")
        limit = np.array([self.cells + batch.stop, batch.classes]) if batch.predict else self.cells + batch.stop
        if choice.min() < 0 or (choice >= limit).any():
            raise ValueError(f"actions must lie in [0, {limit}); got {choice.min()} to {choice.max()}")
        cell_B = choice[:, 0] if batch.predict else choice
        row_B, column_B = np.divmod(cell_B, self.columns)
        x_B, y_B = (2 * column_B + 1) / self.columns - 1, (2 * row_B + 1) / self.rows - 1
        parts = [x_B, y_B.clip(-1, 1)]
        if batch.stop:
            parts.append(np.where(cell_B == self.cells, 1, -1))
        if batch.predict:
            parts += list(np.where(choice[:, 1:] == np.arange(batch.classes), LARGEST_LOGIT, -LARGEST_LOGIT).T)
        return np.stack(parts, 1).astype(np.float32)

    def masks(self) -> Array:
        """Which choices make sense: boolean (B, n). Not visited cells, unless all are; stopping and classes always."""
        scanpath_BT2, taken_BT = self.batch.scanpaths
        size = np.array([self.columns, self.rows])
        cell_BT2 = np.minimum((scanpath_BT2 + 1) / 2 * size, size - 1).astype(np.int64)
        number_BT = cell_BT2 @ [1, self.columns]
        env_K, step_K = taken_BT.nonzero()
        masks = np.ones((self.batch.num_envs, self.cells + self.batch.stop), bool)
        masks[env_K, number_BT[env_K, step_K]] = False
        masks[~masks.any(1)] = True  # a learner cannot choose among nothing
        classes = np.ones((self.batch.num_envs, self.batch.classes), bool)  # none without `predict`
        return np.concatenate([masks, classes], 1)


class GridFixations(gymnasium.ActionWrapper[Observation, Any, Array], gymnasium.utils.RecordConstructorArgs):
    """`GlimpseEnv` with a discrete action: the cell of a rows × columns grid to look at the middle of.

    >>> env = GridFixations(gymnasium.make("GlimpseBench/digits-v1", reward="none"), rows=3, columns=3)
    >>> _ = env.reset(seed=0)
    >>> _ = env.step(4)
    >>> env.action_masks().astype(int).tolist()
    [1, 1, 1, 1, 0, 1, 1, 1, 1]
    """

    def __init__(self, env: gymnasium.Env[Observation, Array], rows: int, columns: int) -> None:
        gymnasium.utils.RecordConstructorArgs.__init__(self, rows=rows, columns=columns)
        gymnasium.ActionWrapper.__init__(self, env)
        if not isinstance(env.unwrapped, GlimpseEnv):
            raise UsageError(f"GridFixations wraps a GlimpseEnv, not {env.unwrapped}")
        self.grid = _Grid(env.unwrapped.batch, rows, columns)
        self.action_space = self.grid.space

    def action(self, action: Any) -> Array:
        first: Array = self.grid.actions(np.asarray(action)[None])[0]
        return first

    def action_masks(self) -> Array:
        """Which actions make sense, boolean (n,): no visited cell, unless all are; stopping always."""
        first: Array = self.grid.masks()[0]
        return first


class VectorGridFixations(VectorActionWrapper[Observation, Array, Array, Array]):
    """`GlimpseVectorEnv` with a discrete action: the cell of a grid to look at the middle of."""

    def __init__(self, env: VectorEnv[Observation, Array, Array], rows: int, columns: int) -> None:
        super().__init__(env)
        if not isinstance(env.unwrapped, GlimpseVectorEnv):
            raise UsageError(f"VectorGridFixations wraps a GlimpseVectorEnv, not {env.unwrapped}")
        self.grid = _Grid(env.unwrapped, rows, columns)
        self.single_action_space = self.grid.space
        self.action_space = batch_space(self.grid.space, self.num_envs)

    def actions(self, actions: Array) -> Array:
        return self.grid.actions(actions)

    def action_masks(self) -> Array:
        """Which actions make sense, boolean (B, n): see `GridFixations.action_masks`."""
        return self.grid.masks()
