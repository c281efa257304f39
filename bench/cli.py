"""The command line: `glimpse`, the same as `python -m glimpsebench`."""

from __future__ import annotations

import dataclasses
import json
import sys
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from safetensors import SafetensorError
from tqdm import tqdm

from glimpsebench.bench import escape, terminal
from glimpsebench.envs.errors import UsageError, unknown

if TYPE_CHECKING:
    from glimpsebench.bench.plan import Standing
    from glimpsebench.bench.progress import Stage, Stages
    from glimpsebench.bench.run import Spec
    from glimpsebench.bench.store import View
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

STORE = Path("runs")
Root = Annotated[
    Path,
    typer.Option(
        "--root",
        metavar="FOLDER",
        help="The store: records are in FOLDER/records, each once, tables and figures of a suite in FOLDER/SUITE.",
    ),
]
Of = Annotated[
    str | None,
    typer.Argument(
        metavar="[SUITE|TASK|FOLDER]",
        help="Of which records: a suite's, a task's, or all in a folder. By default all that the store has.",
    ),
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
    print((f"page: glimpse report {suite}{outside}" if suite else shown) + _rooted(root))
    if failures:
        raise Failed(failures[0] if len(specs) == 1 else f"{len(failures)} of {len(specs)} runs did not end well")


def _rooted(root: Path) -> str:
    """How a command is told of this store."""
    return "" if root == STORE else f" --root {root}"


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
        with leases.leased(root, spec.folder(root).name) as lease, _run_bar() as stages:
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
    if doubt := curves.at_chance(record, _rooted(root)):
        print(terminal.folded(doubt))
    return ""


class Failed(Exception):
    """A run that did not end well: exit code 1."""


@contextmanager
def _run_bar() -> Iterator[Stages]:
    """A bar over a whole run, which says what the run is at."""
    from glimpsebench.bench.progress import Stages
    from glimpsebench.bench.watching import BAR

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

    _import(modules)
    found = reproduce.prepare(record)
    print(*map(terminal.folded, found.lines), sep="\n")
    if dry:
        return
    with _run_bar() as stages:
        lines, same = reproduce.compare(found, stages)
    print(*map(terminal.folded, lines), sep="\n")
    if not same:
        raise Failed("it came out otherwise")


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


@app.command("leaderboard")
def leaderboard_command(
    of: Of = None,
    root: Root = STORE,
    title: Annotated[str | None, typer.Option(help="The heading; by default the suite's title.")] = None,
    into: Annotated[
        Path | None, typer.Option(help="Also put the tables between this file's leaderboard markers.")
    ] = None,
    markdown: AsMarkdown = False,
) -> None:
    """Recompute leaderboard.md and leaderboard.csv from the records and print the former."""
    from glimpsebench.bench import leaderboard

    records, folder, heading = _view(root, of)
    folder.mkdir(exist_ok=True)
    paths = leaderboard.write(records, folder, title or heading)
    if into is not None:
        leaderboard.insert(into, folder, title or heading, records=records)
    _show(paths[0].read_text(), markdown, leaderboard.MARKS)
    print("Written:", *paths, sep="\n  ")


@app.command("rejudge")
def rejudge_command(
    of: Of = None,
    root: Root = STORE,
    again: Annotated[bool, typer.Option("--again", help="Also what today's judge has judged already.")] = False,
    workers: Annotated[int, typer.Option(min=1, help="Records at a time, one thread each.")] = 2,
    modules: Import = None,
) -> None:
    """Judge records by today's judge of their task. Nobody is trained again.

    What was looked at must lie beside the records (selections.npz). Judgements by other judges stay.
    """
    from glimpsebench.bench import judgements

    _import(modules)
    records = judgements.lacking(_view(root, of).records, again)
    left_out = list(judgements.rejudge(records, workers, _bar("judging", "record"), modules or ()))
    print(f"{len(records) - len(left_out)} judged of {len(records)} that were to be")
    print(*map(terminal.folded, left_out), sep="\n", end="\n" * bool(left_out))
    if left_out:
        raise Failed(f"{len(left_out)} of {len(records)} records were not judged")


@app.command("verify")
def verify_command(
    of: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[SUITE|TASK|PATH]...",
            help="Suites, tasks, stores, folders of these, or single records. By default the whole store.",
        ),
    ] = None,
    root: Root = STORE,
    judge: Annotated[
        bool, typer.Option("--judge", help="Judge the selections again, and the same places with their values blanked.")
    ] = False,
    rerun: Annotated[
        int, typer.Option(metavar="K", min=0, help="Run K of the records again, drawn at random: as long as they took.")
    ] = 0,
    fresh_judge: Annotated[
        bool,
        typer.Option(
            "--fresh-judge",
            help="Also train judges of another build from secret seeds, and report the lead of the public judge: large "
            "where pixels were picked against a copy of it.",
        ),
    ] = False,
    fresh_steps: Annotated[
        int | None, typer.Option(min=1, help="Of the fresh judges' training; by default as judges not shipped have.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the report as JSON.")] = False,
    modules: Import = None,
) -> None:
    """Check records, perhaps somebody else's: what is forged or damaged, what is doubtful, what was found out again.

    Exit code 0: nothing; 1: doubts; 2: a record is refused. Nothing that a record names is imported.
    """
    from glimpsebench.bench import reports, store, verify
    from glimpsebench.bench.judges import fresh

    _import(modules)
    steps = (fresh_steps or fresh.STEPS) if fresh_judge else 0
    paths = [path for name in of for path in store.places(root, name)] if of else [root]
    checked = verify.verify(paths, judge, rerun, _bar("verifying", "record"), fresh_steps=steps)
    if as_json:
        print(json.dumps(reports.as_json(checked), indent=1))
    else:
        print("\n".join(reports.text(checked)))
    if code := verify.code(checked):
        raise typer.Exit(code)


