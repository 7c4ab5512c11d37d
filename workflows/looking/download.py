"""Downloads the dataset of a finished run, or of several, to a folder, in the shape of a view."""

from __future__ import annotations

from collections.abc import Callable, Sequence, Set
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

from actors.stopping import anywhere, awaitable
from storage.datasets import download as stored
from storage.datasets.card import Beside, card_together
from storage.datasets.download import Download
from storage.datasets.view import View
from storage.errors import ConfigurationError
from storage.rows.kinds import EXAMPLES, PATHS
from storage.rows.parquet import sha256_of
from storage.runs.marks import marks_of, wrong_paths
from storage.runs.run import Run
from workflows.runs.several import check_names, shared
from workflows.stages import described
from workflows.views.catalogue import view_of


@anywhere
def download(
    run: Run | Sequence[Run],
    folder: str | Path,
    view: str = "genprm",
    formats: Sequence[str] = ("parquet",),
    progress: Callable[[str, int, int], None] = lambda path, done, total: None,
    reviewed: bool = False,
    repeated: Literal["drop", "keep"] = "drop",
) -> Download:
    """Copy the dataset of a run, or of several as one, and check its digests.

    A repeated call copies only missing files. `formats`: parquet, jsonl or both. `progress` is
    called with (file, files done, files in total). `reviewed`: leave out the paths that a reviewer
    marked wrong. `repeated`: of several runs, what becomes of a solution that an earlier one has
    too. Raises NothingFound for an unfinished run, ConfigurationError for an unknown view or
    format, and for a view in which several runs can't be put together, InputError for a folder with
    other files, ObjectCorrupt.
    """
    runs = [run] if isinstance(run, Run) else list(run)
    wrong = [wrong_paths(marks_of(one)) if reviewed else frozenset() for one in runs]
    views = [view_of(view, one) for one in runs]
    if reviewed:
        views = [marked(shape, paths) for shape, paths in zip(views, wrong, strict=True)]
    stages = [described(one.spec.stages) for one in runs]
    if len(runs) == 1:
        return stored.download(runs[0], Path(folder), views[0], formats, progress, stages[0])
    check_names([one.name for one in runs])
    stored.check_download(Path(folder), formats)
    found = shared(runs, _solutions_of(views[0], view), wrong)
    if repeated == "drop":
        views = [_unrepeated(shape, of.repeated) for shape, of in zip(views, found, strict=True)]
    beside = [
        Beside(
            one.name, one.spec.fingerprint, of.solutions, len(of.repeated), of.problems,
            of.known_problems,
        )
        for one, of in zip(runs, found, strict=True)
    ]  # fmt: skip
    return stored.download_together(
        list(zip(runs, views, stages, strict=True)),
        Path(folder),
        lambda rows: card_together(beside, view_of(view, runs[0]), rows, repeated),
        formats,
        progress,
    )


def _solutions_of(view: View, name: str) -> str:
    """The stage whose rows are the solutions that a view shows. Raises ConfigurationError."""
    for stage in (EXAMPLES.stage, PATHS.stage):
        if stage in view.reads:
            return stage
    raise ConfigurationError(
        f"view {name!r} of several runs: its rows don't say which solutions are the same, so take "
        "one run at a time"
    )


def _unrepeated(view: View, paths: Set[str]) -> View:
    """The view without solutions that another run has; the view itself where there are none."""
    note = f" Without {len(paths):,} solutions that another run has too."
    return without(view, paths, "beside", note) if paths else view


def marked(view: View, paths: Set[str]) -> View:
    """The view without paths that people marked wrong."""
    note = f" Without {len(paths):,} paths that people marked wrong."
    return without(view, paths, "reviewed", note)


def without(view: View, paths: Set[str], why: str, note: str) -> View:
    """The view without the rows of some paths. Its name has a digest of these path_ids.

    `note`: what its title says of it.
    """
    digest = sha256_of("\n".join(sorted(paths)).encode())[:12]

    def rows(*stored: Sequence[Any]) -> Sequence[Any]:
        kept = (
            [row for row in part if getattr(row, "path_id", None) not in paths] for part in stored
        )
        return view.rows(*kept)

    return replace(view, name=f"{view.name}-{why}-{digest}", title=view.title + note, rows=rows)


download_async = awaitable(download)
