"""The command line: `glimpse`, the same as `python -m glimpsebench`."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from tqdm import tqdm

from glimpsebench.envs.errors import UsageError, unknown

if TYPE_CHECKING:
    from glimpsebench.bench.suites import Suite

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

Root = Annotated[Path, typer.Option("--root", help="The results folder: records, evaluators, tables, figures.")]
Settings = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        metavar="PATH=VALUE",
        help="A setting, as agent.NAME=VALUE or task.NAME=VALUE; repeat for more. `glimpse agents NAME` lists them.",
    ),
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
    """List the agents, or describe one."""
    from glimpsebench import agents
    from glimpsebench.bench import records

    if name is None:
        for each in agents.names():
            kind = agents.find(each)
            track = "reference" if kind.reference else kind.track
            print(f"{each:18}{track:11}{(sys.modules[kind.__module__].__doc__ or '').splitlines()[0]}")
        return
    kind = agents.find(name)
    print((sys.modules[kind.__module__].__doc__ or "").strip())
    print("\nSettings (--set agent.NAME=VALUE):")
    for setting, default in records.settings_of(kind()).items():
        print(f"  {setting:18}{json.dumps(default)}")


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
    values = {path.removeprefix("task."): value for path, value in parse_settings(settings or []).items()}
    chosen = None if name is None else tasks.make(name, values)
    if pictures is not None:
        print("\n".join(map(str, gallery.write(pictures, None if chosen is None else [chosen]))))
    elif chosen is not None:
        print(chosen.card())
        chosen.remember()
    else:
        for each in tasks.TASKS.values():
            print(f"{each.id:26}{each.describe()}")


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


def parse_settings(pairs: Iterable[str]) -> dict[str, Any]:
    """`agent.lr=0.1` → {"agent.lr": 0.1}: values are JSON where they parse as JSON, otherwise text."""
    entries: dict[str, Any] = {}
    for pair in pairs:
        path, equals, text = pair.partition("=")
        if not equals or not path:
            raise UsageError(f"--set {pair}: write PATH=VALUE, such as agent.lr=0.001")
        if path.partition(".")[0] not in ("agent", "task") or "." not in path:
            raise UsageError(f"--set {pair}: the path begins with 'agent.' or 'task.': did you mean 'agent.{pair}'?")
        try:
            entries[path] = json.loads(text)
        except ValueError:
            entries[path] = text
    return entries


@app.command("run")
def run_command(
    agent: Annotated[str, typer.Option(help="An agent's name, or your own module: my_package.my_module")],
    task: Annotated[str, typer.Option(help="A task's name; `glimpse tasks` lists them.")] = "digits-clutter",
    seed: Annotated[int, typer.Option(help="Of initial weights, batches and random choices.")] = 0,
    settings: Settings = None,
    root: Root = Path("runs/mine"),
    again: Annotated[bool, typer.Option("--again", help="Run it even if its record is there.")] = False,
    device: Device = "cpu",
) -> None:
    """Run one agent on one task: fit, roll out on the test images, score, write the record."""
    from glimpsebench.bench import leaderboard
    from glimpsebench.bench.records import Record
    from glimpsebench.bench.run import is_done, run, superseded
    from glimpsebench.bench.suites import spec_of

    sys.path.insert(0, str(Path.cwd()))  # where a contender of one's own usually lies
    spec = spec_of({"agent": agent, "task": task, "seed": seed, **parse_settings(settings or [])})
    if is_done(spec, root) and not again:
        record = Record.read(spec.folder(root))
        print(f"{spec}: its record is here already (--again runs it again)")
    else:
        if why := superseded(spec, root):
            print(why)
        started = time.perf_counter()
        if device != "cpu" and not spec.make()[0].accelerated:
            print(f"{agent} cannot train on a GPU: on the CPU, then")
        record = run(spec, root, _bar(str(spec)), device)
        print(f"{spec}: {record.about['status']} in {time.perf_counter() - started:.0f} s")
    if not record.done:
        raise Failed(str(record.about["error"]))
    print(leaderboard.summary(record))
    print(f"record: {record.folder}\nleaderboard: glimpse leaderboard --root {root}")


class Failed(Exception):
    """A run that did not end well: exit code 1."""


def _bar(name: str) -> Any:
    def progress(iterable: Iterable[int]) -> Iterator[int]:
        return iter(tqdm(iterable, desc=name, unit="step", leave=False, dynamic_ncols=True, disable=None))

    return progress


@app.command("sweep")
def sweep_command(
    suite: Annotated[str, typer.Argument(help="A suite's name (quick) or a TOML file of your own.")],
    root: Annotated[Path | None, typer.Option("--root", help="The results folder; default runs/SUITE.")] = None,
    workers: Annotated[int, typer.Option(min=1, help="Runs at a time, one thread each.")] = 2,
    list_only: Annotated[bool, typer.Option("--list", help="Only list the runs and whether they are done.")] = False,
    device: Device = "cpu",
) -> None:
    """Run what a suite lists and has no record yet; then write its leaderboard, comparisons and figures."""
    from glimpsebench.bench.run import is_done, superseded
    from glimpsebench.bench.suites import read_suite
    from glimpsebench.bench.sweep import sweep

    sys.path.insert(0, str(Path.cwd()))
    plan = read_suite(suite)
    folder = root or Path("runs") / plan.name
    todo = [spec for spec in plan.specs if not is_done(spec, folder)]
    print(f"suite {plan.name}: {len(plan.specs)} runs, {len(plan.specs) - len(todo)} done, in {folder}")
    if list_only:
        for spec in plan.specs:
            state = "to do" if spec in todo else "done "
            print(f"  {state:6} {superseded(spec, folder) or spec}")
        return
    for spec in todo:
        if why := superseded(spec, folder):
            print(why)
    failures = sweep(plan.specs, folder, workers, device=device)
    _report(folder, plan)
    if failures:
        raise Failed(f"{len(failures)} of {len(plan.specs)} runs did not end well; the leaderboard says which")


@app.command("leaderboard")
def leaderboard_command(
    root: Root = Path("runs/quick"),
    title: Annotated[str, typer.Option(help="The heading.")] = "Leaderboard",
    into: Annotated[
        Path | None, typer.Option(help="Also put the tables between this file's leaderboard markers.")
    ] = None,
) -> None:
    """Recompute leaderboard.md and leaderboard.csv from the records and print the former."""
    from glimpsebench.bench import leaderboard
    from glimpsebench.bench.records import read_all

    paths = leaderboard.write(_some(read_all(root), root), root, title)
    print(paths[0].read_text())
    if into is not None:
        leaderboard.insert(into, root, title)
    print("\n".join(map(str, paths)))


@app.command("retabulate")
def retabulate_command(
    results: Annotated[Path, typer.Argument(help="A folder of results folders, one per suite.")] = Path("results"),
) -> None:
    """Write all tables of committed results again, from their records, and which of them are of earlier code."""
    from glimpsebench.bench import retabulate

    print(*retabulate.rewrite(results), retabulate.sentence(results), sep="\n")


@app.command("figures")
def figures_command(root: Root = Path("runs/quick"), modules: Import = None) -> None:
    """Redraw the curves and the galleries from the records."""
    from glimpsebench.bench import figures
    from glimpsebench.bench.records import read_all

    _import(modules)
    print("\n".join(map(str, figures.write(_some(read_all(root), root), root))))


@app.command("compare")
def compare_command(
    contender: Annotated[str, typer.Argument(metavar="A", help="A row as the leaderboard prints it, or 'all'.")],
    other: Annotated[str, typer.Argument(metavar="B", help='The row to compare with, such as "uniform (kind=mask)".')],
    root: Root = Path("runs/quick"),
    task: OneTask = None,
    measure: Annotated[str, typer.Option(help="own, evaluator, iou, on_object or pointed.")] = "evaluator",
    into: Annotated[Path | None, typer.Option(metavar="FILE", help="Also write it there, as Markdown.")] = None,
) -> None:
    """Whether A beats B: the paired difference at each budget that both reach, with a 95 % interval.

    Each image counts with its scores averaged over the seeds of each side, and the difference is taken on the same
    image. The interval counts how images differ and, on each side that has two or more, how seeds do; seeds are not
    matched, and the sides may have different numbers of them.
    """
    from glimpsebench.bench import compare, leaderboard
    from glimpsebench.bench.records import read_all

    rows = leaderboard.rows_of(_some(read_all(root), root))
    text = compare.markdown(rows, contender, other, measure, task)
    if into is not None:
        into.parent.mkdir(parents=True, exist_ok=True)
        into.write_text(text)
    print(text, end="")


@app.command("by-glimpse")
def by_glimpse_command(
    root: Root = Path("runs/quick"),
    labels: Annotated[
        list[str] | None, typer.Option("--agent", metavar="LABEL", help="Only this row; repeat for more.")
    ] = None,
    against: Annotated[
        str | None, typer.Option(metavar="LABEL", help="Add the paired difference to this row after each glimpse.")
    ] = None,
    task: OneTask = None,
    modules: Import = None,
) -> None:
    """Accuracy and touched fraction after each glimpse; writes by_glimpse.md, .csv and .png to the results folder.

    For agents of several glimpses. Their recorded selections are replayed, so the weights must lie beside the
    records. An episode that ended early keeps its last prediction.
    """
    from glimpsebench.bench import by_glimpse, compare, leaderboard
    from glimpsebench.bench.records import read_all

    _import(modules)
    rows = compare.on_task(leaderboard.rows_of(_some(read_all(root), root)), task)
    chosen = by_glimpse.chosen(rows, labels or [], against)
    results = [by_glimpse.replayed(row, root, _bar("evaluator")) for row in tqdm(chosen, leave=False, disable=None)]
    paths = by_glimpse.write(results, root, against)
    print(paths[0].read_text())
    print("Written:", *paths, sep="\n  ")


@app.command("study")
def study_command(
    name: Annotated[str, typer.Argument(help="A study's name; its suite has the same.")],
    root: Annotated[Path | None, typer.Option("--root", help="The results folder; default runs/NAME.")] = None,
) -> None:
    """Write the table and the pictures of a study from the records of its suite: `glimpse sweep NAME` comes first."""
    from glimpsebench.bench import studies
    from glimpsebench.bench.records import read_all

    write = studies.find(name)
    folder = root or Path("runs") / name
    paths = write(_some(read_all(folder), folder, name), folder)
    print(paths[0].read_text())
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


def _import(modules: Iterable[str] | None) -> None:
    """Import contenders of one's own: what a record names is not imported because it says so."""
    from glimpsebench import agents

    sys.path.insert(0, str(Path.cwd()))
    for module in modules or ():
        agents.find(module)


