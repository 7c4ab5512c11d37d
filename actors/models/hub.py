"""Models of the hub: resolves a revision to a commit, and fetches files once per machine.

The hub's client reads HF_ENDPOINT, HF_HOME, HF_TOKEN and HF_HUB_OFFLINE.

Invariant: every failure is an error of one line. InputError: the model can't be had. EngineRefused:
this machine can't store it. EngineFailed: the hub may answer the next time. A commit in the cache
needs no request.
"""

from __future__ import annotations

import errno
import re
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path
from typing import Any, TypeVar
from urllib import request
from urllib.error import HTTPError

from huggingface_hub import (
    HfApi,
    constants,
    get_cached_repo_tree,
    snapshot_download,
)
from huggingface_hub.errors import (
    CachedRepoTreeNotFoundError,
    GatedRepoError,
    HfHubHTTPError,
    LocalEntryNotFoundError,
    RemoteEntryNotFoundError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
    RevisionResolutionError,
)
from huggingface_hub.hf_api import RepoFile
from huggingface_hub.utils.tqdm import tqdm

from actors.models.cache import LOOK_S, Tell, Telling, alone, check_space
from actors.models.folder import check_config, check_tokenizer, check_weights
from storage.errors import EngineFailed, EngineRefused, InputError, first_line

ANSWER_S = 10.0
OF_THIS_MACHINE = (errno.ENOSPC, errno.EDQUOT, errno.EACCES, errno.EROFS)
"""Errors of this machine's disk, for which trying again is no use."""
COMMIT = re.compile(r"[0-9a-f]{40}")
BESIDE_WEIGHTS = (".json", ".jinja", ".txt", ".model", ".tiktoken", ".py")
WEIGHTS = (".safetensors", ".bin", ".pt", ".gguf")
"""Endings of weights' files. If a model has several kinds, the first is used."""
DUPLICATES = "consolidated"
"""Beginning of the names of files that repeat the weights in their maker's own layout."""

Answer = TypeVar("Answer")


class _Silent(tqdm):
    """A progress bar that shows nothing; `_watched` reports the bytes."""

    def __init__(self, *given: Any, **named: Any) -> None:
        super().__init__(*given, **named | {"disable": True})  # type: ignore[no-untyped-call]


def commit_of(name: str, revision: str | None) -> str:
    """The current commit of a revision; offline, the one that was last seen.

    Raises InputError and EngineFailed.
    """
    if revision and COMMIT.fullmatch(revision):
        return revision
    offline = unreachable()
    with _explained(name, revision):
        try:
            info = HfApi().resolve_revision(name, revision=revision, local_files_only=bool(offline))
        except RevisionResolutionError as error:
            raise InputError(f"model {name}: {offline or _trouble(error)}") from error
    return info.resolved


def download(name: str, commit: str, tell: Tell, weights: bool = True) -> Path:
    """Fetch a model, or all but its weights, into the cache; return its folder.

    Raises InputError, EngineRefused and EngineFailed.
    """
    folder = Path(constants.HF_HUB_CACHE) / f"models--{name.replace('/', '--')}"
    lock = folder.parent / ".locks" / f"stepmill--{folder.name}--{commit}.lock"
    snapshot = folder / "snapshots" / commit
    if _whole(name, commit, snapshot, weights):
        return snapshot  # before the lock, which a read-only cache does not allow
    with alone(lock, tell):
        if _whole(name, commit, snapshot, weights):
            return snapshot
        files = _asked(name, commit, lambda: chosen(_listed(name, commit), weights))
        if weights and not any(file.path.endswith(WEIGHTS) for file in files):
            raise InputError(f"model {name}: it has no weights (*.safetensors)")
        missing = sum(file.size for file in files if not (snapshot / file.path).exists())
        folder.mkdir(parents=True, exist_ok=True)
        check_space(folder, missing, f"model {name}")
        with _watched(folder / "blobs", Telling(tell, missing)):
            _asked(name, commit, lambda: _snapshot(name, commit, files))
    return snapshot


def weights_bytes(name: str, commit: str) -> int | None:
    """Bytes of a model's weights; None: not known, because nothing of it was downloaded."""
    listed = _cached_list(name, commit)
    return sum(f.size for f in chosen(listed) if f.path.endswith(WEIGHTS)) if listed else None


