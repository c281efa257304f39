"""The page in a real browser: Chromium by Playwright. Skipped, with the reason, where either is missing.

pip install '.[e2e]'; apt-get install chromium (or: playwright install chromium)
npm install axe-core; AXE=node_modules/axe-core/axe.min.js pytest -m e2e
"""

from __future__ import annotations

import csv
import io
import os
import re
import shutil
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from forged import make_honest
from glimpsebench.bench import report, store
from glimpsebench.bench.records import Record, read_all
from glimpsebench.bench.report import data, page
from glimpsebench.bench.report.serve import Server
from test_report import Parsed, records

sync_api = pytest.importorskip("playwright.sync_api", reason="needs Playwright: pip install '.[e2e]'")
pytestmark = [pytest.mark.e2e, pytest.mark.slow]

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
Open = Callable[..., Any]


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with sync_api.sync_playwright() as play:
        try:
            found = play.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        except sync_api.Error as error:
            pytest.skip(f"no Chromium: {str(error).splitlines()[0]}")
        yield found
        found.close()


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> list[Record]:
    root = tmp_path_factory.mktemp("e2e") / "quick"
    for agent in ("raster", "uniform"):
        make_honest(root, agent=agent)
    return read_all(root)


@pytest.fixture(scope="module")
def file(made: list[Record], tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("pages") / "report.html"
    views = [data.View("toy", "A toy", records()), data.View("quick", "Looks", made)]
    path.write_text(page.page(data.block(views), "glimpse report toy quick"))
    return path


@pytest.fixture
def shown(browser: Any, file: Path) -> Iterator[Open]:
    """Opens the page; afterwards nothing was asked for and nothing complained."""
    contexts, complaints = [], []

    def show(
        fragment: str = "",
        width: int = 1440,
        height: int = 900,
        script: bool = True,
        page: Path = file,
        **more: Any,
    ) -> Any:
        context = browser.new_context(viewport={"width": width, "height": height}, java_script_enabled=script, **more)
        contexts.append(context)
        tab = context.new_page()
        tab.on("console", lambda said: complaints.append(said.text) if said.type in ("error", "warning") else None)
        tab.on("pageerror", lambda error: complaints.append(str(error)))
        tab.on(
            "request",
            lambda asked: (
                complaints.append(asked.url) if not asked.url.startswith(("file:", "data:", "blob:")) else None
            ),
        )
        tab.goto(f"file://{page}{fragment}")
        if script:
            tab.wait_for_selector("html[data-ready]", state="attached")
        return tab

    yield show
    for context in contexts:
        context.close()
    assert complaints == []


def names(tab: Any, track: str = "gated") -> list[str]:
    return list(tab.locator(f"table[data-track={track}] tbody .who").all_inner_texts())


def test_what_the_script_makes_has_the_numbers_of_the_tables_without_it(shown: Open, file: Path) -> None:
    tab = shown("#cols=b0.1|b0.2|b1")
    for track in ("gated", "open", "reference"):
        about = {"data-track": track, "data-by": "judge", "data-section": "0"}
        static = next(lines for found, lines in Parsed(file.read_text()).tables if about.items() <= found.items())
        wanted = {
            line[0].rstrip("†"): [line[4], line[6], line[9]] for line in static[1:] if line[0] != "strongest floor"
        }
        for row in tab.locator(f"table[data-track={track}] tbody tr").all():
            name = row.locator(".who").inner_text().rstrip("†").strip()
            cells = [
                re.sub(r"[▲▼¹°]|(above|below|would).*|\s", "", text) for text in row.locator("td").all_inner_texts()
            ]
            assert cells == [re.sub(r"[▲▼¹]|\s", "", text) for text in wanted[name]]


def test_rows_are_sorted_searched_filtered_and_only_complete(shown: Open) -> None:
    tab = shown()
    head = tab.locator("table[data-track=gated] thead button", has_text=re.compile("^10 %$"))
    head.click()
    best = names(tab)
    assert best[0] == "single"
    assert tab.locator("table[data-track=gated] th[aria-sort=descending]").count() == 1
    head = tab.locator("table[data-track=gated] thead button", has_text=re.compile("^10 %$"))
    head.click()
    assert names(tab) == best[::-1]
    tab.get_by_label("Search contenders").fill("poo")
    sync_api.expect(tab.locator("table[data-track=gated] .who")).to_have_count(1)
    assert names(tab) == ["poor"]
    assert "q=poo" in tab.url
    tab.get_by_label("Search contenders").fill("")
    tab.get_by_label("Open", exact=True).uncheck()
    assert names(tab, "open") == []
    tab.locator("summary", has_text="Columns").click()
    tab.get_by_label("1 %", exact=True).check()
    tab.get_by_label("only rows complete on these").check()
    assert names(tab) == [], "nobody reaches 1 %"


def test_the_address_brings_the_same_state_back(shown: Open) -> None:
    tab = shown("#by=own&sort=-b0.1&heat=1&q=oo&pin=good&scale=linear&x=budget")
    assert tab.locator("button[aria-pressed=true]", has_text="Own predictor").count() == 1
    assert tab.locator("table.heat").count() > 0
    assert names(tab) == ["good", "poor"]
    assert tab.locator("#curves-svg g.row.on path.line").count() == 1
    hostile = shown("#by=__proto__&s=99&x=%3Cscript%3E&cols=nothing&at=x&image=-4&step=9999&who=nobody")
    assert names(hostile)


def test_hovering_a_point_says_it_and_marks_the_row_everywhere(shown: Open) -> None:
    tab = shown()
    group = tab.locator("#curves-svg g.row", has=tab.locator("path.line")).last
    number = group.get_attribute("data-row")
    group.locator("path.paper").first.hover()
    tip = tab.locator("#plot .tip")
    assert tip.is_visible()
    assert re.search(r"\d % right, interval|right, interval", tip.inner_text())
    assert tab.locator(f"#grid tr.on[data-row='{number}']").count() == 1
    assert tab.locator("#curves-svg.focus").count() == 1
    tab.mouse.move(5, 5)
    assert not tip.is_visible()


def test_the_chart_is_read_by_keyboard_alone(shown: Open) -> None:
    tab = shown()
    tab.locator("#curves-svg").focus()
    tab.keyboard.press("ArrowRight")
    first = tab.locator("#plot .tip").inner_text()
    tab.keyboard.press("ArrowRight")
    second = tab.locator("#plot .tip").inner_text()
    tab.keyboard.press("ArrowDown")
    third = tab.locator("#plot .tip").inner_text()
    assert len({first, second, third}) == 3
    assert tab.locator("#spoken").inner_text()
    tab.keyboard.press("Enter")
    assert "pin=" in tab.url
    who = tab.locator("table[data-track=gated] .who").first
    who.focus()
    tab.keyboard.press("Enter")
    assert tab.locator("tr.about .command code").first.inner_text().startswith("glimpse run --agent")
    assert tab.get_by_role("button", name=re.compile("^Copy the command that runs")).count() == 1


def test_the_player_steps_with_arrow_keys_and_shares_its_place_with_the_curve(shown: Open) -> None:
    tab = shown("#s=1&who=raster (predictor_steps=2)")
    screen = tab.locator("#screen")
    screen.focus()
    tab.keyboard.press("Home")
    assert "look 1 of" in tab.locator(".deck output").inner_text()
    one = tab.locator("svg.screen .dot").count()
    tab.keyboard.press("ArrowRight")
    assert "look 2 of" in tab.locator(".deck output").inner_text()
    assert tab.locator("svg.screen .dot").count() == one + 1, "the trail grows"
    tab.keyboard.press("End")
    assert tab.locator("#curves-svg .ring").get_attribute("visibility") == "visible"
    assert tab.locator(".small .ring").get_attribute("visibility") == "visible"
    assert tab.locator(".bars svg").count() == 3, "belief"
    tab.keyboard.press("ArrowDown")
    assert tab.locator(".film button[aria-pressed=true]").get_attribute("aria-label").startswith("Image 2")
    tab.locator("#looks button.pic").first.click()
    assert tab.locator(".film button[aria-pressed=true]").get_attribute("aria-label").startswith("Image 1")
    marks = tab.locator("#looks .says").all_inner_texts()
    assert all(re.match("[✓✗·]", text) for text in marks), "right or wrong by a mark"


def test_what_is_on_screen_is_downloaded(shown: Open, tmp_path: Path) -> None:
    tab = shown("#hide=reference&cols=b0.1|seeds")
    found = {}
    for place, kind in (("grid", "CSV"), ("grid", "LaTeX"), ("chart", "SVG"), ("chart", "PNG"), ("cost", "SVG")):
        button = tab.locator(f"#{place} button", has_text=re.compile(f"^{kind}$"))
        if not button.count() or not button.is_visible():
            continue
        with tab.expect_download() as waiting:
            button.click()
        found[place, kind] = Path(waiting.value.path()).read_bytes()
    lines = list(csv.reader(io.StringIO(found["grid", "CSV"].decode())))
    assert lines[0] == ["task", "track", "contender", "judge 0.1", "low", "high", "seeds"]
    assert {line[2] for line in lines[1:]} == {"good", "poor", "single", "open_one"}
    assert "\\textbf{" in found["grid", "LaTeX"].decode()
    assert "open\\_one" in found["grid", "LaTeX"].decode()
    assert found["chart", "SVG"].startswith(b"<svg")
    assert b'class="row' in found["chart", "SVG"]
    assert found["chart", "PNG"].startswith(b"\x89PNG")


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1440, 390])
def test_nothing_is_wider_than_the_window_and_axe_finds_nothing_serious(shown: Open, width: int, scheme: str) -> None:
    tab = shown("#s=1", width=width, color_scheme=scheme)
    assert tab.evaluate("document.documentElement.scrollWidth") <= width
    paper = tab.evaluate("getComputedStyle(document.body).backgroundColor")
    assert (int(re.findall(r"\d+", paper)[0]) < 128) == (scheme == "dark")
    axe = os.environ.get("AXE")
    if not axe:
        pytest.skip("AXE names no axe.min.js (npm install axe-core)")
    tab.evaluate(Path(axe).read_text() + ";0")
    tab.locator("table .who").first.click()
    found = tab.evaluate("axe.run().then((found) => found.violations)")
    serious = [(one["id"], one["nodes"][0]["html"][:200]) for one in found if one["impact"] in ("serious", "critical")]
    assert serious == []


