"""The command line: `glimpse`, the same as `python -m glimpsebench`."""

from __future__ import annotations

import dataclasses
import json
import sys
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from safetensors import SafetensorError
from tqdm import tqdm

from glimpsebench.bench import escape, terminal
from glimpsebench.envs.errors import UsageError, unknown

if TYPE_CHECKING:
    from glimpsebench.bench.progress import Stage, Stages
    from glimpsebench.bench.records import Record
    from glimpsebench.bench.run import Spec, Standing
    from glimpsebench.bench.suites import Suite
    from glimpsebench.envs.tasks import Task

app = typer.Typer(
    add_completion=False,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
    help="How small a part of an image is enough to classify it, and who chooses it better?\n\n"
    "A first look:  glimpse sweep quick   (three contenders and the floors on small digits, a few minutes)\n\n"
    "One run:       glimpse run --agent ram --task digits-clutter --set agent.glimpses=6",
)
data_app = typer.Typer(no_args_is_help=True, help="Image sets: what is here, and how to get more.")
app.add_typer(data_app, name="data")
judge_app = typer.Typer(
    no_args_is_help=True, help="Judges, which score every selection, and readers, from which predictors begin."
)
app.add_typer(judge_app, name="judge")

_ROOT = "Where records, tables and figures lie: a folder, or a suite's name for runs/SUITE."
Root = Annotated[str, typer.Option("--root", metavar="FOLDER|SUITE", help=_ROOT)]
RootOfSuite = Annotated[
    str | None, typer.Option("--root", metavar="FOLDER|SUITE", help=f"{_ROOT} By default that of this suite.")
]
Settings = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        metavar="PATH=VALUE",
        help="A setting, as agent.NAME=VALUE or task.NAME=VALUE; repeat for more. `glimpse agents NAME` lists them.",
    ),
]
Sweeps = Annotated[
    list[str] | None,
    typer.Option(
        "--sweep",
        metavar="PATH=V1,V2",
        help="Several values of a setting, a run for each: agent.lr=1e-3,1e-2; repeated, they are multiplied out.",
    ),
]
Again = Annotated[bool, typer.Option("--again", help="Run anew what has a record, which the new one replaces.")]
AsMarkdown = Annotated[
    bool, typer.Option("--markdown", help="Print Markdown, as the files have it, not columns that fit the terminal.")
]
Device = Annotated[
    str,
    typer.Option(
        "--device", help="Where to train: cpu, or cuda (cuda:1, ...) for agents that can; all else is on the CPU."
    ),
]

Import = Annotated[
    list[str] | None,
    typer.Option("--import", metavar="MODULE", help="A module of your own that records here name; repeat for more."),
]
OfSuite = Annotated[
    str | None,
    typer.Option("--suite", metavar="SUITE", help="Only the runs of this suite; their tables are in ROOT/SUITE."),
]
OneTask = Annotated[str | None, typer.Option("--task", help="Only this task of the leaderboard.")]


@app.command("agents")
def agents_command(
    name: Annotated[str | None, typer.Argument(help="Show this agent's description and settings.")] = None,
) -> None:
    """List the agents, or describe one and its settings; also a module of your own: my_package.my_module."""
    from glimpsebench import agents
    from glimpsebench.envs.settings import described

    sys.path.insert(0, str(Path.cwd()))
    if name is None:
        kinds = {each: agents.find(each) for each in agents.names()}
        tracks = {each: "reference" if kind.reference else kind.track for each, kind in kinds.items()}
        print(
            terminal.listed(
                (each, f"{tracks[each]}; {_docstring(kind)[0].removeprefix(f'{each}: ')}")
                for each, kind in kinds.items()
            )
        )
        if own := agents.own_modules():
            print(f"\nIn this folder: {', '.join(own)}")
        return
    kind = agents.find(name)
    print(terminal.rendered("\n".join(_docstring(kind))), end="")
    print("\nSettings (--set agent.NAME=VALUE), with their defaults:\n")
    print(
        terminal.listed(
            (f"{each.name}={each.default}", f"{each.type}{': ' * bool(each.meaning)}{each.meaning}")
            for each in described(kind)
        )
    )


def _docstring(kind: type) -> list[str]:
    """The lines of a module's docstring; a single empty one without."""
    return (sys.modules[kind.__module__].__doc__ or "").strip().splitlines() or [""]


