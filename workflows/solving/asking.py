"""Builds the configuration of solving problems, from a call's or command's arguments."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter

from workflows.runs.reading import read, store_url, usual_store, validated
from workflows.scoring.asking import asked_as, mode_in, named_model, set_at
from workflows.solving.settings import SolveConfig

_ADAPTER: TypeAdapter[SolveConfig] = TypeAdapter(SolveConfig)


def config_of(
    policy: str,
    problems: str | Path,
    verifier: str | None = None,
    settings: Path | None = None,
    asked: Mapping[str, Any] | None = None,
) -> SolveConfig:
    """The configuration of solving `problems`; `asked` maps dotted keys to values.

    Values of `asked` win over the file of settings, and that over the defaults. A model is a
    folder, training:NAME or a hub's name; with `models.ROLE.url`, the name that the server knows.
    Raises ConfigurationError.
    """
    raw = read(settings) if settings else {"store": usual_store()}
    chosen = {key: value for key, value in (asked or {}).items() if value is not None}
    for role, model in (("policy", policy), ("verifier", verifier)):
        if model is None:
            continue
        served = f"models.{role}.url" in chosen
        if served:
            chosen.setdefault(f"models.{role}.kind", "endpoint")
        named = {"model": model} if served and not Path(model).is_dir() else named_model(model)
        chosen |= {f"models.{role}.{key}": value for key, value in named.items()}
    chosen["problems"] = str(Path(problems).resolve()) if Path(problems).exists() else str(problems)
    for key, value in chosen.items():
        set_at(raw, key.split("."), value)
    given = "run" in raw
    raw.setdefault("run", "solve")
    config = validated(_ADAPTER, raw, str(settings or "solve"))
    config = replace(config, store=store_url(config.store))
    if config.models.verifier is not None:
        verify = asked_as(config.models.verifier, config.verify, config.store, mode_in(raw))
        config = replace(config, verify=verify)
    return config if given else replace(config, run=_usual_name(config))


def _usual_name(config: SolveConfig) -> str:
    """A run name by policy, file, method and n, so that the same command continues its run."""
    models = [config.models.policy, *([config.models.verifier] if config.models.verifier else [])]
    names = "-".join(Path(model.model).name for model in models)
    solve = config.solve
    name = f"solve-{Path(config.problems).stem[:30]}-{solve.method}-{solve.n}-{names}"
    return re.sub(r"[^A-Za-z0-9._-]+", "-", name)[:100]
