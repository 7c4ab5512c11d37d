"""The runs and trainings of a store, one by one: what each is, how far it is, and how large.

Names come from a listing that skips what lies below them. Of each run the spec, `_SUCCESS.json` and
small notes are read; no rows and no commits are. Its keys are listed, but those of the stages of a
finished run of many blocks: its end says how many commits there are, and how large their rows.

Invariant: only reads. Something unreadable is listed with the reason, and never ends the list.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import chain
from typing import Literal

from storage.errors import NothingFound, ObjectCorrupt, UserError
from storage.objects.store import ObjectStore
from storage.rows.kinds import EXAMPLES, REFINING, SCORING, SOLVING
from storage.runs import layout
from storage.runs.documents import MOST_BYTES
from storage.runs.names import RUNS, TRAININGS
from storage.runs.origin import origin_in
from storage.runs.pilot_record import pilot_record
from storage.runs.presence import at_work, drivers_of
from storage.runs.removal import tombstone_of
from storage.runs.run import READERS, Run
from storage.runs.specs import Spec
from storage.runs.stops import stop_reason
from storage.runs.success import Success
from storage.trainings.training import Training

PLANS = "plans"
"""Folder of the plans that were made for a run (`storage.runs.plans`)."""
KINDS: dict[tuple[str, ...], str] = {SCORING: "score", REFINING: "refine", SOLVING: "solve"}
"""Road of a run -> its kind; runs with another road are builds."""
State = Literal[
    "finished", "at work", "stopped", "unfinished", "removed", "planned", "no run", "unreadable"
]


@dataclass(frozen=True, slots=True)
class Listed:
    """One run or training of a store."""

    name: str
    kind: str
    """`build`, `score`, `refine`, `solve`, `training`; empty where nothing says so."""
    state: State
    """`at work`: a driver renewed its note within the last minutes. `removed`: a tombstone holds
    the name. `planned`: nothing but plans. `no run`: other objects without a spec, e.g. of a copy
    that was interrupted."""
    said: str = ""
    """Why it stopped, who is at work on it or removed it, or why it can't be read."""
    done: int = 0
    """Committed shards of the last stage; updates of the last checkpoint of a training."""
    shards: int = 0
    """Planned shards; 0 where nothing says so."""
    examples: int | None = None
    """Exported examples of a finished build."""
    objects: int = 0
    bytes: int = 0
    """Of `objects`; of a finished run of many blocks those of rows, without their commits."""
    age_s: float | None = None
    """Seconds since its start, by the clocks of this machine and the store; None: not known."""
    refers_to: list[str] = field(default_factory=list)
    """Runs that it was derived from, was piloted by, or is trained on."""


def listed_runs(store: ObjectStore) -> Iterator[Listed]:
    """Every run of a store in the order of their names, then every training."""
    yield from _each(store, RUNS, lambda name: _run(store, name))
    yield from _each(store, TRAININGS, lambda name: _training(store, name))


def referring(store: ObjectStore, run: str) -> Iterator[tuple[str, bool]]:
    """(`run NAME` or `training NAME`, whether it is whole without `run`) of all that came from it.

    Reads one or two small objects of each run and training.
    """

    def of_run(name: str) -> list[tuple[str, bool]]:
        with suppress(ObjectCorrupt):
            if run in _sources(store, name):
                return [(f"run {name}", True)]
        return []

    def of_training(name: str) -> list[tuple[str, bool]]:
        with suppress(ObjectCorrupt, UserError):
            training = Training.find(store, name)
            if training is not None and training.spec.run == run:
                return [(f"training {name}", training.model() is not None)]
        return []

    with ThreadPoolExecutor(READERS) as readers:
        for prefix, look in ((RUNS, of_run), (TRAININGS, of_training)):
            for found in readers.map(look, sorted(store.folders(prefix))):
                yield from found


def _sources(store: ObjectStore, name: str) -> list[str]:
    """The runs that a run was derived from, or piloted by. Raises ObjectCorrupt."""
    origin, pilot = origin_in(store, name), pilot_record(store, name)
    named = (origin.run if origin else None, pilot.pilot if pilot else None)
    return [run for run in named if run is not None]


def _each(store: ObjectStore, prefix: str, look: Callable[[str], Listed]) -> Iterator[Listed]:
    names = sorted(store.folders(prefix))
    with ThreadPoolExecutor(READERS) as readers:
        for start in range(0, len(names), READERS):
            yield from readers.map(look, names[start : start + READERS])


