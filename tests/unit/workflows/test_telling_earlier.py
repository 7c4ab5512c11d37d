"""A display is told what was committed before the work began, and nothing else."""

from __future__ import annotations

import threading

from storage.objects.memory import MemoryStore
from storage.runs.commits import Receipt
from tests.support.whole_run import finished
from workflows.runs.driving import telling_earlier


def test_commits_of_before_are_told_and_later_ones_are_not() -> None:
    run = finished(MemoryStore())
    told: list[Receipt] = []
    done = {"sample": frozenset({0, 2}), "estimate": frozenset({1}), "label": frozenset[int]()}
    with telling_earlier(run, done, [told.append]):
        for thread in threading.enumerate():
            if thread.name == "earlier":
                thread.join(30)
    assert {(receipt.stage, receipt.shard) for receipt in told} == {
        ("sample", 0), ("sample", 2), ("estimate", 1),
    }  # fmt: skip
    whole = list(run.receipts("sample"))
    assert [whole[receipt.shard] for receipt in told if receipt.stage == "sample"] == told[:2]


def test_reading_ends_with_the_work() -> None:
    run = finished(MemoryStore())
    ended = threading.Event()

    def tell(receipt: Receipt) -> None:
        told.append(receipt)
        ended.wait(30)

    told: list[Receipt] = []
    every = {stage: frozenset(range(3)) for stage in run.spec.stages[1:]}
    with telling_earlier(run, every, [tell]):
        (reading,) = (thread for thread in threading.enumerate() if thread.name == "earlier")
    ended.set()
    reading.join(30)
    assert len(told) <= 1
