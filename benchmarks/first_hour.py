"""How long from an installed Stepmill to the first example of one's own problems.

    python -m benchmarks.first_hour [--chat] [--problems 8]

Calls, in an empty folder, what a newcomer calls: `problems`, `init`, `doctor` and `preview`, on a
CSV with columns of its own. The problems are of the demo's world, which its models know. With
`--chat` they stand behind one chat server: `vllm serve` of each, and a router before them. Its
start is not counted, since a newcomer's server is there.

It prints a line a command, and ends with exit code 1 where no example came out.
"""

from __future__ import annotations

import argparse
import asyncio
import csv
import json
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path

import aiohttp
from aiohttp import web

from demo import world
from tests.support.commands import ROOT, environment
from tests.support.served_model import served

ROLES = ("policy", "completer", "rationale")


@contextmanager
def routed(servers: Mapping[str, str]) -> Iterator[str]:
    """The address of one server that has the models of several."""
    ready, over, found = threading.Event(), threading.Event(), list[str]()

    async def models(request: web.Request) -> web.Response:
        return web.json_response(
            {"data": [{"id": name, "max_model_len": 2048} for name in servers]}
        )

    async def forward(request: web.Request) -> web.Response:
        body = await request.read()
        url = servers[json.loads(body)["model"]] + request.path.removeprefix("/v1")
        headers = {"Content-Type": "application/json"}
        async with session.post(url, data=body, headers=headers) as answer:
            kind = answer.content_type
            return web.Response(status=answer.status, body=await answer.read(), content_type=kind)

    async def serve() -> None:
        nonlocal session
        app = web.Application(client_max_size=1 << 26)
        app.router.add_get("/v1/models", models)
        app.router.add_post("/v1/chat/completions", forward)
        runner = web.AppRunner(app)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        limits = aiohttp.ClientTimeout(total=None)
        async with aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=0), timeout=limits
        ) as session:
            found.append(f"http://127.0.0.1:{runner.addresses[0][1]}/v1")
            ready.set()
            await asyncio.to_thread(over.wait)
        await runner.cleanup()

    session: aiohttp.ClientSession
    thread = threading.Thread(target=lambda: asyncio.run(serve()))
    thread.start()
    try:
        ready.wait()
        yield found[0]
    finally:
        over.set()
        thread.join()


@contextmanager
def demo_server(folder: Path) -> Iterator[str]:
    """One chat server with the demo's three models."""
    starting = [served(ROOT / "demo/models" / role, role, folder / f"{role}.log") for role in ROLES]
    with ExitStack() as opened, ThreadPoolExecutor(len(ROLES)) as side_by_side:
        urls = side_by_side.map(opened.enter_context, starting)
        yield opened.enter_context(routed(dict(zip(ROLES, urls, strict=True))))


def own_problems(file: Path, count: int) -> None:
    """A CSV whose columns have names of their own."""
    with file.open("w", newline="", encoding="utf-8") as opened:
        writer = csv.writer(opened)
        writer.writerow(["prompt", "gold"])
        for problem in world.sample(count, 11, "heldout", levels=(1, 2)):
            writer.writerow([problem.text, problem.answer])


def walked(folder: Path, count: int, url: str | None) -> tuple[float, int]:
    """(seconds of all commands, examples)."""
    own_problems(folder / "own.csv", count)
    columns = ["--column", "problem=prompt", "--column", "answer=gold"]
    model = ["--url", url, "--model", ",".join(f"{role}={role}" for role in ROLES)] if url else []
    commands = (
        ["problems", "own.csv", *columns],
        ["init", "--problems", "own.csv", *columns, *model, "--yes"],
        ["doctor", "build.yaml"],
        ["preview", "build.yaml", "--json"],
    )
    total, said = 0.0, ""
    for command in commands:
        began = time.monotonic()
        done = subprocess.run(
            [sys.executable, "-m", "launch", *command], cwd=folder, env=environment(),
            capture_output=True, text=True, check=False,
        )  # fmt: skip
        seconds = time.monotonic() - began
        total, said = total + seconds, done.stdout
        print(f"{seconds:6.1f} s  stepmill {' '.join(command)}", flush=True)
        if done.returncode:
            raise SystemExit(done.stdout + done.stderr)
    return total, int(json.loads(said)["examples"])


def main() -> int:
    """The measurement."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.first_hour", description=__doc__)
    parser.add_argument("--chat", action="store_true", help="behind a chat server")
    parser.add_argument("--problems", type=int, default=8)
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory() as name, ExitStack() as opened:
        folder = Path(name)
        url = opened.enter_context(demo_server(folder)) if chosen.chat else None
        seconds, examples = walked(folder, chosen.problems, url)
    where = "behind a chat server" if chosen.chat else "opened here"
    print(f"{seconds:6.1f} s  to {examples} examples of own problems, the demo's models {where}")
    return 0 if examples else 1


if __name__ == "__main__":
    raise SystemExit(main())
