"""What is killed from outside: the right exception, the run repeated, nothing left in the end."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import psutil
import pytest
from docker import APIClient

from actors.sandbox import Backend, Limits, Request, SandboxSettings, Verdict, open_sandbox, owners
from actors.sandbox.bubblewrap import MARK, kill_orphans
from actors.sandbox.docker import box as docker_box
from actors.sandbox.docker.box import ContainerLink, DockerBoxes
from actors.sandbox.docker.engine import find_engine, stop_private
from actors.sandbox.image.rootfs import build_root, state_dir
from storage.errors import SandboxLost, SandboxUnavailable
from tests.support.boxes import boxes_of

pytestmark = [pytest.mark.container, pytest.mark.fault]
PERIOD_S = 5.0
GONE_S = 6 * PERIOD_S
"""One period, and a busy engine's time to remove a box; left alone it would be there for 100 s."""
LIMITS = Limits(wall_s=20, memory_mb=128)
SETTINGS = SandboxSettings(slots=1, limits=LIMITS, reaper_period_s=PERIOD_S)
ROOT = Path(__file__).resolve().parents[2]

OWNER = """
import asyncio, sys
from actors.sandbox import *
async def main():
    settings = SandboxSettings(
        Backend(sys.argv[1]), slots=1, sessions=2, reaper_period_s=float(sys.argv[2])
    )
    sandbox = open_sandbox(settings)
    await sandbox.start()
    held = sandbox.session("parked")
    parked = await held.__aenter__()
    await parked.run("import os, time\\nif os.fork() == 0:\\n while True: time.sleep(0.01)")
    # Frozen while a container is made, an owner leaves one that was never started.
    await sandbox.run(Request("pass"), Limits(wall_s=100))
    run = asyncio.create_task(sandbox.run(Request("while True: pass"), Limits(wall_s=100)))
    await asyncio.sleep(0.3)
    print("running", flush=True)
    await run
asyncio.run(main())
"""


@pytest.fixture(params=[Backend.DOCKER, Backend.BUBBLEWRAP])
def backend(request: pytest.FixtureRequest) -> Backend:
    if request.param is Backend.BUBBLEWRAP and shutil.which("bwrap") is None:
        pytest.skip("bubblewrap is not installed")
    return Backend(request.param)


async def _boxes_fall_to(most: int, owner: int) -> bool:
    give_up = time.monotonic() + GONE_S
    while len(await boxes_of(owner)) > most:
        if time.monotonic() > give_up:
            return False
        await asyncio.sleep(0.1)
    return True


async def test_a_killed_owner_leaves_nothing_after_one_period(backend: Backend) -> None:
    command = [sys.executable, "-c", OWNER, backend, str(PERIOD_S)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, cwd=ROOT) as owner:
        assert owner.stdout is not None
        assert await asyncio.to_thread(owner.stdout.readline) == b"running\n"
        assert await boxes_of(owner.pid)
        owner.kill()
        assert await _boxes_fall_to(0, owner.pid)


async def test_a_stopped_owner_loses_its_boxes_after_one_period(backend: Backend) -> None:
    # A frozen owner holds its stream open: only the supervisor's own patience ends the box.
    command = [sys.executable, "-c", OWNER, backend, "2"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, cwd=ROOT) as owner:
        assert owner.stdout is not None
        assert await asyncio.to_thread(owner.stdout.readline) == b"running\n"
        supervisors = [
            p
            for p in psutil.process_iter(["cmdline"])
            if "stepmill_guest" in (p.info["cmdline"] or [])
        ]
        assert supervisors
        os.kill(owner.pid, signal.SIGSTOP)
        try:
            assert await _boxes_fall_to(0, owner.pid)
        finally:
            owner.kill()