@app.command("suites")
def suites_command() -> None:
    """List the suites, and those in the current folder: how many runs, what they ask, and what that costs."""
    from glimpsebench.bench.suites import about, own_suites, read_suite, suite_names

    sys.path.insert(0, str(Path.cwd()))
    entries = []
    for name in [*suite_names(), *own_suites()]:
        try:
            suite = read_suite(name)
        except UsageError as error:  # one of the user's own
            entries.append((name, f"error: {error}"))
            continue
        texts = (f"{len(suite.specs)} runs. {suite.title}.", *about(name))
        entries.append((name, " ".join(text for text in texts if text)))
    print(terminal.listed(entries))
    print("\nglimpse sweep NAME runs one, glimpse sweep NAME --list lists its runs.")


@app.command("tasks")
def tasks_command(
    name: Annotated[
        str | None,
        typer.Argument(
            help="Describe this task; also folder:PATH, npz:PATH or voc:PATH of your own. folder, npz or voc alone: "
            "what is understood."
        ),
    ] = None,
    settings: Settings = None,
    pictures: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Write a contact sheet of each task whose images are here.")
    ] = None,
) -> None:
    """List the tasks, describe one, or draw what they look like."""
    from glimpsebench.envs import folders, gallery, tasks

    if name in folders.KINDS:
        print(folders.explain(name))
        return
    chosen = None if name is None else _task(name, settings)
    if pictures is not None:
        print("\n".join(map(str, gallery.write(pictures, None if chosen is None else [chosen]))))
    elif chosen is not None:
        print(terminal.folded(chosen.card()))
        chosen.remember()
    else:
        print(terminal.listed((each.id, each.describe()) for each in tasks.TASKS.values()))


def _task(name: str, settings: list[str] | None) -> Task:
    """The task of this name, as `--set` changes it."""
    from glimpsebench.envs import tasks

    changes = parse_changes(settings, None).items()
    return tasks.make(name, {path.removeprefix("task."): value for path, (value,) in changes})


@data_app.command("list")
def data_list() -> None:
    """List the image sets and whether they are here."""
    from glimpsebench.envs import datasets

    print(f"in {datasets.data_folder()}")
    for name in datasets.names():
        state = "here" if datasets.installed(name) else f"glimpse data get {name}"
        print(f"{name:16}{state}")


@data_app.command("get")
def data_get(
    names: Annotated[list[str], typer.Argument(help="mnist, fashion-mnist, cifar10")],
) -> None:
    """Download image sets, check them bit for bit, and keep them in GLIMPSE_DATA (or the user's cache)."""
    from glimpsebench.envs import datasets

    for name in names:
        if name not in datasets.names():
            raise unknown("image set", name, datasets.names())
    for name in names:
        print(f"{name}: {datasets.get(name)}")


TaskName = Annotated[str, typer.Argument(metavar="TASK", help="A task's name, or folder:PATH, npz:PATH, voc:PATH.")]


@judge_app.command("list")
def judge_list() -> None:
    """List the named tasks and where their judges and readers are: shipped, in the user's cache, or not yet trained."""
    from glimpsebench.bench import judges
    from glimpsebench.envs import tasks

    print(f"own and not shipped: {judges.cache_folder()}")
    for task in tasks.TASKS.values():
        own = "trained when first needed" if judges.missing(task) else "here"
        where = "shipped" if judges.is_shipped(task) else own
        print(f"{task.id:24}{where}")


@judge_app.command("train")
def judge_train(
    name: TaskName,
    settings: Settings = None,
    steps: Annotated[int | None, typer.Option(min=1, help="Of each network.")] = None,
    reader_steps: Annotated[int | None, typer.Option(min=1, help="Of the reader, if others.")] = None,
    width: Annotated[int | None, typer.Option(min=1, help="Channels of a judge's first layer.")] = None,
    stride: Annotated[int | None, typer.Option(min=1, help="Of a judge's first layer; 2 for large canvases.")] = None,
    into: Annotated[Path | None, typer.Option(metavar="FOLDER", help="Where to; by default the user's cache.")] = None,
    device: Device = "cpu",
) -> None:
    """Train the judges and the reader of a task, one after another; what was interrupted goes on where it was.

    Networks that are there already stay as they are: another recipe needs a folder without them.
    """
    from glimpsebench.bench import judges
    from glimpsebench.bench.run import usable

    usable(device)
    task = _task(name, settings)
    asked = {"steps": steps, "width": width, "stride": stride}
    recipe = dataclasses.replace(judges.recipe_of(task), **{key: value for key, value in asked.items() if value})
    for each, path, trained in judges.train_all(task, recipe, reader_steps or recipe.steps, into, _bar, device):
        print(f"{each}: {'trained' if trained else 'here already'}, {path}")
    task.remember()


