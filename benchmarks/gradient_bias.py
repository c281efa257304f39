"""Bias and variance of each gradient estimator of the duel, at the same parameters, against the enumerated gradient.

    OMP_NUM_THREADS=1 python benchmarks/gradient_bias.py --out docs/gradient-bias.md

Five cells, of which two are shown; the objective is E value(subset) for ordered subsets of Plackett–Luce with scores s,
and its gradient is known by enumeration. The value is a function of the shown cells that is defined between 0 and 1 as
well, as a predictor's is. `early` are equal scores, `midway` and `late` the scores after so many steps of exact ascent.

- bias: |mean of the estimates − exact| / |exact|; its interval's half-width beside it, from the draws;
- variance: of one estimate of one image, summed over the scores, over |exact|²;
- angle: cosine between the mean of the estimates and the exact gradient.

An estimator is `unbiased` here if every score's mean lies within five standard errors of the exact gradient. The
estimators that relax the choice follow another objective than Plackett–Luce's expectation, and so have a bias.
"""

from __future__ import annotations

import argparse
import itertools
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor

from glimpsebench.agents.common import estimators
from glimpsebench.bench.compare import pipe

CELLS, COUNT, SAMPLES = 5, 2, 4
MOMENTS = {"early": 0, "midway": 40, "late": 160}
"""Steps of exact ascent before the estimates."""
BEGIN = "<!-- written by benchmarks/gradient_bias.py; do not edit -->"


def value(mask_xP: Tensor) -> Tensor:
    """A smooth function of what is shown, not additive: some cells are worth more together (…,)."""
    a, b, c, d, e = mask_xP.unbind(-1)
    return a + 1.5 * torch.tanh(2 * b * c) - 0.8 * d * a + 0.6 * torch.sin(2 * e) - 0.3 * (b - c) ** 2


def exact(scores_P: Tensor) -> tuple[Tensor, Tensor]:
    """The expected value and its gradient, by enumeration of all ordered subsets."""
    scores_P = scores_P.clone().requires_grad_()
    orders = torch.tensor(
        [[*first, *(set(range(CELLS)) - {*first})] for first in itertools.permutations(range(CELLS), COUNT)]
    )
    counts = torch.full((len(orders),), COUNT)
    probability = estimators.plackett_luce_log_prob(scores_P.expand(len(orders), -1), orders, counts).exp()
    expected = (probability * value(estimators.first_of(orders, counts))).sum()
    return expected.detach(), torch.autograd.grad(expected, scores_P)[0]


def sampled(scores_BP: Tensor, samples: int, correct: Callable[[Tensor], Tensor] = estimators.leave_one_out) -> Tensor:
    """The surrogate of REINFORCE (B,) over so many samples of each row."""
    expanded_mBP = scores_BP.expand(samples, -1, -1)
    counts_mB = torch.full(expanded_mBP.shape[:2], COUNT)
    with torch.no_grad():
        order_mBP = estimators.best_first(expanded_mBP + estimators.gumbel_like(expanded_mBP))
    reward_mB = value(estimators.first_of(order_mBP, counts_mB))
    return (estimators.plackett_luce_log_prob(expanded_mBP, order_mBP, counts_mB) * correct(reward_mB)).mean(0)


def straight_through(scores_BP: Tensor, temperature: float) -> Tensor:
    keys_BP, counts_B = scores_BP + estimators.gumbel_like(scores_BP), torch.full((len(scores_BP),), COUNT)
    hard_BP = estimators.first_of(estimators.best_first(keys_BP), counts_B)
    return value(estimators.straight_through(hard_BP, estimators.sigmoid_subset(keys_BP, counts_B, temperature)))


def relaxed(scores_BP: Tensor, temperature: float) -> Tensor:
    counts_B = torch.full((len(scores_BP),), COUNT)
    return value(estimators.relaxed_subset(scores_BP + estimators.gumbel_like(scores_BP), counts_B, temperature))


def perturbed(scores_BP: Tensor) -> Tensor:
    """Noise of the deviation of Gumbel's, so that both spread alike."""
    noise_nBP, counts_B = torch.randn(16, *scores_BP.shape), torch.full((len(scores_BP),), COUNT)
    return value(estimators.PerturbedSubset.apply(scores_BP, noise_nBP, counts_B, 1.28))  # type: ignore[no-untyped-call]


