"""A private engine's folder that containers share: whose engine is dead, and whose is not."""

from __future__ import annotations

import fcntl
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from actors.sandbox.docker.engine import HELD, start_private, stop_private
from storage.errors import SandboxUnavailable


@pytest.fixture
def stranger() -> Iterator[subprocess.Popen[bytes]]:
    """A process that is nobody's engine."""
    with subprocess.Popen(["sleep", "600"]) as process:
        yield process
        process.kill()


@pytest.fixture
def state(stranger: subprocess.Popen[bytes], monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder whose engine does not answer, and whose number is a stranger's here."""
    monkeypatch.setattr("os.geteuid", lambda: 0)
    monkeypatch.setattr("shutil.which", lambda name, path=None: "/bin/false")
    with tempfile.TemporaryDirectory(prefix="sm-", dir="/tmp") as folder:  # short, for sockets
        engine = Path(folder) / "engine"
        (engine / HELD).parent.mkdir(parents=True)
        (engine / HELD).touch()
        (engine / "pid").write_text(str(stranger.pid))
        yield Path(folder)


def test_an_engine_that_lives_in_another_container_is_left_alone(
    state: Path, stranger: subprocess.Popen[bytes]
) -> None:
    with (state / "engine" / HELD).open() as theirs:
        fcntl.flock(theirs, fcntl.LOCK_EX)
        with pytest.raises(SandboxUnavailable, match="started in another container"):
            start_private(state)
        assert not stop_private(state)
    assert (state / "engine/pid").exists()
    assert stranger.poll() is None


def test_what_a_dead_engine_left_is_cleared_away_and_another_is_started(
    state: Path, stranger: subprocess.Popen[bytes]
) -> None:
    with pytest.raises(SandboxUnavailable, match="dockerd did not start"):  # `false` is no engine
        start_private(state)
    assert not (state / "engine/pid").exists()
    assert stranger.poll() is None
