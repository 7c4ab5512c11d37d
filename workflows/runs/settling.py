"""Decides what a configuration leaves open, once, when a run is created.

What the result depends on goes into the run's spec: a model's commit, the precision of
`dtype: auto`, the context of a verifier. A driver that continues the run reads it there. What only
speed depends on (sequences in flight, sessions) follows the machines of now.

Invariant: a setting that the user gave stays as it is. A run whose spec says `auto`, or no commit,
goes on as it began.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeVar

from actors.engines.contract import IN_FLIGHT, EngineSettings
from actors.machines.filling import filling
from actors.machines.fitness import dtype_for
from actors.machines.machine import Machine
from actors.models.facts import ModelFacts
from actors.models.fetching import resolved, tokenizer_of
from actors.models.identity import CODE
from actors.models.source import MAIN, ModelSource
from actors.sandbox.parked import BOX_KB
from storage.errors import ConfigurationError
from storage.rows.kinds import RATIONALES
from storage.runs.run import Run
from storage.runs.specs import ENGINES, Spec
from workflows.runs.configuration import RunConfig
from workflows.settings.recorded import OLDER, as_begun

LONGEST_CONTEXT = 32768
"""Most tokens of a verifier's context where `max_model_len` is not set: some models allow 131,072,
for which a GPU may have no room, and no verification is so long."""
IN_FLIGHT_ON_GPU = {"verifier": 128, "generator": 256}
IN_FLIGHT_ON_CPU = {"verifier": 48, "generator": 48}
"""Role -> sequences at once on one engine; other roles have `actors.engines.contract.IN_FLIGHT`. On
GPUs only where it can't be told how many its KV cache holds."""
USUAL_TOKENS = {"verifier": 4096, "generator": 2048}
"""Role -> tokens of a usual sequence, as its KV cache is counted. A verification of GenPRM's has
2,771 tokens on MATH and 4,877 on Minerva (its Table 9) when it ends, half of them in the middle."""
SESSIONS_A_PROCESSOR = 12
"""Most histories at once that have run code, for each processor where the verifier runs on them. An
interpreter takes a second of one to start, so that all are open after so many seconds."""
SESSIONS_SHARE = 4
"""One part in so many of the memory beside such a verifier is for interpreters."""

Config = TypeVar("Config", bound=RunConfig)


@dataclass(frozen=True, slots=True)
class Place:
    """The machines where the engines of a role may run."""

    machines: Sequence[Machine]
    facts: ModelFacts
    """Facts of the role's model."""

    @property
    def has_gpus(self) -> bool:
        """Whether they run on GPUs."""
        return any(machine.gpus for machine in self.machines)


PlaceOf = Callable[[str], Place | None]
"""Role -> where its engines may run."""


def recalled(config: Config, *begun: Run | None) -> Config:
    """Return the configuration with every model and tokenizer at its recorded commit or digest.

    A trained model is named by its store. The settings of `OLDER`, and `attempts`, keep their old
    values where the run began before today's defaults. `begun`: this run, then the one that it
    derives from, if any. Neither the hub nor a machine is asked. Raises ConfigurationError where a
    model would bring code of which no commit is named.
    """
    specs = [run.spec for run in begun if run is not None]
    engines = {}
    for role, engine in config.engines.items():
        spec = next((spec for spec in specs if role in spec.models), None)
        if engine.kind != "scripted":
            engine = _recalled(engine, config.store, role, spec)
        engines[role] = engine
    changed: Any = with_engines(config, engines)
    recorded = specs[0].configuration if specs else {}
    for part in {name.partition(".")[0] for name in OLDER} & recorded.keys():
        if hasattr(changed, part):
            begun_with = as_begun(getattr(changed, part), part, recorded[part])
            changed = replace(changed, **{part: begun_with})
    written = specs[0].configuration.get("stages", {}).get(RATIONALES.stage) if specs else None
    if written is not None and "require_code" not in written:
        again = replace(changed.stages.rationalize, attempts=written["attempts"])
        changed = replace(changed, stages=replace(changed.stages, rationalize=again))
    return changed  # type: ignore[no-any-return]


