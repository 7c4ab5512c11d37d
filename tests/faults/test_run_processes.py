"""Real processes of a run that freeze, vanish with their node, or are asked to stop."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from storage.audit import audit
from storage.objects.opening import open_store
from storage.runs.run import Run
from tests.support.ray_build import digests, drive
from tests.support.scripted_build import Build, configure
from tests.support.submitted import BIN, project
from workflows.runs.listening import ENDING
from workflows.runs.starting import start_run
from workflows.stages import STAGE_NAMES

pytestmark = [pytest.mark.fault, pytest.mark.slow, pytest.mark.timeout(600)]


@pytest.fixture(scope="module")
def quiet(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[int, str]]:
    build = Build(configure(tmp_path_factory.mktemp("quiet")))
    asyncio.run(build.work())
    return digests(build.run)


def started(folder: Path, cluster: Mapping[str, Any]) -> tuple[Run, Path]:
    config = configure(folder, store=f"file:{folder}/store", cluster=cluster)
    return start_run(config, open_store(config.store), None), folder / "build.yaml"


def is_whole(run: Run, quiet: dict[str, dict[int, str]]) -> None:
    assert digests(run) == quiet
    result = audit(run)
    assert (result.findings, result.finished) == ((), True)


def test_a_worker_that_freezes_is_replaced_and_its_shards_are_made_by_another(
    tmp_path: Path, quiet: dict[str, dict[int, str]]
) -> None:
    run, config = started(tmp_path / "run", {"deadline_floor_s": 1.0, "retry_pause_s": 0.5})
    ended = drive(config, "--freeze", "estimate")
    assert ended.code == 0
    assert sorted(ended.shards("committed")) == sorted(
        (stage, shard) for stage in STAGE_NAMES for shard in range(4)
    )
    is_whole(run, quiet)


def test_a_node_that_is_lost_gives_its_shards_to_the_others(
    tmp_path: Path, quiet: dict[str, dict[int, str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RAY_AUTH_MODE", "disabled")
    monkeypatch.setenv("RAY_health_check_period_ms", "1000")
    monkeypatch.setenv("RAY_health_check_failure_threshold", "5")
    run, config = started(tmp_path / "run", {"retry_pause_s": 0.5})
    ended = drive(config, "--freeze", "estimate", "--lose-node")
    assert ended.code == 0
    assert ended.shards("lost"), "the node held no worker"
    is_whole(run, quiet)


def left_of_session(session: int) -> list[str]:
    """Processes of a session that have not ended, but for Ray's agents, which notice in seconds."""
    left = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            fields = (folder / "stat").read_text().rpartition(")")[2].split()
            command = (folder / "cmdline").read_text()
        except OSError:
            continue
        if int(fields[3]) == session and fields[0] not in "ZX" and "Agent" not in command:
            left.append(command)
    return left


@pytest.mark.parametrize(
    ("sent", "heard"),
    [(signal.SIGTERM, True), (signal.SIGINT, True), (signal.SIGINT, False)],
    ids=["SIGTERM", "Ctrl-C", "SIGINT to a background job of a script"],
)
def test_a_build_that_is_asked_to_stop_ends_with_130_and_the_same_command_continues_it(
    tmp_path: Path, sent: signal.Signals, heard: bool
) -> None:
    """Sent to this process only; shells without job control start jobs with SIGINT ignored."""
    folder = project(tmp_path / "project")
    command = [BIN / "stepmill", "build", "build.yaml"]
    environment = os.environ | {"PYTHONPATH": str(folder)}
    disposition = signal.SIG_DFL if heard else signal.SIG_IGN
    building = subprocess.Popen(
        command, cwd=folder, env=environment, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL,
        text=True, start_new_session=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, disposition) and None,
    )  # fmt: skip
    assert building.stderr is not None
    for line in building.stderr:
        if "policy is up" in line:
            break
    building.send_signal(sent)
    said = building.communicate(timeout=120)[1]
    assert building.returncode == 130, said
    assert said.count("the same command continues") == 1
    assert "the same command continues: stepmill build build.yaml" in said
    assert said.count(ENDING) == 1
    assert not left_of_session(building.pid)
    subprocess.run(command, cwd=folder, env=environment, check=True, timeout=240)
    result = audit(Run.open(open_store(f"file://{tmp_path}/store"), "r"))
    assert (result.findings, result.finished) == ((), True)
