"""The prompt of stage `mislead`: one step of a solution again, with one error in it.

Invariant: the prompt shows the problem, the steps up to the one that is asked for, and the kind of
error; neither the answer nor a later step.
"""

from __future__ import annotations

from collections.abc import Sequence

from actors.engines.contract import Chat
from workflows.formats import prompts
from workflows.formats.templates import AS_THEY_ARE, Prompt, Texts

SYSTEM = "You are a math teacher who writes wrong solutions, for students to find the error in."
RIGHT_SHOWN = "\n[Paragraph]\n\n"
RULES = """

This paragraph is correct. Write it again with one plausible error of this kind: {{ kind }}. Its \
result must be wrong. Keep its length and its style, do not hint at the error, and stop after the \
paragraph: neither repeat what stands before it nor go on with the solution."""
ERROR_WRITER = Prompt("error_system", "What the writer of errors is told first.", SYSTEM)
ERROR = Prompt(
    "error", "A right step again, with one error; `steps` are those before it.",
    prompts.RATIONALE_TASK + prompts.PROBLEM + prompts.RATIONALE_SOLUTION + prompts.STEPS
    + RIGHT_SHOWN + "{% set number = steps|length + 1 %}"
    + "<paragraph_{{ number }}>\n{{ right }}\n</paragraph_{{ number }}>" + RULES,
    ("problem", "steps", "right", "kind"),
)  # fmt: skip


def error_chat(
    problem: str, before: Sequence[str], right: str, kind: str, texts: Texts = AS_THEY_ARE
) -> Chat:
    """Ask for the step behind `before` with one error of a kind, in words."""
    user = ERROR.of(texts, problem=problem, steps=before, right=right, kind=kind)
    return Chat.of(ERROR_WRITER.of(texts), user, "")
