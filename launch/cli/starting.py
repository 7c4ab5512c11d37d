"""The verbs of the first hour: what is there, what it runs in, and a look before a build."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from launch.cli import options
from storage.errors import ConfigurationError


def init(
    file: Annotated[Path, typer.Argument(metavar="[FILE]", help="Configuration to write.")] = Path(
        "build.yaml"
    ),
    problems: Annotated[
        str | None,
        typer.Option("--problems", help="Your problems, as in `stepmill problems`; demo: made up."),
    ] = None,
    columns: Annotated[
        list[str] | None,
        typer.Option("--column", help="What a column is called: problem=question, as needed."),
    ] = None,
    url: Annotated[
        str | None, typer.Option("--url", help="A chat server, e.g. http://HOST:8000/v1.")
    ] = None,
    models: Annotated[
        list[str] | None,
        typer.Option(
            "--model",
            help="For all roles, or ROLE=NAME: a name on the hub or the server, a folder, demo.",
        ),
    ] = None,
    key: Annotated[
        str | None,
        typer.Option("--api-key-env", help="Environment variable that holds the server's key."),
    ] = None,
    run: options.RunName = None,
    store: options.OtherStore = None,
    source: Annotated[
        str | None, typer.Option("--from", help="Write an installed configuration instead.")
    ] = None,
    listed: Annotated[
        bool, typer.Option("--list", help="List the installed configurations.")
    ] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Take all defaults, ask nothing.")] = False,
    force: Annotated[bool, typer.Option("--force", help="Replace a file that is there.")] = False,
) -> None:
    """Write a first configuration, by five questions or by their options."""
    from launch.verbs.looking.problems import named_columns
    from launch.verbs.starting import init as verb
    from launch.verbs.starting.answers import Options

    if listed:
        return verb.show_configurations()
    given = Options(
        problems=problems,
        columns=named_columns(columns or []),
        url=url,
        models=tuple(models or ()),
        key=key,
        run=run,
        store=store,
        yes=yes,
    )
    if source is not None:
        return verb.init_from(source, file, given, force)
    verb.init(file, given, force)


def docs(
    name: Annotated[
        str | None, typer.Argument(metavar="[NAME]", help="A page, e.g. problems.")
    ] = None,
) -> None:
    """List the pages of the documentation, or print one."""
    from launch.verbs.looking.docs import show_docs

    show_docs(name)


def preview(
    config: options.Config,
    problems: Annotated[
        list[str] | None,
        typer.Option(
            "--problems",
            metavar="NUMBER|FILE",
            help="How many (5), or a file instead of the one named; may be given twice.",
        ),
    ] = None,
    limit: options.MostProblems = None,
    run: options.RunName = None,
    store: options.OtherStore = None,
    address: options.Address = None,
    as_json: options.Json = False,
) -> None:
    """Walk a few problems through the whole road, in a scratch run, and show what comes out."""
    from launch.config import load
    from launch.verbs.runs.preview import Asked, preview_run
    from workflows.builds.preview import PROBLEMS

    count, file = _problems(problems or [])
    overrides = {"run": run, "store": store, "problems": file, "limit": limit}
    given = [word for name, value in overrides.items() if value is not None
             for word in (f"--{name}", str(value))]  # fmt: skip
    asked = Asked(str(config), tuple(given), address)
    preview_run(load(config, **overrides), count or PROBLEMS, asked, as_json)


def _problems(given: list[str]) -> tuple[int | None, str | None]:
    """(how many, which file) of what `--problems` was given. Raises ConfigurationError."""
    counts = [int(text) for text in given if text.isdecimal()]
    files = [text for text in given if not text.isdecimal()]
    if len(counts) > 1 or len(files) > 1 or 0 in counts:
        raise ConfigurationError(
            "--problems: give one number above 0, one file, or one of each (./5 is a file)"
        )
    return next(iter(counts), None), next(iter(files), None)


def sandbox(as_json: options.Json = False) -> None:
    """Build what model-written code runs in, and run a block in it."""
    from launch.verbs.looking.sandbox import prepare_sandbox

    prepare_sandbox(as_json)
