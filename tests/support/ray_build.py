"""A scripted build by a driver process on real Ray actors, and what it committed."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

from storage.fault_points import VARIABLE
from storage.runs.run import Run
from workflows.stages import STAGE_NAMES

ROOT = Path(__file__).parents[2]


class Ended(NamedTuple):
    """What a driver process did."""

    code: int
    events: list[tuple[str, str, int | None, str]]

    def shards(self, what: str) -> list[tuple[str, int | None]]:
        return [(stage, shard) for said, stage, shard, _ in self.events if said == what]


def drive(config: Path, *args: str, fault: str = "") -> Ended:
    done = subprocess.run(
        [sys.executable, "-m", "tests.e2e.ray_process", str(config), *args],
        cwd=ROOT,
        # No home that could be made, as in a container for any user.
        env=os.environ | {VARIABLE: fault, "PYTHONPATH": str(ROOT), "HOME": "/proc/none"},
        stdout=subprocess.PIPE,
        text=True,
        timeout=240,
    )
    lines = [line for line in done.stdout.splitlines() if line.startswith("[")]
    return Ended(done.returncode, [tuple(json.loads(line)) for line in lines])


def digests(run: Run) -> dict[str, dict[int, str]]:
    return {stage: {c.shard: c.sha256 for c in run.commits(stage)} for stage in STAGE_NAMES}
