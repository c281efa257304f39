"""Claims: what a suite may state, which rows answer for its arms, and verdicts on effects that are planted."""

from __future__ import annotations

import re
import runpy
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from glimpsebench.bench import claims, stats
from glimpsebench.bench.claims import Arm, Verdict, arms_of, claim_of, is_task, pairs_of, verdicts
from glimpsebench.bench.records import Record
from glimpsebench.bench.rows import Called, Row
from glimpsebench.bench.run import Spec
from glimpsebench.bench.suites import read_suite, suite_names
from glimpsebench.envs.errors import UsageError

Array = NDArray[Any]

PLANTED: dict[str, Any] = runpy.run_path(str(Path(__file__).parents[1] / "benchmarks" / "verdicts.py"))
"""The simulation: `python benchmarks/verdicts.py`."""
TABLE: dict[str, Any] = {
    "text": "a is better than b",
    "source": "nobody",
    "a": "a",
    "b": "b",
    "measure": "own",
    "budget": 0.1,
    "direction": "higher",
    "matters": 0.02,
}
TASK: dict[str, Any] = {"id": "toy-v1", "settings": {"version": 1, "noise": 0.5}}


class Scored(Row):
    """A row whose scores, (S, M, N) at each budget, are given."""

    def __init__(
        self,
        name: str,
        at: Mapping[float, Array],
        findings: Mapping[str, Sequence[float]] | None = None,
        task: Mapping[str, Any] = TASK,
        **agent: Any,
    ) -> None:
        about: dict[str, Any] = {
            "agent": {"name": name, "version": 1, "source": None, "settings": {}, "reference": None} | agent,
            "task": {**task, "test_sha256": "x"},
            "judge": "0" * 16,
            "status": "done",
            "software": {"glimpsebench": "1.0"},
        }
        runs = []
        for seed in range(len(next(iter(at.values())))):
            found = {key: float(values[seed]) for key, values in (findings or {}).items()}
            runs.append(Record(Path(name), about | {"seed": seed, "findings": found}))
        super().__init__(name, task["id"], tuple(runs))
        object.__setattr__(self, "at", at)

    def scores(self, by: str, budget: float) -> Array | None:
        at: Mapping[float, Array] = self.at  # type: ignore[attr-defined]
        return at.get(budget)


def arm(name: str, task: Mapping[str, Any] = TASK, **settings: Any) -> Arm:
    about = {"agent": {"name": name, "settings": settings, "reference": None}, "task": task}
    return Arm(Called(str(task), name, name), about, settings, task["settings"])


def answers(share: float, seeds: int = 5, images: int = 400, seed: int = 0) -> Array:
    """Right or wrong of independent networks on images that are equally hard for all: (S, 1, N)."""
    return np.random.default_rng(seed).random((seeds, 1, images)) < share


def one_verdict(rows: Sequence[Row], **changes: Any) -> Verdict:
    (found,) = verdicts([claim_of({**TABLE, **changes})], [arm("a"), arm("b")], rows)
    return found


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"budgt": 0.1}, "unknown key 'budgt': did you mean 'budget'?"),
        ({"direction": "hihger"}, "unknown direction 'hihger': did you mean 'higher'?"),
        ({"measure": "judg"}, "unknown measure 'judg': did you mean 'judge'?"),
        ({"measure": "findings"}, "unknown measure 'findings'"),
        ({"text": None}, "'text'"),
        ({"text": " "}, "'text'"),
        ({"text": "a\x1b[2J"}, "'text'"),
        ({"matters": -0.01}, "'matters'"),
        ({"matters": "0.01"}, "'matters'"),
        ({"seeds": 1}, "'seeds'"),
        ({"budget": 1.5}, "'budget'"),
        ({"budget": None}, "'budget' is missing"),
        ({"measure": "findings.area"}, "'budget' does not go with findings.area"),
        ({"measure": "iou", "budget": "area"}, "'budget' is an area of own and judge alone"),
        ({"b": "a"}, "'a' is compared with itself"),
        ({"b": 0.5, "b_budget": 0.2}, "'b_budget' needs"),
        ({"other_task": "toy"}, "'other_task' needs 'task'"),
        ({"direction": "equal", "matters": 0.0}, "'matters' must be more than 0"),
    ],
)
def test_a_mistake_in_a_claim_is_named(changes: Mapping[str, Any], says: str) -> None:
    with pytest.raises(UsageError, match=re.escape(says)):
        claim_of({**TABLE, **changes})


