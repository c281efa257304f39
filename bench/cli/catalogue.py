"""What there is: agents, suites, tasks, image sets, judges."""

from __future__ import annotations

import dataclasses
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from glimpsebench.bench import terminal
from glimpsebench.bench.cli.common import AsMarkdown, Device, Settings, app, bar_of, parse_changes, show
from glimpsebench.envs.errors import UsageError, unknown

if TYPE_CHECKING:
    from glimpsebench.envs.tasks import Task

data_app = typer.Typer(no_args_is_help=True, help="Image sets: what is here, and how to get more.")
app.add_typer(data_app, name="data")


judge_app = typer.Typer(
    no_args_is_help=True, help="Judges, which score every selection, and readers, from which predictors begin."
)
app.add_typer(judge_app, name="judge")


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
    for each, path, trained in judges.train_all(task, recipe, reader_steps or recipe.steps, into, bar_of, device):
        print(f"{each}: {'trained' if trained else 'here already'}, {path}")
    task.remember()


@judge_app.command("show")
def judge_show(name: TaskName, settings: Settings = None, markdown: AsMarkdown = False) -> None:
    """The card of a task's judges and reader: how they were made, and how well they read each kind of canvas."""
    from glimpsebench.bench.judges import cards

    task = _task(name, settings)
    show(cards.page(task, list(cards.cells(task, bar_of("training a judge")))), markdown)


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
            path.write_text(cards.page(task, list(cards.cells(task, bar_of("")))))
            print(path)
