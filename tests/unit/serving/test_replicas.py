"""A question whose replica cancels its work is put to another one; one taken back is not."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest

from actors.serving.replicas import TRIES, RayReplicas
from storage.errors import WorkerLost


class Response:
    """As Ray Serve's handle gives it: awaited, or read part by part."""

    def __init__(self, become: Callable[[], Awaitable[Any]]) -> None:
        self._become = become
        self.taken_back = False

    def __await__(self) -> Any:
        return self._become().__await__()

    async def __aiter__(self) -> AsyncIterator[Any]:
        yield await self._become()

    def cancel(self) -> None:
        self.taken_back = True


class Handle:
    """Asks replicas whose work becomes what `becomes` says, one after the other."""

    def __init__(self, *becomes: Callable[[], Awaitable[Any]]) -> None:
        self._becomes = list(becomes)
        self.asked: list[Response] = []
        self.answer = self.stream = self.look = self

    def options(self, **how: Any) -> Handle:
        return self

    def remote(self, *question: Any) -> Response:
        self.asked.append(Response(self._becomes[len(self.asked)]))
        return self.asked[-1]


async def cancelled_there() -> Any:
    raise asyncio.CancelledError


async def answered() -> Any:
    return "an answer"


async def for_ever() -> Any:
    await asyncio.Event().wait()


async def dead() -> Any:
    raise AssertionError("nobody looks at a replica that lives")


def replicas(*becomes: Callable[[], Awaitable[Any]]) -> tuple[RayReplicas, Handle]:
    handle, herald = Handle(*becomes), Handle(*[dead] * TRIES)
    return RayReplicas(handle, herald, "app"), handle  # type: ignore[arg-type]


async def asked(behind: RayReplicas) -> Any:
    return await behind.answer("a question")


async def streamed(behind: RayReplicas) -> Any:
    (part,) = [part async for part in behind.stream("a question")]
    return part


WAYS = pytest.mark.parametrize("way", [asked, streamed])


@WAYS
async def test_work_that_one_replica_cancels_is_done_by_another(way: Any) -> None:
    behind, handle = replicas(cancelled_there, answered)
    assert await way(behind) == "an answer"
    assert len(handle.asked) == 2


@WAYS
async def test_work_that_all_replicas_cancel_is_lost_in_words(way: Any) -> None:
    behind, handle = replicas(*[cancelled_there] * TRIES)
    with pytest.raises(WorkerLost, match="its work was cancelled there"):
        await way(behind)
    assert len(handle.asked) == TRIES


@WAYS
async def test_a_question_that_is_taken_back_is_put_to_nobody_else(way: Any) -> None:
    behind, handle = replicas(for_ever, answered)
    asking = asyncio.create_task(way(behind))
    while not handle.asked:
        await asyncio.sleep(0)
    asking.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asking
    assert len(handle.asked) == 1 and handle.asked[0].taken_back
