"""Ablations: the claims of a suite with the verdicts of its records, and the page of all suites' claims.

An ablation is a suite that varies named settings around a base and states, as `[[claim]]`, what is to come of that and
by which test it is decided (`claims`). Everything here is a function of suites and records.
"""

from __future__ import annotations

import textwrap
from collections import Counter
from collections.abc import Iterable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import get_args

import numpy as np
import pandas as pd

from glimpsebench.bench import escape, store
from glimpsebench.bench.claims import (
    Claim,
    Outcome,
    Verdict,
    arms_of,
    finding_in,
    pairs_of,
    row_of,
    values_of,
    verdicts,
)
from glimpsebench.bench.compare import AREA, pipe
from glimpsebench.bench.records import Record
from glimpsebench.bench.rows import Row, rows_of
from glimpsebench.bench.run import questions
from glimpsebench.bench.stats import NOTHING, Interval, interval, over_seeds
from glimpsebench.bench.suites import Suite, read_suite, suite_names
from glimpsebench.envs.errors import UsageError

PAGE = "CLAIMS.md"
Point = tuple[str, float | str | None]
"""A measure and the budget at which it is taken."""

_NOTE = """
*effect*: what the first arm has of the measure less what the second has, with its 95 % interval over images, seeds and,
of the judge, members; of findings over seeds. *claimed*: the effects that bear the claim out, from the smallest
that matters on. Accuracies and overlaps are in per cent, effects on them in points; findings are in their own unit.
**supported**: the effect is clearly one of these; **refuted**: it is clearly none; clearly means p < 0.05 for the
nearest end of them, after Holm's correction for all claims of the suite that are tested. *undecided*: neither, or fewer
seeds than the claim asks for. *detectable*: so far from that end must a true effect lie to be told from it in 80 % of
such experiments. A run that did not end well counts as chance in accuracies and is left out of the rest.
"""


def decided(suite: Suite, records: Sequence[Record]) -> list[Verdict]:
    """What records say of a suite's claims."""
    if not suite.claims:
        return []
    return verdicts(suite.claims, arms_of(suite.specs), rows_of(records), _questions(suite))


def _questions(suite: Suite) -> set[str]:
    """The hashes of a suite's runs as today's code asks for them (`Record.question`)."""
    return {key for _, key in questions(suite.specs)}


def command(suite: Suite) -> str:
    """What decides a suite's claims, with as many seeds as they ask for."""
    need = max((claim.seeds for claim in suite.claims), default=0)
    seeds = "" if len({spec.seed for spec in suite.specs}) >= need else f" --seeds 0-{need - 1}"
    name = suite.name if suite.name in suite_names() else f"{suite.name}.toml"
    return f"glimpse sweep {name}{seeds} && glimpse ablate {name}"


def number(measure: str, value: float, sign: str = "") -> str:
    """A value of a measure, or with a sign an effect on it: in per cent, or a finding's own unit.

    >>> number("own", 0.5), number("own", 0.01, "+"), number("findings.area", 0.5), number("own", float("nan"))
    ('50.0', '+1.0', '0.5', '·')
    """
    if np.isnan(value):
        return "·"
    return format(value, f"{sign}.3g") if finding_in(measure) else format(100 * value, f"{sign}.1f")


def with_reach(measure: str, mean: float, reach: float, sign: str = "") -> str:
    """A value and how far its interval reaches.

    >>> with_reach("own", 0.5, 0.04), with_reach("findings.area", 0.5, 0.04, "+"), with_reach("own", 0.5, float("nan"))
    ('50.0 ± 4.0', '+0.5 ± 0.04', '50.0')
    """
    text = number(measure, mean, sign)
    if np.isnan(mean) or np.isnan(reach):
        return text
    return f"{text} ± " + (f"{reach:.2g}" if finding_in(measure) else f"{100 * reach:.1f}")


def effect_of(verdict: Verdict) -> str:
    """A verdict's effect and half the width of its interval."""
    effect = verdict.effect
    return with_reach(verdict.claim.measure, effect.mean, (effect.high - effect.low) / 2, "+")


