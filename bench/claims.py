"""Claims that a suite states before its runs, and the verdicts of its records on them.

A claim names two arms, a measure, and which effects would bear it out: those beyond the smallest effect that matters.
It is supported if the effect is clearly one of these, refuted if it is clearly none of them, and undecided otherwise.
Clearly: a test of the effect against the nearest end of these effects rejects, two-sided at 5 %, after Holm's
correction for all claims of the suite that are tested. So what is false is seldom supported (docs/verdicts.md), and an
effect of zero, measured well enough, refutes the claim of a larger one. Errors are those of every table (`stats`).
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError, model_validator

from glimpsebench import agents
from glimpsebench.bench import compare, stats
from glimpsebench.bench.compare import AREA, FINDINGS, MEASURES
from glimpsebench.bench.records import canonical
from glimpsebench.bench.rows import SCORES, SETTLED, Called, Row, labels_of
from glimpsebench.bench.run import Spec
from glimpsebench.bench.stats import Difference
from glimpsebench.envs.errors import UsageError, unknown

Array = NDArray[Any]
Line = Annotated[str, StringConstraints(pattern=r"^[^\p{C}]*[^\p{C}\p{Z}][^\p{C}]*$", max_length=1000)]

REGIONS = {
    "higher": (1, np.inf),
    "lower": (-np.inf, -1),
    "equal": (-1, 1),
    "not lower": (-1, np.inf),
    "not higher": (-np.inf, 1),
}
"""A direction → the effects that bear a claim out, in units of the smallest effect that matters."""
MOST_SEEDS = 1000
"""More are not said to be what it would take."""

Outcome = Literal["supported", "refuted", "undecided", "not tested"]


class Claim(BaseModel):
    """A suite's `[[claim]]`. The effect is what `a` has of the measure less what `b` has.

    Attributes:
        text: the claim, in a sentence.
        source: who says so, and where.
        a: an arm, as the suite's leaderboard calls it.
        b: the arm to compare with, or a number.
        measure: own, judge, iou, on_object, pointed, or findings.NAME for what runs measured about themselves.
        budget: at which; `area` for the area under the curve. Findings and `pointed` have none.
        b_budget: of `b`, if another, as for one arm at two budgets.
        task: where; may be left out where both arms are on one task alone.
        other_task: the effect is that on `task` less that on this one (an interaction).
        direction: higher, lower, equal, not lower, not higher.
        matters: the smallest effect that matters, in the measure's unit: 0.01 is a point of accuracy.
        seeds: the fewest of either arm for a verdict.
    """

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)

    text: Line
    source: Line
    a: Line
    b: Line | float
    measure: Line
    direction: Line
    matters: Annotated[float, Field(ge=0, allow_inf_nan=False)]
    budget: Annotated[float, Field(gt=0, le=1)] | Literal["area"] | None = None
    b_budget: Annotated[float, Field(gt=0, le=1)] | None = None
    task: Line | None = None
    other_task: Line | None = None
    seeds: Annotated[int, Field(ge=2, le=MOST_SEEDS)] = SETTLED

    @model_validator(mode="after")
    def _fits(self) -> Claim:
        plain = tuple(name for name in MEASURES if name != FINDINGS)
        if not self.finding and self.measure not in plain:
            raise unknown("measure", self.measure, (*plain, f"{FINDINGS}.NAME"))
        if self.direction not in REGIONS:
            raise unknown("direction", self.direction, REGIONS)
        has_budget = self.measure != "pointed" and not self.finding
        number = isinstance(self.b, float)
        problems = {
            f"'budget' is missing: {self.measure} is measured at one": has_budget and self.budget is None,
            f"'budget' does not go with {self.measure}": not has_budget and self.budget is not None,
            "'budget' is an area of own and judge alone": self.budget == AREA and self.measure not in SCORES,
            "'b_budget' needs a 'budget' that is a number and a 'b' that is an arm": self.b_budget is not None
            and (not isinstance(self.budget, float) or number),
            "'other_task' needs 'task', and a 'b' that is an arm": self.other_task is not None
            and (self.task is None or number),
            "'a' is compared with itself": self.a == self.b and self.b_budget in (None, self.budget),
            f"'matters' must be more than 0 where the claim is '{self.direction}'": self.matters == 0
            and self.direction not in ("higher", "lower"),
        }
        for problem, there in problems.items():
            if there:
                raise UsageError(problem)
        return self

    @property
    def finding(self) -> str:
        """The name of the finding that is measured; '' for another measure."""
        return finding_in(self.measure)

    @property
    def region(self) -> tuple[float, float]:
        """The effects that bear it out: from, to."""
        low, high = (self.matters * end if np.isfinite(end) else end for end in REGIONS[self.direction])
        return low, high


def finding_in(measure: str) -> str:
    """What is measured by `findings.NAME`; '' for another measure."""
    return measure.removeprefix(f"{FINDINGS}.") if measure.startswith(f"{FINDINGS}.") else ""


def claim_of(table: Mapping[str, Any]) -> Claim:
    """A suite's table as a claim.

    Raises:
        UsageError: a key that is unknown or missing, or a value that does not fit.
    """
    try:
        return Claim.model_validate(table)
    except ValidationError as error:
        found = error.errors(include_url=False)  # a key that is unknown first: it may be one that is missing, misspelt
        first = min(found, key=lambda one: one["type"] != "extra_forbidden")
        key = str(first["loc"][0]) if first["loc"] else ""
        if first["type"] == "extra_forbidden":
            raise unknown("key", key, Claim.model_fields) from None
        if first["type"] == "missing":
            raise UsageError(f"'{key}' is missing: a claim has {', '.join(_NEEDED)}") from None
        raise UsageError(f"'{key}': {first['msg']}, not {first['input']!r}") from None


_NEEDED = [name for name, field in Claim.model_fields.items() if field.is_required()]


class Arm(NamedTuple):
    """Of a suite: how it is called, its agent and task, and what sets these apart from the suite's others.

    Rows of earlier code are found by the latter: defaults and settings that all arms share have changed since.
    """

    called: Called
    about: Mapping[str, Any]
    apart: Mapping[str, Any]
    task_apart: Mapping[str, Any]

    def rank(self, row: Row, questions: Collection[str]) -> tuple[bool, bool, int] | None:
        """How well a row answers for this arm: by today's code, by the same settings, version; None if not at all."""
        agent, task = row.about, row.records[0].about["task"]
        if agent["name"] != self.about["agent"]["name"] or task["id"] != self.about["task"]["id"]:
            return None
        found = (
            {key: agent["settings"].get(key) for key in self.apart},
            {key: task["settings"].get(key) for key in self.task_apart},
        )
        if found != (self.apart, self.task_apart):
            return None
        same = canonical(agent["settings"]) == canonical(self.about["agent"]["settings"])
        return any(record.question in questions for record in row.records), same, int(agent["version"])


