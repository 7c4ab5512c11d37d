"""Readers in vLLM: a head in its pooling runner, and a pair of models by their log-probabilities.

Invariant: what is read is what was trained on (`actors.engines.passages`), token by token.
"""

from __future__ import annotations

import asyncio
import math
from contextlib import AsyncExitStack
from dataclasses import replace
from typing import Any

from actors.engines.contract import EngineSettings
from actors.engines.passages import Passage, spelt
from actors.engines.reading import Reader, Reading
from actors.engines.vllm import VllmEngine
from actors.models.fetching import at_hand
from actors.models.rewards import HEADED, RewardModel, reference_of, reward_model_of
from actors.models.source import ModelSource
from storage.errors import ConfigurationError, EngineFailed


class HeadReader:
    """A model with a head of two logits, wrong and right, in vLLM's pooling runner."""

    def __init__(self, vllm: VllmEngine, model: RewardModel) -> None:
        self._vllm = vllm
        self._model = model

    async def read(self, passage: Passage) -> Reading:
        """See `Reader.read`."""
        from vllm import PoolingParams

        text = spelt(self._vllm.renderer, passage.problem, passage.steps, self._model.separator)
        asked = PoolingParams(task="token_classify", use_activation=False)
        output = await self._vllm.ask(text.ids, asked, pooled=True)
        logits = output.outputs.data
        if len(logits) != len(text.ids) or logits.shape[1] != 2:
            raise EngineFailed(
                f"vLLM sent logits of shape {tuple(logits.shape)} for {len(text.ids)} tokens"
            )
        at_ends = logits[text.ends].double()
        return Reading((at_ends[:, 1] - at_ends[:, 0]).tolist(), len(text.ids))

    async def close(self) -> None:
        """See `Reader.close`."""
        await self._vllm.close()


class RatioReader:
    """A language model and its reference: beta times the log-ratio of each step's tokens."""

    def __init__(self, policy: VllmEngine, reference: VllmEngine, model: RewardModel) -> None:
        self._engines = (policy, reference)
        self._model = model

    async def read(self, passage: Passage) -> Reading:
        """See `Reader.read`."""
        policy = self._engines[0]
        text = spelt(policy.renderer, passage.problem, passage.steps, self._model.separator)
        ours, theirs = await asyncio.gather(
            *(_log_probabilities(engine, text.ids) for engine in self._engines)
        )
        odds, start = [], text.begins
        for end in text.ends:
            span = range(start, end + 1)
            odds.append(self._model.beta * math.fsum(ours[at] - theirs[at] for at in span))
            start = end + 1
        return Reading(odds, 2 * len(text.ids))

    async def close(self) -> None:
        """See `Reader.close`."""
        async with AsyncExitStack() as last_first:
            for engine in self._engines:
                last_first.push_async_callback(engine.close)


async def open_vllm_reader(settings: EngineSettings, reference: EngineSettings | None) -> Reader:
    """Open a model that reads; `reference`: in the place of the one that its folder names.

    Raises ConfigurationError for a model that does not read, InputError and EngineFailed.
    """
    asked = ModelSource(settings.model)
    settings = await asyncio.to_thread(at_hand, settings)
    model = reward_model_of(settings)
    if model.kind in HEADED:
        return HeadReader(await VllmEngine.open(settings), model)
    if model.kind != "implicit":
        raise ConfigurationError(f"{settings.model} is a generative verifier: it can't be read")
    reference = reference or reference_of(model, asked)
    settings = replace(settings, gpu_memory=settings.gpu_memory / 2)  # both stand on the same GPUs
    beside = replace(settings, model=reference.model, revision=reference.revision)
    async with AsyncExitStack() as opened:
        policy = await VllmEngine.open(settings)
        opened.push_async_callback(policy.close)
        made = RatioReader(policy, await VllmEngine.open(beside), model)
        opened.pop_all()
    return made


async def _log_probabilities(engine: VllmEngine, ids: list[int]) -> list[float]:
    """The log-probability of each token given those before it; 0 for the first."""
    from vllm import SamplingParams
    from vllm.sampling_params import RequestOutputKind

    asked = SamplingParams(
        max_tokens=1, temperature=0.0, prompt_logprobs=0, output_kind=RequestOutputKind.FINAL_ONLY
    )
    output = await engine.ask(ids, asked, pooled=False)
    said: Any = output.prompt_logprobs
    if said is None or len(said) != len(ids):
        raise EngineFailed("vLLM sent no log-probabilities of the prompt")
    pairs = zip(said, ids, strict=True)
    return [0.0 if choices is None else float(choices[token].logprob) for choices, token in pairs]
