"""A repository of the hub: what is there, what is missing, and one commit that brings it.

A large file is sent before the commit and kept by its digest, so a push that was cut short sends
it no second time. The client reads HF_ENDPOINT, HF_TOKEN and the token of `hf auth login`; a token
is never printed.

Invariant: readers see either the commit before or the whole new one. A file that no push of ours
made is neither replaced nor removed, but for the card.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import httpx2
from huggingface_hub import (
    CommitOperationAdd,
    CommitOperationDelete,
    DatasetCard,
    HfApi,
    ModelCard,
    constants,
    get_token,
)
from huggingface_hub.errors import (
    BadRequestError,
    HfHubHTTPError,
    HFValidationError,
    RepositoryNotFoundError,
)
from huggingface_hub.hf_api import RepoFile
from huggingface_hub.utils._validators import validate_repo_id
from huggingface_hub.utils.tqdm import disable_progress_bars

from storage.datasets.hub_card import OURS
from storage.errors import ConfigurationError, StoreUnavailable, first_line

Kind = Literal["dataset", "model"]
CARD = "README.md"
PIECE = 8 * 1024 * 1024
_NAME = re.compile(r"[^/]+/[^/]+")
Progress = Callable[[str, int, int], None]
"""(path of the file just sent, files sent, files to send)."""


@dataclass(frozen=True, slots=True)
class Item:
    """A file as it is to be on the hub."""

    path: str
    size: int
    sha256: str
    blob: str
    """The id that git gives its content."""
    content: Callable[[], bytes | Path]
    """Reads it, or says where it lies."""

    @classmethod
    def of(cls, path: str, data: bytes) -> Item:
        """A file that is in memory."""
        return cls(path, len(data), *digests(len(data), [data]), lambda: data)

    @classmethod
    def at(cls, path: str, file: Path) -> Item:
        """A file on this machine."""
        size = file.stat().st_size
        with open(file, "rb") as stream:
            pieces = iter(lambda: stream.read(PIECE), b"")
            return cls(path, size, *digests(size, pieces), lambda: file)


@dataclass(frozen=True, slots=True)
class Changes:
    """What a push would change."""

    missing: tuple[Item, ...]
    """Files to send; the hub has them not, or otherwise."""
    there: tuple[Item, ...]
    removed: tuple[str, ...]
    """Files of an earlier push that this one lacks."""
    new: bool
    """Whether the repository is not there, or this token does not see it."""


def digests(size: int, pieces: Iterable[bytes]) -> tuple[str, str]:
    """(sha256, the id of its git blob) of a file that comes in pieces."""
    sha256, blob = hashlib.sha256(), hashlib.sha1(b"blob %d\0" % size, usedforsecurity=False)
    for piece in pieces:
        sha256.update(piece)
        blob.update(piece)
    return sha256.hexdigest(), blob.hexdigest()


class Repository:
    """One repository of the hub, by `OWNER/NAME`."""

    def __init__(self, name: str, kind: Kind) -> None:
        """Raises ConfigurationError for a name that the hub could not have."""
        try:
            validate_repo_id(name)
        except HFValidationError as error:
            raise ConfigurationError(
                f"{name!r} is no name of the hub: {first_line(error)}"
            ) from error
        if not _NAME.fullmatch(name):
            raise ConfigurationError(f"{name!r} has no owner: write OWNER/{name}")
        self.name, self.kind = name, kind
        self.api = HfApi()

    @property
    def url(self) -> str:
        """Where a browser finds it."""
        return f"{constants.ENDPOINT}/{'datasets/' if self.kind == 'dataset' else ''}{self.name}"

    def changes(self, items: Sequence[Item], ours: re.Pattern[str]) -> Changes:
        """Compare with what is there; `ours`: paths that a push of this kind makes.

        Raises ConfigurationError for a repository that was not pushed from here, StoreUnavailable.
        """
        with self._explained():
            try:
                info = self.api.repo_info(self.name, repo_type=self.kind)
            except RepositoryNotFoundError:
                return Changes(tuple(items), (), (), new=True)
            tree = self.api.list_repo_tree(self.name, repo_type=self.kind, recursive=True)
            files = {entry.path: entry for entry in tree if isinstance(entry, RepoFile)}
        tags = getattr(getattr(info, "card_data", None), "tags", None) or []
        if files.keys() - {".gitattributes"} and OURS not in tags:
            raise ConfigurationError(
                f"{self.kind} {self.name} is there and was not pushed by stepmill (its card lacks "
                f"the tag `{OURS}`): choose another name"
            )
        there = [item for item in items if _is(files.get(item.path), item)]
        paths = {item.path for item in items}
        return Changes(
            tuple(item for item in items if item not in there),
            tuple(there),
            tuple(sorted(path for path in files.keys() - paths if ours.fullmatch(path))),
            new=False,
        )

    def push(
        self, changes: Changes, card: str, public: bool, message: str, progress: Progress
    ) -> str:
        """Send what is missing, in one commit; return it. Raises as `changes`."""
        if not get_token():
            raise ConfigurationError("the hub asks for a token: `hf auth login`, or set HF_TOKEN")
        disable_progress_bars()
        with self._explained():
            if not changes.missing and not changes.removed:
                return str(self.api.repo_info(self.name, repo_type=self.kind).sha)
            self._check_card(card)
            if changes.new:
                self.api.create_repo(
                    self.name, repo_type=self.kind, private=not public, exist_ok=True
                )
            operations: list[CommitOperationAdd | CommitOperationDelete] = []
            for number, item in enumerate(changes.missing, start=1):
                addition = CommitOperationAdd(item.path, item.content())
                self.api.preupload_lfs_files(self.name, [addition], repo_type=self.kind)
                operations.append(addition)
                progress(item.path, number, len(changes.missing))
            operations += [CommitOperationDelete(path, is_folder=False) for path in changes.removed]
            done = self.api.create_commit(
                self.name, operations, commit_message=message, repo_type=self.kind
            )
        return str(done.oid)

    def _check_card(self, card: str) -> None:
        """Have the hub read the front matter, before anything is sent."""
        kind = DatasetCard if self.kind == "dataset" else ModelCard
        try:
            kind(card).validate(repo_type=self.kind)
        except ValueError as error:
            raise ConfigurationError(f"the hub refuses the card: {first_line(error)}") from error

    @contextmanager
    def _explained(self) -> Iterator[None]:
        what = f"{self.kind} {self.name}"
        try:
            yield
        except RepositoryNotFoundError as error:
            raise ConfigurationError(
                f"{what}: the hub knows none that this token may write to: correct the name, or "
                "take a token that may (`hf auth login`, HF_TOKEN)"
            ) from error
        except HfHubHTTPError as error:
            status = error.response.status_code if error.response is not None else 0
            if status in (401, 403):
                advice = "take one that may write there (`hf auth login`, HF_TOKEN)"
                raise ConfigurationError(f"{what}: the hub refuses the token: {advice}") from error
            if isinstance(error, BadRequestError):
                raise ConfigurationError(
                    f"{what}: the hub refuses it: {first_line(error)}"
                ) from error
            raise StoreUnavailable(f"{what}: the hub answers {status}") from error
        except (OSError, httpx2.HTTPError) as error:
            raise StoreUnavailable(
                f"{what}: the hub can't be reached: {first_line(error)}"
            ) from error


def _is(file: RepoFile | None, item: Item) -> bool:
    if file is None:
        return False
    return file.lfs.sha256 == item.sha256 if file.lfs is not None else file.blob_id == item.blob
