"""The records up to the labels: problems, sampled paths, rollouts, labels, drops."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar


@dataclass(frozen=True, slots=True)
class Drop:
    """An item that ends at a stage, and why. The shard's commit holds it, not the rows."""

    item: str
    """problem_id or path_id."""
    reason: str
    """One snake_case word; the counts of drops are by this word."""
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
class Origin:
    """The rollout of an earlier run that a solution is."""

    run: str
    path_id: str
    """The path of that run at whose state it begins."""
    state: int
    """t of state t: the path's first t steps are the solution's too."""
    rollout: int
    """0-based index of the rollout."""
    model: str
    """Identity of the model that wrote it, behind the path's steps."""
    seeds: list[int]
    """The run's seed, and those by which the path was chosen among rollouts of still earlier runs:
    with one of them a run would draw again what was chosen, and count it."""


@dataclass(frozen=True, slots=True)
class Path:
    """One sampled solution (stage `sample`). Every sample is stored, selected or not."""

    UNSAID: ClassVar[tuple[str, ...]] = ("origin",)
    """See `Rationale.UNSAID`."""

    path_id: str
    """`{problem_id}#{index}`."""
    problem_id: str
    index: int
    """0-based index within its problem. `seed` follows from it and the run's seed, or from the
    number of the policy's samples before it where rollouts were reused, which come first."""
    round: int
    """0 for the first round, whose size is fixed beforehand; -1 for a rollout that was reused."""
    text: str
    """The policy's whole text, with the forced prefix."""
    steps: list[str]
    """Text of each step, headers stripped."""
    finish_reason: str
    answer: str | None
    """Content of the last box, as it is compared; None if there is no box."""
    correct: bool
    valid: bool
    invalid_reason: str | None
    """`truncated`, `no_box`, `step_gap`, `empty_step`, `one_step`; None for a valid path. An
    invalid path may still be correct."""
    duplicate_of: str | None
    """path_id of the first sample with exactly this text."""
    selected: bool
    tokens: int
    seed: int
    origin: Origin | None = None
    """The rollout that it is (`sample.reuse_rollouts`); None: a sample of the policy, or given."""


@dataclass(frozen=True, slots=True)
class AnswerCount:
    """How many rollouts of a state ended in one answer (None: no boxed answer)."""

    answer: str | None
    count: int
    correct: bool


@dataclass(frozen=True, slots=True)
class KeptRollout:
    """A rollout whose text was kept (`estimate.keep_texts`)."""

    index: int
    """0-based, of the rollouts of its state in this run."""
    text: str
    """The whole solution: the state's steps as the path has them, and what was written behind."""
    finish_reason: str
    answer: str | None
    """As the rollout was counted; None: none."""
    correct: bool
    tokens: int


@dataclass(frozen=True, slots=True)
class StateRollouts:
    """Rollouts from one state of a path (stage `estimate`); MC(s) = c / n, equation 7."""

    UNSAID: ClassVar[tuple[str, ...]] = ("cut", "cut_right", "kept")
    """See `Rationale.UNSAID`. Rows within other rows never have them."""

    path_id: str
    problem_id: str
    state: int
    """t of state t, 0..T-1. State T is graded by its own answer and has no row."""
    round: int
    n: int
    """Rollouts made."""
    c: int
    """Rollouts that ended in the right answer, `cut_right` included."""
    answers: list[AnswerCount]
    truncated: int
    """Rollouts cut at the token limit; `cut` says what they count as."""
    stop_rule: str
    """How n was chosen: `exact`, `exact_zero_stop`, ...; ratio labels refuse some rules."""
    shared: bool
    """True if the row repeats counts that another row of the problem paid for (state 0)."""
    model: str
    seed: int
    tokens: int
    """Generated tokens that this row paid for; 0 if `shared`."""
    cut: str | None = None
    """What cut rollouts count as: `last_number` or `censored`; None: as wrong."""
    cut_right: int | None = None
    """`last_number`: cut rollouts whose last number is the right answer."""
    kept: list[KeptRollout] | None = None
    """Those of the state's first rollouts whose texts were kept, by index; None: none, or another
    row of the problem has them (`shared`)."""

    @property
    def counted(self) -> int:
        """Rollouts of which `c` are right: those made, or of `censored` those that ended."""
        return self.n - self.truncated if self.cut == "censored" else self.n

    @property
    def contradiction(self) -> str | None:
        """What can't be of these counts together; None: nothing."""
        if (told := sum(answer.count for answer in self.answers)) != self.n:
            return f"answers of {told} rollouts, {self.n} made"
        if (right := sum(answer.count for answer in self.answers if answer.correct)) != self.c:
            return f"{right} right answers, {self.c} right rollouts"
        if not 0 <= (self.cut_right or 0) <= min(self.c, self.truncated):
            return f"{self.cut_right} right of {self.truncated} that were cut"
        return None

    @property
    def bounds(self) -> tuple[int, int]:
        """Right rollouts if all cut ones are wrong, and if all are right, of the `n` made."""
        ended = self.c - (self.cut_right or 0)
        return ended, ended + self.truncated


@dataclass(frozen=True, slots=True)
class FirstPit:
    """Further rollouts around a path's first step from a good state to a bad one (stage `pit`)."""

    path_id: str
    problem_id: str
    states: list[int]
    """The states before and after that step; without the last, which its own answer grades, and
    empty where the path has no such step."""
    rollouts: list[StateRollouts]
    """The rollouts of each, a round after those of stage `estimate`."""


@dataclass(frozen=True, slots=True)
class PathLabels:
    """Step labels of a path (stage `label`); a pure function of its rows and the settings."""

    VERSION: ClassVar[int] = 2

    path_id: str
    problem_id: str
    mc: list[float]
    """MC of states 0..T (T+1 values); after the first 0 every value is 0."""
    n: list[int]
    """T+1 values: rollouts behind each value of `mc`; 0 if it was implied or graded."""
    value: list[float]
    """T values: the ratio, difference or MC that is compared with `threshold`."""
    labels: list[bool]
    """T values: True if the step is labelled right."""
    first_error: int | None
    form: str
    threshold: float
    policy_pass_at_1: float
    """Share of right paths in the first, fixed-size round; the stopping rule does not bias it.
    NaN: there was no such round, since rollouts that were reused filled the quotas."""
    q_pi: list[float] = field(default_factory=list)
    """T+1 values: the base policy's own Q at states 0..T; empty without a prover."""
    q_mu: list[float] = field(default_factory=list)
    """T+1 values: Q of the prover at states 0..T."""
    adv_mu: list[float] = field(default_factory=list)
    """T values: the prover's advantage of each step, Q_mu after - Q_mu before."""
