"""Which records a page is of: those of a suite, from the stores where they may lie, and contenders of one's own."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from glimpsebench import agents
from glimpsebench.bench import ablate, store
from glimpsebench.bench.report.data import View
from glimpsebench.bench.suites import Suite, read_suite
from glimpsebench.envs.errors import UsageError

STORE = Path("results")
"""Committed results: where rows come from that were not run here."""


def view(name: str, roots: Sequence[Path], own: Sequence[str] | None = None) -> View:
    """The records of a suite in these stores, and own contenders' beside them (`store.view`).

    Raises:
        UsageError: no such suite, a damaged record, or none at all.
    """
    suite = read_suite(name)
    found = store.view(roots, name, own)
    if not found.records:
        raise UsageError(
            f"no records of the suite {suite.name} in {', '.join(map(str, roots))}; `glimpse sweep {name}` makes them"
        )
    lacking = _lacking(name, suite, found, roots)
    verdicts = ablate.texts(suite, found.records)
    return View(suite.name, suite.title, found.records, len(suite.specs), verdicts, found.own, lacking)


def _lacking(name: str, suite: Suite, found: store.View, roots: Sequence[Path]) -> str:
    """What a page needs to say who is better, and these stores do not have; '' if nothing."""
    floors = {one.task for one in found.records if one.done and one.about["agent"]["reference"] == "floor"}
    bare = sorted({one.task for one in found.records} - floors)
    if not bare:
        return ""
    absent = [str(root) for root in roots if not root.is_dir()]
    where = " and ".join(map(str, roots)) + (f" ({' and '.join(absent)}: no such folder)" if absent else "")
    if len(found.own) == len(found.records):
        what = f"none of the suite's own runs in {where}"
    else:
        what = f"no floor of {' and '.join(bare)} in {where}"
    if any(agents.find(spec.agent).reference == "floor" for spec in suite.specs):
        remedy = f"--root CLONE/results adds committed rows, `glimpse sweep {name}` makes them"
    else:
        remedy = "the suite asks for no floors (floors = true in its file)"
    return f"{suite.name}: {what}, so nobody is called better or worse than a floor; {remedy}"