def test_without_a_script_everything_that_counts_is_there(shown: Open) -> None:
    tab = shown(script=False)
    assert tab.locator("svg.static").count() == 2
    assert tab.locator("table.results[data-by=own]").count() >= 3
    assert tab.locator("table.looks").count() == 1
    assert not tab.locator("#controls").is_visible()
    assert not tab.locator("#player").is_visible()
    tab.locator("details.about summary").first.click()
    assert tab.locator("details.about pre").first.is_visible()


def test_in_print_there_are_no_controls_and_the_tables_are_whole(shown: Open) -> None:
    tab = shown()
    tab.emulate_media(media="print")
    assert not tab.locator("#controls").is_visible()
    assert tab.locator("table[data-track=gated]").is_visible()
    assert len(tab.pdf()) > 10_000


def test_a_served_page_follows(browser: Any, made: list[Record]) -> None:
    root = made[0].folder.parents[3]
    with Server(report.Page(["quick"], [root])) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        tab = browser.new_page()
        complaints: list[str] = []
        tab.on("console", lambda said: complaints.append(said.text) if said.type == "error" else None)
        tab.goto(f"{server.address}#q=raster")
        tab.wait_for_selector("html[data-ready]", state="attached")
        before = tab.evaluate("document.body.dataset.live")
        made_anew = root / "records" / made[0].task
        (next(made_anew.glob("*/*/record.json"))).touch()
        tab.wait_for_selector(f"body[data-live]:not([data-live='{before}'])", state="attached", timeout=60_000)
        tab.wait_for_selector("html[data-ready]", state="attached")
        assert "q=raster" in tab.url
        assert complaints == []
        tab.close()
        server.shutdown()
        thread.join()


