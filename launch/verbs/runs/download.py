"""The verb `download`: copies finished datasets to a folder, checked, with a progress bar.

Invariant: a file in the folder under its own name is whole. Repeating the command copies only the
files that are missing.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn

from launch.shown.bars import passing
from launch.shown.text import say
from storage.datasets.download import FORMATS
from storage.runs.run import Run
from workflows.looking.download import download


def download_run(
    runs: Sequence[Run],
    dest: Path,
    view: str,
    formats: str,
    reviewed: bool = False,
    repeated: Literal["drop", "keep"] = "drop",
) -> None:
    """Copy one view of the dataset of a run, or of several as one.

    Raises ConfigurationError for an unknown view or format.
    """
    named = FORMATS if formats == "both" else [name.strip() for name in formats.split(",")]
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
    with passing(*columns, TimeRemainingColumn()) as bar:
        task = bar.add_task(f"download {' '.join(run.name for run in runs)}", total=None)

        def show(path: str, done: int, total: int) -> None:
            bar.update(task, completed=done, total=total)

        copied = download(runs, dest, view, named, show, reviewed, repeated)
    say(
        f"{copied.folder}: {copied.rows:,} rows in {len(copied.files)} files, "
        f"{copied.bytes:,} bytes, {copied.fetched} fetched now"
    )
