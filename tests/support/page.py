"""The page of a run as a browser gets it: served in a thread, or written as files and served."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from aiohttp import web

from launch.browse.desk import Desk, open_desks
from launch.browse.files import write_files
from launch.browse.server import make_app
from storage.runs.run import Run

TOKEN = "token-of-the-test"
PERSON = "ada"


@contextmanager
def served(runs: Sequence[Run], folder: Path) -> Iterator[tuple[str, dict[str, Desk]]]:
    """The address of the local server of some runs, and what answers in it."""
    desks = open_desks(runs, folder, PERSON)
    for desk in desks.values():
        desk.start()
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()
    runner = web.AppRunner(make_app(desks, TOKEN), shutdown_timeout=0.1)

    async def start() -> int:
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        port: int = runner.addresses[0][1]
        return port

    async def stop() -> None:
        await runner.cleanup()
        others = asyncio.all_tasks() - {asyncio.current_task()}
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)

    port = asyncio.run_coroutine_threadsafe(start(), loop).result(240)
    try:
        yield f"http://127.0.0.1:{port}/{TOKEN}/", desks
    finally:
        for desk in desks.values():
            desk.stop()
        asyncio.run_coroutine_threadsafe(stop(), loop).result(240)
        loop.call_soon_threadsafe(loop.stop)
        thread.join(240)
        loop.close()


@contextmanager
def copied(runs: Sequence[Run], folder: Path) -> Iterator[str]:
    """The address of a static copy, behind Python's own web server."""
    write_files(open_desks(runs, None, ""), folder, lambda run, done, total: None, workers=1)
    with shown(folder) as address:
        yield address


@contextmanager
def shown(folder: Path) -> Iterator[str]:
    """The address of a folder, behind Python's own web server."""
    handler: Any = partial(_Quiet, directory=str(folder))
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/"
    finally:
        server.shutdown()
        server.server_close()
        thread.join(240)


class _Quiet(SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""
