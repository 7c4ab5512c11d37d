"""The records that leave a run: examples, and scores and critiques of responses."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar

from storage.rows.records.labels import Origin
from storage.rows.records.verdicts import CodeRun


@dataclass(frozen=True, slots=True)
class Message:
    """One turn of a conversation."""

    role: str
    content: str


@dataclass(frozen=True, slots=True)
class Example:
    """A training conversation (stage `export`) with its origin and labels."""

    VERSION: ClassVar[int] = 4

    conversations: list[Message]
    problem_id: str
    path_id: str
    labels: list[bool]
    first_error: int | None
    mc: list[float]
    executions: list[CodeRun]
    policy: str
    """The model that wrote the solution: of a rollout that was reused, its `origin`'s."""
    completer: str
    rationale_writer: str
    run: str
    executed: bool = True
    """False: no code was run (`rationalize.execute: false`), outputs are the model's own."""
    follows: list[bool] = field(default_factory=list)
    """T values: True where the label is wrong only because an earlier step is, and nothing was
    judged of the step itself. Empty in rows that were made before it was recorded."""
    contradicts: list[str] = field(default_factory=list)
    """T values: what contradicts the label, as far as a detector sees: "", `analysis`, `code`, or
    both with a comma. Empty where nothing was written, or it was not recorded."""


@dataclass(frozen=True, slots=True)
class Response:
    """A solution that the verifier scores; one row of the input of `score`."""

    response_id: str
    problem_id: str
    problem: str
    steps: list[str]
    """Text of each step, headers stripped."""
    subset: str
    """The part of a benchmark it belongs to, e.g. `gsm8k`; "" outside benchmarks."""
    label: int | None = None
    """0-based index of the first wrong step; -1: no step is wrong, None: not known."""
    correct: bool | None = None
    """Whether the final answer is right; None: not known."""
    answer: str | None = None
    """Its final answer, for votes among the responses to one problem."""
    generator: str | None = None


@dataclass(frozen=True, slots=True)
class GivenSolutions:
    """Solutions of a problem that were there before the run; one row of stage `given`.

    Solution i of a problem becomes its path of index i.
    """

    problem_id: str
    solutions: list[Response]

    @property
    def labels(self) -> dict[str, int | None]:
        """path_id -> what people say of the solution: `Response.label`."""
        return {
            f"{self.problem_id}#{index}": solution.label
            for index, solution in enumerate(self.solutions)
        }


@dataclass(frozen=True, slots=True)
class ReusedSolutions:
    """Rollouts of an earlier run from a problem; one row of stage `reused`, empty without any.

    They become the problem's first paths, in their order.
    """

    problem_id: str
    solutions: list[Response]
    origins: list[Origin]
    """That of each solution."""


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
    """T values: True if the step used up its rounds or tokens and was judged without code."""
    tokens: int
    model: str
    seed: int
    verdicts: list[bool] = field(default_factory=list)
    """T values: True if the sampled word, which stands in the history, calls the step right."""
    backends: list[str] | None = None
    """What enclosed the executions, as the sandbox names it. None: none, or not recorded."""

    UNSAID: ClassVar[tuple[str, ...]] = ("backends",)
    """See `Rationale.UNSAID`."""


@dataclass(frozen=True, slots=True)
class Score:
    """A verifier's scores of one response: Maj@N over its histories."""

    response_id: str
    problem_id: str
    subset: str
    rewards: list[float]
    """T values: each step's reward, averaged over the histories."""
    first_error: int
    """0-based index of the first step whose reward is below 0.5; -1: none."""
    label: int | None
    """The response's label, if its file has one."""
    correct: bool | None
    histories: list[Verification]


@dataclass(frozen=True, slots=True)
class Critique:
    """A verifier's objection to a response; one row of the input of `refine`."""

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
