"""Who a sandbox belongs to, and whether that process is still there.

Invariant: an owner is judged only on its own host and process namespace; a number that was given
to another process since is not the owner.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from functools import cache
from pathlib import Path


@cache
def host() -> str:
    """Identity of this boot and process namespace."""
    boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    return f"{boot}/{os.readlink('/proc/self/ns/pid')}"


def started_at(pid: int) -> int | None:
    """Start of a process in clock ticks since boot; None where there is none, or only a zombie."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()
    except OSError:
        return None
    return None if fields[0] in (b"Z", b"X") else int(fields[19])


@dataclass(frozen=True, slots=True)
class Owner:
    """A process, by host, number and start."""

    host: str
    pid: int
    start: int

    @classmethod
    def me(cls) -> Owner:
        """This process."""
        return cls(host(), os.getpid(), started_at(os.getpid()) or 0)

    @classmethod
    def parse(cls, text: str) -> Owner | None:
        """Read what `str` wrote; None where it is something else."""
        parts = text.split("|")
        if len(parts) != 3 or not (parts[1].isdigit() and parts[2].isdigit()):
            return None
        return cls(parts[0], int(parts[1]), int(parts[2]))

    def __str__(self) -> str:
        """One word for a label or an argument."""
        return f"{self.host}|{self.pid}|{self.start}"

    def is_dead(self) -> bool:
        """True where it was here and is no more; False where it lives or can't be judged."""
        return self.host == host() and started_at(self.pid) != self.start