def _recalled(engine: EngineSettings, store: str, role: str, spec: Spec | None) -> EngineSettings:
    options = dict(engine.options)
    revision = engine.revision or _text(options.pop("revision", None))
    model = ModelSource(engine.model, revision)
    if engine.kind == "vllm":
        if model.on_hub and options.get(CODE) and model.revision in (None, MAIN):
            raise ConfigurationError(
                f"models.{role} runs code that comes with the model (`{CODE}`): name its "
                "`revision`, a commit that you have read; the hub's of today may be another"
            )
        model = model.within(store).as_in(spec.models[role] if spec else None)
    revision = engine.tokenizer_revision or _text(options.pop("tokenizer_revision", None))
    tokenizer = ModelSource(engine.tokenizer or engine.model, revision)
    if engine.tokenizer or engine.kind == "endpoint":
        recorded = spec.configuration.get(ENGINES, {}).get(role, {}) if spec else {}
        tokenizer = tokenizer.within(store).as_in(recorded.get("tokenizer"))
    return replace(
        engine,
        model=model.name,
        revision=model.revision,
        tokenizer=tokenizer.name if engine.tokenizer else None,
        tokenizer_revision=tokenizer.revision,
        options=options,
    )


def _text(value: object) -> str | None:
    return None if value is None else str(value)


def pinned(config: Config) -> Config:
    """Return the configuration with today's commit, or digest, of every model and tokenizer.

    Models of the hub have a commit, trained ones a digest. Raises InputError and NothingFound.
    """
    return with_engines(config, {role: _pinned(engine) for role, engine in config.engines.items()})


def _pinned(engine: EngineSettings) -> EngineSettings:
    if engine.kind == "vllm":
        source = resolved(ModelSource(engine.model, engine.revision))
        engine = replace(engine, revision=source.revision)
    if engine.tokenizer or engine.kind == "endpoint":
        source = resolved(tokenizer_of(engine))
        engine = replace(engine, tokenizer_revision=source.revision)
    return engine


def settled(config: Config, place_of: PlaceOf, *begun: Mapping[str, Any] | None) -> Config:
    """Return the configuration with everything decided that the result depends on.

    `place_of` is called only for roles whose place matters. `begun`: the engines as specs record
    them, first of this run, then of the run that it derives from. Raises as `pinned`.
    """
    engines = {}
    for role, engine in config.engines.items():
        stored = next((bindings[role] for bindings in begun if bindings and role in bindings), None)
        if stored is None or engine.revision or engine.tokenizer_revision:
            engine = _pinned(engine)
        local = engine.kind == "vllm"
        engines[role] = _bound(engine, role, stored, place_of) if local else engine
    return with_engines(config, engines)


def fitted(config: Config, place_of: PlaceOf) -> Config:
    """Return the configuration with what only speed depends on decided for the machines of now."""
    engines = {}
    for role, engine in config.engines.items():
        if engine.kind != "scripted" and engine.max_in_flight is None:
            place = place_of(role) if engine.kind == "vllm" and role in IN_FLIGHT_ON_GPU else None
            engine = replace(engine, max_in_flight=_in_flight(engine, role, place))
        engines[role] = engine
    return _with_sessions(with_engines(config, engines), place_of)


def _in_flight(engine: EngineSettings, role: str, place: Place | None) -> int:
    """Sequences in flight on an engine of this role, where nothing is said."""
    if place and not place.has_gpus:
        return IN_FLIGHT_ON_CPU[role]
    held = filling(place.machines, engine, place.facts, USUAL_TOKENS[role]) if place else None
    return held or IN_FLIGHT_ON_GPU.get(role, IN_FLIGHT)


def _bound(
    engine: EngineSettings,
    role: str,
    stored: Mapping[str, Any] | None,
    place_of: PlaceOf,
) -> EngineSettings:
    """Decide precision and context length of a local engine, from the spec if it has them."""
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
    asking = {str(stage.coder) for stage in config.road if stage.runs_code}
    engines = {
        role: engine
        for role, engine in config.engines.items()
        if role in asking and engine.kind != "scripted"
    }
    if config.sandbox.sessions or not engines:
        return config
    sandbox = config.sandbox.for_in_flight(max(each.in_flight for each in engines.values()))
    verifier = place_of("verifier") if "verifier" in engines else None
    if verifier and not verifier.has_gpus:
        most = min(map(sessions_beside, verifier.machines))
        sandbox = replace(sandbox, sessions=min(sandbox.sessions, most))
    changed: Any = config
    return replace(changed, sandbox=sandbox)  # type: ignore[no-any-return]


def sessions_beside(machine: Machine) -> int:
    """Most open interpreters on a machine whose processors and memory its engine needs too."""
    most = SESSIONS_A_PROCESSOR * machine.processors
    if machine.memory_bytes is None:
        return most
    return min(most, (machine.memory_bytes >> 10) // SESSIONS_SHARE // BOX_KB)


def with_engines(config: Config, engines: Mapping[str, EngineSettings]) -> Config:
    """The configuration with other engines."""
    changed: Any = config
    return replace(changed, models=replace(changed.models, **engines))  # type: ignore[no-any-return]