@app.command("challenge")
def challenge_command(
    contender: Annotated[str, typer.Argument(metavar="ROW", help="A row as the leaderboard prints it.")],
    of: Of = None,
    root: Root = STORE,
    task: OneTask = None,
) -> None:
    """Print what somebody else must run to lower a row or to confirm it."""
    from glimpsebench.bench import compare, leaderboard, reports

    rows = compare.on_task(leaderboard.rows_of(_view(root, of).records), task)
    for row in compare.named(rows, contender):
        print(*reports.challenge(row), sep="\n")


@app.command("publish")
def publish_command(
    suite: Annotated[str, typer.Argument(help="A suite's name or TOML file.")],
    root: Root = STORE,
    into: Annotated[Path, typer.Option(metavar="FOLDER", help="The store that others read.")] = Path("results"),
) -> None:
    """Copy a suite's records, tables and figures into a store that others read, without weights and selections.

    Of each row what was looked at in a few images stays, for the page's pictures. Records that suites have in common
    are there once. What the suite had there before goes; other suites' stays.
    """
    from glimpsebench.bench import store
    from glimpsebench.bench.report import looks
    from glimpsebench.bench.suites import read_suite

    looks.keep_all(store.of_suite(read_suite(suite), root))
    print(f"{store.publish(suite, root, into)} records of {suite}, in {into}")


@app.command("retabulate")
def retabulate_command(
    results: Annotated[Path, typer.Argument(help="Results that are committed, a folder per suite.")] = Path("results"),
    suites: Annotated[list[str] | None, typer.Argument(metavar="[SUITE]...", help="Only the tables of these.")] = None,
) -> None:
    """Write the tables of committed results again, from their records, and which of them are of earlier code."""
    from glimpsebench.bench import retabulate
    from glimpsebench.bench.suites import suite_names

    for suite in suites or ():
        if suite not in suite_names():
            raise unknown("suite", suite, suite_names())
    print(*retabulate.rewrite(results, suites or ()), retabulate.sentence(results), sep="\n")


