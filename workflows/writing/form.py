"""What the writer of rationales is given: solutions, and the form of what it writes.

Invariant: a solution has room for neither answer nor label, and every method of a form is pure.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from actors.engines.contract import Chat
from actors.sandbox.contract import Execution, Limits
from storage.rows.kinds import LABELS, PATHS, PROBLEMS, ShardRows
from storage.rows.records import CodeRun


@dataclass(frozen=True, slots=True)
class Solution:
    """All that the writer may know of a path."""

    path_id: str
    problem_id: str
    problem: str
    steps: tuple[str, ...]


def solutions_of(rows: ShardRows, labelled_only: bool = True) -> list[Solution]:
    """Selected paths (that were labelled), reduced to what the writer may know."""
    problems = {problem.problem_id: problem.problem for problem in rows[PROBLEMS]}
    labelled = {labels.path_id for labels in rows[LABELS]}
    return [
        Solution(path.path_id, path.problem_id, problems[path.problem_id], tuple(path.steps))
        for path in rows[PATHS]
        if path.selected and (path.path_id in labelled or not labelled_only)
    ]


class ToSettle(Protocol):
    """Something in the text that the model can't write alone."""

    @property
    def text(self) -> str:
        """The text up to it, or up to its end where it is a block of code."""
        ...

    @property
    def code(self) -> str | None:
        """What must be run; None where the rest can't stay: the model made an output up."""
        ...


class RationaleForm(Protocol):
    """What the texts look like; every method is pure."""

    stops: tuple[str, ...]
    """Where generation pauses: what may end a code block, `thinking_stop`."""
    output_stop: str
    """Where it also pauses if code is run: the model begins an output of its own."""
    thinking_stop: str
    """Where the verification ends."""
    vote_stop: str

    def chat(self, problem: str, steps: Sequence[str]) -> Chat:
        """All steps at once, and how the assistant's turn begins."""
        ...

    def found(self, written: str, ran: bool) -> ToSettle | None:
        """The first block to run, or output of the model's own, in what was written.

        `ran`: it begins with a block that was run, and its output.
        """
        ...

    def step_of(self, text: str) -> int:
        """0-based step that the text is verifying at its end."""
        ...

    def code_block(self, code: str) -> str:
        """How a block that was run is shown."""
        ...

    def code_output(self, execution: Execution, limits: Limits) -> tuple[str, str]:
        """(what is fed back, the whole block that is appended to the text)."""
        ...

    def paragraphs(self, text: str, steps: int) -> tuple[list[str], list[str]]:
        """Analyses and verifications per step. Raises ItemError for a text of another form."""
        ...

    def is_strict(self, text: str, steps: int) -> bool:
        """Whether a text that can be read has the form to the letter."""
        ...

    def last_good(self, text: str, steps: int) -> tuple[str, int, bool] | None:
        """(text up to its last good paragraph, blocks in it, whether that is the last of all).

        The next paragraph is opened. None where the first one is not good.
        """
        ...

    def concluded(self, text: str, steps: int) -> tuple[str, int] | None:
        """(text up to its conclusion, blocks in it) where only that can still be going on."""
        ...

    def shown_code(
        self, analyses: Sequence[str], verifications: Sequence[str]
    ) -> list[tuple[int, str, str]]:
        """(step, code, output that is shown) of every block, in the order of the paragraphs."""
        ...

    def check_executed(
        self,
        analyses: Sequence[str],
        verifications: Sequence[str],
        executions: Sequence[CodeRun],
    ) -> None:
        """Raise ItemError `not_executed` where something is shown that was not run."""
        ...

    def conclude(self, text: str) -> str:
        """The text up to its last verification, opened for the index vote."""
        ...

    def vote(self, voted: str, steps: int) -> int | None:
        """0-based first error, -1 for none, None where it can't be read."""
        ...


def with_newlines(text: str) -> str:
    """A model's text with newlines alone as line ends."""
    return text.replace("\r\n", "\n").replace("\r", "\n")
