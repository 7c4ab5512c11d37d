"""The sandbox contract: code in, verdict and output out.

Invariant: a verdict speaks only about the code that was run. A failure of the sandbox itself is
`SandboxUnavailable` or `SandboxLost`. A request that no sandbox would run is `RequestRejected`. A
block for an interpreter that has ended is `SessionDead`. Every `run` ends in exactly one of these,
by its wall limit plus one second.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Annotated, Protocol

from pydantic import Field

from actors.machines.machine import host_memory
from storage.bounds import Count, Plain, Positive, Seconds
from storage.errors import ItemError

LEAST_SLOTS = 4
MOST_SESSIONS = 1024
"""Most sessions of one sandbox by default: twice as many as an engine has places. `parked_mb` keeps
them from taking more than half of the memory, at some 60 MB each."""
MOST_OUTPUT_BYTES = 16 << 20


class Verdict(StrEnum):
    """How the code ended. A closed list."""

    OK = "ok"
    ERROR = "error"
    """An uncaught exception, or an exit code other than 0."""
    TIMEOUT = "timeout"
    CPU_TIME = "cpu_time"
    MEMORY = "memory"
    OUTPUT = "output"
    """Wrote more than `output_bytes` to stdout or stderr; the prefix is kept."""
    KILLED = "killed"
    """Ended by a signal that the sandbox did not send."""


class SessionDead(ItemError):
    """The session's interpreter has ended (a limit, a crash, an exit) and can run no block."""

    def __init__(self, detail: str = "") -> None:
        super().__init__("session_dead", detail)

    def __reduce__(self) -> tuple[type[SessionDead], tuple[str]]:  # type: ignore[override]
        """Survive pickling: the constructor takes the detail alone."""
        return type(self), (self.detail,)


class Rejected(StrEnum):
    """Why the sandbox refuses to run something. A closed list."""

    REQUEST_REJECTED = "request_rejected"
    """The code or its input is too large, or is no text."""


class RequestRejected(ItemError):
    """The request itself can't be run: a forbidden file name, too many bytes, a limit too high."""

    def __init__(self, detail: str = "") -> None:
        super().__init__(Rejected.REQUEST_REJECTED, detail)

    def __reduce__(self) -> tuple[type[RequestRejected], tuple[str]]:  # type: ignore[override]
        """Survive pickling: the constructor takes the detail alone."""
        return type(self), (self.detail,)


@dataclass(frozen=True, slots=True)
class Limits:
    """Limits of one run or one block. The sandbox enforces all of them from outside the code."""

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
    """The result of a run or block. Output is text; bytes that are not UTF-8 become U+FFFD."""

    verdict: Verdict
    exit_code: int | None
    """None if a signal ended the process, and for a block after which the session lives on."""
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
    """Seconds of waiting for a slot; not part of `wall_s`."""
    sandbox_id: str
    backend: str = ""
    """What enclosed the code: `docker (runc)`, `docker (runsc)` or `bubblewrap`; "": not known."""


class Session(Protocol):
    """One interpreter for all code blocks of one solution."""

    async def run(self, code: str, limits: Limits | None = None) -> Execution:
        """Run one block; variables of earlier blocks are visible.

        A block that raises leaves the session alive. Raises SessionDead once the interpreter has
        ended, RequestRejected, SandboxLost or SandboxUnavailable.
        """
        ...


class Sandbox(Protocol):
    """Runs model-written code."""

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
    """What encloses the interpreters."""

    DOCKER = "docker"
    BUBBLEWRAP = "bubblewrap"
    AUTO = "auto"
    """Docker where a container engine is there, named or not; bubblewrap where there is none. An
    engine that is there and can't be used is an error, unless `fallback` is set."""


@dataclass(frozen=True, slots=True)
class SandboxSettings:
    """The settings that decide how code is run."""

    backend: Backend = Backend.AUTO
    fallback: bool = False
    """Run code in bubblewrap, the weaker enclosure, where the container engine that is asked for
    can't be used. Each execution says what enclosed it."""
    runtime: str = "runc"
    """OCI runtime of the docker backend: `runc`, or `runsc` (gVisor) where installed."""
    slots: Count = 0
    """Runs and blocks at once; 0: one for each processor where they run, at least 4. A session
    holds a slot only while a block of it runs."""
    sessions: Count = 0
    """Most sessions open at once, parked ones included, and never fewer than `slots`. 0: twice as
    many as the model that asks for them has sequences in flight, at most 1,024. A solution
    keeps its session while the model writes on, so this bounds how many are written at once. More
    than are in flight are opened only while code runs for so long that the engine waits for it. A
    parked session takes no slot but the memory of its box: some 60 MB and what it made."""
    parked_mb: Count = 0
    """Memory at which no further session opens until another one closes: what the open ones hold
    between two blocks, with 64 MB for each box. 0: half of the machine's. `slots` sessions always
    open."""
    image: str = ""
    """Digest (`sha256:…`) the sandbox image must have; empty: whatever this checkout builds."""
    limits: Limits = field(default_factory=Limits)
    """Defaults of a run, and the most that a run may ask for in memory, processes and files."""
    longest_wall_s: Seconds = 120.0
    """The most wall or CPU seconds that one run may ask for."""
    largest_input_bytes: Positive = 8 << 20
    """Code, stdin and files of one request together."""
    warm: tuple[str, ...] = ("numpy", "sympy", "scipy")
    """Imported before forking. Each megabyte here costs every run some 30 microseconds, so scipy's
    parts (69 MB) are left to the few scripts that use them. Add `scipy.optimize` if many do."""
    cpus: Annotated[float, Field(gt=0)] = 1.0
    """CPU share of one box (docker; bubblewrap has none)."""
    docker_host: Plain = ""
    """`unix:///…` or `tcp://…`; empty: DOCKER_HOST, the default socket, then a private engine."""
    reaper_period_s: Seconds = 30.0
    """What a dead owner leaves behind is gone within this time."""
    attempts: Positive = 3
    """Sandboxes tried for one run before the infrastructure's error is raised."""
    state_dir: str = ""
    """Where images and the private engine live; empty: STEPMILL_SANDBOX_DIR or the user's cache."""

    def __post_init__(self) -> None:
        most_s = max(self.limits.wall_s, self.limits.cpu_s)
        if most_s > self.longest_wall_s:
            raise ValueError(
                f"limits of {most_s:g} s are above longest_wall_s ({self.longest_wall_s:g}): every "
                f"block would be refused"
            )

    def for_in_flight(self, sequences: int) -> SandboxSettings:
        """The settings, with `sessions` for so many sequences in flight unless it is set."""
        return self if self.sessions else replace(self, sessions=min(2 * sequences, MOST_SESSIONS))

    def here(self) -> SandboxSettings:
        """The settings, with `slots` and `parked_mb` for this machine unless they are set."""
        memory_mb = host_memory() >> 20
        return replace(
            self,
            slots=self.slots or max(LEAST_SLOTS, len(os.sched_getaffinity(0))),
            parked_mb=self.parked_mb or memory_mb // 2,
        )

    @property
    def most_sessions(self) -> int:
        """Most boxes at once: for open sessions and for runs."""
        return max(self.slots, self.sessions)
