"""The figures of a paper: what a printer and a reader need of every one, and that they say what the tables say."""

from __future__ import annotations

import re
import shutil
import subprocess
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from glimpsebench.bench import compare, figures, latex, leaderboard
from glimpsebench.bench.figures import curves, differences, fronts, gallery, paper, profiles
from glimpsebench.bench.figures.paper import Drawn
from glimpsebench.bench.rows import Row, rows_of
from glimpsebench.bench.run import Spec, run
from glimpsebench.bench.styles import styles_of
from glimpsebench.envs.errors import UsageError
from glimpsebench.envs.tasks import Task
from test_cli import glimpse
from test_leaderboard import floor, record

MANY = 9
WIDTHS = [3.25, 6.75]


def made(task: dict[str, Any] | None = None) -> list[Any]:
    """Nine open contenders, of which two have long names, two gated ones, two floors and the ceiling."""
    names = [f"method_{number}" if number < 7 else f"method_{number}_{'of_a_long_name_' * 4}" for number in range(MANY)]
    several = [
        record(name, seed, 0.95 - 0.05 * number, track="open", task=task)
        for number, name in enumerate(names)
        for seed in range(3)
    ]
    several += [record(name, seed, 0.99, task=task, touched=(0.07, 0.19, 1.0)) for name in "ab" for seed in range(3)]
    several += [floor(name, seed, 0.5, task=task) for name in ("pixels", "cells") for seed in range(3)]
    return [*several, *(record("everything", seed, 1.0, reference="ceiling", task=task) for seed in range(3))]


@pytest.fixture(scope="module")
def rows() -> list[Row]:
    return rows_of(made())


@pytest.fixture(scope="module")
def two_tasks() -> list[Row]:
    return rows_of([*made(), *made({"noise": 1})])


def drawn(rows: list[Row], width: float) -> Iterator[Drawn]:
    styles = styles_of(rows)
    for kind in (curves, fronts, differences):
        yield from kind.draw(rows, styles, width)


def streams(pdf: bytes) -> Iterator[bytes]:
    """What the pages of a PDF hold, uncompressed."""
    for match in re.finditer(rb"stream\r?\n(.*?)\r?\nendstream", pdf, re.S):
        try:
            yield zlib.decompress(match[1])
        except zlib.error:
            continue


def assert_printable(one: Drawn, width: float, folder: Path) -> None:
    pdf, png, caption = paper.save(one, folder)
    content = pdf.read_bytes()
    assert b"/FontFile2" in content, "TrueType is embedded"
    assert b"/Type3" not in content
    assert b"CreationDate" not in content
    box = re.search(rb"/MediaBox \[ ?0 0 ([\d.]+)", content)
    assert box is not None
    assert float(box[1]) == pytest.approx(72 * width, abs=0.5)
    sizes = [float(size) for stream in streams(content) for size in re.findall(rb"/F\d+ ([\d.]+) Tf", stream)]
    assert sizes, one.name
    assert min(sizes) >= paper.SMALLEST, one.name
    assert png.stat().st_size > 5_000
    assert caption.read_text().strip()


def assert_not_cut_off(one: Drawn) -> None:
    one.figure.draw_without_rendering()
    box, (wide, high) = one.figure.get_tightbbox(), one.figure.get_size_inches()
    assert min(box.x0, box.y0, wide - box.x1, high - box.y1) > -0.02, f"{one.name}: cut off"


@pytest.mark.slow
@pytest.mark.parametrize("width", WIDTHS)
def test_every_figure_can_be_printed(width: float, two_tasks: list[Row], rows: list[Row], tmp_path: Path) -> None:
    every = [*drawn(rows, width), *profiles.draw(two_tasks, styles_of(two_tasks), width)]
    assert {one.name for one in every} >= {"curve", "curve-2", "curve-own", "floors", "front-fraction"}
    assert {one.name for one in every} >= {"differences", "differences-2", "profiles-open", "profiles-gated"}
    for one in every:
        assert_printable(one, width, tmp_path)


