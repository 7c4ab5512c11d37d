"""The sandbox contract: code in, verdict and output out.

Invariant: a verdict speaks about the code that was run and about nothing else. The sandbox's own
trouble is `SandboxUnavailable` or `SandboxLost`; a request that no sandbox would run is
`RequestRejected`; a block for an interpreter that is gone is `SessionDead`. Every `run` ends in
exactly one of these, by its wall limit plus one second.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Annotated, Protocol

from pydantic import Field

from storage.bounds import Count, Positive, Seconds
from storage.errors import ItemError

LEAST_SLOTS = 4
MOST_SESSIONS = 256
"""Sessions of one sandbox where their number is left open: at some 60 MB each, 15 GB."""
MOST_OUTPUT_BYTES = 16 << 20


class Verdict(StrEnum):
    """What became of the code. Closed: nothing else is ever reported."""

    OK = "ok"
    ERROR = "error"
    """An exception nobody caught, or an exit code other than 0."""
    TIMEOUT = "timeout"
    CPU_TIME = "cpu_time"
    MEMORY = "memory"
    OUTPUT = "output"
    """Wrote more than `output_bytes` to stdout or stderr; the prefix is kept."""
    KILLED = "killed"
    """Ended by a signal that the sandbox did not send."""


class SessionDead(ItemError):
    """The session's interpreter is gone (a limit, a crash, an exit): no block can run in it."""

    def __init__(self, detail: str = "") -> None:
        super().__init__("session_dead", detail)

    def __reduce__(self) -> tuple[type[SessionDead], tuple[str]]:  # type: ignore[override]
        """Survive pickling: the constructor takes the detail alone."""
        return type(self), (self.detail,)


class Rejected(StrEnum):
    """Why the sandbox does not take what it is to run; closed."""

    REQUEST_REJECTED = "request_rejected"
    """Code, or what it is given, is too large, or no text."""


class RequestRejected(ItemError):
    """The request itself can't be run: a forbidden file name, too many bytes, a limit too high."""

    def __init__(self, detail: str = "") -> None:
        super().__init__(Rejected.REQUEST_REJECTED, detail)

    def __reduce__(self) -> tuple[type[RequestRejected], tuple[str]]:  # type: ignore[override]
        """Survive pickling: the constructor takes the detail alone."""
        return type(self), (self.detail,)


@dataclass(frozen=True, slots=True)
class Limits:
    """What one run or one block may use. All of them are enforced from outside the code."""

    wall_s: Seconds = 5.0
    """Wall-clock seconds, by a monotonic clock; the paper's 5 s."""
    cpu_s: Seconds = 5.0
    """CPU seconds of all processes of the run together."""
    memory_mb: Positive = 512
    """Memory of all processes of the run together, beyond the warm interpreter's own."""
    pids: Positive = 32
    """Processes and threads at once."""
    output_bytes: Annotated[int, Field(ge=1, le=MOST_OUTPUT_BYTES)] = 1 << 20
    """Bytes kept of stdout, and of stderr; one more ends the run."""
    scratch_mb: Positive = 16
    """Size of /tmp, and of /dev/shm. Fixed for a sandbox when it is opened."""
    scratch_files: Positive = 256
    """Inodes of /tmp, and of /dev/shm. Fixed for a sandbox when it is opened."""
    open_files: Positive = 64
    file_mb: Positive = 8
    """Size of one file."""


@dataclass(frozen=True, slots=True)
class Request:
    """One script for one fresh interpreter, run in /tmp beside its files."""

    code: str
    stdin: bytes = b""
    files: Mapping[str, bytes] = field(default_factory=dict)
    """Relative path -> content."""


@dataclass(frozen=True, slots=True)
class Execution:
    """What happened. Text is UTF-8; bytes that are not are shown as U+FFFD."""

    verdict: Verdict
    exit_code: int | None
    """None where a signal ended the process, and for a block after which the session lives on."""
    signal: int | None
    stdout: str
    stderr: str
    stdout_truncated: bool
    stderr_truncated: bool
    wall_s: float
    cpu_s: float
    peak_memory_kb: int
    """Largest resident size of one process of the run, the warm interpreter's pages included."""
    queued_s: float
    """Waiting for a slot; not part of `wall_s`."""
    sandbox_id: str


