"""The rows that flow between stages: one frozen dataclass per kind.

Every stage stores what it saw (texts, counts, answers, votes, executions) beside what it concluded.
So labels, filters and exports can be derived again without spending a token.

Invariant: fields are only added; none is renamed or given another meaning. `storage.rows.schemas`
derives each kind's Arrow schema from its annotations. The schema's version (`VERSION`, 1 by
default) grows by one with every added field and is part of a run's spec. Step and state indices
are 0-based. State t is the solution after its first t steps, so a path of T steps has states 0..T.
Step t leads from state t to state t+1. A `first_error` of None means that no step is wrong.
"""

from __future__ import annotations

from storage.rows.records.handed_out import (
    Critique,
    Example,
    GivenSolutions,
    Message,
    Response,
    ReusedSolutions,
    Score,
    Verification,
)
from storage.rows.records.injected import Injection
from storage.rows.records.labels import (
    AnswerCount,
    Drop,
    FirstPit,
    KeptRollout,
    Origin,
    Path,
    PathLabels,
    Problem,
    StateRollouts,
)
from storage.rows.records.searched import Candidate, SearchedStep, Solved
from storage.rows.records.verdicts import (
    FORGIVING,
    STRICT,
    Agreement,
    CodeRun,
    Intervention,
    Judgement,
    Metaverified,
    Rationale,
    ReasonScore,
    Translation,
    standing,
)

__all__ = [
    "FORGIVING",
    "STRICT",
    "Agreement",
    "AnswerCount",
    "Candidate",
    "CodeRun",
    "Critique",
    "Drop",
    "Example",
    "FirstPit",
    "GivenSolutions",
    "Injection",
    "Intervention",
    "Judgement",
    "KeptRollout",
    "Message",
    "Metaverified",
    "Origin",
    "Path",
    "PathLabels",
    "Problem",
    "Rationale",
    "ReasonScore",
    "Response",
    "ReusedSolutions",
    "Score",
    "SearchedStep",
    "Solved",
    "StateRollouts",
    "Translation",
    "Verification",
    "standing",
]
