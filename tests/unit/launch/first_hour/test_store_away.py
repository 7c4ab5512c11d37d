"""A store that does not answer is said within seconds, while its requests are repeated."""

from __future__ import annotations

import itertools
import logging
from dataclasses import replace
from pathlib import Path

import pytest

from launch.cli.main import run_command
from launch.streams import Warnings
from storage.objects import patience
from storage.objects.patience import PATIENT, Patience
from storage.objects.s3 import S3Store

AWAY = "s3://bucket/runs?endpoint=http://127.0.0.1:9"


def test_what_goes_on_failing_is_said_once_with_what_and_for_how_long(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(patience, "_SAID", {})
    seconds = itertools.count(step=0.2)
    trying = Patience(clock=lambda: float(next(seconds)))
    for _ in range(20):
        trying.still_trying(0.0, "GET spec.json: no answer")
    assert caplog.messages == ["GET spec.json: no answer; trying again for up to 120 seconds"]


def test_a_verb_says_that_its_store_does_not_answer(
    place: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "x")
    monkeypatch.setattr(patience, "_SAID", {})
    slept: list[float] = []
    brief = replace(PATIENT, clock=lambda: sum(slept), sleep=slept.append)
    opened = S3Store.at
    monkeypatch.setattr(S3Store, "at", lambda url: opened(url, brief))
    at: list[float] = []

    class Timed(Warnings):
        def emit(self, record: logging.LogRecord) -> None:
            at.append(sum(slept))
            super().emit(record)

    shown = Timed()
    logging.getLogger("stepmill").addHandler(shown)
    try:
        assert run_command(["status", "r", "--store", AWAY]) == 3
    finally:
        logging.getLogger("stepmill").removeHandler(shown)
    lines = capsys.readouterr().err.splitlines()
    assert lines[0].startswith(f"stepmill: {AWAY}: GET runs/r/")
    assert lines[0].endswith(
        ": EndpointConnectionError (127.0.0.1:9); trying again for up to 120 seconds"
    )
    assert lines[1].endswith("(what is committed stays; the same command continues)")
    assert 0 < at[0] < 3 < sum(slept)
