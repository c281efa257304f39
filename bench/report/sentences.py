"""The question and the answer in sentences, computed from the page's block (`data`): none holds a number of its own.

Every number in them stands in leaderboard.csv. What is called better or worse is so by the leaderboard's rule: against
the strongest floor at that budget, by the judge, after Holm's correction for all differences of the task.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from glimpsebench.bench.rows import SETTLED

Block = dict[str, Any]

QUESTION = "How small a part of an image is enough to classify it, and who chooses that part better?"
TRACKS = {
    "gated": "Choosing glimpse by glimpse, seeing nothing else",
    "open": "Choosing after a look at the whole image",
}


def per_cent(value: float, digits: int = 1) -> str:
    """
    >>> per_cent(0.80366), per_cent(0.1, 0)
    ('80.4', '10')
    """
    return f"{100 * value:.{digits}f}"


def budget(share: float) -> str:
    """
    >>> budget(0.1), budget(0.0404)
    ('10 %', '4.04 %')
    """
    return f"{100 * share:g} %"


def listed(words: Sequence[str]) -> str:
    """
    >>> listed(["a", "b", "c"])
    'a, b and c'
    """
    return " and ".join([", ".join(words[:-1]), words[-1]] if len(words) > 1 else words)


MOST_NAMED = 4


def some_of(words: Sequence[str]) -> str:
    """The first of many: the tables have the others.

    >>> some_of(["a", "b", "c", "d", "e", "f"])
    'a, b, c and 3 more'
    """
    if len(words) <= MOST_NAMED:
        return listed(words)
    return listed([*words[: MOST_NAMED - 1], f"{len(words) - MOST_NAMED + 1} more"])


def answer(section: Block) -> list[tuple[str, list[str]]]:
    """What a section's records say: headings, each with a few sentences."""
    parts = []
    for track, how in TRACKS.items():
        rows = [row for row in section["rows"] if row["track"] == track and row["verdict"] != "leaks"]  # has no rank
        if rows:
            parts.append((how, [*_enough(section, rows), *_best(section, rows), *_claims(section, rows)]))
    return [*parts, ("To be read with care", list(_doubts(section)))]


def _enough(section: Block, rows: Sequence[Block]) -> Iterator[str]:
    """The smallest budget with 95 % of the ceiling's accuracy, and whose it is."""
    if section["ceiling"] is None:
        return
    whole = section["rows"][section["ceiling"]]["at"].get("judge", [None])[-1]
    if whole is None:
        return
    known = [(row["whole"].get("judge_acc95"), row["name"]) for row in rows]
    reached = [(value, name) for value, name in known if isinstance(value, float)]
    if reached:
        least = min(value for value, _ in reached)
        who = [name for value, name in reached if value == least]
        keep = "keep" if len(who) > 1 else "keeps"
        yield (
            f"{budget(least)} of the image is enough: from there on {some_of(who)} {keep} 95 % of what the judge has "
            f"from the whole image, {per_cent(whole)} % right."
        )
    else:
        yield f"No part is enough yet: nobody comes to 95 % of what the whole image gives, {per_cent(whole)} % right."


def _best(section: Block, rows: Sequence[Block]) -> Iterator[str]:
    """The best of the track beside the strongest floor, at the budget that most of them reach; the smaller if equal."""
    rows = [row for row in rows if len(row["seeds"]) - row["failed"] > 1] or rows  # one seed stands for no method
    floors = section["floors"]["judge"]
    reached = {
        at: count
        for at, floor in enumerate(floors)
        if floor and (count := sum(_mean(row, at) is not None for row in rows))
    }
    if not reached:
        return
    at = max(reached, key=lambda n: (reached[n], -n))
    best = max((row for row in rows if _mean(row, at) is not None), key=lambda row: _mean(row, at) or 0.0)
    low, high = best["at"]["judge_low"][at], best["at"]["judge_high"][at]
    yield (
        f"With {budget(section['budgets'][at])} of the image {best['name']} is at {per_cent(_mean(best, at) or 0.0)} % "
        f"(95 % interval {per_cent(low)} to {per_cent(high)}); the strongest floor, "
        f"{section['rows'][floors[at]['row']]['name']}, is at {per_cent(floors[at]['accuracy'])} %."
    )


def _mean(row: Block, at: int) -> float | None:
    found: float | None = row["at"].get("judge", [None] * (at + 1))[at]
    return found


def _claims(section: Block, rows: Sequence[Block]) -> Iterator[str]:
    """Who is above and who below the strongest floor, and where."""
    if not any(section["floors"]["judge"]):
        yield "There is no floor here to be above or below."
        return
    for sign, word in ((1, "Above"), (-1, "Below")):
        some = [
            f"{row['name']} at {spans(section['budgets'], [one == sign for one in row['sign']['judge']])}"
            for row in rows
            if sign in row["sign"]["judge"]
        ]
        yield f"{word} the strongest floor: {some_of(some) if some else 'nobody'}."


def spans(budgets: Sequence[float], true: Sequence[bool]) -> str:
    """
    >>> spans([0.01, 0.02, 0.05, 0.1], [True, True, False, True])
    '1 to 2 % and 10 %'
    """
    found: list[list[float]] = []
    for at, (share, yes) in enumerate(zip(budgets, true, strict=True)):
        if yes and at and true[at - 1]:
            found[-1].append(share)
        elif yes:
            found.append([share])
    return listed([f"{100 * one[0]:g} to {budget(one[-1])}" if len(one) > 1 else budget(one[0]) for one in found])


def _doubts(section: Block) -> Iterator[str]:
    rows = section["rows"]
    few = [row for row in rows if len(row["seeds"]) - row["failed"] < SETTLED]
    unaudited = [row for row in rows if row["track"] != "reference" and row["verdict"] is None]
    refused = [row for row in rows if row["verdict"] in ("leaks", "encodes")]
    failed = sum(row["failed"] for row in rows)
    said = []
    if few:
        which = "all rows" if len(few) == len(rows) else f"{len(few)} of {len(rows)} rows"
        said.append(f"{which} are provisional, of fewer than {SETTLED} seeds")
    if unaudited:
        said.append(f"not audited: {some_of([row['name'] for row in unaudited])}")
    if refused:
        said.append(f"by their audits, {some_of([row['name'] + ' ' + row['verdict'] for row in refused])}")
    if failed:
        said.append(f"{failed} run{'s' * (failed > 1)} failed and count{'s' * (failed == 1)} as chance")
    if said:
        text = "; ".join(said)
        yield f"{text[:1].upper()}{text[1:]}."
