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

from storage.rows.records.handed_out import (
    Critique,
    Example,
    GivenSolutions,
    Message,
    Response,
    Score,
    Verification,
)
from storage.rows.records.labels import (
    AnswerCount,
    Drop,
    Path,
    PathLabels,
    Problem,
    StateRollouts,
)
from storage.rows.records.verdicts import (
    FORGIVING,
    STRICT,
    Agreement,
    CodeRun,
    Intervention,
    Judgement,
    Rationale,
    standing,
)

__all__ = [
    "FORGIVING",
    "STRICT",
    "Agreement",
    "AnswerCount",
    "CodeRun",
    "Critique",
    "Drop",
    "Example",
    "GivenSolutions",
    "Intervention",
    "Judgement",
    "Message",
    "Path",
    "PathLabels",
    "Problem",
    "Rationale",
    "Response",
    "Score",
    "StateRollouts",
    "Verification",
    "standing",
]
