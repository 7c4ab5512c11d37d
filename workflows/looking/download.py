"""A finished run's dataset into a folder, in the shape of a view."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from actors.stopping import anywhere, awaitable
from storage.datasets import download as stored
from storage.datasets.download import Download
from storage.runs.run import Run
from workflows.stages import described
from workflows.views.catalogue import view_of


@anywhere
def download(
    run: Run,
    folder: str | Path,
    view: str = "genprm",
    formats: Sequence[str] = ("parquet",),
    progress: Callable[[str, int, int], None] = lambda path, done, total: None,
) -> Download:
    """Copy the dataset, checked; repeating it copies only what is missing.

    `formats`: parquet, jsonl or both; `progress` is told (file, files done, files in all). Raises
    NothingFound for an unfinished run, ConfigurationError for an unknown view or format, InputError
    for a folder that holds something else, ObjectCorrupt.
    """
    shape, stages = view_of(view, run), described(run.spec.stages)
    return stored.download(run, Path(folder), shape, formats, progress, stages)


download_async = awaitable(download)
