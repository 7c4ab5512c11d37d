"""A verifier served on a cluster that others use too: it leaves nothing there."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from tests.scripted_verifier import world_responses
from tests.support.boxes import boxes_of
from tests.support.commands import ROOT, environment
from tests.support.ports import free_port
from tests.support.ray_nodes import RayNodes, ray_nodes
from tests.support.served_process import SCRIPTED, TOKEN, actors_below, served

pytestmark = [pytest.mark.fault, pytest.mark.slow, pytest.mark.container, pytest.mark.timeout(900)]
GIVEN = world_responses()[0]
ACTORS = """
import json, sys, ray
from ray.util.state import list_actors
ray.init(sys.argv[1], logging_level="ERROR", log_to_driver=False)
print(json.dumps([a.class_name for a in list_actors(detail=True) if a.state != "DEAD"]))
"""


@pytest.fixture(scope="module")
def cluster() -> Iterator[RayNodes]:
    """A head without processors, and a node that may run code."""
    before = os.environ.get("PYTHONPATH")
    os.environ["PYTHONPATH"] = str(ROOT)
    try:
        with ray_nodes([{"sandbox": 1}]) as ray:
            yield ray
    finally:
        os.environ.pop("PYTHONPATH") if before is None else os.environ.update(PYTHONPATH=before)


def actors(cluster: RayNodes) -> list[str]:
    """Classes of the actors that live."""
    done = subprocess.run(
        [sys.executable, "-c", ACTORS, cluster.address],
        env=cluster.environment, capture_output=True, text=True, check=True,
    )  # fmt: skip
    found: list[str] = json.loads(done.stdout.splitlines()[-1])
    return found


def test_it_leaves_a_joined_cluster_as_it_was_and_a_second_one_is_refused_meanwhile(
    cluster: RayNodes, tmp_path: Path
) -> None:
    token = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN_PATH": str(cluster.folder / "token")}
    assert actors(cluster) == []
    with served(tmp_path, *SCRIPTED, "--address", cluster.address, **token) as server:
        score = server.client().score(GIVEN.problem, GIVEN.steps)
        assert len(score["histories"][0]["executions"]) >= len(GIVEN.steps)
        assert {"CodeExecutor", "Herald", "ServeController"} <= set(actors(cluster))
        second = subprocess.run(
            [sys.executable, "-m", "launch", "serve", *SCRIPTED, "--port", str(free_port()),
             "--address", cluster.address],
            env=environment(STEPMILL_TOKEN=TOKEN, **token), capture_output=True, text=True,
            check=False,
        )  # fmt: skip
        assert second.returncode == 2 and "Ray Serve runs in this cluster" in second.stderr
        again = server.client().score(GIVEN.problem, GIVEN.steps)
        assert again["rewards"] == score["rewards"]
        assert server.stop() == 0
    given_up = time.monotonic() + 30
    while actors(cluster):
        assert time.monotonic() < given_up, actors(cluster)


def test_told_to_stop_while_it_opens_it_ends_and_leaves_nothing(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "launch", "serve", *SCRIPTED, "--port", str(free_port())]
    process = subprocess.Popen(
        command, cwd=tmp_path, env=environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        text=True,
    )  # fmt: skip
    try:
        while not actors_below(process.pid, "ServeController"):
            assert process.poll() is None
            time.sleep(0.1)
        family = psutil.Process(process.pid).children(recursive=True)
        process.send_signal(signal.SIGTERM)
        out, said = process.communicate(timeout=90)
    finally:
        process.kill()
    assert process.returncode == 130 and out == "", said
    psutil.wait_procs(family, timeout=30)
    assert [each for each in family if each.is_running()] == []


def test_killed_it_takes_its_private_cluster_and_its_boxes_along(tmp_path: Path) -> None:
    with served(tmp_path, *SCRIPTED, "--set", "sandbox.reaper_period_s=2") as server:
        server.client().score(GIVEN.problem, GIVEN.steps)
        family, (executor,) = server.family(), server.pids("CodeExecutor")
        assert asyncio.run(boxes_of(executor))
        server.process.kill()
        server.process.wait()
        psutil.wait_procs(family, timeout=180)  # the agents of a node notice it last
        assert [each for each in family if each.is_running()] == []
    given_up = time.monotonic() + 60
    while asyncio.run(boxes_of(executor)):
        assert time.monotonic() < given_up


def test_a_model_that_no_replica_can_open_is_one_line_and_exit_code_2(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "launch", "serve", "nomodule:x", *SCRIPTED[1:],
         "--port", str(free_port())],
        cwd=tmp_path, env=environment(), capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stdout) == (2, ""), done.stderr
    assert done.stderr == (
        "stepmill: a scripted engine's model is written as package.module:function, "
        "not 'nomodule:x'\n"
    )
