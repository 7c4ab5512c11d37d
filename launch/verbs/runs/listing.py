"""The verb `runs`: a table of what a store holds, or a line of JSON for each."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict

from rich.console import Console
from rich.text import Text

from launch.shown.tables import Sheet
from launch.shown.text import json_line, say
from launch.verbs.runs.status import duration
from storage.objects.store import ObjectStore
from storage.runs.listing import Listed, listed_runs

PAGE = 50
"""Rows of a table; a store with more runs is shown in several."""


def list_runs(store: ObjectStore, as_json: bool) -> None:
    """Print the runs as they are read, so that a large store shows its first ones at once."""
    page: list[Listed] = []
    shown = 0
    for one in listed_runs(store):
        shown += 1
        if as_json:
            say(json_line(asdict(one)))
        else:
            page.append(one)
            if len(page) == PAGE:
                Console().print(_table(store, page))
                page = []
    if page:
        Console().print(_table(store, page))
    if not shown and not as_json:
        say(f"no runs in {store.url}")


def _table(store: ObjectStore, page: Iterable[Listed]) -> Sheet:
    table = Sheet(store.url)
    for column in ("run", "kind", "state", "shards", "examples", "size", "age"):
        right = column in ("shards", "examples", "size", "age")
        table.add_column(column, justify="right" if right else "left")
    table.columns[0].overflow = "fold"  # a name is never cut
    for one in page:
        said = one.said.strip().splitlines()
        state = f"{one.state}: {said[0]}" if said else one.state
        if one.kind == "training":
            done = f"step {one.done:,}" if one.done else ""
        else:
            done = f"{one.done:,}/{one.shards:,}" if one.shards else ""
        table.add_row(
            Text(one.name),
            one.kind,
            Text(state),
            done,
            "" if one.examples is None else f"{one.examples:,}",
            size(one.bytes),
            duration(one.age_s),
        )
    return table


def size(count: int) -> str:
    """`312 B`, `4.2 kB`, `1.3 GB`."""
    value = float(count)
    for unit in ("B", "kB", "MB", "GB"):
        if value < 1000:
            return f"{value:.0f} {unit}" if unit == "B" or value >= 100 else f"{value:.1f} {unit}"
        value /= 1000
    return f"{value:,.1f} TB"
