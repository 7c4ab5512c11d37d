"""The rows that flow between stages: one frozen dataclass per kind.

Every stage stores what it saw (texts, counts, answers, votes, executions), never only what it
concluded, so that labels, filters and exports can be derived again without spending a token.

Invariant: a field is added, never renamed or given another meaning; `storage.rows.schemas` derives
the Arrow schema of each kind from its annotations, and the schema's version (`VERSION`, 1 where it
is not named, one more with every field that is added) is part of a run's spec. Step and state
indices are 0-based: state t is the solution after its first t steps, so a path of T steps has
states 0..T and step t leads from state t to state t+1. A `first_error` of None means that no step
is wrong.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import ClassVar


@dataclass(frozen=True, slots=True)
class Drop:
    """An item that ends at a stage, and why. Kept in the shard's commit, not in its rows."""

    item: str
    """problem_id or path_id."""
    reason: str
    """One snake_case word that is counted."""
    detail: str = ""


@dataclass(frozen=True, slots=True)
class Problem:
    """A math problem with a known answer. One row of the input and of stage `problems`."""

    problem_id: str
    problem: str
    answer: str
    level: str | None = None
    subject: str | None = None
    source: str | None = None
    reference_solution: str | None = None


@dataclass(frozen=True, slots=True)
class Path:
    """One sampled solution (stage `sample`); every sample is stored, also those not selected."""

    path_id: str
    """`{problem_id}#{index}`."""
    problem_id: str
    index: int
    """0-based index of the sample within its problem; with the run's seed it gives `seed`."""
    round: int
    """0 for the first round, whose size is fixed before anything is seen."""
    text: str
    """The policy's whole text, the forced prefix included."""
    steps: list[str]
    """Text of each step, headers stripped."""
    finish_reason: str
    answer: str | None
    """Content of the last box, as compared; None where there is none."""
    correct: bool
    valid: bool
    invalid_reason: str | None
    """`truncated`, `no_box`, `step_gap`, `empty_step`, `one_step`; None for a valid path. Invalid
    is not incorrect."""
    duplicate_of: str | None
    """path_id of the first sample with exactly this text."""
    selected: bool
    tokens: int
    seed: int


@dataclass(frozen=True, slots=True)
class AnswerCount:
    """How often one answer (None: no boxed answer) ended the rollouts of a state."""

    answer: str | None
    count: int
    correct: bool


@dataclass(frozen=True, slots=True)
class StateRollouts:
    """Rollouts from one state of a path (stage `estimate`); MC(s) = c / n, equation 7."""

    path_id: str
    problem_id: str
    state: int
    """t of state t, 0..T-1; the last state is graded by its own answer and has no row."""
    round: int
    n: int
    """Rollouts made."""
    c: int
    """Rollouts that ended in the right answer."""
    answers: list[AnswerCount]
    truncated: int
    """Rollouts cut at the token limit; they count as wrong."""
    stop_rule: str
    """How n was chosen: `exact`, `exact_zero_stop`, ...; ratio labels refuse some rules."""
    shared: bool
    """True where the row repeats counts paid for by another row of the same problem (state 0)."""
    model: str
    seed: int
    tokens: int
    """Generated tokens that this row paid for: 0 where `shared`."""


@dataclass(frozen=True, slots=True)
class PathLabels:
    """What Monte-Carlo estimation says of a path (stage `label`); pure in rows and settings."""

    VERSION: ClassVar[int] = 2

    path_id: str
    problem_id: str
    mc: list[float]
    """MC of states 0..T (T+1 values); after the first 0 every value is 0."""
    n: list[int]
    """Rollouts behind each value of `mc`; 0 where it was implied or graded."""
    value: list[float]
    """T values: the ratio, difference or MC that was compared with the threshold."""
    labels: list[bool]
    """T values: True where the step is labelled right."""
    first_error: int | None
    form: str
    threshold: float
    policy_pass_at_1: float
    """Share of right paths in the first (fixed-size) round: unbiased by the stopping rule."""
    q_pi: list[float] = field(default_factory=list)
    """T + 1 values: Q of the completion model at states 0..T; empty where no prover was asked."""
    q_mu: list[float] = field(default_factory=list)
    """T + 1 values: the prover's."""
    adv_mu: list[float] = field(default_factory=list)
    """T values: the prover's advantage of each step, Q_mu after - Q_mu before."""


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


@dataclass(frozen=True, slots=True)
class Message:
    """One turn of a conversation."""

    role: str
    content: str


@dataclass(frozen=True, slots=True)
class Example:
    """A training conversation (stage `export`) with where it came from."""

    VERSION: ClassVar[int] = 2

    conversations: list[Message]
    problem_id: str
    path_id: str
    labels: list[bool]
    first_error: int | None
    mc: list[float]
    executions: list[CodeRun]
    policy: str
    completer: str
    rationale_writer: str
    run: str
    executed: bool = True
    """False: no code was run (`rationalize.execute: false`), outputs are the model's own."""


@dataclass(frozen=True, slots=True)
class Response:
    """A solution that the verifier is asked about; one row of the input of `score`."""

    response_id: str
    problem_id: str
    problem: str
    steps: list[str]
    """Text of each step, headers stripped."""
    subset: str
    """Which part of a benchmark it belongs to, e.g. `gsm8k`; "" outside benchmarks."""
    label: int | None = None
    """0-based index of the first wrong step, -1: none is wrong, None: not known."""
    correct: bool | None = None
    """Whether its final answer is right; None: not known."""
    answer: str | None = None
    """Its own final answer, for votes among the responses to one problem."""
    generator: str | None = None


@dataclass(frozen=True, slots=True)
class Verification:
    """One history of the verifier over one response (stage `score`).

    Maj@N is N rows of one response, each with a history of its own (equations 5 and 6).
    """

    response_id: str
    history: int
    """0..N-1."""
    mode: str
    """`direct`, `cot`, `code`, `code_not_run` or `full`."""
    rewards: list[float]
    """T values: P(Yes) / (P(Yes) + P(No)) at each step's verdict."""
    analyses: list[str]
    """T texts, content of each `<analyze>`; "" where the mode has none."""
    verifications: list[str]
    """T texts, content of each `<verify>`; "" where the mode has none."""
    executions: list[CodeRun]
    degraded: list[bool]
    """T values: True where the step used up its rounds or tokens and was judged without code."""
    tokens: int
    model: str
    seed: int
    verdicts: list[bool] = field(default_factory=list)
    """T values: the word that was sampled and stands in the history; the reward is its odds."""


@dataclass(frozen=True, slots=True)
class Score:
    """What a verifier says of a response: Maj@N over its histories."""

    response_id: str
    problem_id: str
    subset: str
    rewards: list[float]
    """T values, averaged over histories."""
    first_error: int
    """0-based index of the first step whose reward is below 0.5; -1: none."""
    label: int | None
    """The response's own label, where its file has one."""
    correct: bool | None
    histories: list[Verification]


@dataclass(frozen=True, slots=True)
class Critique:
    """What a verifier holds against a response; one row of the input of `refine`."""

    response_id: str
    problem_id: str
    problem: str
    steps: list[str]
    """The whole solution."""
    subset: str
    step: int
    """0-based index of the first step judged wrong."""
    text: str
    """The verifier's analysis of that step; "" where its mode writes none."""
    turn: int
    """0 for the first refinement."""
