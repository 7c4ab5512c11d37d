"""A run: a folder of the object store that holds a build's spec, rows, commits and dataset.

Any process opens a run by its store and name alone. The input is stored as its first stage. The
commits alone say what is done.

Invariant: a run's spec never changes once stored. A stage's rows are exactly those its commits
name. `_SUCCESS.json` exists only if every shard of every stage is committed.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from typing import Any, TypeVar

import pyarrow as pa

from storage.errors import (
    ConfigurationError,
    InputError,
    NothingFound,
    ObjectCorrupt,
    StoreUnavailable,
)
from storage.fault_points import fault
from storage.objects.patience import PATIENT, Patience
from storage.objects.store import ObjectStore, Put
from storage.rows.kinds import Rows, stage_rows
from storage.rows.parquet import check_digest, decode_shard, read_parquet, sha256_of
from storage.rows.records import Drop
from storage.runs import layout
from storage.runs.commits import (
    Commit,
    Receipt,
    canonical_json,
    publish,
    read_commit,
    receipt_of,
)
from storage.runs.documents import MOST_BYTES, parsed, read_as
from storage.runs.names import nothing_named
from storage.runs.removal import obeyed, refuse_removed
from storage.runs.specs import Spec, check_same

Record = TypeVar("Record")

READERS = 16
"""Commits read at once, so that reading thousands over a network takes seconds."""

MOST_DATA_BYTES = 4 << 30
"""Most bytes of an object of rows, and of `_SUCCESS.json`: far more than a shard should have."""
MOST_ENTRY_BYTES = 1_000
"""Most bytes of a commit's entry in `_SUCCESS.json`."""
NAMED = ("data_key", "sha256", "rows", "bytes", "attempt")
"""Fields of each commit that `_SUCCESS.json` repeats."""


