"""Each tracker's own package takes a run's figures, and goes on in the same record."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from storage.objects.local import LocalStore
from tests.support.commands import environment
from tests.support.whole_run import finished
from workflows.runs.figures import RunFigures


@pytest.mark.parametrize("tracker", ["wandb", "mlflow", "trackio"])
def test_a_tracker_holds_the_sums_of_a_run_that_went_on(tracker: str, tmp_path: Path) -> None:
    store = LocalStore(tmp_path / "store")
    run = finished(store)
    for command in (["report", tracker, store.url], ["read", tracker]):
        done = subprocess.run(
            [sys.executable, "-m", "tests.support.reporters", *command],
            cwd=tmp_path, env=environment(), capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
    sums = RunFigures(before=0)
    for stage in run.spec.stages[1:]:
        for receipt in run.receipts(stage):
            sums.add(receipt)
    ((figures, step),) = sums.take()
    last, told = json.loads(done.stdout.splitlines()[-1])[-1]
    assert (last, told) == (step, figures)
    assert figures["sample/rows"] == run.totals("sample").rows > 0
    assert figures["tokens"] == sum(
        run.totals(stage).counts.get("tokens", 0) for stage in run.spec.stages
    )
