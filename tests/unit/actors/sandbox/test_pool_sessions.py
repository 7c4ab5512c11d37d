"""Sessions that are closed or cancelled at a bad moment; boxes here are answered by a script."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, suppress

import pytest

from actors.sandbox.box import Box, Hello
from actors.sandbox.contract import SandboxSettings, Session, SessionDead, Verdict
from actors.sandbox.executor import CodeExecutor
from actors.sandbox.guest.frames import Decoder, Frame, encode
from actors.sandbox.pool import Pool
from storage.errors import SandboxLost

HANGS_S = 60.0
"""Nothing here takes any time: what takes as long as this hangs."""
RESULT: dict[str, object] = {
    "end": "done",
    "status": None,
    "wall_s": 0.1,
    "delayed_s": 0.0,
    "cpu_s": 0.1,
    "peak_kb": 1,
    "stdout_truncated": False,
    "stderr_truncated": False,
    "alive": True,
}


class Supervisor:
    """The link to a supervisor that prints, for a block, the blocks its interpreter ran before."""

    def __init__(self, name: str, world: World) -> None:
        self.name = name
        self.world = world
        self.closed = False
        self.interpreter: list[str] | None = None
        self._asked: asyncio.Queue[Frame] = asyncio.Queue()
        self._said: asyncio.Queue[bytes] = asyncio.Queue()
        self._decoder = Decoder()
        self._serving = asyncio.create_task(self._serve())

    async def write(self, data: bytes) -> None:
        for frame in self._decoder.feed(data):
            self._asked.put_nowait(frame)

    async def read(self) -> bytes:
        return await self._said.get()

    def end(self) -> None:
        """End by itself, as a supervisor that is killed does."""
        self._said.put_nowait(b"")

    async def close(self) -> str:
        await self.world.may_close.wait()
        self.closed = True
        self._serving.cancel()
        return ""

    async def _serve(self) -> None:
        while True:
            frame = await self._asked.get()
            if frame.kind == "ping":
                continue
            self.world.heard.append(frame.kind)
            if frame.kind == "open":
                self.world.opening.set()
                await self.world.may_open.wait()
                self.interpreter = []
            elif frame.kind == "shut":
                await self.world.may_shut.wait()
                self.interpreter = None
            elif frame.kind == "block":
                self._block(frame.blobs[0].decode())
                continue
            elif frame.kind == "run":
                self._said.put_nowait(encode(Frame("result", RESULT, (b"", b""))))
            done = {"hello": "ready", "open": "opened", "shut": "shut"}.get(frame.kind)
            if done is not None:
                self._said.put_nowait(encode(Frame(done)))

    def _block(self, code: str) -> None:
        if self.interpreter is None:
            answer = Frame("gone")
        elif code == "malformed":
            answer = Frame("result")
        elif code == "takes memory":
            answer = Frame("result", {**RESULT, "held_kb": 1 << 20}, (b"", b""))
        elif code == "never ends":
            return
        elif code == "end the box" or (code == "end the first box" and self.name == "box0"):
            self.end()
            return
        else:
            answer = Frame("result", RESULT, (" ".join(self.interpreter).encode(), b""))
            self.interpreter.append(code)
        self._said.put_nowait(encode(answer))


class World:
    """Where boxes come from, and what may go on in them."""

    name = "script"

    def __init__(self) -> None:
        self.boxes: list[Supervisor] = []
        self.heard: list[str] = []
        self.opening = asyncio.Event()
        self.may_start, self.may_open, self.may_shut, self.may_close = (
            asyncio.Event() for _ in range(4)
        )
        for event in (self.may_start, self.may_open, self.may_shut, self.may_close):
            event.set()

    async def open(self) -> Box:
        settings = SandboxSettings()
        self.opening.set()
        await self.may_start.wait()
        self.boxes.append(Supervisor(f"box{len(self.boxes)}", self))
        box = Box(self.boxes[-1], settings)
        await box.start(Hello(b"", namespaces=False))
        return box

    async def reap(self) -> int:
        return 0

    @property
    def left_open(self) -> list[str]:
        return [box.name for box in self.boxes if not box.closed]


async def _until(what: Callable[[], bool]) -> None:
    async with asyncio.timeout(HANGS_S):
        while not what():
            await asyncio.sleep(0)


async def _settled() -> None:
    """Let all that can go on go on."""
    for _ in range(100):
        await asyncio.sleep(0)


@pytest.fixture
async def world() -> AsyncIterator[World]:
    yield World()


def _pool(world: World, sessions: int = 1) -> Pool:
    return Pool(SandboxSettings(slots=sessions, sessions=sessions), world)


def _executor(pool: Pool) -> CodeExecutor:
    executor = CodeExecutor(SandboxSettings())
    executor._sandbox = pool
    return executor


async def _outputs(pool: Pool, *blocks: str) -> list[str]:
    async with asyncio.timeout(HANGS_S), pool.session("next") as session:
        return [(await session.run(code)).stdout for code in blocks]


@pytest.mark.parametrize("warm", [True, False])
async def test_a_session_closed_while_it_opens_shares_no_box_and_leaks_none(
    world: World, warm: bool
) -> None:
    pool = _pool(world)
    executor = _executor(pool)
    if warm:
        await pool.start()
        world.may_open.clear()
    else:
        world.may_start.clear()
    world.opening.clear()
    dead = await executor.open_session("dead", "d")
    block = asyncio.create_task(executor.run_block(dead, "theirs", None))
    await world.opening.wait()
    forgetting = asyncio.create_task(executor.forget("dead"))
    following = asyncio.create_task(_outputs(pool, "first", "second"))
    await _settled()
    world.may_start.set()
    world.may_open.set()
    assert await following == ["", "first"]
    await asyncio.wait_for(forgetting, HANGS_S)
    with pytest.raises(SandboxLost, match="closed for its caller's silence"):
        await block
    assert world.heard.count("block") == 2, "the dead one's block was run"
    assert len(world.boxes) == 1
    await executor.close()
    assert world.left_open == []


async def test_a_session_cancelled_while_it_opens_leaves_a_box_without_an_interpreter(
    world: World,
) -> None:
    pool = _pool(world)
    world.may_open.clear()

    async def one() -> None:
        async with pool.session("cancelled") as session:
            await session.run("theirs")

    cancelled = asyncio.create_task(one())
    await _until(lambda: "open" in world.heard)
    cancelled.cancel()
    await _settled()
    world.may_open.set()
    with pytest.raises(asyncio.CancelledError):
        await cancelled
    assert [box.interpreter for box in world.boxes] == [None]
    assert await _outputs(pool, "first", "second") == ["", "first"]
    await pool.close()
    assert world.left_open == []


async def test_a_place_is_not_given_on_before_a_closing_that_nobody_waits_for_is_done(
    world: World,
) -> None:
    pool = _pool(world)
    parked = asyncio.Event()

    async def one() -> None:
        async with pool.session("cancelled") as session:
            await session.run("theirs")
            parked.set()
            await asyncio.Event().wait()

    cancelled = asyncio.create_task(one())
    await parked.wait()
    world.may_shut.clear()
    cancelled.cancel()
    await _until(lambda: "shut" in world.heard)
    cancelled.cancel()
    with pytest.raises(asyncio.CancelledError):
        await cancelled
    following = asyncio.create_task(_outputs(pool, "first", "second"))
    await _settled()
    world.may_shut.set()
    assert await following == ["", "first"]
    await pool.close()
    assert world.left_open == []


async def test_a_session_closed_while_its_box_is_dropped_hides_no_box_of_the_next(
    world: World,
) -> None:
    pool = _pool(world)
    held = pool.session("malformed")
    session: Session = await held.__aenter__()
    world.may_close.clear()
    block = asyncio.create_task(session.run("malformed"))
    await _until(lambda: "block" in world.heard)
    await _settled()
    await asyncio.wait_for(held.__aexit__(None, None, None), HANGS_S)
    # A slot goes with the turn, which the lost block still has.
    following = asyncio.create_task(pool.box())
    await _until(lambda: len(world.boxes) == 2)
    await following
    world.may_close.set()
    with pytest.raises(SandboxLost):
        await block
    await pool.close()
    assert world.left_open == []


async def test_one_session_that_is_slow_to_close_holds_up_no_other(world: World) -> None:
    pool = _pool(world, sessions=2)
    executor = _executor(pool)
    slow = await executor.open_session("dead", "slow")
    quick = await executor.open_session("dead", "quick")
    await executor.run_block(quick, "x", None)
    world.may_start.clear()
    world.opening.clear()
    block = asyncio.create_task(executor.run_block(slow, "x", None))
    await world.opening.wait()
    forgetting = asyncio.create_task(executor.forget("dead"))
    assert await _outputs(pool, "first") == [""]
    assert not forgetting.done()
    world.may_start.set()
    await asyncio.wait_for(forgetting, HANGS_S)
    with suppress(SandboxLost, SessionDead):
        await block
    await executor.close()
    assert world.left_open == []


async def test_no_block_is_begun_in_a_session_that_was_closed_while_it_opened(
    world: World,
) -> None:
    pool = _pool(world)
    held = pool.session("closed")
    session = await held.__aenter__()
    world.may_open.clear()
    block = asyncio.create_task(session.run("late"))
    await _until(lambda: "open" in world.heard)
    closing = asyncio.create_task(held.__aexit__(None, None, None))
    await _settled()
    world.may_open.set()
    with pytest.raises(SessionDead, match="closed"):
        await block
    await asyncio.wait_for(closing, HANGS_S)
    assert world.heard == ["hello", "open", "shut"]
    await pool.close()


async def test_code_with_which_every_box_ends_has_a_verdict(world: World) -> None:
    pool = _pool(world)
    async with pool.session("killer") as session:
        assert (await session.run("first")).verdict is Verdict.OK
        seen = await session.run("end the box")
    assert (seen.verdict, seen.signal) == (Verdict.KILLED, 9)
    assert len(world.boxes) == 4  # its own, two that its blocks ended again, one that is well
    await pool.close()
    assert world.left_open == []


async def test_a_box_that_ends_once_by_itself_is_lost_not_a_verdict(world: World) -> None:
    pool = _pool(world)
    async with pool.session("unlucky") as session:
        with pytest.raises(SandboxLost):
            await session.run("end the first box")
    await pool.close()
    assert world.left_open == []


async def test_a_box_lost_under_a_cancelled_block_is_forgotten_when_it_is_gone(
    world: World,
) -> None:
    pool = _pool(world)
    async with pool.session("cancelled") as session:
        block = asyncio.create_task(session.run("never ends"))
        await _until(lambda: "block" in world.heard)
        block.cancel()
        await _until(lambda: "stop" in world.heard)
        world.boxes[0].end()
        with pytest.raises(asyncio.CancelledError):
            await block
    await _settled()
    assert not pool._boxes
    await pool.close()


async def test_what_open_sessions_hold_keeps_others_out_until_one_closes(world: World) -> None:
    settings = SandboxSettings(slots=1, sessions=3, parked_mb=900)
    pool = Pool(settings, world)
    async with AsyncExitStack() as stack:
        large = await stack.enter_async_context(pool.session("large"))
        await large.run("takes memory")
        waiting = asyncio.create_task(_outputs(pool, "let in"))
        cancelled = asyncio.create_task(_outputs(pool, "never let in"))
        await _settled()
        assert not waiting.done()
        assert (await large.run("goes on")).verdict is Verdict.OK
        cancelled.cancel()
    assert await waiting == [""]
    # The one that was cancelled while it waited has left its place to others.
    assert len(await asyncio.gather(*(_outputs(pool, "x") for _ in range(3)))) == 3
    await pool.close()
    assert world.left_open == []