@dataclass(frozen=True, slots=True)
class StageTotals:
    """Sums over the commits of a stage."""

    shards: int = 0
    rows: int = 0
    bytes: int = 0
    seconds: float = 0.0
    drops: dict[str, int] = field(default_factory=dict)
    counts: dict[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Success:
    """The content of `_SUCCESS.json`: every commit of a finished run, and each stage's totals."""

    run: str
    spec: str
    totals: dict[str, StageTotals]
    commits: dict[str, list[dict[str, Any]]]
    """Stage -> one entry per shard, in order, with the fields `NAMED` of its commit."""


@dataclass(frozen=True, slots=True)
class Run:
    """One run of one store."""

    store: ObjectStore
    name: str
    spec: Spec
    patience: Patience = PATIENT

    @classmethod
    def start(cls, store: ObjectStore, name: str, spec: Spec, patience: Patience = PATIENT) -> Run:
        """Create the run, or open it if its spec is the same. Raises SpecMismatch, Removed."""
        key = layout.spec_key(layout.check_run_name(name))
        with obeyed(store, layout.run_prefix(name)):
            stored = put_settled(store, key, spec.to_json(), patience)
            fault("after_spec")
        run = cls(store, name, Spec.from_json(key, stored), patience)
        check_same(name, run.spec, spec)
        return run

    @classmethod
    def open(cls, store: ObjectStore, name: str, patience: Patience = PATIENT) -> Run:
        """Open a stored run. Raises NothingFound if there is none, Removed if there was one."""
        run = cls.find(store, name, patience)
        if run is None:
            raise nothing_named(store, name)
        return run

    @classmethod
    def find(cls, store: ObjectStore, name: str, patience: Patience = PATIENT) -> Run | None:
        """Open a stored run; None if there is none. Raises Removed if there was one."""
        key = layout.spec_key(layout.check_run_name(name))
        refuse_removed(store, layout.run_prefix(name))
        try:
            return cls(store, name, Spec.from_json(key, store.get(key, MOST_BYTES)), patience)
        except NothingFound:
            return None

    @property
    def input_stage(self) -> str:
        """The stage that holds the run's input: `problems` or `responses`."""
        return self.spec.stages[0]

    def store_input(self, items: Iterable[Any], drops: Sequence[Drop] = ()) -> None:
        """Commit the input as the first stage, so that the run needs no input file again.

        `drops`: the items left out of it; the first shard's commit holds them.
        """
        kind = stage_rows(self.input_stage)
        done = self.shards_of(kind.stage)
        fault("before_input")
        for shard, rows in self.spec.plan.cut(items):
            if shard not in done:
                left_out = drops if shard == 0 else ()
                self.publish(kind, shard, rows, left_out)
        fault("after_input")
        self.check_input()

    def check_input(self) -> None:
        """Raise InputError if a shard of the input is not stored."""
        missing = self.spec.plan.shards - len(self.shards_of(self.input_stage))
        if missing:
            raise InputError(
                f"run {self.name!r} was interrupted while its {self.input_stage} were stored: "
                "repeat the command that started it "
                f"({missing} of {self.spec.plan.shards} missing)"
            )

    def publish(
        self,
        kind: Rows[Record],
        shard: int,
        rows: Sequence[Record],
        drops: Sequence[Drop] = (),
        counts: Mapping[str, int] | None = None,
        seconds: float = 0.0,
        share_s: float = 0.0,
        role: str = "",
    ) -> Receipt:
        """Commit a shard, or adopt the commit that a twin made."""
        return publish(
            self.store,
            self.name,
            self.check_stage(kind.stage),
            self._check_shard(shard),
            kind.record,
            rows,
            spec=self.spec.fingerprint,
            drops=drops,
            counts=counts,
            seconds=seconds,
            share_s=share_s,
            role=role,
            patience=self.patience,
        )

    def shards_of(self, stage: str) -> set[int]:
        """The committed shards of a stage that are in its plan; one listing of the store."""
        prefix = layout.commit_prefix(self.name, self.check_stage(stage))
        shards = (layout.shard_of(entry.key) for entry in self.store.list(prefix))
        return {shard for shard in shards if shard is not None and shard < self.spec.plan.shards}

    def commit(self, stage: str, shard: int) -> Commit:
        """The commit of a shard. Raises NothingFound if it is not committed."""
        return read_commit(self.store, layout.commit_key(self.name, stage, shard))

    def commits(self, stage: str) -> Iterator[Commit]:
        """The commits of a stage by shard, read a few at a time."""
        shards = sorted(self.shards_of(stage))
        with ThreadPoolExecutor(READERS) as readers:
            for start in range(0, len(shards), 4 * READERS):
                part = shards[start : start + 4 * READERS]
                yield from readers.map(lambda shard: self.commit(stage, shard), part)

    def committed(self, stage: str) -> dict[int, Commit]:
        """Shard -> commit."""
        return {commit.shard: commit for commit in self.commits(stage)}

    def receipts(self, stage: str) -> dict[int, Receipt]:
        """Shard -> receipt of its commit."""
        return {commit.shard: receipt_of(commit) for commit in self.commits(stage)}

    def totals(self, stage: str) -> StageTotals:
        """Sums over the commits of a stage."""
        return sum_receipts(receipt_of(commit) for commit in self.commits(stage))

    def read_rows(self, kind: Rows[Record], shard: int) -> list[Record]:
        """The committed rows of a shard. Raises NothingFound, ObjectCorrupt."""
        return self.rows_of(self.commit(kind.stage, shard), kind)

    def rows_of(self, commit: Commit, kind: Rows[Record]) -> list[Record]:
        """The rows that a commit names. Raises ObjectCorrupt, InputError."""
        data = self.data_of(commit)
        return decode_shard(kind.record, data, key=commit.data_key, sha256=commit.sha256)

    def read_table(
        self, kind: Rows[Any], shard: int, columns: Sequence[str] | None = None
    ) -> pa.Table:
        """The committed rows of a shard as a table, or some columns; only these are decoded."""
        commit = self.commit(kind.stage, shard)
        return read_parquet(kind.record, self.data_of(commit), key=commit.data_key, columns=columns)

    def data_of(self, commit: Commit) -> bytes:
        """The bytes that a commit names, read twice if the digest differs. Raises ObjectCorrupt."""
        for last in (False, True):
            try:
                data = self.store.get(commit.data_key, min(commit.bytes, MOST_DATA_BYTES))
                check_digest(commit.data_key, data, commit.sha256)
                return data
            except NothingFound:
                raise ObjectCorrupt(
                    f"{commit.data_key} is gone: committed as sha256 {commit.sha256}"
                ) from None
            except ObjectCorrupt:
                if last:
                    raise
        raise AssertionError("unreachable")

    def finish(self) -> Success:
        """Write `_SUCCESS.json` if every shard of every stage is committed."""
        success = self._all_commits()
        fault("before_success")
        key = layout.success_key(self.name)
        stored = put_settled(self.store, key, canonical_json(asdict(success)), self.patience)
        fault("after_success")
        standing = success_from(key, stored)
        if standing != success:
            raise ObjectCorrupt(f"{key} names other commits than are stored; run `audit`")
        return success

    def success(self) -> Success | None:
        """The content of `_SUCCESS.json`; None while the run is unfinished."""
        key = layout.success_key(self.name)
        entries = self.spec.plan.shards * len(self.spec.stages)
        most = min(MOST_BYTES + MOST_ENTRY_BYTES * entries, MOST_DATA_BYTES)
        try:
            return success_from(key, self.store.get(key, most))
        except NothingFound:
            return None

    def check_stage(self, stage: str) -> str:
        """Return the stage's name. Raises ConfigurationError if this run lacks it."""
        if stage not in self.spec.stages:
            raise ConfigurationError(f"run {self.name!r} has no stage {stage!r}")
        return stage

    def _check_shard(self, shard: int) -> int:
        if not 0 <= shard < self.spec.plan.shards:
            raise ValueError(f"shard {shard} is not in the plan of {self.spec.plan.shards}")
        return shard

    def _all_commits(self) -> Success:
        totals: dict[str, StageTotals] = {}
        commits: dict[str, list[dict[str, Any]]] = {}
        for stage in self.spec.stages:
            receipts: list[Receipt] = []
            commits[stage] = []
            for commit in self.commits(stage):
                receipts.append(receipt_of(commit))
                commits[stage].append({name: getattr(commit, name) for name in NAMED})
            if len(receipts) != self.spec.plan.shards:
                raise NothingFound(
                    f"run {self.name!r} is not finished: {stage} has {len(receipts)} of "
                    f"{self.spec.plan.shards} shards"
                )
            totals[stage] = sum_receipts(receipts)
        return Success(self.name, self.spec.fingerprint, totals, commits)


def sum_receipts(receipts: Iterable[Receipt]) -> StageTotals:
    """The sums of some receipts."""
    shards = rows = size = 0
    seconds = 0.0
    drops: Counter[str] = Counter()
    counts: Counter[str] = Counter()
    for receipt in receipts:
        shards += 1
        rows += receipt.rows
        size += receipt.bytes
        seconds += receipt.seconds
        drops.update(receipt.drops)
        counts.update(receipt.counts)
    return StageTotals(shards, rows, size, round(seconds, 3), dict(drops), dict(counts))


def success_from(key: str, data: bytes) -> Success:
    """Read what `finish` wrote. Raises ObjectCorrupt for anything else."""
    return read_as(Success, key, parsed(key, data))


def copy_settled(
    source: ObjectStore, keys: Mapping[str, str], store: ObjectStore, patience: Patience
) -> None:
    """Copy small objects: key in `source` -> key in `store`. What is there already stays."""
    for key, ours in keys.items():
        put_settled(store, ours, source.get(key, MOST_BYTES), patience)


def put_settled(store: ObjectStore, key: str, data: bytes, patience: Patience) -> bytes:
    """Create a small object; return what its key holds, these bytes or earlier ones."""
    trouble = "no answer"
    for _ in patience.attempts():
        try:
            if store.put_new(key, data) is Put.CREATED:
                return data
            return store.get(key, max(MOST_BYTES, 2 * len(data)))
        except NothingFound:
            trouble = "not stored"
        except StoreUnavailable as error:
            trouble = str(error)
    raise StoreUnavailable(
        f"{key} could not be stored, digest {sha256_of(data)[:12]}, in {patience.tries} tries: "
        f"{trouble}"
    )
