"""The pilot that a build makes for itself where its labels need a chain and none is named.

A run of its own in the same store: the first problems of the same input, sampled as the build
samples, every state rolled out with twice the build's K, so that its halves are runs (see
`workflows.estimation.gate`). Its name is a digest of what it is, so that a refused build finds it
again under another `delta`, and builds that differ in their labels alone share one.

Invariant: which pilot a build has follows from its input and settings, before anything is made.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from actors.sandbox.contract import SandboxSettings
from storage.rows.kinds import GIVEN, PATHS, ROLLOUTS
from storage.runs.run import Run
from workflows.builds.build import Planned, planned
from workflows.builds.configuration import BuildConfig
from workflows.estimation.pilot import needs_chain
from workflows.settings import EstimateSettings, StageSettings

MARGIN = 1.25
"""Problems in the pilot over those that would give its paths if each filled its quota."""
SHARD_SIZE = 4
"""Most problems in a shard: a pilot is small, and all workers are to have a part of it."""


@dataclass(frozen=True, slots=True)
class OwnPilot:
    """A pilot that a build makes for itself."""

    config: BuildConfig
    planned: Planned


def with_pilot(
    config: BuildConfig, begun: Run | None = None, source: Run | None = None
) -> tuple[BuildConfig, OwnPilot | None]:
    """The configuration, its pilot named, and the pilot where it is the build's own.

    That is the pilot it names, the one that the run was begun with, `source` (which it is derived
    from) where that was estimated with `exact`, or the build's own. Raises as `planned` does.
    """
    stages = config.stages
    if not needs_chain(stages) or stages.estimate.pilot is not None:
        return config, None
    own: OwnPilot | None = None
    if begun is not None:
        name = begun.spec.configuration["stages"][ROLLOUTS.stage]["pilot"]
    elif source is not None and _exact(source):
        name = source.name
    else:
        own = own_pilot(config)
        name = own.config.run
    estimate = replace(stages.estimate, pilot=name)
    return replace(config, stages=replace(stages, estimate=estimate)), own


def own_pilot(config: BuildConfig) -> OwnPilot:
    """A configuration's own pilot. Raises as `planned` does."""
    stages, estimate = config.stages, config.stages.estimate
    sample = stages.sample
    per_problem = sample.correct + sample.incorrect
    if sample.select == "all":
        per_problem = sample.first_round
    given = (GIVEN.stage,) if config.solutions else ()
    problems = -int(-MARGIN * estimate.pilot_paths // per_problem)
    pilot = replace(
        config,
        run="pilot",
        limit=min(problems, config.limit or problems),
        shard_size=min(SHARD_SIZE, config.shard_size),
        sandbox=SandboxSettings(),
        stages=StageSettings(
            seed=stages.seed,
            road=(*given, PATHS.stage, ROLLOUTS.stage),
            sample=sample,
            answers=stages.answers,
            estimate=EstimateSettings(
                mc_budget="exact",
                k_hard=2 * estimate.k_hard,
                k_medium=2 * estimate.k_medium,
                k_easy=2 * estimate.k_easy,
                hard_below=estimate.hard_below,
                easy_from=estimate.easy_from,
                probe=estimate.probe,
                temperature=estimate.temperature,
                top_p=estimate.top_p,
                top_k=estimate.top_k,
                max_tokens=estimate.max_tokens,
            ),
        ),
    )
    wanted = planned(pilot, None)
    return OwnPilot(replace(pilot, run=f"pilot-{wanted.spec.fingerprint[:12]}"), wanted)


def _exact(run: Run) -> bool:
    settings: str = run.spec.configuration["stages"][ROLLOUTS.stage]["mc_budget"]
    return ROLLOUTS.stage in run.spec.stages and settings == "exact"
