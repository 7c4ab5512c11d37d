"""How far it is from the command to the driver's loop. Ray is replaced; the rest is as it is."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Any

import pytest

from benchmarks.modules_entered import ABOVE, DRIVE, entered_before, plain_build, traced
from launch.cli.main import run_command
from storage.errors import RunStopped
from tests.support.here import without_sandbox
from workflows.schedule.driver import Driver

MOST = 62
"""Modules of launch/ and workflows/ that a plain build enters before the driver's loop: no more.
Five of them read its problems, in whatever file and columns they come; four hold limits, prices,
a run that is not stored before its engines are open, and the note of its driver; two refuse what
cut rollouts can't count as, and what can't be done with contradictions."""


@pytest.fixture
def stops_at_the_loop(monkeypatch: pytest.MonkeyPatch) -> None:
    async def drive(driver: Driver) -> None:
        raise RunStopped("far enough")

    # The trace knows it by its file, and is told of this one as of the real one.
    drive.__code__ = drive.__code__.replace(co_filename=Driver.drive.__code__.co_filename)
    monkeypatch.setattr(Driver, "drive", drive)
    monkeypatch.setattr("workflows.runs.site.ray_session", lambda *given: contextlib.nullcontext())
    for module in ("site", "slots"):
        monkeypatch.setattr(f"workflows.runs.{module}.slots_of_cluster", lambda *given: {})
    monkeypatch.setattr("workflows.runs.site.kept_nodes", lambda kinds: {})
    without_sandbox(monkeypatch)


def test_few_modules_stand_between_the_command_and_the_drivers_loop(
    tmp_path: Path, stops_at_the_loop: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    file = plain_build(tmp_path)
    with traced() as calls:
        assert run_command(["build", str(file)]) == 3
    assert "far enough" in capsys.readouterr().err
    entered = entered_before(calls, DRIVE, ABOVE)
    assert len(entered) <= MOST, "\n".join(entered)
