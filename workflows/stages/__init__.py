"""The stages: one module each, which ends with what the stage is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib.metadata import entry_points

from storage.rows.kinds import STAGES_ELSEWHERE
from storage.runs import layout
from workflows.road import StageSpec, checked_road, model_roles
from workflows.stages.consensus import CONSENSUS
from workflows.stages.estimate import ESTIMATE, PROVER
from workflows.stages.export import EXPORT
from workflows.stages.formalize import FORMALIZE
from workflows.stages.judge import JUDGE
from workflows.stages.kit import Stage
from workflows.stages.label import LABEL
from workflows.stages.rationalize import RATIONALIZE
from workflows.stages.repair import REPAIR, RETRY
from workflows.stages.sample import SAMPLE
from workflows.stages.search import SEARCH

OURS: Mapping[str, Stage] = {
    stage.name: stage
    for stage in (
        SAMPLE, ESTIMATE, PROVER, SEARCH, LABEL, RATIONALIZE, FORMALIZE, JUDGE, CONSENSUS, REPAIR,
        RETRY, EXPORT,
    )
}  # fmt: skip
"""Every stage of ours that a build can have."""


def stages_named(names: Sequence[str]) -> tuple[Stage, ...]:
    """The stages of a road, in its order: ours, and those that installed packages bring."""
    known = _known(names)
    return tuple(known[name] for name in names)


def road_of(names: Sequence[str]) -> tuple[StageSpec, ...]:
    """The road of these names. Raises as `workflows.road.checked_road`."""
    return checked_road(names, {name: stage.spec for name, stage in _known(names).items()})


def _known(names: Sequence[str]) -> dict[str, Stage]:
    known = dict(OURS)
    for name in names:
        if name not in known:
            known.update(
                (name, found.load()) for found in entry_points(group=STAGES_ELSEWHERE, name=name)
            )
    return known


STAGE_NAMES = layout.ROAD[1:]
"""The paper's road, which is the default."""
ROAD = road_of(STAGE_NAMES)
MODEL_ROLES = model_roles(ROAD)
"""The models of the paper's road."""
