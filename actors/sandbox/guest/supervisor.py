"""The first process of a sandbox: forks one interpreter per solution, watches it, ends it.

Host frames: `hello` once, then `run`, or `open`, `block`…, `shut`; `ping` and `stop` at any time.
Answers: `ready`, `result`, `pong`, `gone` (a block for an interpreter that is dead).

Invariant: one solution at a time (its interpreter is forked ahead, and until it is given work none
but our own code runs in it); when its result is sent every process but this one is dead, and
before the next begins the scratch space is empty, and no byte of the last is in any memory that a
fork gets. What can't be restored ends this process, and
with it the box: the host then knows that the sandbox, not the code, failed. It also ends when the
host is gone: at the end of input, or after `patience` seconds without a word, whatever runs.
"""

from __future__ import annotations

import os
import select
import signal
import sys
import time

from .desk import Desk, Terms
from .frames import Frame, FrameError, head
from .inbox import Inbox
from .solution import BoxBroken, Solution
from .warmth import warm_up

WRITE_TIMEOUT = 30.0


class HostGone(Exception):
    """Nobody is there to work for."""


class Supervisor:
    """Speaks with the host and runs one solution at a time."""

    def __init__(self, inlet: int, outlet: int) -> None:
        self._inlet, self._outlet = inlet, outlet
        self._inbox = Inbox()
        self._waiting: list[Frame] = []
        self._patience = 120.0
        self._heard = time.monotonic()
        self._desk: Desk | None = None
        self._session: Solution | None = None
        self._spare: Solution | None = None
        """Forked ahead of its work; only while no other solution is in the box."""

    def serve(self) -> None:
        """Answer the host until it is gone."""
        while True:
            if self._desk is not None and self._session is None and self._spare is None:
                self._spare = Solution.fork(self._desk)
            frame = self._next()
            if frame.kind == "hello":
                self._hello(frame)
            elif frame.kind == "run":
                self._run(frame)
            elif frame.kind == "open":
                self._end_session()
                self._session = self._take()
                self._send(Frame("opened"))
            elif frame.kind == "block":
                self._block(frame)
            elif frame.kind == "shut":
                self._end_session()
                self._send(Frame("shut"))
            elif frame.kind == "stop":
                continue  # what it would stop has ended
            else:
                raise FrameError(f"unknown kind {frame.kind}")

    def _hello(self, frame: Frame) -> None:
        self._patience = frame.number("patience")
        missing = warm_up(frame.names("warm"))
        self._desk = Desk.of(frame, self._inbox.size)
        fields = {"python": sys.version.split()[0], "missing": missing, "pid": os.getpid()}
        self._send(Frame("ready", fields))

    def _take(self) -> Solution:
        """The interpreter that was forked ahead, or one that is forked now."""
        if self._desk is None:
            raise FrameError("no hello")
        spare, self._spare = self._spare, None
        if spare is not None and not spare.is_ready():
            spare.end()
            spare.clear()
            spare = None
        return spare or Solution.fork(self._desk)

    def _run(self, frame: Frame) -> None:
        self._end_session()
        solution = self._take()
        solution.submit(frame)
        result = solution.attend(Terms.of(frame), self._inlet, self._hear, self._check_host)
        self._send(result)
        solution.clear()

    def _block(self, frame: Frame) -> None:
        if self._session is None or not self._session.alive:
            self._send(Frame("gone"))
            return
        if not self._session.resume():
            self._end_session()
            self._send(Frame("gone"))
            return
        self._session.submit(frame)
        terms = Terms.of(frame)
        result = self._session.attend(terms, self._inlet, self._hear, self._check_host)
        self._send(result)
        if self._session.status is not None:
            self._end_session()

    def _end_session(self) -> None:
        if self._session is not None:
            self._session.end()
            self._session.clear()
            self._session = None

    def _hear(self) -> bool:
        """Take what the host says while code runs; True where it says to stop."""
        stop = False
        for frame in self._read():
            if frame.kind == "stop":
                stop = True
            elif not self._answered(frame):
                self._waiting.append(frame)
        return stop

    def _next(self) -> Frame:
        while True:
            while self._waiting:
                frame = self._waiting.pop(0)
                if not self._answered(frame):
                    return frame
            self._inbox.clear()
            select.select([self._inlet], [], [], self._patience)
            self._check_host()
            self._waiting += self._read()

    def _check_host(self) -> None:
        """Raise HostGone after too long a silence; what came meanwhile is a word."""
        if time.monotonic() - self._heard < self._patience:
            return
        if not select.select([self._inlet], [], [], 0)[0]:
            raise HostGone

    def _answered(self, frame: Frame) -> bool:
        if frame.kind == "ping":
            self._send(Frame("pong"))
            return True
        return False

    def _read(self) -> list[Frame]:
        frames = self._inbox.read(self._inlet)
        if frames is None:
            raise HostGone
        self._heard = time.monotonic()
        return frames

    def _send(self, frame: Frame) -> None:
        give_up = time.monotonic() + WRITE_TIMEOUT
        for part in (head(frame), *frame.blobs):
            data = memoryview(part)
            while data:
                # A host that was killed while it owed us a read must not hold us for ever.
                left = max(0.0, give_up - time.monotonic())
                if not select.select([], [self._outlet], [], left)[1]:
                    raise HostGone
                data = data[os.write(self._outlet, data[:4096]) :]


def main() -> int:
    """Serve on standard input and output. Refuses to be anything but process 1 of its box."""
    # `Solution.end` kills every process it can see: outside a process namespace that is the host.
    if os.getpid() != 1:
        print("a supervisor must be process 1 of its own namespace", file=sys.stderr)
        return 64
    for number in (signal.SIGINT, signal.SIGPIPE):
        signal.signal(number, signal.SIG_IGN)
    # Solutions get descriptors 0 to 3 of their own; these stay with the supervisor.
    inlet, outlet = os.dup(0), os.dup(1)
    null = os.open("/dev/null", os.O_RDWR)
    os.dup2(null, 0)
    os.dup2(2, 1)
    try:
        Supervisor(inlet, outlet).serve()
    except (HostGone, BrokenPipeError):
        return 0
    except (FrameError, BoxBroken) as error:
        print(f"{type(error).__name__}: {error}", file=sys.stderr)
        return 65
    return 0
