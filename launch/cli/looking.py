"""The verbs that look into runs: `why`, `show`, `noise` and `browse`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from launch.cli import options
from storage.runs.layout import DEFAULT_STORE


def why(
    run: options.Run,
    path_id: Annotated[str, typer.Argument(metavar="PATH", help="Id of a path, e.g. p17#4.")],
    store: options.Store = DEFAULT_STORE,
    as_json: options.Json = False,
) -> None:
    """What became of one path, and all that is stored of it."""
    from launch.verbs.looking.paths import show_why

    show_why(options.opened(run, store), path_id, as_json)


def show(
    run: options.Run,
    store: options.Store = DEFAULT_STORE,
    reason: Annotated[
        list[str] | None, typer.Option("--reason", help="Dropped for it, e.g. index_mismatch.")
    ] = None,
    stage: Annotated[list[str] | None, typer.Option("--stage", help="Ended there.")] = None,
    where: Annotated[
        list[str] | None,
        typer.Option("--where", metavar="NAME=VALUE", help="E.g. level=5, tokens=200-400."),
    ] = None,
    text: Annotated[str, typer.Option("--text", help="Stands in one of its texts.")] = "",
    limit: Annotated[int, typer.Option("--limit", min=1, help="At most so many.")] = 10,
    as_json: options.Json = False,
) -> None:
    """Print paths, kept and dropped, with their steps, labels and reasons."""
    from launch.verbs.looking.paths import asked_for, show_paths

    filters = asked_for(where or (), reason=reason or (), stage=stage or ())
    show_paths(options.opened(run, store), filters, text, limit, as_json)


def noise(
    run: options.Run, store: options.Store = DEFAULT_STORE, as_json: options.Json = False
) -> None:
    """How noisy a run's labels are, and which problems its filters lost."""
    from launch.verbs.looking.noise import show_noise

    show_noise(options.opened(run, store), as_json)


def browse(
    runs: Annotated[list[str], typer.Argument(metavar="RUN...", help="One run, or several.")],
    store: options.Store = DEFAULT_STORE,
    port: Annotated[int, typer.Option("--port", min=0, max=65535, help="0: a free one.")] = 0,
    person: Annotated[
        str | None, typer.Option("--as", help="Name under which marks are made.")
    ] = None,
    opened: Annotated[
        bool, typer.Option("--open/--no-open", help="Open a browser where there is a screen.")
    ] = True,
    out: Annotated[
        Path | None, typer.Option("--out", help="Write static files to this folder instead.")
    ] = None,
) -> None:
    """Show runs in a browser: figures, lists, every path; and mark examples right or wrong."""
    from launch.verbs.looking.browse import browse as serve
    from launch.verbs.looking.browse import write_copy

    if out is not None:
        return write_copy([options.opened(run, store) for run in runs], out)
    serve([options.opened(run, store) for run in runs], port, person, opened)
