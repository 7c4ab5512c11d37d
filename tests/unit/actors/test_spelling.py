"""Token ids of growing conversations: those of the whole text, whatever the tokenizer."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any, ClassVar

import pytest
from tokenizers import Tokenizer, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from actors.engines.token_ids import Spelling
from tests.support.built_tokenizers import deepseek, llama, qwen

MODELS = Path(__file__).parents[3] / "demo" / "models"


class Counting:
    """A tokenizer that counts the characters it was given."""

    def __init__(self, tokenizer: Any) -> None:
        self._tokenizer = tokenizer
        self.added_tokens_decoder = tokenizer.added_tokens_decoder
        self.characters = 0

    def __call__(self, text: str, add_special_tokens: bool) -> dict[str, list[int]]:
        self.characters += len(text)
        ids = self._tokenizer(text, add_special_tokens=add_special_tokens)["input_ids"]
        return {"input_ids": ids}


class Marked:
    """A tokenizer that puts a mark before every text, as some do; `<s>` is special."""

    added_tokens_decoder: ClassVar = {
        0: SimpleNamespace(
            content="<s>", special=True, lstrip=False, single_word=False, normalized=False
        )
    }

    def __call__(self, text: str, add_special_tokens: bool) -> dict[str, list[int]]:
        return {"input_ids": [1, *map(ord, text)]}


@pytest.fixture(scope="module")
def tokenizer() -> Any:
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(MODELS / "rationale")


def conversation(turns: int, seed: int = 0) -> str:
    draw = random.Random(seed)
    words = ["Yes", "No", "\n", " ", "12", " + ", "\\boxed{", "}$", "<analyze>", "é", "Step 1: "]
    return "".join(
        f"<|im_start|>{role}\n{''.join(draw.choices(words, k=40))}<|im_end|>\n"
        for _ in range(turns)
        for role in ("user", "assistant")
    )


def test_parts_give_the_ids_of_the_whole(tokenizer: Any) -> None:
    spelling = Spelling(tokenizer)
    for seed in range(30):
        text = conversation(4, seed) + "<|im_start|>assistant\nIt"
        assert spelling.ids(text) == tokenizer(text, add_special_tokens=False)["input_ids"], seed
    assert spelling.ids("") == []
    assert spelling.ids("no special token") == tokenizer("no special token")["input_ids"]


def test_a_turn_that_was_seen_is_not_tokenized_again(tokenizer: Any) -> None:
    counting = Counting(tokenizer)
    spelling = Spelling(counting)
    text = conversation(10)
    for _ in range(5):  # the first ones are compared with the whole
        spelling.ids(text)
    before = counting.characters
    spelling.ids(text + "<|im_start|>assistant\nIt holds.")
    assert counting.characters - before < 60


def rounds(count: int, seed: int = 0) -> list[str]:
    """The prompts of a rationale that is taken up again behind each output of its code."""
    draw = random.Random(seed)
    words = ["It is", " right", "\n", " ", "12", " + ", "}$", "é", "数", "**", "`", "\\[", "\n\n"]
    text, asked = "<|im_start|>user\nP<|im_end|>\n<|im_start|>assistant\n", []
    for number in range(count):
        prose = "".join(draw.choices(words, k=200))
        text += (
            f"### Paragraph {number}\n\n{prose}\n\n```python\nprint(1)\n\nx = 2\n```\n\n[Output]"
        )
        asked.append(text)
    return asked


@pytest.mark.parametrize("make", [qwen, llama, deepseek])
def test_paragraphs_give_the_ids_of_the_whole(make: Callable[[], Any]) -> None:
    tokenizer = make()
    spelling = Spelling(tokenizer)
    for seed in range(30):
        text = rounds(3, seed)[-1]
        assert spelling.ids(text) == tokenizer(text, add_special_tokens=False)["input_ids"], seed


@pytest.mark.parametrize("make", [qwen, llama, deepseek])
def test_a_rationale_is_tokenized_once_not_once_a_round(
    make: Callable[[], Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    spelling, tokenized, whole = Spelling(make()), [0], Spelling._whole

    def counting(self: Spelling, text: str) -> list[int]:
        tokenized[0] += len(text)
        return whole(self, text)

    spelling._to_compare = 0
    monkeypatch.setattr(Spelling, "_whole", counting)
    asked = rounds(16)
    for text in asked:
        spelling.ids(text)
    assert tokenized[0] < 1.5 * len(asked[-1]) < sum(map(len, asked)) / 5


def test_paragraphs_of_a_tokenizer_that_treats_a_beginning_otherwise_stay_together() -> None:
    """It puts a blank before each text; no text is compared, so that the look alone decides."""
    inner = Tokenizer.from_str(qwen().backend_tokenizer.to_str())
    inner.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=True)
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=inner, eos_token="<|im_end|>")
    spelling = Spelling(tokenizer)
    spelling._to_compare = 0
    text = rounds(3)[-1]
    assert spelling.ids(text) == tokenizer(text, add_special_tokens=False)["input_ids"]


def test_a_tokenizer_whose_parts_differ_gets_every_text_whole() -> None:
    spelling = Spelling(Marked())
    for text in ("<s>ab<s>c", "<s>a<s>b", "x<s>y"):
        assert spelling.ids(text) == [1, *map(ord, text)]


def test_what_is_remembered_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("actors.engines.token_ids.MOST_BYTES", 20_000)
    spelling = Spelling(Marked())
    spelling._to_compare = 0
    for number in range(100):
        spelling.ids(f"<s>{number}<s>end")
    assert 10 < len(spelling._known) < 60
    assert spelling._known.bytes <= 20_000


class Lying:
    """A tokenizer around another one that its own calls correct."""

    added_tokens_decoder: ClassVar = {}

    def __init__(self, tokenizer: Any) -> None:
        self._tokenizer = tokenizer
        self.backend_tokenizer = tokenizer.backend_tokenizer

    def __call__(self, text: str, add_special_tokens: bool) -> dict[str, list[int]]:
        ids = self._tokenizer(text, add_special_tokens=add_special_tokens)["input_ids"]
        return {"input_ids": [*ids, 7]}


def test_a_fast_tokenizer_is_asked_directly_only_where_it_says_the_same(tokenizer: Any) -> None:
    spelling = Spelling(Lying(tokenizer))
    for text in ("Step 1: 12 + 5", "Step 2: 17", "é"):
        assert spelling.ids(text)[-1] == 7


def test_a_tokenizer_that_was_told_to_cut_texts_does_not(tokenizer: Any) -> None:
    text = conversation(3)
    whole = tokenizer(text, add_special_tokens=False)["input_ids"]
    tokenizer.backend_tokenizer.enable_truncation(5)
    assert Spelling(tokenizer).ids("12 + " * 20) == 20 * Spelling(tokenizer).ids("12 + ")
    assert Spelling(tokenizer).ids(text) == whole
