"""One solution in a box: its processes, its output, and how it ended.

Invariant: the way it ended is taken from what the supervisor itself saw (a deadline, a counter, a
wait status), never from what the solution says; output is kept up to its cap and not a byte more;
`end` leaves no process of the solution alive.
"""

from __future__ import annotations

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
from .desk import ERRORS_AT, SAID_AT, SAID_MOST, Desk, Terms, ceiling
from .feed import Feed
from .frames import Frame, FrameError, encode, head
from .interpreter import Confinement, wait_for_work
from .namespace import leave_pid_namespace, open_pid_namespace
from .parking import Parking, tell_all
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
    cpu_seen: float = 0.0
    """Most that a look found. What a killed process namespace had used is nobody's afterwards."""
    delayed_before: float = 0.0
    peak_kb: int = 0
    status: int | None = None
    oom_before: int = 0
    box_cpu_before: float = 0.0
    replies: dict[bytes, str] = field(default_factory=dict)
    """What the interpreter says when its block is over, and what that means."""
    said: int = 0
    """Bytes that it has said since the block began."""
    feed: Feed | None = None
    parking: Parking = field(default_factory=lambda: Parking(0))

    @classmethod
    def fork(cls, desk: Desk) -> Solution:
        """Fork an interpreter that gives up everything and waits for its work.

        Done ahead of the work, so that a run does not wait for it.
        """
        uid = FIRST_UID + secrets.randbelow(UIDS)
        how = Confinement(
            uid,
            desk.namespaces,
            desk.hard,
            desk.scratch,
            desk.filter,
            desk.cpus,
            desk.keep_children,
        )
        out, err = Capture(desk.arena, 0), Capture(desk.arena, ERRORS_AT)
        source = os.open("/dev/null", os.O_RDONLY | os.O_CLOEXEC)
        near, far = socket.socketpair()
        reaper = open_pid_namespace() if desk.namespaces else 0
        pid = os.fork()
        if pid == 0:
            wait_for_work(how, (source, out.inlet, err.inlet, far.fileno()))
        for number in (source, out.inlet, err.inlet):
            os.close(number)
        far.close()
        return cls(desk, uid, pid, out, err, near, parking=Parking(reaper))

    def is_ready(self) -> bool:
        """True where it still waits for its first work."""
        self._reap()
        return self.status is None

    def submit(self, frame: Frame) -> None:
        """Hand the interpreter its script, or its next block."""
        if self.channel is None:
            raise FrameError("a script takes no blocks")
        soft = ceiling(frame, self.desk.warm_virtual)
        nonce = secrets.token_hex(8)
        self.replies = {
            encode(Frame("done", {"nonce": nonce, "failed": failed})): end
            for failed, end in ((False, "done"), (True, "failed"))
        }
        self.said = 0
        self.out.restart()
        self.err.restart()
        self.cpu_before = self.cpu_reaped + (
            watch.usage().cpu_s if self.used else watch.running_s(self.pid)
        )
        self.box_cpu_before, self.cpu_seen = watch.box_cpu_s(), 0.0
        self.used, script = True, frame.kind == "run"
        self.delayed_before, self.oom_before = watch.delayed_s(self.pid), watch.oom_kills()
        fields: dict[str, object] = {
            "nonce": nonce,
            "memory_bytes": soft.memory_bytes,
            "pids": soft.pids,
            "open_files": soft.open_files,
            "file_bytes": soft.file_bytes,
            "cpu_s": soft.cpu_s if script else self.desk.hard.cpu_s,
        }
        if script:
            parts = (frame.blobs[0], *frame.blobs[2:])
            work = Frame("script", fields, parts)
        else:
            work = Frame("block", fields, frame.blobs[:1])
        if script and frame.blobs[1]:
            self.feed = Feed(frame.blobs[1])
        self.started = time.monotonic()
        self.channel.settimeout(frame.number("wall_s"))
        try:
            first = head(work)
            if self.feed is not None:
                first = first[self.feed.hand_over(self.channel, first) :]
            for part in (first, *work.blobs):
                self.channel.sendall(part)
        except OSError:
            return  # it died, or does not listen: `attend` finds out which
        finally:
            if script:
                self.channel.close()
                self.channel = None
            else:
                self.channel.setblocking(False)

    def resume(self) -> bool:
        """Let a session go on for its next block; False where it can't."""
        return self.parking.resume()

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
            if self.feed is not None:
                selector.register(self.feed.outlet, selectors.EVENT_WRITE)
            end = self._wait(terms, deadline, selector, inlet, hear, check_host)
        wall = time.monotonic() - self.started
        delayed = watch.delayed_s(self.pid) if end == "timeout" else 0.0
        # Between two blocks nothing of a session runs: it holds no slot then.
        held_bytes = 0
        parked = end in ("done", "failed") and self.parking.park()
        if parked:
            held = watch.usage()
            cpu_s = self.cpu_reaped + held.cpu_s
            own = held.resident + held.scratch - len(held.pids) * self.desk.warm_resident
            held_bytes = max(0, own) + watch.kernel_bytes(held.pids)
            if self._is_over(terms, held):
                end = "memory"
        elif end in ("done", "failed"):
            end = "stopped"
        if not parked or end == "memory":
            self.end()
        if not parked:
            cpu_s = self.cpu_reaped
        self.out.drain(terms.output_bytes)
        self.err.drain(terms.output_bytes)
        if end in ("exit", "done", "failed"):
            if watch.oom_kills() > self.oom_before:
                end = "memory"
            elif self.out.truncated or self.err.truncated:
                end = "output"
            if end in ("memory", "output"):
                self.end()
        cpu_s = max(cpu_s - self.cpu_before, self.cpu_seen, self._box_cpu())
        fields: dict[str, object] = {
            "end": end,
            "status": self.status if end == "exit" else None,
            "wall_s": wall,
            "delayed_s": max(0.0, delayed - self.delayed_before),
            "cpu_s": max(0.0, cpu_s),
            "peak_kb": max(self.peak_kb, watch.peak_kb(self.pid)) if self.alive else self.peak_kb,
            "held_kb": held_bytes >> 10,
            "stdout_truncated": self.out.truncated,
            "stderr_truncated": self.err.truncated,
            "alive": self.alive,
        }
        return Frame("result", fields, (self.out.kept, self.err.kept))

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
                elif self.feed is not None and key.fd == self.feed.outlet:
                    if not self.feed.pump():
                        selector.unregister(key.fd)
                        self.feed.close()
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
        spent = max(self.cpu_reaped + used.cpu_s - self.cpu_before, self._box_cpu())
        self.cpu_seen = max(self.cpu_seen, spent)
        if spent > terms.cpu_s:
            return "cpu_time"
        return "memory" if self._is_over(terms, used) else ""

    def _box_cpu(self) -> float:
        return watch.box_cpu_s() - self.box_cpu_before

    def _is_over(self, terms: Terms, used: watch.Usage) -> bool:
        """Whether the solution holds more memory than it may, or was killed for it."""
        if watch.oom_kills() > self.oom_before:
            return True
        most = terms.memory_bytes + self.desk.warm_resident - used.scratch
        ceiling = watch.kernel_ceiling(used.threads * self.desk.hard.open_files)
        if used.resident + ceiling + used.mappings <= most:
            return False
        kernel = watch.kernel_bytes(used.pids)
        if used.resident + kernel + used.mappings <= most:
            return False
        kernel += watch.mapping_bytes(used.pids, most)
        return used.resident + kernel > most and watch.proportional_bytes(used.pids) + kernel > most

    def _listen(self) -> str:
        """What the interpreter says about its block; nonsense is a death of its own making."""
        if self.channel is None:
            return ""
        try:
            room = self.desk.arena.view[SAID_AT + self.said : SAID_AT + SAID_MOST]
            came = self.channel.recv_into(room)
        except BlockingIOError:
            return ""
        except OSError:
            return "closed"
        self.said += came
        said = self.desk.arena.view[SAID_AT : SAID_AT + self.said]
        for reply, meaning in self.replies.items():
            if said == reply:
                return meaning
        begun = any(reply[: self.said] == said for reply in self.replies)
        return "" if came and begun else "closed"

    def _reap(self, block: bool = False) -> bool:
        """Collect the dead; False when there is nobody left to wait for."""
        while True:
            try:
                pid, status, used = os.wait4(-1, 0 if block else os.WNOHANG)
            except ChildProcessError:
                return False
            if pid == 0:
                return True
            if os.WIFSTOPPED(status):
                continue  # held between two blocks, and about to die
            self.cpu_reaped += used.ru_utime + used.ru_stime
            self.peak_kb = max(self.peak_kb, used.ru_maxrss)
            if pid == self.pid:
                self.status, self.alive = status, False

    def end(self) -> None:
        """Kill every process of the box but this one, and collect them all."""
        give_up = time.monotonic() + REAP_WITHIN
        while True:
            tell_all(signal.SIGKILL)
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
        if self.feed is not None:
            self.feed.close()
        if self.channel is not None:
            self.channel.close()
        self.desk.arena.wipe()
        if self.desk.namespaces:
            leave_pid_namespace()
        elif not sweep(self.uid):
            raise BoxBroken("scratch space that can't be emptied")


def _await_wake(wake: int, seconds: float) -> None:
    """Wait for the next child to end."""
    with selectors.DefaultSelector() as selector:
        selector.register(wake, selectors.EVENT_READ)
        if selector.select(seconds):
            os.read(wake, 4096)
