"""What records say: tables, comparisons, verdicts, figures, pages, and agents that look."""

from __future__ import annotations

import sys
from contextlib import suppress
from pathlib import Path
from typing import Annotated

import typer
from tqdm import tqdm

from glimpsebench.bench import escape, terminal
from glimpsebench.bench.cli.common import (
    STORE,
    AsMarkdown,
    Failed,
    Import,
    Of,
    OneTask,
    Own,
    Root,
    Roots,
    Settings,
    app,
    bar_of,
    import_modules,
    own_of,
    parse_changes,
    run_bar,
    show,
    view_of,
)
from glimpsebench.envs.errors import UsageError


@app.command("leaderboard")
def leaderboard_command(
    of: Of = None,
    roots: Roots = None,
    own: Own = None,
    title: Annotated[str | None, typer.Option(help="The heading; by default the suite's title.")] = None,
    into: Annotated[
        Path | None, typer.Option(help="Also put the tables between this file's leaderboard markers.")
    ] = None,
    markdown: AsMarkdown = False,
) -> None:
    """Recompute leaderboard.md and leaderboard.csv from the records and print the former.

    A contender of your own beside committed rows: glimpse leaderboard SUITE --root runs --root results
    """
    from glimpsebench.bench import leaderboard

    records, folder, heading, _ = view_of(roots, of, own)
    folder.mkdir(parents=True, exist_ok=True)
    paths = leaderboard.write(records, folder, title or heading)
    if into is not None:
        leaderboard.insert(into, folder, title or heading, records=records)
    show(paths[0].read_text(), markdown, leaderboard.MARKS, curves=True)
    print("Written:", *paths, sep="\n  ")


