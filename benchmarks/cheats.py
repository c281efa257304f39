"""Which cheat is flagged by which check, and that honest contenders are flagged by none: writes docs/cheats.md.

The contenders are those of `tests/cheats`, on digits-clutter, trained for a moment. An outcome is kept in the results
folder and not made again: after a change of the audits or of a contender, begin in another folder.

python benchmarks/cheats.py [--seeds 5] [--root runs/cheats] [CONTENDER ...]
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import NamedTuple

import numpy as np

REPOSITORY = Path(__file__).parents[1]
sys.path.insert(0, str(REPOSITORY / "tests"))

from cheats.corpus import CAUGHT, HONEST, NOT_CAUGHT, RECOUNT, RULES  # noqa: E402
from glimpsebench.bench import judges  # noqa: E402
from glimpsebench.bench.audit.audits import Audit, audit, read  # noqa: E402
from glimpsebench.bench.audit.processes import can_enclose  # noqa: E402
from glimpsebench.bench.audit.verdict import CHECKS, signs  # noqa: E402
from glimpsebench.bench.run import Spec  # noqa: E402
from glimpsebench.envs import tasks  # noqa: E402
from glimpsebench.envs.errors import UsageError  # noqa: E402

TASK = "digits-clutter"
PAGE = REPOSITORY / "docs" / "cheats.md"


class Outcome(NamedTuple):
    """What came of one audit: by what it was flagged, and the audit, where it came to one."""

    flagged: tuple[str, ...]
    audit: Audit | None


def outcome(agent: str, seed: int, root: Path) -> Outcome:
    """Audit a contender of the corpus, by its module's name."""
    spec = Spec(agent, TASK, seed, HONEST.get(agent, {}))
    judge = {path: path.read_bytes() for path in judges.member_files(tasks.make(TASK))}
    try:
        found = read(audit(spec, root))
    except UsageError as error:
        return Outcome((RECOUNT if "recount" in str(error) else RULES,), None)
    finally:
        for path, content in judge.items():  # which one of the cheats overwrites
            if path.read_bytes() != content:
                path.write_bytes(content)
    assert found is not None
    return Outcome(tuple(signs(found.figures)) or ("room",) * bool(found.reasons), found)


def kept(agent: str, seed: int, root: Path) -> Outcome:
    """The outcome in the results folder, which is made if it is not there."""
    path = root / "outcomes" / f"{agent}-{seed}.json"
    if not path.is_file():
        flagged, found = outcome(agent, seed, root)
        path.parent.mkdir(exist_ok=True)
        path.write_text(json.dumps({"flagged": flagged, "audit": None if found is None else asdict(found)}, indent=1))
    about = json.loads(path.read_text())
    return Outcome(tuple(about["flagged"]), None if about["audit"] is None else Audit(**about["audit"]))


def corpus() -> list[str]:
    """All contenders, by module: cheats first."""
    return [*(f"cheats.{name}" for name in (*CAUGHT, *NOT_CAUGHT)), *HONEST]


def described(agent: str) -> str:
    """The first line of a contender's docstring."""
    name = agent.removeprefix("cheats.")
    folder = REPOSITORY / ("tests/cheats" if agent.startswith("cheats.") else "agents")
    return (folder / f"{name}.py").read_text().split('"""')[1].splitlines()[0].removeprefix(f"{name}: ")


def table(outcomes: dict[str, list[Outcome]], agents: list[str]) -> list[str]:
    """A row for each contender: how often it was flagged, by what, and the figures, the mean of the seeds."""
    named = {agent for agent in agents if any(each.audit for each in outcomes[agent])}
    shown = [name for name in CHECKS if any(name in e.audit.figures for a in named for e in outcomes[a] if e.audit)]
    lines = [
        "| contender | flagged | " + " | ".join(name.replace("_", " ") for name in shown) + " |",
        "|---|---|" + "---:|" * len(shown),
    ]
    for agent in agents:
        runs = outcomes[agent]
        by = sorted({sign for each in runs for sign in each.flagged})
        cells = []
        for name in shown:
            values = [each.audit.figures[name] for each in runs if each.audit and name in each.audit.figures]
            text = f"{100 * float(np.mean(values)):.1f}" if values else ""
            cells.append(f"**{text}**" if text and name in by else text)
        count = sum(bool(each.flagged) for each in runs)
        why = f" ({', '.join(sign.replace('_', ' ') for sign in by)})" if by else ""
        lines.append(f"| `{agent.removeprefix('cheats.')}` | {count}/{len(runs)}{why} | " + " | ".join(cells) + " |")
    return lines


