"""Writers and the S3 server itself, killed at random: what was acknowledged stands for ever.

The same kills again: `STEPMILL_SEED=7 python -m pytest tests/faults/test_s3_kills.py`
"""

from __future__ import annotations

import os
import random
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path as Folder

import pytest

from storage.audit import audit
from storage.objects.patience import Patience
from storage.objects.s3 import S3Store
from storage.rows.kinds import PATHS
from storage.runs.run import Run
from storage.sweep import sweep
from tests.support.ceph_server import ceph
from tests.support.s3_servers import S3Server, ministack
from tests.support.whole_run import started

ROOT = Folder(__file__).parents[2]
SEED = int(os.environ.get("STEPMILL_SEED", "1"))
SHARDS, WRITERS, KILLS, CUTS = 120, 3, 9, 2


def test_a_server_that_was_down_is_waited_for(tmp_path: Folder) -> None:
    server = ministack(tmp_path)
    server.start()
    down: list[float] = []

    def wait(seconds: float) -> None:
        down.append(seconds)
        if len(down) == 5:
            server.start()

    store = S3Store.at(server.url("x"), Patience(sleep=wait))
    run = started(store)
    server.stop()
    receipt = Run(store, "whole", run.spec, Patience(sleep=wait)).publish(PATHS, 0, [])
    assert receipt.won
    assert sum(down) > 1
    assert run.commit("sample", 0).attempt == receipt.attempt
    server.stop()


@pytest.mark.fault
@pytest.mark.slow
@pytest.mark.timeout(1_200)  # a dozen process starts on a busy machine
@pytest.mark.parametrize("kind", [ministack, ceph])
def test_writers_and_server_killed_at_random_lose_nothing_that_was_acknowledged(
    kind: Callable[[Folder], S3Server], tmp_path: Folder
) -> None:
    chance = random.Random(SEED)
    server = kind(tmp_path)
    server.start()
    run = started(S3Store.at(server.url("x")), count=SHARDS, per_shard=1)
    acknowledged: dict[int, set[tuple[str, str]]] = {}

    def writer() -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, "-m", "tests.faults.publisher", run.store.url, "work",
             str(chance.randrange(10**6))],
            cwd=ROOT, stdout=subprocess.PIPE, text=True,
        )  # fmt: skip

    def take(line: str) -> None:
        if line.endswith("\n"):
            shard, attempt, sha256 = line.split()
            acknowledged.setdefault(int(shard), set()).add((attempt, sha256))

    writers = [writer() for _ in range(WRITERS)]
    cuts = set(chance.sample(range(KILLS), CUTS))
    for kill in range(KILLS):
        for _ in range(chance.randint(1, 12)):
            one = chance.choice(writers)
            assert one.stdout is not None
            take(one.stdout.readline())
        if kill in cuts:
            server.stop()
            server.start()
        victim = writers.pop(chance.randrange(WRITERS))
        victim.kill()
        for line in victim.communicate()[0].splitlines(keepends=True):
            take(line)
        writers.append(writer())
    for last in writers:
        for line in last.communicate()[0].splitlines(keepends=True):
            take(line)
        assert last.returncode == 0
    commits = run.committed("sample")
    assert len(commits) == SHARDS, f"seed {SEED}"
    assert len(acknowledged) == SHARDS, f"seed {SEED}"
    for shard, told in acknowledged.items():
        stands = {(commits[shard].attempt, commits[shard].sha256)}
        assert told == stands, f"seed {SEED}: shard {shard} changed"
    assert sweep(run).unsettled == 0
    assert audit(run).findings == (), f"seed {SEED}"
    server.stop()
