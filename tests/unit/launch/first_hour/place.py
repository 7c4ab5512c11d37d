"""The folder in which a command is typed, and what is looked at afterwards."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

from launch.cli.main import run_command
from tests.support.here import without_sandbox
from tests.support.scripted_world import world_problems, write_problems

SCRIPTED = {role: {"kind": "scripted", "model": f"tests.scripted_models:{role}"}
            for role in ("policy", "completer", "rationale")}  # fmt: skip
BUILD: Mapping[str, Any] = {"run": "r", "problems": "own.jsonl", "models": SCRIPTED}
UNSET = ("STEPMILL_STORE", "RAY_ADDRESS", "AWS_ACCESS_KEY_ID", "AWS_PROFILE", "NO_SUCH_KEY")
ALONE = {
    "AWS_EC2_METADATA_DISABLED": "true",
    "AWS_SHARED_CREDENTIALS_FILE": "none",
    "AWS_CONFIG_FILE": "none",
    "CUDA_VISIBLE_DEVICES": "",
}
"""Nothing outside of the folder says anything."""


def prepared(folder: Path, patched: pytest.MonkeyPatch) -> Path:
    """Go into a folder with problems and a configuration; the sandbox is not looked for."""
    patched.chdir(folder)
    for name in UNSET:
        patched.delenv(name, raising=False)
    for name, value in ALONE.items():
        patched.setenv(name, value)
    without_sandbox(patched)
    write_problems(world_problems(4), folder / "own.jsonl")
    write_build(folder)
    return folder


def write_build(folder: Path, **settings: Any) -> None:
    (folder / "own.yaml").write_text(yaml.safe_dump({**BUILD, **settings}))


def refused(command: str, folder: Path, capsys: pytest.CaptureFixture[str]) -> str:
    """The line that a command ends with, once it has left nothing behind."""
    before = files_below(folder)
    assert run_command(command.split()) == 2
    shown = capsys.readouterr().err
    assert shown.startswith("stepmill: ")
    assert "Traceback" not in shown
    assert files_below(folder) == before
    return shown


def files_below(folder: Path) -> set[Path]:
    return {path for path in folder.rglob("*") if path.is_file()}
