"""Opens the engine that settings ask for.

Invariant: a backend's packages are imported only when that backend is opened, so that a machine
without vLLM can use an endpoint, and tests need neither.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType

from actors.engines.contract import Engine, EngineSettings
from actors.engines.healing import Healed, uncut_by
from actors.engines.reading import Reader, ScriptedReader
from actors.engines.scripted import ScriptedEngine
from actors.engines.served.capabilities import Need, lacking
from storage.errors import ConfigurationError
from storage.imported import imported

NOTHING: Mapping[str, Sequence[Need]] = MappingProxyType({})
MODEL = "a scripted engine's model"
KINDS = ("vllm", "endpoint", "chat", "scripted")


async def open_engine(
    settings: EngineSettings, heal: bool = False, needs: Mapping[str, Sequence[Need]] = NOTHING
) -> Engine:
    """Open an engine; seconds to minutes for `vllm`.

    `needs`: what stages can't do without, by stage; only a chat server may lack it.

    `scripted` takes its script from `model`, written as `package.module:function`. `heal`: leave
    the end of forced beginnings to the model (`actors.engines.healing`); a scripted one has no
    tokens. Raises ConfigurationError, InputError or EngineFailed.
    """
    if settings.kind == "vllm":
        from actors.engines.vllm import VllmEngine

        vllm = await VllmEngine.open(settings)
        return Healed(vllm, uncut_by(vllm.spell)) if heal else vllm
    if settings.kind == "endpoint":
        from actors.engines.served.endpoint import EndpointEngine

        server = await EndpointEngine.open(settings)
        return Healed(server, uncut_by(server.spell)) if heal else server
    if settings.kind == "chat":
        from actors.engines.served.chat import ChatEngine

        chat = await ChatEngine.open(settings)
        if said := "; ".join(lacking(chat.found, needs, settings.url or "")):
            await chat.close()
            raise ConfigurationError(said)
        return Healed(chat, chat.uncut) if heal else chat
    if settings.kind == "scripted":
        return ScriptedEngine(imported(settings.model, MODEL), settings)
    raise ConfigurationError(f"engine kind {settings.kind!r}: choose one of {', '.join(KINDS)}")


async def open_reader(settings: EngineSettings, reference: EngineSettings | None = None) -> Reader:
    """Open a model that reads; `reference`: in the place of the one that its folder names.

    `scripted` takes its script as `open_engine` does. Raises ConfigurationError for a model that
    can't be read, InputError and EngineFailed.
    """
    if settings.kind == "vllm":
        from actors.engines.vllm_reader import open_vllm_reader

        return await open_vllm_reader(settings, reference)
    if settings.kind == "scripted":
        return ScriptedReader(imported(settings.model, MODEL))
    raise ConfigurationError(
        f"a model that reads can't be asked as `kind: {settings.kind}`: take `kind: vllm`"
    )
