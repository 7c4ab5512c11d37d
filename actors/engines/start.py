"""How far the start of an engine is: the bytes of its weights that were read, and its work.

vLLM says nothing while it loads. Its processes map the files of the weights, or read them, and the
kernel knows how much of each is there; a file that one had, and has no more, was read to its end.

Invariant: looking changes nothing, and what can't be seen counts as nothing.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from actors.models.cache import GB
from actors.models.folder import WEIGHTS
from storage.errors import EngineFailed

LOOK_S = 2.0
STEP = 0.1
"""Share of the weights that is read before it is said again."""
IDLE = 0.05
"""Share of one processor that is no work: what waits looks around now and then."""

T = TypeVar("T")


class Progress(NamedTuple):
    """Of the start of an engine."""

    read: int
    """Bytes of its weights."""
    total: int
    worked_s: float
    """Processor seconds of its processes."""


class Weights:
    """The files of a model's weights, and how much of each was read."""

    def __init__(self, folder: Path) -> None:
        found = (sorted(folder.glob(pattern)) for pattern in WEIGHTS)
        files = next(filter(None, found), [])
        self.sizes = {str(file.resolve()): file.stat().st_size for file in files}
        self._read = dict.fromkeys(self.sizes, 0)
        self._held: set[str] = set()

    def seen(self, held: dict[str, int]) -> int:
        """Bytes that were read by now, from the files that processes hold now and their bytes."""
        for file in self._held - held.keys():
            self._read[file] = self.sizes[file]
        self._held = held.keys() & self.sizes.keys()
        for file in self._held:
            self._read[file] = max(self._read[file], min(held[file], self.sizes[file]))
        return sum(self._read.values())


_starts: list[Weights] = []
"""Of engines that this process is starting."""


@contextmanager
def starting(model: str) -> Iterator[None]:
    """While an engine is started from a model's folder."""
    weights = Weights(Path(model).expanduser())
    _starts.append(weights)
    try:
        yield
    finally:
        _starts.remove(weights)


def progress() -> Progress | None:
    """Of the engines that this process is starting; None: of none."""
    if not _starts:
        return None
    held, worked_s = _held_by_children()
    return Progress(
        sum(weights.seen(held) for weights in _starts),
        sum(sum(weights.sizes.values()) for weights in _starts),
        worked_s,
    )


def _held_by_children() -> tuple[dict[str, int], float]:
    """Files that our children have mapped or open, with their bytes, and processor seconds."""
    import psutil

    held: dict[str, int] = {}
    worked_s = 0.0
    for process in psutil.Process().children(recursive=True):
        try:
            times = process.cpu_times()
            worked_s += times.user + times.system
            files: list[Any] = [(one.path, one.position) for one in process.open_files()]
            files += [(one.path, one.rss) for one in process.memory_maps()]
        except psutil.Error:  # it ended, or belongs to somebody else
            continue
        for path, size in files:
            held[path] = max(size, held.get(path, 0))
    return held, worked_s


class Pulse:
    """Watches one start: says how far it is, and ends it when nothing moves."""

    def __init__(self, name: str, patience_s: float) -> None:
        self._name = name
        self._patience_s = patience_s
        self._last: Progress | None = None
        self._looked_at = self._moved_at = 0.0
        self._said = 0.0

    def at(self, now: float, found: Progress | None) -> str:
        """The line to say now; empty: none. None was found while no engine is being started yet.

        Raises EngineFailed where nothing has moved for too long.
        """
        before, self._last = self._last, found
        since, self._looked_at = self._looked_at, now
        if (
            before is None
            or found is None
            or found.read > before.read
            or found.worked_s - before.worked_s > IDLE * (now - since)
        ):
            self._moved_at = now
        if found is None:
            return ""
        far = f"{found.read / GB:.2f} of {found.total / GB:.2f} GB"
        if now - self._moved_at >= self._patience_s:
            raise EngineFailed(
                f"{self._name} did not come up: {far} of its weights were read, and nothing moved "
                f"for {self._patience_s:.0f} seconds"
            )
        share = found.read / found.total if found.total else 0.0
        if share < self._said + STEP and not (share == 1 and self._said < 1):
            return ""
        self._said = share
        return f"{self._name}: loading {far}"


async def watched(
    opening: Awaitable[T],
    look: Callable[[], Awaitable[Progress | None]],
    pulse: Pulse,
    say: Callable[[str], None],
) -> T:
    """What `opening` returns; meanwhile say how far it is. Raises as it and `Pulse.at` do."""
    opened, clock = asyncio.ensure_future(opening), asyncio.get_running_loop().time
    looking: asyncio.Future[Progress | None] | None = None
    try:
        while not opened.done():
            await asyncio.wait({opened}, timeout=LOOK_S)
            if opened.done():
                break
            looking = asyncio.ensure_future(look())
            await asyncio.wait({opened, looking}, return_when=asyncio.FIRST_COMPLETED)
            if not opened.done() and (line := pulse.at(clock(), looking.result())):
                say(line)
        return opened.result()
    finally:
        for waiting in (opened, looking):
            if waiting is not None:
                waiting.cancel()
