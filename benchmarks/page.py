"""How long the leaderboard and the page of many records take, and how much memory; and the page in a browser.

The leaderboard is written twice: with an empty cache, and from what the first time has kept there.

python benchmarks/page.py                # 10,000 records of 1,000 test images, 2,000 rows of five seeds
python benchmarks/page.py --records 1000 --images 500

The records are copies of the quick suite's committed ones, of other seeds and settings, in a temporary store. The
browser is Chromium by Playwright, where both are at hand: seconds until the page answers, until a press on a column
has sorted its tables, and until a search has filtered them.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from glimpsebench.bench import hashes
from glimpsebench.bench.records import Record, asked, digest, folder_of
from glimpsebench.bench.rows import rows_of
from glimpsebench.bench.store import view

RESULTS = Path(__file__).parents[1] / "results"
SEEDS = 5
COPIED = ("curves.json", "timings.json", "looks.npz")


def copy(record: Record, number: int, images: int, root: Path) -> None:
    """One more record: that of row `number // SEEDS`, whose learning rate is another, of so many test images."""
    about = json.loads((record.folder / "record.json").read_text())
    row, seed = divmod(number, SEEDS)
    for settings in ("settings", "changed"):
        about["agent"][settings] |= {"predictor_lr": 1e-4 * (1 + row)}
    about["task"] |= {"test_images": images, "test_sha256": digest(images) * 4}
    about |= {"seed": seed, "key": ""}
    about["key"] = digest(asked(about))
    folder = folder_of(root, record.task, record.about["agent"]["name"], about["key"])
    folder.mkdir(parents=True)
    for name in COPIED:
        if (record.folder / name).exists():
            shutil.copy(record.folder / name, folder)
    chosen = np.random.default_rng(0).integers(0, record.about["task"]["test_images"], images)  # the same in all
    arrays = stored(record.folder / "images.npz")
    axes = {name: value.ndim - 1 - (name == "points") for name, value in arrays.items()}
    np.savez_compressed(folder / "images.npz", **{key: arrays[key].take(chosen, axes[key]) for key in arrays})
    for path in record.folder.glob("judgement.*.npz"):
        correct = np.unpackbits(stored(path)["correct"], axis=-1).take(chosen, -1)
        np.savez_compressed(folder / path.name, correct=np.packbits(correct, axis=-1))
    (folder / "record.json").write_text(json.dumps(about, indent=1, sort_keys=True))
    hashes.write(folder)


def stored(path: Path) -> dict[str, Any]:
    with np.load(path) as found:
        return {name: found[name] for name in found.files}


def timed(*words: str) -> str:
    """How long a command takes, how much of that it computes, and the most memory that it has."""
    begun = time.perf_counter()
    pid = os.posix_spawn(
        sys.executable, [sys.executable, "-m", "glimpsebench", *words], os.environ, file_actions=_QUIET
    )
    _, status, usage = os.wait4(pid, 0)
    if status:
        raise SystemExit(f"glimpse {' '.join(words)}: failed")
    computing = usage.ru_utime + usage.ru_stime
    return f"{time.perf_counter() - begun:.1f} s, {computing:.1f} s of a core, {usage.ru_maxrss / 1e6:.2f} GB"


_QUIET = [(os.POSIX_SPAWN_OPEN, 1, os.devnull, os.O_WRONLY, 0)]


def in_a_browser(page: Path) -> Iterator[str]:
    """What a reader waits for."""
    try:
        from playwright.sync_api import sync_playwright
    except ImportError:
        yield "no browser: needs Playwright"
        return
    with sync_playwright() as play:
        browser = play.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        tab = browser.new_page()
        begun = time.perf_counter()
        tab.goto(f"file://{page}")
        tab.wait_for_selector("html[data-ready]", state="attached")
        tab.evaluate("new Promise((done) => requestAnimationFrame(() => setTimeout(done)))")
        yield f"until the page answers: {time.perf_counter() - begun:.1f} s"
        begun = time.perf_counter()
        tab.locator("table[data-track=open] thead button", has_text="10 %").first.click()
        tab.wait_for_selector("table[data-track=open] th[aria-sort]")
        yield f"sorted: {time.perf_counter() - begun:.1f} s"
        begun = time.perf_counter()
        tab.get_by_label("Search contenders").fill("lowres")
        tab.wait_for_url("**q=lowres**")
        tab.evaluate("new Promise((done) => requestAnimationFrame(() => setTimeout(done)))")
        yield f"searched: {time.perf_counter() - begun:.1f} s"
        browser.close()


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("--records", type=int, default=10_000)
    options.add_argument("--images", type=int, default=1_000)
    options.add_argument("--keep", type=Path, help="a folder for the store, kept; used as it is if it has one")
    given = options.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        root = (given.keep or Path(temporary)) / "quick"
        if not root.exists():
            rows = rows_of(view(RESULTS, "quick").records)
            for number in range(given.records):
                runs = rows[number // SEEDS % len(rows)].runs
                copy(runs[number % len(runs)], number, given.images, root)
        size = sum(path.stat().st_size for path in root.glob("records/*/*/*/*"))
        print(f"{given.records:,} records of {given.images:,} test images, {size / 1e6:.0f} MB")
        os.environ["XDG_CACHE_HOME"] = str(Path(temporary) / "cache")
        for what in ("leaderboard", "again"):
            print(f"{what}: {timed('leaderboard', '--root', str(root))}", flush=True)
        page = root / "report.html"
        print(f"page: {timed('report', 'quick', '--root', str(root), '--into', str(page))}")
        print(f"its size: {page.stat().st_size / 1e6:.1f} MB", flush=True)
        for line in in_a_browser(page):
            print(line, flush=True)


if __name__ == "__main__":
    main()