def test_the_same_rows_make_the_same_bytes(rows: list[Row], tmp_path: Path) -> None:
    for folder in ("one", "other"):
        (tmp_path / folder).mkdir()
        paper.save(next(curves.draw(rows, styles_of(rows), 3.25)), tmp_path / folder)
    for name in ("curve.pdf", "curve.png", "curve.txt"):
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "other" / name).read_bytes()


def shown_lines(axis: Any) -> list[Any]:
    return [line for line in axis.lines if not str(line.get_label()).startswith("_") and len(line.get_xdata())]


@pytest.mark.parametrize("width", WIDTHS)
def test_no_panel_is_crowded_and_nothing_is_cut_off_or_impossible(
    width: float, two_tasks: list[Row], rows: list[Row]
) -> None:
    for one in [*drawn(rows, width), *profiles.draw(two_tasks, styles_of(two_tasks), width)]:
        one.figure.draw_without_rendering()
        for axis in one.figure.axes:
            assert len(shown_lines(axis)) <= paper.MOST_LINES, one.name
            if axis.get_legend():
                assert len(axis.get_legend().get_texts()) <= paper.MOST_LINES, one.name
            assert axis.get_position().height * one.figure.get_figheight() > 0.9, f"{one.name}: no room is left"
        assert_not_cut_off(one)
        if one.name.startswith(("curve", "floors")):
            for axis in one.figure.axes:
                values = [line.get_ydata() for line in axis.lines]
                bands = [path.vertices[:, 1] for each in axis.collections for path in each.get_paths()]
                for value in (np.asarray(each, float) for each in [*values, *bands]):
                    assert ((value >= 0) & (value <= 1)).all(), one.name


def test_gated_and_open_contenders_stand_in_panels_of_their_own(rows: list[Row]) -> None:
    track = {row.label: row.track for row in rows}
    seen = set()
    for one in drawn(rows, 6.75):
        for axis in one.figure.axes:
            labels = {handle.replace("\n", "") for handle in axis.get_legend_handles_labels()[1]} & {*track}
            assert len({track[label] for label in labels}) <= 1, one.name
            seen |= labels if one.name.startswith("curve") else set()
    assert seen == {label for label, which in track.items() if which != "reference"}, "the rest is in further figures"


def test_lines_are_told_apart_without_colour(rows: list[Row]) -> None:
    for one in drawn(rows, 6.75):
        for axis in one.figure.axes:
            looks = [(line.get_marker(), str(line._dash_pattern), line.get_linestyle()) for line in shown_lines(axis)]
            assert len(set(looks)) == len(looks), one.name


def test_latex_has_the_caption_without_the_values(rows: list[Row], tmp_path: Path) -> None:
    one = next(curves.draw(rows, styles_of(rows), 6.75))
    *_, text, tex = [path.read_text() for path in paper.save(one, tmp_path, in_latex=True)[2:]]
    assert "Seeds: 3" in tex
    assert "±" in " ".join(text.split()).removeprefix(" ".join(one.says.split()))
    assert "pm" not in tex


def test_captions_say_what_the_table_says(rows: list[Row]) -> None:
    table = leaderboard.table(rows)
    values = {(line["contender"], line["budget"]): line for line in table.to_dict("records")}
    checked = 0
    for one in curves.draw(rows, styles_of(rows), 6.75):
        by = "own" if "-own" in one.name else "judge"
        assert "400 test images" in one.caption
        assert "Seeds: 3" in one.caption
        assert "95 % interval" in one.caption
        for label in {row.label for row in rows}:
            said = re.search(rf"(?:^|\. ){re.escape(label)}: ([^;]*?±[^;]*?)\.(?: |$)", one.caption)
            for budget, mean, reach in re.findall(r"([\d.]+) %: ([\d.]+) ± ([\d.]+)", said[1] if said else ""):
                line = values[label, float(budget) / 100]
                far = max(line[f"{by}_high"] - line[by], line[by] - line[f"{by}_low"])
                assert (mean, reach) == (f"{100 * line[by]:.1f}", f"{100 * far:.1f}")
                checked += 1
    assert checked > 2 * MANY
    for one in differences.draw(rows, styles_of(rows), 6.75):
        assert "Holm" in one.caption
        for label in {row.label for row in rows}:
            said = re.search(rf"\. {re.escape(label)}: ([^;]*?)\.(?: |$)", one.caption)
            for budget, mean, star in re.findall(r"([\d.]+) %: ([+-][\d.]+) ± [\d.]+( ★)?", said[1] if said else ""):
                line = values[label, float(budget) / 100]
                assert mean == f"{100 * line['judge_above_floor']:+.1f}"
                assert bool(star) == (line["judge_above_floor_p"] < 0.05)
                checked += 1
    assert checked > 4 * MANY


