"""The trackers' packages, fetched once for the tests, and what each has stored.

    python -m tests.support.reporters report TRACKER STORE
    python -m tests.support.reporters read TRACKER

The first reports run `whole` of a store twice, as a build that goes on does, into this folder.
The second prints [step, figures] of every point that lies there, as JSON: wandb writes until the
process ends.
"""

from __future__ import annotations

import fcntl
import json
import os
import struct
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
HOME = ROOT / ".stepmill" / "reporters"
PINS = Path(__file__).with_name("reporters.txt")
OFFLINE = {
    "WANDB_MODE": "offline", "MLFLOW_TRACKING_URI": "file:mlruns",
    "MLFLOW_ALLOW_FILE_STORE": "true", "TRACKIO_DIR": "trackio", "HF_HUB_OFFLINE": "1",
}  # fmt: skip


def fetched() -> Path:
    """The folder with the packages, made if it is not there or its pins changed."""
    mark = HOME / "fetched.txt"
    HOME.mkdir(parents=True, exist_ok=True)
    with open(HOME.with_suffix(".lock"), "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not mark.exists() or mark.read_text() != PINS.read_text():
            command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--upgrade",
                       "--target", str(HOME), "--requirement", str(PINS)]  # fmt: skip
            subprocess.run(command, check=True)
            mark.write_text(PINS.read_text())
    return HOME


def points(tracker: str) -> Iterator[tuple[int, dict[str, float]]]:
    """(step, figures) of what a tracker stored in this folder."""
    if tracker == "mlflow":
        from mlflow import MlflowClient

        client = MlflowClient()
        (experiment,) = client.search_experiments(filter_string="name = 'stepmill'")
        (run,) = client.search_runs([experiment.experiment_id])
        assert run.info.run_name == "whole" and run.info.status == "FINISHED"
        assert run.data.params["seed"] == "1"
        by_step: dict[int, dict[str, float]] = {}
        for name in run.data.metrics:
            for metric in client.get_metric_history(run.info.run_id, name):
                by_step.setdefault(metric.step, {})[name] = metric.value
        yield from sorted(by_step.items())
    elif tracker == "trackio":
        import sqlite3

        stored = sqlite3.connect("trackio/stepmill.db")
        names = stored.execute("select distinct run_id from metrics").fetchall()
        assert len(names) == 1
        for step, figures in stored.execute("select step, metrics from metrics order by id"):
            yield step, json.loads(figures)
    else:
        for file in sorted(Path("wandb").glob("offline-run-*/*.wandb")):
            yield from _wandb_points(file.read_bytes())


def _wandb_points(data: bytes) -> Iterator[tuple[int, dict[str, float]]]:
    """The history of a .wandb file: records in LevelDB's log format, behind 7 bytes."""
    from wandb.proto.wandb_internal_pb2 import Record

    block, at, whole = 32768, 7, b""
    while at + 7 <= len(data):
        if block - at % block < 7:
            at += block - at % block
            continue
        _, size, kind = struct.unpack("<IHB", data[at : at + 7])
        whole += data[at + 7 : at + 7 + size]
        at += 7 + size
        if kind in (1, 4):  # whole, or the last part
            record: Any = Record.FromString(whole)
            whole = b""
            if record.HasField("history"):
                items = {"/".join(item.nested_key) or item.key: json.loads(item.value_json)
                         for item in record.history.item}  # fmt: skip
                yield record.history.step.num, {n: v for n, v in items.items() if n[0] != "_"}


def report(tracker: Any, store: str) -> None:
    """Report the run's first half, then the rest."""
    from storage.objects.opening import open_store
    from storage.runs.run import Run
    from workflows.runs.listening import SILENT
    from workflows.runs.reporting import Reporting
    from workflows.schedule.events import Happened

    run = Run.open(open_store(store), "whole")
    listener = Reporting(SILENT, (tracker,), store, {"seed": 1})
    stages = run.spec.stages[1:]
    receipts = [receipt for stage in stages for receipt in run.receipts(stage)]
    half = len(receipts) // 2
    for there, new in ((0, half), (half, len(receipts))):
        before = Counter(receipt.stage for receipt in receipts[:there])
        with listener.working("whole", stages, 3, before) as watching:
            for receipt in receipts[:there]:
                watching.earlier(receipt)
            for receipt in receipts[there:new]:
                watching.happened(Happened("committed", receipt=receipt))


if __name__ == "__main__":
    sys.path.append(str(fetched()))
    os.environ.update(OFFLINE)
    what, *given = sys.argv[1:]
    if what == "report":
        report(*given)
    else:
        print(json.dumps(list(points(*given))))
