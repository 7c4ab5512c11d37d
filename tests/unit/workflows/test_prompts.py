"""Prompts: how a turn is opened, what a rationale prompt shows, how votes are read."""

import inspect

import pytest

from workflows.formats import prompts

STEPS = ("17 + 25 = 42.", "The answer is \\boxed{42}.")


def test_a_policy_is_opened_with_the_first_step_header() -> None:
    chat = prompts.policy_chat("What is 17 + 25?")
    assert chat.user == "What is 17 + 25?"
    assert chat.prefill == "Step 1: "
    assert chat.messages[0].content.startswith("Please reason step by step")


def test_a_completion_goes_on_behind_the_given_steps() -> None:
    chat = prompts.completion_chat("p", STEPS[:1])
    assert chat.prefill == "Step 1: 17 + 25 = 42.\n\nStep 2: "


def test_the_rationale_prompt_shows_every_step_between_its_tags() -> None:
    chat = prompts.rationale_chat("What is 17 + 25?", STEPS)
    assert "[Math Problem]\n\nWhat is 17 + 25?\n\n[Solution]\n\n<paragraph_1>\n17" in chat.user
    assert "<paragraph_2>\nThe answer is \\boxed{42}.\n</paragraph_2>" in chat.user
    assert chat.prefill == "<think>\n### Paragraph 1\n<analyze>\n"
    assert chat.messages[0].content.endswith("with python code.")


def test_no_prompt_can_be_given_an_answer_or_a_label() -> None:
    for ask in (prompts.policy_chat, prompts.completion_chat, prompts.rationale_chat):
        assert set(inspect.signature(ask).parameters) <= {
            "problem", "prefix", "steps", "state_verdict", "require_code", "texts",
        }  # fmt: skip


def test_messages_are_the_turns_before_the_assistants() -> None:
    roles = [turn["role"] for turn in prompts.policy_chat("p").turns()]
    assert roles == ["system", "user"]


def test_code_output_is_a_fenced_block_behind_its_header() -> None:
    assert prompts.code_output("42 True\n") == "[Code Output]\n\n```\n42 True\n```\n"
    assert prompts.code_output("") == "[Code Output]\n\n```\n\n```\n"


def test_the_newest_code_block_is_the_one_to_run() -> None:
    text = "```python\na = 1\n```\n[Code Output]\n\n```\n1\n```\nso\n```python\nprint(2)\n```\n"
    assert prompts.last_code(text) == "print(2)"
    assert prompts.last_code("no code") is None


def test_the_conclusion_replaces_what_follows_the_last_verification() -> None:
    text = prompts.conclude("x\n</verify>\n\n### Paragraph 9\n<analyze>\nunfinished")
    assert text == "x\n</verify>" + prompts.CONCLUSION
    assert text.endswith("\\boxed{")


def test_nothing_verified_means_nothing_to_conclude() -> None:
    with pytest.raises(ValueError, match="verify"):
        prompts.conclude("### Paragraph 1")


@pytest.mark.parametrize(
    ("voted", "index"), [("-1}", -1), ("3", 3), (" 12 }.", 12), ("three}", None), ("", None)]
)
def test_a_vote_is_an_index_or_unreadable(voted: str, index: int | None) -> None:
    assert prompts.index_vote(voted) == index
