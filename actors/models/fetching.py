"""Turns the name of a model into files on this machine, from a folder, the hub or a store.

    resolved     fixes name and revision, once, when a run or a training is created
    at_hand      fetches the whole model, for an engine or a training
    small_files  fetches all but the weights: configuration, tokenizer, chat template

Invariant: every machine fetches what was resolved. A local folder is used in place.
"""

from __future__ import annotations

from dataclasses import replace

from actors.engines.contract import EngineSettings
from actors.models import store
from actors.models.cache import Tell, quiet
from actors.models.source import ModelSource


def resolved(source: ModelSource) -> ModelSource:
    """The source with a fixed revision: the current commit or digest, unless one is named.

    Raises InputError and NothingFound, in one line.
    """
    if source.stored:
        return replace(source, revision=source.revision or store.digest_of(source))
    if source.on_hub:
        from actors.models import hub  # takes a third of a second to import

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
    """A local folder with all of a model but the weights; other names are returned as they are.

    Raises as `at_hand`.
    """
    return _files(source, quiet, weights=False)


def tokenizer_of(settings: EngineSettings) -> ModelSource:
    """The source of an engine's tokenizer."""
    if settings.tokenizer is not None:
        return ModelSource(settings.tokenizer, settings.tokenizer_revision)
    revision = settings.revision if settings.kind == "vllm" else settings.tokenizer_revision
    return ModelSource(settings.model, revision)


def _files(source: ModelSource, tell: Tell, weights: bool) -> str:
    if source.stored:
        get = store.fetched if weights else store.beside_weights
        return str(get(source, tell))
    if source.on_hub:
        from actors.models import hub

        commit = hub.commit_of(source.name, source.revision)
        return str(hub.download(source.name, commit, tell, weights))
    return source.name
