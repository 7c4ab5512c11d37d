"""The last look before an engine is opened, where it is opened.

Invariant: what can't run here is `EngineRefused`, in one line, before a process is started or
memory is taken; memory that somebody is about to give back is waited for.
"""

from __future__ import annotations

import asyncio
import time

from actors.engine import EngineSettings
from actors.fitness import Misfit, misfits, runs_eager
from actors.machine import look
from actors.model_facts import facts_of
from storage.errors import EngineRefused

PATIENCE_S = 60.0
"""For the memory of an engine that is just being closed, or was killed."""
AGAIN_S = 2.0


async def fitting(settings: EngineSettings) -> bool:
    """Wait until a model fits this machine; returns whether to run it eagerly.

    Raises EngineRefused, or InputError where the model's files can't be read.
    """
    facts = await asyncio.to_thread(facts_of, settings)
    given_up = time.monotonic() + PATIENCE_S
    while True:
        machine = await asyncio.to_thread(look)
        found: list[Misfit] = list(misfits(machine, settings, facts))
        if not found:
            return runs_eager(machine, settings, facts)
        if not all(misfit.passing for misfit in found) or time.monotonic() > given_up:
            raise EngineRefused("; ".join(map(str, found)))
        await asyncio.sleep(AGAIN_S)
