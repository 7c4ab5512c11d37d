"""One solution in a box: its processes, its output, and how it ended.

Invariant: the way it ended is taken from what the supervisor itself saw (a deadline, a counter, a
wait status), never from what the solution says; output is kept up to its cap and not a byte more;
`end` leaves no process of the solution alive.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import secrets
import selectors
import signal
import socket
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from . import watch
from .capture import Capture
from .confinement import CLONE_NEWPID, check, libc
from .desk import Desk, Terms, ceiling
from .frames import Decoder, Frame, FrameError, encode
from .interpreter import Confinement, wait_for_work
from .sweep import sweep

LOOK_EVERY = 0.05
REAP_WITHIN = 5.0
FIRST_UID, UIDS = 1 << 20, 1 << 28


class BoxBroken(Exception):
    """The box can't be brought back to its first state."""


@dataclass
class Solution:
    """A forked interpreter and all its descendants."""

    desk: Desk
    uid: int
    pid: int
    out: Capture
    err: Capture
    channel: socket.socket | None
    started: float = 0.0
    used: bool = False
    alive: bool = True
    cpu_reaped: float = 0.0
    cpu_before: float = 0.0
    delayed_before: float = 0.0
    peak_kb: int = 0
    status: int | None = None
    oom_before: int = 0
    nonce: str = ""
    decoder: Decoder = field(default_factory=Decoder)

    @classmethod
    def fork(cls, desk: Desk) -> Solution:
        """Fork an interpreter that gives up everything and waits for its work.

        Done ahead of the work, so that a run does not wait for it.
        """
        uid = FIRST_UID + secrets.randbelow(UIDS)
        how = Confinement(uid, desk.namespaces, desk.hard, desk.scratch, desk.filter, desk.cpus)
        out, err = Capture(), Capture()
        source = os.open("/dev/null", os.O_RDONLY | os.O_CLOEXEC)
        near, far = socket.socketpair()
        if desk.namespaces:
            _open_pid_namespace()
        pid = os.fork()
        if pid == 0:
            wait_for_work(how, (source, out.inlet, err.inlet, far.fileno()))
        for number in (source, out.inlet, err.inlet):
            os.close(number)
        far.close()
        return cls(desk, uid, pid, out, err, near)

    def is_ready(self) -> bool:
        """True where it still waits for its first work."""
        self._reap()
        return self.status is None

    def submit(self, frame: Frame) -> None:
        """Hand the interpreter its script, or its next block."""
        if self.channel is None:
            raise FrameError("a script takes no blocks")
        if self.used:
            _tell_all(signal.SIGCONT)
        soft = ceiling(frame, self.desk.warm_virtual)
        self.nonce = secrets.token_hex(8)
        self.out.restart()
        self.err.restart()
        self.cpu_before = self.cpu_reaped + (
            watch.usage().cpu_s if self.used else watch.running_s(self.pid)
        )
        self.used, script = True, frame.kind == "run"
        self.delayed_before, self.oom_before = watch.delayed_s(self.pid), watch.oom_kills()
        fields: dict[str, object] = {
            "nonce": self.nonce,
            "memory_bytes": soft.memory_bytes,
            "pids": soft.pids,
            "open_files": soft.open_files,
            "file_bytes": soft.file_bytes,
            "cpu_s": soft.cpu_s if script else self.desk.hard.cpu_s,
        }
        stdin = _readable(frame.blobs[1]) if script and frame.blobs[1] else None
        if script:
            parts = (frame.blobs[0], *frame.blobs[2:])
            work = Frame("script", {**fields, "files": frame.names("files")}, parts)
        else:
            work = Frame("block", fields, frame.blobs[:1])
        self.started = time.monotonic()
        self.channel.settimeout(frame.number("wall_s"))
        try:
            data = memoryview(encode(work))
            if stdin is not None:
                data = data[socket.send_fds(self.channel, [data], [stdin]) :]
            self.channel.sendall(data)
        except OSError:
            return  # it died, or does not listen: `attend` finds out which
        finally:
            if stdin is not None:
                os.close(stdin)
            if script:
                self.channel.close()
                self.channel = None
            else:
                self.channel.setblocking(False)

    def attend(
        self, terms: Terms, inlet: int, hear: Callable[[], bool], check_host: Callable[[], None]
    ) -> Frame:
        """Wait until the script, or the block, is over one way or another; say how.

        `check_host` raises where nobody waits for it any more.
        """
        deadline = self.started + terms.wall_s
        with selectors.DefaultSelector() as selector:
            sources = [inlet, self.desk.wake[0], self.out.outlet, self.err.outlet]
            if self.channel is not None:
                sources.append(self.channel.fileno())
            for source in sources:
                selector.register(source, selectors.EVENT_READ)
            end = self._wait(terms, deadline, selector, inlet, hear, check_host)
        wall = time.monotonic() - self.started
        delayed = watch.delayed_s(self.pid) if end == "timeout" else 0.0
        live = watch.usage().cpu_s if end in ("done", "failed") else 0.0
        if end in ("done", "failed"):
            # Between two blocks nothing of a session runs: it holds no slot then.
            _tell_all(signal.SIGSTOP)
        else:
            self.end()
        self.out.drain(terms.output_bytes)
        self.err.drain(terms.output_bytes)
        if end in ("exit", "done", "failed"):
            if watch.oom_kills() > self.oom_before:
                end = "memory"
            elif self.out.truncated or self.err.truncated:
                end = "output"
            if end in ("memory", "output"):
                self.end()
        fields: dict[str, object] = {
            "end": end,
            "status": self.status if end == "exit" else None,
            "wall_s": wall,
            "delayed_s": max(0.0, delayed - self.delayed_before),
            "cpu_s": max(0.0, self.cpu_reaped + live - self.cpu_before),
            "peak_kb": max(self.peak_kb, watch.peak_kb(self.pid)) if self.alive else self.peak_kb,
            "stdout_truncated": self.out.truncated,
            "stderr_truncated": self.err.truncated,
            "alive": self.alive,
        }
        return Frame("result", fields, (bytes(self.out.kept), bytes(self.err.kept)))

    def _wait(
        self,
        terms: Terms,
        deadline: float,
        selector: selectors.BaseSelector,
        inlet: int,
        hear: Callable[[], bool],
        check_host: Callable[[], None],
    ) -> str:
        look_at = self.started + LOOK_EVERY
        while True:
            now = time.monotonic()
            if now >= deadline:
                return "timeout"
            if now >= look_at:
                check_host()
                if excess := self._excess(terms, deadline):
                    return excess
                look_at = now + LOOK_EVERY
            for key, _ in selector.select(min(deadline, look_at) - now):
                if key.fd == inlet:
                    if hear():
                        return "stopped"
                elif key.fd == self.desk.wake[0]:
                    os.read(key.fd, 4096)
                    self._reap()
                elif key.fd in (self.out.outlet, self.err.outlet):
                    capture = self.out if key.fd == self.out.outlet else self.err
                    if not capture.pump(terms.output_bytes):
                        selector.unregister(key.fd)
                    if capture.truncated:
                        return "output"
                elif (said := self._listen()) == "closed":
                    # Its exit status, or its deadline, decides.
                    selector.unregister(key.fd)
                elif said:
                    return said
            if self.status is not None:
                return "exit"

    def _excess(self, terms: Terms, deadline: float) -> str:
        used = watch.usage(deadline)
        if self.cpu_reaped + used.cpu_s - self.cpu_before > terms.cpu_s:
            return "cpu_time"
        if watch.oom_kills() > self.oom_before:
            return "memory"
        most = terms.memory_bytes + self.desk.warm_resident
        if used.resident > most and watch.proportional_bytes(used.pids) > most:
            return "memory"
        return ""

    def _listen(self) -> str:
        """What the interpreter says about its block; nonsense is a death of its own making."""
        if self.channel is None:
            return ""
        try:
            data = self.channel.recv(1 << 16)
            frames = self.decoder.feed(data)
            if not frames:
                return "" if data else "closed"
            if frames[-1].kind == "done" and frames[-1].text("nonce") == self.nonce:
                return "failed" if frames[-1].flag("failed") else "done"
        except BlockingIOError:
            return ""
        except (FrameError, OSError):
            return "closed"
        return "closed"

    def _reap(self, block: bool = False) -> bool:
        """Collect the dead; False when there is nobody left to wait for."""
        while True:
            try:
                pid, status, used = os.wait4(-1, 0 if block else os.WNOHANG)
            except ChildProcessError:
                return False
            if pid == 0:
                return True
            self.cpu_reaped += used.ru_utime + used.ru_stime
            self.peak_kb = max(self.peak_kb, used.ru_maxrss)
            if pid == self.pid:
                self.status, self.alive = status, False

    def end(self) -> None:
        """Kill every process of the box but this one, and collect them all."""
        give_up = time.monotonic() + REAP_WITHIN
        while True:
            _tell_all(signal.SIGKILL)
            if not self._reap():
                break
            if time.monotonic() > give_up:
                raise BoxBroken("processes that do not die")
            _await_wake(self.desk.wake[0], LOOK_EVERY)
        self.alive = False

    def clear(self) -> None:
        """Leave nothing for the next solution."""
        self.out.close()
        self.err.close()
        if self.channel is not None:
            self.channel.close()
        if self.desk.namespaces:
            _leave_pid_namespace()
        elif not sweep(self.uid):
            raise BoxBroken("scratch space that can't be emptied")


