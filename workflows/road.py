"""The road of the data: which stages a shard passes, in which order, and what each stage reads.

A run's road is a setting (`stages.road`): the names of its stages in order. `checked_road` checks
it. The run's spec stores it (`Spec.stages`), where workers, status, audit and download read it. The
module of a stage in `workflows.stages` says what the stage does.

A configuration needs a model for exactly the roles of its road.

Invariant: a stage reads only stages before it. Shard i of a stage is made from shard i of those. A
committed shard therefore moves on at once, with any number of workers. The items that enter a stage
are those that the stage before it lets through, even if it doesn't read their rows. A stage that
reads sampled paths reads them as the stages before it have altered them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from storage.errors import ConfigurationError
from storage.rows.accounting import unread_by
from storage.rows.kinds import ALTERED, PATHS, PROBLEMS

Role = Literal[
    "policy", "completer", "prover", "rationale", "verifier", "generator", "judge", "cpu"
]


@dataclass(frozen=True, slots=True)
class StageSpec:
    """What the driver knows of one stage of the road."""

    name: str
    role: Role
    reads: tuple[str, ...]
    without: tuple[str, ...] = ()
    """Those of `reads` that a road may leave out."""
    one_of: tuple[str, ...] = ()
    """Exactly one of these must stand before it."""
    runs_code: bool = False
    """Whether its workers need the sandbox."""
    unread: tuple[str, ...] = ()
    """The stages just before it whose rows it doesn't read; items that they drop don't enter it."""
    beside: tuple[Role, ...] = ()
    """Roles whose models its workers open too, beside their own role's."""

    @property
    def roles(self) -> tuple[Role, ...]:
        """Its own role, then those beside it."""
        return (self.role, *self.beside)

    @property
    def coder(self) -> Role:
        """The role whose model writes code, if the stage runs any."""
        return self.roles[-1]


INPUT_STAGE = PROBLEMS.stage
"""Committed by the driver when the run starts, so that a run continues from the store alone."""


def checked_road(names: Sequence[str], known: Mapping[str, StageSpec]) -> tuple[StageSpec, ...]:
    """Return the stages called `names`, each with the stages before it on this road that it reads.

    Raises ConfigurationError for a name that is not `known` or given twice, and for a stage whose
    reads are missing before it.
    """
    road: list[StageSpec] = []
    before = [INPUT_STAGE]
    if not names:
        raise ConfigurationError("`stages.road` is empty: name at least one stage")
    for name in names:
        if name not in known:
            raise ConfigurationError(
                f"`stages.road`: there is no stage {name!r}, only {', '.join(known)}"
            )
        stage = known[name]
        if name in before:
            raise ConfigurationError(f"`stages.road` names {name!r} twice")
        lacks = [part for part in stage.reads if part not in (*before, *stage.without)]
        if lacks:
            raise ConfigurationError(
                f"`stages.road`: {name!r} needs {lacks[0]!r} before it, and has "
                + (", ".join(before[1:]) or "nothing")
            )
        given = [part for part in stage.one_of if part in before]
        if stage.one_of and len(given) != 1:
            raise ConfigurationError(
                f"`stages.road`: {name!r} needs one of {', '.join(stage.one_of)} before it, "
                f"and has {', '.join(given) or 'none'}"
            )
        altered = [kind.stage for kind in ALTERED if PATHS.stage in stage.reads]
        reads = tuple(part for part in (*stage.reads, *altered) if part in before)
        road.append(replace(stage, reads=reads, unread=unread_by(reads, before)))
        before.append(name)
    return tuple(road)


def reads_by_stage(road: Sequence[StageSpec]) -> dict[str, tuple[str, ...]]:
    """Stage -> the stages whose rows it reads."""
    return {stage.name: stage.reads for stage in road}


def model_roles(road: Sequence[StageSpec]) -> tuple[Role, ...]:
    """The model roles of a road, in order of first use."""
    roles = dict.fromkeys(role for stage in road for role in stage.roles)
    return tuple(role for role in roles if role != "cpu")


def worker_roles(road: Sequence[StageSpec]) -> tuple[Role, ...]:
    """The roles of a road that have workers of their own, in order of first use."""
    return tuple(dict.fromkeys(stage.role for stage in road if stage.role != "cpu"))


def opened_by(road: Sequence[StageSpec], role: str) -> tuple[Role, ...]:
    """The roles whose models a worker of a role opens, its own first."""
    roles = dict.fromkeys(each for stage in road if stage.role == role for each in stage.roles)
    return tuple(roles)
