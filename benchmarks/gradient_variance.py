"""How noisy the two gradients of a fixation policy are, at the same parameters on the same batch.

    OMP_NUM_THREADS=1 python benchmarks/gradient_variance.py --task digits-clutter --steps 0 300 1200

trains `ram_pathwise` with each estimator for so many steps and then estimates, many times over with fresh noise and
everything else fixed, the gradient of one objective, the expected cross-entropy of all steps, with respect to the
policy's parameters:

- pathwise: through the bilinear windows, with `shape_core` so that the effect of a fixation on later ones counts;
- reinforce: the score function times what the later steps lost, less the learned baseline.

Both are unbiased, so their means agree (`cosine`), up to noise that the number of draws brings down. The variance is
that of the whole vector (the trace of its covariance) for one batch; `signal` is the squared norm of the mean, less
the part that noise adds to it. The last line printed is JSON.
"""

from __future__ import annotations

import argparse
import json
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from glimpsebench.agents.ram_pathwise import RAMPathwise
from glimpsebench.agents.recurrent import RAMNet, log_likelihoods
from glimpsebench.envs import tasks
from glimpsebench.envs.tasks import Task

Array = NDArray[Any]


def estimates(agent: RAMPathwise, images: Array, labels_B: Tensor, rng: np.random.Generator) -> tuple[Tensor, Tensor]:
    """One draw of the pathwise and of the REINFORCE gradient, from the same episodes, as vectors."""
    net = agent.net
    assert isinstance(net, RAMNet)
    logits, baselines, log_probs = [], [], []
    for hidden_BH, _, mean_B2, drawn_B2 in agent.episode(images, rng, agent.std):
        logits.append(net.classifier(hidden_BH))
        baselines.append(net.baseline(hidden_BH.detach())[:, 0].detach())
        log_probs.append(-((drawn_B2.detach() - mean_B2) ** 2).sum(1) / (2 * agent.std**2))
    loss_BT = -log_likelihoods(torch.stack(logits, 1), labels_B)
    steps = loss_BT.shape[1]
    # The share of the mean over steps that a draw decides, and what the baseline expects of it.
    later = torch.arange(steps - 1, 0, -1) / steps
    after_BT = loss_BT.detach()[:, 1:].flip(1).cumsum(1).flip(1) / steps
    advantage_BT = after_BT + later * torch.stack(baselines, 1)[:, :-1]
    score = (torch.stack(log_probs, 1)[:, :-1] * advantage_BT).sum(1).mean()
    policy = list(net.policy.parameters())
    both = [torch.autograd.grad(loss, policy, retain_graph=True) for loss in (loss_BT.mean(), score)]
    pathwise, reinforce = (torch.cat([part.flatten() for part in parts]) for parts in both)
    return pathwise, reinforce


def spread(draws_ND: Tensor) -> dict[str, float]:
    """Variance of one draw and squared norm of the mean, both without bias."""
    variance = draws_ND.var(0).sum().item()
    signal = draws_ND.mean(0).square().sum().item() - variance / len(draws_ND)
    return {"variance": variance, "signal": signal}


def measure(task: Task, trained_by: str, steps: int, draws: int, batch: int, seed: int) -> dict[str, Any]:
    """Both estimators' variance after `steps` steps of training with one of them."""
    torch.manual_seed(seed)
    rng = np.random.default_rng(seed)
    agent = RAMPathwise(
        estimator=trained_by,  # type: ignore[arg-type]
        policy_steps=max(steps, 1),
        reward="likelihood",
        shape_core=True,
        predictor="core",
    )
    agent.prepare(task)
    if steps:
        agent.fit(task, seed, iter)
    agent.estimator = "pathwise"
    split = task.val()
    assert split.labels_N is not None
    images, labels_B = split.images_NCHW[:batch], torch.from_numpy(np.asarray(split.labels_N[:batch], np.int64))
    pairs = [estimates(agent, images, labels_B, rng) for _ in range(draws)]
    pathwise, reinforce = (torch.stack(column) for column in zip(*pairs, strict=True))
    found: dict[str, Any] = {"pathwise": spread(pathwise), "reinforce": spread(reinforce)}
    found["variance_ratio"] = found["reinforce"]["variance"] / found["pathwise"]["variance"]
    found["cosine"] = torch.cosine_similarity(pathwise.mean(0), reinforce.mean(0), dim=0).item()
    return {"trained_by": trained_by, "steps": steps, **found}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--task", default="digits-clutter")
    parser.add_argument("--steps", type=int, nargs="+", default=[0, 300, 1200])
    parser.add_argument("--draws", type=int, default=400)
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--seed", type=int, default=0)
    asked = parser.parse_args()
    torch.set_num_threads(1)
    task = tasks.make(asked.task)
    rows = []
    for steps in asked.steps:
        for trained_by in ("pathwise", "reinforce") if steps else ("pathwise",):
            rows.append(measure(task, trained_by, steps, asked.draws, asked.batch, asked.seed))
            print(json.dumps(rows[-1]), flush=True)
    print(json.dumps({"task": asked.task, "draws": asked.draws, "batch": asked.batch, "rows": rows}))


if __name__ == "__main__":
    main()
