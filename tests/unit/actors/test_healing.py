"""Forced beginnings: where a tokenizer would join their end, it is left to the model."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from transformers import AutoTokenizer

from actors.engines.contract import Chat, Completion, Sampling
from actors.engines.healing import Healed, uncut, uncut_by
from actors.engines.scripted import ScriptedEngine
from actors.engines.token_ids import Spelling
from benchmarks.smollm2 import smollm2
from tests.support.built_tokenizers import BUILT
from workflows.formats.prompts import CONCLUSION, analyze_lead_in, completion_chat

DEMO = Path(__file__).parents[3] / "demo/models/policy"
PREFIX = completion_chat("p", ["It is 4."]).prefill


def demo() -> Any:
    return AutoTokenizer.from_pretrained(DEMO)


@pytest.mark.parametrize("make", BUILT.values(), ids=list(BUILT))
@pytest.mark.parametrize(
    ("beginning", "left"),
    [
        ("Step 1: ", " "),
        (PREFIX, " "),
        (analyze_lead_in(1), " "),
        (CONCLUSION, "{"),
        ("Step 1:", ""),
        ("<think>\n### Paragraph 1\n<analyze>\n", ""),
        ("", ""),
    ],
)
def test_a_blank_and_a_brace_are_left_to_the_model(
    make: Callable[[], Any], beginning: str, left: str
) -> None:
    spell = Spelling(make()).ids
    assert beginning[uncut(spell, beginning) :] == left


@pytest.mark.slow
def test_smollm2_writes_its_first_word_with_its_blank() -> None:
    spell = Spelling(AutoTokenizer.from_pretrained(smollm2())).ids
    for beginning in ("Step 1: ", PREFIX, analyze_lead_in(1)):
        size = uncut(spell, beginning)
        assert beginning[size:] == " "
        assert spell(beginning + "Let")[: len(spell(beginning[:size]))] == spell(beginning[:size])
        assert spell(beginning + "Let")[: len(spell(beginning))] != spell(beginning)
    assert uncut(spell, CONCLUSION) == len(CONCLUSION)


@pytest.mark.parametrize("make", [*BUILT.values(), demo], ids=[*BUILT, "the demo's own"])
@pytest.mark.parametrize("word", ["Let", "It", "12", "-1", "$x$", "\\(x\\)"])
@pytest.mark.parametrize("beginning", ["Step 1: ", PREFIX, CONCLUSION])
def test_a_healed_prompt_has_the_tokens_of_the_whole_text(
    make: Callable[[], Any], beginning: str, word: str
) -> None:
    spell = Spelling(make()).ids
    healed = spell(beginning[: uncut(spell, beginning)])
    assert spell(beginning + word)[: len(healed)] == healed


@pytest.mark.parametrize("beginning", ["Step 1: ", PREFIX, CONCLUSION, analyze_lead_in(3)])
def test_the_demos_tokenizer_cuts_nothing(beginning: str) -> None:
    assert uncut(Spelling(demo()).ids, beginning) == len(beginning)


@pytest.mark.parametrize(
    ("written", "text", "rewound", "whole"),
    [
        (" Let x be 4.", "Let x be 4.", 0, "Step 1: Let x be 4."),
        ("\nLet x be 4.", "\nLet x be 4.", 1, "Step 1:\nLet x be 4."),
        ("  Let x be 4.", " Let x be 4.", 0, "Step 1:  Let x be 4."),
        ("", "", 1, "Step 1:"),
    ],
)
async def test_the_text_is_what_the_model_wrote(
    written: str, text: str, rewound: int, whole: str
) -> None:
    asked: list[str] = []

    def script(chat: Chat, seed: int) -> str:
        asked.append(chat.prefill)
        return written

    spell = Spelling(BUILT["in the manner of Qwen2.5, built"]()).ids
    engine = Healed(ScriptedEngine(script), uncut_by(spell))
    reply = await engine.generate(Chat((), "Step 1: "), Sampling(n=2))
    assert engine.spell is None  # a scripted one has no tokens
    assert asked == ["Step 1:"] * 2
    for done in reply.completions:
        assert (done.text, done.rewound, done.after("Step 1: ")) == (text, rewound, whole)


def test_a_completion_that_was_not_healed_goes_on_behind_its_prefill() -> None:
    assert Completion("b", "stop", None, 1).after("a") == "ab"


def test_a_healed_engine_spells_as_its_engine_does() -> None:
    engine: Any = ScriptedEngine(lambda chat, seed: "")
    engine.spell = Spelling(BUILT["in the manner of Qwen2.5, built"]()).ids
    healed = Healed(engine, uncut_by(engine.spell))
    assert healed.spell is engine.spell
