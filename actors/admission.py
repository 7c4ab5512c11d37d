"""How many sequences an engine holds at once, and in which order requests get in.

An engine that serves sixteen shards at once by turns finishes them all at the end; one that serves
the oldest first, and the others with what room it leaves, finishes them one after the other, as
many tokens a second all the same. What comes after has its first work sooner, and a crash finds
fewer shards half done.

Invariant: at most `capacity` sequences are admitted at any time. Requests of work that was begun
earlier (`begun`) get in before others; of equal ones none is overtaken, a large one by no smaller
ones behind it.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import asynccontextmanager
from contextvars import ContextVar
from heapq import heappop, heappush
from itertools import count
from typing import Any, NamedTuple, TypeVar

from actors.engine import Reply, Sampling
from storage.errors import EngineFailed

T = TypeVar("T")

begun: ContextVar[int] = ContextVar("begun", default=0)
"""When the work of the current task was begun, compared to others: a running number."""


class Waiter(NamedTuple):
    """A request that has to wait."""

    begun: int
    came: int
    """Running number of the request; no two are equal."""
    sequences: int
    turn: asyncio.Future[None]


class Admission:
    """A semaphore that counts sequences; the oldest work goes first."""

    def __init__(self, capacity: int) -> None:
        if capacity < 1:
            raise ValueError(f"an engine needs room for one sequence, not {capacity}")
        self.capacity = capacity
        self.in_flight = 0
        self._came = count()
        self._waiting: list[Waiter] = []
        """A heap; whoever was cancelled stays until it would be next."""

    @asynccontextmanager
    async def sequences(self, count: int) -> AsyncIterator[None]:
        """Hold room for `count` sequences (at most `capacity`)."""
        if count > self.capacity:
            raise ValueError(f"{count} sequences never fit into {self.capacity}")
        await self._enter(count)
        try:
            yield
        finally:
            self.in_flight -= count
            self._admit()

    async def _enter(self, count: int) -> None:
        if not self._waiting and self.in_flight + count <= self.capacity:
            self.in_flight += count
            return
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        heappush(self._waiting, Waiter(begun.get(), next(self._came), count, turn))
        self._admit()
        try:
            await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled():
                self.in_flight -= count  # admitted and cancelled in the same tick
            self._admit()
            raise

    def _admit(self) -> None:
        while self._waiting:
            first = self._waiting[0]
            if not first.turn.done():
                if self.in_flight + first.sequences > self.capacity:
                    return
                self.in_flight += first.sequences
                first.turn.set_result(None)
            heappop(self._waiting)


async def together(*work: Coroutine[Any, Any, T]) -> list[T]:
    """Await all of `work`; when one fails or the caller is cancelled, cancel the rest first."""
    if len(work) == 1:
        return [await work[0]]
    tasks = [asyncio.create_task(one) for one in work]
    try:
        return list(await asyncio.gather(*tasks))
    except BaseException:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        raise


async def admitted(
    part: Callable[[Sampling], Awaitable[Reply]],
    sampling: Sampling,
    size: int,
    admission: Admission,
) -> Reply:
    """One reply to `sampling`, made of admitted parts of at most `size` samples in order.

    Raises EngineFailed where a part does not have exactly the samples asked for.
    """

    async def one(wanted: Sampling) -> Reply:
        async with admission.sequences(wanted.n):
            reply = await part(wanted)
        if len(reply.completions) != wanted.n:
            raise EngineFailed(
                f"the engine sent {len(reply.completions)} samples where {wanted.n} were asked for"
            )
        return reply

    replies = await together(
        *(one(wanted) for wanted in sampling.parts(min(size, admission.capacity)))
    )
    if len(replies) == 1:
        return replies[0]
    return Reply(
        completions=tuple(completion for reply in replies for completion in reply.completions),
        prompt_tokens=replies[0].prompt_tokens,
        cached_tokens=sum(reply.cached_tokens for reply in replies),
    )
