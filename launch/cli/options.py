"""Options and arguments that several verbs share."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from storage.objects.opening import open_store
from workflows.runs.reading import store_url

if TYPE_CHECKING:
    from storage.runs.run import Run as StoredRun

Config = Annotated[Path, typer.Argument(metavar="CONFIG", help="Configuration file (YAML).")]
Run = Annotated[str, typer.Argument(metavar="RUN", help="Name of the run.")]
RunName = Annotated[str | None, typer.Option("--run", help="Name of the run.")]
Source = Annotated[
    str | None,
    typer.Option("--from", help="Run whose shards are taken over where settings are equal."),
]
Store = Annotated[
    str,
    typer.Option(
        "--store", envvar="STEPMILL_STORE", help="Object store: file:FOLDER or s3://BUCKET/PREFIX."
    ),
]
OtherStore = Annotated[
    str | None,
    typer.Option("--store", help="Object store instead of the configuration's."),
]
"""Where neither names one, it is that of `workflows.runs.reading.usual_store`."""
Problems = Annotated[
    str | None, typer.Option("--problems", help="File of problems instead of the one named.")
]
MostProblems = Annotated[int | None, typer.Option("--limit", help="Only so many problems.")]
Address = Annotated[str | None, typer.Option("--address", help="Ray cluster to join, e.g. auto.")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON for scripts.")]

# Options of the verbs of a verifier.
Model = Annotated[
    str,
    typer.Argument(
        metavar="MODEL",
        help="A verifier: FOLDER, training:NAME, ORG/NAME[@REVISION], or its name at --url.",
    ),
]
Responses = Annotated[
    Path, typer.Argument(metavar="FILE", help="Responses: a file or folder in ProcessBench's form.")
]
Mode = Annotated[str, typer.Option("--mode", help="full, cot, code, code_not_run or direct.")]
Settings = Annotated[
    Path | None, typer.Option("--config", help="Further settings (YAML): `stepmill docs scoring`.")
]
Set = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        metavar="KEY=VALUE",
        help="A setting by its dotted name, as --config has it; may be repeated.",
    ),
]
Limit = Annotated[int | None, typer.Option("--limit", help="Only so many responses.")]
Seed = Annotated[int | None, typer.Option("--seed", help="Seed of the samples.")]
Url = Annotated[
    str | None, typer.Option("--url", help="OpenAI-compatible server that has the model.")
]


def opened(run: str, store: str) -> StoredRun:
    """Open the run of this name in a store. Raises NothingFound and ConfigurationError."""
    from storage.runs.run import Run as StoredRun  # Arrow takes a while to import

    return StoredRun.open(open_store(store_url(store)), run)
