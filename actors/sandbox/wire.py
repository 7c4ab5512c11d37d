"""Both directions of the wire: makes frames of requests, and verdicts of results.

Invariant: a request that passes can be sent as it is. Any other raises `RequestRejected`, which
names the part and the reason. A verdict is a pure function of the deadline, counters and wait
status that the supervisor reports; every well-formed result has one. The code's own output decides
only between `error` and `memory`, and the code could cause either by itself.
"""

from __future__ import annotations

import re
import signal

from actors.sandbox.box import Box
from actors.sandbox.contract import (
    MOST_OUTPUT_BYTES,
    Execution,
    Limits,
    Request,
    RequestRejected,
    SandboxSettings,
    Verdict,
)
from actors.sandbox.guest.frames import Frame, FrameError

LONGEST_NAME = 255
LONGEST_PATH = 1024
ENDS = {
    "timeout": Verdict.TIMEOUT,
    "cpu_time": Verdict.CPU_TIME,
    "memory": Verdict.MEMORY,
    "output": Verdict.OUTPUT,
    "stopped": Verdict.KILLED,
}
OUT_OF_MEMORY = re.compile(r"^(\w+\.)*_?\w*MemoryError(:|$)")
"""Python's own, and numpy's `_ArrayMemoryError`."""
STARVED_SHARE = 0.5
"""Least share of the wall time, ready but without a processor, that counts as starved."""


def run_frame(request: Request, limits: Limits, settings: SandboxSettings) -> Frame:
    """Return the frame for one script."""
    code = _encoded(request.code)
    names = [checked_name(name) for name in request.files]
    contents = tuple(request.files.values())
    if len(names) > limits.scratch_files // 2:
        raise RequestRejected(f"{len(names)} files; at most {limits.scratch_files // 2}")
    _check_size(len(code) + len(request.stdin) + sum(map(len, contents)), settings)
    # The names are in a blob, since the supervisor keeps what is in a header.
    paths = "\0".join(names).encode()
    return Frame("run", limit_fields(limits, settings), (code, request.stdin, paths, *contents))


def open_frame(limits: Limits, settings: SandboxSettings) -> Frame:
    """Return the frame that opens a session."""
    return Frame("open", limit_fields(limits, settings))


def block_frame(code: str, limits: Limits, settings: SandboxSettings) -> Frame:
    """Return the frame for one block of a session."""
    encoded = _encoded(code)
    _check_size(len(encoded), settings)
    return Frame("block", limit_fields(limits, settings), (encoded,))


def limit_fields(limits: Limits, settings: SandboxSettings) -> dict[str, object]:
    """Check limits against the sandbox's own and return them as fields."""
    most = settings.limits
    for name in ("memory_mb", "pids", "open_files", "file_mb", "scratch_mb", "scratch_files"):
        value, allowed = getattr(limits, name), getattr(most, name)
        if not 0 < value <= allowed:
            raise RequestRejected(f"{name} is {value}; this sandbox was opened with {allowed}")
    for name in ("wall_s", "cpu_s"):
        if not 0 < getattr(limits, name) <= settings.longest_wall_s:
            raise RequestRejected(f"{name} must be above 0 and at most {settings.longest_wall_s}")
    if not 0 < limits.output_bytes <= MOST_OUTPUT_BYTES:
        raise RequestRejected("output_bytes must be above 0 and at most 16 MiB")
    return {
        "wall_s": float(limits.wall_s),
        "cpu_s": float(limits.cpu_s),
        "memory_bytes": limits.memory_mb << 20,
        "pids": limits.pids,
        "output_bytes": limits.output_bytes,
        "open_files": limits.open_files,
        "file_bytes": limits.file_mb << 20,
    }


def checked_name(name: str) -> str:
    """Return a relative path that stays below the working folder."""
    try:
        encoded = name.encode("utf-8")
    except UnicodeEncodeError as error:
        raise RequestRejected(f"file name {name!r} is not UTF-8") from error
    parts = name.split("/")
    if not name or "\0" in name or len(encoded) > LONGEST_PATH:
        raise RequestRejected(f"file name {name[:60]!r} is empty, too long or holds NUL")
    # `a//b`, `./a` and `a/` would be second spellings of one file.
    if any(part in ("", ".", "..") or len(part.encode()) > LONGEST_NAME for part in parts):
        raise RequestRejected(f"file name {name[:60]!r} is not a plain relative path")
    return name


def _encoded(code: str) -> bytes:
    try:
        return code.encode("utf-8")
    except UnicodeEncodeError as error:
        raise RequestRejected("code is not Unicode text") from error


def _check_size(size: int, settings: SandboxSettings) -> None:
    if size > settings.largest_input_bytes:
        raise RequestRejected(f"{size} bytes of input; at most {settings.largest_input_bytes}")


def is_starved(result: Frame) -> bool:
    """True if a deadline was missed because the machine gave the code no processor."""
    wall, delayed = result.number("wall_s"), result.number("delayed_s")
    idle = result.number("cpu_s") < 0.25 * wall
    return result.text("end") == "timeout" and idle and delayed > STARVED_SHARE * wall


def held_kb(result: Frame) -> int:
    """Memory that a session holds after a block, beyond its box's own. Raises FrameError."""
    return result.integer("held_kb") if "held_kb" in result.fields else 0


def execution(result: Frame, queued_s: float, sandbox_id: str, backend: str = "") -> Execution:
    """Read a `result` frame. Raises FrameError if it is none."""
    if len(result.blobs) != 2:
        raise FrameError("a result has two blobs")
    stdout, stderr = (blob.decode("utf-8", "replace") for blob in result.blobs)
    end = result.text("end")
    exit_code: int | None = None
    number: int | None = None
    if end in ENDS:
        verdict = ENDS[end]
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
        backend=backend,
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


def convicted(boxes: int, queued_s: float, last: Box) -> Execution:
    """The verdict on code with which so many boxes ended, while other code runs."""
    return Execution(
        verdict=Verdict.KILLED,
        exit_code=None,
        signal=int(signal.SIGKILL),
        stdout="",
        stderr=f"{boxes} sandboxes of {boxes} ended with this code, and other code runs in them\n",
        stdout_truncated=False,
        stderr_truncated=False,
        wall_s=0.0,
        cpu_s=0.0,
        peak_memory_kb=0,
        queued_s=queued_s,
        sandbox_id=last.id,
        backend=last.backend,
    )
