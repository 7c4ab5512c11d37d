"""Builds the configuration of solving problems, from a call's or command's arguments."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter

from workflows.runs.reading import store_url, validated
from workflows.scoring.asking import as_run_name, asked_as, mode_in, read_raw
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
    models = {"policy": policy} if verifier is None else {"policy": policy, "verifier": verifier}
    file = str(Path(problems).resolve()) if Path(problems).exists() else str(problems)
    raw = read_raw(models, settings, {**(asked or {}), "problems": file})
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
    file = Path(config.problems).stem[:30]
    return as_run_name(f"solve-{file}-{solve.method}-{solve.n}-{names}")
