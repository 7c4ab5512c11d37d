"""Reports a schedule's commits, queues, workers and slots to the metrics.

Commits are counted from their receipts, in the driver: a node that is lost takes no figure with it.
"""

from __future__ import annotations

import asyncio
from collections import Counter

from actors.metrics import count, show
from storage.runs.commits import Receipt
from workflows.schedule.schedule import Schedule

METRICS_EVERY_S = 5.0


async def tell_metrics(schedule: Schedule, run: str) -> None:
    """Report every `METRICS_EVERY_S` seconds until cancelled."""
    counted: Counter[str] = Counter()
    while True:
        await asyncio.sleep(METRICS_EVERY_S)
        for stage, (waiting, running) in schedule.queued().items():
            of = {"run": run, "stage": stage}
            show("stepmill_shards_waiting", of, waiting)
            show("stepmill_shards_running", of, running)
        for role, up in schedule.staff().items():
            show("stepmill_workers", {"run": run, "role": role}, up)
        for pool, slots in schedule.slots.items():
            show("stepmill_slots", {"run": run, "pool": pool}, slots)
        for name, total in (
            ("stepmill_model_switches", schedule.switches),
            ("stepmill_workers_replaced", schedule.replaced),
        ):
            count(name, {"run": run}, total - counted[name])
            counted[name] = total


def tell_commit(run: str, receipt: Receipt) -> None:
    """Count a committed shard."""
    of = {"run": run, "stage": receipt.stage}
    count("stepmill_shards", of)
    count("stepmill_rows", of, receipt.rows)
    count("stepmill_tokens", of, receipt.counts.get("tokens", 0))
    for reason, number in receipt.drops.items():
        count("stepmill_drops", of | {"reason": reason}, number)
