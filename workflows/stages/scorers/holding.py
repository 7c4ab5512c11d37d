"""Waiting for other histories without keeping a code session from them.

Sessions are few. A history that waited for another with a session open, while the other waits for a
session, would wait for ever.

Invariant: whoever waits for longer than `HOLD_S` holds no session.
"""

from __future__ import annotations

import asyncio
from typing import TypeVar

from workflows.stages.scorers.contract import Judging

HOLD_S = 2.0
"""A new interpreter takes about a second of a processor, and runs the history's code again."""

Told = TypeVar("Told")


async def told(future: asyncio.Future[Told], judging: Judging) -> tuple[Told, Judging]:
    """(What `future` says, the history to go on with): its fork, where it had to let go."""
    if not future.done():
        await asyncio.wait({future}, timeout=HOLD_S)
    if not future.done():
        held, judging = judging, judging.fork()
        await held.close()
    return await asyncio.shield(future), judging
