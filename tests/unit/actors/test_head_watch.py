"""A head that is gone is told once, and one that only misses an answer is not."""

from __future__ import annotations

import queue
import socket
import time

import pytest

from actors import head_watch
from actors.head_watch import head_watched


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(head_watch, "EVERY_S", 0.01)
    monkeypatch.setattr(head_watch, "LOST_S", 0.3)


def listener(port: int = 0) -> socket.socket:
    made = socket.socket()
    made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    made.bind(("127.0.0.1", port))
    made.listen(128)
    return made


def test_a_head_that_is_gone_is_told_once_and_why() -> None:
    told: queue.Queue[str] = queue.Queue()
    head = listener()
    port = head.getsockname()[1]
    with head_watched(f"127.0.0.1:{port}", told.put):
        head.close()
        began = time.monotonic()
        reason = told.get(timeout=20)
        assert time.monotonic() - began >= 0.2
        assert f"127.0.0.1:{port}" in reason
        assert "refused" in reason.lower()
        with pytest.raises(queue.Empty):
            told.get(timeout=0.5)


def test_a_head_that_misses_an_answer_and_a_watch_that_is_over_tell_nothing() -> None:
    told: queue.Queue[str] = queue.Queue()
    head = listener()
    port = head.getsockname()[1]
    with head_watched(f"127.0.0.1:{port}", told.put):
        head.close()
        again = listener(port)
        with pytest.raises(queue.Empty):
            told.get(timeout=0.5)
    again.close()
    with pytest.raises(queue.Empty):
        told.get(timeout=0.6)
