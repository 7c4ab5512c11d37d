"""A process that compares answers: the owner's handle of it, and what the process runs.

The process is started with `exec`, never forked from an owner with threads. Its stdin carries
messages (4 bytes of length, then a pickle), its stdout one byte per comparison. It always ends with
its owner: at the end of stdin, or by the kernel's signal if the owner is killed.

Invariant: each byte on stdout is the verdict of one pair, in the order of the message. A comparison
beyond its limit ends the process, so no verdict comes late.
"""

from __future__ import annotations

import contextlib
import os
import pickle
import queue
import resource
import select
import signal
import struct
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Sequence

from actors.lifeline import die_with_parent
from storage.errors import InfrastructureError

Pair = tuple[str, str]
"""Reference, answer."""

_EQUAL, _UNEQUAL, _FAILED, _READY = b"1", b"0", b"!", b"R"
_LENGTH = struct.Struct("<I")
_START_S = 120.0
_MEMORY_BYTES = 4 << 30
_MAIN = "from actors.grading.process import serve; serve()"


class Overdue(Exception):
    """The current pair took longer than its limit, and the process has ended."""


class Died(InfrastructureError):
    """The process ended for a reason other than its limit."""


class GraderProcess:
    """The owner's handle of the process. One thread uses it; any thread may call `kill`."""

    def __init__(self, work: bytes, limit_s: float, wall_s: float) -> None:
        """Start the process and wait until it is warm. Raises InfrastructureError.

        `work`: pickled (compare, warm). `limit_s`: processor seconds of a pair, `wall_s` by clock.
        """
        self._wall_s = wall_s
        path = os.pathsep.join(entry or os.getcwd() for entry in sys.path)
        try:
            self._process = subprocess.Popen(
                [sys.executable, "-c", _MAIN],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                env={**os.environ, "PYTHONPATH": path},
            )
        except OSError as error:
            raise InfrastructureError(f"can't start a grader process: {error}") from error
        try:
            self._send(pickle.dumps((os.getpid(), limit_s, work)))
            if self._receive(_START_S) != _READY:
                raise Died(f"exit code {self._process.poll()}")
        except BaseException as error:
            self.close()
            if isinstance(error, Died):
                raise InfrastructureError(f"a grader process did not start: {error}") from error
            raise

    def compare(self, pairs: Sequence[Pair]) -> Iterator[bool | None]:
        """Yield verdicts in order, each as soon as it is known; None if the comparison raised.

        Raises Overdue or Died. The pair that caused it is the first without a verdict.
        """
        self._send(pickle.dumps(list(pairs)))
        for _ in pairs:
            byte = self._receive(self._wall_s)
            if byte == b"":
                code = self._ended()
                if code == -signal.SIGPROF:
                    raise Overdue
                raise Died(f"a grader process ended under a comparison (exit code {code})")
            if byte is None:
                raise Overdue
            yield None if byte == _FAILED else byte == _EQUAL

    def kill(self) -> None:
        """Kill the process now. Idempotent."""
        with contextlib.suppress(ProcessLookupError):
            self._process.kill()
        self._process.wait()

    def close(self) -> None:
        """Kill the process and close its pipes. Only the thread that uses it may call this."""
        self.kill()
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                with contextlib.suppress(OSError):  # unsent bytes for a dead process
                    pipe.close()

    def _ended(self) -> int:
        return self._process.wait()

    def _send(self, payload: bytes) -> None:
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(_LENGTH.pack(len(payload)) + payload)
            self._process.stdin.flush()
        except OSError as error:
            raise Died(f"a grader process is gone: {error}") from error

    def _receive(self, timeout_s: float) -> bytes | None:
        """One byte; empty at the end of the stream, None after `timeout_s`."""
        assert self._process.stdout is not None
        poll = select.poll()
        poll.register(self._process.stdout, select.POLLIN)
        if not poll.poll(timeout_s * 1000):
            return None
        return os.read(self._process.stdout.fileno(), 1)


def serve() -> None:
    """Main loop of the process: read messages, compare, answer, until stdin ends."""
    verdicts = os.dup(1)
    os.dup2(2, 1)  # whatever a library prints must not look like a verdict
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the owner's to handle
    signal.signal(signal.SIGPROF, signal.SIG_DFL)  # the kernel ends us, even inside of C code
    resource.setrlimit(resource.RLIMIT_AS, (_MEMORY_BYTES, _MEMORY_BYTES))
    messages: queue.SimpleQueue[bytes] = queue.SimpleQueue()
    threading.Thread(target=_listen, args=(messages,), daemon=True).start()
    owner, limit_s, work = pickle.loads(messages.get())
    # Also where a sibling that was forked keeps our stdin open.
    die_with_parent(owner)
    compare: Callable[[str, str], bool]
    warm: Callable[[], None] | None
    compare, warm = pickle.loads(work)
    if warm is not None:
        warm()
    os.write(verdicts, _READY)
    while True:
        for reference, answer in pickle.loads(messages.get()):
            signal.setitimer(signal.ITIMER_PROF, limit_s)
            try:
                verdict = _EQUAL if compare(reference, answer) else _UNEQUAL
            except Exception:  # noqa: BLE001  the item's family: no verdict but "not equal" is left
                verdict = _FAILED
            signal.setitimer(signal.ITIMER_PROF, 0)
            os.write(verdicts, verdict)


def _listen(messages: queue.SimpleQueue[bytes]) -> None:
    """Read stdin in a thread, so that its end is noticed during a comparison too."""
    stream = sys.stdin.buffer
    while len(head := stream.read(_LENGTH.size)) == _LENGTH.size:
        messages.put(stream.read(_LENGTH.unpack(head)[0]))
    os._exit(0)
