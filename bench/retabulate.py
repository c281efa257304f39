"""Committed results: one folder of tables per suite (`store.folders`), written again from records when code that writes
them has changed, and a sentence that says which records today's code would not make.
"""

from __future__ import annotations

import textwrap
from collections.abc import Collection, Sequence
from pathlib import Path

from glimpsebench.bench import ablate, answer, compare, discrimination, figures, leaderboard, store
from glimpsebench.bench.answer import published
from glimpsebench.bench.answer.arenas import arenas_of
from glimpsebench.bench.records import Record
from glimpsebench.bench.suites import read_suite, suite_names
from glimpsebench.envs.errors import UsageError

_BEGIN, _END = "<!-- made by: written by `glimpse retabulate`; do not edit -->", "<!-- /made by -->"


ANSWER = "ANSWER.md"
_ANSWER_BEGIN, _ANSWER_END = "<!-- answer: written by `glimpse retabulate`; do not edit -->", "<!-- /answer -->"


def with_answer(page: str, results: Path, fought: Sequence[Record]) -> str:
    """A README that has the answer between its markers: the first sentences of its page, and the curve of an arena.

    Args:
        page: the README beside the results folder.
        results: the results folder, whose name links begin with.
        fought: the duel's records there.
    """
    said = answer.in_short(arenas_of(fought), published.methods(fought))
    drawn = [folder for folder in folders(results) if folder.name.startswith(published.PREFIX)]
    drawn.sort(key=lambda folder: -len(store.kept(folder)))  # that of most runs is shown
    curves = [path for folder in drawn for path in [folder / "curve.png"] if path.is_file()]
    lines = [
        "**The answer so far**, at equal networks, data and predictor passes:",
        "",
        *(f"- {one}" for one in said),
        "",
        f"All of it, with intervals: [{ANSWER}]({results.name}/{ANSWER}); what the methods' own sources claim: "
        f"[{ablate.PAGE}]({results.name}/{ablate.PAGE}); how well tasks tell methods apart: "
        f"[{discrimination.PAGE}]({results.name}/{discrimination.PAGE}); every table: "
        f"[{results.name}]({results.name}/README.md).",
    ]
    if curves:
        shown = curves[0].relative_to(results.parent)
        lines += ["", f"![Accuracy against the share of the image that was touched]({shown.as_posix()})"]
    begin, end = page.index(_ANSWER_BEGIN) + len(_ANSWER_BEGIN), page.index(_ANSWER_END)
    text = "\n".join(
        textwrap.fill(
            one, 120, subsequent_indent="  " * one.startswith("- "), break_on_hyphens=False, break_long_words=False
        )
        for one in lines
    )
    return f"{page[:begin]}\n\n{text}\n\n{page[end:]}"


def folders(results: Path) -> list[Path]:
    """The folders there that bear a suite's name."""
    return [results / name for name in suite_names() if (results / name).is_dir()]


def sentence(results: Path) -> str:
    """Which folders hold what an earlier version of the code made, and of which release; and which lack some runs."""
    releases: dict[str, list[str]] = {}
    missing: list[str] = []
    for folder in folders(results):
        kept = store.kept(folder)
        suite = read_suite(folder.name)
        if not store.is_outdated(suite, kept):
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
    """Write all tables and pages of committed results again; return what was left out, and why.

    A README beside the results folder that has the answer between markers (`with_answer`) gets the new one.

    Args:
        results: the committed results.
        suites: of which tables are written; by default of all.
    """
    left_out = []
    chosen = [folder for folder in folders(results) if folder.name in suites or not suites]
    for folder in chosen:
        suite, kept = read_suite(folder.name), store.kept(folder)
        leaderboard.write(kept, folder, suite.title)
        rows = leaderboard.rows_of(kept)
        for curve, ending in figures.stale(rows, folder):
            figures.save(curve, folder, ending)
        written, skipped = compare.write(suite.comparisons, rows, folder)
        left_out += [f"{folder}: {why}" for why in skipped]
        for old in {*folder.glob("*against-*.md")} - {*written}:
            old.unlink()
    ablate.write_page(results)
    (results / discrimination.PAGE).write_text(discrimination.page(results))
    page = results / "README.md"
    text = page.read_text()
    begin, end = text.find(_BEGIN), text.find(_END)
    if begin < 0 or end < begin:
        raise UsageError(f"{page}: no markers '{_BEGIN}' and '{_END}' to write between")
    page.write_text(f"{text[: begin + len(_BEGIN)]}\n{sentence(results)}\n{text[end:]}")
    fought = answer.records_in(results)
    (results / ANSWER).write_text(answer.markdown(fought))
    showing = results.parent / "README.md"
    if showing.exists() and _ANSWER_BEGIN in (text := showing.read_text()):
        showing.write_text(with_answer(text, results, fought))
    return left_out