def arms_of(specs: Iterable[Spec]) -> list[Arm]:
    """The arms of a suite of these runs: those that differ in more than the seed."""
    by_arm: dict[str, tuple[dict[str, Any], str | None]] = {}
    for spec in {spec.row: spec for spec in specs}.values():
        about = spec.about()
        by_arm.setdefault(canonical([about["agent"], about["task"]]), (about, spec.label))
    abouts = [about for about, _ in by_arm.values()]
    arms = []
    for called, about in zip(labels_of(abouts, [label for _, label in by_arm.values()]), abouts, strict=True):
        kin = [one for one in abouts if one["agent"]["name"] == about["agent"]["name"] and one["task"] == about["task"]]
        tasks = [one for one in abouts if one["task"]["id"] == about["task"]["id"]]
        arms.append(Arm(called, about, _apart(about, kin, "agent"), _apart(about, tasks, "task")))
    return arms


def _apart(about: Mapping[str, Any], others: Sequence[Mapping[str, Any]], of: str) -> dict[str, Any]:
    """The settings of an agent or a task in which it differs from some of the others."""
    mine = about[of]["settings"]
    return {key: value for key, value in mine.items() if any(one[of]["settings"].get(key) != value for one in others)}


def is_task(task: Mapping[str, Any], label: str) -> bool:
    """Whether a record's task is called so: its name, with or without version, and any of its settings in brackets."""
    name, *settings = [part for part in re.split("[(),]", label.replace(" ", "")) if part]
    plain = task["id"].removesuffix(f"-v{task['settings'].get('version')}")
    return name in (task["id"], plain) and {*settings} <= {f"{key}={value}" for key, value in task["settings"].items()}