def extreme(
    most: Callable[[list[float]], float], name: str, agents: list[str], outcomes: dict[str, list[Outcome]]
) -> str:
    """The largest or smallest figure of any run of these contenders."""
    audits = [each.audit for agent in agents for each in outcomes[agent] if each.audit]
    values = [audit.figures[name] for audit in audits if name in audit.figures]
    return f"{100 * most(values):.1f}" if values else ""


def page(outcomes: dict[str, list[Outcome]]) -> str:
    """The page docs/cheats.md."""
    cheats = [f"cheats.{name}" for name in CAUGHT]
    seeds = len(next(iter(outcomes.values())))
    limits = []
    for name, check in CHECKS.items():
        limit = "reported" if check.limit == 1 else f"{100 * check.limit:g}"
        honest = extreme(max, name, list(HONEST), outcomes)
        caught = extreme(min, name, [f"cheats.{cheat}" for cheat, by in CAUGHT.items() if by == name], outcomes)
        words = name.replace("_", " ")
        limits.append(f"| {words} | {check.sign} | {limit} | {honest} | {caught} | % {check.says} |")
    return "\n".join(
        [
            "<!-- page: written by `python benchmarks/cheats.py`; do not edit -->",
            "# Cheats and checks",
            "",
            f"Every contender of `tests/cheats` on {TASK}, {seeds} seeds each, trained for a moment. Figures are per "
            "cent of the images or points of accuracy, the mean of the seeds; bold ones are above their limit. `rules` "
            "refuses a contender before it is run and `recount` ends its run as failed: every run pays for these two. "
            "`glimpse audit` pays for the rest; `room` is a contender that does not work where the test images are "
            f"absent. Rooms of this table: {'namespaces' if can_enclose() else 'no namespaces'}.",
            "",
            "## Cheats",
            "",
            *table(outcomes, cheats),
            "",
            *(f"* `{agent.removeprefix('cheats.')}`: {described(agent)}" for agent in cheats),
            "",
            "## Honest contenders",
            "",
            *table(outcomes, list(HONEST)),
            "",
            "## What is not caught",
            "",
            *table(outcomes, [f"cheats.{name}" for name in NOT_CAUGHT]),
            "",
            *(f"* `{name}`: {described(f'cheats.{name}')}" for name in NOT_CAUGHT),
            "* A run without an audit: whatever runs in one process with its judge can change it. `rules` and "
            "`recount` find mistakes and plain cheats.",
            "* Encoding that is as weak as an honest contender's: masks that follow an object tell of it, too.",
            "* Test images of a task that places nothing, if a table of them is in the contender's source: nothing can "
            "be placed anew. Of a task that is drawn by the package's own code, `fit` can draw the test images, but "
            "not those that are placed anew.",
            "* Labels of the test set learned by hand, from one submission to the next.",
            "* Where there are no namespaces, files that are opened by their absolute path: other records, and the "
            "image sets of the machine.",
            "",
            "Two cheats of older harnesses cannot be entered here: a soft mask that is nowhere 0, and a crop that "
            "reads more than it counts. The env applies masks and crops, and the predictor gets what it returns.",
            "",
            "## Limits",
            "",
            "How far apart honest contenders and cheats are: of each figure the largest of any honest run and the "
            "smallest of any run of the cheats that it is for.",
            "",
            "| figure | a sign that it | above | honest, at most | cheats, at least | what it is |",
            "|---|---|---:|---:|---:|---|",
            *limits,
            "",
        ]
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--root", type=Path, default=Path("runs/cheats"))
    parser.add_argument("contenders", nargs="*", default=corpus())
    chosen = parser.parse_args()
    os.environ["OMP_NUM_THREADS"] = "1"
    judges.judge(tasks.make(TASK), iter)  # so that it is there before a contender is
    chosen.root.mkdir(parents=True, exist_ok=True)
    outcomes: dict[str, list[Outcome]] = {}
    for agent in chosen.contenders:
        outcomes[agent] = [kept(agent, seed, chosen.root) for seed in range(chosen.seeds)]
        print(agent, *(" ".join(each.flagged) or "-" for each in outcomes[agent]), sep="\t", flush=True)
    if chosen.contenders == corpus():
        PAGE.write_text(page(outcomes))
        print(PAGE)


if __name__ == "__main__":
    main()