@judge_app.command("show")
def judge_show(name: TaskName, settings: Settings = None, markdown: AsMarkdown = False) -> None:
    """The card of a task's judges and reader: how they were made, and how well they read each kind of canvas."""
    from glimpsebench.bench.judges import cards

    task = _task(name, settings)
    _show(cards.page(task, list(cards.cells(task, _bar("training a judge")))), markdown)


@judge_app.command("cards")
def judge_cards(
    into: Annotated[Path, typer.Option(metavar="FOLDER", help="Where the pages are.")] = Path("docs/judges"),
) -> None:
    """Write the cards of all shipped judges, a page per task."""
    from glimpsebench.bench import judges
    from glimpsebench.bench.judges import cards
    from glimpsebench.envs import tasks

    into.mkdir(parents=True, exist_ok=True)
    for task in tasks.TASKS.values():
        if judges.is_shipped(task):
            path = into / f"{task.name}.md"
            path.write_text(cards.page(task, list(cards.cells(task, _bar("")))))
            print(path)


def parse_changes(settings: Iterable[str] | None, sweeps: Iterable[str] | None) -> dict[str, list[Any]]:
    """`--set agent.lr=0.1`, `--sweep task.noise=0,1` → {"agent.lr": [0.1], "task.noise": [0, 1]}.

    Values are JSON where they parse as JSON, otherwise text.
    """
    changes: dict[str, list[Any]] = {}
    for option, pairs in (("--set", settings), ("--sweep", sweeps)):
        for pair in pairs or ():
            path, equals, text = pair.partition("=")
            if not equals or not path:
                raise UsageError(f"{option} {pair}: write PATH=VALUE, such as agent.lr=0.001")
            if path.partition(".")[0] not in ("agent", "task") or not path.partition(".")[2]:
                raise UsageError(
                    f"{option} {pair}: the path begins with 'agent.' or 'task.': did you mean 'agent.{pair}'?"
                )
            if path in changes:
                raise UsageError(f"{option} {pair}: {path} is said twice; several values are --sweep {path}=V1,V2")
            changes[path] = [_value(text)] if option == "--set" else _values(text)
            if not changes[path] or "" in changes[path]:
                raise UsageError(f"{option} {pair}: a value is missing")
    return changes


def _value(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return text


def _values(text: str) -> list[Any]:
    """`1,[2,3],x` → [1, [2, 3], "x"]: commas within brackets of JSON do not divide."""
    values = _value(f"[{text}]")
    return values if isinstance(values, list) else [_value(part.strip()) for part in text.split(",")]


def parse_seeds(text: str) -> list[int]:
    """Seeds and ranges, both ends included.

    >>> parse_seeds("0,3,5-7")
    [0, 3, 5, 6, 7]
    """
    from glimpsebench.bench.suites import MOST_RUNS

    seeds: list[int] = []
    for part in text.split(","):
        first, dash, last = part.strip().partition("-")
        if not (first.isdecimal() and (last.isdecimal() or not dash)) or len(first + last) > 40:
            raise UsageError(
                f"--seeds {text}: write whole numbers of 0 or more and ranges of them, such as 0-9 or 0,3,5-7"
            )
        low, high = int(first), int(last or first)
        if not low <= high < low + MOST_RUNS:
            raise UsageError(f"--seeds {text}: {part} must count upwards, and {MOST_RUNS:,} seeds are the most")
        seeds += range(low, high + 1)
    return list(dict.fromkeys(seeds))


def results_folder(root: str) -> Path:
    """The folder that `--root` means: `runs/SUITE` for a suite's name or file, otherwise the path that it is."""
    from glimpsebench.bench.suites import suite_names

    if root in suite_names() or root.endswith(".toml"):
        return Path("runs") / Path(root).stem
    return Path(root)


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
            help="Under the terms of this suite: its tasks and seeds, and its base's settings, into its folder. "
            "`glimpse report SUITE` then shows the contender among its rows.",
        ),
    ] = None,
    root: Annotated[
        str | None,
        typer.Option("--root", metavar="FOLDER|SUITE", help=f"{_ROOT} By default that of --suite, or quick."),
    ] = None,
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
    from glimpsebench.bench.run import standings, usable
    from glimpsebench.bench.suites import expand, terms

    sys.path.insert(0, str(Path.cwd()))  # where a contender of one's own usually lies
    changes = parse_changes(settings, sweeps)
    root = root or suite or "quick"
    folder = results_folder(root)
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
    stands = standings(specs, folder)
    failures = []
    for spec, stand in zip(specs, stands, strict=True):
        failures += [failure] if (failure := _one(spec, folder, stand, again, device, own_sensor)) else []
    outside = "" if agent in agents.names() else f" --import {agent}"  # whose pictures the page has, too
    print(f"page: glimpse report {suite}{outside}" if suite else f"leaderboard: glimpse leaderboard --root {root}")
    if failures:
        raise Failed(failures[0] if len(specs) == 1 else f"{len(failures)} of {len(specs)} runs did not end well")


