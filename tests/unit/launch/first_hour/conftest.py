"""Each test gets a folder of its own."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.unit.launch.first_hour.place import prepared


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder in which commands are typed."""
    return prepared(tmp_path, monkeypatch)
