"""The verbs that keep a store: `runs`, `stop`, `copy` and `remove`."""

from __future__ import annotations

from typing import Annotated

import typer

from launch.cli import options
from storage.objects.opening import open_store
from storage.runs.layout import DEFAULT_STORE
from workflows.runs.reading import store_url

Named = Annotated[
    str, typer.Argument(metavar="RUN", help="Name of the run, or training:NAME for a training.")
]


def runs(store: options.Store = DEFAULT_STORE, as_json: options.Json = False) -> None:
    """List the runs and trainings of a store: what they are, how far, how large, how old."""
    from launch.verbs.runs.listing import list_runs

    list_runs(open_store(store_url(store)), as_json)


def stop(
    run: options.Run,
    store: options.Store = DEFAULT_STORE,
    wait: Annotated[
        bool, typer.Option("--wait/--no-wait", help="Wait until its builds have ended.")
    ] = True,
) -> None:
    """End the builds of a run, wherever they are at work; `build` and `resume` continue it."""
    from launch.verbs.runs.stop import stop_run

    stop_run(options.opened(run, store), wait)


def copy(
    run: Named,
    to: Annotated[str, typer.Option("--to", help="Store to copy it to.")],
    source: Annotated[
        str, typer.Option("--from", envvar="STEPMILL_STORE", help="Store that has it.")
    ] = DEFAULT_STORE,
    name: Annotated[str | None, typer.Option("--as", help="Its name there.")] = None,
) -> None:
    """Copy a run or training to another store, checked there; a repeat copies what is missing."""
    from launch.exits import tell
    from launch.verbs.runs.copy import copy_named

    target = open_store(store_url(to))
    if not copy_named(open_store(store_url(source)), run, target, name):
        tell(f"the copy of {run} in {target.url} is damaged, as said above: check {run} itself")
        raise typer.Exit(3)


def remove(
    run: Named,
    store: options.Store = DEFAULT_STORE,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    free_name: Annotated[
        bool,
        typer.Option("--free-name", help="Make its name free; no process of it may be alive."),
    ] = False,
) -> None:
    """Take a run out of its store, whole, after saying what would go."""
    from launch.verbs.runs.remove import remove_named

    remove_named(open_store(store_url(store)), run, yes, free_name)
