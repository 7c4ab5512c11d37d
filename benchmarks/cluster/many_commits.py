"""What a run of 330,000 commits costs its driver, its readers and its store.

    python -m benchmarks.many_commits [--shards 46875] [--folder DIR] [--s3] [--only status audit]

It stores a run of the paper's road whose commits are real and whose rows are few: one problem a
shard, dropped at sampling. Counts have the sizes of a build's with sixteen problems a shard. 46,875
shards of seven stages are a build of 750,000 problems in shards of sixteen: a hundred times the
paper's. Files are written without flushing them, so that making the run takes a minute.

Each reader then works in a process of its own, over the store in a folder (`--server`: over an S3
server of the tests, by HTTP, which is for fewer shards). A line each: requests by kind (a LIST is a
page of 1,000 keys), wall and CPU seconds, and the peak of resident memory, beside that of a process
that only imports the same modules (`nothing`).

  status       the verb's work, on the run without `_SUCCESS.json`; `status, finished`: with it
  resume       what a driver does before its loop: commits listed and read, schedule made and asked
  finish       seal the run: `_SUCCESS.json`
  audit        all of it
  train        what starts a training: the digest of the run's examples, its shards of tokens
  dataset      the packing of the export into files
  runs         `stepmill runs`
  copy         the listings of `copy`

Invariant: readers see what `publish` would have stored.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from benchmarks.counting_store import CountingStore
from launch.shown.progress import BuildProgress
from storage.audit import audit
from storage.datasets.dataset import packed
from storage.datasets.view import GENPRM
from storage.objects.local import LocalStore
from storage.objects.opening import open_store
from storage.objects.store import ObjectStore
from storage.rows.kinds import PATHS, ROAD, stage_rows
from storage.rows.parquet import EncodedShard, encode_shard
from storage.rows.records import Drop, Problem
from storage.runs import layout
from storage.runs.commits import Commit, Writer, commit_bytes
from storage.runs.listing import listed_runs
from storage.runs.run import Run
from storage.runs.specs import ShardPlan, Spec
from storage.summaries.folding import Folding
from tests.support.s3_servers import shared_ministack
from workflows.runs.driving import ceiling_for, schedule_for, standing, tell_earlier
from workflows.runs.status import run_status

SHARDS = 46_875
NAME = "many"
COUNTS = {
    "sample": {
        "tokens": 2_812_345, "prompt_tokens": 91_234, "sampled": 4_681, "selected": 118,
        "correct": 3_001, "incorrect": 1_203, "invalid": 441, "duplicates": 36,
        "problems_dropped": 1, "items": 16, "replies": 301, "texts": 4_681,
        "unusable (truncated)": 40, "unusable (no_box)": 12,
    },
    "estimate": {
        "tokens": 9_912_345, "prompt_tokens": 412_345, "rollouts": 26_431, "truncated": 211,
        "shared_rollouts": 12_288, "items": 118, "replies": 1_902, "texts": 26_431,
    },
    "label": {"items": 118},
    "rationalize": {"tokens": 312_345, "prompt_tokens": 71_234, "blocks": 612, "items": 118},
    "consensus": {"kept": 71, "items": 118},
    "export": {"kept of attempt 1, strict": 68, "kept of attempt 2, strict": 3, "items": 71},
}  # fmt: skip
"""Stage -> counts of one of its commits, of the size that a shard of sixteen problems has."""


def spec_of(shards: int) -> Spec:
    """The spec of the run."""
    return Spec({"seed": 1}, "0" * 64, ShardPlan(shards, 1), {"policy": "p", "completer": "c"})


def commit_of(spec: Spec, stage: str, shard: int, encoded: EncodedShard) -> Commit:
    """A commit as workers write it."""
    return Commit(
        stage=stage,
        shard=shard,
        data_key=layout.data_key(NAME, stage, shard, encoded.sha256),
        sha256=encoded.sha256,
        bytes=len(encoded.data),
        rows=encoded.rows,
        kind=encoded.kind,
        version=encoded.version,
        drops=(Drop(f"p/{shard}", "only_correct", "2048 paths"),) if stage == PATHS.stage else (),
        counts=COUNTS.get(stage, {}),
        seconds=812.512 + shard % 100,
        attempt=f"{ROAD.index(stage):016x}{shard:016x}",
        writer=Writer("node-17.cluster", 4_711, 140_000_000, "policy-3"),
        spec=spec.fingerprint,
        share_s=203.128 + shard % 7,
    )


def stored(spec: Spec) -> Iterator[tuple[str, bytes]]:
    """Every object of the run's stages: key and bytes."""
    empty = {stage: encode_shard(stage_rows(stage).record, []) for stage in ROAD[1:]}
    for shard in range(spec.plan.shards):
        for stage in ROAD:
            encoded = empty.get(stage) or encode_shard(
                Problem, [Problem(f"p/{shard}", f"What is {shard} + 1?", str(shard + 1))]
            )
            commit = commit_of(spec, stage, shard, encoded)
            yield commit.data_key, encoded.data
            yield layout.commit_key(NAME, stage, shard), commit_bytes(commit)