@pytest.fixture(scope="module")
def committed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The page of committed results that have costs and published figures beside them."""
    path = tmp_path_factory.mktemp("pages") / "committed.html"
    results = Path(__file__).parents[1] / "results"
    shown = [data.View(name, name, store.kept(results / name)) for name in ("quick", "ram-60")]
    path.write_text(page.page(data.block(shown), "glimpse report quick ram-60"))
    return path


def test_published_figures_are_hollow_marks_told_apart_by_what_was_seen(shown: Open, committed: Path) -> None:
    tab = shown("#s=1&told=1", page=committed)
    marks = tab.locator("#curves-svg [data-told]")
    assert marks.count() > 0
    paper = tab.evaluate("getComputedStyle(document.body).backgroundColor")
    fills = marks.evaluate_all("(all) => all.map((one) => getComputedStyle(one).fill)")
    assert set(fills) == {paper}, "hollow"
    assert tab.locator(".legend .published").count() >= 1
    marks.last.hover()  # which no other covers
    assert "allowed to see: " in tab.locator("#plot .tip").inner_text()
    tab.get_by_label("published").uncheck()
    sync_api.expect(marks).to_have_count(0)


def test_the_front_and_head_to_head_are_of_what_the_filters_leave(shown: Open, committed: Path) -> None:
    tab = shown("#at=0.1", page=committed)
    marks, front = tab.locator("#cost-svg g.row"), tab.locator("#cost-svg path.front")
    before, line, pairs = marks.count(), front.get_attribute("d"), tab.locator("table.matrix tbody tr").count()
    best = [title for title in marks.locator("title").all_text_contents() if title.endswith("on the front")]
    assert 0 < len(best) < before
    tab.get_by_label("Open", exact=True).uncheck()
    sync_api.expect(marks).to_have_count(before - 2)
    assert front.get_attribute("d") != line
    assert not {*best} & {*marks.locator("title").all_text_contents()}, "others are on it now, by another figure"
    assert tab.locator("table.matrix tbody tr").count() == pairs - 2


def test_cells_are_shaded_by_accuracy_and_tables_have_the_columns_that_are_picked(shown: Open, committed: Path) -> None:
    tab = shown(page=committed)
    tab.get_by_label("shade").check()
    shades = tab.locator("table[data-track=reference] td[class*=h9]")
    assert shades.count() > 0
    assert "heat=1" in tab.url
    tab.locator("summary", has_text="Columns").click()
    tab.get_by_label("FLOPs", exact=True).check()
    assert tab.locator("table[data-track=gated] thead button", has_text=re.compile("^FLOPs$")).count() == 1
    assert "cols=" in tab.url


@pytest.mark.parametrize("width", [1440, 390])
def test_headings_of_wide_tables_fit_the_window(shown: Open, committed: Path, width: int) -> None:
    tab = shown(width=width, page=committed)
    ends = tab.locator("caption span").evaluate_all("(all) => all.map((one) => one.getBoundingClientRect().right)")
    shown_ends = [end for end in ends if end > 0]
    assert shown_ends
    assert max(shown_ends) <= width


DECOUPLED = 0.417
STAGES: dict[str, dict[int, float | None]] = {
    "selector": {100: 0.2, 200: 0.5, 300: None, 400: 0.9},
    "predictor": {500: 0.6, 600: 0.7},
}
"""Validation accuracy over images passed through, which are counted on from stage to stage."""


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The page of records of which `good` has been audited, and `good` and `open_one` tell how their training went."""
    made = records()
    for one in made:
        name = one.about["agent"]["name"]
        if name == "good":
            by_budget = [None, *[DECOUPLED] * (len(one.budgets) - 1)]
            one.__dict__["audit"] = {"verdict": "gated", "reasons": [], "figures": {}, "decoupled": by_budget}
        one.__dict__["curves"] = [
            {
                "stage": stage,
                "scored": "at 20 %",
                "measures": {
                    "accuracy": {"images": [*told], "value": [*told.values()]},
                    **({} if name == "open_one" else {"loss": {"images": [50, 100], "value": [3.5, 1.25]}}),
                },
            }
            for stage, told in (STAGES if name in ("good", "open_one") else {}).items()
        ]
    path = tmp_path_factory.mktemp("pages") / "trained.html"
    path.write_text(page.page(data.block([data.View("toy", "A toy", made)]), "glimpse report toy"))
    return path


