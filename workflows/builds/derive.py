"""Derives a run from another's committed shards: only what the changed settings reach is made anew.

    plan_derivation   compares the specs field by field: which stages have other settings
    start_derived     creates the new run, with the source's name and the shards of its problems
    take_over         goes shard by shard: copies what is equal, makes what needs no model

The input may have grown (`workflows.builds.growth`). A shard of a stage is copied if the stage's
settings are equal and every shard that it reads, down to the problems, is the source's too.
`rationalize` reads of the labels only which paths have any. Another label threshold, form or
consensus rule therefore costs no token: this process makes labels, agreements and examples without
an engine. The build makes the stages that need a model.

Rollouts that a budget placed by the old labels (`two_round`, `adaptive`) are copied as they are.
Labels are computed from stored rows alone, and a label may now be in doubt that was not before.

Invariant: a derived shard equals what a build with the new settings makes of the source's rows.
After a run has made a shard itself, no shard that reads it is copied.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Mapping, Sequence, Set
from contextlib import suppress
from dataclasses import dataclass

from actors.engines.admission import together
from actors.workers.ray_workers import MakeWorker
from actors.workers.worker import Held, ShardWorker
from storage.errors import NothingFound, ObjectCorrupt, Removed, SpecMismatch
from storage.objects.store import ObjectStore
from storage.rows.kinds import EXAMPLES, handed, stage_rows
from storage.rows.versions import kind_of
from storage.runs.origin import Origin, adopt, check_derivable, origin_of, store_origin
from storage.runs.run import Run
from storage.runs.specs import Difference, Spec
from workflows.builds.growth import OF_THE_INPUT, same_input
from workflows.road import INPUT_STAGE, StageSpec
from workflows.runs.configuration import RunConfig
from workflows.runs.starting import Planned, create_run, differing
from workflows.stages import OURS, road_of, stages_named
from workflows.stages.kit import Stage

SHARDS_AT_ONCE = 8
NAMES_THE_RUN = EXAMPLES.stage
"""Its rows hold the name of their run, so it is made anew in every run."""
SAID_ELSEWHERE = OF_THE_INPUT | {"configuration.stages.road", "stages"}
"""Fields that are compared shard by shard or stage by stage."""


@dataclass(frozen=True, slots=True)
class Derivation:
    """Which shards a new run may copy from its source."""

    road: tuple[StageSpec, ...]
    """The road of the new run, without the input."""
    differing: tuple[Difference, ...]
    anew: frozenset[str]
    """Stages whose own settings differ; for stages that read them, each shard decides."""
    shards: int
    """How many shards the new run has."""


@dataclass(frozen=True, slots=True)
class Inherited:
    """What a derived run copied and made."""

    source: str
    differing: tuple[Difference, ...]
    adopted: Mapping[str, int]
    """Stage -> shards copied from the source."""
    made: Mapping[str, int]
    """Stage -> shards made by this call."""


def plan_derivation(run: str, store: str, asked: Spec, source: Run) -> Derivation:
    """Find the stages that differ. Raises SpecMismatch, with the fields, if no shard can be copied.

    `asked`: the spec of the new run.
    """
    found = differing(source.spec, asked)
    check_derivable(run, store, source, found)
    road, before = road_of(asked.stages[1:]), road_of(source.spec.stages[1:])
    stages = stages_named(asked.stages[1:])
    known = (*OURS.values(), *stages, *stages_named(source.spec.stages[1:]))
    reached = {
        difference: _reached(difference, asked, stages, known)
        for difference in found
        if difference.name not in SAID_ELSEWHERE
    }
    lost = [field for field, stage in reached.items() if stage in (INPUT_STAGE, road[0].name)]
    if lost or road[0] not in before:
        lines = "".join(f"\n  {difference}" for difference in lost or found)
        raise SpecMismatch(
            f"run {run!r} can't be derived from {source.name!r}: nothing of it could be reused, "
            f"for these differ; leave `--from` out to make everything:{lines}"
        )
    anew = {stage for stage in reached.values() if stage is not None}
    anew |= {stage.name for stage in road if stage not in before}
    anew |= {NAMES_THE_RUN}
    return Derivation(road, tuple(found), frozenset(anew), asked.plan.shards)


def _reached(
    difference: Difference, asked: Spec, road: Sequence[Stage], known: Sequence[Stage]
) -> str | None:
    """The first stage whose rows depend on a field of the spec; INPUT_STAGE: all stages do.

    None where no stage of this road depends on it, but another `known` stage.
    """
    for stage in road:
        if _reaches(difference, asked, stage):
            return stage.name
    if difference.name.startswith(_OF_STAGES):
        return None
    group = _setting(difference).partition(".")[0]
    elsewhere = {group for stage in known for group in stage.groups}
    return None if group in elsewhere else INPUT_STAGE


_PROMPTS = "configuration.prompts."
_OF_STAGES = ("image_digest", "configuration.sandbox_limits.", "models.", "configuration.engines.",
              "schemas.", _PROMPTS)  # fmt: skip
"""Fields that reach only stages which run code, use that model or prompt, or make such rows."""


def _reaches(difference: Difference, asked: Spec, stage: Stage) -> bool:
    """Whether the rows of a stage depend on a field of the spec that differs."""
    field = difference.name
    if setting := _setting(difference):
        redone = stage.redone(setting, difference, asked)
        return setting.partition(".")[0] in stage.groups if redone is None else redone
    if field.startswith(("image_digest", "configuration.sandbox_limits.")):
        return stage.runs_code
    if field.startswith(("models.", "configuration.engines.")):
        return stage.role == field.removeprefix("configuration.").split(".")[1]
    if field.startswith(_PROMPTS):
        return field.removeprefix(_PROMPTS) in stage.asks
    return field == f"schemas.{kind_of(stage.rows.record)}"


def _setting(difference: Difference) -> str:
    """`GROUP.FIELD` for a setting of the stages; empty for another field."""
    of_stages = "configuration.stages."
    return difference.name.removeprefix(of_stages) if difference.name.startswith(of_stages) else ""


def models_needed(plan: Derivation, source: Run, same: Set[int]) -> bool:
    """Whether stages that need a model or sandbox will be left to make, by settings and commits.

    `same`: the shards with the source's problems.
    """
    return len(same) < plan.shards or any(
        stage.name in plan.anew or not same <= source.shards_of(stage.name)
        for stage in plan.road
        if not _made_here(stage)
    )


def _made_here(stage: StageSpec) -> bool:
    """Whether a stage needs neither a model nor a sandbox."""
    return stage.role == "cpu" and not stage.runs_code


def start_derived(config: RunConfig, store: ObjectStore, plan: Planned, source: Run) -> Run:
    """Create the derived run, or open it. Of a run that is refused nothing is stored.

    Raises SpecMismatch, ConfigurationError and as `create_run` does.
    """
    plan_derivation(config.run, store.url, plan.spec, source)
    begun = Run.find(store, config.run)
    whole = begun is not None and len(begun.shards_of(INPUT_STAGE)) == plan.spec.plan.shards
    same = frozenset() if whole else same_input(plan, source)

    def take_problems(run: Run) -> None:
        store_origin(run, source)
        for shard in sorted(same):
            with suppress(NothingFound):  # whose problems are not all stored yet
                if given := handed(run.spec.stages):
                    adopt(run, source, given.stage, shard)
                drops = plan.given.drops if shard == 0 else ()
                adopt(run, source, INPUT_STAGE, shard, drops)

    return create_run(config, store, plan, take_problems)


async def take_over(
    run: Run,
    make_worker: MakeWorker,
    on_shard: Callable[[int, int], None] = lambda done, shards: None,
) -> Inherited | None:
    """Copy or make the shards that a derived run lacks, as far as no model is needed.

    `make_worker` makes the worker of the stages without a model. Returns None where the run was not
    derived, or its source is gone: copied shards need no source.
    """
    origin = origin_of(run)
    source = None if origin is None else _standing(run.store, origin)
    if origin is None or source is None:
        return None
    plan = plan_derivation(run.name, run.store.url, run.spec, source)
    worker = make_worker("derive", None)
    await worker.open()
    try:
        return await _inherit(run, source, plan, worker, on_shard)
    except ObjectCorrupt:
        if _standing(run.store, origin) is None:  # removed meanwhile, its rows before its commits
            return None
        raise
    finally:
        await worker.close()


def _standing(store: ObjectStore, origin: Origin) -> Run | None:
    """The run that another was derived from; None where it is gone, or another took its name."""
    try:
        source = Run.find(store, origin.run)
    except Removed:
        return None
    return source if source is not None and source.spec.fingerprint == origin.spec else None


async def _inherit(
    run: Run,
    source: Run,
    plan: Derivation,
    worker: ShardWorker,
    on_shard: Callable[[int, int], None],
) -> Inherited:
    shards = run.spec.plan.shards
    adopted: Counter[str] = Counter()
    worked: Counter[str] = Counter()
    room = asyncio.Semaphore(SHARDS_AT_ONCE)
    done = 0

    async def inherit_shard(shard: int) -> None:
        nonlocal done
        async with room:
            same: set[str] = set()
            held: Held = {}
            for stage in (StageSpec(INPUT_STAGE, "cpu", ()), *plan.road):
                if await asyncio.to_thread(_taken, run, source, plan, stage, shard, same):
                    same.add(stage.name)
                    adopted[stage.name] += 1
                elif _made_here(stage) and await asyncio.to_thread(_due, run, stage, shard):
                    await worker.work(stage.name, shard, held)
                    worked[stage.name] += 1
        done += 1
        on_shard(done, shards)

    await together(*(inherit_shard(shard) for shard in range(shards)))
    return Inherited(source.name, plan.differing, dict(adopted), dict(worked))


def _taken(
    run: Run, source: Run, plan: Derivation, stage: StageSpec, shard: int, same: set[str]
) -> bool:
    """Copy a shard if allowed; return whether the run's shard is the source's."""
    if stage.name == INPUT_STAGE:  # stored when the run was started, its drops perhaps others
        try:
            ours, theirs = (each.commit(INPUT_STAGE, shard) for each in (run, source))
        except NothingFound:
            return False
        return ours.sha256 == theirs.sha256
    if stage.name in plan.anew:
        return False
    (described,) = stages_named([stage.name])
    named = [kind.stage for kind in described.names_only]
    for name in (*stage.reads, *stage.unread):
        if name not in same and not (name in named and _same_names(run, source, name, shard)):
            return False
    try:
        return adopt(run, source, stage.name, shard)
    except NothingFound:
        return False


def _same_names(run: Run, source: Run, stage: str, shard: int) -> bool:
    """Whether the same paths have rows in both runs."""
    try:
        ours, theirs = (
            each.read_table(stage_rows(stage), shard, ["path_id"]) for each in (run, source)
        )
    except NothingFound:
        return False
    return bool(ours["path_id"].equals(theirs["path_id"]))


def _due(run: Run, stage: StageSpec, shard: int) -> bool:
    """Whether a shard is missing, and every shard that it reads is committed."""
    return not _stands(run, stage.name, shard) and all(
        _stands(run, name, shard) for name in (*stage.reads, *stage.unread)
    )


def _stands(run: Run, stage: str, shard: int) -> bool:
    try:
        run.commit(stage, shard)
    except NothingFound:
        return False
    return True
