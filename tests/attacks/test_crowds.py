"""Rows 7, 43, 44 and 47: many runs at once, neighbours, deadlines met by a hair, bad requests."""

from __future__ import annotations

import asyncio
import random
import time
from dataclasses import replace
from statistics import median

import pytest
from case import PRELUDE, ROOMY_LIMITS, with_limits
from conftest import Arena, Surroundings, settled

from actors.sandbox import Limits, Request, RequestRejected, SessionDead, Verdict
from actors.sandbox.box import GRACE_S
from actors.sandbox.pool import caller

pytestmark = [pytest.mark.container, pytest.mark.asyncio(loop_scope="session")]

LEAVE = (
    PRELUDE
    + """
for path in ("/tmp/left", "/dev/shm/left", "/var/tmp/left"):
    try: open(path, "w").write("left")
    except OSError: pass
print(call(29, 4711, 4096, 0o1777), call(240, b"/left", 0o102, 0o777, 0), call(64, 4711, 1, 0o1777))
ours = socket.socket(socket.AF_UNIX)
ours.bind("\\0left-here"); ours.listen()
import fcntl
for lock in (fcntl.flock, fcntl.lockf):
    try: lock(open("/etc/passwd"), fcntl.LOCK_SH | fcntl.LOCK_NB); print("BREACH", lock)
    except OSError as error: print(errno.errorcode[error.errno])
os.environ["LEFT"] = "here"
os.umask(0)
"""
)
LOOK = (
    PRELUDE
    + """
for path in ("/tmp/left", "/dev/shm/left", "/var/tmp/left", "/dev/mqueue/left"):
    if os.path.exists(path): print("BREACH", path)
for name, attempt in {"shm": (29, 4711, 0, 0), "sem": (64, 4711, 0, 0), "mq": (240, b"/left", 0, 0, 0)}.items():
    if call(*attempt)[0] >= 0: print("BREACH", name)
theirs = socket.socket(socket.AF_UNIX)
refused("abstract socket", lambda: theirs.connect("\\0left-here"))
if "LEFT" in os.environ: print("BREACH environment")
if os.umask(0) == 0: print("BREACH umask")
"""
)


async def test_runs_that_end_at_their_deadline_get_one_verdict_and_never_hang(arena: Arena) -> None:
    seed = random.randrange(1 << 32)
    print(f"seed {seed}")
    chance = random.Random(seed)

    async def one() -> Verdict:
        code = f"import time; time.sleep({0.2 + chance.uniform(-0.05, 0.05)}); print('end')"
        began = time.monotonic()
        seen = await arena.crowd.run(
            Request(code), Limits(wall_s=0.2, memory_mb=64, pids=8, scratch_mb=8, file_mb=4)
        )
        assert (seen.stdout == "end\n") or seen.verdict is Verdict.TIMEOUT
        assert time.monotonic() - began - seen.queued_s < 0.2 + GRACE_S
        return seen.verdict

    verdicts = await asyncio.gather(*(one() for _ in range(200)))
    assert set(verdicts) <= {Verdict.OK, Verdict.TIMEOUT}, verdicts


@pytest.mark.parametrize(
    "request_",
    [
        pytest.param(Request("", files={name: b""}), id=repr(name)[:30])
        for name in (
            "/etc/x",
            "../x",
            "a/../../x",
            "",
            "a\0b",
            "a//b",
            "./a",
            "a/",
            "\ud800",
            "n" * 256,
        )
    ]
    + [
        pytest.param(Request("", files={f"f{i}": b"" for i in range(10_000)}), id="10,000 files"),
        pytest.param(Request("", stdin=bytes(50 << 20)), id="50 MB stdin"),
        pytest.param(Request("#" * (9 << 20)), id="9 MB code"),
        pytest.param(Request("'\ud800'"), id="lone surrogate in code"),
    ],
)
async def test_a_request_that_cannot_be_run_is_rejected_with_a_type(
    request_: Request, arena: Arena
) -> None:
    with pytest.raises(RequestRejected):
        await arena.sandbox.run(request_)


