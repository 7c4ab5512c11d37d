"""How many sequences an engine holds at once, and in which order requests get in.

An engine that serves sixteen shards at once by turns finishes them all at the end; one that serves
the oldest first, and the others with what room it leaves, finishes them one after the other, as
many tokens a second all the same. What comes after has its first work sooner, and a crash finds
fewer shards half done.

Each part of a request, by default one sample, takes its room when it is let in and gives it back
when it ends, whatever becomes of the others: a step of a GPU costs nearly the same half empty.

Invariant: at most `capacity` sequences are admitted at any time. Requests of work that was begun
earlier (`work`) get in before others; of equal ones none is overtaken, a large one by no smaller
ones behind it. A request that waits costs one entry, however many samples it asks for.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Coroutine
from contextvars import ContextVar, copy_context
from dataclasses import dataclass, field
from functools import partial
from heapq import heappop, heappush
from itertools import count
from typing import Any, NamedTuple, TypeVar

from actors.engines.contract import Reply, Sampling
from storage.errors import EngineFailed

T = TypeVar("T")


@dataclass(slots=True)
class Queue:
    """What the shards of one worker wait for."""

    waiting: int = 0
    """Sequences that wait for room in the engine."""
    parked: int = 0
    """Solutions that wait for a session of code."""
    when_free: set[Callable[[], None]] = field(default_factory=set)
    """Called when the engine has a free place and nothing waits for it."""


@dataclass(frozen=True, slots=True)
class Work:
    """What a request belongs to: the shard that a worker is at."""

    begun: int = 0
    """When it was begun, compared to others: a running number."""
    queue: Queue = field(default_factory=Queue)


work: ContextVar[Work | None] = ContextVar("work", default=None)
"""What the current task works on."""


class Waiter(NamedTuple):
    """A request of which parts have to wait."""

    begun: int
    came: int
    """Running number of the request; no two are equal."""
    request: Request


class Request:
    """The parts of one request, let in one by one and in order."""

    def __init__(
        self, parts: deque[Sampling], start: Callable[[Sampling], Coroutine[Any, Any, Reply]]
    ) -> None:
        self.parts = parts
        """Those that wait."""
        self.tasks: list[asyncio.Task[Reply]] = []
        """Those that were let in."""
        self.all_in: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        """Also where one has failed before the others were let in."""
        own = work.get() or Work()
        self.begun, self.queue = own.begun, own.queue
        self._start = start
        self._context = copy_context()

    def let_in(self, leave: Callable[[Queue, int], None]) -> None:
        """Start the next part; `leave` is told when it has ended, however it did."""
        part = self.parts.popleft()
        self.queue.waiting -= part.n
        task = asyncio.get_running_loop().create_task(self._start(part), context=self._context)
        task.add_done_callback(partial(self._ended, partial(leave, self.queue, part.n)))
        self.tasks.append(task)
        if not self.parts and not self.all_in.done():
            self.all_in.set_result(None)

    def _ended(self, leave: Callable[[], None], task: asyncio.Task[Reply]) -> None:
        failed = task.cancelled() or task.exception() is not None
        if failed and not self.all_in.done():
            self.all_in.set_result(None)
        leave()

    def give_up(self) -> None:
        """Let in nothing more."""
        self.queue.waiting -= sum(part.n for part in self.parts)
        self.parts.clear()


class Admission:
    """A semaphore that counts sequences; the oldest work goes first."""

    def __init__(self, capacity: int) -> None:
        if capacity < 1:
            raise ValueError(f"an engine needs room for one sequence, not {capacity}")
        self.capacity = capacity
        self.in_flight = 0
        self._came = count()
        self._waiting: list[Waiter] = []
        """A heap; whoever gave up stays until it would be next."""

    async def each(
        self, parts: list[Sampling], start: Callable[[Sampling], Coroutine[Any, Any, Reply]]
    ) -> list[Reply]:
        """The replies of all parts, each started once there is room for its samples.

        When one fails or the caller is cancelled, the rest is cancelled first.
        """
        if not parts:
            return []
        request = Request(deque(parts), start)
        request.queue.waiting += sum(part.n for part in parts)
        heappush(self._waiting, Waiter(request.begun, next(self._came), request))
        try:
            self._admit(request.queue)
            await request.all_in
            return list(await asyncio.gather(*request.tasks))
        except BaseException:
            request.give_up()
            self._admit(request.queue)
            for task in request.tasks:
                task.cancel()
            await asyncio.gather(*request.tasks, return_exceptions=True)
            raise

    def _leave(self, queue: Queue, sequences: int) -> None:
        self.in_flight -= sequences
        self._admit(queue)

    def _admit(self, queue: Queue) -> None:
        """Let in what there is room for; `queue` hears of it where room is left."""
        while self._waiting:
            request = self._waiting[0].request
            while request.parts:
                size = request.parts[0].n
                if self.in_flight + size > self.capacity:
                    return
                self.in_flight += size
                request.let_in(self._leave)
            heappop(self._waiting)
        if self.in_flight < self.capacity:
            for call in tuple(queue.when_free):
                call()


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
        reply = await part(wanted)
        if len(reply.completions) != wanted.n:
            raise EngineFailed(
                f"the engine sent {len(reply.completions)} samples where {wanted.n} were asked for"
            )
        return reply

    replies = await admission.each(list(sampling.parts(min(size, admission.capacity))), one)
    if len(replies) == 1:
        return replies[0]
    return Reply(
        completions=tuple(completion for reply in replies for completion in reply.completions),
        prompt_tokens=replies[0].prompt_tokens,
        cached_tokens=sum(reply.cached_tokens for reply in replies),
    )
