"""The sandbox behind Ray actors: no writer can tell, and a dead executor harms nobody.

One local Ray cluster of its own for the module; every test gets a fresh executor.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
from collections.abc import Iterator
from dataclasses import replace
from ipaddress import ip_address
from typing import Any

import psutil
import pytest
import ray

from actors.sandbox import (
    Backend,
    Limits,
    Request,
    RequestRejected,
    SandboxSettings,
    SessionDead,
    Verdict,
    self_check,
)
from actors.sandbox import executor as executor_module
from actors.sandbox.executor import CodeExecutor, RemoteSandbox, start_executor
from actors.workers.ray_workers import ray_session
from storage.errors import SandboxLost, SandboxUnavailable

pytestmark = [pytest.mark.container, pytest.mark.fault, pytest.mark.asyncio(loop_scope="module")]
SETTINGS = SandboxSettings(
    Backend.AUTO, slots=2, limits=Limits(wall_s=20, memory_mb=256), reaper_period_s=5.0
)


@pytest.fixture(scope="module", autouse=True)
def cluster() -> Iterator[None]:
    with ray_session(None, 4):
        yield


def _executor(restarts: int = 0, calls: int = 100, **changed: Any) -> Any:
    return start_executor(replace(SETTINGS, **changed), {"sandbox": 1}, restarts, calls)


@pytest.fixture
def executor() -> Iterator[Any]:
    actor = _executor(restarts=-1)
    yield actor
    ray.get(actor.close.remote())
    ray.kill(actor)


async def test_a_private_cluster_listens_on_the_loopback_alone(executor: Any) -> None:
    await executor.pid.remote()
    here = psutil.Process()
    family = {process.pid: process.name() for process in [here, *here.children(recursive=True)]}
    listening = {
        (family[one.pid], ip_address(one.laddr.ip.removeprefix("::ffff:")))
        for one in psutil.net_connections("inet")
        if one.pid in family and one.status == psutil.CONN_LISTEN
    }
    assert {"gcs_server", "raylet"} <= {name for name, _ in listening}
    assert [one for one in listening if not one[1].is_loopback] == []


@pytest.mark.parametrize("backend", [Backend.DOCKER, Backend.BUBBLEWRAP])
async def test_the_self_check_passes_through_the_actor(backend: Backend) -> None:
    if backend is Backend.BUBBLEWRAP and shutil.which("bwrap") is None:
        pytest.skip("bubblewrap is not installed")
    actor = _executor(backend=backend)
    remote = RemoteSandbox([actor])
    failed = [result for result in await self_check(remote) if not result.passed]
    assert failed == []
    await remote.close()
    await actor.close.remote()
    ray.kill(actor)


async def test_many_writers_run_at_once_and_errors_keep_their_type(executor: Any) -> None:
    writers = [RemoteSandbox([executor]) for _ in range(3)]
    runs = [writer.run(Request(f"print({i})")) for i, writer in enumerate(writers * 5)]
    assert [seen.stdout for seen in await asyncio.gather(*runs)] == [f"{i}\n" for i in range(15)]
    with pytest.raises(RequestRejected):
        await writers[0].run(Request("", files={"/x": b""}))
    async with writers[1].session("s") as session:
        assert (await session.run("import os; os._exit(1)")).verdict is Verdict.ERROR
        with pytest.raises(SessionDead):
            await session.run("print(1)")
    for writer in writers:
        await writer.close()


async def test_a_killed_executor_loses_sessions_and_repeats_runs(executor: Any) -> None:
    remote = RemoteSandbox([executor])
    pid = await executor.pid.remote()
    async with remote.session("s") as session:
        assert (await session.run("x = 1")).verdict is Verdict.OK
        running = asyncio.create_task(
            remote.run(Request("import time\ntime.sleep(2)\nprint('done')"))
        )
        await asyncio.sleep(0.3)
        os.kill(pid, signal.SIGKILL)
        with pytest.raises(SandboxLost):
            await session.run("print(x)")
    assert (await running).stdout == "done\n"
    await remote.close()


async def test_a_crowd_that_waits_for_sessions_keeps_no_block_from_running() -> None:
    actor = _executor(calls=3, slots=1)
    remote = RemoteSandbox([actor], waiting=2)

    async def one(number: int) -> str:
        async with remote.session(f"s{number}") as session:
            await session.run(f"x = {number}")
            return (await session.run("print(x)")).stdout

    seen = await asyncio.wait_for(asyncio.gather(*map(one, range(12))), 60)
    assert seen == [f"{number}\n" for number in range(12)]
    await remote.close()
    await actor.close.remote()
    ray.kill(actor)


async def test_whoever_gives_up_waiting_leaves_no_session_behind() -> None:
    actor = _executor(slots=1)
    remote = RemoteSandbox([actor])
    async with remote.session("first") as first:
        await first.run("x = 1")
        waiting = asyncio.create_task(remote.session("second").__aenter__())
        third = asyncio.create_task(remote.session("third").__aenter__())
        await actor.pid.remote()  # both stand in the queue by now, or come before what follows
        for task in (waiting, third):
            task.cancel()
        assert all(
            isinstance(gone, asyncio.CancelledError)
            for gone in await asyncio.gather(waiting, third, return_exceptions=True)
        )
    async with remote.session("fourth") as fourth:
        assert (await asyncio.wait_for(fourth.run("print(4)"), 60)).stdout == "4\n"
    await remote.close()
    await actor.close.remote()
    ray.kill(actor)


async def test_an_executor_that_stays_dead_is_unavailable_not_a_verdict() -> None:
    actor = _executor()
    remote = RemoteSandbox([actor])
    await remote.run(Request("print(1)"))
    ray.kill(actor)
    with pytest.raises(SandboxUnavailable):
        await remote.run(Request("print(1)"))
    await remote.close()


async def test_a_second_executor_takes_over_from_a_dead_one(executor: Any) -> None:
    dead = _executor()
    await dead.pid.remote()
    ray.kill(dead)
    remote = RemoteSandbox([dead, executor])
    seen = await asyncio.gather(*(remote.run(Request("print(1)")) for _ in range(4)))
    assert all(one.stdout == "1\n" for one in seen)
    await remote.close()


async def test_the_sessions_of_a_silent_caller_are_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(executor_module, "SILENCE_S", 0.5)
    monkeypatch.setattr(executor_module, "ALIVE_EVERY_S", 0.1)
    here = CodeExecutor(SETTINGS)
    sessions = [await here.open_session("dead", f"s{i}") for i in range(SETTINGS.slots)]
    assert (await here.run("living", Request("print(1)"), None)).stdout == "1\n"
    with pytest.raises(SandboxLost):
        await here.run_block(sessions[0], "print(1)", None)
    await here.close()
