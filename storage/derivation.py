"""A run that starts from another's committed shards: other labels without other rollouts.

The new run's commits name the old run's objects; nothing is copied but the commits themselves, so
the old run must stay as long as the new one is wanted. Which settings may differ for which stages
is the workflow's to decide; here only input, plan and schemas have to be the same.

Invariant: an adopted shard is the source's shard to the byte, whenever and how often it is adopted.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from storage import layout
from storage.commits import settle
from storage.errors import SpecMismatch
from storage.runs import Run
from storage.specs import differences

SHARED = ("format", "input_digest", "plan.", "schemas.")
"""Fields of the spec in which the two runs may not differ."""


def adopt(run: Run, source: Run, stages: Sequence[str]) -> int:
    """Commit the source's shards of some stages in `run` too; returns how many were new here."""
    check_derivable(run, source)
    adopted = 0
    for stage in stages:
        present = run.shards_of(stage)
        for commit in source.commits(stage):
            if commit.shard not in present:
                key = layout.commit_key(run.name, stage, commit.shard)
                settle(run.store, key, replace(commit, spec=run.spec.fingerprint), run.patience)
                adopted += 1
    return adopted


def check_derivable(run: Run, source: Run) -> None:
    """Raise SpecMismatch where the runs don't cut the same input into the same shards."""
    found = [
        difference
        for difference in differences(source.spec, run.spec)
        if difference.name.startswith(SHARED)
    ]
    if run.store.url != source.store.url:
        raise SpecMismatch(f"run {run.name!r} and run {source.name!r} lie in different stores")
    if found:
        lines = "".join(f"\n  {difference}" for difference in found)
        raise SpecMismatch(f"run {source.name!r} can't be continued as {run.name!r}:{lines}")
