"""Fetches the models that `train` stored, once per machine.

The machine's cache holds a model's files under the digest of all of them, so two models of one name
are never confused. Tokenizer and configuration can be fetched without the weights, because they are
read long before an engine is opened.

Invariant: a folder in the cache is complete, and the digest of every part was checked.
"""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from functools import cache
from pathlib import Path, PurePath

from actors.models.cache import Tell, Telling, alone, cache_folder, check_space
from actors.models.folder import WEIGHTS
from actors.models.source import ModelSource
from storage.errors import NothingFound
from storage.objects.opening import open_store
from storage.trainings.checkpoints import StoredFile, fetch_files, folder_digest
from storage.trainings.folders import StoredFolder
from storage.trainings.training import Training

DIGITS = 16
"""Digits of a model's digest that name its folder."""


def digest_of(source: ModelSource) -> str:
    """Digest of all files of a stored model. Raises NothingFound."""
    return _digest(_opened(source)[1].files)


def weights_bytes(source: ModelSource) -> int:
    """Bytes of a model's weights."""
    return sum(file.bytes for file in _opened(source)[1].files if _weighs(file))


def fetched(source: ModelSource, tell: Tell) -> Path:
    """The model's folder on this machine. Raises NothingFound, EngineRefused, ObjectCorrupt."""
    return _fetched(source, _opened(source)[1].files, tell)


def beside_weights(source: ModelSource, tell: Tell) -> Path:
    """A folder with all of the model but the weights. Raises as `fetched`."""
    files = [file for file in _opened(source)[1].files if not _weighs(file)]
    return _fetched(source, files, tell)


@cache
def _opened(source: ModelSource) -> tuple[Training, StoredFolder]:
    """The training and its model, which never changes. Raises NothingFound."""
    assert source.stored is not None
    url, name = source.stored
    training = Training.find(open_store(url), name)
    if training is None:
        raise NothingFound(f"no training {name!r} in {url}, which is to give the model")
    model = training.model()
    if model is None:
        raise NothingFound(f"training {name!r} in {url} is not finished: continue it first")
    if source.revision and _digest(model.files) != source.revision:
        raise NothingFound(
            f"training {name!r} in {url} holds another model than this began with "
            f"({source.identity}): train that one again, or take another name"
        )
    return training, model


def _fetched(source: ModelSource, files: Sequence[StoredFile], tell: Tell) -> Path:
    training, _ = _opened(source)
    root = cache_folder()
    folder = root / f"{training.name}-{_digest(files)}"
    if _stands(folder, files):
        return folder
    with alone(root / f".{folder.name}.lock", tell):
        if not _stands(folder, files):
            shutil.rmtree(folder, ignore_errors=True)
            total = sum(file.bytes for file in files)
            check_space(root, total, f"model {training.name}")
            telling = Telling(tell, total)
            fetch_files(training.store, training.prefix, files, folder, telling.moved)
    return folder


def _digest(files: Sequence[StoredFile]) -> str:
    return folder_digest(files)[:DIGITS]


def _stands(folder: Path, files: Sequence[StoredFile]) -> bool:
    """Whether all files of a fetched folder are still there."""
    try:
        return all((folder / file.path).stat().st_size == file.bytes for file in files)
    except OSError:
        return False


def _weighs(file: StoredFile) -> bool:
    return any(PurePath(file.path).match(kind) for kind in WEIGHTS)