class Session(Protocol):
    """One interpreter across the code blocks of one solution."""

    async def run(self, code: str, limits: Limits | None = None) -> Execution:
        """Run one block; variables of earlier blocks are visible.

        A block that raises leaves the session alive. Raises SessionDead once the interpreter is
        gone, RequestRejected, SandboxLost or SandboxUnavailable.
        """
        ...


class Sandbox(Protocol):
    """Runs strangers' code."""

    async def run(self, request: Request, limits: Limits | None = None) -> Execution:
        """Run one script in a fresh interpreter.

        Raises RequestRejected, SandboxLost or SandboxUnavailable (after the retry budget).
        """
        ...

    def session(self, key: str) -> AbstractAsyncContextManager[Session]:
        """Hold one interpreter: `async with sandbox.session(solution_id) as session`."""
        ...

    async def close(self) -> None:
        """End every run and remove every container and process. Idempotent."""
        ...


class Backend(StrEnum):
    """Where interpreters live."""

    DOCKER = "docker"
    BUBBLEWRAP = "bubblewrap"
    AUTO = "auto"
    """Docker where an engine answers or can be started, bubblewrap elsewhere."""


@dataclass(frozen=True, slots=True)
class SandboxSettings:
    """Everything that decides how code is run."""

    backend: Backend = Backend.AUTO
    runtime: str = "runc"
    """OCI runtime of the docker backend: `runc`, or `runsc` (gVisor) where installed."""
    slots: Count = 0
    """Runs and blocks at once; 0: one for each processor where they run, at least 4. A session
    holds a slot only while a block of it runs."""
    sessions: Count = 0
    """Most sessions open at once, parked ones included; 0: twice as many as the model that asks for
    them has sequences in flight, at most 256; fewer than `slots`: as many as those. A solution
    keeps its session while the model writes on, so this bounds how many are written at once. More
    than are in flight are opened only while code runs for so long that the engine waits for it. A
    parked session takes no slot but the memory of its box: some 60 MB and what it made."""
    image: str = ""
    """Digest (`sha256:…`) the sandbox image must have; empty: whatever this checkout builds."""
    limits: Limits = field(default_factory=Limits)
    """Defaults of a run, and the most that a run may ask for in memory, processes and files."""
    longest_wall_s: Seconds = 120.0
    """The most wall or CPU seconds that one run may ask for."""
    largest_input_bytes: Positive = 8 << 20
    """Code, stdin and files of one request together."""
    warm: tuple[str, ...] = ("numpy", "sympy", "scipy")
    """Imported before forking. Each megabyte here costs every run some 30 microseconds: scipy's
    parts (69 MB) are left to the few scripts that use them; add `scipy.optimize` where many do."""
    cpus: Annotated[float, Field(gt=0)] = 1.0
    """CPU share of one box (docker; bubblewrap has none)."""
    docker_host: str = ""
    """`unix:///…` or `tcp://…`; empty: DOCKER_HOST, the default socket, then a private engine."""
    reaper_period_s: Seconds = 30.0
    """What a dead owner leaves behind is gone within this time."""
    attempts: Positive = 3
    """Sandboxes tried for one run before the infrastructure's error is raised."""
    state_dir: str = ""
    """Where images and the private engine live; empty: STEPMILL_SANDBOX_DIR or the user's cache."""

    def __post_init__(self) -> None:
        asked = max(self.limits.wall_s, self.limits.cpu_s)
        if asked > self.longest_wall_s:
            raise ValueError(
                f"limits of {asked:g} s are above longest_wall_s ({self.longest_wall_s:g}): every "
                f"block would be refused"
            )

    def for_in_flight(self, sequences: int) -> SandboxSettings:
        """With sessions for so many sequences in flight, where their number is left open."""
        return self if self.sessions else replace(self, sessions=min(2 * sequences, MOST_SESSIONS))

    def here(self) -> SandboxSettings:
        """With slots for the machine that it runs on, where their number is left open."""
        return (
            self
            if self.slots
            else replace(self, slots=max(LEAST_SLOTS, len(os.sched_getaffinity(0))))
        )

    @property
    def most_sessions(self) -> int:
        """Boxes at most: sessions open at once, and runs."""
        return max(self.slots, self.sessions)
