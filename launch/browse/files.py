"""A static copy of the page: files that any web server or object store shows.

    index.html, app.js, ...            the page itself
    data/runs.json                     the runs of this copy
    data/N/meta.json, glance.json, reasons.json
    data/N/index/I.json                rows of the list, by columns
    data/N/paths/SHARD.json            every path of a shard, whole

Invariant: every answer is the one that the server gives, from the same functions; `runs.json` is
written last, so that a copy which is not whole does not open. Nothing in it can be marked.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict
from functools import partial
from importlib import resources
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import polars as pl

from launch.browse.desk import Desk
from launch.browse.server import TYPES, to_json
from launch.exits import working_folder
from storage.errors import InputError
from storage.objects.opening import open_store
from storage.runs.marks import Mark
from storage.runs.run import Run
from workflows.browsing.path_page import path_pages

BLOCK_ROWS = 50_000
_NOT_LISTED = ("threshold", "round")
_FEW = 0.5
"""A column with fewer different values than this share of its rows is written as codes."""

Told = Callable[[str, int, int], None]


def write_files(desks: Mapping[str, Desk], folder: Path, told: Told, workers: int = 2) -> int:
    """Write the copy; returns its bytes. `told`: run, shards done, shards in all.

    Raises InputError for a folder that holds something else, and what reading a run raises.
    """
    try:
        _check(folder)
        write_page(folder)
        runs = []
        for number, (name, desk) in enumerate(desks.items()):
            desk.index.fill()
            desk.reviews.read()
            place = folder / "data" / str(number)
            write_lists(desk, place)
            _write_paths(desk, place, partial(told, name), workers)
            runs.append({"name": name, "folder": str(number)})
        write_runs(folder, runs)
    except OSError as error:
        raise InputError(f"{error.filename or folder}: {error.strerror or error}") from error
    return sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())


def write_page(folder: Path) -> None:
    """Write the page itself."""
    for name, data in _page():
        _put(folder / name, data)


def write_runs(folder: Path, runs: list[dict[str, str]]) -> None:
    """Write which runs the copy holds, each a name and its folder: the last of its files."""
    _put(folder / "data" / "runs.json", to_json({"runs": runs}))


def _check(folder: Path) -> None:
    """Make the folder, or empty an earlier copy."""
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        if not (folder / "data").is_dir() or not (folder / "preact-htm.min.js").is_file():
            raise InputError(f"{folder} holds something else: name a new folder")
        shutil.rmtree(folder / "data")
    folder.mkdir(parents=True, exist_ok=True)


def _page() -> Iterator[tuple[str, bytes]]:
    for file in resources.files("launch.browse").joinpath("site").iterdir():
        if "." + file.name.rpartition(".")[2] in TYPES:
            data = file.read_bytes()
            if file.name == "index.html":
                data = data.replace(b'<html lang="en">', b'<html lang="en" data-kind="static">')
            yield file.name, data


def write_lists(desk: Desk, place: Path) -> None:
    """Write everything of a run, which is read, but its paths."""
    frame = desk.listing.frame().drop(_NOT_LISTED)
    blocks = list(frame.iter_slices(BLOCK_ROWS))
    for number, rows in enumerate(blocks):
        _put(place / "index" / f"{number}.json", to_json(_columns(rows)))
    meta = desk.meta() | {"blocks": len(blocks)}
    _put(place / "meta.json", to_json(meta))
    _put(place / "glance.json", to_json(desk.glance()))
    _put(place / "reasons.json", to_json(desk.reasons()))


def _write_paths(desk: Desk, place: Path, told: Callable[[int, int], None], workers: int) -> None:
    frame = desk.listing.frame()
    run, shards = desk.run.run, sorted(set(frame["shard"]))
    marks: dict[int, list[Mark]] = {}
    marked = frame.filter(pl.col("mark").is_not_null())
    for path_id, shard in marked.select("path_id", "shard").iter_rows():
        marks.setdefault(shard, []).extend(desk.reviews.of(path_id))
    write = partial(_write_shard, run.store.url, run.name, place / "paths")
    # A process of its own starts in our working folder.
    if workers == 1 or run.store.url.startswith("memory:") or not working_folder():
        for done, shard in enumerate(shards, start=1):
            _shard_file(run, place / "paths", shard, marks.get(shard, []))
            told(done, len(shards))
        return
    with ProcessPoolExecutor(workers, get_context("spawn")) as writers:
        for done, _ in enumerate(
            writers.map(write, shards, [marks.get(shard, []) for shard in shards], chunksize=4),
            start=1,
        ):
            told(done, len(shards))


def _write_shard(store: str, name: str, place: Path, shard: int, marks: list[Mark]) -> None:
    _shard_file(Run.open(open_store(store), name), place, shard, marks)


def _shard_file(run: Run, place: Path, shard: int, marks: list[Mark]) -> None:
    pages = []
    for page in path_pages(run, shard):
        page["marks"] = [asdict(mark) for mark in marks if mark.path_id == page["path_id"]]
        pages.append(page)
    _put(place / f"{shard}.json", to_json(pages))


def _columns(rows: pl.DataFrame) -> dict[str, Any]:
    """A block by columns; of few values, each is written once."""
    columns: dict[str, Any] = {}
    for column in rows.with_columns(pl.col("pass_at_1").round(4)).iter_columns():
        if column.dtype == pl.List(pl.Float32):
            column = column.list.eval(pl.element().cast(pl.Float64).round(3))
        few = column.dtype == pl.String and column.n_unique() < _FEW * rows.height
        columns[column.name] = _coded(column) if few else column.to_list()
    return {"rows": rows.height, "columns": columns}


def _coded(column: pl.Series) -> dict[str, Any]:
    values = column.unique(maintain_order=True)
    codes = {value: number for number, value in enumerate(values)}
    return {"values": values.to_list(), "codes": [codes[value] for value in column]}


def _put(file: Path, data: bytes) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    partial_file = file.with_name(f".{file.name}.partial")
    partial_file.write_bytes(data)
    os.replace(partial_file, file)
