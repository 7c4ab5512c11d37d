"""Many clients of a server at once, and what became of each: right, refused in the form, or wrong.

Shared by the test of the served verifier and by `benchmarks.serving`.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import aiohttp

FORM = {"error", "reason", "change", "retry"}


@dataclass
class Became:
    """What became of requests."""

    right: int = 0
    refused: Counter[str] = field(default_factory=Counter)
    """`error` of a typed refusal -> how many."""
    wrong: list[str] = field(default_factory=list)
    """Anything else: another score, another form, a broken connection."""
    seconds: list[float] = field(default_factory=list)
    """Of those that were right."""
    tokens: int = 0


async def ask_at_once(
    url: str,
    token: str,
    bodies: Sequence[Mapping[str, Any]],
    expected: Sequence[Sequence[float] | None],
    begun: asyncio.Event | None = None,
) -> Became:
    """Send all bodies at the same time and compare the rewards; None: any are right."""
    became = Became()
    connector = aiohttp.TCPConnector(limit=0)
    headers = {"Authorization": f"Bearer {token}"}
    timeout = aiohttp.ClientTimeout(total=600)

    async def one(session: aiohttp.ClientSession, number: int) -> None:
        began = time.monotonic()
        try:
            async with session.post(f"{url}/v1/score", json=bodies[number]) as answer:
                text = await answer.text()
            found = json.loads(text)
        except (aiohttp.ClientError, ValueError, TimeoutError) as error:
            became.wrong.append(f"{type(error).__name__}: {error}")
            return
        if answer.status != 200:
            if set(found) == FORM:
                became.refused[found["error"]] += 1
            else:
                became.wrong.append(f"{answer.status} {text[:200]}")
            return
        wanted = expected[number]
        if wanted is not None and found["rewards"] != list(wanted):
            became.wrong.append(f"{found['id']}: {found['rewards']} instead of {wanted}")
            return
        became.right += 1
        became.tokens += found["tokens"]
        became.seconds.append(time.monotonic() - began)

    async with aiohttp.ClientSession(
        connector=connector, headers=headers, timeout=timeout
    ) as session:
        asking = [asyncio.create_task(one(session, number)) for number in range(len(bodies))]
        if begun is not None:
            begun.set()
        await asyncio.gather(*asking)
    return became


async def metrics(url: str, token: str) -> dict[str, float]:
    """Name with labels -> value."""
    headers = {"Authorization": f"Bearer {token}"}
    async with aiohttp.ClientSession(headers=headers) as session:
        async with session.get(f"{url}/metrics") as answer:
            lines = (await answer.text()).splitlines()
    pairs = (line.rsplit(" ", 1) for line in lines if not line.startswith("#"))
    return {name: float(value) for name, value in pairs}


async def until(url: str, token: str, name: str, least: float, most: float = 1e18) -> float:
    """Ask for metrics until one lies within bounds; its value."""
    while True:
        value = (await metrics(url, token)).get(name, 0.0)
        if least <= value <= most:
            return value
        await asyncio.sleep(0.05)
