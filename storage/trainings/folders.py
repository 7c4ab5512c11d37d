"""The name of a stored folder: one small object that lists its files, with its own digest.

Invariant: a name that was altered is never read as another folder.
"""

from __future__ import annotations

import hashlib
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from storage.errors import ObjectCorrupt
from storage.runs.commits import Writer, canonical_json
from storage.runs.documents import parsed, read_as
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
    body = asdict(folder)
    return canonical_json({**body, "digest": hashlib.sha256(canonical_json(body)).hexdigest()})


def folder_from(key: str, data: bytes) -> StoredFolder:
    """Read what `folder_bytes` wrote. Raises ObjectCorrupt for anything else."""
    body = parsed(key, data)
    claimed = body.pop("digest", None)
    try:
        digest = hashlib.sha256(canonical_json(body)).hexdigest()
    except ValueError as error:
        raise ObjectCorrupt(f"{key} names no folder: {error}") from None
    if digest != claimed:
        raise ObjectCorrupt(f"{key} is damaged: its digest is not that of its content")
    return read_as(StoredFolder, key, body)