def _tell_all(number: int) -> None:
    """Send a signal to every process of the box but the supervisor."""
    with contextlib.suppress(ProcessLookupError):
        os.kill(-1, number)


def _await_wake(wake: int, seconds: float) -> None:
    """Wait for the next child to end."""
    with selectors.DefaultSelector() as selector:
        selector.register(wake, selectors.EVENT_READ)
        if selector.select(seconds):
            os.read(wake, 4096)


def _readable(data: bytes) -> int:
    """A descriptor from which `data` can be read."""
    number = os.memfd_create("stdin")
    rest = memoryview(data)
    while rest:
        rest = rest[os.write(number, rest) :]
    os.lseek(number, 0, os.SEEK_SET)
    return number


def _open_pid_namespace() -> None:
    """The next children live in a new process namespace whose process 1 does nothing but reap."""
    check(libc.unshare(CLONE_NEWPID), "unshare")
    if os.fork() == 0:
        try:
            signal.set_wakeup_fd(-1)
            # Ignored, so that orphans are collected by the kernel.
            signal.signal(signal.SIGCHLD, signal.SIG_IGN)
            os.closerange(0, 1 << 20)
            while True:
                signal.pause()
        finally:
            os._exit(0)


def _leave_pid_namespace() -> None:
    number = os.open("/proc/self/ns/pid", os.O_RDONLY | os.O_CLOEXEC)
    try:
        check(libc.setns(number, ctypes.c_int(CLONE_NEWPID)), "setns")
    finally:
        os.close(number)
