"""What a request is answered does not depend on its company, but for rounding.

vLLM is not batch-invariant: another batch multiplies in another order, and a probability is then
rounded otherwise. With its seed a request draws the same noise in any company, so that another
token is drawn only where two were within that rounding of each other.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import pytest

from actors.engines.contract import EngineSettings, Sampling, TokenLogprob
from actors.engines.vllm import VllmEngine
from tests.support.scripted_world import world_problems, write_problems
from workflows.formats.solving import policy_chat
from workflows.inputs.problems import read_problems
from workflows.settings import SampleSettings

pytestmark = [pytest.mark.slow, pytest.mark.engine, pytest.mark.timeout(900)]

POLICY = Path(__file__).parents[2] / "demo" / "models" / "policy"
TOP = 20
REQUESTS = 48
MOST = 2
"""Answers that may part; with other seeds 41 of these 48 do."""
ROUNDING = 0.3
"""Of the logarithm of two probabilities' ratio, in bfloat16."""


class Parting(NamedTuple):
    """The first token that two answers to a request do not share."""

    token: int
    leaning: float
    """How much more the first answer's model leaned to its own token than the second's did."""


def parting(first: Sequence[TokenLogprob], second: Sequence[TokenLogprob]) -> Parting | None:
    for at, (one, other) in enumerate(zip(first, second, strict=False)):
        if one.token != other.token:
            mine, theirs = dict(one.top), dict(other.top)
            leans = mine[one.token] - mine[other.token] - theirs[one.token] + theirs[other.token]
            return Parting(at, leans)
    return None


async def test_another_token_is_drawn_only_within_rounding(tmp_path: Path) -> None:
    settings = EngineSettings(model=str(POLICY), dtype="bfloat16", max_in_flight=48, eager=True)
    system = SampleSettings().system
    file = write_problems(world_problems(REQUESTS), tmp_path / "world.jsonl")
    chats = [policy_chat(system, problem) for problem in read_problems(file)]
    engine = await VllmEngine.open(settings)

    async def ask(number: int) -> tuple[TokenLogprob, ...]:
        wanted = Sampling(max_tokens=64, temperature=1.0, logprobs=TOP, seed=number)
        return (await engine.generate(chats[number], wanted)).completions[0].logprobs

    try:
        crowd = await asyncio.gather(*map(ask, range(REQUESTS)))
        alone = [await ask(number) for number in range(REQUESTS)]
    finally:
        await engine.close()
    tokens = sum(map(len, alone))
    apart = [found for pair in zip(crowd, alone, strict=True) if (found := parting(*pair))]
    print(f"{len(apart)} of {REQUESTS} answers ({tokens} tokens) part: {apart}")
    assert len(apart) <= MOST
    assert all(0 <= found.leaning < ROUNDING for found in apart)