def _run(store: ObjectStore, name: str) -> Listed:
    prefix = layout.run_prefix(name)
    if removed := _removed(store, prefix, name):
        return removed
    try:
        spec = Spec.from_json(layout.spec_key(name), store.get(layout.spec_key(name), MOST_BYTES))
        run = Run(store, name, spec)
        success = run.success()
        started = store.modified(layout.spec_key(name))
        sources = _sources(store, name)
    except NothingFound:
        sizes = _sizes(store, prefix)
        planned = sizes.folders.keys() == {PLANS}
        state: State = "planned" if planned else "no run"
        return Listed(name, "", state, objects=sizes.objects, bytes=sizes.bytes)
    except (ObjectCorrupt, UserError) as error:
        sizes = _sizes(store, prefix)
        return Listed(name, "", "unreadable", str(error), objects=sizes.objects, bytes=sizes.bytes)
    sizes = _sizes(store, prefix, success)
    found, said = _state(run, success is not None)
    examples = success.totals.get(EXAMPLES.stage) if success else None
    return Listed(
        name=name,
        kind=KINDS.get(spec.stages, "build"),
        state=found,
        said=said,
        done=sizes.folders[f"{spec.stages[-1]}/commits"],
        shards=spec.plan.shards,
        examples=examples.rows if examples else None,
        objects=sizes.objects,
        bytes=sizes.bytes,
        age_s=_age(started),
        refers_to=sources,
    )


def _state(run: Run, finished: bool) -> tuple[State, str]:
    """The state of a run, and what is to be said of it."""
    if finished:
        return "finished", ""
    drivers = drivers_of(run.store, run.name)
    if busy := at_work(drivers):
        return "at work", ", ".join(busy)
    if reason := stop_reason(run):
        return "stopped", reason
    return "unfinished", ", ".join(f"last heard of: {driver.who}" for driver in drivers)


def _training(store: ObjectStore, name: str) -> Listed:
    prefix = f"{TRAININGS}{name}/"
    if removed := _removed(store, prefix, name):
        return removed
    sizes = _sizes(store, prefix)
    try:
        training = Training.find(store, name)
        if training is None:
            return Listed(name, "", "no run", objects=sizes.objects, bytes=sizes.bytes)
        model, steps = training.model(), training.checkpoints()
        started = store.modified(f"{prefix}spec.json")
    except (ObjectCorrupt, UserError) as error:
        return Listed(name, "", "unreadable", str(error), objects=sizes.objects, bytes=sizes.bytes)
    return Listed(
        name=name,
        kind="training",
        state="finished" if model else "unfinished",
        done=model.step if model else max(steps, default=0),
        objects=sizes.objects,
        bytes=sizes.bytes,
        age_s=_age(started),
        refers_to=[training.spec.run] if training.spec.run else [],
    )


@dataclass
class _Sizes:
    """What a listing says of the objects below a prefix."""

    objects: int = 0
    bytes: int = 0
    folders: Counter[str] = field(default_factory=Counter)
    """Folder -> number of objects directly in it."""


def _sizes(store: ObjectStore, prefix: str, success: Success | None = None) -> _Sizes:
    """List what lies below a prefix; of the stages of a run of many blocks its end is asked."""
    sizes, listed = _Sizes(), store.list(prefix)
    if success is not None and success.parts:
        others = [name for name in store.folders(prefix) if name not in success.parts]
        listed = chain(store.files(prefix), *(store.list(f"{prefix}{name}/") for name in others))
        for stage, totals in success.totals.items():
            sizes.objects += 2 * totals.shards + len(success.parts[stage])
            sizes.bytes += totals.bytes
            sizes.folders[f"{stage}/commits"] = totals.shards
    for key, size in listed:
        sizes.objects, sizes.bytes = sizes.objects + 1, sizes.bytes + size
        sizes.folders[key.removeprefix(prefix).rpartition("/")[0]] += 1
    return sizes


def _removed(store: ObjectStore, prefix: str, name: str) -> Listed | None:
    stone = tombstone_of(store, prefix)
    if stone is None:
        return None
    sizes = _sizes(store, prefix)
    said = f"by {stone.by}" + (f" on {stone.at}" if stone.at else "")
    return Listed(name, "", "removed", said, objects=sizes.objects - 1, bytes=sizes.bytes)


def _age(since: float | None) -> float | None:
    return None if since is None else max(0.0, time.time() - since)
