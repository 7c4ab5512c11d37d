"""A rationale while it is written: the solution, the text, what was run for it, what it cost.

Invariant: a solution has room for neither answer nor label; `executions` are those of the blocks in
the text, in its order; `seen` is all that the interpreter was given.
"""

from __future__ import annotations

from dataclasses import dataclass

from actors.engines.contract import Chat, Completion
from storage.errors import ItemError
from storage.rows.kinds import PROBLEMS, ShardRows
from storage.rows.records import CodeRun
from workflows.formats.fences import unix
from workflows.stages.code_loop import Page
from workflows.stages.judge import entering


@dataclass(frozen=True, slots=True)
class Solution:
    """All that the writer may know of a path."""

    path_id: str
    problem_id: str
    problem: str
    steps: tuple[str, ...]


def solutions_of(rows: ShardRows, labelled: bool) -> list[Solution]:
    """The paths that are verified, reduced to what the writer may know."""
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
        """All code that the interpreter has seen, also of paragraphs that were given up."""
        self.replayed = 0
        """Blocks that were run again."""
        self.cuts = 0
        """How often something that can't stay was cut off."""
        self.resumes = 0
        self.forgiven = False
        """Whether what the model wrote differs from what is kept of it: it was spelt otherwise, cut
        off or taken up again."""
        self.trouble: tuple[ItemError, str] | None = None
        """What was first wrong with the form, and the text that had it."""

    @property
    def cut_back(self) -> str:
        """Why something was cut off, in words."""
        return (
            f"the text was cut back ({self.cuts}): it showed an output that no code printed, or "
            "the code block did not end where it seemed to"
        )

    def extend(self, written: Completion, prompt_tokens: int) -> None:
        """Append what one call wrote."""
        self.note(written, prompt_tokens)
        self.forgiven |= "\r" in written.text
        self.text = unix(written.after(self.text))

    def settle(self, text: str) -> None:
        """Put `text` in the place of what was written: its end is a block, or was cut off."""
        self.forgiven |= not self.text.startswith(text)
        super().settle(text)

    def take_up(self, text: str, executions: list[CodeRun], settled: int) -> None:
        """Go back to a part of the text, with its executions, to go on from there."""
        self.text, self.executions, self.settled = text, executions, settled
        self.ran = bool(executions)
        self.resumes += 1
        self.forgiven = True