def _one(spec: Spec, folder: Path, stand: Standing, again: bool, device: str, own_sensor: bool) -> str:
    """One of `run`: what went wrong, if anything."""
    from glimpsebench.bench import curves, leaderboard
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
        started = time.perf_counter()
        with _run_bar() as stages:
            record = run(spec, folder, stages, device, own_sensor)
        print(f"{record.about['status']} in {time.perf_counter() - started:.0f} s")
    if not record.done:
        error = escape.terminal(str(record.about["error"]))
        print(terminal.folded(error))
        return error
    print("\n".join(terminal.columned(*leaderboard.summary(record), terminal.width())))
    print(f"record: {record.folder}")
    if doubt := curves.at_chance(record, folder):
        print(terminal.folded(doubt))
    return ""


class Failed(Exception):
    """A run that did not end well: exit code 1."""


@contextmanager
def _run_bar() -> Iterator[Stages]:
    """A bar over a whole run, which says what the run is at."""
    from glimpsebench.bench.progress import Stages
    from glimpsebench.bench.sweep import BAR

    with tqdm(total=1, bar_format=BAR, leave=False, dynamic_ncols=True, disable=None) as bar:

        def show(stage: Stage) -> None:
            bar.n, bar.desc = min(stage.share, 0.99), stage.name
            bar.refresh()

        yield Stages(show)


def _bar(name: str, unit: str = "step") -> Any:
    def progress(iterable: Iterable[Any]) -> Iterator[Any]:
        return iter(tqdm(iterable, desc=name, unit=unit, leave=False, dynamic_ncols=True, disable=None))

    return progress


@app.command("sweep")
def sweep_command(
    suite: Annotated[str, typer.Argument(help="A suite's name (quick) or a TOML file of your own.")],
    root: RootOfSuite = None,
    workers: Annotated[int, typer.Option(min=1, help="Runs at a time, one thread each.")] = 2,
    list_only: Annotated[bool, typer.Option("--list", help="Only list the runs and whether they are done.")] = False,
    seeds: Annotated[
        str | None, typer.Option("--seed", "--seeds", help="In place of the suite's seeds: 0-9, or 0,3,5-7.")
    ] = None,
    settings: Settings = None,
    sweeps: Sweeps = None,
    again: Again = False,
    device: Device = "cpu",
) -> None:
    """Run what a suite lists and has no record yet; then write its leaderboard, comparisons and figures.

    `--set` and `--sweep` take the place of what the suite says, for every agent that has the setting. `glimpse suites`
    lists the suites.
    """
    from glimpsebench.bench.run import standings
    from glimpsebench.bench.suites import read_suite
    from glimpsebench.bench.sweep import sweep

    sys.path.insert(0, str(Path.cwd()))
    changes: Mapping[str, Any] = parse_changes(settings, sweeps)
    plan = read_suite(suite, {**changes, **({} if seeds is None else {"seed": parse_seeds(seeds)})})
    folder = results_folder(root or suite)
    stands = standings(plan.specs, folder)
    done = sum(stand.done for stand in stands)
    print(f"suite {plan.name}: {len(plan.specs)} runs, {done} done, in {folder}")
    print(*map(terminal.folded, plan.notes), sep="\n", end="\n" * bool(plan.notes))
    if list_only:
        for spec, stand in zip(plan.specs, stands, strict=True):
            print(terminal.folded(f"  {'done' if stand.done else 'to do':7}{stand.why or spec}", 9))
        return
    for stand in stands:
        if stand.why:
            print(terminal.folded(stand.why))
    failures = sweep(plan.specs, folder, workers, device=device, again=again)
    _judge_the_rest(folder, plan, workers)
    _report(folder, plan)
    if failures:
        raise Failed(f"{len(failures)} of {len(plan.specs)} runs did not end well; the leaderboard says which")