def pairs_of(claim: Claim, arms: Sequence[Arm]) -> list[tuple[Arm, Arm | None]]:
    """What a claim compares: two arms, or an arm and a number; twice where it is about two tasks.

    Raises:
        UsageError: an arm or a task is not of the suite, or both arms are on several tasks and none is named.
    """
    if claim.task is None:
        labels = [
            compare.matching([arm.called for arm in arms], one) for one in (claim.a, claim.b) if isinstance(one, str)
        ]
        by_label = [{arm.called.task for arm in arms if arm.called.label == label} for label in labels]
        common = set.intersection(*by_label)
        if len(common) != 1:
            raise UsageError("'task' is missing: " + ("the arms are on several" if common else "the arms share none"))
        return [_pair(claim, [arm for arm in arms if arm.called.task in common])]
    found = []
    for label in [claim.task, *([] if claim.other_task is None else [claim.other_task])]:
        tasks = {arm.called.task for arm in arms if is_task(arm.about["task"], label)}
        if not tasks:
            raise unknown("task", label, {arm.called.task for arm in arms})
        if len(tasks) > 1:
            raise UsageError(f"several tasks are '{label}', say which: {', '.join(sorted(tasks))}")
        found.append(_pair(claim, [arm for arm in arms if arm.called.task in tasks]))
    return found


def _pair(claim: Claim, arms: Sequence[Arm]) -> tuple[Arm, Arm | None]:
    """The arms of a claim among those of one task."""
    by_label = {arm.called.label: arm for arm in arms}

    def meant(label: str) -> Arm:
        return by_label[compare.matching([arm.called for arm in arms], label)]

    return meant(claim.a), meant(claim.b) if isinstance(claim.b, str) else None


def check_budgets(claim: Claim, arms: Sequence[Arm]) -> None:
    """Whether a claim's arms are ever measured at its budgets. Which of them a run reaches is known when it is done.

    Raises:
        UsageError: one of them is not; the text says the nearest at which it is.
    """
    for pair in pairs_of(claim, arms):
        for arm, key in zip(pair, ("budget", "budget" if claim.b_budget is None else "b_budget"), strict=True):
            wanted = getattr(claim, key)
            if arm is None or not isinstance(wanted, float):
                continue
            about = arm.about["agent"]
            known = agents.make(about["name"], about["settings"]).budgets
            if wanted not in known:
                near = min(known, key=lambda budget: abs(np.log(budget / wanted)))
                listed = ", ".join(f"{budget:g}" for budget in known)
                raise UsageError(
                    f"'{key}': {arm.called.label} is not measured at {wanted:g}: the nearest is {near:g} (of {listed})"
                )


_NO_EFFECT = Difference(*[float("nan")] * 4)


@dataclass(frozen=True)
class Verdict:
    """What records say of a claim.

    Attributes:
        outcome: in a word.
        why: in a clause; of what is not supported or refuted, also what a verdict would take.
        mine, theirs: what `a` and `b` have of the measure, on `task`.
        effect: their difference; with `other_task`, less that there. `p` is that of the test that decides, adjusted.
        detectable: so far from the smallest effect that matters must a true one lie to be told from it with 80 % power.
        seeds: of the arm that has fewest.
        made_by: whose records were compared: of which release, and whether this code would make others.
    """

    claim: Claim
    outcome: Outcome
    why: str
    mine: float = float("nan")
    theirs: float = float("nan")
    effect: Difference = _NO_EFFECT
    detectable: float = float("nan")
    seeds: int = 0
    made_by: str = ""


class _Measured(NamedTuple):
    """A claim's effect, with the error that it would keep however many seeds there were; or what is lacking."""

    mine: float = float("nan")
    theirs: float = float("nan")
    effect: Difference = _NO_EFFECT
    floor: float = 0.0
    seeds: int = 0
    made_by: str = ""
    lacking: str = ""


