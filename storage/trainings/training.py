"""A training: a folder of the object store that holds its spec, data, checkpoints and model.

    trainings/{name}/spec.json                    create-only: what is trained on what, and how
    trainings/{name}/dataset/{digest}.{suffix}    the training data, unless it is a run's
    trainings/{name}/parts/{digest}               content-addressed pieces of files
    trainings/{name}/checkpoints/{step}.json      create-only: the state after so many updates
    trainings/{name}/model.json                   create-only: the finished model; the end

Invariant: a training's spec never changes once stored. A checkpoint is committed only after all of
its files are stored, so a trainer can continue from the newest one. If two trainers commit the same
checkpoint, the first stands and both use it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from storage.errors import NothingFound, ObjectCorrupt
from storage.fault_points import fault
from storage.objects.patience import PATIENT, Patience
from storage.objects.store import ObjectStore
from storage.runs import layout
from storage.runs.commits import canonical_json
from storage.runs.documents import MOST_BYTES, parsed, put_settled, read_as, refuse_newer
from storage.runs.removal import obeyed, refuse_removed
from storage.runs.specs import Difference, differences, refuse
from storage.trainings.checkpoints import Part, StoredFile, part_key
from storage.trainings.folders import StoredFolder, new_folder, numbers_of, put_folder, read_folder

FORMAT = 1
KEPT = 2
"""Checkpoints that are kept while a training goes on: the newest, and one should it be damaged."""


@dataclass(frozen=True, slots=True)
class TrainingSpec:
    """Everything that a trained model depends on, as plain JSON."""

    base: str
    """Identity of the base model: folder name and digest, or its name."""
    run: str
    """Name of the run that is trained on; "": `runs`, or the file `dataset/{digest}`."""
    dataset: str
    """Digest of the run's committed export shards, of those of all runs, or of the file."""
    settings: dict[str, Any]
    format: int = FORMAT
    runs: tuple[tuple[str, str], ...] = ()
    """Where several runs are trained on: (name, digest of its export shards) of each, in order."""

    def to_json(self) -> bytes:
        """The bytes of spec.json; a version that knows one run alone refuses `runs`."""
        body = asdict(self)
        if not self.runs:
            del body["runs"]
        return canonical_json(body)

    @property
    def fingerprint(self) -> str:
        """Digest of the whole spec."""
        return hashlib.sha256(self.to_json()).hexdigest()


@dataclass(frozen=True, slots=True)
class Training:
    """One training of one store."""

    store: ObjectStore
    name: str
    spec: TrainingSpec
    patience: Patience = PATIENT

    @property
    def prefix(self) -> str:
        """Every key of a training starts with this."""
        return f"trainings/{self.name}/"

    @classmethod
    def start(
        cls,
        store: ObjectStore,
        name: str,
        spec: TrainingSpec,
        patience: Patience = PATIENT,
        compare: Callable[[TrainingSpec, TrainingSpec], list[Difference]] = differences,
    ) -> Training:
        """Create the training, or open it if its spec is the same. Raises SpecMismatch, Removed."""
        prefix = f"trainings/{layout.check_run_name(name)}/"
        key = f"{prefix}spec.json"
        with obeyed(store, prefix):
            stored = _spec_from(key, put_settled(store, key, spec.to_json(), patience))
        refuse(
            compare(stored, spec),
            f"training {name!r} was started with other settings or data; take another name",
        )
        return cls(store, name, stored, patience)

    @classmethod
    def find(cls, store: ObjectStore, name: str, patience: Patience = PATIENT) -> Training | None:
        """The training that is stored under this name; None where there is none. Raises Removed."""
        key = f"trainings/{layout.check_run_name(name)}/spec.json"
        refuse_removed(store, f"trainings/{name}/")
        try:
            return cls(store, name, _spec_from(key, store.get(key, MOST_BYTES)), patience)
        except NothingFound:
            return None

    def commit(
        self, files: Sequence[StoredFile], step: int, notes: Mapping[str, Any], final: bool
    ) -> StoredFolder:
        """Commit a folder whose parts are stored; return the standing commit, ours or a twin's.

        Raises Removed, after all that was stored since the removal is taken back.
        """
        folder = new_folder(files, step, notes, self.spec.fingerprint, "trainer")
        key = self._model_key if final else self._checkpoint_key(step)
        fault("before_checkpoint", f"{step}")
        with obeyed(self.store, self.prefix):
            standing = put_folder(self.store, key, folder, self.patience)
        fault("after_checkpoint", f"{step}")
        return standing

    def checkpoints(self) -> list[int]:
        """Steps of the committed checkpoints, in order; one listing of the store."""
        return numbers_of(self.store, f"{self.prefix}checkpoints/", 8)

    def checkpoint(self, step: int) -> StoredFolder:
        """One checkpoint. Raises NothingFound, ObjectCorrupt."""
        return read_folder(self.store, self._checkpoint_key(step))

    def model(self) -> StoredFolder | None:
        """The finished model; None while the training is not finished."""
        try:
            return read_folder(self.store, self._model_key)
        except NothingFound:
            return None

    def drop_checkpoints(self) -> None:
        """Remove the checkpoints of a finished training, and all parts but those of the model.

        Commits are removed first, so a crash in between leaves no checkpoint without its parts.
        """
        model = self.model()
        if model is None:
            raise ValueError(f"training {self.name!r} is not finished")
        kept = {part_key(self.prefix, part) for file in model.files for part in file.parts}
        for folder in ("checkpoints/", "parts/"):
            for entry in list(self.store.list(f"{self.prefix}{folder}")):
                if entry.key not in kept:
                    self.store.delete(entry.key)

    def drop_older(self, kept: int = KEPT) -> None:
        """Remove all checkpoints but the newest ones, and the parts that only they name.

        What nobody names stays: it may be another trainer's, which has not named it yet.
        """
        steps = self.checkpoints()
        old, new = steps[:-kept], steps[-kept:]
        needed = {part for step in new for part in self._parts(step)}
        for step in old:
            parts = self._parts(step)
            self.store.delete(self._checkpoint_key(step))
            for part in parts - needed:
                self.store.delete(part_key(self.prefix, part))

    def _parts(self, step: int) -> set[Part]:
        """The parts of a checkpoint; none of one that can't be read."""
        try:
            return {part for file in self.checkpoint(step).files for part in file.parts}
        except (ObjectCorrupt, NothingFound):
            return set()

    @property
    def _model_key(self) -> str:
        return f"{self.prefix}model.json"

    def _checkpoint_key(self, step: int) -> str:
        return f"{self.prefix}checkpoints/{step:08d}.json"


def _spec_from(key: str, data: bytes) -> TrainingSpec:
    body = parsed(key, data)
    spec = read_as(TrainingSpec, key, body)
    refuse_newer(TrainingSpec, key, body)
    return spec