def chosen(files: Sequence[RepoFile], weights: bool = True) -> list[RepoFile]:
    """The files needed to load a model: those of its top folder, with one kind of weights."""
    here = [file for file in files if "/" not in file.path and not file.path.startswith(DUPLICATES)]
    kinds = [kind for kind in WEIGHTS if any(file.path.endswith(kind) for file in here)]
    endings = (*BESIDE_WEIGHTS, *(kinds[:1] if weights else ()))
    return [file for file in here if file.path.endswith(endings)]


def _whole(name: str, commit: str, snapshot: Path, weights: bool) -> bool:
    listed = _cached_list(name, commit)
    if listed is not None:
        return all((snapshot / file.path).exists() for file in chosen(listed, weights))
    try:  # another program may have filled the cache
        check_config(snapshot)
        check_tokenizer(snapshot)
        if weights:
            check_weights(snapshot)
    except InputError:
        return False
    return True


def _cached_list(name: str, commit: str) -> list[RepoFile] | None:
    try:
        return get_cached_repo_tree(name, revision=commit)
    except CachedRepoTreeNotFoundError:
        return None


def _listed(name: str, commit: str) -> list[RepoFile]:
    if (cached := _cached_list(name, commit)) is not None:
        return cached
    entries = HfApi().list_repo_tree(name, revision=commit, recursive=True)
    return [file for file in entries if isinstance(file, RepoFile)]


def _snapshot(name: str, commit: str, files: list[RepoFile]) -> None:
    snapshot_download(
        name,
        revision=commit,
        allow_patterns=[file.path for file in files],
        tqdm_class=_Silent,
    )


@contextmanager
def _watched(blobs: Path, telling: Telling) -> Iterator[None]:
    """Within this block, report every second how many bytes the folder has gained."""
    before, ended = _bytes_in(blobs), threading.Event()

    def watch() -> None:
        while not ended.wait(LOOK_S):
            telling.at(_bytes_in(blobs) - before)

    thread = threading.Thread(target=watch, name="download", daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()
        telling.at(_bytes_in(blobs) - before)


def _bytes_in(folder: Path) -> int:
    size = 0
    for file in folder.glob("*"):
        try:
            size += file.stat().st_size
        except FileNotFoundError:  # it was just renamed
            continue
    return size


def _asked(name: str, revision: str | None, ask: Callable[[], Answer]) -> Answer:
    """The hub's answer to `ask`. Raises InputError, EngineRefused and EngineFailed."""
    if trouble := unreachable():
        kind = InputError if constants.HF_HUB_OFFLINE else EngineFailed
        raise kind(f"model {name}: {trouble}")
    with _explained(name, revision):
        return ask()


@contextmanager
def _explained(name: str, revision: str | None) -> Iterator[None]:
    try:
        yield
    except GatedRepoError as error:
        advice = "the hub asks for permission: accept its terms there, and set HF_TOKEN"
        raise InputError(f"model {name}: {advice}") from error
    except RevisionNotFoundError as error:
        raise InputError(f"model {name}: the hub has no revision {revision} of it") from error
    except RepositoryNotFoundError as error:
        advice = "the hub has no model of that name (for a private one set HF_TOKEN)"
        raise InputError(f"model {name}: {advice}") from error
    except RemoteEntryNotFoundError as error:
        raise InputError(f"model {name}: it has no {_file_of(error)}") from error
    except (OSError, HfHubHTTPError, LocalEntryNotFoundError) as error:
        if isinstance(error, OSError) and error.errno in OF_THIS_MACHINE:
            raise EngineRefused(f"model {name}: {error}") from error
        raise EngineFailed(f"model {name}: {_trouble(error)}") from error


def _file_of(error: RemoteEntryNotFoundError) -> str:
    url = str(error.response.url) if error.response is not None else ""
    return url.rpartition("/")[2] or "such file"


def _trouble(error: Exception) -> str:
    return f"the hub can't be read: {first_line(error)}"


def unreachable() -> str:
    """Why the hub can't be reached; "" if it can. The hub's client would try for half a minute."""
    if constants.HF_HUB_OFFLINE:
        return "it is not in the hub's cache, and HF_HUB_OFFLINE is set"
    try:
        _reach(constants.ENDPOINT)
    except OSError as error:
        return (
            f"it is not in the hub's cache, and the hub can't be reached ({first_line(error)}): "
            "name a folder instead"
        )
    return ""


@cache  # an error is not cached: the next call tries again
def _reach(endpoint: str) -> None:
    """Raise OSError if the endpoint does not answer."""
    with suppress(HTTPError):  # an error status is an answer too
        request.urlopen(request.Request(endpoint, method="HEAD"), timeout=ANSWER_S).close()
