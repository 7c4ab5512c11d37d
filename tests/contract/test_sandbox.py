"""The sandbox contract, one suite for every backend: what a rationale writer may rely on."""

from __future__ import annotations

import asyncio
import hashlib
import shutil
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import replace
from pathlib import Path

import pytest
import pytest_asyncio

from actors.sandbox import (
    Backend,
    Limits,
    Request,
    RequestRejected,
    SandboxSettings,
    SessionDead,
    Verdict,
    open_sandbox,
    run_file,
    self_check,
)
from actors.sandbox.guest.frames import Frame
from actors.sandbox.pool import Pool
from storage.errors import InputError, SandboxLost, SandboxUnavailable

pytestmark = [pytest.mark.container, pytest.mark.asyncio(loop_scope="module")]
LIMITS = Limits(wall_s=20.0, cpu_s=20.0, memory_mb=256)


@pytest_asyncio.fixture(
    scope="module", loop_scope="module", params=[Backend.DOCKER, Backend.BUBBLEWRAP]
)
async def sandbox(request: pytest.FixtureRequest) -> AsyncIterator[Pool]:
    if request.param is Backend.BUBBLEWRAP and shutil.which("bwrap") is None:
        pytest.skip("bubblewrap is not installed")
    pool = open_sandbox(SandboxSettings(request.param, slots=2, limits=LIMITS))
    try:
        await pool.start()
    except SandboxUnavailable as error:
        pytest.skip(str(error))
    yield pool
    await pool.close()


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def parking(sandbox: Pool) -> AsyncIterator[Pool]:
    """One slot, three sessions."""
    pool = open_sandbox(replace(sandbox.settings, slots=1, sessions=3))
    yield pool
    await pool.close()


async def test_every_row_of_the_self_check_passes(sandbox: Pool) -> None:
    failed = [result for result in await self_check(sandbox) if not result.passed]
    assert failed == []


async def test_a_session_keeps_its_variables_across_blocks(sandbox: Pool) -> None:
    async with sandbox.session("s1") as session:
        assert (await session.run("import sympy\nx = sympy.Symbol('x')")).verdict is Verdict.OK
        assert (await session.run("print(sympy.solve(x**2 - 9, x))")).stdout == "[-3, 3]\n"


async def test_a_failing_block_keeps_its_output_and_the_session_lives_on(sandbox: Pool) -> None:
    async with sandbox.session("s2") as session:
        failed = await session.run("kept = 7\nprint('before')\nraise KeyError('gone')")
        assert (failed.verdict, failed.stdout) == (Verdict.ERROR, "before\n")
        assert failed.stderr.rstrip().splitlines()[-1] == "KeyError: 'gone'"
        assert "stepmill" not in failed.stderr
        assert (await session.run("print(kept)")).stdout == "7\n"
        syntax = await session.run("def (")
        assert syntax.stderr.rstrip().splitlines()[-1].startswith("SyntaxError: ")
        assert (await session.run("raise SystemExit(3)")).verdict is Verdict.ERROR
        assert (await session.run("print(kept)")).stdout == "7\n"


async def test_each_block_has_limits_of_its_own(sandbox: Pool) -> None:
    async with sandbox.session("s3") as session:
        small = Limits(memory_mb=32, output_bytes=50)
        assert (await session.run("x = bytearray(100 << 20)", small)).verdict is Verdict.MEMORY
        assert (await session.run("x = bytearray(100 << 20)", LIMITS)).verdict is Verdict.OK
        flood = await session.run("print('y' * 100)", small)
        assert (flood.verdict, flood.stdout) == (Verdict.OUTPUT, "y" * 50)


async def test_a_dead_session_says_so_and_takes_no_further_block(sandbox: Pool) -> None:
    for code in ("while True: pass", "import os; os._exit(0)", "import os; os.abort()"):
        async with sandbox.session("s4") as session:
            ended = await session.run(code, Limits(wall_s=0.5, memory_mb=64))
            assert ended.verdict in (Verdict.TIMEOUT, Verdict.OK, Verdict.KILLED)
            with pytest.raises(SessionDead) as dead:
                await session.run("print(1)")
            assert dead.value.reason == "session_dead"
    assert (await sandbox.run(Request("print(1)"))).stdout == "1\n"


