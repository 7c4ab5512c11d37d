"""The sandbox as Ray actors: one executor per node with the `sandbox` resource, and its client.

Invariant: `RemoteSandbox` behaves as a local sandbox does. If an executor dies, a session raises
SandboxLost. A run goes to another executor, or raises SandboxUnavailable. A caller that is silent
for `SILENCE_S` loses its sessions, so the dead hold no slots. An executor that is silent for as
long loses its calls to one that answers.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import secrets
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, AsyncExitStack, asynccontextmanager
from functools import partial
from typing import Any, TypeVar

import ray
from ray.actor import ActorHandle
from ray.exceptions import RayError

from actors.ray_errors import classified
from actors.sandbox.contract import (
    Execution,
    Limits,
    Request,
    SandboxSettings,
    Session,
    SessionDead,
)
from actors.sandbox.opening import open_sandbox
from actors.sandbox.pool import caller as current_caller
from storage.errors import InfrastructureError, SandboxLost, SandboxUnavailable

Answer = TypeVar("Answer")

SILENCE_S = 60.0
ALIVE_EVERY_S = 10.0
WAITING = 64
"""Runs and openings of sessions of one caller at once. If these took all the calls that an executor
works on, blocks of open sessions could not run and no session would end."""
MANY = 10_000
"""Most calls that one executor works on at once, waiting calls and sessions of all callers."""


def _now() -> float:
    """Seconds on the event loop's clock."""
    return asyncio.get_running_loop().time()


class CodeExecutor:
    """An asynchronous actor: see `start_executor`."""

    def __init__(self, settings: SandboxSettings) -> None:
        self._sandbox = open_sandbox(settings)
        self._held: dict[str, tuple[str, Session, AsyncExitStack]] = {}
        """Id of a session -> (its caller, the session, the exit stack that closes it)."""
        self._heard: dict[str, float] = {}
        self._expiry: asyncio.Task[None] | None = None

    async def start(self) -> int:
        """Open all boxes; return this process's id."""
        await self._sandbox.start()
        return os.getpid()

    async def pid(self) -> int:
        """Return this process's id."""
        return os.getpid()

    async def alive(self, caller: str) -> None:
        """Note that a caller is alive."""
        self._hear(caller)

    async def run(self, caller: str, request: Request, limits: Limits | None) -> Execution:
        """Run one script for a caller."""
        self._hear(caller)
        current_caller.set(caller)
        return await self._sandbox.run(request, limits)

    async def open_session(self, caller: str, key: str) -> str:
        """Wait for a slot and hold it; return the session's id."""
        self._hear(caller)
        current_caller.set(caller)
        stack = AsyncExitStack()
        session = await stack.enter_async_context(self._sandbox.session(key))
        if caller not in self._heard:  # it died while it waited and would never close the session
            await stack.aclose()
            raise SandboxLost(f"{key}: its caller is gone")
        identity = f"{key}-{secrets.token_hex(4)}"
        self._held[identity] = caller, session, stack
        return identity

    async def run_block(self, identity: str, code: str, limits: Limits | None) -> Execution:
        """Run one block of a session."""
        if identity not in self._held:
            raise SandboxLost(f"session {identity} is not known here: its executor restarted")
        caller, session, _ = self._held[identity]
        self._hear(caller)
        try:
            return await session.run(code, limits)
        except SessionDead as dead:
            if identity in self._held:
                raise
            # No act of its code: the caller must not go on in a fresh interpreter.
            raise SandboxLost(f"session {identity} was closed for its caller's silence") from dead

    async def close_session(self, identity: str) -> None:
        """Free the session's slot. Idempotent."""
        if identity in self._held:
            await self._held.pop(identity)[2].aclose()

    async def forget(self, caller: str) -> None:
        """Close the sessions of a dead caller, also those that its waiting calls still open."""
        self._heard.pop(caller, None)
        theirs = [identity for identity, (whose, *_) in self._held.items() if whose == caller]
        await asyncio.gather(*map(self._let_go, theirs))

    async def _let_go(self, identity: str) -> None:
        with contextlib.suppress(InfrastructureError):
            await self.close_session(identity)

    async def close(self) -> None:
        """Remove every box."""
        if self._expiry is not None:
            self._expiry.cancel()
        await self._sandbox.close()

    def _hear(self, caller: str) -> None:
        self._heard[caller] = _now()
        if self._expiry is None:
            self._expiry = asyncio.create_task(self._expire_for_ever())

    async def _expire_for_ever(self) -> None:
        while True:
            await asyncio.sleep(ALIVE_EVERY_S)
            now = _now()
            silent = {name for name, heard in self._heard.items() if now - heard > SILENCE_S}
            await asyncio.gather(*map(self.forget, silent))


