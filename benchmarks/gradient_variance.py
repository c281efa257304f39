"""How noisy the two gradients of a fixation policy are, at the same parameters on the same batch.

    OMP_NUM_THREADS=1 python benchmarks/gradient_variance.py --task digits-clutter --steps 0 300 1200

trains `ram_pathwise` with each estimator for so many steps and then estimates, many times over with fresh noise and
everything else fixed, the gradient of one objective, the expected cross-entropy of all steps, with respect to the
location network's parameters:

- pathwise: through the bilinear windows, with `pathwise_core` so that the effect of a fixation on later ones counts;
- reinforce: the score function times the loss of the later steps, less the learned baseline;
- reinforce_batch: the same, less the mean over the batch's other images, which needs no training.

All are unbiased, so their means agree (`cosine`, with pathwise), up to noise that the number of draws brings down.
`variance` is that of the whole vector (the trace of its covariance) for one batch; `signal` is the squared norm of
the mean, less the part that noise adds to it; `ratio` is the variance over pathwise's. The last line is JSON.
"""

from __future__ import annotations

import argparse
import json
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from glimpsebench.agents.common.recurrent import RAMNet, log_likelihoods
from glimpsebench.agents.ram_pathwise import RAMPathwise
from glimpsebench.envs import tasks
from glimpsebench.envs.tasks import Task

Array = NDArray[Any]


def estimates(agent: RAMPathwise, images: Array, labels_B: Tensor, rng: np.random.Generator) -> dict[str, Tensor]:
    """One draw of each estimate of the gradient, from the same episodes, as vectors."""
    net = agent.net
    assert isinstance(net, RAMNet)
    logits, baselines, log_probs = [], [], []
    for hidden_BU, _, mean_B2, sample_B2 in agent.episode(images, rng, agent.std):
        logits.append(net.classifier(hidden_BU))
        baselines.append(net.baseline(hidden_BU.detach())[:, 0].detach())
        log_probs.append(-((sample_B2.detach() - mean_B2) ** 2).sum(1) / (2 * agent.std**2))
    loss_BT = -log_likelihoods(torch.stack(logits, 1), labels_B)
    count, steps = loss_BT.shape
    # The part of the mean over steps that a sample decides, and what each baseline predicts of it.
    after_BT = loss_BT.detach()[:, 1:].flip(1).cumsum(1).flip(1) / steps
    learned_BT = -torch.stack(baselines, 1)[:, :-1] * torch.arange(steps - 1, 0, -1) / steps
    others_BT = (after_BT.sum(0) - after_BT) / (count - 1)
    score_BT = torch.stack(log_probs, 1)[:, :-1]
    surrogates = {
        "pathwise": loss_BT.mean(),
        "reinforce": (score_BT * (after_BT - learned_BT)).sum(1).mean(),
        "reinforce_batch": (score_BT * (after_BT - others_BT)).sum(1).mean(),
    }
    parameters = list(net.location.parameters())
    return {
        name: torch.cat([part.flatten() for part in torch.autograd.grad(loss, parameters, retain_graph=True)])
        for name, loss in surrogates.items()
    }


def variance_and_signal(draws_ND: Tensor) -> dict[str, float]:
    """Variance of one draw and squared norm of the mean, both without bias."""
    variance = draws_ND.var(0).sum().item()
    signal = draws_ND.mean(0).square().sum().item() - variance / len(draws_ND)
    return {"variance": variance, "signal": signal}


def measure(task: Task, trained_by: str, steps: int, draws: int, batch: int, seed: int) -> dict[str, Any]:
    """The estimators' variances after `steps` steps of training with one of them."""
    torch.manual_seed(seed)
    rng = np.random.default_rng(seed)
    agent = RAMPathwise(
        estimator=trained_by,  # type: ignore[arg-type]
        policy_steps=max(steps, 1),
        reward="likelihood",
        pathwise_core=True,
        predictor="core",
    )
    agent.prepare(task)
    if steps:
        agent.fit(task, seed, iter)
    agent.estimator = "pathwise"
    split = task.val()
    assert split.labels_N is not None
    first = np.arange(batch)
    images, labels_B = split.images_NCHW[first], torch.from_numpy(split.labels_N[first])
    many = [estimates(agent, images, labels_B, rng) for _ in range(draws)]
    stacked = {name: torch.stack([one[name] for one in many]) for name in many[0]}
    found: dict[str, Any] = {name: variance_and_signal(draws_ND) for name, draws_ND in stacked.items()}
    for name, draws_ND in stacked.items():
        mean, other = draws_ND.mean(0), stacked["pathwise"].mean(0)
        found[name]["ratio"] = found[name]["variance"] / found["pathwise"]["variance"]
        found[name]["cosine"] = torch.cosine_similarity(mean, other, dim=0).item()
    return {"trained_by": trained_by, "steps": steps, **found}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--task", default="digits-clutter")
    parser.add_argument("--steps", type=int, nargs="+", default=[0, 300, 1200])
    parser.add_argument("--draws", type=int, default=400)
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    torch.set_num_threads(1)
    task = tasks.make(args.task)
    rows = []
    for steps in args.steps:
        for trained_by in ("pathwise", "reinforce") if steps else ("pathwise",):
            rows.append(measure(task, trained_by, steps, args.draws, args.batch, args.seed))
            print(json.dumps(rows[-1]), flush=True)
    print(json.dumps({"task": args.task, "draws": args.draws, "batch": args.batch, "rows": rows}))


if __name__ == "__main__":
    main()
