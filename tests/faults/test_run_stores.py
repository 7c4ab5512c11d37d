"""A whole build, its S3 store out of reach for a while, or for ever; and a disk that is full."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from storage.audit import audit
from storage.objects.local import LocalStore
from storage.objects.opening import open_store
from storage.runs.run import Run
from tests.support.fault_proxy import Fault, FaultProxy, fault_proxy
from tests.support.s3_servers import shared_ministack
from tests.support.submitted import BIN, project
from tests.support.whole_run import started

ROOT = Path(__file__).parents[2]
pytestmark = [pytest.mark.fault]


def building(folder: Path, store: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [BIN / "stepmill", "build", "build.yaml", "--store", store],
        cwd=folder, env=os.environ | {"PYTHONPATH": str(ROOT)}, text=True,
        stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
    )  # fmt: skip


def until(process: subprocess.Popen[str], words: str) -> str:
    assert process.stderr is not None
    said = ""
    for line in process.stderr:
        said += line
        if words in line:
            return said
    raise AssertionError(said)


@pytest.fixture
def proxy() -> Iterator[FaultProxy]:
    with fault_proxy(shared_ministack().endpoint) as running:
        yield running


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_store_that_comes_back_costs_time_only_and_one_that_does_not_stops_the_run_with_3(
    tmp_path: Path, proxy: FaultProxy
) -> None:
    folder = project(tmp_path / "project")
    body = json.loads((folder / "build.yaml").read_text())
    # Two minutes of tries for each shard, once instead of three times.
    (folder / "build.yaml").write_text(json.dumps(body | {"cluster": {"attempts": 1}}))
    prefix = uuid.uuid4().hex
    through = shared_ministack().url(prefix, proxy.endpoint)
    first = building(folder, through)
    until(first, "policy is up")
    proxy.faults = [Fault("lost request", times=10_000_000)]  # nobody answers any more
    said = first.communicate(timeout=800)[1]
    print(said[-3000:])
    assert first.returncode == 3
    assert "the same command continues" in said
    proxy.faults = []
    second = building(folder, through)
    until(second, "policy is up")
    # A request is tried fourteen times: twelve refusals are outlasted, whoever gets them.
    proxy.faults = [Fault("lost request", times=6), Fault("503", times=6)]
    said = second.communicate(timeout=400)[1]
    assert second.returncode == 0, said[-3000:]
    assert not any(fault.times for fault in proxy.faults)
    result = audit(Run.open(open_store(shared_ministack().url(prefix)), "r"))
    assert (result.findings, result.finished) == ((), True)


@contextmanager
def small_disk(folder: Path, size: str) -> Iterator[Path]:
    """A file system of its own; skips the test where none can be mounted."""
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(folder)]
    if os.geteuid() != 0 or subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("no file system can be mounted here")
    try:
        yield folder
    finally:
        subprocess.run(["umount", str(folder)], check=True)


def test_a_full_disk_fails_the_shard_cleanly_and_the_build_goes_on_once_there_is_room(
    tmp_path: Path,
) -> None:
    with small_disk(tmp_path / "disk", "1m") as disk:
        store = LocalStore.at(disk / "store")
        run = started(store)
        ballast = disk / "ballast"
        with pytest.raises(OSError, match="No space left"), ballast.open("wb", 0) as file:
            while True:
                file.write(b"x" * 4096)
        before = sorted(entry.key for entry in store.list(""))
        full = work(store)
        assert full.returncode != 0
        assert "StoreUnavailable" in full.stderr
        assert "No space left" in full.stderr
        assert sorted(entry.key for entry in store.list("")) == before, "nothing half-written"
        ballast.unlink()
        assert work(store).returncode == 0
        result = audit(run)
        assert (result.findings, result.finished) == ((), True)


def work(store: LocalStore) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "tests.faults.publisher", store.url, "build"],
        cwd=ROOT, capture_output=True, text=True, timeout=250, check=False,
    )  # fmt: skip


def test_where_time_is_read_no_decision_about_data_depends_on_it() -> None:
    """A clock that is an hour wrong, or steps back, changes nothing: nobody reads it."""
    readers = ("time.time(", "datetime.now", "utcnow", "st_mtime")
    found = {
        str(file.relative_to(ROOT))
        for package in ("storage", "workflows", "actors", "launch")
        for file in (ROOT / package).rglob("*.py")
        if any(reader in file.read_text() for reader in readers)
    }
    allowed = {
        "storage/objects/local.py",  # the age of a killed writer's leftovers, never of an object
        "actors/engines/served/server.py",  # a Retry-After date, bounded by our own pauses
        "actors/reporters.py",  # when a tracker is told a figure, for people
        "storage/runs/presence.py",  # how long ago a driver was heard of, for people
        "storage/runs/listing.py",  # the age that a list shows
        "launch/verbs/runs/remove.py",  # the date that a tombstone shows
        "workflows/browsing/index.py",  # the age of an index that can be made again
        "workflows/browsing/reviewing.py",  # the date that a mark shows; its number decides
    }
    assert found <= allowed
