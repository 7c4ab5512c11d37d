"""What a run is, stage by stage.

Invariant: status is computed from the spec and the commits alone, so that it says the same while
a build runs, after it crashed and after it ended.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from actors.models.identity import BOUND
from storage.rows.kinds import EXAMPLES, RATIONALES
from storage.rows.readings import NOT_RECORDED, Kept, kept_by_reading
from storage.runs.origin import origin_run
from storage.runs.pilot_record import pilot_record
from storage.runs.run import Run, StageTotals
from storage.runs.specs import ENGINES
from storage.runs.stops import stop_reason


@dataclass(frozen=True, slots=True)
class StageStatus:
    """One stage of a run."""

    stage: str
    shards_done: int
    shards: int
    rows: int
    drops: dict[str, int]
    counts: dict[str, int]
    seconds: float
    """Work on the committed shards, summed."""
    committed: list[int]
    """Numbers of the committed shards."""


@dataclass(frozen=True, slots=True)
class RunStatus:
    """A run, stage by stage."""

    run: str
    store: str
    finished: bool
    problems: int
    shards: int
    models: dict[str, str]
    engines: dict[str, dict[str, Any]]
    """Role -> what is bound of its engine, or that the spec is older and did not record it."""
    stages: list[StageStatus]
    origin: str | None = None
    """The run it was derived from: tokens of the shards taken over were spent there."""
    pilot: dict[str, Any] | None = None
    """What the pilot said of its budget when it was started, and what the pilot itself spent."""
    pilot_said: str | None = None
    """The same in a sentence."""
    kept: list[Kept] = field(default_factory=list)
    """What was exported of the rationales, by their attempt and reading; empty where none was, or
    where it was not recorded."""
    stopped: str | None = None
    """Why it stopped, where it did and does not go on."""


def run_status(run: Run) -> RunStatus:
    """Read the commits of every stage."""
    return status_of(
        run,
        [
            stage_status(run, name, sorted(run.shards_of(name)), run.totals(name))
            for name in run.spec.stages
        ],
    )


def stage_status(run: Run, stage: str, committed: list[int], totals: StageTotals) -> StageStatus:
    """One stage, from its commits' sums."""
    return StageStatus(
        stage=stage,
        shards_done=totals.shards,
        shards=run.spec.plan.shards,
        rows=totals.rows,
        drops=totals.drops,
        counts=totals.counts,
        seconds=totals.seconds,
        committed=committed,
    )


def status_of(run: Run, stages: list[StageStatus]) -> RunStatus:
    """A run around its stages."""
    pilot = pilot_record(run.store, run.name)
    success = run.success()
    return RunStatus(
        run=run.name,
        store=run.store.url,
        finished=success is not None,
        problems=run.spec.plan.items,
        shards=run.spec.plan.shards,
        models=run.spec.models,
        engines={role: recorded(run, role) for role in run.spec.models},
        stages=stages,
        origin=origin_run(run),
        pilot=None if pilot is None else pilot.figures,
        pilot_said=None if pilot is None else pilot.sentence,
        kept=[
            group
            for stage in stages
            if stage.stage == EXAMPLES.stage and RATIONALES.stage in run.spec.stages
            for group in kept_by_reading(stage.counts)
        ],
        stopped=None if success else stop_reason(run),
    )


def recorded(run: Run, role: str) -> dict[str, Any]:
    """What the spec says of an engine."""
    said = run.spec.section(ENGINES).get(role, {})
    return {name: said.get(name, NOT_RECORDED) for name in BOUND}
