"""Committed results: one folder of tables per suite (`store.folders`), written again from records when code that writes
them has changed, and a sentence that says which records today's code would not make.
"""

from __future__ import annotations

import textwrap
from collections.abc import Collection, Iterable
from pathlib import Path

from glimpsebench.bench import ablate, compare, leaderboard, store
from glimpsebench.bench.records import Record
from glimpsebench.bench.suites import Suite, read_suite, suite_names
from glimpsebench.envs.errors import UsageError

_BEGIN, _END = "<!-- made by: written by `glimpse retabulate`; do not edit -->", "<!-- /made by -->"


def folders(results: Path) -> list[Path]:
    """The folders there that bear a suite's name."""
    return [results / name for name in suite_names() if (results / name).is_dir()]


def is_outdated(suite: Suite, kept: Iterable[Record]) -> bool:
    """Whether the suite asks for other runs today: other settings, versions, or contenders' source."""
    return not {record.question for record in kept} <= {spec.folder(Path()).name for spec in suite.specs}


def sentence(results: Path) -> str:
    """Which folders hold what an earlier version of the code made, and of which release; and which lack some runs."""
    releases: dict[str, list[str]] = {}
    missing: list[str] = []
    for folder in folders(results):
        kept = store.kept(folder)
        suite = read_suite(folder.name)
        if not is_outdated(suite, kept):
            lacking = len(suite.specs) - len(kept)
            missing += [f"`{folder.name}` ({lacking} of {len(suite.specs)})"] if lacking else []
        else:
            made_by = sorted({record.about["software"]["glimpsebench"] for record in kept})
            releases.setdefault(", ".join(made_by), []).append(f"`{folder.name}`")
    listed = "; ".join(f"{', '.join(names)} (release {release})" for release, names in releases.items())
    said = [
        "Made by earlier code, so that this one would run them again (contenders, settings or the form of records have "
        f"changed): {listed}."
        if releases
        else "None of them was made by earlier code."
    ]
    if missing:
        said.append(f"Not all of a suite's runs, mostly floors, are there yet (missing): {', '.join(missing)}.")
    return "\n".join(textwrap.fill(one, width=120, break_on_hyphens=False) for one in said)


def rewrite(results: Path, suites: Collection[str] = ()) -> list[str]:
    """Write leaderboards, comparisons, the claims' page and the sentence again; return what was left out, and why.

    A README beside the results folder that shows a suite's leaderboard (`leaderboard.insert`) gets the new one.

    Args:
        results: the committed results.
        suites: of which tables are written; by default of all.
    """
    left_out = []
    chosen = [folder for folder in folders(results) if folder.name in suites or not suites]
    for folder in chosen:
        suite, kept = read_suite(folder.name), store.kept(folder)
        leaderboard.write(kept, folder, suite.title)
        written, skipped = compare.write(suite.comparisons, leaderboard.rows_of(kept), folder)
        left_out += [f"{folder}: {why}" for why in skipped]
        for old in {*folder.glob("*against-*.md")} - {*written}:
            old.unlink()
    ablate.write_page(results)
    page = results / "README.md"
    text = page.read_text()
    begin, end = text.find(_BEGIN), text.find(_END)
    if begin < 0 or end < begin:
        raise UsageError(f"{page}: no markers '{_BEGIN}' and '{_END}' to write between")
    page.write_text(f"{text[: begin + len(_BEGIN)]}\n{sentence(results)}\n{text[end:]}")
    showing = results.parent / "README.md"
    for folder in chosen:
        if showing.exists() and f"{leaderboard.BEGIN} {results.name}/{folder.name}" in showing.read_text():
            leaderboard.insert(
                showing, folder, read_suite(folder.name).title, f"{results.name}/{folder.name}", store.kept(folder)
            )
    return left_out
