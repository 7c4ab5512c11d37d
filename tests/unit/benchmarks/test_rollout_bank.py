"""The bank of rollouts: the model's own logits, every rollout counted, seeds that pick fairly."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from tokenizers import Tokenizer
from transformers import Qwen2ForCausalLM

from actors.engines.contract import Chat, Sampling
from benchmarks.rollout_bank import Bank, BankEngine, Drawn, rendered
from benchmarks.tree_drawing import TreeModel, draw
from demo import world
from demo.tokenizer import END
from storage.rows.records import Message, Problem
from workflows.formats.solving import opened_chat
from workflows.formats.steps import opening

COMPLETER = Path(__file__).parents[3] / "demo/models/completer"
TOKENIZER = Tokenizer.from_file(str(COMPLETER / "tokenizer.json"))
TEMPERATURE = 0.7
CHAT = Chat((Message("user", "p"),), "Step 1: ")


@pytest.fixture(scope="module")
def model() -> Iterator[TreeModel]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # more would wait for one another on a busy machine
    yield TreeModel(COMPLETER)
    torch.set_num_threads(threads)


def test_logits_are_those_of_transformers_token_by_token(model: TreeModel) -> None:
    prompt, continued = list(range(5, 40)), [77, 78, 79]
    whole = Qwen2ForCausalLM.from_pretrained(COMPLETER, dtype=torch.float32).eval()
    with torch.inference_mode():
        expected = whole(torch.tensor([prompt + continued])).logits[0]
    logits, shared = model.prompt(prompt)
    torch.testing.assert_close(logits, expected[len(prompt) - 1], atol=1e-4, rtol=1e-4)
    for place, token in enumerate(continued, start=len(prompt)):
        rows = model.step(np.array([token]), shared)
        torch.testing.assert_close(rows[0], expected[place], atol=1e-4, rtol=1e-4)


def test_every_rollout_is_counted_once_and_the_same_seed_draws_the_same(model: TreeModel) -> None:
    prompts = [list(range(5, 20)), list(range(5, 60)), [*range(5, 15), 9]]
    drawn = [draw(model, prompts, 50, 1.0, 40, 2, np.random.default_rng(3)) for _ in range(2)]
    assert drawn[0] == drawn[1]
    for found in drawn[0]:
        assert sum(each.count for each in found) == 50
        texts = [tuple(each.tokens) for each in found]
        assert len(texts) == len(set(texts)) > 1
        assert all(len(each.tokens) == 40 for each in found if not each.finished)
        assert not any(2 in each.tokens for each in found)


def test_every_drawn_text_is_as_frequent_as_transformers_says_it_is(model: TreeModel) -> None:
    """Three states of two solutions, drawn together, against exact chances of whole texts."""
    problem = world.problem("sequence/4/324326")
    asked = Problem(problem.problem_id, problem.text, problem.answer, 4, None, None, None)
    slip = "Gaps: 8 - 1 = 6."
    prompts = [TOKENIZER.encode(rendered(opened_chat("Think.", asked, opening(steps)))).ids
               for steps in ((), (slip,), (slip, "Rise: 6 * 4 = 24."))]  # fmt: skip
    n, end = 5_000, TOKENIZER.token_to_id(END)
    drawn = draw(model, prompts, n, TEMPERATURE, 60, end, np.random.default_rng(5))
    whole = Qwen2ForCausalLM.from_pretrained(COMPLETER, dtype=torch.float32).eval()
    for prompt, found in zip(prompts, drawn, strict=True):
        frequent = sorted(found, key=lambda each: -each.count)[:12]
        assert frequent[3].count > 20
        for each in frequent:
            tokens = [*each.tokens, *([end] if each.finished else [])]
            with torch.inference_mode():
                logits = whole(torch.tensor([prompt + tokens])).logits[0, len(prompt) - 1 : -1]
            said = torch.log_softmax(logits.double() / TEMPERATURE, -1)
            chance = said[range(len(tokens)), tokens].sum().exp().item()
            assert abs(each.count - n * chance) < 5 * (n * chance * (1 - chance)) ** 0.5


class _Given:
    """A drawer whose every state is one right of four."""

    def draw(self, chats: Sequence[Chat], n: int) -> list[list[Drawn]]:
        return [[Drawn("right", 3, n // 4), Drawn("wrong", 5, n - n // 4)] for _ in chats]


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
