"""What the scripted runs of the tests have stored, byte for byte, kept as digests.

    GOLDEN=write python -m pytest tests/e2e -k golden

writes `tests/data/golden_runs.json` anew. A change of the code that changes a digest changes what
users have stored, or what a stored run goes on with: it says so, or it is a fault.
"""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path
from typing import Any

from launch.verbs.looking.reasons import REASONS
from storage.errors import Broken
from storage.runs.layout import dataset_prefix
from storage.runs.run import Run

FILE = Path(__file__).parents[1] / "data/golden_runs.json"


def check_golden(name: str, run: Run) -> None:
    """Compare a finished run with the kept digests, or keep them where `GOLDEN` is `write`."""
    check_reasons(run)
    kept: dict[str, Any] = json.loads(FILE.read_text()) if FILE.exists() else {}
    if os.environ.get("GOLDEN") == "write":
        kept[name] = digests(run)
        FILE.write_text(json.dumps(kept, indent=1, sort_keys=True) + "\n")
        return
    assert digests(run) == kept[name]


def check_reasons(run: Run) -> None:
    """What was dropped was dropped for reasons that the page of reasons has."""
    for stage in run.spec.stages:
        known = {*REASONS.get(stage, ()), *Broken}
        assert {drop.reason for commit in run.commits(stage) for drop in commit.drops} <= known


def digests(run: Run) -> dict[str, Any]:
    """Spec, rows and drops of every shard of every stage, and each file of the dataset."""
    stages = {stage: list(run.commits(stage)) for stage in run.spec.stages}
    dataset = dataset_prefix(run.name)
    return {
        "spec": run.spec.fingerprint,
        "rows": {
            stage: [f"{commit.kind} {commit.version} {commit.sha256[:16]}" for commit in commits]
            for stage, commits in stages.items()
        },
        "drops": {
            stage: _digest(
                "\n".join(
                    f"{d.item} {d.reason}" for commit in commits for d in commit.drops
                ).encode()
            )
            for stage, commits in stages.items()
        },
        "dataset": {
            entry.key.removeprefix(dataset): _digest(run.store.get(entry.key))
            for entry in run.store.list(dataset)
        },
    }


def _digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()[:16]
