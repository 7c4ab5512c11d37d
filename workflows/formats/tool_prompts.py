r"""The texts of stage `ground`: a query to a tool about one step, and a verdict by its answer.

The verdict's form is GroundedPRM's: a JSON object with `reason` and `result`.

Invariant: pure. A prompt has the problem, the steps and the tool's answer, never the problem's
answer. A verdict is what the text says, or None.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence

from actors.engines.contract import Chat
from workflows.formats import prompts, reading
from workflows.formats.fences import blocks, unix
from workflows.formats.templates import AS_THEY_ARE, Prompt, Texts

NO_QUERY = "The tool was not asked: no query was written."
_LAST = "[Current Step]\n\n{{ step }}\n\n"
_HEAD = (
    "Below are a math problem, the steps of a solution so far, and the current step.\n\n"
    "[Math Problem]\n\n" + prompts.PROBLEM + "\n\n[Previous Steps]\n\n" + prompts.STEPS + _LAST
)
QUERY_RULES = """\
Your task is to ask a tool about the current step, not to judge it. Write one ```python block that \
computes what the current step computes, from the problem and the previous steps and without \
taking over its result, and prints it. Write nothing else."""
ANSWER_SHOWN = "[Tool's Answer]\n\n"
VERDICT_RULES = """
Your task is to verify the current step:

1. Logical check: does it contradict the problem or leave what has to be found?
2. Relevance: is the tool's answer about what the step computes?
3. Comparison: does the step's result agree with the tool's? If the tool failed or its answer has \
nothing to do with the step, judge by the problem and the previous steps.

Answer with one JSON object and nothing else: {"reason": "first ..., then ..., finally ...", \
"result": "True" or "False"}."""
TOOL_USER = Prompt(
    "tool_system", "What the model that uses the tool is told first.",
    "You check the steps of solutions to math problems with the help of a tool.",
)  # fmt: skip
QUERY = Prompt(
    "tool_query", "Code that asks the tool about a step.", _HEAD + QUERY_RULES,
    ("problem", "steps", "step"),
)  # fmt: skip
VERDICT = Prompt(
    "tool_verdict", "Whether a step is right, given the tool's answer.",
    _HEAD + ANSWER_SHOWN + "{{ tool }}\n" + VERDICT_RULES, ("problem", "steps", "step", "tool"),
)  # fmt: skip
_RESULT = re.compile(r'"result"\s*:\s*\[?\s*"?(true|false)\b', re.IGNORECASE)
_REASON = re.compile(r'"reason"\s*:\s*("(?:[^"\\]|\\.)*")', re.DOTALL)


def query_chat(problem: str, steps: Sequence[str], step: str, texts: Texts = AS_THEY_ARE) -> Chat:
    """Ask for code that computes what `step` computes."""
    user = QUERY.of(texts, problem=problem, steps=steps, step=step)
    return Chat.of(TOOL_USER.of(texts), user, "")


def verdict_chat(
    problem: str, steps: Sequence[str], step: str, tool: str, texts: Texts = AS_THEY_ARE
) -> Chat:
    """Ask for a verdict on `step`, given the tool's answer."""
    user = VERDICT.of(texts, problem=problem, steps=steps, step=step, tool=tool)
    return Chat.of(TOOL_USER.of(texts), user, "")


def read_query(text: str) -> str:
    """The last block of Python; "" without one."""
    found = [block.content for block in blocks(reading.behind_thought(unix(text))) if block.is_code]
    return found[-1] if found else ""


def read_verdict(text: str) -> tuple[bool | None, str]:
    """(verdict, reason) of an answer; (None, "") where it names none, or two."""
    text = reading.behind_thought(unix(text))
    named = {word.lower() for word in _RESULT.findall(text)}
    if len(named) != 1:
        return None, ""
    reason = _REASON.search(text)
    return named == {"true"}, _unquoted(reason[1]) if reason else ""


def _unquoted(text: str) -> str:
    """The content of a JSON string; as it stands where it is none (a bare backslash)."""
    try:
        return str(json.loads(text, strict=False)).strip()
    except ValueError:
        return text[1:-1].strip()
