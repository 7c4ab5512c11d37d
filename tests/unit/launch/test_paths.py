"""`why` and `show`: what the page shows of a path, in a terminal and as JSON."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from launch.cli.main import run_command
from storage.objects.local import LocalStore
from storage.runs.marks import Mark, put_mark
from storage.runs.run import Run
from tests.support.whole_run import finished


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("STEPMILL_STORE", f"file://{tmp_path / 'store'}")
    return finished(LocalStore(tmp_path / "store"))


def shown(capsys: pytest.CaptureFixture[str], *command: str) -> str:
    assert run_command(list(command)) == 0
    return capsys.readouterr().out


def refused(capsys: pytest.CaptureFixture[str], *command: str) -> str:
    assert run_command(list(command)) == 2
    return capsys.readouterr().err


def test_why_tells_all_of_a_path(run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    put_mark(run, Mark("train/1#0", "ada", False, 1, "a slip", "2026-11-26"))
    text = shown(capsys, "why", "whole", "train/1#0")
    assert text.splitlines()[0] == "train/1#0 ended at estimate: mc_zero_start"
    assert "What is 1 + 1?" in text
    assert "ada calls it wrong, first error step 2: a slip" in text


def test_why_of_a_kept_path_has_labels_reasons_texts_and_conversation(
    run: Run, capsys: pytest.CaptureFixture[str]
) -> None:
    (line,) = shown(
        capsys, "show", "whole", "--where", "state=kept", "--limit", "1", "--json"
    ).splitlines()
    page = json.loads(line)
    text = shown(capsys, "why", "whole", page["path_id"])
    for part in ("MC 0.5 → 0.625", "≥ 0.8 → right", "rationale, try 1", "Question: ä ∑ 数"):
        assert part in text
    assert json.loads(shown(capsys, "why", "whole", page["path_id"], "--json")) == page


def test_show_prints_so_many_of_a_reason(run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    lines = shown(capsys, "show", "whole", "--reason", "label_mismatch", "--json").splitlines()
    assert len(lines) == run.totals("consensus").drops["label_mismatch"]
    assert {json.loads(line)["reason"] for line in lines} == {"label_mismatch"}
    few = shown(capsys, "show", "whole", "--reason", "label_mismatch", "--limit", "2", "--json")
    assert few.splitlines() == lines[:2]


def test_show_finds_a_text(run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    lines = shown(capsys, "show", "whole", "--text", "IS 3 + 1", "--json").splitlines()
    assert {json.loads(line)["problem"]["problem_id"] for line in lines} == {"train/3"}


@pytest.mark.parametrize(
    ("command", "said"),
    [
        (("show", "whole", "--reason", "nope"), "its reasons are label_mismatch, mc_zero_start"),
        (("show", "whole", "--where", "colour=red"), "write NAME=VALUE; names are code, correct"),
        (("show", "whole", "--where", "steps=many"), "write a number or a range"),
        (("why", "whole", "train/0"), "an id is PROBLEM#NUMBER"),
        (("why", "whole", "train/1#99"), "has no solution 'train/1#99'"),
        (("browse", "nobody"), "no run 'nobody'"),
        (("compare", "whole", "--truth", "marks"), "nobody marked a path of these runs"),
    ],
)
def test_what_is_not_there_is_said(
    run: Run, capsys: pytest.CaptureFixture[str], command: tuple[str, ...], said: str
) -> None:
    error = refused(capsys, *command)
    assert said in error
    assert len(error.splitlines()) == 1


def test_a_port_in_use_is_said(run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    import socket

    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        assert "name another one" in refused(capsys, "browse", "whole", "--port", port)
