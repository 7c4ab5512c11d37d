"""The verb `remove`: says what would go, asks, and takes it away.

Invariant: nothing is removed before a person said yes, at a terminal or by `--yes`.
"""

from __future__ import annotations

import sys
from datetime import UTC, datetime

import typer
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn

from launch.shown.bars import passing
from launch.shown.text import say
from launch.verbs.runs.listing import size
from storage.errors import ConfigurationError
from storage.objects.store import ObjectStore
from storage.runs.layout import check_run_name
from storage.runs.listing import referring
from storage.runs.names import RUNS, TRAINING, TRAININGS, nothing_named
from storage.runs.presence import Who, at_work, drivers_of
from storage.runs.removal import Extent, Tombstone, extent_of, free, remove, tombstone_of


def remove_named(store: ObjectStore, named: str, yes: bool, free_name: bool) -> None:
    """Remove the run or training that is named. Raises NothingFound and ConfigurationError."""
    is_training = named.startswith(TRAINING)
    folder, name = TRAININGS if is_training else RUNS, named.removeprefix(TRAINING)
    prefix = f"{folder}{check_run_name(name)}/"
    what = f"{'training' if is_training else 'run'} {name}"
    extent, stone = extent_of(store, prefix), tombstone_of(store, prefix)
    if not extent.objects and stone is None:
        raise nothing_named(store, name, folder)
    if stone is not None and not free_name and not extent.objects:
        say(f"{what} was removed by {stone.by} already")
        return
    busy = [] if is_training else at_work(drivers_of(store, name))
    if busy and free_name:
        raise ConfigurationError(
            f"{what} is being worked on by {busy[0]}: its name can't be made free before it ends"
        )
    _say(store, what, name, extent, is_training)
    for who in busy:
        say(f"at work on it: {who}; it will end with one line")
    if not yes:
        _ask(what, free_name)
    _take_away(store, prefix, what, extent, free_name)


def _say(store: ObjectStore, what: str, name: str, extent: Extent, is_training: bool) -> None:
    """Say what would go, and what refers to it."""
    say(f"{what} in {store.url}: {extent.objects:,} objects, {size(extent.bytes)}")
    if is_training:
        return
    for came, whole in referring(store, name):
        say(f"{came} came from it and {'is whole' if whole else 'goes no further'} without it")


def _ask(what: str, free_name: bool) -> None:
    if not sys.stdin.isatty():
        raise ConfigurationError(f"nobody can be asked here: give --yes to remove {what}")
    kept = "" if free_name else " Its name stays taken."
    if not typer.confirm(f"Remove {what} for ever?{kept}"):
        raise typer.Exit(1)


def _take_away(store: ObjectStore, prefix: str, what: str, extent: Extent, free_name: bool) -> None:
    stone = Tombstone(Who.here().person, f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC")
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
    with passing(*columns, TimeRemainingColumn()) as bar:
        task = bar.add_task(f"remove {what}", total=extent.objects)
        count = remove(store, prefix, stone, lambda done: bar.update(task, completed=done))
        if free_name:
            free(store, prefix)
    after = "its name is free" if free_name else "its name stays taken"
    say(f"{what} is removed, {count:,} objects; {after}")
