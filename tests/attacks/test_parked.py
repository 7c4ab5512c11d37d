"""Rows 61, 62 and 71: a session between two blocks neither runs nor grows, and nothing of a solution is
left in memory that a later one can read.
"""

from __future__ import annotations

import asyncio
import os
import textwrap
from dataclasses import replace
from pathlib import Path

import psutil
import pytest
from case import PRELUDE, with_limits
from conftest import Arena

from actors.sandbox import Limits, Request, Verdict, open_sandbox

pytestmark = [pytest.mark.container, pytest.mark.asyncio(loop_scope="session")]

COUNT = """
import mmap
shared = open("/dev/shm/shared", "w+b")
shared.truncate(8192)
count = mmap.mmap(shared.fileno(), 4096)
def tick():
    count[0:8] = (int.from_bytes(count[0:8], "little") + 1).to_bytes(8, "little")
def spin(until=None):
    while True: tick()
"""
LOOK = "print(int.from_bytes(count[0:8], 'little'))"

WAKES = {
    "a thread that goes on": "threading.Thread(target=spin, daemon=True).start()",
    "a child that goes on": "if os.fork() == 0: spin()",
    "a timer of the kernel that sends SIGCONT": """
        class Event(ctypes.Structure):
            _fields_ = [("value", ctypes.c_void_p), ("signo", ctypes.c_int), ("notify", ctypes.c_int), ("rest", ctypes.c_char * 64)]
        timer, every = ctypes.c_int(), (ctypes.c_long * 4)(0, 50_000_000, 0, 50_000_000)
        event = Event(None, signal.SIGCONT, 0)
        print(call(222, 1, ctypes.byref(event), ctypes.byref(timer)))
        print(call(223, timer.value, 0, ctypes.byref(every), None))
        threading.Thread(target=spin, daemon=True).start()
    """,
    "two children that wake each other": """
        pids = mmap.mmap(shared.fileno(), 4096, offset=4096)
        import struct
        def wake(mine, other):
            pids[mine * 4:mine * 4 + 4] = struct.pack("i", os.getpid())
            while True:
                tick()
                pid = struct.unpack("i", pids[other * 4:other * 4 + 4])[0]
                try: pid and os.kill(pid, signal.SIGCONT)
                except OSError: pass
        for mine in range(6):
            if os.fork() == 0: wake(mine, (mine + 1) % 6)
    """,
    "a file that sends SIGCONT when it can be read": """
        import fcntl
        ours, theirs = socket.socketpair()
        for number, value in ((fcntl.F_SETOWN, os.getpid()), (10, signal.SIGCONT)):
            try: fcntl.fcntl(ours, number, value)
            except OSError as error: print(error)
        try: fcntl.fcntl(ours, fcntl.F_SETFL, fcntl.fcntl(ours, fcntl.F_GETFL) | 0o20000)
        except OSError as error: print(error)
        threading.Thread(target=spin, daemon=True).start()
    """,
    "a child whose end sends SIGCONT": """
        for _ in range(4):
            pid = call(56, signal.SIGCONT, 0, 0, 0, 0)[0]
            if pid == 0:
                signal.alarm(1)
                spin()
        threading.Thread(target=spin, daemon=True).start()
    """,
    "interval timers": """
        signal.signal(signal.SIGALRM, lambda *seen: tick())
        signal.setitimer(signal.ITIMER_REAL, 0.01, 0.01)
    """,
}


def inside(box: str) -> list[psutil.Process]:
    """All processes of a box, as the host sees them."""
    name = box.rpartition("-")[0]
    if name.startswith("bwrap-"):
        root = psutil.Process(int(name.removeprefix("bwrap-")))
        return [root, *root.children(recursive=True)]
    found = []
    for process in psutil.process_iter():
        try:
            if name in Path(f"/proc/{process.pid}/cgroup").read_text():
                found.append(process)
        except OSError:
            continue
    return found


def processor_time(box: str) -> float:
    """CPU seconds of a box's living processes."""
    total = 0.0
    for process in inside(box):
        try:
            spent = process.cpu_times()
        except psutil.Error:
            continue
        total += spent.user + spent.system
    return total


@pytest.mark.parametrize("wake", WAKES.values(), ids=WAKES)
async def test_a_parked_session_does_not_run_whatever_it_prepared(wake: str, arena: Arena) -> None:
    limits = with_limits(wall_s=10, cpu_s=10)
    async with arena.crowd.session("parked") as session:
        first = await session.run(PRELUDE + COUNT + textwrap.dedent(wake), limits)
        assert first.verdict is Verdict.OK, first
        await asyncio.sleep(0.2)
        before = processor_time(first.sandbox_id)
        await asyncio.sleep(1.5)
        assert processor_time(first.sandbox_id) - before < 0.1
        # It goes on where it was.
        seen = await session.run("time.sleep(0.3)\n" + LOOK, limits)
        assert seen.verdict is Verdict.OK, seen
        assert int(seen.stdout) > 0 or "alarm" in wake or "Event" in wake


