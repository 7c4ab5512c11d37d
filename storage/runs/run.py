"""A run: a folder of the object store that holds a build's spec, rows, commits and dataset.

Any process opens a run by its store and name alone. The input is stored as its first stage. The
commits alone say what is done.

Invariant: a run's spec never changes once stored. A stage's rows are exactly those its commits
name. `_SUCCESS.json` exists only if every shard of every stage is committed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import reduce
from itertools import islice
from operator import and_
from typing import Any, TypeVar

import pyarrow as pa

from storage.errors import (
    ConfigurationError,
    InputError,
    NothingFound,
    ObjectCorrupt,
)
from storage.fault_points import fault
from storage.objects.patience import PATIENT, Patience
from storage.objects.store import ObjectStore
from storage.rows.kinds import Rows, stage_rows
from storage.rows.parquet import check_digest, decode_shard, read_parquet
from storage.rows.records import Drop
from storage.runs import layout
from storage.runs.commits import Commit, Receipt, needed_of, publish, read_commit, receipt_of
from storage.runs.documents import MOST_BYTES, MOST_DATA_BYTES, MOST_ENTRY_BYTES, put_settled
from storage.runs.names import nothing_named
from storage.runs.removal import obeyed, refuse_removed
from storage.runs.specs import Compare, Spec, check_same, differences
from storage.runs.success import Success, same_end, success_bytes, success_from
from storage.runs.totals import StageTotals, Sums, sum_receipts
from storage.summaries.blocks import Blocks
from storage.summaries.shards import ShardSet, block_of, blocks_among
from storage.summaries.summary import Named, named_by

Record = TypeVar("Record")

READERS = 16
"""Commits read or written at once, so that thousands over a network take seconds."""


@dataclass(frozen=True, slots=True)
class Run:
    """One run of one store."""

    store: ObjectStore
    name: str
    spec: Spec
    patience: Patience = PATIENT

    @classmethod
    def start(
        cls,
        store: ObjectStore,
        name: str,
        spec: Spec,
        patience: Patience = PATIENT,
        compare: Compare = differences,
    ) -> Run:
        """Create the run, or open it if its spec is the same. Raises SpecMismatch, Removed."""
        key = layout.spec_key(layout.check_run_name(name))
        with obeyed(store, layout.run_prefix(name)):
            stored = put_settled(store, key, spec.to_json(), patience)
            fault("after_spec")
        run = cls(store, name, Spec.from_json(key, stored), patience)
        check_same(name, run.spec, spec, compare)
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

    def store_input(
        self,
        items: Iterable[Any],
        drops: Sequence[Drop] = (),
        tell: Callable[[Receipt], None] = lambda receipt: None,
    ) -> None:
        """Commit the input as the first stage, so that the run needs no input file again.

        `drops`: the items left out of it; the first shard's commit holds them. `tell`: told of
        every commit.
        """
        kind = stage_rows(self.input_stage)
        done = self.shards_of(kind.stage)
        fault("before_input")
        lacking = ((n, rows) for n, rows in self.spec.plan.cut(items) if n not in done)

        def store(shard: int, rows: list[Any]) -> Receipt:
            return self.publish(kind, shard, rows, drops if shard == 0 else ())

        with ThreadPoolExecutor(READERS) as writers:
            while part := list(islice(lacking, READERS)):
                for receipt in writers.map(store, *zip(*part, strict=True)):
                    tell(receipt)
        fault("after_input")
        self.check_input()

    def check_input(self) -> None:
        """Raise InputError if a shard of the input is not stored."""
        missing = self.spec.plan.shards - len(self.shards_of(self.input_stage))
        if missing and self._lacks(self.input_stage):
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

    @property
    def blocks(self) -> Blocks:
        """The summaries of the run's commits."""
        plan = self.spec.plan
        return Blocks(self.store, self.name, self.spec.fingerprint, plan.shards, self.patience)

    def shards_of(self, *stages: str) -> ShardSet:
        """The shards that are committed in each of the stages; two listings of the store a stage.

        Commits of shards beyond the plan do not count.
        """
        return reduce(and_, (self.blocks.committed(self.check_stage(stage)) for stage in stages))

    def commit(self, stage: str, shard: int) -> Commit:
        """The commit of a shard. Raises NothingFound if it is not committed."""
        return read_commit(self.store, layout.commit_key(self.name, stage, shard))

    def commits(self, stage: str, shards: Iterable[int] | None = None) -> Iterator[Commit]:
        """The commits of a stage by shard, read a few at a time; `shards`: only these."""
        wanted = iter(sorted(self.shards_of(stage)) if shards is None else shards)
        with ThreadPoolExecutor(READERS) as readers:
            while part := list(islice(wanted, 4 * READERS)):
                yield from readers.map(lambda shard: self.commit(stage, shard), part)

    def committed(self, stage: str) -> dict[int, Commit]:
        """Shard -> commit."""
        return {commit.shard: commit for commit in self.commits(stage)}

    def receipts(self, stage: str, shards: Iterable[int] | None = None) -> Iterator[Receipt]:
        """The receipts of a stage's commits by shard, of summaries where there are some.

        `shards`: only these, which are committed.
        """
        wanted, blocks = ShardSet(self.shards_of(stage) if shards is None else shards), self.blocks
        for part in blocks_among(wanted):
            block = block_of(part[0])
            whole = len(part) == len(blocks.shards_in(block))
            summary = blocks.find(stage, block) if whole else None
            if summary is None:
                yield from map(receipt_of, self.commits(stage, part))
            else:
                yield from (each for each in summary.receipts() if each.shard in wanted)

    def totals(self, stage: str) -> StageTotals:
        """Sums over the commits of a stage."""
        return sum_receipts(self.receipts(stage))

    def named(self, stage: str, success: Success) -> Iterator[Named]:
        """What a finished run's commits of a stage name, by shard. Raises ObjectCorrupt."""
        if stage in success.commits or not success.parts:
            for entry in success.commits.get(stage, []):
                try:
                    yield Named(**entry)
                except TypeError as error:
                    key = layout.success_key(self.name)
                    raise ObjectCorrupt(f"{key}: commits.{stage}: {error}") from None
            return
        for block, digest in enumerate(success.parts.get(stage, [])):
            yield from self.blocks.part(stage, block, digest).named(self.name)

    def read_rows(self, kind: Rows[Record], shard: int) -> list[Record]:
        """The committed rows of a shard. Raises NothingFound, ObjectCorrupt."""
        return self.rows_of(self.commit(kind.stage, shard), kind)

    def read_needed(self, kind: Rows[Record], shard: int) -> list[Record]:
        """What later stages read of a shard (`Rows.needed`), of a second object if there is one.

        Raises NothingFound, ObjectCorrupt.
        """
        commit = self.commit(kind.stage, shard)
        if data := self.needed_bytes(commit):
            return decode_shard(kind.record, data, key=commit.needed, sha256=commit.needed)
        rows = self.rows_of(commit, kind)
        return rows if kind.needed is None else kind.needed(rows)

    def needed_bytes(self, commit: Commit) -> bytes:
        """The object beside the rows that a commit names; empty where there is none, or damaged."""
        if not commit.needed:
            return b""
        key = needed_of(self.name, commit)
        try:
            data = self.store.get(key, min(commit.bytes, MOST_DATA_BYTES))
            check_digest(key, data, commit.needed)
        except (NothingFound, ObjectCorrupt):
            return b""
        return data

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
        success = self._sealed()
        fault("before_success")
        key = layout.success_key(self.name)
        stored = put_settled(self.store, key, success_bytes(success), self.patience)
        fault("after_success")
        if not same_end(success_from(key, stored), success, self.named):
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

    def _sealed(self) -> Success:
        """The end of a run whose shards are all committed. Raises NothingFound for another run."""
        totals: dict[str, StageTotals] = {}
        commits: dict[str, list[dict[str, Any]]] = {}
        parts: dict[str, list[str]] = {}
        for stage in self.spec.stages:
            if self._lacks(stage):
                raise NothingFound(
                    f"run {self.name!r} is not finished: {stage} has {len(self.shards_of(stage))} "
                    f"of {self.spec.plan.shards} shards"
                )
            sums = Sums()
            if self.blocks.summed_up:
                parts[stage] = []
                for block in self.blocks.all:
                    summary, digest = self.blocks.ensure(stage, block, self._receipts_in)
                    parts[stage].append(digest)
                    for receipt in summary.receipts():
                        sums.add(receipt)
            else:
                commits[stage] = []
                for commit in self.commits(stage, range(self.spec.plan.shards)):
                    sums.add(receipt_of(commit))
                    commits[stage].append(named_by(commit)._asdict())
            totals[stage] = sums.totals
        return Success(self.name, self.spec.fingerprint, totals, commits, parts)

    def _lacks(self, stage: str) -> bool:
        """Whether a shard is not committed. A listing may be short: what it lacks is asked for."""
        listed = self.shards_of(stage)
        missing = (shard for shard in range(self.spec.plan.shards) if shard not in listed)
        try:
            return any(self.commit(stage, shard) is None for shard in missing)
        except NothingFound:
            return True

    def _receipts_in(self, stage: str, block: int) -> list[Receipt]:
        return [receipt_of(each) for each in self.commits(stage, self.blocks.shards_in(block))]
