"""Who gets into an engine: as many sequences as it holds, the oldest work first."""

from __future__ import annotations

import asyncio

import pytest

from actors.admission import Admission, begun


async def ticks(count: int = 20) -> None:
    for _ in range(count):
        await asyncio.sleep(0)


async def test_admission_never_exceeds_its_capacity_and_is_first_come_first_served() -> None:
    admission = Admission(4)
    entered: list[str] = []
    gates = {name: asyncio.Event() for name in "abcd"}

    async def hold(name: str, size: int) -> None:
        async with admission.sequences(size):
            entered.append(name)
            assert admission.in_flight <= 4
            await gates[name].wait()

    holds = [
        asyncio.create_task(hold(name, size))
        for name, size in [("a", 3), ("b", 4), ("c", 1), ("d", 1)]
    ]
    await ticks()
    assert entered == ["a"], "c and d would fit but must not overtake b"
    gates["a"].set()
    await ticks()
    assert entered == ["a", "b"]
    gates["b"].set()
    await ticks()
    assert entered == ["a", "b", "c", "d"]
    for gate in gates.values():
        gate.set()
    await asyncio.gather(*holds)
    assert admission.in_flight == 0


async def test_a_waiter_that_is_cancelled_lets_the_next_one_in() -> None:
    admission = Admission(2)
    first = asyncio.Event()
    entered: list[int] = []

    async def hold(size: int, until: asyncio.Event | None = None) -> None:
        async with admission.sequences(size):
            entered.append(size)
            if until is not None:
                await until.wait()

    holder = asyncio.create_task(hold(1, first))
    await ticks()
    blocked, behind = asyncio.create_task(hold(2)), asyncio.create_task(hold(1))
    await ticks()
    blocked.cancel()
    await behind
    assert entered == [1, 1]
    first.set()
    await holder
    assert admission.in_flight == 0


async def test_many_waiters_cancelled_at_once_leave_the_queue_to_the_rest() -> None:
    admission = Admission(1)
    release = asyncio.Event()

    async def hold(until: asyncio.Event | None = None) -> str:
        async with admission.sequences(1):
            if until is not None:
                await until.wait()
        return "held"

    holder = asyncio.create_task(hold(release))
    waiters = [asyncio.create_task(hold()) for _ in range(6)]
    await ticks()
    for waiter in waiters[:5]:
        waiter.cancel()
    release.set()
    outcomes = await asyncio.gather(holder, *waiters, return_exceptions=True)
    assert [type(outcome) for outcome in outcomes[1:6]] == [asyncio.CancelledError] * 5
    assert (outcomes[0], outcomes[6]) == ("held", "held")
    assert admission.in_flight == 0


async def test_a_waiter_cancelled_in_the_tick_of_its_admission_gives_the_room_back() -> None:
    admission = Admission(1)
    release = asyncio.Event()

    async def hold(until: asyncio.Event) -> None:
        async with admission.sequences(1):
            await until.wait()

    holder = asyncio.create_task(hold(release))
    waiter = asyncio.create_task(hold(asyncio.Event()))
    await ticks()
    release.set()
    while not holder.done():
        await asyncio.sleep(0)
    waiter.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiter
    assert admission.in_flight == 0


@pytest.mark.parametrize("capacity", [0, -1])
def test_an_admission_without_room_is_refused(capacity: int) -> None:
    with pytest.raises(ValueError, match="room for one"):
        Admission(capacity)


async def test_requests_of_work_that_was_begun_earlier_get_in_first() -> None:
    admission = Admission(4)
    release = asyncio.Event()
    entered: list[str] = []

    async def hold(name: str, work: int, size: int) -> None:
        begun.set(work)
        async with admission.sequences(size):
            entered.append(name)
            await release.wait()

    tasks = [asyncio.create_task(hold("first", 5, 3))]
    await ticks()
    for name, work, size in [("late", 9, 4), ("old", 2, 4), ("small", 3, 1), ("oldest", 1, 1)]:
        tasks.append(asyncio.create_task(hold(name, work, size)))
    await ticks()
    assert entered == ["first", "oldest"], "the oldest fits; nothing overtakes old"
    release.set()
    await asyncio.gather(*tasks)
    assert entered == ["first", "oldest", "old", "small", "late"]
    assert admission.in_flight == 0
