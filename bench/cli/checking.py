"""Records: whether they hold, who judges them, where they are published, and the tables written from them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from glimpsebench.bench import terminal
from glimpsebench.bench.cli.common import STORE, Failed, Import, Of, OneTask, Root, app, bar_of, import_modules, view_of
from glimpsebench.envs.errors import unknown


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
    keep: Annotated[
        bool,
        typer.Option("--keep", help="Note beside each record how far it was followed, for its row to say in tables."),
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the report as JSON.")] = False,
    modules: Import = None,
) -> None:
    """Check records, perhaps somebody else's: what is forged or damaged, what is doubtful, what was found out again.

    Exit code 0: nothing; 1: doubts; 2: a record is refused. Nothing that a record names is imported.
    """
    from glimpsebench.bench import reports, store, verify
    from glimpsebench.bench.judges import fresh

    import_modules(modules)
    steps = (fresh_steps or fresh.STEPS) if fresh_judge else 0
    paths = [path for name in of for path in store.places(root, name)] if of else [root]
    checked = verify.verify(paths, judge, rerun, bar_of("verifying", "record"), fresh_steps=steps)
    if keep:
        verify.keep(checked)
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

    rows = compare.on_task(leaderboard.rows_of(view_of(root, of).records), task)
    for row in compare.named(rows, contender):
        print(*reports.challenge(row), sep="\n")


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

    import_modules(modules)
    records = judgements.lacking(view_of(root, of).records, again)
    left_out = list(judgements.rejudge(records, workers, bar_of("judging", "record"), modules or ()))
    print(f"{len(records) - len(left_out)} judged of {len(records)} that were to be")
    print(*map(terminal.folded, left_out), sep="\n", end="\n" * bool(left_out))
    if left_out:
        raise Failed(f"{len(left_out)} of {len(records)} records were not judged")


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

    import_modules(None)
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
