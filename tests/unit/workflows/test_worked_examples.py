"""Worked examples: settings, turns before the question, bound by the spec, refused where wrong."""

from __future__ import annotations

from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest

from actors.engines.contract import Chat
from launch.config import validate
from storage.errors import ConfigurationError
from storage.rows.records import Message, Problem
from storage.runs.specs import ShardPlan, Spec, differences
from workflows.builds.configuration import BuildConfig
from workflows.formats import prompts
from workflows.formats.paper_form import PaperForm
from workflows.formats.rationale import paragraphs
from workflows.formats.solving import opened_chat, policy_chat
from workflows.formats.worked_examples import check_examples, rationale_turns, solution_turns
from workflows.runs.starting import differing, planned
from workflows.settings import StageSettings, WorkedRationale

SOLVED = {"problem": "What is 2 + 3?", "solution": "Step 1: 2 + 3 = 5.\n\nStep 2: \\boxed{5}\n"}
VERIFIED = {
    "problem": "What is 2 + 3?",
    "steps": ["2 + 3 = 6."],
    "verification": (
        "### Paragraph 1\n<analyze>\nIt is 5.\n</analyze>\n<verify>\n```python\nprint(2 + 3)\n```\n"
        "[Code Output]\n\n```\n5\n```\nSo it is wrong.\n</verify>\n"
    ),
    "first_error": 1,
}
ASKED = Problem("p", "What is 4 + 4?", "8")


def configured(solved: dict[str, Any], verified: dict[str, Any]) -> BuildConfig:
    """A build as a file has it."""
    engine = {"kind": "scripted", "model": "m"}
    models = {role: engine for role in ("policy", "completer", "rationale")}
    stages = {"sample": {"examples": [solved]}, "rationalize": {"examples": [verified]}}
    return validate({"run": "r", "problems": "p", "models": models, "stages": stages}, "build.yaml")


CONFIG = configured(SOLVED, VERIFIED)


def roles(chat: Chat) -> list[str]:
    return [turn.role for turn in chat.messages]


def test_policy_and_completer_are_shown_solutions_before_the_problem() -> None:
    turns = solution_turns(CONFIG.stages.sample.examples)
    chats = (
        policy_chat("Be brief.", ASKED, turns),
        opened_chat("Be brief.", ASKED, "Step 1: x\n\nStep 2: ", turns),
    )
    for chat in chats:
        assert roles(chat) == ["system", "user", "assistant", "user"]
        assert chat.messages[1:3] == (
            Message("user", "What is 2 + 3?"),
            Message("assistant", "Step 1: 2 + 3 = 5.\n\nStep 2: \\boxed{5}"),
        )
        assert chat.messages[-1] == Message("user", "What is 4 + 4?")


def test_the_writer_is_shown_verifications_in_the_form_in_which_it_is_asked() -> None:
    turns = rationale_turns(CONFIG.stages.rationalize.examples)
    chat = PaperForm(2000, system="Check.", examples=turns).chat("What is 4 + 4?", ["It is 8."])
    assert roles(chat) == ["system", "user", "assistant", "user"]
    assert chat.messages[0].content == "Check."
    asked, answered, now = (turn.content for turn in chat.messages[1:])
    assert asked == prompts.rationale_chat("What is 2 + 3?", ["2 + 3 = 6."]).user
    assert now == prompts.rationale_chat("What is 4 + 4?", ["It is 8."]).user
    assert paragraphs(answered, 1) == paragraphs(VERIFIED["verification"], 1)
    assert answered.endswith(f"{prompts.FINAL}1}}")
    assert "think>" not in answered


def test_a_question_without_examples_is_the_papers() -> None:
    assert roles(policy_chat("s", ASKED)) == ["system", "user"]
    chat = PaperForm(2000).chat("p", ["s"])
    assert roles(chat) == ["system", "user"]
    assert chat.messages[0].content == prompts.RATIONALE_SYSTEM


@pytest.mark.parametrize(
    ("solved", "verified", "said"),
    [
        ({"solution": "Step 1: 2 + 3 = 5."}, {}, r"sample.examples.0.*no_box"),
        ({"solution": "It is \\boxed{5}."}, {}, r"sample.examples.0.*one_step"),
        ({}, {"steps": ["a", "b"]}, r"rationalize.examples.0.*paragraph_missing: paragraph 2 of 2"),
        ({}, {"verification": "Fine."}, r"rationalize.examples.0.*paragraph_missing"),
        ({}, {"first_error": 2}, r"rationalize.examples.0.first_error`: give -1"),
        ({}, {"first_error": 0}, r"rationalize.examples.0.first_error`: give -1"),
    ],
)
def test_an_example_that_would_itself_be_dropped_is_refused(
    solved: dict[str, Any], verified: dict[str, Any], said: str
) -> None:
    config = configured(SOLVED | solved, VERIFIED | verified)
    with pytest.raises(ConfigurationError, match=said):
        check_examples(config.stages, [ASKED])


@pytest.mark.parametrize("stage", ["sample", "rationalize"])
def test_a_problem_of_the_input_is_no_example(stage: str) -> None:
    same = replace(ASKED, problem="What is\n2 +  3?")
    with pytest.raises(ConfigurationError, match=f"stages.{stage}.examples.0` is problem 'p'"):
        check_examples(CONFIG.stages, [same])
    check_examples(CONFIG.stages, [ASKED])


def spec_of(config: BuildConfig) -> Spec:
    return Spec(config.binding, "digest", ShardPlan(1, 1))


def test_the_spec_binds_them() -> None:
    other = configured(SOLVED | {"problem": "What is 3 + 2?"}, VERIFIED)
    (found,) = differences(spec_of(CONFIG), spec_of(other))
    assert found.name == "configuration.stages.sample.examples"


def test_a_run_begun_before_there_were_any_goes_on_without() -> None:
    now = replace(CONFIG, stages=StageSettings())
    before = now.binding
    for stage, names in (("sample", ["examples"]), ("rationalize", ["examples", "system"])):
        for name in names:
            del before["stages"][stage][name]
    old = Spec(before, "digest", ShardPlan(1, 1))
    assert differing(old, spec_of(now)) == []
    assert {found.name for found in differing(old, spec_of(CONFIG))} == {
        "configuration.stages.sample.examples",
        "configuration.stages.rationalize.examples",
    }


def test_what_was_stored_of_a_configuration_is_read_again() -> None:
    again = validate(asdict(CONFIG), "launch.json")
    assert again.stages == CONFIG.stages
    assert isinstance(again.stages.rationalize.examples[0], WorkedRationale)


def test_a_key_that_an_example_does_not_have_is_named() -> None:
    with pytest.raises(ConfigurationError, match=r"unknown key `stages.sample.examples.0.answer`"):
        configured(SOLVED | {"answer": "5"}, VERIFIED)


def test_it_is_the_build_that_checks(tmp_path: Path) -> None:
    file = tmp_path / "problems.jsonl"
    file.write_text('{"problem_id": "p", "problem": "What is 2 + 3?", "answer": "5"}\n')
    with pytest.raises(ConfigurationError, match="is problem 'p' of the input"):
        planned(replace(CONFIG, problems=str(file)), None)
