"""Ports for servers of tests."""

from __future__ import annotations

import contextlib
import random
import socket

OWN = (20_000, 32_000)
"""Below those that Linux takes where any port will do, above those of Ray's workers."""


def free_port() -> int:
    """A port that nobody listens on just now, and that the kernel gives to no other process."""
    while True:
        port = random.SystemRandom().randrange(*OWN)
        with socket.socket() as taken, contextlib.suppress(OSError):
            taken.bind(("127.0.0.1", port))
            return port
