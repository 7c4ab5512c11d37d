"""What the solution's processes use, as the supervisor sees it while they run.

Invariant: reads only; a process that ends while it is looked at counts as using nothing.
"""

from __future__ import annotations

import contextlib
import math
import os
import stat
import time
from dataclasses import dataclass

from . import arena
from .confinement import SCRATCH

TICK = os.sysconf("SC_CLK_TCK")
PAGE = os.sysconf("SC_PAGE_SIZE")
OOM_COUNTERS = (
    "/sys/fs/cgroup/memory/memory.oom_control",
    "/sys/fs/cgroup/memory.events",
)
CPU_COUNTERS = (
    ("/sys/fs/cgroup/cpuacct/cpuacct.usage", b"", 1e9),
    ("/sys/fs/cgroup/cpu,cpuacct/cpuacct.usage", b"", 1e9),
    ("/sys/fs/cgroup/cpu.stat", b"usage_usec", 1e6),
)
"""Files of a container's own cgroup, the name before their number, and units a second."""
SOCKET_BYTES, PIPE_BYTES = 256 << 10, 64 << 10
"""What a full one holds: the kernel's default send buffer and one packet more; sixteen pages."""
MAPPING_BYTES = 256
"""What the kernel holds for each mapping of a process."""


@dataclass(frozen=True)
class Usage:
    """Of all processes but the supervisor."""

    cpu_s: float
    resident: int
    mappings: int
    """Most bytes that the kernel may hold for mappings: as if each page were one."""
    pids: tuple[int, ...]
    """A living thread of each."""
    threads: int
    scratch: int
    """Bytes in the scratch space: memory that is no process's."""


def usage(until: float = math.inf) -> Usage:
    """Add up the processes of this box; the supervisor is process 1.

    Ends at `until` (monotonic) with what it has: among processes that fight for the processor a
    look can take longer than the run has left, and a deadline must not wait for it.
    """
    ticks, pages, space, threads, pids = 0, 0, 0, 0, []
    for name in os.listdir("/proc"):
        if time.monotonic() > until:
            break
        if not name.isdigit() or name == "1":
            continue
        try:
            tid, fields = int(name), arena.numbers_of(f"/proc/{name}/stat")
            ticks += sum(int(fields[i]) for i in (11, 12, 13, 14))
            if fields[0] == b"Z" and fields[17] != b"1":
                tid, fields = _other_thread(tid, fields)
        except OSError:
            continue
        pages += int(fields[21])
        space += int(fields[20])
        threads += int(fields[17])
        pids.append(tid)
    mappings = space // PAGE * MAPPING_BYTES
    # All see the same one, but a process of ours that reaps and sees another, which is empty.
    scratch = next(filter(None, map(_scratch_bytes, pids)), 0)
    return Usage(ticks / TICK, pages * PAGE, mappings, tuple(pids), threads, scratch)


def _scratch_bytes(pid: int) -> int:
    """What lies in the scratch space that a process sees; 0 where the kernel does not say."""
    total = 0
    for path in SCRATCH:
        with contextlib.suppress(OSError):
            seen = os.statvfs(f"/proc/{pid}/root{path}")
            total += (seen.f_blocks - seen.f_bfree) * seen.f_frsize
    return total


def _other_thread(pid: int, fields: list[bytes]) -> tuple[int, list[bytes]]:
    """A thread of a process whose first one has ended, and its `stat`: the first holds nothing."""
    for name in os.listdir(f"/proc/{pid}/task"):
        with contextlib.suppress(OSError):
            found = arena.numbers_of(f"/proc/{pid}/task/{name}/stat")
            if found[0] not in (b"Z", b"X"):
                return int(name), found
    return pid, fields


def proportional_bytes(pids: tuple[int, ...]) -> int:
    """Memory of the processes, shared pages divided by their sharers; 0 where it can't be read."""
    total = 0
    for pid in pids:
        try:
            with open(f"/proc/{pid}/smaps_rollup") as file:
                total += sum(int(line.split()[1]) for line in file if line.startswith("Pss:"))
        except OSError:
            continue
    return total * 1024


def kernel_bytes(pids: tuple[int, ...]) -> int:
    """Most memory that the kernel may hold for the sockets and pipes of this box's processes."""
    pipes: set[int] = set()
    for pid in pids:
        with contextlib.suppress(OSError):
            for tid in os.listdir(f"/proc/{pid}/task"):  # each can have descriptors of its own
                pipes |= _pipes_of(f"/proc/{pid}/task/{tid}/fd")
    return kernel_ceiling(len(pipes))


def kernel_ceiling(pipes: int) -> int:
    """The same for so many pipes; every socket of the box's network counts as full.

    Descriptors of many threads take long to list: how many they can have at most often decides.
    """
    sockets = arena.value_in("/proc/net/sockstat", b"sockets: used ")
    return pipes * PIPE_BYTES + sockets * SOCKET_BYTES


def mapping_bytes(pids: tuple[int, ...], most: int) -> int:
    """Bytes that the kernel holds for the mappings of these processes; at most little more than
    `most`.
    """
    total = 0
    for pid in pids:
        with contextlib.suppress(OSError):
            total += MAPPING_BYTES * arena.lines_in(f"/proc/{pid}/maps", most // MAPPING_BYTES)
        if total > most:
            break
    return total


def _pipes_of(folder: str) -> set[int]:
    pipes: set[int] = set()
    with contextlib.suppress(OSError):
        for number in os.listdir(folder):
            with contextlib.suppress(OSError):
                # Not by the link's text, which can hold a name that the solution chose.
                file = os.stat(f"{folder}/{number}")
                if stat.S_ISFIFO(file.st_mode):
                    pipes.add(file.st_ino)
    return pipes


def box_cpu_s() -> float:
    """CPU time of all that ran in this box, but this process's own; 0 where no cgroup counts it.

    In it is the time of children that nobody waited for, which no process's own counters have.
    """
    for path, name, unit in CPU_COUNTERS:
        if spent := arena.value_in(path, name):
            return spent / unit - time.process_time()
    return 0.0


def peak_kb(pid: int) -> int:
    """Largest resident size that a living process has had; 0 where it can't be read."""
    return arena.value_in(f"/proc/{pid}/status", b"\nVmHWM:")


def running_s(pid: int) -> float:
    """CPU time of a process so far, more exactly than in ticks; 0 where the kernel does not say."""
    try:
        with open(f"/proc/{pid}/schedstat") as file:
            return int(file.read().split()[0]) / 1e9
    except (OSError, IndexError, ValueError):
        return 0.0


def delayed_s(pid: int) -> float:
    """How long a process was ready to run and was not let; 0 where the kernel does not say."""
    try:
        with open(f"/proc/{pid}/schedstat") as file:
            return int(file.read().split()[1]) / 1e9
    except (OSError, IndexError, ValueError):
        return 0.0


def resident_bytes() -> int:
    """Resident size of this process."""
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * PAGE


def virtual_bytes() -> int:
    """Address space of this process."""
    with open("/proc/self/statm") as file:
        return int(file.read().split()[0]) * PAGE


def oom_kills() -> int:
    """How often the kernel killed in this box for want of memory; 0 where it does not say."""
    for path in OOM_COUNTERS:
        try:
            with open(path) as file:
                for line in file:
                    name, _, value = line.partition(" ")
                    if name == "oom_kill":
                        return int(value)
        except OSError:
            continue
    return 0
