"""Which records a page is of: those of a suite, from the folders where they may lie, and contenders of one's own."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from glimpsebench import agents
from glimpsebench.bench import store
from glimpsebench.bench.records import Record, read_all
from glimpsebench.bench.report.data import View
from glimpsebench.bench.suites import Suite, read_suite
from glimpsebench.envs.errors import UsageError

STORE = Path("results")
"""Committed results: where rows come from that were not run here."""


def view(name: str, roots: Sequence[Path]) -> View:
    """The records of a suite in these folders; of two of the same settings, task and seed, the one that comes first.

    A folder is the suite's own, of which everything counts, or a store (`store`), of which the suite's runs count and,
    on its tasks, contenders from outside the package.

    Raises:
        UsageError: no such suite, a damaged record, or none at all.
    """
    suite = read_suite(name)
    found: dict[str, Record] = {}
    for root in roots:
        for record in _records(suite, root):
            found.setdefault(store.run_of(record), record)
    if not found:
        raise UsageError(
            f"no records of the suite {suite.name} in {', '.join(map(str, roots))}; `glimpse sweep {name}` makes them"
        )
    return View(suite.name, suite.title, list(found.values()), len(suite.specs))


def _records(suite: Suite, root: Path) -> list[Record]:
    if not (root / "records").is_dir():
        return store.of_suite(suite, root)  # a suite's own folder among others, as earlier versions made them
    if root.name == suite.name:
        return store.kept(root)
    tasks = {store.task_id(spec) for spec in suite.specs}
    own = [one for one in read_all(root) if one.about["agent"]["name"] not in agents.names() and one.task in tasks]
    return [*store.of_suite(suite, root), *own]
