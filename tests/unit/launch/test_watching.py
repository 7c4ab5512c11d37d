"""`status --watch`: the same as `status`, every commit read once, and how long is left."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from actors.workers.worker import ShardProgress
from launch.shown.progress import BuildProgress
from launch.verbs.runs.status import duration
from launch.verbs.runs.watch import RunWatch, watch_run
from storage.runs.commits import Receipt
from tests.support.scripted_build import Build, configure
from workflows.runs.run import finish
from workflows.runs.status import run_status
from workflows.schedule.events import Happened
from workflows.schedule.schedule import Task


async def test_a_watched_run_says_what_status_says_and_reads_each_commit_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    build = Build(configure(tmp_path))
    now = [0.0]
    watch = RunWatch(build.run, clock=lambda: now[0])
    assert watch.look() == run_status(build.run)
    worker = build.cluster
    await worker.open(0, "policy")
    await worker.run(0, "sample", 0)
    now[0] = 10.0
    found = watch.look()
    assert found == run_status(build.run)
    [sample] = [stage for stage in found.stages if stage.stage == "sample"]
    assert sample.shards_done == 1
    assert watch.said().startswith("watched: 10 s so far, at least 30 s left (")
    await build.work()
    watch.look()
    read: list[str] = []
    get = type(build.run.store).get
    monkeypatch.setattr(
        type(build.run.store),
        "get",
        lambda self, key, most=None: (read.append(key), get(self, key, most))[1],
    )
    watch.look()
    assert [key for key in read if "/commits/" in key] == []


async def test_watching_ends_with_the_run(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    build = Build(configure(tmp_path))
    await build.work()
    watch_run(build.run, as_json=True, pause=lambda seconds: finish(build.run) and None)
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines() if line]
    assert [line["finished"] for line in lines] == [False, True]


@pytest.mark.parametrize(
    ("seconds", "said"),
    [(None, ""), (0, ""), (45, "45 s"), (600, "10 min"), (12_600, "3.5 h"), (200_000, "2.3 d")],
)
def test_durations_are_read_at_a_glance(seconds: float | None, said: str) -> None:
    assert duration(seconds) == said


def test_a_log_has_one_line_per_batch_of_commits_and_says_what_was_lost(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with BuildProgress("r", ["sample"], 40, {"sample": 10}) as progress:
        for _ in range(8):
            progress.happened(Happened("opening", "policy"))
        for worker in range(8):
            progress.happened(Happened("opened", "policy"))
            progress.happened(Happened("started", "policy", Task("sample", worker, 1)))
        task = Task("sample", 0, 1)
        progress.happened(Happened("lost", "policy", task, cause="Lost: " + "x" * 200))
        progress.happened(Happened("closed", "policy"))  # what is left of it
        for shard in range(20):
            receipt = Receipt("sample", shard, 3, 1, "d", "a", True)
            progress.happened(Happened("committed", "policy", Task("sample", shard, 1), receipt))
    lines = capsys.readouterr().err.splitlines()
    assert lines[0].endswith("[r] starting policy")
    assert len(lines) < 7, lines
    assert any("a worker was lost" in line and "x" * 200 in line for line in lines)
    assert "sample 30/40" in lines[-1]
    assert "workers: policy 7" in lines[-1]


def test_the_time_left_is_never_negative_where_a_commit_came_after_its_last_meter(
    capsys: pytest.CaptureFixture[str],
) -> None:
    now = [0.0]
    with BuildProgress("r", ["sample"], 2, {}, clock=lambda: now[0]) as progress:
        for shard in (0, 1):
            progress.happened(Happened("started", "policy", Task("sample", shard, 1)))
        now[0] = 10.0
        progress.meters([ShardProgress("sample", shard, 9, 10) for shard in (0, 1)])
        receipt = Receipt("sample", 0, 3, 1, "d", "a", True, seconds=10.0)
        progress.happened(Happened("committed", "policy", Task("sample", 0, 1), receipt))
    said = capsys.readouterr().err
    assert "10 s so far, about 1 s left · sample 1/2" in said
    assert "-" not in said
