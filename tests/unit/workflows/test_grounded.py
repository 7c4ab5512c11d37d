"""GroundedPRM's choice by hand, the verdict's form, and how often it is asked for."""

from __future__ import annotations

import math

import pytest

from actors.engines.contract import Chat, EngineSettings, Sampling
from actors.engines.scripted import ScriptedEngine
from actors.sandbox.contract import Limits
from tests.support.scripted_world import InProcessSandbox
from workflows.estimation.grounded import Choice, chosen, uct
from workflows.formats.paper_form import PaperForm
from workflows.formats.tool_prompts import NO_QUERY, QUERY_RULES, read_query, read_verdict
from workflows.stages.writing.tool import Checked, ToolUser

C = 1.414


def test_uct_by_hand() -> None:
    """A step with Q = 1/2 and 4 visits below one with 16."""
    assert uct(Choice(0.5, 4, True), 16, C, 1)[0] == pytest.approx(
        0.5 + C * math.sqrt(math.log(16) / 4)
    )
    assert uct(Choice(0.5, 4, True), 1, C, 1)[0] == 0.5


@pytest.mark.parametrize(
    ("choices", "sign", "picked"),
    [
        pytest.param([(0.9, 5, True), (0.1, 5, False)], 1, 0, id="the better one"),
        pytest.param([(0.9, 5, True), (0.1, 5, False)], -1, 1, id="the worse one is sought"),
        pytest.param([(0.9, 50, True), (0.5, 1, True)], 1, 1, id="seldom chosen first"),
        pytest.param([(0.9, 5, True), (None, 0, False)], 1, 1, id="not visited yet first"),
        pytest.param([(None, 0, False), (None, 0, True)], 1, 1, id="of those, a right one first"),
        pytest.param([(0.5, 2, True), (0.5, 2, True)], 1, 0, id="the earlier of two"),
    ],
)
def test_what_is_chosen(
    choices: list[tuple[float | None, int, bool]], sign: int, picked: int
) -> None:
    assert chosen([Choice(*each) for each in choices], 60, C, sign) == picked


@pytest.mark.parametrize(
    ("text", "verdict"),
    [
        ('{"reason": "First, it adds.", "result": "True"}', True),
        ('```json\n{"reason": "No.", "result": ["False"]}\n```', False),
        ('Hm, "result": "True".\n</think>{"result": false, "reason": "No."}', False),
        ('{"reason": "It is right.", "result": "yes"}', None),
        ('{"result": "True"} {"result": "False"}', None),
        ("True", None),
    ],
)
def test_a_verdict_is_read_in_its_form_or_not_at_all(text: str, verdict: bool | None) -> None:
    assert read_verdict(text)[0] is verdict


def test_a_reason_with_a_bare_backslash_is_read() -> None:
    assert read_verdict('{"reason": "\\frac is right", "result": "True"}')[1]
    assert read_query("```python\nprint(1)\n```\n```python\nprint(2)\n```") == "print(2)"
    assert read_query("```\nprint(1)\n```") == ""


async def asked(unreadable: int, query: str = "print(2 + 2)") -> tuple[Checked, list[str]]:
    """What is known of a step if so many texts have no verdict."""
    verdicts: list[str] = []

    def script(chat: Chat, seed: int) -> str:
        if QUERY_RULES in chat.user:
            return f"```python\n{query}\n```" if query else "None."
        verdicts.append(chat.user)
        return "Hm." if len(verdicts) <= unreadable else '{"reason": "r", "result": "False"}'

    engine = ScriptedEngine(script, EngineSettings(kind="scripted"))
    tool = ToolUser(
        engine, InProcessSandbox(), Limits(), Sampling(), 5, PaperForm(2000), {}, len
    )  # fmt: skip
    return await tool.check("How much is 2 + 2?", [], "2 + 2 = 5.", "step"), verdicts


async def test_the_tools_answer_stands_before_the_verdict() -> None:
    checked, verdicts = await asked(0)
    assert (checked.verdict, checked.reason, checked.tries) == (False, "r", 1)
    assert checked.runs[0].output.split() == ["4"]
    assert "[Tool's Answer]\n\n4" in verdicts[0]


@pytest.mark.parametrize(("unreadable", "tries"), [(1, 2), (4, 5), (9, 5)])
async def test_a_verdict_is_asked_for_up_to_five_times(unreadable: int, tries: int) -> None:
    checked, _ = await asked(unreadable)
    assert checked.tries == tries
    assert (checked.verdict is None) == (unreadable >= 5)


async def test_without_a_query_the_model_is_told_that_the_tool_was_not_asked() -> None:
    checked, verdicts = await asked(0, query="")
    assert (checked.runs, checked.verification) == ((), "")
    assert NO_QUERY in verdicts[0]
