"""How many sequences an engine holds at once, and in which order requests get in.

An engine that serves sixteen shards at once by turns finishes them all at the end; one that serves
the oldest first, and the others with what room it leaves, finishes them one after the other, as
many tokens a second all the same. What comes after has its first work sooner, and a crash finds
fewer shards half done.

Each part of a request, by default one sample, gives its room back when it ends, whatever becomes of
the others: a step of a GPU costs nearly the same half empty. Those that are let in at the same
moment start as one group.

Invariant: no sequence is admitted beyond `capacity`. Requests of work that was begun
earlier (`work`) get in before others; of equal ones none is overtaken, a large one by no smaller
ones behind it. A request that waits costs one entry, however many samples it asks for.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from contextvars import ContextVar, copy_context
from dataclasses import dataclass, field, replace
from functools import partial
from heapq import heappop, heappush
from itertools import count
from typing import Any, NamedTuple, Protocol, TypeVar

from actors.engines.contract import SEED_SPACE, Reply, Sampling
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


@dataclass(slots=True)
class Prompts:
    """What the requests of a shard asked."""

    tokens: int = 0
    """Tokens of their prompts: of each part of a request, as servers charge them."""


@dataclass(frozen=True, slots=True)
class Work:
    """What a request belongs to: the shard that a worker is at."""

    begun: int = 0
    """When it was begun, compared to others: a running number."""
    queue: Queue = field(default_factory=Queue)
    prompts: Prompts = field(default_factory=Prompts)


work: ContextVar[Work | None] = ContextVar("work", default=None)
"""What the current task works on."""


class Waiter(NamedTuple):
    """A request of which parts have to wait."""

    begun: int
    came: int
    """Running number of the request; no two are equal."""
    request: Request


class Leave(Protocol):
    """Gives places of a group back before the whole group has ended."""

    def __call__(self, sequences: int) -> None:
        """So many sequences have ended."""
        ...


Start = Callable[[Sampling, Leave], Sequence[Coroutine[Any, Any, Reply]]]
"""Samples that were let in together, a group, and how to give their places back -> what makes the
replies to them, in order. What a group still holds when all of that has ended, however it did,
comes back by itself."""


class Group:
    """Samples of one request that were let in together; each gives its place back by itself."""

    def __init__(self, admission: Admission, queue: Queue, sequences: int) -> None:
        self._admission, self._queue = admission, queue
        self._held = sequences
        self.tasks = 0
        """That have not ended."""

    def leave(self, sequences: int) -> None:
        """So many of them have ended."""
        self._held -= sequences
        self._admission.leave(self._queue, sequences)

    def ended(self) -> None:
        """One of its tasks has, however it did."""
        self.tasks -= 1
        if self._held and not self.tasks:
            self.leave(self._held)


class Request:
    """The samples of one request, let in in order: as many at a time as there is room for."""

    def __init__(self, sampling: Sampling, size: int, start: Start) -> None:
        self.waiting = sampling.n
        """Samples that wait."""
        self.tasks: list[asyncio.Task[Reply]] = []
        """Of the groups that were let in."""
        self.all_in: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        """Also where one has failed before the others were let in."""
        own = work.get() or Work()
        self.begun, self.queue = own.begun, own.queue
        self.queue.waiting += self.waiting
        self._sampling = sampling
        self._size = size
        self._start = start
        self._context = copy_context()

    def fitting(self, room: int, capacity: int) -> int:
        """How many of those that wait fit into `room`: all, or whole parts of at most `capacity`
        samples.
        """
        if self.waiting <= room:
            return self.waiting
        return max(0, room - room % min(self._size, capacity))

    def let_in(self, sequences: int, admission: Admission) -> None:
        """Start the next samples."""
        wanted, asked = self._sampling, self._sampling.n
        if sequences < asked:
            seed = (wanted.seed + asked - self.waiting) % SEED_SPACE
            wanted = replace(wanted, n=sequences, seed=seed)
        self._waits(self.waiting - sequences)
        group = Group(admission, self.queue, sequences)
        loop, ended = asyncio.get_running_loop(), partial(self._ended, group)
        for made in self._start(wanted, group.leave):
            group.tasks += 1
            task = loop.create_task(made, context=self._context)
            task.add_done_callback(ended)
            self.tasks.append(task)
        if not self.waiting and not self.all_in.done():
            self.all_in.set_result(None)

    def _ended(self, group: Group, task: asyncio.Task[Reply]) -> None:
        failed = task.cancelled() or task.exception() is not None
        if failed and not self.all_in.done():
            self.all_in.set_result(None)
        group.ended()

    def give_up(self) -> None:
        """Let in nothing more."""
        self._waits(0)

    def _waits(self, sequences: int) -> None:
        self.queue.waiting -= self.waiting - sequences
        self.waiting = sequences


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

    async def each(self, sampling: Sampling, size: int, start: Start) -> list[Reply]:
        """The replies to `sampling`, started group by group as room comes free for whole parts of
        `size` (at most `capacity`) samples.

        When one fails or the caller is cancelled, the rest is cancelled first.
        """
        if not sampling.n:
            return []
        request = Request(sampling, size, start)
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

    def leave(self, queue: Queue, sequences: int) -> None:
        """So many sequences of `queue` have ended."""
        self.in_flight -= sequences
        self._admit(queue)

    def resize(self, capacity: int) -> None:
        """Admit at most so many from now on; those that are in stay in."""
        if capacity != self.capacity:
            self.capacity = capacity
            self._admit(Queue())

    def _admit(self, queue: Queue) -> None:
        """Let in what there is room for; `queue` hears of it where room is left."""
        while self._waiting:
            request = self._waiting[0].request
            if request.waiting:
                fitting = request.fitting(self.capacity - self.in_flight, self.capacity)
                if fitting:
                    self.in_flight += fitting
                    request.let_in(fitting, self)
                if request.waiting:
                    return
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
    size = min(size, admission.capacity)

    async def one(wanted: Sampling, leave: Leave) -> Reply:
        reply = whole(await part(wanted), wanted.n)
        leave(wanted.n)
        return reply

    def group(wanted: Sampling, leave: Leave) -> list[Coroutine[Any, Any, Reply]]:
        return [one(each, leave) for each in wanted.parts(size)]

    return joined(await admission.each(sampling, size, group))


def whole(reply: Reply, samples: int) -> Reply:
    """A reply with so many samples. Raises EngineFailed for another."""
    if len(reply.completions) != samples:
        raise EngineFailed(
            f"the engine sent {len(reply.completions)} samples where {samples} were asked for"
        )
    return reply


def joined(replies: Sequence[Reply]) -> Reply:
    """The reply to a request from those to its parts, at least one; counts their prompts."""
    if (own := work.get()) is not None:
        own.prompts.tokens += sum(reply.prompt_tokens for reply in replies)
    if len(replies) == 1:
        return replies[0]
    return Reply(
        completions=tuple(completion for reply in replies for completion in reply.completions),
        prompt_tokens=replies[0].prompt_tokens,
        cached_tokens=sum(reply.cached_tokens for reply in replies),
    )
