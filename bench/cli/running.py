"""Runs: one or several, a suite, trials, a run again in a clean room; how far a sweep is."""

from __future__ import annotations

import dataclasses
import functools
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from tqdm import tqdm

from glimpsebench.bench import escape, terminal
from glimpsebench.bench.cli.common import (
    STORE,
    Again,
    Device,
    Failed,
    Import,
    Root,
    Settings,
    Sweeps,
    app,
    bar_of,
    import_modules,
    parse_changes,
    parse_seeds,
    rooted,
    run_bar,
    show,
)
from glimpsebench.envs.errors import UsageError

if TYPE_CHECKING:
    from glimpsebench.bench.plan import Standing
    from glimpsebench.bench.run import Spec
    from glimpsebench.bench.suites import Suite


@app.command("run")
def run_command(
    agent: Annotated[str, typer.Option(help="An agent's name, or your own module: my_package.my_module")],
    task: Annotated[
        str | None, typer.Option(help="A task's name; `glimpse tasks` lists them; digits-clutter unless told.")
    ] = None,
    seeds: Annotated[
        str | None,
        typer.Option("--seed", "--seeds", help="Of initial weights, batches and random choices; a run each of 0-4."),
    ] = None,
    settings: Settings = None,
    sweeps: Sweeps = None,
    suite: Annotated[
        str | None,
        typer.Option(
            "--suite",
            metavar="SUITE",
            help="Under the terms of this suite: its tasks and seeds, and its base's settings. "
            "`glimpse report SUITE` then shows the contender among its rows.",
        ),
    ] = None,
    root: Root = STORE,
    again: Again = False,
    device: Device = "cpu",
    own_sensor: Annotated[
        bool, typer.Option("--own-sensor", help="The agent may bring a sensor of its own, which is tried out first.")
    ] = False,
) -> None:
    """Run one agent on one task: fit, roll out on the test images, score, write the record.

    With several seeds or values of a setting, one run after another; `glimpse sweep` has several at a time.
    """
    from glimpsebench import agents
    from glimpsebench.bench.plan import standings
    from glimpsebench.bench.run import usable
    from glimpsebench.bench.suites import expand, terms

    sys.path.insert(0, str(Path.cwd()))  # where a contender of one's own usually lies
    changes = parse_changes(settings, sweeps)
    if suite is None:
        table = {"agent": [agent], "task": [task or "digits-clutter"], "seed": parse_seeds(seeds or "0"), **changes}
        specs = list(expand(table))
    elif task is not None:
        raise UsageError(f"--task {task}: the suite {suite} has its tasks; leave --task out, or --suite")
    else:
        specs = terms(suite, agent, {**changes, **({} if seeds is None else {"seed": parse_seeds(seeds)})})
    for spec in specs:
        spec.make()
    usable(device)
    stands = standings(specs, root)
    failures = []
    for spec, stand in zip(specs, stands, strict=True):
        failures += [failure] if (failure := _one(spec, root, stand, again, device, own_sensor)) else []
    shown = f"leaderboard: glimpse leaderboard {specs[0].make()[1].id}"
    outside = "" if agent in agents.names() else f" --import {agent}"  # whose pictures the page has, too
    print((f"page: glimpse report {suite}{outside}" if suite else shown) + rooted(root))
    if failures:
        raise Failed(failures[0] if len(specs) == 1 else f"{len(failures)} of {len(specs)} runs did not end well")


def _one(spec: Spec, root: Path, stand: Standing, again: bool, device: str, own_sensor: bool) -> str:
    """One of `run`: what went wrong, if anything."""
    from glimpsebench.bench import curves, leaderboard, leases, records
    from glimpsebench.bench.run import run

    print(terminal.folded(str(spec)))
    if stand.record is not None and stand.done and not again:
        record = stand.record
        print("its record is here already (--again runs it again)")
    else:
        if stand.why:
            print(terminal.folded(stand.why))
        if device != "cpu" and not spec.make()[0].accelerated:
            print(f"{spec.agent} cannot train on a GPU: on the CPU, then")
        if stand.damaged is not None:
            print(f"the damaged record is kept in {records.set_aside(root, stand.damaged)}")
        started = time.perf_counter()
        with leases.leased(root, spec.folder(root).name) as lease, run_bar() as stages:
            if lease is None:
                raise UsageError(f"{spec}: another process is at this run now; `glimpse run` again when it is done")
            record = run(spec, root, stages, device, own_sensor, lambda: lease.ours)
        print(f"{record.about['status']} in {time.perf_counter() - started:.0f} s")
    if not record.done:
        error = escape.terminal(str(record.about["error"]))
        print(terminal.folded(error))
        return error
    print("\n".join(terminal.columned(*leaderboard.summary(record), terminal.width())))
    print(f"record: {record.folder}")
    if doubt := curves.at_chance(record, rooted(root)):
        print(terminal.folded(doubt))
    return ""


