"""Where a model is to be had: a folder, the hub, or what `train` left in a store.

    ./folder, /folder             on the machine that uses it
    org/name                      the hub's, at a revision
    STORE_URL/trainings/NAME      the model that a training made; `training:NAME` in the run's store

Invariant: pure but for one look at whether a folder is there; nothing is read or fetched.
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
"""The hub's branch where none is named."""


@dataclass(frozen=True, slots=True)
class ModelSource:
    """A model, or a tokenizer, by its name."""

    name: str
    revision: str | None = None
    """Branch, tag or commit of the hub's; digest of the files that a training made. None: what is
    there now."""

    @property
    def folder(self) -> Path | None:
        """The folder on this machine, if it is one."""
        folder = Path(self.name).expanduser()
        return folder if folder.is_dir() else None

    @property
    def stored(self) -> tuple[str, str] | None:
        """URL of a store and name of the training in it, if it is such a model's."""
        match = _STORED.fullmatch(self.name)
        return (match["store"], match["name"]) if match else None

    @property
    def on_hub(self) -> bool:
        """Whether the hub has it, if anybody has."""
        return _HUB_NAME.fullmatch(self.name) is not None and not Path(self.name).exists()

    @property
    def short_name(self) -> str:
        """The name, the same on every machine."""
        return self.stored[1] if self.stored else self.name

    def as_in(self, identity: str | None) -> ModelSource:
        """The source at the revision in an `identity` of the same name that was recorded before,
        unless another revision is asked for.
        """
        name, _, revision = (identity or "").partition("@")
        if name != self.short_name or self.revision not in (None, MAIN):
            return self
        return replace(self, revision=revision or None)

    @property
    def identity(self) -> str:
        """Short name and revision, as far as there is one."""
        return f"{self.short_name}@{self.revision}" if self.revision else self.short_name

    def within(self, store: str) -> ModelSource:
        """`training:NAME` by the URL under which every machine finds it; others as they are.

        Raises InputError for a URL that names a store and no training.
        """
        if self.name.startswith(TRAINING):
            name = self.name.removeprefix(TRAINING)
            return replace(self, name=f"{store.rstrip('/')}/trainings/{name}")
        if "://" in self.name and not self.stored:
            raise InputError(f"model {self.name}: write STORE/trainings/NAME, or training:NAME")
        return self
