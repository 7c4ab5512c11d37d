"""A private cluster is this machine's and this user's, and does not outlive its folder."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

LISTENING = """
import json, psutil
from actors.workers.ray_workers import ray_session
with ray_session(None, 1):
    family = [psutil.Process(), *psutil.Process().children(recursive=True)]
    print(json.dumps([
        (socket.laddr.ip, process.name())
        for process in family for socket in process.net_connections(kind="inet")
        if socket.status == psutil.CONN_LISTEN
    ]))
"""
CLEARED = """
import shutil, tempfile, time
from pathlib import Path
from actors.workers import head_watch
from actors.workers.ray_workers import ray_session
from launch.exits import head_lost
head_watch.LOST_S = 3.0
with ray_session(None, 1, head_lost):
    import ray
    for folder in Path("/tmp").glob("stepmill-ray-*"):
        if str(folder) in str(ray._private.worker._global_node.get_temp_dir_path()):
            shutil.rmtree(folder)
            print("cleared", flush=True)

    @ray.remote
    def work(): return 1

    while True:
        ray.get(work.remote())
"""


def started(code: str, home: Path) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "HOME": str(home), "TMPDIR": "/tmp", "RAY_ADDRESS": ""}
    return subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, timeout=240
    )


@pytest.mark.fault
def test_its_ports_are_on_this_machine_alone(tmp_path: Path) -> None:
    done = started(LISTENING, tmp_path)
    listening = json.loads(done.stdout.splitlines()[-1])
    assert len(listening) > 5, done.stderr
    assert {ip for ip, _ in listening} <= {"127.0.0.1", "::1"}, listening


@pytest.mark.fault
def test_a_command_whose_clusters_folder_is_cleared_away_ends_with_3_and_one_line(
    tmp_path: Path,
) -> None:
    done = started(CLEARED, tmp_path)
    assert (done.stdout, done.returncode) == ("cleared\n", 3), done.stderr
    (line,) = done.stderr.splitlines()
    assert "where the Ray cluster of this command lives, was cleared away" in line
