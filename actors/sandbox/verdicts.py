"""From what the supervisor saw to a verdict.

Invariant: a pure function of the deadline, counters and wait status that the supervisor reports,
total over every well-formed result; the code's own words decide only between `error` and `memory`,
both of which it could reach by itself.
"""

from __future__ import annotations

import re
import signal

from actors.sandbox.contract import Execution, Verdict
from actors.sandbox.guest.frames import Frame, FrameError

LIMITS = {
    "timeout": Verdict.TIMEOUT,
    "cpu_time": Verdict.CPU_TIME,
    "memory": Verdict.MEMORY,
    "output": Verdict.OUTPUT,
    "stopped": Verdict.KILLED,
}
OUT_OF_MEMORY = re.compile(r"^(\w+\.)*_?\w*MemoryError(:|$)")
"""Python's own, and numpy's `_ArrayMemoryError`."""


STARVED_SHARE = 0.5
"""Of the wall time: ready to run, and not let."""


def is_starved(result: Frame) -> bool:
    """True where a deadline was missed because the machine gave the code no processor."""
    wall, delayed = result.number("wall_s"), result.number("delayed_s")
    idle = result.number("cpu_s") < 0.25 * wall
    return result.text("end") == "timeout" and idle and delayed > STARVED_SHARE * wall


def execution(result: Frame, queued_s: float, sandbox_id: str) -> Execution:
    """Read a `result`. Raises FrameError where it is not one."""
    if len(result.blobs) != 2:
        raise FrameError("a result has two blobs")
    stdout, stderr = (blob.decode("utf-8", "replace") for blob in result.blobs)
    end = result.text("end")
    exit_code: int | None = None
    number: int | None = None
    if end in LIMITS:
        verdict = LIMITS[end]
        if verdict is not Verdict.KILLED or end == "stopped":
            number = int(signal.SIGKILL)
    elif end == "exit":
        status = result.integer("status", 0, 0xFFFF)
        number, exit_code = (status & 0x7F, None) if status & 0x7F else (None, status >> 8)
        verdict = _of_exit(exit_code, number, stderr)
    elif end in ("done", "failed"):
        verdict = Verdict.OK if end == "done" else _of_failure(stderr)
    else:
        raise FrameError(f"unknown end {end}")
    return Execution(
        verdict=verdict,
        exit_code=exit_code,
        signal=number,
        stdout=stdout,
        stderr=stderr,
        stdout_truncated=result.flag("stdout_truncated"),
        stderr_truncated=result.flag("stderr_truncated"),
        wall_s=result.number("wall_s"),
        cpu_s=result.number("cpu_s"),
        peak_memory_kb=result.integer("peak_kb"),
        queued_s=queued_s,
        sandbox_id=sandbox_id,
    )


def _of_exit(exit_code: int | None, number: int | None, stderr: str) -> Verdict:
    if number == signal.SIGXCPU:
        return Verdict.CPU_TIME
    if number is not None:
        return Verdict.KILLED
    return Verdict.OK if exit_code == 0 else _of_failure(stderr)


def _of_failure(stderr: str) -> Verdict:
    last = stderr.rstrip().rpartition("\n")[2]
    return Verdict.MEMORY if OUT_OF_MEMORY.match(last) else Verdict.ERROR
