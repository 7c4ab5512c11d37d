"""An audit reads everything that a run has committed again and lists what is wrong with it.

Per shard and stage it checks the commit, the digest, kind and number of rows, and the schema. It
accounts for every item (`storage.rows.accounting`) and checks what exported rows show. At the end
it compares `_SUCCESS.json` with the commits, and the dataset with its checksums.

Invariant: an audit only reads, and relies on no earlier result. In memory it holds one shard per
reader and one block's summaries, plus eight bytes per problem.
"""

from __future__ import annotations

import hashlib
from array import array
from bisect import bisect_right
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

import numpy as np

from storage.datasets.dataset import check_dataset
from storage.errors import InputError, NothingFound, ObjectCorrupt
from storage.rows.accounting import account_of, contradicting, unaccounted
from storage.rows.kinds import EXAMPLES, Rows, stage_rows
from storage.rows.parquet import decode_shard
from storage.rows.records import Example
from storage.runs import layout
from storage.runs.commits import Commit, needed_of, read_commit, receipt_of
from storage.runs.run import Run
from storage.runs.success import Success
from storage.runs.totals import StageTotals, Sums, same_totals
from storage.stated import Finding, Stated
from storage.summaries.shards import ShardSet

READERS = 4


@dataclass(frozen=True, slots=True)
class Audit:
    """What an audit read and found."""

    findings: tuple[Finding, ...]
    objects: int
    rows: int
    bytes: int
    finished: bool
    exported: int = 0
    """Exported rows whose code outputs were checked."""
    not_executed: int = 0
    """Those of them that show output of code that was not run."""


Unrun = Callable[[Example], str | None]
"""Checks one exported row: names an output whose code was not run; None if there is none."""


@dataclass(slots=True)
class _ShardAudit:
    """What the audit of one shard, through all stages, has read and found."""

    shard: int
    findings: list[Finding] = field(default_factory=list)
    commits: dict[str, Commit] = field(default_factory=dict)
    objects: int = 0
    problems: frozenset[int] = frozenset()
    """Eight-byte digests of the ids of the shard's input."""
    unrun: Unrun | None = None
    exported: int = 0


def audit(run: Run, unrun: Unrun | None = None) -> Audit:
    """Audit a run; `unrun` checks each exported row. Damage is a finding, never an error. Raises
    StoreUnavailable and StoreRefused.
    """
    findings: list[Finding] = []
    objects = rows = size = exported = 0
    problems = _Problems()
    success = _success(run, findings)
    stated = Stated(run, success)
    sums: dict[str, Sums] = {stage: Sums() for stage in run.spec.stages}
    for audited in _shards(run, unrun, success):
        findings += audited.findings
        objects += audited.objects
        exported += audited.exported
        rows += sum(commit.rows for commit in audited.commits.values())
        size += sum(commit.bytes for commit in audited.commits.values())
        problems.add(audited)
        for stage, commit in audited.commits.items():
            sums[stage].add(receipt_of(commit))
        findings += stated.against(audited.shard, audited.commits)
    for shard in problems.twice():
        findings.append(
            Finding("problem_twice", "it stands in another shard", run.input_stage, shard)
        )
    if success is not None:
        for stage in run.spec.stages:
            if not same_totals(success.totals.get(stage, StageTotals()), sums[stage].totals):
                findings.append(Finding("success", f"the totals of {stage} differ from commits"))
        findings += [Finding("dataset", detail) for detail in check_dataset(run)]
    shown = sum(finding.kind == "not_executed" for finding in findings)
    return Audit(tuple(findings), objects, rows, size, success is not None, exported, shown)


def _success(run: Run, findings: list[Finding]) -> Success | None:
    try:
        success = run.success()
    except ObjectCorrupt as error:
        findings.append(Finding("success", str(error)))
        return None
    if success is not None and success.spec != run.spec.fingerprint:
        findings.append(Finding("success", "it was written for another spec"))
    return success


def _shards(run: Run, unrun: Unrun | None, success: Success | None) -> Iterator[_ShardAudit]:
    """Audit every shard that has a commit, or should; `READERS` at once, yielded in order."""
    known = ShardSet()
    for stage in run.spec.stages:
        known |= run.shards_of(stage)
    if success is not None:
        known |= ShardSet(range(run.spec.plan.shards))
    shards = iter(known)
    with ThreadPoolExecutor(READERS) as readers:
        reading: deque[Future[_ShardAudit]] = deque(
            readers.submit(_audit_shard, run, shard, unrun) for shard in islice(shards, READERS)
        )
        while reading:
            yield reading.popleft().result()
            reading.extend(
                readers.submit(_audit_shard, run, shard, unrun) for shard in islice(shards, 1)
            )


