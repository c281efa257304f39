"""Tables for the terminal: nothing is wider than it, and nothing that the Markdown says is lost."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from glimpsebench.bench import leaderboard, terminal

RESULTS = sorted((Path(__file__).parents[1] / "results").glob("*/*.md"))
LONG = "ram (glimpses=8, policy=random, policy_steps=60000, predictor=core, reinforce=1.0, scales=3, size=12)"


def widest(text: str) -> int:
    return max(map(len, text.splitlines()))


@pytest.mark.parametrize("columns", [60, 80, 200])
def test_every_committed_table_fits_and_keeps_its_figures(columns: int) -> None:
    for path in RESULTS:
        markdown = path.read_text()
        text = terminal.rendered(markdown, columns, leaderboard.MARKS, curves=True)
        assert widest(text) <= columns, path
        assert "| " not in text, path
        assert "**" not in text, path
        assert sorted(re.findall(r"\d+\.\d+", markdown)) == sorted(re.findall(r"\d+\.\d+", text)) or "…" in text, path


def test_a_wide_table_has_its_labels_on_lines_of_their_own() -> None:
    budgets = [f"{budget} %" for budget in (1, 2, 5, 10, 15, 20, 30, 50, 100)]
    body = [[LONG, "judge", *["35.6"] * 9, "3", "provisional, learns from boxes"], ["", "own", *["·"] * 9, "", ""]]
    lines = terminal.columned(["contender", "score by", *budgets, "seeds", "note"], body, 80)
    assert max(map(len, lines)) <= 80
    assert " ".join(" ".join(lines[1:-2]).split()) == f"{LONG}; note: provisional, learns from boxes"
    assert lines[-2].split() == ["judge", *["35.6"] * 9, "3"]
    assert lines[-1].split() == ["own", *["·"] * 9]


def test_a_figure_is_lost_in_no_width_where_a_row_has_several_lines() -> None:
    budgets = [f"{budget} %" for budget in (1, 2, 5, 10, 15, 20, 30, 50, 100)]
    lines = [[f"{line}{at}.0 ± 0.5" if at > 5 else "·" for at in range(9)] for line in (1, 2)]
    body = [["cells", "judge", *lines[0], "1", "provisional"], ["", "own", *lines[1], "", ""]]
    for columns in range(50, 120):
        shown = "\n".join(terminal.columned(["contender", "score by", *budgets, "seeds", "note"], body, columns))
        assert all(cell.partition(" ")[0] in shown for line in lines for cell in line if cell != "·"), columns


def test_cells_that_are_too_wide_for_any_line_become_a_list() -> None:
    cells = [f"+{number}.0 ± 5.0* ★" for number in range(10, 19)]
    budgets = [f"{budget} %" for budget in (1, 2, 5, 10, 15, 20, 30, 50, 100)]
    lines = terminal.columned(["contender", *budgets], [["ram", *cells], ["sac", *["·"] * 9]], 60)
    assert max(map(len, lines)) <= 60
    assert lines[0] == "ram"
    assert all(f"{budget}: {cell}" in "\n".join(lines) for budget, cell in zip(budgets, cells, strict=True))
    assert lines[-1] == "sac", "nothing is said of budgets that it does not reach"


def test_of_thousands_of_lines_the_first_are_shown_and_the_others_counted() -> None:
    lines = [f"| c{number} | {number}.5 |" for number in range(5000)]
    text = terminal.rendered("\n".join(["| a | b |", "| --- | ---: |", *lines]), 80)
    assert f"c{terminal.MOST_LINES - 1} " in text
    assert f"c{terminal.MOST_LINES} " not in text
    assert f"… and {5000 - terminal.MOST_LINES:,} lines more" in text


def test_long_names_of_columns_are_shortened_and_told_below() -> None:
    head = ["glimpse", LONG, LONG.replace("random", "learned"), *(f"uniform (kind=mask, cell={n})" for n in range(5))]
    lines = terminal.columned(head, [[str(t), *["50.0 ± 1.0"] * 7] for t in (1, 2)], 80)
    text = "\n".join(lines)
    assert max(map(len, lines)) <= 80
    assert text.count("50.0 ± 1.0") == 14
    for mark, name in zip("abcdefg", head[1:], strict=True):
        assert f"[{mark}] {name}" in " ".join(text.split())


def test_marks_of_cells_are_what_the_legend_calls_them() -> None:
    legend = "**Bold**: above it, *italic*: below it. ¹: would be bold or italic."
    page = f"# A title\n\n{legend}\n\n| a | b |\n| --- | ---: |\n"
    text = terminal.rendered(page + "| x | **1.0**° |\n| y | *2.0* |\n", 80, ("▲", "▼"))
    assert "▲: above it, ▼: below it. ¹: would be ▲ or ▼." in text
    assert "x  1.0▲°" in text
    assert "y   2.0▼" in text
    assert "A title\n=======" in text


def test_the_width_is_the_terminals_and_80_without_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "132")
    assert terminal.width() == 132
    monkeypatch.delenv("COLUMNS")
    monkeypatch.setattr("os.get_terminal_size", lambda fd: (_ for _ in ()).throw(OSError()))
    assert terminal.width() == 80


def test_a_text_that_is_too_long_goes_on_below_itself() -> None:
    text = terminal.listed([("ram", "word " * 40), ("a name that is longer than its column, by far", "x")], 60)
    assert widest(text) <= 60
    assert all(line.startswith(" " * 22) for line in text.splitlines()[1:3])


def test_accuracies_get_a_sparkline_where_there_is_room_and_nothing_else_does() -> None:
    page = "\n".join(
        [
            "| contender | score by | 5 % | 10 % | 50 % | note |",
            "| --- | --- | ---: | ---: | ---: | --- |",
            "| ram | judge | · | **50.0 ± 1.0**° | 99.0 ± 1.0 | x |",
            "|  | touched | 1.0 | 2.0 | 3.0 |  |",
            "| detectable | judge | 1.0 | 2.0 | 3.0 |  |",
        ]
    )
    head, *rows = terminal.rendered(page, 200, ("▲", "▼"), curves=True).splitlines()
    assert head.split() == ["contender", "score", "by", "0–100", "5", "%", "10", "%", "50", "%", "note"]
    assert rows[0].split()[2:4] == ["▅█", "·"]
    assert rows[0].index("▅") == head.index("0") + 1, "a budget that is not reached is a gap"
    assert not re.search(f"[{terminal._BARS}]", "".join(rows[1:]))
    assert "0–100" not in terminal.rendered(page, 60, ("▲", "▼"), curves=True), "no room: the table as it is"
    assert terminal.rendered(page, 60, curves=True) == terminal.rendered(page, 60)
    assert "0–100" not in terminal.rendered(page, 200), "only where it is asked for"
    findings = page.replace("5 %", "size").replace("10 %", "area")
    assert "0–100" not in terminal.rendered(findings, 200, curves=True)


def test_a_sparkline_has_a_bar_for_each_value_between_two_ends() -> None:
    assert terminal.sparkline([0.0, 50.0, None, 100.0], between=(0, 100)) == "▁▅ █"
    assert terminal.sparkline([90.0, 99.0], between=(0, 100)) == "▇█", "near the top, not from the lowest"
    assert terminal.sparkline([]) == ""


def test_marks_and_verdicts_are_coloured_in_a_terminal_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    text = "ram  58.9▼  97.0▲\nThe claim is supported*, the refuted one is not\n"
    assert terminal.coloured(text) == text, "a pipe"
    monkeypatch.setattr("sys.stdout.isatty", lambda: True, raising=False)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.delenv("NO_COLOR", raising=False)
    found = terminal.coloured(text)
    assert found.count("\x1b[32m") == 2
    assert "58.9\x1b[31m▼\x1b[0m" in found
    assert re.sub(r"\x1b\[\d+m", "", found) == text, "the same text, of the same width"
    monkeypatch.setenv("NO_COLOR", "1")
    assert terminal.coloured(text) == text
