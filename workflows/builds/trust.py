"""What continues a run: its spec and commits from the store, the rest from whoever continues it.

Whoever may write to a store may write a run's `launch.json`. So of this file a command takes what
the spec binds, field by field, and how work is cut and paced. What can run code, and where texts,
keys or work are sent, is the caller's to say (`OF_THE_CALLER`): the store's values are followed
only as far as they are harmless.

Invariant: no setting of a store makes a command import code that it names, send anything to a place
that it names, or read an environment variable that it names.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

from actors.engines.contract import EngineSettings
from actors.models.identity import ONLY_SPEED, bound, model_identity
from actors.models.source import ModelSource
from actors.sandbox.contract import Backend, SandboxSettings
from storage.errors import ConfigurationError
from storage.runs.run import Run
from storage.runs.specs import ENGINES, check_same
from workflows.runs.configuration import RunConfig
from workflows.runs.reading import local_model, read
from workflows.runs.settling import with_engines
from workflows.runs.starting import differing

Config = TypeVar("Config", bound=RunConfig)

OF_THE_CALLER = ("models", "sandbox", "cluster", "report_to")
"""Parts of a configuration that are the caller's, where the caller gives a file."""
_PLACES = ("docker_host", "state_dir", "fallback", "runtime")
"""Settings of the sandbox that name a place, or weaken it."""
_IN_A_FOLDER = re.compile(r"(?P<name>[^/@]+)@(?P<digest>[0-9a-f]{16})")
"""Identity of a model in a folder."""
MOST_FOLDERS = 1000
"""Most folders of `--models` that are looked at."""


def own_settings(file: Path) -> dict[str, Any]:
    """The caller's parts of a configuration file; a model's path is relative to the file.

    Raises ConfigurationError.
    """
    raw = read(file)
    own = {part: raw[part] for part in OF_THE_CALLER if part in raw}
    if isinstance(own.get("models"), dict):
        folder = file.resolve().parent
        own["models"] = {role: _absolute(folder, each) for role, each in own["models"].items()}
    return own


def _absolute(folder: Path, engine: Any) -> Any:
    if not isinstance(engine, dict) or engine.get("kind", "vllm") != "vllm":
        return engine
    named = engine.get("model")
    return engine | {"model": local_model(folder, named)} if isinstance(named, str) else engine


def with_own(
    stored: Mapping[str, Any], own: Mapping[str, Any] | None, spec: Mapping[str, Any]
) -> dict[str, Any]:
    """A stored configuration with the caller's parts in the place of its own, unvalidated.

    `spec`: the configuration that the spec binds; the limits of code stay those of it.
    """
    if own is None:
        return dict(stored)
    raw = {name: stored[name] for name in stored.keys() - set(OF_THE_CALLER)} | dict(own)
    if "sandbox_limits" in spec and isinstance(raw.setdefault("sandbox", {}), dict):
        raw["sandbox"] = raw["sandbox"] | {"limits": spec["sandbox_limits"]}
    return raw


def harmless(config: Config, address: str | None) -> Config:
    """A stored configuration without what the caller did not say; `address`: what the caller says.

    Trackers are left out. Raises ConfigurationError, in one line, for what can't be left out.
    """
    asked = list(_of_the_site(config, address))
    if asked:
        raise ConfigurationError(_refusal(config, asked))
    return replace(config, report_to=())


def check_engines(config: RunConfig, store: str, roles: Collection[str]) -> None:
    """Refuse engines of a stored configuration that could run code, or send what is ours.

    `roles`: the ones that are needed. Raises ConfigurationError that names each setting, and no
    value.
    """
    asked = [
        f"models.{role} {said}"
        for role, engine in config.engines.items()
        if role in roles
        for said in _risks(engine, store)
    ]
    if asked:
        raise ConfigurationError(_refusal(config, asked))


def _refusal(config: RunConfig, asked: Sequence[str]) -> str:
    return (
        f"run {config.run!r} can't be continued from its store alone, where others may write: "
        f"{', '.join(asked)}; give `--config FILE`, a file with `models` as the run was started"
    )


def _of_the_site(config: RunConfig, address: str | None) -> Iterator[str]:
    if config.cluster.ray_address is not None and address is None:
        yield "cluster.ray_address names a cluster (or give `--address`)"
    usual = SandboxSettings()
    for name in _PLACES:
        if getattr(config.sandbox, name) != getattr(usual, name):
            yield f"sandbox.{name} is set"
    if config.sandbox.backend is Backend.BUBBLEWRAP:
        yield "sandbox.backend is the weaker one"


