"""The verb `push`."""

from __future__ import annotations

from typing import Annotated

import typer

from launch.cli import options
from storage.runs.layout import DEFAULT_STORE


def push(
    what: Annotated[
        str, typer.Argument(metavar="RUN", help="Name of a finished run, or training:NAME.")
    ],
    name: Annotated[str, typer.Argument(metavar="NAME", help="OWNER/NAME on the hub.")],
    store: options.Store = DEFAULT_STORE,
    view: Annotated[
        list[str] | None,
        typer.Option(
            "--view", help="A configuration of the dataset; repeat it, the default first."
        ),
    ] = None,
    licence: Annotated[
        str | None,
        typer.Option("--licence", "--license", help="The hub's word, e.g. cc-by-4.0."),
    ] = None,
    language: Annotated[
        list[str] | None, typer.Option("--language", help="Code of two or three letters: en.")
    ] = None,
    dataset: Annotated[
        str | None, typer.Option("--dataset", help="Of a model: OWNER/NAME that it was trained on.")
    ] = None,
    public: Annotated[
        bool, typer.Option("--public", help="Make a new repository public; else it is private.")
    ] = False,
    reviewed: Annotated[
        bool, typer.Option("--reviewed", help="Without what was marked wrong in `browse`.")
    ] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Show files, sizes and card; send nothing.")
    ] = False,
    as_json: options.Json = False,
) -> None:
    """Push a dataset or a trained model to the hub; repeating it sends what is missing.

    The token is that of `hf auth login`, or HF_TOKEN.
    """
    from launch.verbs.runs.push import push_named

    push_named(
        what, name, store, view or ["genprm"], licence, language or ["en"], dataset, public,
        reviewed, dry_run, as_json,
    )  # fmt: skip