def _audit_shard(run: Run, shard: int, unrun: Unrun | None) -> _ShardAudit:
    audited = _ShardAudit(shard, unrun=unrun)
    entered: frozenset[str] | None = None
    previous = ""
    for stage in run.spec.stages:
        commit = _commit(run, stage, audited)
        if commit is not None and previous and previous not in audited.commits:
            audited.findings.append(
                Finding("commit_without_source", f"{previous} is not committed", stage, shard)
            )
        previous = stage
        entered = None if commit is None else _audit_rows(run, commit, audited, entered)
    return audited


def _commit(run: Run, stage: str, audited: _ShardAudit) -> Commit | None:
    key = layout.commit_key(run.name, stage, audited.shard)
    try:
        commit = read_commit(run.store, key)
    except NothingFound:
        return None
    except ObjectCorrupt as error:
        audited.findings.append(Finding("commit_unreadable", str(error), stage, audited.shard))
        return None
    audited.objects += 1
    if (commit.stage, commit.shard, commit.spec) != (stage, audited.shard, run.spec.fingerprint):
        audited.findings.append(
            Finding(
                "foreign_commit", f"{key} is of another stage, shard or spec", stage, audited.shard
            )
        )
    audited.commits[stage] = commit
    return commit


def _audit_rows(
    run: Run, commit: Commit, audited: _ShardAudit, entered: frozenset[str] | None
) -> frozenset[str] | None:
    """Check the rows of one commit; return the items that go on, None if they can't be read."""

    def note(kind: str, detail: str) -> None:
        audited.findings.append(Finding(kind, detail, commit.stage, audited.shard))

    try:
        kind = stage_rows(commit.stage)
        rows = run.rows_of(commit, kind)
    except (ObjectCorrupt, InputError) as error:
        note("data_damaged", str(error))
        return None
    audited.objects += 1
    if commit.needed:
        audited.objects += 1
        if not _is_needed(run, kind, commit, rows):
            note("needed_damaged", f"{needed_of(run.name, commit)} is not what its commit names")
    if len(rows) != commit.rows:
        note("wrong_rows", f"{commit.data_key}: {len(rows)} rows, committed as {commit.rows}")
    if audited.unrun is not None and commit.stage == EXAMPLES.stage:
        audited.exported += len(rows)
        for row in rows:
            if trouble := audited.unrun(row):
                note("not_executed", f"{row.path_id}: {trouble}")
    for name, trouble in contradicting(kind, rows):
        note("counts_differ", f"{name}: {trouble}")
    account = account_of(kind, rows, commit.drops)
    if commit.stage == run.input_stage:
        if len(rows) != run.spec.plan.size(audited.shard):
            note("plan", f"{len(rows)} {commit.stage}, planned {run.spec.plan.size(audited.shard)}")
        audited.problems = frozenset(map(_short_digest, account.seen))
        entered = account.seen | {drop.item for drop in commit.drops}
    if entered is not None:
        for trouble, item in unaccounted(entered, account, commit.drops):
            note(trouble, item)
    return account.through


def _is_needed(run: Run, kind: Rows[Any], commit: Commit, rows: Sequence[Any]) -> bool:
    """Whether the object beside the rows of a commit is there, and follows from them."""
    data = run.needed_bytes(commit)
    if not data or kind.needed is None:
        return False
    key = needed_of(run.name, commit)
    return decode_shard(kind.record, data, key=key, sha256=commit.needed) == kind.needed(rows)


def _short_digest(text: str) -> int:
    return int.from_bytes(hashlib.sha256(text.encode("utf-8", "replace")).digest()[:8], "big")


@dataclass
class _Problems:
    """Problems of all shards: eight bytes each."""

    digests: array[int] = field(default_factory=lambda: array("Q"))
    ends: list[int] = field(default_factory=list)
    shards: list[int] = field(default_factory=list)

    def add(self, audited: _ShardAudit) -> None:
        """Note the problems of a shard; no later one has a lower number."""
        self.digests.extend(audited.problems)
        self.ends.append(len(self.digests))
        self.shards.append(audited.shard)

    def twice(self) -> list[int]:
        """The shards with a problem that an earlier one has, in order."""
        digests = np.array(self.digests, np.uint64)
        order = np.argsort(digests, kind="stable")
        same = digests[order][1:] == digests[order][:-1]
        places = sorted(order[1:][same].tolist())
        return sorted({self.shards[bisect_right(self.ends, place)] for place in places})