@pytest.mark.parametrize(
    ("code", "verdict"),
    [
        pytest.param("", Verdict.OK, id="empty"),
        pytest.param("\ufeffprint(1)", Verdict.OK, id="byte order mark"),
        pytest.param("print(1)\0", Verdict.ERROR, id="NUL"),
        pytest.param("def", Verdict.ERROR, id="syntax error"),
        pytest.param("x = 1\n" * 830_000, None, id="5 MB"),
        pytest.param("(" * 100_000, Verdict.ERROR, id="nested too deep"),
    ],
)
async def test_odd_code_is_the_codes_own_error(
    code: str, verdict: Verdict | None, arena: Arena
) -> None:
    seen = await arena.sandbox.run(Request(code))
    assert seen.verdict in ((verdict,) if verdict else tuple(Verdict)), seen
    assert (await arena.sandbox.run(Request("print(1 + 1)"))).stdout == "2\n"


async def test_files_of_the_request_lie_where_the_code_runs(arena: Arena) -> None:
    request = Request("print(open('a/b.txt').read())", files={"a/b.txt": b"here"})
    assert (await arena.sandbox.run(request)).stdout == "here\n"
    assert (await arena.sandbox.run(Request("import os; print(os.listdir())"))).stdout == "[]\n"


async def test_a_solution_sees_nothing_of_the_one_before(arena: Arena) -> None:
    left = await arena.sandbox.run(Request(LEAVE))
    assert left.verdict is Verdict.OK and "BREACH" not in left.stdout, left
    seen = await arena.sandbox.run(Request(LOOK))
    assert seen.verdict is Verdict.OK and "BREACH" not in seen.stdout, seen
    assert seen.sandbox_id == left.sandbox_id


async def test_a_solution_sees_nothing_of_its_neighbour(arena: Arena) -> None:
    async with arena.crowd.session("left") as left, arena.crowd.session("right") as right:
        assert (await left.run(LEAVE)).verdict is Verdict.OK
        seen = await right.run(LOOK)
        assert seen.verdict is Verdict.OK and "BREACH" not in seen.stdout, seen
    async with arena.crowd.session("later") as later:
        assert "BREACH" not in (await later.run(LOOK)).stdout


async def test_no_two_solutions_draw_the_same_numbers(arena: Arena) -> None:
    draw = """
import random, sympy, numpy
from sympy.core.random import rng
print(random.random(), numpy.random.rand(), rng.random(), sympy.randprime(1, 10**30))
"""
    first, second = [(await arena.sandbox.run(Request(draw))).stdout.split() for _ in range(2)]
    assert len(first) == 4 and not set(first) & set(second), (first, second)


async def test_a_session_that_forges_its_own_end_only_ends_itself(arena: Arena) -> None:
    short = with_limits(wall_s=1)
    async with arena.sandbox.session("forger") as session:
        seen = await session.run("import os\nos.write(3, b'done' * 100)\nprint('on')", short)
        assert seen.verdict in (Verdict.TIMEOUT, Verdict.OK), seen
        if seen.verdict is Verdict.TIMEOUT:
            with pytest.raises(SessionDead):
                await session.run("print(1)")
    assert (await arena.sandbox.run(Request("print(1 + 1)"))).stdout == "2\n"


async def test_a_child_that_a_block_forks_ends_with_it(arena: Arena) -> None:
    fork = "import os\nif os.fork(): os.wait()\nelse: mine = 'the child'"
    async with arena.crowd.session("fork") as session:
        assert (await session.run(fork)).verdict is Verdict.OK
        for number in range(3):
            seen = await session.run(f"print({number}, 'mine' in globals())")
            assert (seen.verdict, seen.stdout) == (Verdict.OK, f"{number} False\n"), seen


