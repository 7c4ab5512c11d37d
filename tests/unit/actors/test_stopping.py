"""Work beside a loop: what it returns and raises comes out, and whoever waits can stop it."""

from __future__ import annotations

import asyncio
import threading

import pytest

from actors.stopping import (
    anywhere,
    awaitable,
    check_stopped,
    in_thread,
    outside_loops,
    terminable,
)


def loops() -> str:
    """Work that needs a loop of its own."""

    async def work() -> str:
        return threading.current_thread().name

    return asyncio.run(work())


def fails() -> None:
    raise LookupError("gone")


def test_without_a_loop_the_work_is_done_in_this_thread() -> None:
    assert outside_loops(loops) == threading.current_thread().name


async def test_beside_a_loop_it_is_done_in_another_thread() -> None:
    assert outside_loops(loops) == "stepmill"
    assert anywhere(loops)() == await awaitable(loops)() == await in_thread(loops) == "stepmill"


async def test_what_it_raises_comes_out() -> None:
    with pytest.raises(LookupError, match="gone"):
        outside_loops(fails)
    with pytest.raises(LookupError, match="gone"):
        await in_thread(fails)


async def test_a_call_that_is_cancelled_stops_its_work_and_waits_for_its_end() -> None:
    begun, stop, closed = threading.Event(), threading.Event(), threading.Event()

    def work() -> None:
        with terminable(stop.set):
            begun.set()
            assert stop.wait(60)
        closed.set()

    waiting = asyncio.create_task(in_thread(work))
    await asyncio.to_thread(begun.wait)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    assert closed.is_set()


async def test_work_that_was_told_to_stop_stops_at_its_next_check() -> None:
    begun, told, ended = threading.Event(), threading.Event(), threading.Event()

    def work() -> None:
        with terminable(told.set):
            begun.set()
            assert told.wait(60)
        try:
            check_stopped()
        except KeyboardInterrupt:
            ended.set()
            raise

    waiting = asyncio.create_task(in_thread(work))
    await asyncio.to_thread(begun.wait)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    assert ended.is_set()
