"""A finished run's dataset into a folder, in the shape of a view."""

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
    """Copy the dataset, checked; repeating it copies only what is missing.

    `formats`: parquet, jsonl or both; `progress` is told (file, files done, files in all);
    `reviewed`: without the paths that somebody marked wrong. Raises
    NothingFound for an unfinished run, ConfigurationError for an unknown view or format, InputError
    for a folder that holds something else, ObjectCorrupt.
    """
    shape, stages = view_of(view, run), described(run.spec.stages)
    if reviewed:
        shape = without(shape, wrong_paths(marks_of(run)))
    return stored.download(run, Path(folder), shape, formats, progress, stages)


def without(view: View, paths: Set[str]) -> View:
    """The same view of the other paths; its name says of which set of paths it is."""
    digest = sha256_of("\n".join(sorted(paths)).encode())[:12]

    def is_out(row: Any) -> bool:
        return getattr(row, "path_id", None) in paths

    def rows(*stored: Sequence[Any]) -> Sequence[Any]:
        kept = (
            [row for row in part if getattr(row, "path_id", None) not in paths] for part in stored
        )
        return view.rows(*kept)

    said = f" Without {len(paths):,} paths that people marked wrong."
    return replace(view, name=f"{view.name}-reviewed-{digest}", title=view.title + said, rows=rows)


download_async = awaitable(download)
