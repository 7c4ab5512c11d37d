"""A whole run on every store: audited, swept and downloaded as on any other."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from storage.audit import audit
from storage.datasets.dataset import assemble
from storage.datasets.download import download
from storage.objects.memory import MemoryStore
from storage.objects.store import ObjectStore
from storage.sweep import sweep
from tests.contract.store_backends import BACKENDS
from tests.support.whole_run import finished, started, stray


@pytest.fixture(
    params=[
        pytest.param(name, marks=[pytest.mark.slow] if name == "ceph" else []) for name in BACKENDS
    ]
)
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[ObjectStore]:
    with BACKENDS[request.param](tmp_path) as opened:
        yield opened


def keys(store: ObjectStore) -> set[str]:
    return {entry.key for entry in store.list("")}


def test_a_sweep_takes_what_no_commit_names_and_nothing_else(store: ObjectStore) -> None:
    run = finished(store)
    assemble(run)
    before = keys(store)
    for place, text in ((0, "a"), (0, "b"), (1, "c")):
        store.put_new(*stray("problems", place, text))
    assert sweep(run, dry_run=True).objects == 3
    assert len(keys(store)) == len(before) + 3
    assert sweep(run).objects == 3
    assert keys(store) == before
    assert audit(run).findings == ()


def test_a_sweep_beside_writers_leaves_what_they_may_still_commit(store: ObjectStore) -> None:
    run = started(store)
    store.put_new(*stray("sample", 0, "under way"))
    before = keys(store)
    assert sweep(run).unsettled == 1
    assert keys(store) == before


def test_a_download_is_the_same_from_any_store(store: ObjectStore, tmp_path: Path) -> None:
    folders = tmp_path / "here", tmp_path / "there"
    for folder, where in zip(folders, (store, MemoryStore()), strict=True):
        download(finished(where), folder)
    here, there = (
        {p.name: p.read_bytes() for p in folder.rglob("*.parquet")} for folder in folders
    )
    assert here == there
    kept = next(folders[0].rglob("*.parquet"))
    kept.unlink()
    assert download(finished(store), folders[0]).fetched == 1, "only what is missing"
    assert kept.read_bytes() == there[kept.name]
