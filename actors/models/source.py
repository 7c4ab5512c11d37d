"""The source of a model: a folder, the hub, or a training in a store.

    ./folder, /folder             on the machine that uses it
    org/name                      the hub's, at a revision
    STORE_URL/trainings/NAME      the model that a training made; `training:NAME` in the run's store

Invariant: the only input is whether a folder exists. Nothing is read or fetched.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from pathlib import Path

from storage.errors import InputError

_HUB_NAME = re.compile(r"[A-Za-z0-9][\w.-]*/[\w.-]+")
TRAINING = "training:"
_STORED = re.compile(r"(?P<store>.+://.*)/trainings/(?P<name>[^/]+)/?")
MAIN = "main"
"""The hub's default branch."""


@dataclass(frozen=True, slots=True)
class ModelSource:
    """A model, or a tokenizer, by its name."""

    name: str
    revision: str | None = None
    """For the hub a branch, tag or commit; for a training the digest of its files. None: the
    current one."""

    @property
    def folder(self) -> Path | None:
        """The folder on this machine; None if the model is not a folder."""
        folder = Path(self.name).expanduser()
        return folder if folder.is_dir() else None

    @property
    def stored(self) -> tuple[str, str] | None:
        """(URL of the store, name of the training); None for other models."""
        match = _STORED.fullmatch(self.name)
        return (match["store"], match["name"]) if match else None

    @property
    def on_hub(self) -> bool:
        """Whether the name is one of the hub, and no local path."""
        return _HUB_NAME.fullmatch(self.name) is not None and not Path(self.name).exists()

    @property
    def short_name(self) -> str:
        """The name, which is the same on every machine."""
        return self.stored[1] if self.stored else self.name

    def as_in(self, identity: str | None) -> ModelSource:
        """The source at the revision of a recorded `identity`, if that has the same name and the
        source names no revision itself.
        """
        name, _, revision = (identity or "").partition("@")
        if name != self.short_name or self.revision not in (None, MAIN):
            return self
        return replace(self, revision=revision or None)

    @property
    def identity(self) -> str:
        """Short name and, if there is one, revision."""
        return f"{self.short_name}@{self.revision}" if self.revision else self.short_name

    def within(self, store: str) -> ModelSource:
        """The source with `training:NAME` as a URL of `store`, for every machine; else unchanged.

        Raises InputError for a URL that names a store and no training.
        """
        if self.name.startswith(TRAINING):
            name = self.name.removeprefix(TRAINING)
            return replace(self, name=f"{store.rstrip('/')}/trainings/{name}")
        if "://" in self.name and not self.stored:
            raise InputError(f"model {self.name}: write STORE/trainings/NAME, or training:NAME")
        return self
