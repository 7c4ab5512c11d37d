"""The sources of the consensus: each gives labels of a path's steps, or a reason why it can't.

    labels   Stage `label`.
    judge    The rationale's votes, or stage `judge`.
    tool     The verdict that the code of each step printed, or a model gave by the tool's answer.
    hybrid   Tool verdicts and outcome, combined to a value per step; in a tree, the step's own.
    outcome  Whether the path's answer is right.
    people   The labels that people gave a given solution.
    injected Where an error was put into a right solution.

Invariant: an unreadable source gives a reason of `Unread`. No other source takes its place.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from storage.rows.kinds import (
    ALTERED,
    FORMALIZED,
    GIVEN,
    GROUNDED,
    JUDGEMENTS,
    LABELS,
    PATHS,
    RATIONALES,
)
from storage.rows.records import Injection, Judgement, Path, PathLabels, Rationale
from storage.rows.tree_records import GroundedNode
from workflows.judging.ballots import Unread, judge_labels, verdicts
from workflows.judging.tools import hybrid_values, tool_verdicts
from workflows.settings import ConsensusSettings, JudgeSettings


@dataclass(frozen=True, slots=True)
class Evidence:
    """The rows of a path of T steps that sources read."""

    path_id: str
    problem_id: str
    steps: int
    path: Path | None = None
    labels: PathLabels | None = None
    rationale: Rationale | None = None
    judgements: tuple[Judgement, ...] = ()
    grounded: tuple[GroundedNode, ...] = ()
    """The path's steps in a tree of checked steps (stage `ground`)."""
    people: int | None = None
    """0-based index of the first step that people call wrong; -1: none; None: no person's label."""
    injected: Injection | None = None

    @property
    def right_answer(self) -> bool:
        """Whether the path's own answer is right. Raises ValueError without a path."""
        if self.path is None:
            raise ValueError("the outcome is asked of a path that is not there")
        return self.path.correct


@dataclass(frozen=True, slots=True)
class Reading:
    """The labels that a source gives."""

    labels: tuple[bool, ...]
    """T values; for `outcome` all right, or the last one wrong."""
    values: tuple[float, ...] = ()
    chosen: int | None = None
    """Position of the verification whose text goes with the labels."""
    scope: str = "steps"
    """What the labels mean: `steps` (each label), `index` (first error), `outcome` (any error)."""


Source = Callable[[Evidence, ConsensusSettings, JudgeSettings], "list[Reading] | Unread"]
"""Returns a reading, or several of which any may agree, or why there is none."""


def judge_index(votes: Sequence[int | None], aggregate: str, steps: int) -> int | Unread | None:
    """The 0-based first error by the votes; None: no step is wrong; or why the votes give none.

    In stored votes, -1 means that no step is wrong, and None that the vote was unreadable. An
    index beyond the last of the `steps` steps is unreadable too.

    `majority`: the most frequent ballot, where an unreadable vote is a ballot too; a tie is a
    split. `unanimous`: all votes must be readable and equal.
    """
    ballots = [vote if vote is not None and -1 <= vote < steps else None for vote in votes]
    if aggregate == "unanimous":
        if not ballots or None in ballots:
            return Unread.JUDGE_UNREADABLE
        ranked = Counter(ballots).most_common()
        tied = len(ranked) > 1
    else:
        ranked = Counter(ballots).most_common()
        tied = len(ranked) > 1 and ranked[0][1] == ranked[1][1]
    if tied:
        return Unread.JUDGE_SPLIT
    index = ranked[0][0] if ranked else None
    if index is None:
        return Unread.JUDGE_UNREADABLE
    return None if index < 0 else index


def _labels(of: Evidence, rule: ConsensusSettings, judge: JudgeSettings) -> list[Reading] | Unread:
    if of.labels is None:
        raise ValueError("labels are asked of a path that has none")
    return [Reading(tuple(of.labels.labels))]


def _judge(of: Evidence, rule: ConsensusSettings, judge: JudgeSettings) -> list[Reading] | Unread:
    if of.judgements:
        by_judge = verdicts(of.judgements, judge, of.steps)
        if isinstance(by_judge, Unread):
            return by_judge
        return [
            Reading(each.labels, each.values, each.chosen, "index" if each.from_index else "steps")
            for each in by_judge
        ]
    if of.rationale is None:
        return Unread.JUDGE_UNREADABLE
    index = judge_index(of.rationale.votes, rule.aggregate, of.steps)
    if isinstance(index, Unread):
        return index
    right = judge_labels(index, of.steps)
    return [Reading(tuple(right), scope="index")]


def _tool(of: Evidence, rule: ConsensusSettings, judge: JudgeSettings) -> list[Reading] | Unread:
    labels = _all_verdicts(of)
    return Unread.TOOL_UNREADABLE if labels is None else [Reading(tuple(labels))]


def _hybrid(of: Evidence, rule: ConsensusSettings, judge: JudgeSettings) -> list[Reading] | Unread:
    labels = _all_verdicts(of)
    if labels is None:
        return Unread.TOOL_UNREADABLE
    values = [node.value or 0.0 for node in of.grounded] or hybrid_values(
        labels, of.right_answer, rule.discount
    )
    return [Reading(tuple(value > 0 for value in values), tuple(values))]


def _all_verdicts(of: Evidence) -> list[bool] | None:
    by_step = [node.verdict for node in of.grounded] or tool_verdicts(
        of.rationale.executions if of.rationale else (), of.steps
    )
    every = [verdict for verdict in by_step if verdict is not None]
    return every if len(every) == of.steps else None


def _outcome(of: Evidence, rule: ConsensusSettings, judge: JudgeSettings) -> list[Reading]:
    return [Reading((*[True] * (of.steps - 1), of.right_answer), scope="outcome")]


def _people(of: Evidence, rule: ConsensusSettings, judge: JudgeSettings) -> list[Reading] | Unread:
    if of.people is None:
        return Unread.PEOPLE_SILENT
    right = judge_labels(None if of.people == -1 else of.people, of.steps)
    return [Reading(tuple(right), scope="index")]


def _injected(
    of: Evidence, rule: ConsensusSettings, judge: JudgeSettings
) -> list[Reading] | Unread:
    if of.injected is None:
        raise ValueError("the error is asked of a path that has none put into it")
    right = judge_labels(of.injected.first_error, of.steps)
    return [Reading(tuple(right), scope="index")]


SOURCES: Mapping[str, Source] = {
    "labels": _labels,
    "judge": _judge,
    "tool": _tool,
    "hybrid": _hybrid,
    "outcome": _outcome,
    "people": _people,
    "injected": _injected,
}
NEEDS: Mapping[str, tuple[str, ...]] = {
    "labels": (LABELS.stage,),
    "judge": (RATIONALES.stage, JUDGEMENTS.stage),
    "tool": (RATIONALES.stage, FORMALIZED.stage, GROUNDED.stage),
    "hybrid": (RATIONALES.stage, FORMALIZED.stage, GROUNDED.stage),
    "outcome": (PATHS.stage,),
    "people": (GIVEN.stage,),
    "injected": tuple(kind.stage for kind in ALTERED),
}
"""Source -> stages; the road must have at least one of them."""
