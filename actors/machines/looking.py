"""Looks at a machine before anything is opened on it: what it is, and what can't run there.

The driver looks at its own machine, and at one node of each kind of a cluster. On a node, a look
runs in the workers' environment.

Invariant: a look lists every reason why the run's models, or model-written code, can't run on the
machine. It leaves nothing running.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from actors.engines.contract import Chat, EngineSettings
from actors.engines.rendering import ChatRenderer
from actors.engines.served.capabilities import Capabilities, Need, lacking
from actors.machines.fitness import Misfit, misfits
from actors.machines.machine import Machine, look
from actors.models.facts import ModelFacts, facts_of
from actors.models.folder import check_model
from actors.sandbox.contract import Request, SandboxSettings
from actors.sandbox.opening import open_sandbox
from storage.errors import (
    ConfigurationError,
    EngineFailed,
    InputError,
    SandboxUnavailable,
    StepmillError,
)

HERE = "this machine"
SOON_S = 60.0
"""Longest wait for a server's answer."""
LISTED_S = 10.0
"""Longest wait for the list of a server's models, which no model has to work for."""
SERVER_REMEDY = "start that server, or correct `url`"
SANDBOX_REMEDY = "install docker.io or bubblewrap and run `stepmill sandbox`"


@dataclass(frozen=True, slots=True)
class Wanted:
    """What is to run on a machine."""

    engines: Mapping[str, EngineSettings] = field(default_factory=dict)
    """Role -> engine."""
    chats: Mapping[str, Chat] = field(default_factory=dict)
    """Role -> an example of the chats that its engine will get."""
    needs: Mapping[str, Mapping[str, Sequence[Need]]] = field(default_factory=dict)
    """Role -> stage -> what the stage needs a model to do."""
    sandbox: SandboxSettings | None = None
    """The sandbox for model-written code; None: no code runs there."""


@dataclass(frozen=True, slots=True)
class Look:
    """The result of looking at a machine."""

    where: str
    """The machine, in words."""
    machine: Machine
    facts: Mapping[str, ModelFacts]
    """Role -> facts of its model, if they could be read."""
    misfits: Mapping[str, tuple[Misfit, ...]]
    """Role, or `sandbox` -> the reasons why it can't run there."""
    notes: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """Role -> what its server can do, a line each."""


def look_at(parts: Wanted, where: str = HERE, whole: bool = False) -> Look:
    """Look at this process's machine. `whole`: at all GPUs, also those hidden. Takes seconds."""
    machine = look(whole)
    facts: dict[str, ModelFacts] = {}
    reasons: dict[str, tuple[Misfit, ...]] = {}
    notes: dict[str, tuple[str, ...]] = {}
    servers: dict[str, Capabilities | StepmillError | None] = {}
    for role, engine in parts.engines.items():
        try:
            if engine.kind == "vllm":
                check_model(engine)
                try:
                    facts[role] = facts_of(engine)
                except InputError:
                    # A reason that holds for any model goes before the hub's error.
                    reasons[role] = tuple(misfits(machine, engine, ModelFacts()))
                    if not reasons[role]:
                        raise
                else:
                    reasons[role] = tuple(misfits(machine, engine, facts[role]))
            elif engine.served and engine.batch_invariant:
                raise ConfigurationError(
                    "`batch_invariant` is for engines of our own: start the server with "
                    "VLLM_BATCH_INVARIANT=1 instead"
                )
            elif engine.served and (can := _asked_once(engine, servers)):
                notes[role] = tuple(can.lines())
                missing = lacking(can, parts.needs.get(role, {}), engine.url or "")
                reasons[role] = tuple(Misfit(line, "") for line in missing)
            if engine.kind in ("vllm", "endpoint") and not reasons.get(role):
                unfit = _template(engine, parts.chats.get(role))
                reasons[role] = (unfit,) if unfit else ()
        except StepmillError as error:
            away = engine.served and isinstance(error, EngineFailed)
            reasons[role] = (Misfit(str(error), SERVER_REMEDY if away else ""),)
    if parts.sandbox is not None:
        try:
            asyncio.run(sandbox_answers(parts.sandbox))
        except StepmillError as error:
            reasons["sandbox"] = (Misfit(str(error), SANDBOX_REMEDY),)
    return Look(where, machine, facts, reasons, notes)


def _asked_once(
    engine: EngineSettings, servers: dict[str, Capabilities | StepmillError | None]
) -> Capabilities | None:
    """What `capabilities` says of a server, or raises; roles that share a server ask it once."""
    names = (engine.kind, engine.url, engine.model, engine.continues, engine.options)
    server = str((*names, engine.api_key_env))
    if server not in servers:
        try:
            servers[server] = asyncio.run(capabilities(engine))
        except StepmillError as error:
            servers[server] = error
    can = servers[server]
    if isinstance(can, StepmillError):
        raise can
    return can


async def capabilities(engine: EngineSettings) -> Capabilities | None:
    """What a chat server can do; None for another server, after a check that it has the model.

    Raises StepmillError.
    """
    from actors.engines.served.chat import ChatEngine
    from actors.engines.served.server import Server

    soon = replace(engine, retries=min(engine.retries, 1), timeout_s=min(engine.timeout_s, SOON_S))
    if engine.kind == "endpoint":
        server = Server(replace(soon, timeout_s=min(soon.timeout_s, LISTED_S)))
        try:
            await server.listed()
        finally:
            await server.close()
        return None
    chat = await ChatEngine.open(soon)
    await chat.close()
    return chat.found


def _template(engine: EngineSettings, chat: Chat | None) -> Misfit | None:
    if chat is None:
        return None
    renderer = ChatRenderer.load(engine)
    try:
        return renderer.misfit(chat)
    finally:
        renderer.close()


async def sandbox_answers(settings: SandboxSettings) -> str:
    """Run 1 + 1 in the sandbox; return the backend's name. Raises SandboxUnavailable."""
    sandbox = open_sandbox(replace(settings, slots=1))
    try:
        execution = await sandbox.run(Request("print(1 + 1)"))
    finally:
        await sandbox.close()
    if execution.stdout != "2\n":
        raise SandboxUnavailable(f"1 + 1 gave {execution.stdout!r} ({execution.verdict})")
    return execution.backend or sandbox.source.name