@app.command("audit")
def audit_command(
    agent: Annotated[str, typer.Argument(help="An agent's name, or your own module: my_package.my_module")],
    task: Annotated[str, typer.Option(help="A task's name; `glimpse tasks` lists them.")] = "digits-clutter",
    seed: Annotated[int, typer.Option(min=0, help="Of the run that is audited.")] = 0,
    settings: Settings = None,
    root: Root = "quick",
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
        folder = audit(spec, results_folder(root), bar.set_description_str)
    found = read(folder)
    assert found is not None
    print(terminal.listed((f"{100 * value:5.1f} %", CHECKS[name].says) for name, value in found.figures.items()))
    if found.not_caught:
        print(terminal.folded(f"Not caught: {found.not_caught}."))
    print(f"verdict: {found.verdict}\nWritten: {folder / 'audit.json'}")
    if found.reasons:
        raise Failed(escape.terminal("; ".join(found.reasons)))


@app.command("leaderboard")
def leaderboard_command(
    root: Root = "quick",
    suite: OfSuite = None,
    title: Annotated[str | None, typer.Option(help="The heading; by default the suite's title.")] = None,
    into: Annotated[
        Path | None, typer.Option(help="Also put the tables between this file's leaderboard markers.")
    ] = None,
    markdown: AsMarkdown = False,
) -> None:
    """Recompute leaderboard.md and leaderboard.csv from the records and print the former."""
    from glimpsebench.bench import leaderboard

    records, folder, heading = _view(root, suite)
    folder.mkdir(exist_ok=True)
    paths = leaderboard.write(records, folder, title or heading)
    if into is not None:
        leaderboard.insert(into, folder, title or heading, records=records)
    _show(paths[0].read_text(), markdown, leaderboard.MARKS)
    print("Written:", *paths, sep="\n  ")


@app.command("rejudge")
def rejudge_command(
    root: Root = "quick",
    again: Annotated[bool, typer.Option("--again", help="Also what today's judge has judged already.")] = False,
    workers: Annotated[int, typer.Option(min=1, help="Records at a time, one thread each.")] = 2,
    modules: Import = None,
) -> None:
    """Judge the records of a results folder by today's judge of their task. Nobody is trained again.

    What was looked at must lie beside the records (selections.npz). Judgements by other judges stay.
    """
    from glimpsebench.bench import judgements

    _import(modules)
    folder = results_folder(root)
    records = judgements.lacking(_records(folder), again)
    left_out = list(judgements.rejudge(records, workers, _bar("judging", "record"), modules or ()))
    print(f"{len(records) - len(left_out)} judged of {len(records)} that were to be, in {folder}")
    print(*map(terminal.folded, left_out), sep="\n", end="\n" * bool(left_out))
    if left_out:
        raise Failed(f"{len(left_out)} of {len(records)} records were not judged")


@app.command("verify")
def verify_command(
    paths: Annotated[
        list[Path], typer.Argument(metavar="PATH...", help="Results folders, folders of these, or single records.")
    ],
    judge: Annotated[
        bool, typer.Option("--judge", help="Judge the selections again, and the same places with their values blanked.")
    ] = False,
    rerun: Annotated[
        int, typer.Option(metavar="K", min=0, help="Run K of the records again, drawn at random: as long as they took.")
    ] = 0,
    as_json: Annotated[bool, typer.Option("--json", help="Print the report as JSON.")] = False,
    modules: Import = None,
) -> None:
    """Check records, perhaps somebody else's: what is forged or damaged, what is doubtful, what was found out again.

    Exit code 0: nothing; 1: doubts; 2: a record is refused. Nothing that a record names is imported.
    """
    from glimpsebench.bench import reports, verify

    _import(modules)
    checked = verify.verify(paths, judge, rerun, _bar("verifying", "record"))
    if as_json:
        print(json.dumps(reports.as_json(checked), indent=1))
    else:
        print("\n".join(reports.text(checked)))
    if code := verify.code(checked):
        raise typer.Exit(code)


@app.command("challenge")
def challenge_command(
    contender: Annotated[str, typer.Argument(metavar="ROW", help="A row as the leaderboard prints it.")],
    root: Root = "quick",
    suite: OfSuite = None,
    task: OneTask = None,
) -> None:
    """Print what somebody else must run to lower a row or to confirm it."""
    from glimpsebench.bench import compare, leaderboard, reports

    rows = compare.on_task(leaderboard.rows_of(_view(root, suite)[0]), task)
    for row in compare.named(rows, contender):
        print(*reports.challenge(row), sep="\n")


@app.command("retabulate")
def retabulate_command(
    results: Annotated[Path, typer.Argument(help="A folder of results folders, one per suite.")] = Path("results"),
) -> None:
    """Write all tables of committed results again, from their records, and which of them are of earlier code."""
    from glimpsebench.bench import retabulate

    print(*retabulate.rewrite(results), retabulate.sentence(results), sep="\n")


@app.command("figures")
def figures_command(root: Root = "quick", suite: OfSuite = None, modules: Import = None) -> None:
    """Redraw the curves and the galleries from the records."""
    from glimpsebench.bench import figures

    _import(modules)
    records, folder, _ = _view(root, suite)
    folder.mkdir(exist_ok=True)
    print("Written:", *figures.write(records, folder), sep="\n  ")


@app.command("compare")
def compare_command(
    contender: Annotated[str, typer.Argument(metavar="A", help="A row as the leaderboard prints it, or 'all'.")],
    other: Annotated[str, typer.Argument(metavar="B", help='The row to compare with, such as "uniform (kind=mask)".')],
    root: Root = "quick",
    suite: OfSuite = None,
    task: OneTask = None,
    measure: Annotated[str, typer.Option(help="own, evaluator, iou, on_object or pointed.")] = "evaluator",
    into: Annotated[Path | None, typer.Option(metavar="FILE", help="Also write it there, as Markdown.")] = None,
    markdown: AsMarkdown = False,
) -> None:
    """Whether A beats B: the paired difference at each budget that both reach, with a 95 % interval.

    Each image counts with its scores averaged over the seeds of each side, and the difference is taken on the same
    image. The interval counts how images differ and, on each side that has two or more, how seeds do; seeds are not
    matched, and the sides may have different numbers of them.
    """
    from glimpsebench.bench import compare, leaderboard

    rows = leaderboard.rows_of(_view(root, suite)[0])
    text = compare.markdown(rows, contender, other, measure, task)
    if into is not None:
        into.parent.mkdir(parents=True, exist_ok=True)
        into.write_text(text)
    _show(text, markdown)


@app.command("by-glimpse")
def by_glimpse_command(
    root: Root = "quick",
    suite: OfSuite = None,
    labels: Annotated[
        list[str] | None, typer.Option("--agent", metavar="LABEL", help="Only this row; repeat for more.")
    ] = None,
    against: Annotated[
        str | None, typer.Option(metavar="LABEL", help="Add the paired difference to this row after each glimpse.")
    ] = None,
    task: OneTask = None,
    modules: Import = None,
    markdown: AsMarkdown = False,
) -> None:
    """Accuracy and touched fraction after each glimpse; writes by_glimpse.md, .csv and .png to the results folder.

    For agents of several glimpses. Their recorded selections are replayed, so the weights must lie beside the
    records. An episode that ended early keeps its last prediction.
    """
    from glimpsebench.bench import by_glimpse, compare, leaderboard

    _import(modules)
    records, folder, _ = _view(root, suite)
    rows = compare.on_task(leaderboard.rows_of(records), task)
    chosen = by_glimpse.chosen(rows, labels or [], against)
    results = [
        by_glimpse.replayed(row, results_folder(root), _bar("training the evaluator"))
        for row in tqdm(chosen, "replaying", unit="row", leave=False, disable=None)
    ]
    folder.mkdir(exist_ok=True)
    paths = by_glimpse.write(results, folder, against)
    _show(paths[0].read_text(), markdown)
    print("Written:", *paths, sep="\n  ")


@app.command("curves")
def curves_command(
    root: Root = "quick",
    labels: Annotated[
        list[str] | None, typer.Option("--agent", metavar="LABEL", help="Only this row; repeat for more.")
    ] = None,
    task: OneTask = None,
    tensorboard: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Also write TensorBoard's event files into this folder.")
    ] = None,
    markdown: AsMarkdown = False,
) -> None:
    """Loss and validation accuracy over training; draws training.png and .pdf in the results folder.

    Against the labelled images that were passed through, a thin line for each seed and their mean.
    """
    from glimpsebench.bench import compare, curves, leaderboard

    folder = results_folder(root)
    rows = compare.on_task(leaderboard.rows_of(_records(folder)), task)
    chosen = [row for label in labels or () for row in compare.named(rows, label)]
    rows = curves.drawable([row for row in rows if row in chosen] if labels else rows)
    if tensorboard is not None:
        curves.write_tensorboard(rows, tensorboard)
    paths = curves.write(rows, folder)
    _show(curves.markdown(rows), markdown)
    print("Written:", *paths, *([] if tensorboard is None else [tensorboard]), sep="\n  ")


