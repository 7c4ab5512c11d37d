"""The commit of a shard: the one create-only object that makes its rows true.

    1. encode the rows, read them back, take their digest
    2. PUT the data create-only under its digest, and what is needed of it, if that is stored apart
    3. PUT the commit create-only under the shard's number
    4. any answer but a plain success: read the commit back. Ours: we won. Another's: adopt it.
       None: try again. Unreadable to the end: CommitUnknown, and nothing is deleted.

The writer looks for the run's tombstone before step 2 and after step 4. If there is one, it takes
back its own data and commit and raises Removed.

Invariant: a shard has at most one commit, which never changes. Its data was whole in the store
before it. `publish` returns what the store holds. This needs no clock, lease or liveness report:
writers may be twins, frozen, or taken for dead.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import socket
import threading
import uuid
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field, replace
from typing import Any, TypeVar

from storage.errors import (
    CommitUnknown,
    ConfigurationError,
    NothingFound,
    ObjectCorrupt,
    StoreUnavailable,
)
from storage.fault_points import fault
from storage.objects.patience import PATIENT, Patience
from storage.objects.store import ObjectStore, Put, is_key
from storage.rows.needed import encode_needed
from storage.rows.parquet import EncodedShard, check_digest, encode_shard, sha256_of
from storage.rows.records import Drop
from storage.runs import layout
from storage.runs.documents import MOST_COMMIT_BYTES, parsed, read_as
from storage.runs.removal import obeyed

Record = TypeVar("Record")
Document = TypeVar("Document")
DIGEST = re.compile("[0-9a-f]{64}")


SPARE_KEYS = 10
"""Keys that are tried for a shard's data: one that holds other bytes is of no use. As many
as one digit numbers: rows whose keys all hold other bytes could never be stored."""
NEEDS = "needs"
"""Field of a commit that this version can't read: a later version sets it where the commit means
something else without what is new. Other fields that are not known are ignored."""


@dataclass(frozen=True, slots=True)
class Writer:
    """The thread that made an attempt; for people only."""

    host: str
    pid: int
    thread: int
    role: str = ""

    @classmethod
    def here(cls, role: str = "") -> Writer:
        """The writer that this thread is."""
        return cls(socket.gethostname(), os.getpid(), threading.get_native_id(), role)


@dataclass(frozen=True, slots=True)
class Commit:
    """The commit of one shard: where its rows are, what was dropped, and who wrote it."""

    stage: str
    shard: int
    data_key: str
    sha256: str
    bytes: int
    rows: int
    kind: str
    version: int
    """Schema version of the rows."""
    drops: tuple[Drop, ...]
    counts: dict[str, int]
    seconds: float
    """Seconds of work on the shard, by a monotonic clock."""
    attempt: str
    """Unique to one call of `publish`; it distinguishes our commit from a twin's."""
    writer: Writer
    spec: str
    """Fingerprint of the run's spec."""
    share_s: float = 0.0
    """The shard's share of `seconds`: shards that a worker has at once share its time. 0: not
    recorded."""
    taken_over: bool = False
    """Whether the shard was copied from another run, which paid for it."""
    needed: str = ""
    """sha256 of the object with what later stages read of the rows; empty: there is none."""


@dataclass(frozen=True, slots=True)
class Receipt:
    """A commit's summary for the driver: small for a shard of any size."""

    stage: str
    shard: int
    rows: int
    bytes: int
    sha256: str
    attempt: str
    won: bool
    """False if another writer's commit was adopted."""
    drops: dict[str, int] = field(default_factory=dict)
    """Reason -> number of items."""
    counts: dict[str, int] = field(default_factory=dict)
    seconds: float = 0.0
    share_s: float = 0.0
    taken_over: bool = False

    @property
    def busy_s(self) -> float:
        """Seconds of its worker that it took; all its seconds where its share is not recorded."""
        return self.share_s or self.seconds


