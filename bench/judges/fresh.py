"""A fresh judge: networks of another build, from seeds that nobody knows, trained for one verification and thrown away.

Judges are public, so a selector that has read the whole image can pick the pixels that make a copy of them say what it
wants. Networks that it cannot have known agree less. The *lead* is the judge's accuracy above theirs on a contender's
selections. A fresh judge that was trained for a shorter time reads worse whatever it is shown, so its lead on the same
masks over other images, for which nothing can have been picked, stands beside it; what goes beyond that was picked for
the judge. Shapes: F budgets, N images.
"""

from __future__ import annotations

import secrets
import tempfile
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from glimpsebench.agents.common.base import Agent, Progress
from glimpsebench.bench import judgements, judges
from glimpsebench.bench.judges.training import Recipe, load, new_network, train
from glimpsebench.bench.rollout import Episodes
from glimpsebench.envs.tasks import Split, Task

Array = NDArray[Any]

MEMBERS, WIDTH = 2, 24
"""Networks, and their channels: of the build of contenders' predictors, but of no width that is used elsewhere."""
STEPS = 1_200
"""Of training, unless told: as judges that are not shipped have."""


class Lead(NamedTuple):
    """The lead at the budget where it goes furthest beyond that on the same masks over other images.

    Attributes:
        budget: there.
        own: on the contender's selections.
        elsewhere: on the same masks over other images.
        error: the standard error of the difference of these two.
    """

    budget: float
    own: float
    elsewhere: float
    error: float

    def __str__(self) -> str:
        return (
            f"at {100 * self.budget:g} % the judge is {100 * self.own:.1f} points above a fresh one, and "
            f"{100 * self.elsewhere:.1f} with the same masks over other images (± {196 * self.error:.1f})"
        )


def fresh_judge(task: Task, steps: int, progress: Progress[int]) -> judges.Judge:
    """Networks that nobody has seen; their seeds are not kept."""
    recipe = Recipe(members=MEMBERS, steps=steps, width=WIDTH)
    nets = []
    with tempfile.TemporaryDirectory() as folder:
        for number in range(MEMBERS):
            path = Path(folder) / f"{number}.safetensors"
            train(path, "fresh", task, secrets.randbelow(2**31), recipe, progress)
            nets.append(load(path, new_network("fresh", task, recipe)).requires_grad_(False))
    return judges.Judge(nets, "fresh")


def lead(
    agent: Agent, test: Split, episodes: Episodes, judge: judgements.Judge, fresh: judgements.Judge, reached_F: Array
) -> Lead | None:
    """What a record's selections show a judge beyond what they show a fresh one.

    Args:
        agent: of the record.
        test: the test images.
        episodes: the record's.
        judge: the frozen one.
        fresh: the other.
        reached_F: the budgets that count.

    Returns:
        None where no budget is reached, or where images are padded: a mask of one does not fit another.
    """
    if not reached_F.any() or test.boxes_N4 is not None:
        return None
    assert test.labels_N is not None
    order_N = np.random.default_rng(0).permutation(len(test))
    others = Split(test.images_NCHW[order_N], np.asarray(test.labels_N)[order_N])

    def lead_FN(images: Split) -> Array:
        mine, theirs = (judgements.judged(agent, images, episodes, one).correct_MFN.mean(0) for one in (judge, fresh))
        difference: Array = mine - theirs
        return difference

    own_FN, elsewhere_FN = lead_FN(test), lead_FN(others)
    beyond_F = np.where(reached_F, own_FN.mean(1) - elsewhere_FN.mean(1), -np.inf)
    at = int(beyond_F.argmax())
    error = np.sqrt((own_FN[at].var() + elsewhere_FN[at].var()) / len(test))
    return Lead(agent.budgets[at], float(own_FN[at].mean()), float(elsewhere_FN[at].mean()), float(error))
