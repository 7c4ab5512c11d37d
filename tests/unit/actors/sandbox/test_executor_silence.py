"""Executors that do not answer, without Ray and without boxes, in virtual time.

A call is a future, as with Ray; what is asked of a frozen executor waits until it thaws.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any, cast

import pytest

from actors.sandbox.contract import (
    Execution,
    Limits,
    Request,
    SandboxSettings,
    Session,
    SessionDead,
    Verdict,
)
from actors.sandbox.executor import SILENCE_S, CodeExecutor, RemoteSandbox
from storage.errors import SandboxLost
from tests.support.virtual_time import virtually

LONG_S = 10 * SILENCE_S


class Room:
    """A sandbox that always has room, and tells where code ran."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.dead = False

    @asynccontextmanager
    async def session(self, key: str) -> AsyncIterator[Session]:
        yield self

    async def run(self, code: str | Request, limits: Limits | None = None) -> Execution:
        if self.dead:
            raise SessionDead("closed")
        return Execution(
            Verdict.OK, None, None, self.name, "", False, False, 0.1, 0.1, 1, 0.0, self.name
        )

    async def close(self) -> None: ...


class Call:
    """A method of an actor at the far end."""

    def __init__(self, actor: Actor, method: Callable[..., Awaitable[Any]]) -> None:
        self._actor = actor
        self._method = method

    def remote(self, *arguments: object) -> asyncio.Future[Any]:
        # As with Ray, whoever waits no longer does not end what it asked for.
        return asyncio.shield(asyncio.ensure_future(self._made(*arguments)))

    async def _made(self, *arguments: object) -> object:
        await self._actor.thawed.wait()
        return await self._method(*arguments)


class Actor:
    """The handle of an executor that may be frozen."""

    def __init__(self, name: str, frozen: bool = False) -> None:
        self.code = CodeExecutor(SandboxSettings())
        self.code._sandbox = cast(Any, Room(name))
        self.thawed = asyncio.Event()
        if not frozen:
            self.thawed.set()

    def __getattr__(self, name: str) -> Call:
        return Call(self, getattr(self.code, name))

    def said(self, caller: str) -> float:
        """When it last heard of a caller."""
        return self.code._heard.get(caller, 0.0)


@asynccontextmanager
async def _remote(*actors: Actor) -> AsyncIterator[RemoteSandbox]:
    remote = RemoteSandbox(cast(Any, actors), name="w")
    try:
        yield remote
    finally:
        await remote.close()
        for actor in actors:
            await actor.code.close()


def _now() -> float:
    return asyncio.get_running_loop().time()


async def _until(what: Callable[[], bool]) -> None:
    async with asyncio.timeout(LONG_S):
        while not what():
            await asyncio.sleep(1)


@virtually
async def test_an_executor_that_does_not_answer_silences_the_caller_nowhere_else() -> None:
    frozen, living = Actor("frozen", frozen=True), Actor("living")
    async with _remote(frozen, living) as remote:
        remote._load[0] = 1  # the session goes to the other one
        async with remote.session("s") as session:
            assert (await session.run("x = 1")).stdout == "living"
            begun = _now()
            # The model writes for longer than a caller may be silent.
            await _until(lambda: living.said("w") > begun + 2 * SILENCE_S)
            assert (await session.run("print(x)")).stdout == "living"


@virtually
async def test_what_waits_at_a_silent_executor_is_done_by_one_that_answers() -> None:
    frozen, living = Actor("frozen", frozen=True), Actor("living")

    async def one(number: int) -> str:
        async with remote.session(f"s{number}") as session:
            return (await session.run("x")).stdout

    async with _remote(frozen, living) as remote:
        sessions = [asyncio.create_task(one(number)) for number in range(20)]
        runs = [asyncio.create_task(remote.run(Request("x"))) for _ in range(20)]
        await _until(lambda: living.said("w") > 0)
        assert remote._load[0] > 0, "nothing was asked of the frozen one"
        async with asyncio.timeout(LONG_S):
            assert set(await asyncio.gather(*sessions)) == {"living"}
            assert {seen.stdout for seen in await asyncio.gather(*runs)} == {"living"}
        assert remote._load == [0, 0]
        asked = len(remote._unwanted)
        assert asked > 0
        assert await one(99) == "living", "a new one went to the silent executor"
        frozen.thawed.set()
        await _until(lambda: not remote._unwanted)
        assert frozen.code._held == {}, "it opened sessions that nobody will close"


@virtually
async def test_a_block_at_an_executor_that_froze_is_lost_and_its_session_can_be_left() -> None:
    first, second = Actor("first"), Actor("second")
    async with _remote(first, second) as remote:
        async with asyncio.timeout(LONG_S):
            with pytest.raises(SandboxLost, match="has not answered"):
                async with remote.session("s") as session:
                    assert (await session.run("x = 1")).stdout == "first"
                    first.thawed.clear()
                    await session.run("print(x)")
        async with remote.session("s") as session:
            assert (await session.run("x = 1")).stdout == "second"
        first.thawed.set()
        await _until(lambda: first.code._held == {})


@virtually
async def test_an_executor_that_froze_is_asked_last_and_like_others_when_it_is_back() -> None:
    first, second = Actor("first"), Actor("second")
    async with _remote(first, second) as remote:
        assert (await remote.run(Request("x"))).stdout == "first"
        first.thawed.clear()
        await _until(lambda: remote._answers(1) and not remote._answers(0))
        remote._lost[1] = remote._load[1] = 5
        with remote._chosen() as position:
            assert position == 1
        first.thawed.set()
        await _until(lambda: remote._answers(0) and remote._answers(1))
        remote._load[1] = 5
        with remote._chosen() as position:
            assert position == 0


@virtually
async def test_where_no_executor_answers_calls_wait_and_none_is_lost() -> None:
    # Dropping every solution in flight would be worse: one that is being placed comes up in time.
    actors = [Actor("first", frozen=True), Actor("second", frozen=True)]
    async with _remote(*actors) as remote:
        begun = _now()
        runs = [asyncio.create_task(remote.run(Request("x"))) for _ in range(4)]
        await _until(lambda: _now() - begun > 2 * SILENCE_S)
        assert not any(run.done() for run in runs)
        for actor in actors:
            actor.thawed.set()
        async with asyncio.timeout(LONG_S):
            assert {seen.stdout for seen in await asyncio.gather(*runs)} == {"first", "second"}


@virtually
async def test_a_block_whose_session_was_closed_for_silence_is_lost_not_dead() -> None:
    # After SessionDead a solution goes on in a fresh interpreter, without its variables.
    executor = CodeExecutor(SandboxSettings())
    room = Room("here")
    executor._sandbox = cast(Any, room)
    identity = await executor.open_session("w", "s")
    _, session, _ = executor._held[identity]
    room.dead = True
    with pytest.raises(SessionDead):
        await executor.run_block(identity, "print(x)", None)

    async def forgotten(code: str, limits: Limits | None = None) -> Execution:
        await executor.forget("w")
        raise SessionDead("closed")

    session.run = forgotten  # type: ignore[method-assign]
    with pytest.raises(SandboxLost):
        await executor.run_block(identity, "print(x)", None)
    await executor.close()
