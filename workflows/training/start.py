"""Train: from a finished run to a verifier, started, continued or found finished.

Invariant: everything that decides the model is in the training's spec before any work starts; the
same call starts, continues and repeats.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from actors.machines.fitness import precision_for
from actors.machines.machine import Machine
from actors.models.fetching import resolved, small_files
from actors.models.identity import model_identity
from actors.models.source import ModelSource
from actors.training.job import TrainingJob
from actors.training.memory import ModelShape, memory_plan
from actors.training.settings import LearningSettings, TrainingSettings
from actors.training.tokens import opened
from storage.errors import InputError
from storage.objects.store import ObjectStore
from storage.rows.kinds import EXAMPLES
from storage.rows.parquet import sha256_of
from storage.runs.commits import put_content
from storage.runs.specs import Difference, differences
from storage.trainings.checkpoints import fetch_files, holds
from storage.trainings.folders import StoredFolder
from storage.trainings.training import Training, TrainingSpec
from workflows.settings.recorded import named, read
from workflows.training.corpus import CorpusSource
from workflows.training.mask import masker_for
from workflows.training.record import Dressing
from workflows.training.released import file_of, stored_key
from workflows.training.settings import (
    BetweenRuns,
    DataSettings,
    HeadSettings,
    TrainConfig,
    binding,
)
from workflows.training.sources import RunSource
from workflows.training.taught import teaching

KINDS: Mapping[str, type[Any]] = {
    "learning": LearningSettings,
    "data": DataSettings,
    "head": HeadSettings,
    "between_runs": BetweenRuns,
}
"""Part of a training's settings -> its class."""


def training_of(config: TrainConfig, store: ObjectStore) -> Training:
    """The training of finished runs, or of a file, as it would be started; nothing is written.

    Raises NothingFound for a run that is not there or not finished, InputError for one without
    rows and for a file that can't be read, ConfigurationError for a run without the rows that a
    model of this kind is taught.
    """
    config.check_source()
    names = config.names
    digests = [_run_digest(config, name, store) for name in names]
    if config.conversations is not None:
        digests = [sha256_of(file_of(config.conversations))]
    several = config.is_mixed
    spec = TrainingSpec(
        base=model_identity(config.base_model),
        run=names[0] if len(names) == 1 else "",
        dataset=sha256_of("".join(digests).encode()) if several else digests[0],
        settings=binding(config, template_text(config)),
        runs=tuple(zip(names, digests, strict=True)) if several else (),
    )
    return Training(store, config.training, spec)


def _run_digest(config: TrainConfig, name: str, store: ObjectStore) -> str:
    source = RunSource(store, name, teach=teaching(config.reward, config.head))
    if not source.success.totals[EXAMPLES.stage].rows:
        raise InputError(f"run {name!r} kept no example, so there is nothing to train on")
    _ = source.lessons  # raises where the run lacks the rows for them
    return source.digest


def recalled(config: TrainConfig, begun: Training | None) -> TrainConfig:
    """The configuration with its base named by its store, at the commit, or digest, with which the
    training was `begun`. Nobody is asked.
    """
    source = ModelSource(config.base, config.revision).within(config.store)
    source = source.as_in(begun.spec.base if begun else None)
    return replace(config, base=source.name, revision=source.revision)


def pinned(config: TrainConfig, begun: Training | None) -> TrainConfig:
    """The configuration with the base's commit, or digest, that is there now; a training that was
    `begun` without goes on without. Raises InputError and NothingFound.
    """
    if begun is not None and config.revision is None:
        return config
    return replace(config, revision=resolved(ModelSource(config.base, config.revision)).revision)


def settled(
    config: TrainConfig, machines: Sequence[Machine], begun: Training | None
) -> TrainConfig:
    """The configuration with its precision decided: that of the training as it was `begun`, or
    what suits the machines on which it may run.
    """
    learning = config.learning
    if learning.precision != "auto":
        return config
    precision = begun.spec.settings["learning"]["precision"] if begun else precision_for(machines)
    return replace(config, learning=replace(learning, precision=precision))


