"""Why a run stopped: there until it goes on, and never in the way."""

from __future__ import annotations

import pytest

from storage.audit import audit
from storage.errors import StoreRefused
from storage.objects.memory import MemoryStore
from storage.objects.store import Put
from storage.runs import layout
from storage.runs.run import Run
from storage.runs.stops import forget_stop, note_stop, stop_reason
from storage.sweep import sweep
from tests.support.whole_run import started, work_shard


@pytest.fixture
def run() -> Run:
    return started(MemoryStore())


def test_the_reason_is_there_until_the_run_goes_on(run: Run) -> None:
    assert stop_reason(run) is None
    note_stop(run, "no box\n  p#0: \\boxe\N{RIGHT-TO-LEFT OVERRIDE}")
    note_stop(run, "of two that stop at once, the first is kept")
    assert stop_reason(Run.open(run.store, run.name)) == (
        "no box\n  p#0: \\boxe\N{RIGHT-TO-LEFT OVERRIDE}"
    )
    forget_stop(run)
    forget_stop(run)
    assert stop_reason(run) is None


def test_it_is_no_part_of_what_is_audited_or_swept(run: Run) -> None:
    for shard in range(3):
        work_shard(run, shard)
    note_stop(run, "why")
    sweep(run)
    assert audit(run).findings == ()
    assert stop_reason(run) == "why"


@pytest.mark.parametrize("held", [b"", b"[]", b"{}", b"\xff"])
def test_what_is_no_reason_is_none(held: bytes, run: Run) -> None:
    run.store.put_new(layout.stopped_key(run.name), held)
    assert stop_reason(run) is None


def test_a_store_that_does_not_take_it_is_no_trouble() -> None:
    class Refusing(MemoryStore):
        def put_new(self, key: str, data: bytes) -> Put:
            if key.endswith("stopped.json"):
                raise StoreRefused("no")
            return super().put_new(key, data)

    run = started(Refusing())
    note_stop(run, "why")
    assert stop_reason(run) is None
