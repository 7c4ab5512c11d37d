"""The arena: one sandbox per backend for the whole session, and what must hold after each case."""

from __future__ import annotations

import ast
import asyncio
import contextlib
import os
import shutil
import socket
import sys
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import psutil
import pytest
import pytest_asyncio
from docker import APIClient

sys.path.insert(0, str(Path(__file__).parent))

from attacks_on_host import ABSTRACT, CANARY
from case import ROOMY_LIMITS, Case

from actors.sandbox import Backend, Request, SandboxSettings, Verdict, open_sandbox, owners
from actors.sandbox.box import GRACE_S
from actors.sandbox.bubblewrap import MARK
from actors.sandbox.docker.box import LABEL
from actors.sandbox.docker.engine import find_engine
from actors.sandbox.image.rootfs import state_dir
from actors.sandbox.pool import Pool
from storage.errors import SandboxUnavailable

BACKENDS = {
    "docker-runc": SandboxSettings(Backend.DOCKER, "runc"),
    "docker-runsc": SandboxSettings(Backend.DOCKER, "runsc"),
    "bubblewrap": SandboxSettings(Backend.BUBBLEWRAP),
}
PROBE = """
import json, os
left = {root: os.listdir(root) for root in ("/tmp", "/dev/shm", "/dev/mqueue", "/var/tmp")
        if os.path.isdir(root) and os.listdir(root)}
pids = [p for p in os.listdir("/proc") if p.isdigit() and p not in ("1", str(os.getpid()))]
print([1 + 1, left, pids])
"""
GROWTH = 16 << 20


@dataclass(frozen=True)
class Surroundings:
    """What of the host a case could have changed."""

    boxes: int
    mounts: int
    temporary: frozenset[str]
    memory: int

    @classmethod
    async def now(cls) -> Surroundings:
        """Look."""
        others = await others_mounts()
        lines = Path("/proc/self/mountinfo").read_text().splitlines()
        mounts = sum(line.split()[4] not in others for line in lines)
        mine = psutil.Process().memory_info().rss
        aside = frozenset(path.name for path in (state_dir() / "roots").glob("building-*"))
        return cls(len(await own_boxes()), mounts, aside, mine)


async def settled(before: Surroundings, patience_s: float = 30.0) -> Surroundings:
    """Look until nothing is left over, or patience ends: another program's container may come and
    go while we look; what a case left would stay.
    """
    deadline = time.monotonic() + patience_s
    while True:
        after = await Surroundings.now()
        clean = after.boxes <= before.boxes and after.mounts <= before.mounts
        if clean or time.monotonic() > deadline:
            return after
        await asyncio.sleep(0.2)


async def others_mounts() -> set[str]:
    """Where the containers of other programs on the same engine are mounted."""
    found: set[str] = set()
    with contextlib.suppress(SandboxUnavailable):
        engine = await find_engine(state_dir())
        for entry in await engine.ask(lambda docker: docker.containers(all=True)):
            if entry["Labels"].get(LABEL) == owners.mark():
                continue
            with contextlib.suppress(SandboxUnavailable):  # gone meanwhile
                seen = await engine.ask(partial(APIClient.inspect_container, container=entry["Id"]))
                found.add(((seen.get("GraphDriver") or {}).get("Data") or {}).get("MergedDir", ""))
                found.add((seen.get("NetworkSettings") or {}).get("SandboxKey", ""))
    return found


async def own_boxes() -> list[str]:
    """Containers and processes that are marked as this process's own."""
    found = []
    with contextlib.suppress(SandboxUnavailable):
        engine = await find_engine(state_dir())
        mine = {"label": f"{LABEL}={owners.mark()}"}
        listed = await engine.ask(lambda docker: docker.containers(all=True, filters=mine))
        found += [entry["Id"] for entry in listed]
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            if process.cmdline()[:1] == [f"{MARK}{owners.mark()}"]:
                found.append(str(process.pid))
    return found


@dataclass
class Arena:
    """A sandbox of one slot, and one of four."""

    name: str
    sandbox: Pool
    crowd: Pool
    port: int

    async def play(self, case: Case) -> None:
        """Run a case and assert its outcome and the state that it leaves."""
        before = await Surroundings.now()
        began = time.monotonic()
        request = Request(case.request.code, str(self.port).encode(), case.files)
        seen = await self.sandbox.run(request, case.within)
        elapsed = time.monotonic() - began
        case.check(seen)
        took = elapsed - seen.queued_s
        # After that long the box itself would be given up.
        assert took < case.within.wall_s + GRACE_S, f"took {took:.2f} s"
        await self.assert_clean(before, seen.sandbox_id)

    async def assert_clean(self, before: Surroundings, box: str) -> None:
        """The same worker goes on, and nothing of the case is left."""
        probe = await self.sandbox.run(Request(PROBE))
        assert probe.verdict is Verdict.OK, probe
        answer, left, pids = ast.literal_eval(probe.stdout)
        assert answer == 2
        assert left == {}, left
        assert len(pids) <= 1, f"processes left: {pids}"
        assert probe.sandbox_id == box, "the box had to be replaced"
        after = await settled(before)
        assert after.boxes <= before.boxes
        assert after.mounts <= before.mounts
        assert after.temporary <= before.temporary
        assert after.memory - before.memory < GROWTH


def _settings(name: str, slots: int) -> SandboxSettings:
    return replace(BACKENDS[name], slots=slots, limits=ROOMY_LIMITS, reaper_period_s=20.0)


@pytest.fixture(
    scope="session",
    params=[
        pytest.param("docker-runc"),
        pytest.param("docker-runsc", marks=pytest.mark.slow),
        pytest.param("bubblewrap"),
    ],
)
def backend(request: pytest.FixtureRequest) -> str:
    """Every test of the table runs on every backend."""
    name: str = request.param
    needed = {"docker-runsc": "runsc", "bubblewrap": "bwrap"}.get(name)
    if needed and shutil.which(needed) is None:
        pytest.skip(f"{needed} is not installed")
    return name


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def arena(backend: str) -> AsyncIterator[Arena]:
    """A sandbox opened by a process that has secrets and listens on a port."""
    os.environ["AWS_SECRET_ACCESS_KEY"] = CANARY
    sandbox, crowd = open_sandbox(_settings(backend, 1)), open_sandbox(_settings(backend, 4))
    try:
        await asyncio.gather(sandbox.start(), crowd.start())
    except SandboxUnavailable as error:
        pytest.skip(f"{backend}: {error}")
    with socket.socket() as tcp, socket.socket(socket.AF_UNIX) as unix:
        tcp.bind(("127.0.0.1", 0))
        tcp.listen()
        unix.bind(f"\0{ABSTRACT}")
        unix.listen()
        yield Arena(backend, sandbox, crowd, tcp.getsockname()[1])
    await asyncio.gather(sandbox.close(), crowd.close())
    os.environ.pop("AWS_SECRET_ACCESS_KEY", None)
