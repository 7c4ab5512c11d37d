"""The verb `push`: a dataset or a model to the Hugging Face Hub, or what would go there.

Invariant: a dry run sends nothing, and needs neither token nor hub.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict

from rich.progress import BarColumn, MofNCompleteColumn, TextColumn

from actors.models.source import TRAINING
from launch.shown.bars import passing
from launch.shown.text import json_line, say
from storage.errors import NothingFound
from storage.objects.opening import open_store
from storage.runs.run import Run
from storage.trainings.training import Training
from workflows.publishing.push import Pushed, push, push_model
from workflows.runs.reading import store_url


def push_named(
    what: str,
    name: str,
    store: str,
    views: Sequence[str],
    licence: str | None,
    languages: Sequence[str],
    dataset: str | None,
    public: bool,
    reviewed: bool,
    dry_run: bool,
    as_json: bool,
) -> None:
    """Push run `what`, or training `training:NAME`, and say what went. Raises as `push`."""
    opened = open_store(store_url(store))
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
    with passing(*columns) as bar:
        task = bar.add_task(f"push {what}", total=None)

        def show(path: str, done: int, total: int) -> None:
            bar.update(task, completed=done, total=total, description=f"push {path}")

        if what.startswith(TRAINING):
            training = Training.find(opened, what.removeprefix(TRAINING))
            if training is None:
                raise NothingFound(f"no {what} in {opened.url}")
            pushed = push_model(
                training, name, licence=licence, dataset=dataset, public=public, dry_run=dry_run,
                progress=show,
            )  # fmt: skip
        else:
            pushed = push(
                Run.open(opened, what), name, views, licence=licence, languages=languages,
                public=public, reviewed=reviewed, dry_run=dry_run, progress=show,
            )  # fmt: skip
    if as_json:
        say(json_line(asdict(pushed)))
    else:
        _show(pushed, public)


def _show(pushed: Pushed, public: bool) -> None:
    if pushed.commit is None:
        visible = "public" if public else "private"
        new = (
            f"a new {visible} {pushed.kind}" if pushed.created else f"{pushed.kind}, which is there"
        )
        seen = f" ({pushed.unseen})" if pushed.unseen else ""
        say(f"{pushed.url}: {new}{seen}; a dry run, nothing was sent")
        groups = (("would send", pushed.sent), ("is there", pushed.there),
                  ("would remove", pushed.removed))  # fmt: skip
        for word, paths in groups:
            for path in paths:
                size = f"{pushed.sizes[path]:>14,} bytes" if path in pushed.sizes else " " * 20
                say(f"{word:>12} {size}  {path}")
        say(f"\n{pushed.card}")
        return
    sent = sum(pushed.sizes[path] for path in pushed.sent)
    say(
        f"{pushed.url}: {len(pushed.sent)} files sent, {sent:,} bytes; {len(pushed.there)} were "
        f"there, {len(pushed.removed)} removed; commit {pushed.commit}"
    )