def test_training_has_a_line_for_each_seed_and_stage_and_a_gap_between_stages(shown: Open, trained: Path) -> None:
    tab = shown(page=trained)
    panels = tab.locator("#learning [data-row]")
    assert {*panels.locator("h3").all_inner_texts()} == {"good", "open_one"}, "the others told nothing"
    good = panels.filter(has=tab.get_by_role("heading", name="good", exact=True))
    lines = good.locator("path.rowline")
    assert lines.count() == 6 * len(STAGES), "six seeds"
    assert {*lines.locator("title").all_text_contents()} == {
        f"seed {seed}, {stage}: at 20 %" for seed in range(6) for stage in STAGES
    }
    points = [
        re.findall(r"[\d.]+ [\d.]+", one)
        for one in lines.evaluate_all("(all) => all.map((one) => one.attributes.d.value)")
    ]
    assert [len(one) for one in points[:2]] == [3, 2], "what is not known is left out"
    heights = [float(point.split()[1]) for point in points[0]]
    assert heights == sorted(heights, reverse=True), "accuracy rises"
    ends = [float(points[0][-1].split()[0]), float(points[1][0].split()[0])]
    assert ends[1] > ends[0], "the next stage goes on to the right"
    tab.locator("#learning button", has_text=re.compile("^loss$")).click()
    assert panels.locator("h3").all_inner_texts() == ["good"]
    assert "3.5" in good.locator("svg text").all_text_contents()
    assert "learn=loss" in tab.url
    tab.get_by_label("Search contenders").fill("poor")
    sync_api.expect(panels).to_have_count(0)