async def test_memory_taken_at_the_end_of_a_block_counts(arena: Arena) -> None:
    grow = """
import os, time
for _ in range(8):
    if os.fork() == 0:
        block = bytearray(os.urandom(1 << 16) * (60 << 4))
        os.write(1, b".")
        time.sleep(60)
time.sleep(1.2)
"""
    async with arena.crowd.session("large") as session:
        seen = await session.run(grow, with_limits(wall_s=12, cpu_s=12))
        assert seen.verdict is Verdict.MEMORY, seen


async def test_what_lies_in_scratch_space_is_memory(arena: Arena) -> None:
    if arena.name == "docker-runsc":
        pytest.skip("gVisor tells no process's share of memory")
    limits = Limits(
        memory_mb=64, scratch_mb=128, scratch_files=64, file_mb=128, wall_s=15, cpu_s=15
    )
    settings = replace(arena.sandbox.settings, slots=1, sessions=2, limits=limits)
    fill = "with open('/tmp/large', 'wb') as f:\n    for _ in range({}): f.write(bytes(1 << 20))"
    sandbox = open_sandbox(settings)
    await sandbox.start()
    try:
        seen = await sandbox.run(Request(fill.format(120) + "\nimport time\ntime.sleep(10)"))
        assert seen.verdict is Verdict.MEMORY, seen
        async with sandbox.session("full") as session:
            assert (await session.run(fill.format(1))).verdict is Verdict.OK
            seen = await session.run(fill.format(120))
            assert seen.verdict is Verdict.MEMORY, seen
    finally:
        await sandbox.close()


LEFT = (
    PRELUDE
    + """
import subprocess
word = sys.stdin.read().strip()
print(word, word, sep="\\n" * 3)
print(word, file=sys.stderr)
open("/tmp/x-" + word, "w").write(word * 100)
os.mkdir("/dev/shm/" + word)
libc.prctl(15, word.encode()[:15], 0, 0, 0)
threading.Thread(target=time.sleep, args=(0.2,), name=word).start()
"""
)
SCAN = """
import ctypes, os, re
word = bytes(reversed({word!r}))
own = [id(word)]
found = []
pipe = os.pipe()
os.set_blocking(pipe[0], False)
half = len(word) // 2
for line in open("/proc/self/maps"):
    span, modes, *rest = line.split()
    if "r" not in modes or line.rstrip().endswith(("[vvar]", "[vsyscall]", "[vvar_vclock]")): continue
    low, high = (int(part, 16) for part in span.split("-"))
    while low < high:
        size = min(high - low, 1 << 20)
        data = ctypes.string_at(low, size)
        for at in re.finditer(re.escape(word), data): found.append((rest[-1], low + at.start(), bytes(data[max(0, at.start() - 30):at.end() + 30])))
        low += size
        del data
print(len(found), found[:6])
"""


@pytest.mark.parametrize("kind", ["run", "session"])
async def test_a_solution_finds_nothing_of_an_earlier_one_in_its_memory(
    kind: str, arena: Arena
) -> None:
    word = os.urandom(8).hex()[:15]
    # The scan makes the word of its reverse: what it finds beyond its own copies was left.
    scan = SCAN.format(word=word.encode()[::-1])
    if kind == "run":
        clean = await arena.sandbox.run(Request(scan), with_limits(wall_s=15, cpu_s=15))
        files = {f"{word}/a": word.encode() * 3}
        code = LEFT + f"# {word}\n"
        left = await arena.sandbox.run(Request(code, word.encode() + b"\n", files))
        assert left.verdict is Verdict.OK and word in left.stdout, left
        seen = await arena.sandbox.run(Request(scan), with_limits(wall_s=15, cpu_s=15))
        assert seen.sandbox_id == left.sandbox_id
    else:
        async with arena.sandbox.session("scan") as session:
            clean = await session.run(scan, with_limits(wall_s=15, cpu_s=15))
        async with arena.sandbox.session("left") as session:
            for _ in range(3):
                left = await session.run(f"mine = '{word}'\nprint(mine * 9)\n1/0 #{word}")
                assert word in left.stdout, left
        async with arena.sandbox.session("scan") as session:
            seen = await session.run(scan, with_limits(wall_s=15, cpu_s=15))
        assert seen.sandbox_id == left.sandbox_id
    assert (clean.verdict, seen.verdict) == (Verdict.OK, Verdict.OK), (clean, seen)
    assert seen.stdout.split()[0] == clean.stdout.split()[0], seen.stdout