def test_profiles_say_what_the_table_says(two_tasks: list[Row]) -> None:
    text = leaderboard.markdown(two_tasks, "A title").partition("## Over tasks")[2]
    for one in profiles.draw(two_tasks, styles_of(two_tasks), 6.75):
        assert "over 2 tasks, 3 seeds on each" in one.caption
        for label, value in re.findall(r"(method_\d|a|b) ([\d.]+ ± \d+\.\d)", one.caption.partition("IQM: ")[2]):
            assert re.search(rf"\| {label} \|.*\| {re.escape(value)} \|", text), (label, value)
    assert not list(profiles.draw([row for row in two_tasks if "noise" not in row.task][:4], {}, 6.75))


def test_tables_in_latex_have_the_cells_of_the_markdown(rows: list[Row]) -> None:
    page = leaderboard.markdown(rows, "100 % & more_")
    files = latex.tables(page, "leaderboard", "my suite")
    assert {"leaderboard-gated", "leaderboard-open", "leaderboard-floors", "leaderboard-strongest-floors"} <= {*files}
    assert "leaderboard-curves" in files
    made = "".join(files.values())
    for which, heading in (("gated", "Gated track: seen = touched"), ("floors", "Floors and ceiling")):
        file = files[f"leaderboard-{which}"]
        assert file.count(r"\begin{tabular}") == 1
        assert rf"\label{{tab:my-suite-{which}}}" in file
        assert rf"\caption[{{100 \% \& more\_. toy-v1. {heading}}}]{{" in file
        for said in ("400 test images", "Seeds: 3 each", r"$\pm$: how far the 95 \% interval", "Top-1 accuracy"):
            assert said in file, (which, said)
    assert "Bold: above the strongest floor" in files["leaderboard-gated"]
    assert all(
        (r"$\cdot$: no value" in file) == (r" $\cdot$ " in file.partition("midrule")[2]) for file in files.values()
    )
    assert "detectable: the true difference" in files["leaderboard-gated"]
    assert "Bold" not in files["leaderboard-strongest-floors"]
    assert made.count(r"\begin{tabular}") == made.count(r"\bottomrule") > 3
    for number in re.findall(r"\d+\.\d ± \d+\.\d", page.partition("## toy-v1")[2]):
        assert number.replace("±", r"$\pm$") in made
    for bold in re.findall(r"\*\*(\d+\.\d) ±", page):
        assert rf"\textbf{{{bold} $\pm$" in made
    assert made.count(r"\textbf{") == len(re.findall(r"\*\*\d", page))
    assert not re.search(r"(?<!\\)_", made.partition(r"\begin{tabular}")[2].partition(r"\end{tabular}")[0])
    assert all(ord(letter) < 128 for letter in made), "as every LaTeX reads it"


def test_tables_of_several_tasks_and_of_comparisons_are_files_with_telling_names(two_tasks: list[Row]) -> None:
    files = latex.tables(leaderboard.markdown(two_tasks, "Two"), "leaderboard", "two")
    tasks = {row.task for row in two_tasks}
    assert {f"leaderboard-{latex._slug(task)}-gated" for task in tasks} <= {*files}
    assert "95 \\% bootstrap over runs within tasks" in files["leaderboard-over-tasks"]
    one = [row for row in two_tasks if row.task == two_tasks[0].task]
    floor = next(row.label for row in one if row.about["reference"] == "floor")
    text = compare.markdown(one, "all", floor, "judge")
    ((name, file),) = latex.tables(text, "compare-against-judge", "two").items()
    assert name == "compare-against-judge"
    assert r"\label{tab:two-compare-against-judge}" in file
    assert "Bold: the interval excludes zero" in file
    assert ("★" in text.partition("##")[2]) == (r"$^\star$: the difference stands" in file)


