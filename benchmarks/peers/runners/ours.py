"""Stepmill without Ray: stage `sample`, one sample a problem, shards committed to a local store.

The worker lives in this process. All else is what `build` does, with its driver and schedule:
problems are checked and stored, prompts rendered and tokenized, replies checked, answers graded,
paths encoded, read back and committed.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping

import transformers
from task import FLIGHT, MODEL, arguments, prompt_of

from actors.engines.contract import EngineSettings
from actors.workers.ray_workers import MakeWorker
from actors.workers.worker import ShardWorker
from storage.objects.opening import open_store
from storage.runs.commits import Receipt
from workflows.builds.configuration import BuildConfig, ModelSettings
from workflows.runs.configuration import ClusterSettings
from workflows.runs.driving import continue_run
from workflows.runs.run import finish
from workflows.runs.starting import start_run
from workflows.runs.workers import makers
from workflows.settings import SampleSettings, StageSettings

SHARD = 100
TOKENIZER = "demo/models/policy"


class InThisProcess:
    """The driver's cluster: workers as plain objects."""

    def __init__(self, made: Mapping[str, MakeWorker]) -> None:
        self._made = made
        self._workers: dict[int, ShardWorker] = {}

    async def open(self, worker: int, role: str) -> None:
        """Make a worker."""
        opened = self._made[role](f"{role}-{worker}", None)
        await opened.open()
        self._workers[worker] = opened

    async def run(self, worker: int, stage: str, shard: int) -> Receipt:
        """Make and commit a shard."""
        return await self._workers[worker].work(stage, shard)

    isolate = run

    async def close(self, worker: int) -> None:
        """Release a worker."""
        if released := self._workers.pop(worker, None):
            await released.close()


def main() -> None:
    """Start or continue."""
    given = arguments()
    assert transformers.AutoTokenizer  # loaded now: lazy imports of two threads don't mix
    given.out.mkdir(parents=True, exist_ok=True)
    problems = given.out / "problems.jsonl"
    if not problems.exists():
        rows = (
            {"problem_id": f"r{row}", "problem": prompt_of(row), "answer": "17"}
            for row in range(given.rows)
        )
        problems.write_text("".join(json.dumps(row) + "\n" for row in rows))
    engine = EngineSettings(
        kind="endpoint", model=MODEL, url=given.url, tokenizer=TOKENIZER, max_in_flight=FLIGHT
    )
    config = BuildConfig(
        run="peers",
        problems=str(problems),
        store=f"file://{given.out.resolve()}/store",
        shard_size=SHARD,
        models=ModelSettings(policy=engine),
        stages=StageSettings(
            road=("sample",),
            sample=SampleSettings(correct=1, incorrect=1, first_round=1, round=1, cap=1),
        ),
        cluster=ClusterSettings(workers_per_role=1, parallel_shards=2),
    )
    run = start_run(config, open_store(config.store), None)
    cluster = InThisProcess(makers(run, config))
    asyncio.run(continue_run(run, config, cluster, 1, lambda event: None))
    finish(run)


if __name__ == "__main__":
    main()
