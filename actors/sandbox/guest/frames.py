"""Frames: how host and supervisor talk over one byte stream.

    b"SMF1" | u32 header bytes | u32 blob bytes | header (JSON object) | blobs

`header["blobs"]` lists the length of each blob, so that binary data needs no escaping.

Invariant: any sequence of bytes either decodes to frames or raises FrameError; nothing else
escapes, nothing is evaluated, and no more than the stated maximum is ever buffered. A header holds
numbers and words of ours alone: what a solution said, or is told, is in the blobs.
"""

from __future__ import annotations

import json
import struct
from dataclasses import dataclass, field

MAGIC = b"SMF1"
PREFIX = struct.Struct(">4sII")
MAX_HEADER = 1 << 20
MAX_BLOBS = 64 << 20


class FrameError(ValueError):
    """The bytes are not a frame."""


@dataclass(frozen=True)
class Frame:
    """One message: a kind, its fields and its binary parts."""

    kind: str
    fields: dict[str, object] = field(default_factory=dict)
    blobs: tuple[bytes, ...] = ()

    def integer(self, name: str, low: int = 0, high: int = 1 << 62) -> int:
        """Return a field that must be an integer within bounds."""
        value = self.fields.get(name)
        if type(value) is not int or not low <= value <= high:
            raise FrameError(f"{self.kind}.{name} is not an integer in [{low}, {high}]")
        return value

    def number(self, name: str) -> float:
        """Return a field that must be a finite number, not negative."""
        value = self.fields.get(name)
        if type(value) not in (int, float) or not 0 <= value < 1e12:  # type: ignore[operator]
            raise FrameError(f"{self.kind}.{name} is not a number")
        return float(value)  # type: ignore[arg-type]

    def flag(self, name: str) -> bool:
        """Return a field that must be true or false."""
        value = self.fields.get(name)
        if type(value) is not bool:
            raise FrameError(f"{self.kind}.{name} is not a flag")
        return value

    def text(self, name: str) -> str:
        """Return a field that must be a string."""
        value = self.fields.get(name)
        if type(value) is not str:
            raise FrameError(f"{self.kind}.{name} is not a string")
        return value

    def names(self, name: str) -> list[str]:
        """Return a field that must be a list of strings."""
        value = self.fields.get(name)
        if type(value) is not list or not all(type(entry) is str for entry in value):
            raise FrameError(f"{self.kind}.{name} is not a list of strings")
        return value


def encode(frame: Frame) -> bytes:
    """Return the bytes of a frame. Raises FrameError where it would be too large."""
    return b"".join((head(frame), *frame.blobs))


def head(frame: Frame) -> bytes:
    """Return the bytes of a frame that come before its blobs."""
    lengths = [len(blob) for blob in frame.blobs]
    header = json.dumps(
        {**frame.fields, "kind": frame.kind, "blobs": lengths}, separators=(",", ":")
    ).encode("ascii")
    if len(header) > MAX_HEADER or sum(lengths) > MAX_BLOBS:
        raise FrameError("frame too large")
    return PREFIX.pack(MAGIC, len(header), sum(lengths)) + header


class Decoder:
    """Cuts a byte stream into frames. After a FrameError the stream is of no further use."""

    def __init__(self) -> None:
        self._buffer = bytearray()
        self._broken = False

    def feed(self, data: bytes) -> list[Frame]:
        """Take the next bytes; return the frames that they complete."""
        if self._broken:
            raise FrameError("the stream was broken before")
        self._buffer += data
        frames = []
        try:
            while (frame := self._cut()) is not None:
                frames.append(frame)
        except FrameError:
            self._broken = True
            self._buffer.clear()
            raise
        return frames

    def _cut(self) -> Frame | None:
        # A wrong start is refused at once, not when a length that never comes has been waited for.
        if not MAGIC.startswith(self._buffer[: len(MAGIC)]):
            raise FrameError("not a frame")
        if len(self._buffer) < PREFIX.size:
            return None
        header_size, blob_size = sizes(self._buffer)
        end = PREFIX.size + header_size + blob_size
        if len(self._buffer) < end:
            return None
        with memoryview(self._buffer) as view:
            header = bytes(view[PREFIX.size : PREFIX.size + header_size])
            body = bytes(view[PREFIX.size + header_size : end])
        del self._buffer[:end]
        return parse(header, body)


def sizes(data: bytearray | memoryview) -> tuple[int, int]:
    """Bytes of the header and of the blobs of a frame that begins here."""
    _, header_size, blob_size = PREFIX.unpack_from(data)
    if header_size > MAX_HEADER or blob_size > MAX_BLOBS:
        raise FrameError("frame too large")
    return header_size, blob_size


def parse(header: bytes, body: bytes) -> Frame:
    """Make a frame of its header and its blobs, end to end. Raises FrameError."""
    try:
        fields = json.loads(header)
    except (ValueError, RecursionError) as error:
        raise FrameError("header is not JSON") from error
    if type(fields) is not dict:
        raise FrameError("header is not an object")
    kind, lengths = fields.pop("kind", None), fields.pop("blobs", None)
    if type(kind) is not str or type(lengths) is not list:
        raise FrameError("header lacks kind or blobs")
    if not all(type(n) is int and n >= 0 for n in lengths) or sum(lengths) != len(body):
        raise FrameError("blob lengths do not add up")
    blobs, start = [], 0
    for length in lengths:
        blobs.append(body[start : start + length])
        start += length
    return Frame(kind, fields, tuple(blobs))
