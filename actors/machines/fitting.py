"""The last check before an engine is opened, on the machine that opens it.

Invariant: an engine that can't run here is refused in one line, before a process or memory is used.
Memory that another process is about to free is waited for.
"""

from __future__ import annotations

import asyncio
import time
from typing import NamedTuple

from actors.engines.contract import EngineSettings
from actors.machines.filling import cache_bytes
from actors.machines.fitness import Misfit, misfits, runs_eager
from actors.machines.machine import look
from actors.models.facts import facts_of
from storage.errors import EngineRefused

PATIENCE_S = 60.0
"""Seconds to wait for the memory of an engine that is closing or was killed."""
AGAIN_S = 2.0


class Fit(NamedTuple):
    """How vLLM runs one model on this machine, once it fits: see `fitting`."""

    eager: bool
    """True: it is not compiled first."""
    cache_bytes: int | None = None
    """Bytes of its KV cache on a GPU; None: vLLM takes what is free."""


async def fitting(settings: EngineSettings) -> Fit:
    """Wait until a model fits this machine; return how it runs here.

    Raises EngineRefused, or InputError if the model's files can't be read.
    """
    facts = await asyncio.to_thread(facts_of, settings)
    given_up = time.monotonic() + PATIENCE_S
    while True:
        machine = await asyncio.to_thread(look)
        reasons: list[Misfit] = list(misfits(machine, settings, facts))
        if not reasons:
            eager = runs_eager(machine, settings, facts)
            return Fit(eager, cache_bytes(machine, settings, facts))
        if not all(misfit.passing for misfit in reasons) or time.monotonic() > given_up:
            raise EngineRefused("; ".join(map(str, reasons)))
        await asyncio.sleep(AGAIN_S)
