"""Runs of more than a block: readers take summaries, and see what the commits say."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cache

import pytest

from storage.audit import audit
from storage.errors import ObjectCorrupt
from storage.objects.memory import MemoryStore
from storage.objects.store import Entry
from storage.rows.parquet import encode_shard
from storage.rows.records import Drop, Path, Problem
from storage.runs import layout
from storage.runs.commits import (
    Commit,
    Receipt,
    Writer,
    canonical_json,
    commit_bytes,
    receipt_of,
)
from storage.runs.run import Run
from storage.runs.specs import ShardPlan, Spec
from storage.summaries.folding import Folding
from storage.summaries.shards import ShardSet, begins_with
from storage.summaries.summary import named_by
from tests.support.whole_run import QUICK

BLOCK = 10
SHARDS = 2 * BLOCK + 7
SPEC = Spec({}, "0" * 64, ShardPlan(SHARDS, 1), stages=("problems", "sample"))
EMPTY = encode_shard(Path, [])


@dataclass(frozen=True)
class Counting(MemoryStore):
    """A store that counts GETs, of commits and of summaries."""

    asked: Counter[str] = None  # type: ignore[assignment]

    def get(self, key: str, most: int | None = None) -> bytes:
        self.asked[key.split("/")[-2]] += 1
        return super().get(key, most)

    def list(self, prefix: str, after: str = "") -> Iterator[Entry]:
        for entry in super().list(prefix, after):
            self.asked["listed"] += 1
            yield entry


@cache
def objects() -> dict[str, bytes]:
    """A run of two stages, of which every shard is committed."""
    made = {layout.spec_key("big"): SPEC.to_json()}
    for shard in range(SHARDS):
        problem = encode_shard(Problem, [Problem(f"p/{shard}", f"What is {shard}?", "1")])
        for stage, encoded in (("problems", problem), ("sample", EMPTY)):
            sampled = stage == "sample"
            commit = Commit(
                stage, shard, layout.data_key("big", stage, shard, encoded.sha256), encoded.sha256,
                len(encoded.data), encoded.rows, encoded.kind, encoded.version,
                (Drop(f"p/{shard}", "only_correct"),) if sampled else (),
                {"tokens": 100 + shard} if sampled and shard % 3 else {}, 1.5, f"{stage}{shard}",
                Writer("here", 1, 1), SPEC.fingerprint, 0.25, shard % 2 == 0,
            )  # fmt: skip
            made[commit.data_key] = encoded.data
            made[layout.commit_key("big", stage, shard)] = commit_bytes(commit)
    return made


def big() -> tuple[Run, Counting]:
    store = Counting(objects=dict(objects()), asked=Counter())
    return Run(store, "big", SPEC, QUICK), store


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("storage.summaries.shards.BLOCK", BLOCK)


def of_commits(run: Run, stage: str) -> list[Receipt]:
    return [receipt_of(commit) for commit in run.commits(stage)]


def folded(run: Run, receipts: list[Receipt]) -> None:
    with Folding(run) as folding:
        for receipt in receipts:
            folding.note(receipt)


def test_receipts_of_summaries_are_those_of_the_commits_and_no_commit_is_read_for_them() -> None:
    run, store = big()
    true = of_commits(run, "sample")
    folded(run, true[:BLOCK] + true[2 * BLOCK :] + true[BLOCK : 2 * BLOCK - 1])
    store.asked.clear()
    assert list(run.receipts("sample")) == true
    assert store.asked["summaries"] == 3, "one is not there"
    assert store.asked["commits"] == BLOCK, "the block that lacks a shard has no summary"
    assert run.blocks.there("sample") == [0, 2]
    wanted = [3, BLOCK - 1, BLOCK, SHARDS - 1]
    assert list(run.receipts("sample", wanted)) == [true[shard] for shard in wanted]


def test_a_summary_that_is_there_is_not_stored_again() -> None:
    run, store = big()
    true = of_commits(run, "sample")
    folded(run, true[:BLOCK])
    store.objects[layout.summary_key("big", "sample", 0)] += b" "
    store.asked.clear()
    folded(run, true)
    assert store.asked["summaries"] == 0, "neither read nor written, which would read what stands"
    assert run.blocks.there("sample") == [0, 1, 2]


def test_a_summary_is_the_same_to_the_byte_whoever_writes_it_in_whatever_order() -> None:
    (run, one), (again, other) = big(), big()
    true = of_commits(run, "sample")
    folded(run, true)
    folded(again, [*reversed(true), *true])
    keys = [layout.summary_key("big", "sample", block) for block in range(3)]
    assert [one.objects[key] for key in keys] == [other.objects[key] for key in keys]


def test_commits_behind_the_summaries_are_listed_and_no_others() -> None:
    run, store = big()
    folded(run, of_commits(run, "sample")[:BLOCK])
    store.asked.clear()
    assert run.shards_of("sample") == ShardSet(range(SHARDS))
    assert store.asked["listed"] == 1 + SHARDS - BLOCK
    del store.objects[layout.commit_key("big", "sample", BLOCK + 1)]
    assert run.shards_of("sample").ranges() == [(0, BLOCK), (BLOCK + 2, SHARDS - 1)]


def test_the_end_of_a_run_names_digests_whoever_stored_the_summaries() -> None:
    run, store = big()
    folded(run, of_commits(run, "sample")[:BLOCK])
    store.asked.clear()
    success = run.finish()
    assert store.asked["commits"] == 2 * SHARDS - BLOCK
    assert b"attempt" not in store.objects[layout.success_key("big")]
    assert success == run.success() == run.finish()
    for stage in SPEC.stages:
        assert list(run.named(stage, success)) == [named_by(c) for c in run.commits(stage)]
    assert success.totals["sample"].drops == {"only_correct": SHARDS}
    assert success.totals["sample"].busy_s == 0.25 * SHARDS


def test_an_end_that_names_all_commits_in_place_is_still_read() -> None:
    run, store = big()
    now = run.finish()
    totals = {stage: replace(of, busy_s=None) for stage, of in now.totals.items()}
    commits = {s: [named_by(c)._asdict() for c in run.commits(s)] for s in SPEC.stages}
    before = json.loads(store.objects[layout.success_key("big")])
    for of in before["totals"].values():
        del of["busy_s"]
    del before["parts"]
    before["commits"] = commits
    store.objects[layout.success_key("big")] = canonical_json(before)
    success = run.success()
    assert success is not None and success.totals == totals
    assert list(run.named("sample", success)) == list(run.named("sample", now))
    assert run.finish() == now, "the same end, in the form of before"
    assert audit(run).findings == ()
    before["commits"]["sample"][5]["attempt"] = "another"
    store.objects[layout.success_key("big")] = canonical_json(before)
    with pytest.raises(ObjectCorrupt, match="names other commits"):
        run.finish()
    (found,) = audit(run).findings
    assert (found.kind, found.stage, found.shard) == ("success", "sample", 5)


@pytest.mark.parametrize("finished", [True, False])
def test_an_audit_holds_every_summary_against_the_commits(finished: bool) -> None:
    run, store = big()
    if finished:
        run.finish()
    else:
        folded(run, of_commits(run, "sample"))
    assert audit(run).findings == ()
    lied = [replace(receipt, rows=9) if receipt.shard == 7 else receipt
            for receipt in of_commits(run, "sample")[:BLOCK]]  # fmt: skip
    key = layout.summary_key("big", "sample", 0)
    del store.objects[key]
    folded(run, lied)
    kinds = [(found.kind, found.stage, found.shard) for found in audit(run).findings]
    wanted = ("summary", "sample", None) if finished else ("summary", "sample", 7)
    assert kinds == [wanted], "a finished run names the digest of another summary"
    store.objects[key] = store.objects[key][:-9]
    assert [found.kind for found in audit(run).findings] == ["summary"]


def test_a_damaged_summary_is_passed_over_where_commits_say_the_same() -> None:
    run, store = big()
    true = of_commits(run, "sample")
    folded(run, true)
    store.objects[layout.summary_key("big", "sample", 0)] = b"{}"
    assert list(run.receipts("sample")) == true
    with pytest.raises(ObjectCorrupt, match=r"summaries/000000\.json"):
        run.finish()


def test_a_removed_run_gets_no_summary() -> None:
    run, store = big()
    receipts = of_commits(run, "sample")[:BLOCK]
    store.put_new("runs/big/removed.json", b'{"at":"","by":"ann"}')
    folded(run, receipts)
    assert not [key for key in store.objects if "/summaries/" in key]


def test_a_block_whose_receipts_were_too_many_to_hold_is_summed_up_from_its_commits(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("storage.summaries.folding.MOST_HELD", BLOCK + 1)
    run, _ = big()
    true = of_commits(run, "sample")
    first, second = true[:BLOCK], true[BLOCK : 2 * BLOCK]
    # The first block is forgotten with three receipts, then ends; the second keeps all of its own.
    folded(run, first[:3] + second[:-1] + first[3:] + second[-1:])
    assert run.blocks.there("sample") == [0, 1]
    assert list(run.blocks.read("sample", 0)[0].receipts()) == first
    assert run.finish().totals["sample"].shards == SHARDS


def test_the_names_of_a_block_begin_with_what_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    assert [begins_with(block) for block in (0, 3, 4_687)] == ["00000", "00003", "04687"]
    monkeypatch.setattr("storage.summaries.shards.BLOCK", 1_000)
    assert [begins_with(block) for block in (0, 46, 1_000)] == ["000", "046", "1000"]


def test_a_set_of_shards_is_a_set() -> None:
    some = ShardSet([5, 0, 64, 5])
    assert (list(some), len(some), 5 in some, 4 in some, -1 in some, 10**9 in some) == (
        [0, 5, 64], 3, True, False, False, False,
    )  # fmt: skip
    some.discard(5)
    some.discard(5)
    assert (sorted(some), len(some)) == ([0, 64], 2)
    assert some | {1} == {0, 1, 64} and {0} <= some and some - {0} == {64}
    assert ShardSet(range(3)).ranges() == [(0, 2)] and ShardSet().ranges() == []
    with pytest.raises(ValueError, match="no shard -1"):
        some.add(-1)
