"""What a supervisor was told: once for its box, and for each run or block.

Invariant: read from frames and checked here; a frame that lacks a part raises FrameError.
"""

from __future__ import annotations

import os
import signal
from dataclasses import dataclass

from . import watch
from .arena import Arena
from .capture import LARGEST, PART
from .confinement import Ceiling, Scratch
from .frames import Frame

ERRORS_AT = LARGEST + PART
SAID_AT, SAID_MOST = 2 * ERRORS_AT, PART
"""Where in the arena standard error begins, and what the solution says to the supervisor."""


@dataclass(frozen=True)
class Desk:
    """What all solutions of this box have in common."""

    filter: bytes
    namespaces: bool
    cpus: int
    scratch: Scratch
    hard: Ceiling
    warm_virtual: int
    warm_resident: int
    wake: tuple[int, int]
    keep_children: bool
    """Children must be waited for, since nothing else counts what they used."""
    arena: Arena
    """Output of a solution, and what it says to the supervisor."""

    @classmethod
    def of(cls, frame: Frame, elsewhere: int) -> Desk:
        """Read the host's hello; from now on a child's end wakes the supervisor.

        `elsewhere`: bytes of this process's address space that no fork gets.
        """
        warm_virtual = watch.virtual_bytes() - elsewhere
        wake = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        signal.set_wakeup_fd(wake[1], warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, lambda number, stack: None)
        return cls(
            filter=bytes(frame.blobs[0]),
            namespaces=frame.flag("namespaces"),
            cpus=frame.integer("cpus", 1),
            scratch=Scratch(frame.integer("scratch_bytes"), frame.integer("scratch_files")),
            hard=ceiling(frame, warm_virtual),
            warm_virtual=warm_virtual,
            warm_resident=watch.resident_bytes(),
            wake=wake,
            keep_children=frame.flag("keep_children"),
            arena=Arena(SAID_AT + SAID_MOST),
        )


def ceiling(frame: Frame, warm_virtual: int) -> Ceiling:
    """Read the limits that the kernel enforces; the warm interpreter's own space comes on top."""
    return Ceiling(
        memory_bytes=frame.integer("memory_bytes") + warm_virtual,
        pids=frame.integer("pids"),
        open_files=frame.integer("open_files"),
        file_bytes=frame.integer("file_bytes"),
        cpu_s=int(frame.number("cpu_s")) + 2,
    )


@dataclass(frozen=True)
class Terms:
    """The limits that the supervisor itself watches over."""

    wall_s: float
    cpu_s: float
    memory_bytes: int
    output_bytes: int

    @classmethod
    def of(cls, frame: Frame) -> Terms:
        """Read them from a `run` or a `block`."""
        return cls(
            frame.number("wall_s"),
            frame.number("cpu_s"),
            frame.integer("memory_bytes"),
            frame.integer("output_bytes", 1, LARGEST),
        )