def receipt_of(commit: Commit, *, won: bool = True) -> Receipt:
    """Summarise a commit that was read or written; drops are counted by reason."""
    return Receipt(
        stage=commit.stage,
        shard=commit.shard,
        rows=commit.rows,
        bytes=commit.bytes,
        sha256=commit.sha256,
        attempt=commit.attempt,
        won=won,
        drops=dict(Counter(drop.reason for drop in commit.drops)),
        counts=commit.counts,
        seconds=commit.seconds,
        share_s=commit.share_s,
        taken_over=commit.taken_over,
    )


def publish(
    store: ObjectStore,
    run: str,
    stage: str,
    shard: int,
    row_type: type[Record],
    rows: Sequence[Record],
    *,
    spec: str,
    drops: Sequence[Drop] = (),
    counts: Mapping[str, int] | None = None,
    seconds: float = 0.0,
    share_s: float = 0.0,
    role: str = "",
    patience: Patience = PATIENT,
) -> Receipt:
    """Commit a shard, or adopt its commit. Raises StoreUnavailable, StoreRefused, CommitUnknown."""
    encoded = encode_shard(row_type, rows)
    needed = encode_needed(stage, rows, encoded)
    commit = Commit(
        stage=stage,
        shard=shard,
        data_key=layout.data_key(run, stage, shard, encoded.sha256),
        sha256=encoded.sha256,
        bytes=len(encoded.data),
        rows=encoded.rows,
        kind=encoded.kind,
        version=encoded.version,
        drops=tuple(drops),
        counts=dict(counts or {}),
        seconds=round(seconds, 3),
        attempt=uuid.uuid4().hex,
        writer=Writer.here(role),
        spec=spec,
        share_s=round(share_s, 3),
        needed=sha256_of(needed) if needed else "",
    )
    return publish_encoded(store, run, encoded, commit, needed, patience=patience)


def publish_encoded(
    store: ObjectStore,
    run: str,
    encoded: EncodedShard,
    commit: Commit,
    needed: bytes = b"",
    *,
    patience: Patience = PATIENT,
) -> Receipt:
    """Steps 2 to 4 of the protocol. Raises Removed beside what `publish` raises."""
    standing = put_shard(store, run, encoded.data, commit, patience, needed)
    return receipt_of(standing, won=standing.attempt == commit.attempt)


def put_shard(
    store: ObjectStore,
    run: str,
    data: bytes,
    commit: Commit,
    patience: Patience,
    needed: bytes = b"",
) -> Commit:
    """Store a shard's data, then its commit, unless the run was removed. Return what stands.

    `needed`: what `commit.needed` is the digest of.
    """
    place, key = (
        f"{commit.stage}/{commit.shard}",
        layout.commit_key(run, commit.stage, commit.shard),
    )
    beside = [needed_of(run, commit)] if commit.needed else []
    keys = [layout.spare_key(commit.data_key, number) for number in range(SPARE_KEYS)]
    with obeyed(store, layout.run_prefix(run), lambda: (key, *keys, *beside)):
        fault("before_data", place)
        for other in beside:
            with suppress(ObjectCorrupt):  # who needs it reads the rows instead
                put_content(store, other, needed, commit.needed, patience=patience)
        for number, spare in enumerate(keys):
            try:
                put_content(store, spare, data, commit.sha256, patience=patience)
            except ObjectCorrupt:  # the store took other bytes than were sent, for good
                if number + 1 == SPARE_KEYS:
                    raise
            else:
                commit = replace(commit, data_key=spare)
                break
        fault("after_data", place)
        standing = settle(store, key, commit, patience)
        fault("after_commit", place)
    return standing


