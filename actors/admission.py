"""How many sequences an engine holds at once, and in which order requests get in.

Invariant: at most `capacity` sequences are admitted at any time, and requests enter in the order
in which they came: a large request is never overtaken by smaller ones behind it.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import asynccontextmanager
from typing import Any, TypeVar

from actors.engine import Reply, Sampling
from storage.errors import EngineFailed

T = TypeVar("T")


class Admission:
    """A fair semaphore that counts sequences."""

    def __init__(self, capacity: int) -> None:
        if capacity < 1:
            raise ValueError(f"an engine needs room for one sequence, not {capacity}")
        self.capacity = capacity
        self.in_flight = 0
        self._waiting: deque[tuple[int, asyncio.Future[None]]] = deque()

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
        waiter = (count, turn)
        self._waiting.append(waiter)
        try:
            await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled():
                self.in_flight -= count  # admitted and cancelled in the same tick
            elif waiter in self._waiting:  # not if one cancelled with us has cleared the queue
                self._waiting.remove(waiter)
            self._admit()
            raise

    def _admit(self) -> None:
        while self._waiting:
            count, turn = self._waiting[0]
            if self.in_flight + count > self.capacity:
                return
            self._waiting.popleft()
            if not turn.done():
                self.in_flight += count
                turn.set_result(None)


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
