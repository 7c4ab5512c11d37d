"""What the host says, cut into frames in memory that no solution gets.

Invariant: a frame's blobs are views of the arena; only its header, numbers and words of ours, is
copied from there.
"""

from __future__ import annotations

from typing import cast

from .arena import Arena
from .frames import MAGIC, MAX_BLOBS, MAX_HEADER, PREFIX, Frame, FrameError, parse, sizes

SPARE = 1 << 20
"""Room for short frames that come while the longest one is at work."""


class Inbox:
    """Cuts a byte stream into frames whose blobs lie in an arena, and nowhere else."""

    def __init__(self) -> None:
        self._arena = Arena(PREFIX.size + MAX_HEADER + MAX_BLOBS + SPARE)
        self._start = self._end = 0

    @property
    def size(self) -> int:
        """Bytes of address space."""
        return self._arena.size

    def read(self, source: int) -> list[Frame] | None:
        """Read once; return the frames that this completes, or None at the end of the stream.

        Their blobs hold until `clear`. Raises FrameError.
        """
        room = min(1 << 18, self._arena.size - self._end)
        if not room:
            raise FrameError("too much was said at once")
        came = self._arena.read(source, self._end, room)
        self._end += came
        frames = []
        while (frame := self._cut()) is not None:
            frames.append(frame)
        return frames if came else None

    def clear(self) -> None:
        """Forget the frames that were read; what is not yet complete stays."""
        if self._start == self._end:
            self._start = self._end = 0
            self._arena.wipe()

    def _cut(self) -> Frame | None:
        view = self._arena.view[self._start : self._end]
        if view[: len(MAGIC)] != MAGIC[: len(view)]:
            raise FrameError("not a frame")
        if len(view) < PREFIX.size:
            return None
        header_size, blob_size = sizes(view)
        begin = PREFIX.size + header_size
        if len(view) < begin + blob_size:
            return None
        self._start += begin + blob_size
        blobs = cast(bytes, view[begin : begin + blob_size])  # as far as a frame's reader can tell
        return parse(bytes(view[PREFIX.size : begin]), blobs)
