"""The commit of a stored folder: one small object that lists its files, with its own digest.

Invariant: a commit that was altered is never read as another folder. Whoever may write to the store
may sign one as well: no path of a folder that was read leads out of where it is written to.
"""

from __future__ import annotations

import re
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from storage.errors import ObjectCorrupt
from storage.objects.patience import Patience
from storage.objects.store import ObjectStore
from storage.runs.commits import DIGEST, Writer, signed, unsigned
from storage.runs.documents import MOST_BYTES, put_settled
from storage.trainings.checkpoints import StoredFile

MOST_PART_BYTES = 1 << 40
"""Far more than a part has."""


@dataclass(frozen=True, slots=True)
class StoredFolder:
    """A commit: the files of a checkpoint, of the finished model, or of a shard of tokens."""

    step: int
    """Updates made; 0 of tokens."""
    files: tuple[StoredFile, ...]
    notes: dict[str, Any]
    """Measured values and counts, by name."""
    spec: str
    """Fingerprint of the training's spec; of tokens, the key of their set."""
    attempt: str
    writer: Writer

    @property
    def bytes(self) -> int:
        """Size of its files together."""
        return sum(file.bytes for file in self.files)

    def counts(self, name: str) -> dict[str, int]:
        """The note of that name, which holds counts. Raises ObjectCorrupt."""
        found = self.notes.get(name)
        if not isinstance(found, dict) or not all(isinstance(n, int) for n in found.values()):
            raise ObjectCorrupt(f"what is stored of {self.spec:.20} has no {name} among its notes")
        return found


def new_folder(
    files: Sequence[StoredFile], step: int, notes: Mapping[str, Any], spec: str, role: str
) -> StoredFolder:
    """A commit of this process."""
    return StoredFolder(
        step=step,
        files=tuple(sorted(files, key=lambda file: file.path)),
        notes=dict(notes),
        spec=spec,
        attempt=uuid.uuid4().hex,
        writer=Writer.here(role),
    )


def put_folder(
    store: ObjectStore, key: str, folder: StoredFolder, patience: Patience
) -> StoredFolder:
    """Store a commit, create-only; what stands, this one or a twin's."""
    return _folder_from(key, put_settled(store, key, signed(asdict(folder)), patience))


def read_folder(store: ObjectStore, key: str) -> StoredFolder:
    """Read what `put_folder` stored. Raises NothingFound, and ObjectCorrupt for anything else."""
    return _folder_from(key, store.get(key, MOST_BYTES))


def _folder_from(key: str, data: bytes) -> StoredFolder:
    folder = unsigned(StoredFolder, key, data)
    for file in folder.files:
        if "\0" in file.path or any(name in ("", ".", "..") for name in file.path.split("/")):
            raise ObjectCorrupt(f"{key} names a file outside of its folder: {file.path!r:.90}")
        for part in file.parts:
            if not DIGEST.fullmatch(part.sha256) or not 0 <= part.bytes <= MOST_PART_BYTES:
                raise ObjectCorrupt(f"{key} names no part of {file.path!r:.60}: {part!r:.90}")
    return folder


def numbers_of(store: ObjectStore, prefix: str, digits: int) -> list[int]:
    """Numbers of the commits below a prefix, in order, of so many digits or more; one listing."""
    names = (entry.key.rpartition("/")[2] for entry in store.list(prefix))
    matches = (re.fullmatch(rf"(\d{{{digits},}})\.json", name) for name in names)
    return sorted(int(match.group(1)) for match in matches if match)
