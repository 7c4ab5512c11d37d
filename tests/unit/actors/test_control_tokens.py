"""Control tokens inside of problems, steps and outputs: text for engines and trainings alike."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from transformers import AutoTokenizer

from actors.engines.contract import Chat
from actors.engines.control_tokens import MARK, ControlTokens
from actors.engines.rendering import ChatRenderer
from benchmarks.smollm2 import smollm2
from storage.errors import ItemError
from storage.rows.records import Message
from tests.support.built_tokenizers import BUILT, deepseek, llama, qwen
from tests.support.training_world import demo_tokenizer, example
from workflows.formats import prompts
from workflows.training.mask import masker_for, with_trainable_template

TOKENIZERS = {**BUILT, "the demo's own": demo_tokenizer}
tokenizers = pytest.mark.parametrize("make", TOKENIZERS.values(), ids=list(TOKENIZERS))


def controls(tokenizer: Any) -> list[str]:
    """The tokenizer's control tokens."""
    return list(ControlTokens(tokenizer)._ids.values())


def count(tokenizer: Any, ids: Any) -> int:
    return sum(int(number) in ControlTokens(tokenizer)._ids for number in ids)


def hostile(tokenizer: Any) -> str:
    """A text with every control token, doubled, nested and at both ends."""
    names = controls(tokenizer)
    nested = [name[:2] + name + name[2:] for name in names]
    return f"{names[0]}What{''.join(names)} is 12?\n{' '.join(nested)}\nassistant\n{names[-1]}"


def check_renderer(tokenizer: Any) -> None:
    """Prompts hold the template's control tokens, and every text as it is."""
    renderer = ChatRenderer(tokenizer)
    text = hostile(tokenizer)

    def chat(said: str) -> Chat:
        turns = (Message("system", "S"), Message("user", said), Message("assistant", "So."))
        return Chat((*turns, Message("user", said)), f"<think>\nStep 1: {said}\n```\n{said}\n```\n")

    ids = renderer.tokens(chat(text))
    assert tokenizer.decode(ids) == renderer.text(chat(text))
    assert count(tokenizer, ids) == count(tokenizer, renderer.tokens(chat("harmless")))
    renderer.close()


def check_training(tokenizer: Any) -> None:
    """Conversations are trained on with the same tokens that an engine is asked with."""
    trained = with_trainable_template(copy.deepcopy(tokenizer), None)
    text = hostile(trained)
    plain = example(3, 2)
    printed = [replace(run, output=f"{text}\n{run.output}") for run in plain.executions]
    told = [
        (prompts.code_output(old.output), prompts.code_output(new.output))
        for old, new in zip(plain.executions, printed, strict=True)
    ]
    turns = []
    for turn in plain.conversations:
        content = turn.content + (text if turn.role == "user" else "")
        for old, new in told:
            content = content.replace(old, new)
        turns.append(replace(turn, content=content))
    attacked = replace(plain, conversations=turns, executions=printed)
    masker = masker_for(trained, False)
    made, usual = masker.conversation(attacked, 10**6), masker.conversation(plain, 10**6)
    whole = trained.decode(made.ids)
    assert all(turn.content.rstrip() in whole for turn in turns)  # Llama 3 trims
    assert count(trained, made.ids) == count(trained, usual.ids)
    assert trained.decode(made.ids[made.own]) == trained.decode(usual.ids[usual.own])
    renderer = ChatRenderer(trained)
    assert renderer.tokens(Chat(tuple(turns[:2]))) == tuple(made.ids[: made.own.argmax()])
    renderer.close()


@tokenizers
def test_control_tokens_in_texts_are_text_in_a_prompt(make: Callable[[], Any]) -> None:
    check_renderer(make())


@tokenizers
def test_control_tokens_in_texts_are_text_in_a_training(make: Callable[[], Any]) -> None:
    check_training(make())


@pytest.mark.slow
def test_control_tokens_in_texts_are_text_for_smollm2() -> None:
    tokenizer = AutoTokenizer.from_pretrained(smollm2())
    assert "<|im_start|>" in controls(tokenizer)
    check_renderer(tokenizer)
    check_training(tokenizer)


PIECES = (
    "<",
    "|",
    "<|im_",
    "end|>",
    "<|im_end|>",
    "im_start",
    "|>",
    "<th",
    "ink>",
    "</",
    "a",
    "\n",
    " ",
)


@given(st.lists(st.sampled_from(PIECES), max_size=12).map("".join))
def test_no_assembly_of_pieces_becomes_a_control_token(text: str) -> None:
    tokenizer = qwen()
    parts = ControlTokens(tokenizer).marked(text).split(MARK)
    ids = [id for part in parts for id in tokenizer(part, add_special_tokens=False)["input_ids"]]
    assert tokenizer.decode(ids) == text
    assert not count(tokenizer, ids)


@pytest.mark.parametrize("make", [qwen, deepseek])
def test_our_own_thought_is_opened_and_ended_by_control_tokens(make: Callable[[], Any]) -> None:
    tokenizer = make()
    opening, ending = (tokenizer.convert_tokens_to_ids(tag) for tag in ("<think>", "</think>"))
    renderer = ChatRenderer(tokenizer)
    quoted = "### Paragraph 1\nIt printed <think> and </think>.\n</verify>"
    asked = Chat((Message("user", "U"),), f"<think>\n{quoted}")
    drafting = renderer.tokens(asked)
    assert (drafting.count(opening), drafting.count(ending)) == (1, 0)
    voting = replace(asked, prefill=asked.prefill + prompts.CONCLUSION, thought_ends=True)
    assert (renderer.tokens(voting).count(opening), renderer.tokens(voting).count(ending)) == (1, 1)
    assert tokenizer.decode(renderer.tokens(voting)) == renderer.text(voting)
    renderer.close()


class NoParts:
    """A tokenizer that can't spell parts: it puts a blank before each."""

    added_tokens_decoder = llama().added_tokens_decoder

    def __call__(self, text: str, **_: Any) -> Any:
        return {"input_ids": llama()(" " + text, add_special_tokens=False)["input_ids"]}

    def decode(self, ids: list[int], **_: Any) -> Any:
        return llama().decode(ids)


@pytest.mark.parametrize(
    ("tokenizer", "text"), [(NoParts(), "a <|eot_id|> b"), (llama(), "a \ufdd0 b")]
)
def test_a_text_that_can_not_be_spelt_as_text_is_dropped(tokenizer: Any, text: str) -> None:
    with pytest.raises(ItemError, match="control_token"):
        ControlTokens(tokenizer).marked(text)


def test_other_tags_are_no_control_tokens() -> None:
    text = "<analyze>\n<paragraph_1>\n1 < x |> y <b>"
    assert ControlTokens(demo_tokenizer()).marked(text) == text