async def test_a_box_killed_from_outside_is_replaced_and_no_verdict_is_made(
    backend: Backend,
) -> None:
    sandbox = open_sandbox(replace(SETTINGS, backend=backend))
    try:
        first = await sandbox.run(Request("print(1)"))
        code = "import time\nprint('in', flush=True)\ntime.sleep(4)\nprint('out')"
        run = asyncio.create_task(sandbox.run(Request(code)))
        await asyncio.sleep(0.3)
        await _kill_boxes(backend)
        done = await run
        assert (done.verdict, done.stdout) == (Verdict.OK, "in\nout\n")
        assert done.sandbox_id != first.sandbox_id
        async with sandbox.session("s") as session:
            await session.run("x = 1")
            await _kill_boxes(backend)
            with pytest.raises(SandboxLost):
                await session.run("print(x)")
        assert await _boxes_fall_to(1, os.getpid())
        assert (await sandbox.run(Request("print(2)"))).stdout == "2\n"
    finally:
        await sandbox.close()
    assert await _boxes_fall_to(0, os.getpid())


async def _kill_boxes(backend: Backend) -> None:
    for name in await boxes_of(os.getpid()):
        if backend is Backend.BUBBLEWRAP:
            await asyncio.to_thread(_kill_family, int(name))
        else:
            engine = await find_engine(state_dir())
            await engine.ask(partial(APIClient.kill, container=name))


def _kill_family(pid: int) -> None:
    """Kill a process, and wait until the kernel has ended all that dies with it."""
    with contextlib.suppress(psutil.NoSuchProcess):
        box = psutil.Process(pid)
        family = [box, *box.children(recursive=True)]
        box.kill()
        psutil.wait_procs(family, timeout=10)


async def test_the_reaper_spares_the_boxes_of_the_living(backend: Backend) -> None:
    sandbox = open_sandbox(replace(SETTINGS, backend=backend))
    try:
        await sandbox.start()
        assert not owners.is_dead(owners.mark())
        await sandbox.source.reap()
        (box,) = await boxes_of(os.getpid())
        assert (await sandbox.run(Request("print(1)"))).stdout == "1\n"
        assert await boxes_of(os.getpid()) == [box]
    finally:
        await sandbox.close()


OTHER = (
    "import os, sys; from actors.sandbox import owners; print(owners.mark(), flush=True); "
    "sys.stdin.read(); os._exit(1)"
)
ELSEWHERE = ("unshare", "--pid", "--fork")
"""In a process namespace of its own, where it is number 1, as in another container."""


def _can(*command: str) -> bool:
    return shutil.which(command[0]) is not None and not subprocess.call([*command, "true"])


@contextlib.contextmanager
def _owner(*prefix: str, folder: Path) -> Iterator[str]:
    """The mark of another owner, who dies at the end and clears nothing away."""
    with subprocess.Popen(
        [*prefix, sys.executable, "-c", OTHER],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT,
        env={**os.environ, "TMPDIR": str(folder)},
    ) as owner:  # fmt: skip
        assert owner.stdout is not None
        yield owner.stdout.readline().strip()
        owner.communicate()


@pytest.mark.parametrize(
    "prefix",
    [
        pytest.param((), id="here"),
        pytest.param(
            ELSEWHERE,
            id="in another process namespace",
            marks=pytest.mark.skipif(not _can(*ELSEWHERE), reason="no namespace may be made here"),
        ),
    ],
)
def test_a_process_is_killed_when_the_owner_that_it_is_marked_with_is_dead(
    prefix: tuple[str, ...], tmp_path: Path
) -> None:
    sleep = shutil.which("sleep")
    with _owner(*prefix, folder=tmp_path) as mark:
        place, _, folder = mark.partition("|")
        strange = f"{place}0|{folder}"
        marked = [
            subprocess.Popen([f"{MARK}{name}", "600"], executable=sleep) for name in (mark, strange)
        ]
        for orphan in marked:
            while not psutil.Process(orphan.pid).cmdline():  # a moment into exec there is none yet
                os.sched_yield()
        kill_orphans()
        assert [orphan.poll() for orphan in marked] == [None, None], "its owner lives"
    try:
        kill_orphans()
        assert marked[0].wait(GONE_S) == -signal.SIGKILL
        assert marked[1].poll() is None, "whose directory is not seen here can't be judged"
        shutil.rmtree(folder)
        assert owners.is_dead(mark), "nor does it live where its folder was cleared away"
    finally:
        for orphan in marked:
            orphan.kill()
            orphan.wait()


