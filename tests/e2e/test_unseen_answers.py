"""No reference answer enters a prompt of `spark` or `genprm`: every prompt sent is read for a mark.

The mark stands in every answer and in every line of every reference solution, but in no text that a
model writes: an answer is spelled as a sum that comes to the same (`112 + 31337 - 31337`), so that
grading goes on as before and whatever shows an answer, in whatever form, shows the mark.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from actors.engines.contract import Chat
from storage.audit import audit
from storage.rows.kinds import AGREEMENTS, PATHS, PROBLEMS
from tests.support.judge_strategies import SPARK, Build
from tests.support.scripted_world import ScriptedWorld
from workflows.formats import prompts, tool_prompts

MARK = "31337"
SPACED = re.compile(r"[\s,{}\\!]+")


def marked(row: dict[str, Any]) -> dict[str, Any]:
    """A problem whose answer and reference solution carry the mark."""
    lines = row["reference_solution"].splitlines()
    return row | {
        "answer": f"{row['answer']} + {MARK} - {MARK}",
        "reference_solution": "\n".join(f"{line} ({MARK})" if line else "" for line in lines),
    }


def shows_mark(chat: Chat) -> bool:
    """Whether any turn, or the opened one, holds the mark; however its digits are set apart."""
    texts = (*(turn.content for turn in chat.messages), chat.prefill)
    return any(MARK in SPACED.sub("", text) for text in texts)


def checked(build: Build) -> list[Chat]:
    """Every prompt that was sent, of a build that did what it does with unmarked problems."""
    assert audit(build.run).findings == ()
    assert all(MARK in row.answer for row in build.rows(PROBLEMS))
    assert {row.correct for row in build.rows(PATHS)} == {True, False}
    assert build.kept
    return build.world.prompts


BY_TOOL = {"sources": ["hybrid", "tool"]}
JUDGES = {"genprm": prompts.RATIONALE_SYSTEM, "groundedprm": tool_prompts.TOOL_USER.text}


@pytest.mark.parametrize("name", [*SPARK, "genprm", "qwen_consensus", "groundedprm"])
def test_no_answer_and_no_reference_solution_enters_any_prompt(name: str, tmp_path: Path) -> None:
    build = Build(name, tmp_path, rewrite=marked)
    sent = checked(build)
    systems = {chat.messages[0].content for chat in sent}
    judges = {JUDGES.get(name, prompts.CRITIC_SYSTEM)}
    assert systems == {prompts.SOLVER_SYSTEM} | judges  # all models were asked
    assert not [chat for chat in sent if shows_mark(chat)]


@pytest.mark.parametrize("state_verdict", [False, True])
def test_a_rationale_writer_is_shown_neither_whatever_else_it_is_asked(
    state_verdict: bool, tmp_path: Path
) -> None:
    settings = {"rationalize": {"state_verdict": state_verdict}, "consensus": BY_TOOL}
    sent = checked(Build("genprm", tmp_path, rewrite=marked, stages=settings))
    assert not [chat for chat in sent if shows_mark(chat)]


@pytest.mark.parametrize(
    ("name", "stages"),
    [
        ("spare", {}),
        ("aurora", {}),
        ("int", {}),
        ("spark_step_vote", {"judge": {"sees": ["answer"]}}),
        ("spark_meta_critique", {"judge": {"sees": ["answer"]}}),
    ],
)
def test_the_mark_is_found_where_a_judge_does_see_the_truth(
    name: str, stages: dict[str, Any], tmp_path: Path
) -> None:
    build = Build(name, tmp_path, rewrite=marked, stages=stages)
    shown = [shows_mark(chat) for chat in build.world.prompts if "[Math Problem]" in repr(chat)]
    assert sum(shown) == (len(shown) / 2 if name == "aurora" else len(shown)) > 0
    others = [chat for chat in build.world.prompts if "[Math Problem]" not in repr(chat)]
    assert not [chat for chat in others if shows_mark(chat)]


class Modest(ScriptedWorld):
    """A general writer: its code prints what it found last only where it is asked to."""

    def rationale(self, chat: Chat, seed: int) -> str:
        """The world's verification; every block that nobody asked to end so prints more."""
        if prompts.STATE_VERDICT in chat.messages[1].content:
            return super().rationale(chat, seed)
        if chat.prefill.endswith(prompts.CONCLUSION):
            return super().rationale(chat, seed)
        opened = prompts.rationale_chat("", ()).prefill
        whole = opened + super().rationale(Chat(chat.messages, opened), seed)
        self.prompts[-1] = chat
        closed = prompts.CODE_CLOSE + "[Code Output]"
        longer = whole.replace(closed, f"\nprint('done'){closed}")
        longer = re.sub(r"(\[Code Output\]\n\n```\n.*?)\n```", r"\1\ndone\n```", longer)
        return longer.removeprefix(chat.prefill)


def test_a_tool_has_a_verdict_where_the_writer_was_asked_to_let_its_code_state_one(
    tmp_path: Path,
) -> None:
    """A general model needs `rationalize.state_verdict` where `tool` is a source."""
    made = {}
    for asked in (False, True):
        folder = tmp_path / str(asked)
        folder.mkdir()
        settings = {"rationalize": {"state_verdict": asked}, "consensus": BY_TOOL}
        build = Build("genprm", folder, stages=settings, world=Modest)
        assert audit(build.run).findings == ()
        writer = [c for c in build.world.prompts if c.messages[0].content.endswith("python code.")]
        assert writer
        for chat in writer:
            assert chat.messages[1].content.endswith(prompts.STATE_VERDICT) == asked
        made[asked] = build
    unasked = made[False].rows(AGREEMENTS)
    assert unasked and {row.reason for row in unasked} == {"tool_unreadable"}
    assert len(made[True].kept) > 5
    reasons = {row.reason for row in made[True].rows(AGREEMENTS)}
    assert "tool_unreadable" not in reasons
