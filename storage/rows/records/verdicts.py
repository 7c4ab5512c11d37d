"""The records that judge a path: rationales, judgements, agreement, interventions."""

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
"""The two readings of a rationale: see `Rationale.reading`."""


@dataclass(frozen=True, slots=True)
class Rationale:
    """A written verification of every step (stage `rationalize`), made without answer or label."""

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
    """0-based number of the attempt for its path."""
    dropped: str | None = None
    """Reason and detail of a dropped text, whose other fields are empty; None: the text stands.
    Later stages get only texts that stand (`standing`)."""
    reading: str | None = None
    """STRICT: the text has exactly the requested form. FORGIVING: a heading, part or fence is spelt
    otherwise, an end is cut off, or the text was continued. None: not recorded, or dropped."""
    backends: list[str] | None = None
    """What enclosed the executions, as the sandbox names it. None: none, or not recorded."""

    UNSAID: ClassVar[tuple[str, ...]] = ("backends",)
    """Left out of a shard in which no row has it, so that such shards stay what they were. An
    earlier program reads past it: it makes no new version of the rows."""


def standing(rows: Iterable[Rationale]) -> tuple[Rationale, ...]:
    """The rationales that were not dropped."""
    return tuple(row for row in rows if row.dropped is None)


@dataclass(frozen=True, slots=True)
class Translation:
    """A problem and a path's T steps as formulas, and in words again (stage `translate`)."""

    path_id: str
    problem_id: str
    attempt: int
    """0-based number of the attempt for its path."""
    premises: str
    """Python that declares the variables of Z3 and sets the list `premises`."""
    claims: list[str]
    """T boolean expressions of Z3, what each step concludes."""
    said: list[str]
    """T + 1 texts, what the premises and each claim say, told from the formulas alone."""
    same: list[bool | None]
    """T + 1 values: True if that is what the problem, or the step, says; None: unreadable. Both
    are empty where statements are not translated back."""
    texts: list[str]
    """The model's whole texts, in order."""
    model: str
    seed: int
    tokens: int
    dropped: str | None = None
    """Reason and detail of a translation that does not stand; later stages do not get it."""


@dataclass(frozen=True, slots=True)
class Judgement:
    """One text of a judge about one path (stage `judge`); several form its verdict."""

    path_id: str
    problem_id: str
    prompt: str
    """Which of the judge's prompts: `critique`, `resolve`, `align`."""
    sees: str
    """What the prompt revealed: `none`, `answer`, `reference_solution`."""
    number: int
    """0-based index among the verifications with this `prompt` and `sees`."""
    round: str
    """`verify`; under meta-critique also `critique` (of the verification) and `merge`."""
    analyses: list[str]
    """T texts, "" for a paragraph without one; empty for a critique."""
    verdicts: list[bool | None]
    """T values: True if the judge calls the step right; None: unreadable."""
    index: int | None
    """0-based first error as it was named; -1: no step is wrong, None: unreadable or not named."""
    text: str
    """The assistant's whole text, without its `thought`."""
    finish_reason: str
    model: str
    seed: int
    tokens: int
    thought: str | None = None
    """What the model thought before it answered, in the text or apart from it; None: nothing."""
    steps: int | None = None
    """T of the path's first steps, which it is about; None: the whole path."""
    real: bool | None = None
    """Whether a second model finds its reasons real; stage `consensus` adds it, none stores it.
    None: it reports no error, or nobody scored it."""

    UNSAID: ClassVar[tuple[str, ...]] = ("thought", "steps", "real")
    """See `Rationale.UNSAID`."""

    @property
    def only_thought(self) -> bool:
        """Whether it ended before the model answered."""
        return bool(self.thought) and not self.text


@dataclass(frozen=True, slots=True)
class ReasonScore:
    """A second model's score of a judgement that reports an error."""

    prompt: str
    """With the next four, which judgement of its path: as its own fields."""
    sees: str
    number: int
    round: str
    steps: int | None
    vote: int
    """0-based index among the scores of this judgement."""
    score: float | None
    """1: the errors that it reports are there and its reasons true; 0.5: there, but not for all of
    its reasons; 0: one is not there. None: unreadable."""
    text: str
    """The assistant's whole text."""
    finish_reason: str
    seed: int
    tokens: int


@dataclass(frozen=True, slots=True)
class Metaverified:
    """The scores of a path's judgements (stage `metaverify`)."""

    path_id: str
    problem_id: str
    scores: list[ReasonScore]
    """None of judgements that report no error."""
    model: str


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
    """Labels of the exported steps, from the first source; fewer than T if the path is cut."""
    values: list[float] = field(default_factory=list)
    """The value behind each label: a share of votes or a hybrid value; empty: no such value."""
    chosen: int | None = None
    """0-based index of the path's verification that is exported; None: its rationale is."""
    also: list[int] | None = None
    """The verifications of shorter prefixes of the path that are kept too; None: none."""

    follows: list[bool] | None = None
    """For each of `labels`, whether it is wrong only because an earlier step is; None: not
    recorded."""

    UNSAID: ClassVar[tuple[str, ...]] = ("also", "follows")
    """See `Rationale.UNSAID`."""


@dataclass(frozen=True, slots=True)
class Intervention:
    """A proposed replacement of the first wrong step (stages `repair` and `retry`)."""

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
    """Whether enough continuations ended in the right answer."""
    seed: int
    tokens: int