@pytest.fixture
def private_state() -> Iterator[Path]:
    """An engine of the test's own, so that it may be killed, with the root folders of the real."""
    if os.geteuid() != 0 or shutil.which("dockerd", path="/usr/sbin:/usr/bin") is None:
        pytest.skip("needs root and dockerd")
    build_root(state_dir())
    with tempfile.TemporaryDirectory(prefix="sm-", dir="/tmp") as folder:
        (Path(folder) / "roots").symlink_to(state_dir() / "roots")
        yield Path(folder)
        stop_private(Path(folder))
        give_up = time.monotonic() + 20
        while (Path(folder) / "engine" / "pid").exists() and time.monotonic() < give_up:
            time.sleep(0.05)
        # An engine that was killed never unmounts what it had mounted.
        mounts = [line.split()[4] for line in Path("/proc/self/mountinfo").read_text().splitlines()]
        for mount in sorted((m for m in mounts if m.startswith(folder)), reverse=True):
            subprocess.run(["umount", "-l", mount], check=True)


async def test_a_killed_engine_is_started_again_and_the_run_repeated(
    private_state: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("actors.sandbox.docker.engine.DEFAULT_SOCKET", "unix:///nowhere.sock")
    monkeypatch.delenv("DOCKER_HOST", raising=False)
    settings = replace(SETTINGS, backend=Backend.DOCKER, state_dir=str(private_state))
    sandbox = open_sandbox(settings)
    try:
        first = await sandbox.run(Request("print(1)"))
        assert isinstance(sandbox.source, DockerBoxes)
        engine = await find_engine(private_state)
        container = first.sandbox_id.split("-")[0]
        described = await engine.ask(lambda docker: docker.inspect_container(container))
        supervisor = psutil.Process(described["State"]["Pid"])
        run = asyncio.create_task(
            sandbox.run(Request("import time\ntime.sleep(2)\nprint('done')"), LIMITS)
        )
        await asyncio.sleep(0.3)
        os.kill(int((private_state / "engine" / "pid").read_text()), signal.SIGKILL)
        assert (await run).stdout == "done\n"
        give_up = time.monotonic() + GONE_S
        while supervisor.is_running() and supervisor.status() != psutil.STATUS_ZOMBIE:
            assert time.monotonic() < give_up, "the killed engine's container lives on"
            await asyncio.sleep(0.1)
    finally:
        await sandbox.close()


async def test_an_opening_that_is_cancelled_leaves_no_container(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    kept, link = [], docker_box._link

    async def kept_link(*given: Any) -> ContainerLink:
        kept.append(await link(*given))
        return kept[-1]

    # Its stream stays open and its supervisor patient: nothing but its removal ends it.
    source = DockerBoxes(replace(SETTINGS, backend=Backend.DOCKER, reaper_period_s=1000))
    try:
        await (await source.open()).close()
    except SandboxUnavailable as error:
        pytest.skip(str(error))
    monkeypatch.setattr(docker_box, "_link", kept_link)
    opening = asyncio.create_task(source.open())
    while not await boxes_of(os.getpid()):
        assert not opening.done()
    opening.cancel()
    with pytest.raises(asyncio.CancelledError):
        await opening
    assert await _boxes_fall_to(0, os.getpid())


async def test_an_engine_that_does_not_exist_is_unavailable_not_a_verdict() -> None:
    settings = replace(
        SETTINGS, backend=Backend.DOCKER, docker_host="unix:///tmp/no-engine-here.sock"
    )
    sandbox = open_sandbox(settings)
    with pytest.raises(SandboxUnavailable, match="no Docker Engine"):
        await sandbox.run(Request("print(1)"))
    await sandbox.close()
