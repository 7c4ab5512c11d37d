"""What is learnt of a conversation: exactly the assistant's own tokens, under any template."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from storage.errors import ConfigurationError, ItemError
from storage.rows.records import Example, Message
from tests.support.training_world import (
    QWEN25_TEMPLATE,
    R1_TEMPLATE,
    demo_tokenizer,
    example,
    examples,
    qwen25_tokenizer,
)
from workflows.formats import prompts
from workflows.training.mask import masker_for, render, with_trainable_template
from workflows.views.catalogue import VIEWS

LONG = 100_000
END = "<|im_end|>"


def r1_tokenizer() -> Any:
    return with_trainable_template(copy.deepcopy(qwen25_tokenizer()), R1_TEMPLATE)


def trimming_tokenizer() -> Any:
    """Its template trims every text, as Llama 3's and Gemma's do."""
    template = QWEN25_TEMPLATE.replace("message.content +", "(message.content | trim) +")
    return with_trainable_template(copy.deepcopy(qwen25_tokenizer()), template)


TOKENIZERS: dict[str, Callable[[], Any]] = {
    "demo": demo_tokenizer,
    "qwen2.5": qwen25_tokenizer,
    "deepseek-r1-distill": r1_tokenizer,
    "trimming": trimming_tokenizer,
}
tokenizers = pytest.mark.parametrize("name", TOKENIZERS)


def own_texts(of: Example, outputs: bool, name: str = "") -> list[str]:
    """Each assistant turn with its end, and without its code outputs unless they are wanted."""
    texts = []
    last = "" if name == "trimming" else "\n"
    answers = [turn.content for turn in of.conversations if turn.role == "assistant"]
    for step, text in enumerate(answers):
        for run in [run for run in of.executions if run.step == step]:
            block = prompts.code_output(run.output)
            if not outputs and "[Code Output]" in text:
                assert block in text
                text = text.replace(block, "", 1)
        texts.append(text.rstrip() + last + END)
    return texts


@tokenizers
@pytest.mark.parametrize("view", ["genprm", "cot", "code", "direct"])
@pytest.mark.parametrize("outputs", [False, True], ids=["own", "with-outputs"])
def test_the_learnt_tokens_are_the_assistants_own_words_and_nothing_else(
    name: str, view: str, outputs: bool
) -> None:
    tokenizer = TOKENIZERS[name]()
    masker = masker_for(tokenizer, outputs)
    for one in VIEWS[view].rows(examples(9)):
        made = masker.conversation(one, LONG)
        assert tokenizer.decode(made.ids[made.own]) == "".join(own_texts(one, outputs, name))
        whole = render(tokenizer, one.conversations)
        assert whole.startswith(tokenizer.decode(made.ids))
        rest = tokenizer.decode(made.ids[~made.own])
        assert "Judgement" not in rest
        assert all(turn.content in rest for turn in one.conversations if turn.role == "user")
        assert ("[Code Output]" in rest) == (not outputs and view in ("genprm", "code"))


@tokenizers
def test_a_step_that_quotes_a_whole_answer_is_not_learnt(name: str) -> None:
    tokenizer = TOKENIZERS[name]()
    one = example(3, 2)
    answer = one.conversations[2].content
    turns = list(one.conversations)
    turns[1] = replace(turns[1], content=turns[1].content + "\n" + answer)
    made = masker_for(tokenizer, False).conversation(replace(one, conversations=turns), LONG)
    assert tokenizer.decode(made.ids[made.own]) == "".join(own_texts(one, False, name))


@tokenizers
def test_verdicts_are_found_at_their_own_token(name: str) -> None:
    tokenizer = TOKENIZERS[name]()
    masker = masker_for(tokenizer, False)
    one = example(5, 4, wrong_from=2)
    made = masker.conversation(one, LONG)
    said = [tokenizer.decode([made.ids[place]]).strip("{") for place in made.verdicts]
    assert said == ["Yes", "Yes", "No", "No"]
    assert made.labels.tolist() == one.labels
    assert made.own[made.verdicts].all()


@tokenizers
def test_a_long_conversation_is_cut_after_the_last_turn_that_fits(name: str) -> None:
    tokenizer = TOKENIZERS[name]()
    masker = masker_for(tokenizer, False)
    one = example(5, 4, wrong_from=2)
    texts = own_texts(one, False, name)
    whole = masker.conversation(one, LONG)
    ends = [len(whole.ids)]
    while len(ends) < 4:
        ends.append(len(masker.conversation(one, ends[-1] - 1).ids))
    for turns, end in zip((4, 3, 2, 1), ends, strict=True):
        made = masker.conversation(one, end)
        assert len(made.ids) == end
        assert tokenizer.decode(made.ids[made.own]) == "".join(texts[:turns])
        assert made.labels.tolist() == one.labels[:turns]
    with pytest.raises(ItemError) as caught:
        masker.conversation(one, ends[-1] - 1)
    assert caught.value.reason == "too_long"


def test_what_a_model_is_asked_with_is_what_it_was_trained_after() -> None:
    tokenizer = r1_tokenizer()
    one = example(2, 2)
    asked = render(tokenizer, one.conversations[:2], ask=True)
    assert asked.endswith("<|Assistant|>")
    assert render(tokenizer, one.conversations).startswith(asked)


@pytest.mark.parametrize("name", [name for name in TOKENIZERS if name != "qwen2.5"])
def test_a_trained_template_asks_behind_a_users_turn_wanted_or_not(name: str) -> None:
    tokenizer = with_trainable_template(copy.deepcopy(TOKENIZERS[name]()), None)
    for one in examples(4):
        for place in range(2, len(one.conversations), 2):
            shown = render(tokenizer, one.conversations[:place])
            assert shown == render(tokenizer, one.conversations[:place], ask=True)
            assert render(tokenizer, one.conversations).startswith(shown + "<analyze>\n")
    again = with_trainable_template(copy.deepcopy(tokenizer), None)
    assert again.chat_template == tokenizer.chat_template, "it is made to ask once"


def test_output_that_was_not_executed_is_the_models_own() -> None:
    tokenizer = demo_tokenizer()
    one = replace(example(5, 1), executions=[])
    made = masker_for(tokenizer, False).conversation(one, LONG)
    assert "[Code Output]" in tokenizer.decode(made.ids[made.own])


def test_an_output_that_the_turn_does_not_hold_is_an_items_trouble() -> None:
    one = example(5, 1)
    other = replace(one, executions=[replace(one.executions[0], output="something else")])
    with pytest.raises(ItemError) as caught:
        masker_for(demo_tokenizer(), False).conversation(other, LONG)
    assert caught.value.reason == "code_output_not_found"


BAD_TEMPLATES = {
    "no answers": "{% for m in messages %}{% if m.role == 'user' %}{{ m.content }}{% endif %}"
    "{% endfor %}",
    "no end of turn": "{% for m in messages %}{{ m.role + ': ' + m.content + '\n' }}{% endfor %}"
    "{% if add_generation_prompt %}assistant: {% endif %}",
    "shouting": "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content | upper }}"
    "<|im_end|>\n{% endfor %}",
    "another question": QWEN25_TEMPLATE.replace(
        "{{- '<|im_start|>assistant\\n' }}", "{{- '<|im_start|>verifier\\n' }}"
    ),
    "failing": "{{ raise_exception('System role not supported') }}",
    "broken": "{% for %}",
}


@pytest.mark.parametrize("case", BAD_TEMPLATES)
def test_a_template_that_cant_be_masked_is_refused_in_one_line(case: str) -> None:
    tokenizer = copy.deepcopy(qwen25_tokenizer())
    with pytest.raises(ConfigurationError) as caught:
        masker_for(with_trainable_template(tokenizer, BAD_TEMPLATES[case]), False)
    assert "chat template" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_tokenizer_without_a_token_for_each_verdict_is_refused() -> None:
    tokenizer = copy.deepcopy(qwen25_tokenizer())
    tokenizer.add_tokens(["Ye"])
    with pytest.raises(ConfigurationError, match="Yes and No"):
        masker_for(tokenizer, False)


def test_a_thought_inside_an_answer_is_dropped_with_a_reason() -> None:
    one = example(1, 1)
    turns = [
        *one.conversations[:2],
        Message("assistant", "hm</think>" + one.conversations[2].content),
    ]
    with pytest.raises(ItemError) as caught:
        masker_for(r1_tokenizer(), False).conversation(replace(one, conversations=turns), LONG)
    assert caught.value.reason == "changed_by_template"


def test_a_tokenizer_that_knows_no_offsets_is_refused() -> None:
    class Slow:
        name_or_path = "some/model"

    with pytest.raises(ConfigurationError, match=r"of some/model knows no offsets: add tokenizer"):
        masker_for(Slow(), False)
