"""What the solution's processes use, as the supervisor sees it while they run.

Invariant: reads only; a process that ends while it is looked at counts as using nothing.
"""

from __future__ import annotations

import math
import os
import time
from dataclasses import dataclass

TICK = os.sysconf("SC_CLK_TCK")
PAGE = os.sysconf("SC_PAGE_SIZE")
OOM_COUNTERS = (
    "/sys/fs/cgroup/memory/memory.oom_control",
    "/sys/fs/cgroup/memory.events",
)


@dataclass(frozen=True)
class Usage:
    """Of all processes but the supervisor."""

    cpu_s: float
    resident: int
    pids: tuple[int, ...]


def usage(until: float = math.inf) -> Usage:
    """Add up the processes of this box; the supervisor is process 1.

    Ends at `until` (monotonic) with what it has: among processes that fight for the processor a
    look can take longer than the run has left, and a deadline must not wait for it.
    """
    ticks, pages, pids = 0, 0, []
    for name in os.listdir("/proc"):
        if time.monotonic() > until:
            break
        if not name.isdigit() or name == "1":
            continue
        try:
            with open(f"/proc/{name}/stat", "rb") as file:
                fields = file.read().rpartition(b")")[2].split()
        except OSError:
            continue
        ticks += sum(int(fields[i]) for i in (11, 12, 13, 14))
        pages += int(fields[21])
        pids.append(int(name))
    return Usage(ticks / TICK, pages * PAGE, tuple(pids))


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


def peak_kb(pid: int) -> int:
    """Largest resident size that a living process has had; 0 where it can't be read."""
    try:
        with open(f"/proc/{pid}/status") as file:
            return next((int(line.split()[1]) for line in file if line.startswith("VmHWM:")), 0)
    except OSError:
        return 0


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
