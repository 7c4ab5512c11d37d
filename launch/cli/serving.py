"""The verb of a verifier that answers over HTTP: `serve`.

Invariant: as in `launch.cli.main`: a verb reads its arguments, calls one function and shows the
result.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from launch.cli.options import Address, Model, OtherStore, Seed, Set, Settings, Url
from launch.cli.verifier import asked


def serve(
    model: Model,
    host: Annotated[
        str | None, typer.Option("--host", help="Address to listen on; others need a token.")
    ] = None,
    port: Annotated[int | None, typer.Option("--port", help="Port; default 8000.")] = None,
    replicas: Annotated[
        int | None, typer.Option("--replicas", help="Engines that answer; default 1.")
    ] = None,
    token_file: Annotated[
        Path | None,
        typer.Option("--token-file", help="File with the token; default: $STEPMILL_TOKEN."),
    ] = None,
    mode: Annotated[
        str | None, typer.Option("--mode", help="full, cot, code, code_not_run or direct.")
    ] = None,
    n: Annotated[
        int | None, typer.Option("--n", help="Histories per solution, where none are asked for.")
    ] = None,
    store: OtherStore = None,
    config: Settings = None,
    settings: Set = None,
    seed: Seed = None,
    url: Url = None,
    address: Address = None,
) -> None:
    """Answer POST /v1/score with step rewards until it is told to stop (Ctrl-C, SIGTERM)."""
    from launch.verbs.models.serve import serve_model
    from workflows.serving.run import config_of

    named = {
        "serve.host": host,
        "serve.port": port,
        "serve.replicas": replicas,
        "serve.token_file": str(token_file.resolve()) if token_file else None,
        "verify.mode": mode,
        "verify.histories": n,
    }
    serve_model(config_of(model, config, asked(store, seed, url, settings, **named)), address)