@app.command("sweep")
def sweep_command(
    suite: Annotated[str, typer.Argument(help="A suite's name (quick) or a TOML file of your own.")],
    root: Root = STORE,
    workers: Annotated[int, typer.Option(min=1, help="Runs at a time, one thread each.")] = 2,
    list_only: Annotated[bool, typer.Option("--list", help="Only list the runs and whether they are done.")] = False,
    seeds: Annotated[
        str | None, typer.Option("--seed", "--seeds", help="In place of the suite's seeds: 0-9, or 0,3,5-7.")
    ] = None,
    settings: Settings = None,
    sweeps: Sweeps = None,
    again: Again = False,
    retry_failed: Annotated[
        bool, typer.Option("--retry-failed", help="Run those again that failed or diverged, which otherwise stay so.")
    ] = False,
    time_limit: Annotated[
        float | None, typer.Option(min=1, metavar="SECONDS", help="A run that takes longer is ended, and has failed.")
    ] = None,
    device: Device = "cpu",
    executor: Annotated[
        str, typer.Option(metavar="local|ray|slurm", help="How runs are carried out; docs/clusters.md has both others.")
    ] = "local",
    address: Annotated[str, typer.Option(help="Of the Ray cluster.")] = "auto",
    partition: Annotated[str | None, typer.Option(help="Of Slurm.")] = None,
) -> None:
    """Run what a suite lists and has no record yet; then write its leaderboard, comparisons and figures.

    `--set` and `--sweep` take the place of what the suite says, for every agent that has the setting. `glimpse suites`
    lists the suites, `glimpse status SUITE` in another terminal says how a sweep goes, and so does sweep.log in the
    store. Ctrl-C once stops when nothing is lost by it, twice at once. Exit code 1 if a run has failed.
    """
    from glimpsebench.bench import executors, store
    from glimpsebench.bench.plan import standings
    from glimpsebench.bench.suites import read_suite
    from glimpsebench.bench.sweep import sweep

    sys.path.insert(0, str(Path.cwd()))
    carry_out = executors.make(executor, workers, time_limit, address, partition)
    changes: Mapping[str, Any] = parse_changes(settings, sweeps)
    plan = read_suite(suite, {**changes, **({} if seeds is None else {"seed": parse_seeds(seeds)})})
    if not list_only and (moved := store.adopt(root, plan.name)):
        print(f"{moved} records moved from {root / plan.name} to {root / 'records'}")
    stands = standings(plan.specs, root)
    done, failed = (sum(getattr(stand, word) for stand in stands) for word in ("done", "failed"))
    print(f"suite {plan.name}: {len(plan.specs)} runs, {done} done{f', {failed} failed' * bool(failed)}, in {root}")
    print(*map(terminal.folded, plan.notes), sep="\n", end="\n" * bool(plan.notes))
    if list_only:
        for spec, stand in zip(plan.specs, stands, strict=True):
            print(terminal.folded(f"  {stand.word:7}{stand.why or spec}", 9))
        return
    for stand in stands:
        if stand.why and stand.damaged is None:
            print(terminal.folded(stand.why))
    failures = sweep(plan.specs, root, carry_out, device=device, again=again, retry_failed=retry_failed)
    _judge_the_rest(root, plan, workers)
    _report(root, plan, read_suite(suite))
    if failures:
        raise Failed(
            f"{len(failures)} of {len(plan.specs)} runs did not end well; the leaderboard says which, "
            "and --retry-failed runs them again"
        )


def _judge_the_rest(root: Path, suite: Suite, workers: int) -> None:
    """Have today's judge judge what an earlier one has judged, of a suite's records that have their selections."""
    from glimpsebench.bench import judgements, store

    lacking = judgements.lacking(store.of_suite(suite, root))
    whole = [one for one in lacking if (one.folder / "selections.npz").exists()]
    for left_out in judgements.rejudge(whole, workers, bar_of("judging", "record")) if whole else ():
        print(terminal.folded(left_out))


def _report(root: Path, swept: Suite, suite: Suite) -> None:
    """Write and show a suite's tables, the comparisons of the runs that were swept, and figures.

    Args:
        root: the store.
        swept: the suite with changes from the command line.
        suite: as its file has it. Its runs stand beside those that were swept.
    """
    from glimpsebench.bench import compare, curves, figures, leaderboard, store

    both = dataclasses.replace(suite, specs=(*suite.specs, *swept.specs))
    records, folder = store.of_suite(both, root), root / suite.name
    folder.mkdir(exist_ok=True)
    paths = leaderboard.write(records, folder, suite.title) + figures.write(records, folder)
    own = store.asked_by(swept.specs, records)
    compared, skipped = compare.write(swept.comparisons, leaderboard.rows_of(own), folder)
    paths += compared
    show(paths[0].read_text(), False, leaderboard.MARKS, curves=True)
    notes = [*skipped, *filter(None, (curves.at_chance(record, rooted(root)) for record in own))]
    print(*map(terminal.folded, notes), sep="\n", end="\n" * bool(notes))
    print("Written:", *paths, root / "records", sep="\n  ")


