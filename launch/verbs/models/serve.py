"""The verb `serve`: a verifier behind HTTP.

Invariant: the address stands on standard output once it answers; all else on standard error.
"""

from __future__ import annotations

import typer

from launch.shown.terminal import TERMINAL
from workflows.serving.run import serve
from workflows.serving.settings import ServeConfig


def serve_model(config: ServeConfig, address: str | None) -> None:
    """Serve until SIGTERM or Ctrl-C; what is at work then is answered first."""

    def ready(url: str) -> None:
        typer.echo(url)
        TERMINAL.say(f"{config.models.verifier.model} answers POST {url}/v1/score; Ctrl-C ends it")

    serve(config, address=address, listener=TERMINAL, ready=ready)
