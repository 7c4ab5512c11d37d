"""`make chaos` in small: some of each kind of kill over one build."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.faults.chaos_cards import WEIGHTS

ROOT = Path(__file__).parents[2]
SEED = os.environ.get("STEPMILL_SEED", "1")


@pytest.mark.slow
@pytest.mark.fault
@pytest.mark.container
@pytest.mark.timeout(1_200)
def test_a_build_killed_in_every_way_is_the_build_without_kills(tmp_path: Path) -> None:
    words = ["--kills", "12", "--problems", "24", "--seed", SEED, "--json"]
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.chaos", *words, "--folder", str(tmp_path)],
        cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, f"seed {SEED}: {done.stdout[-2000:]} {done.stderr[-4000:]}"
    report = json.loads(done.stdout)
    assert {kill["kind"] for kill in report["kills"]} == set(WEIGHTS)
    assert report["broken"] == []
