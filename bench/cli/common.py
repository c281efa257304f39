"""What the commands share: the app, the options that several have, and how they read and show."""

from __future__ import annotations

import gc
import json
import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from tqdm import tqdm

from glimpsebench.bench import terminal
from glimpsebench.envs.errors import UsageError

if TYPE_CHECKING:
    from glimpsebench.bench.progress import Stage, Stages
    from glimpsebench.bench.store import View

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


STORE = Path("runs")


Root = Annotated[
    Path,
    typer.Option(
        "--root",
        metavar="FOLDER",
        help="The store: records are in FOLDER/records, each once, tables and figures of a suite in FOLDER/SUITE.",
    ),
]


Roots = Annotated[
    list[Path] | None,
    typer.Option(
        "--root",
        metavar="FOLDER",
        help="The store, by default runs. Repeat for more: of one run the first counts that has it, and tables and "
        "figures are written under the first.",
    ),
]


Own = Annotated[
    list[str] | None,
    typer.Option(
        "--own",
        metavar="LABEL",
        help="Which contenders of your own stand beside a suite's rows, of those that were run on its tasks: a label "
        "or a module, repeat for more; all or none. By default all, but of one --root none.",
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


INTERRUPTED = 130


class Failed(Exception):
    """A run that did not end well: exit code 1."""


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


def rooted(root: Path) -> str:
    """How a command is told of this store."""
    return "" if root == STORE else f" --root {root}"


@contextmanager
def run_bar() -> Iterator[Stages]:
    """A bar over a whole run, which says what the run is at."""
    from glimpsebench.bench.progress import Stages
    from glimpsebench.bench.watching import BAR

    with tqdm(total=1, bar_format=BAR, leave=False, dynamic_ncols=True, disable=None) as bar:

        def show(stage: Stage) -> None:
            bar.n, bar.desc = min(stage.share, 0.99), stage.name
            bar.refresh()

        yield Stages(show)


def bar_of(name: str, unit: str = "step") -> Any:
    def progress(iterable: Iterable[Any]) -> Iterator[Any]:
        return iter(tqdm(iterable, desc=name, unit=unit, leave=False, dynamic_ncols=True, disable=None))

    return progress


def import_modules(modules: Iterable[str] | None) -> None:
    """Import contenders of one's own: what a record names is not imported because it says so."""
    from glimpsebench import agents

    if (here := str(Path.cwd())) not in sys.path:  # where they usually lie
        sys.path.insert(0, here)
    for module in modules or ():
        agents.find(module)


def own_of(said: Sequence[str] | None, otherwise: Sequence[str] | None) -> Sequence[str] | None:
    """What `--own` says, as `store.view` takes it: None for all."""
    if not said:
        return otherwise
    return None if said == ["all"] else () if said == ["none"] else said


def view_of(root: Path | Sequence[Path] | None, of: str | None, own: Sequence[str] | None = None) -> View:
    """The records of a suite, a task or a folder in a store or several (`store.view`); without any, the error says what
    makes them.

    Args:
        own: as `--own` has it.
    """
    from glimpsebench.bench import store

    import_modules(None)  # a suite of one's own may name modules
    roots = [root] if isinstance(root, Path) else list(root or [STORE])
    of_suite = of is not None and store.is_suite(of)
    gc.disable()  # thousands of records are no garbage, and would be looked through again and again
    try:
        found = store.view(roots, of, own_of(own, None if of_suite and len(roots) > 1 else ()))
        if len(found.records) > 1000:
            gc.freeze()
    finally:
        gc.enable()
    if not found.records:
        suite = of if of and of_suite else ""
        root, stores = roots[0], " and ".join(map(str, roots))
        where = f"{stores}: no records of the suite {Path(suite).stem}" if suite else f"{found.folder}: no records here"
        others = sorted({str(path.parent) for path in STORE.glob("**/records") if any(path.iterdir())})
        raise UsageError(
            f"{where}; `glimpse sweep {suite or 'quick'}{rooted(root)}` makes some, --root looks elsewhere"
            + (f"; there are some in {', '.join(others[:5])}" if others else "")
        )
    if unjudged := [record for record in found.records if record.done and record.about["judge"] is None]:
        print(f"{len(unjudged)} of {len(found.records)} records have no judgement: glimpse rejudge", file=sys.stderr)
    return found


def show(text: str, markdown: bool, marks: tuple[str, str] = ("*", "~"), curves: bool = False) -> None:
    print(text if markdown else terminal.coloured(terminal.rendered(text, marks=marks, curves=curves)), end="")