def _some(records: list[Any], root: Path, suite: str = "quick") -> list[Any]:
    if not records:
        raise UsageError(f"{root}: no records here; `glimpse sweep {suite}` makes some, --root looks elsewhere")
    return records


def _report(root: Path, suite: Suite) -> None:
    """Write and show a suite's tables, its comparisons of its own runs alone, and its figures."""
    from glimpsebench.bench import compare, figures, leaderboard
    from glimpsebench.bench.records import read_all

    records = read_all(root)
    paths = leaderboard.write(records, root, suite.title) + figures.write(records, root)
    keys = {spec.folder(root).name for spec in suite.specs}
    rows = leaderboard.rows_of(record for record in records if record.about["key"] in keys)
    compared, skipped = compare.write(suite.comparisons, rows, root)
    paths += compared
    print(paths[0].read_text())
    print(*skipped, sep="\n", end="\n" * bool(skipped))
    print("Written:", *paths, root / "records", sep="\n  ")


INTERRUPTED = 130


def main() -> None:
    """Run the command line; mistakes of the user are one line and exit code 2, never a traceback."""
    try:
        app(standalone_mode=True)
    except UsageError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
    except Failed as error:
        print(f"failed: {error}", file=sys.stderr)
        sys.exit(1)
    except SystemExit as stop:
        if stop.code == INTERRUPTED:  # typer turns Ctrl-C into this
            print("\nstopped: finished runs are kept, and the same command goes on from here", file=sys.stderr)
        raise
