"""The token of a private cluster is its user's alone."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from actors.workers.ray_token import have_token


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in ("RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH"):
        monkeypatch.setenv(name, "")  # so that it is as before afterwards
        monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path))
    return tmp_path


@pytest.mark.parametrize("umask", [0o000, 0o022])
def test_a_new_token_is_read_by_its_user_alone(home: Path, umask: int) -> None:
    before = os.umask(umask)
    try:
        have_token()
    finally:
        os.umask(before)
    token = home / ".ray/auth_token"
    assert (token.stat().st_mode & 0o777, len(token.read_text())) == (0o600, 64)
    assert [file.name for file in token.parent.iterdir()] == ["auth_token"]
    have_token()
    assert "RAY_AUTH_TOKEN" not in os.environ


def test_one_that_ray_made_stays_and_is_closed_to_others(home: Path) -> None:
    token = home / ".ray/auth_token"
    token.parent.mkdir()
    token.write_text("known")
    token.chmod(0o644)
    have_token()
    assert (token.stat().st_mode & 0o777, token.read_text()) == (0o600, "known")


def test_without_a_home_the_token_is_this_process_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/proc/nonexistent")
    have_token()
    assert len(os.environ["RAY_AUTH_TOKEN"]) == 64