@app.command("status")
def status_command(
    suite: Annotated[str, typer.Argument(help="A suite's name (quick) or a TOML file of your own.")],
    root: Root = STORE,
) -> None:
    """How a sweep goes: what is done, has failed and is at work now, where and for how long. Exit code 1 if failed."""
    from glimpsebench.bench import status
    from glimpsebench.bench.suites import read_suite

    sys.path.insert(0, str(Path.cwd()))
    lines, failed = status.status(read_suite(suite), root)
    print(*map(terminal.folded, lines), sep="\n")
    if failed:
        raise Failed(f"{failed} runs did not end well")


@app.command("reproduce")
def reproduce_command(
    record: Annotated[Path, typer.Argument(metavar="RECORD", help="A record's folder, ROOT/records/TASK/AGENT/KEY.")],
    dry: Annotated[bool, typer.Option("--dry", help="Only print the command and compare the environment.")] = False,
    modules: Import = None,
) -> None:
    """Make a record's run again, and say how close it came: the command, the environment, then every file.

    Exit code 1 if what can be the same is not. Judgements are functions of a record: `glimpse rejudge` needs no rerun.
    """
    from glimpsebench.bench import reproduce

    import_modules(modules)
    found = reproduce.prepare(record)
    print(*map(terminal.folded, found.lines), sep="\n")
    if dry:
        return
    with run_bar() as stages:
        lines, same = reproduce.compare(found, stages)
    print(*map(terminal.folded, lines), sep="\n")
    if not same:
        raise Failed("it came out otherwise")


@app.command("tune")
def tune_command(
    suite: Annotated[str, typer.Argument(help="A suite with a [tune] table: its name, or a TOML file of your own.")],
    root: Root = STORE,
    trials: Annotated[int | None, typer.Option(min=1, help="Of each entry, in place of what the suite says.")] = None,
    seeds: Annotated[str, typer.Option("--seed", "--seeds", help="Of the suite that is written: 0-9.")] = "0-9",
    workers: Annotated[int, typer.Option(min=1, help="Trials at a time, one thread each.")] = 2,
    list_only: Annotated[bool, typer.Option("--list", help="Only list the trials and whether they are done.")] = False,
) -> None:
    """Search settings by validation accuracy: as many random trials for every entry, none of which sees a test image.

    A trial that is recorded is not run again, so that the same command goes on where it was stopped. The best settings
    of each entry are written as a suite, to be run with `glimpse sweep`.
    """
    from glimpsebench.bench import tune

    sys.path.insert(0, str(Path.cwd()))
    plan = tune.read_plan(suite)
    plan = plan if trials is None else dataclasses.replace(plan, trials=trials)
    folder = root / plan.suite
    kept = folder / "trials"
    if list_only:
        for entry in range(len(plan.entries)):
            for trial in range(plan.trials):
                spec = plan.spec(entry, trial)
                state = "done" if tune.path_of(kept, plan, spec).exists() else "to do"
                print(terminal.folded(f"  {state:7}{spec}", 9))
        return
    bar = functools.partial(tqdm, unit="trial", leave=False, disable=None, dynamic_ncols=True)
    found = tune.tune(plan, kept, bar, workers)
    head = ["entry", "trials", "validation accuracy, %", "best settings"]
    print(*terminal.columned(head, tune.table(plan, found), terminal.width()), sep="\n")
    path = folder / f"{plan.suite}-tuned.toml"
    path.write_text(tune.winners(plan, found, parse_seeds(seeds)))
    print("Written:", path, kept, sep="\n  ")


@app.command("audit")
def audit_command(
    agent: Annotated[str, typer.Argument(help="An agent's name, or your own module: my_package.my_module")],
    task: Annotated[str, typer.Option(help="A task's name; `glimpse tasks` lists them.")] = "digits-clutter",
    seed: Annotated[int, typer.Option(min=0, help="Of the run that is audited.")] = 0,
    settings: Settings = None,
    root: Root = STORE,
) -> None:
    """Make a run again where the contender sees nothing but what it is given, and say whether it leaks or encodes.

    It is fitted without the test images; its selector and its predictor are processes of their own. What it does there
    is compared with its record, which is made first if it is not there. Exit code 1 if it leaks or encodes.
    """
    from glimpsebench.bench import escape
    from glimpsebench.bench.audit.audits import audit, read
    from glimpsebench.bench.audit.verdict import CHECKS
    from glimpsebench.bench.suites import expand

    sys.path.insert(0, str(Path.cwd()))
    table = {"agent": [agent], "task": [task], "seed": [seed], **parse_changes(settings, None)}
    (spec,) = expand(table)
    print(terminal.folded(str(spec)))
    with tqdm(bar_format="{elapsed} {desc}", leave=False, disable=None) as bar:
        folder = audit(spec, root, bar.set_description_str)
    found = read(folder)
    assert found is not None
    print(terminal.listed((f"{100 * value:5.1f} %", CHECKS[name].says) for name, value in found.figures.items()))
    if found.not_caught:
        print(terminal.folded(f"Not caught: {found.not_caught}."))
    print(f"verdict: {found.verdict}\nWritten: {folder / 'audit.json'}")
    if found.reasons:
        raise Failed(escape.terminal("; ".join(found.reasons)))
