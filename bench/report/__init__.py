"""The page: what records say of one or more suites, as one HTML file that nothing has to be fetched for.

    data        views of records → one block of JSON, from which tables, charts and sentences are all made
    looks       what contenders looked at in the first test images
    sentences   the question and the answer, in words computed from the block
    page        the block → HTML; styles and script lie beside it and stand in the page whole
    views       which records
    serve       the page on 127.0.0.1, made anew while a sweep adds records

The page has the accuracies of leaderboard.csv, digit by digit. Same records, same bytes.
"""

from __future__ import annotations

import shlex
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from glimpsebench.bench.report import data, page, views
from glimpsebench.bench.report.serve import serve as serve

__all__ = ["Page", "serve"]


@dataclass(frozen=True)
class Page:
    """A page that can be made again and again.

    Attributes:
        suites: whose records.
        roots: where they lie; by default runs and the committed results.
        into: the file; by default runs/SUITE/report.html of the first suite.
        modules: contenders from outside that were imported.
        own: contenders from outside that stand among the rows, as `store.view` has it.
    """

    suites: Sequence[str]
    roots: Sequence[Path] | None = None
    into: Path | None = None
    modules: Sequence[str] = ()
    own: Sequence[str] | None = None

    def roots_of(self, suite: str) -> list[Path]:
        return list(self.roots) if self.roots else [Path("runs"), views.STORE]

    @property
    def path(self) -> Path:
        return self.into or self.roots_of(self.suites[0])[0] / Path(self.suites[0]).stem / "report.html"

    @property
    def command(self) -> str:
        """The command that makes it."""
        labels = ["none"] if self.own == () else self.own or []
        own = [word for label in labels for word in ("--own", label)]
        return shlex.join(["glimpse", "report", *self.suites, *own])

    def data(self) -> data.Block:
        """What it shows of the records as they are now.

        Raises:
            UsageError: as `views.view`.
        """
        return data.block(views.view(name, self.roots_of(name), self.own) for name in self.suites)

    def write(self) -> Path:
        """Make the file; what is lacking for what it should say is a line to standard error, too."""
        shown = self.data()
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self.path.write_text(page.page(shown, self.command), encoding="utf-8")
        for suite in shown["suites"]:
            if suite["lacking"]:
                print(suite["lacking"], file=sys.stderr)
        return self.path