@app.command("study")
def study_command(
    name: Annotated[str, typer.Argument(help="A study's name; its suite has the same.")],
    root: RootOfSuite = None,
    markdown: AsMarkdown = False,
) -> None:
    """Write the table and the pictures of a study from the records of its suite: `glimpse sweep NAME` comes first."""
    from glimpsebench.bench import studies

    write = studies.find(name)
    folder = results_folder(root or name)
    paths = write(_records(folder, name), folder)
    _show(paths[0].read_text(), markdown)
    print("Written:", *paths, sep="\n  ")


@app.command("methods")
def methods_command(
    results: Annotated[Path, typer.Option(help="A folder of results folders, one for each suite.")] = Path("results"),
    pages: Annotated[Path, typer.Option(help="Where the pages are; they are made if they are not there.")] = Path(
        "docs/methods"
    ),
) -> None:
    """Write each agent's scores and costs into its page, docs/methods/NAME.md, from the committed records."""
    from glimpsebench.bench import methods

    print("Written:", *methods.write(results, pages), sep="\n  ")


@app.command("report")
def report_command(
    suites: Annotated[list[str], typer.Argument(metavar="SUITE...", help="Suites' names, or TOML files of your own.")],
    roots: Annotated[
        list[Path] | None,
        typer.Option(
            "--root",
            metavar="FOLDER",
            help="Where records lie; repeat for more, the first counts most. By default runs/SUITE, then results.",
        ),
    ] = None,
    into: Annotated[
        Path | None, typer.Option("--into", metavar="FILE", help="The page; by default runs/SUITE/report.html.")
    ] = None,
    serve: Annotated[
        bool, typer.Option("--serve", help="Open the page in the browser and follow a running sweep.")
    ] = False,
    port: Annotated[int, typer.Option(min=0, max=65535, help="Of --serve, on 127.0.0.1; 0 takes a free one.")] = 0,
    modules: Import = None,
) -> None:
    """Write what records say as one HTML page: answer, curves, tables, costs, pictures, training, head to head.

    One file that fetches nothing: mail it, or put it anywhere. With runs/SUITE the page has what was run here, and
    from results/ the rows that were not, so a contender of your own stands among them.
    """
    from glimpsebench.bench import report

    _import(modules)
    page = report.Page(suites, roots, into, tuple(modules or ()))
    if serve:
        report.serve(page, port)
    else:
        print(f"Written: {page.write()}")


