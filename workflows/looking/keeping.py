"""What a store holds, and a run's way into another store or out of this one, from Python.

Invariant: the same functions as those of the verbs `runs`, `copy` and `remove`.
"""

from __future__ import annotations

from collections.abc import Iterator

from storage.objects.opening import open_store
from storage.runs.layout import check_run_name, run_prefix
from storage.runs.listing import Listed, listed_runs
from storage.runs.names import nothing_named
from storage.runs.presence import Who
from storage.runs.removal import Tombstone, extent_of, remove
from storage.runs.run import Run
from workflows.looking.run import OpenRun
from workflows.runs.copying import Copied, Moved
from workflows.runs.copying import copy_run as copy_into
from workflows.runs.reading import store_url, usual_store


def list_runs(store: str | None = None) -> Iterator[Listed]:
    """Every run and training of a store, read one by one; nothing but keys and small notes is read.

    `store` None: `$STEPMILL_STORE`, else the default one.
    """
    return listed_runs(open_store(store_url(store or usual_store())))


def copy_run(
    run: Run | OpenRun,
    store: str,
    name: str | None = None,
    moved: Moved = lambda done, total: None,
) -> Copied:
    """Copy a run to a store, under its own or another name; repeating it copies what is missing.

    Raises SpecMismatch where another run has the name, Removed, and InfrastructureError.
    """
    source = run.run if isinstance(run, OpenRun) else run
    return copy_into(source, open_store(store_url(store)), name or source.name, moved)


def remove_run(name: str, store: str, at: str = "") -> int:
    """Take a run out of its store, whole, without a question; return the number of its objects.

    `at`: the date that its tombstone shows. A build that is alive ends with `Removed`. The name
    stays taken. Raises NothingFound and InfrastructureError.
    """
    opened, prefix = open_store(store_url(store)), run_prefix(check_run_name(name))
    if not extent_of(opened, prefix).objects:
        raise nothing_named(opened, name)
    return remove(opened, prefix, Tombstone(Who.here().person, at))
