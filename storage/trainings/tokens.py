"""Conversations as tokens, stored once beside what they are made of, for all trainings on it.

    {owner}tokens/{key}/shards/{number}.json    create-only: the files of a shard of conversations
    {owner}tokens/{key}/splits/{key}.json       create-only: which of them are trained on
    {owner}tokens/{key}/parts/{digest}          their bytes

`owner` is the run, or the training whose file of conversations it is, and goes with it: tokens can
be made again. `key` is a digest of all that they follow from.

Invariant: a shard is named only after its parts are stored, and never changes. Whoever makes it
makes the same one, so that twins do no harm and whoever continues makes only what is missing.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from storage.errors import NothingFound
from storage.fault_points import fault
from storage.objects.patience import PATIENT, Patience
from storage.objects.store import ObjectStore
from storage.runs.removal import obeyed
from storage.trainings.checkpoints import files_in, part_key, store_files
from storage.trainings.folders import StoredFolder, new_folder, numbers_of, put_folder, read_folder

PART_BYTES = 1 << 20
"""An index of millions of conversations is fetched in pieces, so that it never stands in memory."""


@dataclass(frozen=True, slots=True)
class TokenSet:
    """The shards of one run, or file, under one way of making tokens."""

    store: ObjectStore
    owner: str
    """Prefix of the run or training: `runs/NAME/` or `trainings/NAME/`."""
    key: str
    patience: Patience = PATIENT

    @property
    def prefix(self) -> str:
        """Every key of the set starts with this."""
        return f"{self.owner}tokens/{self.key}/"

    def shards(self) -> set[int]:
        """Numbers of the shards that are stored; one listing of the store."""
        return set(numbers_of(self.store, f"{self.prefix}shards/", 6))

    def shard(self, number: int) -> StoredFolder:
        """What is stored of a shard. Raises NothingFound, ObjectCorrupt."""
        return self._read(f"shards/{number:06d}")

    def put_shard(self, number: int, folder: Path, notes: Mapping[str, Any]) -> StoredFolder:
        """Store the files of a folder as a shard; what stands, these or a twin's."""
        made = self._put(f"shards/{number:06d}", folder, notes)
        fault("after_tokens", f"{number}")
        return made

    def split(self, key: str) -> StoredFolder | None:
        """A stored split; None where there is none."""
        try:
            return self._read(f"splits/{key}")
        except NothingFound:
            return None

    def put_split(self, key: str, folder: Path, notes: Mapping[str, Any]) -> StoredFolder:
        """Store the files of a folder as a split; what stands."""
        return self._put(f"splits/{key}", folder, notes)

    def _read(self, name: str) -> StoredFolder:
        return read_folder(self.store, f"{self.prefix}{name}.json")

    def _put(self, name: str, folder: Path, notes: Mapping[str, Any]) -> StoredFolder:
        """Raises Removed, after what was stored is taken back, and InfrastructureError."""
        key = f"{self.prefix}{name}.json"
        ours = [key]
        with obeyed(self.store, self.owner, lambda: ours):
            files = store_files(
                self.store, self.prefix, folder, files_in(folder), self.patience,
                part_bytes=PART_BYTES,
            )  # fmt: skip
            ours += [part_key(self.prefix, part) for file in files for part in file.parts]
            made = new_folder(files, 0, notes, self.key, "tokens")
            return put_folder(self.store, key, made, self.patience)
