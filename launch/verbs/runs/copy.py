"""The verb `copy`: takes a run or a training to another store, with a bar, and checks it there."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.progress import BarColumn, DownloadColumn, TextColumn, TimeRemainingColumn

from launch.shown.bars import passing
from launch.shown.text import say
from launch.verbs.runs.status import audit_run
from storage.objects.store import ObjectStore
from storage.runs.names import TRAINING, TRAININGS, nothing_named
from storage.runs.run import Run
from storage.trainings.copying import copy_training, damaged_parts
from storage.trainings.training import Training
from workflows.runs.copying import copy_run


def copy_named(source: ObjectStore, named: str, store: ObjectStore, name: str | None) -> bool:
    """Copy what is named, `RUN` or `training:NAME`; return whether the copy is clean.

    Raises NothingFound, and as `copy_run` and `copy_training`.
    """
    if named.startswith(TRAINING):
        return _copy_training(source, named.removeprefix(TRAINING), store, name)
    run = Run.open(source, named)
    with _bar(named) as moved:
        copied = copy_run(run, store, name or named, moved)
    _say(f"run {copied.run.name}", store, copied.objects, copied.bytes, copied.fetched)
    for origin in copied.lacking:
        say(f"run {origin}, from which it was derived, is not there: the copy is whole without it")
    return audit_run(copied.run, as_json=False)


def _copy_training(source: ObjectStore, named: str, store: ObjectStore, name: str | None) -> bool:
    training = Training.find(source, named)
    if training is None:
        raise nothing_named(source, named, TRAININGS)
    with _bar(named) as moved:
        copied = copy_training(training, store, name or named, moved)
    _say(f"training {copied.training.name}", store, copied.objects, copied.bytes, copied.fetched)
    run = training.spec.run
    if run and training.model() is None and Run.find(store, run) is None:
        say(f"run {run}, on which it is trained, is not there: copy it before you go on")
    damaged = damaged_parts(copied.training)
    for line in damaged:
        say(line)
    state = f"{len(damaged)} damaged" if damaged else "clean"
    say(f"check of training {copied.training.name}: {copied.objects:,} objects: {state}")
    return not damaged


@contextmanager
def _bar(name: str) -> Iterator[Callable[[int, int], None]]:
    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn())
    with passing(*columns, TimeRemainingColumn()) as bar:
        task = bar.add_task(f"copy {name}", total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)


def _say(what: str, store: ObjectStore, objects: int, size: int, fetched: int) -> None:
    say(f"{what} is in {store.url}: {objects:,} objects, {size:,} bytes, {fetched:,} copied now")