@app.command("figures")
def figures_command(
    of: Of = None,
    width: Annotated[
        str, typer.Option(metavar="column|text|INCHES", help="At which the figures are printed.")
    ] = "text",
    glimpses: Annotated[
        bool, typer.Option("--glimpses", help="Also accuracy after each glimpse, for which selections are replayed.")
    ] = False,
    root: Root = STORE,
    modules: Import = None,
) -> None:
    """Draw the figures of a paper, and write the tables in LaTeX, into the folder figures of the results folder.

    PDF and PNG of each, and beside them its caption, NAME.txt: images, seeds, intervals and tests. Gated and open
    contenders stand in panels of their own; what is too much for one figure goes on in NAME-2.
    """
    from glimpsebench.bench import by_glimpse, figures, latex, leaderboard, store
    from glimpsebench.bench.figures.paper import inches
    from glimpsebench.bench.suites import read_suite

    wide = inches(width)
    _import(modules)
    records, folder, title = _view(root, of)
    rows = leaderboard.rows_of(records)
    chosen = by_glimpse.chosen(rows, [], None) if glimpses else []
    replayed = [
        by_glimpse.replayed(row, _bar("training the judge"))
        for row in tqdm(chosen, "replaying", unit="row", leave=False, disable=None)
    ]
    into = folder / "figures"
    into.mkdir(parents=True, exist_ok=True)
    print("Written:")
    for path in figures.write_all(rows, replayed, into, wide):
        print(f"  {path}")
    pages = {"leaderboard": leaderboard.markdown(rows, title)}
    for comparison in read_suite(of).comparisons if of and store.is_suite(of) else ():
        with suppress(UsageError):  # its rows are not here yet
            pages[Path(comparison.file).stem] = comparison.text(rows)
    for page, text in pages.items():
        (into / f"{page}.tex").write_text(latex.tables(text, page))
        print(f"  {into / page}.tex")


