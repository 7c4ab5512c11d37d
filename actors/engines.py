"""Opens the engine that settings ask for.

Invariant: a backend's packages are imported only when that backend is opened, so that a machine
without vLLM can use an endpoint, and tests need neither.
"""

from __future__ import annotations

import importlib
from typing import cast

from actors.engine import Engine, EngineSettings
from actors.scripted_engine import Script, ScriptedEngine
from storage.errors import ConfigurationError

KINDS = ("vllm", "endpoint", "scripted")


async def open_engine(settings: EngineSettings) -> Engine:
    """Open an engine; seconds to minutes for `vllm`.

    `scripted` takes its script from `model`, written as `package.module:function`. Raises
    ConfigurationError, InputError or EngineFailed.
    """
    if settings.kind == "vllm":
        from actors.vllm_engine import VllmEngine

        return await VllmEngine.open(settings)
    if settings.kind == "endpoint":
        from actors.endpoint_engine import EndpointEngine

        return await EndpointEngine.open(settings)
    if settings.kind == "scripted":
        return ScriptedEngine(_script(settings.model), settings)
    raise ConfigurationError(f"engine kind {settings.kind!r}: choose one of {', '.join(KINDS)}")


def _script(name: str) -> Script:
    module, _, function = name.partition(":")
    try:
        script = getattr(importlib.import_module(module), function)
    except (ImportError, AttributeError, ValueError) as error:
        raise ConfigurationError(
            f"a scripted engine's model is written as package.module:function, not {name!r}"
        ) from error
    if not callable(script):
        raise ConfigurationError(f"{name} is no function")
    return cast(Script, script)
