"""The pure parts: verdicts, the fair queue, the requests, the seccomp program, the sweep."""

from __future__ import annotations

import asyncio
import os
import pickle
import subprocess
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path

import pytest

from actors.sandbox import seccomp
from actors.sandbox.contract import (
    Execution,
    Limits,
    Request,
    RequestRejected,
    SandboxSettings,
    SessionDead,
    Verdict,
)
from actors.sandbox.guest import arena, confinement, watch
from actors.sandbox.guest.frames import Frame
from actors.sandbox.guest.supervisor import main
from actors.sandbox.guest.sweep import remove_below
from actors.sandbox.turnstile import Turnstile
from actors.sandbox.wire import execution, is_starved, run_frame

FIELDS: dict[str, object] = {
    "end": "exit",
    "status": 0,
    "wall_s": 1.0,
    "cpu_s": 0.1,
    "peak_kb": 1,
    "delayed_s": 0.0,
    "stdout_truncated": False,
    "stderr_truncated": False,
    "alive": False,
}


def _seen(stderr: bytes = b"", **changes: object) -> Execution:
    return execution(Frame("result", {**FIELDS, **changes}, (b"", stderr)), 0.0, "box")


@pytest.mark.parametrize(
    ("changes", "verdict", "exit_code", "signal"),
    [
        ({"status": 0}, "ok", 0, None),
        ({"status": 3 << 8}, "error", 3, None),
        ({"status": 15}, "killed", None, 15),
        ({"status": 11 | 0x80}, "killed", None, 11),
        ({"status": 24}, "cpu_time", None, 24),
        ({"end": "timeout", "status": None}, "timeout", None, 9),
        ({"end": "memory", "status": None}, "memory", None, 9),
        ({"end": "output", "status": None}, "output", None, 9),
        ({"end": "done", "status": None}, "ok", None, None),
        ({"end": "failed", "status": None}, "error", None, None),
    ],
)
def test_what_the_supervisor_saw_decides_the_verdict(
    changes: dict[str, object], verdict: str, exit_code: int | None, signal: int | None
) -> None:
    seen = _seen(**changes)
    assert (seen.verdict, seen.exit_code, seen.signal) == (Verdict(verdict), exit_code, signal)


@pytest.mark.parametrize(
    ("last_line", "verdict"),
    [
        (b"MemoryError\n", "memory"),
        (b"MemoryError: \n", "memory"),
        (b"numpy._core._exceptions._ArrayMemoryError: Unable to allocate\n", "memory"),
        (b"ValueError: not a MemoryError\n", "error"),
        (b"MemoryError\nValueError: then this\n", "error"),
    ],
)
def test_an_uncaught_memory_error_is_memory(last_line: bytes, verdict: str) -> None:
    assert _seen(b"Traceback\n" + last_line, status=1 << 8).verdict == verdict


@pytest.mark.parametrize(
    ("changes", "starved"),
    [
        ({"end": "timeout", "cpu_s": 0.05, "delayed_s": 0.9}, True),
        ({"end": "timeout", "cpu_s": 0.05, "delayed_s": 0.1}, False),
        ({"end": "timeout", "cpu_s": 0.60, "delayed_s": 0.9}, False),
        ({"end": "exit", "cpu_s": 0.05, "delayed_s": 0.9}, False),
    ],
)
def test_a_deadline_missed_for_want_of_a_processor_is_known(
    changes: dict[str, object], starved: bool
) -> None:
    assert is_starved(Frame("result", {**FIELDS, **changes}, (b"", b""))) is starved


async def test_callers_take_turns_and_each_is_served_in_order() -> None:
    turnstile = Turnstile(1)
    await turnstile.enter("first")
    order: list[str] = []

    async def one(caller: str, number: int) -> None:
        async with turnstile.passed(caller):
            order.append(f"{caller}{number}")

    waiting = [asyncio.create_task(one("a", i)) for i in range(3)]
    waiting += [asyncio.create_task(one("b", i)) for i in range(2)]
    await asyncio.sleep(0)
    turnstile.leave()
    await asyncio.gather(*waiting)
    assert order == ["a0", "b0", "a1", "b1", "a2"]


async def test_a_waiter_cancelled_as_it_is_served_gives_its_place_on() -> None:
    turnstile = Turnstile(1)
    await turnstile.enter()
    first, second = (asyncio.create_task(turnstile.enter()) for _ in range(2))
    await asyncio.sleep(0)
    turnstile.leave()
    first.cancel()
    await asyncio.wait_for(second, 60)
    assert turnstile.waiting == 0


