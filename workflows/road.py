"""The road of the data: what a stage is to whoever moves shards along it, and what may follow what.

A run's road is a setting (`stages.road`): names of stages, in the order in which a shard passes
them. `checked_road` checks it and says what each of its stages reads there; the road is frozen into
the run's spec (`Spec.stages`), from which workers, status, audit and download take it. What a stage
does is described once, in its module in `workflows.stages`.

Models are asked for by role: a configuration needs a model for exactly the roles of its road.

Invariant: a stage reads only stages that stand before it, and shard i of a stage is made from
shard i of those, so that a shard moves on as soon as it is committed and the plan never depends
on the number of workers. The items that enter a stage are those that the stage before it lets
through, whether or not it reads that one's rows.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from storage.errors import ConfigurationError
from storage.rows.accounting import unread_by
from storage.rows.kinds import PROBLEMS

Role = Literal[
    "policy", "completer", "prover", "rationale", "verifier", "generator", "judge", "cpu"
]


@dataclass(frozen=True, slots=True)
class StageSpec:
    """One stage of the road."""

    name: str
    role: Role
    reads: tuple[str, ...]
    without: tuple[str, ...] = ()
    """Those of `reads` that a road may leave out."""
    one_of: tuple[str, ...] = ()
    """Of these, just one must stand before it."""
    runs_code: bool = False
    """Whether its workers need the sandbox."""
    unread: tuple[str, ...] = ()
    """Those just before it on a road of which it reads nothing: what they drop, it is not shown."""


INPUT_STAGE = PROBLEMS.stage
"""Committed by whoever starts the run, so that a run continues from the store alone."""


def checked_road(names: Sequence[str], known: Mapping[str, StageSpec]) -> tuple[StageSpec, ...]:
    """The stages called `names` out of those that are `known`, each reading what stands before it
    on this road.

    Raises ConfigurationError for a name that is unknown or doubled and for a stage that lacks
    what it reads.
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
        reads = tuple(part for part in stage.reads if part in before)
        road.append(replace(stage, reads=reads, unread=unread_by(reads, before)))
        before.append(name)
    return tuple(road)


def reads_by_stage(road: Sequence[StageSpec]) -> dict[str, tuple[str, ...]]:
    """Which stages' rows each stage of a road needs."""
    return {stage.name: stage.reads for stage in road}


def model_roles(road: Sequence[StageSpec]) -> tuple[Role, ...]:
    """The models that a road asks for, in the order in which it meets them."""
    return tuple(dict.fromkeys(stage.role for stage in road if stage.role != "cpu"))
