"""What is left open in a configuration, decided once, when a run is created.

What the result depends on (the precision of `dtype: auto`, the context of a verifier) is then in
the run's spec, and whoever continues the run takes it from there: no worker decides it again. What
only speed depends on (sequences in flight, sessions) follows the machine on which engines run now.

Invariant: what is named is left as it is; a run whose spec says `auto` goes on as it began.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeVar

from actors.engine import IN_FLIGHT, EngineSettings
from actors.fitness import dtype_for
from actors.machine import Machine
from actors.model_facts import ModelFacts
from workflows.workload import Workload

LONGEST_CONTEXT = 32768
"""Context of a verifier that says nothing of its own: some models allow 131,072 tokens, for which
a GPU may have no room, and no verification is so long."""
IN_FLIGHT_ON_GPU = {"verifier": 128, "generator": 256}
IN_FLIGHT_ON_CPU = {"verifier": 48, "generator": 48}
"""Sequences at once on one engine of a role; of another role `actors.engine.IN_FLIGHT`."""
SESSIONS_ON_CPU = 24
"""Most histories of a verifier that have run code, at once: each keeps an interpreter (some 80 MB,
and a second of a processor to come up), of which `sandbox.slots` run."""

Config = TypeVar("Config", bound=Workload)


@dataclass(frozen=True, slots=True)
class Place:
    """Where the engines of a role may run."""

    machines: Sequence[Machine]
    facts: ModelFacts
    """Of their model."""

    @property
    def has_gpus(self) -> bool:
        """Whether they run on GPUs."""
        return any(machine.gpus for machine in self.machines)


PlaceOf = Callable[[str], Place | None]
"""Role -> where its engines may run."""


def settled(config: Config, place_of: PlaceOf, *begun: Mapping[str, Any] | None) -> Config:
    """The configuration with all that the result depends on decided.

    `place_of` a role is asked only where it matters, and None where it is not known; `begun`: what
    specs say of the engines (`binding`), the run's own before that of the one it is derived from.
    """
    engines = {}
    for role, engine in config.engines.items():
        stored = next((found[role] for found in begun if found and role in found), None)
        local = engine.kind == "vllm"
        engines[role] = _bound(engine, role, stored, place_of) if local else engine
    return with_engines(config, engines)


def fitted(config: Config, place_of: PlaceOf) -> Config:
    """The configuration with what only speed depends on decided, for the machines of now."""
    engines = {}
    for role, engine in config.engines.items():
        if engine.kind != "scripted" and engine.max_in_flight is None:
            place = place_of(role) if engine.kind == "vllm" and role in IN_FLIGHT_ON_GPU else None
            known = IN_FLIGHT_ON_CPU if place and not place.has_gpus else IN_FLIGHT_ON_GPU
            engine = replace(engine, max_in_flight=known.get(role, IN_FLIGHT))
        engines[role] = engine
    return _with_sessions(with_engines(config, engines), place_of)


def _bound(
    engine: EngineSettings,
    role: str,
    stored: Mapping[str, Any] | None,
    place_of: PlaceOf,
) -> EngineSettings:
    """What the result depends on."""
    if engine.dtype == "auto":
        if stored is not None:
            engine = replace(engine, dtype=stored["dtype"])
        elif place := place_of(role):
            engine = replace(engine, dtype=dtype_for(place.machines, engine, place.facts))
    if engine.max_model_len is None and role in IN_FLIGHT_ON_GPU:
        if stored is not None:
            engine = replace(engine, max_model_len=stored["max_model_len"])
        elif place := place_of(role):
            longest = min(place.facts.context or LONGEST_CONTEXT, LONGEST_CONTEXT)
            engine = replace(engine, max_model_len=longest)
    return engine


def _with_sessions(config: Config, place_of: PlaceOf) -> Config:
    asking = {str(stage.role) for stage in config.road if stage.runs_code}
    engines = {
        role: engine
        for role, engine in config.engines.items()
        if role in asking and engine.kind != "scripted"
    }
    if config.sandbox.sessions or not engines:
        return config
    sandbox = config.sandbox.for_in_flight(max(one.in_flight for one in engines.values()))
    verifier = place_of("verifier") if "verifier" in engines else None
    if verifier and not verifier.has_gpus:
        sandbox = replace(sandbox, sessions=min(sandbox.sessions, SESSIONS_ON_CPU))
    changed: Any = config
    return replace(changed, sandbox=sandbox)  # type: ignore[no-any-return]


def with_engines(config: Config, engines: Mapping[str, EngineSettings]) -> Config:
    """The configuration with other engines."""
    changed: Any = config
    return replace(changed, models=replace(changed.models, **engines))  # type: ignore[no-any-return]
