"""The road of the data: which stages there are, what each reads, and who works on it.

Invariant: a stage reads only stages that stand before it, and shard i of a stage is made from
shard i of those, so that a shard moves on as soon as it is committed and the plan never depends
on the number of workers.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Role = Literal["policy", "completer", "rationale", "cpu"]
MODEL_ROLES: tuple[Role, ...] = ("policy", "completer", "rationale")


@dataclass(frozen=True, slots=True)
class StageSpec:
    """One stage of the road."""

    name: str
    role: Role
    reads: tuple[str, ...]


INPUT_STAGE = "problems"
"""Committed by whoever starts the run, so that a run continues from the store alone."""

ROAD: tuple[StageSpec, ...] = (
    StageSpec("sample", "policy", ("problems",)),
    StageSpec("estimate", "completer", ("problems", "sample")),
    StageSpec("label", "cpu", ("sample", "estimate")),
    StageSpec("rationalize", "rationale", ("problems", "sample", "label")),
    StageSpec("consensus", "cpu", ("label", "rationalize")),
    StageSpec(
        "export", "cpu", ("problems", "sample", "label", "rationalize", "consensus")
    ),
)

STAGE_NAMES: tuple[str, ...] = tuple(stage.name for stage in ROAD)


def stage_named(name: str) -> StageSpec:
    """The stage called `name`; raises KeyError."""
    return next(stage for stage in ROAD if stage.name == name)