async def test_the_cpu_time_of_a_block_does_not_count_for_the_next(sandbox: Pool) -> None:
    burn = "import time\nend = time.process_time() + 0.5\nwhile time.process_time() < end: pass"
    async with sandbox.session("s5") as session:
        for _ in range(3):
            done = await session.run(burn, Limits(wall_s=60, cpu_s=1.4, memory_mb=64))
            assert done.verdict is Verdict.OK and 0.4 < done.cpu_s < 1.4, done


async def test_a_session_holds_its_slot_and_frees_it(sandbox: Pool) -> None:
    async with sandbox.session("a"), sandbox.session("b"):
        waiting = asyncio.create_task(sandbox.run(Request("print(1)")))
        await asyncio.wait([waiting], timeout=0.2)
        assert not waiting.done()
    seen = await waiting
    assert seen.stdout == "1\n" and seen.queued_s > 0.1


async def test_parked_sessions_take_no_slot_and_only_one_block_runs_at_a_time(
    parking: Pool,
) -> None:
    async with AsyncExitStack() as stack:
        sessions = [await stack.enter_async_context(parking.session(str(n))) for n in range(3)]
        for number, session in enumerate(sessions):
            await session.run(f"x = {number}", LIMITS)
        slow = asyncio.create_task(sessions[0].run("import time\ntime.sleep(0.5)", LIMITS))
        await asyncio.sleep(0)
        seen = await asyncio.gather(*(one.run("print(x)", LIMITS) for one in sessions[1:]))
        assert [one.stdout for one in seen] == ["1\n", "2\n"]
        assert (await slow).verdict is Verdict.OK and all(one.queued_s > 0.4 for one in seen)
        assert len({one.sandbox_id for one in seen}) == 2
        waiting = asyncio.create_task(parking.run(Request("print(4)"), LIMITS))
        await asyncio.wait([waiting], timeout=0.2)
        assert not waiting.done(), "a fourth was let in beside three sessions"
    assert (await waiting).stdout == "4\n"


async def test_a_parked_session_does_nothing_meanwhile(parking: Pool) -> None:
    begin = (
        "import threading, time\nseen = []\n"
        "def count():\n    while True:\n"
        "        seen.append(time.monotonic())\n        time.sleep(0.01)\n"
        "threading.Thread(target=count, daemon=True).start()\ntime.sleep(0.1)"
    )
    look = "moments = list(seen)\nprint(max(b - a for a, b in zip(moments, moments[1:])))"
    async with parking.session("counts") as counts, parking.session("other") as other:
        assert (await counts.run(begin, LIMITS)).verdict is Verdict.OK
        await other.run("import time\ntime.sleep(0.5)", LIMITS)
        await counts.run("time.sleep(0.1)", LIMITS)
        assert float((await counts.run(look, LIMITS)).stdout) > 0.4


async def test_parked_sessions_cannot_touch_each_other(parking: Pool) -> None:
    hostile = (
        "import os, signal\nfor root in ('/tmp', '/dev/shm'):\n"
        "    open(f'{root}/left', 'w').write('x')\n"
        "for number in (signal.SIGUSR1, signal.SIGKILL):\n"
        "    for pid in [-1, *range(2, 200)]:\n"
        "        if pid != os.getpid():\n"
        "            try: os.kill(pid, number)\n"
        "            except OSError: pass\n"
    )
    look = (
        "import os\nprint(x, os.listdir('/tmp'), os.listdir('/dev/shm'),"
        " len([p for p in os.listdir('/proc') if p.isdigit()]) < 4)"
    )
    async with parking.session("quiet") as quiet, parking.session("hostile") as other:
        await quiet.run("x = 7", LIMITS)
        await other.run(hostile, LIMITS)
        assert (await quiet.run(look, LIMITS)).stdout == "7 [] [] True\n"
    assert (await parking.run(Request("print(1)"), LIMITS)).stdout == "1\n"


async def test_a_cancelled_run_frees_its_slot_at_once(sandbox: Pool) -> None:
    began = time.monotonic()
    for _ in range(4):
        endless = sandbox.run(Request("while True: pass"), Limits(wall_s=120, memory_mb=64))
        run = asyncio.create_task(endless)
        await asyncio.wait([run], timeout=0.2)
        run.cancel()
        with pytest.raises(asyncio.CancelledError):
            await run
    assert (await sandbox.run(Request("print(2)"))).stdout == "2\n"
    assert time.monotonic() - began < 60, "it waited for one that was cancelled"


