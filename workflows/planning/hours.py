"""How long a run takes on the nodes that its configuration asks for.

Invariant: the least is work spread over all slots at once, the most is one model after the other.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from storage.runs.plans import Rate
from workflows.planning.costs import HOUR_S
from workflows.planning.ranges import Range

START_S = (30.0, 600.0)
"""Until an engine is up: a 7B took 40 to 68 s on an H100 (docs/measured.md), large ones minutes."""


@dataclass(frozen=True, slots=True)
class Places:
    """Where the work is done."""

    slots: float
    """GPUs, or engines on processors, that work at once."""
    workers: Mapping[str, int]
    """Role -> most workers."""


def wall_hours(engine_hours: Mapping[str, Range], rates: Mapping[str, Rate], at: Places) -> Range:
    """Hours from start to end; `engine_hours`: role -> hours of one engine."""
    low, high, known = 0.0, 0.0, True
    spread = 0.0
    for role, hours in engine_hours.items():
        gpus, workers = rates[role].gpus, at.workers[role]
        if gpus:
            workers = max(1, min(workers, int(at.slots / gpus)))
            spread += hours.low * gpus / at.slots
        low = max(low, hours.low / workers)
        known = known and hours.high is not None
        high += (hours.high or 0.0) / workers + (START_S[1] / HOUR_S if gpus else 0.0)
    start = START_S[0] / HOUR_S if any(rates[role].gpus for role in engine_hours) else 0.0
    return Range(max(low, spread) + start, high if known else None)
