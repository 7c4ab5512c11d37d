"""Builds the configuration of scoring a file with a model, from a call's or command's arguments."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import TypeAdapter

from actors.engines.contract import EngineSettings
from actors.models.rewards import reward_model_of
from actors.models.source import ModelSource
from storage.errors import ConfigurationError, InputError, NothingFound
from workflows.formats.verification import READ, Mode, VerifySettings
from workflows.runs.reading import read, store_url, usual_store, validated
from workflows.scoring.settings import ScoreConfig

MODES: dict[str, Mode] = {"genprm": "full", "cot": "cot", "code": "code", "direct": "direct"}
"""View that a generative verifier was trained on -> mode in which it is asked."""
_ADAPTER: TypeAdapter[ScoreConfig] = TypeAdapter(ScoreConfig)
Config = TypeVar("Config", bound=ScoreConfig)


def config_of(
    model: str, file: Path, settings: Path | None = None, asked: dict[str, Any] | None = None
) -> ScoreConfig:
    """The configuration of scoring `file` with `model`; `asked` maps dotted keys to values.

    Values of `asked` win over the file of settings, and that over the defaults. vLLM runs a model
    in a folder; with `models.verifier.url`, `model` is the name that the server knows. Raises
    ConfigurationError.
    """
    config, given = read_config(
        _ADAPTER, model, settings, {**(asked or {}), "responses": str(file.resolve())}, "score"
    )
    return config if given else replace(config, run=_usual_name(config))


def read_config(
    adapter: TypeAdapter[Config],
    model: str,
    settings: Path | None,
    asked: dict[str, Any],
    run: str,
) -> tuple[Config, bool]:
    """The configuration that asks `model`, and whether it was given a name; else it is `run`.

    Raises ConfigurationError.
    """
    raw = read_raw({"verifier": model}, settings, asked)
    given = "run" in raw
    raw.setdefault("run", run)
    config = validated(adapter, raw, str(settings or run))
    store = store_url(config.store)
    verify = asked_as(config.models.verifier, config.verify, store, mode_in(raw))
    return replace(config, store=store, verify=verify), given


def read_raw(
    models: Mapping[str, str], settings: Path | None, asked: Mapping[str, Any]
) -> dict[str, Any]:
    """The settings, not validated, that ask `models`, by role: a folder, training:NAME or a hub's
    name; with `models.ROLE.url`, the name that the server knows.

    Values of `asked` (None: not asked) win over the file of settings. Raises ConfigurationError.
    """
    raw = read(settings) if settings else {"store": usual_store()}
    chosen = {key: value for key, value in asked.items() if value is not None}
    for role, model in models.items():
        served = f"models.{role}.url" in chosen
        if served:
            chosen.setdefault(f"models.{role}.kind", "endpoint")
        known_there = served and not Path(model).is_dir()
        named = {"model": model} if known_there else named_model(model)
        chosen |= {f"models.{role}.{key}": value for key, value in named.items()}
    for key, value in chosen.items():
        _set_at(raw, key.split("."), value)
    return raw


def mode_in(raw: Mapping[str, Any]) -> str | None:
    """The mode that unvalidated settings name."""
    verify = raw.get("verify")
    return verify.get("mode") if isinstance(verify, dict) else None


def asked_as(
    verifier: EngineSettings, verify: VerifySettings, store: str, mode: str | None
) -> VerifySettings:
    """The settings with the mode, of `mode` if one was given, that the verifier's folder says.

    A model that reads is asked once: its histories would be equal. Raises ConfigurationError for
    mode `read` with a model that writes.
    """
    try:
        source = ModelSource(verifier.model, verifier.revision).within(store)
        model = reward_model_of(replace(verifier, model=source.name))
    except (InputError, NothingFound):
        return verify  # the checks before any work say what is wrong
    if model.reads:
        return replace(verify, mode=READ, histories=1)
    if mode is None:
        return replace(verify, mode=MODES.get(model.view or "", verify.mode))
    if verify.mode == READ and verifier.kind != "scripted":
        raise ConfigurationError(
            f"{verifier.model} writes its verdicts: mode {READ} is for models with a head"
        )
    return verify


def settings_of(texts: Iterable[str]) -> dict[str, Any]:
    """Dotted keys and values of `KEY=VALUE` texts, values as YAML reads them.

    Raises ConfigurationError for a text of another form.
    """
    settings: dict[str, Any] = {}
    for text in texts:
        key, sign, value = text.partition("=")
        if not key or not sign:
            raise ConfigurationError(f"--set {text!r}: write KEY=VALUE, e.g. verify.rounds=2")
        try:
            settings[key] = yaml.safe_load(value)
        except yaml.YAMLError:
            raise ConfigurationError(f"--set {text!r}: the value is not valid YAML") from None
    return settings


def named_model(text: str) -> dict[str, str]:
    """The settings `model` and, if named, `revision`, from FOLDER, ORG/NAME[@REVISION],
    training:NAME or the URL of a stored training.
    """
    if Path(text).is_dir():
        return {"model": str(Path(text).resolve())}
    if text.startswith("file:"):
        return {"model": store_url(text)}
    name, _, revision = text.partition("@")
    if revision and ModelSource(name).on_hub:
        return {"model": name, "revision": revision}
    return {"model": text}


def _usual_name(config: ScoreConfig) -> str:
    """A run name by model, file, mode and N, so that the same command continues its run."""
    model, file = Path(config.models.verifier.model).name, Path(config.responses).stem
    return as_run_name(f"score-{model}-{file}-{config.verify.mode}-{config.verify.histories}")


def as_run_name(text: str) -> str:
    """The text without what a run's name can't have."""
    return re.sub(r"[^A-Za-z0-9._-]+", "-", text)[:100]


def _set_at(raw: dict[str, Any], path: list[str], value: Any) -> None:
    """Set a value of nested mappings, which are made where they are missing."""
    for part in path[:-1]:
        inner = raw.get(part)
        raw[part] = inner if isinstance(inner, dict) else {}
        raw = raw[part]
    raw[path[-1]] = value
