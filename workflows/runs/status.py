"""The status of a run, stage by stage.

Invariant: shards, rows and drops follow from the spec and the commits alone: they are the same
while a build runs, after a crash and after the end.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from actors.models.identity import BOUND
from storage.rows.kinds import EXAMPLES, RATIONALES
from storage.rows.readings import NOT_RECORDED, Kept, kept_by_reading
from storage.runs.origin import origin_run
from storage.runs.pilot_record import pilot_record
from storage.runs.plans import Plan, latest_plan
from storage.runs.presence import at_work, drivers_of, work_on
from storage.runs.run import Run
from storage.runs.specs import ENGINES
from storage.runs.stops import stop_reason
from storage.runs.totals import StageTotals, sum_receipts
from storage.runs.work import Work
from workflows.planning.against import Compared, Done, compared
from workflows.schedule.events import spell
from workflows.stages import road_of
from workflows.stages.export import AGAINST, CUT, STEPS, UNJUDGED, WRONG


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
    committed: list[tuple[int, int]]
    """Numbers of the committed shards: the first and the last of each run without a gap."""
    bytes: int = 0
    engine_s: float = 0.0
    """Seconds in which workers had its shards, each split among the shards at once."""


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
    """Role -> the settings of its engine that the result depends on, as far as recorded."""
    stages: list[StageStatus]
    origin: str | None = None
    """The run that it derives from: the tokens of copied shards were spent there."""
    pilot: dict[str, Any] | None = None
    """What the pilot predicted of the budget at the start, and what the pilot itself spent."""
    pilot_said: str | None = None
    """The same in a sentence."""
    kept: list[Kept] = field(default_factory=list)
    """Exported rationales, counted by attempt and reading; empty where none was recorded."""
    labels_said: str | None = None
    """What is known of the exported labels, in a sentence; None where nothing is."""
    stopped: str | None = None
    """Why it stopped; None while it works or once it is finished."""
    at_work: list[str] = field(default_factory=list)
    """Whose builds are at work on it, and where, as far as the store can say."""
    work: Work = field(default_factory=Work)
    """What its drivers began, committed and lost, as far as they could note it."""
    work_said: str | None = None
    """What was lost, in a sentence; None where nothing was."""
    planned: list[Compared] = field(default_factory=list)
    """Its plan's figures beside what they came to; empty without a plan."""
    currency: str = ""
    """Of the money in `planned`."""


def run_status(run: Run) -> RunStatus:
    """Read the end of a finished run; of another one the commits of every stage, and summaries."""
    success = run.success()
    stages = []
    for name in run.spec.stages:
        totals = None if success is None else success.totals.get(name)
        if totals is not None and totals.busy_s is not None:
            stages.append(stage_status(run, name, totals, [(0, run.spec.plan.shards - 1)]))
        else:
            shards = run.shards_of(name)
            totals = sum_receipts(run.receipts(name, shards))
            stages.append(stage_status(run, name, totals, shards.ranges()))
    return status_of(run, stages, success is not None)


def stage_status(
    run: Run, stage: str, totals: StageTotals, committed: list[tuple[int, int]]
) -> StageStatus:
    """The status of one stage; `committed`: its committed shards, as `ShardSet.ranges` says."""
    return StageStatus(
        stage=stage,
        shards_done=totals.shards,
        shards=run.spec.plan.shards,
        rows=totals.rows,
        drops=totals.drops,
        counts=totals.counts,
        seconds=totals.seconds,
        committed=committed,
        bytes=totals.bytes,
        engine_s=totals.busy_s or 0.0,
    )


def status_of(run: Run, stages: list[StageStatus], finished: bool) -> RunStatus:
    """The status of a run, from those of its stages."""
    pilot = pilot_record(run.store, run.name)
    plan = latest_plan(run.store, run.name)
    drivers = drivers_of(run.store, run.name)
    work = work_on(run.store, run.name, drivers)
    return RunStatus(
        run=run.name,
        store=run.store.url,
        finished=finished,
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
        labels_said=of_labels(stages),
        stopped=None if finished else stop_reason(run),
        at_work=[] if finished else at_work(drivers),
        work=work,
        work_said=lost_work(work, stages),
        planned=[] if plan is None else against_plan(run, plan, stages, finished),
        currency=plan.currency if plan else "",
    )


def of_labels(stages: Sequence[StageStatus]) -> str | None:
    """How many exported labels were judged, and what contradicts them, in a sentence."""
    counts = next((each.counts for each in stages if each.stage == EXAMPLES.stage), {})
    if not counts.get(STEPS) or UNJUDGED not in counts:
        return None
    cut = f"; {counts[CUT]:,} steps were cut for it" if counts.get(CUT) else ""
    against = ", ".join(f"{counts[name]:,} by their {kind}" for kind, name in AGAINST.items())
    return (
        f"exported: {counts[STEPS]:,} steps, {counts[WRONG]:,} wrong, {counts[UNJUDGED]:,} of "
        f"those only because an earlier one is; contradicted: {against}{cut}"
    )


def lost_work(work: Work, stages: Sequence[StageStatus]) -> str | None:
    """What was lost and made again, in a sentence; its seconds are those of committed shards."""
    if not work.worth_a_note:
        return None
    mean = {s.stage: s.seconds / s.shards_done for s in stages if s.shards_done}
    tries = sum(work.lost.values())
    each = ", ".join(f"{stage} {number:,}" for stage, number in work.lost.items())
    seconds = sum(number * mean.get(stage, 0.0) for stage, number in work.lost.items())
    return (
        f"lost or repeated: {tries:,} of {sum(work.begun.values()):,} tries of shards"
        + (f" ({each}; at most some {spell(seconds)} of a worker)" if tries else "")
        + f"; {work.failed:,} ended in errors, {work.lost_workers:,} workers were lost"
    )


def against_plan(
    run: Run, plan: Plan, stages: Sequence[StageStatus], finished: bool
) -> list[Compared]:
    """The plan's figures beside those of the stages."""
    roles = {spec.name: spec.role for spec in road_of(run.spec.stages[1:])}
    done = (Done(roles.get(s.stage, "cpu"), s.rows, s.bytes, s.counts, s.engine_s) for s in stages)
    return compared(plan, done, finished)


def recorded(run: Run, role: str) -> dict[str, Any]:
    """The settings of a role's engine that the result depends on, as the spec records them."""
    engine = run.spec.section(ENGINES).get(role, {})
    return {name: engine.get(name, NOT_RECORDED) for name in BOUND}