def test_limits_beyond_the_sandboxs_are_rejected_by_name() -> None:
    settings = SandboxSettings()
    with pytest.raises(RequestRejected, match="memory_mb"):
        run_frame(Request(""), replace(Limits(), memory_mb=1 << 20), settings)
    frame = run_frame(Request("x", files={"a/b": b"1"}), Limits(), settings)
    assert frame.blobs == (b"x", b"", b"a/b", b"1")


@pytest.mark.parametrize("error", [SessionDead("why"), RequestRejected("what")])
def test_errors_survive_the_road_between_processes(error: SessionDead | RequestRejected) -> None:
    twin = pickle.loads(pickle.dumps(error))
    assert (type(twin), twin.reason, twin.detail) == (type(error), error.reason, error.detail)


def test_a_tree_deeper_than_a_path_may_be_long_is_removed(tmp_path: Path) -> None:
    here = os.open(".", os.O_RDONLY)
    try:
        os.chdir(tmp_path)
        for _ in range(1500):
            os.mkdir("d" * 50)
            os.chdir("d" * 50)
        os.mkfifo("fifo")
        os.symlink("/etc/passwd", "link")
        os.chmod(".", 0)
        remove_below(str(tmp_path))
    finally:
        os.fchdir(here)
        os.close(here)
    assert list(tmp_path.iterdir()) == []
    assert Path("/etc/passwd").exists()


def test_a_supervisor_refuses_to_be_anything_but_process_one(
    capsys: pytest.CaptureFixture[str],
) -> None:
    # It kills whatever it sees: outside a namespace of its own that would be the whole machine.
    assert os.getpid() != 1
    assert main() == 64
    assert "process 1" in capsys.readouterr().err


def test_a_look_at_the_processes_ends_at_the_deadline() -> None:
    assert os.getpid() in watch.usage().pids
    assert watch.usage(until=time.monotonic() - 1).pids == ()


def test_no_part_of_the_sandbox_reads_the_time_of_day() -> None:
    # A clock that is stepped by an hour in the middle of a run must change nothing.
    package = Path(seccomp.__file__).parent
    for path in package.rglob("*.py"):
        text = path.read_text()
        assert "time.time(" not in text and "datetime.now" not in text, path


def test_pipes_that_only_one_thread_has_count() -> None:
    begun, over, before = threading.Event(), threading.Event(), watch.kernel_bytes((os.getpid(),))

    def hold() -> None:
        assert confinement.libc.unshare(0x400) == 0  # CLONE_FILES: a table of its own
        held = [os.pipe() for _ in range(50)]
        begun.set()
        over.wait()
        for number in (number for pair in held for number in pair):
            os.close(number)

    thread = threading.Thread(target=hold)
    thread.start()
    begun.wait()
    try:
        assert watch.kernel_bytes((os.getpid(),)) - before >= 40 * watch.PIPE_BYTES
    finally:
        over.set()
        thread.join()


def test_memory_behind_a_first_thread_that_has_ended_counts() -> None:
    code = (
        "import ctypes, threading, time\n"
        "def hold():\n block = b'x' * (50 << 20)\n print('held', flush=True)\n time.sleep(60)\n"
        "threading.Thread(target=hold).start()\nctypes.CDLL(None).pthread_exit(None)"
    )
    with subprocess.Popen([sys.executable, "-S", "-c", code], stdout=subprocess.PIPE) as child:
        assert child.stdout is not None and child.stdout.readline() == b"held\n"
        fields = arena.numbers_of(f"/proc/{child.pid}/stat")
        while fields[0] != b"Z":  # it prints before its first thread is gone
            fields = arena.numbers_of(f"/proc/{child.pid}/stat")
        tid, living = watch._other_thread(child.pid, fields)
        assert tid != child.pid and int(living[21]) * watch.PAGE > 50 << 20
        child.kill()


def test_mappings_are_counted_up_to_a_limit() -> None:
    lines = len(Path("/proc/self/maps").read_text().splitlines())
    counted = watch.mapping_bytes((os.getpid(),), 1 << 40) // watch.MAPPING_BYTES
    assert abs(counted - lines) < 10
    assert watch.mapping_bytes((os.getpid(),) * 9, 256) < 9 * 256 * lines
