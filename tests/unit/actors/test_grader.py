"""The grader: one verdict per answer, whatever the comparison does to its process."""

from __future__ import annotations

import asyncio
import contextlib
import os
import pickle
import signal
import subprocess
import sys
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from actors.grading.pool import Grader, Quick
from actors.grading.process import GraderProcess
from actors.grading.seats import Seats
from storage.errors import InfrastructureError

ROOT = Path(__file__).parents[3]


def compare(reference: str, answer: str) -> bool:
    """Does what the answer says, so that tests can script a worker."""
    match answer.split(":"):
        case ["spin", *_]:
            while True:
                pass
        case ["spin in C", *_]:
            return bool(pow(3, 10**12))
        case ["sleep", *_]:
            time.sleep(3600)
        case ["raise", *_]:
            raise ValueError(answer)
        case ["print", *_]:
            print("1" * 100, flush=True)
        case ["die", *_]:
            os._exit(3)
        case ["die once", file]:
            if not Path(file).exists():
                Path(file).touch()
                os.kill(os.getpid(), signal.SIGKILL)
            return True
        case ["eat", *_]:
            return bool(bytearray(1 << 40))
        case ["count", file]:
            with open(file, "a", encoding="utf-8") as log:
                log.write("x")
    return reference == answer


def no_warm_up() -> None:
    raise RuntimeError("a library is missing")


@asynccontextmanager
async def grader(
    *, timeout_s: float = 10, workers: int = 2, quick: Quick | None = None,
    warm: Callable[[], None] | None = None, cache: int = 1000,
) -> AsyncIterator[Grader]:  # fmt: skip
    pool = Grader(compare, quick, warm, timeout_s=timeout_s, workers=workers, cache=cache)
    try:
        yield pool
    finally:
        await pool.close()


async def test_verdicts_come_in_the_order_of_the_answers() -> None:
    async with grader() as pool:
        answers = [str(number) for number in range(200)] + [None]
        verdicts = await pool.grade("7", answers)
    assert [at for at, verdict in enumerate(verdicts) if verdict] == [7]


@pytest.mark.parametrize("stuck", ["spin", "spin in C", "sleep"])
async def test_what_takes_too_long_is_not_equal_and_costs_nobody_else_a_verdict(stuck: str) -> None:
    # Each comparison has four times as long on the clock: what is cheap is never late.
    async with grader(timeout_s=1.0, workers=1) as pool:
        verdicts = await pool.grade("a", ["a", stuck, "b", "a ", "spin: again", "c"])
        assert verdicts == [True, False, False, False, False, False]
        assert pool.counts.overdue == 2
        assert pool.counts.restarts == 2
        assert await pool.grade("a", [stuck]) == [False], "a verdict that was paid for is kept"
        assert pool.counts.overdue == 2


async def test_the_event_loop_goes_on_while_a_comparison_is_stuck() -> None:
    async with grader(timeout_s=60, workers=1) as pool:
        stuck = asyncio.create_task(pool.grade("a", ["spin"]))
        while not pool._processes:
            await asyncio.sleep(0.01)
        for _ in range(20):
            await asyncio.sleep(0.01)
            assert not stuck.done()
    with pytest.raises(InfrastructureError, match="closed"):
        await stuck


@pytest.mark.parametrize("answer", ["raise", "eat"])
async def test_a_comparison_that_raises_is_not_equal_and_counted(answer: str) -> None:
    async with grader() as pool:
        assert await pool.grade("a", [answer, "a"]) == [False, True]
        assert pool.counts.failed == 1
        assert pool.counts.restarts == 0


async def test_what_a_library_prints_is_no_verdict() -> None:
    async with grader() as pool:
        assert await pool.grade("a", ["print", "b", "a"]) == [False, False, True]


async def test_a_process_that_was_killed_from_outside_costs_no_verdict(tmp_path: Path) -> None:
    async with grader(workers=1) as pool:
        marker = f"die once:{tmp_path / 'died'}"
        assert await pool.grade("a", ["a", marker, "b"]) == [True, True, False]
        assert pool.counts.restarts == 1


async def test_a_pair_that_always_kills_its_process_is_trouble_and_no_verdict() -> None:
    async with grader(workers=1) as pool:
        with pytest.raises(InfrastructureError, match="exit code 3"):
            await pool.grade("a", ["die"])
        assert await pool.grade("a", ["a"]) == [True], "others go on"


async def test_a_process_that_can_not_start_is_an_infrastructure_error() -> None:
    async with grader(warm=no_warm_up) as pool:
        with pytest.raises(InfrastructureError, match="did not start"):
            await pool.grade("a", ["a", "b"])


async def test_what_the_quick_path_decides_needs_no_process() -> None:
    async with grader(quick=lambda reference, answer: reference == answer) as pool:
        assert await pool.grade("a", ["a", "b", None]) == [True, False, False]
        assert pool.counts.quick == 2
        assert not pool._processes


async def test_equal_questions_are_asked_once(tmp_path: Path) -> None:
    log = tmp_path / "log"
    async with grader() as pool:
        question = f"count:{log}"
        await asyncio.gather(*(pool.grade("a", [question] * 3) for _ in range(10)))
        await pool.grade("a", [question])
    assert log.read_text() == "x"


