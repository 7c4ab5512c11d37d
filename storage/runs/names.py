"""Which names a store has: the error about a name that is not there tells the nearest ones.

Invariant: asks the store once for its names, and reads no run.
"""

from __future__ import annotations

import difflib
from itertools import islice

from storage.errors import NothingFound
from storage.objects.store import ObjectStore
from storage.runs.removal import tombstone_of

RUNS, TRAININGS = "runs/", "trainings/"
TRAINING = "training:"
"""Begins the name of a training where a run could be named too."""
MOST_NAMED = 5
"""Most names in the message."""
MOST_COMPARED = 2_000


def nothing_named(store: ObjectStore, name: str, folder: str = RUNS) -> NothingFound:
    """The error that a run (or training) is not there; it names those that are, nearest first."""
    kind = folder.rstrip("/").removesuffix("s")
    names = list(islice(store.folders(folder), MOST_COMPARED))
    near = difflib.get_close_matches(name, names, MOST_NAMED, 0.0)
    there = [one for one in near if tombstone_of(store, f"{folder}{one}/") is None]
    missing = f"no {kind} {name!r} in {store.url}"
    if not there:
        return NothingFound(f"{missing}, which holds no {kind}s: is --store right?")
    more = len(names) - len(near)
    others = f" and {more:,} more (`stepmill runs`)" if more else ""
    return NothingFound(f"{missing}: there {'is' if len(there) == 1 else 'are'} "
                        f"{', '.join(there)}{others}")  # fmt: skip
