"""The verb `browse`: a local page of a run until Ctrl-C, or the same as static files.

Invariant: only the terminal and the user's own browser get the address with its token. The index
is in the user's cache folder.
"""

from __future__ import annotations

import asyncio
import contextlib
import getpass
import os
import webbrowser
from collections.abc import Sequence
from pathlib import Path

from aiohttp import web
from rich.progress import MofNCompleteColumn, TextColumn, TimeRemainingColumn

from launch.browse.desk import open_desks
from launch.browse.files import write_files
from launch.browse.guard import new_token
from launch.browse.server import make_app
from launch.shown.bars import BarColumn, passing
from launch.shown.text import say
from storage.errors import ConfigurationError
from storage.runs.run import Run
from workflows.browsing.index import cache_folder


def browse(runs: Sequence[Run], port: int, person: str | None, opened: bool) -> None:
    """Serve the page until it is interrupted. Raises ConfigurationError for a port in use."""
    desks = open_desks(runs, cache_folder(), person or person_here())
    for desk in desks.values():
        desk.start()
    try:
        with contextlib.suppress(KeyboardInterrupt):
            asyncio.run(_serve(make_app(desks, token := new_token()), port, token, opened))
    finally:
        for desk in desks.values():
            desk.stop()


def write_copy(runs: Sequence[Run], folder: Path) -> None:
    """Write the page as static files, with a progress bar. Raises InputError."""
    desks = open_desks(runs, cache_folder(), "")
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
    with passing(*columns, TimeRemainingColumn()) as bar:
        task = bar.add_task("reading", total=None)

        def told(run: str, done: int, total: int) -> None:
            bar.update(task, description=f"write {run}", completed=done, total=total)

        size = write_files(desks, folder, told)
    say(f"{folder}: {size:,} bytes; any web server shows it, e.g. python -m http.server")


def person_here() -> str:
    """The login name, under which marks are made."""
    try:
        return getpass.getuser()
    except (OSError, KeyError):
        return f"user {os.getuid()}"


async def _serve(app: web.Application, port: int, token: str, opened: bool) -> None:
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.5)
    await runner.setup()
    try:
        site = web.TCPSite(runner, "127.0.0.1", port)
        await site.start()
    except OSError as error:
        await runner.cleanup()
        raise ConfigurationError(
            f"--port {port}: {error.strerror or error}: name another one, or none"
        ) from None
    address = f"http://127.0.0.1:{runner.addresses[0][1]}/{token}/"
    say(f"{address}\nCtrl-C ends it. Whoever has this address can read the run and mark it.")
    if opened:
        await asyncio.to_thread(_open, address)
    try:
        await asyncio.Event().wait()
    finally:
        await runner.cleanup()


def _open(address: str) -> None:
    """In the person's browser, where this machine has a screen."""
    if os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY"):
        with contextlib.suppress(webbrowser.Error):
            webbrowser.open(address)
