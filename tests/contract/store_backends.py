"""The stores that the contract is tested over: each opens an empty one, by name."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

from storage.objects.local import LocalStore
from storage.objects.memory import MemoryStore
from storage.objects.opening import open_store
from storage.objects.patience import Patience
from storage.objects.s3 import S3Store
from storage.objects.store import ObjectStore
from tests.support.ceph_server import shared_ceph
from tests.support.fault_proxy import fault_proxy
from tests.support.s3_servers import shared_ministack

OpenBackend = Callable[[Path], AbstractContextManager[ObjectStore]]


@contextmanager
def memory(folder: Path) -> Iterator[ObjectStore]:
    """Objects in a dictionary."""
    yield MemoryStore(folder.name)


@contextmanager
def local(folder: Path) -> Iterator[ObjectStore]:
    """Objects as files."""
    yield LocalStore.at(folder / "store")


@contextmanager
def s3(folder: Path) -> Iterator[ObjectStore]:
    """Objects in a bucket of a real server."""
    yield open_store(shared_ministack().url(uuid.uuid4().hex))


@contextmanager
def ceph_s3(folder: Path) -> Iterator[ObjectStore]:
    """The same on Ceph's gateway, which checks credentials and syncs what it acknowledges."""
    yield open_store(shared_ceph().url(uuid.uuid4().hex))


@contextmanager
def stormy_s3(folder: Path) -> Iterator[ObjectStore]:
    """The same behind a proxy that loses, delays, cuts, alters and refuses three of ten requests.

    PUTs are spared: a PUT without an answer is UNKNOWN by contract, and the tests of the commit
    (`tests/faults/test_s3_faults.py`) are about nothing else.
    """
    server = shared_ministack()
    with fault_proxy(server.endpoint, seed=7, spared=("PUT",)) as proxy:
        patience = Patience(tries=30, first_s=0.0)
        yield S3Store.at(server.url(uuid.uuid4().hex, proxy.endpoint), patience)


BACKENDS: dict[str, OpenBackend] = {
    "memory": memory,
    "local": local,
    "s3": s3,
    "stormy_s3": stormy_s3,
    "ceph": ceph_s3,
}
