"""Engines and sandboxes that outlive the stages that close them."""

from __future__ import annotations

from typing import Any

from actors.engines.contract import Chat, Reply, Sampling


class Lent:
    """An engine or a sandbox that outlives the stages that close it."""

    def __init__(self, of: Any) -> None:
        self._of = of

    async def generate(self, chat: Chat, sampling: Sampling) -> Reply:
        """As the engine does."""
        reply: Reply = await self._of.generate(chat, sampling)
        return reply

    def __getattr__(self, name: str) -> Any:
        return getattr(self._of, name)

    async def close(self) -> None:
        """Nothing: it is lent."""
