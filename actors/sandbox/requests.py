"""What the host refuses before a sandbox sees it, and the frames it sends otherwise.

Invariant: a request that passes can be written on the supervisor's stream as it is; whatever is
wrong with it is `RequestRejected`, which names the part and the reason.
"""

from __future__ import annotations

from actors.sandbox.contract import (
    MOST_OUTPUT_BYTES,
    Limits,
    Request,
    RequestRejected,
    SandboxSettings,
)
from actors.sandbox.guest.frames import Frame

LONGEST_NAME = 255
LONGEST_PATH = 1024


def run_frame(request: Request, limits: Limits, settings: SandboxSettings) -> Frame:
    """Return the frame for one script."""
    code = _encoded(request.code)
    names = [checked_name(name) for name in request.files]
    contents = tuple(request.files.values())
    if len(names) > limits.scratch_files // 2:
        raise RequestRejected(f"{len(names)} files; at most {limits.scratch_files // 2}")
    _check_size(len(code) + len(request.stdin) + sum(map(len, contents)), settings)
    fields: dict[str, object] = {**limit_fields(limits, settings), "files": names}
    return Frame("run", fields, (code, request.stdin, *contents))


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
        asked, allowed = getattr(limits, name), getattr(most, name)
        if not 0 < asked <= allowed:
            raise RequestRejected(f"{name} is {asked}; this sandbox was opened with {allowed}")
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
