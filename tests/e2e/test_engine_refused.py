"""An engine that dies while it opens: its cause stands in the driver's one line, after one try."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PROBLEM = {"problem_id": "p", "problem": "What is 2 + 3?", "answer": "5"}


def build(folder: Path, **engine: object) -> subprocess.CompletedProcess[str]:
    """`stepmill build` of one problem with the demo's policy."""
    (folder / "problems.jsonl").write_text(json.dumps(PROBLEM) + "\n")
    policy = {"kind": "vllm", "model": str(ROOT / "demo" / "models" / "policy"), **engine}
    config = {
        "run": "r", "problems": "problems.jsonl", "store": f"file:{folder}/store",
        "models": {"policy": policy}, "stages": {"road": ["sample"]},
        "cluster": {"retry_pause_s": 0},
    }  # fmt: skip
    (folder / "build.yaml").write_text(json.dumps(config))
    return subprocess.run(
        [sys.executable, "-m", "launch", "build", str(folder / "build.yaml")],
        cwd=ROOT, env=os.environ | {"RAY_ADDRESS": ""}, capture_output=True, text=True, check=False,
    )  # fmt: skip


@pytest.mark.engine
def test_memory_that_is_not_there_ends_a_build_at_once_with_its_cause(tmp_path: Path) -> None:
    done = build(tmp_path, kv_cache_gib=4000)
    assert done.returncode == 2, done.stderr
    (said,) = [line for line in done.stderr.splitlines() if line.startswith("stepmill: ")]
    assert "models.policy: " in said
    assert "is less than requested memory for kv (4000.0 GiB)" in said
    assert "the same command continues" not in said
    starts = [line for line in done.stderr.splitlines() if line.endswith("starting policy")]
    assert len(starts) == 1, "it was tried once"
    assert not list(tmp_path.glob("store/runs/**/*.json")), "no run is left"


@pytest.mark.engine
@pytest.mark.parametrize(
    ("wrong", "words"),
    [({"dtype": "float31"}, "'bfloat16'"), ({"options": {"foo": 1}}, "foo")],
    ids=["precision", "option"],
)
def test_what_vllm_refuses_leaves_no_run_and_the_corrected_file_builds(
    tmp_path: Path, wrong: dict[str, object], words: str
) -> None:
    done = build(tmp_path, **wrong)
    assert done.returncode == 2, done.stderr
    (said,) = [line for line in done.stderr.splitlines() if line.startswith("stepmill: ")]
    assert "models.policy" in said
    assert words in said
    assert not list(tmp_path.glob("store/runs/**/*.json"))
    assert build(tmp_path, dtype="float32").returncode == 0
    assert list(tmp_path.glob("store/runs/r/_SUCCESS.json"))


def test_what_can_not_run_here_is_said_before_anything_is_started_or_stored(tmp_path: Path) -> None:
    done = build(tmp_path, tensor_parallel=2)
    assert done.returncode == 2
    (said,) = done.stderr.splitlines()
    assert "models.policy: " in said
    assert "needs 2 GPUs, this machine has 0" in said
    assert not (tmp_path / "store" / "runs").exists()
