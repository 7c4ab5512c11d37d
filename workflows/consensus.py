"""Consensus filtering: a path is kept only where the judge agrees with the labels.

The judge is the rationale model itself: it ends its verification with the index of the first
wrong step, voted several times. The paper does not say how votes are reduced, nor whether every
label or only the first error must agree; both are settings, and what is lost is counted by reason.

Invariant: every path that enters is kept or has exactly one reason out of `Reason`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from enum import StrEnum
from itertools import pairwise

from actors.stage import ShardResult, ShardRows, process_items
from storage.errors import ItemError
from storage.records import Agreement, Drop, PathLabels, Rationale
from workflows.settings import ConsensusSettings

NO_ERROR = -1
"""The judge's index where no step is wrong."""


class Reason(StrEnum):
    """Why a path is not kept; closed."""

    JUDGE_UNREADABLE = "judge_unreadable"
    """The votes give no index."""
    JUDGE_SPLIT = "judge_split"
    """The votes give more than one index."""
    NON_MONOTONE = "non_monotone"
    """A label is right again after a wrong one: no single index can agree (`all_steps`)."""
    INDEX_MISMATCH = "index_mismatch"
    """Judge and labels name different first errors."""


def judge_index(votes: Sequence[int | None], aggregate: str, steps: int) -> int | Reason:
    """The votes as one 0-based index or NO_ERROR; a Reason where they give none.

    `majority`: the most frequent ballot, an unreadable one being a ballot too; a tie is a split.
    `unanimous`: all votes must be readable and equal. An index beyond the last of the `steps`
    steps is unreadable.
    """
    ballots = [vote if vote is not None and NO_ERROR <= vote < steps else None for vote in votes]
    if aggregate == "unanimous":
        if not ballots or None in ballots:
            return Reason.JUDGE_UNREADABLE
        ranked = Counter(ballots).most_common()
        tied = len(ranked) > 1
    else:
        ranked = Counter(ballots).most_common()
        tied = len(ranked) > 1 and ranked[0][1] == ranked[1][1]
    if tied:
        return Reason.JUDGE_SPLIT
    index = ranked[0][0] if ranked else None
    return Reason.JUDGE_UNREADABLE if index is None else index


def judge_labels(index: int | None, steps: int) -> list[bool]:
    """The labels that an index stands for: right before it, wrong from it on; None: all right."""
    return [index is None or step < index for step in range(steps)]


def is_monotone(labels: Sequence[bool]) -> bool:
    """Whether no label is right after a wrong one."""
    return not any(after and not before for before, after in pairwise(labels))


def agreement(labels: PathLabels, rationale: Rationale, settings: ConsensusSettings) -> Agreement:
    """Whether judge and labels agree on a path under `settings.rule`.

    `all_steps`: every label equals the judge's. `first_error`: the first errors are equal.
    `none`: every path is kept, what the judge said is recorded.
    """
    steps = len(labels.labels)
    judged = judge_index(rationale.votes, settings.aggregate, steps)
    judge_first = None if isinstance(judged, Reason) or judged == NO_ERROR else judged
    reason: Reason | None = None
    if settings.rule != "none":
        if isinstance(judged, Reason):
            reason = judged
        elif settings.rule == "all_steps" and not is_monotone(labels.labels):
            reason = Reason.NON_MONOTONE
        elif labels.first_error != judge_first:
            reason = Reason.INDEX_MISMATCH
    return Agreement(
        path_id=labels.path_id,
        problem_id=labels.problem_id,
        kept=reason is None,
        reason=reason,
        label_first_error=labels.first_error,
        judge_first_error=judge_first,
        rule=settings.rule,
    )


class ConsensusStage:
    """Stage `consensus`: thin around `agreement`. A path without a rationale ended before it."""

    def __init__(self, settings: ConsensusSettings) -> None:
        self._settings = settings

    async def run(self, rows: ShardRows) -> ShardResult[Agreement]:
        """Judge every path that has labels and a rationale; rows for all, drops for the lost."""
        labels = {row.path_id: row for row in rows.labels}

        async def judge(rationale: Rationale) -> list[Agreement]:
            labelled = labels.get(rationale.path_id)
            if labelled is None:
                raise ItemError("labels_missing", "a rationale without labels")
            return [agreement(labelled, rationale, self._settings)]

        judged, drops = await process_items(rows.rationales, lambda row: row.path_id, judge)
        lost = [Drop(row.path_id, row.reason) for row in judged if row.reason is not None]
        return ShardResult(
            tuple(judged), (*drops, *lost), {"kept": sum(row.kept for row in judged)}
        )

    async def close(self) -> None:
        """Nothing to release."""
