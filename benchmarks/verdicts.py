"""How often verdicts on claims are right, by simulation: effects are planted, so that what is true is known.

Each experiment is a suite of a few claims: its arms' answers are simulated as in `coverage.py`, drawn anew with images,
members of the judge and seeds, and go through the bench's own functions (`bench/claims.py`) as records would. Its
claims are corrected for each other.

python benchmarks/verdicts.py [EXPERIMENTS]      writes docs/verdicts.md
"""

from __future__ import annotations

import runpy
import sys
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from glimpsebench.bench.claims import Arm, Claim, verdicts
from glimpsebench.bench.records import Record
from glimpsebench.bench.rows import Called, Row

Array = NDArray[Any]

COVERAGE = runpy.run_path(str(Path(__file__).with_name("coverage.py")))
EXPERIMENTS = 1000
PAGE = Path(__file__).parents[1] / "docs" / "verdicts.md"
BEGIN, END = "<!-- page: written by `python benchmarks/verdicts.py`; do not edit -->", "<!-- /page -->"
SEEDS, FEW, BUDGET = 5, 3, 0.1


@dataclass(frozen=True)
class Planted:
    """A claim about an arm whose true effect is known.

    Attributes:
        says: what is planted.
        effect: the true difference from the base.
        direction, matters: of the claim.
        right: the verdict that is.
        true: whether the claim is.
        seeds: of the arm.
        finding: whether it is about a finding, one value a seed, with a standard deviation of 0.02.
    """

    says: str
    effect: float
    direction: str
    matters: float
    right: str
    true: bool
    seeds: int = SEEDS
    finding: bool = False

    def claim(self, name: str) -> Claim:
        measure: dict[str, Any] = (
            {"measure": "findings.value"} if self.finding else {"measure": "own", "budget": BUDGET}
        )
        about = {"text": self.says, "source": "planted", "a": name, "b": "base", "direction": self.direction}
        return Claim(**about, **measure, matters=self.matters)


SUITES = {
    "accuracies": [
        Planted("true: far above what matters", 0.13, "higher", 0.02, "supported", True),
        Planted("false: the other way round", -0.10, "higher", 0.02, "refuted", False),
        Planted("false: nothing there", 0.0, "higher", 0.12, "refuted", False),
        Planted("too small to tell: just what matters", 0.02, "higher", 0.02, "undecided", True),
        Planted("too few seeds", 0.13, "higher", 0.02, "undecided", True, seeds=FEW),
    ],
    "equal, and no worse": [
        Planted("true: equal", 0.0, "equal", 0.12, "supported", True),
        Planted("false: not equal", 0.15, "equal", 0.02, "refuted", False),
        Planted("true: no worse", 0.0, "not lower", 0.12, "supported", True),
        Planted("too small to tell: worse by what matters", -0.02, "not lower", 0.02, "undecided", True),
    ],
    "findings": [
        Planted("true: far below what matters", -0.20, "lower", 0.02, "supported", True, finding=True),
        Planted("false: nothing there", 0.0, "lower", 0.12, "refuted", False, finding=True),
        Planted("too small to tell: just what matters", -0.02, "lower", 0.02, "undecided", True, finding=True),
        Planted("too few seeds", -0.20, "lower", 0.02, "undecided", True, seeds=FEW, finding=True),
    ],
    "one claim that is barely false": [
        Planted("a hair less than matters", 0.0499, "higher", 0.05, "undecided", False),
    ],
}
SPREADS = [(0.5, 1.0), (2.0, 1.0), (1.0, 2.0)]
"""Standard deviations of accuracy over trainings and over members of the judge, in points."""


class Scored(Row):
    """A row whose scores are given, in place of those of its records."""

    def __init__(self, name: str, scores_SMN: Array, values_S: Array) -> None:
        about: dict[str, Any] = {
            "agent": {"name": name, "version": 1, "source": None, "settings": {}},
            "task": {"id": "planted-v1", "settings": {}, "test_sha256": "planted"},
            "judge": "planted",
            "status": "done",
            "software": {"glimpsebench": "planted"},
        }
        runs = [
            Record(Path(name), about | {"seed": seed, "findings": {"value": float(value)}})
            for seed, value in enumerate(values_S)
        ]
        super().__init__(name, "planted-v1", tuple(runs))
        object.__setattr__(self, "given", scores_SMN)

    def scores(self, by: str, budget: float) -> Array | None:
        given: Array = self.given  # type: ignore[attr-defined]
        return given if budget == BUDGET else None