def test_a_misspelt_key_is_named_before_the_one_that_is_missing_for_it() -> None:
    table = {name: value for name, value in TABLE.items() if name != "matters"}
    with pytest.raises(UsageError, match=re.escape("unknown key 'mater': did you mean 'matters'?")):
        claim_of(table | {"mater": 0.01})


def test_what_a_claim_needs_is_said() -> None:
    with pytest.raises(UsageError, match="'source' is missing: a claim has text, source, a, b, measure, direction"):
        claim_of({key: value for key, value in TABLE.items() if key != "source"})


SUITE = """
[base]
task = "digits"
seed = [0, 1]
[[matrix]]
agent = "dham"
"agent.norm" = ["L2", "L1"]
"""


@pytest.mark.parametrize(
    ("claim", "says"),
    [
        ({"budgt": 0.1}, "claim 1: unknown key 'budgt': did you mean 'budget'?"),
        ({"a": "dham (norm=L3)"}, "claim 1: unknown contender 'dham (norm=L3)': did you mean 'dham (norm=L1)'?"),
        ({"task": "digit"}, "claim 1: unknown task 'digit': did you mean 'digits-v1'?"),
        ({"budget": 0.12}, "claim 1: 'budget': dham is not measured at 0.12: the nearest is 0.1 (of 0.01, 0.02, "),
        ({"b_budget": 0.45}, "claim 1: 'b_budget': dham (norm=L1) is not measured at 0.45: the nearest is 0.5 (of "),
    ],
)
def test_a_mistake_in_a_suite_names_file_and_claim(claim: Mapping[str, Any], says: str, tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    table = {**TABLE, "a": "dham", "b": "dham (norm=L1)", **claim}
    path.write_text(SUITE + "[claim]\n" + "".join(f"{key} = {value!r}\n" for key, value in table.items()))
    with pytest.raises(UsageError) as found:
        read_suite(str(path))
    assert re.match(rf"{re.escape(str(path))}:\d+: {re.escape(says)}", str(found.value))


def test_a_claim_at_a_budget_that_an_arm_adds_to_the_grid_needs_it_of_both(tmp_path: Path) -> None:
    lines = "".join(f"{key} = {value!r}\n" for key, value in (TABLE | {"budget": 0.12}).items())
    arm = '[[matrix]]\nlabel = "{}"\ntask = "digits"\nagent = "straight_through"\n"agent.extra_budgets" = {}\n'
    path = tmp_path / "mine.toml"
    path.write_text(arm.format("a", "[[0.12]]") + arm.format("b", "[[0.12, 0.3]]") + f"[claim]\n{lines}")
    assert read_suite(str(path)).claims[0].budget == 0.12
    path.write_text(arm.format("a", "[[0.12]]") + arm.format("b", "[[0.07]]") + f"[claim]\n{lines}")
    line = path.read_text().splitlines().index("budget = 0.12") + 1
    with pytest.raises(UsageError, match=rf"mine.toml:{line}: claim 1: 'budget': b is not measured at 0.12"):
        read_suite(str(path))


def test_one_claim_or_several_may_be_stated(tmp_path: Path) -> None:
    lines = "".join(f"{key} = {value!r}\n" for key, value in (TABLE | {"a": "dham", "b": "dham (norm=L1)"}).items())
    for text, number in ((f"[claim]\n{lines}", 1), (f"[[claim]]\n{lines}[[claim]]\n{lines}", 2)):
        (tmp_path / "mine.toml").write_text(SUITE + text)
        assert len(read_suite(str(tmp_path / "mine.toml")).claims) == number
    changed = read_suite(str(tmp_path / "mine.toml"), {"agent.norm": ["L2"]})
    assert changed.claims == ()
    assert any("dham (norm=L1)" in note for note in changed.notes), "the arm is gone, and that is said"


def test_every_source_of_a_claim_in_the_suites_can_be_looked_up() -> None:
    stated = [claim for name in suite_names() for claim in read_suite(name).claims]
    assert len(stated) > 20
    for claim in stated:
        assert re.search(r"arXiv:\d{4}\.\d{5}|arXiv:\d{4}\.\d{4}|DOI 10\.|\.com/", claim.source), claim
        assert claim.seeds >= 5, claim


@pytest.mark.parametrize(
    ("direction", "effect", "outcome"),
    [
        ("higher", 0.2, "supported"),
        ("higher", -0.2, "refuted"),
        ("higher", 0.02, "undecided"),
        ("lower", -0.2, "supported"),
        ("lower", 0.2, "refuted"),
        ("equal", 0.2, "refuted"),
        ("equal", -0.2, "refuted"),
        ("not lower", 0.2, "supported"),
        ("not lower", -0.2, "refuted"),
        ("not higher", -0.2, "supported"),
        ("not higher", 0.2, "refuted"),
    ],
)
def test_a_direction_is_what_it_says(direction: str, effect: float, outcome: str) -> None:
    rows = [Scored("a", {0.1: answers(0.5 + effect)}), Scored("b", {0.1: answers(0.5, seed=1)})]
    found = one_verdict(rows, direction=direction)
    assert found.outcome == outcome
    assert found.effect[:3] == stats.crossed(*(np.asarray(row.scores("own", 0.1), float) for row in rows))[:3]
    assert found.mine - found.theirs == pytest.approx(found.effect.mean)


def test_an_effect_that_is_clear_but_smaller_than_matters_refutes_the_claim() -> None:
    rows = [Scored("a", {0.1: answers(0.53, images=5000)}), Scored("b", {0.1: answers(0.5, images=5000, seed=1)})]
    found = one_verdict(rows, matters=0.1)
    assert found.effect.low > 0
    assert (found.outcome, found.why) == ("refuted", "the effect is clearly smaller than matters")
    assert one_verdict(rows, matters=0.0).outcome == "supported"


def test_equal_is_supported_by_an_interval_within_what_matters() -> None:
    rows = [Scored("a", {0.1: answers(0.5)}), Scored("b", {0.1: answers(0.5, seed=1)})]
    assert one_verdict(rows, direction="equal", matters=0.15).outcome == "supported"
    assert one_verdict(rows, direction="equal", matters=0.01).outcome == "undecided"


def test_few_seeds_leave_a_claim_undecided_and_missing_records_untested() -> None:
    rows = [Scored("a", {0.1: answers(0.9, seeds=4)}), Scored("b", {0.1: answers(0.2, seed=1)})]
    few = one_verdict(rows)
    assert (few.outcome, few.why, few.seeds) == ("undecided", "4 of 5 seeds", 4)
    assert few.effect.low > 0.5, "what there is, is shown"
    assert one_verdict(rows, seeds=4).outcome == "supported"
    gone = one_verdict(rows[:1])
    assert (gone.outcome, gone.why) == ("not tested", "no records of b")
    assert one_verdict(rows, budget=0.2).why == "a has no own at 20 %"
    assert one_verdict(rows, measure="findings.area", budget=None).why == "a has no findings.area"


def test_findings_are_compared_over_seeds_and_with_a_number() -> None:
    values = {"a": [0.1, 0.12, 0.11, 0.09, 0.13], "b": [0.5, 0.52, 0.49, 0.51, 0.5]}
    rows = [Scored(name, {0.1: answers(0.5)}, {"area": values[name]}) for name in values]
    asked = {"measure": "findings.area", "budget": None, "direction": "lower"}
    found = one_verdict(rows, **asked)
    assert found.outcome == "supported"
    assert found.effect[:3] == stats.welch(np.array(values["a"]), np.array(values["b"]))[:3]
    number = one_verdict(rows, b=0.3, **asked)
    assert (number.outcome, number.theirs) == ("supported", 0.3)
    assert number.effect.mean == pytest.approx(0.11 - 0.3)
    assert one_verdict(rows, b=0.05, **asked).outcome == "refuted"
    assert one_verdict(rows, b=0.3).outcome == "supported", "an accuracy is compared with a number too"


def test_one_arm_at_two_budgets_is_paired_by_its_seeds() -> None:
    rng = np.random.default_rng(0)
    luck_S11 = 0.3 * rng.standard_normal((5, 1, 1))  # a seed is good or bad at both budgets
    images = rng.random((5, 1, 2000))
    row = Scored("a", {0.1: images < 0.5 + luck_S11, 0.2: images < 0.6 + luck_S11})
    found = one_verdict([row], b="a", budget=0.2, b_budget=0.1)
    assert found.outcome == "supported"
    unpaired = stats.crossed(*(np.asarray(row.scores("own", at), float) for at in (0.2, 0.1)))
    assert unpaired.low < 0 < found.effect.low
    assert found.effect.mean == pytest.approx(unpaired.mean)


def test_an_interaction_is_one_tasks_effect_less_the_others() -> None:
    quiet, loud = TASK, {"id": "toy-v1", "settings": {"version": 1, "noise": 2.0}}
    shares = {"a": (0.9, 0.8), "b": (0.85, 0.4)}
    rows = [
        Scored(name, {0.1: answers(share, seed=round(100 * share))}, task=task)
        for name, each in shares.items()
        for share, task in zip(each, (quiet, loud), strict=True)
    ]
    arms = [arm(name, task) for name in shares for task in (quiet, loud)]
    about = claim_of(TABLE | {"task": "toy (noise=2.0)", "other_task": "toy (noise=0.5)"})
    (found,) = verdicts([about], arms, rows)
    there, here = (
        verdicts([claim_of(TABLE | {"task": f"toy-v1 (noise={noise})"})], arms, rows)[0] for noise in (2.0, 0.5)
    )
    assert found.outcome == "supported"
    assert found.effect.mean == pytest.approx(there.effect.mean - here.effect.mean)
    assert found.effect.error == pytest.approx(np.hypot(there.effect.error, here.effect.error))
    with pytest.raises(UsageError, match="'task' is missing: the arms are on several"):
        pairs_of(claim_of(TABLE), arms)


def test_a_task_is_named_with_or_without_version_and_by_some_of_its_settings() -> None:
    for label in ("toy", "toy-v1", "toy (noise=0.5)", "toy-v1(noise=0.5,version=1)"):
        assert is_task(TASK, label)
    for label in ("to", "toy-v2", "toy (noise=2.0)"):
        assert not is_task(TASK, label)


def test_more_claims_in_a_suite_make_each_verdict_stricter() -> None:
    rows = [Scored("a", {0.1: answers(0.59, images=200)}), Scored("b", {0.1: answers(0.5, images=200, seed=1)})]
    claim, other = claim_of(TABLE), claim_of(TABLE | {"matters": 0.08})
    (alone,) = verdicts([claim], [arm("a"), arm("b")], rows)
    among = verdicts([claim, *[other] * 9], [arm("a"), arm("b")], rows)[0]
    assert among.effect.p > alone.effect.p
    assert among.detectable > alone.detectable
    assert (alone.outcome, among.outcome) == ("supported", "undecided")


def test_what_it_would_take_is_how_many_seeds_would_do() -> None:
    asked = {"measure": "findings.area", "budget": None, "matters": 0.0}

    def rows(times: int) -> list[Row]:
        spread = np.tile([-0.1, -0.05, 0.0, 0.05, 0.1], times)
        return [
            Scored(name, {0.1: answers(0.5, seeds=5 * times)}, {"area": (0.5 + more + spread).tolist()})
            for name, more in (("a", 0.06), ("b", 0.0))
        ]

    found = one_verdict(rows(1), **asked)
    assert found.outcome == "undecided"
    seeds = int(re.findall(r"about (\d+) seeds, were the effect as estimated", found.why)[0])
    assert 10 < seeds < 50
    assert one_verdict(rows(seeds // 5), **asked).outcome == "supported"
    few_images = [Scored("a", {0.1: answers(0.53, images=50)}), Scored("b", {0.1: answers(0.5, images=50, seed=1)})]
    assert "more test images" in one_verdict(few_images, matters=0.0).why


def test_rows_of_earlier_code_answer_by_what_sets_their_arm_apart() -> None:
    specs = [Spec("dham", "digits", 0, {"norm": norm}) for norm in ("L2", "L1")]
    arms = arms_of(specs)
    assert [one.apart for one in arms] == [{"norm": "L2"}, {"norm": "L1"}]
    settings = dict(arms[0].about["agent"]["settings"])
    task = arms[0].about["task"]
    scores = {1.0: answers(0.5)}
    today = Scored("dham", scores, task=task, settings=settings)
    steps = Scored("dham", scores, task=task, settings=settings | {"steps": 7})
    other = Scored("dham", scores, task=task, settings=settings | {"norm": "L1"})
    older = Scored("dham", scores, task=task, settings=settings, version=0)
    assert claims.row_of(arms[0], [older, steps, other, today], ()) is today, "the newest version of the same settings"
    assert claims.row_of(arms[0], [steps, other], ()) is steps
    assert claims.row_of(arms[0], [today, older], {older.records[0].question}) is older, "what this code would make"
    with pytest.raises(UsageError, match="no records of dham"):
        claims.row_of(arms[0], [other], ())
    with pytest.raises(UsageError, match="two rows answer for dham"):
        claims.row_of(arms[0], [steps, steps], ())
    claim = claim_of(TABLE | {"a": "dham", "b": "dham (norm=L1)", "budget": 1.0})
    (found,) = verdicts([claim], arms, [steps, other])
    assert found.made_by == "release 1.0, earlier code and settings (steps=7)"


SHORT = 60


@pytest.mark.parametrize("name", PLANTED["SUITES"])
def test_verdicts_on_planted_effects(name: str) -> None:
    check(name, PLANTED["SPREADS"][2], SHORT, slack=0.05)


@pytest.mark.long
@pytest.mark.parametrize("name", PLANTED["SUITES"])
def test_verdicts_on_planted_effects_are_right_in_95_of_100_experiments(name: str) -> None:
    check(name, PLANTED["SPREADS"][0], 1000, slack=0.0)


def check(name: str, spread: tuple[float, float], experiments: int, slack: float) -> None:
    suite = PLANTED["SUITES"][name]
    for planted, count in zip(suite, PLANTED["outcomes"](suite, spread, experiments), strict=True):
        assert planted.true or count["supported"] <= (0.05 + slack) * experiments, planted
        assert count[planted.right] >= (0.95 - slack) * experiments, planted


def test_the_committed_simulation_is_complete_and_within_bounds() -> None:
    page = PLANTED["PAGE"].read_text()
    experiments = int(re.findall(r"([\d,]+) experiments a line", page)[0].replace(",", ""))
    assert experiments >= 1000
    lines = [[cell.strip() for cell in line.strip("| ").split("|")] for line in page.splitlines() if "| " in line]
    for suite in PLANTED["SUITES"].values():
        for planted in suite:
            mine = [line for line in lines if line[0] == planted.says and line[3] == planted.right]
            assert mine, planted
            assert all(float(line[4]) >= 95 for line in mine), planted
            assert planted.true or all(float(line[5]) <= 5 for line in mine), planted
