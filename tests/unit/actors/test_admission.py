"""Who gets into an engine: as many sequences as it holds, the oldest work first."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Coroutine
from typing import Any

import pytest

from actors.engines.admission import Admission, Leave, Work, work
from actors.engines.contract import Completion, Reply, Sampling


async def ticks(count: int = 20) -> None:
    for _ in range(count):
        await asyncio.sleep(0)


def replied(part: Sampling) -> Reply:
    return Reply(tuple([Completion("x", "stop", None, 1)] * part.n), 1)


class Engine:
    """Notes who was let in, and holds every part until it is told to end it."""

    def __init__(self, capacity: int) -> None:
        self.admission = Admission(capacity)
        self.entered: list[str] = []
        self.groups: list[int] = []
        """Samples of each group that was let in."""
        self._gates: dict[str, asyncio.Event] = defaultdict(asyncio.Event)

    def ask(
        self, name: str, samples: int, part: int = 1, of: Work | None = None
    ) -> asyncio.Task[list[Reply]]:
        """A request in parts of so many samples; a part is called `name` and its first sample."""

        async def one(wanted: Sampling, leave: Leave) -> Reply:
            here = f"{name}{wanted.seed}"
            self.entered.append(here)
            assert self.admission.in_flight <= self.admission.capacity
            await self._gates[here].wait()
            leave(wanted.n)
            return replied(wanted)

        def start(group: Sampling, leave: Leave) -> list[Coroutine[Any, Any, Reply]]:
            self.groups.append(group.n)
            return [one(wanted, leave) for wanted in group.parts(part)]

        async def asked() -> list[Reply]:
            work.set(of)
            return await self.admission.each(Sampling(n=samples, seed=0), part, start)

        return asyncio.create_task(asked())

    def end(self, *names: str) -> None:
        for name in names:
            self._gates[name].set()


async def test_admission_never_exceeds_its_capacity_and_is_first_come_first_served() -> None:
    engine = Engine(4)
    asked = [
        engine.ask(name, size, size) for name, size in [("a", 3), ("b", 4), ("c", 1), ("d", 1)]
    ]
    await ticks()
    assert engine.entered == ["a0"], "c and d would fit but must not overtake b"
    engine.end("a0")
    await ticks()
    assert engine.entered == ["a0", "b0"]
    engine.end("b0", "c0", "d0")
    await asyncio.gather(*asked)
    assert engine.entered == ["a0", "b0", "c0", "d0"]
    assert engine.admission.in_flight == 0


async def test_each_sample_gives_its_place_back_when_it_ends_and_not_when_its_request_does() -> (
    None
):
    engine = Engine(3)
    asked = [engine.ask("a", 3), engine.ask("b", 2)]
    await ticks()
    assert engine.entered == ["a0", "a1", "a2"]
    engine.end("a1")
    await ticks()
    assert engine.entered[3:] == ["b0"], "a0 and a2 still run"
    engine.end("a2")
    await ticks()
    assert engine.entered[4:] == ["b1"]
    engine.end("a0", "b0", "b1")
    replies = await asyncio.gather(*asked)
    assert [len(found) for found in replies] == [3, 2]
    assert engine.admission.in_flight == 0


async def test_a_waiter_that_is_cancelled_lets_the_next_one_in() -> None:
    engine = Engine(2)
    holder = engine.ask("a", 1)
    await ticks()
    blocked, behind = engine.ask("b", 2, 2), engine.ask("c", 1)
    await ticks()
    assert engine.entered == ["a0"]
    blocked.cancel()
    await ticks()
    assert engine.entered == ["a0", "c0"]
    engine.end("a0", "c0")
    await asyncio.gather(holder, behind)
    assert engine.admission.in_flight == 0


async def test_many_waiters_cancelled_at_once_leave_the_queue_to_the_rest() -> None:
    engine = Engine(1)
    holder = engine.ask("a", 1)
    waiters = [engine.ask(f"b{number}", 1) for number in range(6)]
    await ticks()
    for waiter in waiters[:5]:
        waiter.cancel()
    engine.end("a0", "b50")
    outcomes = await asyncio.gather(holder, *waiters, return_exceptions=True)
    assert [type(outcome) for outcome in outcomes[1:6]] == [asyncio.CancelledError] * 5
    assert [outcomes[0], outcomes[6]] == [[replied(Sampling())]] * 2
    assert engine.admission.in_flight == 0


async def test_a_request_cancelled_in_the_tick_of_its_admission_gives_the_room_back() -> None:
    engine = Engine(1)
    holder, waiter = engine.ask("a", 1), engine.ask("b", 1)
    await ticks()
    engine.end("a0")
    while not holder.done():
        await asyncio.sleep(0)
    waiter.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiter
    assert engine.admission.in_flight == 0


async def test_a_request_that_is_half_in_and_cancelled_gives_all_of_its_room_back() -> None:
    engine = Engine(2)
    shard = Work()
    half_in, behind = engine.ask("a", 3, of=shard), engine.ask("b", 2)
    await ticks()
    assert (engine.entered, shard.queue.waiting) == (["a0", "a1"], 1)
    half_in.cancel()
    engine.end("b0", "b1")
    await behind
    assert engine.entered == ["a0", "a1", "b0", "b1"]
    assert (engine.admission.in_flight, shard.queue.waiting) == (0, 0)


@pytest.mark.parametrize("capacity", [0, -1])
def test_an_admission_without_room_is_refused(capacity: int) -> None:
    with pytest.raises(ValueError, match="room for one"):
        Admission(capacity)


async def test_requests_of_work_that_was_begun_earlier_get_in_first() -> None:
    engine = Engine(4)
    first = engine.ask("first", 3, 3, of=Work(5))
    await ticks()
    asked = [
        engine.ask(name, size, size, of=Work(begun))
        for name, begun, size in [
            ("late", 9, 4), ("old", 2, 4), ("small", 3, 1), ("oldest", 1, 1),
        ]
    ]  # fmt: skip
    await ticks()
    assert engine.entered == ["first0", "oldest0"], "the oldest fits; nothing overtakes old"
    engine.end("first0", "late0", "old0", "small0", "oldest0")
    await asyncio.gather(first, *asked)
    assert engine.entered == ["first0", "oldest0", "old0", "small0", "late0"]
    assert engine.admission.in_flight == 0


async def test_samples_of_older_work_get_in_before_the_rest_of_a_younger_request() -> None:
    engine = Engine(1)
    younger = engine.ask("young", 2, of=Work(2))
    await ticks()
    older = engine.ask("old", 2, of=Work(1))
    await ticks()
    engine.end("young0", "young1", "old0", "old1")
    await asyncio.gather(younger, older)
    assert engine.entered == ["young0", "old0", "old1", "young1"]


async def test_work_knows_how_many_of_its_sequences_wait() -> None:
    engine = Engine(2)
    shard = Work()
    asked = [engine.ask("a", 3, of=shard), engine.ask("b", 1, of=shard)]
    await ticks()
    assert shard.queue.waiting == 2
    engine.end("a0")
    await ticks()
    assert shard.queue.waiting == 1
    engine.end("a1", "a2", "b0")
    await asyncio.gather(*asked)
    assert shard.queue.waiting == 0


async def test_samples_that_find_room_at_the_same_moment_start_as_one_group() -> None:
    engine = Engine(3)
    asked = [engine.ask("a", 2), engine.ask("b", 4)]
    await ticks()
    assert engine.groups == [2, 1]
    engine.end("a0", "a1", "b0")
    await ticks()
    engine.end("b1", "b2", "b3")
    await asyncio.gather(*asked)
    assert sum(engine.groups) == 6
    assert engine.admission.in_flight == 0


async def test_parts_are_never_torn_where_there_is_room_for_some_of_their_samples() -> None:
    engine = Engine(5)
    asked = engine.ask("a", 5, 2), engine.ask("b", 7, 2)
    await ticks()
    assert engine.entered == ["a0", "a2", "a4"]
    engine.end("a0", "a4")
    await ticks()
    assert engine.entered[3:] == ["b0"], "two and one place are free: one part of two, and no half"
    engine.end("a2", "b0", "b2", "b4", "b6")
    assert [len(reply.completions) for reply in await asked[1]] == [2, 2, 2, 1]
    await asked[0]
    assert engine.admission.in_flight == 0