def verdicts(
    claims: Sequence[Claim], arms: Sequence[Arm], rows: Sequence[Row], questions: Collection[str] = ()
) -> list[Verdict]:
    """What rows say of a suite's claims, corrected for how many of them are tested.

    Args:
        claims: of the suite.
        arms: of the suite.
        rows: made from its records.
        questions: the hashes of the runs that today's code asks for, whose rows come before those of earlier code.
    """
    found = [_measured(claim, arms, rows, questions) for claim in claims]
    tested = [one.seeds >= claim.seeds for claim, one in zip(claims, found, strict=True)]
    each = [p_of(one.effect, claim.region) for claim, one, enough in zip(claims, found, tested, strict=True) if enough]
    adjusted = iter(stats.holm(np.array(each)).tolist())
    result = []
    for claim, one, enough in zip(claims, found, tested, strict=True):
        effect = one.effect._replace(p=next(adjusted) if enough else float("nan"))
        outcome, why = judged(claim, effect)
        if one.lacking:
            outcome, why = "not tested", one.lacking
        elif not enough:
            why = f"{one.seeds} of {claim.seeds} seeds"
        elif outcome == "undecided":
            why = _what_it_would_take(claim, one, len(each))
        detectable = float("nan") if one.lacking else one.effect.detectable(max(1, len(each)))
        result.append(Verdict(claim, outcome, why, one.mine, one.theirs, effect, detectable, one.seeds, one.made_by))
    return result


def p_of(effect: Difference, region: tuple[float, float]) -> float:
    """Of the effect being at the nearest end of a region."""
    return effect.p_against(_nearest(effect, region))


def _nearest(effect: Difference, region: tuple[float, float]) -> float:
    """The end of a region that is nearest to the effect."""
    return min((end for end in region if np.isfinite(end)), key=lambda end: abs(effect.mean - end))


def judged(claim: Claim, effect: Difference) -> tuple[Outcome, str]:
    """The outcome, and why, by an effect with its adjusted p-value; undecided if that is NaN."""
    low, high = claim.region
    if not effect.p < 1 - stats.LEVEL:
        return "undecided", ""
    if low <= effect.mean <= high:
        return "supported", "the effect is clearly as claimed"
    if claim.direction not in ("higher", "lower"):
        return "refuted", f"the effect is clearly {_BEYOND[claim.direction]} that"
    reversed_ = effect.high < 0 if claim.direction == "higher" else effect.low > 0
    return "refuted", f"the effect is clearly {'the other way round' if reversed_ else 'smaller than matters'}"


_BEYOND = {"equal": "beyond", "not lower": "lower than", "not higher": "higher than"}


def _what_it_would_take(claim: Claim, one: _Measured, tests: int) -> str:
    """How many seeds would decide it, with the power of `detectable`, were the effect as estimated; seeds alone do not
    lessen what images and members of the judge add to the error."""
    effect = one.effect
    distance = abs(effect.mean - _nearest(effect, claim.region))
    allowed = distance / (effect.detectable(tests) / effect.error) if effect.error else 0.0
    of_seeds = max(effect.error**2 - one.floor**2, 0.0) * one.seeds
    if allowed <= one.floor:
        return "more seeds alone would not decide it: it would take more test images, or a larger effect"
    seeds = int(np.ceil(of_seeds / (allowed**2 - one.floor**2)))
    if seeds > MOST_SEEDS:
        return f"it would take more than {MOST_SEEDS} seeds"
    return f"it would take about {max(seeds, one.seeds + 1)} seeds, were the effect as estimated"


def _measured(claim: Claim, arms: Sequence[Arm], rows: Sequence[Row], questions: Collection[str]) -> _Measured:
    """The effect on each task of a claim, the second's taken from the first's."""
    each: list[_Measured] = []
    compared: list[tuple[Arm, Row]] = []
    try:
        for a, b in pairs_of(claim, arms):
            mine, theirs = row_of(a, rows, questions), None if b is None else row_of(b, rows, questions)
            each.append(_effect(claim, mine, theirs))
            compared += [(a, mine), *([(b, theirs)] if b is not None and theirs is not None else [])]
    except UsageError as error:
        return _Measured(lacking=str(error))
    first, *others = each
    for other in others:
        first = first._replace(
            effect=stats.apart(first.effect, other.effect),
            floor=float(np.hypot(first.floor, other.floor)),
            seeds=min(first.seeds, other.seeds),
        )
    return first._replace(made_by=_made_by(compared, questions))