def test_a_page_without_training_curves_has_no_section_of_them(shown: Open) -> None:
    tab = shown()
    assert not tab.locator("#training").is_visible()
    assert tab.locator("#controls button", has_text="Decoupled judge").count() == 0, "nobody was audited"


def test_the_decoupled_judge_can_be_chosen_where_an_audit_has_asked_it(shown: Open, trained: Path) -> None:
    tab = shown(page=trained)
    lines = tab.locator("#curves-svg g.row path.line")
    before = lines.count()
    assert before > 1
    choice = tab.locator("#controls button", has_text="Decoupled judge")
    choice.click()
    assert "by=decoupled" in tab.url
    sync_api.expect(choice).to_have_attribute("aria-pressed", "true")
    sync_api.expect(lines).to_have_count(1)
    tab.locator("#curves-svg g.row path.paper").first.hover()
    assert f"{100 * DECOUPLED:.1f} %" in tab.locator("#plot .tip").inner_text()
    row = tab.locator("table[data-track=gated] tbody tr", has=tab.locator(".who", has_text="good"))
    assert f"{100 * DECOUPLED:.1f}" in row.inner_text()
    tab.reload()
    tab.wait_for_selector("html[data-ready]", state="attached")
    assert lines.count() == 1, "the address brings it back"
    tab.locator("#controls button", has_text=re.compile("^Judge$")).click()
    sync_api.expect(lines).to_have_count(before)
