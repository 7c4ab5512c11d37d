"""The page of a large run: time to first paint, filters, pages, search and static files.

    python -m benchmarks.browse --paths 1000000 [--folder FOLDER] [--out]

The script commits a run of so many paths, unless the folder holds it already. Each has a solution
of 1.5 kB, nine in ten a rationale of 6 kB. It opens the run with `stepmill browse` and looks at it
in headless Chromium. Texts are slices of one random text: they compress as little as words do.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import random
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from functools import cache, partial
from pathlib import Path as File
from typing import Any

from storage.objects.opening import open_store
from storage.rows.kinds import (
    AGREEMENTS,
    EXAMPLES,
    LABELS,
    PATHS,
    PROBLEMS,
    RATIONALES,
    ROLLOUTS,
    Rows,
)
from storage.rows.records import (
    Agreement,
    AnswerCount,
    CodeRun,
    Drop,
    Example,
    Message,
    Path,
    PathLabels,
    Problem,
    Rationale,
    StateRollouts,
)
from storage.runs.run import Run
from storage.runs.specs import ShardPlan, Spec

PER_PROBLEM, PER_SHARD = 16, 16
TEXT, RATIONALE = 1_500, 6_000
NEEDLE = "zanzibar"
"""Stands in one path of ten thousand."""
LINES = (
    "the of and to we have so that sum product let equal number first then since value side",
    "therefore triangle integer divide multiply factor square root prime even odd both hence",
    "substitute expression total remaining each times gives positive angle ratio average",
)
WORDS = tuple(word for line in LINES for word in line.split())
SUBJECTS = ("Algebra", "Geometry", "Number Theory", "Prealgebra", "Precalculus")


def generated(store: str, paths: int) -> Run:
    """The run of so many paths, made where it is not there yet."""
    problems = -(-paths // PER_PROBLEM)
    spec = Spec(
        configuration={"stages": {"seed": 0}},
        input_digest=f"generated {paths}",
        plan=ShardPlan(problems, PER_SHARD),
        models={"policy": "generated", "completer": "generated", "rationale": "generated"},
    )
    run = Run.start(open_store(store), f"generated-{paths}", spec)
    if run.success() is not None:
        return run
    missing = sorted(set(range(spec.plan.shards)) - run.shards_of(EXAMPLES.stage))
    began = time.monotonic()
    with ProcessPoolExecutor(2) as makers:
        for done, _ in enumerate(makers.map(partial(_make, store, run.name), missing), start=1):
            if done % 100 == 0:
                rate = done * PER_SHARD * PER_PROBLEM / (time.monotonic() - began)
                print(f"{done:,} of {len(missing):,} shards, {rate:,.0f} paths/s", flush=True)
    run.finish()
    return run


@cache
def _long_text() -> str:
    rng = random.Random(0)
    return " ".join(
        rng.choice(WORDS) if rng.random() < 0.7 else f"{rng.randrange(10_000)} + {rng.random():.3f}"
        for _ in range(2_000_000)
    )


def _slice(rng: random.Random, size: int) -> str:
    start = rng.randrange(len(_long_text()) - size)
    return _long_text()[start : start + size]


def _make(store: str, name: str, shard: int) -> None:
    """Commit one shard in every stage."""
    run = Run.open(open_store(store), name)
    rng = random.Random(shard)
    numbers = range(shard * PER_SHARD, shard * PER_SHARD + run.spec.plan.size(shard))
    rows: dict[Rows[Any], list[Any]] = {
        kind: [] for kind in (PROBLEMS, PATHS, ROLLOUTS, LABELS, RATIONALES, AGREEMENTS, EXAMPLES)
    }
    drops: list[Drop] = []
    for number in numbers:
        _problem(rng, f"p{number}", rows, drops)
    for kind, records in rows.items():
        of_stage = drops if kind is AGREEMENTS else ()
        tokens = sum(getattr(row, "tokens", 0) for row in records)
        run.publish(kind, shard, records, of_stage, {"tokens": tokens}, rng.random())


def _problem(
    rng: random.Random, name: str, rows: dict[Rows[Any], list[Any]], drops: list[Drop]
) -> None:
    ease = rng.random()
    text = _slice(rng, 200)
    rows[PROBLEMS].append(
        Problem(name, text, "12", str(rng.randint(1, 5)), rng.choice(SUBJECTS), "generated")
    )
    for index in range(PER_PROBLEM):
        path_id = f"{name}#{index}"
        steps = [_slice(rng, TEXT // 6) for _ in range(6)]
        if rng.random() < 1e-4:
            steps[2] += f" {NEEDLE}"
        right = rng.random() < ease
        selected = rng.random() < 0.9
        rows[PATHS].append(
            Path(
                path_id, name, index, 0, "\n\n".join(steps), steps, "stop", "12" if right else "7",
                right, True, None, None, selected, rng.randint(200, 900), rng.getrandbits(31),
            )
        )  # fmt: skip
        if selected:
            _chosen(rng, path_id, name, right, steps, rows, drops)


def _chosen(
    rng: random.Random,
    path_id: str,
    name: str,
    right: bool,
    steps: list[str],
    rows: dict[Rows[Any], list[Any]],
    drops: list[Drop],
) -> None:
    first = None if right else rng.randrange(len(steps))
    rise = [rng.random() for _ in steps]
    dead = len(steps) if first is None else first
    mc = [1.0 if right else 0.0 if t > dead else rise[t - 1] for t in range(len(steps))]
    mc.append(1.0 if right else 0.0)
    for state, value in enumerate(mc[:-1]):
        c = round(8 * value)
        counts = [AnswerCount("12", c, True), AnswerCount("7", 8 - c, False)]
        rows[ROLLOUTS].append(
            StateRollouts(
                path_id, name, state, 0, 8, c, counts, 0, "exact", state == 0, "generated",
                rng.getrandbits(31), 0 if state == 0 else 800,
            )
        )  # fmt: skip
    labels = [first is None or step < first for step in range(len(steps))]
    values = [1.0 if right else 0.2 for right in labels]
    rows[LABELS].append(
        PathLabels(
            path_id, name, mc, [8] * len(steps) + [0], values, labels, first, "ratio", 0.8,
            rng.random(),
        )
    )  # fmt: skip
    judged = first if rng.random() < 0.8 else rng.randrange(len(steps))
    verdict = "ok" if rng.random() < 0.9 else rng.choice(["error", "timeout"])
    part = RATIONALE // (2 * len(steps))
    analyses = [_slice(rng, part) for _ in steps]
    codes = [CodeRun(t, "print(1)", "1", verdict if t == 2 else "ok", 0.1, 0.0) for t in range(6)]
    checks = [_slice(rng, part) for _ in steps]
    whole = "\n".join(a + "\n" + b for a, b in zip(analyses, checks, strict=True))
    vote = -1 if judged is None else judged
    rows[RATIONALES].append(
        Rationale(
            path_id, name, analyses, checks, codes, [vote] * 3 + [rng.choice([vote, -1])], whole,
            6, "stop", "generated", rng.getrandbits(31), 1_500, reading="strict",
        )
    )  # fmt: skip
    kept = judged == first
    reason = None if kept else "index_mismatch"
    rows[AGREEMENTS].append(Agreement(path_id, name, kept, reason, first, judged, "index", labels))
    if not kept:
        drops.append(Drop(path_id, "index_mismatch"))
        return
    rows[EXAMPLES].append(
        Example(
            [Message("user", steps[0]), Message("assistant", analyses[0])], name, path_id, labels,
            first, mc, codes, "generated", "generated", "generated", "generated",
        )
    )  # fmt: skip


@contextmanager
def _browsing(run: Run, store: str, cache_folder: File) -> Iterator[tuple[str, float]]:
    """The address of the page, and when the command was given."""
    environment = os.environ | {"XDG_CACHE_HOME": str(cache_folder), "PYTHONUNBUFFERED": "1"}
    began = time.monotonic()
    command = [sys.executable, "-m", "launch", "browse", run.name, "--store", store, "--no-open"]
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout is not None
        try:
            yield server.stdout.readline().strip(), began
        finally:
            server.terminate()


_FIGURES = "all => (document.querySelector('.lead')?.innerText || '').includes(all)"
_INDEXED = "() => !document.querySelector('header progress')"
_SEARCHED = "() => !/searching/.test(document.querySelector('.total').innerText)"
_LISTED = "() => document.querySelector('.paths')?.getAttribute('aria-busy') === 'false'"
_HOUR_MS = 3_600_000


def measured(run: Run, store: str, cache_folder: File) -> dict[str, float]:
    """Seconds of everything a person waits for, as the browser sees them."""
    from playwright.sync_api import sync_playwright

    from tests.support.browser import launched

    figures: dict[str, float] = {}
    success = run.success()
    assert success is not None
    solutions = success.totals[PATHS.stage].rows
    shutil.rmtree(cache_folder, ignore_errors=True)
    with sync_playwright() as playwright, launched(playwright) as browser:
        for index in ("no index", "index kept", "opened again"):
            with _browsing(run, store, cache_folder) as (address, began):
                page = browser.new_page(viewport={"width": 1280, "height": 900})
                page.goto(address)
                page.wait_for_selector(".lead a")
                if index != "no index":  # whole at once, not those of what is read so far
                    page.wait_for_function(_FIGURES, arg=f"{solutions:,} solutions")
                figures[f"{index}: first figures"] = time.monotonic() - began
                page.goto(f"{address}#/{run.name}/paths")
                page.wait_for_selector("table.paths tbody tr")
                figures[f"{index}: first list"] = time.monotonic() - began
                page.wait_for_function(_INDEXED, timeout=_HOUR_MS)
                figures[f"{index}: all is counted"] = time.monotonic() - began
                if index == "opened again":
                    figures |= _asked(page, run.name)
                page.close()
    return figures


def measured_files(run: Run, store: str, folder: File) -> dict[str, float]:
    """Seconds to write the static files, and to see them; bytes of files."""
    out, environment = folder / "out", os.environ | {"XDG_CACHE_HOME": str(folder / "cache")}
    shutil.rmtree(out, ignore_errors=True)
    command = [sys.executable, "-m", "launch", "browse", run.name, "--store", store]
    began = time.monotonic()
    subprocess.run([*command, "--out", str(out)], env=environment, check=True)
    figures = {"files: written": time.monotonic() - began}
    sizes = {file: file.stat().st_size for file in out.rglob("*") if file.is_file()}
    figures["files: GB"] = sum(sizes.values()) / 1e9
    figures["files: GB of index"] = (
        sum(n for f, n in sizes.items() if f.parent.name == "index") / 1e9
    )
    return figures | {f"files, {what}": n for what, n in _seen(run, out).items()}


def measured_lists(run: Run, folder: File) -> dict[str, float]:
    """The same of a copy without the files of its paths, for a run too large to copy whole."""
    from launch.browse.desk import open_desks
    from launch.browse.files import write_lists, write_page, write_runs

    out = folder / "lists"
    shutil.rmtree(out, ignore_errors=True)
    (desk,) = open_desks([run], folder / "cache" / "stepmill" / "browse", "").values()
    desk.index.fill()
    began = time.monotonic()
    out.mkdir()
    write_page(out)
    write_lists(desk, out / "data" / "0")
    write_runs(out, [{"name": run.name, "folder": "0"}])
    figures = {"lists: written": time.monotonic() - began}
    figures["lists: GB"] = sum(f.stat().st_size for f in out.rglob("*") if f.is_file()) / 1e9
    return figures | {f"lists, {what}": n for what, n in _seen(run, out, paths=False).items()}


def _seen(run: Run, out: File, paths: bool = True) -> dict[str, float]:
    """Seconds to see static files in a browser."""
    from playwright.sync_api import sync_playwright

    from tests.support.browser import launched
    from tests.support.page import shown

    figures = {}
    with sync_playwright() as playwright, launched(playwright) as browser, shown(out) as address:
        page = browser.new_page(viewport={"width": 1280, "height": 900})
        began = time.monotonic()
        page.goto(address)
        page.wait_for_selector(".lead a")
        figures["first figures"] = time.monotonic() - began
        page.goto(f"{address}#/{run.name}/paths")
        page.wait_for_selector("table.paths tbody tr", timeout=_HOUR_MS)
        figures["first list"] = time.monotonic() - began
        return figures | _asked(page, run.name, paths)


def _asked(page: Any, name: str, paths: bool = True) -> dict[str, float]:
    """Seconds of filters, the next page, one path and a search, each new to the server.

    Without `paths` the last two are left out.
    """

    def go(view: str) -> None:
        page.evaluate("hash => { location.hash = hash }", f"#/{name}/{view}")

    def listed(query: str) -> float:
        before = page.locator(".total b").inner_text()
        began = time.monotonic()
        go(f"paths?{query}")
        changed = "before => document.querySelector('.total b').innerText !== before"
        page.wait_for_function(changed, arg=before)
        page.wait_for_function(_LISTED)
        return time.monotonic() - began

    page.wait_for_timeout(1_000)
    filters = {
        "stage and reason": "stage=consensus&reason=index_mismatch",
        "level and first error": "level=3&first_error=2",
        "tokens and Pass@1": "tokens=300-350&pass_at_1=0.2-0.3",
        "code and votes": "code=timeout&votes=split",
        "part of an id": "path_id=p123",
    }
    figures = {f"filter: {what}": listed(query) for what, query in filters.items()}
    figures["no filter again"] = listed("")
    began = time.monotonic()
    page.keyboard.press("n")
    page.wait_for_function("() => /51 to 100/.test(document.querySelector('.total').innerText)")
    figures["next page"] = time.monotonic() - began
    if not paths:
        return figures
    began = time.monotonic()
    page.locator("table.paths tbody tr a").nth(7).click()
    page.wait_for_selector(".whole h1")
    figures["one path"] = time.monotonic() - began
    began = time.monotonic()
    go(f"paths?text={NEEDLE}")
    page.wait_for_selector(f".chip:has-text('{NEEDLE}')")
    page.wait_for_function("() => Number(document.querySelector('.total b')?.innerText) > 0",
                           timeout=_HOUR_MS)  # fmt: skip
    figures["text search: first path"] = time.monotonic() - began
    page.wait_for_function(_SEARCHED, timeout=_HOUR_MS)
    figures["text search: whole run"] = time.monotonic() - began
    return figures


def pictures(folder: File) -> None:
    """The page of a small scripted build, as docs/browse.md shows it."""
    from playwright.sync_api import sync_playwright

    from tests.support.browser import launched
    from tests.support.page import served
    from tests.support.scripted_build import Build, configure

    with tempfile.TemporaryDirectory() as place:
        build = Build(configure(File(place) / "build", run="scripted"))
        asyncio.run(build.work())
        build.run.finish()
        with (
            served([build.run], File(place)) as (address, desks),
            sync_playwright() as playwright,
            launched(playwright) as browser,
        ):
            desks["scripted"].index.fill()
            page = browser.new_page(viewport={"width": 1180, "height": 760})
            page.goto(address)
            page.wait_for_selector(".stages")
            _picture(page, folder / "browse_glance.png")
            page.goto(f"{address}#/scripted/paths?first_error=2&first_error=3&level=3")
            page.wait_for_selector("table.paths tbody tr")
            page.wait_for_selector(".facets fieldset")
            page.keyboard.press("j")
            page.wait_for_timeout(500)
            _picture(page, folder / "browse_list.png")
            page.keyboard.press("Enter")
            page.wait_for_selector(".steps")
            _picture(page, folder / "browse_path.png")


def _picture(page: Any, file: File) -> None:
    """A small one: a page has few colours."""
    from PIL import Image

    page.screenshot(path=file)
    with Image.open(file) as drawn:
        drawn.quantize(48).save(file, optimize=True)


def main() -> None:
    """Make the run, measure, print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--paths", type=int, default=100_000)
    parser.add_argument("--folder", type=File, default=File(".stepmill/browse"))
    parser.add_argument("--make", action="store_true", help="Only make the run.")
    parser.add_argument("--out", action="store_true", help="Static files too.")
    parser.add_argument("--lists", action="store_true", help="Static files but those of paths.")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--pictures", type=File, help="Only make the pictures of docs/browse.md.")
    given = parser.parse_args()
    if given.pictures:
        return pictures(given.pictures)
    folder = given.folder.absolute()
    store = f"file://{folder}/store"
    run = generated(store, given.paths)
    if given.make:
        return
    load = os.getloadavg()[0]
    figures = {"load before": load} | measured(run, store, folder / "cache")
    figures["load after"] = os.getloadavg()[0]
    if given.out:
        figures |= measured_files(run, store, folder)
    if given.lists:
        figures |= measured_lists(run, folder)
    if given.json:
        print(json.dumps(figures))
    for what, seconds in figures.items():
        print(f"{what:40} {seconds:8.2f}")


if __name__ == "__main__":
    main()