def _made_by(compared: Sequence[tuple[Arm, Row]], questions: Collection[str]) -> str:
    """Of which release records are, and whether today's code asks for them: if not, which settings were others."""
    releases = sorted({record.about["software"]["glimpsebench"] for _, row in compared for record in row.records})
    text = f"release{'s' * (len(releases) > 1)} {', '.join(releases)}"
    if all(record.question in questions for _, row in compared for record in row.records):
        return text
    then = set()
    for arm, row in compared:
        today = arm.about["agent"]["settings"]
        changed = {key: value for key, value in row.about["settings"].items() if today.get(key, value) != value}
        then |= {f"{key}={value}" for key, value in changed.items()}
    return f"{text}, earlier code" + (f" and settings ({', '.join(sorted(then))})" if then else "")


def row_of(arm: Arm, rows: Sequence[Row], questions: Collection[str]) -> Row:
    """The row that answers best for an arm.

    Raises:
        UsageError: there is none, or two answer equally well.
    """
    ranked = [(rank, row) for row in rows if (rank := arm.rank(row, questions)) is not None]
    if not ranked:
        raise UsageError(f"no records of {arm.called.label}")
    best, row = max(ranked, key=lambda each: each[0])
    if sum(rank == best for rank, _ in ranked) > 1:
        raise UsageError(f"two rows answer for {arm.called.label}, of different code or judges: leave one of them")
    return row


def _effect(claim: Claim, mine: Row, theirs: Row | None) -> _Measured:
    """The effect on one task.

    Raises:
        UsageError: a row lacks the measure or does not reach the budget, or the two cannot be compared.
    """
    sides = [mine] if theirs is None else [mine, theirs]
    if len({record.about["task"]["test_sha256"] for row in sides for record in row.records}) > 1:
        raise UsageError("the arms were scored on different test images")
    if claim.measure == "judge" and len({row.records[0].about["judge"] for row in sides}) > 1:
        raise UsageError("the arms were judged by different judges")
    budgets = [claim.budget, claim.budget if claim.b_budget is None else claim.b_budget]
    values = [
        np.asarray(values_of(row, claim.measure, budget), float) for row, budget in zip(sides, budgets, strict=False)
    ]
    means = [float(value.mean()) for value in values]
    seeds = min(len(value) for value in values)
    other = claim.b if isinstance(claim.b, float) else means[-1]
    if seeds < 2:  # no test, so no matter by which formula
        return _Measured(means[0], other, _NO_EFFECT._replace(mean=means[0] - other), 0.0, seeds)
    if claim.finding:
        effect = stats.against_seeds(values[0], other) if theirs is None else stats.welch(*values)
        return _Measured(means[0], other, effect, 0.0, seeds)
    if theirs is None:
        effect, fixed = stats.against(values[0], other), stats.against(values[0].mean(0, keepdims=True), other)
    else:
        if mine is theirs:  # at two budgets: the same trainings
            values = [values[0] - values[1], np.zeros((1, *values[1].shape[1:]))]
        effect, fixed = stats.crossed(*values), stats.crossed(*(value.mean(0, keepdims=True) for value in values))
    return _Measured(means[0], other, effect, min(fixed.error, effect.error), seeds)


def values_of(row: Row, measure: str, budget: float | str | None) -> Array:
    """What a row has of a measure: per seed (S,) of a finding, else per seed, member and image (S, M, N).

    Raises:
        UsageError: it has none.
    """
    if name := finding_in(measure):
        found: Array | None = compare.findings_of(row).get(name)
    elif budget == AREA:
        found = row.area_scores(measure)
    else:
        found = compare.scores(row, measure, budget if isinstance(budget, float) else 0.0)
    if found is None:
        at = f" at {100 * budget:g} %" if isinstance(budget, float) else ""
        raise UsageError(f"{row.label} has no {measure}{at}")
    return found