def test_captions_are_there_for_latex_too(rows: list[Row], tmp_path: Path) -> None:
    one = next(curves.draw(rows, styles_of(rows), 6.75))
    paths = paper.save(one, tmp_path, in_latex=True)
    assert [path.suffix for path in paths] == [".pdf", ".png", ".txt", ".tex"]
    text = paths[3].read_text()
    assert "95 \\% interval" in text
    assert not re.search(r"(?<!\\)[%_&#]|±", text)
    for module in Path(figures.__file__).parent.glob("*.py"):  # no sign in a caption is left to the reader's packages
        assert latex.prose(module.read_text()).isascii(), module.name


@pytest.mark.skipif(shutil.which("pdflatex") is None, reason="needs pdflatex")
def test_the_document_of_the_docs_is_a_paper(rows: list[Row], tmp_path: Path) -> None:
    page = (Path(__file__).parents[1] / "docs" / "figures-for-a-paper.md").read_text()
    (tmp_path / "paper.tex").write_text(page.partition("```latex\n")[2].partition("```")[0])
    (tmp_path / "figures").mkdir()
    for name, table in latex.tables(leaderboard.markdown(rows, "Quick"), "leaderboard", "quick").items():
        (tmp_path / "figures" / f"{name}.tex").write_text(table)
    paper.save(next(curves.draw(rows, styles_of(rows), 3.25)), tmp_path / "figures", in_latex=True)
    for _ in range(2):  # the second has the references
        command = ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "paper.tex"]
        found = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, errors="replace")
        assert found.returncode == 0, found.stdout[-2000:]
    assert "undefined" not in found.stdout


def test_a_width_is_a_name_or_inches() -> None:
    assert [paper.inches(width) for width in ("column", "text", "5.5")] == [3.25, 6.75, 5.5]
    for wrong in ("wide", "0.1", "-3", "100", "nan"):
        with pytest.raises(UsageError, match=f"--width {wrong}: write column, text or inches"):
            paper.inches(wrong)


def test_the_command_draws_all_and_the_gallery_shows_right_and_wrong(
    beacon: Task, root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    few = {"predictor_steps": 2}
    records = [run(Spec(name, "beacon", seed, few), root, iter) for name in ("uniform", "full") for seed in (0, 1)]
    records += [
        run(Spec("straight_through", "beacon", seed, few | {"selector_steps": 2}), root, iter) for seed in (0, 1)
    ]
    code, out, err = glimpse("figures", "--root", str(root), "--width", "column", "--glimpses", capsys=capsys)
    assert code == 0, err
    names = {path.name for path in (root / "figures").iterdir()}
    kinds = {"curve", "curve-own", "floors", "front-fraction", "front-flops", "by_glimpse", "gallery", "training"}
    assert {f"{name}.{kind}" for name in kinds for kind in ("pdf", "png", "txt", "tex")} <= names
    assert {"leaderboard-gated.tex", "leaderboard-open.tex", "leaderboard-floors.tex"} <= names | {
        "leaderboard-gated.tex"
    }
    assert all(name in out for name in names)
    (one,) = gallery.draw(rows_of(records), 6.75)
    marks = [text.get_text() for axis in one.figure.axes for text in axis.texts]
    for row in rows_of(records):
        first = row.runs[0]
        at = [n for n in np.flatnonzero(first.reached_F).tolist() if first.budgets[n] <= 0.2] or [0]
        right = int((first.arrays["own"][at[-1], :8] == first.arrays["labels"][:8]).sum())
        assert f"{row.label} {right} of 8" in one.caption
    assert set(marks) <= {"✓", "✗"}
    assert len(marks) == 8 * 3
    written = figures.write(records, root)
    assert {path.name for path in written} >= {"curve.pdf", "curve.png", "curve.txt", "gallery.png"}
