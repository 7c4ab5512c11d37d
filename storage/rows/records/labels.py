"""What is sampled of a problem, rolled out from it and concluded of its steps."""

from __future__ import annotations

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
