"""A working directory as somebody has it who submits a build."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path

from tests.support.scripted_build import CONFIG, GIVEN
from tests.support.scripted_world import write_problems

ROOT = Path(__file__).parents[2]
BIN = Path(sys.executable).parent


def project(folder: Path) -> Path:
    """A working directory with a configuration, its problems, and the scripts it names."""
    folder.mkdir()
    write_problems(GIVEN, folder / "problems.jsonl")
    models = {
        role: {"kind": "scripted", "model": f"tests.scripted_models:{role}"}
        for role in ("policy", "completer", "rationale")
    }
    body = CONFIG | {"models": models, "store": f"file://{folder.parent}/store"}
    body["stages"] = body["stages"] | {"rationalize": {"execute": False}}
    (folder / "build.yaml").write_text(json.dumps(body))
    (folder / ".venv").mkdir()
    (folder / ".venv" / "large").write_bytes(b"x")
    for package in ("tests", "tests/support", "demo"):
        (folder / package).mkdir()
        for file in (ROOT / package).glob("*.py"):
            shutil.copy(file, folder / package)
    return folder
