"""Pushes a finished run's dataset, or a training's model, to the Hugging Face Hub.

    VIEW/train-*.parquet   one configuration of the dataset a view
    VIEW/chat_template.jinja
    plots/*.png
    README.md              card; its front matter names the configurations

A model's files are those of its folder, with a card that also names licence, base and dataset.

Invariant: what is sent are the bytes that the store holds, their digests checked; card and pictures
follow from the run and the arguments.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
from huggingface_hub import HfApi, ModelCard

from actors.models.source import ModelSource
from actors.stopping import anywhere, awaitable
from storage.datasets.card import figures
from storage.datasets.dataset import DatasetFile, assemble, read_file
from storage.datasets.hub_card import OURS, HubView, Licence, hub_card, hub_view
from storage.datasets.view import CHAT_TEMPLATE, View
from storage.errors import ConfigurationError, NothingFound, StoreUnavailable
from storage.runs.marks import marks_of, wrong_paths
from storage.runs.origin import origin_run
from storage.runs.pilot_record import pilot_record
from storage.runs.run import Run
from storage.trainings.training import Training
from workflows.looking.download import marked
from workflows.publishing.licences import (
    HUB_LICENCES,
    check_licence,
    licence_of_model,
    licence_of_problems,
)
from workflows.publishing.plots import FOLDER as PLOTS
from workflows.publishing.plots import plots_of
from workflows.publishing.repository import CARD, Changes, Item, Kind, Progress, Repository
from workflows.runs.starting import stored_configuration
from workflows.stages import described
from workflows.training.run import MODELS
from workflows.training.start import write_out
from workflows.views.catalogue import view_of

DATASET_FILES = re.compile(
    rf"[^/]+/(train-\d+-of-\d+-\w+\.parquet|{CHAT_TEMPLATE})|{PLOTS}/.+\.png"
)
MODEL_FILES = re.compile(r"[^/]+\.safetensors(\.index\.json)?|training/.+")
LANGUAGE = re.compile(r"[a-z]{2,3}|code|multilingual")


@dataclass(frozen=True, slots=True)
class Pushed:
    """What went to the hub, or would go."""

    kind: Kind
    name: str
    url: str
    commit: str | None
    """The commit on the hub; None: a dry run."""
    sent: tuple[str, ...]
    """Paths of the files that the hub lacked."""
    there: tuple[str, ...]
    removed: tuple[str, ...]
    sizes: dict[str, int]
    """Path -> bytes."""
    created: bool
    """Whether the repository is new."""
    card: str
    unseen: str | None = None
    """Why a dry run could not see what is there; None: it saw."""


@anywhere
def push(
    run: Run,
    name: str,
    views: Sequence[str] = ("genprm",),
    *,
    licence: str | None = None,
    languages: Sequence[str] = ("en",),
    public: bool = False,
    reviewed: bool = False,
    dry_run: bool = False,
    progress: Progress = lambda path, done, total: None,
) -> Pushed:
    """Push a finished run's dataset to `OWNER/NAME`; a repeated push sends what is missing.

    `views`: configurations of the dataset, the default first. A new repository is private unless
    `public`. Raises NothingFound for an unfinished run, ConfigurationError, StoreUnavailable.
    """
    word = check_licence(licence)
    if unknown := [code for code in languages if not LANGUAGE.fullmatch(code)]:
        raise ConfigurationError(f"language {unknown[0]!r} is no code of two or three letters: en")
    repository = Repository(name, "dataset")
    success = run.success()
    if success is None:
        raise NothingFound(f"run {run.name!r} is not finished: resume it first")
    stages = described(run.spec.stages)
    shown: list[HubView] = []
    items: list[Item] = []
    for number, view_name in enumerate(dict.fromkeys(views)):
        view = _shape(run, view_name, reviewed)
        files = assemble(run, view, stages)
        more, rows = _items(run, view, view_name, files)
        items += more
        shown.append(hub_view(view, view_name, rows, name, first=number == 0))
    plots = plots_of(run, success, stages)
    known = figures(run.spec, success, stages, origin_run(run), pilot_record(run.store, run.name))
    licences = _licences(run, repository.api)
    card = hub_card(name, run.name, shown, word, languages, licences, plots, known)
    items += [Item.of(plot.path, plot.data) for plot in plots]
    message = f"Dataset of run {run.name}"
    return _pushed(repository, items, card, DATASET_FILES, public, dry_run, message, progress)


@anywhere
def push_model(
    training: Training,
    name: str,
    *,
    licence: str | None = None,
    dataset: str | None = None,
    public: bool = False,
    dry_run: bool = False,
    folder: Path | None = None,
    progress: Progress = lambda path, done, total: None,
) -> Pushed:
    """Push a finished training's model to `OWNER/NAME`. Raises as `push`.

    `dataset`: name on the hub of what it was trained on, for the card. `folder`: where its files
    lie, or are copied to first; None: where `train` puts them.
    """
    word = check_licence(licence)
    repository = Repository(name, "model")
    model = training.model()
    if model is None:
        raise NothingFound(f"training {training.name!r} is not finished: run `train` first")
    at = folder or MODELS / training.name
    write_out(training, model, at)
    items = [Item.at(file.path, at / file.path) for file in model.files if file.path != CARD]
    base = ModelSource(training.spec.base.partition("@")[0])
    card = ModelCard((at / CARD).read_text(encoding="utf-8"))
    said = word if licence else licence_of_model(base, repository.api)
    card.data["license"] = said if said in HUB_LICENCES else "other"
    if said not in HUB_LICENCES:
        card.data["license_name"] = said
    card.data["tags"] = sorted({*(card.data.get("tags") or ()), OURS})
    card.data["library_name"] = "transformers"
    card.data["pipeline_tag"] = "text-generation"
    if base.on_hub:
        card.data["base_model"] = base.name
    if dataset:
        card.data["datasets"] = [dataset]
    message = f"Model of training {training.name}"
    return _pushed(
        repository, items, str(card), MODEL_FILES, public, dry_run, message, progress
    )  # fmt: skip


push_async = awaitable(push)
push_model_async = awaitable(push_model)


def _pushed(
    repository: Repository,
    items: Sequence[Item],
    card: str,
    ours: re.Pattern[str],
    public: bool,
    dry_run: bool,
    message: str,
    progress: Progress,
) -> Pushed:
    whole = [*items, Item.of(CARD, card.encode("utf-8", "replace"))]
    commit = unseen = None
    try:
        changes = repository.changes(whole, ours)
    except StoreUnavailable as error:
        if not dry_run:
            raise
        changes, unseen = Changes(tuple(whole), (), (), new=True), str(error)
    if not dry_run:
        commit = repository.push(changes, card, public, message, progress)
    return Pushed(
        repository.kind,
        repository.name,
        repository.url,
        commit,
        tuple(item.path for item in changes.missing),
        tuple(item.path for item in changes.there),
        changes.removed,
        {item.path: item.size for item in whole},
        changes.new,
        card,
        unseen,
    )


def _shape(run: Run, name: str, reviewed: bool) -> View:
    view = view_of(name, run)
    return marked(view, wrong_paths(marks_of(run))) if reviewed else view


def _items(run: Run, view: View, name: str, files: Sequence[DatasetFile]) -> tuple[list[Item], int]:
    """(the files of one view as they are to be on the hub, its rows); one file is in memory."""
    items: list[Item] = []
    rows = 0
    for file in files:
        if file.path == CARD:
            continue
        data = read_file(run, view.name, file)
        if file.path.endswith(".parquet"):
            rows += pq.read_metadata(pa.BufferReader(data)).num_rows
        item = Item.of(f"{name}/{Path(file.path).name}", data)
        items.append(replace(item, content=partial(read_file, run, view.name, file)))
    return items, rows


def _licences(run: Run, api: HfApi) -> list[Licence]:
    """The licences of the run's problems and models, as far as their owners say them."""
    try:
        stored = stored_configuration(run.store, run.name)
    except NothingFound:  # made from Python, without a configuration
        stored = {}
    problems = str(stored.get("problems") or "")
    given = f"problems with digest {run.spec.input_digest[:12]}"
    shown = problems if "://" in problems else Path(problems).name or given
    licences = [Licence("problems", shown, licence_of_problems(problems, api))]
    models = stored.get("models") or {}
    for role, identity in sorted(run.spec.models.items()):
        settings = models.get(role) or {}
        source = ModelSource(str(settings.get("model") or identity.partition("@")[0]))
        licences.append(Licence(role, identity, licence_of_model(source, api)))
    return licences
