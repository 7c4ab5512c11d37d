"""What drivers began on a run and did not commit: the price of what was lost on the way.

    runs/{run}/work/{token}.json    put by a driver that ends, where something was lost

While a driver is at work, the note of its presence says the same (`storage.runs.presence`).

Invariant: notes for people only. A run without losses has none.
"""

from __future__ import annotations

import contextlib
import json
import re
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field

from storage.errors import InfrastructureError, NothingFound, ObjectCorrupt
from storage.objects.store import ObjectStore
from storage.runs.documents import MOST_BYTES, parsed, read_as
from storage.runs.layout import run_prefix

_NAME = re.compile(r"([0-9a-f]{32})\.json")


@dataclass(frozen=True, slots=True)
class Work:
    """What one driver began, or several did."""

    begun: Mapping[str, int] = field(default_factory=dict)
    """Stage -> tries of shards that were begun."""
    under_way: Mapping[str, int] = field(default_factory=dict)
    """Stage -> shards that were begun and are neither committed nor given up."""
    committed: Mapping[str, int] = field(default_factory=dict)
    """Stage -> shards that were committed."""
    failed: int = 0
    """Tries that ended in an error of their own."""
    lost_workers: int = 0
    """Workers that died, or never came up."""

    @property
    def lost(self) -> dict[str, int]:
        """Stage -> tries that came to nothing: they failed, were lost, or a twin was faster."""
        tries = {
            stage: number - self.committed.get(stage, 0) - self.under_way.get(stage, 0)
            for stage, number in self.begun.items()
        }
        return {stage: number for stage, number in tries.items() if number > 0}

    @property
    def worth_a_note(self) -> bool:
        """Whether anything was lost."""
        return bool(self.lost or self.lost_workers)

    def ended(self) -> Work:
        """The same after its driver's end: what was under way is lost."""
        return Work(self.begun, {}, self.committed, self.failed, self.lost_workers)


def summed(works: Iterable[Work]) -> Work:
    """The work of several drivers."""
    begun: Counter[str] = Counter()
    under_way: Counter[str] = Counter()
    committed: Counter[str] = Counter()
    failed = lost_workers = 0
    for work in works:
        begun.update(work.begun)
        under_way.update(work.under_way)
        committed.update(work.committed)
        failed += work.failed
        lost_workers += work.lost_workers
    return Work(dict(begun), dict(under_way), dict(committed), failed, lost_workers)


def note_work(store: ObjectStore, run: str, token: str, work: Work) -> None:
    """Store what a driver that ends has lost, if the store takes it."""
    with contextlib.suppress(InfrastructureError):
        store.put_new(f"{_prefix(run)}{token}.json", json.dumps(asdict(work)).encode())


def noted_work(store: ObjectStore, run: str) -> dict[str, Work]:
    """Token of each driver that ended with losses -> its work. Notes that can't be read are none.

    Raises InfrastructureError.
    """
    found = {}
    for entry in store.list(_prefix(run)):
        name = _NAME.fullmatch(entry.key.rpartition("/")[2])
        if name is not None:
            with contextlib.suppress(NothingFound, ObjectCorrupt):
                data = store.get(entry.key, MOST_BYTES)
                found[name[1]] = read_as(Work, entry.key, parsed(entry.key, data))
    return found


def _prefix(run: str) -> str:
    return f"{run_prefix(run)}work/"
