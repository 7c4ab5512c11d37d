"""The verb `download`: a finished dataset into a folder, checked, with a progress bar.

Invariant: a file that stands in the folder under its own name is whole; repeating the command
copies only what is missing.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from storage.runs.run import Run
from workflows.looking.download import download


def download_run(
    run: Run, dest: Path, view: str, formats: Sequence[str], reviewed: bool = False
) -> None:
    """Copy one view of the dataset. Raises ConfigurationError for an unknown view or format."""
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
    console = Console(stderr=True)
    with Progress(*columns, TimeRemainingColumn(), console=console, transient=True) as bar:
        task = bar.add_task(f"download {run.name}", total=None)

        def show(path: str, done: int, total: int) -> None:
            bar.update(task, completed=done, total=total)

        found = download(run, dest, view, formats, show, reviewed)
    typer.echo(
        f"{found.folder}: {found.rows:,} rows in {len(found.files)} files, "
        f"{found.bytes:,} bytes, {found.fetched} fetched now"
    )