def _import(modules: Iterable[str] | None) -> None:
    """Import contenders of one's own: what a record names is not imported because it says so."""
    from glimpsebench import agents

    sys.path.insert(0, str(Path.cwd()))
    for module in modules or ():
        agents.find(module)


def _records(root: Path, suite: str = "quick") -> list[Record]:
    """The records of a results folder; without any, the error says which folders here have some."""
    from glimpsebench.bench.records import read_all

    if records := read_all(root):
        if unjudged := [record for record in records if record.done and record.about["evaluator"] is None]:
            print(f"{len(unjudged)} of {len(records)} records have no judgement: glimpse rejudge", file=sys.stderr)
        return records
    others = sorted({str(path.parent) for path in Path("runs").glob("*/records") if any(path.iterdir())})
    elsewhere = f"; there are some in {', '.join(others[:5])}" if others else ""
    raise UsageError(f"{root}: no records here; `glimpse sweep {suite}` makes some, --root looks elsewhere{elsewhere}")


def _view(root: str, suite: str | None) -> tuple[list[Record], Path, str]:
    """The records of a results folder, or those of a suite there; where their tables belong; and a title."""
    from glimpsebench.bench import store
    from glimpsebench.bench.suites import read_suite

    folder = results_folder(root)
    records = _records(folder, suite or "quick")
    if suite is None:
        return records, folder, "Leaderboard"
    plan = read_suite(suite)
    if not (found := store.asked_by(plan, records)):
        raise UsageError(
            f"{folder}: no records of the suite {plan.name}; `glimpse sweep {suite} --root {root}` makes them"
        )
    return found, folder / plan.name, plan.title