def claimed(claim: Claim) -> str:
    """Which effects bear a claim out.

    >>> about = {"text": "x", "source": "x", "a": "x", "b": "y", "measure": "own", "budget": 0.1, "matters": 0.01}
    >>> [claimed(Claim(**about, direction=direction)) for direction in ("higher", "lower", "equal", "not lower")]
    ['≥ +1.0', '≤ -1.0', '-1.0 to +1.0', '≥ -1.0']
    """
    if claim.matters == 0:
        return "> 0" if claim.direction == "higher" else "< 0"
    low, high = (number(claim.measure, end, "+") for end in claim.region)
    if np.isinf(claim.region[1]):
        return f"≥ {low}"
    return f"≤ {high}" if np.isinf(claim.region[0]) else f"{low} to {high}"


def titled(point: Point) -> str:
    """What is measured, and where.

    >>> titled(("own", 0.2)), titled(("own", "area")), titled(("findings.area", None))
    ('own at 20 %', 'own, area', 'area')
    """
    measure, budget = point
    if budget == AREA:
        return f"{measure}, {AREA}"
    return (finding_in(measure) or measure) + (f" at {100 * budget:g} %" if isinstance(budget, float) else "")


def points_of(claim: Claim) -> list[Point]:
    """Where the measure of a claim is taken: of the first arm, and of the second if elsewhere."""
    return [(claim.measure, budget) for budget in dict.fromkeys([claim.budget, claim.b_budget or claim.budget])]


def compared(claim: Claim) -> str:
    """What is compared with what, where, by which measure."""
    b = claim.b if isinstance(claim.b, str) else f"{claim.b:g}"
    where = "" if claim.task is None else f", on {claim.task}"
    where += "" if claim.other_task is None else f" less the same on {claim.other_task}"
    return f"Compared: {claim.a} less {b}{where}, by {' and '.join(map(titled, points_of(claim)))}"


def markdown(suite: Suite, records: Sequence[Record]) -> str:
    """A suite's page: its claims with their verdicts, and its arms."""
    found = decided(suite, records)
    head = f"# Claims: {escape.markdown(suite.title)}\n{_NOTE}"
    return "\n".join([head, _table(found), _listed(found), *_arms(suite, rows_of(records))])


def _table(found: Sequence[Verdict]) -> str:
    return pipe(["claim", "verdict", "effect", "claimed", "detectable", "seeds"], map(_cells, found), left=2)


def _cells(verdict: Verdict) -> list[str]:
    claim, outcome = verdict.claim, verdict.outcome
    cells = [escape.markdown(claim.text), f"**{outcome}**" if outcome in ("supported", "refuted") else outcome]
    cells += [effect_of(verdict), claimed(claim), number(claim.measure, verdict.detectable)]
    return [*cells, str(verdict.seeds or "·")]


def _listed(found: Sequence[Verdict]) -> str:
    """For each claim who makes it, what was compared, and why the verdict is what it is."""
    text = ""
    for place, verdict in enumerate(found, 1):
        claim = verdict.claim
        values = [number(claim.measure, value) for value in (verdict.mine, verdict.theirs)]
        has = "" if np.isnan(verdict.mine) else f": {' and '.join(values)}"
        made_by = f"; records of {verdict.made_by}" if verdict.made_by else ""
        item = f"{claim.text} ({claim.source}). {compared(claim)}{has}. {verdict.outcome}: {verdict.why}{made_by}."
        text += _wrapped(f"{place}. {escape.markdown(item)}", "   ")
    return text


def _wrapped(text: str, indent: str = "") -> str:
    return textwrap.fill(text, 120, subsequent_indent=indent, break_on_hyphens=False, break_long_words=False) + "\n"


def _arms(suite: Suite, rows: Sequence[Row]) -> list[str]:
    """A table for each task: the suite's contenders, and the floors that claims name, by the claims' measures."""
    arms, asked = arms_of(suite.specs), _questions(suite)
    points = list(dict.fromkeys(point for claim in suite.claims for point in points_of(claim)))
    named = [arm for claim in suite.claims for pair in pairs_of(claim, arms) for arm in pair]
    tables: dict[str, list[list[str]]] = {}
    for arm in arms:
        if arm in named or not arm.about["agent"]["reference"]:
            with suppress(UsageError):  # no records of it
                row = row_of(arm, rows, asked)
                cells = [_cell(row, point) for point in points]
                tables.setdefault(row.task, []).append(
                    [escape.markdown(arm.called.label), *cells, str(len(row.records))]
                )
    head = ["arm", *map(titled, points), "seeds"]
    return [f"## {escape.markdown(task)}\n\n{pipe(head, lines)}" for task, lines in tables.items()]


def _cell(row: Row, point: Point) -> str:
    mean = mean_of(row, point)
    return with_reach(point[0], mean.mean, mean.reach)


