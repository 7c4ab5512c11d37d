"""The last look before an engine is opened, where it is opened.

Invariant: what can't run here is `EngineRefused`, in one line, before a process is started or
memory is taken; memory that somebody is about to give back is waited for.
"""

from __future__ import annotations

import asyncio
import time
from typing import NamedTuple

from actors.engines.contract import EngineSettings
from actors.machines.fitness import Misfit, cache_bytes, misfits, runs_eager
from actors.machines.machine import look
from actors.models.facts import facts_of
from storage.errors import EngineRefused

PATIENCE_S = 60.0
"""For the memory of an engine that is just being closed, or was killed."""
AGAIN_S = 2.0


class Fit(NamedTuple):
    """How a model is run where it was found to fit."""

    eager: bool
    """As it is, without compiling it first."""
    cache_bytes: int | None = None
    """Of its KV cache on a GPU; None: what vLLM finds to be free."""


async def fitting(settings: EngineSettings) -> Fit:
    """Wait until a model fits this machine; returns how it is run there.

    Raises EngineRefused, or InputError where the model's files can't be read.
    """
    facts = await asyncio.to_thread(facts_of, settings)
    given_up = time.monotonic() + PATIENCE_S
    while True:
        machine = await asyncio.to_thread(look)
        found: list[Misfit] = list(misfits(machine, settings, facts))
        if not found:
            eager = runs_eager(machine, settings, facts)
            return Fit(eager, cache_bytes(machine, settings, facts))
        if not all(misfit.passing for misfit in found) or time.monotonic() > given_up:
            raise EngineRefused("; ".join(map(str, found)))
        await asyncio.sleep(AGAIN_S)