def _show(text: str, markdown: bool, marks: tuple[str, str] = ("*", "~")) -> None:
    print(text if markdown else terminal.rendered(text, marks=marks), end="")


def _judge_the_rest(root: Path, suite: Suite, workers: int) -> None:
    """Have today's judge judge what an earlier one has judged, of a suite's records that have their selections."""
    from glimpsebench.bench import judgements
    from glimpsebench.bench.records import read_all

    keys = {spec.folder(root).name for spec in suite.specs}
    records = [record for record in read_all(root) if record.question in keys]
    whole = [one for one in judgements.lacking(records) if (one.folder / "selections.npz").exists()]
    for left_out in judgements.rejudge(whole, workers, _bar("judging", "record")) if whole else ():
        print(terminal.folded(left_out))


def _report(root: Path, suite: Suite) -> None:
    """Write and show a suite's tables, its comparisons of its own runs alone, and its figures."""
    from glimpsebench.bench import compare, curves, figures, leaderboard
    from glimpsebench.bench.records import read_all

    records = read_all(root)
    paths = leaderboard.write(records, root, suite.title) + figures.write(records, root)
    keys = {spec.folder(root).name for spec in suite.specs}
    rows = leaderboard.rows_of(record for record in records if record.question in keys)
    compared, skipped = compare.write(suite.comparisons, rows, root)
    paths += compared
    _show(paths[0].read_text(), False, leaderboard.MARKS)
    doubts = [curves.at_chance(record, root) for record in records if record.about["key"] in keys]
    notes = [*skipped, *filter(None, doubts)]
    print(*map(terminal.folded, notes), sep="\n", end="\n" * bool(notes))
    print("Written:", *paths, root / "records", sep="\n  ")


def _complain(line: str) -> None:
    """One line to standard error, which on a terminal goes on below itself."""
    print(terminal.folded(line) if sys.stderr.isatty() else line, file=sys.stderr)


INTERRUPTED = 130


def main() -> None:
    """Run the command line; mistakes of the user are one line and exit code 2, never a traceback."""
    try:
        app(standalone_mode=True)
    except UsageError as error:
        _complain(f"error: {escape.terminal(str(error))}")
        sys.exit(2)
    except Failed as error:
        _complain(f"failed: {error}")
        sys.exit(1)
    except (OSError, SafetensorError) as error:  # no such file, a folder that is read-only, a full disk
        where = getattr(error, "filename", None)
        why = getattr(error, "strerror", None) or " ".join(str(error).split())
        _complain(f"error: {where}: {why}" if where else f"error: {why}")
        sys.exit(2)
    except SystemExit as stop:
        if stop.code == INTERRUPTED:  # typer turns Ctrl-C into this
            same = "the same command without --again" if "--again" in sys.argv else "the same command"
            print(f"\nstopped: finished runs are kept, and {same} goes on from here", file=sys.stderr)
        raise
