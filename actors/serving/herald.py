"""The herald of a service: an actor that hears what replicas say while they open, and ends what
dead ones have left in the sandbox.

Invariant: a replica that died holds no session of code once the herald has looked.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Sequence
from typing import Any, NamedTuple

from ray.actor import ActorHandle
from ray.exceptions import RayError

from actors.ray_errors import DEATHS
from storage.errors import UserError

ANSWER_S = 10.0
"""Longest wait for a replica that is asked whether it lives; a silent one counts as alive."""


class Heard(NamedTuple):
    """What a herald has to tell."""

    lines: list[str]
    refused: UserError | None
    """Why no replica can be opened, if so."""
    placed: int
    """Replicas that have found their place on a node, and live."""


class Herald:
    """An asynchronous actor."""

    def __init__(self, executors: Sequence[ActorHandle[Any]]) -> None:
        self._executors = executors
        self._lines: list[str] = []
        self._refused: UserError | None = None
        self._replicas: dict[str, ActorHandle[Any]] = {}

    async def say(self, line: str) -> None:
        """Note a line for whoever started the service."""
        self._lines.append(line)

    async def refuse(self, error: UserError) -> None:
        """Note that a replica can't be opened as configured."""
        self._refused = error

    async def heard(self) -> Heard:
        """What came since the last call."""
        lines, self._lines = self._lines, []
        return Heard(lines, self._refused, len(self._replicas))

    async def enter(self, name: str, replica: ActorHandle[Any]) -> None:
        """A replica begins; `name`: what it calls itself before the executors."""
        await self.look()
        self._replicas[name] = replica

    async def look(self) -> None:
        """Find the dead among the replicas, and close their sessions of code."""
        names = list(self._replicas)
        gone = await asyncio.gather(*(_is_dead(self._replicas[name]) for name in names))
        for name in [name for name, dead in zip(names, gone, strict=True) if dead]:
            if self._replicas.pop(name, None) is None:
                continue  # another look was faster
            self._lines.append(f"{name} is gone; Ray Serve opens another one")
            for executor in self._executors:
                with contextlib.suppress(RayError):
                    await executor.forget.remote(name)


async def _is_dead(replica: ActorHandle[Any]) -> bool:
    try:
        await asyncio.wait_for(replica.__ray_ready__.remote(), ANSWER_S)
    except DEATHS:
        return True
    except (RayError, TimeoutError):
        pass
    return False
