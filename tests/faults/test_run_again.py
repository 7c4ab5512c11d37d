"""A run that is stopped again and again, and goes on with other numbers of workers each time."""

from __future__ import annotations

import asyncio
import dataclasses
import random
from pathlib import Path
from typing import Any

import pytest

from storage.audit import audit
from tests.support.ray_build import digests
from tests.support.scripted_build import Build, configure
from workflows.runs.driving import continue_run
from workflows.runs.run import finish


class Stopped(Exception):
    """By the test."""


async def some(build: Build, commits: int, slots: int) -> None:
    """Go on until so many shards more are committed, or all."""
    left = commits

    def stop(event: Any) -> None:
        nonlocal left
        left -= event.what == "committed"
        if not left:
            raise Stopped

    await continue_run(build.run, build.config, build.cluster, slots, stop)


@pytest.mark.parametrize("seed", range(3))
async def test_a_run_goes_on_with_other_numbers_of_workers_and_ends_the_same(
    tmp_path: Path, seed: int
) -> None:
    chance = random.Random(seed)
    quiet = Build(configure(tmp_path / "quiet"))
    await quiet.work()
    config = configure(tmp_path / "run")
    made: list[tuple[str, int]] = []
    for _ in range(100):
        numbers = {
            "window": chance.randint(1, 4),
            "parallel_shards": chance.randint(1, 4),
            "workers_per_role": chance.randint(1, 3),
        }
        cluster = dataclasses.replace(config.cluster, **numbers)
        build = Build(dataclasses.replace(config, cluster=cluster))
        stands = {(stage, shard) for stage in build.run.spec.stages[1:]
                  for shard in build.run.shards_of(stage)}  # fmt: skip
        try:
            await some(build, chance.randint(1, 6), chance.randint(1, 4))
            break
        except Stopped:
            assert not stands & set(build.cluster.worked), f"seed {seed}: repeated"
            made += build.cluster.worked
        finally:
            await asyncio.sleep(0)
    finish(build.run)
    assert digests(build.run) == digests(quiet.run), f"seed {seed}, {made}"
    result = audit(build.run)
    assert (result.findings, result.finished) == ((), True)