def outcomes(
    suite: Sequence[Planted], spread: tuple[float, float], experiments: int, seed: int = 0
) -> list[Counter[str]]:
    """For each claim of a suite, how often each verdict came out."""
    rng = np.random.default_rng(seed)
    setting = COVERAGE["Setting"](SEEDS, 4, 500, 0.7, *spread)
    names = [f"arm {number}" for number in range(len(suite))]
    task = {"id": "planted-v1", "settings": {}}
    arms = [
        Arm(Called("planted-v1", name, name), {"agent": {"name": name, "settings": {}}, "task": task}, {}, {})
        for name in ["base", *names]
    ]
    claims = [planted.claim(name) for planted, name in zip(suite, names, strict=True)]
    counts: list[Counter[str]] = [Counter() for _ in suite]
    seeds, effects = [SEEDS, *(one.seeds for one in suite)], [0.0, *(one.effect for one in suite)]
    for piece in COVERAGE["pieces"](experiments, sum(seeds) * setting.members * setting.images):
        answers = COVERAGE["simulated"](setting, seeds, piece, rng, effects)
        for number in range(piece):
            rows = [
                Scored(arm.called.label, every[number], 0.5 + effect + 0.02 * rng.standard_normal(len(every[number])))
                for arm, every, effect in zip(arms, answers, effects, strict=True)
            ]
            for count, verdict in zip(counts, verdicts(claims, arms, rows), strict=True):
                count[verdict.outcome] += 1
    return counts


ABOUT = """# How often a verdict is right

Written by `python benchmarks/verdicts.py`, which says what is simulated: effects are planted, and the bench decides the
claims about them (`bench/claims.py`). {experiments:,} experiments a line, each with {seeds} seeds an arm (of too few,
{few}), 500 images, four members and an accuracy of 70 % of the base; one table is a suite, within which claims are
corrected for each other. *sd*: the standard deviation of accuracy over trainings and over members, in points.

*right*: how often the verdict is the one expected, in per cent. *supported though false*: how often a claim that is
false comes out as supported; · for claims that are true.
"""
HEAD = ["planted", "sd seeds", "sd members", "expected", "right", "supported though false"]


def line_of(planted: Planted, spread: tuple[float, float], count: Counter[str]) -> str:
    """A row of a table."""
    total = sum(count.values())
    share = {name: f"{100 * count[name] / total:.1f}" for name in (planted.right, "supported")}
    wrong = "·" if planted.true else share["supported"]
    cells = [planted.says, f"{spread[0]:g}", f"{spread[1]:g}", planted.right, share[planted.right], wrong]
    return f"| {' | '.join(cells)} |"


def page(tables: dict[str, list[str]], experiments: int) -> str:
    """The page, given the rows of each suite."""
    text = ABOUT.format(experiments=experiments, seeds=SEEDS, few=FEW)
    for name, lines in tables.items():
        head = [f"| {' | '.join(HEAD)} |", "|---|---:|---:|---|---:|---:|"]
        text += f"\n## {name.capitalize()}\n\n" + "\n".join([*head, *lines]) + "\n"
    return f"{BEGIN}\n{text}{END}\n"


def main() -> None:
    """Simulate everything and write the page."""
    experiments = int(sys.argv[1]) if len(sys.argv) > 1 else EXPERIMENTS
    tables: dict[str, list[str]] = {}
    for name, suite in SUITES.items():
        for spread in SPREADS[: 1 if all(planted.finding for planted in suite) else None]:
            for planted, count in zip(suite, outcomes(suite, spread, experiments), strict=True):
                tables.setdefault(name, []).append(line_of(planted, spread, count))
                print(tables[name][-1], flush=True)
    PAGE.write_text(page(tables, experiments))


if __name__ == "__main__":
    main()
