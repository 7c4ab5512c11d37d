"""launch/skypilot.yaml: what SkyPilot's own parser makes of it, and its commands on one node."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import venv
from pathlib import Path
from typing import Any

import pytest
import yaml

from launch.config import load
from storage.audit import audit
from storage.objects.opening import open_store
from storage.runs.run import Run
from tests.support.submitted import project
from workflows.runs.workload import placements
from workflows.stages import MODEL_ROLES

ROOT = Path(__file__).parents[2]
FILE = ROOT / "launch/skypilot.yaml"
TASK: dict[str, Any] = yaml.safe_load(FILE.read_text())
SKYPILOT = "skypilot==0.14.1"
PARSE = """
import json, sys
import sky
task = sky.Task.from_yaml(sys.argv[1])
(kind,) = task.resources
print("said", json.dumps([task.name, task.num_nodes, kind.accelerators, kind.job_recovery]))
"""


def test_its_commands_are_shell_and_name_what_the_project_has() -> None:
    for part in ("setup", "run"):
        said = subprocess.run(
            ["bash", "-n"], input=TASK[part], text=True, capture_output=True, check=False
        )
        assert (said.returncode, said.stderr) == (0, "")
    assert TASK["workdir"] == "."
    assert os.access(ROOT / "install.sh", os.X_OK)
    assert (ROOT / TASK["envs"]["CONFIG"]).is_file()


def test_a_node_holds_the_largest_model_and_all_models_have_gpus_enough() -> None:
    _, _, gpus = TASK["resources"]["accelerators"].partition(":")
    places = placements(load(ROOT / TASK["envs"]["CONFIG"]), int(gpus), MODEL_ROLES)
    assert max(place.gpus for place in places.values()) <= int(gpus)


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_skypilots_own_parser_takes_it(tmp_path: Path) -> None:
    venv.create(tmp_path / "venv", with_pip=True)
    python = tmp_path / "venv/bin/python"
    subprocess.run([python, "-m", "pip", "install", "-q", SKYPILOT], check=True)
    said = subprocess.run(
        [python, "-W", "ignore", "-c", PARSE, FILE], env=os.environ | {"HOME": str(tmp_path)},
        text=True, capture_output=True,
    )  # fmt: skip
    assert said.returncode == 0, said.stderr
    (line,) = (line for line in said.stdout.splitlines() if line.startswith("said "))
    kind = TASK["resources"]
    gpu, _, gpus = kind["accelerators"].partition(":")
    recovery = kind["job_recovery"]
    assert json.loads(line.removeprefix("said ")) == [
        TASK["name"], TASK["num_nodes"], {gpu: int(gpus)}, recovery,
    ]  # fmt: skip


@pytest.mark.slow
@pytest.mark.fault
@pytest.mark.timeout(600)
def test_its_run_builds_on_one_node_and_leaves_no_ray_behind(tmp_path: Path) -> None:
    folder = project(tmp_path / "project")
    home = tmp_path / "home"
    home.mkdir()
    (home / "venv").symlink_to(sys.prefix)
    (home / "sg").write_text('#!/bin/sh\nsh -c "$3" & wait $!\n')  # no such group: as itself
    (home / "sg").chmod(0o755)
    given = TASK["envs"] | {
        "CONFIG": "build.yaml",
        "RAY_AUTH_TOKEN": "0" * 64,
        "SKYPILOT_NODE_IPS": "127.0.0.1\n",
        "SKYPILOT_NODE_RANK": "0",
        "SKYPILOT_NUM_NODES": "1",
        "HOME": str(home),
        "PATH": f"{home}:{os.environ['PATH']}",
        "PYTHONPATH": str(ROOT),
    }
    run = subprocess.Popen(
        ["bash", "-c", TASK["run"]], cwd=folder, env=os.environ | given, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, start_new_session=True,
    )  # fmt: skip
    try:
        said = run.communicate(timeout=300)[0]  # ends once Ray has closed its output too
        assert run.returncode == 0, said
    finally:
        if run.poll() is None:
            os.killpg(run.pid, signal.SIGTERM)
        shutil.rmtree("/tmp/stepmill-ray", ignore_errors=True)
    found = audit(Run.open(open_store(f"file://{tmp_path}/store"), "r"))
    assert (found.findings, found.finished) == ((), True)
