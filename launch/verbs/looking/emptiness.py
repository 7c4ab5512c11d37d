"""Why a finished run made no row: the reason for which most of its items were dropped.

Invariant: all is counted from committed rows and drops.
"""

from __future__ import annotations

from collections import Counter

from storage.rows.kinds import PATHS
from storage.rows.records import Path
from storage.runs.run import Run


def why_empty(run: Run) -> str | None:
    """The commonest reason, with its count and stage; None where the run made a row."""
    success = run.success()
    last = run.spec.stages[-1]
    if (success.totals[last] if success else run.totals(last)).rows:
        return None
    lost: Counter[tuple[str, str]] = Counter()
    for stage in run.spec.stages:
        totals = success.totals[stage] if success else run.totals(stage)
        lost.update({(stage, reason): count for reason, count in totals.drops.items()})
        if stage == PATHS.stage and not totals.counts.get("selected"):
            for shard in range(run.spec.plan.shards):
                lost.update((stage, fate_of_sample(path)) for path in run.read_rows(PATHS, shard))
    if not lost:
        return "no stage had anything to work on"
    ((stage, reason), count) = lost.most_common(1)[0]
    return f"most was lost as {reason} ({count:,} in stage {stage})"


def fate_of_sample(path: Path) -> str:
    """The reason under which an unselected path is counted."""
    if path.invalid_reason:
        return path.invalid_reason
    return "right" if path.correct else "incorrect"