async def test_a_lost_box_is_replaced_and_the_run_tried_again(sandbox: Pool) -> None:
    box = await sandbox.box()
    await box.close("a test")
    sandbox.give_back(box)
    assert (await sandbox.run(Request("print(3)"))).stdout == "3\n"


async def test_a_box_that_answers_nonsense_is_lost_not_believed(sandbox: Pool) -> None:
    box = await sandbox.box()
    with pytest.raises(SandboxLost):
        await box.ask(Frame("unheard-of"), "result", 5.0)
    assert not box.alive
    sandbox.give_back(box)


async def test_limits_above_the_sandboxs_own_are_rejected(sandbox: Pool) -> None:
    for limits in (Limits(memory_mb=10_000), Limits(wall_s=1e6, memory_mb=64), Limits(pids=0)):
        with pytest.raises(RequestRejected):
            await sandbox.run(Request("pass"), limits)


async def test_another_image_than_the_pinned_one_is_refused(sandbox: Pool) -> None:
    name = Backend.DOCKER if "Docker" in type(sandbox.source).__name__ else Backend.BUBBLEWRAP
    other = open_sandbox(SandboxSettings(name, image="sha256:0", limits=LIMITS))
    with pytest.raises(SandboxUnavailable, match="pins image"):
        await other.run(Request("print(1)"))
    await other.close()


async def test_a_closed_sandbox_refuses_and_closes_again(sandbox: Pool) -> None:
    other = open_sandbox(sandbox.settings)
    await other.close()
    with pytest.raises(SandboxUnavailable):
        await other.run(Request("print(1)"))
    await other.close()


async def test_a_script_file_is_run_and_a_missing_one_is_the_users_error(
    sandbox: Pool, tmp_path: Path
) -> None:
    path = tmp_path / "script.py"
    path.write_text("print(input())")
    assert (await run_file(path, sandbox.settings, b"said\n")).stdout == "said\n"
    with pytest.raises(InputError):
        await run_file(path.with_name("none.py"), sandbox.settings)


async def test_numpy_sympy_scipy_threads_and_processes_run_under_the_filter(sandbox: Pool) -> None:
    code = (Path(__file__).parent / "sandbox_workload.py").read_text()
    roomy = Limits(wall_s=60, cpu_s=60, memory_mb=256)
    seen = await sandbox.run(Request(code), roomy)
    assert (seen.verdict, seen.stdout) == (Verdict.OK, "all of it\n"), seen


async def test_two_solutions_do_not_draw_the_same_random_numbers(sandbox: Pool) -> None:
    code = "import random, numpy\nprint(random.random(), numpy.random.rand())"
    drawn = [(await sandbox.run(Request(code))).stdout for _ in range(2)]
    assert len(set(" ".join(drawn).split())) == 4


async def test_every_execution_says_what_enclosed_it(sandbox: Pool) -> None:
    named = {Backend.DOCKER: "docker (runc)", Backend.BUBBLEWRAP: "bubblewrap"}
    assert (await sandbox.run(Request(""))).backend == named[sandbox.settings.backend]
    async with sandbox.session("where") as session:
        assert (await session.run("")).backend == named[sandbox.settings.backend]


async def test_stdin_of_any_size_is_read_to_its_end_or_not_at_all(sandbox: Pool) -> None:
    data = bytes(range(256)) * (7 << 12)
    count = "import sys, hashlib\nprint(hashlib.sha256(sys.stdin.buffer.read()).hexdigest())"
    seen = await sandbox.run(Request(count, data))
    assert seen.stdout == hashlib.sha256(data).hexdigest() + "\n"
    for code in (
        "print(1)",
        "import sys\nprint(len(sys.stdin.buffer.read(1)))",
        "import os\nos.close(0); print(1)",
    ):
        assert (await sandbox.run(Request(code, data))).stdout == "1\n"
    assert (await sandbox.run(Request(count))).stdout == hashlib.sha256(b"").hexdigest() + "\n"
