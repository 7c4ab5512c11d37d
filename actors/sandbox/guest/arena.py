"""Memory that a forked process does not get: all that solutions say, or are told, lies here alone.

Invariant: the kernel leaves these pages out of every fork (MADV_DONTFORK), so no byte of a solution
reaches the interpreter of a later one. No function here copies a solution's bytes anywhere else.
"""

from __future__ import annotations

import ctypes
import mmap
import os

from .confinement import check, libc

PEEK_BYTES = 1 << 16
ENTRIES_OF_EMPTY = 2 * 24
"""Bytes in which the kernel describes `.` and `..`."""


class Arena:
    """Bytes that stay with the process that made them."""

    def __init__(self, size: int) -> None:
        self.map = mmap.mmap(-1, size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
        self.map.madvise(mmap.MADV_DONTFORK)
        self.view = memoryview(self.map)
        self.size = size

    def wipe(self) -> None:
        """Give the pages back; they read as zeros from now on."""
        self.map.madvise(mmap.MADV_DONTNEED)

    def read(self, source: int, at: int, most: int) -> int:
        """Read once from a descriptor to position `at`; return how many bytes came."""
        return os.readv(source, [self.view[at : at + most]])


_peek = Arena(PEEK_BYTES)


def numbers_of(path: str) -> list[bytes]:
    """The words of a process's `stat` after its name, which the process chose. Raises OSError."""
    size = _look(path)
    return _peek.map[_peek.map.rfind(b")", 0, size) + 1 : size].split()


def value_in(path: str, name: bytes) -> int:
    """The number after `name` in a file of /proc; 0 where it can't be read or has none."""
    try:
        size = _look(path)
    except OSError:
        return 0
    at = _peek.map.find(name, 0, size)
    return int(_peek.map[at + len(name) : at + len(name) + 32].split()[0]) if at >= 0 else 0


def lines_in(path: str, most: int) -> int:
    """Lines of a file of /proc, counted until there are `most`. Raises OSError."""
    number, lines, came = os.open(path, os.O_RDONLY | os.O_CLOEXEC), 0, 1
    try:
        while came and lines < most:
            came = _peek.read(number, 0, PEEK_BYTES)
            at = _peek.map.find(b"\n", 0, came)
            while at >= 0:
                lines, at = lines + 1, _peek.map.find(b"\n", at + 1, came)
    finally:
        os.close(number)
    return lines


def is_empty(folder: str) -> bool:
    """Whether a folder has no entries; one that is missing or closed to us has none."""
    try:
        number = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except (FileNotFoundError, PermissionError):
        return True
    try:
        start = ctypes.c_char.from_buffer(_peek.map)
        got = libc.getdents64(number, ctypes.byref(start), ctypes.c_size_t(PEEK_BYTES))
        return check(got, folder) <= ENTRIES_OF_EMPTY
    finally:
        os.close(number)


def _look(path: str) -> int:
    number = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        return _peek.read(number, 0, PEEK_BYTES)
    finally:
        os.close(number)
