"""The verb `download`: copies a finished dataset to a folder, checked, with a progress bar.

Invariant: a file in the folder under its own name is whole. Repeating the command copies only the
files that are missing.
"""

from __future__ import annotations

from pathlib import Path

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from storage.datasets.download import FORMATS
from storage.runs.run import Run
from workflows.looking.download import download


def download_run(run: Run, dest: Path, view: str, formats: str, reviewed: bool = False) -> None:
    """Copy one view of the dataset. Raises ConfigurationError for an unknown view or format."""
    named = FORMATS if formats == "both" else [name.strip() for name in formats.split(",")]
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
    console = Console(stderr=True)
    with Progress(*columns, TimeRemainingColumn(), console=console, transient=True) as bar:
        task = bar.add_task(f"download {run.name}", total=None)

        def show(path: str, done: int, total: int) -> None:
            bar.update(task, completed=done, total=total)

        copied = download(run, dest, view, named, show, reviewed)
    typer.echo(
        f"{copied.folder}: {copied.rows:,} rows in {len(copied.files)} files, "
        f"{copied.bytes:,} bytes, {copied.fetched} fetched now"
    )