def start_training(config: TrainConfig, store: ObjectStore) -> Training:
    """Create the training, or open it where it exists with the same spec. Raises SpecMismatch."""
    made = training_of(config, store)
    training = Training.start(store, made.name, made.spec, compare=differing)
    store_file(config, store, training.spec)
    return training


def differing(stored: TrainingSpec, asked: TrainingSpec) -> list[Difference]:
    """As `differences`, of a stored spec as this version reads it."""
    whole, unknown = read(stored.settings, asked.settings, KINDS)
    return named(differences(replace(stored, settings=whole), asked), unknown)


def store_file(config: TrainConfig, store: ObjectStore, spec: TrainingSpec) -> None:
    """Copy the file of conversations, if there is one, to where workers read it; idempotent."""
    if config.conversations is not None:
        data, digest = file_of(config.conversations), spec.dataset
        put_content(store, stored_key(config.training, config.conversations, digest), data, digest)


def template_text(config: TrainConfig) -> str | None:
    """The other chat template, if one is named. Raises InputError where it can't be read."""
    if config.chat_template is None:
        return None
    try:
        return Path(config.chat_template).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"chat_template {config.chat_template} can't be read: {error}") from None


def source_of(config: TrainConfig, spec: TrainingSpec | None = None) -> CorpusSource:
    """Where the conversations come from; `spec`: the training's, whose digests are then known."""
    dataset = spec.dataset if spec else ""
    file = config.conversations and stored_key(config.training, config.conversations, dataset)
    digests = tuple(digest for _, digest in spec.runs) or (dataset,) if spec else ()
    template = template_text(config)
    return CorpusSource(
        store=config.store,
        run=config.dataset,
        view=config.shape,
        data=config.data,
        template=template,
        file=file,
        runs=config.names if config.is_mixed else (),
        between=config.between_runs,
        digests=digests,
        reward=config.reward,
        head=config.head,
    )


def check_trainable(config: TrainConfig, machines: Sequence[Machine]) -> None:
    """Whether the base model's template and tokenizer can be trained with, and whether the GPUs of
    the `machines` hold the training, in a second or two. `config` is settled.

    Raises UserError.
    """
    files = small_files(ModelSource(config.base, config.revision))
    base = opened(files, source_of(config), config.base)
    if not config.reward.reads:
        masker_for(base.tokenizer, config.data.train_on_code_output)
    if memory := [gpu.memory_bytes for machine in machines for gpu in machine.gpus]:
        micro_tokens = max(base.most_tokens, config.spread.micro_tokens)
        memory_plan(job_settings(config), ModelShape.of(base.config), micro_tokens, min(memory))


def job_settings(config: TrainConfig) -> TrainingSettings:
    """The part of the configuration that the training loop needs."""
    return TrainingSettings(
        learning=config.learning, spread=config.spread, rhythm=config.rhythm, reward=config.reward
    )


def job_of(config: TrainConfig, training: Training) -> TrainingJob:
    """What a worker is given."""
    return TrainingJob(
        store=training.store.url,
        name=training.name,
        spec=training.spec,
        base=config.base_model,
        source=source_of(config, training.spec),
        settings=job_settings(config),
        dress=Dressing(config, training.spec),
    )


def check_out(out: Path, model: StoredFolder | None) -> bool:
    """Whether the model lies in the folder already. Raises InputError where something else does."""
    if model is not None and holds(out, model.files):
        return True
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise InputError(f"{out} holds something else: name another folder, or remove it")
    return False


def write_out(training: Training, model: StoredFolder, out: Path) -> None:
    """Copy the finished model to a folder, unless it lies there."""
    if not check_out(out, model):
        out.parent.mkdir(parents=True, exist_ok=True)
        fetch_files(training.store, training.prefix, model.files, out)