def _risks(engine: EngineSettings, store: str) -> Iterator[str]:
    if engine.kind == "scripted":
        yield "runs code (`kind: scripted`)"
    if engine.served:
        yield "asks a server (`url`" + (", `api_key_env`)" if engine.api_key_env else ")")
    bold = [name for name, value in engine.options.items() if not _is_pace(name, value)]
    if bold and not engine.served:
        yield f"has `options` ({', '.join(map(_word, sorted(bold)))})"
    for source in (ModelSource(engine.model), ModelSource(engine.tokenizer or "")):
        if source.stored and source.stored[0] != store:
            yield "is a training of another store"


def _is_pace(name: str, value: object) -> bool:
    """Whether an option is a number, or a truth, that only speed depends on."""
    return name in ONLY_SPEED and not isinstance(value, str)


def _word(name: str) -> str:
    """An option's name, where it is one: it is shown to people."""
    return name if re.fullmatch(r"[\w.-]{1,60}", name) else "?"


def located(config: Config, run: Run, roles: Collection[str], folder: Path | None) -> Config:
    """The configuration with each model in a folder where it lies here, found by its identity.

    `folder`: holds such folders, or is one; it is looked into before the stored path. Raises
    ConfigurationError, in one line, where a needed model is not found.
    """
    candidates = list(_folders(folder)) if folder is not None else []
    engines = {}
    for role, engine in config.engines.items():
        if role in roles and engine.kind == "vllm":
            engine = _located(engine, run, role, candidates, folder)
        engines[role] = engine
    return with_engines(config, engines)


def _folders(folder: Path) -> Iterator[Path]:
    if not folder.is_dir():
        raise ConfigurationError(f"--models {folder}: there is no such folder")
    yield folder.resolve()
    for number, path in enumerate(sorted(folder.iterdir())):
        if number == MOST_FOLDERS:
            raise ConfigurationError(
                f"--models {folder}: it holds more than {MOST_FOLDERS} folders"
            )
        if path.is_dir():
            yield path.resolve()


def _located(
    engine: EngineSettings,
    run: Run,
    role: str,
    candidates: Sequence[Path],
    folder: Path | None,
) -> EngineSettings:
    identity = run.spec.models[role]
    match = _IN_A_FOLDER.fullmatch(identity)
    if match and not ModelSource(engine.model).stored:
        here = ModelSource(engine.model).folder
        ordered = sorted(candidates, key=lambda path: path.name != match["name"])
        found = next((path for path in ordered if _digest(engine, path) == match["digest"]), here)
        if found is None:
            where = f"not in {folder}" if folder else "no folder of this machine"
            raise ConfigurationError(
                f"models.{role} is {identity}, {where}: give `--models FOLDER`, which holds it"
            )
        engine = replace(engine, model=str(found.resolve()))
    if engine.tokenizer and ModelSource(engine.tokenizer).folder is None:
        recorded = run.spec.section(ENGINES).get(role, {}).get("tokenizer")
        for path in candidates:
            moved = replace(engine, tokenizer=str(path))
            if bound(moved)["tokenizer"] == recorded:
                return moved
    return engine


def _digest(engine: EngineSettings, folder: Path) -> str:
    return model_identity(replace(engine, model=str(folder))).rpartition("@")[2]


def check_stored(run: Run, config: RunConfig, roles: Collection[str]) -> None:
    """Refuse a configuration that is not the one of the run's spec, field by field.

    `roles`: the models that are needed; of others nothing is looked at. A folder may have another
    name. Raises SpecMismatch with the fields that differ.
    """
    recorded = run.spec.section(ENGINES)
    binding = config.binding
    binding[ENGINES] = {
        role: engine if role in roles else recorded.get(role, engine)
        for role, engine in binding.get(ENGINES, {}).items()
    }
    models = dict(run.spec.models)
    for role in roles:
        asked, stored = model_identity(config.engines[role]), models.get(role, "")
        if asked.rpartition("@")[2] != stored.rpartition("@")[2] or "/" in stored:
            models[role] = asked
    stages = (config.takes.stage, *(stage.name for stage in config.road))
    check_same(
        run.name,
        run.spec,
        replace(run.spec, configuration=binding, models=models, stages=stages),
        differing,
    )
