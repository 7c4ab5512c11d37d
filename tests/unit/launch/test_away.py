"""What a wheel without engines holds and does: watching, checking and downloading, anywhere."""

from __future__ import annotations

import json
import subprocess
import sys
import tomllib
from fnmatch import fnmatch
from pathlib import Path

import pytest
from setuptools import find_namespace_packages

from launch.cli.main import app
from storage.objects.opening import open_store
from tests.support.whole_run import finished

ROOT = Path(__file__).parents[3]
SETUP = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]
VERBS = sorted(str(one.name or one.callback.__name__) for one in app.registered_commands)  # type: ignore[union-attr]
OF_THE_CLONE_ALONE = {Path("launch/slurm.sh")}
KINDS = {".parquet", ".jsonl"}
WITHOUT_ENGINES = """
import sys
for name in ("torch", "vllm", "accelerate"):
    sys.modules[name] = None  # importing it is ModuleNotFoundError
from launch.cli.main import run_command
sys.exit(run_command(sys.argv[1:]))
"""


def stepmill(folder: Path, *arguments: str) -> str:
    """What a verb prints in a folder, on a machine that has neither torch nor vLLM."""
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT_ENGINES, *arguments],
        cwd=folder, env={"PYTHONPATH": str(ROOT), "HOME": str(folder)},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_explains_itself_without_engines(verb: str, tmp_path: Path) -> None:
    assert f"Usage: stepmill {verb}" in stepmill(tmp_path, verb, "--help")


def test_a_run_is_watched_checked_compared_and_downloaded_without_engines(tmp_path: Path) -> None:
    store = f"file:{tmp_path}/store"
    finished(open_store(store))
    at = ("--store", store)
    assert json.loads(stepmill(tmp_path, "status", "whole", "--json", *at))["finished"]
    assert "clean" in stepmill(tmp_path, "audit", "whole", *at)
    assert "labelled" in stepmill(tmp_path, "compare", "whole", "whole", *at)
    both = stepmill(tmp_path, "download", "whole", "out", "--format", "parquet,jsonl", *at)
    assert "11 rows" in both
    assert {file.suffix for file in (tmp_path / "out").rglob("*-of-*")} == KINDS


def test_the_wheel_takes_every_file_of_the_packages() -> None:
    found = find_namespace_packages(ROOT, **SETUP["packages"]["find"])
    packages = {Path(*name.split(".")) for name in found}
    kinds = ["*.py", *SETUP["package-data"]["*"]]
    listed = subprocess.run(
        ["git", "ls-files", "storage", "actors", "workflows", "launch", "demo"],
        cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert listed.stdout, listed.stderr
    left_out = {
        file
        for file in map(Path, listed.stdout.splitlines())
        if not (ROOT / file).is_symlink()  # folders of the clone: tests/e2e/test_wheel.py
        and (file.parent not in packages or not any(fnmatch(file.name, kind) for kind in kinds))
    }
    assert left_out == OF_THE_CLONE_ALONE