ESTIMATORS: dict[str, tuple[bool, Callable[[Tensor], Tensor]]] = {
    f"reinforce, {SAMPLES} samples, leave one out": (True, lambda s: sampled(s, SAMPLES)),
    "reinforce, 2 samples, leave one out": (True, lambda s: sampled(s, 2)),
    "reinforce, 1 sample, no baseline": (True, lambda s: sampled(s, 1, lambda reward: reward)),
    "straight_through, τ = 1": (False, lambda s: straight_through(s, 1.0)),
    "straight_through, τ = 0.3": (False, lambda s: straight_through(s, 0.3)),
    "relaxed, τ = 1": (False, lambda s: relaxed(s, 1.0)),
    "relaxed, τ = 0.3": (False, lambda s: relaxed(s, 0.3)),
    "perturbed, 16 draws": (False, perturbed),
    "hard_concrete": (
        False,
        lambda s: value(estimators.hard_concrete_subset(s, torch.full((len(s),), COUNT))),
    ),
}
"""Name → whether it is unbiased by construction, and scores (B, P) → values (B,) whose gradients are the estimates."""


def measured(name: str, scores_P: Tensor, draws: int) -> dict[str, float | bool]:
    """Bias, its interval, variance and angle of an estimator at these scores."""
    torch.manual_seed(0)
    _, gradient_P = exact(scores_P)
    scores_NP = scores_P.repeat(draws, 1).requires_grad_()
    estimates_NP = torch.autograd.grad(ESTIMATORS[name][1](scores_NP).sum(), scores_NP)[0]
    error_P = estimates_NP.std(0) / draws**0.5
    difference_P, norm = estimates_NP.mean(0) - gradient_P, gradient_P.norm()
    return {
        "bias": float(difference_P.norm() / norm),
        "interval": float(1.96 * error_P.norm() / norm),
        "unbiased": bool((difference_P.abs() <= 5 * error_P + 1e-7).all()),
        "variance": float(estimates_NP.var(0).sum() / norm**2),
        "angle": float(torch.cosine_similarity(estimates_NP.mean(0), gradient_P, dim=0)),
    }


def moments() -> dict[str, Tensor]:
    """The scores at each moment of exact gradient ascent from equal ones."""
    scores_P, found = torch.zeros(CELLS), {}
    for step in range(max(MOMENTS.values()) + 1):
        found |= {name: scores_P.clone() for name, at in MOMENTS.items() if at == step}
        scores_P = scores_P + 0.1 * exact(scores_P)[1]
    return found


def markdown(draws: int) -> str:
    """The page."""
    lines = []
    for moment, scores_P in moments().items():
        expected, _ = exact(scores_P)
        for name, (promised, _) in ESTIMATORS.items():
            found = measured(name, scores_P, draws)
            verdict = "unbiased" if found["unbiased"] else "biased"
            verdict += "" if promised or found["unbiased"] else ", as expected"
            bias = f"{found['bias']:.3f} ± {found['interval']:.3f}"
            numbers = [bias, f"{found['variance']:.1f}", f"{found['angle']:.3f}"]
            lines.append([name, f"{moment}, value {expected:.2f}", *numbers, verdict])
    head = ["estimator", "parameters", "bias / exact", "variance / exact²", "cosine", "verdict"]
    about = (
        f"Relative to the norm of the enumerated gradient, from {draws:,} estimates each: {COUNT} of {CELLS} cells, "
        "the parameters after "
        + ", ".join(f"{at} ({name})" for name, at in MOMENTS.items())
        + " steps of exact gradient ascent. *Biased, as expected*: the estimator follows a relaxed objective. The "
        "variance is that of one image's estimate, whatever it cost."
    )
    return f"# Bias and variance of the duel's gradient estimators\n\n{BEGIN}\n\n{about}\n\n{pipe(head, lines)}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--draws", type=int, default=20_000)
    parser.add_argument("--out", type=Path, help="The page to write; by default it is printed.")
    args = parser.parse_args()
    torch.set_num_threads(1)
    text = markdown(args.draws)
    if args.out:
        args.out.write_text(text)
    print(text)


if __name__ == "__main__":
    main()
