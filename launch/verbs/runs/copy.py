"""The verb `copy`: takes a run to another store, with a bar, and audits it there."""

from __future__ import annotations

import typer
from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn

from launch.verbs.runs.status import audit_run
from storage.objects.store import ObjectStore
from storage.runs.run import Run
from workflows.runs.copying import copy_run


def copy_and_audit(source: Run, store: ObjectStore, name: str) -> bool:
    """Copy a run and audit the copy; return whether it is clean. Raises as `copy_run`."""
    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn())
    console = Console(stderr=True)
    with Progress(*columns, TimeRemainingColumn(), console=console, transient=True) as bar:
        task = bar.add_task(f"copy {source.name}", total=None)
        copied = copy_run(
            source, store, name, lambda done, total: bar.update(task, completed=done, total=total)
        )
    typer.echo(
        f"run {name} is in {store.url}: {copied.objects:,} objects, {copied.bytes:,} bytes, "
        f"{copied.fetched:,} copied now"
    )
    for run in copied.lacking:
        typer.echo(
            f"run {run}, from which it was derived, is not there: the copy is whole without it"
        )
    return audit_run(copied.run, as_json=False)