def make(store: ObjectStore, shards: int) -> None:
    """Store the run, without `_SUCCESS.json`."""
    spec = spec_of(shards)
    if not isinstance(store, LocalStore):
        store.put_new(layout.spec_key(NAME), spec.to_json())
        for key, data in stored(spec):
            store.put_new(key, data)
        return
    for stage in ROAD:
        (store.root / layout.data_prefix(NAME, stage)).mkdir(parents=True, exist_ok=True)
        (store.root / layout.commit_prefix(NAME, stage)).mkdir(parents=True, exist_ok=True)
    for key, data in stored(spec):
        (store.root / key).write_bytes(data)
    (store.root / layout.spec_key(NAME)).write_bytes(spec.to_json())


def resume(run: Run) -> None:
    """What a driver of an unfinished run does before its loop, with a ceiling and a display."""
    config = config_of()
    state = standing(run)
    before = {stage: len(shards) for stage, shards in state.done.items()}
    shown = BuildProgress(run.name, run.spec.stages[1:], state.shards, before)
    ceiling = ceiling_for(config)
    assert ceiling is not None
    with Folding(run) as folding:
        tell_earlier(run, state.done, [ceiling.note, folding.note, shown.earlier])
    schedule = schedule_for(config, state, 8, ceiling=ceiling)
    schedule.decide()


def config_of() -> Any:
    """A configuration with a limit."""
    from benchmarks.scale import configuration

    folder = Path(tempfile.mkdtemp())
    config = configuration(folder, ["What is 1 + 1?"], 1, 4)
    from dataclasses import replace

    from workflows.settings.spending import LimitSettings

    return replace(config, limits=LimitSettings(tokens=10**15))


def train_start(run: Run) -> None:
    """The digest that a training's spec holds, and how its shards of tokens are cut."""
    from workflows.training.sources import RunSource

    source = RunSource(run.store, run.name)
    print(source.digest, source.shards)


def pack(run: Run) -> None:
    """The shards of each file of a dataset."""
    success = run.success()
    assert success is not None
    list(packed(run, success, GENPRM))


def copy_listings(run: Run) -> None:
    """What `copy` lists of a run, for its documents and to know what is there."""
    from workflows.runs.copying import _names

    for folder in ("marks/", "plans/"):
        _names(run, folder)
    list(run.store.files(layout.run_prefix(run.name)))


READERS: dict[str, Callable[[Run], Any]] = {
    "nothing": lambda run: None,
    "status": run_status,
    "resume": resume,
    "finish": lambda run: run.finish(),
    "status, finished": run_status,
    "audit": audit,
    "train": train_start,
    "dataset": pack,
    "runs": lambda run: list(listed_runs(run.store)),
    "copy": copy_listings,
}


def measure(reader: str, url: str) -> dict[str, Any]:
    """Do one reader's work in this process, and say what it took."""
    store = CountingStore(open_store(url))
    run = Run.open(store, NAME)
    store.asked.clear()
    started, cpu = time.perf_counter(), time.process_time()
    READERS[reader](run)
    return {
        "seconds": time.perf_counter() - started,
        "cpu": time.process_time() - cpu,
        "peak": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
        "asked": dict(store.asked),
    }


def line_of(reader: str, took: dict[str, Any]) -> str:
    """One line of the table."""
    asked = ", ".join(f"{kind} {count:,}" for kind, count in sorted(took["asked"].items()))
    return (
        f"{reader:17} {took['seconds']:8.1f} s {took['cpu']:8.1f} CPU s "
        f"{took['peak']:7.0f} MB   {asked or '-'}"
    )


def child(reader: str, url: str) -> dict[str, Any]:
    """Measure in a process of its own."""
    command = [sys.executable, "-m", "benchmarks.many_commits", "--measure", reader, "--store", url]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, env=dict(os.environ))
    took: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return took


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--shards", type=int, default=SHARDS)
    parser.add_argument("--folder", type=Path, default=None, help="where the store lies meanwhile")
    parser.add_argument("--server", action="store_true", help="an S3 server of the tests")
    parser.add_argument("--only", nargs="*", choices=READERS, default=list(READERS))
    parser.add_argument("--measure", choices=READERS, help=argparse.SUPPRESS)
    parser.add_argument("--store", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.measure:
        print(json.dumps(measure(arguments.measure, arguments.store)))
        return
    with tempfile.TemporaryDirectory(dir=arguments.folder) as folder:
        url = (Path(folder) / "store").as_uri()
        if arguments.server:
            url = shared_ministack().url(f"many-{os.getpid()}")
        started = time.perf_counter()
        make(open_store(url), arguments.shards)
        commits = arguments.shards * len(ROAD)
        print(f"{commits:,} commits made in {time.perf_counter() - started:.0f} s", flush=True)
        for reader in arguments.only:
            print(line_of(reader, child(reader, url)), flush=True)


if __name__ == "__main__":
    main()
