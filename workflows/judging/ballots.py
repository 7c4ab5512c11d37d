"""The judge's aggregators: they turn a path's verifications into a verdict.

Invariant: depends only on the stored rows. A verification counts whole or not at all. One that was
cut off, in its thoughts too, is unreadable. One that lacks a verdict on a step is unreadable too,
or calls that step wrong (`judge.ungraded`). One whose reasons a second model finds untrue counts
as unreadable (stage `metaverify`). A tie is a split and stays undecided.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from storage.rows.records import Judgement
from workflows.settings import JudgeSettings


class Unread(StrEnum):
    """All reasons why a source of the consensus gives no labels."""

    JUDGE_UNREADABLE = "judge_unreadable"
    """No vote or verification that counts can be read."""
    JUDGE_THOUGHT_CUT = "judge_thought_cut"
    """The same, and some ended before the model had come to the end of its thoughts."""
    JUDGE_SPLIT = "judge_split"
    """The votes are tied."""
    NO_VERIFICATION = "no_verification_agrees"
    """No single verification agrees with their majority, so no text goes with it."""
    PEOPLE_SILENT = "people_silent"
    """No person labelled it."""
    TOOL_UNREADABLE = "tool_unreadable"
    """A step has no code that printed True or False."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """Labels of T steps, and the verification that they come from."""

    labels: tuple[bool, ...]
    values: tuple[float, ...]
    """T: share of the counted verifications that call the step right."""
    chosen: int
    """Position, among the path's rows, of the verification whose text goes with the labels."""
    from_index: bool
    """Whether the labels mean only the index of the first error."""


def judge_labels(index: int | None, steps: int) -> list[bool]:
    """The labels that an index means: right before it, wrong from it on; None: all right."""
    return [index is None or step < index for step in range(steps)]


def counted_turn(settings: JudgeSettings) -> str:
    """The round whose texts count: under `meta_critique` the revisions."""
    return "merge" if settings.aggregator == "meta_critique" else "verify"


def read(row: Judgement, settings: JudgeSettings, steps: int) -> tuple[bool, ...] | None:
    """The labels of a verification; None if it is unreadable, or its reasons are not real."""
    if row.finish_reason != "stop" or row.only_thought or row.real is False:
        return None
    if settings.verdicts == "index":
        index = row.index
        return None if index is None else tuple(judge_labels(None if index < 0 else index, steps))
    if settings.ungraded == "wrong":
        return tuple(verdict is True for verdict in row.verdicts)
    graded = [verdict for verdict in row.verdicts if verdict is not None]
    return tuple(graded) if len(graded) == steps else None


def verdicts(
    rows: Sequence[Judgement], settings: JudgeSettings, steps: int
) -> list[Verdict] | Unread:
    """The verdict on a path; with `aggregator: any`, that of every readable verification."""
    turn = counted_turn(settings)
    counted = [(at, read(row, settings, steps)) for at, row in enumerate(rows) if row.round == turn]
    readable = [(at, labels) for at, labels in counted if labels is not None]
    if not readable:
        return _unread(rows)
    by_index = settings.verdicts == "index"
    if settings.aggregator == "any":
        return [Verdict(labels, _share([labels]), at, by_index) for at, labels in readable]
    if settings.aggregator in ("single", "meta_critique"):
        at, first = counted[0]
        return _unread([rows[at]]) if first is None else [
            Verdict(first, _share([first]), at, by_index)
        ]  # fmt: skip
    if settings.aggregator == "lowest":
        at, lowest = min(readable, key=lambda each: _first_wrong(each[1]))
        return [Verdict(lowest, _share([labels for _, labels in readable]), at, by_index)]
    votes = [labels for _, labels in readable]
    if settings.aggregator == "outcome_vote":
        right = sum(all(labels) for labels in votes)
        if 2 * right == len(votes):
            return Unread.JUDGE_SPLIT
        agreeing = [each for each in readable if all(each[1]) == (2 * right > len(votes))]
        at, chosen = agreeing[0]
        return [Verdict(chosen, _share([labels for _, labels in agreeing]), at, by_index)]
    return _step_vote(readable, by_index)


def _first_wrong(labels: tuple[bool, ...]) -> int:
    return labels.index(False) if False in labels else len(labels)


def _unread(rows: Sequence[Judgement]) -> Unread:
    cut = any(row.only_thought for row in rows)
    return Unread.JUDGE_THOUGHT_CUT if cut else Unread.JUDGE_UNREADABLE


def _step_vote(
    readable: Sequence[tuple[int, tuple[bool, ...]]], by_index: bool
) -> list[Verdict] | Unread:
    """Majority per step, with the text of the first verification that agrees in all steps."""
    votes = [labels for _, labels in readable]
    tallies = [Counter(step) for step in zip(*votes, strict=True)]
    if any(tally[True] == tally[False] for tally in tallies):
        return Unread.JUDGE_SPLIT
    voted = tuple(tally[True] > tally[False] for tally in tallies)
    for at, labels in readable:
        if labels == voted:
            return [Verdict(voted, _share(votes), at, by_index)]
    return Unread.NO_VERIFICATION


def _share(votes: Sequence[tuple[bool, ...]]) -> tuple[float, ...]:
    return tuple(sum(step) / len(votes) for step in zip(*votes, strict=True))
