"""`stepmill score` as a process that is killed in the middle, and the same command once more."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import asdict
from pathlib import Path

import pytest

from storage.audit import audit
from storage.errors import NothingFound
from storage.objects.opening import open_store
from storage.runs.run import Run
from tests.scripted_verifier import PROBLEMS, world_responses

pytestmark = [pytest.mark.fault, pytest.mark.slow, pytest.mark.timeout(400)]

ROOT = Path(__file__).parents[2]
PATIENCE_S = 150.0
SETTINGS = """\
shard_size: 1
models: {verifier: {kind: scripted}}
cluster: {parallel_shards: 1, workers_per_role: 1}
"""


def command(folder: Path) -> list[str]:
    file = folder / "world.jsonl"
    file.write_text(
        "".join(
            json.dumps(asdict(response) | {"id": response.response_id}) + "\n"
            for response in world_responses()
        )
    )
    (folder / "score.yaml").write_text(SETTINGS)
    return [
        sys.executable, "-m", "launch", "score", "tests.scripted_verifier:slow_verifier", str(file),
        "--mode", "cot", "--n", "2", "--name", "killed", "--store", f"file:{folder}/store",
        "--config", str(folder / "score.yaml"), "--out", str(folder / "out"), "--json",
    ]  # fmt: skip


def committed(folder: Path) -> dict[int, str]:
    try:
        run = Run.open(open_store(f"file://{folder}/store"), "killed")
    except NothingFound:
        return {}
    return {shard: run.commit("score", shard).sha256 for shard in run.shards_of("score")}


def test_a_score_run_that_is_killed_is_finished_by_the_same_command(tmp_path: Path) -> None:
    asked = command(tmp_path)
    first = subprocess.Popen(
        asked, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True
    )
    deadline = time.monotonic() + PATIENCE_S
    while len(committed(tmp_path)) < 2:
        assert first.poll() is None, first.communicate()[1].decode()
        assert time.monotonic() < deadline, "nothing was committed"
        time.sleep(0.02)
    os.kill(first.pid, signal.SIGKILL)
    first.communicate()
    before = committed(tmp_path)
    assert 2 <= len(before) < PROBLEMS
    assert not (tmp_path / "out").exists(), "files are written from a finished run only"

    second = subprocess.run(asked, cwd=ROOT, capture_output=True, text=True, check=False)
    assert second.returncode == 0, second.stderr
    after = committed(tmp_path)
    assert {shard: after[shard] for shard in before} == before
    assert sorted(after) == list(range(PROBLEMS))
    assert audit(Run.open(open_store(f"file://{tmp_path}/store"), "killed")).findings == ()
    said = json.loads(second.stdout)
    assert (said["scored"], said["histories"]) == (PROBLEMS, 2 * PROBLEMS)
    lines = (tmp_path / "out" / "scores.jsonl").read_text().splitlines()
    assert len(lines) == PROBLEMS

    third = subprocess.run(asked, cwd=ROOT, capture_output=True, text=True, check=False)
    assert (third.returncode, json.loads(third.stdout)) == (0, said), "finished: nothing to do"

    other = subprocess.run(
        [*asked, "--seed", "9"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert other.returncode == 2
    assert "configuration.verify.seed: stored 0, asked for 9" in other.stderr
