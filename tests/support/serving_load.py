"""Many clients of a server at once, and what became of each: answered, typed refusal, or wrong.

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

    answers: dict[int, list[float]] = field(default_factory=dict)
    """Number of a request -> its rewards."""
    histories: dict[int, list[dict[str, Any]]] = field(default_factory=dict)
    """Number of a request -> what was written, where details were asked for."""
    refused: Counter[str] = field(default_factory=Counter)
    """`error` of a typed refusal -> how many."""
    wrong: list[str] = field(default_factory=list)
    """Anything else: another form, a broken connection."""
    seconds: list[float] = field(default_factory=list)
    """From the sending of all to each answer."""
    tokens: int = 0

    def other_than(
        self, expected: Mapping[int, Sequence[float]], tolerance: float = 0.0
    ) -> dict[int, str]:
        """The answers whose rewards are not those expected."""
        return {
            number: f"{number}: {rewards} instead of {list(expected[number])}"
            for number, rewards in self.answers.items()
            if len(rewards) != len(expected[number])
            or any(abs(a - b) > tolerance for a, b in zip(rewards, expected[number], strict=True))
        }


async def ask_at_once(
    url: str, token: str, bodies: Sequence[Mapping[str, Any]], leave: frozenset[int] = frozenset()
) -> Became:
    """Send all bodies at the same time; those numbered in `leave` go away once all are in."""
    became, began = Became(), time.monotonic()

    async def one(session: aiohttp.ClientSession, number: int) -> None:
        try:
            async with session.post(f"{url}/v1/score", json=bodies[number]) as answer:
                text = await answer.text()
        except (aiohttp.ClientError, TimeoutError) as error:
            became.wrong.append(f"{type(error).__name__}: {error}")
            return
        try:
            found = json.loads(text)
        except ValueError:
            found = {}
        if answer.status == 200:
            became.answers[number] = found["rewards"]
            became.histories[number] = found.get("histories", [])
            became.tokens += found["tokens"]
            became.seconds.append(time.monotonic() - began)
        elif set(found) == FORM:
            became.refused[found["error"]] += 1
        else:
            became.wrong.append(f"{answer.status} {text[:200]}")

    headers = {"Authorization": f"Bearer {token}"}
    timeout = aiohttp.ClientTimeout(total=1800)
    async with aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(limit=0), headers=headers, timeout=timeout
    ) as session:
        asking = [asyncio.create_task(one(session, number)) for number in range(len(bodies))]
        if leave:
            await until(url, token, INSIDE, len(bodies) / 2)
            for number in leave:
                asking[number].cancel()
        await asyncio.gather(*asking, return_exceptions=True)
    return became


INSIDE, GONE = "stepmill_serve_solutions", "stepmill_serve_gone_total"


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


async def asked_while(
    url: str, token: str, bodies: Sequence[Mapping[str, Any]], act: Any, inside: float = 1
) -> Became:
    """Ask all at once, and call `act` in a thread once `inside` solutions are in."""
    asking = asyncio.create_task(ask_at_once(url, token, bodies))
    await until(url, token, INSIDE, inside)
    await asyncio.to_thread(act)
    return await asking
