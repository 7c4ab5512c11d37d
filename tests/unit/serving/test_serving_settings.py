"""What `stepmill serve` refuses before anything is started."""

from __future__ import annotations

import socket
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from launch.cli.main import run_command
from storage.errors import ConfigurationError
from workflows.serving.run import check_port, config_of, serve, token_of

GOOD = "0123456789abcdef"


def configured(**asked: Any) -> Any:
    return config_of("m", None, {"models.verifier.kind": "scripted", **asked})


@pytest.fixture(autouse=True)
def no_token(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("STEPMILL_TOKEN", raising=False)


def test_without_a_token_only_this_machine_can_ask() -> None:
    assert token_of(configured()) is None
    with pytest.raises(ConfigurationError, match="STEPMILL_TOKEN"):
        token_of(configured(**{"serve.host": "0.0.0.0"}))


def test_the_token_is_a_variables_or_a_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("STEPMILL_TOKEN", GOOD)
    assert token_of(configured(**{"serve.host": "0.0.0.0"})) == GOOD
    (tmp_path / "token").write_text(f"  {GOOD}file\n")
    assert token_of(configured(**{"serve.token_file": str(tmp_path / "token")})) == f"{GOOD}file"
    monkeypatch.setenv("OTHER", f"{GOOD}other")
    assert token_of(configured(**{"serve.token_env": "OTHER"})) == f"{GOOD}other"


@pytest.mark.parametrize("token", ["short", "with a blank in it all", "ümläute-are-not-ascii"])
def test_a_token_that_is_none_is_refused_and_not_shown(
    token: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("STEPMILL_TOKEN", token)
    with pytest.raises(ConfigurationError, match="openssl") as refused:
        token_of(configured())
    assert token not in str(refused.value)


@pytest.mark.parametrize("content", [None, "", " \n"])
def test_a_token_file_without_a_token_is_refused(content: str | None, tmp_path: Path) -> None:
    if content is not None:
        (tmp_path / "token").write_text(content)
    with pytest.raises(ConfigurationError, match="token_file"):
        token_of(configured(**{"serve.token_file": str(tmp_path / "token")}))


def test_a_port_that_is_taken_is_named_with_what_to_change() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        with pytest.raises(ConfigurationError, match="--port"):
            check_port("127.0.0.1", taken.getsockname()[1])
    with pytest.raises(ConfigurationError, match="--host"):
        check_port("203.0.113.1", 8000)


@pytest.mark.parametrize(
    ("key", "value"),
    [("serve.replicas", 0), ("serve.port", 70_000), ("serve.queue", 0), ("serve.prot", 1)],
)
def test_a_setting_out_of_bounds_is_refused_by_its_name(key: str, value: int) -> None:
    with pytest.raises(ConfigurationError, match=key):
        configured(**{key: value})


def test_without_a_sandbox_no_mode_that_runs_code_is_served() -> None:
    assert "full" in configured().modes
    assert set(configured(**{"verify.mode": "cot"}).modes) == {"cot", "code_not_run", "direct"}


def test_a_model_that_reads_is_served_in_its_one_mode() -> None:
    assert configured(**{"verify.mode": "read"}).modes == ("read",)
    assert "read" not in configured().modes


def test_pruning_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="prune"):
        serve(configured(**{"verify.prune": "steps"}))


def test_serving_changes_nothing_that_a_score_run_depends_on() -> None:
    config = configured()
    served = replace(config, serve=replace(config.serve, replicas=4, queue=1))
    assert served.binding == config.binding


def test_a_refused_start_is_one_line_and_exit_code_2(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    assert run_command(["serve", str(tmp_path), "--host", "0.0.0.0", "--port", "8123"]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "serve.token_file" in line
