"""Derives a run from another: committed shards that would be equal are copied, not made again.

    runs/{run}/origin.json     create-only: the run that it was derived from

Data and commits are copied into the new run, under its own name and spec. So the new run is whole
by itself: the old run may go on, be swept or be removed. The workflow decides which stages may be
adopted, and of the input which shards. This module checks that both cut it alike in one store.

Invariant: an adopted shard equals the source's shard to the byte. A shard that the new run has
already is never replaced.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace

from storage.errors import ConfigurationError, NothingFound, SpecMismatch
from storage.objects.store import ObjectStore
from storage.rows.records import Drop
from storage.runs import layout
from storage.runs.commits import Commit, canonical_json, put_shard
from storage.runs.documents import MOST_BYTES, parsed, put_settled, read_as
from storage.runs.run import Run
from storage.runs.specs import Difference

SHARED = ("format", "plan.items_per_shard")
"""Fields of the spec that must be equal in runs that share shards."""


@dataclass(frozen=True, slots=True)
class Origin:
    """Where a derived run comes from."""

    run: str
    spec: str
    """Fingerprint of that run's spec."""


def check_derivable(run: str, store: str, source: Run, differences: Sequence[Difference]) -> None:
    """Raise SpecMismatch unless both runs cut their input alike and lie in one store.

    `differences`: of the source's spec from the new run's. `store`: URL of the new run's store.
    """
    if run == source.name:
        raise ConfigurationError(f"run {run!r} can't be derived from itself: take another name")
    if store != source.store.url:
        raise SpecMismatch(f"run {run!r} and run {source.name!r} lie in different stores")
    if shared := [difference for difference in differences if difference.name in SHARED]:
        lines = "".join(f"\n  {difference}" for difference in shared)
        raise SpecMismatch(
            f"run {source.name!r} has other shards than run {run!r}: change back{lines}"
        )


def store_origin(run: Run, source: Run) -> Origin:
    """Store a run's origin, once. Raises SpecMismatch if another origin is stored."""
    origin = Origin(source.name, source.spec.fingerprint)
    data = put_settled(run.store, _key(run.name), canonical_json(asdict(origin)), run.patience)
    stored = _origin_from(_key(run.name), data)
    if stored != origin:
        raise SpecMismatch(f"run {run.name!r} was derived from another run: {stored.run!r}")
    return stored


def origin_of(run: Run) -> Origin | None:
    """The stored origin of a run; None for a run that was not derived."""
    return origin_in(run.store, run.name)


def origin_in(store: ObjectStore, run: str) -> Origin | None:
    """`origin_of` the run of this name. Raises ObjectCorrupt."""
    try:
        return _origin_from(_key(run), store.get(_key(run), MOST_BYTES))
    except NothingFound:
        return None


def origin_run(run: Run) -> str | None:
    """Name of the run that a run was derived from; None if it was not derived."""
    origin = origin_of(run)
    return None if origin is None else origin.run


def adopt(
    run: Run, source: Run, stage: str, shard: int, drops: Sequence[Drop] | None = None
) -> bool:
    """Copy one committed shard of the source; True if the shard of `run` now equals it.

    False: `run` has a different one, which stays. `drops`: what the shard drops in this run, where
    that is not what it drops in the source. Raises NothingFound if the source has not committed
    the shard.
    """
    commit = source.commit(stage, shard)
    if drops is not None:
        commit = replace(commit, drops=tuple(drops))
    try:
        standing = run.commit(stage, shard)
    except NothingFound:
        data = source.data_of(commit)
        key = layout.data_key(run.name, stage, shard, commit.sha256)
        ours = replace(commit, data_key=key, spec=run.spec.fingerprint, taken_over=True)
        needed = source.needed_bytes(commit)
        ours = ours if needed else replace(ours, needed="")
        standing = put_shard(run.store, run.name, data, ours, run.patience, needed)
    return same_shard(standing, commit)


def same_shard(commit: Commit, other: Commit) -> bool:
    """Whether two commits, of any runs, have the same rows and drops."""
    return (commit.sha256, commit.drops) == (other.sha256, other.drops)


def _key(run: str) -> str:
    return f"{layout.run_prefix(run)}origin.json"


def _origin_from(key: str, data: bytes) -> Origin:
    return read_as(Origin, key, parsed(key, data))
