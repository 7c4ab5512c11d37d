"""The bank of rollouts: the model's own logits, every rollout counted, seeds that pick fairly."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import Qwen2ForCausalLM

from actors.engine import Chat, Sampling
from benchmarks.rollout_bank import Bank, BankEngine, Drawn
from benchmarks.tree_drawing import TreeModel, draw
from storage.records import Message

COMPLETER = Path(__file__).parents[3] / "demo/models/completer"
CHAT = Chat((Message("user", "p"),), "Step 1: ")


@pytest.fixture(scope="module")
def model() -> TreeModel:
    return TreeModel(COMPLETER)


def test_logits_are_those_of_transformers_token_by_token(model: TreeModel) -> None:
    prompt, continued = list(range(5, 40)), [77, 78, 79]
    whole = Qwen2ForCausalLM.from_pretrained(COMPLETER, dtype=torch.float32).eval()
    with torch.inference_mode():
        expected = whole(torch.tensor([prompt + continued])).logits[0]
    logits, shared = model.prompt(prompt)
    torch.testing.assert_close(logits, expected[len(prompt) - 1], atol=1e-4, rtol=1e-4)
    own = torch.zeros(1, *shared.shape[:3], 0, shared.shape[-1])
    for place, token in enumerate(continued, start=len(prompt)):
        rows, own = model.step(torch.tensor([token]), place, shared, own)
        torch.testing.assert_close(rows[0], expected[place], atol=1e-4, rtol=1e-4)


def test_every_rollout_is_counted_once_and_the_same_seed_draws_the_same(model: TreeModel) -> None:
    drawn = [
        draw(model, list(range(5, 20)), 50, 1.0, 6, 2, np.random.default_rng(3)) for _ in range(2)
    ]
    assert drawn[0] == drawn[1]
    assert sum(each.count for each in drawn[0]) == 50
    texts = [tuple(each.tokens) for each in drawn[0]]
    assert len(texts) == len(set(texts)) > 1
    assert all(len(each.tokens) == 6 for each in drawn[0] if not each.finished)


class _Given:
    """A drawer whose every state is one right of four."""

    def draw(self, chat: Chat, n: int) -> list[Drawn]:
        return [Drawn("right", 3, n // 4), Drawn("wrong", 5, n - n // 4)]


async def test_a_rollout_follows_from_its_seed_and_all_are_picked_alike(tmp_path: Path) -> None:
    bank = Bank(tmp_path / "bank.json.gz", _Given(), 512)  # type: ignore[arg-type]
    engine = BankEngine(bank, 256)
    many = await engine.generate(CHAT, Sampling(n=4_000, seed=100))
    later = await engine.generate(CHAT, Sampling(n=3_000, seed=1_100))
    assert many.completions[1_000:] == later.completions
    share = Counter(done.text for done in many.completions)["right"] / 4_000
    assert share == pytest.approx(0.25, abs=0.03)


def test_a_stored_bank_is_read_again_and_draws_only_what_is_missing(tmp_path: Path) -> None:
    file = tmp_path / "bank.json.gz"
    said: list[str] = []
    Bank(file, _Given(), 8).fill([CHAT], said.append)  # type: ignore[arg-type]
    Bank(file, _Given(), 8).fill([CHAT], said.append)  # type: ignore[arg-type]
    assert said == ["1 of 1 states"]