def put_content(
    store: ObjectStore, key: str, data: bytes, sha256: str, *, patience: Patience = PATIENT
) -> None:
    """PUT under a key made of the content's digest; an equal object may be there already.

    Raises ObjectCorrupt where the key holds other bytes, and StoreUnavailable.
    """
    trouble = "no answer"
    for _ in patience.attempts():
        try:
            if store.put_new(key, data) is not Put.CREATED:  # there already, or no clear answer
                check_digest(key, store.get(key, len(data)), sha256)
            return
        except NothingFound:  # or another PUT is under way
            trouble = "not stored"
        except StoreUnavailable as error:
            trouble = str(error)
    raise StoreUnavailable(f"{key} could not be stored in {patience.tries} tries: {trouble}")


def settle(store: ObjectStore, key: str, commit: Commit, patience: Patience) -> Commit:
    """PUT the commit; return the one that stands, ours or an earlier one. Raises CommitUnknown."""
    data = commit_bytes(commit)
    if len(data) > MOST_COMMIT_BYTES:  # nobody could read it
        raise ConfigurationError(
            f"{key} would have {len(data):,} bytes, since the shard drops {len(commit.drops):,} "
            "items: lower `shard_size`"
        )
    trouble = "no answer"
    for _ in patience.attempts():
        try:
            if store.put_new(key, data) is Put.CREATED:
                return commit
        except StoreUnavailable as error:
            trouble = str(error)
        try:
            return read_commit(store, key)
        except NothingFound:
            trouble = "not stored"
        except (StoreUnavailable, ObjectCorrupt) as error:
            trouble = str(error)
    raise CommitUnknown(f"{key} could not be settled in {patience.tries} tries: {trouble}")


def read_commit(store: ObjectStore, key: str) -> Commit:
    """The commit under a key. Raises NothingFound, ObjectCorrupt, StoreUnavailable."""
    return commit_from(key, store.get(key, MOST_COMMIT_BYTES))


def needed_of(run: str, commit: Commit) -> str:
    """Key of the object that `commit.needed` is the digest of."""
    return layout.needed_key(run, commit.stage, commit.shard, commit.needed)


def commit_bytes(commit: Commit) -> bytes:
    """Canonical JSON of a commit, with its own digest."""
    body = asdict(commit)
    return signed(body if commit.needed else {k: v for k, v in body.items() if k != "needed"})


def commit_from(key: str, data: bytes) -> Commit:
    """Read what `commit_bytes` wrote. Raises ObjectCorrupt for anything else."""
    commit = unsigned(Commit, key, data)
    if not is_key(commit.data_key) or not commit.data_key.endswith(f"-{commit.sha256}.parquet"):
        raise ObjectCorrupt(f"{key} names no data: {commit.data_key!r:.90}")
    if commit.needed and not DIGEST.fullmatch(commit.needed):
        raise ObjectCorrupt(f"{key} names no object of what is needed: {commit.needed!r:.90}")
    return commit


def signed(body: Mapping[str, Any]) -> bytes:
    """Canonical JSON of a document, with its own digest."""
    return canonical_json({**body, "digest": hashlib.sha256(canonical_json(body)).hexdigest()})


def unsigned(kind: type[Document], key: str, data: bytes) -> Document:
    """Read a document that `signed` wrote. Raises ObjectCorrupt for anything else."""
    body = parsed(key, data)
    claimed = body.pop("digest", None)
    try:
        digest = hashlib.sha256(canonical_json(body)).hexdigest()
    except (ValueError, RecursionError) as error:
        raise ObjectCorrupt(f"{key} is no document: {error}") from None
    if body.get(NEEDS):
        raise ConfigurationError(
            f"{key} was written by a newer version, which is needed to read it: {NEEDS!r} is set"
        )
    document = read_as(kind, key, body)
    if digest != claimed:
        raise ObjectCorrupt(f"{key} is damaged: written with sha256 {claimed}, read as {digest}")
    return document


def canonical_json(value: object) -> bytes:
    """JSON with one spelling per value: sorted keys, no spaces. Raises ValueError for NaN."""
    text = json.dumps(
        value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False
    )
    return text.encode("utf-8", "backslashreplace")  # an error text may hold a lone surrogate