def start_executor(
    settings: SandboxSettings,
    resources: Mapping[str, float],
    max_restarts: int = 0,
    calls: int = MANY,
    name: str | None = None,
    namespace: str | None = None,
) -> ActorHandle[Any]:
    """Start an executor as an actor. `calls`: most calls that it works on at once. `name`: its name
    in a list of actors, unique in its `namespace`.
    """
    return (
        ray.remote(CodeExecutor)
        .options(
            name=name,
            namespace=namespace,
            num_cpus=0,
            resources=dict(resources),
            max_concurrency=calls,
            max_restarts=max_restarts,
            max_task_retries=0,
        )
        .remote(settings)
    )


def executor_calls(what: str) -> AbstractContextManager[None]:
    """Wrap calls of an executor: any failure of the executor raises SandboxLost."""
    return classified(f"{what}: the executor", SandboxLost, SandboxLost)


class RemoteSandbox:
    """A sandbox over several executors; each call goes to the one with fewest of our calls."""

    def __init__(
        self,
        executors: Sequence[ActorHandle[Any]],
        attempts: int = 3,
        name: str = "",
        waiting: int = WAITING,
    ) -> None:
        """`name`: identifies this caller to the executors; "": a new unique name."""
        if not executors:
            raise SandboxUnavailable("no executor was given")
        self._executors = list(executors)
        self._load = [0] * len(self._executors)
        self._lost = [0] * len(self._executors)
        """Per executor: calls lost since it last said that it lives; others are tried first."""
        self._attempts = attempts
        self._name = name or f"{socket.gethostname()}-{os.getpid()}-{secrets.token_hex(4)}"
        self._door = asyncio.Semaphore(waiting)
        self._heard = [0.0] * len(self._executors)
        """Per executor: when it last said that it lives, or when it was first asked."""
        self._living: list[asyncio.Task[None]] = []
        self._unwanted: set[asyncio.Task[None]] = set()
        """Tasks that close sessions as soon as they are open."""

    async def run(self, request: Request, limits: Limits | None = None) -> Execution:
        """Run one script on an executor; on another one if the first dies."""

        async def ran(position: int) -> Execution:
            call = self._executors[position].run.remote(self._name, request, limits)
            seen: Execution = await self._answer(position, call)
            return seen

        try:
            return await self._anywhere("run", ran)
        except SandboxLost as lost:
            raise SandboxUnavailable(str(lost)) from lost

    @asynccontextmanager
    async def session(self, key: str) -> AsyncIterator[Session]:
        """Hold one interpreter on one executor; if that dies while opening, another is tried."""
        position, identity = await self._anywhere(key, partial(self._open, key))
        with self._chosen(position):
            try:
                yield RemoteSession(self, position, identity)
            finally:
                await asyncio.shield(self._close(position, identity))

    async def _anywhere(self, what: str, call: Callable[[int], Awaitable[Answer]]) -> Answer:
        """The answer of an executor; if it is lost, that of another. Raises SandboxLost."""
        self._live()
        lost: InfrastructureError | None = None
        for _ in range(self._attempts):
            try:
                async with self._door:
                    with self._chosen() as position, executor_calls(what):
                        return await call(position)
            except SandboxLost as error:
                lost = error
        raise SandboxLost(f"{what}: {self._attempts} executors were tried: {lost}") from lost

    async def _open(self, key: str, position: int) -> tuple[int, str]:
        """Open a session; return (index of its executor, id of the session)."""
        opening = asyncio.create_task(self._ask_to_open(position, key))
        try:
            return position, await self._answer(position, asyncio.shield(opening))
        except (asyncio.CancelledError, SandboxLost):
            # The executor opens it all the same in its turn, and no caller would ever close it.
            unwanted = asyncio.create_task(self._close(position, opening))
            self._unwanted.add(unwanted)
            unwanted.add_done_callback(self._unwanted.discard)
            raise

    async def _ask_to_open(self, position: int, key: str) -> str:
        identity: str = await self._executors[position].open_session.remote(self._name, key)
        return identity

    async def _block(
        self, position: int, identity: str, code: str, limits: Limits | None
    ) -> Execution:
        with executor_calls(f"session {identity}"):
            ran = self._executors[position].run_block.remote(identity, code, limits)
            seen: Execution = await self._answer(position, ran)
            return seen

    async def _close(self, position: int, identity: str | asyncio.Task[str]) -> None:
        """Close a session, also one still being opened. A lost one counts as closed."""
        with contextlib.suppress(InfrastructureError), executor_calls("close"):
            known = identity if isinstance(identity, str) else await identity
            await self._answer(position, self._executors[position].close_session.remote(known))

    async def _answer(self, position: int, call: Awaitable[Answer]) -> Answer:
        """The executor's answer. Raises SandboxLost if it is silent while another one answers.

        The lost call may still run. If no other executor answers, the call waits: its executor may
        still be starting.
        """
        answer = asyncio.ensure_future(call)
        try:
            while not (await asyncio.wait({answer}, timeout=ALIVE_EVERY_S))[0]:
                silent = _now() - self._heard[position] > SILENCE_S
                if silent and any(map(self._answers, range(len(self._executors)))):
                    raise SandboxLost(f"the executor has not answered for {SILENCE_S:g} s")
            return answer.result()
        finally:
            answer.cancel()

    def _answers(self, position: int) -> bool:
        """Whether an executor said within the last `SILENCE_S` / 2 that it lives."""
        return _now() - self._heard[position] <= SILENCE_S / 2

    @contextlib.contextmanager
    def _chosen(self, position: int | None = None) -> Iterator[int]:
        """Count a call at an executor within this block: the given one, or the best choice."""
        if position is None:
            position = min(range(len(self._load)), key=self._trouble)
        self._load[position] += 1
        try:
            yield position
        except SandboxLost:
            self._lost[position] += 1
            raise
        finally:
            self._load[position] -= 1

    def _trouble(self, position: int) -> tuple[bool, int, int]:
        """Sort key to choose an executor, smaller is better: answering, fewer lost, less load."""
        return not self._answers(position), self._lost[position], self._load[position]

    def _live(self) -> None:
        if not self._living:
            self._heard = [_now()] * len(self._executors)
            everywhere = range(len(self._executors))
            self._living = [asyncio.create_task(self._say_alive(each)) for each in everywhere]

    async def _say_alive(self, position: int) -> None:
        """Tell one executor that this caller lives; a task each, as one may not answer."""
        while True:
            with contextlib.suppress(InfrastructureError, RayError, TimeoutError):
                with executor_calls("alive"):
                    call = self._executors[position].alive.remote(self._name)
                    await asyncio.wait_for(call, SILENCE_S / 2)
                self._lost[position] = 0
                self._heard[position] = _now()
            await asyncio.sleep(ALIVE_EVERY_S)

    async def close(self) -> None:
        """Stop this client. The executors go on; the process that started them ends them."""
        for speaking in self._living:
            speaking.cancel()


class RemoteSession:
    """One interpreter in an executor."""

    def __init__(self, sandbox: RemoteSandbox, position: int, identity: str) -> None:
        self._sandbox = sandbox
        self._position = position
        self._identity = identity

    async def run(self, code: str, limits: Limits | None = None) -> Execution:
        """Run one block."""
        return await self._sandbox._block(self._position, self._identity, code, limits)
