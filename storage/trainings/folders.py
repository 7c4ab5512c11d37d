"""The name of a stored folder: one small object that lists its files, with its own digest.

Invariant: a name that was altered is never read as another folder.
"""

from __future__ import annotations

import uuid
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from storage.runs.commits import Writer, signed, unsigned
from storage.trainings.checkpoints import StoredFile


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


def folder_bytes(folder: StoredFolder) -> bytes:
    """Canonical JSON that carries its own digest."""
    return signed(asdict(folder))


def folder_from(key: str, data: bytes) -> StoredFolder:
    """Read what `folder_bytes` wrote. Raises ObjectCorrupt for anything else."""
    return unsigned(StoredFolder, key, data)
