"""Downloads a finished run's dataset to a folder, in the shape of a view."""

from __future__ import annotations

from collections.abc import Callable, Sequence, Set
from dataclasses import replace
from pathlib import Path
from typing import Any

from actors.stopping import anywhere, awaitable
from storage.datasets import download as stored
from storage.datasets.download import Download
from storage.datasets.view import View
from storage.rows.parquet import sha256_of
from storage.runs.marks import marks_of, wrong_paths
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
    reviewed: bool = False,
) -> Download:
    """Copy the dataset and check its digests. A repeated call copies only missing files.

    `formats`: parquet, jsonl or both. `progress` is called with (file, files done, files in total).
    `reviewed`: leave out the paths that a reviewer marked wrong. Raises NothingFound for an
    unfinished run, ConfigurationError for an unknown view or format, InputError for a folder with
    other files, ObjectCorrupt.
    """
    shape, stages = view_of(view, run), described(run.spec.stages)
    if reviewed:
        shape = without(shape, wrong_paths(marks_of(run)))
    return stored.download(run, Path(folder), shape, formats, progress, stages)


def without(view: View, paths: Set[str]) -> View:
    """The view without the rows of some paths. Its name has a digest of these path_ids."""
    digest = sha256_of("\n".join(sorted(paths)).encode())[:12]

    def rows(*stored: Sequence[Any]) -> Sequence[Any]:
        kept = (
            [row for row in part if getattr(row, "path_id", None) not in paths] for part in stored
        )
        return view.rows(*kept)

    note = f" Without {len(paths):,} paths that people marked wrong."
    return replace(view, name=f"{view.name}-reviewed-{digest}", title=view.title + note, rows=rows)


download_async = awaitable(download)