def mean_of(row: Row, point: Point) -> Interval:
    """The mean of a measure with its 95 % interval; NaN where a row has none."""
    try:
        values = values_of(row, *point)
    except UsageError:
        return NOTHING
    return over_seeds(values) if finding_in(point[0]) else interval(values)


def table(suite: Suite, found: Sequence[Verdict]) -> pd.DataFrame:
    """A line for each claim: what it says, its verdict, and the numbers, unrounded."""
    lines = []
    for verdict in found:
        claim, effect = verdict.claim, verdict.effect
        about = {name: getattr(claim, name) for name in type(claim).model_fields}
        line = {name: escape.csv(value) if isinstance(value, str) else value for name, value in about.items()}
        line |= {"suite": escape.csv(suite.name), "verdict": verdict.outcome, "why": escape.csv(verdict.why)}
        line |= {"value_a": verdict.mine, "value_b": verdict.theirs, "effect": effect.mean}
        line |= {"low": effect.low, "high": effect.high, "p_holm": effect.p, "detectable": verdict.detectable}
        lines.append(line | {"fewest_seeds": verdict.seeds, "made_by": escape.csv(verdict.made_by)})
    return pd.DataFrame(lines)


def texts(suite: Suite, records: Sequence[Record]) -> list[dict[str, str]]:
    """A suite's verdicts for a page: each claim with source, verdict and why, effect, interval, seeds, command."""
    found = []
    for verdict in decided(suite, records):
        claim, effect = verdict.claim, verdict.effect
        ends = [number(claim.measure, end, "+") for end in (effect.low, effect.high)]
        found.append(
            {
                "claim": claim.text,
                "source": claim.source,
                "verdict": verdict.outcome,
                "why": verdict.why,
                "effect": f"{number(claim.measure, effect.mean, '+')} by {' and '.join(map(titled, points_of(claim)))}",
                "interval": "·" if np.isnan(effect.low) else " to ".join(ends),
                "seeds": str(verdict.seeds or "·"),
                "command": command(suite),
            }
        )
    return found


def write(suite: Suite, records: Sequence[Record], folder: Path) -> list[Path]:
    """Write a suite's page and the same as CSV into a folder.

    Raises:
        UsageError: the suite makes no claim.
    """
    if not suite.claims:
        raise UsageError(f"the suite {suite.name} makes no claim: [[claim]] in its file states one")
    folder.mkdir(parents=True, exist_ok=True)
    paths = [folder / "ablation.md", folder / "ablation.csv"]
    paths[0].write_text(markdown(suite, records))
    table(suite, decided(suite, records)).to_csv(paths[1], index=False, float_format="%.6g")
    return paths


_PAGE_NOTE = """
What the methods' own sources claim, as the suites state it (`[[claim]]` in `bench/suites/*.toml`: by which test, and
from which effect on), and what the records in this folder say of that. Records of earlier code are older than the
claims' wording, which is the sources'. Written by `glimpse retabulate`; nothing here is edited by hand.
"""


def page(results: Path, suites: Iterable[str] | None = None) -> str:
    """All claims of these suites, by default of all that come with the package, decided by the records in a folder of
    results folders."""
    plans = [suite for suite in map(read_suite, suites or suite_names()) if suite.claims]
    found = [(suite, decided(suite, store.kept(results / suite.name))) for suite in plans]
    counts = Counter(verdict.outcome for _, some in found for verdict in some)
    total = ", ".join(f"{counts[outcome]} {outcome}" for outcome in get_args(Outcome))
    head = ["claim", "source", "suite", "verdict", "effect", "claimed", "detectable", "seeds"]
    lines = []
    for suite, some in found:
        for verdict in some:
            claim, *cells = _cells(verdict)
            lines.append([claim, escape.markdown(verdict.claim.source), f"`{suite.name}`", *cells])
    text = f"# Claims\n{_PAGE_NOTE}{_NOTE}\n{sum(counts.values())} claims: {total}.\n\n{pipe(head, lines, left=4)}"
    for suite, some in found:
        runs = f"{len(suite.specs)} runs and their verdicts"
        text += (
            f"\n## {suite.name}: {escape.markdown(suite.title)}\n\n    {command(suite)}    # {runs}\n\n{_listed(some)}"
        )
    return text


def write_page(results: Path) -> Path:
    """Write the page into that folder."""
    path = results / PAGE
    path.write_text(page(results))
    return path