async def test_the_cache_is_bounded() -> None:
    async with grader(cache=10, quick=lambda reference, answer: False) as pool:
        await pool.grade("a", [str(number) for number in range(100)])
        assert len(pool._cache) == 10


async def test_graders_of_a_machine_have_no_more_processes_than_it_has_cores(
    tmp_path: Path,
) -> None:
    seats = Seats(tmp_path, count=2)
    pools = [Grader(compare, timeout_s=10, workers=2, batch=1, seats=seats) for _ in range(4)]
    most = 0

    async def count(asked: asyncio.Future[object]) -> None:
        nonlocal most
        while not asked.done():
            most = max(most, sum(len(pool._processes) for pool in pools))
            await asyncio.sleep(0.01)

    answers = [str(number) for number in range(20)]
    asked = asyncio.gather(*(pool.grade("7", answers) for pool in pools))
    await count(asked)
    assert await asked == [[answer == "7" for answer in answers]] * 4
    assert most == 2
    assert sum(pool.counts.left for pool in pools) >= 2
    for pool in pools:
        await pool.close()
    over = threading.Event()
    assert None not in [seats.take(over), seats.take(over)], "a closed grader kept a seat"


async def test_a_grader_that_waits_for_a_seat_can_be_closed(tmp_path: Path) -> None:
    seats = Seats(tmp_path, count=2)
    over = threading.Event()
    held = [seats.take(over), seats.take(over)]
    pool = Grader(compare, seats=seats)
    stuck = asyncio.create_task(pool.grade("a", ["b"]))
    while not seats.wanted():
        await asyncio.sleep(0.01)
    await pool.close()
    with pytest.raises(InfrastructureError, match="closed"):
        await stuck
    assert None not in held and not seats.wanted()


def test_where_seats_can_not_be_counted_work_goes_on(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "link").symlink_to(tmp_path)
    for folder in (tmp_path / "file" / "seats", tmp_path / "link", Path("/proc/seats")):
        assert Seats(folder, count=2).take(threading.Event()) is None
        assert not Seats(tmp_path / "none", count=2).wanted()


async def test_a_cancelled_caller_does_not_take_the_verdict_from_another() -> None:
    async with grader(timeout_s=0.3) as pool:
        one = asyncio.create_task(pool.grade("a", ["spin"]))
        other = asyncio.create_task(pool.grade("a", ["spin"]))
        await asyncio.sleep(0)
        one.cancel()
        assert await other == [False]


async def test_closing_ends_what_is_under_way() -> None:
    pool = Grader(compare, timeout_s=60)
    stuck = asyncio.create_task(pool.grade("a", ["spin"]))
    while not pool._processes:
        await asyncio.sleep(0.01)
    processes = list(pool._processes)
    await pool.close()
    with pytest.raises(InfrastructureError):
        await stuck
    assert all(process._process.poll() is not None for process in processes)
    with pytest.raises(InfrastructureError, match="closed"):
        await pool.grade("a", ["b"])


def test_two_event_loops_share_one_grader() -> None:
    pool = Grader(compare, timeout_s=10)
    found: list[list[bool]] = []
    threads = [
        threading.Thread(target=lambda: found.append(asyncio.run(pool.grade("a", ["a", "b"]))))
        for _ in range(2)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    asyncio.run(pool.close())
    assert found == [[True, False]] * 2


OWNER = """
import asyncio, os, sys
sys.path[:0] = {paths!r}
from actors.grading.pool import Grader
from test_grader_compare import compare

async def main():
    pool = Grader(compare, timeout_s=600, workers=1)
    asyncio.create_task(pool.grade("a", ["spin"]))
    while not pool._processes:
        await asyncio.sleep(0.01)
    if {fork}:
        if os.fork() == 0:  # keeps the pipes to the process open
            while True:
                await asyncio.sleep(1)
    print(next(iter(pool._processes))._process.pid, flush=True)
    await asyncio.sleep(3600)

asyncio.run(main())
"""


@pytest.fixture
def owner(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[subprocess.Popen[str]]:
    (tmp_path / "test_grader_compare.py").write_text(Path(__file__).read_text(encoding="utf-8"))
    script = OWNER.format(paths=[str(tmp_path), str(ROOT)], fork=request.param)
    process = subprocess.Popen(
        [sys.executable, "-c", script], stdout=subprocess.PIPE, text=True, start_new_session=True
    )
    yield process
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)  # what it forked is still in its group
    process.wait()


@pytest.mark.fault
@pytest.mark.parametrize("owner", [False, True], indirect=True, ids=["alone", "with a fork"])
def test_a_busy_process_dies_with_an_owner_that_was_killed(owner: subprocess.Popen[str]) -> None:
    assert owner.stdout is not None
    pid = int(owner.stdout.readline())
    owner.kill()
    owner.wait()
    deadline = time.monotonic() + 20
    while _alive(pid):
        assert time.monotonic() < deadline, f"process {pid} outlived its owner"
        os.sched_yield()


def _alive(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rsplit(")", 1)[1].split()[0]
    except FileNotFoundError:
        return False
    return state != "Z"


def test_a_killed_process_may_be_killed_again() -> None:
    process = GraderProcess(pickle.dumps((compare, None)), 10, 40)
    assert list(process.compare([("a", "a"), ("a", "b")])) == [True, False]
    process.kill()
    process.close()
    process.close()