async def test_an_output_that_raises_does_not_end_a_session(arena: Arena) -> None:
    broken = "import sys\nclass F:\n    write = flush = None\nsys.stdout = F()"
    async with arena.crowd.session("broken") as session:
        assert (await session.run(broken)).verdict is Verdict.OK
        assert (await session.run("sys.stdout = sys.__stdout__\nprint(1)")).stdout == "1\n"


HOSTILE = (
    "while True: pass",
    "import os\nwhile True:\n try: os.fork()\n except OSError: pass",
    "x = bytearray(1 << 30)",
    "while True: print('x' * 10000)",
    "import os; os.kill(os.getpid(), 11)",
    "import os\nfor i in range(10**6): open(f'/tmp/{i}', 'w')",
    "import os\nos.kill(-1, 9)\nos.kill(1, 9)",
    "import os, time\nif os.fork() == 0:\n os.setsid(); time.sleep(1000)",
)


async def test_two_hundred_runs_on_four_slots_a_third_of_them_hostile(arena: Arena) -> None:
    seed = random.randrange(1 << 32)
    print(f"seed {seed}")
    chance = random.Random(seed)
    before = await Surroundings.now()
    waited: dict[int, float] = {}

    async def one(number: int) -> None:
        code = chance.choice(HOSTILE) if number % 3 == 0 else f"print({number} * 2)"
        limits = ROOMY_LIMITS if number % 3 else with_limits(wall_s=0.5)
        seen = await arena.crowd.run(Request(code), limits)
        waited[number] = seen.queued_s
        if number % 3:
            assert (seen.verdict, seen.stdout) == (Verdict.OK, f"{number * 2}\n"), seen

    await asyncio.gather(*(one(number) for number in range(200)))
    assert len(waited) == 200
    # All asked at once, so the waiting times tell in which order they were served.
    honest = [number for number in range(200) if number % 3]
    served = sorted(honest, key=waited.__getitem__)
    # Of most of them: who finds its box broken waits for another one while the rest goes on.
    assert median(abs(served.index(number) - place) for place, number in enumerate(honest)) < 12
    after = await settled(replace(before, boxes=max(before.boxes, 5)))
    assert after.boxes <= max(before.boxes, 5)


async def test_a_caller_with_one_run_does_not_wait_for_anothers_hundred(arena: Arena) -> None:
    order: list[str] = []

    async def one(name: str) -> None:
        caller.set(name)
        await arena.sandbox.run(Request("print(1)"))
        order.append(name)

    crowd = [asyncio.create_task(one("crowd")) for _ in range(100)]
    await asyncio.sleep(0)
    await one("single")
    assert order.index("single") < 10, order.index("single")
    await asyncio.gather(*crowd)


async def _no_growth(arena: Arena, runs: int) -> None:
    async def some(count: int) -> None:
        for number in range(count):
            seen = await arena.crowd.run(Request(f"x = {number}\nprint(x + 1)"))
            assert seen.stdout == f"{number + 1}\n", seen

    await asyncio.gather(*(some(20) for _ in range(4)))
    before = await Surroundings.now()
    await asyncio.gather(*(some(runs // 4) for _ in range(4)))
    after = await settled(before)
    assert after.memory - before.memory < 16 << 20
    assert after.boxes == before.boxes
    assert after.mounts <= before.mounts
    assert after.temporary == before.temporary
    probe = "import os\nprint(sum(int(open('/proc/1/statm').read().split()[1]) for _ in [0]))"
    pages = [int((await arena.crowd.run(Request(probe))).stdout or 0) for _ in range(2)]
    assert pages[1] * 4096 < 200 << 20


async def test_a_thousand_honest_runs_leave_no_growth(arena: Arena) -> None:
    await _no_growth(arena, 1_000)


@pytest.mark.slow
@pytest.mark.timeout(1200)
async def test_ten_thousand_honest_runs_leave_no_growth(arena: Arena) -> None:
    await _no_growth(arena, 10_000)
