"""The stores that the contract is tested over: each opens an empty one, by name."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

from storage.local_store import LocalStore
from storage.memory_store import MemoryStore
from storage.stores import ObjectStore, open_store
from tests.contract.s3_servers import shared_ministack

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


BACKENDS: dict[str, OpenBackend] = {"memory": memory, "local": local, "s3": s3}
