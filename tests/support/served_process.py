"""`stepmill serve` as a process: real Ray Serve, real HTTP, a scripted verifier and real code.

What hurts it from outside is here too: the process ids of its replicas and of its executor.
"""

from __future__ import annotations

import contextlib
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

from stepmill.rewards import Client
from tests.support.commands import environment
from tests.support.ports import free_port

TOKEN = "a-token-for-tests-alone"
SCRIPTED = ("tests.scripted_verifier:verifier", "--set", "models.verifier.kind=scripted")
CRASHING = ("tests.support.crashing_verifier:verifier", *SCRIPTED[1:])


@dataclass
class Served:
    """A server that answers."""

    process: subprocess.Popen[str]
    url: str
    log: Path
    """What it said on standard error."""

    def client(self, **how: Any) -> Client:
        return Client(self.url, TOKEN, **how)

    def pids(self, name: str) -> list[int]:
        """See `actors_below`."""
        return actors_below(self.process.pid, name)

    def family(self) -> list[psutil.Process]:
        """Itself and all that it started."""
        itself = psutil.Process(self.process.pid)
        return [itself, *itself.children(recursive=True)]

    def stop(self, number: int = signal.SIGTERM) -> int:
        """Tell it to stop; its exit code."""
        self.process.send_signal(number)
        return self.process.wait(90)


def actors_below(pid: int, name: str) -> list[int]:
    """Actors that a process has started, by the end of their names (`:Replica`, `CodeExecutor`)."""
    found = []
    for each in psutil.Process(pid).children(recursive=True):
        with contextlib.suppress(psutil.Error):
            title = (each.cmdline() or [""])[0].split(".")[0].strip()
            if title.startswith("ray::") and title.endswith(name):
                found.append(each.pid)
    return found


@contextlib.contextmanager
def served(folder: Path, *arguments: str, **environ: str) -> Iterator[Served]:
    """Serve until the block is left."""
    port, log = free_port(), folder / "serve.log"
    command = [sys.executable, "-m", "launch", "serve", *arguments, "--port", str(port)]
    with log.open("w") as said:
        process = subprocess.Popen(
            command, cwd=folder, env=environment(STEPMILL_TOKEN=TOKEN, **environ),
            stdout=subprocess.PIPE, stderr=said, text=True,
        )  # fmt: skip
    try:
        assert process.stdout is not None
        url = process.stdout.readline().strip()
        assert url == f"http://127.0.0.1:{port}", log.read_text()
        yield Served(process, url, log)
        if process.poll() is None:
            process.terminate()
            process.wait(90)
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()
        assert process.stdout is not None
        process.stdout.close()
