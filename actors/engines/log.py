"""What an engine core and its workers write to standard error, heard by the process that owns them.

vLLM says "see root cause above" and leaves the cause in a stream that nobody reads.

Invariant: everything is passed on to our own standard error as it comes; the last `KEPT` bytes are
remembered, whatever was written.
"""

from __future__ import annotations

import os
import re
import threading
from dataclasses import dataclass
from pathlib import Path

ENGINE_LOG = "STEPMILL_ENGINE_LOG"
"""Environment variable by which an engine core learns where to write."""
KEPT = 1 << 16
_PIPE = "stderr.pipe"
_END = b"\0"
_PREFIX = re.compile(
    r"^(?:\(\w[\w.-]*(?: \w+=\S+)*\)\s*)?"  # (EngineCore pid=7)
    r"(?:(?:DEBUG|INFO|WARNING|ERROR|CRITICAL) [\d-]+ [\d:]+ \[[^\]]*\]\s?)?"
)
_RAISED = re.compile(r"^(?P<kind>[A-Za-z_][\w.]*(?:Error|Exception|NotFound)): (?P<said>.+)")
_SAYS_NOTHING = re.compile(
    r"root cause|stack trace|Executor failed|EngineDeadError|ConnectionResetError|cancelled"
)
_MEMORY = re.compile(
    r"out of memory|not enough memory|can't allocate memory|[Cc]annot allocate memory|MemoryError|"
    r"No available memory|Free memory on device|KV cache is needed|available KV cache memory",
)
_DRIVER = re.compile(
    r"driver version is insufficient|driver on your system is too old|no kernel image|"
    r"no CUDA-capable device|No CUDA GPUs are available",
)
_ARGUMENT_KINDS = (
    "ValueError", "TypeError", "KeyError", "AttributeError", "AssertionError", "ImportError",
    "ModuleNotFoundError", "NotImplementedError", "ValidationError",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Cause:
    """Why an engine died."""

    said: str
    """One line."""
    hopeless: bool
    """Whether it would die again, however often it is started: for want of memory, by its driver,
    or by its arguments."""


class EngineLog:
    """Hears the engine cores of one engine through a named pipe in `folder`."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / _PIPE
        os.mkfifo(self.path, 0o600)
        # Held open for writing too: without a writer every read would come back empty at once.
        self._pipe = os.open(self.path, os.O_RDWR)
        self._kept = bytearray()
        self._thread = threading.Thread(target=self._hear, name="engine-log", daemon=True)
        self._thread.start()

    def _hear(self) -> None:
        while data := os.read(self._pipe, KEPT):
            ended = data.endswith(_END)
            data = data.removesuffix(_END)
            self._kept += data
            del self._kept[:-KEPT]
            os.write(2, data)
            if ended:
                return

    def text(self) -> str:
        """The last of what was written."""
        return bytes(self._kept).decode("utf-8", "replace")

    def close(self) -> None:
        """Hear what was written up to now, and stop. Idempotent."""
        if self._pipe < 0:
            return
        os.write(self._pipe, _END)
        self._thread.join()
        os.close(self._pipe)
        self._pipe = -1


def write_to_log() -> None:
    """In an engine core: standard error goes to whoever owns it, its children's too."""
    path = os.environ.get(ENGINE_LOG)
    if path:
        pipe = os.open(path, os.O_WRONLY)
        os.dup2(pipe, 2)
        os.close(pipe)


def cause_of(written: str, error: BaseException) -> Cause:
    """The root cause, by what an engine core wrote before it died and by what its owner raised."""
    raised = [
        found
        for line in [*written.splitlines(), f"{type(error).__name__}: {error}"]
        if (found := _RAISED.match(_PREFIX.sub("", line))) and not _SAYS_NOTHING.search(found[0])
    ]
    if not raised:
        killed = re.search(r"'\w*EngineCore\w*': -(\d+)", str(error))
        said = " ".join(str(error).split()) or type(error).__name__
        if killed:
            said = f"it was killed by signal {killed[1]}" + (
                " (out of the machine's memory?)" if killed[1] == "9" else ""
            )
        return Cause(said, hopeless=False)
    # What is raised last was raised on the way out; where memory or driver are named, they are it.
    telling = [one for one in raised if _MEMORY.search(one[0]) or _DRIVER.search(one[0])]
    found = (telling or raised)[-1]
    kind = found["kind"].rpartition(".")[2]
    said = " ".join(found["said"].split())
    return Cause(
        said if kind in ("RuntimeError", "ValueError", "Exception") else f"{kind}: {said}",
        hopeless=bool(telling) or kind in _ARGUMENT_KINDS,
    )
