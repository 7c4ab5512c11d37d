"""From the name of a model to files on this machine, wherever it is to be had.

    resolved     its name and revision, decided once, when a run or a training is created
    at_hand      all of it on this machine, for an engine or a training
    small_files  all but the weights: configuration, tokenizer, chat template

Invariant: what is fetched is what was resolved, on every machine; a folder is left where it is.
"""

from __future__ import annotations

from dataclasses import replace

from actors.engines.contract import EngineSettings
from actors.models import hub, store
from actors.models.cache import Tell, quiet
from actors.models.source import ModelSource


def resolved(source: ModelSource) -> ModelSource:
    """The source with the commit, or digest, that is there now, unless one is named.

    Raises InputError and NothingFound, in one line.
    """
    if source.stored:
        return replace(source, revision=source.revision or store.digest_of(source))
    if source.on_hub:
        return replace(source, revision=hub.commit_of(source.name, source.revision))
    return source


def at_hand(settings: EngineSettings, tell: Tell = quiet) -> EngineSettings:
    """The settings with model and tokenizer as folders of this machine.

    Blocks for as long as a download takes. Raises InputError, NothingFound and EngineRefused.
    """
    folder = _files(ModelSource(settings.model, settings.revision), tell, weights=True)
    tokenizer = settings.tokenizer
    if tokenizer is not None:
        tokenizer = small_files(tokenizer_of(settings))
    return replace(
        settings, model=folder, revision=None, tokenizer=tokenizer, tokenizer_revision=None
    )


def small_files(source: ModelSource) -> str:
    """A folder of this machine with all of a model but the weights; another name as it is.

    Raises as `at_hand`.
    """
    return _files(source, quiet, weights=False)


def tokenizer_of(settings: EngineSettings) -> ModelSource:
    """Where the tokenizer of an engine comes from."""
    if settings.tokenizer is not None:
        return ModelSource(settings.tokenizer, settings.tokenizer_revision)
    revision = settings.revision if settings.kind == "vllm" else settings.tokenizer_revision
    return ModelSource(settings.model, revision)


def _files(source: ModelSource, tell: Tell, weights: bool) -> str:
    if source.stored:
        get = store.fetched if weights else store.beside_weights
        return str(get(source, tell))
    if source.on_hub:
        commit = hub.commit_of(source.name, source.revision)
        return str(hub.download(source.name, commit, tell, weights))
    return source.name
