"""The paper's form of a rationale: its prompt, and how its text is read.

Invariant: all methods are pure; the object holds settings only.
"""

from __future__ import annotations

from collections.abc import Sequence

from actors.engines.contract import Chat
from actors.sandbox.contract import Execution, Limits
from storage.rows.records import CodeRun, Message
from workflows.formats import prompts
from workflows.formats.executed import Found, first_found
from workflows.formats.rationale import (
    check_executed,
    concluded,
    is_strict,
    last_good,
    paragraphs,
    printed,
    shown_code,
    zero_based,
)
from workflows.formats.reading import sections, thought
from workflows.formats.templates import AS_THEY_ARE, Texts


class PaperForm:
    """The paper's prompt and form, for `workflows.stages.rationalize.RationaleWriter`."""

    stops: tuple[str, ...] = prompts.RATIONALE_STOPS
    output_stop = prompts.OUTPUT_STOP
    thinking_stop = prompts.THINK_CLOSE
    vote_stop = prompts.INDEX_STOP

    def __init__(
        self,
        output_chars: int,
        state_verdict: bool = False,
        require_code: bool = True,
        system: str | None = None,
        examples: tuple[Message, ...] = (),
        texts: Texts = AS_THEY_ARE,
    ) -> None:
        """`require_code`: False: a step may say that it has nothing to compute.

        `system`: system prompt; None: the paper's. `examples`: turns between it and the question.
        `texts`: the user's prompts.
        """
        self._output_chars = output_chars
        self._state_verdict = state_verdict
        self._require_code = require_code
        self._texts = texts
        told = prompts.RATIONALE_WRITER.of(texts)
        self._before = (Message("system", system or told), *examples)

    def chat(self, problem: str, steps: Sequence[str]) -> Chat:
        """The rationale prompt; it takes neither answer nor labels."""
        question = prompts.rationale_chat(
            problem, steps, self._state_verdict, self._require_code, self._texts
        )
        return Chat((*self._before, Message("user", question.user)), question.prefill)

    def found(self, written: str, ran: bool) -> Found | None:
        """See `workflows.formats.executed.first_found`."""
        return first_found(written, ran)

    def step_of(self, text: str) -> int:
        """0-based number of the last heading, read outside of fenced blocks; 0 without one."""
        numbers = [section.number for section in sections(text) if section.number is not None]
        return max(0, numbers[-1] - 1) if numbers else 0

    def code_block(self, code: str) -> str:
        """The block in its one spelling."""
        return prompts.code_block(code)

    def code_output(self, execution: Execution, limits: Limits) -> tuple[str, str]:
        """(the output that the model reads, the `[Code Output]` block with it)."""
        output = printed(execution, limits, self._output_chars)
        return output, prompts.code_output(output)

    def paragraphs(self, text: str, steps: int) -> tuple[list[str], list[str]]:
        """See `paragraphs`."""
        return paragraphs(text, steps, self._require_code)

    def is_strict(self, text: str, steps: int) -> bool:
        """See `is_strict`."""
        return is_strict(text, steps)

    def last_good(self, text: str, steps: int) -> tuple[str, int, bool] | None:
        """See `last_good`."""
        return last_good(text, steps, self._require_code)

    def concluded(self, text: str, steps: int) -> tuple[str, int] | None:
        """See `concluded`."""
        return concluded(text, steps, self._require_code)

    def shown_code(
        self, analyses: Sequence[str], verifications: Sequence[str]
    ) -> list[tuple[int, str, str]]:
        """See `shown_code`."""
        return shown_code(analyses, verifications)

    def check_executed(
        self,
        analyses: Sequence[str],
        verifications: Sequence[str],
        executions: Sequence[CodeRun],
    ) -> None:
        """See `check_executed`."""
        check_executed(analyses, verifications, executions)

    def conclude(self, text: str) -> str:
        """Cut the text behind its last verification, and append the fixed conclusion.

        The text must have passed `paragraphs`.
        """
        text, _ = thought(text)
        last = [part for section in sections(text) for part in section.named("verify")][-1]
        body = text[: last.end] if last.closed else text[: last.end].rstrip() + "\n"
        return prompts.conclude(body + prompts.VERIFY_CLOSE)

    def vote(self, voted: str, steps: int) -> int | None:
        """The judge's 1-based index as 0-based; -1: no error; None: unreadable or out of range."""
        return zero_based(prompts.index_vote(voted), steps)
