"""What simulated workers charge beside an engine's latency, in virtual seconds.

A worker has one interpreter, which does one thing at a time: it makes prompts, counts tokens and
turns its event loop for each request, reads and grades each answer, and writes and reads rows. A
shard's documents and rows wait for the store one after the other.

Invariant: each cost was measured on this project's small machine (docs/measured.md); a faster one
is charged too much.
"""

from __future__ import annotations

import asyncio
import statistics
import time
import uuid
from dataclasses import dataclass, field

from actors.engines.contract import Chat, Engine, Reply, Sampling
from storage.objects.opening import open_store

STORE_S = 0.008
"""A request of a small object at an S3 server of the tests."""
BYTES_S = 100e6
REQUEST_S, ANSWER_S, ROW_S = 0.52e-3, 0.08e-3, 0.05e-3
"""CPU seconds of a request beside its tokens, of grading an answer, of a row written and read."""
SEQUENTIAL = {"reads": 2, "commit": 4}
"""Requests that wait for each other: a commit and its rows; two looks, the rows, the commit."""


def latency_of(url: str) -> float:
    """Median seconds of a small PUT and of a GET, at a store."""
    store, took = open_store(url), []
    for number in range(100):
        key = f"latency/{uuid.uuid4().hex}"
        started = time.perf_counter()
        store.put_new(key, b"x" * 1_000)
        if number % 2:
            store.get(key)
        took.append((time.perf_counter() - started) / (1 + number % 2))
        store.delete(key)
    return statistics.median(took)


@dataclass
class Charges:
    """What one worker is charged. Nothing, if it is `free`."""

    free: bool = False
    latency_s: float = STORE_S
    core_s: float = 0.0
    """Charged to its interpreter so far."""
    _core: asyncio.Lock = field(default_factory=asyncio.Lock)

    async def core(self, seconds: float) -> None:
        """Its interpreter is busy for so long."""
        if self.free or not seconds:
            return
        async with self._core:
            await asyncio.sleep(seconds)
        self.core_s += seconds

    async def reads(self, size: int) -> None:
        """It reads so many bytes of a shard."""
        await self._store("reads", size)

    async def commits(self, size: int) -> None:
        """It commits so many bytes of a shard."""
        await self._store("commit", size)

    async def _store(self, what: str, size: int) -> None:
        if not self.free:
            await asyncio.sleep(SEQUENTIAL[what] * self.latency_s + size / BYTES_S)


@dataclass(frozen=True)
class ChargedEngine:
    """An engine whose requests and answers busy its worker's interpreter."""

    inner: Engine
    charges: Charges

    async def generate(self, chat: Chat, sampling: Sampling) -> Reply:
        """See `Engine.generate`."""
        await self.charges.core(REQUEST_S)
        reply = await self.inner.generate(chat, sampling)
        await self.charges.core(ANSWER_S * len(reply.completions))
        return reply

    async def close(self) -> None:
        """See `Engine.close`."""
        await self.inner.close()
