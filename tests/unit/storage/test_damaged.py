"""Documents of a store that are damaged: each is named by its key, and nothing is guessed."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from storage.audit import audit
from storage.datasets.dataset import dataset_files
from storage.errors import ObjectCorrupt
from storage.objects.memory import MemoryStore
from storage.runs import layout
from storage.runs.origin import origin_of
from storage.runs.pilot_record import pilot_record
from storage.runs.run import Run
from storage.trainings.training import Training, TrainingSpec
from tests.support.whole_run import finished, started

SUMS = f"{layout.dataset_prefix('whole')}genprm/SHA256SUMS"
READERS: dict[str, Callable[[Run], object]] = {
    "runs/whole/spec.json": lambda run: Run.open(run.store, "whole"),
    layout.success_key("whole"): lambda run: run.success(),
    "runs/whole/origin.json": origin_of,
    "runs/whole/chain.json": lambda run: pilot_record(run.store, "whole"),
    SUMS: lambda run: dataset_files(run, "genprm"),
    "trainings/t/spec.json": lambda run: Training.find(run.store, "t"),
    "trainings/t/model.json": lambda run: Training(
        run.store, "t", TrainingSpec("", "", "", {})
    ).model(),
}
"""Key -> what reads it."""


@pytest.mark.parametrize("data", [b"", b"{", b"{}", b"[1]", b"\xff"], ids=repr)
@pytest.mark.parametrize("key", READERS)
def test_a_damaged_document_is_named(key: str, data: bytes) -> None:
    run = started(MemoryStore())
    assert isinstance(run.store, MemoryStore)
    run.store.objects[key] = data
    if key == SUMS and not data:
        assert dataset_files(run, "genprm") == ()
        return
    with pytest.raises(ObjectCorrupt, match=key.rpartition("/")[2]):
        READERS[key](run)


def test_an_audit_says_that_the_end_of_a_run_is_of_another_spec_or_unreadable() -> None:
    run = finished(MemoryStore())
    assert isinstance(run.store, MemoryStore)
    key = layout.success_key("whole")
    stored = run.store.objects[key]
    run.store.objects[key] = stored.replace(run.spec.fingerprint.encode(), b"0" * 64)
    assert "success: it was written for another spec" in [
        f"{finding.kind}: {finding.detail}" for finding in audit(run).findings
    ]
    run.store.objects[key] = b"{"
    assert [finding.kind for finding in audit(run).findings] == ["success"]
