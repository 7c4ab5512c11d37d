"""The verb `serve`: a verifier behind HTTP.

Invariant: the address stands on standard output once it answers; all else on standard error.
"""

from __future__ import annotations

import contextlib
import io
import sys

from launch.shown.terminal import TERMINAL
from workflows.serving.run import serve
from workflows.serving.settings import ServeConfig


def serve_model(config: ServeConfig, address: str | None) -> None:
    """Serve until SIGTERM or Ctrl-C; what is at work then is answered first."""
    out = sys.stdout

    def ready(url: str) -> None:
        print(url, file=out, flush=True)
        TERMINAL.say(f"{config.models.verifier.model} answers POST {url}/v1/score; Ctrl-C ends it")

    with contextlib.redirect_stdout(_RaysWords()):
        serve(config, address=address, listener=TERMINAL, ready=ready)


class _RaysWords(io.TextIOBase):
    """What Ray prints, on standard error: without what it says of Ray Serve's end, which it takes
    for a death.
    """

    def write(self, text: str) -> int:
        if text.strip() and "Task ServeController." not in text:
            sys.stderr.write(f"{text.rstrip()}\n")
        return len(text)
