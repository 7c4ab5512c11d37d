"""A rationale while it is written: the solution, the text, its code runs and its cost.

Invariant: a `Solution` has no field for answer or label. `executions` are those of the blocks in
the text, in its order. `seen` is all code that the interpreter was given.
"""

from __future__ import annotations

from dataclasses import dataclass

from actors.engines.contract import Chat, Completion
from storage.errors import ItemError
from storage.rows.kinds import PROBLEMS, ShardRows
from storage.rows.records import CodeRun
from workflows.formats.fences import unix
from workflows.stages.judge import entering
from workflows.stages.writing.code_loop import Page


@dataclass(frozen=True, slots=True)
class Solution:
    """All that the writer may know of a path."""

    path_id: str
    problem_id: str
    problem: str
    steps: tuple[str, ...]


def solutions_of(rows: ShardRows, labelled: bool) -> list[Solution]:
    """The paths to verify, reduced to what the writer may know."""
    problems = {problem.problem_id: problem.problem for problem in rows[PROBLEMS]}
    return [
        Solution(path.path_id, path.problem_id, problems[path.problem_id], tuple(path.steps))
        for path in entering(rows, labelled)
    ]


class Draft(Page):
    """A rationale while it is written."""

    def __init__(self, chat: Chat) -> None:
        super().__init__(chat.prefill)
        self.chat = chat
        self.seen: list[str] = []
        """All code that the interpreter was given, also of paragraphs that were cut."""
        self.replayed = 0
        """Blocks that were run again."""
        self.cuts = 0
        """How often an unrun block or output was cut off."""
        self.resumes = 0
        self.forgiven = False
        """Whether the kept text differs from what the model wrote: respelt, cut or resumed."""
        self.trouble: tuple[ItemError, str] | None = None
        """The first fault of the form, and the text that had it."""

    @property
    def cut_back(self) -> str:
        """The detail of a drop's reason where something was cut off."""
        return (
            f"the text was cut back ({self.cuts}): it showed an output that no code printed, or "
            "the code block did not end where it seemed to"
        )

    def extend(self, written: Completion, prompt_tokens: int) -> None:
        """Append the text of one call, and count its cost."""
        self.note(written, prompt_tokens)
        self.forgiven |= "\r" in written.text
        self.text = unix(written.after(self.text))

    def settle(self, text: str) -> None:
        """Replace the text by `text`, which ends with a block or was cut short."""
        self.forgiven |= not self.text.startswith(text)
        super().settle(text)

    def take_up(self, text: str, executions: list[CodeRun], settled: int) -> None:
        """Go back to a beginning of the text, with its executions, to continue from there."""
        self.text, self.executions, self.settled = text, executions, settled
        self.ran = bool(executions)
        self.resumes += 1
        self.forgiven = True
