"""Downloads a finished run's dataset to a folder, in the shape of a view."""

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
    """Copy the dataset and check its digests. A repeated call copies only missing files.

    `formats`: parquet, jsonl or both. `progress` is called with (file, files done, files in total).
    Raises NothingFound for an unfinished run, ConfigurationError for an unknown view or format,
    InputError for a folder with other files, ObjectCorrupt.
    """
    shape, stages = view_of(view, run), described(run.spec.stages)
    return stored.download(run, Path(folder), shape, formats, progress, stages)


download_async = awaitable(download)
