"""A head that is gone is told once, and one that only misses an answer is not."""

from __future__ import annotations

import queue
import shutil
import socket
import threading
from pathlib import Path

import pytest

from actors.workers import head_watch
from actors.workers.head_watch import EVERY_S, LOST_S, head_watched, lasting_trouble


class Head:
    """Answers as it is told to, look by look; each wait takes as long as it should."""

    def __init__(self, answers: list[str | None]) -> None:
        self.answers = list(answers)
        self.now = 100.0

    def look(self) -> str | None:
        return self.answers.pop(0)

    def over(self, seconds: float) -> bool:
        """The watch is over where there are no answers left."""
        self.now += seconds
        return not self.answers

    def trouble(self) -> str | None:
        return lasting_trouble(self.look, self.over, lambda: self.now)


ENOUGH = int(LOST_S / EVERY_S)
"""Looks without an answer after which a head is lost."""


@pytest.mark.parametrize(
    ("answers", "trouble", "left"),
    [
        pytest.param([None] + ["refused"] * 50, "refused", 50 - ENOUGH, id="gone"),
        pytest.param(["slow"] * (ENOUGH - 1) + ["refused"] * 9, "refused", 8, id="the last counts"),
        pytest.param(["refused", None] * 50, None, 0, id="misses every second answer"),
        pytest.param((["refused"] * (ENOUGH - 1) + [None]) * 9, None, 0, id="is back in time"),
        pytest.param(["refused"] * (ENOUGH - 1), None, 0, id="the watch is over first"),
    ],
)
def test_a_head_is_lost_when_it_did_not_answer_for_long_enough(
    answers: list[str | None], trouble: str | None, left: int
) -> None:
    head = Head(answers)
    assert head.trouble() == trouble
    assert len(head.answers) == left


def test_a_port_that_nobody_listens_on_any_more_is_told_once_and_why(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(head_watch, "EVERY_S", 0.01)
    monkeypatch.setattr(head_watch, "LOST_S", 0.05)
    told: queue.Queue[str] = queue.Queue()
    head = socket.socket()
    head.bind(("127.0.0.1", 0))
    head.listen()
    port = head.getsockname()[1]
    with head_watched(f"127.0.0.1:{port}", told.put):
        head.close()
        reason = told.get(timeout=60)
        assert f"127.0.0.1:{port}" in reason
        assert "refused" in reason.lower()
        for thread in threading.enumerate():
            if thread.name == "head-watch":
                thread.join(60)
    assert told.empty()


def test_a_private_cluster_whose_folder_was_cleared_away_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(head_watch, "EVERY_S", 0.01)
    monkeypatch.setattr(head_watch, "LOST_S", 0.05)
    told: queue.Queue[str] = queue.Queue()
    sockets = tmp_path / "ray/0/session_1/sockets"
    sockets.mkdir(parents=True)
    (sockets / "raylet").touch()
    with socket.create_server(("127.0.0.1", 0)) as head:
        address = f"127.0.0.1:{head.getsockname()[1]}"
        with head_watched(address, told.put, tmp_path / "ray"):
            with pytest.raises(queue.Empty):
                told.get(timeout=0.5)  # ten times what a lost one takes
            shutil.rmtree(tmp_path / "ray")
            assert "ray, where the Ray cluster of this command lives, was cleared" in told.get(
                timeout=60
            )


def test_a_watch_that_is_over_tells_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    looked, leave = threading.Event(), threading.Event()

    def look(address: str) -> str:
        looked.set()
        leave.wait()
        return "refused"

    monkeypatch.setattr(head_watch, "EVERY_S", 0)
    monkeypatch.setattr(head_watch, "LOST_S", 0)
    monkeypatch.setattr(head_watch, "_trouble", look)
    told: queue.Queue[str] = queue.Queue()
    with head_watched("127.0.0.1:1", told.put):
        assert looked.wait(60)
        [watching] = [one for one in threading.enumerate() if one.name == "head-watch"]
    leave.set()
    watching.join(60)
    assert told.empty()
