"""What is written and said of a path, and what was kept of it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import ClassVar


@dataclass(frozen=True, slots=True)
class CodeRun:
    """One executed block of Python of a rationale."""

    step: int
    code: str
    output: str
    """What was fed back to the model as `[Code Output]`."""
    verdict: str
    wall_s: float
    queued_s: float


STRICT, FORGIVING = "strict", "forgiving"
"""How a rationale was read."""


@dataclass(frozen=True, slots=True)
class Rationale:
    """A written verification of every step (stage `rationalize`); knows no answer, no label."""

    VERSION: ClassVar[int] = 3

    path_id: str
    problem_id: str
    analyses: list[str]
    """T texts, content of each `<analyze>`."""
    verifications: list[str]
    """T texts, content of each `<verify>`: code, outputs and commentary."""
    executions: list[CodeRun]
    votes: list[int | None]
    """The judge's first-error indices, 0-based; -1: no step is wrong, None: unreadable."""
    text: str
    """The whole assistant text, code outputs included."""
    code_rounds: int
    finish_reason: str
    model: str
    seed: int
    tokens: int
    executed: bool = True
    """False: no code was run (`rationalize.execute: false`), outputs are the model's own."""
    attempt: int = 0
    """0-based try of its path."""
    dropped: str | None = None
    """Why this text does not stand (reason and detail), its other fields then empty; None for
    the one that does. `standing` leaves them out; a stage is never shown them."""
    reading: str | None = None
    """STRICT: written as it was asked for, to the letter. FORGIVING: a heading, part or fence was
    spelt otherwise, something was cut off, or the text was taken up again. None: not recorded, or
    dropped."""


def standing(rows: Iterable[Rationale]) -> tuple[Rationale, ...]:
    """The rationales without the texts that were dropped."""
    return tuple(row for row in rows if row.dropped is None)


@dataclass(frozen=True, slots=True)
class Judgement:
    """One text of a judge about one path (stage `judge`); several make up its verdict."""

    path_id: str
    problem_id: str
    prompt: str
    """Which of the judge's prompts: `critique`, `resolve`, `align`."""
    sees: str
    """What the prompt showed of the truth: `none`, `answer`, `reference_solution`."""
    number: int
    """0-based index among the verifications of this prompt and sight."""
    round: str
    """`verify`; under meta-critique also `critique` (of the verification) and `merge`."""
    analyses: list[str]
    """T texts; "" where a paragraph has none. Empty for a critique."""
    verdicts: list[bool | None]
    """T values: True where the step is called right, None where nothing can be read."""
    index: int | None
    """0-based first error as it was named; -1: no step is wrong, None: unreadable or not named."""
    text: str
    """The whole assistant text."""
    finish_reason: str
    model: str
    seed: int
    tokens: int


@dataclass(frozen=True, slots=True)
class Agreement:
    """Whether judge and labels agree on a path (stage `consensus`), and if not, why."""

    VERSION: ClassVar[int] = 2

    path_id: str
    problem_id: str
    kept: bool
    reason: str | None
    """`index_mismatch`, `non_monotone`, `judge_unreadable`, `judge_split`...; None where kept."""
    label_first_error: int | None
    judge_first_error: int | None
    rule: str
    labels: list[bool] = field(default_factory=list)
    """Labels of the steps that are exported, from the first source; fewer than T where cut."""
    values: list[float] = field(default_factory=list)
    """Per label what it was read from: a share of votes or a hybrid value; empty: nothing."""
    chosen: int | None = None
    """Which of the path's verifications, in their order, speaks for it; None: its rationale."""


@dataclass(frozen=True, slots=True)
class Intervention:
    """A step that may stand where the first wrong one stands (stages `repair` and `retry`)."""

    path_id: str
    problem_id: str
    problem: str
    step: int
    """0-based index of the wrong step; `prefix` are the steps before it."""
    prefix: list[str]
    wrong: str
    replacement: str
    reply_tokens: int
    n: int
    """Continuations of prefix and replacement; 0 before stage `retry`."""
    c: int
    """Continuations that ended in the right answer."""
    kept: bool
    """Whether enough of them did."""
    seed: int
    tokens: int