@app.command("compare")
def compare_command(
    contender: Annotated[str, typer.Argument(metavar="A", help="A label as the leaderboard prints it, or 'all'.")],
    other: Annotated[str, typer.Argument(metavar="B", help='The row to compare with, such as "uniform (kind=mask)".')],
    of: Of = None,
    root: Root = STORE,
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

    rows = leaderboard.rows_of(_view(root, of).records)
    text = compare.markdown(rows, contender, other, measure, task)
    if into is not None:
        into.parent.mkdir(parents=True, exist_ok=True)
        into.write_text(text)
    _show(text, markdown)


@app.command("by-glimpse")
def by_glimpse_command(
    of: Of = None,
    root: Root = STORE,
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
    """Accuracy and touched fraction after each glimpse; writes by_glimpse.md, .csv and .png beside the leaderboard.

    For agents of several glimpses. Their recorded selections are replayed, so the weights must lie beside the
    records. An episode that ended early keeps its last prediction.
    """
    from glimpsebench.bench import by_glimpse, compare, leaderboard

    _import(modules)
    records, folder, _ = _view(root, of)
    rows = compare.on_task(leaderboard.rows_of(records), task)
    chosen = by_glimpse.chosen(rows, labels or [], against)
    results = [
        by_glimpse.replayed(row, _bar("training a judge"))
        for row in tqdm(chosen, "replaying", unit="row", leave=False, disable=None)
    ]
    folder.mkdir(exist_ok=True)
    paths = by_glimpse.write(results, folder, against)
    _show(paths[0].read_text(), markdown)
    print("Written:", *paths, sep="\n  ")


@app.command("curves")
def curves_command(
    of: Of = None,
    root: Root = STORE,
    labels: Annotated[
        list[str] | None, typer.Option("--agent", metavar="LABEL", help="Only this row; repeat for more.")
    ] = None,
    task: OneTask = None,
    tensorboard: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Also write TensorBoard's event files into this folder.")
    ] = None,
    markdown: AsMarkdown = False,
) -> None:
    """Loss and validation accuracy over training; draws training.png and .pdf beside the leaderboard.

    Against the labelled images that were passed through, a thin line for each seed and their mean.
    """
    from glimpsebench.bench import compare, curves, leaderboard

    records, folder, _ = _view(root, of)
    folder.mkdir(exist_ok=True)
    rows = compare.on_task(leaderboard.rows_of(records), task)
    chosen = [row for label in labels or () for row in compare.named(rows, label)]
    rows = curves.drawable([row for row in rows if row in chosen] if labels else rows)
    if tensorboard is not None:
        curves.write_tensorboard(rows, tensorboard)
    paths = curves.write(rows, folder)
    _show(curves.markdown(rows), markdown)
    print("Written:", *paths, *([] if tensorboard is None else [tensorboard]), sep="\n  ")


@app.command("ablate")
def ablate_command(
    suite: Annotated[
        str | None, typer.Argument(help="A suite's name or a TOML file of your own, with [[claim]].")
    ] = None,
    root: Root = STORE,
    everything: Annotated[
        Path | None,
        typer.Option("--all", metavar="FOLDER", help="All suites' claims, by a folder of results folders: CLAIMS.md."),
    ] = None,
    markdown: AsMarkdown = False,
) -> None:
    """Whether a suite's claims hold, by its records: supported, refuted, undecided or not tested.

    `glimpse sweep SUITE` comes first. A claim says what is compared, by which measure, in which direction, and which
    effect is the smallest that matters; `docs/own-ablation.md` has an example. Writes ablation.md and ablation.csv.
    """
    from glimpsebench.bench import ablate
    from glimpsebench.bench.suites import read_suite

    sys.path.insert(0, str(Path.cwd()))
    if (suite is None) == (everything is None):
        raise UsageError("name a suite, such as mask-penalty, or --all with a folder of results, such as results")
    if everything is not None:
        paths = [ablate.write_page(everything)]
    else:
        plan = read_suite(str(suite))
        if not plan.claims:
            raise UsageError(f"the suite {plan.name} makes no claim: [[claim]] in its file states one")
        records, folder, _ = _view(root, str(suite))
        paths = ablate.write(plan, records, folder)
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
            help="Where records lie; repeat for more, the first counts most. By default runs, then results.",
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

    One file that fetches nothing: mail it, or put it anywhere. From runs/ it has what was run here, and from
    results/ the rows that were not, so a contender of your own stands among them.
    """
    from glimpsebench.bench import report

    _import(modules)
    page = report.Page(suites, roots, into, tuple(modules or ()))
    if serve:
        report.serve(page, port)
    else:
        print(f"Written: {page.write()}")


@app.command("watch")
def watch_command(
    labels: Annotated[
        list[str], typer.Argument(metavar="AGENT...", help="Agents, or rows as the leaderboard prints them.")
    ],
    task: Annotated[str, typer.Option(help="A task's name; `glimpse tasks` lists them.")] = "digits-clutter",
    image: Annotated[int, typer.Option(metavar="N", min=0, help="The number of a test image.")] = 0,
    budget: Annotated[
        float, typer.Option(min=0.01, max=1.0, help="The largest share of the image that is shown.")
    ] = 0.2,
    root: Root = STORE,
    settings: Settings = None,
    into: Annotated[Path | None, typer.Option(metavar="FOLDER", help="Where to; by default ROOT/watch.")] = None,
    width: Annotated[str, typer.Option(metavar="column|text|INCHES", help="Of the strip, in print.")] = "text",
    modules: Import = None,
) -> None:
    """Watch agents look at one test image: a moving picture (GIF), and a strip (PDF, PNG) with its caption.

    What each has seen after each glimpse, which share of the image that is, and what it then believes. From the runs in
    ROOT whose selections and weights lie beside their records; an agent without one there is run first, by the settings
    of --set, which takes as long as a run of its.
    """
    from glimpsebench.bench import watch
    from glimpsebench.bench.figures.paper import inches
    from glimpsebench.bench.run import run

    wide = inches(width)
    _import(modules)
    several = []
    for label in labels:
        found = watch.run_of(root, label, task, parse_changes(settings, None))
        if not isinstance(found, tuple):
            print(terminal.folded(f"no run of {found} here with its weights: running it now"))
            with _run_bar() as stages:
                record = run(found, root, stages)
            if not record.done:
                raise Failed(escape.terminal(f"{found}: {record.about['error']}"))
            found = record, label
        several.append(watch.watched(*found, image, budget))
    into = into or root / "watch"
    into.mkdir(parents=True, exist_ok=True)
    name = watch.name_of(several, task, image)
    print("Written:", *watch.write(several, into, name, wide), sep="\n  ")


def _import(modules: Iterable[str] | None) -> None:
    """Import contenders of one's own: what a record names is not imported because it says so."""
    from glimpsebench import agents

    sys.path.insert(0, str(Path.cwd()))
    for module in modules or ():
        agents.find(module)


def _view(root: Path, of: str | None) -> View:
    """The records of a suite, a task or a folder (`store.view`); without any, the error says what makes them."""
    from glimpsebench.bench import store

    found = store.view(root, of)
    if not found.records:
        suite = of if of and store.is_suite(of) else ""
        where = f"{root}: no records of the suite {Path(suite).stem}" if suite else f"{found.folder}: no records here"
        others = sorted({str(path.parent) for path in STORE.glob("**/records") if any(path.iterdir())})
        raise UsageError(
            f"{where}; `glimpse sweep {suite or 'quick'}{_rooted(root)}` makes some, --root looks elsewhere"
            + (f"; there are some in {', '.join(others[:5])}" if others else "")
        )
    if unjudged := [record for record in found.records if record.done and record.about["evaluator"] is None]:
        print(f"{len(unjudged)} of {len(found.records)} records have no judgement: glimpse rejudge", file=sys.stderr)
    return found


def _show(text: str, markdown: bool, marks: tuple[str, str] = ("*", "~")) -> None:
    print(text if markdown else terminal.rendered(text, marks=marks), end="")


@app.command("answer")
def answer_command(
    root: Root = STORE,
    out: Annotated[Path | None, typer.Option(help="The page to write; by default ANSWER.md in that folder.")] = None,
) -> None:
    """Write who chooses better, reinforcement learning or a gradient: arena by arena, from the records of the duel.

    The arenas' suites are duel-subset, duel-crop, duel-cells and duel-windows. What has no records is said to be not
    run yet, with the command that runs it.
    """
    from glimpsebench.bench import answer

    path = out or root / "ANSWER.md"
    page = answer.markdown(answer.records_in(root))
    path.write_text(page)
    print("Written:", path, sep="\n  ")


@app.command("tune")
def tune_command(
    suite: Annotated[str, typer.Argument(help="A suite with a [tune] table: its name, or a TOML file of your own.")],
    root: Root = STORE,
    trials: Annotated[int | None, typer.Option(min=1, help="Of each entry, in place of what the suite says.")] = None,
    seeds: Annotated[str, typer.Option("--seed", "--seeds", help="Of the suite that is written: 0-9.")] = "0-9",
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
    found = tune.tune(plan, kept, lambda todo: tqdm(todo, unit="trial", leave=False, disable=None, dynamic_ncols=True))
    head = ["entry", "trials", "validation accuracy, %", "best settings"]
    print(*terminal.columned(head, tune.table(plan, found), terminal.width()), sep="\n")
    path = folder / f"{plan.suite}-tuned.toml"
    path.write_text(tune.winners(plan, found, parse_seeds(seeds)))
    print("Written:", path, kept, sep="\n  ")


def _judge_the_rest(root: Path, suite: Suite, workers: int) -> None:
    """Have today's judge judge what an earlier one has judged, of a suite's records that have their selections."""
    from glimpsebench.bench import judgements, store

    lacking = judgements.lacking(store.of_suite(suite, root))
    whole = [one for one in lacking if (one.folder / "selections.npz").exists()]
    for left_out in judgements.rejudge(whole, workers, _bar("judging", "record")) if whole else ():
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
    _show(paths[0].read_text(), False, leaderboard.MARKS)
    notes = [*skipped, *filter(None, (curves.at_chance(record, _rooted(root)) for record in own))]
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
