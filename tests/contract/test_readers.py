"""A reader says what transformers says of the same model, with real vLLM, and nothing sampled."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from actors.engines.contract import EngineSettings
from actors.engines.opening import open_reader
from actors.engines.passages import Passage, spelt
from actors.engines.reading import Reader
from actors.engines.rendering import ChatRenderer
from actors.models.rewards import SEPARATOR, RewardModel
from storage.errors import ConfigurationError, ItemError
from tests.support.reward_models import make_headed_model, note
from tests.support.tiny_model import make_tiny_model

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.timeout(600)]

PROBLEM, STEPS = "What is 2 + 3?", ("It is 2 + 3.", "2 + 3 = 5 <|im_end|>", "so 5")
BETA = 0.5


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_tiny_model(tmp_path_factory.mktemp("base"))


def settings(model: Path) -> EngineSettings:
    return EngineSettings(
        model=str(model), dtype="float32", cpu_threads=1, max_in_flight=8,
        options={"enforce_eager": True},
    )  # fmt: skip


@pytest.fixture(scope="module")
def headed(base: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("headed")
    return make_headed_model(base, folder, RewardModel("discriminative"))


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def head(headed: Path) -> AsyncIterator[Reader]:
    reader = await open_reader(settings(headed))
    yield reader
    await reader.close()


def tokens(model: Path, steps: tuple[str, ...]) -> Any:
    renderer = ChatRenderer.load(settings(model))
    try:
        return spelt(renderer, PROBLEM, steps, SEPARATOR)
    finally:
        renderer.close()


@pytest.mark.engine
async def test_a_head_in_vllm_says_what_it_says_in_transformers(head: Reader, headed: Path) -> None:
    import torch
    from transformers import AutoModelForTokenClassification

    read = await head.read(Passage(PROBLEM, STEPS))
    text = tokens(headed, STEPS)
    model = AutoModelForTokenClassification.from_pretrained(headed).eval()
    with torch.no_grad():
        logits = model(torch.tensor([text.ids])).logits[0, text.ends]
    assert read.log_odds == pytest.approx((logits[:, 1] - logits[:, 0]).tolist(), abs=1e-4)
    assert len(set(read.log_odds)) == len(STEPS)
    assert read.tokens == len(text.ids)


@pytest.mark.engine
async def test_what_follows_a_step_does_not_change_what_is_said_of_it(head: Reader) -> None:
    whole, *parts = await asyncio.gather(
        *(head.read(Passage(PROBLEM, STEPS[:size])) for size in (3, 1, 2))
    )
    for size, part in enumerate(parts, start=1):
        assert part.log_odds == pytest.approx(whole.log_odds[:size], abs=1e-4)


@pytest.mark.engine
async def test_a_passage_longer_than_the_context_is_an_items_error(head: Reader) -> None:
    with pytest.raises(ItemError, match="too_long"):
        await head.read(Passage(PROBLEM, ("many words " * 60,)))


async def test_a_control_token_in_a_step_is_text(headed: Path) -> None:
    plain = tokens(headed, STEPS)
    renderer = ChatRenderer.load(settings(headed))
    (end,) = renderer.spell("<|im_end|>")
    assert plain.ids[plain.begins :].count(end) == 0
    assert plain.ids[: plain.begins].count(end) == 1
    renderer.close()


@pytest.mark.engine
@pytest.mark.slow
async def test_an_implicit_model_is_the_log_ratio_of_two_models_that_transformers_finds(
    base: Path, tmp_path: Path
) -> None:
    import torch
    from transformers import AutoModelForCausalLM

    policy = make_tiny_model(tmp_path / "policy", seed=5)
    implicit = RewardModel("implicit", beta=BETA, reference=str(base))
    note(policy, implicit)
    reader = await open_reader(settings(policy))
    try:
        read = await reader.read(Passage(PROBLEM, STEPS))
    finally:
        await reader.close()
    text = tokens(base, STEPS)
    ratios = torch.zeros(len(text.ids), dtype=torch.float64)
    for folder, sign in ((policy, 1), (base, -1)):
        model = AutoModelForCausalLM.from_pretrained(folder).eval()
        with torch.no_grad():
            said = model(torch.tensor([text.ids])).logits[0].double().log_softmax(-1)
        ids = torch.tensor(text.ids[1:])
        ratios[1:] += sign * said[:-1].gather(1, ids[:, None])[:, 0]
    starts = [text.begins, *(end + 1 for end in text.ends[:-1])]
    expected = [
        BETA * float(ratios[start : end + 1].sum())
        for start, end in zip(starts, text.ends, strict=True)
    ]
    assert read.log_odds == pytest.approx(expected, abs=1e-3)
    assert read.tokens == 2 * len(text.ids)


async def test_a_verifier_that_writes_can_not_be_read(base: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="generative verifier"):
        await open_reader(settings(base))
    nameless = tmp_path / "nameless"
    shutil.copytree(base, nameless)
    note(nameless, RewardModel("implicit"))
    with pytest.raises(ConfigurationError, match=r"models\.reference\.model"):
        await open_reader(settings(nameless))