@app.command("report")
def report_command(
    suites: Annotated[list[str], typer.Argument(metavar="SUITE...", help="Suites' names, or TOML files of your own.")],
    roots: Annotated[
        list[Path] | None,
        typer.Option(
            "--root",
            metavar="FOLDER",
            help="Where records lie; repeat for more: of one run the first counts that has it. By default runs, then "
            "results.",
        ),
    ] = None,
    own: Annotated[
        list[str] | None,
        typer.Option(
            "--own",
            metavar="LABEL",
            help="Which contenders of your own stand among the rows, of those that were run on the suite's tasks: a "
            "label or a module, repeat for more; all (unless told) or none. Each counts in the correction of the "
            "marks.",
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

    import_modules(modules)
    page = report.Page(suites, roots, into, tuple(modules or ()), own_of(own, None))
    if serve:
        report.serve(page, port)
    else:
        print(f"Written: {page.write()}")


@app.command("compare")
def compare_command(
    contender: Annotated[str, typer.Argument(metavar="A", help="A label as the leaderboard prints it, or 'all'.")],
    other: Annotated[str, typer.Argument(metavar="B", help='The row to compare with, such as "uniform (kind=mask)".')],
    of: Of = None,
    roots: Roots = None,
    own: Own = None,
    task: OneTask = None,
    measure: Annotated[str, typer.Option(help="own, judge, iou, on_object or pointed.")] = "judge",
    into: Annotated[Path | None, typer.Option(metavar="FILE", help="Also write it there, as Markdown.")] = None,
    markdown: AsMarkdown = False,
) -> None:
    """Whether A beats B: the paired difference at each budget that both reach, with a 95 % interval.

    Each image counts with its scores averaged over the seeds of each side, and the difference is taken on the same
    image. The interval counts how images differ and, on each side that has two or more, how seeds do; seeds are not
    matched, and the sides may have different numbers of them.
    """
    from glimpsebench.bench import compare, leaderboard

    rows = leaderboard.rows_of(view_of(roots, of, own).records)
    text = compare.markdown(rows, contender, other, measure, task)
    if into is not None:
        into.parent.mkdir(parents=True, exist_ok=True)
        into.write_text(text)
    show(text, markdown)


@app.command("ablate")
def ablate_command(
    suite: Annotated[
        str | None, typer.Argument(help="A suite's name or a TOML file of your own, with [[claim]].")
    ] = None,
    roots: Roots = None,
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
        records, folder, *_ = view_of(roots, str(suite), ["none"])
        paths = ablate.write(plan, records, folder)
    show(paths[0].read_text(), markdown)
    print("Written:", *paths, sep="\n  ")


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


@app.command("figures")
def figures_command(
    of: Of = None,
    width: Annotated[
        str, typer.Option(metavar="column|text|INCHES", help="At which the figures are printed.")
    ] = "text",
    glimpses: Annotated[
        bool, typer.Option("--glimpses", help="Also accuracy after each glimpse, for which selections are replayed.")
    ] = False,
    roots: Roots = None,
    own: Own = None,
    modules: Import = None,
) -> None:
    """Draw the figures of a paper, and write the tables in LaTeX, into the folder figures of the results folder.

    PDF and PNG of each, and beside them its caption, NAME.txt and for LaTeX NAME.tex: images, seeds, intervals and
    tests. Gated and open contenders stand in panels of their own; what is too much for one figure goes on in NAME-2.
    Each table is a file: leaderboard-gated.tex, leaderboard-open.tex and so on.
    """
    from glimpsebench.bench import ablate, by_glimpse, figures, latex, leaderboard, store
    from glimpsebench.bench.figures.paper import inches
    from glimpsebench.bench.suites import read_suite

    wide = inches(width)
    import_modules(modules)
    records, folder, title, _ = view_of(roots, of, own)
    rows = leaderboard.rows_of(records)
    chosen = by_glimpse.chosen(rows, [], None) if glimpses else []
    replayed = [
        by_glimpse.replayed(row, bar_of("training the judge"))
        for row in tqdm(chosen, "replaying", unit="row", leave=False, disable=None)
    ]
    into = folder / "figures"
    into.mkdir(parents=True, exist_ok=True)
    print("Written:")
    suite = read_suite(of) if of and store.is_suite(of) else None
    verdicts = ablate.decided(suite, records) if suite and suite.claims else []
    for path in figures.write_all(rows, replayed, into, wide, verdicts):
        print(f"  {path}")
    pages = {"leaderboard": leaderboard.markdown(rows, title)}
    if suite and suite.claims:
        pages["ablation"] = ablate.markdown(suite, records)
    for comparison in suite.comparisons if suite else ():
        with suppress(UsageError):  # its rows are not here yet
            pages[f"compare-{comparison.file.removesuffix('.md')}"] = comparison.text(rows)
    images = {row.task: row.records[0].about["task"]["test_images"] for row in rows}
    about = f"Test images: {', '.join(f'{count} of {task}' for task, count in images.items())}."
    for page, text in pages.items():
        for name, table in latex.tables(text, page, folder.name, about).items():
            (into / f"{name}.tex").write_text(table)
            print(f"  {into / name}.tex")


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
    import_modules(modules)
    several = []
    for label in labels:
        found = watch.run_of(root, label, task, parse_changes(settings, None))
        if not isinstance(found, tuple):
            print(terminal.folded(f"no run of {found} here with its weights: running it now"))
            with run_bar() as stages:
                record = run(found, root, stages)
            if not record.done:
                raise Failed(escape.terminal(f"{found}: {record.about['error']}"))
            found = record, label
        several.append(watch.watched(*found, image, budget))
    into = into or root / "watch"
    into.mkdir(parents=True, exist_ok=True)
    name = watch.name_of(several, task, image)
    print("Written:", *watch.write(several, into, name, wide), sep="\n  ")


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

    import_modules(modules)
    records, folder, *_ = view_of(root, of)
    rows = compare.on_task(leaderboard.rows_of(records), task)
    chosen = by_glimpse.chosen(rows, labels or [], against)
    results = [
        by_glimpse.replayed(row, bar_of("training a judge"))
        for row in tqdm(chosen, "replaying", unit="row", leave=False, disable=None)
    ]
    folder.mkdir(exist_ok=True)
    paths = by_glimpse.write(results, folder, against)
    show(paths[0].read_text(), markdown)
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

    records, folder, *_ = view_of(root, of)
    folder.mkdir(exist_ok=True)
    rows = compare.on_task(leaderboard.rows_of(records), task)
    chosen = [row for label in labels or () for row in compare.named(rows, label)]
    rows = curves.drawable([row for row in rows if row in chosen] if labels else rows)
    if tensorboard is not None:
        curves.write_tensorboard(rows, tensorboard)
    paths = curves.write(rows, folder)
    show(curves.markdown(rows), markdown)
    print("Written:", *paths, *([] if tensorboard is None else [tensorboard]), sep="\n  ")
