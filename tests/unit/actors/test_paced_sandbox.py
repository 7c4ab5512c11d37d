"""Sessions of code: as many as keep the engine's places at work, and no more."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from actors.engines.admission import Admission, Queue, Work, work
from actors.engines.contract import Completion, Reply, Sampling
from actors.sandbox.paced import PacedSandbox
from storage.errors import SandboxLost
from tests.support.scripted_world import InProcessSandbox, InProcessSession


class Boxes(InProcessSandbox):
    """Counts its sessions; the one named `lost` never opens."""

    def __init__(self) -> None:
        self.open: list[str] = []

    @asynccontextmanager
    async def session(self, key: str) -> AsyncIterator[InProcessSession]:
        if key == "lost":
            raise SandboxLost("gone")
        self.open.append(key)
        try:
            yield InProcessSession()
        finally:
            self.open.remove(key)


class World:
    """A worker with an engine of so many places and sessions that last until they are told."""

    def __init__(self, places: int) -> None:
        self.queue = Queue()
        self.boxes = Boxes()
        self.sandbox = PacedSandbox(self.boxes, places)
        self.admission = Admission(places)
        self.gates: dict[str, asyncio.Event] = {}

    def hold(self, key: str, begun: int = 0) -> asyncio.Task[None]:
        self.gates[key] = asyncio.Event()

        async def held() -> None:
            work.set(Work(begun, self.queue))
            async with self.sandbox.session(key):
                await self.gates[key].wait()

        return asyncio.create_task(held())

    async def ask(self) -> None:
        """A request that the engine answers at once."""

        async def one() -> Reply:
            return Reply((Completion("x", "stop", None, 1),), 1)

        work.set(Work(0, self.queue))
        await self.admission.each(Sampling(), 1, lambda wanted, leave: [one()])


async def ticks() -> None:
    for _ in range(20):
        await asyncio.sleep(0)


async def test_as_many_sessions_as_places_never_wait_and_more_do() -> None:
    world = World(places=2)
    held = [world.hold(key) for key in "abc"]
    await ticks()
    assert world.boxes.open == ["a", "b"]
    assert world.queue.parked == 1
    world.gates["a"].set()
    await ticks()
    assert (world.boxes.open, world.queue.parked) == (["b", "c"], 0)
    for gate in world.gates.values():
        gate.set()
    await asyncio.gather(*held)
    assert (world.boxes.open, world.sandbox.open) == ([], 0)


async def test_a_free_place_for_which_nothing_waits_lets_one_more_in_the_oldest_first() -> None:
    world = World(places=1)
    held = [world.hold("a"), world.hold("young", begun=2), world.hold("old", begun=1)]
    await ticks()
    assert world.boxes.open == ["a"]
    await world.ask()
    await ticks()
    assert world.boxes.open[:2] == ["a", "old"]
    for gate in world.gates.values():
        gate.set()
    await asyncio.gather(*held)
    assert world.queue.parked == 0


async def test_what_ends_above_the_least_is_not_replaced() -> None:
    world = World(places=1)
    held = [world.hold("a"), world.hold("b")]
    await ticks()
    await world.ask()
    await ticks()
    assert world.boxes.open == ["a", "b"]
    held.append(world.hold("c"))
    world.gates["a"].set()
    await ticks()
    assert world.boxes.open == ["b"], "one is as many as there are places"
    world.gates["b"].set()
    await ticks()
    assert world.boxes.open == ["c"]
    world.gates["c"].set()
    await asyncio.gather(*held)


async def test_a_session_that_is_lost_or_cancelled_gives_its_room_back() -> None:
    world = World(places=1)
    with pytest.raises(SandboxLost):
        await world.hold("lost")
    first, waiting = world.hold("a"), world.hold("b")
    await ticks()
    waiting.cancel()
    world.gates["a"].set()
    await first
    last = world.hold("c")
    await ticks()
    assert world.boxes.open == ["c"]
    last.cancel()
    await asyncio.gather(waiting, last, return_exceptions=True)
    assert (world.boxes.open, world.sandbox.open, world.queue.parked) == ([], 0, 0)
