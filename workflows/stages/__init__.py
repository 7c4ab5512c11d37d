"""The stages, one module each; a module ends with the description of its stage (`kit.Stage`)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import fields

from storage.errors import ConfigurationError
from storage.rows.kinds import ROAD as PAPERS_ROAD
from storage.rows.kinds import names_elsewhere, stage_elsewhere
from workflows.road import StageSpec, checked_road, model_roles
from workflows.settings import StageSettings
from workflows.stages.consensus import CONSENSUS
from workflows.stages.estimate import ESTIMATE, PROVER
from workflows.stages.export import EXPORT
from workflows.stages.formalize import FORMALIZE
from workflows.stages.given import GIVE, REUSE, TAKE
from workflows.stages.inject import INJECT, MISLEAD
from workflows.stages.judge import JUDGE
from workflows.stages.kit import Stage
from workflows.stages.label import LABEL
from workflows.stages.metaverify import METAVERIFY
from workflows.stages.pit import PIT
from workflows.stages.rationalize import RATIONALIZE
from workflows.stages.refine import REFINE
from workflows.stages.repair import REPAIR, RETRY
from workflows.stages.sample import SAMPLE
from workflows.stages.score import SCORE
from workflows.stages.search import SEARCH
from workflows.stages.solve import SOLVE
from workflows.stages.translate import TRANSLATE
from workflows.stages.trees.ground import GROUND
from workflows.stages.writing.rewrite import REWRITE

OURS: Mapping[str, Stage] = {
    stage.name: stage
    for stage in (
        GIVE, REUSE, SAMPLE, INJECT, MISLEAD, ESTIMATE, PIT, PROVER, SEARCH, GROUND, LABEL,
        RATIONALIZE, TRANSLATE, FORMALIZE, JUDGE, METAVERIFY, CONSENSUS, REWRITE, REPAIR,
        RETRY, EXPORT,
    )
}  # fmt: skip
"""Every stage of this project that a build can have."""
OF_RUNS: Mapping[str, Stage] = {**OURS, **{each.name: each for each in (SCORE, REFINE, SOLVE)}}
"""The same, with the stages of runs that score, refine and solve."""


GROUPS = frozenset(field.name for field in fields(StageSettings))
"""The keys below `stages` in a configuration, without those of installed packages."""


def stages_named(names: Sequence[str]) -> tuple[Stage, ...]:
    """The stages of a road, in its order, with those that installed packages bring."""
    known = _known(names)
    return tuple(known[name] for name in names)


def described(names: Sequence[str]) -> tuple[Stage, ...]:
    """The stages of a run of any kind, in their order, without its input."""
    known = {**OF_RUNS, **_known(names)}
    return tuple(known[name] for name in names if name in known)


def road_of(names: Sequence[str]) -> tuple[StageSpec, ...]:
    """The road of these names. Raises as `workflows.road.checked_road`."""
    return checked_road(names, {name: stage.spec for name, stage in _known(names).items()})


def _known(names: Sequence[str]) -> dict[str, Stage]:
    others = [name for name in names if name not in OURS]
    there = names_elsewhere() if others else ()
    known = {**OURS, **{name: brought(name) for name in others if name in there}}
    return known | {TAKE.name: TAKE} if GIVE.name in names else known


def brought(name: str) -> Stage:
    """Load the stage of this name from an installed package. Raises ConfigurationError."""
    stage = stage_elsewhere(name)
    if not isinstance(stage, Stage):
        raise ConfigurationError(f"stage {name!r} is no description: make it a kit.Stage")
    if stage.settings and name in GROUPS:
        raise ConfigurationError(f"`stages.{name}` is a setting of ours: rename stage {name!r}")
    return stage


def all_stages() -> tuple[Stage, ...]:
    """The project's stages, then those of installed packages. Raises ConfigurationError."""
    return (*OF_RUNS.values(), *map(brought, names_elsewhere()))


STAGE_NAMES = PAPERS_ROAD[1:]
"""The paper's road, which is the default."""
ROAD = road_of(STAGE_NAMES)
MODEL_ROLES = model_roles(ROAD)
"""The models of the paper's road."""
